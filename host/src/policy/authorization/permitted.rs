//! Permissions that policies gave, so that the same question need not be worked out again.
//!
//! An answer follows from the policies, who asks, the action and what it concerns, and from nothing else (no time, no
//! state); the policies are those that these permissions live beside. Refusals are not kept: they are rare, and carry
//! reasons.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{PoisonError, RwLock},
};

use crate::model::principal::{Action, Principal, Resource};

/// Permissions kept at most; then all are forgotten.
const KEPT_MAX: usize = 4_096;

/// A question whose answer was yes.
struct Question {
    who: Principal,
    action: Action,
    resource: Owned,
}

/// What an action concerns: which kind of thing, and its names.
#[derive(PartialEq, Eq)]
struct Owned {
    kind: u8,
    names: [Box<str>; 2],
}

/// Permissions, by a keyed hash of their question: nobody outside can make two questions meet. Should two meet all the
/// same, the later one takes the place.
#[derive(Default)]
pub(super) struct Permitted {
    hasher: RandomState,
    kept: RwLock<HashMap<u64, Question>>,
}

impl Permitted {
    /// Whether this was permitted before.
    pub(super) fn holds(&self, who: &Principal, action: Action, resource: Resource<'_>) -> bool {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.get(&self.hasher.hash_one((who, action, resource)))
            .is_some_and(|found| found.action == action && found.resource.is(resource) && found.who == *who)
    }

    pub(super) fn add(&self, who: &Principal, action: Action, resource: Resource<'_>) {
        let hash = self.hasher.hash_one((who, action, resource));
        let question = Question { who: who.clone(), action, resource: Owned::of(resource) };
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(hash, question);
    }
}

impl Owned {
    fn of(resource: Resource<'_>) -> Self {
        let (kind, names) = parts(resource);
        Self { kind, names: names.map(Into::into) }
    }

    fn is(&self, resource: Resource<'_>) -> bool {
        let (kind, names) = parts(resource);
        self.kind == kind && self.names.iter().map(AsRef::as_ref).eq(names)
    }
}

fn parts(resource: Resource<'_>) -> (u8, [&str; 2]) {
    match resource {
        Resource::Hub => (0, ["", ""]),
        Resource::Namespace(name) => (1, [name, ""]),
        Resource::Pipeline(name) => (2, [name, ""]),
        Resource::Table(name) => (3, [name, ""]),
        Resource::Group(name) => (4, [name, ""]),
        Resource::Source { source, event_type } => (5, [source, event_type]),
        Resource::Identity(name) => (6, [name, ""]),
        Resource::Contract(id) => (7, [id, ""]),
        Resource::Subscription { name, owner } => (8, [name, owner]),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{KEPT_MAX, Permitted};
    use crate::model::principal::{Action, Kind, Principal, Resource, Role, Scope};

    fn ann() -> Principal {
        Principal {
            name: "ann".into(),
            kind: Kind::Person,
            roles: BTreeSet::from([Role::Operator]),
            scope: Scope::unlimited(),
            token: None,
            development: false,
        }
    }

    #[test]
    fn the_same_question_is_known_and_another_is_not() {
        let permitted = Permitted::default();
        let about = Resource::Source { source: "/a", event_type: "b" };
        permitted.add(&ann(), Action::EventSend, about);
        assert!(permitted.holds(&ann(), Action::EventSend, about));
        assert!(!permitted.holds(&ann(), Action::RunControl, about));
        for other in [
            Resource::Source { source: "/ab", event_type: "" },
            Resource::Source { source: "/a", event_type: "c" },
            Resource::Subscription { name: "/a", owner: "b" },
            Resource::Hub,
        ] {
            assert!(!permitted.holds(&ann(), Action::EventSend, other), "{other}");
        }
        for changed in [
            Principal { name: "bob".into(), ..ann() },
            Principal { roles: BTreeSet::new(), ..ann() },
            Principal { kind: Kind::Partner, ..ann() },
            Principal { scope: Scope::default(), ..ann() },
            Principal { development: true, ..ann() },
        ] {
            assert!(!permitted.holds(&changed, Action::EventSend, about), "{changed:?}");
        }
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let permitted = Permitted::default();
        for number in 0..=KEPT_MAX {
            permitted.add(&ann(), Action::ActorAssume, Resource::Identity(&number.to_string()));
        }
        assert!(permitted.kept.read().unwrap().len() <= KEPT_MAX);
        assert!(permitted.holds(&ann(), Action::ActorAssume, Resource::Identity(&KEPT_MAX.to_string())));
    }
}

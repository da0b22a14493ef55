//! Which state a plugin's version can go to from which, and what each allows. Pure.

use crate::model::registry::{VersionRecord, VersionState};

/// What somebody wants to do with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Make a draft final.
    Publish,
    /// Tell its users to use another.
    Deprecate,
    /// Keep it from being bound anew.
    Yank,
    /// Put it away.
    Retire,
    /// Stop it at once.
    Revoke,
    /// Take a revocation back.
    Restore,
}

impl Move {
    /// Every move.
    pub const ALL: [Self; 6] = [Self::Publish, Self::Deprecate, Self::Yank, Self::Retire, Self::Revoke, Self::Restore];
}

/// Why a version cannot go there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is {}: {instead}", state.as_str())]
pub struct LifecycleError {
    /// Where it stands.
    pub state: VersionState,
    /// What can be done instead.
    pub instead: &'static str,
}

/// Where a version stands after a move.
///
/// # Errors
/// If it cannot be done from there, and what can be done instead.
pub fn next(record: &VersionRecord, wanted: Move) -> Result<VersionState, LifecycleError> {
    use VersionState as S;
    let state = record.state;
    let refuse = |instead| Err(LifecycleError { state, instead });
    match (state, wanted) {
        (S::Draft, Move::Publish) => Ok(S::Published),
        (S::Draft, Move::Retire) => Ok(S::Retired),
        (S::Draft, _) => refuse("it serves nothing yet; publish it, or retire it"),
        (S::Published | S::Deprecated, Move::Deprecate) => Ok(S::Deprecated),
        (S::Published | S::Deprecated, Move::Yank) => Ok(S::Yanked),
        (S::Published | S::Deprecated | S::Yanked, Move::Retire) => Ok(S::Retired),
        (S::Published | S::Deprecated | S::Yanked | S::Retired, Move::Revoke) => Ok(S::Revoked),
        (S::Revoked, Move::Restore) => Ok(record.before.unwrap_or(S::Yanked)),
        (S::Published | S::Deprecated | S::Yanked, Move::Publish) => refuse("it was published before"),
        (S::Yanked, _) => refuse("it goes on where it serves; retire or revoke it, or publish another version"),
        (S::Retired, _) => refuse("it serves nothing any more; publish another version"),
        (S::Revoked, _) => refuse("nothing can be done with it before two people have restored it"),
        (S::Published | S::Deprecated, Move::Restore) => refuse("only what was revoked is restored"),
    }
}

/// Whether a version may begin to serve where it does not yet.
#[must_use]
pub fn is_bindable(state: VersionState) -> bool {
    matches!(state, VersionState::Published | VersionState::Deprecated)
}

/// Whether calls of a version may begin where it serves.
#[must_use]
pub fn may_serve(state: VersionState) -> bool {
    matches!(state, VersionState::Published | VersionState::Deprecated | VersionState::Yanked)
}

/// Why nothing calls a version any more, if so.
#[must_use]
pub fn called_no_more(state: VersionState) -> Option<&'static str> {
    match state {
        VersionState::Revoked => Some("the version is revoked, and nothing calls it"),
        VersionState::Retired => Some("the version is retired, and nothing calls it"),
        VersionState::Draft | VersionState::Published | VersionState::Deprecated | VersionState::Yanked => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::{Move, is_bindable, may_serve, next};
    use crate::model::registry::{VersionRecord, VersionState};

    #[test]
    fn every_pair_of_state_and_move() {
        let mut table = String::new();
        for state in VersionState::ALL {
            for wanted in Move::ALL {
                let to = next(&VersionRecord::of(state), wanted).map_or("-", VersionState::as_str);
                let _ = writeln!(table, "{:<10} {:<9} {to}", state.as_str(), format!("{wanted:?}"));
            }
        }
        insta::assert_snapshot!(table, @r"
        draft      Publish   published
        draft      Deprecate -
        draft      Yank      -
        draft      Retire    retired
        draft      Revoke    -
        draft      Restore   -
        published  Publish   -
        published  Deprecate deprecated
        published  Yank      yanked
        published  Retire    retired
        published  Revoke    revoked
        published  Restore   -
        deprecated Publish   -
        deprecated Deprecate deprecated
        deprecated Yank      yanked
        deprecated Retire    retired
        deprecated Revoke    revoked
        deprecated Restore   -
        yanked     Publish   -
        yanked     Deprecate -
        yanked     Yank      -
        yanked     Retire    retired
        yanked     Revoke    revoked
        yanked     Restore   -
        retired    Publish   -
        retired    Deprecate -
        retired    Yank      -
        retired    Retire    -
        retired    Revoke    revoked
        retired    Restore   -
        revoked    Publish   -
        revoked    Deprecate -
        revoked    Yank      -
        revoked    Retire    -
        revoked    Revoke    -
        revoked    Restore   yanked
        ");
    }

    #[test]
    fn what_is_restored_stands_where_it_stood() {
        for before in VersionState::ALL {
            let record = VersionRecord { before: Some(before), ..VersionRecord::of(VersionState::Revoked) };
            assert_eq!(next(&record, Move::Restore), Ok(before));
        }
    }

    #[test]
    fn what_may_be_bound_may_serve_and_nothing_else_begins() {
        let named = |fits: fn(VersionState) -> bool| -> Vec<&str> {
            VersionState::ALL.into_iter().filter(|state| fits(*state)).map(VersionState::as_str).collect()
        };
        assert_eq!(named(is_bindable), ["published", "deprecated"]);
        assert_eq!(named(may_serve), ["published", "deprecated", "yanked"]);
    }
}

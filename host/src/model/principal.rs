//! Who asks the hub for something, what they may ask for, and what it concerns. Data only: whether they may is decided
//! in `policy::authorization`.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest name of a principal, bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Most entries in each list of a scope.
pub const SCOPE_ENTRIES_MAX: usize = 64;

/// A word that is none of those that are known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is no {what}; there are: {known}")]
pub struct UnknownWord {
    /// As given.
    pub word: String,
    /// What it should have been.
    pub what: &'static str,
    /// Those that there are, joined by commas.
    pub known: String,
}

/// Words as they are written, for one closed set of them.
macro_rules! words {
    ($name:ident, $what:literal, { $($(#[$doc:meta])* $variant:ident => $word:literal),+ $(,)? }) => {
        #[doc = concat!("A", $what, ".")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As it is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word).ok_or_else(|| UnknownWord {
                    word: word.to_owned(),
                    what: $what.trim_start_matches("n ").trim_start(),
                    known: Self::ALL.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

words!(Kind, " kind of principal", {
    /// Somebody of this organisation.
    Person => "person",
    /// Another organisation, which builds plugins or sends events.
    Partner => "partner",
    /// A system, such as a shop's backend or a page server.
    Service => "service",
});

words!(Role, " role", {
    /// Builds connectors and publishes them in its namespaces.
    Partner => "partner",
    /// Writes pipelines and rules, and promotes them.
    Retailer => "retailer",
    /// Keeps the hub and its connections going, decides and takes hold of runs.
    Operator => "operator",
    /// Sees everything and changes nothing.
    Auditor => "auditor",
    /// Says who may do what.
    Admin => "admin",
});

words!(Action, "n action", {
    /// Send an event. Concerns a source.
    EventSend => "event.send",
    /// See runs and dead letters.
    RunRead => "run.read",
    /// Take hold of a run. Concerns its pipeline.
    RunControl => "run.control",
    /// See what people are asked.
    ApprovalRead => "approval.read",
    /// Decide what people are asked. Concerns the group that is asked.
    ApprovalDecide => "approval.decide",
    /// See plugins and pipelines.
    CatalogRead => "catalog.read",
    /// Publish a version of a plugin. Concerns its namespace.
    PluginPublish => "plugin.publish",
    /// Compare versions of a plugin. Concerns its namespace.
    PluginCompare => "plugin.compare",
    /// Have pipelines be served by a version of a plugin. Concerns its namespace.
    PluginPromote => "plugin.promote",
    /// Stop a version of a plugin at once. Concerns its namespace.
    PluginRevoke => "plugin.revoke",
    /// Set a pipeline. Concerns the pipeline.
    PipelineChange => "pipeline.change",
    /// See reference tables and their rows.
    TableRead => "table.read",
    /// Set a reference table. Concerns the table.
    TableChange => "table.change",
    /// Ask a published read. Concerns its contract.
    ApiRead => "api.read",
    /// Publish reads of a connection, or withdraw them. Concerns the contract.
    ApiPublish => "api.publish",
    /// See a subscription. Concerns the subscription.
    SubscriptionRead => "subscription.read",
    /// Hold a subscription, let it go on, have its events delivered again. Concerns the subscription.
    SubscriptionControl => "subscription.control",
    /// Declare a subscription, or remove it. Concerns the subscription.
    SubscriptionChange => "subscription.change",
    /// Register schemas of events, and put them out of use.
    SchemaChange => "schema.change",
    /// See connections and lanes.
    ConnectionRead => "connection.read",
    /// Set a connection.
    ConnectionChange => "connection.change",
    /// See webhook sources.
    SourceRead => "source.read",
    /// Set a webhook source.
    SourceChange => "source.change",
    /// See which secrets the hub keeps, never their values.
    SecretRead => "secret.read",
    /// Set, rotate and remove secrets that the hub keeps.
    SecretChange => "secret.change",
    /// See what is held of a person's data.
    PrivacyRead => "privacy.read",
    /// Erase a person's data.
    PrivacyErase => "privacy.erase",
    /// Read the audit log.
    AuditRead => "audit.read",
    /// Back up the hub.
    HubBackup => "hub.backup",
    /// Make, list and revoke tokens.
    TokenManage => "token.manage",
    /// See one's own usage.
    UsageRead => "usage.read",
    /// See whether the hub does its work, and its metrics.
    HealthRead => "health.read",
    /// Read the description of the API.
    DescriptionRead => "description.read",
    /// Act under another name than one's own. Concerns that name.
    ActorAssume => "actor.assume",
});

/// What an action concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource<'a> {
    /// The hub itself.
    Hub,
    /// What goes before the slash in names of plugins and pipelines.
    Namespace(&'a str),
    /// A pipeline, by name.
    Pipeline(&'a str),
    /// A reference table, by name.
    Table(&'a str),
    /// A group of people who are asked.
    Group(&'a str),
    /// Where an event says that it comes from, and its type.
    Source {
        /// Its source, a URI reference.
        source: &'a str,
        /// Its type.
        event_type: &'a str,
    },
    /// The name that somebody wants to act under.
    Identity(&'a str),
    /// An operation contract under which reads are published.
    Contract(&'a str),
    /// Deliveries to somebody's endpoint.
    Subscription {
        /// Its name.
        name: &'a str,
        /// Whose it is.
        owner: &'a str,
    },
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("the hub"),
            Self::Namespace(name) => write!(f, "namespace `{name}`"),
            Self::Pipeline(name) => write!(f, "pipeline `{name}`"),
            Self::Table(name) => write!(f, "table `{name}`"),
            Self::Group(name) => write!(f, "group `{name}`"),
            Self::Source { source, event_type } => write!(f, "events of type `{event_type}` from source `{source}`"),
            Self::Identity(name) => write!(f, "the name `{name}`"),
            Self::Contract(id) => write!(f, "contract `{id}`"),
            Self::Subscription { name: "", owner } => write!(f, "subscriptions of `{owner}`"),
            Self::Subscription { name, .. } => write!(f, "subscription `{name}`"),
        }
    }
}

/// A token's name for the log and for people: no secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub String);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a token is held to, whatever its roles allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// Only these actions; empty: whatever the roles allow.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub actions: BTreeSet<Action>,
    /// Sources that events may be sent from: exact, or with `*` at the end for all that begin so. Empty: none.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub sources: BTreeSet<String>,
    /// Event types that may be sent, in the same form. Empty: none.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub types: BTreeSet<String>,
    /// Namespaces that plugins and pipelines may be published in.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub namespaces: BTreeSet<String>,
    /// Contracts whose published reads may be asked, such as `retail/erp-orders@1`. Empty: those that the roles allow,
    /// which for a partner is none.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub contracts: BTreeSet<String>,
}

impl Scope {
    /// Every source, every type, whatever the roles allow.
    #[must_use]
    pub fn unlimited() -> Self {
        let all = || BTreeSet::from(["*".to_owned()]);
        Self { sources: all(), types: all(), ..Self::default() }
    }

    /// Whether another lets through no more than this one does.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        fn held<T: Ord>(narrow: &BTreeSet<T>, wide: &BTreeSet<T>) -> bool {
            wide.is_empty() || !narrow.is_empty() && narrow.is_subset(wide)
        }
        let actions = held(&other.actions, &self.actions) && held(&other.contracts, &self.contracts);
        actions && within(&other.sources, &self.sources) && within(&other.types, &self.types)
    }

    /// Whether it lets an action through.
    ///
    /// # Errors
    /// What it is held to instead.
    pub fn admits(&self, action: Action, resource: Resource<'_>) -> Result<(), String> {
        if !self.actions.is_empty() && !self.actions.contains(&action) {
            let actions: Vec<&str> = self.actions.iter().map(|action| action.as_str()).collect();
            return Err(format!("its actions are {}", actions.join(", ")));
        }
        if let Resource::Contract(id) = resource
            && !self.contracts.is_empty()
            && !self.contracts.contains(id)
        {
            return Err(format!("its contracts are {}", listed(&self.contracts)));
        }
        if let Resource::Source { source, event_type } = resource {
            if !fits(&self.sources, source) {
                return Err(format!("its sources are {}", listed(&self.sources)));
            }
            if !fits(&self.types, event_type) {
                return Err(format!("its event types are {}", listed(&self.types)));
            }
        }
        Ok(())
    }
}

/// Whether each of the patterns lets through no more than one of the others does.
fn within(patterns: &BTreeSet<String>, bounds: &BTreeSet<String>) -> bool {
    patterns.iter().all(|pattern| {
        bounds.iter().any(|bound| match (pattern.strip_suffix('*'), bound.strip_suffix('*')) {
            (Some(beginning), Some(bound)) => beginning.starts_with(bound),
            (Some(_), None) => false,
            (None, Some(bound)) => pattern.starts_with(bound),
            (None, None) => pattern == bound,
        })
    })
}

/// Whether one of the patterns fits: the same text, or its beginning before a final `*`.
fn fits(patterns: &BTreeSet<String>, text: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => text.starts_with(beginning),
        None => pattern == text,
    })
}

fn listed(patterns: &BTreeSet<String>) -> String {
    if patterns.is_empty() {
        return "none".to_owned();
    }
    patterns.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Who asks, as it was proven.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The name that decisions and audit records carry.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What it does here.
    pub roles: BTreeSet<Role>,
    /// What its token is held to.
    pub scope: Scope,
    /// The token that proved it; absent: an identity provider did.
    pub token: Option<TokenId>,
    /// Whether it was proven by something that is only good for trying the hub out.
    pub development: bool,
}

/// Why somebody may not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The token is held to something else.
    #[error("the token of `{who}` may not {action} on {resource}: {problem}")]
    Scope {
        /// Who.
        who: String,
        /// What.
        action: Action,
        /// On what.
        resource: String,
        /// What it is held to.
        problem: String,
    },
    /// No policy permits it, or one forbids it.
    #[error("`{who}` ({roles}) may not {action} on {resource}: {problem}")]
    Policy {
        /// Who.
        who: String,
        /// Their roles.
        roles: String,
        /// What.
        action: Action,
        /// On what.
        resource: String,
        /// Which policy forbids it, or that none permits it.
        problem: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_lets_through_what_it_lists_and_nothing_else() {
        let scope = Scope {
            sources: BTreeSet::from(["/shops/eu-1".to_owned(), "/partners/acme/*".to_owned()]),
            types: BTreeSet::from(["retail.order.*".to_owned()]),
            ..Scope::default()
        };
        let check = |source, event_type, expected: bool| {
            let admitted = scope.admits(Action::EventSend, Resource::Source { source, event_type });
            assert_eq!(admitted.is_ok(), expected, "{source} {event_type}: {admitted:?}");
        };
        check("/shops/eu-1", "retail.order.placed.v1", true);
        check("/shops/eu-12", "retail.order.placed.v1", false);
        check("/partners/acme/x", "retail.order.placed.v1", true);
        check("/partners/acme", "retail.order.placed.v1", false);
        check("/shops/eu-1", "bank.statement.booked", false);
        let nothing = Scope::default().admits(Action::EventSend, Resource::Source { source: "/a", event_type: "b" });
        assert_eq!(nothing.unwrap_err(), "its sources are none");
        let reads = Scope { actions: BTreeSet::from([Action::RunRead]), ..Scope::default() };
        assert!(reads.admits(Action::RunRead, Resource::Hub).is_ok());
        assert_eq!(reads.admits(Action::AuditRead, Resource::Hub).unwrap_err(), "its actions are run.read");
    }

    #[test]
    fn a_scope_covers_what_lets_through_no_more() {
        let of = |sources: &[&str], actions: &[Action]| Scope {
            actions: actions.iter().copied().collect(),
            sources: sources.iter().map(|source| (*source).to_owned()).collect(),
            ..Scope::default()
        };
        let check = |wide: &Scope, narrow: &Scope, expected: bool| {
            assert_eq!(wide.covers(narrow), expected, "{wide:?} {narrow:?}");
        };
        check(&Scope::unlimited(), &of(&["/a", "/b*"], &[Action::RunRead]), true);
        check(&of(&["/a*"], &[]), &of(&["/ab*", "/a"], &[]), true);
        check(&of(&["/a*"], &[]), &of(&["*"], &[]), false);
        check(&of(&["/a"], &[]), &of(&["/a*"], &[]), false);
        check(&of(&[], &[Action::TokenManage]), &of(&[], &[]), false);
        check(&of(&[], &[Action::TokenManage, Action::RunRead]), &of(&[], &[Action::RunRead]), true);
        let held = |contracts: &[&str]| Scope {
            contracts: contracts.iter().map(|contract| (*contract).to_owned()).collect(),
            ..Scope::default()
        };
        check(&held(&[]), &held(&["retail/erp-orders@1"]), true);
        check(&held(&["retail/erp-orders@1"]), &held(&[]), false);
        check(&held(&["retail/erp-orders@1"]), &held(&["retail/warehouse@1"]), false);
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse::<Action>().as_ref(), Ok(action));
        }
        let error = "king".parse::<Role>().unwrap_err().to_string();
        assert_eq!(error, "`king` is no role; there are: partner, retailer, operator, auditor, admin");
    }
}

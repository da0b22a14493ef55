//! What the surfaces ask about events that are delivered to others' endpoints.

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::registry::Who;
use crate::model::{id::AcceptanceId, subscription::Subscription, timestamp::Timestamp};

/// Where a subscription stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Standing {
    /// Its events are delivered.
    Active,
    /// Somebody holds it; its events wait in the journal.
    Paused {
        /// Since when.
        since: Timestamp,
        /// Who.
        by: String,
    },
    /// The hub stopped it; its events wait in the journal.
    Disabled {
        /// Since when.
        since: Timestamp,
        /// Why.
        cause: String,
    },
}

/// A delivery that fails and is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failing {
    /// The event that is tried next.
    pub event: AcceptanceId,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried again.
    pub due: Timestamp,
    /// Why it failed the last time.
    pub cause: String,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReplayView {
    /// Delivered again.
    pub sent: u64,
    /// Not taken this time either.
    pub failed: u64,
}

/// A subscription as it is now. It names its secrets by reference, and holds none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubscriptionView {
    /// Its name.
    pub name: String,
    /// What was declared.
    #[serde(flatten)]
    pub subscription: Subscription,
    /// Where it stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// Who has the say about it: `file` (hub.toml) or `api`, whose changes hub.toml does not override.
    pub origin: &'static str,
    /// What hub.toml declares of it: the `same`, or something that `differs`; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared: Option<&'static str>,
    /// Since when it is there.
    pub created: Timestamp,
    /// Deliveries that were taken since the hub started.
    pub delivered: u64,
    /// Events that were looked at and are not delivered yet; more may wait in the journal.
    pub waiting: usize,
    /// Whether everything that was accepted was looked at.
    pub caught_up: bool,
    /// Until when what it has not read is kept from the archive; absent: it is active, and it is for as long as it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<Timestamp>,
    /// The delivery that fails, if one does.
    pub failing: Option<Failing>,
    /// Events that were given up.
    pub dead_letters: usize,
    /// A replay that is under way.
    pub replay: Option<ReplayView>,
}

/// An event that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its acceptance.
    pub event: AcceptanceId,
    /// Its id at its source.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// When it was given up.
    pub given_up: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed the last time.
    pub cause: String,
}

/// What is delivered again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Selection {
    /// One event, by its acceptance.
    Event(AcceptanceId),
    /// Everything that was given up.
    DeadLetters,
    /// Everything that was accepted since then, as far as the journal holds it.
    Since(Timestamp),
}

/// A replay that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRequest {
    /// Who asks, and why.
    pub who: Who,
    /// What.
    pub selection: Selection,
    /// Only of these types, in the form of a subscription's; empty: of all that it wants.
    pub types: Vec<String>,
    /// At most so many a second, 1 to 100.
    pub per_second: u32,
    /// Whether whoever asks may change the subscription, and so have delivered what was accepted before it was there.
    pub may_change: bool,
}

/// Why something is not done with a subscription. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// There is none.
    #[error("there is no subscription `{name}`")]
    Unknown {
        /// As asked.
        name: String,
    },
    /// It does not hold.
    #[error("{problem}")]
    Refused {
        /// What, and what to change.
        problem: String,
    },
    /// It cannot be done as it stands.
    #[error("{problem}")]
    Conflict {
        /// Why not.
        problem: String,
    },
    /// The hub cannot record it.
    #[error("the hub cannot do it now: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// What is done with a subscription that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Hold it.
    Pause,
    /// Go on, where it stood.
    Resume,
    /// End it; its dead letters go with it.
    Remove,
}

/// Something that is asked to be done with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActRequest {
    /// Who asks, and why.
    pub who: Who,
    /// What.
    pub act: Act,
    /// Whether whoever asks may change the subscription, and so decide against who paused it.
    pub may_change: bool,
}

/// Subscriptions.
pub trait Subscriptions: Send + Sync {
    /// All of them, by name.
    fn list(&self) -> Vec<SubscriptionView>;

    /// Does something with one; audited and in effect when it answers.
    ///
    /// # Errors
    /// As [`SubscriptionError`] says.
    fn act<'a>(
        &'a self,
        name: &'a str,
        request: ActRequest,
    ) -> BoxFuture<'a, Result<SubscriptionView, SubscriptionError>>;

    /// Has events delivered again, beside what comes in; recorded when it answers, and goes on after a restart.
    ///
    /// # Errors
    /// As [`SubscriptionError`] says; one replay at a time.
    fn replay<'a>(
        &'a self,
        name: &'a str,
        request: ReplayRequest,
    ) -> BoxFuture<'a, Result<SubscriptionView, SubscriptionError>>;

    /// Events that were given up, in the order in which they were accepted.
    ///
    /// # Errors
    /// As [`SubscriptionError`] says.
    fn dead_letters<'a>(&'a self, name: &'a str, limit: usize)
    -> BoxFuture<'a, Result<Vec<Letter>, SubscriptionError>>;
}

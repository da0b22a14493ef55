//! Personal data, as the surfaces see and erase it.

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::registry::Who;
use crate::model::{
    id::{RunId, SubjectId, SubjectKeyId},
    run::RunSummary,
    timestamp::Timestamp,
};

/// What a hub holds of a person's data. Whose it is stands nowhere in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Under which id the person goes; absent: this hub never held any personal data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectId>,
    /// The key that the data is sealed with; absent: there is none, or it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SubjectKeyId>,
    /// When the key was made, with the first data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Keys of theirs that were destroyed before.
    pub erased: Vec<ErasedKey>,
    /// Runs that have not ended and need the data.
    pub runs: Vec<RunSummary>,
}

/// A key that was destroyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedKey {
    /// Which.
    pub key: SubjectKeyId,
    /// When.
    pub erased: Timestamp,
}

/// An erasure that somebody asks for.
#[derive(Clone, Debug)]
pub struct Erasure {
    /// The person, as the events name them.
    pub subject: String,
    /// Who asks, and why.
    pub who: Who,
    /// Whether runs that need the data are cancelled first, with their effects left in place.
    pub end_runs: bool,
}

/// What came of an erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// Under which id the person went; absent: this hub never held any personal data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectId>,
    /// The key that was destroyed; absent: there was nothing to erase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SubjectKeyId>,
    /// Runs that were cancelled for it.
    pub ended: Vec<RunId>,
}

/// Why nothing was erased.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PrivacyError {
    /// What was given cannot be used.
    #[error("{problem}")]
    Invalid {
        /// What to change.
        problem: String,
    },
    /// Runs that have not ended need the data.
    #[error("{problem}")]
    RunsOpen {
        /// What to do.
        problem: String,
        /// The runs.
        runs: Vec<RunSummary>,
    },
    /// It cannot be done now.
    #[error("it cannot be erased now: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// What people do about personal data.
pub trait Privacy: Send + Sync {
    /// What is held of a person.
    ///
    /// # Errors
    /// If it cannot be told now.
    fn held<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Held, PrivacyError>>;

    /// Erases a person's data for good: the key that it is sealed with is destroyed, and audited before.
    ///
    /// # Errors
    /// As [`PrivacyError`] says; if it is `Unavailable`, asking again completes it.
    fn erase(&self, erasure: Erasure) -> BoxFuture<'_, Result<Erased, PrivacyError>>;
}

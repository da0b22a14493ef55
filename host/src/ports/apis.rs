//! What the surfaces ask about reads that are published under a contract.

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;

use super::registry::Who;
use crate::model::{id::ContractId, timestamp::Timestamp};

/// What a consumer gives an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The fields of the input by name, as text: those that the schema says are text as they are, others as JSON.
    Fields(Vec<(String, String)>),
    /// The input as a JSON document.
    Document(Bytes),
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the remote, for this request.
    Remote,
    /// From the remote, for another request of the same that was under way.
    Collapsed,
    /// It was kept.
    Kept,
    /// It was kept, and is older than it should be; the remote gives none.
    Stale,
}

/// What an operation answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiAnswer {
    /// A JSON document that follows the contract's schema.
    pub body: Bytes,
    /// Changes with the document.
    pub tag: String,
    /// How long ago the remote was asked, seconds, rounded up.
    pub age_s: u64,
    /// Where it came from.
    pub origin: Origin,
}

/// An operation that is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperationView {
    /// Its name.
    pub name: String,
    /// One sentence.
    pub summary: String,
    /// Where it is asked.
    pub path: String,
}

/// A publication as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiView {
    /// The contract.
    pub contract: ContractId,
    /// One sentence.
    pub summary: String,
    /// `active`, `deprecated` or `gone`.
    pub state: &'static str,
    /// Where its description is.
    pub description: String,
    /// What it offers.
    pub operations: Vec<OperationView>,
    /// The connection behind it; only for those who may see connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// Who has the say about it: `file` (hub.toml) or `api`; for the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<&'static str>,
    /// What hub.toml declares of it: the `same`, or something that `differs`; absent: nothing; for the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared: Option<&'static str>,
    /// For how long an answer may be given again, seconds.
    pub cache_s: u32,
    /// For how long after that while the remote gives none, seconds.
    pub stale_if_error_s: u32,
    /// From when on consumers are told to move away.
    pub deprecated: Option<Timestamp>,
    /// From when on it answers nothing.
    pub sunset: Option<Timestamp>,
    /// The contract that they are to move to.
    pub successor: Option<ContractId>,
    /// When it was published as it is.
    pub published: Timestamp,
}

/// Why an API does not answer, or is not published. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Nothing is published under that name.
    #[error("no API is published under `{contract}`")]
    Unknown {
        /// As asked.
        contract: String,
    },
    /// It has no such operation.
    #[error("{problem}")]
    UnknownOperation {
        /// Which there is not, and which there are.
        problem: String,
    },
    /// It was published, and is no longer.
    #[error("{problem}")]
    Gone {
        /// Since when, and what to use instead.
        problem: String,
    },
    /// The input does not follow the contract.
    #[error("{problem}")]
    Input {
        /// Where and why.
        problem: String,
    },
    /// The remote has nothing of that name.
    #[error("there is nothing like that")]
    NotFound,
    /// The remote gives no answer now.
    #[error("{problem}")]
    Unavailable {
        /// Why, without naming the remote.
        problem: String,
        /// When to ask again, seconds.
        retry_after_s: u64,
    },
    /// The remote did not answer in time.
    #[error("what stands behind this API gave no whole answer in time")]
    Timeout {
        /// When to ask again, seconds.
        retry_after_s: u64,
    },
    /// The remote's answer is no good.
    #[error("{problem}")]
    Failed {
        /// Why, without naming the remote.
        problem: String,
    },
    /// The publication does not hold.
    #[error("{problem}")]
    Refused {
        /// What, and what to change.
        problem: String,
    },
    /// The change cannot be recorded.
    #[error("the hub cannot record it now: {reason}")]
    Unrecorded {
        /// Why.
        reason: String,
    },
}

/// Published reads.
pub trait Apis: Send + Sync {
    /// Everything that is published, by contract.
    fn list(&self) -> Vec<ApiView>;

    /// One publication.
    ///
    /// # Errors
    /// If there is none, or it is gone.
    fn api(&self, contract: &ContractId) -> Result<ApiView, ApiError>;

    /// Its description: OpenAPI 3.1, made from the contract.
    ///
    /// # Errors
    /// If there is none, or it is gone.
    fn describe(&self, contract: &ContractId) -> Result<Value, ApiError>;

    /// Asks an operation. Whoever asks may do so.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    fn read<'a>(
        &'a self,
        contract: &'a ContractId,
        operation: &'a str,
        input: Input,
    ) -> BoxFuture<'a, Result<ApiAnswer, ApiError>>;

    /// Ends a publication; in effect and audited when it answers.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    fn withdraw<'a>(&'a self, who: Who, contract: &'a ContractId) -> BoxFuture<'a, Result<ApiView, ApiError>>;
}

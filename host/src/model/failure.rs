//! Why a call did not give a result: the contract's `failure`, and the limits that a guest can run into.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::json::Json;

/// Longest message of a failure, bytes; the contract's bound.
pub const MESSAGE_BYTES_LIMIT: usize = 1 << 10;

/// What the hub should do about a failure. The five of the contract; there is no sixth in 1.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// Nothing happened, and a later attempt may succeed.
    Retryable,
    /// The effect may have happened and the answer was lost.
    Uncertain,
    /// The input is wrong; repeating it unchanged cannot help.
    InvalidInput,
    /// Credentials, permission or signature were refused.
    Denied,
    /// It failed for good for any other reason.
    Permanent,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retryable => "retryable",
            Self::Uncertain => "uncertain",
            Self::InvalidInput => "invalid-input",
            Self::Denied => "denied",
            Self::Permanent => "permanent",
        })
    }
}

/// Why a call failed, as a plugin or the hub says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What the hub should do.
    pub kind: FailureKind,
    /// Stable and for programs, dotted, such as `stock.sku-unknown`. At most 128 bytes.
    pub code: String,
    /// For people: what happened and what to do about it. At most 1 KiB.
    pub message: String,
    /// Do not try again for this many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u32>,
    /// For programs: anything more. At most 16 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Json>,
}

impl Failure {
    /// A failure without retry time or detail. A message beyond [`MESSAGE_BYTES_LIMIT`] is cut.
    #[must_use]
    pub fn new(kind: FailureKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_LIMIT {
            let end = (0..=MESSAGE_BYTES_LIMIT - 3).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(end);
            message.push('…');
        }
        Self { kind, code: code.into(), message, retry_after_ms: None, detail: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`: {}", self.kind, self.code, self.message)
    }
}

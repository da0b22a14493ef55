//! Why a call gives no result.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// What the hub should do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// Nothing happened, and a later attempt may succeed.
    Retryable,
    /// The effect may have happened and the answer was lost. A pure plugin must not return it.
    Uncertain,
    /// The input is wrong; repeating it unchanged cannot help.
    InvalidInput,
    /// Credentials, permission or signature were refused.
    Denied,
    /// It failed for good for any other reason.
    Permanent,
}

/// A failure. Returning one is an answer; a panic is a defect, and counts against the plugin's version.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    /// What the hub should do.
    pub kind: FailureKind,
    /// Stable and for programs, dotted, such as `stock.sku-unknown`. At most 128 bytes.
    pub code: String,
    /// For people: what happened and what to do about it. No secrets, no personal data. At most 1 KiB.
    pub message: String,
    /// Do not try again for this many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u32>,
    /// For programs: anything more. At most 16 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, code: code.into(), message: message.into(), retry_after_ms: None, detail: None }
    }

    /// Nothing happened, and a later attempt may succeed.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Retryable, code, message)
    }

    /// The effect may have happened and the answer was lost.
    pub fn uncertain(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Uncertain, code, message)
    }

    /// The input is wrong.
    pub fn invalid(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FailureKind::InvalidInput, code, message)
    }

    /// The remote refused us.
    pub fn denied(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Denied, code, message)
    }

    /// It failed for good.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Permanent, code, message)
    }

    /// Says not to try again for this many milliseconds.
    #[must_use]
    pub fn after_ms(mut self, millis: u32) -> Self {
        self.retry_after_ms = Some(millis);
        self
    }

    /// Adds something for programs. What has no JSON form is left out.
    #[must_use]
    pub fn detail(mut self, detail: &impl Serialize) -> Self {
        self.detail = serde_json::to_value(detail).ok();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}

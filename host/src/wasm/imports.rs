//! The functions that the hub gives to plugins: `log`, `context`, `state` and `secrets` of the contract. Nothing here
//! grants anything; what the call's authority does not hold is refused as `denied`.

mod context;
mod log;
mod secrets;
mod state;

use super::{bindings::envelope, call_state::CallState};
use crate::model::failure::{Failure, FailureKind};

impl envelope::Host for CallState {}

/// A failure as a guest sees it.
pub(super) fn guest_failure(failure: Failure) -> envelope::Failure {
    envelope::Failure {
        kind: match failure.kind {
            FailureKind::Retryable => envelope::FailureKind::Retryable,
            FailureKind::Uncertain => envelope::FailureKind::Uncertain,
            FailureKind::InvalidInput => envelope::FailureKind::InvalidInput,
            FailureKind::Denied => envelope::FailureKind::Denied,
            FailureKind::Permanent => envelope::FailureKind::Permanent,
        },
        code: failure.code,
        message: failure.message,
        retry_after_ms: failure.retry_after_ms,
        detail: failure.detail.map(|detail| detail.as_bytes().to_vec()),
    }
}

fn failure(kind: FailureKind, code: &str, message: impl Into<String>) -> envelope::Failure {
    guest_failure(Failure::new(kind, code, message))
}

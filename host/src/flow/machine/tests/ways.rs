//! How calls of a scripted world end, and what is left of them.

use crate::model::{
    failure::{Failure, FailureKind},
    id::IdempotencyKey,
};

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Good,
    /// For good, and nothing took effect.
    Refused,
    /// It may pass, and nothing took effect.
    Locked,
    /// The answer is lost; nothing took effect.
    LostBefore,
    /// The answer is lost; it took effect.
    LostAfter,
    /// What is read back differs.
    Differs,
}

/// What took effect at a remote.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Done {
    pub(super) step: String,
    pub(super) operation: String,
    pub(super) key: IdempotencyKey,
    /// How often, beyond the first time.
    pub(super) repeats: u32,
}

pub(super) fn ended(way: Way) -> Result<(), Failure> {
    match way {
        Way::Good | Way::Differs => Ok(()),
        Way::Refused => Err(Failure::new(FailureKind::Permanent, "erp.no", "no")),
        Way::Locked => Err(Failure::new(FailureKind::Retryable, "erp.locked", "locked")),
        Way::LostBefore | Way::LostAfter => Err(Failure::new(FailureKind::Uncertain, "erp.lost", "lost")),
    }
}

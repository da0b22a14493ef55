//! When to try again: exponential backoff with jitter, bounded, and the same for the same attempt wherever it is
//! computed, so that a crash changes nothing.

use crate::model::{
    failure::{Failure, FailureKind},
    id::{RunId, hash32},
};

/// How a step is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which failures; `uncertain` is the business of doubt, not of this.
    pub on: Vec<FailureKind>,
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// Wait before the second attempt, milliseconds.
    pub first_ms: u64,
    /// Factor from wait to wait, in thousandths: 2000 doubles.
    pub factor_milli: u64,
    /// Longest wait, milliseconds.
    pub max_ms: u64,
}

impl Default for Policy {
    /// One attempt.
    fn default() -> Self {
        Self { on: vec![FailureKind::Retryable], attempts: 1, first_ms: 1_000, factor_milli: 2_000, max_ms: 600_000 }
    }
}

impl Policy {
    /// Whether this failure of this attempt (from 1) is followed by another.
    #[must_use]
    pub fn allows(&self, failure: &Failure, attempt: u32) -> bool {
        attempt < self.attempts && self.on.contains(&failure.kind)
    }

    /// The wait after this attempt (from 1), milliseconds: backoff with up to a fifth taken off at random, and never
    /// less than the remote asked for.
    #[must_use]
    pub fn delay_ms(&self, failure: &Failure, attempt: u32, run: RunId, step: &str) -> u64 {
        // In nanoseconds, so that a wait of one millisecond still grows by half.
        let max_ns = u128::from(self.max_ms) * 1_000_000;
        let mut delay_ns = (u128::from(self.first_ms) * 1_000_000).min(max_ns);
        for _ in 1..attempt.min(64) {
            delay_ns = (delay_ns.saturating_mul(u128::from(self.factor_milli)) / 1_000).min(max_ns);
        }
        let delay_ms = u64::try_from(delay_ns / 1_000_000).unwrap_or(self.max_ms);
        let random = hash32("crossdock jitter 1", &[run.as_bytes(), step.as_bytes(), &attempt.to_be_bytes()]);
        let fraction = u64::from(random.first().copied().unwrap_or(0));
        let jittered_ms = delay_ms - delay_ms / 5 * fraction / 255;
        jittered_ms.max(failure.retry_after_ms.map_or(0, u64::from))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Policy;
    use crate::model::{
        failure::{Failure, FailureKind},
        id::{AcceptanceId, RunId},
    };

    fn failure(kind: FailureKind, retry_after_ms: Option<u32>) -> Failure {
        Failure { retry_after_ms, ..Failure::new(kind, "x", "y") }
    }

    fn run() -> RunId {
        RunId::of(AcceptanceId::of("/s", "1"), "p")
    }

    #[test]
    fn only_named_kinds_are_tried_again() {
        let policy = Policy { attempts: 3, ..Policy::default() };
        assert!(policy.allows(&failure(FailureKind::Retryable, None), 2));
        assert!(!policy.allows(&failure(FailureKind::Retryable, None), 3));
        assert!(!policy.allows(&failure(FailureKind::Denied, None), 1));
    }

    #[test]
    fn the_remote_is_given_the_time_it_asked_for() {
        let policy = Policy { attempts: 3, ..Policy::default() };
        assert_eq!(policy.delay_ms(&failure(FailureKind::Retryable, Some(90_000)), 1, run(), "s"), 90_000);
    }

    proptest! {
        #[test]
        fn a_wait_stays_between_four_fifths_and_the_whole_of_its_backoff(
            first_ms in 0_u64..100_000, factor_milli in 1_000_u64..10_000, max_ms in 0_u64..10_000_000, attempt in 1_u32..40
        ) {
            let policy = Policy { attempts: 100, first_ms, factor_milli, max_ms, ..Policy::default() };
            #[expect(clippy::cast_precision_loss, reason = "the slow reference works in floating point")]
            let exact = (first_ms as f64 * (factor_milli as f64 / 1000.0).powi(attempt as i32 - 1)).min(max_ms as f64);
            let delay_ms = policy.delay_ms(&failure(FailureKind::Retryable, None), attempt, run(), "s");
            #[expect(clippy::cast_precision_loss, reason = "the slow reference works in floating point")]
            let delay = delay_ms as f64;
            prop_assert!(delay <= exact + 1.0, "{delay} above {exact}");
            prop_assert!(delay >= exact * 0.799 - 6.0, "{delay} below four fifths of {exact}");
        }
    }
}

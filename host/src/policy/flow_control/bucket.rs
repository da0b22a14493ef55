//! A token bucket: how often a remote may be called. One token a call; tokens come back evenly.
//!
//! Reckons in whole parts of a token, so that nothing is lost to rounding however often it is asked: a token is
//! `per_ms` parts, and each millisecond brings `calls` of them.

use crate::model::{pace::Rate, timestamp::Timestamp};

/// The tokens of one connection.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: Rate,
    /// Parts that are there. INVARIANT: at most `burst × per_ms`.
    parts: u128,
    /// When that was so.
    at: Timestamp,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub fn new(rate: Rate, now: Timestamp) -> Self {
        Self { rate, parts: capacity(&rate), at: now }
    }

    /// The same tokens at another rate, as far as it has room for them: a change of settings is no way to a burst.
    #[must_use]
    pub fn at_rate(mut self, rate: Rate, now: Timestamp) -> Self {
        self.refill(now);
        let parts = self.parts * u128::from(rate.per_ms.get()) / u128::from(self.rate.per_ms.get());
        Self { rate, parts: parts.min(capacity(&rate)), at: self.at }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// If there is none: when there will be one.
    pub fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        self.check(now)?;
        self.parts = self.parts.saturating_sub(u128::from(self.rate.per_ms.get()));
        Ok(())
    }

    /// Whether there is a token.
    ///
    /// # Errors
    /// If there is none: when there will be one.
    pub fn check(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        self.refill(now);
        let missing = u128::from(self.rate.per_ms.get()).saturating_sub(self.parts);
        if missing == 0 {
            return Ok(());
        }
        let wait_ms = missing.div_ceil(u128::from(self.rate.calls.get()));
        Err(self.at.plus_millis(u64::try_from(wait_ms).unwrap_or(u64::MAX)))
    }

    /// Puts a token back that was taken for a call that did not leave.
    pub fn give_back(&mut self) {
        self.parts = (self.parts + u128::from(self.rate.per_ms.get())).min(capacity(&self.rate));
    }

    /// Whole tokens that are there.
    #[must_use]
    pub fn tokens(&self, now: Timestamp) -> u32 {
        let mut then = self.clone();
        then.refill(now);
        u32::try_from(then.parts / u128::from(self.rate.per_ms.get())).unwrap_or(u32::MAX)
    }

    fn refill(&mut self, now: Timestamp) {
        let brought = u128::from(now.since(self.at)) * u128::from(self.rate.calls.get());
        self.parts = (self.parts + brought).min(capacity(&self.rate));
        self.at = self.at.max(now);
    }
}

fn capacity(rate: &Rate) -> u128 {
    u128::from(rate.burst()) * u128::from(rate.per_ms.get())
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64};

    use proptest::prelude::*;

    use super::Bucket;
    use crate::model::{pace::Rate, timestamp::Timestamp};

    fn rate(calls: u32, per_ms: u64, burst: u32) -> Rate {
        Rate {
            calls: NonZeroU32::new(calls).unwrap(),
            per_ms: NonZeroU64::new(per_ms).unwrap(),
            burst: NonZeroU32::new(burst),
        }
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).plus_millis(ms)
    }

    #[test]
    fn calls_are_spread_evenly_after_the_burst() {
        let mut bucket = Bucket::new(rate(2, 1_000, 3), at(0));
        let left: Vec<_> = (0..5).map(|_| bucket.take(at(0))).collect();
        assert_eq!(left, [Ok(()), Ok(()), Ok(()), Err(at(500)), Err(at(500))]);
        assert_eq!(bucket.take(at(499)), Err(at(500)));
        assert_eq!(bucket.take(at(500)), Ok(()));
        assert_eq!(bucket.tokens(at(60_000)), 3);
    }

    #[test]
    fn a_change_of_rate_neither_fills_nor_empties_it() {
        let mut bucket = Bucket::new(rate(10, 1_000, 10), at(0));
        for _ in 0..8 {
            bucket.take(at(0)).unwrap();
        }
        assert_eq!(bucket.clone().at_rate(rate(5, 30_000, 10), at(0)).tokens(at(0)), 2);
        assert_eq!(bucket.at_rate(rate(5, 30_000, 1), at(0)).tokens(at(0)), 1);
    }

    proptest! {
        #[test]
        fn exactly_the_calls_leave_that_a_count_of_every_millisecond_allows(
            calls in 1_u32..50, per_ms in 1_u64..200, burst in 1_u32..6,
            gaps in prop::collection::vec(0_u64..40, 1..200)
        ) {
            let mut bucket = Bucket::new(rate(calls, per_ms, burst), at(0));
            // The slow reference: one millisecond after the other, in parts of a token.
            let full = u64::from(burst) * per_ms;
            let (mut now, mut parts, mut left) = (0, full, Vec::new());
            for gap in gaps {
                for _ in 0..gap {
                    now += 1;
                    parts = (parts + u64::from(calls)).min(full);
                }
                let may = parts >= per_ms;
                match bucket.take(at(now)) {
                    Ok(()) => {
                        prop_assert!(may, "left at {now} with {parts} parts of {per_ms}");
                        parts -= per_ms;
                        left.push(now);
                    }
                    Err(due) => {
                        prop_assert!(!may);
                        // Due exactly then, and not a millisecond before.
                        prop_assert!(bucket.check(due).is_ok());
                        let wait = due.since(at(now));
                        prop_assert!(parts + (wait - 1) * u64::from(calls) < per_ms);
                        // Asked about the future, it must not have given the future's tokens away.
                        let mut again = bucket.clone();
                        again.parts = u128::from(parts);
                        again.at = at(now);
                        bucket = again;
                    }
                }
            }
            for (first, begun) in left.iter().enumerate() {
                for (count, ended) in left[first..].iter().enumerate() {
                    let allowed = u64::from(burst) + (ended - begun) * u64::from(calls) / per_ms;
                    prop_assert!((count as u64) < allowed, "{} calls in {} ms", count + 1, ended - begun);
                }
            }
        }
    }
}

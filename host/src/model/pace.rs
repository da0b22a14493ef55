//! How fast a remote may be called: what its vendor documents, what an operator narrows that to, and what comes of both.

use std::num::{NonZeroU32, NonZeroU64};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Calls of one connection at the same time, whatever vendor and operator allow.
pub const CALLS_AT_ONCE_MAX: u32 = 32;
/// Failures that open a breaker, at most: what a breaker remembers is bounded by it.
pub const BREAKER_FAILURES_MAX: u32 = 1_000;

/// So many calls in so much time, spread evenly, and so many at once on top.
///
/// In any span of `t` milliseconds at most `burst + t × calls / per_ms` calls leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many calls.
    pub calls: NonZeroU32,
    /// In how much time, milliseconds.
    pub per_ms: NonZeroU64,
    /// How many may leave at once after a pause. Absent: 1, so that calls are spread evenly and no span of `per_ms` ever
    /// sees more than `calls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU32>,
}

impl Rate {
    /// How many may leave at once.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst.map_or(1, NonZeroU32::get)
    }

    /// The slower of two, with the smaller burst that either names.
    #[must_use]
    pub fn narrowed(self, other: Self) -> Self {
        let pace = |rate: &Self, other: &Self| u128::from(rate.calls.get()) * u128::from(other.per_ms.get());
        let slower = if pace(&other, &self) < pace(&self, &other) { other } else { self };
        let burst = match (self.burst, other.burst) {
            (Some(one), Some(another)) => Some(one.min(another)),
            (one, another) => one.or(another),
        };
        Self { burst, ..slower }
    }
}

/// What a vendor documents about its system: part of a connector's manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VendorLimits {
    /// Calls at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<NonZeroU32>,
    /// Calls over time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

impl VendorLimits {
    /// Whether nothing is documented.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What an operator sets for one connection; it can only narrow what the vendor documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionLimits {
    /// Calls at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<NonZeroU32>,
    /// Calls over time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// When a remote that fails is left alone.
    #[serde(default)]
    pub breaker: BreakerLimits,
}

/// When a remote that fails is left alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerLimits {
    /// It opens when so many of the latest twice as many calls failed, by a failure that is retryable or uncertain.
    pub failures: NonZeroU32,
    /// Only calls of so long ago or later count, milliseconds.
    pub window_ms: u64,
    /// For how long it stays open before one call probes the remote, milliseconds; doubled after each probe that fails.
    pub open_ms: u64,
    /// The longest that this doubling leads to, milliseconds.
    pub open_ms_max: u64,
}

impl Default for BreakerLimits {
    fn default() -> Self {
        Self { failures: NonZeroU32::MIN.saturating_add(4), window_ms: 60_000, open_ms: 5_000, open_ms_max: 60_000 }
    }
}

/// The limits that hold for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pace {
    /// Calls at the same time; others wait.
    pub concurrency: u32,
    /// Calls over time; others wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// When the remote is left alone; calls wait.
    pub breaker: BreakerLimits,
}

impl Pace {
    /// The narrowest of what the vendor documents, the operator sets, and the hub allows.
    #[must_use]
    pub fn narrowest(vendor: &VendorLimits, operator: &ConnectionLimits) -> Self {
        let named = [vendor.concurrency, operator.concurrency].into_iter().flatten().map(NonZeroU32::get);
        let rate = match (vendor.rate, operator.rate) {
            (Some(vendor), Some(operator)) => Some(vendor.narrowed(operator)),
            (vendor, operator) => vendor.or(operator),
        };
        let failures_max = NonZeroU32::new(BREAKER_FAILURES_MAX).unwrap_or(NonZeroU32::MIN);
        let breaker = BreakerLimits { failures: operator.breaker.failures.min(failures_max), ..operator.breaker };
        Self { concurrency: named.fold(CALLS_AT_ONCE_MAX, u32::min), rate, breaker }
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectionLimits, Pace, VendorLimits};

    #[track_caller]
    fn check(vendor: &str, operator: &str, expected: &str) {
        let vendor: VendorLimits = toml::from_str(vendor).unwrap();
        let operator: ConnectionLimits = toml::from_str(operator).unwrap();
        let Pace { concurrency, rate, .. } = Pace::narrowest(&vendor, &operator);
        let rate = rate.map_or("any".to_owned(), |r| format!("{}/{}ms burst {}", r.calls, r.per_ms, r.burst()));
        assert_eq!(format!("{concurrency}, {rate}"), expected);
    }

    #[test]
    fn an_operator_narrows_and_never_widens() {
        check("", "", "32, any");
        check("", "concurrency = 400", "32, any");
        check("concurrency = 1", "concurrency = 8", "1, any");
        check("concurrency = 8", "concurrency = 2", "2, any");
        let vendor = "rate = { calls = 40, per_ms = 1000, burst = 80 }";
        check(vendor, "", "32, 40/1000ms burst 80");
        check(vendor, "rate = { calls = 50, per_ms = 1000 }", "32, 40/1000ms burst 80");
        check(vendor, "rate = { calls = 600, per_ms = 60000 }", "32, 600/60000ms burst 80");
        check(vendor, "rate = { calls = 100, per_ms = 1000, burst = 5 }", "32, 40/1000ms burst 5");
        check("", "rate = { calls = 2, per_ms = 1000 }", "32, 2/1000ms burst 1");
    }

    #[test]
    fn nothing_at_all_is_no_limit_that_can_be_written() {
        for text in ["concurrency = 0", "rate = { calls = 0, per_ms = 1 }", "rate = { calls = 1, per_ms = 0 }", "x = 1"]
        {
            assert!(toml::from_str::<ConnectionLimits>(text).is_err(), "{text}");
        }
    }
}

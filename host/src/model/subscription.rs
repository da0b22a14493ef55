//! Events that are delivered to somebody's own endpoint.

use serde::{Deserialize, Serialize};

use super::connection::SecretRef;

/// What is delivered to whom, as an operator declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Whose it is: the name on the tokens of those who may see it, hold it and have it replayed.
    pub owner: String,
    /// Event types: exact, or with `*` at the end for all that begin so.
    pub types: Vec<String>,
    /// Whether events that were accepted from outside are delivered too. Otherwise: what pipelines emit.
    #[serde(default)]
    pub accepted: bool,
    /// Where to, with `https`.
    pub url: String,
    /// What deliveries are signed with: one secret, or two while one is exchanged for another.
    pub secrets: Vec<SecretRef>,
    /// Private addresses that may be reached all the same: CIDR blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// Longest wait for an answer, milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// Deliveries at the same time; those about one subject are always one after the other.
    #[serde(default = "default_concurrency")]
    pub concurrency: u32,
    /// How a delivery that fails is tried again.
    #[serde(default)]
    pub retry: Retry,
}

/// How a delivery that fails is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all.
    pub attempts: u32,
    /// Wait before the second, milliseconds; it doubles from then on.
    pub first_ms: u64,
    /// Longest wait, milliseconds.
    pub max_ms: u64,
    /// After how long there is no further attempt, seconds.
    pub within_s: u64,
}

impl Default for Retry {
    /// Twenty attempts in up to three days.
    fn default() -> Self {
        Self { attempts: 20, first_ms: 1_000, max_ms: 4 * 3_600_000, within_s: 3 * 86_400 }
    }
}

fn default_timeout_ms() -> u64 {
    10_000
}

fn default_concurrency() -> u32 {
    4
}

impl Subscription {
    /// Whether events of a type are delivered.
    #[must_use]
    pub fn wants(&self, event_type: &str) -> bool {
        fits(&self.types, event_type)
    }
}

/// Whether one of the patterns fits: the same text, or its beginning before a final `*`.
#[must_use]
pub fn fits(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => text.starts_with(beginning),
        None => pattern == text,
    })
}

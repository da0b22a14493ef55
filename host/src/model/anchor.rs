//! Where the hub sends what it signs of its journal, so that somebody else can tell what is missing later.

use serde::{Deserialize, Serialize};

use super::{connection::SecretRef, timestamp::Timestamp};

/// An anchor, as an operator declares it: `[audit.anchor]` in hub.toml.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// Where to, with `https`.
    pub url: String,
    /// What a post is signed with beside the checkpoint's own signature: up to two secrets, while one is exchanged for
    /// another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretRef>,
    /// Private addresses that may be reached all the same: CIDR blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// How often the journal's state is signed and sent while anything happens, seconds.
    #[serde(default = "default_every_s")]
    pub every_s: u64,
    /// Longest wait for an answer, milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

fn default_every_s() -> u64 {
    600
}

fn default_timeout_ms() -> u64 {
    10_000
}

/// How far something reaches in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The batch.
    pub batch: u64,
    /// When the hub signed it.
    pub time: Timestamp,
}

/// How an anchor stands. It names a place, and no path: that may hold a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorView {
    /// Where checkpoints are sent: scheme, host and port.
    pub origin: String,
    /// How often, seconds.
    pub every_s: u64,
    /// The last checkpoint that the hub signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Reached>,
    /// The last one that the anchor has taken: up to there it proves that nothing is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Reached>,
    /// Since when there is one that it has not taken; absent: it has taken all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_since: Option<Timestamp>,
    /// Attempts in a row that failed.
    #[serde(default)]
    pub attempts: u32,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

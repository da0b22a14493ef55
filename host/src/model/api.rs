//! Reads of a connection that are published to channels and partners under an operation contract.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{id::ContractId, timestamp::Timestamp};

/// What an operator publishes under a contract: which reads, through which connection, on which terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// The connection behind it. Consumers do not see it, and it can be exchanged for any that implements the contract.
    pub connection: String,
    /// Which operations of the contract, all of them reads.
    pub operations: BTreeSet<String>,
    /// For how long an answer may be given again, seconds. 0: never, each request asks the remote.
    #[serde(default)]
    pub cache_s: u32,
    /// For how long after that an answer may still be given while the remote gives none, seconds. 0: never.
    #[serde(default)]
    pub stale_if_error_s: u32,
    /// From when on consumers are told to move away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Timestamp>,
    /// From when on it answers nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sunset: Option<Timestamp>,
    /// The contract that they are to move to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<ContractId>,
    /// The longest that a consumer waits for the remote, milliseconds; absent: as long as the plugin's own deadline, at
    /// most ten seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
}

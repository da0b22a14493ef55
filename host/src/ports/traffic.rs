//! What the surfaces show of flow control: connections with their limits and health, and the lanes.

use serde::Serialize;

use crate::model::{failure::FailureKind, id::PluginId, lane::Lane, pace::Pace, timestamp::Timestamp};

/// A connection as it is now. Never holds a secret, nor where one is kept.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionView {
    /// Its name.
    pub name: String,
    /// The plugin that serves it.
    pub plugin: PluginId,
    /// The plugin's version.
    pub version: String,
    /// Changes with each change of the connection.
    pub revision: u64,
    /// Who has the say about it: `file` (hub.toml) or `api`, whose changes hub.toml does not override.
    pub origin: &'static str,
    /// What hub.toml declares of it: the `same`, or something that `differs`; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared: Option<&'static str>,
    /// The origins that it may reach.
    pub hosts: Vec<String>,
    /// The limits that hold: the narrowest of the vendor's, the operator's and the hub's.
    pub limits: Pace,
    /// Whether its remote is left alone.
    pub breaker: BreakerView,
    /// Calls that may leave at once now; absent: no rate is set.
    pub tokens: Option<u32>,
    /// Calls that are under way.
    pub in_flight: u32,
    /// Calls that wait to leave.
    pub waiting: usize,
}

/// Whether a remote is left alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakerView {
    /// `closed` (calls go), `open` (calls wait) or `half-open` (one call at a time probes the remote).
    pub state: &'static str,
    /// Since when it is open or half open.
    pub since: Option<Timestamp>,
    /// Until when it is open.
    pub until: Option<Timestamp>,
    /// The latest failure that told of the remote's health.
    pub last_failure: Option<LastFailure>,
}

/// A failure of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastFailure {
    /// When.
    pub time: Timestamp,
    /// What the hub did about it.
    pub kind: FailureKind,
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
}

/// The lanes, and how much is under way.
#[derive(Clone, Debug, Serialize)]
pub struct LanesView {
    /// Runs that are being worked on.
    pub under_way: usize,
    /// So many are under way at most.
    pub runs_limit: usize,
    /// Each lane, the first to go first.
    pub lanes: Vec<LaneView>,
}

/// A lane.
#[derive(Clone, Debug, Serialize)]
pub struct LaneView {
    /// Which.
    pub lane: Lane,
    /// Pure calls and deliveries that wait for a turn.
    pub waiting_pure: usize,
    /// Calls of connectors that wait for a turn, after their connection let them go.
    pub waiting_outward: usize,
    /// Calls that wait for their connection, over all connections.
    pub waiting_connections: usize,
    /// New events of this lane are refused while so many runs are under way.
    pub refused_from: usize,
    /// Whether they are refused now.
    pub refusing: bool,
}

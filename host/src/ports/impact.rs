//! What depends on a plugin, a host or an event type, as the surfaces ask.

use semver::Version;
use serde::Serialize;

use crate::model::id::{PluginId, RunId};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A plugin.
    Plugin {
        /// The line.
        id: PluginId,
        /// One version of it; absent: any.
        version: Option<Version>,
    },
    /// A host that connections and deliveries reach: `erp.example`, `erp.example:8443` or `https://erp.example`.
    Host(String),
    /// An event type.
    EventType(String),
}

/// What depends on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Impact {
    /// The plugin's version, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Pipelines that have to do with it. An earlier version is among them as long as runs of it do.
    pub pipelines: Vec<ImpactedPipeline>,
    /// Connections that a plugin serves, or that reach a host.
    pub connections: Vec<String>,
    /// Webhook sources that a plugin reads, or that bring events of a type.
    pub sources: Vec<String>,
    /// Versions of plugins whose manifests name a host, or that bring events of a type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<String>,
    /// Contracts whose reads are published through those connections.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub apis: Vec<String>,
    /// Deliveries to a host, or of events of a type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<ImpactedSubscription>,
    /// Runs that have not ended and may have to do with it, whichever version of their pipeline they are of.
    pub runs_open: usize,
    /// Of them, how many have called it, as far as was looked; for an event type, all of them.
    pub runs_holding: usize,
    /// Some of those.
    pub runs: Vec<RunId>,
    /// How many runs were looked into; if less than `runs_open`, more may hold it.
    pub runs_examined: usize,
}

/// A pipeline that has to do with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImpactedPipeline {
    /// Its name.
    pub pipeline: String,
    /// Its version.
    pub version: String,
    /// Who answers for it.
    pub owner: String,
    /// The steps that do.
    pub steps: Vec<String>,
    /// What an event type is to it: `starts` it, it `waits` for such events, it `sends` them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<&'static str>,
    /// Whether that holds for runs that start now; for a plugin's version, whether it serves there, alone or as a canary.
    pub serves: bool,
    /// Runs of this version that have not ended.
    pub runs_open: usize,
}

/// A subscription that has to do with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImpactedSubscription {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub owner: String,
}

//! Facts about the calls of a step: its attempts, what runs for it, and what it gave.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{
    decision::{Assessment, Verdict},
    failure::Failure,
    id::{Digest, IdempotencyKey, PluginId},
    json::Json,
    limits::Usage,
    log::LogLine,
    table::TableUse,
    timestamp::Timestamp,
};

/// Exactly which plugin, with which authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginUse {
    /// `namespace/name`.
    pub id: PluginId,
    /// Its version.
    pub version: String,
    /// Digest of its component.
    pub digest: Digest,
    /// Version of the contract that it speaks.
    pub contract: String,
    /// Revision of the connection and its grants; 0 for a pure step, which has none.
    pub grant: u64,
    /// Whether it served as a canary, beside the active version of its line.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub canary: bool,
}

/// A step's beginning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepStarted {
    /// Which step.
    pub step: String,
    /// The time that the plugin sees.
    pub time: Timestamp,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// What runs; absent for `emit`.
    pub plugin: Option<Arc<PluginUse>>,
    /// For a read: `connection#operation`; for an `emit`: the event's type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Exactly which reference tables its input is made with: each attempt is given the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableUse>,
    /// Of a pure step: digest of the input, so that whoever makes it again from the facts before can prove that it is the
    /// same. Absent in what earlier releases wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Digest>,
}

/// A write's intent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Which step.
    pub step: String,
    /// When.
    pub time: Timestamp,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// What runs.
    pub plugin: Arc<PluginUse>,
    /// `connection#operation`.
    pub operation: String,
    /// The key that the remote is given.
    pub key: IdempotencyKey,
    /// Digest of the input.
    pub input: Digest,
    /// Whether this attempt first asks the remote if an earlier one took effect.
    #[serde(default)]
    pub resolving: bool,
    /// As in [`StepStarted`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableUse>,
}

/// What a step gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepDone {
    /// Which step.
    pub step: String,
    /// When.
    pub time: Timestamp,
    /// What.
    pub output: Output,
    /// What the call used.
    pub usage: Usage,
    /// What was logged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogLine>,
    /// What the connector noted beside its output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<(String, String)>,
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// A document: of a transform, a connector, or an emitted event's id.
    Json(Json),
    /// A rule's decision.
    Verdict(Verdict),
    /// A scorer's recommendation.
    Assessment(Assessment),
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptFailed {
    /// Which step.
    pub step: String,
    /// When.
    pub time: Timestamp,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Why.
    pub failure: Failure,
    /// When the next attempt is due; absent: there is none.
    pub next: Option<Timestamp>,
    /// What the call used.
    pub usage: Usage,
    /// What was logged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogLine>,
}

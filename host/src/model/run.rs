//! Runs, as people and programs see them: derived from the journal, never stored.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    decision::Reason,
    entry::PluginUse,
    failure::Failure,
    id::{AcceptanceId, Digest, RunId},
    json::Json,
    limits::Usage,
    table::TableUse,
    timestamp::Timestamp,
};

/// Where a run stands. It is always one of these: nothing hangs without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// A step is being worked on.
    Running,
    /// A step waits until a time, such as a retry.
    Waiting,
    /// Ended: every step is done.
    Completed,
    /// Ended: a rule rejected it.
    Rejected,
    /// It cannot go on without a person; the cause says why.
    Parked,
    /// Ended: a step failed for good, and what was declared for that was done.
    Failed,
    /// Ended: a person cancelled it.
    Cancelled,
    /// A person keeps it from going on.
    Paused,
    /// Its effects are being undone.
    Compensating,
}

impl RunState {
    /// Whether nothing more happens by itself.
    #[must_use]
    pub fn is_settled(self) -> bool {
        self.is_ended() || self == Self::Parked
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Rejected | Self::Failed | Self::Cancelled)
    }

    /// The word that the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Rejected => "rejected",
            Self::Parked => "parked",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Paused => "paused",
            Self::Compensating => "compensating",
        }
    }
}

/// The line of a run in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Its id.
    pub id: RunId,
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline's version.
    pub pipeline_version: String,
    /// What it is about.
    pub key: String,
    /// Where it stands.
    pub state: RunState,
    /// The step that it is at, or ended at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// In one sentence, why it waits, is parked or was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// When the next thing is due, while waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// When it was started.
    pub started: Timestamp,
    /// When its latest fact was recorded.
    pub updated: Timestamp,
    /// The acceptance that started it.
    pub acceptance: AcceptanceId,
    /// The run that started it, if a step did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
    /// Calls that are out, as far as facts tell; never too few unless branches run side by side.
    #[serde(skip)]
    pub out: u32,
    /// Whether branches ran side by side.
    #[serde(skip)]
    pub wide: bool,
    /// Whether it is being wound down.
    #[serde(skip)]
    pub halted: bool,
    /// While it is paused: where it stands otherwise.
    #[serde(skip)]
    pub aside: Option<Box<Aside>>,
}

/// Where a paused run stands otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// As [`RunSummary::state`].
    pub state: RunState,
    /// As [`RunSummary::due`].
    pub due: Option<Timestamp>,
    /// As [`RunSummary::cause`].
    pub cause: Option<String>,
}

impl RunSummary {
    /// The code of what parked or failed it, as the cause begins with it.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        let (code, _) = self.cause.as_deref()?.strip_prefix('`')?.split_once('`')?;
        Some(code)
    }

    /// Whether the run does nothing before it is due, so that it need not be in memory until then.
    #[must_use]
    pub fn only_waits(&self) -> bool {
        !self.wide && !self.halted && self.out == 0 && self.due.is_some()
    }
}

/// A run with everything that is recorded about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// The summary.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// Digest of the pipeline's text.
    pub pipeline_digest: Digest,
    /// The event that started it.
    pub event: RunEvent,
    /// Its steps in the order in which they began.
    pub steps: Vec<StepView>,
}

/// The event that started a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunEvent {
    /// Its id.
    pub id: String,
    /// Who said so.
    pub source: String,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What it happened to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When the hub accepted it.
    pub accepted: Timestamp,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// It is being worked on.
    Running,
    /// It waits for its next attempt.
    Waiting,
    /// It gave a result.
    Done,
    /// Its condition did not hold.
    Skipped,
    /// It failed for good.
    Failed,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// Its path within the pipeline, such as `plan` or `plan/express/quote`.
    pub path: String,
    /// `transform`, `rule`, `score`, `call`, `switch` or `emit`.
    pub kind: String,
    /// How far it is.
    pub state: StepState,
    /// What ran: plugin, version, digest, grant revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Arc<PluginUse>>,
    /// Exactly which reference tables its input was made with.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tables: Vec<TableUse>,
    /// For a call: `connection#operation`; for an `emit`: the event's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// For a call that writes: the key that the remote was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Attempts begun.
    pub attempts: u32,
    /// What the last attempt used.
    pub usage: Usage,
    /// A rule's outcome or a scorer's recommendation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reasons: Vec<Reason>,
    /// The output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// The failures of earlier attempts, and the last one.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub failures: Vec<AttemptFailure>,
    /// What the plugin and the hub logged.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub log: Vec<String>,
}

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptFailure {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// When it failed.
    pub time: Timestamp,
    /// Why.
    pub failure: Failure,
    /// When the next attempt is due, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

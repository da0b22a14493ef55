//! What the state machine asks of the runner, and what the runner tells it.

use std::sync::Arc;

use super::InstanceId;
use crate::{
    flow::document::Document,
    flow::plan::{PluginRange, PureKind, TableRange},
    model::{
        entry::{ApprovalDecided, Controlled, Entry, Output, PluginUse},
        event::Event,
        failure::Failure,
        id::{AcceptanceId, IdempotencyKey, RunId, SignalKey},
        limits::Usage,
        log::LogLine,
        manifest::Doubt,
        personal::Personal,
        table::TableUse,
        timestamp::Timestamp,
    },
};

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Remember this fact; the next [`Effect::Commit`] makes it durable.
    Record(Entry),
    /// Make everything recorded so far durable before anything else is done.
    Commit,
    /// Call a pure plugin.
    Invoke(Invoke),
    /// Call a connector's operation.
    Call(Call),
    /// Accept an event, as if it came from outside.
    Emit(Emit),
    /// Start another run, or find it if it was started before, and tell how it ended.
    Start(Start),
    /// Cancel a run that was started and is waited for, since its end is needed no more; its end is told as ever.
    Withdraw(Withdraw),
    /// Have a run that was started, and has completed, undo what it did; tell when it has.
    Undo(Undo),
    /// Come back at this time.
    Sleep(Timestamp),
}

/// A call of a pure plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Invoke {
    /// The step, and in which item or iteration.
    pub instance: InstanceId,
    /// Its path.
    pub step: String,
    /// Which interface.
    pub kind: PureKind,
    /// Exactly what runs.
    pub plugin: Arc<PluginUse>,
    /// Its input.
    pub input: Document,
    /// What its clock shows.
    pub time: Timestamp,
    /// What its randomness comes from.
    pub seed: [u8; 32],
    /// Longest time, milliseconds, if the pipeline bounds it.
    pub timeout_ms: Option<u64>,
}

/// A call of a connector's operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The step, and in which item or iteration.
    pub instance: InstanceId,
    /// Its path.
    pub step: String,
    /// The name in the pipeline's `uses`.
    pub connection: String,
    /// The operation: the step's, or the one that finds out whether it took effect.
    pub operation: String,
    /// Exactly what runs.
    pub plugin: Arc<PluginUse>,
    /// Its input.
    pub input: Document,
    /// The key of the intended effect.
    pub key: IdempotencyKey,
    /// From 1.
    pub attempt: u32,
    /// Whether the operation is a read.
    pub read_only: bool,
    /// Longest time, milliseconds, if the pipeline bounds it.
    pub timeout_ms: Option<u64>,
    /// If only one page of the result is asked for: which. Its output is then `{rows, next}`, without `next` at the end.
    pub page: Option<Page>,
}

/// A page of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// `next` of the page before; absent: the first one.
    pub after: Option<String>,
}

/// An event to accept.
#[derive(Clone, Debug, PartialEq)]
pub struct Emit {
    /// The step, and in which item or iteration.
    pub instance: InstanceId,
    /// The event.
    pub event: Event,
}

/// Another run to start.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The step, and in which item or iteration.
    pub instance: InstanceId,
    /// The run.
    pub run: RunId,
    /// Its pipeline's name.
    pub pipeline: String,
    /// Which versions.
    pub range: semver::VersionReq,
    /// The step's path.
    pub step: String,
    /// Whether it is only started.
    pub detach: bool,
    /// Its event's data.
    pub data: Document,
}

/// A run that is needed no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdraw {
    /// The step that waits for it, and in which item or iteration.
    pub instance: InstanceId,
    /// The run.
    pub run: RunId,
}

/// A run that is to undo what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// What undoes the step that started it.
    pub instance: InstanceId,
    /// The run.
    pub run: RunId,
}

/// What the runner tells.
#[derive(Clone, Debug)]
pub enum Input {
    /// The run was just made or read back; nothing is in flight.
    Resume,
    /// It is the time that was asked for.
    Wake,
    /// An [`Effect::Invoke`], [`Effect::Call`] or [`Effect::Emit`] has ended.
    Answer(Box<Answer>),
    /// The same, and the hub is stopping: it is recorded, and nothing new is begun.
    Last(Box<Answer>),
    /// An event came under a key that the run waits for.
    Signal(Box<Arrived>),
    /// A person decided; [`super::Run::check_decision`] was asked first.
    Decision(Box<ApprovalDecided>),
    /// A person takes hold of the run; [`super::Run::check_control`] was asked first.
    Control(Box<Controlled>),
}

/// An event that a run may be waiting for.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrived {
    /// The key under which it was found.
    pub key: SignalKey,
    /// Its acceptance.
    pub acceptance: AcceptanceId,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// The event.
    pub event: Event,
    /// What of it is personal data.
    pub personal: Option<Personal>,
}

/// How an effect ended.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The step, and in which item or iteration.
    pub instance: InstanceId,
    /// What it gave.
    pub result: Result<Output, Failure>,
    /// What it used.
    pub usage: Usage,
    /// What was logged.
    pub log: Vec<LogLine>,
    /// What the connector noted.
    pub annotations: Vec<(String, String)>,
}

/// What is installed at this moment, as far as a run must know. Pure look-ups.
pub trait Bindings {
    /// The plugin that serves a line now.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    fn plugin(&self, range: &PluginRange, pick: Pick<'_>) -> Result<Arc<PluginUse>, Unserved>;

    /// The connector that serves an operation of a name in `uses` now.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    fn operation(&self, connection: &str, operation: &str, pick: Pick<'_>) -> Result<OperationUse, Unserved>;

    /// The version of a reference table that serves now, and its rows.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    fn table(&self, wanted: &TableRange) -> Result<(TableUse, Document), Unserved> {
        Err(format!("there is no table `{}`", wanted.name).into())
    }
}

/// Which of a line's versions is wanted.
#[derive(Clone, Copy, Debug)]
pub enum Pick<'a> {
    /// The one that is bound: a canary for some keys.
    Bound,
    /// The active one, whatever is on trial.
    Active,
    /// The one that made an effect, as long as it may be called; then as [`Pick::Active`].
    Same(&'a PluginUse),
    /// Of an operation: as it is bound, of the system that the run has begun to work with under the name.
    Begun {
        /// An earlier call under the same name.
        with: &'a PluginUse,
        /// As [`Pick::Active`] rather than as [`Pick::Bound`].
        active_only: bool,
    },
}

/// Nothing serves what a step calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// `binding.missing`, or `plugin.revoked`.
    pub code: &'static str,
    /// What is missing, and what to do about it.
    pub problem: String,
}

impl From<String> for Unserved {
    fn from(problem: String) -> Self {
        Self { code: "binding.missing", problem }
    }
}

/// The connector that serves an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationUse {
    /// Exactly what runs.
    pub plugin: Arc<PluginUse>,
    /// How doubt about a lost answer is resolved.
    pub doubt: Doubt,
    /// Whether it may be another system than the one that the pick named: what it was is not known any more.
    pub elsewhere: bool,
}

//! What the state machine asks of the runner, and what the runner tells it.

use std::sync::Arc;

use crate::{
    flow::document::Document,
    flow::plan::{NodeId, PluginRange, PureKind},
    model::{
        entry::{Entry, Output, PluginUse},
        event::Event,
        failure::Failure,
        id::IdempotencyKey,
        limits::Usage,
        log::LogLine,
        manifest::Doubt,
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
    /// Come back at this time.
    Sleep(Timestamp),
}

/// A call of a pure plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Invoke {
    /// The step.
    pub node: NodeId,
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
    /// The step.
    pub node: NodeId,
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
}

/// An event to accept.
#[derive(Clone, Debug, PartialEq)]
pub struct Emit {
    /// The step.
    pub node: NodeId,
    /// The event.
    pub event: Event,
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
}

/// How an effect ended.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The step.
    pub node: NodeId,
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
    fn plugin(&self, range: &PluginRange) -> Result<Arc<PluginUse>, String>;

    /// The connector that serves an operation of a name in `uses` now.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    fn operation(&self, connection: &str, operation: &str) -> Result<OperationUse, String>;
}

/// The connector that serves an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationUse {
    /// Exactly what runs.
    pub plugin: Arc<PluginUse>,
    /// How doubt about a lost answer is resolved.
    pub doubt: Doubt,
}

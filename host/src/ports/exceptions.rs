//! What the surfaces show of exceptions: events that came for something that was undone, until a person closes them.

use serde::Serialize;

use crate::model::{
    event::Event,
    id::{AcceptanceId, RunId},
    timestamp::Timestamp,
};

/// An open exception.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exception {
    /// The run that was undone.
    pub run: RunId,
    /// Its pipeline; absent: it ended so long ago that it is no longer listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// What the run is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The wait that would have taken the event.
    pub step: String,
    /// The event's name in that wait.
    pub name: String,
    /// The event's acceptance, by which the exception is closed.
    pub acceptance: AcceptanceId,
    /// When it was opened.
    pub opened: Timestamp,
    /// The event, with its data.
    pub event: Event,
}

/// Which of them.
#[derive(Clone, Debug, Default)]
pub struct ExceptionFilter {
    /// Only of this run.
    pub run: Option<RunId>,
    /// Only of this pipeline.
    pub pipeline: Option<String>,
    /// At most so many, latest first.
    pub limit: usize,
}

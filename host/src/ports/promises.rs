//! What the surfaces show of promises: runs that are late, or will be.

use serde::{Deserialize, Serialize};

use crate::model::{id::RunId, pipeline::Standing, run::RunState, timestamp::Timestamp};

/// A run that is at risk or late.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Promise {
    /// The run.
    pub run: RunId,
    /// Its pipeline.
    pub pipeline: String,
    /// What it is about.
    pub key: String,
    /// Where it stands.
    pub state: RunState,
    /// The step that it is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// When it has to be finished.
    pub due: Timestamp,
    /// At risk or late.
    pub standing: Standing,
}

/// Which of them.
#[derive(Clone, Debug, Default)]
pub struct PromiseFilter {
    /// Only of this pipeline.
    pub pipeline: Option<String>,
    /// Only those that are at risk, or only those that are late.
    pub standing: Option<Standing>,
    /// At most so many, those that are due first.
    pub limit: usize,
}

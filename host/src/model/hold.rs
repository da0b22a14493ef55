//! A pipeline that is paused as a whole.

use serde::{Deserialize, Serialize};

use super::timestamp::Timestamp;

/// Why no step of a pipeline's runs begins, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who paused it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// What somebody does with a pipeline as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum HoldAct {
    /// No step of its runs begins any more.
    Pause,
    /// They go on where they stand.
    Continue,
}

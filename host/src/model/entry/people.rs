//! Facts that people make: what they were asked, what they decided, and how they took hold of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::PipelineUse;
use crate::model::{
    id::{AcceptanceId, Digest},
    json::Json,
    timestamp::Timestamp,
};

/// A question to people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalAsked {
    /// The step that asks.
    pub step: String,
    /// When.
    pub time: Timestamp,
    /// Which question of the step this is, from 1; a decision names it.
    pub revision: u32,
    /// Who is asked.
    pub group: String,
    /// How many have to agree.
    pub quorum: u32,
    /// People who may not decide.
    pub not: Vec<String>,
    /// What is shown, the parts that the pipeline names first.
    pub evidence: Json,
    /// Digest of the evidence; a decision names it.
    pub digest: Digest,
    /// When people are reminded.
    pub remind: Vec<Timestamp>,
    /// Who else is asked, and when.
    pub escalate: Option<(String, Timestamp)>,
    /// When it is too late.
    pub due: Timestamp,
}

/// A person's decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalDecided {
    /// The step that asked.
    pub step: String,
    /// When.
    pub time: Timestamp,
    /// The question's revision.
    pub revision: u32,
    /// Digest of the evidence that the person saw.
    pub digest: Digest,
    /// Who decided.
    pub actor: String,
    /// For whom, if the actor stands in for somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    /// Yes or no.
    pub approved: bool,
    /// Whether it decides alone, whatever the quorum, with a reason code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_code: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What a person did with a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Controlled {
    /// When.
    pub time: Timestamp,
    /// Who.
    pub actor: String,
    /// What.
    pub action: Control,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What people can do with a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Control {
    /// No step begins until it is continued; what is in flight is recorded.
    Pause,
    /// Goes on after a pause.
    Continue,
    /// No forward step begins any more; then it ends.
    Cancel {
        /// Whether its effects are undone.
        compensate: bool,
    },
    /// A parked run tries again where it stopped, with all its attempts; a decision that parked it counts as made.
    Resume,
    /// A parked run ends as failed, through the pipeline's `on_error`.
    Close {
        /// Whether its effects are undone.
        compensate: bool,
    },
    /// A person found out about a write in doubt.
    Resolve {
        /// The step.
        step: String,
        /// What the write gave; absent: it did not take effect and may be repeated.
        output: Option<Json>,
    },
    /// Another group is asked.
    Reassign {
        /// The step that asks.
        step: String,
        /// The group.
        to: String,
    },
    /// Begins again at a step; later steps are forgotten, their effects kept or undone.
    Restart {
        /// The step.
        step: String,
        /// Whether later effects are undone first; else they stay, and their steps' results are used again.
        undo: bool,
    },
    /// What a run that has completed did is undone: the run that started it is being undone.
    Undo,
    /// A person has dealt with an event that came for something undone.
    CloseException {
        /// The event's acceptance, as text: beside a tag, ids have no other form.
        #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
        event: AcceptanceId,
    },
}

fn as_text<S: Serializer>(id: &AcceptanceId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AcceptanceId, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

/// A person moved the run to another version of its pipeline: its facts up to here are read as facts of that version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// When.
    pub time: Timestamp,
    /// Who.
    pub actor: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// What is executed from now on.
    pub pipeline: PipelineUse,
    /// Steps that are called otherwise there, by their ids of before.
    pub steps: BTreeMap<String, String>,
}

impl Moved {
    /// Gives a step's path the name that the step has there.
    pub fn rename(&self, path: &mut String) {
        let end = path.find(['[', '~']).unwrap_or(path.len());
        if let Some(name) = path.get(..end).and_then(|id| self.steps.get(id)) {
            path.replace_range(..end, name);
        }
    }
}

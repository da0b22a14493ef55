//! What rules and scorers answer.

use serde::{Deserialize, Serialize};

use super::json::Json;

/// How a run goes on after a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// On to the next step.
    Proceed,
    /// Wait for a person of the group in `target`.
    Hold,
    /// End the run as rejected.
    Reject,
    /// Take the branch in `target`.
    Route,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Proceed => "proceed",
            Self::Hold => "hold",
            Self::Reject => "reject",
            Self::Route => "route",
        })
    }
}

/// One ground for a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable and for programs, dotted.
    pub code: String,
    /// For people.
    pub message: String,
    /// The part of the input that it rests on, a JSON Pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A rule's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How the run goes on.
    pub outcome: Outcome,
    /// The approval group (`hold`) or branch (`route`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Most important first.
    #[serde(default)]
    pub reasons: Vec<Reason>,
    /// What replaces the step's input for what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
}

/// Another recommendation that a scorer considered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// What it would have been.
    pub recommendation: String,
    /// Its score, 0.0 to 1.0.
    pub score: f64,
}

/// A scorer's recommendation, with what explains it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// The model's name.
    pub model: String,
    /// The model's own version.
    pub model_version: String,
    /// 0.0 to 1.0; its meaning is the model's.
    pub score: f64,
    /// 0.0 to 1.0.
    pub confidence: f64,
    /// One of the manifest's recommendations.
    pub recommendation: String,
    /// Best first, without the recommendation itself.
    #[serde(default)]
    pub alternatives: Vec<Alternative>,
    /// Most important first.
    #[serde(default)]
    pub reasons: Vec<Reason>,
    /// The features as the model saw them: a flat JSON object.
    pub features: Json,
}

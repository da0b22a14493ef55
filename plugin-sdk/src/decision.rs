//! What rules and scorers answer.

use serde::Serialize;
use serde_json::Value;

/// How a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
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

/// One ground for a decision, shown to people and kept in the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Stable and for programs, dotted.
    pub code: String,
    /// For people.
    pub message: String,
    /// The part of the input that it rests on, a JSON Pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A decision. Every outcome but `proceed` needs a reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// How the run goes on.
    pub outcome: Outcome,
    /// The approval group (`hold`) or branch (`route`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Why, most important first.
    pub reasons: Vec<Reason>,
    /// What replaces the step's input for what follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

impl Verdict {
    fn new(outcome: Outcome, target: Option<String>) -> Self {
        Self { outcome, target, reasons: Vec::new(), output: None }
    }

    /// On to the next step.
    #[must_use]
    pub fn proceed() -> Self {
        Self::new(Outcome::Proceed, None)
    }

    /// Wait for a person of this group.
    pub fn hold(group: impl Into<String>) -> Self {
        Self::new(Outcome::Hold, Some(group.into()))
    }

    /// End the run as rejected.
    #[must_use]
    pub fn reject() -> Self {
        Self::new(Outcome::Reject, None)
    }

    /// Take this branch.
    pub fn route(branch: impl Into<String>) -> Self {
        Self::new(Outcome::Route, Some(branch.into()))
    }

    /// Adds a reason.
    #[must_use]
    pub fn because(mut self, code: impl Into<String>, message: impl Into<String>) -> Self {
        self.reasons.push(Reason { code: code.into(), message: message.into(), path: None });
        self
    }

    /// Says what part of the input the last reason rests on, as a JSON Pointer such as `/lines/0/quantity`.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        if let Some(reason) = self.reasons.last_mut() {
            reason.path = Some(path.into());
        }
        self
    }

    /// Replaces the step's input for what follows. What has no JSON form is left out.
    #[must_use]
    pub fn with(mut self, output: &impl Serialize) -> Self {
        self.output = serde_json::to_value(output).ok();
        self
    }
}

/// Another recommendation that was considered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alternative {
    /// What it would have been.
    pub recommendation: String,
    /// Its score, 0.0 to 1.0.
    pub score: f64,
}

/// A recommendation, with what is needed to explain it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assessment {
    /// The model's name.
    pub model: String,
    /// The model's own version.
    pub model_version: String,
    /// 0.0 to 1.0; its meaning is the model's.
    pub score: f64,
    /// How sure the model is, 0.0 to 1.0.
    pub confidence: f64,
    /// What the model would do.
    pub recommendation: String,
    /// Best first, without the recommendation itself. At most 16.
    pub alternatives: Vec<Alternative>,
    /// Why, most important first. At most 32.
    pub reasons: Vec<Reason>,
    /// The features as the model saw them: a flat object of numbers, strings and booleans.
    pub features: Value,
}

impl Assessment {
    /// An assessment without alternatives, reasons and features.
    pub fn new(
        model: impl Into<String>,
        model_version: impl Into<String>,
        recommendation: impl Into<String>,
        score: f64,
        confidence: f64,
    ) -> Self {
        Self {
            model: model.into(),
            model_version: model_version.into(),
            score,
            confidence,
            recommendation: recommendation.into(),
            alternatives: Vec::new(),
            reasons: Vec::new(),
            features: Value::Object(serde_json::Map::new()),
        }
    }

    /// Adds a reason.
    #[must_use]
    pub fn because(mut self, code: impl Into<String>, message: impl Into<String>) -> Self {
        self.reasons.push(Reason { code: code.into(), message: message.into(), path: None });
        self
    }

    /// Says what part of the input the last reason rests on, as a JSON Pointer.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        if let Some(reason) = self.reasons.last_mut() {
            reason.path = Some(path.into());
        }
        self
    }

    /// Adds a recommendation that was considered.
    #[must_use]
    pub fn or(mut self, recommendation: impl Into<String>, score: f64) -> Self {
        self.alternatives.push(Alternative { recommendation: recommendation.into(), score });
        self
    }

    /// Tells a feature as the model saw it.
    #[must_use]
    pub fn saw(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Value::Object(features) = &mut self.features {
            features.insert(name.to_owned(), value.into());
        }
        self
    }
}

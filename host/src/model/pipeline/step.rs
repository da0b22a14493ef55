//! A step: what holds for every kind of it. What it does is its [`Action`].

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Place, TableRef,
    action::{Action, Approval, Fallback, Over},
    template::{Expression, Template},
};
use crate::model::failure::FailureKind;

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Its id, unique in the pipeline: as written, or made from its kind and position (`emit-9`, `placed-undo-7`).
    /// Made ones contain `-`, so that they never meet a written one and no expression names them.
    pub id: String,
    /// Whether the id is written.
    #[serde(skip)]
    pub named: bool,
    /// The step is skipped, and its output null, unless this holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Expression>,
    /// Bound of one attempt, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Bound of the whole step with all its attempts, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_ms: Option<u64>,
    /// Whether and when a failed attempt is followed by another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// The reference tables that its input is made with, by the names that it gives them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, TableRef>,
    /// How its effect is undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compensate: Option<Compensation>,
    /// What gives the output when the step itself cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// What happens when it fails for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_error: Option<Consequence>,
    /// Nothing before it is undone any more once its intent is durable.
    pub point_of_no_return: bool,
    /// What it does.
    pub action: Action,
    /// Where it begins in the text.
    #[serde(skip)]
    pub at: Place,
}

impl Step {
    /// The lists of steps inside it with the name of each branch (empty for the body of a loop), in the order of the
    /// text.
    #[must_use]
    pub fn children(&self) -> Vec<(&str, &[Step])> {
        let mut lists: Vec<(&str, &[Self])> = Vec::new();
        match &self.action {
            Action::Rule { outcomes, .. } => {
                for (name, consequence) in outcomes.consequences() {
                    lists.extend(consequence.steps().map(|steps| (name, steps)));
                }
                lists.extend(outcomes.route.iter().map(|branch| (branch.name.as_str(), branch.steps.as_slice())));
            }
            Action::Switch { cases, otherwise, .. } => {
                lists.extend(cases.iter().map(|case| (case.name.as_str(), case.steps.as_slice())));
                lists.extend(otherwise.iter().map(|steps| ("otherwise", steps.as_slice())));
            }
            Action::Parallel { branches, .. } => {
                lists.extend(branches.iter().map(|branch| (branch.name.as_str(), branch.steps.as_slice())));
            }
            Action::For { steps, .. } => lists.push(("", steps)),
            Action::Loop { steps, on_exhausted, .. } => {
                lists.push(("", steps));
                lists.extend(consequence_steps("on_exhausted", on_exhausted.as_ref()));
            }
            Action::Wait { on_expiry, .. } => lists.extend(consequence_steps("on_expiry", on_expiry.as_ref())),
            _ => {}
        }
        lists.extend(consequence_steps("on_error", self.on_error.as_ref()));
        lists
    }

    /// Appends the step and all inside it.
    pub(super) fn collect<'a>(&'a self, all: &mut Vec<&'a Self>) {
        all.push(self);
        for (_, steps) in self.children() {
            steps.iter().for_each(|step| step.collect(all));
        }
    }

    /// The pages that a `for` goes over: connection and operation.
    #[must_use]
    pub fn pages(&self) -> Option<(&str, &str)> {
        match &self.action {
            Action::For { over: Over::Pages { connection, operation, .. }, .. } => {
                Some((connection.value.as_str(), operation.value.as_str()))
            }
            _ => None,
        }
    }
}

fn consequence_steps<'a>(name: &'a str, consequence: Option<&'a Consequence>) -> Option<(&'a str, &'a [Step])> {
    consequence.and_then(Consequence::steps).map(|steps| (name, steps))
}

/// Whether and when a failed attempt is followed by another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Retry {
    /// The classes of failure that are tried again.
    pub on: Vec<FailureKind>,
    /// All attempts, the first included; at least 2.
    pub attempts: u32,
    /// The delay before the second attempt, milliseconds.
    pub first_ms: u64,
    /// What each delay is multiplied by to give the next.
    pub factor: f64,
    /// The longest delay, milliseconds.
    pub max_ms: u64,
    /// Where it is written.
    #[serde(skip)]
    pub at: Place,
}

/// How an effect is undone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compensation {
    /// The connection; absent: the step's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// The operation.
    pub operation: String,
    /// What it is given; may use the step's own output.
    pub with: Template,
    /// Where it is written.
    #[serde(skip)]
    pub at: Place,
}

/// How a run goes on after an outcome, an expiry or a failure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Consequence {
    /// How.
    #[serde(flatten)]
    pub then: Then,
    /// Where it is written.
    #[serde(skip)]
    pub at: Place,
}

/// The ways to go on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "then", rename_all = "snake_case")]
pub enum Then {
    /// To the next step, as if nothing had been.
    Continue,
    /// Undo and end the run as rejected.
    Reject,
    /// Park the run for people, with its effects in place.
    DeadLetter {
        /// Why, for people.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// End the run as completed.
    End {
        /// Why, for people.
        reason: String,
    },
    /// Take this as the step's output and go on.
    Use {
        /// The output.
        output: Template,
    },
    /// Go on as if this signal of `first_of` had come, with null data.
    As {
        /// Its name.
        signal: String,
    },
    /// Ask people.
    Approve(Box<Approval>),
    /// Do this and go on.
    Steps {
        /// What.
        steps: Vec<Step>,
    },
}

impl Consequence {
    /// The steps of [`Then::Steps`].
    #[must_use]
    pub fn steps(&self) -> Option<&[Step]> {
        match &self.then {
            Then::Steps { steps } => Some(steps),
            _ => None,
        }
    }
}

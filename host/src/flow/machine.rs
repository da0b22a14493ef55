//! The state machine of a run. Pure: [`Run::decide`] is told what happened and says what to do next; every fact it
//! records is also how it is rebuilt ([`Run::replay`]), so what runs and what is read back cannot differ.

pub mod effect;
mod scope;
mod turn;

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use self::{
    effect::{Bindings, Effect, Input},
    scope::RunScope,
    turn::Turn,
};
use super::{
    document::Document,
    expression::EvaluateError,
    plan::{Action, BlockId, NodeId, Outcomes, Plan, Then},
    template::Template,
};
use crate::model::{
    decision::{Outcome, Verdict},
    entry::{Entry, Output, PluginUse, RunStarted, StepDone},
    failure::FailureKind,
    id::RunId,
    json::Json,
    lane::Lane,
    timestamp::Timestamp,
};

/// How often a remote is asked whether a lost write took effect, and how often a write is repeated in doubt where the
/// pipeline allows fewer, before people are asked.
const DOUBT_ATTEMPTS_MIN: u32 = 5;

/// A run.
#[derive(Debug)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// What it executes.
    pub plan: Arc<Plan>,
    hub: Arc<str>,
    started: RunStarted,
    data: Document,
    event: OnceLock<Document>,
    states: Vec<State>,
    /// For each block, how many of its steps are behind the run: a walk begins there and not at the start.
    behind: Vec<usize>,
    settled: bool,
    /// The time of the latest fact, and of the latest durable one. Hub time never goes back.
    recorded: Timestamp,
    durable: Timestamp,
}

#[derive(Clone, Debug, Default)]
struct State {
    phase: Phase,
    /// Attempts of the operation itself begun, and of asking whether one took effect.
    attempts: u32,
    finds: u32,
    /// Attempts that failed.
    failures: u32,
    /// Whether an attempt may have taken effect, and whether the one in flight only asks.
    in_doubt: bool,
    resolving: bool,
    started: Timestamp,
    plugin: Option<Arc<PluginUse>>,
    output: Option<Document>,
    verdict: Option<Verdict>,
    /// The branch that was taken, until it is done; then the step is closed.
    branch: Option<BlockId>,
    closed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Phase {
    #[default]
    Fresh,
    Skipped,
    Running,
    Waiting(Timestamp),
    Failed,
    Done,
}

/// Facts that do not make a run of this plan.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The first fact is not the run's beginning.
    #[error("run {run} does not begin with its start")]
    NoStart {
        /// The run.
        run: RunId,
    },
    /// A fact is about a step that the plan does not have.
    #[error("run {run} has a fact about step `{step}`, which pipeline {pipeline} does not have")]
    UnknownStep {
        /// The run.
        run: RunId,
        /// The step.
        step: String,
        /// Name and version.
        pipeline: String,
    },
}

/// Whether a block has come to its end.
#[derive(PartialEq)]
enum Walk {
    Done,
    Busy,
}

impl Run {
    /// A new run and the fact that begins it.
    #[must_use]
    pub fn start(id: RunId, plan: Arc<Plan>, hub: Arc<str>, started: RunStarted) -> (Self, Entry) {
        let entry = Entry::RunStarted(Box::new(started.clone()));
        let states = vec![State::default(); plan.nodes.len()];
        let behind = vec![0; plan.block_count()];
        let time = started.time;
        let data = Document::new(started.event.data.clone());
        let event = OnceLock::new();
        let run =
            Self { id, plan, hub, started, data, event, states, behind, settled: false, recorded: time, durable: time };
        (run, entry)
    }

    /// A run from its facts, all of them durable.
    ///
    /// # Errors
    /// If they are not facts of this plan.
    pub fn replay(id: RunId, plan: Arc<Plan>, hub: Arc<str>, entries: &[Entry]) -> Result<Self, ReplayError> {
        let Some((Entry::RunStarted(started), rest)) = entries.split_first() else {
            return Err(ReplayError::NoStart { run: id });
        };
        let (mut run, _) = Self::start(id, plan, hub, (**started).clone());
        for entry in rest {
            run.apply(entry)?;
        }
        run.durable = run.recorded;
        Ok(run)
    }

    /// Its priority.
    #[must_use]
    pub fn lane(&self) -> Lane {
        self.started.lane
    }

    /// Whether nothing more happens by itself: ended or parked.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Decides what to do. The effects are to be carried out in order; one that calls out is always the last.
    pub fn decide(&mut self, input: Input, now: Timestamp, bindings: &dyn Bindings) -> Vec<Effect> {
        let now = now.max(self.recorded);
        let mut turn = Turn { run: self, now, bindings, effects: Vec::with_capacity(4) };
        match input {
            Input::Resume => turn.recover(),
            Input::Wake => {}
            Input::Answer(answer) => turn.answer(*answer),
            Input::Last(answer) => {
                turn.take(*answer);
                return turn.effects;
            }
        }
        turn.go_on();
        turn.effects
    }

    fn state(&self, node: NodeId) -> &State {
        static FRESH: OnceLock<State> = OnceLock::new();
        self.states.get(node.0).unwrap_or_else(|| FRESH.get_or_init(State::default))
    }

    fn event_document(&self) -> Document {
        self.event
            .get_or_init(|| Document::from(serde_json::to_value(&self.started.event).unwrap_or(Value::Null)))
            .clone()
    }

    fn facts(&self) -> Document {
        Document::from(json!({
            "id": self.id,
            "key": self.started.key,
            "pipeline": self.plan.pipeline.name,
            "version": self.plan.pipeline.version,
            "started": self.started.time,
        }))
    }

    fn render(&self, block: BlockId, template: &Template) -> Result<Document, EvaluateError> {
        template.render(&RunScope { run: self, block })
    }

    /// Takes in one fact. The only place where state changes.
    fn apply(&mut self, entry: &Entry) -> Result<(), ReplayError> {
        match entry {
            Entry::Accepted(_) | Entry::RunStarted(_) => {}
            Entry::StepSkipped { step } => self.change(step)?.phase = Phase::Skipped,
            Entry::StepStarted(started) => {
                self.recorded = self.recorded.max(started.time);
                let state = self.change(&started.step)?;
                state.phase = Phase::Running;
                state.attempts = started.attempt;
                state.started = started.time;
                state.plugin.clone_from(&started.plugin);
            }
            Entry::Intent(intent) => {
                self.recorded = self.recorded.max(intent.time);
                let state = self.change(&intent.step)?;
                state.phase = Phase::Running;
                // The remote was asked, and nothing had taken effect: this attempt begins without doubt.
                state.in_doubt &= intent.resolving || !state.resolving;
                state.resolving = intent.resolving;
                if intent.resolving {
                    state.finds += 1;
                } else {
                    state.attempts = intent.attempt;
                }
                state.plugin = Some(intent.plugin.clone());
            }
            Entry::StepDone(done) => {
                self.recorded = self.recorded.max(done.time);
                self.apply_done(done)?;
            }
            Entry::AttemptFailed(failed) => {
                self.recorded = self.recorded.max(failed.time);
                let state = self.change(&failed.step)?;
                state.phase = failed.next.map_or(Phase::Failed, Phase::Waiting);
                state.failures += 1;
                state.in_doubt |= failed.failure.kind == FailureKind::Uncertain;
            }
            Entry::BranchTaken { step, branch } => self.apply_branch(step, branch.as_deref())?,
            Entry::BranchClosed { step, output } => {
                let state = self.change(step)?;
                state.branch = None;
                state.closed = true;
                if let Some(output) = output {
                    state.output = Some(Document::new(output.clone()));
                }
            }
            Entry::RunEnded { time, .. } | Entry::RunParked { time, .. } => {
                self.recorded = self.recorded.max(*time);
                self.settled = true;
            }
        }
        Ok(())
    }

    fn apply_done(&mut self, done: &StepDone) -> Result<(), ReplayError> {
        let node = self.find(&done.step)?;
        let (output, verdict, branch) = match &done.output {
            Output::Json(json) => (Document::new(json.clone()), None, None),
            Output::Assessment(assessment) => {
                (Document::new(Json::from_serialize(assessment).unwrap_or_else(|_| Json::null())), None, None)
            }
            Output::Verdict(verdict) => {
                let output = verdict.output.clone().map_or_else(|| self.input_of(node), Document::new);
                (output, Some(verdict.clone()), self.branch_of(node, verdict))
            }
        };
        let state = self.change(&done.step)?;
        state.phase = Phase::Done;
        state.output = Some(output);
        state.verdict = verdict;
        state.branch = branch;
        Ok(())
    }

    fn apply_branch(&mut self, step: &str, branch: Option<&str>) -> Result<(), ReplayError> {
        let node = self.find(step)?;
        let block = match &self.plan.node(node).action {
            Action::Switch { cases, otherwise, .. } => branch.and_then(|name| match name {
                "otherwise" => *otherwise,
                number => {
                    let index = number.parse::<usize>().ok()?.checked_sub(1)?;
                    cases.get(index).map(|(_, block)| *block)
                }
            }),
            _ => None,
        };
        let state = self.change(step)?;
        state.phase = Phase::Done;
        state.output = Some(Document::new(Json::null()));
        state.branch = block;
        Ok(())
    }

    /// What a rule was given: what goes on if it returns no document of its own. The same as when it was called, since
    /// everything that it names was recorded before.
    fn input_of(&self, node: NodeId) -> Document {
        let node = self.plan.node(node);
        match &node.action {
            Action::Pure { with, .. } => self.render(node.block, with).ok(),
            _ => None,
        }
        .unwrap_or_else(|| Document::new(Json::null()))
    }

    fn branch_of(&self, node: NodeId, verdict: &Verdict) -> Option<BlockId> {
        let Action::Pure { outcomes, .. } = &self.plan.node(node).action else { return None };
        match (verdict.outcome, then_after(outcomes, verdict.outcome)) {
            (Outcome::Route, _) => outcomes.routes.get(verdict.target.as_deref()?).copied(),
            (_, Some(Then::Steps(block))) => Some(*block),
            _ => None,
        }
    }

    fn find(&self, step: &str) -> Result<NodeId, ReplayError> {
        self.plan.find(step).ok_or_else(|| ReplayError::UnknownStep {
            run: self.id,
            step: step.to_owned(),
            pipeline: format!("{} {}", self.plan.pipeline.name, self.plan.pipeline.version),
        })
    }

    fn change(&mut self, step: &str) -> Result<&mut State, ReplayError> {
        let node = self.find(step)?;
        let run = self.id;
        self.states.get_mut(node.0).ok_or(ReplayError::NoStart { run })
    }
}

fn then_after(outcomes: &Outcomes, outcome: Outcome) -> Option<&Then> {
    match outcome {
        Outcome::Proceed => Some(&outcomes.proceed),
        Outcome::Hold => Some(&outcomes.hold),
        Outcome::Reject => Some(&outcomes.reject),
        Outcome::Route => None,
    }
}

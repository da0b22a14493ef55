//! One turn of a run: from what happened to what is done next.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Run,
    calls::{self, Doing},
    effect::{Answer, Bindings, Effect, Unserved},
    instance::{Facet, FrameId, InstanceId, Phase},
    scope::RunScope,
};
use crate::{
    flow::{
        expression::{EvaluateError, Expression},
        plan::{Action, Over},
    },
    model::{
        entry::{Ending, Entered, Entry, Handler, Output, StepDone},
        failure::{Failure, FailureKind},
        json::Json,
        limits::Usage,
        log::LogLine,
        pipeline::action::Mode,
        timestamp::Timestamp,
    },
};

/// Most items and pages of a `for`, and most iterations of a `loop`.
pub(super) const REPETITIONS_LIMIT: usize = 10_000;

/// A run while it decides.
pub(super) struct Turn<'a> {
    pub(super) run: &'a mut Run,
    pub(super) now: Timestamp,
    pub(super) bindings: &'a dyn Bindings,
    facts: Vec<Effect>,
    commits: bool,
    /// What calls out, after the facts are durable.
    pub(super) outgoing: Vec<Effect>,
    /// The earliest time at which there is something to do.
    due: Option<Timestamp>,
    /// The instance that this turn is about: its branch is looked at before its siblings.
    pub(super) focus: Option<InstanceId>,
}

/// A step cannot be begun, and why.
pub(super) struct Stuck(pub(super) Failure);

impl From<EvaluateError> for Stuck {
    fn from(error: EvaluateError) -> Self {
        Self(Failure::new(FailureKind::InvalidInput, "expression.failed", error.to_string()))
    }
}

impl From<Unserved> for Stuck {
    fn from(Unserved { code, problem }: Unserved) -> Self {
        Self(Failure::new(FailureKind::Permanent, code, problem))
    }
}

/// How far a step or a frame is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Walk {
    Done,
    Busy,
    /// For good, and nothing is declared for it so far out.
    Failed(InstanceId),
}

impl<'a> Turn<'a> {
    pub(super) fn new(run: &'a mut Run, now: Timestamp, bindings: &'a dyn Bindings) -> Self {
        let facts = Vec::with_capacity(4);
        Self { run, now, bindings, facts, commits: false, outgoing: Vec::new(), due: None, focus: None }
    }

    pub(super) fn finish(mut self) -> Vec<Effect> {
        if self.commits {
            self.run.durable = self.run.recorded;
            self.facts.push(Effect::Commit);
        }
        self.facts.append(&mut self.outgoing);
        if !self.run.settled {
            self.facts.extend(self.due.map(Effect::Sleep));
        }
        self.facts
    }

    pub(super) fn record(&mut self, entry: Entry) {
        // INVARIANT: a turn only records facts about steps of its own plan.
        let applied = self.run.apply(&entry);
        debug_assert!(applied.is_ok());
        self.facts.push(Effect::Record(entry));
    }

    pub(super) fn commit(&mut self) {
        self.commits = true;
    }

    pub(super) fn sleep_until(&mut self, due: Timestamp) {
        self.due = Some(self.due.map_or(due, |earliest| earliest.min(due)));
    }

    /// After a crash: what was in flight is in doubt if it writes, and simply done again if not.
    pub(super) fn recover(&mut self) {
        // A question whose answer left no fact may look as if it were out.
        if self.run.settled && self.run.parked.is_none() {
            return;
        }
        let plan = Arc::clone(&self.run.plan);
        let out: Vec<InstanceId> = (0..self.run.instances.len())
            .map(InstanceId)
            .filter(|id| calls::is_out(&plan, self.run.instance(*id)))
            .collect();
        for id in out {
            if self.writes(id) && !self.run.instance(id).resolving {
                let failure = Failure::new(
                    FailureKind::Uncertain,
                    "hub.interrupted",
                    "the hub stopped while the request was out; whether it took effect is found out before it is repeated",
                );
                self.failed(id, failure, Usage::default(), Vec::new());
            } else if let Err(Stuck(failure)) = self.repeat(id) {
                self.fail(id, failure);
            }
        }
    }

    /// Takes in how an effect ended.
    pub(super) fn answer(&mut self, answer: Answer) {
        let Answer { instance: id, result, usage, log, annotations } = answer;
        // An answer that comes twice, or to what was given up, tells nothing new.
        let ended = self.run.settled && self.run.parked.is_none();
        if ended || !calls::is_out(&self.run.plan, self.run.instance(id)) {
            return;
        }
        self.focus = Some(id);
        let output = match result {
            Err(failure) => return self.failed(id, failure, usage, log),
            Ok(output) => output,
        };
        if self.run.instance(id).resolving && is_null(&output) {
            // The remote says that nothing took effect, so the write may be repeated under the same key: at once, if
            // forward steps still begin. No fact: after a crash it is asked again.
            if let Some(instance) = self.run.instances.get_mut(id.0) {
                instance.phase = Phase::Waiting(self.now);
                instance.in_doubt = false;
            }
            self.run.proved_harmless(id);
            return;
        }
        let output = match self.assessed(id, output) {
            Err(failure) => return self.failed(id, failure, usage, log),
            Ok(output) => output,
        };
        match self.unconfirmed(id, &output).or_else(|| self.unturned(id, &output)) {
            Some(failure) => self.failed(id, failure, usage, log),
            None => self.done(id, output, usage, log, annotations),
        }
        if matches!(self.run.plan.node(self.run.instance(id).node).action, Action::Assess { .. }) {
            // Nothing computes it again, and a model asked twice says two things: it is kept before anything follows.
            self.commit();
        }
    }

    /// Takes in how an effect ended, and begins nothing.
    pub(super) fn take(&mut self, answer: Answer) {
        let asked = self.run.instance(answer.instance).resolving;
        // That nothing took effect is asked again after the start.
        if !(asked && answer.result.as_ref().is_ok_and(is_null)) {
            self.answer(answer);
        }
    }

    fn done(
        &mut self,
        id: InstanceId,
        output: Output,
        usage: Usage,
        log: Vec<LogLine>,
        annotations: Vec<(String, String)>,
    ) {
        let step = self.run.path(id);
        self.record(Entry::StepDone(Box::new(StepDone { step, time: self.now, output, usage, log, annotations })));
    }

    /// Records that an instance failed for good.
    pub(super) fn fail(&mut self, id: InstanceId, failure: Failure) {
        let step = self.run.path(id);
        self.record(Entry::StepFailed { step, time: self.now, failure });
    }

    /// Goes on until something is in flight, waits, or the run is settled.
    pub(super) fn go_on(&mut self) {
        if self.run.settled || self.run.paused || self.run.held {
            return;
        }
        if self.run.restarting.is_some() && !self.restart() {
            return;
        }
        if self.run.halt.is_some() {
            return self.wind_down();
        }
        match self.walk(FrameId(0)) {
            Walk::Busy => {}
            Walk::Done => self.halt(Ending::Completed, false),
            Walk::Failed(id) => self.give_up(id),
        }
    }

    pub(super) fn walk(&mut self, frame: FrameId) -> Walk {
        let plan = Arc::clone(&self.run.plan);
        let (first, behind) = (self.run.frame(frame).first, self.run.frame(frame).behind);
        let count = plan.block(self.run.frame(frame).block).nodes.len();
        for position in behind..count {
            let walk = self.visit(InstanceId(first + position));
            // Whatever the step led to, the run may be over by it, or stopping.
            if walk != Walk::Done || self.is_stopped(frame) {
                return if walk == Walk::Done { Walk::Busy } else { walk };
            }
            if let Some(frame) = self.run.frames.get_mut(frame.0) {
                frame.behind = position + 1;
            }
        }
        Walk::Done
    }

    pub(super) fn visit(&mut self, id: InstanceId) -> Walk {
        if self.run.instance(id).phase == Phase::Fresh
            && let Err(Stuck(failure)) = self.begin(id)
        {
            self.fail(id, failure);
        }
        match self.run.instance(id).phase {
            Phase::Skipped => Walk::Done,
            Phase::Done => self.leave(id),
            Phase::Failed => self.failed_for_good(id),
            Phase::Running => self.inside(id),
            Phase::Waiting(due) if due <= self.now => {
                if let Err(Stuck(failure)) = self.repeat(id) {
                    self.fail(id, failure);
                    return self.failed_for_good(id);
                }
                Walk::Busy
            }
            Phase::Waiting(due) => {
                self.sleep_until(due);
                Walk::Busy
            }
            Phase::Fresh => Walk::Busy,
        }
    }

    /// Begins a step for the first time.
    fn begin(&mut self, id: InstanceId) -> Result<(), Stuck> {
        let plan = Arc::clone(&self.run.plan);
        let node = plan.node(self.run.instance(id).node);
        let frame = self.run.instance(id).frame;
        if self.run.instance(id).facet != Facet::Main {
            return self.begin_call(id);
        }
        if let Some(when) = &node.when
            && !self.holds(frame, when)?
        {
            let step = self.run.path(id);
            self.record(Entry::StepSkipped { step });
            return Ok(());
        }
        match &node.action {
            Action::Pure { mode: Mode::Off, .. } | Action::Assess { mode: Mode::Off, .. } => {
                let message = "the scorer is off; the fallback's output counts";
                Err(Stuck(Failure::new(FailureKind::Denied, "score.off", message)))
            }
            Action::Pure { .. }
            | Action::Assess { .. }
            | Action::Call { .. }
            | Action::Emit { .. }
            | Action::Start { .. } => self.begin_call(id),
            Action::Switch { cases, otherwise, .. } => {
                let mut branch = otherwise.map(|_| "otherwise".to_owned());
                for (number, (when, _)) in cases.iter().enumerate() {
                    if self.holds(frame, when)? {
                        branch = Some((number + 1).to_string());
                        break;
                    }
                }
                let step = self.run.path(id);
                self.record(Entry::BranchTaken { step, branch });
                Ok(())
            }
            Action::End { .. } => {
                self.halt(Ending::Completed, false);
                Ok(())
            }
            Action::Parallel { .. } => {
                self.entered(id, None, None);
                Ok(())
            }
            Action::For { over: Over::Pages(_), .. } => {
                self.entered(id, None, None);
                Ok(())
            }
            Action::For { over: Over::Each(each), .. } => {
                let items = each.evaluate(&RunScope::new(self.run, frame))?;
                let count = items.value().as_array().map(Vec::len).ok_or_else(|| {
                    Stuck(Failure::new(FailureKind::InvalidInput, "for.no-list", "`each` is not a list"))
                })?;
                if count > REPETITIONS_LIMIT {
                    let message = format!("`each` has {count} items; the limit is {REPETITIONS_LIMIT}");
                    return Err(Stuck(Failure::new(FailureKind::InvalidInput, "for.too-many", message)));
                }
                self.entered(id, Some(items.json().clone()), None);
                Ok(())
            }
            Action::Loop { max, .. } => {
                let max = self.run.render(frame, max)?;
                let max = max.value().as_u64().and_then(|max| u32::try_from(max).ok());
                let max = max.filter(|max| (1..=REPETITIONS_LIMIT).contains(&(*max as usize))).ok_or_else(|| {
                    let message = format!("`max` is not a whole number from 1 to {REPETITIONS_LIMIT}");
                    Stuck(Failure::new(FailureKind::InvalidInput, "loop.max", message))
                })?;
                self.entered(id, None, Some(max));
                Ok(())
            }
            Action::Wait { .. } => self.begin_wait(id),
            Action::Approve(approval) => self.ask(id, approval),
            Action::Undo { steps, .. } => {
                let frame = self.run.instance(id).frame;
                let effects = steps
                    .iter()
                    .filter_map(|step| {
                        let node = plan.node(*step);
                        let mut at = Some(frame);
                        while let Some(frame) = at {
                            let here = self.run.frame(frame);
                            if here.block == node.block {
                                return Some(InstanceId(here.first + node.position));
                            }
                            at = here.parent;
                        }
                        None
                    })
                    .filter(|effect| self.run.effects.contains(effect))
                    .map(|effect| self.run.path(effect))
                    .collect();
                let step = Some(self.run.path(id));
                self.record(Entry::UndoBegan { step, time: self.now, effects });
                Ok(())
            }
        }
    }

    fn entered(&mut self, id: InstanceId, items: Option<Json>, max: Option<u32>) {
        let step = self.run.path(id);
        self.record(Entry::Entered(Box::new(Entered { step, time: self.now, items, max })));
    }

    /// A step that has begun and is not done.
    fn inside(&mut self, id: InstanceId) -> Walk {
        let plan = Arc::clone(&self.run.plan);
        if !matches!(calls::doing(&plan, self.run.instance(id)), Doing::Nothing) {
            return Walk::Busy;
        }
        match &plan.node(self.run.instance(id).node).action {
            Action::Parallel { join, branches } => self.in_parallel(id, *join, branches),
            Action::For { .. } => self.in_for(id),
            Action::Loop { .. } => self.in_loop(id),
            Action::Wait { .. } => self.in_wait(id),
            Action::Approve(_) => self.in_question(id, Handler::Approval),
            Action::Undo { set, .. } => self.in_undo(id, set),
            _ => Walk::Busy,
        }
    }

    fn in_undo(&mut self, id: InstanceId, set: &[(String, crate::flow::template::Template)]) -> Walk {
        if !self.compensated(Some(id)) {
            return Walk::Busy;
        }
        let frame = self.run.instance(id).frame;
        let mut values = serde_json::Map::new();
        for (name, template) in set {
            match self.run.render(frame, template) {
                Ok(value) => {
                    values.insert(name.clone(), value.value().clone());
                }
                Err(error) => {
                    self.fail(id, Stuck::from(error).0);
                    return self.failed_for_good(id);
                }
            }
        }
        let (step, values) = (self.run.path(id), Json::from(Value::Object(values)));
        self.record(Entry::VarsSet { step, time: self.now, values });
        Walk::Done
    }

    pub(super) fn holds(&self, frame: FrameId, condition: &Expression) -> Result<bool, Stuck> {
        Ok(condition.is_true(&RunScope::new(self.run, frame))?)
    }
}

fn is_null(output: &Output) -> bool {
    matches!(output, Output::Json(json) if json.is_null())
}

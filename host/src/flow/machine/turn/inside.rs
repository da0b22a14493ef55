//! Steps with steps inside: branches side by side, the same steps for each of a list or again, undoing; and what a
//! failure or the end of their time means for them.

use std::sync::Arc;

use serde_json::Value;

use super::{Stuck, Turn, Walk, is_for_people};
use crate::{
    flow::{
        document::Document,
        machine::instance::{Facet, FrameId, InstanceId, Phase},
        plan::{Action, BlockId},
        template::Template,
    },
    model::{
        entry::{Entry, Handler},
        failure::{Failure, FailureKind},
        json::Json,
        pipeline::action::Join,
    },
};

impl Turn<'_> {
    /// Walks the frames inside a step, the one that this turn is about and those that failed first, so that a failure
    /// is seen before a sibling begins anything.
    pub(super) fn walk_frames(&mut self, frames: Vec<FrameId>) -> Vec<(FrameId, Walk)> {
        let mut frames = frames;
        frames.sort_by_key(|frame| {
            let here = self.run.frame(*frame);
            let failed = self.run.instance(InstanceId(here.first + here.behind)).phase == Phase::Failed;
            let focused = self.focus.is_some_and(|focus| self.is_within(focus, *frame));
            !(failed || focused)
        });
        let mut walks = Vec::with_capacity(frames.len());
        for frame in frames {
            let walk = self.walk(frame);
            walks.push((frame, walk));
            if matches!(walk, Walk::Failed(_)) || self.run.halt.is_some() {
                break;
            }
        }
        walks
    }

    pub(super) fn is_within(&self, id: InstanceId, frame: FrameId) -> bool {
        let mut at = Some(self.run.instance(id).frame);
        while let Some(here) = at {
            if here == frame {
                return true;
            }
            at = self.run.frame(here).parent;
        }
        false
    }

    pub(super) fn in_parallel(&mut self, id: InstanceId, join: Join, branches: &[(String, BlockId)]) -> Walk {
        if let Some(walk) = self.out_of_time(id) {
            return walk;
        }
        let frames: Vec<FrameId> = branches.iter().map(|(_, block)| self.run.enter(id, *block, None)).collect();
        let walks = self.walk_frames(frames.clone());
        let done = |turn: &Self, frame: FrameId| {
            let here = turn.run.frame(frame);
            here.behind == turn.run.plan.block(here.block).nodes.len()
        };
        let won = join == Join::Any && frames.iter().any(|frame| done(self, *frame));
        if !won {
            let failed: Vec<InstanceId> = walks
                .iter()
                .filter_map(|(_, walk)| if let Walk::Failed(id) = walk { Some(*id) } else { None })
                .collect();
            if let Some(failed) = failed.first()
                && (join == Join::All || self.all_failed(&frames))
            {
                return self.branch_failed(id, *failed);
            }
            if join == Join::Any && !failed.is_empty() {
                // The others may still win.
                let rest: Vec<FrameId> =
                    frames.iter().copied().filter(|frame| !walks.iter().any(|(walked, _)| walked == frame)).collect();
                self.walk_frames(rest);
                if !frames.iter().any(|frame| done(self, *frame)) {
                    return Walk::Busy;
                }
            } else if !frames.iter().all(|frame| done(self, *frame)) {
                return Walk::Busy;
            }
        }
        // What lost is resolved, then undone.
        if join == Join::Any && !(self.is_quiet(Some(id)) && self.undone_losers(id, &frames)) {
            return Walk::Busy;
        }
        let mut output = serde_json::Map::new();
        for ((name, _), frame) in branches.iter().zip(&frames) {
            if done(self, *frame) {
                let here = self.run.frame(*frame);
                let last = here.behind.checked_sub(1).map(|last| InstanceId(here.first + last));
                let last = last.and_then(|last| self.run.instance(last).output.clone());
                output.insert(name.clone(), last.map_or(Value::Null, |last| last.value().clone()));
            }
        }
        self.close_with(id, Some(Json::from(Value::Object(output))))
    }

    pub(super) fn all_failed(&self, frames: &[FrameId]) -> bool {
        frames.iter().all(|frame| {
            let here = self.run.frame(*frame);
            self.run.instance(InstanceId(here.first + here.behind)).phase == Phase::Failed
        })
    }

    pub(super) fn undone_losers(&mut self, id: InstanceId, frames: &[FrameId]) -> bool {
        let lost: Vec<FrameId> = frames
            .iter()
            .copied()
            .filter(|frame| {
                let here = self.run.frame(*frame);
                here.behind < self.run.plan.block(here.block).nodes.len()
            })
            .collect();
        let effects: Vec<InstanceId> = self
            .run
            .effects
            .iter()
            .copied()
            .filter(|effect| lost.iter().any(|frame| self.is_within(*effect, *frame)))
            .collect();
        self.undone(Some(id), effects)
    }

    pub(super) fn in_for(&mut self, id: InstanceId) -> Walk {
        if let Some(walk) = self.out_of_time(id) {
            return walk;
        }
        let plan = Arc::clone(&self.run.plan);
        let Action::For { at_once, body, output, reduce, .. } = &plan.node(self.run.instance(id).node).action else {
            return Walk::Busy;
        };
        let count = self.run.instance(id).more.as_ref().map_or(0, |more| more.items.len());
        loop {
            let more = self.run.instance(id).more.as_ref();
            let (open, entered) = more.map_or((Vec::new(), 0), |more| (more.open.clone(), more.frames.len()));
            let mut closed = false;
            for (frame, walk) in self.walk_frames(open.clone()) {
                match walk {
                    Walk::Failed(failed) => return self.branch_failed(id, failed),
                    Walk::Busy => {}
                    Walk::Done => {
                        let left = match output.as_ref().map(|output| self.run.render(frame, output)).transpose() {
                            Ok(left) => left.unwrap_or_else(|| Document::new(Json::null())),
                            Err(error) => {
                                self.fail(id, Stuck::from(error).0);
                                return self.failed_for_good(id);
                            }
                        };
                        let index = self.run.frame(frame).indices.last().copied().unwrap_or(1);
                        if let Some(instance) = self.run.instances.get_mut(id.0) {
                            let more = instance.more();
                            more.open.retain(|open| *open != frame);
                            if let Some(result) = usize::try_from(index)
                                .ok()
                                .and_then(|index| more.results.get_mut(index.checked_sub(1)?))
                            {
                                *result = Some(left);
                            }
                        }
                        closed = true;
                    }
                }
            }
            if self.run.settled || self.run.halt.is_some() {
                return Walk::Busy;
            }
            let under_way = self.run.instance(id).more.as_ref().map_or(0, |more| more.open.len());
            let more_to_enter = entered < count && under_way < *at_once;
            if more_to_enter {
                let room = (*at_once - under_way).min(count - entered);
                for number in entered..entered + room {
                    self.run.enter(id, *body, u32::try_from(number + 1).ok());
                }
            } else if !closed {
                break;
            }
        }
        let more = self.run.instance(id).more.as_ref();
        let results: Vec<Option<Document>> = more.map_or_else(Vec::new, |more| more.results.clone());
        if results.iter().any(Option::is_none) {
            return Walk::Busy;
        }
        if reduce.is_some() && count > 0 {
            return self.fold(id, count);
        }
        let whole = results.iter().flatten().map(|result| result.value().clone()).collect();
        self.close_with(id, Some(Json::from(Value::Array(whole))))
    }

    /// Folds the outputs of a `for` with a transform, one after the other.
    pub(super) fn fold(&mut self, id: InstanceId, count: usize) -> Walk {
        let mut last = None;
        for item in 1..=u32::try_from(count).unwrap_or(u32::MAX) {
            let facet = self.run.facet(id, Facet::Reduce(item));
            match self.visit(facet) {
                Walk::Done => last = self.run.instance(facet).output.clone(),
                Walk::Busy => return Walk::Busy,
                Walk::Failed(_) => {
                    let failure = self.failure_of(facet);
                    self.fail(id, failure);
                    return self.failed_for_good(id);
                }
            }
        }
        self.close_with(id, last.map(|last| last.json().clone()))
    }

    pub(super) fn in_loop(&mut self, id: InstanceId) -> Walk {
        if let Some(walk) = self.out_of_time(id) {
            return walk;
        }
        let plan = Arc::clone(&self.run.plan);
        let Action::Loop { until, body, output, on_exhausted, .. } = &plan.node(self.run.instance(id).node).action
        else {
            return Walk::Busy;
        };
        loop {
            let more = self.run.instance(id).more.as_ref();
            let (latest, max) = more.map_or((None, 0), |more| (more.frames.last().copied(), more.max));
            let frame = latest.unwrap_or_else(|| self.run.enter(id, *body, Some(1)));
            match self.walk(frame) {
                Walk::Busy => return Walk::Busy,
                Walk::Failed(failed) => return self.branch_failed(id, failed),
                Walk::Done => {}
            }
            let holds = match self.holds(frame, until) {
                Ok(holds) => holds,
                Err(Stuck(failure)) => {
                    self.fail(id, failure);
                    return self.failed_for_good(id);
                }
            };
            if holds {
                return match output.as_ref().map(|output| self.run.render(frame, output)).transpose() {
                    Ok(output) => self.close_with(id, output.map(|output| output.json().clone())),
                    Err(error) => {
                        self.fail(id, Stuck::from(error).0);
                        self.failed_for_good(id)
                    }
                };
            }
            let iteration = self.run.frame(frame).indices.last().copied().unwrap_or(1);
            if iteration >= max {
                let message = format!("`until` did not hold after {max} times");
                let failure = Failure::new(FailureKind::Permanent, "loop.exhausted", message);
                return match on_exhausted {
                    Some(then) => self.conclude(id, then, Handler::OnExhausted, Some(failure)),
                    None => {
                        self.fail(id, failure);
                        self.failed_for_good(id)
                    }
                };
            }
            self.run.enter(id, *body, Some(iteration + 1));
        }
    }

    pub(super) fn in_undo(&mut self, id: InstanceId, set: &[(String, Template)]) -> Walk {
        let effects = self.run.instance(id).more.as_ref().and_then(|more| more.undoing.clone()).unwrap_or_default();
        if !self.compensated(&effects) {
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

    /// Whether the time of a step with steps inside is up; what follows from it then.
    pub(super) fn out_of_time(&mut self, id: InstanceId) -> Option<Walk> {
        let deadline = self.deadline(id)?;
        if deadline > self.now {
            self.sleep_until(deadline);
            return None;
        }
        if !self.is_quiet(Some(id)) || !self.rolled_back(id) {
            return Some(Walk::Busy);
        }
        let failure = Failure::new(FailureKind::Permanent, "step.out-of-time", "not done `within` its time");
        self.fail(id, failure);
        Some(self.failed_for_good(id))
    }

    /// A branch of a step failed. If the step or one around it says what then, the branch's siblings are resolved and
    /// what they did is undone first.
    pub(super) fn branch_failed(&mut self, id: InstanceId, failed: InstanceId) -> Walk {
        let failure = self.failure_of(failed);
        if is_for_people(&failure) || !self.is_handled(id) {
            return Walk::Failed(failed);
        }
        if !self.is_quiet(Some(id)) || !self.rolled_back(id) {
            return Walk::Busy;
        }
        self.fail(id, failure);
        self.failed_for_good(id)
    }

    /// Whether the pipeline says, at this step or at one around it, what happens when it fails.
    pub(super) fn is_handled(&self, id: InstanceId) -> bool {
        let instance = self.run.instance(id);
        let node = self.run.plan.node(instance.node);
        node.fallback.is_some()
            || node.on_error.is_some()
            || self.run.frame(instance.frame).owner.is_some_and(|owner| self.is_handled(owner))
    }

    /// Whether everything that was done inside a step is undone.
    pub(super) fn rolled_back(&mut self, id: InstanceId) -> bool {
        let effects: Vec<InstanceId> =
            self.run.effects.iter().copied().filter(|effect| self.run.is_inside(*effect, id)).collect();
        self.undone(Some(id), effects)
    }
}

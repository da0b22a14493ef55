//! Steps with steps inside: `parallel`, `for` and `loop`; how they are walked, what a failure inside stops, and how it
//! is rolled back.

use std::sync::Arc;

use serde_json::Value;

use super::{
    instance::{Facet, FrameId, InstanceId, Phase},
    leaving::is_for_people,
    then_after,
    turn::{Stuck, Turn, Walk},
};
use crate::{
    flow::{
        document::Document,
        plan::{Action, BlockId, Over, Then},
    },
    model::{
        entry::Handler,
        failure::{Failure, FailureKind},
        json::Json,
        pipeline::action::{Join, Mode},
    },
};

impl Turn<'_> {
    /// Walks the frames inside a step, the one that this turn is about and those that failed first, so that a failure
    /// is seen before a sibling begins anything.
    fn walk_frames(&mut self, frames: Vec<FrameId>) -> Vec<(FrameId, Walk)> {
        let mut walks = Vec::with_capacity(frames.len());
        for frame in self.in_order(frames) {
            let walk = self.walk(frame);
            walks.push((frame, walk));
            if matches!(walk, Walk::Failed(_)) || self.is_stopped(frame) {
                break;
            }
        }
        walks
    }

    fn in_order(&self, mut frames: Vec<FrameId>) -> Vec<FrameId> {
        frames.sort_by_cached_key(|frame| {
            let focused = self.focus.is_some_and(|focus| self.run.is_within(focus, *frame));
            (!self.has_failed(*frame), !focused)
        });
        frames
    }

    /// Whether a step of a frame has failed, as far as facts tell: itself, or inside it.
    fn has_failed(&self, frame: FrameId) -> bool {
        let here = self.run.frame(frame);
        let nodes = &self.run.plan.block(here.block).nodes;
        (here.behind..nodes.len()).any(|position| {
            let instance = self.run.instance(InstanceId(here.first + position));
            let inner = || instance.more.as_ref().map_or(&[][..], |more| more.open.as_slice());
            match (instance.phase, &self.run.plan.node(instance.node).action) {
                (Phase::Failed, _) => true,
                (Phase::Running, Action::Parallel { join: Join::Any, .. }) => {
                    !inner().is_empty() && inner().iter().all(|frame| self.has_failed(*frame))
                }
                (Phase::Running, _) => inner().iter().any(|frame| self.has_failed(*frame)),
                (Phase::Done, _) => instance.branch.is_some_and(|branch| {
                    inner().iter().any(|frame| self.run.frame(*frame).block == branch && self.has_failed(*frame))
                }),
                _ => false,
            }
        })
    }

    /// Whether nothing of a frame goes on any more: the run is settled, or winds down and this is no part of that.
    pub(super) fn is_stopped(&self, frame: FrameId) -> bool {
        self.run.settled || self.run.halt.is_some() && !self.run.is_winding(frame)
    }

    fn is_done(&self, frame: FrameId) -> bool {
        let here = self.run.frame(frame);
        here.behind == self.run.plan.block(here.block).nodes.len()
    }

    pub(super) fn in_parallel(&mut self, id: InstanceId, join: Join, branches: &[(String, BlockId)]) -> Walk {
        if let Some(walk) = self.out_of_time(id) {
            return walk;
        }
        let frames: Vec<FrameId> = branches.iter().map(|(_, block)| self.run.enter(id, *block, None)).collect();
        let won = match join {
            Join::All => {
                let walks = self.walk_frames(frames.clone());
                for (_, walk) in walks {
                    if let Walk::Failed(failed) = walk {
                        return self.branch_failed(id, failed);
                    }
                }
                if !frames.iter().all(|frame| self.is_done(*frame)) {
                    return Walk::Busy;
                }
                None
            }
            Join::Any => match self.race(id, &frames) {
                Ok(won) => Some(won),
                Err(walk) => return walk,
            },
        };
        let mut output = serde_json::Map::new();
        for ((name, _), frame) in branches.iter().zip(&frames) {
            if won.is_none_or(|won| won == *frame) {
                let here = self.run.frame(*frame);
                let count = self.run.plan.block(here.block).nodes.len();
                let last = count.checked_sub(1).map(|last| InstanceId(here.first + last));
                let last = last.and_then(|last| self.run.instance(last).output.clone());
                output.insert(name.clone(), last.map_or(Value::Null, |last| last.value().clone()));
            }
        }
        self.close_with(id, Some(Json::from(Value::Object(output))))
    }

    /// Branches of which one has to succeed: the one that did, once what lost is resolved and undone. After it has,
    /// nothing more begins.
    fn race(&mut self, id: InstanceId, frames: &[FrameId]) -> Result<FrameId, Walk> {
        let mut failed = Vec::new();
        let mut won = self.winner(frames);
        if won.is_none() {
            for frame in self.in_order(frames.to_vec()) {
                match self.walk(frame) {
                    Walk::Failed(id) => failed.push(id),
                    Walk::Done => {
                        won = Some(frame);
                        break;
                    }
                    Walk::Busy if self.is_stopped(frame) => return Err(Walk::Busy),
                    Walk::Busy => {}
                }
            }
        }
        let Some(won) = won else {
            return Err(match failed.first() {
                Some(first) if failed.len() == frames.len() => self.branch_failed(id, *first),
                _ => Walk::Busy,
            });
        };
        self.withdraw(id);
        if !self.is_quiet(Some(id)) {
            return Err(Walk::Busy);
        }
        if let Some(doubtful) = self.doubtful(Some(id)) {
            return Err(Walk::Failed(doubtful));
        }
        let undone = self.undone(Some(id), &|run, effect| run.is_inside(effect, id) && !run.is_within(effect, won));
        if undone { Ok(won) } else { Err(Walk::Busy) }
    }

    /// The first of these frames that came to its end, in the order of facts.
    fn winner(&self, frames: &[FrameId]) -> Option<FrameId> {
        let over = frames.iter().copied().filter(|frame| self.is_over(*frame));
        over.min_by_key(|frame| {
            let here = self.run.frame(*frame);
            let count = self.run.plan.block(here.block).nodes.len();
            (here.first..here.first + count).map(|id| self.run.instance(InstanceId(id)).changed).max()
        })
    }

    /// Whether every step of a frame is over by facts alone, so that a walk through it begins nothing.
    fn is_over(&self, frame: FrameId) -> bool {
        let here = self.run.frame(frame);
        let plan = &self.run.plan;
        (0..plan.block(here.block).nodes.len()).all(|position| {
            let instance = self.run.instance(InstanceId(here.first + position));
            match (instance.phase, &plan.node(instance.node).action) {
                (Phase::Skipped, _) => true,
                (Phase::Done, _) if instance.closed => true,
                (Phase::Done, Action::Call { confirm, .. }) => confirm.is_none() && instance.branch.is_none(),
                (Phase::Done, Action::Pure { mode, outcomes, .. }) => {
                    let shadowed = *mode == Mode::Shadow && plan.node(instance.node).fallback.is_some();
                    let goes_on = instance
                        .verdict
                        .as_ref()
                        .is_none_or(|verdict| matches!(then_after(outcomes, verdict.outcome), Some(Then::Continue)));
                    !shadowed && goes_on && instance.branch.is_none()
                }
                (Phase::Done, Action::Assess { mode, .. }) => {
                    let shadowed = *mode == Mode::Shadow && plan.node(instance.node).fallback.is_some();
                    !shadowed && instance.branch.is_none()
                }
                (Phase::Done, _) => instance.branch.is_none(),
                _ => false,
            }
        })
    }

    pub(super) fn in_for(&mut self, id: InstanceId) -> Walk {
        if let Some(walk) = self.out_of_time(id) {
            return walk;
        }
        let plan = Arc::clone(&self.run.plan);
        let Action::For { over, at_once, body, output, reduce } = &plan.node(self.run.instance(id).node).action else {
            return Walk::Busy;
        };
        let paged = matches!(over, Over::Pages(_));
        let mut fetching = false;
        loop {
            let count = self.run.instance(id).more.as_ref().map_or(0, |more| more.items.len());
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
                        if paged {
                            self.let_go(id, frame, index);
                        }
                        closed = true;
                    }
                }
            }
            if self.is_stopped(self.run.instance(id).frame) {
                return Walk::Busy;
            }
            let under_way = self.run.instance(id).more.as_ref().map_or(0, |more| more.open.len());
            let more_to_enter = entered < count && under_way < *at_once;
            if more_to_enter {
                let room = (*at_once - under_way).min(count - entered);
                for number in entered..entered + room {
                    self.run.enter(id, *body, u32::try_from(number + 1).ok());
                }
            } else if paged && under_way < *at_once && !self.has_last_page(id) {
                // A page is asked for when there is room to work on it.
                let page = self.run.facet(id, Facet::Page(u32::try_from(count + 1).unwrap_or(u32::MAX)));
                match self.visit(page) {
                    Walk::Failed(failed) => return self.branch_failed(id, failed),
                    Walk::Busy => {
                        fetching = true;
                        break;
                    }
                    Walk::Done => {}
                }
            } else if !closed {
                break;
            }
        }
        let more = self.run.instance(id).more.as_ref();
        let count = more.map_or(0, |more| more.items.len());
        if fetching || more.is_some_and(|more| !more.open.is_empty() || more.frames.len() < count) {
            return Walk::Busy;
        }
        if reduce.is_some() && count > 0 {
            return self.fold(id, count);
        }
        let results: Vec<Option<Document>> = more.map_or_else(Vec::new, |more| more.results.clone());
        let whole = results.iter().flatten().map(|result| result.value().clone()).collect();
        self.close_with(id, Some(Json::from(Value::Array(whole))))
    }

    fn has_last_page(&self, id: InstanceId) -> bool {
        self.run.instance(id).more.as_ref().is_some_and(|more| !more.items.is_empty() && more.cursor.is_none())
    }

    /// Lets go of a page that was worked on, unless something may still have to be undone with what it holds.
    fn let_go(&mut self, id: InstanceId, frame: FrameId, number: u32) {
        if self.run.effects.iter().any(|effect| self.run.is_within(*effect, frame)) {
            return;
        }
        if let Some(frame) = self.run.frames.get_mut(frame.0) {
            frame.item = None;
        }
        let item = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let instance = self.run.instances.get_mut(id.0);
        if let Some(item) = item.zip(instance).and_then(|(item, instance)| instance.more().items.get_mut(item)) {
            *item = Document::new(Json::null());
        }
    }

    /// Folds the outputs of a `for` with a transform, one after the other.
    fn fold(&mut self, id: InstanceId, count: usize) -> Walk {
        let behind = self.run.instance(id).more.as_ref().map_or(0, |more| more.folded);
        let mut last = None;
        for item in behind + 1..=count {
            if let Some(instance) = self.run.instances.get_mut(id.0) {
                instance.more().folded = item - 1;
            }
            let item = u32::try_from(item).unwrap_or(u32::MAX);
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

    /// Whether the time of a step with steps inside is up; what follows from it then.
    pub(super) fn out_of_time(&mut self, id: InstanceId) -> Option<Walk> {
        let deadline = self.deadline(id)?;
        if deadline > self.now {
            self.sleep_until(deadline);
            return None;
        }
        if self.is_handled(id) {
            self.withdraw(id);
        }
        if !self.is_quiet(Some(id)) {
            return Some(Walk::Busy);
        }
        if self.is_handled(id) {
            match self.rolled_back(id) {
                Walk::Done => {}
                other => return Some(other),
            }
        }
        let failure = Failure::new(FailureKind::Permanent, "step.out-of-time", "not done `within` its time");
        self.fail(id, failure);
        Some(self.failed_for_good(id))
    }

    /// A branch of a step failed. If the step says what then, the branch's siblings are resolved and what they did is
    /// undone first; if not, that is the business of the steps around it.
    pub(super) fn branch_failed(&mut self, id: InstanceId, failed: InstanceId) -> Walk {
        let failure = self.failure_of(failed);
        if is_for_people(&failure) || !self.is_handled(id) {
            return Walk::Failed(failed);
        }
        self.withdraw(id);
        if !self.is_quiet(Some(id)) {
            return Walk::Busy;
        }
        match self.rolled_back(id) {
            Walk::Done => {}
            other => return other,
        }
        self.fail(id, failure);
        self.failed_for_good(id)
    }

    /// Whether the pipeline says at this step what happens when it fails.
    fn is_handled(&self, id: InstanceId) -> bool {
        let node = self.run.plan.node(self.run.instance(id).node);
        (node.fallback.is_some() || node.on_error.is_some()) && !self.was_handled(id)
    }

    /// Whether what stands for its failure was done already: what fails in there is not dealt with by the same again.
    pub(super) fn was_handled(&self, id: InstanceId) -> bool {
        self.run.instance(id).more.as_ref().is_some_and(|more| match more.handled {
            Some(Handler::OnError) => true,
            Some(Handler::ApprovalExpiry) => more.failure.is_some(),
            _ => false,
        })
    }

    /// Undoes everything that was done inside a step: done, busy, or held up by a write in doubt inside it.
    fn rolled_back(&mut self, id: InstanceId) -> Walk {
        if let Some(doubtful) = self.doubtful(Some(id)) {
            return Walk::Failed(doubtful);
        }
        if self.undone(Some(id), &|run, effect| run.is_inside(effect, id)) { Walk::Done } else { Walk::Busy }
    }
}

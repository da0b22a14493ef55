//! What is tried again, or begun again at a step: all its attempts anew, and what it did before forgotten.

use std::sync::Arc;

use super::{
    ReplayError, Run, calls,
    instance::{Facet, Frame, FrameId, Instance, InstanceId, Phase},
};
use crate::{flow::plan::Action, model::timestamp::Timestamp};

impl Run {
    /// An undoing that blocked the run has all its attempts again.
    pub(super) fn undo_again(&mut self, now: Timestamp) -> Result<(), ReplayError> {
        let Some((step, _)) = self.parked.clone() else { return Ok(()) };
        let id = self.known(&step)?;
        if self.instance(id).facet == Facet::Compensate && !self.instance(id).in_doubt {
            self.renew(id, now);
        }
        Ok(())
    }

    /// Lets a step that stopped the run be tried again, with all its attempts.
    pub(super) fn again(&mut self, step: &str, now: Timestamp) -> Result<(), ReplayError> {
        let id = self.known(step)?;
        // What confirms a write is asked again before the write is thought of as failed.
        if let Some(confirm) = self.instance(id).facet(Facet::Confirm)
            && self.instance(id).output.is_some()
        {
            self.renew(confirm, now);
            if let Some(instance) = self.instances.get_mut(id.0) {
                instance.phase = Phase::Done;
            }
            return Ok(());
        }
        self.renew(id, now);
        Ok(())
    }

    fn renew(&mut self, id: InstanceId, now: Timestamp) {
        let left = self.effects.iter().any(|effect| self.is_inside(*effect, id));
        let plan = Arc::clone(&self.plan);
        let pure = matches!(calls::doing(&plan, self.instance(id)), calls::Doing::Pure { .. });
        let Some(instance) = self.instances.get_mut(id.0) else { return };
        if pure && instance.phase == Phase::Failed {
            // It gave no result, so nothing is recomputed: the version that is bound by then is called.
            instance.plugin = None;
        }
        instance.spent = (instance.attempts, instance.finds, instance.failures);
        let entered = instance.more.as_ref().is_some_and(|more| !more.frames.is_empty());
        let failed_inside = entered && instance.phase == Phase::Failed;
        // What its steps did was undone before it failed: it begins again, with other keys.
        if failed_inside && !left && instance.more.as_ref().is_some_and(|more| more.undoing.is_some()) {
            *instance = Instance::new(instance.node, instance.frame, instance.facet, instance.main);
            self.generation += 1;
            return self.forget_inside(&|frame| frame.owner == Some(id));
        }
        let asked = instance.more.as_ref().map_or(0, |more| more.asked);
        let repeats = matches!(
            plan.node(instance.node).action,
            Action::Parallel { .. } | Action::For { .. } | Action::Loop { .. }
        );
        match instance.phase {
            // A decision that parked the run counts as made.
            Phase::Done => instance.closed = true,
            _ if entered && repeats => instance.phase = Phase::Running,
            _ if entered && instance.branch.is_some() => instance.phase = Phase::Done,
            _ if instance.attempts == 0 => {
                *instance = Instance::new(instance.node, instance.frame, instance.facet, instance.main);
                if asked > 0 {
                    instance.more().asked = asked;
                }
                return;
            }
            _ => instance.phase = Phase::Waiting(now),
        }
        if let Some(more) = &mut instance.more {
            more.failure = None;
            more.handled = None;
            more.approval = None;
            if more.tries > 0 && usize::try_from(more.max).is_ok_and(|max| more.frames.len() >= max) {
                more.max += more.tries;
            }
        }
        // The bound of the whole step begins anew.
        if instance.begun.is_some() {
            instance.begun = Some(now);
        }
        if failed_inside {
            self.renew_inside(id, now);
        }
    }

    /// Lets what failed inside a step be tried again; not what is in doubt.
    fn renew_inside(&mut self, id: InstanceId, now: Timestamp) {
        let frames = self.instance(id).more.as_ref().map_or_else(Vec::new, |more| more.frames.clone());
        for frame in frames {
            let here = self.frame(frame);
            let (first, count) = (here.first, self.plan.block(here.block).nodes.len());
            for inner in (first..first + count).map(InstanceId) {
                let instance = self.instance(inner);
                match instance.phase {
                    Phase::Failed if !instance.in_doubt => self.renew(inner, now),
                    Phase::Running => self.renew_inside(inner, now),
                    Phase::Done if instance.branch.is_some() => self.renew_inside(inner, now),
                    _ => {}
                }
            }
        }
    }

    /// Forgets what a step and all after it did, but (unless they were undone) not the writes among them.
    pub(super) fn forget_from(&mut self, from: InstanceId, now: Timestamp) {
        let Some((_, undone)) = self.restarting.take() else { return };
        let frame = self.instance(from).frame;
        let first = self.frame(frame).first;
        let position = from.0 - first;
        let plan = Arc::clone(&self.plan);
        let nodes = &plan.block(self.frame(frame).block).nodes;
        for (place, node) in nodes.iter().enumerate().skip(position) {
            let id = InstanceId(first + place);
            let keeps = !undone && self.is_in_effect(id);
            if !keeps && let Some(instance) = self.instances.get_mut(id.0) {
                *instance = Instance::new(*node, frame, Facet::Main, None);
            } else if keeps && self.instance(id).phase == Phase::Failed {
                // It took effect and could not be confirmed: that is tried again.
                if let Some(confirm) = self.instance(id).facet(Facet::Confirm) {
                    self.renew(confirm, now);
                }
                if let Some(instance) = self.instances.get_mut(id.0) {
                    instance.phase = Phase::Done;
                }
            }
        }
        // What was entered from there on is entered anew.
        let from_there = from.0..first + nodes.len();
        let handler = self.plan.on_error.as_ref().map(|handler| handler.steps);
        self.forget_inside(&|frame| {
            Some(frame.block) == handler || frame.owner.is_some_and(|owner| from_there.contains(&owner.0))
        });
        if let Some(frame) = self.frames.get_mut(frame.0) {
            frame.behind = frame.behind.min(position);
        }
        self.undoing = None;
        self.generation += 1;
    }

    /// Whether an instance wrote, and that has not been undone.
    fn is_in_effect(&self, id: InstanceId) -> bool {
        let instance = self.instance(id);
        let node = self.plan.node(instance.node);
        let handled = instance.more.as_ref().is_some_and(|more| more.handled.is_some());
        let done = instance.phase == Phase::Done && !handled && node.compensate.is_none();
        calls::is_write(&node.action) && (done || self.effects.contains(&id))
    }

    /// Forgets these frames and what was entered inside them; it is entered anew.
    fn forget_inside(&mut self, these: &dyn Fn(&Frame) -> bool) {
        let gone: Vec<FrameId> = (0..self.frames.len())
            .map(FrameId)
            .filter(|frame| {
                let mut around = std::iter::successors(Some(*frame), |frame| self.frame(*frame).parent);
                around.any(|frame| these(self.frame(frame)))
            })
            .collect();
        // What `on_error` did stays done.
        let stays: Vec<bool> =
            self.effects.iter().map(|effect| !gone.contains(&self.instance(*effect).frame)).collect();
        for (_, protects) in &mut self.protected {
            *protects = stays.iter().take(*protects).filter(|stays| **stays).count();
        }
        let mut stay = stays.into_iter();
        self.effects.retain(|_| stay.next().unwrap_or(true));
        for id in gone {
            let (block, first) = (self.frame(id).block, self.frame(id).first);
            let indices = self.frame(id).indices.clone();
            if let Some(place) = self.once.get_mut(block.0)
                && *place == Some(id)
            {
                *place = None;
            }
            if self.repeated.get(&(block, indices.clone())) == Some(&id) {
                self.repeated.remove(&(block, indices));
            }
            let count = self.plan.block(block).nodes.len();
            for instance in self.instances.iter_mut().skip(first).take(count) {
                *instance = Instance::new(instance.node, id, Facet::Main, None);
                instance.phase = Phase::Skipped;
            }
        }
    }
}

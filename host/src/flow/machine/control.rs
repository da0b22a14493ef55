//! How a run stops: wound down, undone, parked for people; and what people may do with it then.

use std::sync::Arc;

use super::{
    Halt, Run,
    calls::{self, Doing},
    instance::{Facet, FrameId, InstanceId, Phase, Undoing},
    leaving::is_for_people,
    turn::{Stuck, Turn, Walk},
};
use crate::model::{
    entry::{Control, Controlled, Ending, Entry, WaitsUndone},
    failure::{Failure, FailureKind},
};

/// Why a person cannot do something with a run now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ControlRefusal {
    /// What stands in the way, and what can be done instead.
    pub problem: String,
}

impl Run {
    /// Whether a person can do this with the run now.
    ///
    /// # Errors
    /// Why not, and what can be done instead.
    pub fn check_control(&self, action: &Control) -> Result<(), ControlRefusal> {
        let refuse = |problem: &str| Err(ControlRefusal { problem: problem.to_owned() });
        let ended = self.settled && self.parked.is_none();
        match action {
            Control::CloseException { event } if self.late.is_open(*event) => Ok(()),
            Control::CloseException { .. } => refuse("the run has no open exception of this event"),
            Control::Undo if ended && self.completed => Ok(()),
            Control::Undo => refuse("only a run that has completed is undone as a whole"),
            _ if ended && !matches!(action, Control::Restart { .. }) => refuse("the run has ended"),
            Control::Pause if self.paused => refuse("the run is paused already"),
            Control::Pause if self.settled => refuse("the run is parked: nothing of it goes on anyway"),
            Control::Continue if !self.paused => refuse("the run is not paused"),
            Control::Cancel { .. } if self.halt.is_some() && self.parked.is_none() => {
                refuse("the run is being wound down already")
            }
            Control::Resume | Control::Close { .. } if self.parked.is_none() => refuse("the run is not parked"),
            Control::Resume => match &self.parked {
                Some((step, failure)) if failure.code == "effect.in-doubt" => refuse(&format!(
                    "whether `{step}` took effect is not known; find out at the remote, then say so with `resolve`"
                )),
                _ => Ok(()),
            },
            Control::Resolve { step, .. } => match &self.parked {
                Some((parked, failure)) if parked == step && failure.code == "effect.in-doubt" => Ok(()),
                _ => refuse(&format!("step `{step}` did not park the run with a write in doubt")),
            },
            Control::Reassign { step, .. } => {
                let asks = self.find(step).filter(|id| self.is_live(*id)).is_some_and(|id| {
                    self.instance(id)
                        .approval()
                        .is_some_and(|approval| approval.outcome == super::instance::Asked::Open)
                });
                if asks { Ok(()) } else { refuse(&format!("step `{step}` asks nobody now")) }
            }
            Control::Restart { step, undo } => self.check_restart(step, *undo),
            _ => Ok(()),
        }
    }

    fn check_restart(&self, step: &str, undo: bool) -> Result<(), ControlRefusal> {
        let refuse = |problem: String| Err(ControlRefusal { problem });
        let Some(id) = self.find(step).filter(|id| self.instance(*id).frame == FrameId(0)) else {
            return refuse(format!("`{step}` is not a step of the outermost list, where a run can begin again"));
        };
        if !self.settled && !self.paused {
            return refuse("the run is under way: pause it first".to_owned());
        }
        let later = |effect: &&InstanceId| {
            effect.0 >= id.0 && self.instance(**effect).frame == FrameId(0)
                || (id.0..self.frame(FrameId(0)).first + self.plan.block(self.frame(FrameId(0)).block).nodes.len())
                    .any(|outer| self.is_inside(**effect, InstanceId(outer)))
        };
        let doubtful = self.instances.iter().any(|instance| instance.in_doubt);
        if doubtful && self.settled {
            return refuse("whether a write took effect is not known: say so with `resolve` first".to_owned());
        }
        if undo && self.effects.iter().take(self.protects()).any(|effect| later(&effect)) {
            return refuse("effects before the point of no return cannot be undone".to_owned());
        }
        let inner = self.effects.iter().find(|effect| later(effect) && self.instance(**effect).frame != FrameId(0));
        match inner {
            Some(inner) if !undo => refuse(format!(
                "`{}` stands inside a step that would run again: let later effects be undone",
                self.path(*inner)
            )),
            _ => Ok(()),
        }
    }

    /// How many of the effects lie before a point of no return.
    fn protects(&self) -> usize {
        self.protected.iter().map(|(_, protects)| *protects).max().unwrap_or(0)
    }

    /// The effects that may still be undone, latest first.
    pub(super) fn undoable(&self) -> Vec<InstanceId> {
        let protects = self.protects();
        self.effects.iter().skip(protects).rev().copied().collect()
    }
}

impl Turn<'_> {
    /// A person takes hold of the run.
    pub(super) fn control(&mut self, controlled: Controlled) {
        self.record(Entry::Controlled(Box::new(Controlled { time: self.now, ..controlled })));
        self.commit();
    }

    /// No forward step begins any more.
    pub(super) fn halt(&mut self, ending: Ending, undo: bool) {
        if self.run.settled {
            return;
        }
        if let Some(Halt { ending, undo, .. }) = self.run.halt.clone() {
            // `on_error` itself says that this is the end.
            let handler = self.run.plan.on_error.as_ref();
            let handling = handler.is_some_and(|handler| self.run.find_frame(handler.steps, &[]).is_some());
            if handling && self.is_quiet(None) {
                self.end(ending, undo);
            }
            return;
        }
        let plan = Arc::clone(&self.run.plan);
        self.sweep();
        let busy = !self.run.busy.is_empty();
        let undoes = undo && !self.run.undoable().is_empty();
        let handles = matches!(ending, Ending::Failed { .. }) && plan.on_error.is_some();
        if busy || undoes || handles {
            self.record(Entry::Halted { time: self.now, ending, undo });
            self.commit();
            self.wind_down();
        } else {
            self.end(ending, undo);
        }
    }

    /// What is in flight is resolved, then effects are undone, then `on_error` runs, then the run ends.
    pub(super) fn wind_down(&mut self) {
        let Some(Halt { ending, undo, handled }) = self.run.halt.clone() else { return };
        let plan = Arc::clone(&self.run.plan);
        let handler = plan.on_error.as_ref().filter(|_| matches!(ending, Ending::Failed { .. }) && !handled);
        let handling = handler.and_then(|handler| self.run.find_frame(handler.steps, &[]));
        if handling.is_none() {
            if !self.is_quiet(None) {
                return;
            }
            // Nothing is undone, and nothing ends, before it is known what took effect.
            if let Some(id) = self.doubtful(None) {
                let failure = self.failure_of(id);
                return self.park(id, failure);
            }
            if undo && !self.undone(None, &|_, _| true) {
                return;
            }
        }
        if let Some(handler) = handler {
            let frame =
                handling.unwrap_or_else(|| self.run.open(handler.steps, Some(FrameId(0)), None, Vec::new(), None));
            match self.walk(frame) {
                Walk::Busy => return,
                Walk::Failed(id) => {
                    if self.is_quiet(None) {
                        let failure = self.failure_of(id);
                        self.park(id, failure);
                    }
                    return;
                }
                Walk::Done => {}
            }
        }
        if !self.run.settled {
            self.end(ending, undo);
        }
    }

    /// Ends the run. What still comes for waits that stood on something undone is for people.
    fn end(&mut self, ending: Ending, undone: bool) {
        let waits = self.run.undone_waits(undone);
        if !waits.is_empty() {
            self.record(Entry::WaitsUndone(Box::new(WaitsUndone { time: self.now, waits })));
        }
        self.record(Entry::RunEnded { time: self.now, ending });
        self.commit();
    }

    /// Forgets the instances that are busy no more.
    pub(super) fn sweep(&mut self) {
        let mut busy = std::mem::take(&mut self.run.busy);
        let (run, plan) = (&*self.run, &self.run.plan);
        busy.retain(|id| {
            let instance = run.instance(*id);
            calls::is_out(plan, instance) || instance.in_doubt
        });
        self.run.busy = busy;
    }

    /// Whether nothing inside a step (or anywhere) is out or in doubt. What is in doubt is found out meanwhile.
    pub(super) fn is_quiet(&mut self, inside: Option<InstanceId>) -> bool {
        let plan = Arc::clone(&self.run.plan);
        let mut quiet = true;
        self.sweep();
        for id in self.run.busy.iter().copied().collect::<Vec<_>>() {
            if inside.is_some_and(|step| !self.run.is_inside(id, step)) {
                continue;
            }
            let instance = self.run.instance(id);
            match instance.phase {
                Phase::Running if calls::is_out(&plan, instance) => quiet = false,
                Phase::Waiting(due) if instance.in_doubt && self.writes(id) => {
                    quiet = false;
                    if due > self.now {
                        self.sleep_until(due);
                    } else if let Err(Stuck(failure)) = self.repeat(id) {
                        self.fail(id, failure);
                    }
                }
                _ => {}
            }
        }
        quiet
    }

    /// A write inside a step (or anywhere) whose doubt could not be resolved.
    pub(super) fn doubtful(&self, inside: Option<InstanceId>) -> Option<InstanceId> {
        let plan = &self.run.plan;
        self.run.busy.iter().copied().find(|id| {
            let instance = self.run.instance(*id);
            instance.phase == Phase::Failed
                && instance.in_doubt
                && !matches!(calls::doing(plan, instance), Doing::Nothing)
                && inside.is_none_or(|step| self.run.is_inside(*id, step))
        })
    }

    /// A step failed for good, and nothing is declared for it but perhaps by the pipeline as a whole.
    pub(super) fn give_up(&mut self, id: InstanceId) {
        if !self.is_quiet(None) {
            return;
        }
        let failure = self.failure_of(id);
        let plan = Arc::clone(&self.run.plan);
        match &plan.on_error {
            Some(handler) if !is_for_people(&failure) => {
                let step = self.run.path(id);
                self.halt(Ending::Failed { step, failure }, handler.compensate_all);
            }
            _ => self.park(id, failure),
        }
    }

    /// Parks the run for people, with its effects in place.
    pub(super) fn park(&mut self, id: InstanceId, failure: Failure) {
        if self.run.settled {
            return;
        }
        let step = self.run.path(id);
        self.record(Entry::RunParked { time: self.now, step, failure });
        self.commit();
    }

    /// Whether the effects that are `meant` are undone, one by one, latest first. Begins it if it was not begun. What
    /// lies before the point of no return stays.
    pub(super) fn undone(&mut self, step: Option<InstanceId>, meant: &dyn Fn(&Run, InstanceId) -> bool) -> bool {
        let begun = self.undoing(step);
        if begun.is_some() && !self.compensated(step) {
            return false;
        }
        // What took effect since, or was not meant then, follows.
        let mut effects = self.run.undoable();
        effects.retain(|effect| meant(self.run, *effect));
        if effects.is_empty() {
            return true;
        }
        let named = effects.iter().map(|effect| self.run.path(*effect)).collect();
        let path = step.map(|step| self.run.path(step));
        self.record(Entry::UndoBegan { step: path, time: self.now, effects: named });
        self.compensated(step)
    }

    /// What a step (or the run) undoes.
    fn undoing(&mut self, step: Option<InstanceId>) -> Option<&mut Undoing> {
        match step {
            None => self.run.undoing.as_mut(),
            Some(step) => self.run.instances.get_mut(step.0)?.more.as_mut()?.undoing.as_mut(),
        }
    }

    /// Whether the effects that a step (or the run) has begun to undo are undone.
    pub(super) fn compensated(&mut self, step: Option<InstanceId>) -> bool {
        let Some(Undoing { effects, behind }) = self.undoing(step).cloned() else { return true };
        for (place, effect) in effects.iter().enumerate().skip(behind) {
            if let Some(undoing) = self.undoing(step) {
                undoing.behind = place;
            }
            let facet = self.run.facet(*effect, Facet::Compensate);
            match self.visit(facet) {
                Walk::Done => {}
                Walk::Busy => return false,
                Walk::Failed(_) => {
                    let failure = self.failure_of(facet);
                    let failure = if failure.code == "effect.in-doubt" {
                        failure
                    } else {
                        Failure {
                            kind: FailureKind::Permanent,
                            code: "compensation.blocked".to_owned(),
                            message: format!("the effect cannot be undone: `{}`: {}", failure.code, failure.message),
                            ..failure
                        }
                    };
                    self.park(facet, failure);
                    return false;
                }
            }
        }
        true
    }

    /// Begins the run again at a step, once nothing is out and later effects are undone if they are to be. Whether it
    /// has.
    pub(super) fn restart(&mut self) -> bool {
        let Some((from, undo)) = self.run.restarting else { return true };
        if !self.is_quiet(None) {
            return false;
        }
        if undo {
            let first = self.run.frame(FrameId(0)).first;
            let outer = self.run.plan.block(self.run.frame(FrameId(0)).block).nodes.len();
            let later = |run: &Run, effect: InstanceId| {
                (from.0..first + outer).any(|outer| outer == effect.0 || run.is_inside(effect, InstanceId(outer)))
            };
            if !self.undone(None, &later) {
                return false;
            }
        }
        let step = self.run.path(from);
        self.record(Entry::Restarted { step, time: self.now });
        self.commit();
        true
    }
}

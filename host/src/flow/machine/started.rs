//! Runs that steps start: begun or found, undone with the run that started them, withdrawn when nobody needs their end.

use std::sync::Arc;

use super::{
    calls::{Doing, doing},
    effect::{Effect, Start, Undo, Withdraw},
    instance::{InstanceId, Phase},
    turn::{Stuck, Turn},
};
use crate::{
    flow::plan::Action,
    model::{
        failure::{Failure, FailureKind},
        id::RunId,
    },
};

impl Turn<'_> {
    /// Starts a run, or finds it if it was started before.
    pub(super) fn start(&mut self, id: InstanceId) -> Result<(), Stuck> {
        let plan = Arc::clone(&self.run.plan);
        let instance = self.run.instance(id);
        let Action::Start { pipeline, range, detach, with } = &plan.node(instance.node).action else { return Ok(()) };
        let data = self.run.render(instance.frame, with)?;
        let step = self.run.path(id);
        self.mark_running(id);
        self.commit();
        self.outgoing.push(Effect::Start(Start {
            instance: id,
            run: RunId::child(self.run.id, &step, self.run.generation),
            pipeline: pipeline.clone(),
            range: range.clone(),
            step,
            detach: *detach,
            data,
        }));
        Ok(())
    }

    /// Has the run that a step started undo what it did. After a crash it is told so again: it does so once.
    pub(super) fn undo_run(&mut self, id: InstanceId) -> Result<(), Stuck> {
        let main = self.run.instance(id).main.and_then(|main| self.run.instance(main).output.clone());
        let started = main.as_ref().and_then(|output| output.value().get("run")?.as_str()?.parse().ok());
        let Some(run) = started else {
            let message = "it is not recorded which run the step started";
            return Err(Stuck(Failure::new(FailureKind::Permanent, "run.unknown", message)));
        };
        self.mark_running(id);
        self.commit();
        self.outgoing.push(Effect::Undo(Undo { instance: id, run }));
        Ok(())
    }

    /// Has runs that steps inside a step started, and that are waited for, come to their end: nobody needs it.
    pub(super) fn withdraw(&mut self, inside: InstanceId) {
        let plan = Arc::clone(&self.run.plan);
        for id in self.run.busy.iter().copied().collect::<Vec<_>>() {
            let instance = self.run.instance(id);
            let waits = instance.phase == Phase::Running && matches!(doing(&plan, instance), Doing::Start);
            if !waits || instance.withdrawn || !self.run.is_inside(id, inside) {
                continue;
            }
            let run = RunId::child(self.run.id, &self.run.path(id), self.run.generation);
            if let Some(instance) = self.run.instances.get_mut(id.0) {
                instance.withdrawn = true;
            }
            self.commit();
            self.outgoing.push(Effect::Withdraw(Withdraw { instance: id, run }));
        }
    }
}

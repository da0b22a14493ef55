//! How facts change a run: the only place where its recorded state changes, whether it is being lived or read back.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Halt, ReplayError, Run,
    instance::{Approving, Asked, Facet, Instance, InstanceId, Phase, Undoing, Waiting},
    then_after,
};
use crate::{
    flow::{
        document::Document,
        plan::{Action, BlockId, Then},
    },
    model::{
        decision::{Outcome, Verdict},
        entry::{ApprovalDecided, Control, Controlled, Ending, Entry, Handler, Output, StepDone},
        failure::{Failure, FailureKind},
        json::Json,
    },
};

impl Run {
    /// Takes in one fact.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), ReplayError> {
        if let Some(time) = entry.time() {
            self.recorded = self.recorded.max(time);
        }
        self.acts += u32::from(matches!(entry, Entry::Controlled(_) | Entry::ApprovalDecided(_) | Entry::Moved(_)));
        match entry {
            Entry::Accepted(_) | Entry::RunStarted(_) | Entry::Moved(_) => {}
            Entry::StepSkipped { step } => self.change(step)?.phase = Phase::Skipped,
            Entry::StepStarted(started) => {
                let instance = self.change(&started.step)?;
                instance.begin(started.time);
                instance.attempts = started.attempt;
                instance.plugin.clone_from(&started.plugin);
                if !started.tables.is_empty() {
                    instance.tables = started.tables.clone().into();
                }
            }
            Entry::Intent(intent) => {
                let id = self.known(&intent.step)?;
                let protects = self.plan.node(self.instance(id).node).point_of_no_return
                    && self.instance(id).facet == Facet::Main
                    && !intent.resolving;
                if protects && !self.protected.iter().any(|(protects, _)| *protects == id) {
                    self.protected.push((id, self.effects.len()));
                }
                let instance = self.change(&intent.step)?;
                instance.begin(intent.time);
                // The remote was asked, and nothing had taken effect: this attempt begins without doubt.
                instance.in_doubt &= intent.resolving || !instance.resolving;
                instance.resolving = intent.resolving;
                if intent.resolving {
                    instance.finds += 1;
                } else {
                    instance.attempts = intent.attempt;
                }
                instance.plugin = Some(intent.plugin.clone());
                if !intent.tables.is_empty() {
                    instance.tables = intent.tables.clone().into();
                }
            }
            Entry::StepDone(done) => self.apply_done(done)?,
            Entry::AttemptFailed(failed) => {
                let id = self.known(&failed.step)?;
                let doing = super::calls::doing(&self.plan, self.instance(id));
                let (writes, pure) = (super::calls::writes(&doing), matches!(doing, super::calls::Doing::Pure { .. }));
                let instance = self.change(&failed.step)?;
                instance.phase = failed.next.map_or(Phase::Failed, Phase::Waiting);
                instance.failures += 1;
                instance.in_doubt |= writes && failed.failure.kind == FailureKind::Uncertain;
                let on_trial = instance.plugin.as_ref().is_some_and(|plugin| plugin.canary);
                if on_trial && super::calls::is_defect(&failed.failure) {
                    instance.active_only = true;
                    if !writes {
                        // It does not count against the active version's attempts.
                        instance.spent.2 += 1;
                        instance.spent.0 += 1;
                    }
                    if pure {
                        instance.plugin = None;
                    }
                }
                if failed.next.is_none() {
                    instance.more().failure = Some(failed.failure.clone());
                }
                self.proved_harmless(id);
            }
            Entry::BranchTaken { step, branch } => self.apply_branch(step, branch.as_deref())?,
            Entry::BranchClosed { step, output } => {
                let instance = self.change(step)?;
                instance.phase = Phase::Done;
                instance.branch = None;
                instance.closed = true;
                if let Some(output) = output {
                    instance.output = Some(Document::new(output.clone()));
                }
            }
            Entry::Entered(entered) => {
                let instance = self.change(&entered.step)?;
                instance.begin(entered.time);
                let more = instance.more();
                more.max = entered.max.unwrap_or(0);
                more.tries = more.max;
                if let Some(items) = &entered.items
                    && let Value::Array(items) = items.to_value()
                {
                    more.results = items.iter().map(|_| None).collect();
                    more.items = items.into_iter().map(Document::from).collect();
                }
            }
            Entry::VarsSet { step, values, .. } => {
                if let Value::Object(values) = values.to_value() {
                    self.vars.extend(values.into_iter().map(|(name, value)| (name, Document::from(value))));
                }
                let instance = self.change(step)?;
                instance.phase = Phase::Done;
                instance.output = Some(Document::new(Json::null()));
            }
            Entry::WaitStarted(started) => {
                let instance = self.change(&started.step)?;
                instance.begin(started.time);
                let (due, awaits) = (started.due, started.awaits.clone());
                instance.more().wait = Some(Waiting { due, awaits, over: false, signal: None });
            }
            Entry::Signalled(signalled) => {
                self.late.take(signalled.acceptance);
                let signal = serde_json::to_value(&signalled.event).unwrap_or(Value::Null);
                let output = serde_json::json!({ "kind": signalled.name, "signal": signal });
                let instance = self.change(&signalled.step)?;
                instance.phase = Phase::Done;
                instance.output = Some(Document::from(output));
                if let Some(wait) = &mut instance.more().wait {
                    wait.signal = Some(Document::from(signal));
                }
            }
            Entry::WaitOver { step, .. } => self.apply_wait_over(step)?,
            Entry::ApprovalAsked(asked) => {
                let instance = self.change(&asked.step)?;
                if instance.phase == Phase::Fresh {
                    instance.begin(asked.time);
                }
                let depth = instance.approval().map_or(0, |before| before.depth + 1);
                instance.more().asked = asked.revision;
                instance.more().approval = Some(Approving {
                    asked: (**asked).clone(),
                    depth,
                    group: asked.group.clone(),
                    reminded: 0,
                    escalated: false,
                    decisions: Vec::new(),
                    outcome: Asked::Open,
                });
            }
            Entry::ApprovalNudged { step, to, .. } => {
                if let Some(approval) = &mut self.change(step)?.more().approval {
                    match to {
                        Some(to) => {
                            approval.group.clone_from(to);
                            approval.escalated = true;
                        }
                        None => approval.reminded += 1,
                    }
                }
            }
            Entry::ApprovalDecided(decided) => self.apply_decision(decided)?,
            Entry::ApprovalExpired { step, .. } => {
                if let Some(approval) = &mut self.change(step)?.more().approval {
                    approval.outcome = Asked::Expired;
                }
            }
            Entry::StepFailed { step, failure, .. } => {
                let id = self.known(step)?;
                let instance = self.change(step)?;
                instance.phase = Phase::Failed;
                instance.more().failure = Some(failure.clone());
                self.proved_harmless(id);
            }
            Entry::Handled { step, by, output, .. } => self.apply_handled(step, *by, output.as_ref())?,
            Entry::UndoBegan { step, effects, .. } => {
                let effects = effects
                    .iter()
                    .map(|effect| self.known(effect))
                    .collect::<Result<Vec<InstanceId>, ReplayError>>()?;
                let effects = Undoing { effects: effects.into(), behind: 0 };
                match step {
                    None => self.undoing = Some(effects),
                    Some(step) => {
                        let instance = self.change(step)?;
                        if instance.phase == Phase::Fresh {
                            instance.phase = Phase::Running;
                        }
                        instance.more().undoing = Some(effects);
                    }
                }
            }
            Entry::Halted { ending, undo, .. } => {
                self.halt = Some(Halt { ending: ending.clone(), undo: *undo, handled: false });
            }
            Entry::Restarted { step, time } => {
                let id = self.known(step)?;
                self.forget_from(id, *time);
            }
            Entry::Controlled(controlled) => self.apply_control(controlled)?,
            Entry::WaitsUndone(undone) => self.late.undone(undone),
            Entry::ExceptionOpened(opened) => self.late.open(opened.acceptance),
            Entry::RunEnded { ending, .. } => {
                self.completed = *ending == Ending::Completed;
                self.settled = true;
                self.parked = None;
            }
            Entry::RunParked { step, failure, .. } => {
                self.parked = Some((step.clone(), failure.clone()));
                self.settled = true;
            }
        }
        Ok(())
    }

    /// A point of no return that provably changed nothing protects nothing.
    pub(super) fn proved_harmless(&mut self, id: InstanceId) {
        let instance = self.instance(id);
        if !instance.in_doubt && instance.output.is_none() {
            self.protected.retain(|(protects, _)| *protects != id);
        }
    }

    fn apply_done(&mut self, done: &StepDone) -> Result<(), ReplayError> {
        let id = self.known(&done.step)?;
        let (output, verdict, branch) = match &done.output {
            Output::Json(json) => (Document::new(json.clone()), None, None),
            Output::Assessment(assessment) => {
                (Document::new(Json::from_serialize(assessment).unwrap_or_else(|_| Json::null())), None, None)
            }
            Output::Verdict(verdict) => {
                let output = verdict.output.clone().map_or_else(|| self.input_of(id), Document::new);
                (output, Some(verdict.clone()), self.branch_of(id, verdict))
            }
        };
        let instance = self.change(&done.step)?;
        instance.phase = Phase::Done;
        instance.in_doubt = false;
        instance.output = Some(output);
        instance.verdict = verdict;
        if instance.facet == Facet::Main {
            instance.branch = branch;
        }
        self.took_effect(id);
        self.turn_page(id);
        Ok(())
    }

    /// A page that was fetched is the next item of its `for`.
    fn turn_page(&mut self, id: InstanceId) {
        let instance = self.instance(id);
        let (Facet::Page(number), Some(main), Some(page)) = (instance.facet, instance.main, &instance.output) else {
            return;
        };
        let (rows, next) = (page.value().get("rows").cloned(), page.value().get("next").and_then(Value::as_str));
        let cursor = next.map(str::to_owned);
        if let Some(main) = self.instances.get_mut(main.0) {
            let more = main.more();
            more.cursor = cursor;
            more.items.push(Document::from(serde_json::json!({ "rows": rows, "number": number })));
            more.results.push(None);
        }
        // The item holds the rows from here on.
        if let Some(instance) = self.instances.get_mut(id.0) {
            instance.output = None;
        }
    }

    /// Keeps the books of what can be undone.
    fn took_effect(&mut self, id: InstanceId) {
        let instance = self.instance(id);
        match (instance.facet, instance.main) {
            (Facet::Main, _) if self.plan.node(instance.node).is_undoable() => self.effects.push(id),
            (Facet::Compensate, Some(main)) => {
                let place = self.effects.iter().rposition(|effect| *effect == main);
                if let Some(place) = place {
                    self.effects.remove(place);
                    for (_, protects) in &mut self.protected {
                        *protects -= usize::from(place < *protects);
                    }
                }
            }
            _ => {}
        }
    }

    fn apply_branch(&mut self, step: &str, branch: Option<&str>) -> Result<(), ReplayError> {
        let id = self.known(step)?;
        let plan = Arc::clone(&self.plan);
        let block = match &plan.node(self.instance(id).node).action {
            Action::Switch { cases, otherwise, .. } => branch.and_then(|name| match name {
                "otherwise" => *otherwise,
                number => {
                    let index = number.parse::<usize>().ok()?.checked_sub(1)?;
                    cases.get(index).map(|(_, block)| *block)
                }
            }),
            _ => None,
        };
        let instance = self.change(step)?;
        instance.phase = Phase::Done;
        instance.output = Some(Document::new(Json::null()));
        instance.branch = block;
        Ok(())
    }

    fn apply_wait_over(&mut self, step: &str) -> Result<(), ReplayError> {
        let instance = self.change(step)?;
        let more = instance.more();
        let timed = more.wait.as_ref().is_some_and(|wait| wait.awaits.is_empty());
        if let Some(wait) = &mut more.wait {
            wait.over = true;
        }
        if timed {
            instance.phase = Phase::Done;
            instance.output = Some(Document::from(serde_json::json!({ "kind": "time", "signal": null })));
        }
        Ok(())
    }

    fn apply_decision(&mut self, decided: &ApprovalDecided) -> Result<(), ReplayError> {
        let Some(approval) = &mut self.change(&decided.step)?.more().approval else { return Ok(()) };
        approval.decisions.push(decided.clone());
        let agreed = approval.decisions.iter().filter(|decision| decision.approved).count();
        let enough = usize::try_from(approval.asked.quorum).is_ok_and(|quorum| agreed >= quorum);
        approval.outcome = match (decided.approved, decided.override_code.is_some() || enough) {
            (false, _) => Asked::Rejected,
            (true, true) => Asked::Approved,
            (true, false) => Asked::Open,
        };
        Ok(())
    }

    fn apply_handled(&mut self, step: &str, by: Handler, output: Option<&Json>) -> Result<(), ReplayError> {
        let id = self.known(step)?;
        let plan = Arc::clone(&self.plan);
        let node = plan.node(self.instance(id).node);
        let then = match (by, &node.action) {
            (Handler::OnError, _) => node.on_error.as_ref(),
            (Handler::OnExpiry, Action::Wait { on_expiry, .. }) => on_expiry.as_ref(),
            (Handler::OnExhausted, Action::Loop { on_exhausted, .. }) => on_exhausted.as_ref(),
            (Handler::ApprovalExpiry, _) => self.approval_plan(&plan, id).map(|approval| &approval.on_expiry),
            _ => None,
        };
        let branch = match then {
            Some(Then::Steps(block)) => Some(*block),
            _ => None,
        };
        let instance = self.change(step)?;
        instance.phase = Phase::Done;
        instance.branch = branch;
        instance.closed = branch.is_none();
        instance.verdict = None;
        instance.output = Some(Document::new(output.cloned().unwrap_or_else(Json::null)));
        instance.more().handled = Some(by);
        Ok(())
    }

    fn apply_control(&mut self, controlled: &Controlled) -> Result<(), ReplayError> {
        match &controlled.action {
            Control::Pause => self.paused = true,
            Control::Continue => self.paused = false,
            Control::Cancel { compensate } => {
                self.undo_again(controlled.time)?;
                self.stop(Ending::Cancelled, *compensate);
            }
            Control::Close { compensate } => {
                let (step, failure) = self.parked.clone().unwrap_or_else(|| {
                    (String::new(), Failure::new(FailureKind::Permanent, "run.closed", "a person closed the run"))
                });
                self.undo_again(controlled.time)?;
                self.stop(Ending::Failed { step, failure }, *compensate);
            }
            Control::Resume => {
                if let Some((step, _)) = self.parked.take() {
                    self.again(&step, controlled.time)?;
                }
                self.settled = false;
            }
            Control::Resolve { step, output } => {
                let id = self.known(step)?;
                let instance = self.change(step)?;
                instance.in_doubt = false;
                match output {
                    Some(output) => {
                        if let Some(more) = &mut instance.more {
                            more.failure = None;
                        }
                        instance.phase = Phase::Done;
                        instance.output = Some(Document::new(output.clone()));
                        self.took_effect(id);
                    }
                    None => {
                        self.proved_harmless(id);
                        self.again(step, controlled.time)?;
                    }
                }
                self.parked = None;
                self.settled = false;
            }
            Control::Reassign { step, to } => {
                if let Some(approval) = &mut self.change(step)?.more().approval {
                    approval.group.clone_from(to);
                }
            }
            Control::Undo => {
                self.halt = Some(Halt { ending: Ending::Cancelled, undo: true, handled: true });
                self.settled = false;
            }
            Control::CloseException { event } => self.late.close(*event),
            Control::Restart { step, undo } => {
                self.late.forget_waits();
                let id = self.known(step)?;
                self.restarting = Some((id, *undo));
                self.parked = None;
                self.settled = false;
                self.halt = None;
            }
        }
        Ok(())
    }

    fn stop(&mut self, ending: Ending, undo: bool) {
        // A run that stopped in its own `on_error` is closed without it.
        let handled = self.plan.on_error.as_ref().is_some_and(|handler| self.find_frame(handler.steps, &[]).is_some());
        self.halt = Some(Halt { ending, undo, handled });
        self.restarting = None;
        self.parked = None;
        self.paused = false;
        self.settled = false;
    }

    fn branch_of(&self, id: InstanceId, verdict: &Verdict) -> Option<BlockId> {
        let Action::Pure { outcomes, .. } = &self.plan.node(self.instance(id).node).action else { return None };
        match (verdict.outcome, then_after(outcomes, verdict.outcome)) {
            (Outcome::Route, _) => outcomes.routes.get(verdict.target.as_deref()?).copied(),
            (_, Some(Then::Steps(block))) => Some(*block),
            _ => None,
        }
    }

    pub(super) fn known(&mut self, step: &str) -> Result<InstanceId, ReplayError> {
        self.locate(step).ok_or_else(|| ReplayError::UnknownStep {
            run: self.id,
            step: step.to_owned(),
            pipeline: format!("{} {}", self.plan.pipeline.name, self.plan.pipeline.version),
        })
    }

    pub(super) fn change(&mut self, step: &str) -> Result<&mut Instance, ReplayError> {
        let id = self.known(step)?;
        let run = self.id;
        self.changes += 1;
        self.busy.insert(id);
        if let Some(instance) = self.instances.get_mut(id.0) {
            instance.changed = self.changes;
        }
        self.instances.get_mut(id.0).ok_or(ReplayError::NoStart { run })
    }
}

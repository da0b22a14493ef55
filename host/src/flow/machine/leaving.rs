//! What follows when a step is done, failed, expired or was decided: its fallback, its `on_error`, its branch, and what
//! leaves it.

use std::sync::Arc;

use serde_json::Value;

use super::{
    calls,
    instance::{Facet, InstanceId},
    scope::RunScope,
    then_after,
    turn::{Stuck, Turn, Walk},
};
use crate::{
    flow::{
        document::Document,
        plan::{Action, BlockId, Fallback, Node, Then},
    },
    model::{
        decision::Outcome,
        entry::{Ending, Entry, Handler},
        failure::{Failure, FailureKind},
        json::Json,
        pipeline::action::Mode,
    },
};

impl Turn<'_> {
    pub(super) fn failure_of(&self, id: InstanceId) -> Failure {
        let failure = self.run.instance(id).failure().cloned();
        failure.unwrap_or_else(|| Failure::new(FailureKind::Permanent, "step.failed", "it failed"))
    }

    /// A step failed for good: its fallback, then its `on_error`, then whatever stands around it.
    pub(super) fn failed_for_good(&mut self, id: InstanceId) -> Walk {
        let plan = Arc::clone(&self.run.plan);
        let instance = self.run.instance(id);
        if instance.facet != Facet::Main {
            return Walk::Failed(id);
        }
        let node = plan.node(instance.node);
        let failure = self.failure_of(id);
        if is_for_people(&failure) || self.was_handled(id) {
            return Walk::Failed(id);
        }
        // A write that took place and could not be confirmed is not stood in for.
        if node.fallback.is_some() && !(instance.output.is_some() && calls::is_write(&node.action)) {
            match self.stand_in(id, node) {
                Ok(None) => return Walk::Busy,
                Ok(Some(output)) => {
                    let step = self.run.path(id);
                    let (by, output) = (Handler::Fallback, Some(output.json().clone()));
                    self.record(Entry::Handled { step, time: self.now, by, output });
                    return self.leave(id);
                }
                Err(Walk::Failed(_)) | Err(_) => {}
            }
        }
        match &node.on_error {
            Some(then) => self.conclude(id, then, Handler::OnError, Some(failure)),
            None => Walk::Failed(id),
        }
    }

    /// What stands in for a step's output, once it is there; an error if it fails too.
    fn stand_in(&mut self, id: InstanceId, node: &Node) -> Result<Option<Document>, Walk> {
        if let Some(Fallback::Value(value)) = &node.fallback {
            let rendered = self.run.render(self.run.instance(id).frame, value);
            return rendered.map(Some).map_err(|_| Walk::Failed(id));
        }
        let facet = self.run.facet(id, Facet::Fallback);
        match self.visit(facet) {
            Walk::Done => Ok(self.run.instance(facet).output.clone()),
            Walk::Busy => Ok(None),
            failed @ Walk::Failed(_) => Err(failed),
        }
    }

    /// Goes on as the pipeline declares for a step that failed, expired or was decided.
    pub(super) fn conclude(&mut self, id: InstanceId, then: &Then, by: Handler, failure: Option<Failure>) -> Walk {
        let step = self.run.path(id);
        let time = self.now;
        let handled = |output| Entry::Handled { step: step.clone(), time, by, output };
        match then {
            Then::Continue | Then::Steps(_) => {
                self.record(handled(None));
                self.leave(id)
            }
            Then::Use(template) => match template.render(&RunScope::with_failed(self.run, id)) {
                Ok(output) => {
                    self.record(handled(Some(output.json().clone())));
                    self.leave(id)
                }
                Err(error) => {
                    self.fail(id, people(Stuck::from(error).0));
                    Walk::Failed(id)
                }
            },
            Then::As(signal) => {
                let output = serde_json::json!({ "kind": signal, "signal": { "data": null } });
                self.record(handled(Some(output.into())));
                self.leave(id)
            }
            Then::End => {
                self.halt(Ending::Completed, false);
                Walk::Busy
            }
            Then::Reject => {
                self.halt(Ending::Rejected { step }, true);
                Walk::Busy
            }
            Then::Park { reason } => {
                let failure = failure
                    .unwrap_or_else(|| Failure::new(FailureKind::Permanent, "dead-letter", "nobody decided in time"));
                let note = reason.as_ref().map_or_else(String::new, |reason| format!("{reason}: "));
                let failure = Failure { message: format!("{note}{}", failure.message), ..failure };
                self.fail(id, people(failure));
                Walk::Failed(id)
            }
            Then::Approve(approval) => {
                let asked = self.run.instance(id).approval().map(|approval| approval.outcome);
                let begun = match (asked, by) {
                    (Some(_), Handler::ApprovalExpiry) | (None, _) => self.ask(id, approval),
                    (Some(_), _) => Ok(()),
                };
                match begun {
                    Ok(()) => self.in_question(id, by),
                    Err(Stuck(failure)) => {
                        self.fail(id, people(failure));
                        Walk::Failed(id)
                    }
                }
            }
        }
    }

    /// After a step is done: on to the next, into a branch, or to the end of the run.
    pub(super) fn leave(&mut self, id: InstanceId) -> Walk {
        let instance = self.run.instance(id);
        if instance.closed {
            return Walk::Done;
        }
        if let Some(branch) = instance.branch {
            let frame = self.run.enter(id, branch, None);
            return match self.walk(frame) {
                Walk::Done => self.close(id),
                Walk::Failed(failed) => self.branch_failed(id, failed),
                Walk::Busy => Walk::Busy,
            };
        }
        if instance.facet != Facet::Main {
            return Walk::Done;
        }
        let plan = Arc::clone(&self.run.plan);
        let node = plan.node(instance.node);
        match &node.action {
            Action::Call { confirm: Some(_), .. } => self.confirm(id),
            Action::Pure { mode: Mode::Shadow, .. } | Action::Assess { mode: Mode::Shadow, .. }
                if node.fallback.is_some() =>
            {
                match self.stand_in(id, node) {
                    Ok(None) => Walk::Busy,
                    Ok(Some(output)) => self.close_with(id, Some(output.json().clone())),
                    Err(_) => {
                        let facet = self.run.facet(id, Facet::Fallback);
                        let failure = self.failure_of(facet);
                        self.fail(id, failure);
                        Walk::Failed(id)
                    }
                }
            }
            Action::Pure { .. } => self.decided(id),
            _ => Walk::Done,
        }
    }

    fn confirm(&mut self, id: InstanceId) -> Walk {
        let facet = self.run.facet(id, Facet::Confirm);
        match self.visit(facet) {
            Walk::Done => self.close_with(id, None),
            Walk::Busy => Walk::Busy,
            Walk::Failed(_) => {
                let failure = self.failure_of(facet);
                self.fail(id, failure);
                self.failed_for_good(id)
            }
        }
    }

    fn decided(&mut self, id: InstanceId) -> Walk {
        let plan = Arc::clone(&self.run.plan);
        let Some(verdict) = self.run.instance(id).verdict.clone() else { return Walk::Done };
        let Action::Pure { outcomes, .. } = &plan.node(self.run.instance(id).node).action else { return Walk::Done };
        let because =
            || verdict.reasons.first().map_or_else(|| "no reason given".to_owned(), |one| one.message.clone());
        match then_after(outcomes, verdict.outcome) {
            Some(Then::Continue | Then::Steps(_)) => Walk::Done,
            // What stands beside it may be out: it goes on until then.
            Some(Then::Park { .. }) if !self.is_quiet(None) => Walk::Busy,
            Some(Then::Park { reason }) => {
                let (code, whom) = match verdict.outcome {
                    Outcome::Hold => ("rule.hold", verdict.target.as_deref().map(|group| format!("group `{group}`"))),
                    _ => ("rule.dead-letter", None),
                };
                let asked = whom.map_or_else(String::new, |whom| format!("waits for a decision of {whom}: "));
                let note = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
                self.park(id, Failure::new(FailureKind::Permanent, code, format!("{asked}{}{note}", because())));
                Walk::Busy
            }
            Some(then) => self.conclude(id, then, Handler::Approval, None),
            None => {
                let routes: Vec<&str> = outcomes.routes.keys().map(String::as_str).collect();
                let message = format!(
                    "the rule names branch `{}`; the pipeline has {}: add it under `outcomes.route`",
                    verdict.target.unwrap_or_default(),
                    if routes.is_empty() { "none".to_owned() } else { routes.join(", ") }
                );
                self.fail(id, Failure::new(FailureKind::Permanent, "rule.route-unknown", message));
                self.failed_for_good(id)
            }
        }
    }

    /// A branch came to its end: what leaves it becomes the step's output.
    fn close(&mut self, id: InstanceId) -> Walk {
        let plan = Arc::clone(&self.run.plan);
        let instance = self.run.instance(id);
        let frame = instance.frame;
        let handled = instance.more.as_ref().is_some_and(|more| more.handled.is_some());
        let leaving = |inner: BlockId, output: &crate::flow::template::Template| {
            output.render(&RunScope::with_inner(self.run, frame, inner))
        };
        let output = match &plan.node(instance.node).action {
            _ if handled => Ok(None),
            Action::Switch { output: Some(output), inner, .. } => leaving(*inner, output).map(Some),
            Action::Pure { outcomes, .. } => match &outcomes.output {
                Some(output) => leaving(outcomes.inner, output).map(|added| Some(self.merged(id, &added))),
                None => Ok(None),
            },
            _ => Ok(None),
        };
        match output {
            Ok(output) => self.close_with(id, output.map(|output| output.json().clone())),
            Err(error) => {
                self.fail(id, Stuck::from(error).0);
                self.failed_for_good(id)
            }
        }
    }

    pub(super) fn close_with(&mut self, id: InstanceId, output: Option<Json>) -> Walk {
        let step = self.run.path(id);
        self.record(Entry::BranchClosed { step, output });
        Walk::Done
    }

    fn merged(&self, id: InstanceId, added: &Document) -> Document {
        let own = self.run.instance(id).output.as_ref().map_or(&Value::Null, Document::value);
        match (own, added.value()) {
            (Value::Object(own), Value::Object(added)) => {
                let mut whole = own.clone();
                whole.extend(added.clone());
                Document::from(Value::Object(whole))
            }
            _ => added.clone(),
        }
    }
}

/// Marks a failure as one that no declaration deals with.
fn people(failure: Failure) -> Failure {
    if is_for_people(&failure) { failure } else { Failure { code: format!("dead-letter.{}", failure.code), ..failure } }
}

/// Whether only people can deal with a failure: something is in doubt, missing at the hub, or meant for them.
pub(super) fn is_for_people(failure: &Failure) -> bool {
    let for_people = ["effect.in-doubt", "binding.missing", "plugin.missing", "plugin.revoked", "compensation.blocked"];
    for_people.contains(&failure.code.as_str()) || failure.code.starts_with("dead-letter")
}

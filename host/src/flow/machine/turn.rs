//! One turn of a run: from what happened to what is done next.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    DOUBT_ATTEMPTS_MIN, Phase, Run, Walk,
    effect::{Answer, Bindings, Call, Effect, Emit, Invoke},
    scope::RunScope,
    then_after,
};
use crate::{
    flow::{
        document::Document,
        expression::{EvaluateError, Expression},
        plan::{Action, BlockId, Node, NodeId, Plan, Then},
        template::Template,
    },
    model::{
        decision::Outcome,
        entry::{AttemptFailed, Ending, Entry, Intent, Output, StepDone, StepStarted},
        event::Event,
        failure::{Failure, FailureKind},
        id::{Digest, IdempotencyKey, seed},
        limits::Usage,
        log::LogLine,
        manifest::{Doubt, Effect as OperationEffect},
        timestamp::Timestamp,
    },
};

/// A run while it decides.
pub(super) struct Turn<'a> {
    pub(super) run: &'a mut Run,
    pub(super) now: Timestamp,
    pub(super) bindings: &'a dyn Bindings,
    pub(super) effects: Vec<Effect>,
}

/// A step cannot be begun; the run is to be parked with this.
struct Stuck(Failure);

impl From<EvaluateError> for Stuck {
    fn from(error: EvaluateError) -> Self {
        Self(Failure::new(FailureKind::InvalidInput, "expression.failed", error.to_string()))
    }
}

impl From<String> for Stuck {
    fn from(problem: String) -> Self {
        Self(Failure::new(FailureKind::Permanent, "binding.missing", problem))
    }
}

impl Turn<'_> {
    /// After a crash: what was in flight is in doubt if it writes, and simply done again if not.
    pub(super) fn recover(&mut self) {
        let in_flight: Vec<NodeId> = (0..self.run.states.len())
            .map(NodeId)
            .filter(|node| self.run.state(*node).phase == Phase::Running)
            .collect();
        for id in in_flight {
            if is_write(&self.run.plan.node(id).action) && !self.run.state(id).resolving {
                let failure = Failure::new(
                    FailureKind::Uncertain,
                    "hub.interrupted",
                    "the hub stopped while the request was out; whether it took effect is found out before it is repeated",
                );
                self.failed(id, failure, Usage::default(), Vec::new());
            } else if let Err(Stuck(failure)) = self.repeat(id) {
                self.park(id, failure);
            }
        }
    }

    /// Takes in how an effect ended.
    pub(super) fn answer(&mut self, answer: Answer) {
        let Answer { node, result, usage, log, annotations } = answer;
        let output = match result {
            Err(failure) => return self.failed(node, failure, usage, log),
            Ok(output) => output,
        };
        if self.run.state(node).resolving && matches!(&output, Output::Json(json) if json.is_null()) {
            // The remote says that nothing took effect, so the write is repeated under the same key.
            if let Err(Stuck(failure)) = self.call_out(node, false) {
                self.park(node, failure);
            }
            return;
        }
        self.done(node, output, usage, log, annotations);
    }

    /// Takes in how an effect ended, and begins nothing.
    pub(super) fn take(&mut self, answer: Answer) {
        let Answer { node, result, usage, log, annotations } = answer;
        let told_nothing = matches!(&result, Ok(Output::Json(json)) if json.is_null());
        match result {
            Err(failure) => self.failed(node, failure, usage, log),
            // That nothing took effect is asked again after the start.
            Ok(_) if self.run.state(node).resolving && told_nothing => {}
            Ok(output) => self.done(node, output, usage, log, annotations),
        }
    }

    fn done(
        &mut self,
        node: NodeId,
        output: Output,
        usage: Usage,
        log: Vec<LogLine>,
        annotations: Vec<(String, String)>,
    ) {
        let step = self.run.plan.node(node).id.clone();
        self.record(Entry::StepDone(Box::new(StepDone { step, time: self.now, output, usage, log, annotations })));
    }

    /// Goes on until something is in flight, waits, or the run is settled.
    pub(super) fn go_on(&mut self) {
        if self.run.settled {
            return;
        }
        if self.walk(Plan::ROOT) == Walk::Done && !self.run.settled {
            self.end(Ending::Completed);
        }
    }

    fn walk(&mut self, block: BlockId) -> Walk {
        let plan = Arc::clone(&self.run.plan);
        let behind = self.run.behind.get(block.0).copied().unwrap_or(0);
        for (number, id) in plan.block(block).nodes.iter().enumerate().skip(behind) {
            if self.visit(*id) == Walk::Busy {
                return Walk::Busy;
            }
            if let Some(behind) = self.run.behind.get_mut(block.0) {
                *behind = number + 1;
            }
        }
        Walk::Done
    }

    fn visit(&mut self, id: NodeId) -> Walk {
        if self.run.state(id).phase == Phase::Fresh
            && let Err(Stuck(failure)) = self.begin(id)
        {
            self.park(id, failure);
        }
        if self.run.settled {
            return Walk::Busy;
        }
        match self.run.state(id).phase {
            Phase::Skipped => Walk::Done,
            Phase::Done => self.leave(id),
            Phase::Waiting(due) if due <= self.now => {
                if let Err(Stuck(failure)) = self.repeat(id) {
                    self.park(id, failure);
                }
                Walk::Busy
            }
            Phase::Waiting(due) => {
                self.effects.push(Effect::Sleep(due));
                Walk::Busy
            }
            Phase::Fresh | Phase::Running | Phase::Failed => Walk::Busy,
        }
    }

    /// After a step is done: on to the next, into a branch, or to the end of the run.
    fn leave(&mut self, id: NodeId) -> Walk {
        if self.run.state(id).closed {
            return Walk::Done;
        }
        if let Some(branch) = self.run.state(id).branch {
            if self.walk(branch) == Walk::Busy {
                return Walk::Busy;
            }
            return self.close(id);
        }
        let plan = Arc::clone(&self.run.plan);
        let node = plan.node(id);
        let Some(verdict) = self.run.state(id).verdict.clone() else { return Walk::Done };
        let Action::Pure { outcomes, .. } = &node.action else { return Walk::Done };
        let because =
            || verdict.reasons.first().map_or_else(|| "no reason given".to_owned(), |one| one.message.clone());
        match then_after(outcomes, verdict.outcome) {
            Some(Then::Continue | Then::Steps(_)) => return Walk::Done,
            Some(Then::End) => self.end(Ending::Completed),
            Some(Then::Reject) => self.end(Ending::Rejected { step: node.id.clone() }),
            Some(Then::Park { reason }) => {
                let (code, whom) = match verdict.outcome {
                    Outcome::Hold => ("rule.hold", verdict.target.as_deref().map(|group| format!("group `{group}`"))),
                    _ => ("rule.dead-letter", None),
                };
                let asked = whom.map_or_else(String::new, |whom| format!("waits for a decision of {whom}: "));
                let note = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
                self.park(id, Failure::new(FailureKind::Permanent, code, format!("{asked}{}{note}", because())));
            }
            None => {
                let routes: Vec<&str> = outcomes.routes.keys().map(String::as_str).collect();
                let message = format!(
                    "the rule names branch `{}`; the pipeline has {}: add it under `outcomes.route`",
                    verdict.target.unwrap_or_default(),
                    if routes.is_empty() { "none".to_owned() } else { routes.join(", ") }
                );
                self.park(id, Failure::new(FailureKind::Permanent, "rule.route-unknown", message));
            }
        }
        Walk::Busy
    }

    /// A branch came to its end: what leaves it becomes the step's output.
    fn close(&mut self, id: NodeId) -> Walk {
        let plan = Arc::clone(&self.run.plan);
        let node = plan.node(id);
        let output = match &node.action {
            Action::Switch { output: Some(output), inner, .. } => self.run.render(*inner, output).map(Some),
            Action::Pure { outcomes, .. } => match &outcomes.output {
                Some(output) => self.run.render(outcomes.inner, output).map(|added| Some(self.merged(id, &added))),
                None => Ok(None),
            },
            _ => Ok(None),
        };
        match output {
            Err(error) => {
                self.park(id, Stuck::from(error).0);
                Walk::Busy
            }
            Ok(output) => {
                let output = output.map(|output| output.json().clone());
                self.record(Entry::BranchClosed { step: node.id.clone(), output });
                Walk::Done
            }
        }
    }

    fn merged(&self, id: NodeId, added: &Document) -> Document {
        let own = self.run.state(id).output.as_ref().map_or(&Value::Null, Document::value);
        match (own, added.value()) {
            (Value::Object(own), Value::Object(added)) => {
                let mut whole = own.clone();
                whole.extend(added.clone());
                Document::from(Value::Object(whole))
            }
            _ => added.clone(),
        }
    }

    /// Begins a step for the first time.
    fn begin(&mut self, id: NodeId) -> Result<(), Stuck> {
        let plan = Arc::clone(&self.run.plan);
        let node = plan.node(id);
        if let Some(when) = &node.when
            && !self.holds(node, when)?
        {
            self.record(Entry::StepSkipped { step: node.id.clone() });
            return Ok(());
        }
        match &node.action {
            Action::Pure { plugin, .. } => {
                let plugin = self.bindings.plugin(plugin)?;
                let time = self.run.durable;
                let (step, plugin) = (node.id.clone(), Some(plugin));
                self.record(Entry::StepStarted(StepStarted { step, time, attempt: 1, plugin, operation: None }));
                self.invoke(id)
            }
            Action::Call { .. } => self.call_out(id, false),
            Action::Switch { cases, otherwise, .. } => {
                let mut branch = otherwise.map(|_| "otherwise".to_owned());
                for (number, (when, _)) in cases.iter().enumerate() {
                    if self.holds(node, when)? {
                        branch = Some((number + 1).to_string());
                        break;
                    }
                }
                self.record(Entry::BranchTaken { step: node.id.clone(), branch });
                Ok(())
            }
            Action::Emit { event_type, .. } => {
                let (step, time, operation) = (node.id.clone(), self.now, Some(event_type.clone()));
                self.record(Entry::StepStarted(StepStarted { step, time, attempt: 1, plugin: None, operation }));
                self.emit(id)
            }
            Action::End { .. } => {
                self.end(Ending::Completed);
                Ok(())
            }
        }
    }

    /// Begins a step again: a pure one exactly as it was, an effect with its next attempt.
    fn repeat(&mut self, id: NodeId) -> Result<(), Stuck> {
        let plan = Arc::clone(&self.run.plan);
        match &plan.node(id).action {
            Action::Pure { .. } => self.invoke(id),
            Action::Emit { .. } => self.emit(id),
            Action::Call { .. } => {
                let state = self.run.state(id);
                let asks_first = state.in_doubt && matches!(self.doubt(id), Doubt::NaturalKey { .. });
                self.call_out(id, asks_first)
            }
            Action::Switch { .. } | Action::End { .. } => Ok(()),
        }
    }

    fn invoke(&mut self, id: NodeId) -> Result<(), Stuck> {
        let plan = Arc::clone(&self.run.plan);
        let node = plan.node(id);
        let Action::Pure { kind, with, .. } = &node.action else { return Ok(()) };
        let input = self.render(node, with)?;
        let state = self.run.state(id);
        let (Some(plugin), time) = (state.plugin.clone(), state.started) else { return Ok(()) };
        self.effects.push(Effect::Invoke(Invoke {
            node: id,
            kind: *kind,
            plugin,
            input,
            time,
            seed: seed(self.run.id, &node.id),
            timeout_ms: node.timeout_ms,
        }));
        Ok(())
    }

    /// Calls a connector: the operation itself, or (`asks_first`) the one that finds out whether it took effect.
    fn call_out(&mut self, id: NodeId, asks_first: bool) -> Result<(), Stuck> {
        let plan = Arc::clone(&self.run.plan);
        let node = plan.node(id);
        let Action::Call { connection, operation, effect, with } = &node.action else { return Ok(()) };
        let input = self.render(node, with)?;
        let served = self.bindings.operation(connection, operation)?;
        let state = self.run.state(id);
        if state.in_doubt && state.plugin.as_ref().is_some_and(|before| before.grant != served.plugin.grant) {
            // Another remote cannot say what the first one did.
            let key = IdempotencyKey::of(&self.run.hub, self.run.id, &node.id, 0);
            let message = format!(
                "the connection behind `{connection}` was changed while a write may have taken effect; look at the \
                 remote of before for key `{key}`"
            );
            return Err(Stuck(Failure::new(FailureKind::Uncertain, "effect.in-doubt", message)));
        }
        let called = match (&served.doubt, asks_first) {
            (Doubt::NaturalKey { find, .. }, true) => find.clone(),
            _ => operation.clone(),
        };
        let write = *effect == OperationEffect::Write;
        let state = self.run.state(id);
        let attempt = if asks_first { state.finds + 1 } else { state.attempts + 1 };
        let key = IdempotencyKey::of(&self.run.hub, self.run.id, &node.id, 0);
        let full_name = format!("{connection}#{called}");
        if write {
            self.record(Entry::Intent(Intent {
                step: node.id.clone(),
                time: self.now,
                attempt,
                plugin: served.plugin.clone(),
                operation: full_name,
                key,
                input: Digest::of(input.json().as_bytes()),
                resolving: asks_first,
            }));
            self.commit();
        } else {
            self.record(Entry::StepStarted(StepStarted {
                step: node.id.clone(),
                time: self.now,
                attempt,
                plugin: Some(served.plugin.clone()),
                operation: Some(full_name),
            }));
        }
        self.effects.push(Effect::Call(Call {
            node: id,
            connection: connection.clone(),
            operation: called,
            plugin: served.plugin,
            input,
            key,
            attempt,
            read_only: !write || asks_first,
            timeout_ms: node.timeout_ms,
        }));
        Ok(())
    }

    fn emit(&mut self, id: NodeId) -> Result<(), Stuck> {
        let plan = Arc::clone(&self.run.plan);
        let node = plan.node(id);
        let Action::Emit { event_type, subject, data } = &node.action else { return Ok(()) };
        let scope = RunScope { run: self.run, block: node.block };
        let subject = subject.as_ref().map(|subject| subject.text(&scope)).transpose()?;
        let data = data.render(&scope)?.json().clone();
        let event = Event {
            id: format!("{}/{}", self.run.id, node.id),
            source: format!("/pipelines/{}", self.run.plan.pipeline.name),
            event_type: event_type.clone(),
            subject,
            time: Some(self.run.state(id).started),
            data_schema: None,
            data,
            extensions: BTreeMap::new(),
        };
        // The event may start other runs: nothing of that may be visible before this run's part is durable.
        self.commit();
        self.effects.push(Effect::Emit(Emit { node: id, event }));
        Ok(())
    }

    /// An attempt failed: again later, or to people.
    fn failed(&mut self, id: NodeId, failure: Failure, usage: Usage, log: Vec<LogLine>) {
        let plan = Arc::clone(&self.run.plan);
        let node = plan.node(id);
        let next = self.next_attempt(id, node, &failure);
        let state = self.run.state(id);
        let attempt = if state.resolving { state.finds } else { self.attempt_of(id) };
        let parked_with = next.is_none().then(|| self.final_failure(id, node, &failure));
        self.record(Entry::AttemptFailed(Box::new(AttemptFailed {
            step: node.id.clone(),
            time: self.now,
            attempt,
            failure,
            next,
            usage,
            log,
        })));
        match parked_with {
            Some(failure) => self.park(id, failure),
            None => self.commit(),
        }
    }

    /// The attempt that is in flight, from 1. A pure step or an emit is simply done again, so its failures count.
    fn attempt_of(&self, id: NodeId) -> u32 {
        let state = self.run.state(id);
        match &self.run.plan.node(id).action {
            Action::Call { .. } => state.attempts.max(1),
            _ => state.failures + 1,
        }
    }

    fn next_attempt(&self, id: NodeId, node: &Node, failure: &Failure) -> Option<Timestamp> {
        let state = self.run.state(id);
        let in_doubt =
            is_write(&node.action) && (state.resolving || state.in_doubt || failure.kind == FailureKind::Uncertain);
        if !in_doubt {
            // A read or a pure step that may have happened has not: nothing was changed by it.
            let retryable = Failure { kind: FailureKind::Retryable, ..failure.clone() };
            let counted = if failure.kind == FailureKind::Uncertain { &retryable } else { failure };
            let attempt = self.attempt_of(id);
            let delay_ms = node.retry.delay_ms(counted, attempt, self.run.id, &node.id);
            return node.retry.allows(counted, attempt).then(|| self.now.plus_millis(delay_ms));
        }
        let settle_ms = match self.doubt(id) {
            Doubt::None => return None,
            Doubt::NativeKey { settle_ms } | Doubt::NaturalKey { settle_ms, .. } => settle_ms,
        };
        let tries = if state.resolving { state.finds } else { state.attempts.max(1) };
        let passing = matches!(failure.kind, FailureKind::Uncertain | FailureKind::Retryable);
        if !passing || tries >= node.retry.attempts.max(DOUBT_ATTEMPTS_MIN) {
            return None;
        }
        let backoff_ms = node.retry.delay_ms(failure, tries, self.run.id, &node.id);
        // The first question after a lost answer waits only for the remote to settle; later ones also back off.
        let first = !state.resolving && failure.kind == FailureKind::Uncertain;
        Some(self.now.plus_millis(if first { settle_ms } else { settle_ms.max(backoff_ms) }))
    }

    /// What people are told when there is no next attempt.
    fn final_failure(&self, id: NodeId, node: &Node, failure: &Failure) -> Failure {
        let state = self.run.state(id);
        let in_doubt = is_write(&node.action) && (state.in_doubt || failure.kind == FailureKind::Uncertain);
        if !in_doubt {
            return failure.clone();
        }
        let key = IdempotencyKey::of(&self.run.hub, self.run.id, &node.id, 0);
        Failure {
            code: "effect.in-doubt".to_owned(),
            message: format!(
                "the write may have taken effect and this could not be found out; look at the remote for key `{key}`. Last: {}",
                failure.message
            ),
            ..failure.clone()
        }
    }

    fn doubt(&self, id: NodeId) -> Doubt {
        match &self.run.plan.node(id).action {
            Action::Call { connection, operation, .. } => {
                self.bindings.operation(connection, operation).map_or(Doubt::None, |served| served.doubt)
            }
            _ => Doubt::None,
        }
    }

    fn holds(&self, node: &Node, condition: &Expression) -> Result<bool, Stuck> {
        Ok(condition.is_true(&RunScope { run: self.run, block: node.block })?)
    }

    fn render(&self, node: &Node, template: &Template) -> Result<Document, Stuck> {
        Ok(self.run.render(node.block, template)?)
    }

    fn end(&mut self, ending: Ending) {
        self.record(Entry::RunEnded { time: self.now, ending });
        self.commit();
    }

    fn park(&mut self, id: NodeId, failure: Failure) {
        if self.run.settled {
            return;
        }
        let step = self.run.plan.node(id).id.clone();
        self.record(Entry::RunParked { time: self.now, step, failure });
        self.commit();
    }

    fn record(&mut self, entry: Entry) {
        // INVARIANT: a turn only records facts about steps of its own plan.
        let applied = self.run.apply(&entry);
        debug_assert!(applied.is_ok());
        self.effects.push(Effect::Record(entry));
    }

    fn commit(&mut self) {
        self.run.durable = self.run.recorded;
        self.effects.push(Effect::Commit);
    }
}

fn is_write(action: &Action) -> bool {
    matches!(action, Action::Call { effect: OperationEffect::Write, .. })
}

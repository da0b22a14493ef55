//! What an instance calls, how it is begun, tried again and given up, and how doubt about a write is resolved.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    DOUBT_ATTEMPTS_MIN,
    effect::{Call, Effect, Emit, Invoke, OperationUse, Page, Pick, Unserved},
    instance::{Facet, Instance, InstanceId, Phase},
    scope::RunScope,
    turn::{REPETITIONS_LIMIT, Stuck, Turn},
};
use crate::{
    flow::{
        document::Document,
        plan::{Action, Confirm, Fallback, Node, Operation, Over, Plan, PluginRange, PureKind},
        retry,
        template::Template,
    },
    model::{
        decision::Assessment,
        entry::{AttemptFailed, Entry, Intent, Output, PluginUse, StepStarted},
        event::Event,
        failure::{Failure, FailureKind},
        id::{Digest, IdempotencyKey, seed},
        limits::Usage,
        log::LogLine,
        manifest::{Doubt, Effect as OperationEffect},
        table::TableUse,
        timestamp::Timestamp,
    },
};

/// Undoing and reading back are tried again even where the pipeline says nothing.
static PERSISTENT: retry::Policy =
    retry::Policy { on: Vec::new(), attempts: 8, first_ms: 1_000, factor_milli: 2_000, max_ms: 60_000 };

/// What an instance calls.
pub(super) enum Doing<'p> {
    Pure {
        kind: PureKind,
        plugin: &'p PluginRange,
        with: Option<&'p Template>,
    },
    Call(&'p Operation),
    Emit,
    Start,
    /// Has a run that was started undo what it did.
    UndoRun,
    Nothing,
}

/// What an instance calls, from its step and which of the step's calls it is.
pub(super) fn doing<'p>(plan: &'p Plan, instance: &Instance) -> Doing<'p> {
    let node = plan.node(instance.node);
    match (instance.facet, &node.action) {
        (Facet::Main, Action::Pure { kind, plugin, with, .. }) => Doing::Pure { kind: *kind, plugin, with: Some(with) },
        (Facet::Main, Action::Call { operation, .. } | Action::Assess { operation, .. }) => Doing::Call(operation),
        (Facet::Main, Action::Emit { .. }) => Doing::Emit,
        (Facet::Main, Action::Start { .. }) => Doing::Start,
        (Facet::Confirm, Action::Call { confirm: Some(Confirm { read, .. }), .. }) => Doing::Call(read),
        (Facet::Compensate, action) => match (&node.compensate, action) {
            (Some(declared), _) => Doing::Call(declared),
            (None, Action::Start { detach: false, .. }) => Doing::UndoRun,
            _ => Doing::Nothing,
        },
        (Facet::Fallback, _) => match &node.fallback {
            Some(Fallback::Plugin { kind, plugin, with }) => Doing::Pure { kind: *kind, plugin, with: Some(with) },
            _ => Doing::Nothing,
        },
        (Facet::Reduce(_), Action::For { reduce: Some(plugin), .. }) => {
            Doing::Pure { kind: PureKind::Transform, plugin, with: None }
        }
        (Facet::Page(_), Action::For { over: Over::Pages(operation), .. }) => Doing::Call(operation),
        _ => Doing::Nothing,
    }
}

/// The input of a pure plugin.
pub(super) fn with_of<'p>(plan: &'p Plan, instance: &Instance) -> Option<&'p Template> {
    match doing(plan, instance) {
        Doing::Pure { with, .. } => with,
        _ => None,
    }
}

/// Whether an instance is a call that is out, or may have been when the hub stopped.
pub(super) fn is_out(plan: &Plan, instance: &Instance) -> bool {
    instance.phase == Phase::Running && !matches!(doing(plan, instance), Doing::Nothing)
}

/// Whether a step's own call changes a remote.
pub(super) fn is_write(action: &Action) -> bool {
    matches!(action, Action::Call { operation: Operation { effect: OperationEffect::Write, .. }, .. })
}

/// Whether a call changes a remote.
pub(super) fn writes(doing: &Doing<'_>) -> bool {
    matches!(doing, Doing::Call(Operation { effect: OperationEffect::Write, .. }))
}

/// Whether a failure is a defect of the version that was called rather than its answer.
#[must_use]
pub fn is_defect(failure: &Failure) -> bool {
    let code = failure.code.as_str();
    ["plugin.trap", "plugin.contract", "plugin.output", "plugin.missing", "plugin.revoked"].contains(&code)
        || code.starts_with("limit.") && code != "limit.input"
}

impl Turn<'_> {
    /// Whether an instance's call changes a remote.
    pub(super) fn writes(&self, id: InstanceId) -> bool {
        writes(&doing(&self.run.plan, self.run.instance(id)))
    }

    /// Begins an instance's call for the first time.
    pub(super) fn begin_call(&mut self, id: InstanceId) -> Result<(), Stuck> {
        let plan = Arc::clone(&self.run.plan);
        match doing(&plan, self.run.instance(id)) {
            Doing::Pure { plugin, .. } => {
                let pick = if self.run.instance(id).active_only { Pick::Active } else { Pick::Bound };
                let plugin = self.bindings.plugin(plugin, pick)?;
                let (step, time, plugin) = (self.run.path(id), self.run.durable, Some(plugin));
                let attempt = self.run.instance(id).failures + 1;
                let tables = self.tables_for(id)?;
                let given = self.run.given_with(id, &tables);
                let input = given.as_ref().ok().map(|input| Digest::of(input.json().as_bytes()));
                let operation = None;
                self.record(Entry::StepStarted(StepStarted { step, time, attempt, plugin, operation, input, tables }));
                self.invoke(id, given?)
            }
            Doing::Call(_) => self.call_out(id, false),
            Doing::Emit => {
                let Action::Emit { event_type, .. } = &plan.node(self.run.instance(id).node).action else {
                    return Ok(());
                };
                self.begins(id, event_type.clone());
                self.emit(id)
            }
            Doing::Start => {
                let Action::Start { pipeline, .. } = &plan.node(self.run.instance(id).node).action else {
                    return Ok(());
                };
                self.begins(id, format!("run {pipeline}"));
                self.start(id)
            }
            Doing::UndoRun => {
                self.begins(id, "undo".to_owned());
                self.undo_run(id)
            }
            Doing::Nothing => Ok(()),
        }
    }

    /// Begins it again: a pure one exactly as it was, an effect with its next attempt.
    pub(super) fn repeat(&mut self, id: InstanceId) -> Result<(), Stuck> {
        let plan = Arc::clone(&self.run.plan);
        match doing(&plan, self.run.instance(id)) {
            // What failed is no result: the version that is bound now takes another attempt.
            Doing::Pure { .. } if self.run.instance(id).plugin.is_none() => self.begin_call(id),
            Doing::Pure { .. } => {
                let input = self.run.given(id)?;
                self.invoke(id, input)
            }
            Doing::Emit => self.emit(id),
            Doing::Start => self.start(id),
            Doing::UndoRun => self.undo_run(id),
            Doing::Call(_) => {
                let asks_first = self.run.instance(id).in_doubt && matches!(self.doubt(id), Doubt::NaturalKey { .. });
                self.call_out(id, asks_first)
            }
            Doing::Nothing => Ok(()),
        }
    }

    fn invoke(&mut self, id: InstanceId, input: Document) -> Result<(), Stuck> {
        let plan = Arc::clone(&self.run.plan);
        let Doing::Pure { kind, .. } = doing(&plan, self.run.instance(id)) else { return Ok(()) };
        let instance = self.run.instance(id);
        let (Some(plugin), time) = (instance.plugin.clone(), instance.started) else { return Ok(()) };
        let timeout_ms = self.timeout_ms(id);
        let step = self.run.path(id);
        let seed = seed(self.run.id, &step);
        self.mark_running(id);
        self.outgoing.push(Effect::Invoke(Invoke { instance: id, step, kind, plugin, input, time, seed, timeout_ms }));
        Ok(())
    }

    /// The reference tables that an instance is given: for its first attempt those that serve now, and the same from
    /// then on.
    fn tables_for(&mut self, id: InstanceId) -> Result<Vec<TableUse>, Stuck> {
        let plan = Arc::clone(&self.run.plan);
        let instance = self.run.instance(id);
        let wanted = &plan.node(instance.node).tables;
        if instance.facet != Facet::Main || wanted.is_empty() || !instance.tables.is_empty() {
            return Ok(instance.tables.to_vec());
        }
        let mut given = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let (used, rows) = self.bindings.table(wanted)?;
            self.run.tables.insert(used.digest, rows);
            given.push(used);
        }
        Ok(given)
    }

    /// A repetition leaves no fact of its own; that it is out is known only here.
    pub(super) fn mark_running(&mut self, id: InstanceId) {
        self.run.busy.insert(id);
        if let Some(instance) = self.run.instances.get_mut(id.0) {
            instance.phase = Phase::Running;
        }
    }

    fn key(&self, id: InstanceId) -> IdempotencyKey {
        IdempotencyKey::of(&self.run.hub, self.run.id, &self.run.path(id), self.run.generation)
    }

    /// Calls a connector: the operation itself, or (`asks_first`) the one that finds out whether it took effect.
    fn call_out(&mut self, id: InstanceId, asks_first: bool) -> Result<(), Stuck> {
        let plan = Arc::clone(&self.run.plan);
        let Doing::Call(Operation { connection, operation, effect, with }) = doing(&plan, self.run.instance(id)) else {
            return Ok(());
        };
        let tables = self.tables_for(id)?;
        let input = self.run.render_given(self.run.instance(id).frame, with, &tables)?;
        let served = self.served(id, connection, operation)?;
        let instance = self.run.instance(id);
        let key = self.key(id);
        if instance.in_doubt && served.elsewhere {
            // Another remote cannot say what the first one did.
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
        let attempt = if asks_first { instance.finds + 1 } else { instance.attempts + 1 };
        let full_name = format!("{connection}#{called}");
        let step = self.run.path(id);
        if write {
            self.record(Entry::Intent(Intent {
                step,
                time: self.now,
                attempt,
                plugin: served.plugin.clone(),
                operation: full_name,
                key,
                input: Digest::of(input.json().as_bytes()),
                resolving: asks_first,
                tables,
            }));
            self.commit();
        } else {
            self.record(Entry::StepStarted(StepStarted {
                step,
                time: self.now,
                attempt,
                plugin: Some(served.plugin.clone()),
                operation: Some(full_name),
                tables,
                input: None,
            }));
        }
        let timeout_ms = self.timeout_ms(id);
        let step = self.run.path(id);
        self.outgoing.push(Effect::Call(Call {
            instance: id,
            step,
            connection: connection.clone(),
            operation: called,
            plugin: served.plugin,
            input,
            key,
            attempt,
            read_only: !write || asks_first,
            timeout_ms,
            page: self.page(id),
        }));
        Ok(())
    }

    /// Which page a call is for.
    fn page(&self, id: InstanceId) -> Option<Page> {
        let instance = self.run.instance(id);
        let (Facet::Page(_), Some(main)) = (instance.facet, instance.main) else { return None };
        Some(Page { after: self.run.instance(main).more.as_ref().and_then(|more| more.cursor.clone()) })
    }

    /// The connector that serves an instance's call. What may have taken effect, and what did, is found out about,
    /// repeated and undone by the version that did it.
    fn served(&self, id: InstanceId, connection: &str, operation: &str) -> Result<OperationUse, Unserved> {
        let instance = self.run.instance(id);
        let made = match (instance.facet, instance.main) {
            _ if instance.in_doubt => instance.plugin.as_deref(),
            (Facet::Compensate, Some(main)) => self.run.instance(main).plugin.as_deref(),
            _ => None,
        };
        let active_only = instance.active_only;
        let pick = match made {
            Some(made) => Pick::Same(made),
            None => match self.begun_with(connection) {
                Some(with) => Pick::Begun { with, active_only },
                None if active_only => Pick::Active,
                None => Pick::Bound,
            },
        };
        self.bindings.operation(connection, operation, pick)
    }

    /// The first call of the run under a name: what the name stood for then, it stands for until the run ends.
    fn begun_with(&self, connection: &str) -> Option<&PluginUse> {
        let under = |instance: &&Instance| matches!(doing(&self.run.plan, instance), Doing::Call(operation) if operation.connection == connection);
        self.run.instances.iter().filter(|instance| instance.plugin.is_some()).find(under)?.plugin.as_deref()
    }

    /// Longest time of an attempt: the step's own bound for one, and what is left of its bound for all.
    fn timeout_ms(&self, id: InstanceId) -> Option<u64> {
        let node = self.run.plan.node(self.run.instance(id).node);
        let left = self.deadline(id).map(|deadline| deadline.since(self.now).max(1));
        match (node.timeout_ms, left) {
            (Some(timeout), Some(left)) => Some(timeout.min(left)),
            (timeout, left) => timeout.or(left),
        }
    }

    /// When the whole step has to be done, itself or one around it.
    pub(super) fn deadline(&self, id: InstanceId) -> Option<Timestamp> {
        let instance = self.run.instance(id);
        // Undoing and reading back are not the step's own time.
        if instance.facet != Facet::Main {
            return None;
        }
        let own = self.run.plan.node(instance.node).within_ms.zip(instance.begun);
        let own = own.map(|(within_ms, begun)| begun.plus_millis(within_ms));
        let around = self.run.frame(instance.frame).owner.and_then(|owner| self.deadline(owner));
        own.into_iter().chain(around).min()
    }

    fn emit(&mut self, id: InstanceId) -> Result<(), Stuck> {
        let plan = Arc::clone(&self.run.plan);
        let instance = self.run.instance(id);
        let Action::Emit { event_type, subject, data } = &plan.node(instance.node).action else { return Ok(()) };
        let scope = RunScope::new(self.run, instance.frame);
        let subject = subject.as_ref().map(|subject| subject.text(&scope)).transpose()?;
        let data = data.render(&scope)?.json().clone();
        let path = self.run.path(id);
        let generation = self.run.generation;
        let event = Event {
            id: format!(
                "{}/{path}{}",
                self.run.id,
                if generation == 0 { String::new() } else { format!("/{generation}") }
            ),
            source: format!("/pipelines/{}", self.run.plan.pipeline.name),
            event_type: event_type.clone(),
            subject,
            time: Some(instance.started),
            data_schema: None,
            data,
            extensions: BTreeMap::new(),
        };
        self.mark_running(id);
        // The event may start other runs: nothing of that may be visible before this run's part is durable.
        self.commit();
        self.outgoing.push(Effect::Emit(Emit { instance: id, event }));
        Ok(())
    }

    /// Records that a step begins something that no plugin does.
    fn begins(&mut self, id: InstanceId, operation: String) {
        let (step, time) = (self.run.path(id), self.now);
        self.record(Entry::StepStarted(StepStarted {
            step,
            time,
            attempt: 1,
            plugin: None,
            operation: Some(operation),
            input: None,
            tables: Vec::new(),
        }));
    }

    /// An attempt failed: again later, or for good.
    pub(super) fn failed(&mut self, id: InstanceId, failure: Failure, usage: Usage, log: Vec<LogLine>) {
        let plan = Arc::clone(&self.run.plan);
        let node = plan.node(self.run.instance(id).node);
        // A version on trial that does not do its work costs the run nothing: the active one is called at once.
        let next =
            if self.forsakes_trial(id, &failure) { Some(self.now) } else { self.next_attempt(id, node, &failure) };
        let instance = self.run.instance(id);
        let attempt = if instance.resolving { instance.finds } else { self.attempt_of(id) };
        let failure = if next.is_none() { self.final_failure(id, failure) } else { failure };
        let step = self.run.path(id);
        let time = self.now;
        self.record(Entry::AttemptFailed(Box::new(AttemptFailed { step, time, attempt, failure, next, usage, log })));
        self.commit();
    }

    fn forsakes_trial(&self, id: InstanceId, failure: &Failure) -> bool {
        let tried = self.run.instance(id).plugin.as_ref().is_some_and(|plugin| plugin.canary);
        tried && is_defect(failure) && !self.writes(id)
    }

    /// The attempt that is in flight, from 1. A pure step or an emit is simply done again, so its failures count.
    fn attempt_of(&self, id: InstanceId) -> u32 {
        let instance = self.run.instance(id);
        match doing(&self.run.plan, instance) {
            Doing::Call(_) => instance.attempts.max(1),
            _ => instance.failures + 1,
        }
    }

    fn policy<'p>(&self, id: InstanceId, node: &'p Node) -> &'p retry::Policy {
        let around = matches!(self.run.instance(id).facet, Facet::Confirm | Facet::Compensate);
        if around && !node.retry_declared { &PERSISTENT } else { &node.retry }
    }

    fn next_attempt(&self, id: InstanceId, node: &Node, failure: &Failure) -> Option<Timestamp> {
        let instance = self.run.instance(id);
        let policy = self.policy(id, node);
        let path = self.run.path(id);
        let in_doubt =
            self.writes(id) && (instance.resolving || instance.in_doubt || failure.kind == FailureKind::Uncertain);
        let (attempts, finds, failures) = instance.spent;
        if !in_doubt {
            // A read or a pure step that may have happened has not: nothing was changed by it.
            let passing = matches!(failure.kind, FailureKind::Retryable | FailureKind::Uncertain);
            let counted = Failure { kind: FailureKind::Retryable, ..failure.clone() };
            let counted = if failure.kind == FailureKind::Uncertain { &counted } else { failure };
            let attempt = match doing(&self.run.plan, instance) {
                Doing::Call(_) => self.attempt_of(id).saturating_sub(attempts),
                _ => self.attempt_of(id).saturating_sub(failures),
            }
            .max(1);
            let persistent = std::ptr::eq(policy, &raw const PERSISTENT);
            let allowed =
                if persistent { passing && attempt < policy.attempts } else { policy.allows(counted, attempt) };
            let due = self.now.plus_millis(policy.delay_ms(counted, attempt, self.run.id, &path));
            let in_time = self.deadline(id).is_none_or(|deadline| due <= deadline);
            return (allowed && in_time).then_some(due);
        }
        let settle_ms = match self.doubt(id) {
            Doubt::None => return None,
            Doubt::NativeKey { settle_ms } | Doubt::NaturalKey { settle_ms, .. } => settle_ms,
        };
        let tries = if instance.resolving {
            instance.finds.saturating_sub(finds)
        } else {
            instance.attempts.saturating_sub(attempts).max(1)
        };
        let passing = matches!(failure.kind, FailureKind::Uncertain | FailureKind::Retryable);
        if !passing || tries >= policy.attempts.max(DOUBT_ATTEMPTS_MIN) {
            return None;
        }
        let backoff_ms = policy.delay_ms(failure, tries, self.run.id, &path);
        // The first question after a lost answer waits only for the remote to settle; later ones also back off.
        let first = !instance.resolving && failure.kind == FailureKind::Uncertain;
        Some(self.now.plus_millis(if first { settle_ms } else { settle_ms.max(backoff_ms) }))
    }

    /// What people are told when there is no next attempt.
    fn final_failure(&self, id: InstanceId, failure: Failure) -> Failure {
        let in_doubt = self.writes(id) && (self.run.instance(id).in_doubt || failure.kind == FailureKind::Uncertain);
        if !in_doubt {
            return failure;
        }
        let key = self.key(id);
        Failure {
            kind: FailureKind::Uncertain,
            code: "effect.in-doubt".to_owned(),
            message: format!(
                "the write may have taken effect and this could not be found out; look at the remote for key `{key}`. Last: {}",
                failure.message
            ),
            ..failure
        }
    }

    /// How doubt about an instance's write is resolved: as the version says that began it.
    fn doubt(&self, id: InstanceId) -> Doubt {
        let instance = self.run.instance(id);
        match doing(&self.run.plan, instance) {
            Doing::Call(Operation { connection, operation, .. }) => {
                let pick = instance.plugin.as_deref().map_or(Pick::Bound, Pick::Same);
                self.bindings.operation(connection, operation, pick).map_or(Doubt::None, |served| served.doubt)
            }
            _ => Doubt::None,
        }
    }

    /// What a read-back must show; what it does not, if it does not.
    pub(super) fn unconfirmed(&self, id: InstanceId, output: &Output) -> Option<Failure> {
        let instance = self.run.instance(id);
        let (Facet::Confirm, Output::Json(read)) = (instance.facet, output) else { return None };
        let Action::Call { confirm: Some(confirm), .. } = &self.run.plan.node(instance.node).action else {
            return None;
        };
        let read = read.to_value();
        for (path, expected) in &confirm.equals {
            let expected = match self.run.render(instance.frame, expected) {
                Ok(expected) => expected,
                Err(error) => {
                    return Some(Failure::new(FailureKind::InvalidInput, "expression.failed", error.to_string()));
                }
            };
            let pointer = format!("/{}", path.replace('.', "/"));
            if read.pointer(&pointer) != Some(expected.value()) {
                let found = read.pointer(&pointer).map_or_else(|| "nothing".to_owned(), ToString::to_string);
                let message = format!("`{path}` was read back as {found}; it should be {}", expected.value());
                return Some(Failure::new(FailureKind::Retryable, "confirm.differs", message));
            }
        }
        None
    }

    /// What a connector's read gave, as a recommendation if the step asked for one.
    pub(super) fn assessed(&self, id: InstanceId, output: Output) -> Result<Output, Failure> {
        let instance = self.run.instance(id);
        let asked = matches!(self.run.plan.node(instance.node).action, Action::Assess { .. });
        let (true, Facet::Main, Output::Json(json)) = (asked, instance.facet, &output) else { return Ok(output) };
        let wrong = |problem: String| {
            let message = format!("what was called did not give an assessment: {problem}");
            Failure::new(FailureKind::Permanent, "score.no-assessment", message)
        };
        let found: Assessment = serde_json::from_slice(json.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let within = |value: f64| (0.0..=1.0).contains(&value);
        if !(within(found.score) && within(found.confidence)) {
            return Err(wrong("`score` and `confidence` are from 0 to 1".to_owned()));
        }
        Ok(Output::Assessment(found))
    }

    /// What is wrong with a page after which there would be no end.
    pub(super) fn unturned(&self, id: InstanceId, output: &Output) -> Option<Failure> {
        let Output::Json(page) = output else { return None };
        let Facet::Page(number) = self.run.instance(id).facet else { return None };
        let next = page.to_value().get("next")?.as_str()?.to_owned();
        let problem = if self.page(id)?.after.as_deref() == Some(next.as_str()) {
            format!("page {number} says that the next one begins where itself did")
        } else if usize::try_from(number).is_ok_and(|number| number >= REPETITIONS_LIMIT) {
            format!("there are more than {REPETITIONS_LIMIT} pages")
        } else {
            return None;
        };
        Some(Failure::new(FailureKind::Permanent, "for.no-end", problem))
    }
}

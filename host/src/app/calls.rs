//! Calls of plugins on behalf of runs: the authority that each gets, the checks around it, and what its end means for
//! the run.

use std::{cell::OnceCell, sync::Arc};

use jsonschema::Validator;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    installation::{Installation, OpenConnection, Plugin, lines},
    permits::{self, NotAdmitted},
    runner::Shared,
    state::ConnectionState,
    trial,
};
use crate::{
    flow::{
        document::Document,
        expression::{EvaluateError, Scope},
        machine::{
            InstanceId,
            effect::{Answer, Call, Invoke, Page, Unserved},
        },
        plan::{Plan, PureKind},
    },
    model::{
        entry::Output,
        event::Event,
        failure::{Failure, FailureKind},
        id::RunId,
        json::Json,
        lane::Lane,
        limits::{Limit, Limits, Usage},
        log::LogLine,
    },
    ports::{
        invoker::{self, Authority, CallError, Completed, Invocation, Portion, StepContext, Work},
        secrets::{Secret, SecretError, Secrets},
        state::PluginState,
    },
};

/// The run on whose behalf something is called.
pub(super) struct Caller {
    /// Its id.
    pub(super) id: RunId,
    /// What it executes.
    pub(super) plan: Arc<Plan>,
    /// Its priority.
    pub(super) lane: Lane,
    /// Told when the run is cancelled: a forward call that has not left does not leave any more.
    pub(super) withdrawn: CancellationToken,
}

/// Calls a pure plugin: no network, no state, no secrets.
pub(super) async fn invoke(shared: &Arc<Shared>, installation: &Installation, run: &Caller, invoke: Invoke) -> Answer {
    let _turn = shared.turns.pure.acquire(run.lane).await;
    let Some(plugin) = installation.used(&invoke.plugin) else {
        let message = format!("component {} of `{}` is not installed", invoke.plugin.digest, invoke.plugin.id);
        return refused(invoke.instance, Failure::new(FailureKind::Permanent, "plugin.missing", message));
    };
    if plugin.live.is_revoked() {
        return refused(invoke.instance, revoked(plugin, FailureKind::Permanent));
    }
    if let Err(failure) = fits(plugin.input.as_ref(), &invoke.input, "input", "plugin.input") {
        return refused(invoke.instance, failure);
    }
    let work = || {
        let step = context(run, &invoke.step, Json::empty_object());
        let input = invoke.input.json().clone();
        match invoke.kind {
            PureKind::Transform => Work::Transform { input, step },
            PureKind::Rule => Work::Rule { input, step },
            PureKind::Score => Work::Score { input, step },
        }
    };
    let calling = plugin.live.begin();
    let invoked = shared.invoker.invoke(Invocation {
        component: invoke.plugin.digest,
        work: work(),
        limits: bounded(plugin, invoke.timeout_ms),
        now: invoke.time,
        seed: invoke.seed,
        authority: Authority::default(),
    });
    let completed = tokio::select! {
        biased;
        completed = invoked => completed,
        () = plugin.live.revoked() => return refused(invoke.instance, revoked(plugin, FailureKind::Permanent)),
    };
    drop(calling);
    let Completed { result, usage, log, annotations } = completed;
    trial::compare(shared, installation, run, &invoke, work, &result);
    let result = result.map_err(pure_failure).and_then(|answer| pure_output(plugin, answer));
    Answer { instance: invoke.instance, result, usage, log, annotations }
}

/// Calls a connector's operation, with the authority of its connection and no more. Absent: the hub stopped while the call
/// waited to leave, and nothing has left.
pub(super) async fn call(
    shared: &Arc<Shared>,
    installation: &Installation,
    run: &Caller,
    call: Call,
) -> Option<Answer> {
    let open = match installation.connection_for(&run.plan.pipeline.name, &call.connection, &call.plugin) {
        Ok(open) => open,
        Err(Unserved { code, problem }) => {
            return Some(refused(call.instance, Failure::new(FailureKind::Permanent, code, problem)));
        }
    };
    let documents = contract_documents(installation, run, &call.connection, &call.operation);
    if let Err(failure) = fits(documents.map(|(input, _)| input), &call.input, "input", "contract.input") {
        return Some(refused(call.instance, failure));
    }
    let own = open.plugin.operations.get(&call.operation);
    if let Err(failure) = fits(own.and_then(|(input, _)| input.as_ref()), &call.input, "input", "operation.input") {
        return Some(refused(call.instance, failure));
    }
    let authority = match authority(shared, &open, &call.operation) {
        Ok(authority) => authority,
        Err(failure) => return Some(refused(call.instance, failure)),
    };
    let settle_ms = permits::settle_ms(&open, &call.operation);
    let admitted = match permits::admit(shared, &open, run.lane, settle_ms, &run.withdrawn).await {
        Ok(admitted) => admitted,
        Err(NotAdmitted::Stopping) => return None,
        Err(NotAdmitted::Withdrawn) => {
            // Retryable, so that a write that an earlier attempt left in doubt is still found out about.
            let message = "the run was cancelled before the call left; nothing has happened";
            return Some(refused(call.instance, Failure::new(FailureKind::Retryable, "run.cancelled", message)));
        }
    };
    let live = &open.plugin.live;
    if live.is_revoked() {
        // Nothing has left. Retryable, so that a write that an earlier attempt left in doubt is still found out about.
        let failure = revoked(&open.plugin, FailureKind::Retryable);
        admitted.settle(Some(&failure));
        return Some(refused(call.instance, failure));
    }
    let calling = live.begin();
    let invoked = shared.invoker.invoke(Invocation {
        component: open.plugin.inspection.digest,
        work: work(&call, context(run, &call.step, connection_config(&open))),
        limits: bounded(&open.plugin, call.timeout_ms),
        now: shared.clock.now(),
        seed: crate::model::id::seed(run.id, &format!("{}#{}", call.step, call.attempt)),
        authority,
    });
    let completed = tokio::select! {
        biased;
        completed = invoked => completed,
        () = live.revoked() => {
            // A write that was cut off may have taken effect.
            let kind = if call.read_only { FailureKind::Permanent } else { FailureKind::Uncertain };
            let failure = revoked(&open.plugin, kind);
            admitted.settle(Some(&failure));
            return Some(refused(call.instance, failure));
        }
    };
    drop(calling);
    let Completed { result, usage, log, annotations } = completed;
    let result = match result {
        Err(error) => Err(effect_failure(error, call.read_only)),
        Ok(invoker::Answer::Json(json)) => {
            let document = Document::new(json.clone());
            let held =
                fits(documents.map(|(_, output)| output), &document, "output", "contract.output").and_then(|()| {
                    fits(own.and_then(|(_, output)| output.as_ref()), &document, "output", "operation.output")
                });
            match held {
                Ok(()) => Ok(Output::Json(json)),
                Err(failure) if call.read_only => Err(failure),
                // It happened, whatever the connector makes of the answer: the answer is kept as evidence.
                Err(failure) => {
                    let detail = (json.as_bytes().len() <= 16 << 10).then_some(json);
                    Err(Failure { kind: FailureKind::Uncertain, detail, ..failure })
                }
            }
        }
        Ok(invoker::Answer::Portion(portion)) => {
            page(documents.map(|(_, output)| output), own.and_then(|(_, output)| output.as_ref()), &portion)
        }
        Ok(_) => Err(Failure::new(FailureKind::Permanent, "plugin.contract", "a connector answered with no document")),
    };
    admitted.settle(result.as_ref().err());
    Some(Answer { instance: call.instance, result, usage, log, annotations })
}

/// What the plugin is asked: the operation, or one page of its result.
fn work(call: &Call, step: StepContext) -> Work {
    let (operation, input) = (call.operation.clone(), call.input.json().clone());
    let (idempotency_key, attempt) = (call.key.to_string(), call.attempt);
    match &call.page {
        Some(Page { after }) => Work::Fetch { operation, input, idempotency_key, attempt, cursor: after.clone(), step },
        None => Work::Invoke { operation, input, idempotency_key, attempt, read_only: call.read_only, step },
    }
}

/// A page, held against the operation's schema, which describes an object with the `rows` of one page.
fn page(schema: Option<&Validator>, own: Option<&Validator>, portion: &Portion) -> Result<Output, Failure> {
    let mut page = serde_json::Map::new();
    page.insert("rows".to_owned(), portion.rows.to_value());
    let document = Document::from(Value::Object(page.clone()));
    fits(schema, &document, "page", "contract.output")?;
    fits(own, &document, "page", "operation.output")?;
    if let Some(next) = &portion.next {
        page.insert("next".to_owned(), Value::from(next.as_str()));
    }
    Ok(Output::Json(Json::from(Value::Object(page))))
}

/// The key that an event gives a pipeline's run.
///
/// # Errors
/// If the pipeline's expression fails on it.
pub(super) fn key(plan: &Plan, event: &Event) -> Result<String, EvaluateError> {
    plan.key.text(&EventScope::new(event))
}

/// What a trigger's condition and a key see: the event alone. Made into documents only as far as somebody looks: most
/// look at one attribute, or at the data.
pub(super) struct EventScope<'a> {
    event: &'a Event,
    data: Document,
    attributes: OnceCell<Document>,
}

impl<'a> EventScope<'a> {
    /// Of an event.
    #[must_use]
    pub(super) fn new(event: &'a Event) -> Self {
        Self { event, data: Document::new(event.data.clone()), attributes: OnceCell::new() }
    }

    /// The event without its data.
    fn attributes(&self) -> Document {
        let made = || document(&Event { data: Json::null(), ..self.event.clone() });
        self.attributes.get_or_init(made).clone()
    }
}

fn document(event: &Event) -> Document {
    Document::from(serde_json::to_value(event).unwrap_or_default())
}

impl Scope for EventScope<'_> {
    fn lookup<'p>(&self, path: &'p [String]) -> Option<(Document, &'p [String])> {
        match path {
            [root, field, rest @ ..] if root == "event" && field == "data" => Some((self.data.clone(), rest)),
            [root] if root == "event" => Some((document(self.event), &[])),
            [root, rest @ ..] if root == "event" => Some((self.attributes(), rest)),
            _ => None,
        }
    }
}

fn contract_documents<'a>(
    installation: &'a Installation,
    run: &Caller,
    connection: &str,
    operation: &str,
) -> Option<(&'a Validator, &'a Validator)> {
    // As the version has it that the run executes, whichever serves by now.
    let contract = run.plan.uses.get(connection)?.clone();
    installation.documents.get(&(contract, operation.to_owned())).map(|(input, output)| (input, output))
}

/// The connector's settings, with the base URL that it builds its requests from.
pub(super) fn connection_config(open: &OpenConnection) -> Json {
    let mut config = open.connection.config.to_value();
    if let Some(fields) = config.as_object_mut() {
        fields.entry("base_url").or_insert_with(|| open.connection.base_url.clone().into());
    }
    Json::from(config)
}

pub(super) fn authority(shared: &Arc<Shared>, open: &OpenConnection, operation: &str) -> Result<Authority, Failure> {
    if open.plugin.live.is_revoked() {
        return Err(revoked(&open.plugin, FailureKind::Permanent));
    }
    let secrets = secrets(open, &*shared.secrets)
        .map_err(|error| Failure::new(FailureKind::Denied, "secret.unavailable", error.to_string()))?;
    let buckets = open.plugin.manifest.capabilities.state.clone();
    let state: Arc<dyn PluginState> =
        Arc::new(ConnectionState::new(open.name.clone(), Arc::clone(&shared.records), Arc::clone(&shared.clock)));
    Ok(Authority { egress: open.outlets.get(operation).cloned(), state: Some((state, buckets)), secrets })
}

/// What a plugin may sign with through a connection: what its manifest asks for *and* the connection offers.
///
/// # Errors
/// If one of them cannot be read.
pub(super) fn secrets(open: &OpenConnection, from: &dyn Secrets) -> Result<Vec<(String, Secret)>, SecretError> {
    let asked = &open.plugin.manifest.secrets;
    let granted = open.connection.secrets.iter().filter(|(name, _)| asked.contains_key(*name));
    granted.map(|(name, reference)| Ok((name.clone(), from.resolve(reference)?))).collect()
}

fn context(run: &Caller, step: &str, config: Json) -> StepContext {
    StepContext {
        run: run.id.to_string(),
        pipeline: run.plan.pipeline.name.clone(),
        pipeline_version: run.plan.pipeline.version.clone(),
        name: step.to_owned(),
        config,
        attributes: Vec::new(),
    }
}

pub(super) fn bounded(plugin: &Plugin, timeout_ms: Option<u64>) -> Limits {
    let deadline_ms = timeout_ms.unwrap_or(plugin.limits.deadline_ms).min(Limits::CEILING.deadline_ms);
    Limits { deadline_ms, ..plugin.limits }
}

pub(super) fn pure_output(plugin: &Plugin, answer: invoker::Answer) -> Result<Output, Failure> {
    match answer {
        invoker::Answer::Json(json) => {
            fits(plugin.output.as_ref(), &Document::new(json.clone()), "output", "plugin.output")
                .map(|()| Output::Json(json))
        }
        invoker::Answer::Verdict(verdict) => {
            if let Some(output) = &verdict.output {
                fits(plugin.output.as_ref(), &Document::new(output.clone()), "output", "plugin.output")?;
            }
            Ok(Output::Verdict(verdict))
        }
        invoker::Answer::Assessment(assessment) => Ok(Output::Assessment(assessment)),
        invoker::Answer::Receipt(..) | invoker::Answer::Portion(_) | invoker::Answer::Page(_) => {
            Err(Failure::new(FailureKind::Permanent, "plugin.contract", "a pure step answered with events"))
        }
    }
}

/// A document against a schema; without one, everything fits.
pub(super) fn fits(schema: Option<&Validator>, document: &Document, what: &str, code: &str) -> Result<(), Failure> {
    let Some(schema) = schema else { return Ok(()) };
    let value = document.value();
    if schema.is_valid(value) {
        return Ok(());
    }
    // Only a document that does not fit pays for being told where.
    let Some(error) = schema.iter_errors(value).next() else { return Ok(()) };
    let path = error.instance_path().to_string();
    let place = if path.is_empty() { "the document".to_owned() } else { format!("`{path}`") };
    let kind = if code.ends_with(".output") { FailureKind::Permanent } else { FailureKind::InvalidInput };
    Err(Failure::new(kind, code, format!("the {what} does not follow its schema at {place}: {}", error.masked())))
}

fn refused(instance: InstanceId, failure: Failure) -> Answer {
    Answer {
        instance,
        result: Err(failure),
        usage: Usage::default(),
        log: Vec::<LogLine>::new(),
        annotations: Vec::new(),
    }
}

/// That a plugin's version may not be called any more.
pub(super) fn revoked(plugin: &Plugin, kind: FailureKind) -> Failure {
    let Unserved { code, problem } = lines::revoked(plugin);
    Failure::new(kind, code, problem)
}

pub(super) fn pure_failure(error: CallError) -> Failure {
    match error {
        CallError::Failure(failure) => failure,
        CallError::Limit(exceeded) => {
            Failure::new(FailureKind::Permanent, limit_code(exceeded.limit), exceeded.to_string())
        }
        CallError::Trap { message } => Failure::new(FailureKind::Permanent, "plugin.trap", message),
        CallError::Contract { message } => Failure::new(FailureKind::Permanent, "plugin.contract", message),
        CallError::Unavailable { message } => Failure::new(FailureKind::Retryable, "plugin.unavailable", message),
    }
}

/// What a connector's defect means: a write that was cut short may have taken effect, whatever cut it short.
pub(super) fn effect_failure(error: CallError, read_only: bool) -> Failure {
    let answered = matches!(error, CallError::Failure(_) | CallError::Unavailable { .. });
    // Refused before the guest began.
    if matches!(&error, CallError::Limit(exceeded) if exceeded.limit == Limit::Input) {
        return Failure { kind: FailureKind::InvalidInput, ..pure_failure(error) };
    }
    let deadline = matches!(&error, CallError::Limit(exceeded) if exceeded.limit == Limit::Deadline);
    let failure = pure_failure(error);
    let kind = match (answered, read_only) {
        (true, _) => failure.kind,
        (false, false) => FailureKind::Uncertain,
        (false, true) if deadline => FailureKind::Retryable,
        (false, true) => failure.kind,
    };
    Failure { kind, ..failure }
}

fn limit_code(limit: Limit) -> &'static str {
    match limit {
        Limit::Memory => "limit.memory",
        Limit::Fuel => "limit.fuel",
        Limit::Deadline => "limit.deadline",
        Limit::Stack => "limit.stack",
        Limit::Input => "limit.input",
        Limit::Output => "limit.output",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::{Caller, contract_documents};
    use crate::{
        app::{
            contracts::Library,
            installation::{Installation, Pipeline},
        },
        flow::{language, plan::compile},
        model::{
            id::{AcceptanceId, RunId},
            lane::Lane,
        },
    };

    /// A version that calls what it writes to by a name of its own.
    fn pipeline(library: &Library, version: &str, name: &str) -> Pipeline {
        let text = format!(
            "pipeline: test/orders\nversion: {version}\nowner: tests\nsummary: For tests.\nuses: {{ {name}: bench/target@1 }}\n\
             trigger: [{{ event: test.order.v1 }}]\nkey: event.subject\n\
             steps:\n  - {{ id: first, call: {name}#put, with: {{}} }}\n"
        );
        let definition = language::parse(&text).unwrap();
        let plan = compile::compile(&definition, &text, &library.contracts).unwrap();
        Pipeline { plan: Arc::new(plan), definition, text }
    }

    #[test]
    fn a_run_is_held_to_the_contracts_of_the_version_that_it_executes() {
        let library = Library::built_in().unwrap();
        let before = pipeline(&library, "1.0.0", "target");
        let mut installation = Installation { documents: Arc::clone(&library.documents), ..Installation::default() };
        // By now a version serves that does not know the name.
        let after = pipeline(&library, "2.0.0", "other");
        installation.pipelines.insert("test/orders".to_owned(), Arc::new(after));
        let id = RunId::of(AcceptanceId::of("/s", "1"), "test/orders");
        let caller = Caller { id, plan: before.plan, lane: Lane::default(), withdrawn: CancellationToken::new() };
        assert!(contract_documents(&installation, &caller, "target", "put").is_some());
        assert!(contract_documents(&installation, &caller, "other", "put").is_none());
    }
}

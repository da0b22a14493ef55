//! Carries runs forward: takes what `flow` decided, does it, and tells what came of it. One task a run.

use std::{panic::AssertUnwindSafe, sync::Arc};

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    accept, calls,
    facts::{Facts, FactsError},
    index::Index,
    installation::Installation,
    intake::Intake,
    permits::Permits,
    turns::Turns,
};
use crate::{
    flow::{
        machine::{
            ReplayError, Run,
            effect::{Answer, Effect, Emit, Input},
        },
        plan::Plan,
    },
    model::{
        entry::{Accepted, Entry, Output, RunStarted, Start},
        failure::{Failure, FailureKind},
        id::{AcceptanceId, Digest, RunId},
        json::Json,
        limits::Usage,
        timestamp::Timestamp,
    },
    ports::{
        clock::Clock,
        hub::AcceptError,
        invoker::Invoker,
        journal::{AppendError, StreamId, Version},
        records::Records,
        secrets::Secrets,
    },
};

/// The wait before an append that the journal did not take is tried again, and the longest such wait, milliseconds.
const APPEND_RETRY_MS: (u64, u64) = (50, 5_000);

/// What runs need. Shared by all of them.
pub struct Shared {
    /// Identity of this hub, part of every idempotency key.
    pub hub: Arc<str>,
    /// The journal.
    pub facts: Facts,
    /// Calls into plugins.
    pub invoker: Arc<dyn Invoker>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Connectors' state.
    pub records: Arc<dyn Records>,
    /// Secrets.
    pub secrets: Arc<dyn Secrets>,
    /// What is installed now.
    pub installation: ArcSwap<Installation>,
    /// The list of runs.
    pub index: Index,
    /// Turns for calls of plugins.
    pub turns: Turns,
    /// Permits for calls through connections.
    pub permits: Permits,
    /// How much is taken in.
    pub intake: Intake,
    /// Told when the hub shuts down; runs stop at their next effect and are resumed at the next start.
    pub stopping: CancellationToken,
    /// Counts tasks, so that shutdown can wait for them.
    pub tasks: TaskTracker,
}

/// Starts a run that a durable acceptance names.
pub fn start(shared: &Arc<Shared>, accepted: &Accepted, acceptance: AcceptanceId, start: &Start) {
    let installation = shared.installation.load();
    let Some(plan) = installation.plans.get(&start.pipeline.digest) else {
        tracing::error!(run = %start.run, pipeline = start.pipeline.name, "the accepted pipeline is not installed");
        return;
    };
    let started = started(plan, accepted, acceptance, start);
    // The acceptance is durable, and with it that there is this run: it may be seen at once.
    if !shared.index.begin(start.run, &started) {
        return;
    }
    let (run, entry) = Run::start(start.run, Arc::clone(plan), Arc::clone(&shared.hub), started);
    spawn(shared, Drive { run, version: Version::default(), buffer: vec![entry] });
}

/// How a run begins: derived from its acceptance alone, so that it is the same whenever it is derived.
pub fn started(plan: &Plan, accepted: &Accepted, acceptance: AcceptanceId, start: &Start) -> RunStarted {
    RunStarted {
        time: accepted.time,
        acceptance,
        pipeline: start.pipeline.clone(),
        key: calls::key(plan, &accepted.event).unwrap_or_else(|_| accepted.event.id.clone()),
        event: accepted.event.clone(),
        lane: start.lane,
    }
}

/// Why a run cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// Its facts cannot be read.
    #[error("its facts cannot be read")]
    Facts {
        /// Why.
        #[from]
        source: FactsError,
    },
    /// Its facts are not those of its pipeline.
    #[error("its facts do not fit its pipeline")]
    Replay {
        /// Why.
        #[from]
        source: ReplayError,
    },
    /// Its pipeline is not installed.
    #[error("its pipeline, digest {digest}, is not installed")]
    NoPipeline {
        /// The digest.
        digest: Digest,
    },
}

/// Takes up a run where its facts end.
///
/// # Errors
/// If its facts cannot be read, or not by an installed pipeline.
pub async fn resume(shared: &Arc<Shared>, id: RunId) -> Result<(), ResumeError> {
    let (entries, version) = shared.facts.read(StreamId::Run(id)).await?;
    let digest = match entries.first() {
        Some(Entry::RunStarted(started)) => started.pipeline.digest,
        _ => return Err(ReplayError::NoStart { run: id }.into()),
    };
    let plan = shared.installation.load().plans.get(&digest).cloned();
    let run = Run::replay(id, plan.ok_or(ResumeError::NoPipeline { digest })?, Arc::clone(&shared.hub), &entries)?;
    if !run.is_settled() {
        spawn(shared, Drive { run, version, buffer: Vec::new() });
    }
    Ok(())
}

/// A run being worked on.
struct Drive {
    run: Run,
    version: Version,
    /// Facts that are recorded and not yet durable.
    buffer: Vec<Entry>,
}

/// The run is no longer ours to carry forward.
enum Stop {
    /// The hub shuts down; the run is resumed at the next start.
    Stopping,
    /// Somebody else appended to the run.
    Taken,
}

fn spawn(shared: &Arc<Shared>, drive: Drive) {
    let shared = Arc::clone(shared);
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        let id = drive.run.id;
        match AssertUnwindSafe(drive.forward(&shared)).catch_unwind().await {
            Ok(Ok(()) | Err(Stop::Stopping)) => {}
            Ok(Err(Stop::Taken)) => {
                tracing::warn!(run = %id, "somebody else carries this run forward; leaving it to them");
            }
            Err(_) => {
                tracing::error!(run = %id, "the hub failed at this run, which is a defect of the hub");
                shared.index.stuck(id, "the hub failed at it; the next start takes it up again".to_owned());
            }
        }
    });
}

impl Drive {
    async fn forward(mut self, shared: &Arc<Shared>) -> Result<(), Stop> {
        let mut input = Input::Resume;
        loop {
            metrics::gauge!("crossdock_runs_active").increment(1);
            let worked = self.work(input, shared).await;
            metrics::gauge!("crossdock_runs_active").decrement(1);
            let Some(due) = worked? else { return Ok(()) };
            tokio::select! {
                () = shared.clock.sleep_until(due) => {}
                () = shared.stopping.cancelled() => return Err(Stop::Stopping),
            }
            input = Input::Wake;
        }
    }

    /// Works until nothing is left to do now; the time at which there is again, if there is one.
    async fn work(&mut self, input: Input, shared: &Arc<Shared>) -> Result<Option<Timestamp>, Stop> {
        let mut then = Some(input);
        let mut due = None;
        while let Some(happened) = then.take() {
            match self.turn(happened, shared).await? {
                Next::Answer(answer) => then = Some(Input::Answer(answer)),
                Next::Sleep(time) => due = Some(time),
                Next::Nothing => {}
            }
        }
        self.commit(shared).await?;
        Ok(due)
    }

    /// One decision, carried out.
    async fn turn(&mut self, input: Input, shared: &Arc<Shared>) -> Result<Next, Stop> {
        let stopping = shared.stopping.is_cancelled();
        let input = match input {
            // An answer is never thrown away: what it tells may be all that is known of an effect.
            Input::Answer(answer) if stopping => Input::Last(answer),
            _ if stopping => return Err(Stop::Stopping),
            input => input,
        };
        // One picture for the whole turn: what is recorded is what is called, whatever is installed meanwhile.
        let installation = shared.installation.load_full();
        let plan = Arc::clone(&self.run.plan);
        let bindings = installation.bound(&plan.pipeline.name);
        let effects = self.run.decide(input, shared.clock.now(), &bindings);
        if stopping {
            self.buffer.extend(effects.into_iter().filter_map(|effect| match effect {
                Effect::Record(entry) => Some(entry),
                _ => None,
            }));
            self.commit(shared).await?;
            return Err(Stop::Stopping);
        }
        let mut next = Next::Nothing;
        for effect in effects {
            match effect {
                Effect::Record(entry) => self.buffer.push(entry),
                Effect::Commit => self.commit(shared).await?,
                Effect::Invoke(invoke) => {
                    next = Next::Answer(Box::new(calls::invoke(shared, &installation, &self.run, invoke).await))
                }
                Effect::Call(call) => match calls::call(shared, &installation, &self.run, call).await {
                    Some(answer) => next = Next::Answer(Box::new(answer)),
                    None => return Err(Stop::Stopping),
                },
                Effect::Emit(emit) => next = Next::Answer(Box::new(self.emit(shared, emit).await)),
                Effect::Sleep(due) => next = Next::Sleep(due),
            }
        }
        Ok(next)
    }

    async fn emit(&self, shared: &Arc<Shared>, emit: Emit) -> Answer {
        let Emit { node, event } = emit;
        let id = event.acceptance();
        let result = match accept::internal(shared, event).await {
            Ok(_) => Ok(Output::Json(Json::from(serde_json::json!({ "event": id })))),
            Err(error) => {
                let passing = matches!(error, AcceptError::Unavailable { .. });
                let kind = if passing { FailureKind::Retryable } else { FailureKind::Permanent };
                Err(Failure::new(kind, "hub.emit", error.to_string()))
            }
        };
        Answer { node, result, usage: Usage::default(), log: Vec::new(), annotations: Vec::new() }
    }

    /// Makes everything recorded durable, however long the journal takes to take it.
    async fn commit(&mut self, shared: &Arc<Shared>) -> Result<(), Stop> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let stream = StreamId::Run(self.run.id);
        let (mut delay_ms, longest_ms) = APPEND_RETRY_MS;
        loop {
            match shared.facts.append(stream, self.version, &self.buffer).await {
                Ok(version) => {
                    self.version = version;
                    break;
                }
                Err(AppendError::Conflict) => return Err(Stop::Taken),
                // The facts are kept and tried again under the same id: an outcome that was unknown is found out so.
                Err(error) => {
                    tracing::warn!(run = %self.run.id, %error, delay_ms, "the journal did not take facts");
                    let due = shared.clock.now().plus_millis(delay_ms);
                    tokio::select! {
                        () = shared.clock.sleep_until(due) => {}
                        () = shared.stopping.cancelled() => return Err(Stop::Stopping),
                    }
                    delay_ms = (delay_ms * 2).min(longest_ms);
                }
            }
        }
        // Only now is anything of it visible.
        observe(shared, self.run.id, &self.buffer);
        self.buffer.clear();
        Ok(())
    }
}

/// What a turn leads to.
enum Next {
    Answer(Box<Answer>),
    Sleep(Timestamp),
    Nothing,
}

#[expect(clippy::cast_precision_loss, reason = "a histogram works in floating point")]
fn count_call(usage: &Usage) {
    if usage.elapsed_us > 0 {
        metrics::histogram!("crossdock_step_seconds").record(usage.elapsed_us as f64 / 1e6);
        metrics::histogram!("crossdock_step_fuel").record(usage.fuel as f64);
    }
}

fn observe(shared: &Shared, run: RunId, entries: &[Entry]) {
    for entry in entries {
        match entry {
            Entry::StepDone(done) => count_call(&done.usage),
            Entry::AttemptFailed(failed) => {
                count_call(&failed.usage);
                let kind = failed.failure.kind.to_string();
                metrics::counter!("crossdock_step_failures_total", "kind" => kind).increment(1);
            }
            _ => {}
        }
    }
    if let Some(settled) = shared.index.add(run, entries) {
        metrics::counter!("crossdock_runs_total", "pipeline" => settled.pipeline, "state" => settled.state.as_str())
            .increment(1);
    }
}

//! Carries runs forward: takes what `flow` decided, does it, and tells what came of it. One task a run.

mod beginning;
mod outside;
mod taking_up;

use std::{panic::AssertUnwindSafe, sync::Arc};

use arc_swap::ArcSwap;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) use self::taking_up::tables_of;
use self::{beginning::next_of_key, taking_up::take_up};
pub use self::{
    beginning::{start, start_with, started},
    taking_up::{ResumeError, resume},
};
use super::{
    accept,
    actors::{Actors, Command, Moving, Timers},
    acts::{self, Act},
    audit::Audit,
    calls::{self, Caller},
    children::{self, WindingUp},
    effects::Effects,
    exceptions::Exceptions,
    facts::{self, Facts, keys_of},
    inbox::Inbox,
    index::Index,
    installation::Installation,
    intake::{Intake, RUNS_LIMIT},
    mailbox::Mailbox,
    permits::Permits,
    queues::{Queue, Queues},
    trial::{Trials, Watch},
    turns::Turns,
};
use crate::{
    flow::machine::{
        MoveRefusal, Run,
        effect::{Answer, Effect, Emit, Input},
    },
    model::{
        entry::{Entry, Output},
        failure::{Failure, FailureKind},
        id::{RunId, SubjectKeyId},
        json::Json,
        limits::Usage,
        pipeline::Order,
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

/// Runs that only wait, and for longer than this, are not kept in memory, milliseconds.
const KEPT_IN_MEMORY_MS: u64 = 2_000;
/// Runs that are woken in one go.
const WOKEN_AT_ONCE: usize = 1_000;
/// The wait before an append that the journal did not take is tried again, and the longest such wait, milliseconds.
const APPEND_RETRY_MS: (u64, u64) = (50, 5_000);

/// What runs need. Shared by all of them.
pub struct Shared {
    /// Identity of this hub, part of every idempotency key.
    pub hub: Arc<str>,
    /// The journal.
    pub facts: Facts,
    /// The audit log.
    pub audit: Arc<Audit>,
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
    /// The tasks that carry runs forward.
    pub actors: Actors,
    /// When runs without a task have something to do.
    pub timers: Timers,
    /// Signals and who waits for them.
    pub mailbox: Mailbox,
    /// Which runs of one key may begin.
    pub queues: Queues,
    /// Questions that people have not answered.
    pub inbox: Inbox,
    /// Events that came for something undone and that nobody has closed.
    pub exceptions: Exceptions,
    /// Whether calls of connectors may leave.
    pub effects: Effects,
    /// Waits and questions that fell due while the hub was down are over only at this time.
    pub grace: Timestamp,
    /// Versions on trial.
    pub trials: Trials,
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

/// A run being worked on.
struct Drive {
    run: Run,
    version: Version,
    /// Facts that are recorded and not yet durable.
    buffer: Vec<Entry>,
    /// The keys that its durable facts are sealed with, and that what comes is.
    keys: Vec<SubjectKeyId>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Calls that are out. No answer: the hub stopped before the call could leave, or before a run that is waited for
    /// had ended.
    out: FuturesUnordered<BoxFuture<'static, Option<Box<Answer>>>>,
    /// When there is something to do without anybody's asking.
    due: Option<Timestamp>,
    /// Withdraws forward calls that have not left.
    withdrawn: CancellationToken,
    /// Its calls that went to versions on trial.
    trials: Watch,
    /// Tells runs that this one started and waits for that their end is needed no more.
    winds_up: watch::Sender<WindingUp>,
}

/// The run is no longer ours to carry forward.
enum Stop {
    /// The hub shuts down; the run is resumed at the next start.
    Stopping,
    /// Somebody else appended to the run.
    Taken,
    /// The personal data that it works with was erased, and its facts cannot be sealed any more.
    Erased,
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
            Ok(Err(Stop::Erased)) => {
                shared.index.stuck(id, "the personal data that it took in last was erased".to_owned());
            }
            Err(_) => {
                tracing::error!(run = %id, "the hub failed at this run, which is a defect of the hub");
                shared.index.stuck(id, "the hub failed at it; the next start takes it up again".to_owned());
            }
        }
    });
}

impl Drive {
    fn new(mut run: Run, version: Version, buffer: Vec<Entry>, commands: mpsc::UnboundedReceiver<Command>) -> Self {
        run.offered(Timestamp::default());
        Self {
            run,
            version,
            buffer,
            keys: Vec::new(),
            commands,
            out: FuturesUnordered::new(),
            due: None,
            withdrawn: CancellationToken::new(),
            trials: Watch::default(),
            winds_up: watch::Sender::default(),
        }
    }

    /// Works until the run is settled, or only waits so long that it need not be kept in memory.
    async fn forward(mut self, shared: &Arc<Shared>) -> Result<(), Stop> {
        metrics::gauge!("crossdock_runs_active").increment(1);
        let result = self.live(shared).await;
        metrics::gauge!("crossdock_runs_active").decrement(1);
        result
    }

    async fn live(&mut self, shared: &Arc<Shared>) -> Result<(), Stop> {
        self.turn(Input::Resume, shared).await?;
        for (key, acceptance) in shared.mailbox.lying_for(self.run.id) {
            self.signal(key, acceptance, shared).await?;
        }
        loop {
            if self.out.is_empty() {
                self.commit(shared).await?;
                let soon = shared.clock.now().plus_millis(KEPT_IN_MEMORY_MS);
                if self.due.is_none_or(|due| due > soon) {
                    if let Some(due) = self.due.filter(|_| !self.run.is_settled()) {
                        shared.timers.set(due, self.run.id);
                    }
                    if shared.actors.retire(self.run.id, &self.commands) {
                        return Ok(());
                    }
                }
            } else if !self.buffer.is_empty() && shared.stopping.is_cancelled() {
                self.commit(shared).await?;
            }
            let wake = async {
                match self.due {
                    Some(due) => shared.clock.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let nothing_out = self.out.is_empty();
            let stopping = async {
                // With calls out, the answers come first: they are all that may be known of an effect.
                if nothing_out { shared.stopping.cancelled().await } else { std::future::pending().await }
            };
            let happened = tokio::select! {
                biased;
                Some(answer) = self.out.next(), if !nothing_out => match answer {
                    Some(answer) => Happened::Input(Input::Answer(answer)),
                    None => continue,
                },
                Some(command) = self.commands.recv() => Happened::Command(command),
                () = wake => Happened::Input(Input::Wake),
                () = stopping => return Err(Stop::Stopping),
            };
            match happened {
                Happened::Input(Input::Wake) => self.wake(shared).await?,
                Happened::Input(input) => self.turn(input, shared).await?,
                Happened::Command(command) => self.command(command, shared).await?,
            }
        }
    }

    /// Something came from outside.
    async fn command(&mut self, command: Command, shared: &Arc<Shared>) -> Result<(), Stop> {
        match command {
            Command::Wake => self.wake(shared).await,
            Command::Signal { key, acceptance } => self.signal(key, acceptance, shared).await,
            Command::Decide(decision, reply) => {
                let checked = self.run.check_decision(&decision);
                if checked.is_ok() {
                    if decision.override_code.is_some()
                        && !acts::is_known(shared, &self.run, Act::Override(&decision)).await
                    {
                        return Ok(());
                    }
                    self.turn(Input::Decision(decision), shared).await?;
                    self.commit(shared).await?;
                }
                // Nobody waits any more: the decision stands all the same.
                let _ = reply.send(checked);
                Ok(())
            }
            Command::Move(moving, reply) => {
                let _ = reply.send(self.go_over(*moving, shared).await?);
                Ok(())
            }
            Command::Control(controlled, reply) => {
                let checked = self.run.check_control(&controlled.action);
                if checked.is_ok() {
                    let shown = acts::shown(&controlled, !self.keys.is_empty());
                    if !acts::is_known(shared, &self.run, Act::Control(&shown)).await {
                        return Ok(());
                    }
                    self.control(controlled, shared).await?;
                }
                let _ = reply.send(checked);
                Ok(())
            }
            Command::Told(controlled, reply) => {
                // A refusal says that it is wound up already, or over.
                if self.run.check_control(&controlled.action).is_ok() {
                    self.control(controlled, shared).await?;
                }
                // Who told it may have gone.
                let _ = reply.send(());
                Ok(())
            }
        }
    }

    /// Goes on under another version of the pipeline, unless something stands in the way; `dry` only looks.
    async fn go_over(&mut self, moving: Moving, shared: &Arc<Shared>) -> Result<Result<(), MoveRefusal>, Stop> {
        if !self.out.is_empty() {
            let problem = "calls of the run are out: pause it, and move it when they have come back".to_owned();
            return Ok(Err(MoveRefusal { problems: vec![problem] }));
        }
        self.commit(shared).await?;
        let Moving { plan, moved, dry } = moving;
        let entries = match shared.facts.read_whole(StreamId::Run(self.run.id)).await {
            Ok((entries, _)) => entries,
            Err(error) => return Ok(Err(MoveRefusal { problems: vec![format!("its facts cannot be read: {error}")] })),
        };
        let (after, entry) = match self.run.check_move(self.run.id, &entries, plan, moved) {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if !dry {
            if let Entry::Moved(moved) = &entry
                && !acts::is_known(shared, &self.run, Act::Move(moved)).await
            {
                let problem = "the audit log does not take a record: look at the log, and try again".to_owned();
                return Ok(Err(MoveRefusal { problems: vec![problem] }));
            }
            self.buffer.push(entry);
            self.commit(shared).await?;
            self.run = after;
            self.turn(Input::Resume, shared).await?;
        }
        Ok(Ok(()))
    }

    /// One decision, carried out: facts, their commit, then what calls out is begun.
    async fn turn(&mut self, input: Input, shared: &Arc<Shared>) -> Result<(), Stop> {
        let stopping = shared.stopping.is_cancelled();
        let input = match input {
            // An answer is never thrown away: what it tells may be all that is known of an effect.
            Input::Answer(answer) if stopping => Input::Last(answer),
            _ if stopping => return Err(Stop::Stopping),
            input => input,
        };
        // One picture for the whole turn: what is recorded is what is called, whatever is installed meanwhile.
        let installation = self.picture(shared);
        let plan = Arc::clone(&self.run.plan);
        let key = self.run.beginning().key.clone();
        let bindings = installation.bound(&plan.pipeline.name, &key);
        let effects = self.run.decide(input, shared.clock.now(), &bindings);
        self.due = None;
        for effect in effects {
            match effect {
                Effect::Record(entry) => self.buffer.push(entry),
                Effect::Commit => self.commit(shared).await?,
                Effect::Sleep(due) => self.due = Some(due),
                Effect::Invoke(_)
                | Effect::Call(_)
                | Effect::Emit(_)
                | Effect::Start(_)
                | Effect::Withdraw(_)
                | Effect::Undo(_)
                    if stopping => {}
                outgoing => self.begin(outgoing, shared, &installation),
            }
        }
        if let Some(undo) = self.run.undoes() {
            self.winds_up.send_if_modified(|told| told.whole.replace(undo).is_none());
        }
        Ok(())
    }

    /// The keys that what is made from the run is sealed with, those of facts included that are not durable yet: it is as
    /// personal as they are.
    fn sealing(&self) -> Vec<SubjectKeyId> {
        let mut keys = self.keys.clone();
        keys_of(&self.buffer, &mut keys);
        keys
    }

    fn begin(&mut self, effect: Effect, shared: &Arc<Shared>, installation: &Arc<Installation>) {
        let (shared, installation) = (Arc::clone(shared), Arc::clone(installation));
        let lane = self.run.beginning().lane;
        // Once the run is being wound up, its calls find out and undo: they leave, however long they wait.
        let withdrawn = if self.run.is_halted() { CancellationToken::new() } else { self.withdrawn.clone() };
        let caller = Caller { id: self.run.id, plan: Arc::clone(&self.run.plan), lane, withdrawn };
        match effect {
            Effect::Invoke(invoke) => self.out.push(
                async move { Some(Box::new(calls::invoke(&shared, &installation, &caller, invoke).await)) }.boxed(),
            ),
            Effect::Call(call) => self
                .out
                .push(async move { calls::call(&shared, &installation, &caller, call).await.map(Box::new) }.boxed()),
            Effect::Emit(event) => {
                let keys = self.sealing();
                self.out.push(async move { Some(Box::new(emit(&shared, event, keys).await)) }.boxed());
            }
            Effect::Start(child) => {
                let (key, keys) = (self.run.beginning().key.clone(), self.sealing());
                let acceptance = self.run.beginning().acceptance;
                let winds_up = self.winds_up.subscribe();
                self.out.push(
                    async move {
                        children::run(&shared, &caller, acceptance, key, child, keys, winds_up).await.map(Box::new)
                    }
                    .boxed(),
                );
            }
            Effect::Withdraw(child) => self.winds_up.send_modify(|told| told.needless.push(child.run)),
            Effect::Undo(child) => {
                self.out.push(async move { children::undo(&shared, caller.id, child).await.map(Box::new) }.boxed())
            }
            Effect::Record(_) | Effect::Commit | Effect::Sleep(_) => {}
        }
    }

    /// Makes everything recorded durable, however long the journal takes to take it.
    async fn commit(&mut self, shared: &Arc<Shared>) -> Result<(), Stop> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let stream = StreamId::Run(self.run.id);
        let (mut delay_ms, longest_ms) = APPEND_RETRY_MS;
        loop {
            match shared.facts.append_sealed(stream, self.version, &self.buffer, &self.keys).await {
                Ok(version) => {
                    self.version = version;
                    break;
                }
                Err(AppendError::Conflict) => return Err(Stop::Taken),
                // An event that came in right before its erasure: what was durable before it is taken up at the next start.
                Err(_) if shared.facts.lacks_keys(&self.buffer, &self.keys).await => return Err(Stop::Erased),
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
        observe(shared, self.run.id, &self.buffer, !self.keys.is_empty());
        keys_of(&self.buffer, &mut self.keys);
        self.trials.observe(shared, &self.run.plan.pipeline.name, &self.buffer);
        let lets_others_begin = match self.run.plan.order {
            Order::None => false,
            Order::Start => self.buffer.iter().any(|entry| matches!(entry, Entry::RunStarted(_))),
            Order::Exclusive => self.buffer.iter().any(|entry| matches!(entry, Entry::RunEnded { .. })),
        };
        if lets_others_begin {
            next_of_key(shared, Queue::of(&self.run.plan.pipeline.name, &self.run.beginning().key), self.run.id);
        }
        self.buffer.clear();
        Ok(())
    }
}

/// What happened to a run.
enum Happened {
    Input(Input),
    Command(Command),
}

async fn emit(shared: &Arc<Shared>, emit: Emit, keys: Vec<SubjectKeyId>) -> Answer {
    let Emit { instance, event } = emit;
    let id = event.acceptance();
    // In a task of its own: a run whose wait is due waits for what is being accepted, and must not wait for itself.
    let task = Arc::clone(shared);
    let accepted = shared.tasks.spawn(async move { accept::internal(&task, event, &keys).await }).await;
    let failed = |error| AcceptError::Unavailable { reason: format!("the hub failed: {error}") };
    let result = match accepted.unwrap_or_else(|error| Err(failed(error))) {
        Ok(_) => Ok(Output::Json(Json::from(serde_json::json!({ "event": id })))),
        Err(error) => {
            let passing = matches!(error, AcceptError::Unavailable { .. });
            let kind = if passing { FailureKind::Retryable } else { FailureKind::Permanent };
            let code = if matches!(error, AcceptError::Misfit { .. }) { "emit.schema" } else { "hub.emit" };
            Err(Failure::new(kind, code, error.to_string()))
        }
    };
    Answer { instance, result, usage: Usage::default(), log: Vec::new(), annotations: Vec::new() }
}

/// Hands something to a run, whether it is in memory or not.
pub fn deliver(shared: &Arc<Shared>, run: RunId, command: Command) {
    let Some(commands) = shared.actors.send(run, command) else { return };
    let task = Arc::clone(shared);
    shared.tasks.spawn(async move {
        if let Err(error) = take_up(&task, run, commands).await {
            // One that has ended does nothing any more, whatever comes for it.
            let over = task.index.get(run).is_none_or(|summary| summary.state.is_ended());
            if over && matches!(error, ResumeError::Erased) {
                return;
            }
            tracing::error!(%run, error = &error as &dyn std::error::Error, "a run cannot be taken up");
            task.index.stuck(run, format!("it cannot be taken up: {error}"));
        }
    });
}

/// Has runs go on that were held back, no faster than they are worked off.
pub fn go_on(shared: &Arc<Shared>, runs: Vec<RunId>) {
    let task = Arc::clone(shared);
    shared.tasks.spawn(async move {
        for some in runs.chunks(WOKEN_AT_ONCE) {
            some.iter().for_each(|run| deliver(&task, *run, Command::Wake));
            worked_off(&task).await;
        }
    });
}

/// Resolves when there is room for more runs.
async fn worked_off(shared: &Shared) {
    while shared.actors.count() > RUNS_LIMIT / 2 && !shared.stopping.is_cancelled() {
        shared.clock.sleep_until(shared.clock.now().plus_millis(20)).await;
    }
}

/// Wakes runs that are due, for as long as the hub lives.
pub async fn keep_time(shared: Arc<Shared>) {
    loop {
        for run in shared.timers.take(shared.clock.now(), WOKEN_AT_ONCE) {
            deliver(&shared, run, Command::Wake);
        }
        let next = shared.timers.next();
        let due = async {
            match next {
                Some(due) => shared.clock.sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = shared.timers.changed() => {}
            () = shared.stopping.cancelled() => return,
        }
        // However many are due after a long stop, they are woken no faster than they are worked off.
        worked_off(&shared).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a histogram works in floating point")]
fn count_call(usage: &Usage) {
    if usage.elapsed_us > 0 {
        metrics::histogram!("crossdock_step_seconds").record(usage.elapsed_us as f64 / 1e6);
        metrics::histogram!("crossdock_step_fuel").record(usage.fuel as f64);
    }
}

/// Takes in durable facts of a run; `derived` says whether those before them hold personal data, which is listed nowhere.
fn observe(shared: &Arc<Shared>, run: RunId, entries: &[Entry], derived: bool) {
    for (key, acceptance) in shared.mailbox.observe(run, entries) {
        deliver(shared, run, Command::Signal { key, acceptance });
    }
    shared.inbox.observe(run, entries);
    let shown = facts::shown(entries, derived);
    shared.exceptions.observe(run, &shown);
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
    if let Some(settled) = shared.index.add(run, &shown) {
        metrics::counter!("crossdock_runs_total", "pipeline" => settled.pipeline, "state" => settled.state.as_str())
            .increment(1);
    }
}

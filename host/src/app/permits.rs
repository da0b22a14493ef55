//! Permits for calls through connections: at the same time (bulkhead), over time (bucket), and only while the remote
//! does its work (breaker). Whoever has to wait, waits here, before anything leaves: no attempt is counted for it.
//!
//! Each connection has a gate of its own, so that a remote that hangs or fails holds nobody else's calls. A gate outlives
//! changes of its connection: calls in flight and tokens stay counted, and a breaker that was open is probed at once.
//! It does not outlive the process: a hub that starts knows nothing bad of a remote.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{installation::OpenConnection, runner::Shared, turns::Turn};
use crate::{
    model::{
        failure::{Failure, FailureKind},
        lane::Lane,
        manifest::Doubt,
        pace::Pace,
        timestamp::Timestamp,
    },
    policy::flow_control::{
        breaker::{Breaker, Held, Outcome, Phase, Ticket},
        bucket::Bucket,
        queue::LaneQueue,
    },
    ports::{
        clock::Clock,
        traffic::{BreakerView, ConnectionView, LastFailure},
    },
};

/// The codes of the hub's own refusals to run a plugin, which tell nothing of a remote.
const OWN_FAILURES: [&str; 2] = ["plugin.unavailable", "plugin.revoked"];

/// The gates of all connections, by name.
#[derive(Default)]
pub struct Permits {
    gates: Mutex<HashMap<String, Arc<Gate>>>,
}

/// What a call through a connection holds while it is out.
pub(super) struct Admitted {
    permit: Permit,
    _turn: Turn,
}

/// Why a call that waited has not left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    /// The hub stops.
    Stopping,
    /// Nobody wants it any more.
    Withdrawn,
}

/// Waits until a call may leave.
///
/// # Errors
/// Why it has not: then nothing has happened, and nothing is held.
pub(super) async fn admit(
    shared: &Shared,
    open: &OpenConnection,
    lane: Lane,
    settle_ms: u64,
    withdrawn: &CancellationToken,
) -> Result<Admitted, NotAdmitted> {
    let both = async {
        shared.effects.allowed().await;
        let permit = shared.permits.gate(open, &shared.clock).acquire(lane).await;
        let turn = shared.turns.outward.acquire(lane).await;
        (permit, turn)
    };
    let (mut permit, turn) = tokio::select! {
        biased;
        both = both => both,
        () = withdrawn.cancelled() => return Err(NotAdmitted::Withdrawn),
        () = shared.stopping.cancelled() => return Err(NotAdmitted::Stopping),
    };
    permit.leaves(settle_ms);
    Ok(Admitted { permit, _turn: turn })
}

/// Until when a connection's remote is left alone, if it is.
pub(super) fn left_alone(shared: &Shared, open: &OpenConnection) -> Option<Timestamp> {
    let now = shared.clock.now();
    match shared.permits.gate(open, &shared.clock).lock().breaker.phase(now) {
        Phase::Open { until, .. } if until > now => Some(until),
        _ => None,
    }
}

/// How long a remote may still be at a call of this operation when nobody hears how it ended, milliseconds.
pub(super) fn settle_ms(open: &OpenConnection, operation: &str) -> u64 {
    match open.plugin.manifest.operations.get(operation).map(|operation| &operation.doubt) {
        Some(Doubt::NativeKey { settle_ms } | Doubt::NaturalKey { settle_ms, .. }) => *settle_ms,
        Some(Doubt::None) | None => 0,
    }
}

impl Admitted {
    /// Takes note of how the call ended.
    pub(super) fn settle(self, failure: Option<&Failure>) {
        self.permit.settle(failure);
    }
}

impl Permits {
    /// A connection as it is now.
    pub(super) fn view(&self, open: &OpenConnection, clock: &Arc<dyn Clock>) -> ConnectionView {
        let now = clock.now();
        let gate = self.gate(open, clock);
        let state = gate.lock();
        let (name, since, until) = match state.breaker.phase(now) {
            Phase::Closed => ("closed", None, None),
            Phase::Open { since, until } => ("open", Some(since), Some(until)),
            Phase::HalfOpen { since } => ("half-open", Some(since), None),
        };
        let waiting = Lane::ALL.into_iter().map(|lane| waiting(&state, lane)).sum();
        ConnectionView {
            name: open.name.clone(),
            plugin: open.plugin.manifest.id.clone(),
            version: open.plugin.manifest.version.to_string(),
            revision: open.revision,
            origin: crate::model::setting::Origin::File.as_str(),
            declared: None,
            hosts: hosts(open),
            limits: state.pace,
            breaker: BreakerView { state: name, since, until, last_failure: state.last_failure.clone() },
            tokens: state.bucket.as_ref().map(|bucket| bucket.tokens(now)),
            in_flight: state.in_flight,
            waiting,
        }
    }

    /// How many calls of a lane wait for their connection.
    pub(super) fn waiting(&self, lane: Lane) -> usize {
        let gates: Vec<_> = lock(&self.gates).values().cloned().collect();
        gates.iter().map(|gate| waiting(&gate.lock(), lane)).sum()
    }

    fn gate(&self, open: &OpenConnection, clock: &Arc<dyn Clock>) -> Arc<Gate> {
        let known = lock(&self.gates).get(&open.name).cloned();
        let gate = known.unwrap_or_else(|| {
            let new = || Arc::new(Gate::new(open.name.clone(), open.pace, open.revision, Arc::clone(clock)));
            Arc::clone(lock(&self.gates).entry(open.name.clone()).or_insert_with(new))
        });
        gate.adopt(open.pace, open.revision);
        gate
    }
}

/// The origins that a connection may reach, without anything that a URL may say beside.
fn hosts(open: &OpenConnection) -> Vec<String> {
    let base = url::Url::parse(&open.connection.base_url).map(|url| url.origin().ascii_serialization());
    let mut hosts: Vec<String> = open
        .plugin
        .manifest
        .capabilities
        .http
        .iter()
        .map(|capability| match capability.origin.as_str() {
            "${connection.base_url}" => base.clone().unwrap_or_default(),
            origin => origin.to_owned(),
        })
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// What one connection's calls pass.
struct Gate {
    name: String,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    revision: u64,
    pace: Pace,
    in_flight: u32,
    breaker: Breaker,
    bucket: Option<Bucket>,
    /// Those who wait.
    queue: LaneQueue<oneshot::Sender<Permit>>,
    /// When somebody looks again whether one of them may go.
    alarm: Option<Timestamp>,
    last_failure: Option<LastFailure>,
}

/// That a call may leave, until it is settled or dropped.
struct Permit {
    /// Absent: it was given back.
    gate: Option<Arc<Gate>>,
    ticket: Ticket,
    /// Present: the call has left, and its remote is given so long to be done with it where nobody hears how it ended.
    left: Option<u64>,
}

/// Why nobody may go now.
enum Wait {
    /// Until a call comes back.
    Return,
    /// Until a time.
    Until(Timestamp),
}

impl State {
    /// Lets one call go.
    fn pass(&mut self, now: Timestamp) -> Result<Ticket, Wait> {
        if self.in_flight >= self.pace.concurrency {
            return Err(Wait::Return);
        }
        self.breaker.check(now).map_err(|held| match held {
            Held::Probing => Wait::Return,
            Held::Until(due) => Wait::Until(due),
        })?;
        // The token last: one that is taken is used.
        self.bucket.as_mut().map_or(Ok(()), |bucket| bucket.take(now)).map_err(Wait::Until)?;
        let ticket = self.breaker.admit(now).map_err(|_| Wait::Return)?;
        self.in_flight += 1;
        Ok(ticket)
    }

    /// Who is next, of those who still wait.
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        loop {
            let next = self.queue.pop()?;
            if !next.is_closed() {
                return Some(next);
            }
        }
    }

    /// A call that was let go and did not leave.
    fn take_back(&mut self, ticket: Ticket) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.breaker.abandon(ticket);
        if let Some(bucket) = &mut self.bucket {
            bucket.give_back();
        }
    }
}

impl Gate {
    fn new(name: String, pace: Pace, revision: u64, clock: Arc<dyn Clock>) -> Self {
        let bucket = pace.rate.map(|rate| Bucket::new(rate, clock.now()));
        let state = State {
            revision,
            pace,
            in_flight: 0,
            breaker: Breaker::new(pace.breaker),
            bucket,
            queue: LaneQueue::default(),
            alarm: None,
            last_failure: None,
        };
        Self { name, clock, state: Mutex::new(state) }
    }

    /// Takes over what a later revision of the connection says.
    fn adopt(self: &Arc<Self>, pace: Pace, revision: u64) {
        let now = {
            let mut state = self.lock();
            // A run that still works with an older picture changes nothing.
            if revision < state.revision || (revision == state.revision && pace == state.pace) {
                return;
            }
            let now = self.clock.now();
            state.breaker.limit(pace.breaker);
            if revision > state.revision {
                state.breaker.probe_now(now);
            }
            state.bucket = pace.rate.map(|rate| match state.bucket.take() {
                Some(bucket) => bucket.at_rate(rate, now),
                None => Bucket::new(rate, now),
            });
            state.pace = pace;
            state.revision = revision;
            now
        };
        self.pump(now);
    }

    /// Waits until a call may leave. Whoever stops waiting takes nobody's place, token or probe.
    async fn acquire(self: &Arc<Self>, lane: Lane) -> Permit {
        let waiting = {
            let mut state = self.lock();
            if state.queue.is_empty()
                && let Ok(ticket) = state.pass(self.clock.now())
            {
                return self.permit(ticket);
            }
            let (sender, waiting) = oneshot::channel();
            state.queue.push(lane, sender);
            waiting
        };
        self.pump(self.clock.now());
        match waiting.await {
            Ok(permit) => permit,
            // INVARIANT: those who wait are forgotten only with the gate, which this borrows.
            Err(_) => std::future::pending().await,
        }
    }

    fn permit(self: &Arc<Self>, ticket: Ticket) -> Permit {
        Permit { gate: Some(Arc::clone(self)), ticket, left: None }
    }

    /// Lets go whoever may; sees to it that somebody looks again when time alone lets the next one go.
    fn pump(self: &Arc<Self>, now: Timestamp) {
        loop {
            let (next, ticket) = {
                let mut state = self.lock();
                if state.queue.is_empty() {
                    return;
                }
                match state.pass(now) {
                    Ok(ticket) => match state.next() {
                        Some(next) => (next, ticket),
                        None => return state.take_back(ticket),
                    },
                    Err(Wait::Return) => return,
                    Err(Wait::Until(due)) => {
                        if state.alarm.is_none_or(|alarm| due < alarm) {
                            state.alarm = Some(due);
                            drop(state);
                            self.wake_at(due);
                        }
                        return;
                    }
                }
            };
            // Told outside the lock: whoever has gone away in this moment hands the permit back.
            if let Err(mut refused) = next.send(self.permit(ticket)) {
                refused.gate = None;
                self.lock().take_back(ticket);
            }
        }
    }

    fn wake_at(self: &Arc<Self>, due: Timestamp) {
        let gate = Arc::downgrade(self);
        let clock = Arc::clone(&self.clock);
        tokio::spawn(async move {
            clock.sleep_until(due).await;
            let Some(gate) = gate.upgrade() else { return };
            {
                let mut state = gate.lock();
                if state.alarm == Some(due) {
                    state.alarm = None;
                }
            }
            gate.pump(clock.now());
        });
    }

    /// A call that is over.
    fn release(self: &Arc<Self>) {
        {
            let mut state = self.lock();
            state.in_flight = state.in_flight.saturating_sub(1);
        }
        self.pump(self.clock.now());
    }

    /// Gives a remote the time to be done with a call of which nobody heard how it ended, and then its place back.
    fn release_after(self: &Arc<Self>, settle_ms: u64) {
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if settle_ms > 0 => {
                let gate = Arc::clone(self);
                runtime.spawn(async move {
                    gate.clock.sleep_until(gate.clock.now().plus_millis(settle_ms)).await;
                    gate.release();
                });
            }
            _ => self.release(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Permit {
    fn leaves(&mut self, settle_ms: u64) {
        self.left = Some(settle_ms);
    }

    fn settle(mut self, failure: Option<&Failure>) {
        let Some(gate) = self.gate.take() else { return };
        let now = gate.clock.now();
        let outcome = failure.map_or(Outcome::Good, |failure| Outcome::of(failure.kind, failure.retry_after_ms));
        let failed = matches!(outcome, Outcome::Failed { .. });
        let doubt = failure.is_some_and(|failure| failure.kind == FailureKind::Uncertain);
        {
            let mut state = gate.lock();
            if failure.is_some_and(|failure| OWN_FAILURES.contains(&failure.code.as_str())) {
                state.breaker.abandon(self.ticket);
            } else {
                if let Some(failure) = failure.filter(|_| failed) {
                    let Failure { kind, code, message, .. } = failure.clone();
                    state.last_failure = Some(LastFailure { time: now, kind, code, message });
                }
                if state.breaker.settle(self.ticket, outcome, now) {
                    told(&gate.name, state.breaker.phase(now), failure);
                }
            }
        }
        // A probe is over: who waits may go, or must wait for another time.
        if doubt { gate.release_after(self.left.unwrap_or(0)) } else { gate.release() }
    }
}

fn told(connection: &str, phase: Phase, failure: Option<&Failure>) {
    match phase {
        Phase::Open { until, .. } => {
            let failure = failure.map(ToString::to_string).unwrap_or_default();
            tracing::warn!(connection, %until, failure, "a remote fails and is left alone; its calls wait");
        }
        Phase::Closed => tracing::info!(connection, "a remote answers again; its calls go on"),
        Phase::HalfOpen { .. } => {}
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(gate) = self.gate.take() else { return };
        match self.left {
            // Whoever was to hear has gone: the remote may still be at it.
            Some(settle_ms) => {
                gate.lock().breaker.abandon(self.ticket);
                gate.release_after(settle_ms);
            }
            None => {
                gate.lock().take_back(self.ticket);
                gate.pump(gate.clock.now());
            }
        }
    }
}

fn waiting(state: &State, lane: Lane) -> usize {
    state.queue.iter(lane).filter(|waiting| !waiting.is_closed()).count()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod tests;

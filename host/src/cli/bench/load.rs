//! Sends events to a hub, and times each until its run is settled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Deserialize;

use super::{cpu_time, scenario::Events};
use crate::{
    model::run::RunState,
    net::client::{Client, ClientError},
};

/// Sends an event, and waits for its run.
const SEND: &str = "/v1/events?wait=60s";
/// The latencies that are told apart, microseconds; longer ones count as the longest.
const LATENCY_US_MAX: u64 = 600_000_000;

/// When events are sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// The next one when a run is settled.
    AsSettled,
    /// So many a second, whatever the hub does.
    Rate(u32),
}

/// A load on a hub.
pub(super) struct Load {
    client: Client,
    events: Events,
    in_flight: u16,
    pace: Pace,
}

/// What came of a load.
pub(super) struct Loaded {
    pub(super) finished: u64,
    pub(super) failed: u64,
    /// The first failure, in words.
    pub(super) first_failure: Option<String>,
    /// From the first event to the last settled run.
    pub(super) elapsed: Duration,
    /// Microseconds, of finished runs.
    pub(super) latencies_us: Histogram<u64>,
    /// Processor time of this process meanwhile.
    pub(super) cpu: Duration,
}

/// A hub's answer, as far as it matters here.
#[derive(Deserialize)]
struct Accepted {
    events: Vec<AcceptedEvent>,
}

#[derive(Deserialize)]
struct AcceptedEvent {
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    id: String,
    /// Absent if nothing is known of it yet.
    state: Option<RunState>,
    cause: Option<String>,
}

impl Load {
    pub(super) fn new(client: Client, events: Events, in_flight: u16, pace: Pace) -> Self {
        Self { client, events, in_flight, pace }
    }

    /// Sends events for so long, and waits until every run is settled.
    pub(super) async fn send(&self, during: Duration) -> Loaded {
        let (begun, cpu) = (Instant::now(), cpu_time());
        let slots = Arc::new(AtomicU64::new(0));
        let senders: Vec<_> = (0..self.in_flight)
            .map(|_| {
                let sender = Sender {
                    client: self.client.clone(),
                    events: self.events.clone(),
                    pace: self.pace,
                    slots: Arc::clone(&slots),
                    begun,
                    ends: begun + during,
                };
                tokio::spawn(sender.send())
            })
            .collect();
        let mut all = Loaded::new();
        for sender in senders {
            match sender.await {
                Ok(loaded) => all.add(loaded),
                Err(error) => all.fail(error.to_string()),
            }
        }
        all.elapsed = begun.elapsed();
        all.cpu = cpu_time().saturating_sub(cpu);
        all
    }
}

/// One of those who send: at any time it has at most one run under way.
struct Sender {
    client: Client,
    events: Events,
    pace: Pace,
    /// How many events were taken up by all senders.
    slots: Arc<AtomicU64>,
    begun: Instant,
    ends: Instant,
}

impl Sender {
    async fn send(self) -> Loaded {
        let mut loaded = Loaded::new();
        while let Some(due) = self.due().await {
            let answer = self.client.post(SEND, "application/cloudevents+json", self.events.next()).await;
            loaded.take(due, answer);
        }
        loaded
    }

    /// Waits until the next event is to be sent; the instant from which its latency counts, none at the end.
    async fn due(&self) -> Option<Instant> {
        let due = match self.pace {
            Pace::AsSettled => Instant::now(),
            Pace::Rate(rate) => {
                let slot = self.slots.fetch_add(1, Ordering::Relaxed);
                self.begun + Duration::from_nanos(slot.saturating_mul(1_000_000_000) / u64::from(rate.max(1)))
            }
        };
        if due >= self.ends {
            return None;
        }
        // Late is at once: what the hub has held up is sent as soon as a sender is free, and counts from when it was due.
        // The timer wakes a millisecond late, so that what is due is not handed to it.
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        Some(due)
    }
}

impl Loaded {
    fn new() -> Self {
        Self {
            finished: 0,
            failed: 0,
            first_failure: None,
            elapsed: Duration::ZERO,
            latencies_us: histogram(),
            cpu: Duration::ZERO,
        }
    }

    fn take(&mut self, due: Instant, answer: Result<Accepted, ClientError>) {
        let accepted = match answer {
            Ok(accepted) => accepted,
            Err(error) => return self.fail(error.to_string()),
        };
        let mut runs = accepted.events.into_iter().flat_map(|event| event.runs);
        match runs.next() {
            Some(Run { state: Some(RunState::Completed), .. }) => {
                self.finished += 1;
                self.latencies_us.saturating_record(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            Some(Run { id, state, cause }) => {
                let state = state.map_or("not settled", RunState::as_str);
                self.fail(format!("run {id} is {state}: {}", cause.unwrap_or_default()));
            }
            None => self.fail("an event started no run".to_owned()),
        }
    }

    fn fail(&mut self, what: String) {
        self.failed += 1;
        self.first_failure.get_or_insert(what);
    }

    fn add(&mut self, other: Self) {
        self.finished += other.finished;
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        // INVARIANT: both have the bounds of `histogram`, so that nothing is out of range.
        let _ = self.latencies_us.add(&other.latencies_us);
    }
}

/// Three digits from a microsecond to [`LATENCY_US_MAX`].
fn histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "the bounds are constant and hold")]
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("bounds that hold")
}

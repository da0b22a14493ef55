//! The list of runs, derived from durable facts, and those who wait for a run to change.

mod compact;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use self::compact::{Compact, Words};
use crate::{
    flow::view,
    model::{
        entry::{Entry, RunStarted},
        id::{AcceptanceId, RunId},
        run::{RunState, RunSummary},
        timestamp::Timestamp,
    },
    ports::hub::RunFilter,
};

/// How many settled runs are listed; older ones are still found by their id.
const SETTLED_LIMIT: usize = 50_000;

/// Summaries of runs. Only ever told facts that are durable.
#[derive(Default)]
pub struct Index {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    summaries: HashMap<RunId, Box<Compact>>,
    words: Words,
    settled: VecDeque<RunId>,
    watchers: HashMap<RunId, Arc<Notify>>,
    stuck: HashSet<RunId>,
    queued: HashSet<RunId>,
}

/// What can be seen of a run without copying it.
#[derive(Clone, Copy, Debug)]
pub struct Unfinished<'a> {
    /// The run.
    pub id: RunId,
    /// Its pipeline.
    pub pipeline: &'a str,
    /// The pipeline's version.
    pub version: &'a str,
    /// What it is about.
    pub key: &'a str,
    /// Where it stands.
    pub state: RunState,
    /// The step that it is at.
    pub step: Option<&'a str>,
    /// When it began.
    pub started: Timestamp,
}

/// A change of state that is worth counting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The pipeline.
    pub pipeline: String,
    /// The state.
    pub state: RunState,
}

impl Index {
    /// Takes in durable facts of a run; says if it settled by them.
    pub fn add(&self, run: RunId, entries: &[Entry]) -> Option<Settled> {
        if entries.iter().all(Entry::is_about_exception) {
            return None;
        }
        let mut inner = self.lock();
        let mut summary = inner.get(run);
        for entry in entries {
            match (entry, &mut summary) {
                (Entry::RunStarted(started), None) => summary = Some(view::begin(run, started)),
                (Entry::RunStarted(_), _) | (_, None) => {}
                (_, Some(summary)) => view::summarize(summary, entry),
            }
        }
        let summary = summary?;
        inner.put(summary.clone());
        let settled =
            summary.state.is_settled().then(|| Settled { pipeline: summary.pipeline.clone(), state: summary.state });
        if settled.is_some() {
            inner.settled.push_back(run);
            if inner.settled.len() > SETTLED_LIMIT
                && let Some(oldest) = inner.settled.pop_front()
            {
                inner.summaries.remove(&oldest);
            }
        }
        let watcher = if settled.is_some() { inner.watchers.remove(&run) } else { inner.watchers.get(&run).cloned() };
        drop(inner);
        if let Some(watcher) = watcher {
            watcher.notify_waiters();
        }
        settled
    }

    /// Takes in that a run begins; whether it is new. Whoever hears yes, and nobody else, starts it.
    pub fn begin(&self, run: RunId, started: &RunStarted) -> bool {
        let mut inner = self.lock();
        let new = !inner.summaries.contains_key(&run);
        if new {
            inner.put(view::begin(run, started));
        }
        new
    }

    /// Shows a run that is accepted and waits for another of the same key.
    pub fn waits_its_turn(&self, run: RunId, first: RunId) {
        let mut inner = self.lock();
        if let Some(mut summary) = inner.get(run)
            && summary.state == RunState::Running
            && summary.step.is_none()
        {
            summary.state = RunState::Waiting;
            summary.cause = Some(format!("waits its turn: {first} is about the same key"));
            inner.put(summary);
            inner.queued.insert(run);
        }
    }

    /// Forgets that a run waited for its turn, so that it can begin.
    pub fn has_its_turn(&self, run: RunId) {
        let mut inner = self.lock();
        if inner.queued.remove(&run) {
            inner.summaries.remove(&run);
        }
    }

    /// Shows a run that this hub cannot carry forward as parked. Nothing is recorded: the next start tries again.
    pub fn stuck(&self, run: RunId, cause: String) {
        let mut inner = self.lock();
        if let Some(mut summary) = inner.get(run) {
            summary.state = RunState::Parked;
            summary.cause = Some(cause);
            inner.put(summary);
            inner.stuck.insert(run);
        }
        let watcher = inner.watchers.remove(&run);
        drop(inner);
        if let Some(watcher) = watcher {
            watcher.notify_waiters();
        }
    }

    /// How many runs this hub cannot carry forward.
    pub fn stuck_count(&self) -> usize {
        self.lock().stuck.len()
    }

    /// A run's summary.
    pub fn get(&self, run: RunId) -> Option<RunSummary> {
        self.lock().get(run)
    }

    /// Runs that are not settled.
    pub fn unsettled(&self) -> Vec<RunId> {
        self.lock().summaries.iter().filter(|(_, run)| !run.state.is_settled()).map(|(id, _)| *id).collect()
    }

    /// What a look at each run that has not ended, parked ones included, gives; in no order.
    pub fn unfinished<T>(&self, look: impl Fn(Unfinished<'_>) -> Option<T>) -> Vec<T> {
        let inner = self.lock();
        let open = inner.summaries.iter().filter(|(_, run)| !run.state.is_ended());
        open.filter_map(|(id, run)| look(run.unfinished(*id))).collect()
    }

    /// Runs that have not ended, parked ones included, in the order in which they began.
    pub fn open(&self) -> Vec<RunSummary> {
        let inner = self.lock();
        let mut open: Vec<RunSummary> =
            inner.summaries.iter().filter(|(_, run)| !run.state.is_ended()).map(|(id, run)| run.expand(*id)).collect();
        open.sort_by_key(|summary| summary.started);
        open
    }

    /// Runs of some pipelines that have not ended, parked ones included, in the order in which they began: pipeline,
    /// key, run, acceptance.
    pub fn open_of(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, String, RunId, AcceptanceId)> {
        let inner = self.lock();
        let wanted = inner.summaries.iter().filter(|(_, run)| !run.state.is_ended() && wanted(&run.place.pipeline));
        let mut open: Vec<(&RunId, &Box<Compact>)> = wanted.collect();
        open.sort_by_key(|(_, run)| run.started);
        open.into_iter()
            .map(|(id, run)| (run.place.pipeline.clone(), run.key.as_ref().to_owned(), *id, run.acceptance))
            .collect()
    }

    /// Runs with a fact since then, those that began last first, each with its pipeline.
    pub fn changed_since(&self, since: Timestamp, wanted: impl Fn(&str) -> bool) -> Vec<(RunId, String)> {
        let inner = self.lock();
        let wanted = inner.summaries.iter().filter(|(_, run)| run.updated >= since && wanted(&run.place.pipeline));
        let mut found: Vec<_> = wanted.map(|(id, run)| (run.started, *id, Arc::clone(&run.place))).collect();
        drop(inner);
        found.sort_unstable_by(|(one, a, _), (other, b, _)| other.cmp(one).then_with(|| a.cmp(b)));
        found.into_iter().map(|(_, id, place)| (id, place.pipeline.clone())).collect()
    }

    /// Whether runs that settled since then may no longer be listed.
    pub fn has_forgotten(&self, since: Timestamp) -> bool {
        let inner = self.lock();
        let oldest = inner.settled.front().and_then(|oldest| inner.summaries.get(oldest));
        inner.settled.len() >= SETTLED_LIMIT && oldest.is_none_or(|oldest| oldest.updated >= since)
    }

    /// Every summary, and then the settled runs in their order: what a snapshot holds of this.
    pub(super) fn each(&self, mut run: impl FnMut(RunSummary), mut settled: impl FnMut(RunId)) {
        let inner = self.lock();
        inner.summaries.iter().for_each(|(id, found)| run(found.expand(*id)));
        inner.settled.iter().for_each(|id| settled(*id));
    }

    /// Forgets everything.
    pub(super) fn forget_all(&self) {
        *self.lock() = Inner::default();
    }

    /// Takes in a summary of a snapshot.
    pub(super) fn restore(&self, summary: RunSummary) {
        self.lock().put(summary);
    }

    /// Takes in a settled run of a snapshot, after all summaries and in their order.
    pub(super) fn restore_settled(&self, run: RunId) {
        self.lock().settled.push_back(run);
    }

    /// When a run that does nothing until then is due.
    pub fn only_waits(&self, run: RunId) -> Option<Timestamp> {
        self.lock().get(run).filter(RunSummary::only_waits).and_then(|summary| summary.due)
    }

    /// Whether the run is known.
    pub fn contains(&self, run: RunId) -> bool {
        self.lock().summaries.contains_key(&run)
    }

    /// Matching runs, latest first.
    pub fn list(&self, filter: &RunFilter) -> Vec<RunSummary> {
        let inner = self.lock();
        let mut found: Vec<(&RunId, &Box<Compact>)> = inner
            .summaries
            .iter()
            .filter(|(_, run)| filter.pipeline.as_ref().is_none_or(|pipeline| *pipeline == run.place.pipeline))
            .filter(|(_, run)| filter.state.is_none_or(|state| state == run.state))
            .filter(|(_, run)| filter.key.as_ref().is_none_or(|key| *key == *run.key))
            .collect();
        found.sort_by(|(a, left), (b, right)| right.started.cmp(&left.started).then_with(|| a.cmp(b)));
        found.truncate(filter.limit);
        found.into_iter().map(|(id, run)| run.expand(*id)).collect()
    }

    /// What is notified when the run changes. Ask for it before looking at the run, so that no change is missed.
    pub fn watcher(&self, run: RunId) -> Arc<Notify> {
        let mut inner = self.lock();
        // Nothing more happens to it, so nobody would ever take the watcher away again.
        if inner.summaries.get(&run).is_none_or(|found| found.state.is_settled()) {
            return Arc::default();
        }
        Arc::clone(inner.watchers.entry(run).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while holding the lock leaves summaries that are at worst stale; the journal is the truth.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn get(&self, run: RunId) -> Option<RunSummary> {
        self.summaries.get(&run).map(|found| found.expand(run))
    }

    fn put(&mut self, summary: RunSummary) {
        let id = summary.id;
        self.summaries.insert(id, Box::new(Compact::of(summary, &mut self.words)));
    }
}

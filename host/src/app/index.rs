//! The list of runs, derived from durable facts, and those who wait for a run to change.

mod compact;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, futures::Notified};

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
    /// Runs whose pipeline is paused, with its name and why.
    held: HashMap<RunId, (Arc<str>, Arc<str>)>,
}

/// Somebody who waits for a run to change.
pub struct Watcher<'a> {
    index: &'a Index,
    run: RunId,
    changed: Arc<Notify>,
}

impl Watcher<'_> {
    /// Resolves when the run changes. Ask for it before looking at the run, so that no change is missed.
    pub fn notified(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let mut inner = self.index.lock();
        // The other one is the list's own: nobody else waits. A run may wait for weeks, and there may be very many.
        if inner.watchers.get(&self.run).is_some_and(|known| Arc::ptr_eq(known, &self.changed))
            && Arc::strong_count(&self.changed) == 2
        {
            inner.watchers.remove(&self.run);
        }
    }
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
            inner.held.remove(&run);
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

    /// Shows of a run that it is held back, until its pipeline goes on.
    pub fn hold_back(&self, run: RunId, pipeline: &str, cause: &str) {
        let mut inner = self.lock();
        let words = &mut inner.words;
        let held = (words.share(pipeline), words.share(cause));
        inner.held.insert(run, held);
    }

    /// Why a run is held back, if it is.
    pub fn held(&self, run: RunId) -> Option<String> {
        self.lock().held.get(&run).map(|(_, cause)| cause.as_ref().to_owned())
    }

    /// Shows that a run is not held back after all.
    pub fn release(&self, run: RunId) {
        self.lock().held.remove(&run);
    }

    /// Takes out the runs of a pipeline that were held back.
    pub fn let_go(&self, pipeline: &str) -> Vec<RunId> {
        self.lock().held.extract_if(|_, (whose, _)| **whose == *pipeline).map(|(run, _)| run).collect()
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
        let inner = self.lock();
        inner.summaries.get(&run).map(|found| inner.shown(run, found))
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

    /// Runs that have completed, and that a step started of a run which has not ended, or of one like them: what they did may
    /// still be undone. In the order in which they began.
    pub fn undoable(&self) -> Vec<RunSummary> {
        let inner = self.lock();
        let lives_above = |mut above: Option<RunId>| {
            // A run is started by one that was there before: this ends.
            while let Some(run) = above.and_then(|above| inner.summaries.get(&above)) {
                if !run.state.is_ended() {
                    return true;
                }
                above = run.parent();
            }
            false
        };
        let completed = inner.summaries.iter().filter(|(_, run)| run.state == RunState::Completed);
        let held = completed.filter(|(_, run)| lives_above(run.parent()));
        let mut held: Vec<RunSummary> = held.map(|(id, run)| run.expand(*id)).collect();
        held.sort_by_key(|summary| summary.started);
        held
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
        found.into_iter().map(|(id, run)| inner.shown(*id, run)).collect()
    }

    /// Who is told when the run changes.
    pub fn watcher(&self, run: RunId) -> Watcher<'_> {
        let mut inner = self.lock();
        // Nothing more happens to one that is settled.
        let open = inner.summaries.get(&run).is_some_and(|found| !found.state.is_settled());
        let changed = if open { Arc::clone(inner.watchers.entry(run).or_default()) } else { Arc::default() };
        drop(inner);
        Watcher { index: self, run, changed }
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

    /// A summary as it is shown: with why the run is held back, if it is.
    fn shown(&self, id: RunId, run: &Compact) -> RunSummary {
        let mut summary = run.expand(id);
        if let Some((_, cause)) = self.held.get(&id).filter(|_| !summary.state.is_settled()) {
            summary.cause = Some(cause.as_ref().to_owned());
        }
        summary
    }

    fn put(&mut self, summary: RunSummary) {
        let id = summary.id;
        self.summaries.insert(id, Box::new(Compact::of(summary, &mut self.words)));
    }
}

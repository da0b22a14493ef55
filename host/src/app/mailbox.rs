//! Signals: which runs wait under which key, and which accepted events lie under which key. Derived from the journal, so
//! an event that came before its wait is found, and so is one that came while the hub was down. Runs that ended by being
//! undone stay for as long as events do: what still comes for them is for people.

mod few;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use self::few::Few;
use crate::{
    model::{
        entry::Entry,
        id::{AcceptanceId, RunId, SignalKey},
        timestamp::Timestamp,
    },
    ports::clock::Clock,
};

/// How long an accepted event lies there for waits that begin later, milliseconds: two weeks.
pub const KEPT_MS: u64 = 14 * 24 * 60 * 60 * 1_000;
/// Most events that lie there; the oldest goes first.
pub(super) const KEPT_LIMIT: usize = 2_000_000;

/// Waits and events by key.
#[derive(Default)]
pub struct Mailbox {
    inner: Mutex<Inner>,
    /// Events that have their time and are not durable and offered yet.
    coming: Mutex<BTreeSet<(Timestamp, u64)>>,
    came: Notify,
}

/// An event that is being accepted, until it is durable and offered, or refused.
pub struct UnderWay<'a> {
    /// When it is accepted.
    pub time: Timestamp,
    number: u64,
    mailbox: &'a Mailbox,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.mailbox.coming().remove(&(self.time, self.number));
        self.mailbox.came.notify_waiters();
    }
}

#[derive(Default)]
struct Inner {
    waits: HashMap<SignalKey, Few<RunId>>,
    by_run: HashMap<RunId, Few<SignalKey>>,
    kept: HashMap<SignalKey, Vec<(Timestamp, AcceptanceId)>>,
    ages: VecDeque<(Timestamp, SignalKey)>,
    /// Runs that ended by being undone, and what they waited for then.
    undone: HashMap<RunId, Undone>,
    undone_by_key: HashMap<SignalKey, Vec<RunId>>,
    /// In the order in which they are forgotten.
    undone_ages: BTreeSet<(Timestamp, RunId)>,
}

#[derive(Clone, Debug, Default)]
struct Undone {
    time: Timestamp,
    keys: Vec<SignalKey>,
}

impl Mailbox {
    /// Gives an event that is about to be accepted its time.
    pub fn under_way(&self, clock: &dyn Clock) -> UnderWay<'_> {
        let mut coming = self.coming();
        let time = clock.now();
        let after = coming.range((time, 0)..=(time, u64::MAX)).next_back().map_or(0, |(_, number)| number + 1);
        coming.insert((time, after));
        UnderWay { time, number: after, mailbox: self }
    }

    /// Resolves when every event that was accepted by a time lies here, and was offered.
    pub async fn caught_up(&self, time: Timestamp) {
        loop {
            let came = self.came.notified();
            if self.coming().first().is_none_or(|(first, _)| *first > time) {
                return;
            }
            came.await;
        }
    }

    /// Whether a run waits for events, or did.
    pub fn awaits(&self, run: RunId) -> bool {
        self.lock().by_run.contains_key(&run)
    }

    /// Keeps an accepted event under a key; the runs that wait under it.
    pub fn keep(&self, key: SignalKey, time: Timestamp, acceptance: AcceptanceId) -> Vec<RunId> {
        let mut inner = self.lock();
        let kept = inner.kept.entry(key).or_default();
        if !kept.iter().any(|(_, known)| *known == acceptance) {
            kept.push((time, acceptance));
            inner.ages.push_back((time, key));
        }
        while let Some((oldest, key)) = inner.ages.front().copied()
            && (inner.ages.len() > KEPT_LIMIT || oldest.plus_millis(KEPT_MS) < time)
        {
            inner.ages.pop_front();
            if let Some(kept) = inner.kept.get_mut(&key) {
                kept.retain(|(time, _)| *time > oldest);
                if kept.is_empty() {
                    inner.kept.remove(&key);
                }
            }
        }
        while let Some((oldest, run)) = inner.undone_ages.first().copied()
            && oldest.plus_millis(KEPT_MS) < time
        {
            inner.forget_undone(run);
        }
        let mut runs = inner.waits.get(&key).map(|runs| runs.as_slice().to_vec()).unwrap_or_default();
        runs.extend(inner.undone_by_key.get(&key).into_iter().flatten());
        runs
    }

    /// Whether an event lies under a key.
    pub fn holds(&self, key: SignalKey, acceptance: AcceptanceId) -> bool {
        self.lock().kept.get(&key).is_some_and(|kept| kept.iter().any(|(_, known)| *known == acceptance))
    }

    /// Takes in durable facts of a run: the events that lie under the keys that it now waits under, oldest first.
    pub fn observe(&self, run: RunId, entries: &[Entry]) -> Vec<(SignalKey, AcceptanceId)> {
        let mut found = Vec::new();
        for entry in entries {
            match entry {
                Entry::WaitStarted(started) if !started.awaits.is_empty() => {
                    let mut inner = self.lock();
                    for awaited in &started.awaits {
                        inner.wait(awaited.key, run);
                        inner.by_run.entry(run).or_default().push(awaited.key);
                        found.extend(
                            inner
                                .kept
                                .get(&awaited.key)
                                .into_iter()
                                .flatten()
                                .map(|(_, acceptance)| (awaited.key, *acceptance)),
                        );
                    }
                }
                Entry::WaitsUndone(undone) => {
                    let keys: Vec<SignalKey> = undone.waits.iter().map(|wait| wait.awaits.key).collect();
                    let mut inner = self.lock();
                    for key in &keys {
                        let kept = inner.kept.get(key).into_iter().flatten();
                        found.extend(kept.map(|(_, acceptance)| (*key, *acceptance)));
                    }
                    inner.keep_undone(run, undone.time, keys);
                }
                Entry::RunEnded { .. } => self.forget(run),
                // Its waits are what counts from now on.
                Entry::Restarted { .. } => self.lock().forget_undone(run),
                _ => {}
            }
        }
        found
    }

    /// The keys that a run waits or waited under, with what lies there.
    pub fn lying_for(&self, run: RunId) -> Vec<(SignalKey, AcceptanceId)> {
        let inner = self.lock();
        let keys = inner.by_run.get(&run).into_iter().flat_map(Few::as_slice);
        let keys = keys.chain(inner.undone.get(&run).into_iter().flat_map(|undone| &undone.keys));
        keys.flat_map(|key| inner.kept.get(key).into_iter().flatten().map(|(_, acceptance)| (*key, *acceptance)))
            .collect()
    }

    /// Runs that ended by being undone for which something lies there.
    pub fn undone(&self) -> Vec<RunId> {
        let inner = self.lock();
        let lies = |undone: &Undone| undone.keys.iter().any(|key| inner.kept.contains_key(key));
        inner.undone.iter().filter(|(_, undone)| lies(undone)).map(|(run, _)| *run).collect()
    }

    /// Who waits under which keys, which runs were undone, and then what lies there in the order of time: what a snapshot
    /// holds of this.
    pub(super) fn each(
        &self,
        mut waits: impl FnMut(RunId, &[SignalKey]),
        mut undone: impl FnMut(RunId, Timestamp, &[SignalKey]),
        mut kept: impl FnMut(SignalKey, Timestamp, AcceptanceId),
    ) {
        let inner = self.lock();
        inner.by_run.iter().for_each(|(run, keys)| waits(*run, keys.as_slice()));
        inner.undone.iter().for_each(|(run, found)| undone(*run, found.time, &found.keys));
        let mut all: Vec<(Timestamp, SignalKey, AcceptanceId)> = inner
            .kept
            .iter()
            .flat_map(|(key, kept)| kept.iter().map(|(time, acceptance)| (*time, *key, *acceptance)))
            .collect();
        all.sort_unstable();
        all.into_iter().for_each(|(time, key, acceptance)| kept(key, time, acceptance));
    }

    /// Forgets everything.
    pub(super) fn forget_all(&self) {
        *self.lock() = Inner::default();
    }

    /// Takes in a run that waits, of a snapshot.
    pub(super) fn restore(&self, run: RunId, keys: Vec<SignalKey>) {
        let mut inner = self.lock();
        for key in &keys {
            inner.wait(*key, run);
        }
        inner.by_run.insert(run, keys.into());
    }

    /// Takes in a run that was undone, of a snapshot.
    pub(super) fn restore_undone(&self, run: RunId, time: Timestamp, keys: Vec<SignalKey>) {
        self.lock().keep_undone(run, time, keys);
    }

    fn forget(&self, run: RunId) {
        let mut inner = self.lock();
        for key in inner.by_run.remove(&run).unwrap_or_default().as_slice() {
            if let Some(runs) = inner.waits.get_mut(key) {
                runs.retain(|waiting| *waiting != run);
                if runs.as_slice().is_empty() {
                    inner.waits.remove(key);
                }
            }
        }
    }

    fn coming(&self) -> MutexGuard<'_, BTreeSet<(Timestamp, u64)>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn wait(&mut self, key: SignalKey, run: RunId) {
        let runs = self.waits.entry(key).or_default();
        if !runs.as_slice().contains(&run) {
            runs.push(run);
        }
    }

    fn keep_undone(&mut self, run: RunId, time: Timestamp, mut keys: Vec<SignalKey>) {
        keys.sort_unstable();
        keys.dedup();
        self.forget_undone(run);
        for key in &keys {
            self.undone_by_key.entry(*key).or_default().push(run);
        }
        self.undone_ages.insert((time, run));
        self.undone.insert(run, Undone { time, keys });
    }

    fn forget_undone(&mut self, run: RunId) {
        let Some(Undone { time, keys }) = self.undone.remove(&run) else { return };
        self.undone_ages.remove(&(time, run));
        for key in keys {
            if let Some(runs) = self.undone_by_key.get_mut(&key) {
                runs.retain(|undone| *undone != run);
                if runs.is_empty() {
                    self.undone_by_key.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Signals: which runs wait under which key, and which accepted events lie under which key. Derived from the journal, so
//! an event that came before its wait is found, and so is one that came while the hub was down.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::model::{
    entry::Entry,
    id::{AcceptanceId, RunId, SignalKey},
    timestamp::Timestamp,
};

/// How long an accepted event lies there for waits that begin later, milliseconds: two weeks.
pub const KEPT_MS: u64 = 14 * 24 * 60 * 60 * 1_000;
/// Most events that lie there; the oldest goes first.
const KEPT_LIMIT: usize = 2_000_000;

/// Waits and events by key.
#[derive(Default)]
pub struct Mailbox {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    waits: HashMap<SignalKey, Vec<RunId>>,
    by_run: HashMap<RunId, Vec<SignalKey>>,
    kept: HashMap<SignalKey, Vec<(Timestamp, AcceptanceId)>>,
    ages: VecDeque<(Timestamp, SignalKey)>,
}

impl Mailbox {
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
        inner.waits.get(&key).cloned().unwrap_or_default()
    }

    /// Takes in durable facts of a run: the events that lie under the keys that it now waits under, oldest first.
    pub fn observe(&self, run: RunId, entries: &[Entry]) -> Vec<(SignalKey, AcceptanceId)> {
        let mut found = Vec::new();
        for entry in entries {
            match entry {
                Entry::WaitStarted(started) if !started.awaits.is_empty() => {
                    let mut inner = self.lock();
                    for awaited in &started.awaits {
                        let runs = inner.waits.entry(awaited.key).or_default();
                        if !runs.contains(&run) {
                            runs.push(run);
                        }
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
                Entry::RunEnded { .. } => self.forget(run),
                _ => {}
            }
        }
        found
    }

    /// The keys that a run waits or waited under, with what lies there.
    pub fn lying_for(&self, run: RunId) -> Vec<(SignalKey, AcceptanceId)> {
        let inner = self.lock();
        let keys = inner.by_run.get(&run).into_iter().flatten();
        keys.flat_map(|key| inner.kept.get(key).into_iter().flatten().map(|(_, acceptance)| (*key, *acceptance)))
            .collect()
    }

    /// Who waits under which keys, and then what lies there in the order of time: what a snapshot holds of this.
    pub(super) fn each(
        &self,
        mut waits: impl FnMut(RunId, &[SignalKey]),
        mut kept: impl FnMut(SignalKey, Timestamp, AcceptanceId),
    ) {
        let inner = self.lock();
        inner.by_run.iter().for_each(|(run, keys)| waits(*run, keys));
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
            let runs = inner.waits.entry(*key).or_default();
            if !runs.contains(&run) {
                runs.push(run);
            }
        }
        inner.by_run.insert(run, keys);
    }

    fn forget(&self, run: RunId) {
        let mut inner = self.lock();
        for key in inner.by_run.remove(&run).unwrap_or_default() {
            if let Some(runs) = inner.waits.get_mut(&key) {
                runs.retain(|waiting| *waiting != run);
                if runs.is_empty() {
                    inner.waits.remove(&key);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Mailbox;
    use crate::model::{
        entry::{Await, Ending, Entry, WaitStarted},
        id::{AcceptanceId, RunId, SignalKey},
        timestamp::Timestamp,
    };

    fn run() -> RunId {
        RunId::of(AcceptanceId::of("/s", "1"), "p")
    }

    fn waits(key: SignalKey) -> Entry {
        let (time, due) = (Timestamp::from_millis(1), Timestamp::from_millis(9));
        let awaits = vec![Await { name: "signal".into(), key }];
        Entry::WaitStarted(Box::new(WaitStarted { step: "w".into(), time, due, awaits }))
    }

    #[test]
    fn an_event_is_found_whether_it_comes_before_or_after_its_wait() {
        let mailbox = Mailbox::default();
        let key = SignalKey::of("t", "signal.subject", b"\"x\"");
        let (early, late) = (AcceptanceId::of("/s", "2"), AcceptanceId::of("/s", "3"));
        assert!(mailbox.keep(key, Timestamp::from_millis(1), early).is_empty());
        assert_eq!(mailbox.observe(run(), &[waits(key)]), [(key, early)]);
        assert_eq!(mailbox.keep(key, Timestamp::from_millis(2), late), [run()]);
        mailbox.observe(run(), &[Entry::RunEnded { time: Timestamp::from_millis(3), ending: Ending::Completed }]);
        assert!(mailbox.keep(key, Timestamp::from_millis(4), late).is_empty());
    }

    #[test]
    fn an_event_does_not_lie_there_for_ever() {
        let mailbox = Mailbox::default();
        let key = SignalKey::of("t", "signal.subject", b"1");
        mailbox.keep(key, Timestamp::from_millis(1), AcceptanceId::of("/s", "2"));
        let later = Timestamp::from_millis(2).plus_millis(super::KEPT_MS);
        mailbox.keep(SignalKey::of("t", "signal.subject", b"2"), later, AcceptanceId::of("/s", "3"));
        assert!(mailbox.observe(run(), &[waits(key)]).is_empty());
    }
}

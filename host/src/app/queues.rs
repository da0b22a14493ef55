//! How runs of one business key relate: which of them may begin. Derived from acceptances and runs, so that it is the
//! same after a restart.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::model::id::{AcceptanceId, RunId, hash32};

/// A pipeline and a key, hashed: there may be many, and only equality matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Queue([u8; 32]);

impl Queue {
    /// Of the runs of a pipeline about a key.
    #[must_use]
    pub fn of(pipeline: &str, key: &str) -> Self {
        Self(hash32("crossdock queue 1", &[pipeline.as_bytes(), key.as_bytes()]))
    }
}

/// Runs by queue, in the order of acceptance; the first of each may run.
#[derive(Default)]
pub struct Queues {
    inner: Mutex<HashMap<Queue, VecDeque<(RunId, AcceptanceId)>>>,
}

impl Queues {
    /// Enters a run. Whether it may begin now; else the run that it waits for.
    pub fn enter(&self, queue: Queue, run: RunId, acceptance: AcceptanceId) -> Result<(), RunId> {
        let mut inner = self.lock();
        let waiting = inner.entry(queue).or_default();
        if !waiting.iter().any(|(known, _)| *known == run) {
            waiting.push_back((run, acceptance));
        }
        match waiting.front() {
            Some((first, _)) if *first != run => Err(*first),
            _ => Ok(()),
        }
    }

    /// Takes out a run; the next one, which may begin now.
    pub fn leave(&self, queue: Queue, run: RunId) -> Option<(RunId, AcceptanceId)> {
        let mut inner = self.lock();
        let waiting = inner.get_mut(&queue)?;
        let was_first = waiting.front().is_some_and(|(first, _)| *first == run);
        waiting.retain(|(known, _)| *known != run);
        let next = waiting.front().copied();
        if waiting.is_empty() {
            inner.remove(&queue);
        }
        next.filter(|_| was_first)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Queue, VecDeque<(RunId, AcceptanceId)>>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Queue, Queues};
    use crate::model::id::{AcceptanceId, RunId};

    #[test]
    fn runs_of_one_key_come_one_after_the_other_and_others_are_not_kept() {
        let queues = Queues::default();
        let acceptance = |number: &str| AcceptanceId::of("/s", number);
        let run = |number: &str| RunId::of(acceptance(number), "p");
        let (mine, other) = (Queue::of("p", "k"), Queue::of("p", "l"));
        assert_eq!(queues.enter(mine, run("1"), acceptance("1")), Ok(()));
        assert_eq!(queues.enter(mine, run("2"), acceptance("2")), Err(run("1")));
        assert_eq!(queues.enter(mine, run("3"), acceptance("3")), Err(run("1")));
        assert_eq!(queues.enter(other, run("4"), acceptance("4")), Ok(()));
        assert_eq!(queues.leave(mine, run("2")), None, "it was not its turn");
        assert_eq!(queues.leave(mine, run("1")), Some((run("3"), acceptance("3"))));
        assert_eq!(queues.enter(mine, run("3"), acceptance("3")), Ok(()));
        assert_eq!(queues.leave(mine, run("3")), None);
    }
}

//! Who carries which run forward in this process: at most one task a run, made when there is something to do and gone
//! when the run only waits. What comes for a run from outside reaches it through here.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, mpsc, oneshot};

use crate::{
    flow::{
        machine::{ControlRefusal, DecisionRefusal, MoveRefusal},
        plan::Plan,
    },
    model::{
        entry::{ApprovalDecided, Controlled, Moved},
        id::{AcceptanceId, RunId, SignalKey},
        timestamp::Timestamp,
    },
};

/// What comes for a run.
#[derive(Debug)]
pub enum Command {
    /// It may be time for something.
    Wake,
    /// An event was accepted under a key that it waits for.
    Signal {
        /// The key.
        key: SignalKey,
        /// The acceptance.
        acceptance: AcceptanceId,
    },
    /// A person decided; answered when it is durable.
    Decide(Box<ApprovalDecided>, oneshot::Sender<Result<(), DecisionRefusal>>),
    /// It goes on under another version of its pipeline; answered when that is durable.
    Move(Box<Moving>, oneshot::Sender<Result<(), MoveRefusal>>),
    /// A person takes hold of it; answered when it is durable.
    Control(Box<Controlled>, oneshot::Sender<Result<(), ControlRefusal>>),
    /// The run that started it does; answered when that is durable, or was refused.
    Told(Box<Controlled>, oneshot::Sender<()>),
}

/// A move to another version.
#[derive(Clone, Debug)]
pub struct Moving {
    /// The version.
    pub plan: Arc<Plan>,
    /// What is recorded.
    pub moved: Moved,
    /// Whether it is only looked at whether it could be.
    pub dry: bool,
}

/// The tasks under way.
#[derive(Default)]
pub struct Actors {
    senders: Mutex<HashMap<RunId, mpsc::UnboundedSender<Command>>>,
}

impl Actors {
    /// Hands a command to the run's task. If there is none, the command comes back with the mailbox of a task that the
    /// caller has to start.
    pub fn send(&self, run: RunId, command: Command) -> Option<mpsc::UnboundedReceiver<Command>> {
        let mut senders = self.lock();
        let command = match senders.get(&run) {
            None => command,
            Some(sender) => match sender.send(command) {
                Ok(()) => return None,
                Err(unsent) => unsent.0,
            },
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        // The receiver is alive: it is right here.
        let _ = sender.send(command);
        senders.insert(run, sender);
        Some(receiver)
    }

    /// The mailbox of a run that is begun or taken up; absent if it has a task already.
    pub fn enlist(&self, run: RunId) -> Option<mpsc::UnboundedReceiver<Command>> {
        let mut senders = self.lock();
        if senders.get(&run).is_some_and(|sender| !sender.is_closed()) {
            return None;
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        senders.insert(run, sender);
        Some(receiver)
    }

    /// Whether the run's task may end: nothing has come for it meanwhile. After yes, the next command starts a new one.
    pub fn retire(&self, run: RunId, receiver: &mpsc::UnboundedReceiver<Command>) -> bool {
        let mut senders = self.lock();
        if !receiver.is_empty() {
            return false;
        }
        senders.remove(&run);
        true
    }

    /// Tasks under way.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, mpsc::UnboundedSender<Command>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When runs without a task have something to do. A run may be in it more than once: being woken for nothing is
/// harmless.
#[derive(Default)]
pub struct Timers {
    due: Mutex<BTreeSet<(Timestamp, RunId)>>,
    changed: Notify,
}

impl Timers {
    /// Wakes a run at a time.
    pub fn set(&self, due: Timestamp, run: RunId) {
        let mut all = self.lock();
        let first = all.first().is_none_or(|(earliest, _)| due < *earliest);
        all.insert((due, run));
        drop(all);
        if first {
            self.changed.notify_one();
        }
    }

    /// Takes out at most `limit` runs that are due.
    pub fn take(&self, now: Timestamp, limit: usize) -> Vec<RunId> {
        let mut all = self.lock();
        let mut runs = Vec::new();
        while runs.len() < limit
            && let Some((due, run)) = all.first().copied()
            && due <= now
        {
            all.remove(&(due, run));
            runs.push(run);
        }
        runs
    }

    /// When the next run is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.lock().first().map(|(due, _)| *due)
    }

    /// Resolves when there is an earlier one than before.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Timers set.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(Timestamp, RunId)>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

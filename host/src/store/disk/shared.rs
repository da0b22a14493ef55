//! What the committer and the readers share: the open tree, how far it is durable, and whether it may be used.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use sled::Tree;
use tokio::sync::broadcast;

use super::fault::Fault;
use crate::{
    ports::{
        journal::Position,
        records::{Change, Stored},
    },
    store::watch::WATCH_CHANGES_LIMIT,
};

/// Why nothing more is taken.
#[derive(Clone, Debug)]
enum Usable {
    Yes,
    No(String),
}

/// A snapshot of the store's counters since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Groups committed.
    pub groups: u64,
    /// Times the database file was flushed and synced for a group.
    pub flushes: u64,
    /// Appends stored; repetitions are not counted.
    pub appends: u64,
    /// Bytes of stored appends, framing included.
    pub appended_bytes: u64,
    /// Records written or deleted.
    pub record_writes: u64,
    /// Most appends and record writes that one group has held.
    pub group_size_max: u64,
    /// Files that the database wrote beside its log and that the store had to sync; expected to stay 0.
    pub spilled_files: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<Statistics>);

impl Counters {
    pub(super) fn update(&self, change: impl FnOnce(&mut Statistics)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn snapshot(&self) -> Statistics {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Values that records had before the group that is being committed, so that no reader sees what is not durable.
pub(super) type Shadow = BTreeMap<String, Option<Stored>>;

#[derive(Debug)]
pub(super) struct Shared {
    usable: RwLock<Usable>,
    tree: RwLock<Option<Tree>>,
    durable: AtomicU64,
    // INVARIANT: while the tree holds a record's value that is not durable, this holds the one before it. The
    // committer writes here before it applies a group; readers hold the lock over their look at the tree.
    shadow: RwLock<Shadow>,
    changes: Mutex<Option<broadcast::Sender<Change>>>,
    pub(super) counters: Counters,
}

impl Shared {
    pub(super) fn new(tree: Tree, durable: Position) -> Self {
        Self {
            usable: RwLock::new(Usable::Yes),
            tree: RwLock::new(Some(tree)),
            durable: AtomicU64::new(durable.0),
            shadow: RwLock::default(),
            changes: Mutex::new(Some(broadcast::channel(WATCH_CHANGES_LIMIT).0)),
            counters: Counters::default(),
        }
    }

    /// Whether writes are taken; if not, what to do about it.
    pub(super) fn usable(&self) -> Result<(), String> {
        match &*self.usable.read().unwrap_or_else(PoisonError::into_inner) {
            Usable::Yes => Ok(()),
            Usable::No(reason) => Err(reason.clone()),
        }
    }

    /// Takes no more writes. The first reason stays.
    pub(super) fn refuse(&self, reason: String) {
        let mut usable = self.usable.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*usable, Usable::Yes) {
            *usable = Usable::No(reason);
        }
    }

    /// The tree, for reading.
    pub(super) fn tree(&self) -> Result<Tree, Fault> {
        let tree = self.tree.read().unwrap_or_else(PoisonError::into_inner).clone();
        tree.ok_or_else(|| Fault::failed("the store is closed; the hub is stopping"))
    }

    /// Lets go of the tree and ends all watches.
    pub(super) fn let_go(&self) {
        self.refuse("it was closed; the hub is stopping".to_owned());
        *self.tree.write().unwrap_or_else(PoisonError::into_inner) = None;
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The last position that may be shown.
    pub(super) fn durable(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    /// Hides what a group is about to overwrite.
    pub(super) fn cast_shadow(&self, shadow: Shadow) {
        *self.shadow.write().unwrap_or_else(PoisonError::into_inner) = shadow;
    }

    /// Shows a group that has become durable.
    pub(super) fn reveal(&self, durable: Position, changes: Vec<Change>) {
        self.durable.store(durable.0, Ordering::Release);
        if changes.is_empty() {
            return;
        }
        self.cast_shadow(Shadow::new());
        if let Some(sender) = &*self.changes.lock().unwrap_or_else(PoisonError::into_inner) {
            for change in changes {
                // No receiver is no error: nobody watches.
                let _ = sender.send(change);
            }
        }
    }

    /// Looks at records while no group can appear or disappear under the look, which must be short.
    pub(super) fn with_shadow<T>(&self, look: impl FnOnce(&Shadow) -> T) -> T {
        look(&self.shadow.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn subscribe(&self) -> Option<broadcast::Receiver<Change>> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.as_ref().map(broadcast::Sender::subscribe)
    }
}

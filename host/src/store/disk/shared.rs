//! What the committer and the readers share: the open table, how far it is durable, and whether it may be used.

use std::sync::{
    Mutex, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{Notify, broadcast, futures::Notified};

use super::{fault::Fault, table::Table};
use crate::{
    ports::{journal::Position, records::Change},
    store::watch::WATCH_CHANGES_LIMIT,
};

/// Whether writes are taken; if not, why.
#[derive(Clone, Debug, Default)]
enum Usable {
    #[default]
    Yes,
    /// Not now: a commit failed, and the store is being opened again.
    NotNow(String),
    /// Never again through this handle.
    Never(String),
}

/// A snapshot of the store's counters since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Groups committed.
    pub groups: u64,
    /// Times the log was synced for a group.
    pub flushes: u64,
    /// Times the database was made durable for itself, beside the groups.
    pub settled: u64,
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

/// What those who read, those who write and the committer share. As it begins, the store is not open yet.
#[derive(Debug, Default)]
pub(super) struct Shared {
    usable: RwLock<Usable>,
    /// Why no new work is to be taken in, if so: room is short.
    short: RwLock<Option<String>>,
    table: RwLock<Option<Table>>,
    durable: AtomicU64,
    changes: Mutex<Option<broadcast::Sender<Change>>>,
    /// Told when the table was opened again, or never will be.
    reopened: Notify,
    pub(super) counters: Counters,
}

impl Shared {
    /// Whether writes are taken; if not, what to do about it.
    pub(super) fn usable(&self) -> Result<(), String> {
        match &*self.usable.read().unwrap_or_else(PoisonError::into_inner) {
            Usable::Yes => Ok(()),
            Usable::NotNow(reason) | Usable::Never(reason) => Err(reason.clone()),
        }
    }

    /// Why writes will never be taken again, if so.
    pub(super) fn failed(&self) -> Option<String> {
        match &*self.usable.read().unwrap_or_else(PoisonError::into_inner) {
            Usable::Never(reason) => Some(reason.clone()),
            Usable::Yes | Usable::NotNow(_) => None,
        }
    }

    /// Takes no writes until [`Shared::resume`].
    pub(super) fn refuse(&self, reason: String) {
        let mut usable = self.usable.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*usable, Usable::Yes) {
            *usable = Usable::NotNow(reason);
        }
    }

    /// Takes no more writes, for good. The first reason stays.
    pub(super) fn give_up(&self, reason: String) {
        let mut usable = self.usable.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*usable, Usable::Never(_)) {
            *usable = Usable::Never(reason);
        }
        drop(usable);
        self.reopened.notify_waiters();
    }

    /// Lets go of the table while it is opened again; readers are told to come back.
    pub(super) fn suspend(&self) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Goes on with a table that was opened, or opened again. Watches end, because a group may have become durable that
    /// nobody was told of: whoever watches lists anew.
    pub(super) fn resume(&self, table: Table, durable: Position) {
        self.durable.store(durable.0, Ordering::Release);
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Some(table);
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner) = Some(broadcast::channel(WATCH_CHANGES_LIMIT).0);
        let mut usable = self.usable.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*usable, Usable::NotNow(_)) {
            *usable = Usable::Yes;
        }
        drop(usable);
        self.reopened.notify_waiters();
    }

    /// Resolves when the table was opened again, or never will be. Ask for it before looking at the table.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.reopened.notified()
    }

    /// Whether there is room for new work; if not, what to do about it.
    pub(super) fn room(&self) -> Result<(), String> {
        let short = self.short.read().unwrap_or_else(PoisonError::into_inner).clone();
        short.map_or(Ok(()), Err)
    }

    /// Says whether room is short.
    pub(super) fn set_short(&self, short: Option<String>) {
        let mut now = self.short.write().unwrap_or_else(PoisonError::into_inner);
        if now.is_some() != short.is_some() {
            match &short {
                Some(reason) => tracing::error!(reason, "no new work is taken in"),
                None => tracing::info!("there is room again: new work is taken in"),
            }
        }
        *now = short;
    }

    /// The table, for reading.
    pub(super) fn table(&self) -> Result<Table, Fault> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner).clone();
        table.ok_or_else(|| {
            Fault::failed(self.usable().err().unwrap_or_else(|| "the store is closed; the hub is stopping".to_owned()))
        })
    }

    /// Lets go of the table and ends all watches.
    pub(super) fn let_go(&self) {
        self.give_up("it was closed; the hub is stopping".to_owned());
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = None;
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The last position that may be shown.
    pub(super) fn durable(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    /// Shows a group that has become durable.
    pub(super) fn reveal(&self, durable: Position, changes: Vec<Change>) {
        self.durable.store(durable.0, Ordering::Release);
        if changes.is_empty() {
            return;
        }
        if let Some(sender) = &*self.changes.lock().unwrap_or_else(PoisonError::into_inner) {
            for change in changes {
                // No receiver is no error: nobody watches.
                let _ = sender.send(change);
            }
        }
    }

    pub(super) fn subscribe(&self) -> Option<broadcast::Receiver<Change>> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.as_ref().map(broadcast::Sender::subscribe)
    }
}

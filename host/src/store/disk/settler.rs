//! Gives the database what it has not got, and makes it durable for itself, on a thread of its own: changes, flush, sync of
//! the database file, head. Nobody who writes waits for it, since the log has every group until this is done; only a log
//! that is full waits, a backup, and a close.
//!
//! The head then names the last group that the database has durably. What was acknowledged since is in the log, whose frames
//! continue it.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use sled::Db;

use super::{
    fault::{Fault, guarded},
    head::{Head, HeadFile},
    layout::Hash,
    shared::Shared,
    table::Table,
};

/// How often it is looked whether sled has shortened its file.
const IDLE: Duration = Duration::from_millis(500);

/// The database's files and the head that vouches for them.
pub(super) struct Base {
    db: Db,
    table: Table,
    /// A second descriptor of sled's file: sled's own `flush` writes, but does not sync.
    file: File,
    /// Where sled puts pages that are too large for its log, unsynced.
    spill: PathBuf,
    head: HeadFile,
    /// Makes the next sync fail, for tests.
    #[cfg(test)]
    pub(super) fail_sync: super::durability::FailSync,
}

impl Base {
    pub(super) fn new(db: Db, table: Table, journal_dir: &Path, head: HeadFile) -> io::Result<Self> {
        Ok(Self {
            db,
            table,
            file: File::open(journal_dir.join("db"))?,
            spill: journal_dir.join("blobs"),
            head,
            #[cfg(test)]
            fail_sync: super::durability::FailSync::default(),
        })
    }

    /// Makes the database hold durably what was taken in, which is everything up to a group or more; the number of spilled
    /// files that had to be synced.
    ///
    /// # Errors
    /// Then nobody knows what the disk holds, and nothing may be flushed through this handle again.
    fn settle(&mut self, group: u64, hash: Hash) -> Result<u64, Fault> {
        self.table.hand_over()?;
        self.db.flush()?;
        let spilled = self.sync_spilled()?;
        // Before the sync: sled may write more at any time, which nothing vouches for yet.
        let length = self.file.metadata()?.len();
        self.sync()?;
        self.head.write(Head { group, hash, length })?;
        Ok(spilled)
    }

    fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.fail_sync.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(io::Error::other("this test lets the sync fail"));
        }
        self.file.sync_data()
    }

    fn sync_spilled(&self) -> io::Result<u64> {
        let mut files = 0;
        for file in fs::read_dir(&self.spill)? {
            match File::open(file?.path()) {
                Ok(file) => file.sync_all()?,
                // sled has replaced the page meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            files += 1;
        }
        if files > 0 {
            File::open(&self.spill)?.sync_all()?;
        }
        Ok(files)
    }

    /// Notes that sled has given back segments at the end of its file, so that a shorter file is no surprise.
    fn note_length(&mut self) -> io::Result<()> {
        let (head, length) = (self.head.head(), self.file.metadata()?.len());
        if length < head.length { self.head.write(Head { length, ..head }) } else { Ok(()) }
    }

    /// Closes the database, then notes how long its file is in the end; its head, for the one that takes its place.
    pub(super) fn close(self) -> Result<HeadFile, Fault> {
        let Self { db, table, file, mut head, .. } = self;
        guarded(move || {
            drop((db, table));
            Ok(())
        })?;
        file.sync_data()?;
        let (last, length) = (head.head(), file.metadata()?.len());
        if length < last.length {
            head.write(Head { length, ..last })?;
        }
        Ok(head)
    }
}

/// What the settler's thread and the committer tell each other.
#[derive(Debug, Default)]
struct Now {
    /// The last group that was taken in.
    last: (u64, Hash),
    /// The last one that it has durably.
    settled: u64,
    /// How often somebody has asked for everything to be made durable at once, and how many of those were answered.
    asked: u64,
    answered: u64,
    stop: bool,
    failed: Option<Fault>,
}

#[derive(Debug, Default)]
struct State {
    now: Mutex<Now>,
    changed: Condvar,
}

impl State {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, now: MutexGuard<'a, Now>) -> MutexGuard<'a, Now> {
        self.changed.wait(now).unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for<'a>(&self, now: MutexGuard<'a, Now>, most: Duration) -> MutexGuard<'a, Now> {
        self.changed.wait_timeout(now, most).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The handle on the settler's thread, which ends with it.
pub(super) struct Settler {
    state: Arc<State>,
    thread: Option<JoinHandle<Base>>,
}

impl Settler {
    /// Begins with a database that has everything up to a group durably.
    pub(super) fn start(base: Base, last: (u64, Hash), pause: Duration, shared: Arc<Shared>) -> io::Result<Self> {
        let now = Now { last, settled: last.0, ..Now::default() };
        let state = Arc::new(State { now: Mutex::new(now), ..State::default() });
        let seen = state.clone();
        let thread =
            thread::Builder::new().name("settler".to_owned()).spawn(move || run(base, &seen, pause, &shared))?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// Says that a group was taken in.
    pub(super) fn note(&self, group: u64, hash: Hash) {
        let mut now = self.state.now();
        let idle = now.last.0 == now.settled;
        now.last = (group, hash);
        drop(now);
        if idle {
            self.state.changed.notify_all();
        }
    }

    /// Up to which group the database has everything durably.
    pub(super) fn settled(&self) -> u64 {
        self.state.now().settled
    }

    /// Waits until the database has a group durably, making haste if it has not.
    ///
    /// # Errors
    /// If it cannot be made durable.
    pub(super) fn wait(&self, group: u64) -> Result<(), Fault> {
        if self.settled() >= group { Ok(()) } else { self.settle() }
    }

    /// Makes the database hold durably everything that was taken in, what it did by itself included.
    ///
    /// # Errors
    /// If that fails.
    pub(super) fn settle(&self) -> Result<(), Fault> {
        let mut now = self.state.now();
        now.asked += 1;
        let asked = now.asked;
        self.state.changed.notify_all();
        while now.answered < asked {
            if let Some(fault) = &now.failed {
                return Err(fault.clone());
            }
            now = self.state.wait(now);
        }
        Ok(())
    }

    /// Ends the thread; what it held.
    pub(super) fn stop(mut self) -> Result<Base, Fault> {
        self.halt().unwrap_or_else(|| Err(Fault::failed("it was stopped before")))
    }

    fn halt(&mut self) -> Option<Result<Base, Fault>> {
        let thread = self.thread.take()?;
        self.state.now().stop = true;
        self.state.changed.notify_all();
        Some(thread.join().map_err(|_| Fault::failed("the thread that makes the database durable panicked")))
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        // What it held goes here, on the thread of whoever guards against the panics of that.
        drop(self.halt());
    }
}

fn run(mut base: Base, state: &State, pause: Duration, shared: &Shared) -> Base {
    while let Some(work) = next(state, pause) {
        let begun = Instant::now();
        let done = match work {
            Work::Look => base.note_length().map(|()| None).map_err(Fault::from),
            Work::Settle { group, hash, .. } => guarded(|| base.settle(group, hash)).map(Some),
        };
        let mut now = state.now();
        match (done, work) {
            (Ok(Some(spilled)), Work::Settle { group, asked, .. }) => {
                now.settled = now.settled.max(group);
                now.answered = asked;
                metrics::histogram!("crossdock_journal_settle_seconds").record(begun.elapsed().as_secs_f64());
                shared.counters.update(|statistics| {
                    statistics.settled += 1;
                    statistics.spilled_files += spilled;
                });
            }
            (Ok(_), _) => {}
            (Err(fault), _) => {
                tracing::error!(%fault, "the database cannot be made durable");
                shared.refuse(format!(
                    "the database could not be made durable ({fault}); the store is opened again and checked before it \
                     goes on"
                ));
                now.failed = Some(fault);
                state.changed.notify_all();
                break;
            }
        }
        state.changed.notify_all();
    }
    base
}

#[derive(Clone, Copy)]
enum Work {
    /// Look whether the file has become shorter.
    Look,
    Settle {
        group: u64,
        hash: Hash,
        asked: u64,
    },
}

/// Waits for the next thing to do; absent when there is to be no more.
fn next(state: &State, pause: Duration) -> Option<Work> {
    let mut now = state.now();
    let (mut dirty_until, idle_until) = (None, Instant::now() + IDLE);
    loop {
        if now.stop {
            return None;
        }
        let settle = Work::Settle { group: now.last.0, hash: now.last.1, asked: now.asked };
        if now.asked > now.answered {
            return Some(settle);
        }
        let seen = Instant::now();
        if now.last.0 > now.settled {
            let until = *dirty_until.get_or_insert(seen + pause);
            if seen >= until {
                return Some(settle);
            }
            now = state.wait_for(now, until - seen);
        } else if seen >= idle_until {
            return Some(Work::Look);
        } else {
            now = state.wait_for(now, idle_until - seen);
        }
    }
}

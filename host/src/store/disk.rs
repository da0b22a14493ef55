//! The seams on one machine's disk, over sled.
//!
//! ```text
//! <dir>/head       what the database has durably         head.rs
//! <dir>/log        groups acknowledged since             log.rs, settler.rs
//! <dir>/journal/   sled: journal, index, records         layout.rs
//! <dir>/blobs/     files by digest                       blobs.rs
//! <dir>/archive/   what nothing is appended to any more  archive.rs, turnover.rs
//! <dir>/reserve    room that is given up when the disk gets full   space.rs
//! <dir>/lock       held while a process has it open
//! ```
//!
//! Invariants:
//! - An append or a record write is acknowledged only when it survives a power cut: `durability.rs` is the only place that
//!   makes anything durable, `committer.rs` the only one that calls it.
//! - Nobody is shown what is not durable yet: `table.rs` takes in nothing before.
//! - A store that lacks something acknowledged is refused, never shortened: `opening.rs`.
//! - After a commit failed, nothing is written through that opening of the database again: `recovery.rs`.

mod archive;
mod backup;
mod blobs;
mod committer;
mod durability;
mod fault;
mod group;
mod handle;
mod head;
mod layout;
mod listing;
mod log;
mod opening;
mod reading;
mod recovery;
mod refusal;
mod settler;
mod shared;
mod space;
mod table;
mod turnover;
mod verify;

#[cfg(test)]
mod archive_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod long_tests;
#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

pub use self::{
    archive::ArchiveFile, refusal::OpenError, shared::Statistics, space::SpaceLimits, turnover::Bundle,
    verify::Verified,
};
use self::{
    archive::{Folder, Frames},
    blobs::BlobFiles,
    committer::{Chain, Committer, Message},
    fault::{Fault, guarded},
    handle::{Handle, QUEUE_KIB_LIMIT},
    opening::Paths,
    shared::Shared,
    space::Space,
    table::Table,
};
use crate::{
    policy::chain::{self, Header},
    ports::{
        blobs::Blobs,
        clock::Clock,
        journal::{Journal, Position, ReadError},
        records::Records,
    },
};

/// A store on disk. Cheap to clone; [`Store::close`] it before the process ends.
#[derive(Clone)]
pub struct Store {
    handle: Handle,
    blobs: Arc<BlobFiles>,
    paths: Paths,
    frames: Arc<Frames>,
    #[cfg(test)]
    fail_syncs: durability::FailSyncs,
}

/// How a store behaves. The defaults suit a hub.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What room it asks for.
    pub space: SpaceLimits,
    /// How often it is opened again in place after failed commits, without one that succeeds in between.
    pub reopenings_limit: u32,
    /// Groups after which the database is opened anew when there is nothing to do, so that a start after a crash is
    /// quick.
    pub refresh_groups: u64,
    /// How long groups gather before the database is given them: many at once, and much less than the log takes.
    pub settle_pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            space: SpaceLimits::default(),
            reopenings_limit: 8,
            refresh_groups: 20_000,
            settle_pause: Duration::from_millis(100),
        }
    }
}

impl Store {
    /// Opens the store in a directory, making it if there is none. Blocks; opening takes longer the more was written
    /// since it was opened last.
    ///
    /// # Errors
    /// As [`OpenError`] says; what is refused is left as it is.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::open_with(dir, clock, Options::default())
    }

    /// Opens it as [`Store::open`] does, to behave as told.
    ///
    /// # Errors
    /// As [`OpenError`] says; what is refused is left as it is.
    pub fn open_with(dir: &Path, clock: Arc<dyn Clock>, options: Options) -> Result<Self, OpenError> {
        let paths = Paths::new(dir);
        let lock = opening::take(&paths)?;
        let shared = Arc::new(Shared::default());
        let (queue, received) = mpsc::channel();
        let mut committer = Committer {
            shared: shared.clone(),
            queue: received,
            clock,
            space: Space::new(&paths.dir, options.space),
            crowd: 0,
            space_seen: None,
            paths: paths.clone(),
            durability: None,
            chain: Chain::default(),
            ends: group::Ends::default(),
            frame: Vec::new(),
            logged: Vec::new(),
            options,
            reopenings: 0,
            opened_at_groups: 0,
            lock,
            #[cfg(test)]
            fail_syncs: durability::FailSyncs::default(),
        };
        committer.open()?;
        #[cfg(test)]
        let fail_syncs = committer.fail_syncs.clone();
        let whole = paths.dir.clone();
        let io = |source| OpenError::Io { path: whole.clone(), source };
        let blobs = Arc::new(BlobFiles::open(paths.blobs.clone()).map_err(io)?);
        let archive = Folder::new(paths.archive.clone());
        thread::Builder::new().name("committer".to_owned()).spawn(move || committer.run()).map_err(io)?;
        let handle = Handle { shared, queue, room: Arc::new(Semaphore::new(QUEUE_KIB_LIMIT)), archive };
        Ok(Self {
            handle,
            blobs,
            paths,
            frames: Arc::default(),
            #[cfg(test)]
            fail_syncs,
        })
    }

    /// Its journal.
    #[must_use]
    pub fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(self.handle.clone())
    }

    /// Its records.
    #[must_use]
    pub fn records(&self) -> Arc<dyn Records> {
        Arc::new(self.handle.clone())
    }

    /// Its blobs.
    #[must_use]
    pub fn blobs(&self) -> Arc<dyn Blobs> {
        self.blobs.clone()
    }

    /// Why it will never take writes again, if so: the process is to end then. While it is being opened again, it only
    /// says so in its health.
    #[must_use]
    pub fn failed(&self) -> Option<String> {
        self.handle.shared.failed()
    }

    /// What it has done since it was opened.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.handle.shared.counters.snapshot()
    }

    /// Reads and checks every group, append and record up to now. Long, and beside the ordinary work.
    ///
    /// # Errors
    /// What is missing or damaged first.
    pub async fn verify(&self) -> Result<Verified, ReadError> {
        let (table, archive) = (self.handle.table().await?, self.handle.archive.clone());
        let prove = move || guarded(|| verify::everything(&table, &archive, head::Head::default()));
        let proven = tokio::task::spawn_blocking(prove).await;
        Ok(proven.map_err(|error| ReadError::Unavailable { reason: error.to_string() })??)
    }

    /// Opens a copy of a store that no process has open, made in an empty directory, so that looking at a store does not
    /// alter it. Blobs are not copied: they are read where they are. Blocks.
    ///
    /// # Errors
    /// As [`OpenError`] says, of the store or of the copy.
    pub fn open_copy(dir: &Path, copy: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let original = Paths::new(dir);
        opening::copy(&original, &Paths::new(copy))?;
        let mut store = Self::open(copy, clock)?;
        store.blobs = Arc::new(BlobFiles::beside(original.blobs));
        store.handle.archive = Folder::new(original.archive);
        Ok(store)
    }

    /// At most `limit` headers of durable batches after one, in order; empty at the end.
    ///
    /// # Errors
    /// If stored bytes are damaged or the store is closed.
    pub async fn headers(&self, after: u64, limit: u64) -> Result<Vec<Header>, ReadError> {
        let (last, _) = chain::place(self.handle.shared.durable());
        let last = last.min(after.saturating_add(limit));
        self.look(move |table| (after + 1..=last).map(|number| Ok(whole_batch(table, number)?.0)).collect()).await
    }

    /// A durable batch as it is stored: its header, and the frame of each append. Absent after the end.
    ///
    /// # Errors
    /// If stored bytes are damaged or the store is closed.
    pub async fn batch(&self, number: u64) -> Result<Option<(Header, Vec<Bytes>)>, ReadError> {
        if number == 0 || number > chain::place(self.handle.shared.durable()).0 {
            return Ok(None);
        }
        let (frames_of_archives, archive) = (Arc::clone(&self.frames), self.handle.archive.clone());
        let read = move |table: &Table| {
            let (header, positions) = whole_batch(table, number)?;
            let frame = |position| match reading::frame_at(table, position)? {
                Some(frame) => Ok(frame),
                None => frames_of_archives.frame(table, &archive, position),
            };
            let frames: Result<_, Fault> = positions.map(frame).collect();
            Ok(Some((header, frames?)))
        };
        self.look(read).await
    }

    /// Has something done while nothing is being committed. Whoever asked may be gone; it is done all the same.
    async fn at_rest<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Committer) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let closed = || Fault::failed("the store was closed, or is being opened again");
        let (reply, answer) = oneshot::channel();
        let work = move |committer: &mut Committer| drop(reply.send(work(committer)));
        self.handle.queue.send(Message::Work(Box::new(work))).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Looks at the table on a thread that may block.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Table) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, ReadError> {
        let table = self.handle.table().await?;
        let done = tokio::task::spawn_blocking(move || guarded(|| look(&table))).await;
        Ok(done.map_err(|error| ReadError::Unavailable { reason: error.to_string() })??)
    }

    /// Takes no more writes, commits those that wait, and closes; afterwards the directory can be opened again.
    ///
    /// # Errors
    /// If a commit had failed, or the database could not be closed: then the next opening tells what is whole.
    pub async fn close(&self) -> Result<(), String> {
        let (reply, closed) = oneshot::channel();
        let closed_already = || "it is closed already".to_owned();
        self.handle.queue.send(Message::Close(reply)).map_err(|_| closed_already())?;
        closed.await.map_err(|_| closed_already())?
    }
}

/// The header of a batch that must be there, and where its appends are.
fn whole_batch(table: &Table, number: u64) -> Result<(Header, impl Iterator<Item = Position>), Fault> {
    let missing = || Fault::damaged(format!("group {number}"), "its header is missing");
    let header = reading::header(table, number)?.ok_or_else(missing)?;
    Ok((header, (0..header.appends).map(move |index| layout::position(number, index))))
}

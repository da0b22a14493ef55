//! Makes a group durable, in the one order that survives a power cut: batch, flush, sync of the database file, head.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use sled::{Batch, Db};

use super::{
    fault::{Fault, guarded},
    head::{Head, HeadFile},
    layout::Header,
};

/// The files that an acknowledgement rests on.
pub(super) struct Durability {
    db: Db,
    /// A second descriptor of sled's file: sled's own `flush` writes, but does not sync.
    file: File,
    /// Where sled puts pages that are too large for its log, unsynced.
    spill: PathBuf,
    head: HeadFile,
    /// Makes the next sync fail, for tests.
    #[cfg(test)]
    pub(super) fail_sync: FailSync,
}

/// Whether syncs are to fail.
#[cfg(test)]
pub(super) type FailSync = std::sync::Arc<std::sync::atomic::AtomicBool>;

impl Durability {
    pub(super) fn new(db: Db, journal_dir: &Path, head: HeadFile) -> io::Result<Self> {
        Ok(Self {
            db,
            file: File::open(journal_dir.join("db"))?,
            spill: journal_dir.join("blobs"),
            head,
            #[cfg(test)]
            fail_sync: std::sync::Arc::default(),
        })
    }

    /// Stores a group. When this answers `Ok`, it survives a power cut, and so does the knowledge that it must be
    /// there. The number of spilled files that had to be synced.
    ///
    /// # Errors
    /// Then nobody knows what the disk holds, and nothing may be flushed through this handle again.
    pub(super) fn commit(&mut self, batch: Batch, header: &Header) -> Result<u64, Fault> {
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        let spilled = self.sync_spilled()?;
        self.sync()?;
        let length = self.file.metadata()?.len();
        self.head.write(Head { group: header.group, hash: header.hash(), length })?;
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
    pub(super) fn note_length(&mut self) -> io::Result<()> {
        let (head, length) = (self.head.head(), self.file.metadata()?.len());
        if length < head.length { self.head.write(Head { length, ..head }) } else { Ok(()) }
    }

    /// Closes the database; its head, for the one that takes its place.
    pub(super) fn into_head(self) -> Result<HeadFile, Fault> {
        let Self { db, file, mut head, .. } = self;
        guarded(move || {
            drop(db);
            Ok(())
        })?;
        file.sync_data()?;
        let (last, length) = (head.head(), file.metadata()?.len());
        if length < last.length {
            head.write(Head { length, ..last })?;
        }
        Ok(head)
    }

    /// Closes the database, then notes how long its file is in the end.
    pub(super) fn close(self) -> Result<(), Fault> {
        self.into_head().map(drop)
    }
}

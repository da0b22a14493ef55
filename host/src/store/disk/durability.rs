//! Makes a group durable, in the one order that survives a power cut: the log, synced; then the database, in memory; and
//! later, beside the ordinary work, the database itself.

use std::{io, sync::Arc};

use sled::{Batch, Tree};

use super::{
    fault::Fault,
    head::HeadFile,
    layout::Header,
    log::{Frame, Log},
    opening::Opened,
    opening::Paths,
    settler::{Base, Settler},
    shared::Shared,
};

/// What an acknowledgement rests on.
pub(super) struct Durability {
    tree: Tree,
    log: Log,
    settler: Settler,
}

/// Whether syncs are to fail.
#[cfg(test)]
pub(super) type FailSync = Arc<std::sync::atomic::AtomicBool>;

/// Which syncs of a store are to fail.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(super) struct FailSyncs {
    /// That of the log.
    pub(super) log: FailSync,
    /// That of the database.
    pub(super) database: FailSync,
}

impl Durability {
    /// Goes on with a store that was opened.
    pub(super) fn start(
        opened: Opened,
        paths: &Paths,
        shared: Arc<Shared>,
        #[cfg(test)] fail: &FailSyncs,
    ) -> io::Result<Self> {
        let Opened { db, head, chain, log } = opened;
        let tree = (*db).clone();
        #[cfg_attr(not(test), expect(unused_mut, reason = "tests let syncs fail"))]
        let (mut base, mut log) = (Base::new(db, &paths.journal, head)?, log);
        #[cfg(test)]
        {
            base.fail_sync = fail.database.clone();
            log.fail_sync = fail.log.clone();
        }
        Ok(Self { tree, log, settler: Settler::start(base, chain.group, chain.hash, shared)? })
    }

    /// Stores a group. When this answers `Ok`, it survives a power cut, and the tree has it.
    ///
    /// # Errors
    /// Then nobody knows what the disk holds, and nothing may be written through this handle again.
    pub(super) fn commit(&mut self, batch: Batch, frame: &Frame, header: &Header) -> Result<(), Fault> {
        self.settler.wait(self.log.needs(frame))?;
        self.log.append(frame, header.group)?;
        self.tree.apply_batch(batch)?;
        self.settler.note(header.group, header.hash());
        Ok(())
    }

    /// Makes durable everything that the database has, so that its files and the head are whole by themselves.
    ///
    /// # Errors
    /// As for a commit.
    pub(super) fn settle(&self) -> Result<(), Fault> {
        self.settler.settle()
    }

    /// Closes the database, whole by itself, and empties the log; the head, for the one that takes its place.
    ///
    /// # Errors
    /// Then the next opening tells what is whole.
    pub(super) fn close(self) -> Result<HeadFile, Fault> {
        let Self { tree, mut log, settler } = self;
        settler.settle()?;
        drop(tree);
        let head = settler.stop()?.close()?;
        log.clear()?;
        Ok(head)
    }
}

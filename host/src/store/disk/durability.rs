//! Makes a group durable, in the one order that survives a power cut: the log, synced; then the table that readers look at;
//! and later, beside the ordinary work, the database.

use std::{io, sync::Arc, time::Duration};

use super::{
    fault::Fault,
    head::HeadFile,
    layout::Header,
    log::{Frame, Log},
    opening::{Opened, Paths},
    settler::{Base, Settler},
    shared::Shared,
    table::{Changes, Table},
};

/// The open store, as its committer has it: what an acknowledgement rests on.
pub(super) struct Durability {
    table: Table,
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
        settle_pause: Duration,
        shared: Arc<Shared>,
        #[cfg(test)] fail: &FailSyncs,
    ) -> io::Result<Self> {
        let Opened { db, head, chain, log } = opened;
        let table = Table::of(&db);
        #[cfg_attr(not(test), expect(unused_mut, reason = "tests let syncs fail"))]
        let (mut base, mut log) = (Base::new(db, table.clone(), &paths.journal, head)?, log);
        #[cfg(test)]
        {
            base.fail_sync = fail.database.clone();
            log.fail_sync = fail.log.clone();
        }
        Ok(Self { table, log, settler: Settler::start(base, (chain.group, chain.hash), settle_pause, shared)? })
    }

    /// What it holds, for reading.
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// Stores a group. When this answers `Ok`, it survives a power cut, and the table has it.
    ///
    /// # Errors
    /// Then nobody knows what the disk holds, and nothing may be written through this handle again.
    pub(super) fn commit(&mut self, taken: Changes, frame: &Frame, header: &Header) -> Result<(), Fault> {
        self.log.turn_early(self.settler.settled());
        self.settler.wait(self.log.needs(frame))?;
        self.log.append(frame, header.group)?;
        self.table.take_in(taken);
        self.settler.note(header.group, header.hash());
        Ok(())
    }

    /// Gives the database everything durably, so that its files and the head are whole by themselves.
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
        let Self { table, mut log, settler } = self;
        settler.settle()?;
        drop(table);
        let head = settler.stop()?.close()?;
        log.clear()?;
        Ok(head)
    }
}

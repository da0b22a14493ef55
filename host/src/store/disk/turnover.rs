//! Turning over to the database of the next period: streams that nothing more is appended to go to an archive, all
//! others to a new database, and the old one is dropped whole. sled is never asked to delete much: that gives no room
//! back and takes memory.
//!
//! 1. While the store works: the archive is written and synced; whatever stays is copied, up to the group that is the
//!    last one by then.
//! 2. While the committer stands still: the groups since, and the records; the new database is made durable; the two
//!    change places (`opening::switch`); the store is opened again through all its checks.
//!
//! Positions, versions and headers stay what they were. Headers are kept for ever.

use std::{
    collections::HashMap,
    fs,
    ops::{Bound, RangeInclusive},
};

use bytes::Bytes;
use sled::{Batch, Db, IVec};

use super::{
    Store,
    archive::{ArchiveFile, Archived, Folder, Location, RECORD_PREFIX},
    committer::Committer,
    fault::{Fault, guarded},
    layout::{self, IndexEntry, PIECE_BYTES, REVISION_BIT},
    opening, reading,
    table::{Keys, Table},
};
use crate::{
    model::timestamp::Timestamp,
    ports::journal::{Position, ReadError, StreamId},
};

/// Operations in one batch of a copy.
const BATCH_OPERATIONS: usize = 500;
/// Groups that may have come since the first part of the copy when the committer is stopped for the rest.
const GROUPS_BEHIND_MAX: u64 = 64;

/// Streams that are archived together: an acceptance and its runs. Nothing may be appended to them any more.
pub type Bundle = Vec<StreamId>;

/// The files of archives, by number.
pub(super) fn files(table: &Table) -> Result<Vec<ArchiveFile>, Fault> {
    let mut files = Vec::new();
    for pair in table.scan_prefix(layout::record_key(RECORD_PREFIX)) {
        let (key, _) = pair?;
        let key = key.get(1..).map(String::from_utf8_lossy).unwrap_or_default();
        let Some(found) = reading::record(table, &key)? else { continue };
        let file = serde_json::from_slice(&found.stored.value)
            .map_err(|error| Fault::damaged(format!("record `{key}`"), error.to_string()))?;
        files.push(file);
    }
    Ok(files)
}

/// What a turnover did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TurnedOver {
    /// The files of archives that were written.
    pub files: Vec<ArchiveFile>,
    /// Bundles that were left where they are, because they belong to the last group.
    pub left: u64,
    /// Length of the database before, bytes.
    pub before_bytes: u64,
    /// Length of the database after, bytes.
    pub after_bytes: u64,
}

impl Store {
    /// The files of archives, by number.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn archives(&self) -> Result<Vec<ArchiveFile>, ReadError> {
        Ok(files(&self.handle.table().await?)?)
    }

    /// The streams of a file of an archive that begin as is wanted of the entries of their first append, each with the time
    /// of its last one, the latest first. Reads the file whole.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn archived(
        &self,
        file: u32,
        begins: impl Fn(&[Bytes]) -> bool + Send + 'static,
    ) -> Result<Vec<(StreamId, Timestamp)>, ReadError> {
        let folder = self.handle.archive.clone();
        let read = move || {
            guarded(|| {
                let mut found = Vec::new();
                folder.each(file, |bundle| {
                    found.extend(bundle.iter().filter_map(|Archived { stream, appends }| {
                        let wanted = begins(&appends.first()?.0.entries);
                        Some((*stream, appends.last()?.0.time)).filter(|_| wanted)
                    }));
                })?;
                found.sort_unstable_by_key(|(_, time)| std::cmp::Reverse(*time));
                Ok(found)
            })
        };
        let read: Result<_, Fault> = tokio::task::spawn_blocking(read).await.map_err(Fault::failed)?;
        Ok(read?)
    }

    /// Archives streams, drops archives that were kept long enough, and gives the room back. Long, and beside the
    /// ordinary work except for its last moment. A crash at any time leaves the store as it was or as it is to be.
    ///
    /// # Errors
    /// If the store cannot be read or written; then it is as it was.
    pub async fn archive(&self, bundles: Vec<Bundle>, drop: Vec<u32>) -> Result<TurnedOver, ReadError> {
        // So that what the database takes before is all of it.
        self.at_rest(|committer| committer.opened()?.settle()).await?;
        let table = self.handle.table().await?;
        let (paths, folder) = (self.paths.clone(), self.handle.archive.clone());
        let shared = self.handle.shared.clone();
        let failed = |error: tokio::task::JoinError| Fault::failed(error);
        let prepare = move || {
            guarded(|| {
                let before_bytes = fs::metadata(paths.journal.join("db"))?.len();
                let (written, left) = write(&table, &folder, &bundles)?;
                let (files, locations) = written;
                let db = opening::open_next(&paths)?;
                let mut copy = Copy { to: db, batch: Batch::default(), operations: 0, locations, drop };
                copy.old_streams(&table)?;
                // What comes in while this copies is copied in ever shorter rounds.
                let mut done = 0;
                loop {
                    let last = shared.durable().0 >> layout::INDEX_BITS;
                    copy.groups(&table, done + 1..=last)?;
                    if last.saturating_sub(done) <= GROUPS_BEHIND_MAX {
                        return Ok((copy, files, left, before_bytes, last));
                    }
                    done = last;
                }
            })
        };
        let (copy, files, left, before_bytes, done) = tokio::task::spawn_blocking(prepare).await.map_err(failed)??;
        let told = files.clone();
        let after_bytes = self.at_rest(move |committer| committer.turn_over(copy, told, done)).await?;
        Ok(TurnedOver { files, left, before_bytes, after_bytes })
    }
}

type Written = (Vec<ArchiveFile>, HashMap<StreamId, Location>);

/// Writes bundles to new files of archives; how many were left out.
fn write(table: &Table, folder: &Folder, bundles: &[Bundle]) -> Result<(Written, u64), Fault> {
    let known = files(table)?;
    folder.remove_unknown(|number| known.iter().any(|file| file.file == number && !file.dropped))?;
    let next = known.iter().map(|file| file.file).max().unwrap_or(0) + 1;
    // The last group is compared with the head at each opening, so it stays whole.
    let last = reading::last_header(table)?.map_or(0, |header| header.group);
    let mut writer = folder.writer(next)?;
    let mut left = 0;
    'bundles: for bundle in bundles {
        let mut whole = Vec::with_capacity(bundle.len());
        for stream in bundle {
            let archived = read(table, *stream)?;
            let recent = |position: Position| position.0 >> layout::INDEX_BITS >= last;
            if archived.appends.is_empty() || archived.appends.iter().any(|(record, _)| recent(record.position)) {
                left += 1;
                continue 'bundles;
            }
            whole.push(archived);
        }
        writer.add(&whole)?;
    }
    Ok((writer.finish()?, left))
}

/// A stream whole; without appends if it is not there or archived already.
fn read(table: &Table, stream: StreamId) -> Result<Archived, Fault> {
    let mut appends = Vec::new();
    for version in 1..u32::MAX {
        let Some(entry) = reading::index_entry(table, stream, version)? else { break };
        if entry.archived.is_some() {
            break;
        }
        appends.push((reading::append_at(table, entry.position)?.record, entry.id));
    }
    Ok(Archived { stream, appends })
}

/// A copy in the making.
pub(super) struct Copy {
    to: Db,
    batch: Batch,
    operations: usize,
    /// What is not copied, because it is archived now.
    locations: HashMap<StreamId, Location>,
    /// Files of archives whose streams are forgotten.
    drop: Vec<u32>,
}

impl Copy {
    fn insert(&mut self, key: impl Into<IVec>, value: impl Into<IVec>) -> Result<(), Fault> {
        self.batch.insert(key.into(), value.into());
        self.operations += 1;
        if self.operations >= BATCH_OPERATIONS {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Fault> {
        self.operations = 0;
        Ok(self.to.apply_batch(std::mem::take(&mut self.batch))?)
    }

    /// What was archived before.
    fn old_streams(&mut self, table: &Table) -> Result<(), Fault> {
        for pair in table.scan_prefix(vec![b's']) {
            let (key, value) = pair?;
            let archived = IndexEntry::decode(&value).and_then(|entry| entry.archived);
            if archived.is_some_and(|location| !self.drop.contains(&location.file)) {
                self.insert(key, value)?;
            }
        }
        Ok(())
    }

    /// Groups: their headers, and those of their appends that stay.
    fn groups(&mut self, table: &Table, groups: RangeInclusive<u64>) -> Result<(), Fault> {
        let (first, last) = (*groups.start(), *groups.end());
        if first > last {
            return Ok(());
        }
        let (from, to) = (layout::header_key(first), layout::header_key(last));
        for pair in table.range(Bound::Included(&from), Bound::Included(&to)) {
            let (key, value) = pair?;
            self.insert(key, value)?;
        }
        let (from, to) = (layout::position(first, 0), layout::last_position(last));
        let (from, to) = (layout::append_key(from), layout::append_key(to));
        for pair in table.range(Bound::Included(&from), Bound::Included(&to)) {
            let (key, value) = pair?;
            let place = || format!("key {key:02x?}");
            let stream = layout::peek_append(&value).ok_or_else(|| Fault::damaged(place(), "it is no append"))?;
            let entry = reading::index_entry(table, stream.0, stream.1)?
                .ok_or_else(|| Fault::damaged(place(), "its index entry is missing"))?;
            let index = layout::stream_key(stream.0, stream.1);
            if let Some(location) = self.locations.get(&stream.0).copied() {
                if stream.1 == 1 {
                    let entry = IndexEntry { archived: Some(location), ..entry };
                    self.insert(index.as_slice(), entry.encode())?;
                }
                continue;
            }
            self.insert(index.as_slice(), entry.encode())?;
            self.pieces(table, entry.position.0, &value)?;
            self.insert(key, value)?;
        }
        Ok(())
    }

    /// The further pieces of a frame.
    fn pieces(&mut self, table: &Table, owner: u64, first: &[u8]) -> Result<(), Fault> {
        let length = layout::frame_length(first).unwrap_or(first.len());
        for piece in 0..length.div_ceil(PIECE_BYTES).saturating_sub(1) {
            let key = layout::piece_key(owner, u16::try_from(piece).unwrap_or(u16::MAX));
            let value = table.get(&key)?;
            let value = value.ok_or_else(|| Fault::damaged(format!("piece {piece} of {owner}"), "it is missing"))?;
            self.insert(key.as_slice(), value)?;
        }
        Ok(())
    }

    /// Records as they are now, with those of the archives.
    fn records(&mut self, table: &Table, files: &[ArchiveFile], group: u64, time: Timestamp) -> Result<(), Fault> {
        for pair in table.scan_prefix(vec![b'v']) {
            let (key, value) = pair?;
            if let Some(owner) = layout::record_revision(&value) {
                self.pieces(table, owner, &value)?;
            }
            self.insert(key, value)?;
        }
        let mut changed = files.to_vec();
        for mut file in self::files(table)?.into_iter().filter(|file| self.drop.contains(&file.file)) {
            file.dropped = true;
            changed.push(file);
        }
        for (number, file) in (0_u64..).zip(changed) {
            let key = file.key();
            let value = serde_json::to_vec(&file).map_err(Fault::failed)?;
            // Behind every revision that the last group can have given.
            let revision = layout::position(group, 0).0 | REVISION_BIT | (REVISION_BIT - 1 - number);
            let mut frame = Vec::new();
            layout::frame_record(&mut frame, &key, &value, revision, time);
            self.insert(layout::record_key(&key), frame)?;
        }
        self.write()
    }
}

impl Committer {
    /// The last moment of a turnover; the length of the new database.
    fn turn_over(&mut self, mut copy: Copy, files: Vec<ArchiveFile>, done: u64) -> Result<u64, Fault> {
        let table = self.opened()?.table().clone();
        let drop_files = copy.drop.clone();
        guarded(|| {
            copy.groups(&table, done + 1..=self.chain.group)?;
            copy.records(&table, &files, self.chain.group, self.chain.time)?;
            copy.to.flush()?;
            Ok(())
        })?;
        drop(table);
        guarded(move || {
            drop(copy);
            Ok(())
        })?;
        opening::sync_next(&self.paths)?;
        // From here on only a whole opening goes on: what fails is mended as after a failed commit.
        let switched = self.switch();
        if let Err(fault) = switched {
            self.poison(&fault);
            return Err(fault);
        }
        for file in drop_files {
            // A file that stays is found and removed by the next turnover.
            let _ = fs::remove_file(Folder::new(self.paths.archive.clone()).path(file));
        }
        Ok(fs::metadata(self.paths.journal.join("db"))?.len())
    }

    fn switch(&mut self) -> Result<(), Fault> {
        self.shared.suspend();
        if let Some(durability) = self.durability.take() {
            let mut head = durability.close()?;
            opening::switch(&self.paths, &mut head)?;
        }
        Ok(self.open()?)
    }
}

//! A group in the making: decides each write against the table and the writes before it in the same group, and lays
//! out what the commit will store. No I/O but reads of the table.

use std::{collections::HashMap, mem};

use bytes::Bytes;
use sled::IVec;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    fault::Fault,
    layout::{self, Hash, Header, IndexEntry, PIECE_BYTES, REVISION_BIT},
    log::Frame,
    reading::{self, Current},
    table::{Changes, Table},
};
use crate::{
    model::{id::AppendId, timestamp::Timestamp},
    ports::{
        journal::{Append, AppendError, StreamId, Version},
        records::{Change, RecordError, Revision, Stored},
    },
};

/// Operations on the table after which a group takes nothing more: well below what the log takes.
pub(super) const GROUP_OPERATIONS_LIMIT: usize = 500;
/// How many streams' ends are remembered per generation, of which there are two; about 3 MB each.
const ENDS_LIMIT: usize = 32_768;

/// A write on its way to the committer.
pub(super) enum Write {
    Append { append: Append, reply: oneshot::Sender<Result<Version, AppendError>> },
    Record { change: RecordWrite, reply: oneshot::Sender<Result<Revision, RecordError>> },
}

/// A record's new value, or its deletion.
pub(super) struct RecordWrite {
    pub(super) key: String,
    pub(super) value: Option<Bytes>,
    pub(super) expected: Option<Revision>,
}

/// Somebody who waits for the group, with the answer for when it is durable. The permit frees the queue's room.
pub(super) enum Waiter {
    Append(oneshot::Sender<Result<Version, AppendError>>, Result<Version, AppendError>, OwnedSemaphorePermit),
    Record(oneshot::Sender<Result<Revision, RecordError>>, Result<Revision, RecordError>, OwnedSemaphorePermit),
}

impl Waiter {
    /// Answers as decided. Somebody who no longer waits misses nothing.
    pub(super) fn succeed(self) {
        match self {
            Self::Append(reply, answer, room) => {
                drop(room);
                drop(reply.send(answer));
            }
            Self::Record(reply, answer, room) => {
                drop(room);
                drop(reply.send(answer));
            }
        }
    }

    /// Answers that nobody knows what the disk holds.
    pub(super) fn doubt(self, reason: &str) {
        let unknown = reason.to_owned();
        let unavailable = format!("whether the record was written is unknown: {reason}");
        match self {
            Self::Append(reply, _, room) => Self::Append(reply, Err(AppendError::Unknown { reason: unknown }), room),
            Self::Record(reply, _, room) => {
                Self::Record(reply, Err(RecordError::Unavailable { reason: unavailable }), room)
            }
        }
        .succeed();
    }
}

/// The ends of recently written streams, so that most appends need no read of the table.
#[derive(Default)]
pub(super) struct Ends {
    young: HashMap<StreamId, (u32, AppendId)>,
    old: HashMap<StreamId, (u32, AppendId)>,
}

impl Ends {
    fn get(&self, stream: StreamId) -> Option<(u32, AppendId)> {
        self.young.get(&stream).or_else(|| self.old.get(&stream)).copied()
    }

    fn insert(&mut self, stream: StreamId, version: u32, id: AppendId) {
        if self.young.len() >= ENDS_LIMIT {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(stream, (version, id));
    }
}

/// A group being collected.
pub(super) struct Group<'a> {
    table: &'a Table,
    ends: &'a mut Ends,
    frame: &'a mut Vec<u8>,
    number: u64,
    time: Timestamp,
    taken: Changes,
    /// The same changes, for the log.
    logged: Frame,
    operations: usize,
    leaves: Vec<Hash>,
    /// What this group appends, for repetitions within it.
    appended: Vec<(StreamId, u32, AppendId)>,
    /// What records are after this group's writes so far.
    written: HashMap<String, Option<(Revision, u16)>>,
    bytes: u64,
    record_writes: u32,
    pub(super) changes: Vec<Change>,
    pub(super) waiters: Vec<Waiter>,
}

/// A group ready to be committed.
pub(super) struct Sealed {
    pub(super) header: Header,
    pub(super) taken: Changes,
    pub(super) logged: Frame,
    pub(super) appends: u64,
    pub(super) bytes: u64,
    pub(super) record_writes: u64,
}

enum Place {
    /// The append comes next and makes this version.
    Next(u32),
    /// It is already there.
    Repeated(u32),
}

impl<'a> Group<'a> {
    pub(super) fn new(
        table: &'a Table,
        ends: &'a mut Ends,
        frame: &'a mut Vec<u8>,
        logged: Frame,
        number: u64,
        time: Timestamp,
    ) -> Self {
        Self {
            table,
            ends,
            frame,
            number,
            time,
            taken: Changes::new(),
            logged,
            operations: 0,
            leaves: Vec::new(),
            appended: Vec::new(),
            written: HashMap::new(),
            bytes: 0,
            record_writes: 0,
            changes: Vec::new(),
            waiters: Vec::new(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.operations >= GROUP_OPERATIONS_LIMIT
    }

    /// Decides a write and adds it. Its answer waits for the group even if it is a refusal: what refused it may be a
    /// write of this very group, which nobody may learn of before it is durable.
    pub(super) fn add(&mut self, write: Write, permit: OwnedSemaphorePermit) {
        match write {
            Write::Append { append, reply } => {
                let answer = match self.place(&append) {
                    Ok(place) => place.map(|place| self.append(&append, &place)),
                    Err(fault) => Err(AppendError::Unavailable { reason: fault.to_string() }),
                };
                self.waiters.push(Waiter::Append(reply, answer, permit));
            }
            Write::Record { change, reply } => {
                let answer = self.record(change);
                self.waiters.push(Waiter::Record(reply, answer, permit));
            }
        }
    }

    fn place(&self, append: &Append) -> Result<Result<Place, AppendError>, Fault> {
        let conflict = Ok(Err(AppendError::Conflict));
        let Ok(expected) = u32::try_from(append.expected.0) else { return conflict };
        let Some(next) = expected.checked_add(1) else { return conflict };
        let found = match self.ends.get(append.stream) {
            Some((end, _)) if end == expected => return Ok(Ok(Place::Next(next))),
            Some((end, _)) if end < expected => return conflict,
            Some((end, id)) if end == next => Some(id),
            _ => self.id_at(append.stream, next)?,
        };
        match found {
            Some(id) if id == append.id => Ok(Ok(Place::Repeated(next))),
            Some(_) => conflict,
            None if expected == 0 => Ok(Ok(Place::Next(next))),
            // An archived stream takes no more.
            None => match reading::index_entry(self.table, append.stream, expected)? {
                Some(entry) if entry.archived.is_none() => Ok(Ok(Place::Next(next))),
                _ => conflict,
            },
        }
    }

    fn id_at(&self, stream: StreamId, version: u32) -> Result<Option<AppendId>, Fault> {
        let here = self.appended.iter().find(|(s, v, _)| (*s, *v) == (stream, version));
        match here {
            Some((_, _, id)) => Ok(Some(*id)),
            None => Ok(reading::index_entry(self.table, stream, version)?.map(|entry| entry.id)),
        }
    }

    fn append(&mut self, append: &Append, place: &Place) -> Version {
        let version = match *place {
            Place::Repeated(version) => return Version(u64::from(version)),
            Place::Next(version) => version,
        };
        let position = layout::position(self.number, self.index(self.leaves.len()));
        let wide = Version(u64::from(version));
        let leaf = layout::frame_append(self.frame, append, wide, position, self.time);
        self.leaves.push(leaf);
        self.bytes += self.frame.len() as u64;
        self.insert_frame(&layout::append_key(position), position.0);
        let entry = IndexEntry { position, id: append.id, archived: None };
        self.insert(&layout::stream_key(append.stream, version), &entry.encode());
        self.ends.insert(append.stream, version, append.id);
        self.appended.push((append.stream, version, append.id));
        wide
    }

    fn record(&mut self, write: RecordWrite) -> Result<Revision, RecordError> {
        let current = match self.written.get(&write.key) {
            Some(current) => *current,
            None => {
                let current = reading::record(self.table, &write.key)?;
                current.map(|Current { stored, pieces }| (stored.revision, pieces))
            }
        };
        if current.map(|current| current.0) != write.expected {
            return Err(RecordError::Conflict);
        }
        if let Some((old, pieces)) = current {
            for piece in 0..pieces {
                self.remove(&layout::piece_key(old.0, piece));
            }
        }
        let number = u64::from(self.record_writes);
        let revision = Revision(layout::position(self.number, 0).0 | REVISION_BIT | number);
        self.record_writes += 1;
        let key = layout::record_key(&write.key);
        let after = match &write.value {
            Some(value) => {
                layout::frame_record(self.frame, &write.key, value, revision.0, self.time);
                let pieces = self.insert_frame(&key, revision.0);
                Some((revision, pieces))
            }
            None => {
                self.remove(&key);
                None
            }
        };
        self.written.insert(write.key.clone(), after);
        let stored = write.value.map(|value| Stored { value, revision });
        self.changes.push(Change { key: write.key, stored });
        Ok(revision)
    }

    /// Lays out what is in `frame`; the number of pieces after the first.
    fn insert_frame(&mut self, key: &[u8], owner: u64) -> u16 {
        let frame = mem::take(self.frame);
        let mut pieces = frame.chunks(PIECE_BYTES);
        self.insert(key, pieces.next().unwrap_or_default());
        let mut number = 0;
        for piece in pieces {
            self.insert(&layout::piece_key(owner, number), piece);
            number += 1;
        }
        *self.frame = frame;
        number
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.logged.set(key, value);
        self.taken.push((IVec::from(key), Some(IVec::from(value))));
        self.operations += 1;
    }

    fn remove(&mut self, key: &[u8]) {
        self.logged.remove(key);
        self.taken.push((IVec::from(key), None));
        self.operations += 1;
    }

    fn index(&self, number: usize) -> u32 {
        // A group ends at 500 operations, and each append is at least two.
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// Adds the header; nothing if no write changes anything.
    pub(super) fn seal(&mut self, previous: Hash) -> Option<Sealed> {
        if self.leaves.is_empty() && self.record_writes == 0 {
            return None;
        }
        let appends = self.index(self.leaves.len());
        let root = layout::merkle_root(mem::take(&mut self.leaves));
        let header = Header { group: self.number, previous, root, time: self.time, appends };
        self.insert(&layout::header_key(self.number), &header.encode());
        let mut logged = mem::take(&mut self.logged);
        logged.seal();
        Some(Sealed {
            header,
            taken: mem::take(&mut self.taken),
            logged,
            appends: u64::from(appends),
            bytes: self.bytes,
            record_writes: u64::from(self.record_writes),
        })
    }
}

//! Goes through a whole journal, batch after batch, and says where it is not what was written. Pure: whoever reads the
//! bytes hands them in, in order: a batch's header, each of its appends, the batch's end.
//!
//! What it proves: nothing was changed, removed, added or moved between the first batch and a checkpoint whose
//! signature holds. What it cannot prove: that nothing came after the newest checkpoint that somebody else keeps.

use std::fmt;

use bytes::Bytes;

use super::chain::{self, Hash, Header};
use crate::{
    model::{
        audit::{AuditLine, AuditRecord, Checkpoint},
        id::ChainHash,
    },
    ports::journal::{Record, StreamId},
};

/// A place in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The batch.
    pub batch: u64,
    /// Which of its appends, from 0; absent: its header, or all of it.
    pub append: Option<u64>,
    /// The audit record's number, where it is one.
    pub sequence: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch {}", self.batch)?;
        if let Some(append) = self.append {
            write!(f, ", append {append}")?;
        }
        if let Some(sequence) = self.sequence {
            write!(f, ", audit record {sequence}")?;
        }
        Ok(())
    }
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct Broken {
    /// Where.
    pub place: Place,
    /// What.
    pub problem: String,
}

/// An append that holds, as far as can be said before its batch has ended.
#[derive(Debug)]
pub struct Held {
    /// The append.
    pub record: Record,
    /// The audit records in it.
    pub audit: Vec<AuditLine>,
}

/// How far a journal has been gone through.
#[derive(Debug, Default)]
pub struct Replay {
    batch: u64,
    chain: Hash,
    appends: u64,
    audit: u64,
    open: Option<Header>,
    leaves: Vec<Hash>,
}

impl Replay {
    /// Goes on from a checkpoint instead of the first batch. Audit records are then numbered from `audit`.
    #[must_use]
    pub fn from(checkpoint: &Checkpoint, audit: u64) -> Self {
        let Checkpoint { batch, chain, appends, .. } = *checkpoint;
        Self { batch, chain: *chain.as_bytes(), appends, audit, ..Self::default() }
    }

    /// The last whole batch, the hash of its header, and how many appends there are up to it.
    #[must_use]
    pub fn head(&self) -> (u64, ChainHash, u64) {
        (self.batch, ChainHash::from_bytes(self.chain), self.appends)
    }

    /// How many audit records there are so far.
    #[must_use]
    pub fn audit_records(&self) -> u64 {
        self.audit
    }

    /// Takes the next batch's header; how many appends it announces.
    ///
    /// # Errors
    /// If it is no header, or not that of the next batch, or does not continue the one before it.
    pub fn begin(&mut self, bytes: &[u8]) -> Result<u32, Broken> {
        let next = self.batch + 1;
        let broken = |problem: String| Err(broken(Place { batch: next, ..Place::default() }, problem));
        let Some(header) = Header::decode(bytes) else {
            return broken("its header is not one that this release reads".to_owned());
        };
        if header.group != next {
            let found = header.group;
            return broken(match found.cmp(&next) {
                std::cmp::Ordering::Less => format!("batch {found} comes again in its place"),
                _ => format!("it is missing: batch {found} comes in its place"),
            });
        }
        if header.previous != self.chain {
            let previous = self.batch;
            return broken(format!("it does not continue batch {previous}: the header of one of the two was changed"));
        }
        self.leaves.clear();
        self.open = Some(header);
        Ok(header.appends)
    }

    /// Takes the next append of the batch.
    ///
    /// # Errors
    /// If it is damaged, or is another append than the next one.
    pub fn append(&mut self, frame: &Bytes) -> Result<Held, Broken> {
        let index = self.leaves.len() as u64;
        let mut place = Place { batch: self.batch + 1, append: Some(index), sequence: None };
        let framed = chain::unframe_append(frame).map_err(|problem| broken(place, problem))?;
        let found = chain::place(framed.record.position);
        if found != (place.batch, index) {
            return Err(broken(place, format!("batch {}, append {} comes in its place", found.0, found.1)));
        }
        let mut audit = Vec::new();
        if framed.record.stream == StreamId::Audit {
            for entry in &framed.record.entries {
                let sequence = self.audit + 1;
                place.sequence = Some(sequence);
                let record = AuditRecord::decode(entry).map_err(|error| broken(place, error.to_string()))?;
                audit.push(AuditLine { sequence, record, batch: place.batch, append: index });
                self.audit = sequence;
            }
        }
        self.leaves.push(framed.leaf);
        Ok(Held { record: framed.record, audit })
    }

    /// Ends the batch.
    ///
    /// # Errors
    /// If its appends are not those that its header was made over.
    pub fn end(&mut self) -> Result<(), Broken> {
        let place = Place { batch: self.batch + 1, ..Place::default() };
        let Some(header) = self.open.take() else { return Err(broken(place, "it has no header")) };
        let leaves = std::mem::take(&mut self.leaves);
        let count = leaves.len() as u64;
        if count != u64::from(header.appends) || chain::merkle_root(leaves) != header.root {
            return Err(broken(place, "its appends are not those that its header was made over"));
        }
        self.batch = header.group;
        self.chain = header.hash();
        self.appends += count;
        Ok(())
    }

    /// Holds a checkpoint of this very batch against what was gone through. Its signature is for `seal` to check.
    ///
    /// # Errors
    /// If it was made over another history.
    pub fn agrees(&self, checkpoint: &Checkpoint) -> Result<(), Broken> {
        let place = Place { batch: checkpoint.batch, ..Place::default() };
        let (batch, chain, appends) = self.head();
        if batch != checkpoint.batch {
            return Err(broken(place, format!("the journal ends at batch {batch}, before the checkpoint")));
        }
        if chain != checkpoint.chain || appends != checkpoint.appends {
            return Err(broken(
                place,
                format!("the checkpoint of {} was made over another history up to here", checkpoint.time),
            ));
        }
        Ok(())
    }
}

fn broken(place: Place, problem: impl Into<String>) -> Broken {
    Broken { place, problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            audit::{Cause, Change},
            id::{AppendId, KeyId, RunId},
            timestamp::Timestamp,
        },
        ports::journal::{Append, Version},
    };

    type Batches = Vec<(Vec<u8>, Vec<Bytes>)>;

    /// Three batches of three appends; the first of each is an audit record.
    fn batches() -> Batches {
        let (mut made, mut previous) = (Vec::new(), Hash::default());
        for group in 1..=3 {
            let (mut frames, mut leaves) = (Vec::new(), Vec::new());
            for index in 0..3 {
                let (stream, entry) = if index == 0 {
                    let change =
                        Change { action: "x.set".into(), subject: format!("x/{group}"), before: None, after: None };
                    let record = AuditRecord::new(Timestamp::from_millis(5), &Cause::hub("test"), &change);
                    (StreamId::Audit, record.encode())
                } else {
                    let name = format!("{group} {index}");
                    (StreamId::Run(RunId::from_bytes([index; 16])), Bytes::from(name.into_bytes()))
                };
                let expected = Version(group - 1);
                let append = Append { stream, expected, id: AppendId::from_bytes([9; 16]), entries: vec![entry] };
                let mut frame = Vec::new();
                let position = chain::position(group, u32::from(index));
                leaves.push(chain::frame_append(
                    &mut frame,
                    &append,
                    Version(group),
                    position,
                    Timestamp::from_millis(6),
                ));
                frames.push(Bytes::from(frame));
            }
            let root = chain::merkle_root(leaves);
            let header = Header { group, previous, root, time: Timestamp::from_millis(7), appends: 3 };
            previous = header.hash();
            made.push((header.encode().to_vec(), frames));
        }
        made
    }

    fn replay(batches: &Batches) -> Result<Replay, Broken> {
        let mut replay = Replay::default();
        for (header, frames) in batches {
            replay.begin(header)?;
            for frame in frames {
                replay.append(frame)?;
            }
            replay.end()?;
        }
        Ok(replay)
    }

    fn checkpoint(replay: &Replay) -> Checkpoint {
        let (batch, chain, appends) = replay.head();
        let (hub, time, key) = (String::new(), Timestamp::default(), KeyId::from_bytes([0; 16]));
        Checkpoint { hub, batch, chain, appends, time, key }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Batches), expected: &str) {
        let mut changed = batches();
        change(&mut changed);
        assert_eq!(replay(&changed).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_whole_journal_holds_and_is_counted() {
        let replay = replay(&batches()).unwrap();
        assert_eq!((replay.head().0, replay.head().2, replay.audit_records()), (3, 9, 3));
        assert_eq!(replay.agrees(&checkpoint(&replay)), Ok(()));
        let other = Checkpoint { appends: 8, ..checkpoint(&replay) };
        assert!(replay.agrees(&other).unwrap_err().to_string().contains("another history"));
    }

    #[test]
    fn it_can_go_on_from_a_checkpoint() {
        let all = batches();
        let first = replay(&all[..1].to_vec()).unwrap();
        let mut rest = Replay::from(&checkpoint(&first), first.audit_records());
        for (header, frames) in &all[1..] {
            rest.begin(header).unwrap();
            let held: Vec<Held> = frames.iter().map(|frame| rest.append(frame).unwrap()).collect();
            assert_eq!(held[0].audit[0].sequence, rest.audit_records());
            rest.end().unwrap();
        }
        assert_eq!(rest.head(), replay(&all).unwrap().head());
    }

    #[test]
    fn each_way_of_changing_it_is_named_with_its_place() {
        check(|all| drop(all.remove(1)), "batch 2: it is missing: batch 3 comes in its place");
        check(|all| all.insert(1, all[0].clone()), "batch 2: batch 1 comes again in its place");
        check(|all| all.swap(1, 2), "batch 2: it is missing: batch 3 comes in its place");
        check(|all| all[1].1.swap(1, 2), "batch 2, append 1: batch 2, append 2 comes in its place");
        check(|all| drop(all[1].1.remove(2)), "batch 2: its appends are not those that its header was made over");
        check(|all| all[1].1[2] = all[2].1[2].clone(), "batch 2, append 2: batch 3, append 2 comes in its place");
        check(
            |all| {
                let mut bytes = all[1].1[2].to_vec();
                bytes[60] ^= 1;
                all[1].1[2] = bytes.into();
            },
            "batch 2, append 2: its checksum does not match",
        );
    }

    #[test]
    fn every_changed_byte_of_every_header_is_noticed() {
        let head = checkpoint(&replay(&batches()).unwrap());
        for batch in 0..3 {
            for byte in 0..chain::HEADER_BYTES {
                let mut changed = batches();
                changed[batch].0[byte] ^= 1;
                let noticed = match replay(&changed) {
                    Err(_) => true,
                    // The last header is held by nothing but the checkpoint.
                    Ok(replay) => replay.agrees(&head).is_err(),
                };
                assert!(noticed, "batch {batch}, byte {byte}");
            }
        }
    }
}

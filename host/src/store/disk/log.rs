//! The log in front of the database: `<dir>/log`. A group is acknowledged as soon as it lies here, synced once; the
//! database takes it in at once and makes it durable for itself later (`settler.rs`). A start gives the database whatever
//! it has not got.
//!
//! The file is two halves, written in turn. A half is filled from its start, frame after frame, and begun anew only when
//! the database has durably taken in all that it holds. Blocks that were written before are written over, so that a sync has
//! no change of the file system to wait for: the halves take turns early while the database keeps up, and use all of their
//! room when it does not. A start and a close empty it.
//!
//! ```text
//! frame    8 magic "XDLOG002" | 4 length of the frame | changes | 16 checksum
//! change   1 zero | 2 length | key                                 the key is removed
//!          1 one  | 2 length | key | 4 length | value              the key is set
//! ```
//!
//! Each frame begins a page of its own, so that no write touches a page with something acknowledged in it. The last change of
//! a frame sets its group's header. A reader takes frames as long as each continues the one before it by
//! the hash in its header, so that what is left of an earlier turn is never taken for more.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use bytes::Buf;
use sled::{Batch, IVec};

use super::layout::{self, Header};
use crate::policy::chain::CHECKSUM_BYTES;

const MAGIC: [u8; 8] = *b"XDLOG002";
/// Magic and length.
const HEAD_BYTES: usize = 8 + 4;
/// What the kernel and the device write as one.
const PAGE_BYTES: usize = 4096;
/// Bytes of one half: more than the largest group, 500 operations and the pieces of one append at most; and what a busy hub
/// writes in more than a second, so that a database which is slow to take it in holds nobody up.
pub(super) const HALF_BYTES: usize = 16 << 20;
/// The forms that were ever written: a hub that was killed may be started again by a later release. A log has frames of one
/// only, since a start empties it.
const FORMS: [Form; 2] =
    [Form { magic: MAGIC, half_bytes: HALF_BYTES }, Form { magic: *b"XDLOG001", half_bytes: 4 << 20 }];
/// From how many bytes on the other half is turned to as soon as the database has it all: blocks that were written before
/// are cheaper to sync than new ones.
const EARLY_BYTES: usize = 1 << 20;

/// How a log is laid out.
struct Form {
    /// What its frames begin with.
    magic: [u8; 8],
    half_bytes: usize,
}

/// The changes of one group, as the log holds them.
#[derive(Debug, Default)]
pub(super) struct Frame(Vec<u8>);

impl Frame {
    /// An empty one, in room that was used before.
    pub(super) fn within(mut room: Vec<u8>) -> Self {
        room.clear();
        room.extend_from_slice(&MAGIC);
        room.extend_from_slice(&[0; 4]);
        Self(room)
    }

    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) {
        self.key(1, key);
        self.0.extend_from_slice(&length(value.len()));
        self.0.extend_from_slice(value);
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.key(0, key);
    }

    fn key(&mut self, kind: u8, key: &[u8]) {
        self.0.push(kind);
        // The longest key is a record's, at most 513 bytes.
        self.0.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.0.extend_from_slice(key);
    }

    /// Ends it, so that it can be written.
    pub(super) fn seal(&mut self) {
        let whole = length(self.0.len() + CHECKSUM_BYTES);
        self.0.iter_mut().skip(MAGIC.len()).zip(whole).for_each(|(to, byte)| *to = byte);
        let checksum = blake3::hash(&self.0);
        self.0.extend(checksum.as_bytes().iter().take(CHECKSUM_BYTES));
    }

    /// The room that it took, for another.
    pub(super) fn into_room(self) -> Vec<u8> {
        self.0
    }
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

/// A group that was found in the log.
pub(super) struct Logged {
    pub(super) header: Header,
    pub(super) batch: Batch,
}

/// The open log.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    /// Which half is being filled, and up to where.
    half: usize,
    filled: usize,
    /// The last group in each half; 0 if it holds none that matters.
    last: [u64; 2],
    /// Makes the next sync fail, for tests.
    #[cfg(test)]
    pub(super) fail_sync: super::durability::FailSync,
}

impl Log {
    /// Opens a log, making it if there is none; what it holds, in order.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Logged>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let logged = read(&file)?;
        let log = Self {
            file,
            half: 0,
            filled: 0,
            last: [0; 2],
            #[cfg(test)]
            fail_sync: super::durability::FailSync::default(),
        };
        Ok((log, logged))
    }

    /// Forgets what it holds, durably, and gives its room back: the database has it all.
    ///
    /// # Errors
    /// Then nobody knows what a start would find, and nothing may be written to it again.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.sync_all()?;
        (self.half, self.filled, self.last) = (0, 0, [0; 2]);
        Ok(())
    }

    /// Turns to the other half ahead of time, if enough is in this one and the database, which has everything up to a group
    /// durably, has all that the other one holds.
    pub(super) fn turn_early(&mut self, settled: u64) {
        if self.filled >= EARLY_BYTES && self.last_of(1 - self.half) <= settled {
            (self.half, self.filled) = (1 - self.half, 0);
        }
    }

    fn last_of(&self, half: usize) -> u64 {
        self.last.get(half).copied().unwrap_or_default()
    }

    /// Which group the database must have durably before this frame can be written; 0 if none.
    pub(super) fn needs(&self, frame: &Frame) -> u64 {
        if self.fits(frame) { 0 } else { self.last_of(1 - self.half) }
    }

    fn fits(&self, frame: &Frame) -> bool {
        self.filled + frame.0.len() <= HALF_BYTES
    }

    /// Writes the frame of a group, and syncs it. What [`Log::needs`] asks for must hold.
    ///
    /// # Errors
    /// Then nobody knows whether a start would find it, and nothing may be written to it again.
    pub(super) fn append(&mut self, frame: &Frame, group: u64) -> io::Result<()> {
        if !self.fits(frame) {
            (self.half, self.filled) = (1 - self.half, 0);
        }
        if !self.fits(frame) {
            return Err(io::Error::other(format!("a group of {} bytes is larger than the log takes", frame.0.len())));
        }
        let at = self.half * HALF_BYTES + self.filled;
        self.file.write_all_at(&frame.0, at as u64)?;
        self.sync()?;
        self.filled = (self.filled + frame.0.len()).next_multiple_of(PAGE_BYTES);
        if let Some(last) = self.last.get_mut(self.half) {
            *last = group;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.fail_sync.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(io::Error::other("this test lets the sync fail"));
        }
        self.file.sync_data()
    }
}

/// What a log holds, in order.
pub(super) fn read(file: &File) -> io::Result<Vec<Logged>> {
    for form in &FORMS {
        let mut halves = [read_half(file, 0, form)?, read_half(file, form.half_bytes, form)?];
        halves.sort_by_key(|logged| logged.first().map(|first| first.header.group));
        let logged: Vec<Logged> = halves.into_iter().flatten().collect();
        if !logged.is_empty() {
            return Ok(logged);
        }
    }
    Ok(Vec::new())
}

/// The frames that a half begins with.
fn read_half(file: &File, start: usize, form: &Form) -> io::Result<Vec<Logged>> {
    let end = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut half = vec![0; end.saturating_sub(start).min(form.half_bytes)];
    file.read_exact_at(&mut half, start as u64)?;
    let mut found: Vec<Logged> = Vec::new();
    let mut at = 0;
    while let Some((logged, bytes)) = half.get(at..).and_then(|bytes| read_frame(bytes, &form.magic)) {
        let follows = |last: &Logged| {
            (last.header.group + 1, last.header.hash()) == (logged.header.group, logged.header.previous)
        };
        if !found.last().is_none_or(follows) {
            break;
        }
        found.push(logged);
        at = (at + bytes).next_multiple_of(PAGE_BYTES);
    }
    Ok(found)
}

/// The frame that bytes begin with, and its length; absent if there is none, or not whole.
fn read_frame(bytes: &[u8], magic: &[u8; 8]) -> Option<(Logged, usize)> {
    let length = bytes.get(MAGIC.len()..HEAD_BYTES)?.try_into().map(u32::from_le_bytes).ok()?;
    let frame = bytes.get(..usize::try_from(length).ok()?)?;
    let (body, checksum) = frame.split_at_checked(frame.len().checked_sub(CHECKSUM_BYTES)?)?;
    if !body.starts_with(magic) || !blake3::hash(body).as_bytes().starts_with(checksum) {
        return None;
    }
    let mut changes = body.get(HEAD_BYTES..)?;
    let mut batch = Batch::default();
    let mut header = None;
    while !changes.is_empty() {
        let set = changes.try_get_u8().ok()? == 1;
        let key = changes.try_get_u16_le().ok()?;
        let key = take(&mut changes, usize::from(key))?;
        header = None;
        if set {
            let value = changes.try_get_u32_le().ok()?;
            let value = take(&mut changes, usize::try_from(value).ok()?)?;
            header = Header::decode(value).filter(|header| layout::header_key(header.group) == key);
            batch.insert(IVec::from(key), IVec::from(value));
        } else {
            batch.remove(IVec::from(key));
        }
    }
    Some((Logged { header: header?, batch }, frame.len()))
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::timestamp::Timestamp;

    /// A chain of frames, each with a value of a size.
    struct Chain {
        group: u64,
        hash: layout::Hash,
    }

    impl Chain {
        fn next(&mut self, size: usize) -> Frame {
            self.group += 1;
            let header = Header {
                group: self.group,
                previous: self.hash,
                root: [7; 32],
                time: Timestamp::from_millis(1),
                appends: 1,
            };
            self.hash = header.hash();
            let mut frame = Frame::within(vec![9; 99]);
            frame.set(b"jkey", &vec![1; size]);
            frame.remove(b"pold");
            frame.set(&layout::header_key(self.group), &header.encode());
            frame.seal();
            frame
        }
    }

    fn append(log: &mut Log, chain: &mut Chain, size: usize) {
        let frame = chain.next(size);
        log.append(&frame, chain.group).unwrap();
    }

    fn groups(path: &Path) -> Vec<u64> {
        let found = read(&File::open(path).unwrap()).unwrap();
        found.iter().map(|logged| logged.header.group).collect()
    }

    fn made() -> (tempfile::TempDir, std::path::PathBuf, Log, Chain) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (log, found) = Log::open(&path).unwrap();
        assert!(found.is_empty());
        (dir, path, log, Chain { group: 0, hash: layout::Hash::default() })
    }

    #[test]
    fn what_was_appended_is_found_until_it_is_cleared() {
        let (_dir, path, mut log, mut chain) = made();
        (0..5).for_each(|size| append(&mut log, &mut chain, size * 1_000));
        assert_eq!(groups(&path), [1, 2, 3, 4, 5]);
        log.clear().unwrap();
        assert_eq!(groups(&path), [] as [u64; 0]);
        append(&mut log, &mut chain, 10);
        assert_eq!(groups(&path), [6], "and nothing that was there before");
    }

    fn digest(frame: &Frame) -> String {
        blake3::hash(&frame.0).to_hex()[..32].to_owned()
    }

    #[test]
    fn a_frame_is_written_as_it_always_was() {
        let frame = Chain { group: 0, hash: layout::Hash::default() }.next(3);
        assert_eq!(
            (frame.0.len(), &*digest(&frame)),
            (150, "87dd72e2e3abef54d996d9371d3bcd6f"),
            "the log's form has changed: give it another magic, and keep reading what is there"
        );
    }

    #[test]
    fn both_halves_of_a_log_of_an_earlier_form_are_read() {
        let earlier = |frame: Frame| {
            let mut bytes = frame.0;
            bytes.truncate(bytes.len() - CHECKSUM_BYTES);
            bytes[..MAGIC.len()].copy_from_slice(&FORMS[1].magic);
            bytes.extend_from_slice(&blake3::hash(&bytes).as_bytes()[..CHECKSUM_BYTES]);
            Frame(bytes)
        };
        let (_dir, path, log, mut chain) = made();
        for at in [4 << 20, (4 << 20) + PAGE_BYTES, 0, PAGE_BYTES] {
            let frame = earlier(chain.next(3));
            if chain.group == 1 {
                assert_eq!(digest(&frame), "ab22ebab7762dbf43fe361ae1aaa84fd", "as it was written");
            }
            log.file.write_all_at(&frame.0, at as u64).unwrap();
        }
        assert_eq!(groups(&path), [1, 2, 3, 4]);
    }

    #[test]
    fn a_frame_that_is_not_whole_ends_it() {
        let (_dir, path, mut log, mut chain) = made();
        (0..3).for_each(|_| append(&mut log, &mut chain, 5_000));
        let whole = std::fs::read(&path).unwrap();
        let third = 2 * 5_000_usize.next_multiple_of(PAGE_BYTES);
        for at in (third..whole.len()).step_by(97) {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            std::fs::write(&path, &torn).unwrap();
            assert_eq!(groups(&path), [1, 2], "changed at {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(groups(&path), [1, 2], "cut at {at}");
        }
    }

    #[test]
    fn the_halves_take_turns_and_an_older_turn_is_never_taken_for_a_newer_one() {
        let (_dir, path, mut log, mut chain) = made();
        let (mut turns, mut half) = (0, log.half);
        while turns < 5 {
            let frame = chain.next(1_200_000 + usize::try_from(chain.group % 7).unwrap() * 4_000);
            let needed = log.needs(&frame);
            log.append(&frame, chain.group).unwrap();
            if log.half == half {
                assert_eq!(needed, 0);
            } else {
                assert!(turns == 0 || needed > 0, "the half that is begun anew held groups");
                (turns, half) = (turns + 1, log.half);
            }
            let found = groups(&path);
            assert_eq!(found.last(), Some(&chain.group));
            assert!(found.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{found:?}");
            assert!(found.len() >= 13 || chain.group < 13, "a whole half is there: {found:?}");
        }
        assert!(std::fs::metadata(&path).unwrap().len() <= 2 * HALF_BYTES as u64);
    }

    #[test]
    fn a_half_is_turned_to_early_only_if_the_database_has_all_of_it() {
        let (_dir, path, mut log, mut chain) = made();
        let mut turns = Vec::new();
        for settled in [0, 0, 0, 1, 2, 2, 3, 3, 8] {
            let half = log.half;
            log.turn_early(settled);
            turns.push(log.half != half);
            append(&mut log, &mut chain, EARLY_BYTES / 2);
            let found = groups(&path);
            let (first, last) = (*found.first().unwrap(), *found.last().unwrap());
            assert!(first <= settled + 1 && last == chain.group, "the database has {settled}, the log {found:?}");
            assert!(found.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{found:?}");
        }
        assert_eq!(turns, [false, false, true, false, true, false, false, false, true]);
    }

    #[test]
    fn a_group_that_is_larger_than_a_half_is_refused_and_the_largest_there_can_be_is_not() {
        let (_dir, path, mut log, mut chain) = made();
        append(&mut log, &mut chain, HALF_BYTES - 1_000);
        let frame = chain.next(HALF_BYTES);
        assert!(log.append(&frame, chain.group).is_err());
        assert_eq!(groups(&path), [1]);
    }
}

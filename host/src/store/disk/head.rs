//! What the database has durably, kept apart from it: `<dir>/head`.
//!
//! Written and synced each time the database was made durable, so that a store which opens behind it is known to have lost
//! something. What was acknowledged since is in the log. Two slots of one sector each are written in turn: a torn write
//! leaves the other, which says a little less.
//!
//! ```text
//! slot, at 0 and at 4096:
//! 8 magic "XDHEAD01" | 8 sequence | 8 group | 32 hash of that group's header | 8 length of `journal/db` | 16 checksum
//! ```

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use bytes::Buf;

use super::layout::Hash;

const MAGIC: [u8; 8] = *b"XDHEAD01";
const BODY_BYTES: usize = 8 + 8 + 8 + 32 + 8;
const SLOT_BYTES: usize = BODY_BYTES + 16;
/// Two pages, so that no device sector and no page holds both slots.
const SLOT_OFFSETS: [u64; 2] = [0, 4096];

/// What the database has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The last group that it has durably; 0 if there is none.
    pub(super) group: u64,
    /// The hash of its header; zero if there is none.
    pub(super) hash: Hash,
    /// How long the database file was then, bytes.
    pub(super) length: u64,
}

/// The open head file.
#[derive(Debug)]
pub(super) struct HeadFile {
    file: File,
    sequence: u64,
    head: Head,
}

impl HeadFile {
    /// Creates the file with an empty head, durable except for its directory.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.write_all_at(&[0; 8192], 0)?;
        let mut this = Self { file, sequence: 0, head: Head::default() };
        this.write(Head::default())?;
        this.file.sync_all()?;
        Ok(this)
    }

    /// Opens the file; absent if neither slot is whole.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let newest = SLOT_OFFSETS.iter().filter_map(|offset| read_slot(&file, *offset)).max_by_key(|slot| slot.0);
        Ok(newest.map(|(sequence, head)| Self { file, sequence, head }))
    }

    /// What was written last.
    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Writes and syncs.
    pub(super) fn write(&mut self, head: Head) -> io::Result<()> {
        let sequence = self.sequence + 1;
        let [even, odd] = SLOT_OFFSETS;
        let offset = if sequence.is_multiple_of(2) { even } else { odd };
        self.file.write_all_at(&encode(sequence, head), offset)?;
        // The file never grows after its creation, so the data is all there is to sync.
        self.file.sync_data()?;
        (self.sequence, self.head) = (sequence, head);
        Ok(())
    }
}

fn encode(sequence: u64, head: Head) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT_BYTES);
    slot.extend_from_slice(&MAGIC);
    slot.extend_from_slice(&sequence.to_le_bytes());
    slot.extend_from_slice(&head.group.to_le_bytes());
    slot.extend_from_slice(&head.hash);
    slot.extend_from_slice(&head.length.to_le_bytes());
    let checksum = blake3::hash(&slot);
    slot.extend(checksum.as_bytes().iter().take(SLOT_BYTES - BODY_BYTES));
    slot
}

fn read_slot(file: &File, offset: u64) -> Option<(u64, Head)> {
    let mut slot = [0; SLOT_BYTES];
    file.read_exact_at(&mut slot, offset).ok()?;
    let (body, checksum) = slot.split_at_checked(BODY_BYTES)?;
    let (magic, mut rest) = body.split_first_chunk()?;
    if *magic != MAGIC || !blake3::hash(body).as_bytes().starts_with(checksum) {
        return None;
    }
    let sequence = rest.try_get_u64_le().ok()?;
    let group = rest.try_get_u64_le().ok()?;
    let mut hash = [0; 32];
    rest.try_copy_to_slice(&mut hash).ok()?;
    Some((sequence, Head { group, hash, length: rest.try_get_u64_le().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(group: u64) -> Head {
        Head { group, hash: [3; 32], length: group * 10 }
    }

    #[test]
    fn the_newest_whole_slot_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("head");
        let mut file = HeadFile::create(&path).unwrap();
        for group in 1..=3 {
            file.write(head(group)).unwrap();
            assert_eq!(HeadFile::open(&path).unwrap().unwrap().head(), head(group));
        }
    }

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("head");
        let mut file = HeadFile::create(&path).unwrap();
        file.write(head(1)).unwrap();
        file.write(head(2)).unwrap(); // sequence 3: the second slot
        file.file.write_all_at(&[0xff; 20], 4096 + 30).unwrap();
        assert_eq!(HeadFile::open(&path).unwrap().unwrap().head(), head(1));
        file.file.write_all_at(&[0xff; 20], 30).unwrap();
        assert!(HeadFile::open(&path).unwrap().is_none());
    }
}

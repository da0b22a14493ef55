//! What is stored under which key, byte by byte. Pure: no I/O, no sled.
//!
//! One tree; the first byte of a key says what it is. Integers in keys are big-endian, so that keys sort as numbers
//! do; integers in values are little-endian. A *group* is what one commit makes durable together.
//!
//! ```text
//! key                                     value
//! 'h' group:8                             a group's header, kept for ever
//! 'j' position:8                          the first 4 KiB of an append's frame
//! 'p' owner:8 piece:2                     the next 4 KiB pieces of a longer frame; its owner is a position or revision
//! 's' stream:17 version:4                 position:8 append id:16; of an archived stream only the first version, and
//!                                         after it where it lies: file:4 offset:4 (see `archive.rs`)
//! 'v' the record's key                    the first 4 KiB of a record's frame
//!
//! position = group << 20 | index of the append in its group (from 0)
//! revision = group << 20 | 1 << 19 | index of the record's write in its group
//!
//! header   as `policy::chain` draws it
//! append   as `policy::chain` draws it
//! record   1 format | 4 length of the frame | 8 revision | 8 time | value | 16 checksum
//! ```
//!
//! A record's checksum also covers its key. Records are current values, so no Merkle root covers them; what changes in
//! them and affects what runs is an audit record in the journal.
//!
//! Why pieces: sled moves a page over 128 KiB into a file of its own, which it never syncs, and deletes the older copy.
//! A leaf holds at most 20 values, so with 4 KiB pieces no leaf comes near that.

use bytes::{Buf, Bytes};

use super::archive::Location;
pub(super) use crate::policy::chain::{
    Framed, Hash, Header, INDEX_BITS, frame_append, frame_length, merkle_root, position, unframe_append,
};
use crate::{
    model::{id::AppendId, timestamp::Timestamp},
    policy::chain::{CHECKSUM_BYTES, FORMAT, checked, count, hash},
    ports::journal::{Position, StreamId},
};

/// Largest value under one key, bytes; see the module's head.
pub(super) const PIECE_BYTES: usize = 4096;
/// What a revision has set and a position has not, so that both can own pieces.
pub(super) const REVISION_BIT: u64 = 1 << 19;

const RECORD_HEAD_BYTES: usize = 1 + 4 + 8 + 8;

/// The key of a group's header.
pub(super) fn header_key(group: u64) -> [u8; 9] {
    prefixed(b'h', group)
}

/// The key of an append's first piece.
pub(super) fn append_key(position: Position) -> [u8; 9] {
    prefixed(b'j', position.0)
}

/// The position in a key made by [`append_key`].
pub(super) fn position_of(key: &[u8]) -> Option<Position> {
    let (b'j', rest) = key.split_first()? else { return None };
    Some(Position(u64::from_be_bytes(rest.try_into().ok()?)))
}

/// The key of a further piece.
pub(super) fn piece_key(owner: u64, piece: u16) -> [u8; 11] {
    let mut key = [b'p'; 11];
    fill(&mut key, 1, &owner.to_be_bytes());
    fill(&mut key, 9, &piece.to_be_bytes());
    key
}

/// The key of a stream's index entry. 22 bytes, which sled keeps without an allocation.
pub(super) fn stream_key(stream: StreamId, version: u32) -> [u8; 22] {
    let mut key = [b's'; 22];
    fill(&mut key, 1, &stream.to_key());
    fill(&mut key, 18, &version.to_be_bytes());
    key
}

/// The key of a record's first piece, or the start of all that share a prefix.
pub(super) fn record_key(key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + key.len());
    bytes.push(b'v');
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

fn prefixed(prefix: u8, number: u64) -> [u8; 9] {
    let mut key = [prefix; 9];
    fill(&mut key, 1, &number.to_be_bytes());
    key
}

fn fill(into: &mut [u8], from: usize, bytes: &[u8]) {
    into.iter_mut().skip(from).zip(bytes).for_each(|(to, byte)| *to = *byte);
}

/// Where a stream's version is to be found, and which append made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) position: Position,
    pub(super) id: AppendId,
    /// If the stream is archived: where.
    pub(super) archived: Option<Location>,
}

impl IndexEntry {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32);
        bytes.extend_from_slice(&self.position.0.to_le_bytes());
        bytes.extend_from_slice(self.id.as_bytes());
        if let Some(Location { file, offset }) = self.archived {
            bytes.extend_from_slice(&file.to_le_bytes());
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        bytes
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let position = Position(bytes.try_get_u64_le().ok()?);
        let mut id = [0; 16];
        bytes.try_copy_to_slice(&mut id).ok()?;
        let archived = if bytes.is_empty() {
            None
        } else {
            Some(Location { file: bytes.try_get_u32_le().ok()?, offset: bytes.try_get_u32_le().ok()? })
        };
        bytes.is_empty().then_some(Self { position, id: AppendId::from_bytes(id), archived })
    }
}

/// The stream and version in the first piece of an append's frame, unchecked.
pub(super) fn peek_append(first: &[u8]) -> Option<(StreamId, u32)> {
    let stream = StreamId::from_key(first.get(5..22)?)?;
    let version = u64::from_le_bytes(first.get(22..30)?.try_into().ok()?);
    Some((stream, u32::try_from(version).ok()?))
}

/// Writes a record's frame, replacing what is in `frame`.
pub(super) fn frame_record(frame: &mut Vec<u8>, key: &str, value: &[u8], revision: u64, time: Timestamp) {
    frame.clear();
    frame.push(FORMAT);
    frame.extend_from_slice(&count(RECORD_HEAD_BYTES + value.len() + CHECKSUM_BYTES));
    frame.extend_from_slice(&revision.to_le_bytes());
    frame.extend_from_slice(&time.millis().to_le_bytes());
    frame.extend_from_slice(value);
    let whole = record_hash(key, frame);
    frame.extend(whole.iter().take(CHECKSUM_BYTES));
}

fn record_hash(key: &str, body: &[u8]) -> Hash {
    hash(3, &[&count(key.len()), key.as_bytes(), body])
}

/// The revision in a record's first piece: what owns its further pieces.
pub(super) fn record_revision(first: &[u8]) -> Option<u64> {
    let (_, rest) = first.split_at_checked(5)?;
    rest.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Reads a record's frame: value and revision.
///
/// # Errors
/// What is wrong with it.
pub(super) fn unframe_record(key: &str, frame: &Bytes) -> Result<(Bytes, u64), &'static str> {
    let (mut body, _) = checked(frame, |body| record_hash(key, body))?;
    let revision = record_revision(&body).ok_or("the frame is too short")?;
    if body.len() < RECORD_HEAD_BYTES {
        return Err("the frame is too short");
    }
    body.advance(RECORD_HEAD_BYTES);
    Ok((body, revision))
}

/// The last position that a group could hold.
pub(super) fn last_position(group: u64) -> Position {
    Position(group << INDEX_BITS | ((1 << INDEX_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_under_another_key_is_noticed() {
        let mut frame = Vec::new();
        frame_record(&mut frame, "plugin/a", b"value", 12, Timestamp::from_millis(1));
        let frame = Bytes::from(frame);
        assert_eq!(unframe_record("plugin/a", &frame), Ok((Bytes::from_static(b"value"), 12)));
        assert!(unframe_record("plugin/b", &frame).is_err());
    }
}

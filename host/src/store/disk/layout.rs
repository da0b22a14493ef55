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
//! header   1 format | 8 group | 32 hash of the previous header | 32 Merkle root | 8 time | 4 number of appends
//! append   1 format | 4 length of the frame | 17 stream | 8 version | 16 append id | 8 position | 8 time
//!          | 4 number of entries | for each: 4 length, content | 16 checksum
//! record   1 format | 4 length of the frame | 8 revision | 8 time | value | 16 checksum
//! ```
//!
//! An append's checksum is the start of its Merkle leaf, `BLAKE3(0x00, frame without checksum)`. An inner node is
//! `BLAKE3(0x01, left, right)`, and the tree has the shape of RFC 6962: an odd node moves up unchanged. A header's
//! hash is `BLAKE3(0x02, header)`; the first header's previous hash is 32 zero bytes. A record's checksum also covers
//! its key. Records are current values, so the Merkle root does not cover them.
//!
//! Why pieces: sled moves a page over 128 KiB into a file of its own, which it never syncs, and deletes the older copy.
//! A leaf holds at most 20 values, so with 4 KiB pieces no leaf comes near that.

use bytes::{Buf, Bytes};

use super::archive::Location;
use crate::{
    model::{id::AppendId, timestamp::Timestamp},
    ports::journal::{Append, Position, Record, StreamId, Version},
};

/// A BLAKE3 hash.
pub(super) type Hash = [u8; 32];

/// The version of everything drawn above.
pub(super) const FORMAT: u8 = 1;
/// Largest value under one key, bytes; see the module's head.
pub(super) const PIECE_BYTES: usize = 4096;
/// Bits of a position that number what is within one group.
pub(super) const INDEX_BITS: u32 = 20;
/// What a revision has set and a position has not, so that both can own pieces.
pub(super) const REVISION_BIT: u64 = 1 << 19;

const CHECKSUM_BYTES: usize = 16;
const APPEND_HEAD_BYTES: usize = 1 + 4 + 17 + 8 + 16 + 8 + 8 + 4;
const RECORD_HEAD_BYTES: usize = 1 + 4 + 8 + 8;
const HEADER_BYTES: usize = 1 + 8 + 32 + 32 + 8 + 4;

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

/// What is kept for ever of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) group: u64,
    pub(super) previous: Hash,
    pub(super) root: Hash,
    pub(super) time: Timestamp,
    /// Number of appends; record writes are not counted.
    pub(super) appends: u32,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [FORMAT; HEADER_BYTES];
        fill(&mut bytes, 1, &self.group.to_le_bytes());
        fill(&mut bytes, 9, &self.previous);
        fill(&mut bytes, 41, &self.root);
        fill(&mut bytes, 73, &self.time.millis().to_le_bytes());
        fill(&mut bytes, 81, &self.appends.to_le_bytes());
        bytes
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() != HEADER_BYTES || bytes.try_get_u8().ok()? != FORMAT {
            return None;
        }
        let group = bytes.try_get_u64_le().ok()?;
        let mut hashes = [[0; 32]; 2];
        hashes.iter_mut().try_for_each(|hash| bytes.try_copy_to_slice(hash)).ok()?;
        let [previous, root] = hashes;
        let time = Timestamp::from_millis(bytes.try_get_i64_le().ok()?);
        Some(Self { group, previous, root, time, appends: bytes.try_get_u32_le().ok()? })
    }

    /// What the next header names as its previous hash.
    pub(super) fn hash(&self) -> Hash {
        hash(2, &[&self.encode()])
    }
}

/// The position of an append in a group.
pub(super) fn position(group: u64, index: u32) -> Position {
    Position(group << INDEX_BITS | u64::from(index))
}

/// The last position that a group could hold.
pub(super) fn last_position(group: u64) -> Position {
    Position(group << INDEX_BITS | ((1 << INDEX_BITS) - 1))
}

/// Writes an append's frame, replacing what is in `frame`; answers its Merkle leaf.
pub(super) fn frame_append(
    frame: &mut Vec<u8>,
    append: &Append,
    version: Version,
    position: Position,
    time: Timestamp,
) -> Hash {
    let content: usize = append.entries.iter().map(|entry| 4 + entry.len()).sum();
    let total = APPEND_HEAD_BYTES + content + CHECKSUM_BYTES;
    frame.clear();
    frame.reserve(total);
    frame.push(FORMAT);
    frame.extend_from_slice(&count(total));
    frame.extend_from_slice(&append.stream.to_key());
    frame.extend_from_slice(&version.0.to_le_bytes());
    frame.extend_from_slice(append.id.as_bytes());
    frame.extend_from_slice(&position.0.to_le_bytes());
    frame.extend_from_slice(&time.millis().to_le_bytes());
    frame.extend_from_slice(&count(append.entries.len()));
    for entry in &append.entries {
        frame.extend_from_slice(&count(entry.len()));
        frame.extend_from_slice(entry);
    }
    let leaf = hash(0, &[frame]);
    frame.extend(leaf.iter().take(CHECKSUM_BYTES));
    leaf
}

/// Lengths are bounded far below `u32::MAX` before anything is framed.
fn count(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

/// The whole length of a frame, from its first piece.
pub(super) fn frame_length(first: &[u8]) -> Option<usize> {
    let (format, rest) = first.split_first()?;
    let length = usize::try_from(u32::from_le_bytes(*rest.first_chunk()?)).ok()?;
    (*format == FORMAT && length >= first.len()).then_some(length)
}

/// A stored append, checked.
#[derive(Debug)]
pub(super) struct Framed {
    pub(super) record: Record,
    pub(super) leaf: Hash,
}

/// Reads an append's frame. The entries share the frame's memory.
///
/// # Errors
/// What is wrong with it.
pub(super) fn unframe_append(frame: &Bytes) -> Result<Framed, &'static str> {
    let (body, leaf) = checked(frame, |body| hash(0, &[body]))?;
    let record = parse_append(body).ok_or("the frame does not have the shape of an append")?;
    Ok(Framed { record, leaf })
}

fn parse_append(mut body: Bytes) -> Option<Record> {
    body.try_get_u8().ok()?;
    body.try_get_u32_le().ok()?;
    let mut stream = [0; 17];
    body.try_copy_to_slice(&mut stream).ok()?;
    let version = Version(body.try_get_u64_le().ok()?);
    body.try_get_u128_le().ok()?; // the append id, which the index holds too
    let position = Position(body.try_get_u64_le().ok()?);
    let time = Timestamp::from_millis(body.try_get_i64_le().ok()?);
    let number = usize::try_from(body.try_get_u32_le().ok()?).ok()?;
    let mut entries = Vec::with_capacity(number.min(body.len()));
    for _ in 0..number {
        let length = usize::try_from(body.try_get_u32_le().ok()?).ok()?;
        entries.push((length <= body.len()).then(|| body.split_to(length))?);
    }
    let stream = StreamId::from_key(&stream)?;
    body.is_empty().then_some(Record { stream, version, position, time, entries })
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

fn checked(frame: &Bytes, hash: impl Fn(&[u8]) -> Hash) -> Result<(Bytes, Hash), &'static str> {
    match frame.first() {
        Some(&FORMAT) => {}
        Some(_) => return Err("its format is not one that this version reads"),
        None => return Err("the frame is empty"),
    }
    let body = frame.len().checked_sub(CHECKSUM_BYTES).ok_or("the frame is too short")?;
    let (body, checksum) = (frame.slice(..body), frame.slice(body..));
    let whole = hash(&body);
    if whole.starts_with(&checksum) { Ok((body, whole)) } else { Err("its checksum does not match") }
}

/// The Merkle root of a group, RFC 6962's shape over BLAKE3; of no leaves, the hash of nothing.
pub(super) fn merkle_root(mut level: Vec<Hash>) -> Hash {
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => hash(1, &[left, right]),
                odd => odd.first().copied().unwrap_or_default(),
            })
            .collect();
    }
    level.first().copied().unwrap_or_else(|| *blake3::hash(b"").as_bytes())
}

fn hash(domain: u8, parts: &[&[u8]]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[domain]);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::RunId;

    fn append() -> Append {
        Append {
            stream: StreamId::Run(RunId::from_bytes([7; 16])),
            expected: Version(4),
            id: AppendId::from_bytes([9; 16]),
            entries: vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")],
        }
    }

    fn framed() -> Bytes {
        let mut frame = Vec::new();
        frame_append(&mut frame, &append(), Version(5), position(3, 1), Timestamp::from_millis(1_000));
        Bytes::from(frame)
    }

    #[test]
    fn an_append_survives_its_frame() {
        let read = unframe_append(&framed()).unwrap().record;
        assert_eq!(read.entries, append().entries);
        assert_eq!((read.version, read.position), (Version(5), position(3, 1)));
        assert_eq!((read.stream, read.time), (append().stream, Timestamp::from_millis(1_000)));
    }

    #[test]
    fn every_changed_bit_and_every_cut_of_an_append_is_noticed() {
        let frame = framed();
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(unframe_append(&Bytes::from(changed)).is_err(), "bit {bit}");
        }
        for length in 0..frame.len() {
            assert!(unframe_append(&frame.slice(..length)).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_record_under_another_key_is_noticed() {
        let mut frame = Vec::new();
        frame_record(&mut frame, "plugin/a", b"value", 12, Timestamp::from_millis(1));
        let frame = Bytes::from(frame);
        assert_eq!(unframe_record("plugin/a", &frame), Ok((Bytes::from_static(b"value"), 12)));
        assert!(unframe_record("plugin/b", &frame).is_err());
    }

    #[test]
    fn a_header_survives_and_its_hash_covers_every_byte() {
        let header =
            Header { group: 3, previous: [1; 32], root: [2; 32], time: Timestamp::from_millis(-5), appends: 2 };
        assert_eq!(Header::decode(&header.encode()), Some(header));
        assert_ne!(header.hash(), Header { appends: 3, ..header }.hash());
        assert_eq!(Header::decode(&header.encode()[1..]), None);
    }

    #[test]
    fn the_merkle_root_depends_on_every_leaf_and_on_their_order() {
        let leaves: Vec<Hash> = (0..5).map(|number| [number; 32]).collect();
        let root = merkle_root(leaves.clone());
        for changed in 0..5 {
            let mut other = leaves.clone();
            other[changed][0] ^= 1;
            assert_ne!(merkle_root(other), root);
        }
        let mut swapped = leaves.clone();
        swapped.swap(0, 4);
        assert_ne!(merkle_root(swapped), root);
        assert_ne!(merkle_root(leaves[..4].to_vec()), root);
    }

    #[test]
    fn the_bytes_of_format_1_are_these() {
        // A golden frame: if this changes, the format has changed, and old journals need a reader of their own.
        let digest = blake3::hash(&framed()).to_hex();
        insta::assert_snapshot!(format!("{} bytes, {}", framed().len(), &digest[..16]), @"102 bytes, ebcda5284015fa5e");
    }
}

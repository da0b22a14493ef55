//! The bytes that prove the journal: batches chained by their headers, appends under a Merkle root. Pure.
//!
//! The store writes these bytes, an export carries them as they are, and the verifier reads them again: one description
//! serves all three. A *batch* is what one commit made durable together (the store calls it a group). Integers are
//! little-endian.
//!
//! ```text
//! header   1 format | 8 batch | 32 hash of the previous header | 32 Merkle root | 8 time | 4 number of appends
//! append   1 format | 4 length of the frame | 17 stream | 8 version | 16 append id | 8 position | 8 time
//!          | 4 number of entries | for each: 4 length, content | 16 checksum
//!
//! position = batch << 20 | index of the append in its batch (from 0)
//! ```
//!
//! An append's checksum is the start of its Merkle leaf, `BLAKE3(0x00, frame without checksum)`. An inner node is
//! `BLAKE3(0x01, left, right)`, and the tree has the shape of RFC 6962: an odd node moves up unchanged. A header's
//! hash is `BLAKE3(0x02, header)`; the first header's previous hash is 32 zero bytes.

use bytes::{Buf, Bytes};

use crate::{
    model::timestamp::Timestamp,
    ports::journal::{Append, Position, Record, StreamId, Version},
};

/// A BLAKE3 hash.
pub type Hash = [u8; 32];

/// The version of everything drawn above.
pub const FORMAT: u8 = 1;
/// Bits of a position that number what is within one batch.
pub const INDEX_BITS: u32 = 20;
/// Size of a header, bytes.
pub const HEADER_BYTES: usize = 1 + 8 + 32 + 32 + 8 + 4;

/// Size of the checksum at a frame's end, bytes.
pub const CHECKSUM_BYTES: usize = 16;
const APPEND_HEAD_BYTES: usize = 1 + 4 + 17 + 8 + 16 + 8 + 8 + 4;

/// What is kept for ever of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The batch's number, from 1.
    pub group: u64,
    /// The hash of the header before it; zero in the first.
    pub previous: Hash,
    /// The Merkle root over its appends.
    pub root: Hash,
    /// When it was committed.
    pub time: Timestamp,
    /// Number of appends; record writes are not counted.
    pub appends: u32,
}

impl Header {
    /// Its stored form.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [FORMAT; HEADER_BYTES];
        fill(&mut bytes, 1, &self.group.to_le_bytes());
        fill(&mut bytes, 9, &self.previous);
        fill(&mut bytes, 41, &self.root);
        fill(&mut bytes, 73, &self.time.millis().to_le_bytes());
        fill(&mut bytes, 81, &self.appends.to_le_bytes());
        bytes
    }

    /// The header of a stored form; absent if the bytes are not one.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
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
    #[must_use]
    pub fn hash(&self) -> Hash {
        hash(2, &[&self.encode()])
    }
}

/// The position of an append in a batch.
#[must_use]
pub fn position(group: u64, index: u32) -> Position {
    Position(group << INDEX_BITS | u64::from(index))
}

/// The batch and the index within it that a position stands for.
#[must_use]
pub fn place(position: Position) -> (u64, u64) {
    (position.0 >> INDEX_BITS, position.0 & ((1 << INDEX_BITS) - 1))
}

/// Writes an append's frame, replacing what is in `frame`; answers its Merkle leaf.
pub fn frame_append(
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
pub(crate) fn count(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

/// The whole length of a frame, from its first piece.
#[must_use]
pub fn frame_length(first: &[u8]) -> Option<usize> {
    let (format, rest) = first.split_first()?;
    let length = usize::try_from(u32::from_le_bytes(*rest.first_chunk()?)).ok()?;
    (*format == FORMAT && length >= first.len()).then_some(length)
}

/// A stored append, checked.
#[derive(Debug)]
pub struct Framed {
    /// The append.
    pub record: Record,
    /// Its Merkle leaf.
    pub leaf: Hash,
}

/// Reads an append's frame. The entries share the frame's memory.
///
/// # Errors
/// What is wrong with it.
pub fn unframe_append(frame: &Bytes) -> Result<Framed, &'static str> {
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

/// A frame's body and hash, if its checksum is the start of that hash.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn checked(frame: &Bytes, hash: impl Fn(&[u8]) -> Hash) -> Result<(Bytes, Hash), &'static str> {
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

/// The Merkle root of a batch, RFC 6962's shape over BLAKE3; of no leaves, the hash of nothing.
#[must_use]
pub fn merkle_root(mut level: Vec<Hash>) -> Hash {
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

/// BLAKE3 in a domain of its own: 0 for leaves, 1 for nodes, 2 for headers, 3 for records.
pub(crate) fn hash(domain: u8, parts: &[&[u8]]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[domain]);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

fn fill(into: &mut [u8], from: usize, bytes: &[u8]) {
    into.iter_mut().skip(from).zip(bytes).for_each(|(to, byte)| *to = *byte);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{AppendId, RunId};

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

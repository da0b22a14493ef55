//! Point reads and bounded scans of the table: puts frames together from their pieces, and checks them.

use std::ops::Bound;

use bytes::Bytes;

use super::{
    archive::Folder,
    fault::Fault,
    layout::{self, Framed, Header, IndexEntry},
    table::{Keys, Table},
};
use crate::ports::{
    journal::{Position, Record, StreamId, Version},
    records::{Revision, Stored},
};

/// The whole frame that begins with a piece.
fn assemble(keys: &impl Keys, first: &[u8], owner: u64, place: impl Fn() -> String) -> Result<Bytes, Fault> {
    let Some(length) = layout::frame_length(first) else {
        return Err(Fault::damaged(place(), "its first piece has no valid length or format"));
    };
    if length == first.len() {
        return Ok(Bytes::copy_from_slice(first));
    }
    let mut whole = Vec::new();
    whole.extend_from_slice(first);
    let mut piece = 0;
    while whole.len() < length {
        let Some(next) = keys.get(&layout::piece_key(owner, piece))? else {
            return Err(Fault::damaged(place(), format!("piece {piece} is missing")));
        };
        whole.extend_from_slice(&next);
        piece += 1;
    }
    Ok(Bytes::from(whole))
}

fn unframe(table: &Table, position: Position, first: &[u8]) -> Result<Framed, Fault> {
    let place = || format!("position {}", position.0);
    let frame = assemble(table, first, position.0, place)?;
    let framed = layout::unframe_append(&frame).map_err(|problem| Fault::damaged(place(), problem))?;
    if framed.record.position != position {
        return Err(Fault::damaged(place(), format!("it holds position {}", framed.record.position.0)));
    }
    Ok(framed)
}

/// The frame at a position, as it is stored, unless it is missing.
pub(super) fn frame_at(table: &Table, position: Position) -> Result<Option<Bytes>, Fault> {
    let Some(first) = table.get(&layout::append_key(position))? else { return Ok(None) };
    assemble(table, &first, position.0, || format!("position {}", position.0)).map(Some)
}

/// The append at a position.
pub(super) fn append_at(table: &Table, position: Position) -> Result<Framed, Fault> {
    let found = append_if_there(table, position)?;
    found.ok_or_else(|| Fault::damaged(format!("position {}", position.0), "the append is missing"))
}

/// The append at a position, unless it is missing.
pub(super) fn append_if_there(table: &Table, position: Position) -> Result<Option<Framed>, Fault> {
    let Some(first) = table.get(&layout::append_key(position))? else { return Ok(None) };
    unframe(table, position, &first).map(Some)
}

/// A stream's index entry at a version.
pub(super) fn index_entry(table: &Table, stream: StreamId, version: u32) -> Result<Option<IndexEntry>, Fault> {
    let Some(bytes) = table.get(&layout::stream_key(stream, version))? else { return Ok(None) };
    let entry = IndexEntry::decode(&bytes);
    entry.map(Some).ok_or_else(|| Fault::damaged(format!("{stream:?} version {version}"), "its index entry is invalid"))
}

/// At most `limit` records of a stream after a version, none of them after a position.
pub(super) fn stream(
    table: &Table,
    archive: &Folder,
    stream: StreamId,
    after: u32,
    durable: Position,
    limit: usize,
) -> Result<Vec<Record>, Fault> {
    let mut records = Vec::new();
    for version in (after..u32::MAX).map(|version| version + 1).take(limit) {
        let Some(entry) = index_entry(table, stream, version)? else {
            if version > 1 && records.is_empty() {
                return archived(table, archive, stream, after);
            }
            break;
        };
        if entry.archived.is_some() {
            return archived(table, archive, stream, after);
        }
        if entry.position > durable {
            break;
        }
        let record = append_at(table, entry.position)?.record;
        if (record.stream, record.version) != (stream, Version(u64::from(version))) {
            return Err(Fault::damaged(
                format!("{stream:?} version {version}"),
                format!("position {} holds {:?} version {}", record.position.0, record.stream, record.version.0),
            ));
        }
        records.push(record);
    }
    Ok(records)
}

/// What an archived stream has after a version, however much; nothing if it is not archived.
fn archived(table: &Table, archive: &Folder, stream: StreamId, after: u32) -> Result<Vec<Record>, Fault> {
    let Some(IndexEntry { archived: Some(location), .. }) = index_entry(table, stream, 1)? else {
        return Ok(Vec::new());
    };
    let appends = archive.stream(location, stream)?.appends.into_iter().map(|(record, _)| record);
    Ok(appends.filter(|record| record.version.0 > u64::from(after)).collect())
}

/// At most `limit` records after a position up to another, and at most about `bytes_limit` bytes of them.
pub(super) fn tail(
    table: &Table,
    after: Position,
    durable: Position,
    limit: usize,
    bytes_limit: usize,
) -> Result<Vec<Record>, Fault> {
    let mut records = Vec::new();
    if after >= durable {
        return Ok(records);
    }
    let (first, last) = (layout::append_key(Position(after.0 + 1)), layout::append_key(durable));
    let mut bytes = 0;
    for pair in table.range(Bound::Included(&first), Bound::Included(&last)).take(limit) {
        let (key, first) = pair?;
        let position = layout::position_of(&key);
        let position = position.ok_or_else(|| Fault::damaged(format!("key {key:02x?}"), "it is not a position"))?;
        let record = unframe(table, position, &first)?.record;
        bytes += record.entries.iter().map(Bytes::len).sum::<usize>();
        records.push(record);
        if bytes >= bytes_limit {
            break;
        }
    }
    Ok(records)
}

/// What the committer needs to know of a record that it replaces.
pub(super) struct Current {
    pub(super) stored: Stored,
    pub(super) pieces: u16,
}

/// A record from its first piece.
pub(super) fn unframe_record(keys: &impl Keys, key: &str, first: &[u8]) -> Result<Current, Fault> {
    let place = || format!("record `{key}`");
    let owner =
        layout::record_revision(first).ok_or_else(|| Fault::damaged(place(), "its first piece is too short"))?;
    let frame = assemble(keys, first, owner, place)?;
    let (value, revision) = layout::unframe_record(key, &frame).map_err(|problem| Fault::damaged(place(), problem))?;
    let pieces = u16::try_from(frame.len().div_ceil(layout::PIECE_BYTES).saturating_sub(1)).unwrap_or(u16::MAX);
    Ok(Current { stored: Stored { value, revision: Revision(revision) }, pieces })
}

/// A record, as the table has it now. Its pieces are read in the same look, since another value removes them.
pub(super) fn record(table: &Table, key: &str) -> Result<Option<Current>, Fault> {
    let look = table.look();
    let Some(first) = look.get(&layout::record_key(key))? else { return Ok(None) };
    unframe_record(&look, key, &first).map(Some)
}

/// A group's header.
pub(super) fn header(table: &Table, group: u64) -> Result<Option<Header>, Fault> {
    let Some(bytes) = table.get(&layout::header_key(group))? else { return Ok(None) };
    decode_header(&bytes, Some(group)).map(Some)
}

/// The newest header; absent in an empty store.
pub(super) fn last_header(table: &Table) -> Result<Option<Header>, Fault> {
    let last = table.last(&layout::header_key(0), &layout::header_key(u64::MAX))?;
    last.map(|(_, header)| decode_header(&header, None)).transpose()
}

fn decode_header(bytes: &[u8], group: Option<u64>) -> Result<Header, Fault> {
    let header = Header::decode(bytes).filter(|header| group.is_none_or(|group| header.group == group));
    let place = group.map_or_else(|| "the last group".to_owned(), |group| format!("group {group}"));
    header.ok_or_else(|| Fault::damaged(place, "its header is invalid"))
}

#[cfg(test)]
mod tests {
    use super::{super::table::Changes, *};
    use crate::model::timestamp::Timestamp;

    /// The changes that put a value of several pieces in the place of the one before.
    fn replaced(round: u64) -> Changes {
        let mut frame = Vec::new();
        layout::frame_record(&mut frame, "key", &vec![1; 5 * layout::PIECE_BYTES], round, Timestamp::default());
        let mut pieces = frame.chunks(layout::PIECE_BYTES);
        let mut changes = vec![(layout::record_key("key").into(), pieces.next().map(Into::into))];
        for (number, piece) in (0..).zip(pieces) {
            changes.push((layout::piece_key(round, number).as_slice().into(), Some(piece.into())));
            changes.push((layout::piece_key(round - 1, number).as_slice().into(), None));
        }
        changes
    }

    #[test]
    fn a_record_of_several_pieces_is_read_whole_while_another_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(dir.path()).open().unwrap();
        let table = Table::of(&db);
        table.take_in(replaced(1));
        let writer = table.clone();
        let writes = std::thread::spawn(move || (2..5_000).for_each(|round| writer.take_in(replaced(round))));
        let mut last = 0;
        while !writes.is_finished() {
            let revision = record(&table, "key").unwrap().unwrap().stored.revision.0;
            assert!(revision >= last);
            last = revision;
        }
        writes.join().unwrap();
        assert!(last > 0, "it was never read meanwhile");
    }
}

//! Proves a whole store: every header continues the one before it, and every group's appends are there, unchanged and
//! indexed; and that every record matches its checksum. Reads everything, so it takes long.

use std::collections::HashMap;

use super::{
    archive::{self, Folder},
    fault::Fault,
    head::Head,
    layout::{self, Hash, Header, IndexEntry},
    reading,
    table::Table,
    turnover,
};
use crate::ports::journal::{Position, Record, StreamId};

/// What a proof covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Groups, from the first one on.
    pub groups: u64,
    /// Appends in them.
    pub appends: u64,
    /// Records, with matching checksums.
    pub records: u64,
    /// Those of the appends that lie in archives.
    pub archived: u64,
    /// Groups that hold appends whose archives were dropped after their time: their headers are proven, they are not.
    pub dropped: u64,
}

/// Reads and checks everything up to now.
///
/// # Errors
/// What is missing or damaged first.
pub(super) fn everything(table: &Table, archive: &Folder, head: Head) -> Result<Verified, Fault> {
    let leaves = Leaves::read(table, archive)?;
    let groups = reading::last_header(table)?.map_or(0, |header| header.group);
    if groups < head.group {
        let problem = format!("it is the last one, but {} was acknowledged", head.group);
        return Err(Fault::damaged(format!("group {groups}"), problem));
    }
    let archived = leaves.archived.len() as u64;
    let mut verified = Verified { groups, archived, ..Verified::default() };
    let mut previous = Hash::default();
    for number in 1..=groups {
        let missing = || Fault::damaged(format!("group {number}"), "its header is missing");
        let header = reading::header(table, number)?.ok_or_else(missing)?;
        if header.previous != previous {
            return Err(Fault::damaged(group_name(&header), "its header does not continue the one before it"));
        }
        verified.dropped += group(table, &header, &leaves)?;
        previous = header.hash();
        verified.appends += u64::from(header.appends);
        if number == head.group && previous != head.hash {
            return Err(Fault::damaged(group_name(&header), "it is not the group that was acknowledged"));
        }
    }
    for pair in table.scan_prefix(vec![b'v']) {
        let (bytes, _) = pair?;
        reading::record(table, &bytes.get(1..).map(String::from_utf8_lossy).unwrap_or_default())?;
        verified.records += 1;
    }
    Ok(verified)
}

/// What archives hold of groups.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    archived: HashMap<Position, Hash>,
    /// Positions in archives that were dropped lie between these.
    dropped: Vec<(u64, u64)>,
}

impl Leaves {
    /// Reads every archive, and holds it to its digest.
    fn read(table: &Table, archive: &Folder) -> Result<Self, Fault> {
        let mut leaves = Self::default();
        for file in turnover::files(table)? {
            if file.dropped {
                leaves.dropped.push((file.first, file.last));
                continue;
            }
            if archive.digest(file.file)? != file.digest {
                return Err(Fault::damaged(format!("archive {}", file.file), "its digest is not the recorded one"));
            }
            archive.each(file.file, |bundle| {
                let appends = bundle.iter().flat_map(|archived| &archived.appends);
                leaves.archived.extend(appends.map(|(record, id)| (record.position, archive::leaf(record, *id))));
            })?;
        }
        Ok(leaves)
    }
}

/// Checks one group against its header: 1 if it cannot be proven because of archives that were dropped.
pub(super) fn group(table: &Table, header: &Header, known: &Leaves) -> Result<u64, Fault> {
    let mut leaves = Vec::new();
    for index in 0..header.appends {
        let position = layout::position(header.group, index);
        match reading::append_if_there(table, position)? {
            Some(framed) => {
                indexed(table, &framed.record)?;
                leaves.push(framed.leaf);
            }
            None => match known.archived.get(&position) {
                Some(leaf) => leaves.push(*leaf),
                None if known.dropped.iter().any(|(first, last)| (*first..=*last).contains(&position.0)) => {
                    return Ok(1);
                }
                None => return Err(Fault::damaged(format!("position {}", position.0), "the append is missing")),
            },
        }
    }
    if layout::merkle_root(leaves) == header.root {
        Ok(0)
    } else {
        Err(Fault::damaged(group_name(header), "its appends are not those of its header"))
    }
}

fn indexed(table: &Table, record: &Record) -> Result<(), Fault> {
    let Record { stream, version, position, .. } = record;
    let version = u32::try_from(version.0).unwrap_or(u32::MAX);
    match reading::index_entry(table, *stream, version)? {
        Some(IndexEntry { position: indexed, .. }) if indexed == *position => Ok(()),
        _ => Err(Fault::damaged(stream_name(*stream, version), "its index entry is missing or leads elsewhere")),
    }
}

fn group_name(header: &Header) -> String {
    format!("group {}", header.group)
}

fn stream_name(stream: StreamId, version: u32) -> String {
    format!("{stream:?} version {version}")
}

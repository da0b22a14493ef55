//! Archives: streams that nothing more is appended to, outside the database.
//!
//! `<dir>/archive/<number>.jsonl.zst` holds JSON lines, many in each zstd frame, so that what runs have in common is
//! stored once. A line is a *bundle*: an acceptance and its runs, whole. An entry is text with one character for each of
//! its bytes (ISO 8859-1), so that nothing is lost and `zstdcat` shows what it is about.
//!
//! ```text
//! {"streams":[{"stream":"<key, hexadecimal>","appends":[{"v":version,"p":position,"t":ms,"id":"<hex>","e":["…"]}]}]}
//! ```
//!
//! The database keeps the first index entry of each archived stream, with the place of its bundle: a repeated acceptance
//! still conflicts, and a run is still found by its id. Each file is a record `archive/<number>` too, with its digest.
//! From a line the exact frame of each append can be made again, which is how the journal is proven after archiving.

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File},
    io::{self, BufReader, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    fault::Fault,
    layout::{self, Hash},
    reading,
    table::Table,
    turnover,
};
use crate::{
    model::{hex::hex, id::AppendId, timestamp::Timestamp},
    ports::journal::{Append, Position, Record, StreamId, Version},
};

/// Lines that are compressed together, bytes before compression; reading one run reads so much.
const FRAME_BYTES: usize = 512 << 10;
/// Bytes after which a file takes no more.
const FILE_BYTES_LIMIT: u64 = 256 << 20;
/// zstd's level: archiving is rare, what it saves stays.
const LEVEL: i32 = 9;
/// Largest frame after decompression that is believed, bytes: a bundle of many runs may be larger than the others.
const FRAME_BYTES_LIMIT: u64 = 256 << 20;
/// Records that say which files there are begin so.
pub(super) const RECORD_PREFIX: &str = "archive/";
const PART: &str = ".part";

/// Where a bundle lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Location {
    pub(super) file: u32,
    /// Of the frame in the file.
    pub(super) offset: u32,
}

/// What is known of a file of archives, as a record in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveFile {
    /// Its number.
    pub file: u32,
    /// Its length, bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes, hexadecimal.
    pub digest: String,
    /// Acceptances in it, each with its runs.
    pub bundles: u64,
    /// Runs in it.
    pub runs: u64,
    /// Appends in it.
    pub appends: u64,
    /// The oldest append's time.
    pub from: Timestamp,
    /// The newest append's time.
    pub to: Timestamp,
    /// Its lowest position.
    pub first: u64,
    /// Its highest position.
    pub last: u64,
    /// Whether it was kept as long as was asked for, and is gone.
    #[serde(default)]
    pub dropped: bool,
}

impl ArchiveFile {
    /// The key of its record.
    pub(super) fn key(&self) -> String {
        format!("{RECORD_PREFIX}{:08}", self.file)
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    streams: Vec<Stream>,
}

#[derive(Serialize, Deserialize)]
struct Stream {
    stream: String,
    appends: Vec<Appended>,
}

#[derive(Serialize, Deserialize)]
struct Appended {
    v: u64,
    p: u64,
    t: i64,
    id: String,
    e: Vec<String>,
}

/// A stream as the archive has it: each append with its id.
pub(super) struct Archived {
    pub(super) stream: StreamId,
    pub(super) appends: Vec<(Record, AppendId)>,
}

/// The folder of archives.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    dir: PathBuf,
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// One character for each byte.
fn widen(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn narrow(text: &str) -> Option<Bytes> {
    text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect()
}

fn line(bundle: &[Archived]) -> Line {
    let stream = |archived: &Archived| Stream {
        stream: hex(&archived.stream.to_key()),
        appends: archived
            .appends
            .iter()
            .map(|(record, id)| Appended {
                v: record.version.0,
                p: record.position.0,
                t: record.time.millis(),
                id: hex(id.as_bytes()),
                e: record.entries.iter().map(|entry| widen(entry)).collect(),
            })
            .collect(),
    };
    Line { streams: bundle.iter().map(stream).collect() }
}

fn read_line(text: &[u8]) -> Option<Vec<Archived>> {
    let line: Line = serde_json::from_slice(text).ok()?;
    line.streams
        .into_iter()
        .map(|told| {
            let stream = StreamId::from_key(&unhex(&told.stream)?)?;
            let appends = told.appends.into_iter().map(|append| {
                let id = AppendId::from_bytes(unhex(&append.id)?.try_into().ok()?);
                let entries = append.e.iter().map(|entry| narrow(entry)).collect::<Option<Vec<_>>>()?;
                let record = Record {
                    stream,
                    version: Version(append.v),
                    position: Position(append.p),
                    time: Timestamp::from_millis(append.t),
                    entries,
                };
                Some((record, id))
            });
            Some(Archived { stream, appends: appends.collect::<Option<Vec<_>>>()? })
        })
        .collect()
}

/// The Merkle leaf of an append, from what the archive has of it.
pub(super) fn leaf(record: &Record, id: AppendId) -> Hash {
    frame(record, id, &mut Vec::new())
}

/// The exact frame of an append, from what the archive has of it; its Merkle leaf.
fn frame(record: &Record, id: AppendId, into: &mut Vec<u8>) -> Hash {
    let append = Append { stream: record.stream, expected: Version::default(), id, entries: record.entries.clone() };
    layout::frame_append(into, &append, record.version, record.position, record.time)
}

impl Folder {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn path(&self, file: u32) -> PathBuf {
        self.dir.join(format!("{file:08}.jsonl.zst"))
    }

    /// Begins to write files from a number on.
    pub(super) fn writer(&self, file: u32) -> io::Result<Writer> {
        if !self.dir.is_dir() {
            fs::create_dir(&self.dir)?;
            if let Some(parent) = self.dir.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Writer {
            folder: self.clone(),
            number: file,
            file: None,
            frame: Vec::new(),
            waiting: Vec::new(),
            locations: HashMap::new(),
            done: Vec::new(),
        })
    }

    /// Every line that was compressed together.
    fn text(&self, location: Location) -> Result<Vec<u8>, Fault> {
        let path = self.path(location.file);
        let place = || format!("archive {} at {}", location.file, location.offset);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Fault::damaged(place(), format!("`{}` is missing", path.display())));
            }
            Err(error) => return Err(error.into()),
        };
        let reader = BufReader::new(At { file, offset: u64::from(location.offset) });
        let damaged = |error: io::Error| Fault::damaged(place(), error.to_string());
        let decoder = zstd::stream::read::Decoder::with_buffer(reader).map_err(damaged)?.single_frame();
        let mut text = Vec::new();
        decoder.take(FRAME_BYTES_LIMIT).read_to_end(&mut text).map_err(damaged)?;
        Ok(text)
    }

    /// A stream whole, from the place that the database notes.
    pub(super) fn stream(&self, location: Location, stream: StreamId) -> Result<Archived, Fault> {
        let place = || format!("archive {} at {}", location.file, location.offset);
        let text = self.text(location)?;
        let key = hex(&stream.to_key());
        let wanted = |line: &&[u8]| line.windows(key.len()).any(|window| window == key.as_bytes());
        for line in text.split(|byte| *byte == b'\n').filter(wanted) {
            let bundle = read_line(line).ok_or_else(|| Fault::damaged(place(), "a line has no valid form"))?;
            if let Some(found) = bundle.into_iter().find(|archived| archived.stream == stream) {
                return Ok(found);
            }
        }
        Err(Fault::damaged(place(), format!("{stream:?} is not there")))
    }

    /// Goes through a file, bundle by bundle.
    pub(super) fn each(&self, file: u32, mut look: impl FnMut(Vec<Archived>)) -> Result<(), Fault> {
        let place = || format!("archive {file}");
        let damaged = |error: io::Error| Fault::damaged(place(), error.to_string());
        let decoder = zstd::stream::read::Decoder::new(File::open(self.path(file))?).map_err(damaged)?;
        let mut lines = BufReader::new(decoder);
        let mut text = Vec::new();
        loop {
            text.clear();
            if io::BufRead::read_until(&mut lines, b'\n', &mut text).map_err(damaged)? == 0 {
                return Ok(());
            }
            let bundle = read_line(text.strip_suffix(b"\n").unwrap_or(&text));
            look(bundle.ok_or_else(|| Fault::damaged(place(), "a line has no valid form"))?);
        }
    }

    /// BLAKE3 of a file, hexadecimal.
    pub(super) fn digest(&self, file: u32) -> io::Result<String> {
        digest(&self.path(file))
    }

    /// Removes files that no record names: left by a crash before the database took them up.
    pub(super) fn remove_unknown(&self, known: impl Fn(u32) -> bool) -> io::Result<()> {
        let Ok(files) = fs::read_dir(&self.dir) else { return Ok(()) };
        for entry in files {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let number = name.split('.').next().and_then(|number| number.parse().ok());
            if name.ends_with(PART) || number.is_some_and(|number| !known(number)) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// Frames of archived appends by their position, for whoever goes through the whole journal: where each lies is found
/// once, and what was read last is kept.
#[derive(Debug, Default)]
pub(super) struct Frames(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// How many archives were gone through.
    files: usize,
    places: HashMap<Position, Location>,
    /// Bundles read last, whole: frames of the journal follow each other in about the order of the archive.
    recent: VecDeque<(Location, HashMap<Position, Bytes>)>,
}

/// How many frames of archives are kept.
const RECENT_LIMIT: usize = 8;

impl Frames {
    /// The frame at a position that the database no longer holds.
    pub(super) fn frame(&self, table: &Table, folder: &Folder, position: Position) -> Result<Bytes, Fault> {
        let missing = || Fault::damaged(format!("position {}", position.0), "the append is missing");
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let files = turnover::files(table)?;
        if known.files != files.len() {
            *known = Known { files: files.len(), ..Known::default() };
            for file in files.iter().filter(|file| !file.dropped) {
                // Where a bundle lies is what the index entries of its streams say.
                folder.each(file.file, |bundle| {
                    let first = bundle.first().map(|archived| archived.stream);
                    let entry = first.and_then(|stream| reading::index_entry(table, stream, 1).ok().flatten());
                    let Some(location) = entry.and_then(|entry| entry.archived) else { return };
                    let appends = bundle.iter().flat_map(|archived| &archived.appends);
                    known.places.extend(appends.map(|(record, _)| (record.position, location)));
                })?;
            }
        }
        let location = known.places.get(&position).copied().ok_or_else(missing)?;
        if !known.recent.iter().any(|(at, _)| *at == location) {
            let mut frames = HashMap::new();
            for line in folder.text(location)?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                for (record, id) in read_line(line).ok_or_else(missing)?.into_iter().flat_map(|found| found.appends) {
                    let mut bytes = Vec::new();
                    frame(&record, id, &mut bytes);
                    frames.insert(record.position, Bytes::from(bytes));
                }
            }
            known.recent.push_front((location, frames));
            known.recent.truncate(RECENT_LIMIT);
        }
        let found = known.recent.iter().find(|(at, _)| *at == location);
        found.and_then(|(_, frames)| frames.get(&position).cloned()).ok_or_else(missing)
    }
}

fn digest(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// A file from a place on.
struct At {
    file: File,
    offset: u64,
}

impl Read for At {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Writes files of archives.
pub(super) struct Writer {
    folder: Folder,
    number: u32,
    file: Option<(File, ArchiveFile)>,
    frame: Vec<u8>,
    waiting: Vec<StreamId>,
    locations: HashMap<StreamId, Location>,
    done: Vec<ArchiveFile>,
}

impl Writer {
    /// Adds a bundle.
    pub(super) fn add(&mut self, bundle: &[Archived]) -> io::Result<()> {
        if self.file.is_none() {
            let path = self.folder.path(self.number).with_extension(PART);
            let about = ArchiveFile {
                file: self.number,
                bytes: 0,
                digest: String::new(),
                bundles: 0,
                runs: 0,
                appends: 0,
                from: Timestamp::from_millis(i64::MAX),
                to: Timestamp::from_millis(i64::MIN),
                first: u64::MAX,
                last: 0,
                dropped: false,
            };
            self.file = Some((File::create(path)?, about));
        }
        let Some((_, about)) = &mut self.file else { return Ok(()) };
        about.bundles += 1;
        for archived in bundle {
            about.runs += u64::from(matches!(archived.stream, StreamId::Run(_)));
            for (record, _) in &archived.appends {
                about.appends += 1;
                (about.from, about.to) = (about.from.min(record.time), about.to.max(record.time));
                (about.first, about.last) = (about.first.min(record.position.0), about.last.max(record.position.0));
            }
            self.waiting.push(archived.stream);
        }
        serde_json::to_writer(&mut self.frame, &line(bundle))?;
        self.frame.push(b'\n');
        if self.frame.len() >= FRAME_BYTES { self.end_frame() } else { Ok(()) }
    }

    fn end_frame(&mut self) -> io::Result<()> {
        let Some((file, about)) = &mut self.file else { return Ok(()) };
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?;
        encoder.include_checksum(true)?;
        encoder.write_all(&self.frame)?;
        let compressed = encoder.finish()?;
        let offset = u32::try_from(about.bytes).map_err(io::Error::other)?;
        file.write_all(&compressed)?;
        about.bytes += compressed.len() as u64;
        let location = Location { file: about.file, offset };
        self.locations.extend(self.waiting.drain(..).map(|stream| (stream, location)));
        self.frame.clear();
        if about.bytes >= FILE_BYTES_LIMIT { self.end_file() } else { Ok(()) }
    }

    fn end_file(&mut self) -> io::Result<()> {
        let Some((file, mut about)) = self.file.take() else { return Ok(()) };
        file.sync_all()?;
        let path = self.folder.path(about.file);
        let part = path.with_extension(PART);
        about.digest = digest(&part)?;
        fs::rename(part, path)?;
        File::open(&self.folder.dir)?.sync_all()?;
        self.number += 1;
        self.done.push(about);
        Ok(())
    }

    /// Makes everything durable: the files, and where each stream lies.
    pub(super) fn finish(mut self) -> io::Result<(Vec<ArchiveFile>, HashMap<StreamId, Location>)> {
        if !self.frame.is_empty() {
            self.end_frame()?;
        }
        self.end_file()?;
        Ok((self.done, self.locations))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::run_stream;

    fn archived(number: u64, entry: &[u8]) -> Archived {
        let record = Record {
            stream: run_stream(number),
            version: Version(1),
            position: layout::position(number, 0),
            time: Timestamp::from_millis(5),
            entries: vec![Bytes::copy_from_slice(entry), Bytes::new()],
        };
        Archived { stream: run_stream(number), appends: vec![(record, AppendId::from_bytes([7; 16]))] }
    }

    #[test]
    fn every_byte_of_a_stream_comes_back_and_what_streams_share_is_stored_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("archive"));
        let mut writer = folder.writer(3).unwrap();
        let all: Vec<u8> = (0..=255).cycle().take(2_000).collect();
        for number in 1..=2_000 {
            writer.add(&[archived(number, &all)]).unwrap();
        }
        let (files, locations) = writer.finish().unwrap();
        assert_eq!((files.len(), files[0].file, files[0].runs, files[0].appends), (1, 3, 2_000, 2_000));
        assert!(files[0].bytes < 2_000 * 60, "{} bytes", files[0].bytes);
        assert_eq!(folder.digest(3).unwrap(), files[0].digest);
        for number in [1, 777, 2_000] {
            let found = folder.stream(locations[&run_stream(number)], run_stream(number)).unwrap();
            assert_eq!(found.appends, archived(number, &all).appends);
        }
        let mut seen = 0;
        folder.each(3, |bundle| seen += bundle.len()).unwrap();
        assert_eq!(seen, 2_000);
    }

    #[test]
    fn a_damaged_archive_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("archive"));
        let mut writer = folder.writer(1).unwrap();
        writer.add(&[archived(1, b"an entry that matters")]).unwrap();
        let (_, locations) = writer.finish().unwrap();
        let whole = fs::read(folder.path(1)).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(folder.path(1), bytes).unwrap();
            let read = folder.stream(locations[&run_stream(1)], run_stream(1));
            let same = read.is_ok_and(|found| found.appends == archived(1, b"an entry that matters").appends);
            // Bits that zstd ignores change nothing of what is read; any other change is an error.
            assert!(!same || at < 6, "byte {at}");
        }
    }
}

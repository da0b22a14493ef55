//! Proves an export: reads a folder, and nothing else but a public key and perhaps an anchor.
//!
//! ```text
//! manifest.json       the head, signed as a checkpoint, and name, size and SHA-256 of every file below
//! manifest.json.sig   the hub's signature over manifest.json as it is, base 64
//! hub.pub             the hub's public key, for convenience: trust the one that was obtained elsewhere
//! batches.bin         the header of each batch, one after the other
//! entries.bin         the frame of each append, one after the other
//! audit.jsonl         the audit records, readable: a line for each
//! checkpoints.jsonl   what the hub signed while it ran
//! blobs/<sha256>      large facts, and what audit records name by digest
//! README.txt          how to check all this by other means
//! ```
//!
//! Every byte of every file counts, and so does every file: the signature covers the manifest, the manifest covers the
//! other files, and the chain of batches says in which of them something was changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    path::Path,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::key::{CHECKPOINTS_FILE, PUBLIC_KEY_FILE};
use crate::{
    app::facts,
    model::{
        audit::SignedCheckpoint,
        id::{ChainHash, Digest, KeyId},
        timestamp::Timestamp,
    },
    policy::{
        chain::{self, HEADER_BYTES},
        replay::{Broken, Held, Place, Replay},
        seal::{PublicKey, SealError},
    },
    ports::journal::StreamId,
};

/// The format that is written today.
pub const FORMAT: &str = "crossdock audit export 1";
/// The list of files, and the head.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The signature over it.
pub const SIGNATURE_FILE: &str = "manifest.json.sig";
/// Batches' headers.
pub const BATCHES_FILE: &str = "batches.bin";
/// Appends' frames.
pub const ENTRIES_FILE: &str = "entries.bin";
/// Audit records, readable.
pub const AUDIT_FILE: &str = "audit.jsonl";
/// What to do with all this.
pub const README_FILE: &str = "README.txt";
/// Folder of blobs.
pub const BLOBS_FOLDER: &str = "blobs";

/// Largest frame that is read, bytes; the largest append is far below it.
const FRAME_BYTES_LIMIT: usize = 16 << 20;
/// Longest line that is read, bytes.
const LINE_BYTES_LIMIT: u64 = 1 << 20;
/// The beginning of a frame that tells its length, bytes.
const FRAME_START_BYTES: usize = 5;

/// The list of an export's files, and its head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// The head, signed when the export was made.
    pub head: SignedCheckpoint,
    /// How many audit records there are.
    pub audit_records: u64,
    /// Every file but this one and its signature, by name.
    pub files: Vec<Listed>,
}

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Its name within the folder, parts divided by `/`.
    pub name: String,
    /// Its size, bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub digest: Digest,
}

/// What was proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// The hub's id.
    pub hub: String,
    /// The key whose signatures hold.
    pub key: KeyId,
    /// The last batch; all from the first one on are there.
    pub batches: u64,
    /// Appends in them.
    pub appends: u64,
    /// Audit records among those.
    pub audit_records: u64,
    /// Checkpoints from while the hub ran that agree.
    pub checkpoints: u64,
    /// Files, the manifest and its signature included.
    pub files: u64,
    /// The hash of the last batch's header, which covers everything.
    pub chain: ChainHash,
    /// When the head was signed.
    pub signed: Timestamp,
    /// The anchor that agrees; absent: none was given, and nothing says that the hub did not leave out an end.
    pub anchor: Option<Anchored>,
}

/// An anchor that agrees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Anchored {
    /// The batch up to which nothing is missing.
    pub batch: u64,
    /// When the anchor was signed.
    pub signed: Timestamp,
}

/// Why an export proves nothing, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}{problem}", self.describe())]
pub struct Refused {
    /// The file, or `the anchor`.
    pub file: String,
    /// The batch, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
    /// Which append of the batch, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub append: Option<u64>,
    /// The number of the audit record, or of the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// What is wrong.
    pub problem: String,
}

impl Refused {
    fn describe(&self) -> String {
        let mut text = if self.file == ANCHOR { self.file.clone() } else { format!("`{}`", self.file) };
        for (name, number) in [("batch", self.batch), ("append", self.append), ("record", self.sequence)] {
            if let Some(number) = number {
                text.push_str(&format!(", {name} {number}"));
            }
        }
        text.push_str(": ");
        text
    }

    fn at(file: &str, place: Place, problem: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            batch: Some(place.batch),
            append: place.append,
            sequence: place.sequence,
            problem: problem.into(),
        }
    }

    fn broken(file: &str, broken: Broken) -> Self {
        Self::at(file, broken.place, broken.problem)
    }
}

const ANCHOR: &str = "the anchor";

fn refused(file: &str, problem: impl Into<String>) -> Refused {
    Refused { file: file.to_owned(), batch: None, append: None, sequence: None, problem: problem.into() }
}

fn unreadable(file: &str) -> impl Fn(io::Error) -> Refused {
    let file = file.to_owned();
    move |error| match error.kind() {
        io::ErrorKind::NotFound => refused(&file, "the file is missing"),
        _ => refused(&file, format!("it cannot be read: {error}")),
    }
}

/// Proves a folder. Blocks, and reads all of it.
///
/// # Errors
/// The first thing that is not as the hub wrote it, with its place.
pub fn verify(dir: &Path, key: &PublicKey, anchor: Option<&SignedCheckpoint>) -> Result<Proof, Refused> {
    let manifest = manifest(dir, key)?;
    if let Some(anchor) = anchor {
        key.verify_checkpoint(anchor).map_err(|error| refused(ANCHOR, sealed(&error)))?;
        if anchor.checkpoint.hub != manifest.head.checkpoint.hub {
            let other = &anchor.checkpoint.hub;
            return Err(refused(ANCHOR, format!("it is of another hub, `{other}`")));
        }
    }
    let listed = files(dir, &manifest)?;
    let checkpoints = checkpoints(dir, key)?;
    let mut reading = Reading {
        replay: Replay::default(),
        batches: Source::open(dir, BATCHES_FILE)?,
        entries: Source::open(dir, ENTRIES_FILE)?,
        audit: Source::open(dir, AUDIT_FILE)?,
        listed: &listed,
    };
    let mut due = checkpoints.iter().enumerate().peekable();
    loop {
        let (batch, ..) = reading.replay.head();
        while let Some((index, signed)) = due.next_if(|(_, signed)| signed.checkpoint.batch <= batch) {
            reading.replay.agrees(&signed.checkpoint).map_err(|broken| Refused {
                sequence: Some(index as u64 + 1),
                ..Refused::broken(CHECKPOINTS_FILE, broken)
            })?;
        }
        if let Some(anchor) = anchor.filter(|anchor| anchor.checkpoint.batch == batch) {
            reading.replay.agrees(&anchor.checkpoint).map_err(|broken| Refused::broken(ANCHOR, broken))?;
        }
        if !reading.batch()? {
            break;
        }
    }
    let (batch, chain, appends) = reading.replay.head();
    let head = &manifest.head.checkpoint;
    reading.replay.agrees(head).map_err(|broken| {
        let problem = format!("the batches end at {batch} and are not those of the signed head: {}", broken.problem);
        Refused::at(BATCHES_FILE, Place { batch, ..Place::default() }, problem)
    })?;
    if let Some((index, signed)) = due.next() {
        let problem = format!("the export ends at batch {batch}, but the hub signed batch {}", signed.checkpoint.batch);
        return Err(Refused { sequence: Some(index as u64 + 1), ..refused(CHECKPOINTS_FILE, problem) });
    }
    if let Some(anchor) = anchor.filter(|anchor| anchor.checkpoint.batch > batch) {
        let (signed, time) = (anchor.checkpoint.batch, anchor.checkpoint.time);
        let problem = format!(
            "the export ends at batch {batch}, but at {time} the hub signed batch {signed}: everything between is missing"
        );
        return Err(Refused { batch: Some(batch), ..refused(ANCHOR, problem) });
    }
    let audit_records = reading.replay.audit_records();
    if audit_records != manifest.audit_records {
        let problem = format!("it counts {} audit records, but there are {audit_records}", manifest.audit_records);
        return Err(refused(MANIFEST_FILE, problem));
    }
    for source in [reading.batches, reading.entries, reading.audit] {
        source.finish(&listed)?;
    }
    for name in listed.keys().filter(|name| ![BATCHES_FILE, ENTRIES_FILE, AUDIT_FILE].contains(&name.as_str())) {
        let digest = Source::open(dir, name)?.finish(&listed)?;
        let blob = name.strip_prefix(BLOBS_FOLDER).and_then(|name| name.strip_prefix('/'));
        if blob.is_some_and(|blob| digest.to_string() != format!("sha256:{blob}")) {
            return Err(refused(name, "its name is not the SHA-256 of its content"));
        }
    }
    Ok(Proof {
        hub: head.hub.clone(),
        key: key.id(),
        batches: batch,
        appends,
        audit_records,
        checkpoints: checkpoints.len() as u64,
        files: listed.len() as u64 + 2,
        chain,
        signed: head.time,
        anchor: anchor.map(|anchor| Anchored { batch: anchor.checkpoint.batch, signed: anchor.checkpoint.time }),
    })
}

fn sealed(error: &SealError) -> String {
    match error {
        SealError::Wrong { .. } | SealError::OtherKey { .. } => {
            format!(
                "{error}: it was changed after it was signed, or signed by somebody else, or the key is another hub's"
            )
        }
        _ => error.to_string(),
    }
}

/// The manifest, if the key signed it.
fn manifest(dir: &Path, key: &PublicKey) -> Result<Manifest, Refused> {
    let bytes = fs::read(dir.join(MANIFEST_FILE)).map_err(unreadable(MANIFEST_FILE))?;
    let signature = fs::read(dir.join(SIGNATURE_FILE)).map_err(unreadable(SIGNATURE_FILE))?;
    let line = String::from_utf8(signature).ok().and_then(|text| text.strip_suffix('\n').map(str::to_owned));
    let line = line.ok_or_else(|| refused(SIGNATURE_FILE, "it is not one line of base 64"))?;
    let parsed: Result<Manifest, _> = serde_json::from_slice(&bytes);
    if let Err(error) = key.verify(&bytes, &line) {
        // Which key it says that it was signed by helps whoever confuses two.
        let error = match &parsed {
            Ok(manifest) if manifest.head.checkpoint.key != key.id() => {
                SealError::OtherKey { signed_by: manifest.head.checkpoint.key, key: key.id() }
            }
            _ => error,
        };
        let file = if matches!(error, SealError::Form) { SIGNATURE_FILE } else { MANIFEST_FILE };
        return Err(refused(file, sealed(&error)));
    }
    let manifest =
        parsed.map_err(|error| refused(MANIFEST_FILE, format!("it is not a list that this release reads: {error}")))?;
    if manifest.format != FORMAT {
        let problem = format!("its format is `{}`; this release reads `{FORMAT}`", manifest.format);
        return Err(refused(MANIFEST_FILE, problem));
    }
    key.verify_checkpoint(&manifest.head).map_err(|error| refused(MANIFEST_FILE, format!("its head: {error}")))?;
    Ok(manifest)
}

type Files<'a> = BTreeMap<String, &'a Listed>;

/// The listed files by name, if these and no others are there.
fn files<'a>(dir: &Path, manifest: &'a Manifest) -> Result<Files<'a>, Refused> {
    let listed: Files<'_> = manifest.files.iter().map(|file| (file.name.clone(), file)).collect();
    let mut there = BTreeSet::new();
    walk(dir, "", &mut there)?;
    for name in &there {
        if name != MANIFEST_FILE && name != SIGNATURE_FILE && !listed.contains_key(name) {
            return Err(refused(name, "it is not part of the export: the manifest does not list it"));
        }
    }
    match listed.keys().find(|name| !there.contains(*name)) {
        Some(missing) => Err(refused(missing, "the file is missing")),
        None => Ok(listed),
    }
}

fn walk(dir: &Path, prefix: &str, found: &mut BTreeSet<String>) -> Result<(), Refused> {
    let folder = if prefix.is_empty() { "." } else { prefix.trim_end_matches('/') };
    for entry in fs::read_dir(dir).map_err(unreadable(folder))? {
        let entry = entry.map_err(unreadable(folder))?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().map_err(unreadable(&name))?;
        if kind.is_dir() && name == BLOBS_FOLDER {
            walk(&entry.path(), &format!("{name}/"), found)?;
        } else if kind.is_file() {
            found.insert(name);
        } else {
            return Err(refused(&name, "it is not part of an export: neither a file nor the folder of blobs"));
        }
    }
    Ok(())
}

/// The checkpoints that the hub signed while it ran, in the order of their batches.
fn checkpoints(dir: &Path, key: &PublicKey) -> Result<Vec<SignedCheckpoint>, Refused> {
    let text = fs::read(dir.join(CHECKPOINTS_FILE)).map_err(unreadable(CHECKPOINTS_FILE))?;
    let mut signed: Vec<SignedCheckpoint> = Vec::new();
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let wrong =
            |problem: String| Refused { sequence: Some(index as u64 + 1), ..refused(CHECKPOINTS_FILE, problem) };
        let checkpoint: SignedCheckpoint =
            serde_json::from_slice(line).map_err(|error| wrong(format!("it is not a checkpoint: {error}")))?;
        key.verify_checkpoint(&checkpoint).map_err(|error| wrong(sealed(&error)))?;
        if signed.last().is_some_and(|last| last.checkpoint.batch >= checkpoint.checkpoint.batch) {
            return Err(wrong("it is not after the one before it".to_owned()));
        }
        signed.push(checkpoint);
    }
    Ok(signed)
}

/// The files that are read side by side.
struct Reading<'a> {
    replay: Replay,
    batches: Source,
    entries: Source,
    audit: Source,
    listed: &'a Files<'a>,
}

impl Reading<'_> {
    /// Reads the next batch; whether there was one.
    fn batch(&mut self) -> Result<bool, Refused> {
        let batch = self.replay.head().0 + 1;
        let place = Place { batch, ..Place::default() };
        let header = match self.batches.take(HEADER_BYTES)? {
            Taken::Nothing => return Ok(false),
            Taken::Cut => return Err(Refused::at(BATCHES_FILE, place, "its header is cut off")),
            Taken::Whole(bytes) => bytes,
        };
        let appends = self.replay.begin(&header).map_err(|broken| Refused::broken(BATCHES_FILE, broken))?;
        for append in 0..u64::from(appends) {
            let frame = self.frame(Place { append: Some(append), ..place })?;
            let held = self.replay.append(&frame).map_err(|broken| Refused::broken(ENTRIES_FILE, broken))?;
            self.readable(&held)?;
            self.kept(&held, Place { append: Some(append), ..place })?;
        }
        self.replay.end().map_err(|broken| Refused::broken(BATCHES_FILE, broken))?;
        Ok(true)
    }

    fn frame(&mut self, place: Place) -> Result<Bytes, Refused> {
        let wrong = |problem: &str| Refused::at(ENTRIES_FILE, place, problem);
        let mut frame = match self.entries.take(FRAME_START_BYTES)? {
            Taken::Whole(bytes) => bytes,
            Taken::Nothing | Taken::Cut => return Err(wrong("it is missing: the file ends before it")),
        };
        let length = chain::frame_length(&frame).filter(|length| *length <= FRAME_BYTES_LIMIT);
        let length = length.ok_or_else(|| wrong("its beginning is not that of an append"))?;
        match self.entries.take(length - FRAME_START_BYTES)? {
            Taken::Whole(rest) => frame.extend_from_slice(&rest),
            Taken::Nothing | Taken::Cut => return Err(wrong("it is cut off: the file ends within it")),
        }
        Ok(frame.into())
    }

    /// Holds the readable lines against the audit records.
    fn readable(&mut self, held: &Held) -> Result<(), Refused> {
        for line in &held.audit {
            let mut expected = line.to_json();
            expected.push('\n');
            let found = self.audit.line()?;
            if found != expected.as_bytes() {
                let place = Place { batch: line.batch, append: Some(line.append), sequence: Some(line.sequence) };
                let problem =
                    if found.is_empty() { "the line is missing" } else { "the line is not that of the record" };
                return Err(Refused::at(AUDIT_FILE, place, problem));
            }
        }
        Ok(())
    }

    /// Large facts must be there.
    fn kept(&self, held: &Held, place: Place) -> Result<(), Refused> {
        if held.record.stream == StreamId::Audit {
            return Ok(());
        }
        for digest in held.record.entries.iter().filter_map(|entry| facts::kept_apart(entry)) {
            let name = blob_name(digest);
            if !self.listed.contains_key(&name) {
                return Err(Refused::at(
                    ENTRIES_FILE,
                    place,
                    format!("its content `{name}` is not part of the export"),
                ));
            }
        }
        Ok(())
    }
}

/// The name of a blob's file.
#[must_use]
pub fn blob_name(digest: Digest) -> String {
    let text = digest.to_string();
    format!("{BLOBS_FOLDER}/{}", text.strip_prefix("sha256:").unwrap_or(&text))
}

/// A file that is read from its beginning to its end, and hashed meanwhile.
struct Source {
    name: String,
    reader: BufReader<File>,
    hasher: Sha256,
    bytes: u64,
}

/// What was there to be read.
enum Taken {
    Whole(Vec<u8>),
    Cut,
    Nothing,
}

impl Source {
    fn open(dir: &Path, name: &str) -> Result<Self, Refused> {
        let file = File::open(dir.join(name)).map_err(unreadable(name))?;
        Ok(Self { name: name.to_owned(), reader: BufReader::new(file), hasher: Sha256::new(), bytes: 0 })
    }

    fn count(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn take(&mut self, length: usize) -> Result<Taken, Refused> {
        let mut bytes = Vec::with_capacity(length);
        let read = (&mut self.reader).take(length as u64).read_to_end(&mut bytes).map_err(unreadable(&self.name))?;
        self.count(&bytes);
        Ok(match read {
            _ if read == length => Taken::Whole(bytes),
            0 => Taken::Nothing,
            _ => Taken::Cut,
        })
    }

    /// A line with its line feed; empty at the end.
    fn line(&mut self) -> Result<Vec<u8>, Refused> {
        let mut line = Vec::new();
        let mut limited = (&mut self.reader).take(LINE_BYTES_LIMIT);
        limited.read_until(b'\n', &mut line).map_err(unreadable(&self.name))?;
        self.count(&line);
        Ok(line)
    }

    /// Reads the rest, and holds the whole against the list.
    fn finish(mut self, listed: &Files<'_>) -> Result<Digest, Refused> {
        let before = self.bytes;
        let mut chunk = vec![0; 64 << 10];
        loop {
            let read = self.reader.read(&mut chunk).map_err(unreadable(&self.name))?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            self.hasher.update(bytes);
            self.bytes += read as u64;
        }
        let digest = Digest::from_bytes(self.hasher.finalize().into());
        let Some(file) = listed.get(&self.name) else {
            return Err(refused(&self.name, "the manifest does not list it"));
        };
        let read_on = [BATCHES_FILE, ENTRIES_FILE, AUDIT_FILE].contains(&self.name.as_str());
        if read_on && self.bytes > before {
            let problem = format!("{} bytes follow after its end at byte {before}", self.bytes - before);
            return Err(refused(&self.name, problem));
        }
        if self.bytes != file.bytes {
            return Err(refused(&self.name, format!("it is {} bytes, and was {}", self.bytes, file.bytes)));
        }
        if digest != file.digest {
            return Err(refused(&self.name, format!("its SHA-256 is {digest}, and was {}", file.digest)));
        }
        Ok(digest)
    }
}

/// Whether a file is one that a verifier must not be given as the key without a warning.
#[must_use]
pub fn is_within(dir: &Path, key: &Path) -> bool {
    match (fs::canonicalize(dir), fs::canonicalize(key)) {
        (Ok(dir), Ok(key)) => key == dir.join(PUBLIC_KEY_FILE),
        _ => false,
    }
}

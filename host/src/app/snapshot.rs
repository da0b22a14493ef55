//! What a hub derives from its journal (the list of runs, signals, open questions), kept in a file, so that a start
//! replays only what came after.
//!
//! ```text
//! <data>/index.snapshot    8 magic "XDINDEX3" | 32 BLAKE3 of the rest | zstd of items, each: 4 length, MessagePack
//! ```
//!
//! The journal is the only truth: a file that is damaged, of another format, of other pipelines, or of another journal
//! is thrown away, and everything is derived anew. It is made by the same fold as at a start, from the snapshot before
//! it and the journal's tail, never from what a busy hub has in memory; beside it, in the memory of what the tail is about.

mod item;
mod renewal;

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

use self::item::{Item, QuestionItem, RunItem};
pub use self::renewal::renew;
use super::{
    exceptions::Exceptions,
    facts::{Facts, FactsError},
    inbox::Inbox,
    index::Index,
    installation::Installation,
    mailbox::Mailbox,
};
use crate::{
    model::{
        entry::{Accepted, Entry},
        id::{AcceptanceId, Digest, RunId},
        timestamp::Timestamp,
    },
    policy::chain::{self, Hash},
    ports::{
        hub::QuestionFilter,
        journal::{Position, StreamId},
    },
    store::disk::Store,
};

const MAGIC: [u8; 8] = *b"XDINDEX3";
const FILE: &str = "index.snapshot";
/// How many appends one look at the journal reads.
const TAIL_PAGE: usize = 512;
/// Appends after which a new snapshot is worth its making; a start replays at most about twice as many.
pub const EVERY_APPENDS: u64 = 200_000;
/// Largest item, bytes.
const ITEM_BYTES_LIMIT: u32 = 16 << 20;
const LEVEL: i32 = 1;

/// What is derived.
#[derive(Clone, Copy)]
pub struct Derived<'a> {
    /// The list of runs.
    pub index: &'a Index,
    /// Signals and who waits for them.
    pub mailbox: &'a Mailbox,
    /// Open questions.
    pub inbox: &'a Inbox,
    /// Open exceptions.
    pub exceptions: &'a Exceptions,
}

/// How far a fold has got.
#[derive(Default)]
pub struct Progress {
    /// The last append that was taken in.
    pub position: Position,
    /// The latest time that any fact names.
    pub newest: Timestamp,
    /// Appends that were read, those of the snapshot not counted.
    pub folded: u64,
    /// Acceptances with runs that have not begun.
    pub pending: Vec<AcceptanceId>,
}

/// Takes in the journal from where a fold has got to up to its end.
///
/// # Errors
/// If the journal cannot be read.
pub async fn fold(
    facts: &Facts,
    installation: &Installation,
    derived: Derived<'_>,
    progress: &mut Progress,
) -> Result<(), FactsError> {
    fold_to(facts, installation, derived, progress, Position(u64::MAX)).await
}

/// The same up to a position.
async fn fold_to(
    facts: &Facts,
    installation: &Installation,
    derived: Derived<'_>,
    progress: &mut Progress,
    end: Position,
) -> Result<(), FactsError> {
    let mut accepted: Vec<(AcceptanceId, Vec<RunId>)> = Vec::new();
    for id in std::mem::take(&mut progress.pending) {
        let (entries, _) = facts.read(StreamId::Acceptance(id)).await?;
        accepted.extend(entries.iter().filter_map(|entry| starts(id, entry)));
    }
    loop {
        let mut page = facts.tail(progress.position, TAIL_PAGE).await?;
        page.retain(|stored| stored.position <= end);
        let Some(last) = page.last() else { break };
        progress.position = last.position;
        progress.folded += page.len() as u64;
        for stored in page {
            let newest = stored.entries.iter().filter_map(Entry::time).max();
            progress.newest = newest.map_or(progress.newest, |newest| newest.max(progress.newest));
            match stored.stream {
                StreamId::Acceptance(id) => {
                    for entry in &stored.entries {
                        if let Entry::Accepted(fact) = entry {
                            lay(installation, derived.mailbox, id, fact);
                        }
                        accepted.extend(starts(id, entry));
                    }
                }
                StreamId::Run(run) => {
                    derived.index.add(run, &stored.shown());
                    // What lies there is offered to the run when it is taken up.
                    derived.mailbox.observe(run, &stored.entries);
                    derived.inbox.observe(run, &stored.entries);
                    derived.exceptions.observe(run, &stored.shown());
                }
                StreamId::Audit => {}
            }
        }
        // Those whose every run has begun need not be kept in memory until the end.
        accepted.retain(|(_, runs)| runs.iter().any(|run| !derived.index.contains(*run)));
    }
    progress.pending = accepted.into_iter().map(|(id, _)| id).collect();
    Ok(())
}

fn lay(installation: &Installation, mailbox: &Mailbox, id: AcceptanceId, fact: &Accepted) {
    for key in installation.signal_keys(&fact.event) {
        mailbox.keep(key, fact.time, id);
    }
}

fn starts(id: AcceptanceId, entry: &Entry) -> Option<(AcceptanceId, Vec<RunId>)> {
    match entry {
        Entry::Accepted(fact) if !fact.starts.is_empty() => {
            Some((id, fact.starts.iter().map(|start| start.run).collect()))
        }
        _ => None,
    }
}

/// Names the pipelines that what is derived depends on.
fn plans(installation: &Installation) -> Digest {
    let mut digests: Vec<&Digest> = installation.plans.keys().collect();
    digests.sort_unstable();
    Digest::of(&digests.iter().flat_map(|digest| *digest.as_bytes()).collect::<Vec<u8>>())
}

/// The hash of the header that a position lies under; absent: there is no such batch.
async fn chain_at(store: &Store, position: Position) -> Option<Hash> {
    let (batch, _) = chain::place(position);
    let headers = store.headers(batch.checked_sub(1)?, 1).await.ok()?;
    headers.first().map(chain::Header::hash)
}

/// The file of a data folder.
#[must_use]
pub fn path(data: &Path) -> PathBuf {
    data.join(FILE)
}

/// What a snapshot tells, read before the store is open.
#[derive(Default)]
pub struct Loaded {
    /// The list of runs.
    pub index: Index,
    /// Signals and who waits for them.
    pub mailbox: Mailbox,
    /// Open questions.
    pub inbox: Inbox,
    /// Open exceptions.
    pub exceptions: Exceptions,
    /// What has to hold before any of it is believed; absent: it is empty.
    pub claim: Option<Claim>,
}

/// What a snapshot says that it is of.
pub struct Claim {
    chain: Hash,
    plans: Digest,
    progress: Progress,
}

impl Claim {
    /// Whether it is of this journal and these pipelines.
    async fn holds(&self, store: &Store, installation: &Installation) -> bool {
        self.plans == plans(installation) && chain_at(store, self.progress.position).await == Some(self.chain)
    }
}

impl Loaded {
    /// Its parts, to go on from.
    #[must_use]
    pub fn derived(&self) -> Derived<'_> {
        Derived { index: &self.index, mailbox: &self.mailbox, inbox: &self.inbox, exceptions: &self.exceptions }
    }
}

/// Reads the snapshot of a data folder; nothing if there is none that can be used. The whole file is held to its digest
/// before anything of it is taken in. Blocks, and may take seconds.
#[must_use]
pub fn read(data: &Path) -> Loaded {
    let path = path(data);
    let mut loaded = Loaded::default();
    match try_read(&path, &mut loaded) {
        Ok(()) => loaded,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, "the snapshot of the list of runs cannot be used; it is derived anew");
                let _ = fs::remove_file(path);
            }
            Loaded::default()
        }
    }
}

fn try_read(path: &Path, loaded: &mut Loaded) -> io::Result<()> {
    let (mut claim, mut body) = open(path)?;
    let derived = loaded.derived();
    each(&mut body, |item, _| {
        take(item, derived, &mut claim.progress);
        Ok(())
    })?;
    loaded.claim = Some(claim);
    Ok(())
}

/// Whether a snapshot is of this journal and these pipelines: then how far it has got. If it is not, everything that was
/// taken in is forgotten.
pub async fn confirm(
    claim: Option<Claim>,
    store: &Store,
    installation: &Installation,
    derived: Derived<'_>,
) -> Option<Progress> {
    let claim = claim?;
    if claim.holds(store, installation).await {
        return Some(claim.progress);
    }
    tracing::info!("the snapshot of the list of runs is of other pipelines or another journal; it is derived anew");
    derived.index.forget_all();
    derived.mailbox.forget_all();
    derived.inbox.forget_all();
    derived.exceptions.forget_all();
    None
}

type Body = zstd::stream::read::Decoder<'static, BufReader<File>>;

/// Opens a snapshot whose digest is right: what it says that it is of, and what comes after that.
fn open(path: &Path) -> io::Result<(Claim, Body)> {
    let mut file = File::open(path)?;
    let mut start = [0; 40];
    file.read_exact(&mut start)?;
    let (magic, digest) = start.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(io::Error::other("it is of another format"));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&mut file)?;
    if hasher.finalize().as_bytes() != digest {
        return Err(io::Error::other("its digest does not match"));
    }
    file.seek(SeekFrom::Start(start.len() as u64))?;
    let mut body = zstd::stream::read::Decoder::new(file)?;
    let Item::Head { position, chain, plans, newest } = decode(&next(&mut body)?)? else {
        return Err(io::Error::other("it does not begin with a head"));
    };
    let progress = Progress { position: Position(position), newest, ..Progress::default() };
    Ok((Claim { chain, plans, progress }, body))
}

fn next(body: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    body.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > ITEM_BYTES_LIMIT {
        return Err(io::Error::other("an item is too large"));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    body.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> io::Result<Item> {
    rmp_serde::from_slice(bytes).map_err(io::Error::other)
}

/// Looks at each item, with its bytes; in the end, that none is missing.
fn each(body: &mut Body, mut look: impl FnMut(Item, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut count = 0;
    loop {
        let bytes = next(body)?;
        match decode(&bytes)? {
            Item::Head { .. } => return Err(io::Error::other("it begins twice")),
            Item::End { items } if items == count => return Ok(()),
            Item::End { .. } => return Err(io::Error::other("items are missing")),
            item => look(item, &bytes)?,
        }
        count += 1;
    }
}

fn take(item: Item, derived: Derived<'_>, progress: &mut Progress) {
    match item {
        Item::Head { .. } | Item::End { .. } => {}
        Item::Run(item) => derived.index.restore(item.0),
        Item::Settled(run) => derived.index.restore_settled(run),
        Item::Waits(run, keys) => derived.mailbox.restore(run, keys),
        Item::Kept(key, time, acceptance) => drop(derived.mailbox.keep(key, time, acceptance)),
        Item::Question(item) => derived.inbox.restore(item.0),
        Item::Undone(run, time, keys) => derived.mailbox.restore_undone(run, time, keys),
        Item::Exception(run, opened) => derived.exceptions.restore(run, *opened),
        Item::Pending(id) => progress.pending.push(id),
    }
}

/// Writes a snapshot of what a fold has derived, durably and whole or not at all.
///
/// # Errors
/// If the file cannot be written; the one before it stays.
pub async fn save(
    data: &Path,
    store: &Store,
    installation: &Installation,
    derived: Derived<'_>,
    progress: &Progress,
) -> io::Result<()> {
    match head(store, installation, progress).await {
        Some(head) => write(data, &head, derived, progress, |_| Ok(())),
        None => Ok(()),
    }
}

/// What a snapshot that has got so far says that it is of; absent: the journal has no such place.
async fn head(store: &Store, installation: &Installation, progress: &Progress) -> Option<Item> {
    let chain = chain_at(store, progress.position).await?;
    let (position, newest) = (progress.position.0, progress.newest);
    Some(Item::Head { position, chain, plans: plans(installation), newest })
}

/// Writes a snapshot, after items from elsewhere. Blocks, and may take seconds.
fn write(
    data: &Path,
    head: &Item,
    derived: Derived<'_>,
    progress: &Progress,
    first: impl FnOnce(&mut Writer) -> io::Result<()>,
) -> io::Result<()> {
    let path = path(data);
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(&[0; 40])?;
    let body = zstd::stream::write::Encoder::new(BufWriter::new(file), LEVEL)?;
    let mut writer = Writer { body, items: 0, failed: None };
    writer.put(head);
    writer.items = 0;
    first(&mut writer)?;
    {
        let output = std::cell::RefCell::new(&mut writer);
        let put = |item: &Item| output.borrow_mut().put(item);
        derived.index.each(|run| put(&Item::Run(Box::new(RunItem(run)))), |run| put(&Item::Settled(run)));
        derived.mailbox.each(
            |run, keys| put(&Item::Waits(run, keys.to_vec())),
            |run, time, keys| put(&Item::Undone(run, time, keys.to_vec())),
            |key, time, acceptance| put(&Item::Kept(key, time, acceptance)),
        );
        for open in derived.inbox.list(&QuestionFilter { limit: usize::MAX, ..QuestionFilter::default() }) {
            put(&Item::Question(Box::new(QuestionItem(open))));
        }
        derived.exceptions.each(|run, opened| put(&Item::Exception(run, Box::new(opened.clone()))));
        progress.pending.iter().for_each(|id| put(&Item::Pending(*id)));
    }
    let items = writer.items;
    writer.put(&Item::End { items });
    let file = writer.finish()?;
    seal(file, &part)?;
    fs::rename(&part, &path)?;
    File::open(data)?.sync_all()
}

/// Writes the digest of what follows it.
fn seal(mut file: File, part: &Path) -> io::Result<()> {
    let mut hasher = blake3::Hasher::new();
    let mut body = File::open(part)?;
    body.seek(SeekFrom::Start(40))?;
    hasher.update_reader(body)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&MAGIC)?;
    file.write_all(hasher.finalize().as_bytes())?;
    file.sync_all()
}

struct Writer {
    body: zstd::stream::write::Encoder<'static, BufWriter<File>>,
    /// How many there are.
    items: u64,
    failed: Option<io::Error>,
}

impl Writer {
    fn put(&mut self, item: &Item) {
        if self.failed.is_none()
            && let Err(error) = self.try_put(item)
        {
            self.failed = Some(error);
        }
    }

    fn try_put(&mut self, item: &Item) -> io::Result<()> {
        self.put_bytes(&rmp_serde::to_vec(item).map_err(io::Error::other)?)
    }

    fn put_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.items += 1;
        self.body.write_all(&length.to_le_bytes())?;
        self.body.write_all(bytes)
    }

    fn finish(self) -> io::Result<File> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.body.finish()?.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

#[cfg(test)]
mod tests;

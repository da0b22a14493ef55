//! Opens a store, and refuses what it cannot show to be whole: a database behind the acknowledged head, shortened,
//! or damaged. Nothing is repaired by forgetting.
//!
//! In order: lock; compare the head with the length of the database file, before sled can touch it; remove what a crash
//! left of a snapshot; open sled behind a guard, once more without its snapshots if those are what is damaged; give it what
//! only the log has; compare the head with the last group; sync all that; empty the log.
//!
//! sled gives back free segments at the end of its file in the background, so a file that is shorter by whole segments
//! may be sound. A copy of it is then opened and proven from the first group to the last before the original is touched.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use sled::{Db, Mode, Tree};

use super::{
    archive::Folder,
    committer::Chain,
    fault::{Fault, guarded},
    head::{Head, HeadFile},
    layout::{self, Hash},
    log::{self, Log, Logged},
    reading,
    refusal::OpenError,
    table::Table,
    verify,
};
use crate::ports::journal::Position;

/// sled's segments, bytes; fixed when a database is created.
const SEGMENT_BYTES: u64 = 512 << 10;
/// sled's cache, bytes; the process's memory grows by two to three times this.
const CACHE_BYTES: u64 = 64 << 20;
/// How often sled collects garbage. It does so nowhere else, so this is never off.
const GARBAGE_MS: u64 = 500;

/// How often, and how long apart, a database is tried that somebody still has open.
const BUSY_ATTEMPTS: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// The files of a store.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) dir: PathBuf,
    pub(super) journal: PathBuf,
    pub(super) blobs: PathBuf,
    pub(super) archive: PathBuf,
    /// Where the database of the next period is made, and where the last one goes before it is dropped.
    pub(super) next: PathBuf,
    pub(super) old: PathBuf,
    head: PathBuf,
    log: PathBuf,
    lock: PathBuf,
    /// Where the copy that is proven lives meanwhile.
    proof: PathBuf,
    /// Where damaged snapshots go.
    set_aside: PathBuf,
}

impl Paths {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            journal: dir.join("journal"),
            blobs: dir.join("blobs"),
            archive: dir.join("archive"),
            next: dir.join("journal.next"),
            old: dir.join("journal.old"),
            head: dir.join("head"),
            log: dir.join("log"),
            lock: dir.join("lock"),
            proof: dir.join("proof"),
            set_aside: dir.join("set-aside"),
        }
    }

    fn db(&self) -> PathBuf {
        self.journal.join("db")
    }
}

/// What an opened store consists of, apart from its lock.
pub(super) struct Opened {
    pub(super) db: Db,
    pub(super) head: HeadFile,
    pub(super) chain: Chain,
    /// Empty: the database has everything.
    pub(super) log: Log,
}

/// Held while a store is open. Unlocks explicitly: a process that is just being forked holds the file open too.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // If it fails, closing the file unlocks it.
        let _ = self.0.unlock();
    }
}

/// Locks a store's directory, making it if there is none.
pub(super) fn take(paths: &Paths) -> Result<Lock, OpenError> {
    make_dir(&paths.dir)?;
    lock(paths)
}

/// Forgets what the kernel holds of the database file and of the log: after a failed sync it may show bytes that the disk
/// never got, and says that they are clean.
pub(super) fn distrust_cache(paths: &Paths) -> Result<(), OpenError> {
    for path in [paths.db(), paths.log.clone()] {
        File::open(&path)
            .and_then(|file| Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?))
            .map_err(io_error(&path))?;
    }
    Ok(())
}

/// Ends or takes back a turnover that a crash cut short. The next database is whole before the old one is put aside.
fn end_turnover(paths: &Paths) -> Result<(), OpenError> {
    if paths.old.exists() && !paths.journal.exists() {
        fs::rename(&paths.old, &paths.journal).map_err(io_error(&paths.journal))?;
        sync_dir(&paths.dir).map_err(io_error(&paths.dir))?;
    }
    for left in [&paths.next, &paths.old] {
        match fs::remove_dir_all(left) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error(left)(error)),
        }
    }
    Ok(())
}

/// Puts the next database, which is closed and durable, in the place of the one in use, and drops that one whole. The
/// head then asks for no length: the next database is as long as it is.
pub(super) fn switch(paths: &Paths, head: &mut HeadFile) -> Result<(), OpenError> {
    let last = head.head();
    head.write(Head { length: 0, ..last }).map_err(io_error(&paths.head))?;
    fs::rename(&paths.journal, &paths.old).map_err(io_error(&paths.journal))?;
    fs::rename(&paths.next, &paths.journal).map_err(io_error(&paths.next))?;
    sync_dir(&paths.dir).map_err(io_error(&paths.dir))
}

/// Opens an empty database for the next period.
pub(super) fn open_next(paths: &Paths) -> Result<Db, Fault> {
    let _ = fs::remove_dir_all(&paths.next); // left by an attempt that failed; absent otherwise
    guarded(|| Ok(configuration(&paths.next).open()?))
}

/// Makes a database that was written and flushed survive a power cut.
pub(super) fn sync_next(paths: &Paths) -> io::Result<()> {
    for file in ["db", "conf", "blobs"] {
        File::open(paths.next.join(file))?.sync_all()?;
    }
    sync_dir(&paths.next)?;
    sync_dir(&paths.dir)
}

/// Opens a locked store, making it if there is none.
pub(super) fn open(paths: &Paths) -> Result<Opened, OpenError> {
    let _ = fs::remove_dir_all(&paths.proof); // left by a crash during a proof; absent otherwise
    make_dir(&paths.blobs)?;
    end_turnover(paths)?;
    let mut head = open_head(paths)?;
    let length = match fs::metadata(paths.db()) {
        Ok(file) => file.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(io_error(&paths.db())(error)),
    };
    check_length(paths, head.head(), length)?;
    make_dir(&paths.journal)?;
    remove_litter(&paths.journal)?;
    let db = open_db(paths)?;
    let (mut log, logged) = Log::open(&paths.log).map_err(io_error(&paths.log))?;
    let whole = || {
        replay(paths, &db, logged)?;
        let chain = check_head(paths, &db, head.head())?;
        db.flush().map_err(|error| damaged(&paths.dir, &error.into()))?;
        Ok(chain)
    };
    let chain = guarded(|| Ok(whole())).unwrap_or_else(|fault| Err(damaged(&paths.dir, &fault)))?;
    let length = fs::metadata(paths.db()).map_err(io_error(&paths.db()))?.len();
    sync_new(paths)?;
    // A group may have become durable without being acknowledged. From here on it must stay.
    head.write(Head { group: chain.group, hash: chain.hash, length }).map_err(io_error(&paths.head))?;
    log.clear().map_err(io_error(&paths.log))?;
    Ok(Opened { db, head, chain, log })
}

/// Gives the database the groups that only the log has. They must continue what it has.
fn replay(paths: &Paths, tree: &Tree, logged: Vec<Logged>) -> Result<(), OpenError> {
    let damaged = |fault: Fault| damaged(&paths.dir, &fault);
    let last = reading::last_header(&Table::of(tree)).map_err(damaged)?;
    let (mut group, mut hash) = last.map_or((0, Hash::default()), |last| (last.group, last.hash()));
    let mut replayed = 0_u64;
    for Logged { header, batch } in logged {
        if header.group <= group {
            continue;
        }
        if header.group != group + 1 {
            return Err(OpenError::Behind { dir: paths.dir.clone(), actual: group, acknowledged: header.group });
        }
        if header.previous != hash {
            return Err(OpenError::Diverged { dir: paths.dir.clone(), group: header.group });
        }
        tree.apply_batch(batch).map_err(|error| damaged(error.into()))?;
        (group, hash) = (header.group, header.hash());
        replayed += 1;
    }
    if replayed > 0 {
        tracing::info!(groups = replayed, last = group, "the database was given what only the log had");
    }
    Ok(())
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, source }
}

fn damaged(dir: &Path, fault: &Fault) -> OpenError {
    OpenError::Damaged { dir: dir.to_owned(), problem: fault.to_string() }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a directory and those above it, each durable in its parent.
fn make_dir(path: &Path) -> Result<(), OpenError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_dir(parent)?;
    fs::create_dir(path).and_then(|()| sync_dir(parent)).map_err(io_error(path))
}

fn lock(paths: &Paths) -> Result<Lock, OpenError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&paths.lock);
    let file = file.map_err(io_error(&paths.lock))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { dir: paths.dir.clone() }),
        Err(TryLockError::Error(source)) => Err(io_error(&paths.lock)(source)),
    }
}

/// The head comes before the database, so that a database without one has lost it.
fn open_head(paths: &Paths) -> Result<HeadFile, OpenError> {
    let missing = || OpenError::HeadMissing { path: paths.head.clone(), dir: paths.dir.clone() };
    if paths.head.exists() {
        let head = HeadFile::open(&paths.head).map_err(io_error(&paths.head))?;
        match head {
            Some(head) => return Ok(head),
            // A crash while it was being made, and before anything else was.
            None if !paths.db().exists() => fs::remove_file(&paths.head).map_err(io_error(&paths.head))?,
            None => return Err(missing()),
        }
    }
    if paths.db().exists() {
        return Err(missing());
    }
    let head = HeadFile::create(&paths.head).map_err(io_error(&paths.head))?;
    sync_dir(&paths.dir).map_err(io_error(&paths.dir))?;
    Ok(head)
}

fn check_length(paths: &Paths, head: Head, length: u64) -> Result<(), OpenError> {
    if length >= head.length {
        return Ok(());
    }
    let shortened = OpenError::Shortened {
        path: paths.db(),
        actual_bytes: length,
        acknowledged_bytes: head.length,
        group: head.group,
    };
    if length == 0 || !length.is_multiple_of(SEGMENT_BYTES) {
        return Err(shortened);
    }
    tracing::info!("the database is shorter by whole segments; proving a copy of it before it is used");
    let proven = prove_copy(paths, head);
    let removed = fs::remove_dir_all(&paths.proof).map_err(io_error(&paths.proof));
    match proven {
        Ok(_) => removed,
        Err(fault) => {
            tracing::error!(%fault, "the shortened database is not whole");
            Err(shortened)
        }
    }
}

fn prove_copy(paths: &Paths, head: Head) -> Result<verify::Verified, Fault> {
    copy_dir(&paths.journal, &paths.proof)?;
    remove_litter(&paths.proof).map_err(Fault::failed)?;
    let logged = if paths.log.exists() { log::read(&File::open(&paths.log)?)? } else { Vec::new() };
    guarded(|| {
        let db = configuration(&paths.proof).open()?;
        replay(paths, &db, logged)?;
        verify::everything(&Table::of(&db), &Folder::new(paths.archive.clone()), head)
    })
}

/// Copies a directory, whose subdirectories hold files only.
fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Copies a store that no process has open, without its blobs. Nothing of the original is changed.
pub(super) fn copy(from: &Paths, to: &Paths) -> Result<(), OpenError> {
    let _lock = lock(from)?;
    copy_still(from, to)?;
    if from.log.exists() {
        fs::copy(&from.log, &to.log).map_err(io_error(&from.log))?;
    }
    Ok(())
}

/// Copies a store whose committer stands still, and whose database has everything: what changes with every commit. Its lock,
/// its log and its reserve are its own.
pub(super) fn copy_still(from: &Paths, to: &Paths) -> Result<(), OpenError> {
    copy_dir(&from.journal, &to.journal).map_err(io_error(&from.journal))?;
    fs::copy(&from.head, &to.head).map_err(io_error(&from.head))?;
    Ok(())
}

/// Copies what never changes once it is there, and makes the whole copy durable.
pub(super) fn copy_constant(from: &Paths, to: &Paths) -> Result<(), OpenError> {
    for (from, to) in [(&from.blobs, &to.blobs), (&from.archive, &to.archive)] {
        if from.is_dir() {
            copy_dir(from, to).map_err(io_error(from))?;
        }
    }
    sync_all(&to.dir).map_err(io_error(&to.dir))
}

fn sync_all(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_all(&path)?;
        } else {
            File::open(path)?.sync_all()?;
        }
    }
    sync_dir(dir)
}

fn snapshots(journal: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(journal)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// A snapshot that sled had not finished makes it fail each time.
fn remove_litter(journal: &Path) -> Result<(), OpenError> {
    for snapshot in snapshots(journal).map_err(io_error(journal))? {
        if snapshot.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(&snapshot).map_err(io_error(&snapshot))?;
        }
    }
    Ok(())
}

fn configuration(journal: &Path) -> sled::Config {
    sled::Config::new()
        .path(journal)
        .mode(Mode::LowSpace)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(GARBAGE_MS))
        .use_compression(false)
}

enum Attempt {
    Opened(Db),
    /// Somebody has sled's file open.
    Busy,
    /// sled itself reports damage; without its snapshots it reads its whole log.
    Corrupt(Fault),
}

/// Tries to open sled. Its own lock can outlive a store that this process closed, for as long as a read still runs or a
/// process is being forked; the store's lock says that nobody else is in, so that is waited for.
fn attempt(journal: &Path) -> Result<Attempt, Fault> {
    for _ in 0..BUSY_ATTEMPTS {
        match attempt_once(journal)? {
            Attempt::Busy => thread::sleep(BUSY_PAUSE),
            done => return Ok(done),
        }
    }
    Ok(Attempt::Busy)
}

/// sled's own view of a store that was closed, for tests.
#[cfg(test)]
pub(super) fn bare(journal: &Path) -> Db {
    match attempt(journal) {
        Ok(Attempt::Opened(db)) => db,
        Ok(Attempt::Busy) => panic!("`{}` stays locked", journal.display()),
        Ok(Attempt::Corrupt(fault)) | Err(fault) => panic!("{fault}"),
    }
}

fn attempt_once(journal: &Path) -> Result<Attempt, Fault> {
    guarded(|| match configuration(journal).open() {
        Ok(db) => Ok(Attempt::Opened(db)),
        Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => Ok(Attempt::Busy),
        Err(error @ sled::Error::Corruption { .. }) => Ok(Attempt::Corrupt(error.into())),
        Err(error) => Err(error.into()),
    })
}

fn open_db(paths: &Paths) -> Result<Db, OpenError> {
    let first = attempt(&paths.journal).map_err(|fault| damaged(&paths.dir, &fault))?;
    let busy = || Err(OpenError::InUse { dir: paths.dir.clone() });
    let fault = match first {
        Attempt::Opened(db) => return Ok(db),
        Attempt::Busy => return busy(),
        Attempt::Corrupt(fault) => fault,
    };
    let snapshots = snapshots(&paths.journal).map_err(io_error(&paths.journal))?;
    if snapshots.is_empty() {
        return Err(damaged(&paths.dir, &fault));
    }
    tracing::warn!(%fault, "setting the database's snapshots aside and reading its whole log");
    make_dir(&paths.set_aside)?;
    for snapshot in snapshots {
        let target = paths.set_aside.join(snapshot.file_name().unwrap_or_default());
        fs::copy(&snapshot, target).and_then(|_| fs::remove_file(&snapshot)).map_err(io_error(&snapshot))?;
    }
    match attempt(&paths.journal).map_err(|fault| damaged(&paths.dir, &fault))? {
        Attempt::Opened(db) => Ok(db),
        Attempt::Busy => busy(),
        Attempt::Corrupt(fault) => Err(damaged(&paths.dir, &fault)),
    }
}

/// sled syncs neither its configuration nor a directory, and its log only in part.
fn sync_new(paths: &Paths) -> Result<(), OpenError> {
    for file in ["db", "conf", "blobs"] {
        let path = paths.journal.join(file);
        File::open(&path).and_then(|file| file.sync_all()).map_err(io_error(&path))?;
    }
    for dir in [&paths.journal, &paths.dir] {
        sync_dir(dir).map_err(io_error(dir))?;
    }
    Ok(())
}

/// Compares what there is with what was acknowledged; the chain to go on from.
fn check_head(paths: &Paths, db: &Db, head: Head) -> Result<Chain, OpenError> {
    let damaged = |fault: Fault| damaged(&paths.dir, &fault);
    let table = Table::of(db);
    let last = reading::last_header(&table).map_err(damaged)?;
    let actual = last.map_or(0, |header| header.group);
    if actual < head.group {
        return Err(OpenError::Behind { dir: paths.dir.clone(), actual, acknowledged: head.group });
    }
    let diverged = |group| OpenError::Diverged { dir: paths.dir.clone(), group };
    let mut hash = head.hash;
    if head.group > 0 {
        let header = reading::header(&table, head.group).map_err(damaged)?;
        if header.is_none_or(|header| header.hash() != head.hash) {
            return Err(diverged(head.group));
        }
    }
    for group in head.group + 1..=actual {
        let header = reading::header(&table, group).map_err(damaged)?;
        let next = header.filter(|header| header.previous == hash).ok_or_else(|| diverged(group))?;
        hash = next.hash();
    }
    // Headers reach the database last: appends without theirs are of groups that only the log had whole.
    let behind = table.last(&layout::append_key(Position(0)), &layout::append_key(Position(u64::MAX)));
    let behind = behind.map_err(|error| damaged(error.into()))?.and_then(|(key, _)| layout::position_of(&key));
    if behind.is_some_and(|position| position.0 >> layout::INDEX_BITS > actual) {
        return Err(damaged(Fault::damaged("the log", "it lacks groups of which the database has a part")));
    }
    let Some(last) = last else { return Ok(Chain::default()) };
    verify::group(&table, &last, &verify::Leaves::default()).map_err(damaged)?;
    Ok(Chain { group: last.group, hash, time: last.time })
}

//! Crashes, for real: a child process writes under load and tells each acknowledgement; then it is killed, or the power
//! is cut. Whatever it had told must be there.
//!
//! A kill keeps the kernel's page cache, so it says nothing about syncing. For a power cut the store lies on an ext4
//! file system of its own on a loop device; the device's file is copied while the child is stopped in the middle of its
//! work, which leaves out whatever had not reached the device, and the copy is mounted and opened. That needs root. The
//! copy holds every write that the device had completed, also those that a disk might still have had in a cache of its
//! own. The same cut on bare sled, `flush` without our sync, loses data: that control shows that the test can fail.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::join_all;
use tempfile::TempDir;

use super::{Options, SpaceLimits, Store};
use crate::{
    ports::journal::{StreamId, Version},
    store::conformance::{StillClock, append, run_stream},
};

/// Tells a child what to do: `hub`, `archive` (as `hub`, and archives all the time) or `bare`, a colon, the directory.
const CHILD: &str = "CROSSDOCK_CRASH_TEST_CHILD";
/// Set to `required` where a machine on which no loop device can be mounted is an error.
const POWER_CUT: &str = "CROSSDOCK_POWER_CUT_TEST";
const WRITERS: u64 = 16;

/// Not a test by itself: the process that the others kill.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Ok(task) = env::var(CHILD) else { return };
    let (kind, dir) = task.split_once(':').unwrap();
    if kind == "bare" { write_bare(Path::new(dir)) } else { write_hub(Path::new(dir), kind == "archive") }
}

fn tell(writer: u64, version: u64) {
    // A line is one write, so that lines of several threads do not mix.
    let line = format!("ack {writer} {version}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// Entries of various sizes, some over one piece.
fn entry(writer: u64, version: u64) -> Vec<u8> {
    let size = if version % 50 == 49 { 30_000 } else { 100 + usize::try_from(version * 37 % 1_500).unwrap() };
    let mut entry = vec![u8::try_from(writer).unwrap(); size];
    entry[..8].copy_from_slice(&version.to_be_bytes());
    entry
}

/// Streams that end, by number.
fn ended_stream(number: u64) -> StreamId {
    run_stream(1_000_000 + number)
}

/// Begins and ends streams, tells each, and archives them; goes on after those of an earlier life.
async fn archive_all_the_time(store: Store) {
    let journal = store.journal();
    let mut number = 0;
    while journal.read(ended_stream(number), Version(0)).await.unwrap().len() == 2 {
        number += 1;
    }
    let mut first = number.saturating_sub(40);
    loop {
        for _ in 0..40 {
            for version in 0..2 {
                let next = append(ended_stream(number), version, &entry(number % 200, version));
                // The last one of an earlier life may have begun: a repetition finds itself.
                journal.append(next).await.unwrap();
            }
            assert_eq!(journal.read(ended_stream(number), Version(0)).await.unwrap().len(), 2);
            number += 1;
            tell(WRITERS, number);
        }
        let bundles = (first..number).map(|number| vec![ended_stream(number)]).collect();
        let done = store.archive(bundles, Vec::new()).await.unwrap();
        first = number.saturating_sub(done.left);
    }
}

fn write_hub(dir: &Path, archives: bool) {
    let store = Store::open(dir, StillClock::shared()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        if archives {
            tokio::spawn(archive_all_the_time(store.clone()));
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (journal, records) = (store.journal(), store.records());
                tokio::spawn(async move {
                    let mut version = journal.read(run_stream(writer), Version(0)).await.unwrap().len() as u64;
                    loop {
                        let entry = entry(writer, version);
                        let done = journal.append(append(run_stream(writer), version, &entry)).await.unwrap();
                        version = done.0;
                        let key = format!("writer/{writer}");
                        let revision = records.get(&key).await.unwrap().map(|stored| stored.revision);
                        let value = Bytes::copy_from_slice(&version.to_be_bytes());
                        records.put_if(&key, value, revision).await.unwrap();
                        tell(writer, version);
                    }
                })
            })
            .collect();
        join_all(writers).await;
        panic!("a writer ended");
    });
}

/// What would be without the hardening: sled's batch and flush.
fn write_bare(dir: &Path) {
    let db = sled::Config::new().path(dir).open().unwrap();
    for version in 1_u64.. {
        let mut batch = sled::Batch::default();
        for writer in 0..WRITERS {
            batch.insert([writer.to_be_bytes(), version.to_be_bytes()].concat(), entry(writer, version));
        }
        db.apply_batch(batch).unwrap();
        db.flush().unwrap();
        (0..WRITERS).for_each(|writer| tell(writer, version));
    }
}

/// A child under load, and what it has told so far.
struct Load {
    child: Child,
    told: Arc<Mutex<Vec<u64>>>,
    lines: Arc<AtomicUsize>,
}

impl Load {
    fn start(kind: &str, dir: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "store::disk::crash_tests::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD, format!("{kind}:{}", dir.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = Arc::new(Mutex::new(vec![0; usize::try_from(WRITERS).unwrap() + 1]));
        let lines = Arc::new(AtomicUsize::new(0));
        let output = BufReader::new(child.stdout.take().unwrap());
        let (all, count) = (told.clone(), lines.clone());
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let Some(ack) = line.split("ack ").nth(1) else { continue };
                let (writer, version) = ack.split_once(' ').unwrap();
                let writer: usize = writer.parse().unwrap();
                all.lock().unwrap()[writer] = version.parse().unwrap();
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { child, told, lines }
    }

    /// Waits until it has told that many more.
    fn wait(&mut self, more: usize) {
        let (goal, limit) = (self.lines.load(Ordering::SeqCst) + more, Instant::now() + Duration::from_secs(30));
        while self.lines.load(Ordering::SeqCst) < goal {
            assert_eq!(self.child.try_wait().unwrap(), None, "the child ended early");
            assert!(Instant::now() < limit, "the child is stuck");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn signal(&self, name: &str) {
        run("kill", &[name, &self.child.id().to_string()]);
    }

    fn told(&self) -> Vec<u64> {
        self.told.lock().unwrap().clone()
    }

    fn kill(mut self) -> Vec<u64> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.told()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Only a failed test leaves it running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Opens the store and looks for everything that was told; how much that was.
fn check(dir: &Path, told: &[u64]) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(dir, StillClock::shared()).unwrap();
        let (told, ended) = told.split_at(usize::try_from(WRITERS).unwrap());
        for number in 0..ended[0] {
            let records = store.journal().read(ended_stream(number), Version(0)).await.unwrap();
            assert_eq!(records.len(), 2, "stream {number} of {}", ended[0]);
            assert_eq!(records[1].entries, [Bytes::from(entry(number % 200, 1))]);
        }
        for (writer, acknowledged) in (0..).zip(told) {
            let records = store.journal().read(run_stream(writer), Version(0)).await.unwrap();
            assert!(records.len() as u64 >= *acknowledged, "writer {writer}: {} of {acknowledged}", records.len());
            for (version, record) in (0..).zip(records) {
                assert_eq!(record.entries, [Bytes::from(entry(writer, version))]);
            }
            let value = store.records().get(&format!("writer/{writer}")).await.unwrap().map(|stored| stored.value);
            let value = value.map_or(0, |value| u64::from_be_bytes(value.as_ref().try_into().unwrap()));
            assert!(value >= *acknowledged, "writer {writer}: its record is {value}, not {acknowledged}");
        }
        store.verify().await.unwrap();
        store.close().await.unwrap();
        told.iter().sum()
    })
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 0..6 {
        let mut load = Load::start("hub", dir.path());
        load.wait(100 + 70 * round);
        let told = load.kill();
        let now = check(dir.path(), &told);
        assert!(now > before, "round {round} got nowhere");
        before = now;
    }
}

#[test]
fn a_process_that_is_killed_while_it_archives_loses_nothing_and_goes_on_archiving() {
    let dir = tempfile::tempdir().unwrap();
    let (mut before, mut ended) = (0, 0);
    for round in 0..6 {
        let mut load = Load::start("archive", dir.path());
        load.wait(300 + 130 * round);
        let told = load.kill();
        let now = check(dir.path(), &told);
        assert!(now > before, "round {round} got nowhere");
        before = now;
        ended = ended.max(told.last().copied().unwrap());
    }
    assert!(ended > 40, "{ended} streams ended");
    assert!(dir.path().join("archive/00000001.jsonl.zst").exists());
}

/// An ext4 file system in a file, mounted; or a copy of one.
struct Disk {
    image: PathBuf,
    mount: TempDir,
}

impl Disk {
    fn mount(image: PathBuf) -> Result<Self, String> {
        let mount = tempfile::tempdir().unwrap();
        let output = Command::new("mount").args(["-o", "loop"]).arg(&image).arg(mount.path()).output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(Self { image, mount })
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn create(dir: &Path) -> Result<Self, String> {
        let image = dir.join("disk");
        fs::File::create(&image).unwrap().set_len(128 << 20).unwrap();
        let made = Command::new("mkfs.ext4").arg("-q").arg(&image).output().map_err(|error| error.to_string())?;
        if made.status.success() { Self::mount(image) } else { Err("mkfs.ext4 failed".to_owned()) }
    }

    /// The store in the file system.
    fn store(&self) -> PathBuf {
        self.mount.path().join("store")
    }

    /// What a power cut now would leave.
    fn cut(&self, number: usize) -> Self {
        let image = self.image.with_extension(number.to_string());
        run("cp", &["--sparse=always", self.image.to_str().unwrap(), image.to_str().unwrap()]);
        Self::mount(image).unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.mount.path()).output();
        let _ = fs::remove_file(&self.image);
    }
}

/// A disk to cut the power of; absent where none can be had.
fn disk(dir: &Path) -> Option<Disk> {
    match Disk::create(dir) {
        Ok(disk) => Some(disk),
        Err(problem) => {
            let required = env::var(POWER_CUT).is_ok_and(|value| value == "required");
            assert!(!required, "no loop device can be mounted: {problem}");
            eprintln!("NOT TESTED: a power cut; it needs root and loop devices ({problem})");
            None
        }
    }
}

/// Cuts the power a number of times under load; what was told before each cut, beside what the cut left.
fn cuts(kind: &str, disk: &Disk, number: usize, mut look: impl FnMut(&Path, &[u64])) {
    let mut load = Load::start(kind, &disk.store());
    for cut in 0..number {
        load.wait(150 + 90 * cut);
        load.signal("-STOP");
        let told = load.told();
        let left = disk.cut(cut);
        look(&left.store(), &told);
        load.signal("-CONT");
    }
    load.kill();
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = disk(dir.path()) else { return };
    let mut acknowledged = 0;
    cuts("hub", &disk, 8, |left, told| {
        let now = check(left, told);
        assert!(now > acknowledged);
        acknowledged = now;
    });
}

#[test]
fn a_power_cut_while_archiving_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = disk(dir.path()) else { return };
    let mut acknowledged = 0;
    cuts("archive", &disk, 8, |left, told| {
        let now = check(left, told);
        assert!(now > acknowledged);
        acknowledged = now;
    });
}

#[test]
fn the_same_power_cut_on_bare_sled_loses_data() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = disk(dir.path()) else { return };
    let mut lost = 0;
    cuts("bare", &disk, 4, |left, told| {
        let found = super::fault::guarded(|| {
            let db = sled::Config::new().path(left).open()?;
            Ok((0..).zip(told.iter().take(usize::try_from(WRITERS).unwrap())).all(|(writer, version): (u64, _)| {
                db.contains_key([writer.to_be_bytes(), version.to_be_bytes()].concat()).is_ok_and(|found| found)
            }))
        });
        lost += usize::from(!found.is_ok_and(|found| found));
    });
    assert!(lost > 0, "nothing was lost in 4 cuts: the test above proves nothing on this machine");
}

#[test]
fn a_full_disk_is_told_and_loses_nothing_and_the_store_goes_on_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = disk(dir.path()) else { return };
    let filler = disk.mount.path().join("filler");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let until = async |mut holds: Box<dyn FnMut() -> bool>| {
        for _ in 0..3_000 {
            if holds() {
                return;
            }
            let _ = tokio::time::timeout(Duration::from_millis(10), std::future::pending::<()>()).await;
        }
        panic!("it never came true");
    };
    let told = runtime.block_on(async {
        let space = SpaceLimits { intake_free_bytes_min: 32 << 20, reserve_bytes: 8 << 20 };
        let options = Options { space, reopenings_limit: 1_000, ..Options::default() };
        let store = Store::open_with(&disk.store(), StillClock::shared(), options).unwrap();
        let journal = store.journal();
        assert_eq!(journal.append(append(run_stream(9), 0, b"first")).await, Ok(Version(1)));
        let reserve = disk.store().join("reserve");
        let there = reserve.clone();
        until(Box::new(move || there.exists())).await;
        let mut file = fs::File::create(&filler).unwrap();
        let (mut version, mut refused_intake) = (0, false);
        let refusal = loop {
            // Leave it less and less room.
            let _ = file.write_all(&vec![1; 4 << 20]);
            match journal.append(append(run_stream(0), version, &entry(0, version))).await {
                Ok(done) => version = done.0,
                Err(error) => break error,
            }
            refused_intake |= journal.room().is_err();
            assert!(version < 20_000, "the disk does not get full");
        };
        assert!(refused_intake, "intake was refused before");
        until(Box::new(move || !reserve.exists())).await;
        assert!(journal.health().is_err() || version > 0, "{refusal}");
        drop(file);
        fs::remove_file(&filler).unwrap();
        // What is freed can be used again only once the file system has committed it.
        fs::File::open(disk.mount.path()).unwrap().sync_all().unwrap();
        let (healthy, ready) = (store.journal(), store.journal());
        until(Box::new(move || healthy.health().is_ok())).await;
        until(Box::new(move || ready.room().is_ok())).await;
        // The same store goes on, and a repetition finds out whether the refused append was stored.
        let next = append(run_stream(0), version, &entry(0, version));
        assert_eq!(journal.append(next).await, Ok(Version(version + 1)));
        store.verify().await.unwrap();
        store.close().await.unwrap();
        version + 1
    });
    runtime.block_on(async {
        let store = Store::open(&disk.store(), StillClock::shared()).unwrap();
        let journal = store.journal();
        assert_eq!(journal.read(run_stream(0), Version(0)).await.unwrap().len() as u64, told);
        let next = append(run_stream(0), told, &entry(0, told));
        assert_eq!(journal.append(next).await, Ok(Version(told + 1)));
        store.close().await.unwrap();
    });
}

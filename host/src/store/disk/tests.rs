//! What only a store on disk must do: survive, and refuse what did not.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, future::join_all};
use tempfile::TempDir;

use super::{
    OpenError, Options, SpaceLimits, Store,
    head::{Head, HeadFile},
    layout,
};
use crate::{
    ports::{
        journal::{AppendError, Journal, Position, ReadError, Version},
        records::{RecordError, Revision},
    },
    store::conformance::{self, Fixture, StillClock, append, run_stream, whole_tail},
};

fn open(dir: &Path) -> Result<Store, OpenError> {
    Store::open(dir, StillClock::shared())
}

/// Appends `count` entries of a size, in groups, after what is there.
async fn fill(store: &Store, count: u64, size: usize) {
    let journal = store.journal();
    let start = whole_tail(&*journal).await.len() as u64;
    for chunk in (start..start + count).collect::<Vec<_>>().chunks(100) {
        let appends = chunk.iter().map(|number| {
            let mut entry = vec![0; size.max(8)];
            entry[..8].copy_from_slice(&number.to_be_bytes());
            journal.append(append(run_stream(*number), 0, &entry))
        });
        assert!(join_all(appends).await.iter().all(Result::is_ok));
    }
}

/// A closed store with a number of appends.
async fn filled(count: u64, size: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    fill(&store, count, size).await;
    store.close().await.unwrap();
    dir
}

fn db(dir: &TempDir) -> PathBuf {
    dir.path().join("journal/db")
}

/// Works on the tree of a closed store, behind the back of everything.
fn tamper(dir: &TempDir, work: impl FnOnce(&sled::Db)) {
    let db = super::opening::bare(&dir.path().join("journal"));
    work(&db);
    db.flush().unwrap();
}

fn refusal(dir: &TempDir) -> OpenError {
    match open(dir.path()) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_on_disk_conforms() {
    let dirs = Arc::new(Mutex::new(Vec::new()));
    conformance::run(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        dirs.lock().unwrap().push(dir);
        Fixture {
            journal: store.journal(),
            records: store.records(),
            blobs: store.blobs(),
            close: Box::new(move || Box::pin(async move { store.close().await.unwrap() })),
        }
    })
    .await;
}

#[test]
fn the_journal_on_disk_agrees_with_a_map() {
    let dirs = Mutex::new(Vec::new());
    conformance::journal_agrees_with_a_map(16, || {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path()).unwrap().journal();
        dirs.lock().unwrap().push(dir);
        journal
    });
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut tails = Vec::new();
    let mut revision: Option<Revision> = None;
    let digest =
        open_and(dir.path(), async |store| store.blobs().put(Bytes::from_static(b"blob")).await.unwrap()).await;
    for round in 0..4 {
        let store = open(dir.path()).unwrap();
        assert_eq!(whole_tail(&*store.journal()).await, tails);
        // A repetition is known, though nobody remembers the stream's end.
        if round > 0 {
            assert_eq!(store.journal().append(append(run_stream(900), 0, b"again")).await, Ok(Version(1)));
        }
        store.journal().append(append(run_stream(900), round, b"again")).await.unwrap();
        fill(&store, 50, 6_000).await;
        let value = Bytes::from(vec![7; 9_000 * usize::try_from(round).unwrap()]);
        let stored = store.records().get("key").await.unwrap();
        assert_eq!(stored.map(|stored| stored.revision), revision);
        revision = Some(store.records().put_if("key", value, revision).await.unwrap());
        assert!(store.blobs().get(digest).await.unwrap().is_some());
        tails = whole_tail(&*store.journal()).await;
        let verified = store.verify().await.unwrap();
        assert_eq!((verified.appends, verified.records), (tails.len() as u64, 1));
        assert_eq!(store.statistics().spilled_files, 0);
        store.close().await.unwrap();
    }
}

async fn open_and<T>(dir: &Path, work: impl AsyncFnOnce(&Store) -> T) -> T {
    let store = open(dir).unwrap();
    let result = work(&store).await;
    store.close().await.unwrap();
    result
}

#[tokio::test]
async fn waiting_appends_share_a_group_and_its_one_flush() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    fill(&store, 1_000, 100).await;
    let statistics = store.statistics();
    assert_eq!((statistics.appends, statistics.flushes), (1_000, statistics.groups));
    assert!(statistics.groups <= 200, "{statistics:?}");
    assert!(statistics.group_size_max <= 250, "{statistics:?}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn hub_time_never_goes_back_even_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let clock = StillClock::shared();
    for (version, wall, recorded) in [(0, 5_000, 5_000), (1, 4_000, 5_000), (2, 6_000, 6_000), (3, 1, 6_000)] {
        clock.set(wall);
        let store = Store::open(dir.path(), clock.clone()).unwrap();
        store.journal().append(append(run_stream(1), version, b"entry")).await.unwrap();
        let read = store.journal().read(run_stream(1), Version(version)).await.unwrap();
        assert_eq!(read[0].time.millis(), recorded);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_second_opening_fails_at_once_and_leaves_the_first_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    assert!(matches!(refusal(&dir), OpenError::InUse { .. }));
    fill(&store, 10, 10).await;
    store.close().await.unwrap();
    open_and(dir.path(), async |store| assert_eq!(whole_tail(&*store.journal()).await.len(), 10)).await;
}

#[tokio::test]
async fn a_shortened_database_is_refused_and_left_as_it_is() {
    for cut in [1, 4_096, 300_000, 512 << 10, 600_000] {
        let dir = filled(400, 4_000).await;
        let length = fs::metadata(db(&dir)).unwrap().len();
        OpenOptions::new().write(true).open(db(&dir)).unwrap().set_len(length - cut).unwrap();
        assert!(matches!(refusal(&dir), OpenError::Shortened { .. }), "cut by {cut}");
        assert_eq!(fs::metadata(db(&dir)).unwrap().len(), length - cut);
    }
}

#[tokio::test]
async fn a_database_cut_to_whole_segments_is_refused_and_left_as_it_is() {
    let dir = filled(600, 4_000).await;
    for segments in [3, 2, 1, 0] {
        OpenOptions::new().write(true).open(db(&dir)).unwrap().set_len(segments * (512 << 10)).unwrap();
        let error = refusal(&dir);
        assert!(matches!(error, OpenError::Shortened { .. }), "{segments} segments: {error}");
        assert_eq!(fs::metadata(db(&dir)).unwrap().len(), segments * (512 << 10));
        assert!(!dir.path().join("proof").exists());
    }
}

#[tokio::test]
async fn a_database_that_gave_back_free_segments_is_proven_and_opened() {
    let dir = filled(100, 1_000).await;
    // As if the file had been longer by two free segments at the last acknowledgement, and whole segments now.
    let segments = fs::metadata(db(&dir)).unwrap().len().div_ceil(512 << 10);
    OpenOptions::new().write(true).open(db(&dir)).unwrap().set_len(segments * (512 << 10)).unwrap();
    let mut head = HeadFile::open(&dir.path().join("head")).unwrap().unwrap();
    head.write(Head { length: (segments + 2) * (512 << 10), ..head.head() }).unwrap();
    open_and(dir.path(), async |store| assert_eq!(whole_tail(&*store.journal()).await.len(), 100)).await;
}

#[tokio::test]
async fn a_store_behind_its_head_is_refused() {
    let dir = filled(100, 100).await;
    tamper(&dir, |db| {
        let last = db.scan_prefix(b"h").last().unwrap().unwrap().0;
        db.remove(last).unwrap();
    });
    let error = refusal(&dir);
    assert!(matches!(error, OpenError::Behind { actual, acknowledged, .. } if actual + 1 == acknowledged), "{error}");
}

#[tokio::test]
async fn a_store_with_another_history_is_refused() {
    let (dir, other) = (filled(100, 100).await, filled(100, 200).await);
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    fs::rename(other.path().join("journal"), dir.path().join("journal")).unwrap();
    let mut head = HeadFile::open(&dir.path().join("head")).unwrap().unwrap();
    head.write(Head { length: 0, group: 1, ..head.head() }).unwrap();
    assert!(matches!(refusal(&dir), OpenError::Diverged { group: 1, .. }));
}

#[tokio::test]
async fn a_head_one_group_behind_is_brought_up_to_the_store() {
    let dir = filled(1, 100).await;
    let path = dir.path().join("head");
    let before = fs::read(&path).unwrap();
    open_and(dir.path(), async |store| fill(store, 1, 100).await).await;
    let newest = HeadFile::open(&path).unwrap().unwrap().head();
    // A power cut after the group and before its head leaves this.
    fs::write(&path, before).unwrap();
    open_and(dir.path(), async |store| assert_eq!(whole_tail(&*store.journal()).await.len(), 2)).await;
    assert_eq!(HeadFile::open(&path).unwrap().unwrap().head().group, newest.group);
}

#[tokio::test]
async fn a_store_without_its_head_is_refused() {
    let dir = filled(1, 100).await;
    fs::write(dir.path().join("head"), b"").unwrap();
    assert!(matches!(refusal(&dir), OpenError::HeadMissing { .. }));
    fs::remove_file(dir.path().join("head")).unwrap();
    assert!(matches!(refusal(&dir), OpenError::HeadMissing { .. }));
}

#[tokio::test]
async fn a_crash_while_the_store_was_being_made_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("head"), b"XDHEAD").unwrap();
    open_and(dir.path(), async |store| fill(store, 1, 100).await).await;
    let dir = tempfile::tempdir().unwrap();
    HeadFile::create(&dir.path().join("head")).unwrap();
    fs::create_dir_all(dir.path().join("journal/blobs")).unwrap();
    fs::write(dir.path().join("journal/conf"), b"").unwrap();
    fs::write(db(&dir), b"").unwrap();
    open_and(dir.path(), async |store| fill(store, 1, 100).await).await;
    open_and(dir.path(), async |store| assert_eq!(whole_tail(&*store.journal()).await.len(), 1)).await;
}

#[tokio::test]
async fn an_unfinished_snapshot_is_removed() {
    let dir = filled(100, 100).await;
    let litter = dir.path().join("journal/snap.00000000000F0000.generating");
    fs::write(&litter, b"half a snapshot").unwrap();
    open_and(dir.path(), async |store| assert_eq!(whole_tail(&*store.journal()).await.len(), 100)).await;
    assert!(!litter.exists());
}

#[tokio::test]
async fn a_damaged_snapshot_is_set_aside_and_the_log_is_read() {
    let dir = filled(100, 100).await;
    open_and(dir.path(), async |_| ()).await; // a snapshot is written at an opening
    let snapshot = fs::read_dir(dir.path().join("journal")).unwrap().map(|file| file.unwrap().path());
    let snapshot = snapshot.into_iter().find(|path| path.to_string_lossy().contains("snap.")).unwrap();
    let mut bytes = fs::read(&snapshot).unwrap();
    bytes[3] ^= 0xff;
    fs::write(&snapshot, &bytes).unwrap();
    open_and(dir.path(), async |store| {
        assert_eq!(store.verify().await.unwrap().appends, 100);
    })
    .await;
    assert_eq!(fs::read(dir.path().join("set-aside").join(snapshot.file_name().unwrap())).unwrap(), bytes);
}

#[tokio::test]
async fn damage_at_which_the_database_panics_is_an_error_that_says_what_to_do() {
    let mut outcomes = Vec::new();
    for part in 0..16 {
        let dir = tempfile::tempdir().unwrap();
        // A batch for each group, so that there are many places at which it can break.
        let options = Options { settle_pause: Duration::ZERO, ..Options::default() };
        let store = Store::open_with(dir.path(), StillClock::shared(), options).unwrap();
        fill(&store, 300, 4_000).await;
        store.close().await.unwrap();
        let mut bytes = fs::read(db(&dir)).unwrap();
        let start = bytes.len() / 16 * part;
        for byte in &mut bytes[start..][..40_000] {
            *byte ^= 0x5a;
        }
        fs::write(db(&dir), bytes).unwrap();
        // Either the opening refuses, or what is damaged is found when it is read, or those bytes were no longer used.
        outcomes.push(match open(dir.path()) {
            Err(error) => error.to_string(),
            Ok(store) => match store.verify().await {
                Ok(verified) => format!("{} appends are whole", verified.appends),
                Err(error) => error.to_string(),
            },
        });
    }
    let told = |outcome: &String| outcome.contains("restore a backup") || outcome.contains("damaged");
    assert!(outcomes.iter().all(|outcome| told(outcome) || outcome == "300 appends are whole"), "{outcomes:#?}");
    assert!(outcomes.iter().any(|outcome| outcome.contains("it panicked")), "{outcomes:#?}");
}

#[tokio::test]
async fn a_changed_append_is_found_by_reading_and_by_verifying() {
    let dir = filled(300, 100).await;
    let position = open_and(dir.path(), async |store| whole_tail(&*store.journal()).await[5].position).await;
    tamper(&dir, |db| {
        let key = layout::append_key(position);
        let mut frame = db.get(key).unwrap().unwrap().to_vec();
        frame[80] ^= 1;
        db.insert(key, frame).unwrap();
    });
    open_and(dir.path(), async |store| {
        let journal = store.journal();
        assert!(matches!(journal.read(run_stream(5), Version(0)).await, Err(ReadError::Damaged { .. })));
        assert!(matches!(journal.tail(Position(0), 10).await, Err(ReadError::Damaged { .. })));
        assert!(matches!(store.verify().await, Err(ReadError::Damaged { .. })));
        assert_eq!(journal.read(run_stream(6), Version(0)).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_missing_append_or_piece_is_found_by_verifying() {
    for prefix in [b"j", b"s", b"p", b"h"] {
        let dir = filled(300, 5_000).await;
        tamper(&dir, |db| {
            let key = db.scan_prefix(prefix).next().unwrap().unwrap().0;
            db.remove(key).unwrap();
        });
        open_and(dir.path(), async |store| {
            assert!(matches!(store.verify().await, Err(ReadError::Damaged { .. })), "{prefix:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_changed_record_is_found_by_reading() {
    let dir = tempfile::tempdir().unwrap();
    open_and(dir.path(), async |store| store.records().put_if("key", Bytes::from(vec![1; 9]), None).await.unwrap())
        .await;
    tamper(&dir, |db| {
        let mut frame = db.get(b"vkey").unwrap().unwrap().to_vec();
        frame[25] ^= 1;
        db.insert(b"vkey", frame).unwrap();
    });
    open_and(dir.path(), async |store| {
        assert!(matches!(store.records().get("key").await, Err(RecordError::Unavailable { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_failed_sync_poisons_the_store_and_shows_nothing_of_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { reopenings_limit: 0, ..Options::default() };
    let store = Store::open_with(dir.path(), StillClock::shared(), options).unwrap();
    let (journal, records) = (store.journal(), store.records());
    fill(&store, 3, 10).await;
    let revision = records.put_if("key", Bytes::from_static(b"old"), None).await.unwrap();
    store.fail_syncs.log.store(true, Ordering::SeqCst);
    let doomed = append(run_stream(77), 0, b"doomed");
    let (appended, written) =
        tokio::join!(journal.append(doomed.clone()), records.put_if("key", Bytes::from_static(b"new"), Some(revision)));
    assert!(matches!(appended, Err(AppendError::Unknown { .. })), "{appended:?}");
    assert!(matches!(written, Err(RecordError::Unavailable { .. })), "{written:?}");
    store.fail_syncs.log.store(false, Ordering::SeqCst);
    let refused = journal.append(doomed.clone()).await;
    assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
    until(|| store.failed().is_some()).await;
    assert!(journal.health().unwrap_err().contains("start the hub again"));
    // Nothing that may not be durable is shown.
    assert_eq!(journal.read(run_stream(77), Version(0)).await, Ok(vec![]));
    assert_eq!(whole_tail(&*journal).await.len(), 3);
    assert_eq!(records.get("key").await.unwrap().unwrap().value, "old");
    assert_eq!(records.list("", None, 9).await.unwrap()[0].1.revision, revision);
    assert!(store.close().await.is_err());
    // After a restart, a repetition finds out what happened.
    open_and(dir.path(), async |store| {
        assert_eq!(store.journal().append(doomed.clone()).await, Ok(Version(1)));
        assert_eq!(store.journal().read(run_stream(77), Version(0)).await.unwrap().len(), 1);
    })
    .await;
}

/// Waits until something holds, at most half a minute.
async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        let _ = tokio::time::timeout(Duration::from_millis(10), std::future::pending::<()>()).await;
    }
    panic!("it never came true");
}

#[tokio::test]
async fn after_a_failed_sync_the_store_is_opened_again_and_a_repetition_finds_out_what_happened() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let (journal, records) = (store.journal(), store.records());
    fill(&store, 3, 10).await;
    let revision = records.put_if("key", Bytes::from_static(b"old"), None).await.unwrap();
    let mut watch = records.watch("");
    for round in 0..3 {
        store.fail_syncs.log.store(true, Ordering::SeqCst);
        let doomed = append(run_stream(77), round, b"doomed");
        assert!(matches!(journal.append(doomed.clone()).await, Err(AppendError::Unknown { .. })));
        assert!(journal.health().is_err() || round > 0, "readiness says so");
        store.fail_syncs.log.store(false, Ordering::SeqCst);
        until(|| journal.health().is_ok()).await;
        assert_eq!(journal.append(doomed).await, Ok(Version(round + 1)));
        assert_eq!(store.failed(), None);
    }
    assert_eq!(journal.read(run_stream(77), Version(0)).await.unwrap().len(), 3);
    assert_eq!(whole_tail(&*journal).await.len(), 6);
    assert_eq!(records.get("key").await.unwrap().unwrap().revision, revision);
    assert_eq!(watch.next().await, None, "whoever watched lists anew");
    store.verify().await.unwrap();
    store.close().await.unwrap();
    open_and(dir.path(), async |store| assert_eq!(store.verify().await.unwrap().appends, 6)).await;
}

#[tokio::test]
async fn a_store_with_nothing_to_do_is_opened_anew_so_that_the_next_start_is_quick() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { refresh_groups: 20, ..Options::default() };
    let store = Store::open_with(dir.path(), StillClock::shared(), options).unwrap();
    let snapshots = || {
        let files = fs::read_dir(dir.path().join("journal")).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.starts_with("snap."));
        names
    };
    let before = snapshots();
    for version in 0..30 {
        store.journal().append(append(run_stream(5), version, b"entry")).await.unwrap();
    }
    until(|| snapshots() != before).await;
    assert_eq!(store.journal().read(run_stream(5), Version(0)).await.unwrap().len(), 30);
    assert_eq!(store.journal().append(append(run_stream(5), 30, b"entry")).await, Ok(Version(31)));
    assert_eq!(store.verify().await.unwrap().appends, 31);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_disk_that_stays_broken_ends_the_store_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { reopenings_limit: 2, ..Options::default() };
    let store = Store::open_with(dir.path(), StillClock::shared(), options).unwrap();
    store.fail_syncs.log.store(true, Ordering::SeqCst);
    for version in 0..9 {
        let _ = store.journal().append(append(run_stream(1), version, b"entry")).await;
        until(|| store.failed().is_some() || store.journal().health().is_ok()).await;
    }
    assert!(store.failed().unwrap().contains("start the hub again"));
    assert!(store.close().await.is_err());
}

#[tokio::test]
async fn a_store_that_lost_what_it_acknowledged_is_not_opened_again_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    fill(&store, 300, 4_000).await;
    // Nothing but this test writes the head from then on.
    until(|| HeadFile::open(&dir.path().join("head")).unwrap().unwrap().head().group == store.statistics().groups)
        .await;
    // As if the disk had lost it all, and then said so.
    let mut head = HeadFile::open(&dir.path().join("head")).unwrap().unwrap();
    store.fail_syncs.log.store(true, Ordering::SeqCst);
    head.write(Head { group: 9_999, ..head.head() }).unwrap();
    let answer = store.journal().append(append(run_stream(9_999), 0, b"entry")).await;
    assert!(matches!(answer, Err(AppendError::Unknown { .. })), "{answer:?}");
    until(|| store.failed().is_some()).await;
    assert!(store.failed().unwrap().contains("restore a backup"), "{:?}", store.failed());
    assert!(store.journal().read(run_stream(9_999), Version(0)).await.is_err());
}

#[tokio::test]
async fn with_too_little_room_new_work_is_refused_and_appends_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let space = SpaceLimits { intake_free_bytes_min: 1 << 60, reserve_bytes: 1 << 20 };
    let store = Store::open_with(dir.path(), StillClock::shared(), Options { space, ..Options::default() }).unwrap();
    until(|| store.journal().room().is_err()).await;
    assert!(store.journal().room().unwrap_err().contains("free some space"));
    assert_eq!(store.journal().health(), Ok(()));
    fill(&store, 10, 100).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn closing_commits_what_was_sent_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let journal = store.journal();
    let sent: Vec<_> = (0..500_u64)
        .map(|number| {
            let journal = journal.clone();
            tokio::spawn(async move { journal.append(append(run_stream(number), 0, b"entry")).await })
        })
        .collect();
    tokio::task::yield_now().await;
    store.close().await.unwrap();
    let acknowledged = join_all(sent).await.iter().filter(|answer| *answer.as_ref().unwrap() == Ok(Version(1))).count();
    open_and(dir.path(), async |store| {
        assert_eq!(whole_tail(&*store.journal()).await.len(), acknowledged);
    })
    .await;
}

#[tokio::test]
async fn the_database_never_spills_pages_beside_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    // The largest appends and records, with the longest keys, many times over.
    fill(&store, 20, 512 << 10).await;
    for number in 0..40 {
        let key = format!("{number:0>512}");
        store.records().put_if(&key, Bytes::from(vec![1; 200_000]), None).await.unwrap();
        let revision = store.records().get(&key).await.unwrap().unwrap().revision;
        store.records().put_if(&key, Bytes::from(vec![2; 4_000]), Some(revision)).await.unwrap();
    }
    assert_eq!(store.statistics().spilled_files, 0);
    assert_eq!(store.verify().await.unwrap().records, 40);
    store.close().await.unwrap();
    assert_eq!(fs::read_dir(dir.path().join("journal/blobs")).unwrap().count(), 0);
}

/// The journal as a trait object is what everybody holds.
#[test]
fn handles_are_shared_between_threads() {
    fn shared<T: Send + Sync + ?Sized>() {}
    shared::<dyn Journal>();
    shared::<Store>();
}

//! A database that has not got all that was acknowledged is given it from the log, or refused.

use std::{
    fs::{self, OpenOptions},
    path::Path,
    sync::atomic::Ordering,
    time::Duration,
};

use futures::future::join_all;
use tempfile::TempDir;

use super::{
    OpenError, Store,
    head::{Head, HeadFile},
    layout,
};
use crate::{
    ports::journal::{AppendError, Version},
    store::conformance::{StillClock, append, run_stream, whole_tail},
};

const SEGMENT: u64 = 512 << 10;

fn open(dir: &Path) -> Result<Store, OpenError> {
    Store::open(dir, StillClock::shared())
}

/// Appends to a stream, each in a group of its own.
async fn write(store: &Store, stream: u64, versions: std::ops::Range<u64>) {
    for version in versions {
        let entry = format!("{stream}/{version}").into_bytes();
        assert_eq!(store.journal().append(append(run_stream(stream), version, &entry)).await, Ok(Version(version + 1)));
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// A store as it was closed after ten groups, and what it was when ten more had been acknowledged: what a power cut leaves
/// of a database that had nothing of those on the disk is the first one's database and head with the second one's log.
async fn ten_and_ten_more(stream: u64) -> (TempDir, TempDir) {
    let (closed, used) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(used.path()).unwrap();
    write(&store, stream, 0..10).await;
    store.close().await.unwrap();
    copy(used.path(), closed.path());
    let store = open(used.path()).unwrap();
    write(&store, stream, 10..20).await;
    fs::copy(used.path().join("log"), closed.path().join("log.later")).unwrap();
    store.close().await.unwrap();
    (closed, used)
}

fn cut(dir: &Path) {
    fs::rename(dir.join("log.later"), dir.join("log")).unwrap();
}

async fn versions(store: &Store, stream: u64) -> usize {
    store.journal().read(run_stream(stream), Version(0)).await.unwrap().len()
}

#[tokio::test]
async fn a_database_is_given_what_only_the_log_has() {
    let (dir, _) = ten_and_ten_more(1).await;
    let store = open(dir.path()).unwrap();
    assert_eq!(versions(&store, 1).await, 10, "the log is empty in a store that was closed");
    store.close().await.unwrap();
    cut(dir.path());
    for _twice in 0..2 {
        let store = open(dir.path()).unwrap();
        assert_eq!(versions(&store, 1).await, 20);
        assert_eq!(store.verify().await.unwrap().appends, 20);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_copy_to_look_at_has_it_too_and_the_original_stays_as_it_is() {
    let (dir, _) = ten_and_ten_more(1).await;
    cut(dir.path());
    let before = fs::read(dir.path().join("journal/db")).unwrap();
    let copied = tempfile::tempdir().unwrap();
    let store = Store::open_copy(dir.path(), copied.path(), StillClock::shared()).unwrap();
    assert_eq!(versions(&store, 1).await, 20);
    store.close().await.unwrap();
    assert!(fs::read(dir.path().join("journal/db")).unwrap() == before);
}

#[tokio::test]
async fn a_database_that_gave_back_segments_is_proven_with_its_log() {
    let (dir, _) = ten_and_ten_more(1).await;
    cut(dir.path());
    let db = dir.path().join("journal/db");
    let segments = fs::metadata(&db).unwrap().len().div_ceil(SEGMENT);
    OpenOptions::new().write(true).open(&db).unwrap().set_len(segments * SEGMENT).unwrap();
    let mut head = HeadFile::open(&dir.path().join("head")).unwrap().unwrap();
    head.write(Head { length: (segments + 2) * SEGMENT, ..head.head() }).unwrap();
    let store = open(dir.path()).unwrap();
    assert_eq!(versions(&store, 1).await, 20);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_database_that_ends_before_its_log_begins_is_refused() {
    let (dir, used) = ten_and_ten_more(1).await;
    let store = open(used.path()).unwrap();
    write(&store, 1, 20..25).await;
    fs::copy(used.path().join("log"), dir.path().join("log.later")).unwrap();
    store.close().await.unwrap();
    cut(dir.path());
    let refused = open(dir.path()).err().expect("groups 11 to 20 are nowhere");
    assert!(matches!(refused, OpenError::Behind { actual: 10, acknowledged: 21, .. }), "{refused}");
}

#[tokio::test]
async fn a_database_with_a_part_of_what_a_lost_log_had_is_refused() {
    let (dir, _) = ten_and_ten_more(1).await;
    let db = super::opening::bare(&dir.path().join("journal"));
    db.insert(layout::append_key(layout::position(11, 0)), b"a frame").unwrap();
    db.flush().unwrap();
    drop(db);
    let refused = open(dir.path()).err().expect("group 11 is nowhere whole");
    assert!(matches!(&refused, OpenError::Damaged { problem, .. } if problem.contains("lacks groups")), "{refused}");
}

#[tokio::test]
async fn a_log_of_another_history_is_refused() {
    let ((dir, _), (other, _)) = (ten_and_ten_more(1).await, ten_and_ten_more(2).await);
    fs::copy(other.path().join("log.later"), dir.path().join("log.later")).unwrap();
    cut(dir.path());
    let refused = open(dir.path()).err().expect("it is another store's log");
    assert!(matches!(refused, OpenError::Diverged { group: 11, .. }), "{refused}");
}

#[tokio::test]
async fn a_log_that_lost_what_the_head_has_seen_is_refused() {
    let (dir, used) = ten_and_ten_more(1).await;
    // The database of then, the head of now, and no log.
    fs::copy(used.path().join("head"), dir.path().join("head")).unwrap();
    let mut head = HeadFile::open(&dir.path().join("head")).unwrap().unwrap();
    head.write(Head { length: 0, ..head.head() }).unwrap();
    let refused = open(dir.path()).err().expect("groups 11 to 20 are nowhere");
    assert!(matches!(refused, OpenError::Behind { actual: 10, acknowledged: 20, .. }), "{refused}");
}

#[tokio::test]
async fn a_database_that_cannot_be_made_durable_is_opened_again_and_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let (mut version, mut refused) = (0, 0);
    for round in 0..3 {
        store.fail_syncs.database.store(true, Ordering::SeqCst);
        for _ in 0..10_000 {
            match store.journal().append(append(run_stream(1), version, b"entry")).await {
                Ok(next) => version = next.0,
                Err(AppendError::Unknown { reason } | AppendError::Unavailable { reason }) => {
                    assert!(reason.contains("durable") || reason.contains("opened again"), "{reason}");
                    refused += 1;
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(refused, round + 1, "writing does not go on for ever");
        store.fail_syncs.database.store(false, Ordering::SeqCst);
        for _ in 0..3_000 {
            if store.journal().health().is_ok() {
                break;
            }
            let _ = tokio::time::timeout(Duration::from_millis(10), std::future::pending::<()>()).await;
        }
        // A repetition finds out whether what was refused is stored.
        version = store.journal().append(append(run_stream(1), version, b"entry")).await.unwrap().0;
        assert_eq!(versions(&store, 1).await as u64, version);
    }
    store.verify().await.unwrap();
    store.close().await.unwrap();
    let store = open(dir.path()).unwrap();
    assert_eq!(versions(&store, 1).await as u64, version);
    store.close().await.unwrap();
}

#[tokio::test]
async fn more_than_the_log_takes_goes_on_while_the_database_is_made_durable() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let journal = store.journal();
    for round in 0..12_u64 {
        let entry = vec![u8::try_from(round).unwrap(); 400_000];
        let writes = (0..8).map(|stream| journal.append(append(run_stream(stream), round, &entry)));
        assert!(join_all(writes).await.iter().all(|written| *written == Ok(Version(round + 1))));
    }
    let statistics = store.statistics();
    assert!(statistics.settled > 0 && statistics.flushes == statistics.groups, "{statistics:?}");
    assert!(fs::metadata(dir.path().join("log")).unwrap().len() <= 2 * super::log::HALF_BYTES as u64);
    assert_eq!(whole_tail(&*journal).await.len(), 96);
    store.close().await.unwrap();
}

//! Archiving, from the outside: what was archived is still read and still conflicts, what was not stays, and room comes
//! back.

use std::{fs, path::Path};

use bytes::Bytes;
use futures::future::join_all;

use super::Store;
use crate::{
    model::id::{AcceptanceId, AppendId},
    ports::journal::{Append, AppendError, Journal, ReadError, Record, StreamId, Version},
    store::conformance::{StillClock, append, run_stream, whole_tail},
};

fn open(dir: &Path) -> Store {
    Store::open(dir, StillClock::shared()).unwrap()
}

fn acceptance(number: u64) -> StreamId {
    StreamId::Acceptance(AcceptanceId::of("/shop", &number.to_string()))
}

/// An entry as long as asked, of text that differs.
fn text(number: u64, version: u64, length: usize) -> Vec<u8> {
    let words = format!("run {number} did step {version} and found {} pieces; ", number * 31 % 97);
    words.bytes().cycle().take(length).collect()
}

/// An acceptance, and a run of three appends, one of them long.
async fn work(journal: &dyn Journal, number: u64) {
    let accepted = append(acceptance(number), 0, &text(number, 0, 1_000));
    assert_eq!(journal.append(accepted).await, Ok(Version(1)));
    for (version, length) in [(0, 1_200), (1, if number.is_multiple_of(7) { 9_000 } else { 100 }), (2, 300)] {
        let entries = vec![Bytes::from(text(number, version, length)), Bytes::from_static(b"\x01\x00\xff")];
        let stream = run_stream(number);
        let id = AppendId::of(&stream.to_key(), version, &entries.concat());
        let next = Append { stream, expected: Version(version), id, entries };
        assert_eq!(journal.append(next).await, Ok(Version(version + 1)));
    }
}

async fn works(store: &Store, numbers: std::ops::Range<u64>) {
    for chunk in numbers.collect::<Vec<_>>().chunks(64) {
        let journal = store.journal();
        join_all(chunk.iter().map(|number| work(&*journal, *number))).await;
    }
    // The last group stays, so it holds nothing that a test archives.
    let journal = store.journal();
    let mut version = journal.read(run_stream(u64::MAX), Version(0)).await.unwrap().len() as u64;
    while journal.append(append(run_stream(u64::MAX), version, b"last")).await.is_err() {
        version += 1;
    }
}

fn bundle(number: u64) -> Vec<StreamId> {
    vec![acceptance(number), run_stream(number)]
}

async fn all(store: &Store, numbers: std::ops::Range<u64>) -> Vec<Vec<Record>> {
    let mut found = Vec::new();
    for stream in numbers.flat_map(bundle) {
        found.push(store.journal().read(stream, Version(0)).await.unwrap());
    }
    found
}

#[tokio::test]
async fn what_is_archived_is_read_as_before_and_what_is_not_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    works(&store, 0..400).await;
    let revision = store.records().put_if("plugin/a", Bytes::from(vec![5; 20_000]), None).await.unwrap();
    let before = all(&store, 0..400).await;
    let tail = whole_tail(&*store.journal()).await;
    for round in [0..150, 150..300] {
        let done = store.archive(round.map(bundle).collect(), Vec::new()).await.unwrap();
        assert_eq!((done.files.len(), done.files[0].runs, done.left), (1, 150, 0));
    }
    assert_eq!(all(&store, 0..400).await, before);
    assert_eq!(store.journal().read(run_stream(3), Version(2)).await.unwrap().len(), 1);
    assert_eq!(store.journal().read(run_stream(3), Version(3)).await.unwrap().len(), 0);
    let stays: Vec<Record> = tail
        .into_iter()
        .filter(|record| {
            (300..400).flat_map(bundle).chain([run_stream(u64::MAX)]).any(|stream| stream == record.stream)
        })
        .collect();
    assert_eq!(whole_tail(&*store.journal()).await, stays, "the journal itself holds only the rest");
    assert_eq!(store.records().get("plugin/a").await.unwrap().unwrap().revision, revision);
    // It goes on, and is proven from the first group to the last, archives included.
    works(&store, 400..420).await;
    let verified = store.verify().await.unwrap();
    assert_eq!((verified.appends, verified.archived, verified.dropped), (420 * 4 + 2, 300 * 4, 0));
    store.close().await.unwrap();
    let store = open(dir.path());
    assert_eq!(all(&store, 0..400).await, before);
    store.verify().await.unwrap();
    assert!(!dir.path().join("journal.old").exists() && !dir.path().join("journal.next").exists());
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_archived_acceptance_still_finds_its_duplicate_and_a_run_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    works(&store, 0..20).await;
    store.archive((0..10).map(bundle).collect(), Vec::new()).await.unwrap();
    for again in 0..2 {
        let store = if again == 0 { store.clone() } else { open(dir.path()) };
        let journal = store.journal();
        let same = append(acceptance(4), 0, &text(4, 0, 1_000));
        assert_eq!(journal.append(same).await, Ok(Version(1)), "a repetition finds itself");
        let other = append(acceptance(4), 0, b"another body");
        assert_eq!(journal.append(other).await, Err(AppendError::Conflict));
        for version in 0..5 {
            let late = append(run_stream(4), version, b"late");
            assert_eq!(journal.append(late).await, Err(AppendError::Conflict), "at {version}");
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_store_takes_work_while_it_archives_and_the_room_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    works(&store, 0..2_000).await;
    let (archived, ()) =
        tokio::join!(store.archive((0..1_900).map(bundle).collect(), Vec::new()), works(&store, 2_000..2_400));
    let archived = archived.unwrap();
    assert!(archived.after_bytes < archived.before_bytes / 2, "{archived:?}");
    assert_eq!(all(&store, 1_900..2_400).await.iter().map(Vec::len).sum::<usize>(), 500 * 4);
    assert_eq!(store.verify().await.unwrap().appends, 2_400 * 4 + 2);
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_archive_that_was_kept_long_enough_is_dropped_with_all_that_pointed_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    works(&store, 0..40).await;
    store.archive((0..20).map(bundle).collect(), Vec::new()).await.unwrap();
    store.archive((20..30).map(bundle).collect(), vec![1]).await.unwrap();
    let files = store.archives().await.unwrap();
    assert_eq!(files.iter().map(|file| (file.file, file.dropped)).collect::<Vec<_>>(), [(1, true), (2, false)]);
    assert!(!dir.path().join("archive/00000001.jsonl.zst").exists());
    assert_eq!(store.journal().read(run_stream(4), Version(0)).await.unwrap(), []);
    assert_eq!(store.journal().read(run_stream(24), Version(0)).await.unwrap().len(), 3);
    let verified = store.verify().await.unwrap();
    assert!(verified.dropped > 0 && verified.archived == 40, "{verified:?}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_crash_in_a_turnover_leaves_the_store_as_it_was_or_as_it_is_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    works(&store, 0..40).await;
    let before = all(&store, 0..40).await;
    store.close().await.unwrap();
    let path = |name: &str| dir.path().join(name);
    // While the next database is written; then between the two renames; then before the old one is dropped.
    for crash in 0..3 {
        match crash {
            0 => {
                fs::create_dir(path("journal.next")).unwrap();
                fs::write(path("journal.next/db"), b"half").unwrap();
                fs::create_dir_all(path("archive")).unwrap();
                fs::write(path("archive/00000001.jsonl.zst"), b"nobody points here").unwrap();
            }
            1 => fs::rename(path("journal"), path("journal.old")).unwrap(),
            _ => {
                fs::create_dir(path("journal.old")).unwrap();
                fs::write(path("journal.old/db"), b"the last period").unwrap();
            }
        }
        let store = open(dir.path());
        assert_eq!(all(&store, 0..40).await, before, "crash {crash}");
        store.verify().await.unwrap();
        store.close().await.unwrap();
        assert!(!path("journal.old").exists() && !path("journal.next").exists());
    }
    let store = open(dir.path());
    let done = store.archive((0..30).map(bundle).collect(), Vec::new()).await.unwrap();
    assert_eq!(done.files.iter().map(|file| file.runs).sum::<u64>(), 30);
    assert_eq!(all(&store, 0..40).await, before);
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_archive_that_was_changed_is_found_by_verifying() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    works(&store, 0..40).await;
    store.archive((0..30).map(bundle).collect(), Vec::new()).await.unwrap();
    let path = dir.path().join("archive/00000001.jsonl.zst");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(store.verify().await, Err(ReadError::Damaged { .. })));
    store.close().await.unwrap();
}

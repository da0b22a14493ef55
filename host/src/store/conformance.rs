//! What every implementation of the store's seams must do: one suite, run by each.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{
    StreamExt,
    future::{BoxFuture, join_all},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::{
    model::{
        id::{AcceptanceId, AppendId, Digest, RunId},
        timestamp::Timestamp,
    },
    ports::{
        blobs::{BLOB_BYTES_LIMIT, BlobError, Blobs},
        clock::Clock,
        journal::{APPEND_BYTES_LIMIT, Append, AppendError, Journal, Position, Record, StreamId, Version},
        records::{RECORD_BYTES_LIMIT, RecordError, Records, Revision, Stored},
    },
};

/// A clock that moves only when a test moves it; may go back.
#[derive(Debug)]
pub(super) struct StillClock(AtomicI64);

impl StillClock {
    pub(super) fn shared() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_000)))
    }

    pub(super) fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::SeqCst);
    }
}

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, _: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(futures::future::pending())
    }
}

/// The seams of a fresh store.
pub(super) struct Fixture {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) records: Arc<dyn Records>,
    pub(super) blobs: Arc<dyn Blobs>,
    pub(super) close: Box<dyn FnOnce() -> BoxFuture<'static, ()>>,
}

/// A run's stream.
pub(super) fn run_stream(number: u64) -> StreamId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    StreamId::Run(RunId::from_bytes(id))
}

/// An append of one entry, whose id follows from all of it.
pub(super) fn append(stream: StreamId, expected: u64, entry: &[u8]) -> Append {
    let id = AppendId::of(&stream.to_key(), expected, entry);
    Append { stream, expected: Version(expected), id, entries: vec![Bytes::copy_from_slice(entry)] }
}

fn entries(records: &[Record]) -> Vec<Vec<Bytes>> {
    records.iter().map(|record| record.entries.clone()).collect()
}

/// Everything in the journal, in pages.
pub(super) async fn whole_tail(journal: &dyn Journal) -> Vec<Record> {
    let mut all: Vec<Record> = Vec::new();
    loop {
        let page = journal.tail(all.last().map_or(Position(0), |record| record.position), 100).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// Runs the suite, each part on a store of its own.
pub(super) async fn run(fresh: impl Fn() -> Fixture) {
    appends_are_read_in_order(&*fresh().journal).await;
    a_stream_that_moved_on_is_a_conflict(&*fresh().journal).await;
    a_repetition_succeeds_with_its_own_version(&*fresh().journal).await;
    one_of_many_concurrent_writers_wins(fresh().journal).await;
    concurrent_appends_to_one_stream_line_up(fresh().journal).await;
    limits_of_an_append_hold(&*fresh().journal).await;
    the_tail_is_everything_in_order(&*fresh().journal).await;
    a_record_moves_from_revision_to_revision(&*fresh().records).await;
    concurrent_swaps_lose_nothing(fresh().records).await;
    records_are_listed_by_prefix_in_pages(&*fresh().records).await;
    limits_of_a_record_hold(&*fresh().records).await;
    a_watcher_sees_the_changes_under_its_prefix(&*fresh().records).await;
    a_watcher_too_far_behind_sees_its_stream_end(&*fresh().records).await;
    blobs_are_found_by_their_digest(&*fresh().blobs).await;
    a_closed_store_refuses_and_ends_watches(fresh()).await;
}

async fn appends_are_read_in_order(journal: &dyn Journal) {
    assert_eq!(journal.read(run_stream(1), Version(0)).await, Ok(vec![]));
    let acceptance = StreamId::Acceptance(AcceptanceId::of("/shop", "1"));
    assert_eq!(journal.append(append(acceptance, 0, b"event")).await, Ok(Version(1)));
    for version in 0..150_u64 {
        let entry = version.to_be_bytes();
        assert_eq!(journal.append(append(run_stream(1), version, &entry)).await, Ok(Version(version + 1)));
    }
    for after in [0, 1, 63, 64, 65, 149, 150, 151] {
        let records = journal.read(run_stream(1), Version(after)).await.unwrap();
        let expected: Vec<u64> = (after + 1..=150).collect();
        assert_eq!(records.iter().map(|record| record.version.0).collect::<Vec<_>>(), expected, "after {after}");
        for record in records {
            assert_eq!(record.entries, [Bytes::copy_from_slice(&(record.version.0 - 1).to_be_bytes())]);
        }
    }
    assert_eq!(journal.read(acceptance, Version(0)).await.unwrap().len(), 1);
    assert_eq!(journal.health(), Ok(()));
}

async fn a_stream_that_moved_on_is_a_conflict(journal: &dyn Journal) {
    journal.append(append(run_stream(1), 0, b"one")).await.unwrap();
    for wrong in [0, 2, 3, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
        let answer = journal.append(append(run_stream(1), wrong, b"other")).await;
        assert_eq!(answer, Err(AppendError::Conflict), "expected {wrong}");
    }
    assert_eq!(journal.append(append(run_stream(2), 1, b"x")).await, Err(AppendError::Conflict));
    assert_eq!(whole_tail(journal).await.len(), 1);
}

async fn a_repetition_succeeds_with_its_own_version(journal: &dyn Journal) {
    for version in 0..3_u64 {
        journal.append(append(run_stream(1), version, b"entry")).await.unwrap();
    }
    for version in 0..3_u64 {
        let again = append(run_stream(1), version, b"entry");
        assert_eq!(journal.append(again.clone()).await, Ok(Version(version + 1)));
        let other = Append { id: AppendId::from_bytes([7; 16]), ..again };
        assert_eq!(journal.append(other).await, Err(AppendError::Conflict));
    }
    // The same id elsewhere in the stream is no repetition of that place.
    let elsewhere = Append { expected: Version(1), ..append(run_stream(1), 0, b"entry") };
    assert_eq!(journal.append(elsewhere).await, Err(AppendError::Conflict));
    assert_eq!(whole_tail(journal).await.len(), 3);
}

async fn one_of_many_concurrent_writers_wins(journal: Arc<dyn Journal>) {
    let answers = join_all((0..64_u64).map(|writer| {
        let journal = journal.clone();
        tokio::spawn(async move { journal.append(append(run_stream(1), 0, &writer.to_be_bytes())).await })
    }))
    .await;
    let won = answers.iter().filter(|answer| *answer.as_ref().unwrap() == Ok(Version(1))).count();
    let lost = answers.iter().filter(|answer| *answer.as_ref().unwrap() == Err(AppendError::Conflict)).count();
    assert_eq!((won, lost), (1, 63));
    assert_eq!(journal.read(run_stream(1), Version(0)).await.unwrap().len(), 1);
}

/// Sent together, and each twice, so that a group meets several appends of one stream and their repetitions.
async fn concurrent_appends_to_one_stream_line_up(journal: Arc<dyn Journal>) {
    let all = (0..40_u64).flat_map(|version| [version; 2]);
    let answers = join_all(all.map(|version| {
        let journal = journal.clone();
        async move { (version, journal.append(append(run_stream(1), version, &version.to_be_bytes())).await) }
    }))
    .await;
    for (version, answer) in answers {
        assert_eq!(answer, Ok(Version(version + 1)));
    }
    assert_eq!(journal.read(run_stream(1), Version(0)).await.unwrap().len(), 40);
}

async fn limits_of_an_append_hold(journal: &dyn Journal) {
    let sized = |sizes: &[usize]| Append {
        entries: sizes.iter().map(|size| Bytes::from(vec![0xa5; *size])).collect(),
        ..append(run_stream(1), 0, b"")
    };
    let too_large = |actual_bytes| Err(AppendError::TooLarge { actual_bytes, limit_bytes: APPEND_BYTES_LIMIT });
    assert_eq!(journal.append(sized(&[])).await, too_large(0));
    assert_eq!(journal.append(sized(&[APPEND_BYTES_LIMIT + 1])).await, too_large(APPEND_BYTES_LIMIT + 1));
    assert_eq!(journal.append(sized(&[APPEND_BYTES_LIMIT, 1])).await, too_large(APPEND_BYTES_LIMIT + 1));
    assert_eq!(journal.append(sized(&vec![0; 100_000])).await, too_large(0));
    assert_eq!(whole_tail(journal).await, []);
    let shapes: [&[usize]; 7] =
        [&[APPEND_BYTES_LIMIT], &[0], &[0, 0, 1], &[4096], &[3000, 2000, 100_000], &[4010, 1], &[8192]];
    for (version, shape) in (0..).zip(shapes) {
        let append = Append { expected: Version(version), ..sized(shape) };
        assert_eq!(journal.append(append.clone()).await, Ok(Version(version + 1)));
        let read = journal.read(run_stream(1), Version(version)).await.unwrap();
        assert_eq!(entries(&read), [append.entries]);
    }
    assert_eq!(whole_tail(journal).await.len(), 7);
}

async fn the_tail_is_everything_in_order(journal: &dyn Journal) {
    assert_eq!(journal.tail(Position(0), 10).await, Ok(vec![]));
    for round in 0..50_u64 {
        let appends = (0..5).map(|stream| journal.append(append(run_stream(stream), round, &round.to_be_bytes())));
        assert!(join_all(appends).await.iter().all(Result::is_ok));
    }
    let all = whole_tail(journal).await;
    assert_eq!(all.len(), 250);
    assert!(all.windows(2).all(|pair| pair[0].position < pair[1].position && pair[0].time <= pair[1].time));
    for stream in 0..5 {
        let of_stream: Vec<Record> = all.iter().filter(|record| record.stream == run_stream(stream)).cloned().collect();
        assert_eq!(Ok(of_stream), journal.read(run_stream(stream), Version(0)).await);
    }
    assert_eq!(journal.tail(all[99].position, 7).await.unwrap(), all[100..107]);
    assert_eq!(journal.tail(all[249].position, 7).await, Ok(vec![]));
    assert_eq!(journal.tail(Position(u64::MAX), 7).await, Ok(vec![]));
    assert_eq!(journal.tail(Position(0), 0).await, Ok(vec![]));
}

async fn a_record_moves_from_revision_to_revision(records: &dyn Records) {
    let (one, two) = (Bytes::from_static(b"one"), Bytes::from(vec![2; 20_000]));
    assert_eq!(records.get("a/b").await, Ok(None));
    assert_eq!(records.put_if("a/b", one.clone(), Some(Revision(1))).await, Err(RecordError::Conflict));
    let first = records.put_if("a/b", one.clone(), None).await.unwrap();
    assert_eq!(records.get("a/b").await, Ok(Some(Stored { value: one.clone(), revision: first })));
    assert_eq!(records.put_if("a/b", one.clone(), None).await, Err(RecordError::Conflict));
    let second = records.put_if("a/b", two.clone(), Some(first)).await.unwrap();
    assert!(second.0 > first.0);
    assert_eq!(records.get("a/b").await, Ok(Some(Stored { value: two, revision: second })));
    assert_eq!(records.delete_if("a/b", first).await, Err(RecordError::Conflict));
    assert_eq!(records.delete_if("a/b", second).await, Ok(()));
    assert_eq!(records.get("a/b").await, Ok(None));
    assert_eq!(records.delete_if("a/b", second).await, Err(RecordError::Conflict));
    // A key made anew never has a revision that it had before.
    assert!(records.put_if("a/b", one, None).await.unwrap().0 > second.0);
}

async fn concurrent_swaps_lose_nothing(records: Arc<dyn Records>) {
    records.put_if("count", Bytes::from_static(b"0"), None).await.unwrap();
    let workers = (0..8).map(|_| {
        let records = records.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while done < 10 {
                let Stored { value, revision } = records.get("count").await.unwrap().unwrap();
                let number: u32 = std::str::from_utf8(&value).unwrap().parse().unwrap();
                match records.put_if("count", Bytes::from((number + 1).to_string()), Some(revision)).await {
                    Ok(_) => done += 1,
                    Err(error) => assert_eq!(error, RecordError::Conflict),
                }
            }
        })
    });
    assert!(join_all(workers).await.iter().all(Result::is_ok));
    assert_eq!(records.get("count").await.unwrap().unwrap().value, "80");
}

async fn records_are_listed_by_prefix_in_pages(records: &dyn Records) {
    let keys: Vec<String> = (0..150).map(|number| format!("p/{number:03}")).collect();
    for key in keys.iter().map(String::as_str).chain(["o", "p", "p.", "q/1", "p0"]) {
        records.put_if(key, Bytes::copy_from_slice(key.as_bytes()), None).await.unwrap();
    }
    let list = |after: Option<&'static str>, limit| async move {
        let listed = records.list("p/", after, limit).await.unwrap();
        assert!(listed.iter().all(|(key, stored)| stored.value == key.as_bytes()));
        listed.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 1000).await, keys);
    assert_eq!(list(None, 70).await, keys[..70]);
    assert_eq!(list(Some("p/069"), 70).await, keys[70..140]);
    assert_eq!(list(Some("p/139x"), 70).await, keys[140..]);
    assert_eq!(list(Some("a"), 1).await, keys[..1]);
    assert_eq!(list(Some("q"), 9).await, Vec::<String>::new());
    assert_eq!(list(None, 0).await, Vec::<String>::new());
    assert_eq!(records.list("", None, 1000).await.unwrap().len(), 155);
}

async fn limits_of_a_record_hold(records: &dyn Records) {
    let value = |size| Bytes::from(vec![9; size]);
    let limit_bytes = RECORD_BYTES_LIMIT;
    let too_large = Err(RecordError::TooLarge { actual_bytes: limit_bytes + 1, limit_bytes });
    assert_eq!(records.put_if("a", value(limit_bytes + 1), None).await, too_large);
    records.put_if("a", value(limit_bytes), None).await.unwrap();
    assert_eq!(records.get("a").await.unwrap().unwrap().value, value(limit_bytes));
    let key_too_long = Err(RecordError::TooLarge { actual_bytes: 513, limit_bytes: 512 });
    assert_eq!(records.put_if(&"k".repeat(513), value(1), None).await, key_too_long);
    assert!(records.put_if(&"k".repeat(512), value(0), None).await.is_ok());
}

async fn a_watcher_sees_the_changes_under_its_prefix(records: &dyn Records) {
    records.put_if("p/before", Bytes::new(), None).await.unwrap();
    let mut watch = records.watch("p/");
    let value = Bytes::from_static(b"value");
    records.put_if("q/1", value.clone(), None).await.unwrap();
    let revision = records.put_if("p/1", value.clone(), None).await.unwrap();
    records.put_if("p/1", value.clone(), None).await.unwrap_err();
    records.delete_if("p/1", revision).await.unwrap();
    let put = watch.next().await.unwrap();
    assert_eq!((put.key.as_str(), put.stored), ("p/1", Some(Stored { value, revision })));
    let deleted = watch.next().await.unwrap();
    assert_eq!((deleted.key.as_str(), deleted.stored), ("p/1", None));
}

async fn a_watcher_too_far_behind_sees_its_stream_end(records: &dyn Records) {
    let mut watch = records.watch("");
    let keys: Vec<String> = (0..3_000).map(|number| number.to_string()).collect();
    let written = join_all(keys.iter().map(|key| records.put_if(key, Bytes::new(), None))).await;
    assert!(written.iter().all(Result::is_ok));
    assert_eq!(watch.next().await, None);
}

async fn blobs_are_found_by_their_digest(blobs: &dyn Blobs) {
    let content = Bytes::from(vec![3; 300_000]);
    let digest = Digest::of(&content);
    assert_eq!(blobs.get(digest).await, Ok(None));
    let (one, other) = tokio::join!(blobs.put(content.clone()), blobs.put(content.clone()));
    assert_eq!((one, other), (Ok(digest), Ok(digest)));
    assert_eq!(blobs.get(digest).await, Ok(Some(content)));
    let empty = blobs.put(Bytes::new()).await.unwrap();
    assert_eq!(blobs.get(empty).await, Ok(Some(Bytes::new())));
    let actual_bytes = BLOB_BYTES_LIMIT + 1;
    let too_large = Err(BlobError::TooLarge { actual_bytes, limit_bytes: BLOB_BYTES_LIMIT });
    assert_eq!(blobs.put(Bytes::from(vec![0; actual_bytes])).await, too_large);
}

async fn a_closed_store_refuses_and_ends_watches(fixture: Fixture) {
    let Fixture { journal, records, close, .. } = fixture;
    journal.append(append(run_stream(1), 0, b"entry")).await.unwrap();
    let mut watch = records.watch("");
    close().await;
    let refused = journal.append(append(run_stream(1), 1, b"entry")).await;
    assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
    let refused = records.put_if("a", Bytes::new(), None).await;
    assert!(matches!(refused, Err(RecordError::Unavailable { .. })), "{refused:?}");
    assert!(journal.read(run_stream(1), Version(0)).await.is_err());
    assert!(records.get("a").await.is_err());
    assert!(journal.health().is_err());
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), watch.next()).await, Ok(None));
}

/// One move of the property.
#[derive(Clone, Debug)]
struct Move {
    stream: u64,
    /// Which version is expected, relative to the stream's end.
    behind: u64,
    id: u8,
    size: usize,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let size = prop_oneof![4 => 0..200_usize, 1 => 3_900..4_200_usize, 1 => 8_000..20_000_usize];
    let one = (0..3_u64, prop_oneof![6 => Just(0_u64), 3 => 1..3_u64], 0..3_u8, size)
        .prop_map(|(stream, behind, id, size)| Move { stream, behind, id, size });
    prop::collection::vec(one, 1..40)
}

/// What the journal should be: for each stream, ids and entries.
type Reference = BTreeMap<u64, Vec<(AppendId, Vec<Bytes>)>>;

fn expected_answer(reference: &mut Reference, append: &Append, stream: u64) -> Result<Version, AppendError> {
    let stored = reference.entry(stream).or_default();
    let expected = usize::try_from(append.expected.0).unwrap();
    match stored.get(expected) {
        Some((id, _)) if *id == append.id => {}
        Some(_) => return Err(AppendError::Conflict),
        None => stored.push((append.id, append.entries.clone())),
    }
    Ok(Version(append.expected.0 + 1))
}

/// Any sequence of appends, right and wrong, leaves what a map would hold. Prints the failing sequence.
pub(super) fn journal_agrees_with_a_map(cases: u32, fresh: impl Fn() -> Arc<dyn Journal>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let checked = TestRunner::new(config).run(&moves(), |moves| {
        let journal = fresh();
        let mut reference = Reference::new();
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        for Move { stream, behind, id, size } in moves {
            let end = reference.get(&stream).map_or(0, Vec::len) as u64;
            let mut id_bytes = [id; 16];
            id_bytes[1] = u8::try_from(end.saturating_sub(behind)).unwrap();
            let append = Append {
                stream: run_stream(stream),
                expected: Version(end.saturating_sub(behind)),
                id: AppendId::from_bytes(id_bytes),
                entries: vec![Bytes::from(vec![id; size]), Bytes::from(vec![id; size / 3])],
            };
            expected.push(expected_answer(&mut reference, &append, stream));
            sent.push(append);
        }
        runtime.block_on(async {
            // All at once: groups form as they like, but the order of one task's sends is kept.
            let answers = join_all(sent.into_iter().map(|append| journal.append(append))).await;
            prop_assert_eq!(answers, expected);
            let mut total = 0;
            for (stream, stored) in &reference {
                let read = journal.read(run_stream(*stream), Version(0)).await.unwrap();
                let entries_stored: Vec<_> = stored.iter().map(|(_, entries)| entries.clone()).collect();
                prop_assert_eq!(entries(&read), entries_stored);
                total += stored.len();
            }
            prop_assert_eq!(whole_tail(&*journal).await.len(), total);
            Ok(())
        })
    });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
}

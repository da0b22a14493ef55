//! How the store does after long use: `CROSSDOCK_LONG=ENTRIES` measures it after so many, such as ten million; without
//! it, a small number only has to work.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;

use super::Store;
use crate::{
    model::id::AppendId,
    ports::journal::{Append, Version},
    store::conformance::{StillClock, run_stream},
};

/// Entries in one append, and bytes of each: a turn of a run.
const ENTRIES: u64 = 4;
const ENTRY_BYTES: usize = 200;
const WRITERS: u64 = 128;
/// Appends to one stream.
const STREAM_APPENDS: u64 = 4;

/// Appends so many, from a number of streams on; how long it took.
async fn write(store: &Store, first: u64, appends: u64) -> Duration {
    let begun = Instant::now();
    let writers = (0..WRITERS).map(|writer| {
        let journal = store.journal();
        tokio::spawn(async move {
            for round in 0..appends / WRITERS / STREAM_APPENDS {
                let stream = run_stream(first + round * WRITERS + writer);
                for version in 0..STREAM_APPENDS {
                    let text = format!("stream {first} {round} {writer} version {version} ");
                    let entry = Bytes::from(text.bytes().cycle().take(ENTRY_BYTES).collect::<Vec<u8>>());
                    let entries = vec![entry; usize::try_from(ENTRIES).unwrap()];
                    let id = AppendId::of(&stream.to_key(), version, &entries.concat());
                    let append = Append { stream, expected: Version(version), id, entries };
                    journal.append(append).await.unwrap();
                }
            }
        })
    });
    join_all(writers).await.into_iter().for_each(|ended| ended.unwrap());
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appending_is_as_quick_after_many_entries_as_before() {
    let entries: u64 = std::env::var("CROSSDOCK_LONG").ok().and_then(|text| text.parse().ok()).unwrap_or(40_000);
    let slice = (entries / 20 / ENTRIES).max(WRITERS * STREAM_APPENDS);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StillClock::shared()).unwrap();
    let (mut written, mut rates) = (0, Vec::new());
    while written * ENTRIES < entries {
        let elapsed = write(&store, written, slice).await;
        written += slice;
        let rate = slice as f64 / elapsed.as_secs_f64();
        println!("{} entries: {rate:.0} appends/s", written * ENTRIES);
        rates.push(rate);
    }
    store.close().await.unwrap();
    let begun = Instant::now();
    let store = Store::open(dir.path(), StillClock::shared()).unwrap();
    println!("opened in {:?}", begun.elapsed());
    let (first, last) = (rates.iter().take(3).sum::<f64>(), rates.iter().rev().take(3).sum::<f64>());
    println!("the last three slices ran at {:.2} of the first three", last / first);
    assert!(store.statistics().spilled_files == 0 && rates.iter().all(|rate| *rate > 0.0));
    store.close().await.unwrap();
}

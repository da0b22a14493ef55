//! A snapshot and the tail after it tell the same as the whole journal; what cannot be trusted is not used.
//!
//! `CROSSDOCK_LONG=RUNS` measures a start with so many runs that wait; without it, a small number only has to be right.

use std::{sync::Arc, time::Instant};

use super::*;
use crate::{
    app::clock::SystemClock,
    model::{
        entry::{Await, Ending, PipelineUse, RunStarted, Start, WaitStarted},
        event::Event,
        id::SignalKey,
        json::Json,
        run::RunSummary,
    },
    ports::journal::Version,
};

/// What is derived beside the list of runs.
#[derive(Debug, Default, PartialEq)]
struct Told {
    settled: Vec<RunId>,
    waits: Vec<(RunId, Vec<SignalKey>)>,
    kept: Vec<(SignalKey, Timestamp, AcceptanceId)>,
}

/// What a run waits under.
fn key(number: u64) -> SignalKey {
    SignalKey::of("t", "signal.subject", &number.to_le_bytes())
}

struct Ground {
    dir: tempfile::TempDir,
    store: Store,
    facts: Facts,
    installation: Installation,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), Arc::new(SystemClock::default())).unwrap();
        let facts = Facts::new(store.journal(), store.blobs());
        Self { dir, store, facts, installation: Installation::default() }
    }

    /// An event, and a run that waits for a time far away, or one that ended.
    async fn run(&self, number: u64, ended: bool) {
        let time = Timestamp::from_millis(1_000_000 + i64::try_from(number).unwrap());
        let event = Event {
            id: format!("order-{number}"),
            source: "/shops/eu-1".to_owned(),
            event_type: "retail.order.placed.v1".to_owned(),
            subject: None,
            time: None,
            data_schema: None,
            data: Json::from(serde_json::json!({ "number": number, "total": 12.5 })),
            extensions: std::collections::BTreeMap::new(),
        };
        let id = event.acceptance();
        let pipeline =
            PipelineUse { name: "retail/orders".into(), version: "1.2.0".into(), digest: Digest::of(b"orders") };
        let run = RunId::of(id, &pipeline.name);
        let starts = vec![Start { run, pipeline: pipeline.clone(), lane: crate::model::lane::Lane::default() }];
        let digest = event.digest();
        let accepted =
            Entry::Accepted(Box::new(Accepted { time, event: event.clone(), digest, starts, personal: None }));
        self.facts.append(StreamId::Acceptance(id), Version::default(), &[accepted]).await.unwrap();
        let started = RunStarted {
            lane: crate::model::lane::Lane::default(),
            time,
            acceptance: id,
            pipeline,
            key: event.id.clone(),
            event,
            parent: None,
            personal: None,
        };
        let due = time.plus_millis(1 << 40);
        let awaits = vec![Await { name: "signal".into(), key: key(number) }];
        let waits = WaitStarted { step: "pick".into(), time, due, awaits };
        let mut entries = vec![Entry::RunStarted(Box::new(started)), Entry::WaitStarted(Box::new(waits))];
        if ended {
            entries.push(Entry::RunEnded { time, ending: Ending::Completed });
        }
        self.facts.append(StreamId::Run(run), Version::default(), &entries).await.unwrap();
    }

    /// A run of before ends.
    async fn end(&self, number: u64) {
        let time = Timestamp::from_millis(9_000_000 + i64::try_from(number).unwrap());
        let ended = Entry::RunEnded { time, ending: Ending::Completed };
        let stream =
            StreamId::Run(RunId::of(AcceptanceId::of("/shops/eu-1", &format!("order-{number}")), "retail/orders"));
        self.facts.append(stream, Version(1), &[ended]).await.unwrap();
    }

    async fn runs(&self, numbers: std::ops::Range<u64>) {
        for chunk in numbers.collect::<Vec<_>>().chunks(256) {
            futures::future::join_all(chunk.iter().map(|number| self.run(*number, number % 10 == 9))).await;
        }
    }

    /// What the whole journal tells.
    async fn derived(&self, snapshot: bool) -> (Option<u64>, Vec<RunSummary>, Told) {
        let mut loaded = if snapshot { read(self.dir.path()) } else { Loaded::default() };
        let claim = loaded.claim.take();
        let (derived, index) = (loaded.derived(), &loaded.index);
        let confirmed = confirm(claim, &self.store, &self.installation, derived).await;
        let from = confirmed.is_some();
        let mut progress = confirmed.unwrap_or_default();
        fold(&self.facts, &self.installation, derived, &mut progress).await.unwrap();
        let all = index.list(&crate::ports::hub::RunFilter { limit: usize::MAX, ..Default::default() });
        let mut told = Told::default();
        index.each(drop, |run| told.settled.push(run));
        loaded.mailbox.each(
            |run, keys| told.waits.push((run, keys.to_vec())),
            |_, _, _| {},
            |key, time, acceptance| told.kept.push((key, time, acceptance)),
        );
        told.waits.sort_unstable();
        (from.then_some(progress.folded), all, told)
    }
}

#[tokio::test]
async fn a_snapshot_and_the_tail_after_it_tell_the_same_as_the_whole_journal() {
    let ground = Ground::new();
    for round in 0..3 {
        ground.runs(round * 100..round * 100 + 100).await;
        // Of each earlier round some end now, and of most nothing is heard.
        for before in 0..round {
            ground.end(before * 100 + round).await;
        }
        renew(ground.dir.path(), &ground.store, &ground.facts, &ground.installation).await.unwrap();
        ground.runs(1_000 + round * 10..1_000 + round * 10 + 5).await;
        let (folded, with, told) = ground.derived(true).await;
        let (_, without, all_told) = ground.derived(false).await;
        assert_eq!(folded, Some(10), "only the tail was read");
        assert_eq!(with, without);
        assert_eq!(told, all_told);
    }
    ground.store.close().await.unwrap();
}

#[tokio::test]
async fn what_nothing_has_happened_to_goes_from_snapshot_to_snapshot() {
    let ground = Ground::new();
    ground.runs(0..20).await;
    let loaded = Loaded::default();
    let mut progress = Progress::default();
    fold(&ground.facts, &ground.installation, loaded.derived(), &mut progress).await.unwrap();
    let event = |number: u64| AcceptanceId::of("/signals", &number.to_string());
    let time = Timestamp::from_millis;
    loaded.mailbox.keep(key(1), time(1), event(1));
    loaded.mailbox.keep(key(2), time(2), event(2));
    save(ground.dir.path(), &ground.store, &ground.installation, loaded.derived(), &progress).await.unwrap();
    ground.end(3).await;
    renew(ground.dir.path(), &ground.store, &ground.facts, &ground.installation).await.unwrap();
    let (folded, runs, told) = ground.derived(true).await;
    assert_eq!((folded, runs.len()), (Some(0), 20));
    assert_eq!(told.kept, [(key(1), time(1), event(1)), (key(2), time(2), event(2))]);
    assert_eq!(told.settled.len(), 3, "two that had ended, and the one that ended now");
    ground.store.close().await.unwrap();
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_trusted_is_not_used() {
    let ground = Ground::new();
    ground.runs(0..50).await;
    renew(ground.dir.path(), &ground.store, &ground.facts, &ground.installation).await.unwrap();
    let whole = fs::read(path(ground.dir.path())).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 60 + 1) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(path(ground.dir.path()), bytes).unwrap();
        let (folded, runs, _) = ground.derived(true).await;
        assert_eq!((folded, runs.len()), (None, 50), "byte {at}");
    }
    for length in [0, 7, 39, 41, whole.len() - 1] {
        fs::write(path(ground.dir.path()), &whole[..length]).unwrap();
        assert_eq!(ground.derived(true).await.0, None, "cut to {length}");
    }
    // Of another journal, such as one that was restored beside it.
    let other = Ground::new();
    other.runs(100..150).await;
    fs::write(path(other.dir.path()), &whole).unwrap();
    let (folded, runs, _) = other.derived(true).await;
    assert_eq!((folded, runs.len()), (None, 50));
    ground.store.close().await.unwrap();
    other.store.close().await.unwrap();
}

/// Memory of this process, KiB, as a line of `/proc/self/status` says.
fn memory_kib(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':').map(str::trim));
    found.and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_with_many_waiting_runs_is_quick_and_takes_little_memory() {
    let runs: u64 = std::env::var("CROSSDOCK_LONG").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000);
    let ground = Ground::new();
    let begun = Instant::now();
    ground.runs(0..runs).await;
    println!("{runs} runs written in {:?}", begun.elapsed());
    let begun = Instant::now();
    renew(ground.dir.path(), &ground.store, &ground.facts, &ground.installation).await.unwrap();
    let bytes = fs::metadata(path(ground.dir.path())).unwrap().len();
    println!("derived from the whole journal and saved in {:?}, {bytes} bytes", begun.elapsed());
    ground.store.close().await.unwrap();
    let before = memory_kib("VmRSS");
    let (mut store, mut loaded, mut progress) = (None, Loaded::default(), Progress::default());
    let timers = crate::app::actors::Timers::default();
    for time in ["first", "second"] {
        drop(std::mem::take(&mut loaded));
        let begun = Instant::now();
        let folder = ground.dir.path().to_owned();
        let reading = tokio::task::spawn_blocking(move || (read(&folder), begun.elapsed()));
        let path = ground.dir.path().join("store");
        let opened = Store::open(&path, Arc::new(SystemClock::default())).unwrap();
        let (opening, facts) = (begun.elapsed(), Facts::new(opened.journal(), opened.blobs()));
        let (found, elapsed) = reading.await.unwrap();
        loaded = found;
        let claim = loaded.claim.take();
        progress = confirm(claim, &opened, &ground.installation, loaded.derived()).await.unwrap();
        fold(&facts, &ground.installation, loaded.derived(), &mut progress).await.unwrap();
        for run in loaded.index.unsettled() {
            timers.set(loaded.index.only_waits(run).unwrap(), run);
        }
        println!(
            "{time} start: opened after {opening:?}, snapshot read after {elapsed:?}, ready after {:?}; resident {} KiB \
             more than before, {} KiB at most",
            begun.elapsed(),
            memory_kib("VmRSS").saturating_sub(before),
            memory_kib("VmHWM")
        );
        if time == "first" {
            opened.close().await.unwrap();
        } else {
            store = Some(opened);
        }
    }
    assert_eq!(timers.count() as u64, runs - runs / 10);
    assert_eq!(progress.folded, 0);
    store.unwrap().close().await.unwrap();
}

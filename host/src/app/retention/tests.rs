//! What goes to the archive and what stays; and how much room a run takes in the end.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use super::*;
use crate::{
    app::clock::SystemClock,
    model::{
        entry::{Accepted, Ending, Intent, Output, Parent, PipelineUse, PluginUse, RunStarted, Start, StepDone},
        event::Event,
        failure::{Failure, FailureKind},
        id::{Digest, IdempotencyKey, PluginId},
        json::Json,
        lane::Lane,
        limits::Usage,
    },
    ports::journal::Version,
};

#[test]
fn a_length_of_time_is_a_number_and_a_unit() {
    for (text, ms) in [("30d", 2_592_000_000), ("12h", 43_200_000), ("90m", 5_400_000), ("0s", 0)] {
        assert_eq!(text.parse::<Age>().map(|age| age.ms), Ok(ms), "{text}");
    }
    for wrong in ["", "d", "30", "30 d", "-1d", "1w", "99999999999d"] {
        assert!(wrong.parse::<Age>().is_err(), "{wrong}");
    }
    assert_eq!("36h".parse::<Age>().map(|age| age.to_string()), Ok("36h".to_owned()));
}

#[test]
fn an_operator_says_how_long_things_are_kept() {
    let read: Result<Retention, _> = toml::from_str("archive_after = \"30d\"\nkeep_archive = \"365d\"");
    let read = read.unwrap_or_default();
    assert_eq!(read.archive_after, "30d".parse().ok());
    assert_eq!(read.keep_archive, "365d".parse().ok());
    assert!(toml::from_str::<Retention>("archive_after = 30").is_err());
}

struct Ground {
    dir: tempfile::TempDir,
    store: Store,
    facts: Facts,
}

/// How a run of a test ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Completed,
    Parked,
    Open,
    /// It ended; a sub-pipeline of it did not.
    ChildOpen,
    /// Accepted, and not begun.
    NotBegun,
}

fn time(number: u64, plus: u64) -> Timestamp {
    Timestamp::from_millis(0).plus_millis(number * 1_000 + plus)
}

/// An order of about 1 KiB, each another one.
fn order(number: u64) -> Json {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let first = ["Ada", "Bo", "Carla", "Dmitri", "Eve", "Farid", "Grace", "Hugo"];
    let streets = ["Lindenweg", "Rue de la Paix", "Main Street", "Via Roma", "Kungsgatan"];
    let lines: Vec<_> = (0..8)
        .map(|_| {
            let (sku, price) = (random(90_000) + 10_000, random(20_000));
            serde_json::json!({
                "sku": format!("SKU-{sku}"), "quantity": random(5) + 1, "gtin": format!("40{:011}", random(99_999_999_999)),
                "price": { "amount": format!("{}.{:02}", price / 100, price % 100), "currency": "EUR" }
            })
        })
        .collect();
    Json::from(serde_json::json!({
        "order": format!("#{}", 100_000 + number), "placed": time(number, 0),
        "customer": { "name": format!("{} {}", first[usize::try_from(random(8)).unwrap()], random(100_000)),
            "email": format!("c{}@example.com", random(10_000_000)) },
        "ship_to": { "street": format!("{} {}", streets[usize::try_from(random(5)).unwrap()], random(200)),
            "postcode": format!("{:05}", random(99_999)), "country": "DE" },
        "lines": lines
    }))
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Arc::new(SystemClock::default())).unwrap();
        let facts = Facts::new(store.journal(), store.blobs());
        Self { dir, store, facts }
    }

    async fn run(&self, number: u64, end: End) -> (AcceptanceId, RunId) {
        let pipeline =
            PipelineUse { name: "retail/orders".into(), version: "1.2.0".into(), digest: Digest::of(b"orders") };
        let event = Event {
            id: format!("order-{number}"),
            source: "/shops/eu-1".to_owned(),
            event_type: "retail.order.placed.v1".to_owned(),
            subject: Some(format!("#{}", 100_000 + number)),
            time: Some(time(number, 0)),
            data_schema: None,
            data: order(number),
            extensions: BTreeMap::new(),
        };
        let id = event.acceptance();
        let run = RunId::of(id, &pipeline.name);
        let (digest, starts) = (event.digest(), vec![Start { run, pipeline: pipeline.clone(), lane: Lane::default() }]);
        let accepted = Accepted { time: time(number, 0), event: event.clone(), digest, starts, personal: None };
        self.append(StreamId::Acceptance(id), 0, vec![Entry::Accepted(Box::new(accepted))]).await;
        if end == End::NotBegun {
            return (id, run);
        }
        let started = RunStarted {
            lane: Lane::default(),
            time: time(number, 0),
            acceptance: id,
            pipeline,
            key: format!("#{}", 100_000 + number),
            event,
            parent: None,
            personal: None,
        };
        let plugin = Arc::new(PluginUse {
            id: "retail/erp".parse::<PluginId>().unwrap(),
            version: "1.4.0".into(),
            digest: Digest::of(b"erp"),
            contract: "1.0.0".into(),
            grant: 3,
            canary: false,
        });
        let done = |step: &str, plus: u64, output: serde_json::Value| {
            let usage = Usage {
                fuel: 81_234 + number % 999,
                memory_bytes: 1 << 20,
                elapsed_us: 800 + number % 777,
                log_lines_dropped: 0,
            };
            Entry::StepDone(Box::new(StepDone {
                step: step.into(),
                time: time(number, plus),
                output: Output::Json(Json::from(output)),
                usage,
                log: Vec::new(),
                annotations: Vec::new(),
            }))
        };
        let intent = |step: &str, plus: u64| {
            Entry::Intent(Intent {
                step: step.into(),
                time: time(number, plus),
                attempt: 1,
                plugin: Arc::clone(&plugin),
                operation: format!("erp#{step}"),
                key: IdempotencyKey::of("hub", run, step, 1),
                input: Digest::of(step.as_bytes()),
                resolving: false,
                tables: Vec::new(),
            })
        };
        let begun = vec![
            Entry::RunStarted(Box::new(started.clone())),
            done("plan", 1, serde_json::json!({ "warehouse": format!("W{}", number % 7), "carrier": "dhl" })),
            intent("create-order", 2),
        ];
        self.append(StreamId::Run(run), 0, begun).await;
        let next = vec![
            done("create-order", 3, serde_json::json!({ "sales_order": format!("SO-{}", 4_500_000 + number) })),
            intent("reserve", 4),
        ];
        self.append(StreamId::Run(run), 1, next).await;
        let ended = Entry::RunEnded { time: time(number, 6), ending: Ending::Completed };
        let last = match end {
            End::Completed | End::ChildOpen => vec![done("reserve", 5, serde_json::json!({ "pick": number })), ended],
            End::Parked => {
                let failure = Failure::new(FailureKind::Permanent, "erp.locked", "locked");
                vec![Entry::RunParked { time: time(number, 5), step: "reserve".into(), failure }]
            }
            End::Open | End::NotBegun => vec![done("reserve", 5, serde_json::json!({ "pick": number }))],
        };
        self.append(StreamId::Run(run), 2, last).await;
        if end == End::ChildOpen {
            let child = RunId::of(id, "a child");
            let parent = Some(Parent { run, step: "reserve".into(), detached: true });
            self.append(StreamId::Run(child), 0, vec![Entry::RunStarted(Box::new(RunStarted { parent, ..started }))])
                .await;
        }
        (id, run)
    }

    async fn append(&self, stream: StreamId, expected: u64, entries: Vec<Entry>) {
        self.facts.append(stream, Version(expected), &entries).await.unwrap();
    }
}

#[tokio::test]
async fn only_what_ended_long_enough_ago_with_all_that_belongs_to_it_goes() {
    let ground = Ground::new();
    let mut ids = Vec::new();
    for (number, end) in
        [End::Completed, End::Parked, End::Open, End::ChildOpen, End::NotBegun, End::Completed].into_iter().enumerate()
    {
        ids.push(ground.run(number as u64, end).await);
    }
    let found = plan(&ground.facts, time(5, 0)).await.unwrap();
    assert_eq!(found.acceptances, 6);
    assert_eq!(found.bundles, [vec![StreamId::Acceptance(ids[0].0), StreamId::Run(ids[0].1)]]);
    let found = plan(&ground.facts, time(100, 0)).await.unwrap();
    assert_eq!(found.bundles.len(), 2, "the parked, the open, the one with an open child and the new one stay");
    assert!(!is_worth_it(&plan(&ground.facts, time(0, 0)).await.unwrap()), "nothing is that old");
    assert!(is_worth_it(&found));
    ground.store.close().await.unwrap();
}

fn bytes_of(dir: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        // The reserve is no part of what is kept.
        if path.is_dir() {
            bytes += bytes_of(&path);
        } else if !path.ends_with("reserve") {
            bytes += fs::metadata(path).unwrap().len();
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_with_a_payload_of_1_kib_takes_at_most_2_kib_after_archiving() {
    let runs: u64 = std::env::var("CROSSDOCK_LONG").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000);
    let ground = Ground::new();
    let numbers: Vec<u64> = (0..runs).collect();
    for chunk in numbers.chunks(64) {
        futures::future::join_all(chunk.iter().map(|number| ground.run(*number, End::Completed))).await;
    }
    ground.run(runs, End::Open).await;
    let payload = order(7).as_bytes().len();
    assert!((900..1_200).contains(&payload), "{payload}");
    let before = bytes_of(ground.dir.path());
    let found = plan(&ground.facts, time(runs, 0)).await.unwrap();
    let begun = std::time::Instant::now();
    let done = archive(&ground.store, found, None).await.unwrap();
    assert_eq!(done.runs, runs);
    let after = bytes_of(ground.dir.path());
    let archives: u64 = done.files.iter().map(|file| file.bytes).sum();
    println!(
        "{runs} runs of {payload} bytes: {} bytes per run before, {} after, {} of them in the archive; archived in {:?}",
        before / runs,
        after / runs,
        archives / runs,
        begun.elapsed()
    );
    // What the database holds at least, such as its first segments, counts for few runs only.
    assert!(after.saturating_sub(1 << 20) / runs <= 2_048, "{} bytes per run", after / runs);
    ground.store.verify().await.unwrap();
    ground.store.close().await.unwrap();
}

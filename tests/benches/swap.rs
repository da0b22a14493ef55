//! Versions of a rule take turns under a constant rate of events, 1,000 a second unless told otherwise: canary, promotion,
//! rollback, revocation, and a canary that traps. Says how many events failed, which versions decided them, and how soon
//! a change showed. It fails if an event failed, or if an answer is not that of the version that the run names.
//!
//! `cargo bench -p crossdock-tests --bench swap`; `SWAP_RATE` is another rate, events a second.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark says what went wrong by panicking, and prints what it measured"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossdock::{app::clock::SystemClock, model::timestamp::Timestamp, ports::clock::Clock as _};
use crossdock_tests::{hub::Hub, packages};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const EVENT: &str = "test.order.v1";
const LINE: &str = "test/judge";
const PIPELINE: &str = "pipeline: test/decide
version: 1.0.0
owner: pricing-team
summary: Has one rule decide.
trigger: [{ event: test.order.v1 }]
key: event.subject
steps:
  - { id: first, rule: test/judge@^1, with: \"${ event.data }\" }
";
/// Events under way at most; at the rate they are far fewer unless the hub stalls.
const SENDERS: usize = 256;
/// Between two changes.
const STAGE_MS: u64 = 3_000;

/// A version of the rule, packed.
fn package(folder: &Path, version: &str, guest: &str) -> PathBuf {
    let package = folder.join(format!("judge-{version}"));
    packages::judge(&package, version, guest, "");
    package
}

fn now() -> Timestamp {
    SystemClock::default().now()
}

/// A change of what serves.
struct Change {
    what: &'static str,
    asked: Timestamp,
    answered: Timestamp,
    /// The version that serves no step that begins afterwards.
    ends: Option<&'static str>,
}

/// Runs the command line.
fn change(hub: &Hub, what: &'static str, arguments: &[&str], ends: Option<&'static str>) -> Change {
    let mut command = Command::new(BINARY);
    command.args(arguments).args(["--reason", "the benchmark says so"]).env("CROSSDOCK_HUB", &hub.url);
    command.env("CROSSDOCK_TOKEN", hub.token_as("ada", "admin"));
    let asked = now();
    let output = command.output().expect("runs");
    let answered = now();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Change { what, asked, answered, ends }
}

/// Sends events at a rate, however slow the answers are.
struct Traffic {
    going: Arc<AtomicBool>,
    senders: Vec<tokio::task::JoinHandle<Vec<(String, Duration)>>>,
    begun: Instant,
}

impl Traffic {
    fn start(hub: &Arc<Hub>, rate: u64) -> Self {
        let (going, slots, begun) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)), Instant::now());
        let senders = (0..SENDERS).map(|_| {
            let (hub, going, slots) = (Arc::clone(hub), Arc::clone(&going), Arc::clone(&slots));
            tokio::spawn(async move {
                let mut sent = Vec::new();
                loop {
                    let slot = slots.fetch_add(1, Ordering::Relaxed);
                    let due = begun + Duration::from_nanos(slot * 1_000_000_000 / rate);
                    tokio::time::sleep_until(due.into()).await;
                    if !going.load(Ordering::Relaxed) {
                        return sent;
                    }
                    let id = format!("e{slot}");
                    let event = json!({
                        "specversion": "1.0", "id": id, "source": "/tests", "type": EVENT, "subject": id,
                        "data": { "n": id },
                    });
                    let headers = [("content-type", "application/cloudevents+json")];
                    let (status, answer) = hub.post("/v1/events?wait=30s", &headers, event.to_string()).await;
                    assert!(status.is_success(), "{status}: {answer:#}");
                    let run = &answer["events"][0]["runs"][0];
                    assert_eq!(run["state"], "completed", "{answer:#}");
                    sent.push((run["id"].as_str().unwrap().to_owned(), due.elapsed()));
                }
            })
        });
        Self { going: Arc::clone(&going), senders: senders.collect(), begun }
    }

    async fn stop(self) -> (Vec<(String, Duration)>, Duration) {
        self.going.store(false, Ordering::Relaxed);
        let mut sent = Vec::new();
        for sender in self.senders {
            sent.extend(sender.await.expect("no event failed"));
        }
        (sent, self.begun.elapsed())
    }
}

async fn digests(hub: &Hub) -> BTreeMap<String, String> {
    let (_, shown) = hub.get(&format!("/v1/plugins/{LINE}")).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let versions = shown["versions"].as_array().unwrap().iter();
    versions.map(|version| (text(&version["version"]), text(&version["digest"]))).collect()
}

async fn pause() {
    SystemClock::default().sleep_until(now().plus_millis(STAGE_MS)).await;
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // As `cargo test --benches` calls it: it is to start, not to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let rate = std::env::var("SWAP_RATE").map_or(1_000, |rate| rate.parse().expect("SWAP_RATE is a number"));
    let folder = tempfile::tempdir().unwrap();
    let first = package(folder.path(), "1.0.0", "well_behaved");
    let (second, trapping) =
        (package(folder.path(), "1.1.0", "second_version"), package(folder.path(), "1.2.0", "trap"));
    let pipeline = folder.path().join("decide.yaml");
    fs::write(&pipeline, PIPELINE).unwrap();
    let config = folder.path().join("hub.toml");
    fs::write(&config, format!("plugins = [{first:?}]\npipelines = [{pipeline:?}]\n")).unwrap();
    let hub = Arc::new(Hub::start(BINARY, &folder.path().join("data"), Some(&config)));
    for package in [&second, &trapping] {
        change(&hub, "publish", &["plugin", "publish", package.to_str().unwrap()], None);
    }
    let digests = digests(&hub).await;

    let traffic = Traffic::start(&hub, rate);
    let mut changes = Vec::new();
    for (what, arguments, ends) in [
        ("canary", &["plugin", "canary", LINE, "1.1.0", "--percent", "30"][..], None),
        ("promote", &["plugin", "promote", LINE, "1.1.0"], Some("1.0.0")),
        ("rollback", &["plugin", "rollback", LINE], Some("1.1.0")),
        ("canary that traps", &["plugin", "canary", LINE, "1.2.0", "--percent", "30", "--traps-max", "2"], None),
        ("promote", &["plugin", "promote", LINE, "1.1.0"], Some("1.0.0")),
        ("rollback", &["plugin", "rollback", LINE], Some("1.1.0")),
        ("revoke", &["plugin", "revoke", LINE, "1.1.0", "--yes"], None),
    ] {
        pause().await;
        let asked = Arc::clone(&hub);
        changes.push(tokio::task::spawn_blocking(move || change(&asked, what, arguments, ends)).await.unwrap());
    }
    pause().await;
    let (mut sent, elapsed) = traffic.stop().await;
    sent.sort_by_key(|(_, took)| *took);
    let at = |share: usize| sent[(sent.len() - 1) * share / 100].1;
    println!("{} events in {elapsed:.1?}, none failed; p50 {:.1?}, p99 {:.1?}", sent.len(), at(50), at(99));

    let stories: Vec<Value> = stream::iter(&sent)
        .map(|(id, _)| {
            let hub = &hub;
            async move { hub.get(&format!("/v1/runs/{id}")).await.1 }
        })
        .buffer_unordered(16)
        .collect()
        .await;
    let mut decided: BTreeMap<String, usize> = BTreeMap::new();
    let mut starts: Vec<(Timestamp, String)> = Vec::new();
    for run in &stories {
        let step = &run["steps"][0];
        let version = step["plugin"]["version"].as_str().unwrap();
        assert_eq!(step["plugin"]["digest"].as_str(), digests.get(version).map(String::as_str), "{run:#}");
        let second = step["output"].get("second").is_some();
        assert_eq!(second, version == "1.1.0", "the answer is not that of the version that is named: {run:#}");
        starts.push((serde_json::from_value(step["started"].clone()).unwrap(), version.to_owned()));
        *decided.entry(version.to_owned()).or_default() += 1;
    }
    println!("decided by version: {decided:?}");
    for (place, change) in changes.iter().enumerate() {
        let until = changes.get(place + 1).map_or(Timestamp::from_millis(i64::MAX), |next| next.asked);
        let took = change.answered.since(change.asked);
        let Some(ends) = change.ends else {
            println!("{:18} answered after {took} ms", change.what);
            continue;
        };
        let within = starts.iter().filter(|(at, version)| version == ends && *at >= change.asked && *at < until);
        let last = within.map(|(at, _)| *at).max().map_or(0, |at| at.since(change.asked));
        println!(
            "{:18} answered after {took} ms, the last step by {ends} began {last} ms after it was asked for",
            change.what
        );
    }
}

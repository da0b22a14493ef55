//! Schedules over a store in memory, with time moved by hand.

use std::{collections::BTreeMap, sync::Arc};

use super::{Record, turn};
use crate::{
    app::{
        installation::Installation,
        runner::Shared,
        test_hub::{Ground, HandClock},
        triggers::Board,
    },
    model::audit::Cause,
    ports::invoker::Invoker,
    wasm::Sandbox,
};

const NIGHTLY: &str = r#"
pipeline: test/nightly
version: 1.0.0
owner: test
summary: Every night.
uses: {}
trigger: [{ schedule: "30 2 * * *", timezone: Europe/Berlin, event: test.night.v1 }]
key: event.id
steps:
  - emit: test.morning.v1
    data: ${ event.data }
"#;

async fn ground(now: &str) -> (Ground, tempfile::TempDir) {
    let cache = tempfile::tempdir().expect("a folder");
    let sandbox: Arc<dyn Invoker> = Arc::new(Sandbox::new(cache.path()).expect("a sandbox"));
    (Ground::new(HandClock::at(now), sandbox), cache)
}

async fn hub(ground: &Ground) -> Arc<Shared> {
    let installer = ground.installer();
    let installed = installer
        .pipeline(&Installation::default(), &Cause::hub("a test"), "nightly", NIGHTLY)
        .await
        .expect("installs");
    let installation = match installed {
        Some(installation) => installation,
        None => installer.load().await.expect("loads"),
    };
    ground.hub(installation)
}

/// The due times that were accepted.
async fn due(ground: &Ground) -> Vec<String> {
    let events = ground.accepted().await;
    let nights = events.iter().filter(|event| event.event_type == "test.night.v1");
    nights.map(|event| event.data.to_value()["scheduled"].as_str().expect("a time").to_owned()).collect()
}

async fn record(ground: &Ground) -> Record {
    let listed = ground.store.records().list("schedule/", None, 10).await.expect("records");
    assert_eq!(listed.len(), 1);
    serde_json::from_slice(&listed[0].1.value).expect("a record")
}

#[tokio::test]
async fn each_due_time_becomes_one_event_and_the_next_is_waited_for() {
    let (ground, _cache) = ground("2026-03-27T12:00:00Z").await;
    let shared = hub(&ground).await;
    let (board, mut watches) = (Board::default(), BTreeMap::new());
    let at = |text: &str| ground.clock.set(text);
    turn(&shared, &board, &mut watches).await;
    assert!(due(&ground).await.is_empty(), "what was due before it was installed is not made up for");
    for (now, expected) in [
        ("2026-03-28T01:29:59.999Z", &[][..]),
        ("2026-03-28T01:30:00Z", &["2026-03-28T01:30:00.000Z"]),
        ("2026-03-28T01:30:03Z", &["2026-03-28T01:30:00.000Z"]),
        // Half past two is skipped by the clocks of this night, and due when they go on.
        ("2026-03-29T01:00:00Z", &["2026-03-28T01:30:00.000Z", "2026-03-29T01:00:00.000Z"]),
    ] {
        at(now);
        let next = turn(&shared, &board, &mut watches).await;
        assert_eq!(due(&ground).await, expected, "at {now}");
        assert!(next > shared.clock.now() && next.since(shared.clock.now()) <= super::LOOK_MS);
    }
    at("2026-03-30T00:29:58Z");
    assert_eq!(turn(&shared, &board, &mut watches).await.to_string(), "2026-03-30T00:30:00.000Z");
    let events = ground.accepted().await;
    let night = events.iter().find(|event| event.event_type == "test.night.v1").expect("one");
    assert_eq!(night.source, "/schedules/test/nightly");
    assert_eq!(night.time.expect("a time").to_string(), "2026-03-28T01:30:00.000Z");
    assert!(board.problems().is_empty());
}

#[tokio::test]
async fn of_what_was_missed_while_the_hub_was_down_the_latest_is_made_up_for_and_the_rest_recorded() {
    let (ground, _cache) = ground("2026-06-01T12:00:00Z").await;
    turn(&hub(&ground).await, &Board::default(), &mut BTreeMap::new()).await;
    ground.clock.set("2026-06-05T12:00:00Z");
    turn(&hub(&ground).await, &Board::default(), &mut BTreeMap::new()).await;
    assert_eq!(due(&ground).await, ["2026-06-05T00:30:00.000Z"]);
    let caught_up = record(&ground).await.caught_up.expect("recorded");
    assert_eq!(caught_up.due.to_string(), "2026-06-05T00:30:00.000Z");
    assert_eq!(caught_up.skipped, 3);
}

#[tokio::test]
async fn a_crash_between_acceptance_and_record_neither_loses_nor_doubles() {
    let (ground, _cache) = ground("2026-06-01T12:00:00Z").await;
    let shared = hub(&ground).await;
    turn(&shared, &Board::default(), &mut BTreeMap::new()).await;
    let records = ground.store.records();
    let (key, before) = records.list("schedule/", None, 1).await.expect("records").remove(0);
    ground.clock.set("2026-06-02T01:00:00Z");
    turn(&shared, &Board::default(), &mut BTreeMap::new()).await;
    // The record as a crash before it was written would have left it.
    let now = records.get(&key).await.expect("records").expect("one");
    records.put_if(&key, before.value, Some(now.revision)).await.expect("written");
    let board = Board::default();
    turn(&hub(&ground).await, &board, &mut BTreeMap::new()).await;
    assert_eq!(due(&ground).await, ["2026-06-02T00:30:00.000Z"]);
    assert_eq!(record(&ground).await.done.to_string(), "2026-06-02T00:30:00.000Z");
    assert!(board.problems().is_empty());
}

#[tokio::test]
async fn a_store_that_takes_nothing_is_shown_and_tried_again() {
    let (ground, _cache) = ground("2026-06-01T12:00:00Z").await;
    let shared = hub(&ground).await;
    let (board, mut watches) = (Board::default(), BTreeMap::new());
    turn(&shared, &board, &mut watches).await;
    ground.store.close();
    ground.clock.set("2026-06-02T00:30:00Z");
    let next = turn(&shared, &board, &mut watches).await;
    assert_eq!(next.to_string(), "2026-06-02T00:30:01.000Z");
    let problems = board.problems();
    assert!(problems.len() == 1 && problems[0].contains("schedule `30 2 * * *` of `test/nightly`"), "{problems:?}");
    assert!(problems[0].contains("is not accepted"), "{problems:?}");
}

#[tokio::test]
async fn it_works_by_itself_and_ends_when_the_hub_stops() {
    let (ground, _cache) = ground("2026-06-01T12:00:00Z").await;
    let shared = hub(&ground).await;
    let task = tokio::spawn(super::run(Arc::clone(&shared), Arc::new(Board::default())));
    while ground.store.records().list("schedule/", None, 1).await.expect("records").is_empty() {
        tokio::task::yield_now().await;
    }
    ground.clock.set("2026-06-02T00:30:00Z");
    while due(&ground).await.is_empty() {
        ground.clock.set("2026-06-02T00:30:00Z");
        tokio::task::yield_now().await;
    }
    shared.stopping.cancel();
    task.await.expect("ends");
}

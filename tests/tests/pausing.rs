//! A pipeline that an operator pauses as a whole: no step of its runs begins, events are accepted all the same, a restart
//! changes nothing of it, and everything goes on where it stood.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::{path::Path, process::Command, time::Instant};

use crossdock::{
    net::client::{Client, Credentials},
    ports::secrets::Secret,
};
use crossdock_tests::{
    hub::{Hub, PATIENCE},
    packages,
    said::Said,
};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const NAME: &str = "test/orders";
const EVENTS: &str = "application/cloudevents+json";

fn write_configuration(folder: &Path) {
    packages::judge(&folder.join("judge"), "1.0.0", "well_behaved", "");
    let text = format!(
        "pipeline: {NAME}\nversion: 1.0.0\nowner: shop\nsummary: Orders.\ntrigger: [{{ event: test.order.v1 }}]\nkey: \
         event.subject\nsteps:\n  - id: paid\n    wait: {{ event: test.paid.v1, match: signal.subject == event.subject, within: 1d \
         }}\n  - id: judge\n    rule: test/judge@^1\n    with: ${{ event.data }}\n"
    );
    std::fs::write(folder.join("orders.yaml"), text).unwrap();
    std::fs::write(folder.join("hub.toml"), "plugins = [\"judge\"]\npipelines = [\"orders.yaml\"]\n").unwrap();
}

fn client(hub: &Hub, token: &str) -> Client {
    let credentials = Credentials { token: Some(Secret::new(token)), authorities: None };
    Client::with(&hub.url, &credentials).unwrap()
}

fn crossdock(hub: &Hub, token: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(BINARY);
    let said = Said::by(command.args(arguments).arg("--hub").arg(&hub.url).env("CROSSDOCK_TOKEN", token));
    (said.code == Some(0), said.out + &said.err)
}

/// Sends an event; the run that it starts, if any.
async fn send(client: &Client, event_type: &str, number: u32) -> String {
    let event = format!(
        r#"{{"specversion":"1.0","id":"{event_type}-{number}","source":"/shop","type":"{event_type}","subject":"order-{number}","data":{{"n":1}}}}"#
    );
    let answer: Value = client.post("/v1/events", EVENTS, event).await.unwrap();
    answer.pointer("/events/0/runs/0/id").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Waits until a run is as wanted.
async fn until(client: &Client, run: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let found: Value = client.get(&format!("/v1/runs/{run}")).await.unwrap_or_default();
        if wanted(&found) {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{run} never {what}: {found}");
        tokio::task::yield_now().await;
    }
}

fn text<'a>(view: &'a Value, name: &str) -> &'a str {
    view.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn has_judged(view: &Value) -> bool {
    view.get("steps").and_then(Value::as_array).into_iter().flatten().any(|step| text(step, "path") == "judge")
}

#[tokio::test]
async fn a_paused_pipeline_begins_nothing_over_a_kill_and_goes_on_where_it_stood() {
    let folder = tempfile::tempdir().unwrap();
    write_configuration(folder.path());
    let (data, config) = (folder.path().join("data"), folder.path().join("hub.toml"));
    let hub = Hub::start(BINARY, &data, Some(&config));
    let (olga, rita) = (hub.token_of("olga"), hub.token_as("rita", "retailer"));
    let client_of = |hub: &Hub| client(hub, &olga);

    let before = send(&client_of(&hub), "test.order.v1", 1).await;
    until(&client_of(&hub), &before, "waits", |run| text(run, "state") == "waiting").await;

    let (done, said) = crossdock(&hub, &rita, &["pipeline", "pause", NAME, "--reason", "the ERP is down"]);
    assert!(!done && said.contains("run.control"), "only who controls runs may: {said}");
    let (done, said) = crossdock(&hub, &olga, &["pipeline", "pause", NAME, "--reason", "the ERP is down"]);
    assert!(done && said.contains("runs under way, 1 of them, begin no step"), "{said}");
    let (done, said) = crossdock(&hub, &olga, &["pipeline", "pause", NAME, "--reason", "again"]);
    assert!(!done && said.contains("is paused already, by olga"), "{said}");
    let (_, said) = crossdock(&hub, &olga, &["pipeline", "show", NAME]);
    assert!(said.contains("paused by olga") && said.contains("the ERP is down"), "{said}");

    // What it waited for comes, and another order: both are accepted, and nothing begins.
    send(&client_of(&hub), "test.paid.v1", 1).await;
    let after = send(&client_of(&hub), "test.order.v1", 2).await;
    let paused = |run: &Value| text(run, "cause") == "its pipeline is paused by olga: the ERP is down";
    for run in [&before, &after] {
        let found = until(&client_of(&hub), run, "is held back", paused).await;
        assert!(!has_judged(&found), "{found}");
    }

    hub.kill();
    let hub = Hub::start(BINARY, &data, Some(&config));
    for run in [&before, &after] {
        let found = until(&client_of(&hub), run, "is held back after the start", paused).await;
        assert!(!has_judged(&found), "{found}");
    }
    send(&client_of(&hub), "test.paid.v1", 2).await;

    let (done, said) = crossdock(&hub, &olga, &["pipeline", "continue", NAME, "--reason", "the ERP is back"]);
    assert!(done && said.contains("runs that were held back go on: 2"), "{said}");
    for run in [&before, &after] {
        let found = until(&client_of(&hub), run, "completes", |run| text(run, "state") == "completed").await;
        assert!(has_judged(&found) && !paused(&found), "{found}");
    }
    let (done, said) = crossdock(&hub, &olga, &["pipeline", "continue", NAME, "--reason", "again"]);
    assert!(!done && said.contains("is not paused"), "{said}");

    let run = send(&client_of(&hub), "test.order.v1", 3).await;
    until(&client_of(&hub), &run, "waits", |run| text(run, "state") == "waiting").await;
    let many = |what: &str| crossdock(&hub, &olga, &["run", "many", what, "--pipeline", NAME, "--state", "waiting"]);
    let (done, said) = many("restart");
    assert!(!done && said.contains("--step"), "{said}");
    let (done, said) = many("cancel");
    assert!(done && said.contains("1 of 1 runs are being cancelled; 0 refused, 0 left"), "{said}");
    until(&client_of(&hub), &run, "is cancelled", |run| text(run, "state") == "cancelled").await;

    let auditor = hub.token_as("audrey", "auditor");
    let (_, said) = crossdock(&hub, &auditor, &["audit", "list"]);
    for word in ["pipeline.pause", "pipeline.continue", "the ERP is down", "the ERP is back"] {
        assert!(said.contains(word), "`{word}` is missing in: {said}");
    }
}

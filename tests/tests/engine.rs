//! Rules of the engine from the outside, each over a `kill -9`: the order of one key, events for what was undone, pages
//! of a read.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{
    Router,
    extract::{Query, State},
    routing::get,
};
use crossdock_tests::{
    guests,
    hub::{Hub, PATIENCE},
};
use http::StatusCode;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const EVENT: [(&str, &str); 1] = [("content-type", "application/cloudevents+json")];

/// A pipeline whose runs wait for an event that names their number.
fn waits(order: &str) -> String {
    format!(
        "pipeline: test/waits\nversion: 1.0.0\nowner: test\nsummary: Waits.\nuses: {{}}\n\
         trigger: [{{ event: test.said.v1 }}]\nkey: event.subject\norder: {order}\nsteps:\n  - id: s\n    wait: {{ event: \
         test.sent.v1, match: signal.data.n == event.data.n, within: 1d, on_expiry: reject }}\n"
    )
}

/// A data folder and a configuration with a pipeline; `more` of it declares what else there is.
struct Setting {
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl Setting {
    fn new(pipeline: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipeline.yaml");
        fs::write(&path, pipeline).unwrap();
        let config = folder.path().join("hub.toml");
        let more = more.replace("FOLDER", &folder.path().display().to_string());
        fs::write(&config, format!("pipelines = [\"{}\"]\n{more}", path.display())).unwrap();
        Self { folder, config }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn start(&self) -> Hub {
        Hub::start(BINARY, &self.data(), Some(&self.config))
    }

    /// A hub that ends itself at a place of its journal; none: it did so at its start.
    fn start_until(&self, place: &str) -> Option<Hub> {
        let mut command = crossdock_tests::hub::command(BINARY, &self.data(), Some(&self.config));
        command.env("CROSSDOCK_CRASH_AT", place);
        Hub::try_start(command, BINARY, &self.data()).ok()
    }
}

async fn send(hub: &Hub, id: &str, event_type: &str, subject: &str, data: &Value) -> Result<Value, String> {
    let event = json!({
        "specversion": "1.0", "id": id, "source": "/tests", "type": event_type, "subject": subject, "data": data,
    });
    let mut request = http::Request::post(format!("{}/v1/events", hub.url));
    for (name, value) in EVENT {
        request = request.header(name, value);
    }
    let response = hub.send(request.body(event.to_string().into()).unwrap()).await?;
    let answer: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    // 200: it was accepted before.
    assert!(response.status().is_success(), "{answer:#}");
    Ok(answer)
}

/// The runs about a key with their stories, in the order of their numbers, once all of them are as wanted.
async fn stories(hub: &Hub, key: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let (_, listed) = hub.get(&format!("/v1/runs?key={key}&limit=100")).await;
        let mut runs = Vec::new();
        for run in listed["runs"].as_array().cloned().unwrap_or_default() {
            let (status, story) = hub.get(&format!("/v1/runs/{}", run["id"].as_str().unwrap())).await;
            if status == StatusCode::OK {
                runs.push(story);
            }
        }
        runs.sort_by_key(|run| run["event"]["id"].as_str().unwrap().parse::<u64>().unwrap());
        if wanted(&runs) {
            return runs;
        }
        assert!(begun.elapsed() < PATIENCE, "{runs:#?}");
        tokio::task::yield_now().await;
    }
}

/// When a run began its wait; absent: it has not.
fn began(run: &Value) -> Option<&str> {
    run["steps"].as_array()?.iter().find(|step| step["path"] == "s")?["started"].as_str()
}

fn ended(run: &Value) -> bool {
    run["state"] == "completed"
}

// SEMANTICS 4
#[tokio::test]
async fn exclusive_runs_of_one_key_keep_the_order_of_acceptance_over_kills() {
    let setting = Setting::new(&waits("exclusive"), "");
    let mut hub = setting.start();
    for n in 1..=4 {
        send(&hub, &n.to_string(), "test.said.v1", "k", &json!({ "n": n })).await.unwrap();
    }
    for n in 1..=4_usize {
        // One at a time: whoever is next has begun, and nobody behind it.
        let runs = stories(&hub, "k", |runs| runs.len() == 4 && began(&runs[n - 1]).is_some()).await;
        assert!(runs[n..].iter().all(|run| began(run).is_none()), "{runs:#?}");
        hub.kill();
        hub = setting.start();
        let runs = stories(&hub, "k", |runs| runs.len() == 4 && began(&runs[n - 1]).is_some()).await;
        assert!(runs[n..].iter().all(|run| began(run).is_none()), "after the start: {runs:#?}");
        send(&hub, &(100 + n).to_string(), "test.sent.v1", "k", &json!({ "n": n })).await.unwrap();
        let runs = stories(&hub, "k", |runs| runs.len() == 4 && ended(&runs[n - 1])).await;
        assert!(runs[..n].iter().all(ended), "{runs:#?}");
        hub.kill();
        hub = setting.start();
    }
    let runs = stories(&hub, "k", |runs| runs.iter().all(ended)).await;
    for pair in runs.windows(2) {
        assert!(pair[0]["updated"].as_str() <= began(&pair[1]), "they overlap: {pair:#?}");
    }
}

// SEMANTICS 4
#[tokio::test]
async fn runs_of_one_key_begin_in_the_order_of_acceptance_over_kills() {
    let setting = Setting::new(&waits("start"), "");
    // Somebody must be enrolled before hubs end themselves.
    setting.start().kill();
    let mut next = 1;
    for place in ["after:accepted:3", "before:run-started:4", "after:run-started:3", "before:wait-started:3"] {
        let Some(mut hub) = setting.start_until(place) else { continue };
        // The same event again, if nobody answered, is the same event.
        while send(&hub, &next.to_string(), "test.said.v1", "k", &json!({ "n": next })).await.is_ok() {
            next += 1;
            assert!(next < 100, "the hub does not end itself at {place}");
        }
        ends_itself(&mut hub).await;
    }
    let hub = setting.start();
    send(&hub, &next.to_string(), "test.said.v1", "k", &json!({ "n": next })).await.unwrap();
    let all = |runs: &[Value]| runs.len() == next && runs.iter().all(|run| began(run).is_some());
    let runs = stories(&hub, "k", all).await;
    for pair in runs.windows(2) {
        assert!(began(&pair[0]) <= began(&pair[1]), "a later one was first: {pair:#?}");
    }
}

async fn ends_itself(hub: &mut Hub) {
    let begun = Instant::now();
    while !hub.has_ended() {
        assert!(begun.elapsed() < PATIENCE, "the hub does not end itself");
        tokio::task::yield_now().await;
    }
}

fn cli(hub: &Hub, person: &str, role: &str, arguments: &[&str]) -> Value {
    let output = Command::new(BINARY)
        .args(arguments)
        .arg("--json")
        .env("CROSSDOCK_TOKEN", hub.token_as(person, role))
        .env("CROSSDOCK_HUB", &hub.url)
        .env_remove("CROSSDOCK_LOG")
        .output()
        .expect("runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn open(hub: &Hub) -> Vec<Value> {
    cli(hub, "ola", "operator", &["exception", "list"])["exceptions"].as_array().unwrap().clone()
}

// SEMANTICS 20
#[tokio::test]
async fn an_event_for_a_run_that_was_undone_is_for_people_until_one_closes_it() {
    let setting = Setting::new(&waits("none"), "");
    let mut hub = setting.start();
    send(&hub, "1", "test.said.v1", "k", &json!({ "n": 1 })).await.unwrap();
    let run = stories(&hub, "k", |runs| runs.first().is_some_and(|run| began(run).is_some())).await.remove(0);
    let id = run["id"].as_str().unwrap();
    cli(&hub, "ola", "operator", &["run", "cancel", id, "--reason", "not wanted"]);
    stories(&hub, "k", |runs| runs[0]["state"] == "cancelled").await;
    assert!(open(&hub).is_empty());
    hub.kill();
    // It comes to a hub that ends itself before it is known to be an exception.
    let mut doomed = setting.start_until("before:exception-opened:1").expect("starts");
    // It is durable by then, whether its sender was still told so or not.
    let _ = send(&doomed, "2", "test.sent.v1", "k", &json!({ "n": 1 })).await;
    ends_itself(&mut doomed).await;
    hub = setting.start();
    let begun = Instant::now();
    while open(&hub).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the event disappeared");
    }
    let found = open(&hub);
    assert_eq!((found.len(), &found[0]["run"], &found[0]["event"]["data"]), (1, &json!(id), &json!({ "n": 1 })));
    let event = found[0]["acceptance"].as_str().unwrap();
    cli(&hub, "ola", "operator", &["exception", "close", id, "--event", event, "--reason", "the parcel comes back"]);
    assert!(open(&hub).is_empty());
    hub.kill();
    hub = setting.start();
    assert!(open(&hub).is_empty(), "it stays closed");

    // Each act of a person is an audit record, with who and why.
    let listed = cli(&hub, "aud", "auditor", &["audit", "list", "--run", id]);
    let records = listed["records"].as_array().unwrap();
    let said: Vec<[&str; 3]> = records
        .iter()
        .rev()
        .map(|record| ["action", "actor", "reason"].map(|name| record[name].as_str().unwrap()))
        .collect();
    assert_eq!(said, [["run.cancel", "ola", "not wanted"], ["exception.close", "ola", "the parcel comes back"]]);
}

const PAGES: &str = r#"
pipeline: test/pages
version: 1.0.0
owner: test
summary: Every number, a page at a time.
uses: { source: bench/source@1 }
trigger: [{ event: test.count.v1 }]
key: event.subject
steps:
  - id: all
    for:
      pages: source#rows
      with: {}
      at_once: 1
      steps:
        - id: s
          wait: { event: test.sent.v1, match: signal.data.n == item.number, within: 1d, on_expiry: reject }
      output: ${ item.rows }
  - emit: test.counted.v1
    data: { pages: "${ steps.all }" }
"#;

const MANIFEST: &str = r#"
id = "test/source"
version = "1.0.0"
kind = "connector"
contract = "1.0.0"
license = "Apache-2.0"
summary = "Numbers"
implements = ["bench/source@1"]

[operations.rows]
effect = "read"

[[capabilities.http]]
origin = "${connection.base_url}"
methods = ["GET"]
reason = "Asks for numbers"
"#;

/// What a remote was asked for, in order.
type Asked = Arc<Mutex<Vec<u64>>>;

async fn numbers(State(asked): State<Asked>, Query(query): Query<Vec<(String, u64)>>) -> axum::Json<Value> {
    let after = query.iter().find(|(name, _)| name == "after").map_or(0, |(_, after)| *after);
    asked.lock().unwrap().push(after);
    let numbers: Vec<u64> = (after + 1..=5).take(2).collect();
    let next = numbers.last().filter(|last| **last < 5).map(u64::to_string);
    axum::Json(json!({ "numbers": numbers, "next": next }))
}

async fn remote() -> (Asked, String) {
    let asked = Asked::default();
    let app = Router::new().route("/numbers", get(numbers)).with_state(Arc::clone(&asked));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (asked, url)
}

fn package(folder: &Path) {
    let package = folder.join("source");
    fs::create_dir(&package).unwrap();
    fs::write(package.join("plugin.toml"), MANIFEST).unwrap();
    fs::write(package.join("component.wasm"), guests::hostile("sdk_source")).unwrap();
}

#[tokio::test]
async fn a_page_that_is_recorded_is_not_fetched_again_after_a_kill_between_pages() {
    let (asked, url) = remote().await;
    let setting = Setting::new(
        PAGES,
        &format!(
            "plugins = [\"FOLDER/source\"]\n[connections.numbers]\nplugin = \"test/source\"\nbase_url = \"{url}\"\n\
             allow_addresses = [\"127.0.0.1/32\"]\n[bindings.\"test/pages\"]\nsource = \"numbers\"\n"
        ),
    );
    package(setting.folder.path());
    let mut hub = setting.start();
    send(&hub, "1", "test.count.v1", "k", &json!({})).await.unwrap();
    let waits = |runs: &[Value], page: usize| {
        let path = format!("s[{page}]");
        let step = runs.first().and_then(|run| run["steps"].as_array()?.iter().find(|step| step["path"] == *path));
        step.is_some_and(|step| step["state"] == "waiting")
    };
    for page in 1..=3 {
        stories(&hub, "k", |runs| waits(runs, page)).await;
        hub.kill();
        hub = setting.start();
        stories(&hub, "k", |runs| waits(runs, page)).await;
        send(&hub, &(100 + page).to_string(), "test.sent.v1", "k", &json!({ "n": page })).await.unwrap();
    }
    let runs = stories(&hub, "k", |runs| ended(&runs[0])).await;
    let steps = runs[0]["steps"].as_array().unwrap();
    let all = steps.iter().find(|step| step["path"] == "all").unwrap();
    assert_eq!(all["output"], json!([[1, 2], [3, 4], [5]]), "{all:#}");
    assert_eq!(*asked.lock().unwrap(), [0, 2, 4], "each page was fetched once");
}

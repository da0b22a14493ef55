//! What the hub does by itself, from the outside: a process that polls a remote, and a `kill -9` in between.

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
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
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
    packages,
};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");

const PIPELINE: &str = r#"
pipeline: test/numbers
version: 1.0.0
owner: test
summary: Every number that a remote counts to.
uses: { counter: retail/carrier-rates@1 }
trigger: [{ poll: counter, every: 1s, event: test.number.v1 }]
key: event.id
steps:
  - emit: test.seen.v1
    data: ${ event.data }
"#;

const MANIFEST: &str = r#"
id = "test/counter"
version = "1.0.0"
kind = "connector"
contract = "1.0.0"
license = "Apache-2.0"
summary = "Numbers"
implements = ["retail/carrier-rates@1"]

[operations.quote]
effect = "read"

[[capabilities.http]]
origin = "${connection.base_url}"
methods = ["GET"]
reason = "Asks for numbers"
"#;

/// A remote that counts, two at a time, and keeps what it was asked for.
#[derive(Default)]
struct Counter {
    total: AtomicU64,
    broken: AtomicU64,
    asked: Mutex<Vec<u64>>,
}

async fn numbers(
    State(counter): State<Arc<Counter>>,
    Query(query): Query<Vec<(String, u64)>>,
) -> Result<axum::Json<Value>, axum::http::StatusCode> {
    let after = query.iter().find(|(name, _)| name == "after").map_or(0, |(_, after)| *after);
    counter.asked.lock().unwrap().push(after);
    if counter.broken.load(Ordering::SeqCst) > 0 {
        counter.broken.fetch_sub(1, Ordering::SeqCst);
        return Err(axum::http::StatusCode::SERVICE_UNAVAILABLE);
    }
    let total = counter.total.load(Ordering::SeqCst);
    let numbers: Vec<u64> = (after + 1..=total).take(2).collect();
    let next = numbers.last().filter(|last| **last < total).map(u64::to_string);
    Ok(axum::Json(json!({ "numbers": numbers, "next": next })))
}

async fn counter(total: u64) -> (Arc<Counter>, String) {
    let counter = Arc::new(Counter { total: total.into(), ..Counter::default() });
    let app = Router::new().route("/numbers", get(numbers)).with_state(Arc::clone(&counter));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (counter, url)
}

/// Writes down what an operator would: a package, a pipeline, and the configuration.
fn configure(folder: &Path, package: &Path, plugin: &str, url: &str) -> PathBuf {
    let pipeline = folder.join("numbers.yaml");
    fs::write(&pipeline, PIPELINE).unwrap();
    let config = folder.join("hub.toml");
    let text = format!(
        "plugins = [\"{}\"]\npipelines = [\"{}\"]\n[connections.numbers]\nplugin = \"{plugin}\"\nbase_url = \"{url}\"\n\
         allow_addresses = [\"127.0.0.1/32\"]\n[bindings.\"test/numbers\"]\ncounter = \"numbers\"\n",
        package.display(),
        pipeline.display(),
    );
    fs::write(&config, text).unwrap();
    config
}

fn package(folder: &Path) -> PathBuf {
    let package = folder.join("counter");
    fs::create_dir(&package).unwrap();
    fs::write(package.join("plugin.toml"), MANIFEST).unwrap();
    fs::write(package.join("component.wasm"), guests::hostile("sdk_source")).unwrap();
    package
}

/// The keys of every run, once there are so many that are completed.
async fn completed(hub: &Hub, wanted: usize) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let (_, answer) = hub.get("/v1/runs?pipeline=test/numbers&state=completed&limit=100").await;
        let runs = answer["runs"].as_array().cloned().unwrap_or_default();
        if runs.len() >= wanted {
            let mut keys: Vec<String> = runs.iter().map(|run| run["key"].as_str().unwrap().to_owned()).collect();
            keys.sort();
            return keys;
        }
        assert!(begun.elapsed() < PATIENCE, "only {runs:#?}");
        tokio::task::yield_now().await;
    }
}

fn keys(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|number| format!("n-{number}")).collect()
}

#[tokio::test]
async fn a_remote_is_polled_page_by_page_and_after_a_crash_from_where_it_stood() {
    let folder = tempfile::tempdir().unwrap();
    let (counter, url) = counter(5).await;
    let config = configure(folder.path(), &package(folder.path()), "test/counter", &url);
    let data = folder.path().join("data");

    let hub = Hub::start(BINARY, &data, Some(&config));
    assert_eq!(completed(&hub, 5).await, keys(1..=5));
    let (_, run) = hub.get("/v1/runs?key=n-1&limit=1").await;
    let (_, run) = hub.get(&format!("/v1/runs/{}", run["runs"][0]["id"].as_str().unwrap())).await;
    assert_eq!(run["event"]["source"], "/connections/numbers", "the hub, not the plugin, says where it comes from");
    hub.kill();
    let before = counter.asked.lock().unwrap().len();

    counter.total.store(8, Ordering::SeqCst);
    let hub = Hub::start(BINARY, &data, Some(&config));
    assert_eq!(completed(&hub, 8).await, keys(1..=8));
    let asked = counter.asked.lock().unwrap().clone();
    assert!(asked[before..].iter().all(|after| *after >= 3), "it began anew: {asked:?}");
    assert!(hub.stop());
}

#[tokio::test]
async fn a_remote_that_is_down_is_shown_and_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let (counter, url) = counter(2).await;
    counter.broken.store(2, Ordering::SeqCst);
    let config = configure(folder.path(), &package(folder.path()), "test/counter", &url);
    let hub = Hub::start(BINARY, &folder.path().join("data"), Some(&config));
    let begun = Instant::now();
    loop {
        let (_, ready) = hub.get("/health/ready").await;
        if ready.to_string().contains("1 triggers fail") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{ready:#}");
        tokio::task::yield_now().await;
    }
    assert_eq!(completed(&hub, 2).await, keys(1..=2));
    assert_eq!(counter.asked.lock().unwrap()[..3], [0, 0, 0]);
}

#[test]
fn a_pipeline_that_polls_is_not_bound_to_a_connector_that_cannot_be_polled() {
    let folder = tempfile::tempdir().unwrap();
    let carrier = packages::package("sandbox-carrier");
    let config = configure(folder.path(), &carrier, "crossdock/sandbox-carrier", "http://127.0.0.1:1");
    let mut command = Command::new(BINARY);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path().join("data"));
    let output = command.arg("--config").arg(config).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
    let expected =
        "the pipeline polls `counter`, and plugin `crossdock/sandbox-carrier` of connection `numbers` exports no";
    assert!(said.contains(expected), "{said}");
}

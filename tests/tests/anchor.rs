//! Checkpoints kept by somebody else: a receiver takes what the hub signs, and proves later that an export lacks its end.

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
        atomic::{AtomicU16, Ordering},
    },
    time::Instant,
};

use axum::{Router, extract::State, routing::post};
use bytes::Bytes;
use crossdock::policy::delivery;
use crossdock_tests::{
    hub::{Hub, PATIENCE},
    said::Said,
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Who keeps checkpoints.
struct Receiver {
    url: String,
    /// What it answers.
    answers: AtomicU16,
    /// Bodies that it took, as they came.
    kept: Mutex<Vec<Bytes>>,
    refused: Mutex<usize>,
}

async fn take(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    assert_eq!(header("content-type"), "application/json");
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let expected = delivery::sign(&id, timestamp.parse().unwrap(), &body, &[SECRET.as_bytes()]);
    assert_eq!(header("webhook-signature"), expected);
    let answer = StatusCode::from_u16(receiver.answers.load(Ordering::SeqCst)).unwrap();
    if answer.is_success() {
        receiver.kept.lock().unwrap().push(body);
    } else {
        *receiver.refused.lock().unwrap() += 1;
    }
    answer
}

impl Receiver {
    async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Arc::new(Self {
            url: format!("http://{}/checkpoints?token=t0p-s3cret", listener.local_addr().unwrap()),
            answers: AtomicU16::new(204),
            kept: Mutex::default(),
            refused: Mutex::default(),
        });
        let app = Router::new().route("/checkpoints", post(take)).with_state(Arc::clone(&receiver));
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    /// The batches of what it keeps.
    fn batches(&self) -> Vec<u64> {
        let kept = self.kept.lock().unwrap();
        let batch = |body: &Bytes| serde_json::from_slice::<Value>(body).unwrap()["batch"].as_u64();
        kept.iter().map(|body| batch(body).expect("a checkpoint")).collect()
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !wanted(self) {
            assert!(begun.elapsed() < PATIENCE, "{what}: {:?}", self.batches());
            tokio::task::yield_now().await;
        }
    }
}

/// hub.toml with an anchor.
fn configure(folder: &Path, url: &str, more: &str) {
    fs::write(folder.join("secret"), SECRET).unwrap();
    let text =
        format!("[audit.anchor]\nurl = \"{url}\"\nsecrets = [\"file:{}\"]\n{more}\n", folder.join("secret").display());
    fs::write(folder.join("hub.toml"), text).unwrap();
}

fn start(folder: &Path) -> Hub {
    Hub::start(BINARY, &folder.join("data"), Some(&folder.join("hub.toml")))
}

fn crossdock(arguments: &[&str]) -> Said {
    Said::by(Command::new(BINARY).args(arguments).env("NO_COLOR", "1").env_remove("CROSSDOCK_TOKEN"))
}

/// Something that is recorded.
fn record(hub: &Hub, name: &str) {
    let made =
        crossdock(&["token", "create", name, "--role", "auditor", "--hub", &hub.url, "--token-file", &hub.token_file]);
    made.done();
}

/// The files of an export.
fn exported(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { exported(&path) } else { vec![path] }).collect()
}

async fn anchor(hub: &Hub, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let (_, answer) = hub.get("/v1/audit?limit=1").await;
        if wanted(&answer["anchor"]) {
            return answer["anchor"].clone();
        }
        assert!(begun.elapsed() < PATIENCE, "{answer:#}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_keeps_proves_that_an_export_lacks_its_end() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (data, key) = (at("data"), at("data/audit/hub.pub"));
    configure(folder.path(), &receiver.url, "allow_addresses = [\"127.0.0.1/32\"]");
    let hub = start(folder.path());
    record(&hub, "first");
    assert!(hub.stop());
    receiver.until("the last checkpoint of a stop", |receiver| receiver.batches().len() == 1).await;
    crossdock(&["audit", "export", &at("short"), "--data", &data]).done();

    // It is down, and the hub does its work; what it signed is taken at the next start.
    receiver.answers.store(503, Ordering::SeqCst);
    let hub = start(folder.path());
    record(&hub, "second");
    assert!(hub.stop());
    receiver.until("an attempt", |receiver| *receiver.refused.lock().unwrap() > 0).await;
    assert_eq!(receiver.batches().len(), 1);
    let hub = start(folder.path());
    let view = anchor(&hub, |view| view["attempts"].as_u64() > Some(0)).await;
    assert!(view["cause"].as_str().unwrap().contains("503") && view.get("behind_since").is_some(), "{view:#}");
    assert!(!view.to_string().contains("t0p-s3cret"), "{view:#}");
    let said = crossdock(&["audit", "list", "--hub", &hub.url, "--token-file", &hub.token_file]);
    assert!(said.done().contains("503") && said.out.contains("has taken batch"), "{}", said.out);
    assert!(said.out.contains("anchor.set"), "which anchor is declared is recorded: {}", said.out);
    receiver.answers.store(200, Ordering::SeqCst);
    let view = anchor(&hub, |view| view.get("behind_since").is_none()).await;
    assert_eq!((&view["acknowledged"], &view["attempts"]), (&view["signed"], &json!(0)), "{view:#}");
    let (_, ready) = hub.get("/health/ready").await;
    assert_eq!(ready["checks"]["anchor"], "ok", "{ready:#}");
    let metrics =
        hub.send(http::Request::get(format!("{}/metrics", hub.url)).body(Bytes::new()).unwrap()).await.unwrap();
    let metrics = String::from_utf8_lossy(metrics.body()).into_owned();
    let gauge = format!("crossdock_audit_anchor_batch {}", view["acknowledged"]["batch"]);
    assert!(metrics.contains(&gauge) && metrics.contains("crossdock_audit_anchor_behind_seconds 0"), "{metrics}");
    let batches = receiver.batches();
    assert!(batches.len() >= 2 && batches.is_sorted(), "{batches:?}");
    assert!(hub.stop());

    // The receiver's last body, as it came, is an anchor.
    let last = receiver.kept.lock().unwrap().last().unwrap().clone();
    fs::write(at("anchor.json"), &last).unwrap();
    let verify = |dir: &str| crossdock(&["audit", "verify", &at(dir), "--key", &key, "--anchor", &at("anchor.json")]);
    crossdock(&["audit", "export", &at("whole"), "--data", &data]).done();
    assert!(verify("whole").done().contains("nothing is missing up to batch"), "{:?}", verify("whole"));
    // An export that ends earlier holds by itself, and is found out by what was kept elsewhere.
    crossdock(&["audit", "verify", &at("short"), "--key", &key]).done();
    let said = verify("short");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("the anchor") && said.err.contains("everything between is missing"), "{said:?}");
    // The URL may hold a token: it is in nothing that leaves the hub.
    for file in exported(Path::new(&at("whole"))) {
        let bytes = fs::read(&file).unwrap();
        let held = bytes.windows("t0p-s3cret".len()).any(|window| window == b"t0p-s3cret");
        assert!(!held, "{}", file.display());
    }
    let log = fs::read_to_string(folder.path().join("data.log")).unwrap();
    assert!(!log.contains("t0p-s3cret") && !log.contains(SECRET), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_is_reached_only_where_the_operator_grants_it_and_a_mistake_refuses_the_start() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let refused = |url: &str, more: &str| {
        configure(folder.path(), url, more);
        let (data, config) = (folder.path().join("other"), folder.path().join("hub.toml"));
        let mut command = Command::new(BINARY);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&data).arg("--config").arg(config);
        match Hub::try_start(command, BINARY, &data) {
            Ok(_) => panic!("{url} {more}: it started"),
            Err(said) => said,
        }
    };
    for (url, more, words) in [
        ("http://anchor.example/c", "", "must be `https`"),
        (receiver.url.as_str(), "", "must be `https`"),
        ("https://anchor.example/c", "every_s = 1", "`every_s` is 1"),
        ("https://anchor.example/c", "period = 1", "unknown field"),
        ("https://anchor.example/c", "allow_addresses = [\"x\"]", "`allow_addresses`"),
    ] {
        let said = refused(url, more);
        assert!(said.contains(words), "no `{words}` in {said}");
    }
    // Loopback is not granted to a name that leads there.
    let port = receiver.url.rsplit(':').next().unwrap().split('/').next().unwrap();
    configure(folder.path(), &format!("https://localhost:{port}/checkpoints"), "");
    let hub = start(folder.path());
    record(&hub, "one");
    assert!(hub.stop());
    let hub = start(folder.path());
    let view = anchor(&hub, |view| view["attempts"].as_u64() > Some(0)).await;
    assert!(view["cause"].as_str().unwrap().contains("allow_addresses"), "{view:#}");
    assert_eq!(receiver.batches().len() + *receiver.refused.lock().unwrap(), 0, "nothing reached it");
    assert!(hub.stop());
    // Who takes the anchor away is recorded as well.
    fs::write(folder.path().join("hub.toml"), "").unwrap();
    let hub = start(folder.path());
    let (_, answer) = hub.get("/v1/audit?subject=anchor").await;
    let actions: Vec<&Value> = answer["records"].as_array().unwrap().iter().map(|record| &record["action"]).collect();
    assert_eq!(actions, ["anchor.remove", "anchor.set"], "{answer:#}");
    assert_eq!(answer.get("anchor"), None);
}

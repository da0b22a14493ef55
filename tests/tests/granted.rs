//! Each capability through every path by which a plugin's code is reached: nothing is given that its manifest did not ask
//! for and an operator did not grant. The plugin is one and the same (`takes_all`): it tries everything wherever it is
//! called, and fails with what became of each try.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{fs, path::Path, time::Instant};

use crossdock::{
    model::json::Json,
    ports::invoker::{Authority, CallError, Delivery, Feed, Invocation, Invoker as _, Work},
    wasm::Sandbox,
};
use crossdock_tests::{
    calls::{invocation, json, load, operation, step},
    guests,
    hub::{Hub, PATIENCE},
    said::Said,
};
use http::StatusCode;
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");

/// What each try comes to where nothing is granted.
const DENIED: [(&str, &str); 13] = [
    ("get", "state.bucket-not-granted"),
    ("put", "state.bucket-not-granted"),
    ("swap", "state.bucket-not-granted"),
    ("remove", "state.bucket-not-granted"),
    ("scan", "state.bucket-not-granted"),
    ("sign", "secret.not-granted"),
    ("verify", "secret.not-granted"),
    ("http", "ErrorCode::HttpRequestDenied"),
    ("socket", "PermissionDenied"),
    ("read", "NotFound"),
    ("write", "NotFound"),
    ("environment", "0"),
    ("arguments", "0"),
];

/// Finds each try in what was said by somebody or other, and holds it to the table.
#[track_caller]
fn denied(path: &str, said: &str) {
    for (what, expected) in DENIED {
        let found = said.split([' ', '"', '`', ',', '\n']).find_map(|word| word.strip_prefix(&format!("{what}=")));
        assert_eq!(found, Some(expected), "`{what}` through {path}: {said}");
    }
}

#[tokio::test]
async fn no_kind_of_call_gives_what_was_not_granted() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new(folder.path()).unwrap();
    let component = load(&sandbox, "takes_all", None).await;
    let input = || json(&json!({}));
    let feed = || Feed { name: "shop".into(), config: Json::empty_object(), attributes: vec![] };
    let delivery = Delivery {
        method: "POST".into(),
        path: String::new(),
        query: String::new(),
        headers: vec![],
        body: bytes::Bytes::new(),
    };
    let fetch = Work::Fetch {
        operation: "rows".into(),
        input: input(),
        idempotency_key: "xd_1".into(),
        attempt: 1,
        cursor: None,
        step: step(),
    };
    for (path, work) in [
        ("transform", Work::Transform { input: input(), step: step() }),
        ("rule", Work::Rule { input: input(), step: step() }),
        ("score", Work::Score { input: input(), step: step() }),
        ("read", operation("rows", &json!({}), true)),
        ("write", operation("rows", &json!({}), false)),
        ("fetch", fetch),
        ("poll", Work::Poll { cursor: None, feed: feed() }),
        ("webhook", Work::Receive { delivery, feed: feed() }),
    ] {
        let done = sandbox.invoke(Invocation { authority: Authority::default(), ..invocation(component, work) }).await;
        let Err(CallError::Failure(failure)) = &done.result else { panic!("{path}: {:?}", done.result) };
        denied(path, &failure.message);
    }
}

const MANIFEST: &str = r#"
id = "test/taker"
version = "1.0.0"
kind = "connector"
contract = "1.0.0"
license = "Apache-2.0"
summary = "Asks for nothing but one host, and tries everything"
implements = ["bench/source@1"]

[operations.rows]
effect = "read"

[[capabilities.http]]
origin = "https://asked-for.example"
methods = ["GET"]
reason = "It has to import it"
"#;

/// `source#rows` called, fetched page by page, and polled.
const PIPELINES: [(&str, &str); 3] = [
    ("calls", "trigger: [{ event: test.call.v1 }]\nsteps:\n  - { id: s, call: source#rows, with: {} }\n"),
    (
        "pages",
        "trigger: [{ event: test.page.v1 }]\nsteps:\n  - id: s\n    for: { pages: source#rows, with: {}, at_once: 1, \
         steps: [{ id: i, set: { n: 1 } }] }\nvars: { n: 0 }\n",
    ),
    (
        "polls",
        "trigger: [{ poll: source, every: 1h, event: test.number.v1 }]\nsteps:\n  - { id: s, emit: test.seen.v1, data: {} \
         }\n",
    ),
];

fn setting(at: &Path) {
    fs::create_dir(at.join("taker")).unwrap();
    fs::write(at.join("taker/plugin.toml"), MANIFEST).unwrap();
    fs::write(at.join("taker/component.wasm"), guests::hostile("takes_all")).unwrap();
    fs::write(at.join("secret"), "a secret that the connection offers").unwrap();
    let mut config = format!(
        "plugins = [\"taker\"]\npipelines = [\"calls.yaml\", \"pages.yaml\", \"polls.yaml\"]\n[connections.numbers]\n\
         plugin = \"test/taker\"\nbase_url = \"http://127.0.0.1:9\"\nallow_addresses = [\"127.0.0.1/32\"]\nsecrets = {{ \
         offered = \"file:{}\" }}\n",
        at.join("secret").display()
    );
    for (name, rest) in PIPELINES {
        let head = format!(
            "pipeline: test/{name}\nversion: 1.0.0\nowner: test\nsummary: Reaches the plugin.\nuses: {{ source: \
             bench/source@1 }}\nkey: event.id\n"
        );
        fs::write(at.join(format!("{name}.yaml")), head + rest).unwrap();
        config += &format!("[bindings.\"test/{name}\"]\nsource = \"numbers\"\n");
    }
    fs::write(at.join("hub.toml"), config).unwrap();
}

fn crossdock(hub: &Hub, arguments: &[&str]) -> String {
    Said::at(hub, BINARY, None, arguments).all()
}

/// Waits until the hub's log tells of something; the line.
fn logged(log: &Path, wanted: &str) -> String {
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.contains(wanted)) {
            return line.to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "the log does not tell of `{wanted}`: {text}");
        std::thread::yield_now();
    }
}

/// A connection that offers a secret and reaches a machine, and a plugin that asked for neither: whichever way its code is
/// reached, it gets neither.
#[tokio::test]
async fn what_a_connection_offers_and_a_manifest_does_not_ask_for_is_given_on_no_path() {
    let folder = tempfile::tempdir().unwrap();
    setting(folder.path());
    let hub = Hub::start(BINARY, &folder.path().join("data"), Some(&folder.path().join("hub.toml")));
    for (path, event_type) in [("a call", "test.call.v1"), ("a page", "test.page.v1")] {
        let (status, accepted) = hub.event(event_type, event_type, &json!({})).await;
        assert_eq!(status, StatusCode::OK, "{accepted:#}");
        let runs = hub.runs_until(event_type, |runs| runs.first().is_some_and(|run| run["state"] == "parked")).await;
        let (_, run) = hub.get(&format!("/v1/runs/{}", runs[0]["id"].as_str().unwrap())).await;
        denied(path, &run.to_string());
    }
    denied("a poll", &logged(&folder.path().join("data.log"), "a poll failed"));
    denied("a test", &crossdock(&hub, &["connection", "test", "numbers", "--operation", "rows"]));
    let explained = crossdock(&hub, &["plugin", "explain", "test/taker"]);
    assert!(explained.contains("the connection offers it, and the manifest does not ask for it"), "{explained}");

    crossdock(&hub, &["plugin", "revoke", "test/taker", "1.0.0", "--yes", "--reason", "it takes"]);
    let tested = crossdock(&hub, &["connection", "test", "numbers", "--operation", "rows"]);
    assert!(
        tested.contains("is revoked") && !tested.contains("get="),
        "a test calls nothing that is revoked: {tested}"
    );
    let explained = crossdock(&hub, &["--json", "plugin", "explain", "test/taker", "1.0.0"]);
    assert!(explained.contains("\"lifecycle\"") && !explained.contains("\"granted\": true"), "{explained}");
}

//! Deliveries to partners from the outside: a hub in a process of its own, endpoints that take, fail, hang and are gone, a
//! `kill -9` in between, and signatures that somebody else verifies.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{Router, extract::State, response::IntoResponse as _, routing::post};
use bytes::Bytes;
use crossdock::policy::delivery;
use crossdock_tests::hub::{Hub, PATIENCE};
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

#[path = "subscriptions/disclosure.rs"]
mod disclosure;

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

const PIPELINE: &str = r#"
pipeline: test/shipping
version: 1.0.0
owner: test
summary: Says what was shipped.
trigger:
  - event: test.order.v1
key: event.subject
steps:
  - emit: test.shipped.v1
    subject: ${ event.subject }
    data: ${ event.data }
"#;

/// A delivery as it came.
#[derive(Clone, Debug)]
struct Arrival {
    id: String,
    timestamp: String,
    signature: String,
    body: Bytes,
}

impl Arrival {
    fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn subject(&self) -> String {
        self.event()["subject"].as_str().unwrap_or_default().to_owned()
    }
}

/// A partner's endpoint.
struct Endpoint {
    url: String,
    /// Everything that came, in order, taken or not.
    came: Mutex<Vec<Arrival>>,
    /// What was taken.
    taken: Mutex<Vec<Arrival>>,
    /// What it answers instead of 204, by subject, or for all under `*`.
    instead: Mutex<BTreeMap<String, (u16, &'static str)>>,
    open: watch::Sender<bool>,
}

async fn take(State(endpoint): State<Arc<Endpoint>>, headers: HeaderMap, body: Bytes) -> axum::response::Response {
    let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    assert_eq!(header("content-type"), "application/cloudevents+json");
    let arrival = Arrival {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body,
    };
    endpoint.came.lock().unwrap().push(arrival.clone());
    let _ = endpoint.open.subscribe().wait_for(|open| *open).await;
    let instead = {
        let instead = endpoint.instead.lock().unwrap();
        instead.get(&arrival.subject()).or_else(|| instead.get("*")).copied()
    };
    match instead {
        Some((status, retry_after)) => {
            (StatusCode::from_u16(status).unwrap(), [("retry-after", retry_after)]).into_response()
        }
        None => {
            endpoint.taken.lock().unwrap().push(arrival);
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

async fn endpoint() -> Arc<Endpoint> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Arc::new(Endpoint {
        url: format!("http://{}/in", listener.local_addr().unwrap()),
        came: Mutex::default(),
        taken: Mutex::default(),
        instead: Mutex::default(),
        open: watch::Sender::new(true),
    });
    let app = Router::new().route("/in", post(take)).with_state(Arc::clone(&endpoint));
    tokio::spawn(async move { axum::serve(listener, app).await });
    endpoint
}

impl Endpoint {
    fn answer(&self, subject: &str, status: u16) {
        self.instead.lock().unwrap().insert(subject.to_owned(), (status, "0"));
    }

    fn recover(&self) {
        self.instead.lock().unwrap().clear();
    }

    fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().iter().map(Arrival::subject).collect()
    }

    async fn until(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let taken = self.taken();
            if wanted(&taken) {
                return taken;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: {taken:?}");
            tokio::task::yield_now().await;
        }
    }
}

fn hub(folder: &Path) -> Hub {
    fs::write(folder.join("shipping.yaml"), PIPELINE).unwrap();
    fs::write(folder.join("secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    fs::write(folder.join("old-secret"), "an older one").unwrap();
    let config = folder.join("hub.toml");
    fs::write(&config, "pipelines = [\"shipping.yaml\"]\n").unwrap();
    Hub::start(BINARY, &folder.join("data"), Some(&config))
}

fn crossdock(hub: &Hub, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(BINARY);
    command.args(arguments).args(["--hub", &hub.url, "--token-file", &hub.token_file]).env("NO_COLOR", "1");
    let output = command.env_remove("CROSSDOCK_TOKEN").output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code().unwrap_or(-1), said)
}

/// Declares a subscription to what is shipped, with retries that a test can wait for; a second person agrees.
#[track_caller]
fn add(hub: &Hub, folder: &Path, name: &str, url: &str, more: &[&str]) {
    let secret = format!("file:{}", folder.join("secret").display());
    let arguments = [
        "subscription",
        "add",
        name,
        "--owner",
        "acme",
        "--types",
        "test.shipped.*",
        "--url",
        url,
        "--secret",
        &secret,
        "--allow-address",
        "127.0.0.1/32",
        "--first-ms",
        "20",
        "--max-ms",
        "200",
    ];
    let reason = ["--reason", "a contract"];
    let (code, said) = crossdock(hub, &[&arguments[..], &reason, more].concat());
    assert_eq!(code, 0, "{said}");
    hub.agree(&said);
}

async fn ship(hub: &Hub, id: &str, subject: &str) {
    let event = json!({
        "specversion": "1.0", "id": id, "source": "/tests", "type": "test.order.v1", "subject": subject,
        "data": {"order": id},
    });
    let (status, answer) =
        hub.post("/v1/events", &[("content-type", "application/cloudevents+json")], event.to_string()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer:#}");
}

async fn view(hub: &Hub, name: &str) -> Value {
    let (status, view) = hub.get(&format!("/v1/subscriptions/{name}")).await;
    assert_eq!(status, StatusCode::OK, "{view:#}");
    view
}

async fn view_until(hub: &Hub, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let view = view(hub, name).await;
        if wanted(&view) {
            return view;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not become so: {view:#}");
        tokio::task::yield_now().await;
    }
}

/// A partner's token: what it may see.
async fn get_as(hub: &Hub, person: &str, path: &str) -> (u16, Value) {
    let bearer = format!("Bearer {}", hub.token_as(person, "partner"));
    let request = Request::get(format!("{}{path}", hub.url)).header("authorization", bearer);
    let response = hub.send(request.body(Bytes::new()).unwrap()).await.unwrap();
    (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or_default())
}

#[tokio::test]
async fn what_a_pipeline_emits_is_delivered_signed_and_its_owner_alone_sees_that() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path());
    let partner = endpoint().await;
    ship(&hub, "0", "before").await;
    hub.runs_until("before", |runs| runs.len() == 1 && runs[0]["state"] == "completed").await;
    let old = format!("file:{}", folder.path().join("old-secret").display());
    add(&hub, folder.path(), "acme-shipping", &partner.url, &["--secret", &old]);
    ship(&hub, "1", "17").await;
    assert_eq!(
        partner.until("the first", |taken| !taken.is_empty()).await,
        ["17"],
        "what came before is not delivered"
    );

    let arrival = partner.taken.lock().unwrap()[0].clone();
    let event = arrival.event();
    assert_eq!((&event["specversion"], &event["type"]), (&json!("1.0"), &json!("test.shipped.v1")), "{event:#}");
    assert_eq!((&event["source"], &event["data"]), (&json!("/pipelines/test/shipping"), &json!({"order": "1"})));
    let timestamp: i64 = arrival.timestamp.parse().unwrap();
    for secret in [&b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"[..], b"an older one"] {
        let expected = delivery::sign(&arrival.id, timestamp, &arrival.body, &[secret]);
        assert!(arrival.signature.split(' ').any(|signature| signature == expected), "{}", arrival.signature);
    }

    let (status, listed) = get_as(&hub, "acme", "/v1/subscriptions").await;
    assert_eq!((status, &listed["subscriptions"][0]["name"]), (200, &json!("acme-shipping")), "{listed:#}");
    assert!(!listed.to_string().contains("whsec_"), "{listed:#}");
    let (status, listed) = get_as(&hub, "rival", "/v1/subscriptions").await;
    assert_eq!((status, listed), (200, json!({"subscriptions": []})));
    for path in
        ["/v1/subscriptions/acme-shipping", "/v1/subscriptions/acme-shipping/dead-letters", "/v1/subscriptions/x"]
    {
        assert_eq!(get_as(&hub, "rival", path).await.0, 403, "{path}");
    }
    let bearer = format!("Bearer {}", hub.token_as("acme", "partner"));
    let headers = [JSON[0], ("authorization", bearer.as_str())];
    let control = "/v1/subscriptions/acme-shipping/control";
    let (status, said) = hub.post(control, &headers, r#"{"do":"remove"}"#).await;
    assert_eq!((status, &said["code"]), (StatusCode::FORBIDDEN, &json!("access.denied")));
    let (status, said) = hub.post(control, &headers, r#"{"do":"pause"}"#).await;
    assert_eq!((status, &said["state"], &said["by"]), (StatusCode::OK, &json!("paused"), &json!("acme")), "{said:#}");
    ship(&hub, "2", "18").await;
    hub.runs_until("18", |runs| runs.len() == 1 && runs[0]["state"] == "completed").await;
    assert_eq!(partner.taken(), ["17"], "it is paused");
    let (status, _) = hub.post(control, &headers, r#"{"do":"resume"}"#).await;
    assert_eq!(status, StatusCode::OK);
    partner.until("the second", |taken| taken == ["17", "18"]).await;

    let (code, said) = crossdock(&hub, &["subscription", "remove", "acme-shipping", "--reason", "it ended"]);
    assert!(code == 0 && said.contains("is removed"), "{said}");
    let (_, audit) = hub.get("/v1/audit?subject=subscription/").await;
    let lines = audit["records"].as_array().unwrap();
    let actions: Vec<_> =
        lines.iter().map(|line| [&line["actor"], &line["action"]].map(|text| text.as_str().unwrap())).collect();
    let expected = [
        ["tests", "subscription.remove"],
        ["acme", "subscription.resume"],
        ["acme", "subscription.pause"],
        ["second", "subscription.set"],
    ];
    assert_eq!(actions, expected, "{audit:#}");
    assert!(hub.stop());
}

#[tokio::test]
async fn a_kill_loses_no_delivery_and_what_comes_again_has_the_same_id() {
    let folder = tempfile::tempdir().unwrap();
    let hub_before = hub(folder.path());
    let partner = endpoint().await;
    add(&hub_before, folder.path(), "acme-shipping", &partner.url, &[]);
    partner.answer("*", 503);
    let subjects: Vec<String> = (0..20).map(|number| format!("s{}", number % 7)).collect();
    for (number, subject) in subjects.iter().enumerate() {
        ship(&hub_before, &number.to_string(), subject).await;
        if number == 9 {
            let begun = Instant::now();
            while partner.came.lock().unwrap().is_empty() {
                assert!(begun.elapsed() < PATIENCE, "nothing comes");
                tokio::task::yield_now().await;
            }
            partner.recover();
        }
    }
    partner.until("some", |taken| taken.len() >= 3).await;
    hub_before.kill();

    let hub = hub(folder.path());
    partner
        .until("all", |_| {
            let taken = partner.taken.lock().unwrap();
            let orders: std::collections::BTreeSet<String> =
                taken.iter().map(|arrival| arrival.event()["data"]["order"].to_string()).collect();
            orders.len() == 20
        })
        .await;
    let taken = partner.taken.lock().unwrap().clone();
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for arrival in &taken {
        let order = arrival.event()["data"]["order"].to_string();
        assert_eq!(*ids.entry(order).or_insert_with(|| arrival.id.clone()), arrival.id, "one event, one id");
    }
    assert_eq!(ids.values().collect::<std::collections::BTreeSet<_>>().len(), 20);
    assert!(hub.stop());
}

#[tokio::test]
async fn one_endpoint_that_hangs_slows_nobody_else_and_an_event_that_is_refused_is_given_up_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path());
    let (slow, picky) = (endpoint().await, endpoint().await);
    add(&hub, folder.path(), "slow", &slow.url, &[]);
    add(&hub, folder.path(), "picky", &picky.url, &["--attempts", "3"]);
    slow.open.send_replace(false);
    picky.answer("bad", 422);
    for (id, subject) in [("1", "bad"), ("2", "good"), ("3", "bad"), ("4", "fine")] {
        ship(&hub, id, subject).await;
    }
    picky.until("the good ones", |taken| taken.len() == 2).await;
    let view = view_until(&hub, "picky", |view| view["dead_letters"] == 2).await;
    assert_eq!(view["state"], "active", "{view:#}");
    assert!(slow.taken().is_empty());
    let (_, letters) = hub.get("/v1/subscriptions/picky/dead-letters").await;
    let letter = &letters["dead_letters"][0];
    assert_eq!((&letter["subject"], &letter["attempts"]), (&json!("bad"), &json!(3)), "{letters:#}");
    assert_eq!(letter["cause"], "it answered 422");
    let of_bad = |came: &[Arrival]| came.iter().filter(|arrival| arrival.subject() == "bad").count();
    assert_eq!(of_bad(&picky.came.lock().unwrap()), 6);

    // Still refused: it stays a dead letter. Then taken: it is none any more.
    let replay = ["subscription", "replay", "picky", "--dead-letters", "--per-second", "100", "--reason", "mended"];
    let (code, said) = crossdock(&hub, &replay);
    assert_eq!(code, 0, "{said}");
    let begun = Instant::now();
    while of_bad(&picky.came.lock().unwrap()) < 8 {
        assert!(begun.elapsed() < PATIENCE, "the dead letters are not tried again");
        tokio::task::yield_now().await;
    }
    view_until(&hub, "picky", |view| view["replay"].is_null() && view["dead_letters"] == 2).await;
    picky.recover();
    let (code, said) = crossdock(&hub, &replay);
    assert_eq!(code, 0, "{said}");
    view_until(&hub, "picky", |view| view["replay"].is_null() && view["dead_letters"] == 0).await;
    assert_eq!(picky.taken().iter().filter(|subject| *subject == "bad").count(), 2);
    let first = picky.came.lock().unwrap().iter().find(|arrival| arrival.subject() == "bad").unwrap().id.clone();
    assert!(picky.taken.lock().unwrap().iter().any(|arrival| arrival.id == first), "the same id again");

    // One event, and everything since a time.
    let (code, said) = crossdock(&hub, &["subscription", "replay", "picky", "--event", &first]);
    assert_eq!(code, 0, "{said}");
    picky.until("one again", |taken| taken.len() == 5).await;
    view_until(&hub, "picky", |view| view["replay"].is_null()).await;
    let (code, said) = crossdock(&hub, &["subscription", "replay", "picky", "--since", "2020-01-01T00:00:00Z"]);
    assert_eq!(code, 0, "{said}");
    picky.until("all again", |taken| taken.len() == 9).await;
    let (code, said) =
        crossdock(&hub, &["subscription", "replay", "picky", "--event", &"acc_0".replace('0', &"0".repeat(32))]);
    assert!(code == 1 && said.contains("there is no event"), "{said}");

    slow.open.send_replace(true);
    slow.until("the slow one", |taken| taken.len() >= 4).await;
    assert!(hub.stop());
}

#[tokio::test]
async fn an_endpoint_that_is_gone_ends_its_subscription_until_somebody_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path());
    let partner = endpoint().await;
    add(&hub, folder.path(), "acme-shipping", &partner.url, &[]);
    partner.answer("*", 410);
    ship(&hub, "1", "17").await;
    let view = view_until(&hub, "acme-shipping", |view| view["state"] == "disabled").await;
    assert!(view["cause"].as_str().unwrap().contains("answered 410"), "{view:#}");
    let (_, ready) = hub.get("/health/ready").await;
    assert!(ready.to_string().contains("1 subscriptions do not deliver"), "{ready:#}");
    ship(&hub, "2", "18").await;
    hub.runs_until("18", |runs| runs.len() == 1 && runs[0]["state"] == "completed").await;
    assert_eq!(partner.came.lock().unwrap().len(), 1, "nobody knocks any more");
    partner.recover();
    let (code, said) = crossdock(&hub, &["subscription", "resume", "acme-shipping"]);
    assert_eq!(code, 0, "{said}");
    let mut taken = partner.until("both", |taken| taken.len() == 2).await;
    taken.sort();
    assert_eq!(taken, ["17", "18"]);
    let (_, audit) = hub.get("/v1/audit?action=subscription.disable").await;
    assert_eq!(audit["records"][0]["actor"], "hub", "{audit:#}");
}

#[tokio::test]
async fn what_may_not_be_reached_or_signed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path());
    let secret = format!("file:{}", folder.path().join("secret").display());
    let refused = |url: &str, secret: &str, more: &[&str], part: &str| {
        let arguments =
            ["subscription", "add", "x", "--owner", "acme", "--types", "test.*", "--url", url, "--secret", secret];
        let (code, said) = crossdock(&hub, &[&arguments[..], &["--reason", "x"], more].concat());
        assert!(code == 1 && said.contains(part), "{said}");
    };
    refused("http://acme.example/in", &secret, &[], "must be `https`");
    refused("http://127.0.0.1:1/in", &secret, &[], "must be `https`");
    refused("https://acme.example/in", "file:/nowhere/secret", &[], "cannot be read");
    // The hub would sign what somebody chooses with a key of its own.
    for own in ["access/token", "audit"] {
        let files = hub.data.join(own);
        let file = match std::fs::read_dir(&files) {
            Ok(mut entries) => entries.next().unwrap().unwrap().path(),
            Err(_) => files,
        };
        refused("https://acme.example/in", &format!("file:{}", file.display()), &[], "the hub's own");
    }
    let operator =
        json!({"subscription": {"owner": "acme", "types": ["a"], "url": "https://acme.example", "secrets": ["plain"]}});
    let (status, said) = hub.post("/v1/subscriptions/x", &JSON, operator.to_string()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{said:#}");
    assert!(said["detail"].as_str().unwrap().contains("never by its value"), "{said:#}");
    let (code, said) = crossdock(&hub, &["subscription", "list"]);
    assert!(code == 0 && said.contains("there are no subscriptions"), "{said}");

    // A private address that nobody listed is not reached, whatever its name says.
    let arguments = [
        "subscription",
        "add",
        "inside",
        "--owner",
        "acme",
        "--types",
        "test.shipped.*",
        "--url",
        "https://localhost:1/in",
        "--secret",
        &secret,
        "--reason",
        "x",
    ];
    let (code, said) = crossdock(&hub, &arguments);
    assert_eq!(code, 0, "{said}");
    hub.agree(&said);
    ship(&hub, "1", "17").await;
    let view = view_until(&hub, "inside", |view| view["failing"].is_object()).await;
    assert!(view["failing"]["cause"].as_str().unwrap().contains("loopback address"), "{view:#}");
}

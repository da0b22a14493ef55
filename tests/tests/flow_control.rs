//! Flow control from the outside: a hub's process, remotes that fail, hang and are slow, and more events than it takes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{
    fmt::Write as _,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crossdock::sandbox::{self, Retailer, shop::DeliveryOptions};
use crossdock_tests::{
    hub::{Hub, PATIENCE},
    packages,
    remote::Remote,
};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");

/// A folder with a configuration: for each remote a connection, a pipeline that asks it, and its event type.
struct Setting {
    folder: tempfile::TempDir,
}

impl Setting {
    /// `remotes`: a name, the remote, and the connection's settings as TOML. `more`: the rest of the configuration.
    fn new(remotes: &[(&str, &Remote, &str)], more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut pipelines = Vec::new();
        let mut rest = String::new();
        for (name, remote, settings) in remotes {
            let path = folder.path().join(format!("{name}.yaml"));
            fs::write(
                &path,
                format!(
                    "pipeline: test/{name}\nversion: 1.0.0\nowner: tests\nsummary: Asks one remote.\n\
                     uses: {{ wms: retail/warehouse@1 }}\ntrigger: [{{ event: test.{name}.v1 }}]\nkey: event.subject\n\
                     lane: '${{ event.data.lane }}'\nsteps:\n  - id: ask\n    call: wms#availability\n    with: {{ \
                     lines: [{{ sku: '${{ event.subject }}', quantity: 1 }}] }}\n    retry: {{ on: retryable, \
                     attempts: 50, first: 10ms, factor: 1, max: 10ms }}\n"
                ),
            )
            .unwrap();
            pipelines.push(path);
            write!(
                rest,
                "[connections.{name}]\nplugin = \"crossdock/sandbox-warehouse\"\nbase_url = \"{}\"\n\
                 allow_addresses = [\"127.0.0.1/32\"]\n{settings}\n[bindings.\"test/{name}\"]\nwms = \"{name}\"\n",
                remote.url
            )
            .unwrap();
        }
        let plugins = ["sandbox-warehouse", "shopify-order"].map(packages::package);
        let text = format!("plugins = {plugins:?}\npipelines = {pipelines:?}\n{rest}{more}");
        fs::write(folder.path().join("hub.toml"), text).unwrap();
        Self { folder }
    }

    fn hub(&self) -> Hub {
        Hub::start(BINARY, &self.folder.path().join("data"), Some(&self.folder.path().join("hub.toml")))
    }
}

async fn send(hub: &Hub, remote: &str, id: &str, lane: &str) -> Response<Bytes> {
    let event = json!({
        "specversion": "1.0", "id": id, "source": "/tests", "type": format!("test.{remote}.v1"), "subject": id,
        "data": { "lane": lane },
    });
    let request =
        Request::post(format!("{}/v1/events", hub.url)).header("content-type", "application/cloudevents+json");
    hub.send(request.body(event.to_string().into()).unwrap()).await.unwrap()
}

async fn accepted(hub: &Hub, remote: &str, id: &str, lane: &str) {
    let response = send(hub, remote, id, lane).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED, "{response:?}");
}

/// Asks until the answer is as wanted.
async fn until(hub: &Hub, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let (_, answer) = hub.get(path).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{path} did not become as wanted: {answer:#}");
        tokio::task::yield_now().await;
    }
}

/// Waits until each of these runs is completed.
async fn completed(hub: &Hub, ids: impl IntoIterator<Item = String>) {
    for id in ids {
        hub.runs_until(&id, |runs| runs.len() == 1 && runs[0]["state"] == "completed").await;
    }
}

fn ids(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number}")).collect()
}

#[tokio::test]
async fn a_failing_remote_is_left_alone_and_others_do_not_notice() {
    let (ill, well) = (Remote::start().await, Remote::start().await);
    ill.fail(3, 300);
    let breaker = "limits = { concurrency = 1, breaker = { failures = 3 } }";
    let setting = Setting::new(&[("ill", &ill, breaker), ("well", &well, "")], "");
    let hub = setting.hub();
    for id in ids("ill", 10) {
        accepted(&hub, "ill", &id, "standard").await;
    }
    // Three runs failed and wait for their next attempt; the others wait to leave.
    let shown = until(&hub, "/v1/connections/ill", |shown| shown["waiting"] == 7).await;
    assert_eq!(shown["breaker"]["state"], "open", "{shown:#}");
    assert_eq!(shown["breaker"]["last_failure"]["code"], "warehouse.busy", "{shown:#}");
    assert_eq!(shown["hosts"], json!([ill.url]), "{shown:#}");

    for id in ids("well", 40) {
        accepted(&hub, "well", &id, "standard").await;
    }
    completed(&hub, ids("well", 40)).await;
    assert_eq!(ill.arrivals().len(), 3, "nothing leaves for a remote that is left alone");
    let mut failures = 0;
    for id in ids("ill", 10) {
        let runs = hub.runs_until(&id, |runs| runs.len() == 1).await;
        let (_, run) = hub.get(&format!("/v1/runs/{}", runs[0]["id"].as_str().unwrap())).await;
        assert!(["running", "waiting"].contains(&run["state"].as_str().unwrap()), "{run:#}");
        for step in run["steps"].as_array().unwrap() {
            assert!(step["attempts"].as_u64().unwrap() <= 1, "a wait is no attempt: {run:#}");
            failures += step["failures"].as_array().unwrap().len();
        }
    }
    assert_eq!(failures, 3);

    let (status, ready) = hub.get("/health/ready").await;
    assert_eq!(status, StatusCode::OK, "a remote is no reason to refuse events: {ready:#}");
    assert!(ready["checks"]["remotes"].as_str().unwrap().contains("`ill` fails"), "{ready:#}");
    let metrics = hub.get("/metrics").await.1.as_str().unwrap_or_default().to_owned();
    for line in [
        "crossdock_connection_breaker{connection=\"ill\"} 2",
        "crossdock_connection_breaker{connection=\"well\"} 0",
        "crossdock_connection_waiting{connection=\"ill\"} 7",
        "crossdock_lane_waiting{lane=\"standard\",for=\"connection\"} 7",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let shown = Command::new(BINARY)
        .args(["connection", "show", "ill", "--hub", &hub.url, "--token-file", &hub.token_file])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for part in ["open until", "0 of 1 in flight, 7 waiting", "crossdock/sandbox-warehouse", "warehouse.busy"] {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
    assert!(hub.stop(), "who waits does not keep the hub from stopping");

    // A hub that starts knows nothing bad of the remote.
    let hub = setting.hub();
    let (_, shown) = hub.get("/v1/connections/ill").await;
    assert_eq!(shown["breaker"]["state"], "closed", "{shown:#}");
    // Those that failed wait for as long as the remote asked for; the others left in the meantime.
    completed(&hub, waiting_only(&hub).await).await;
    assert_eq!(ill.arrivals().len(), 10);
}

/// The subjects of the runs of `ill` that wait for no retry.
async fn waiting_only(hub: &Hub) -> Vec<String> {
    let (_, answer) = hub.get("/v1/runs?pipeline=test/ill&limit=100").await;
    let runs = answer["runs"].as_array().unwrap();
    let at_it = runs.iter().filter(|run| run["state"] != "waiting");
    let keys: Vec<_> = at_it.map(|run| run["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(keys.len(), 7, "{answer:#}");
    keys
}

#[tokio::test]
async fn calls_leave_at_the_rate_that_is_set() {
    let remote = Remote::start().await;
    let setting =
        Setting::new(&[("slow", &remote, "limits = { rate = { calls = 10, per_ms = 1000, burst = 3 } }")], "");
    let hub = setting.hub();
    let begun = Instant::now();
    for id in ids("r", 18) {
        accepted(&hub, "slow", &id, "standard").await;
    }
    completed(&hub, ids("r", 18)).await;
    let arrivals = remote.arrivals();
    assert_eq!(arrivals.len(), 18);
    // However the machine stumbles, it can only be later: no call leaves before its token is there.
    for (number, arrival) in (1_u64..).zip(&arrivals) {
        let earliest = Duration::from_millis(number.saturating_sub(3) * 100);
        let after = arrival.at.duration_since(begun) + Duration::from_millis(20);
        assert!(after >= earliest, "call {number} came after {after:?}, and not before {earliest:?}");
    }
    let (_, shown) = hub.get("/v1/connections/slow").await;
    assert_eq!(shown["limits"]["rate"], json!({ "calls": 10, "per_ms": 1000, "burst": 3 }), "{shown:#}");
}

#[tokio::test]
async fn a_hanging_remote_holds_its_own_calls_alone() {
    let (stuck, well) = (Remote::start().await, Remote::start().await);
    stuck.hang();
    let limits = "timeout_ms = 60000\nlimits = { concurrency = 2, breaker = { failures = 1000 } }";
    let setting = Setting::new(&[("stuck", &stuck, limits), ("well", &well, "")], "");
    let hub = setting.hub();
    for id in ids("stuck", 6) {
        accepted(&hub, "stuck", &id, "standard").await;
    }
    until(&hub, "/v1/connections/stuck", |shown| shown["in_flight"] == 2 && shown["waiting"] == 4).await;
    for id in ids("well", 40) {
        accepted(&hub, "well", &id, "standard").await;
    }
    completed(&hub, ids("well", 40)).await;
    let (_, runs) = hub.get("/v1/runs?pipeline=test/stuck&state=completed").await;
    assert_eq!(runs["runs"], json!([]), "it still hangs");
    stuck.go_on();
    completed(&hub, ids("stuck", 6)).await;
}

#[tokio::test]
async fn express_overtakes_bulk() {
    let remote = Remote::start().await;
    remote.hang();
    let limits = "timeout_ms = 60000\nlimits = { concurrency = 1, breaker = { failures = 1000 } }";
    let setting = Setting::new(&[("one", &remote, limits)], "");
    let hub = setting.hub();
    for (lane, count) in [("bulk", 12), ("standard", 2), ("express", 2)] {
        for id in ids(lane, count) {
            accepted(&hub, "one", &id, lane).await;
        }
    }
    let all_wait = |shown: &Value| {
        let waiting = shown["lanes"].as_array().unwrap().iter().map(|lane| lane["waiting_connections"].as_u64());
        waiting.flatten().sum::<u64>() == 15
    };
    let shown = until(&hub, "/v1/lanes", all_wait).await;
    assert_eq!(shown["lanes"][0]["lane"], "express", "{shown:#}");
    let before = remote.arrivals().len();
    remote.go_on();
    let all = [ids("bulk", 12), ids("standard", 2), ids("express", 2)].concat();
    completed(&hub, all).await;
    let order: Vec<String> = remote.arrivals()[before..].iter().map(|arrival| arrival.sku.clone()).collect();
    let last = |lane: &str| order.iter().rposition(|sku| sku.starts_with(lane)).unwrap_or(0);
    assert!(last("express") < last("standard"), "{order:?}");
    // One bulk run may have been overdue.
    let overtaken = order.iter().skip(last("standard") + 1).filter(|sku| sku.starts_with("bulk")).count();
    assert!(overtaken >= 10, "{order:?}");
}

#[tokio::test]
async fn at_peak_the_lowest_lane_is_refused_first_and_nothing_accepted_is_lost() {
    let remote = Remote::start().await;
    remote.hang();
    let retailer = Retailer::start(sandbox::Options::default()).await.unwrap();
    let secrets = tempfile::tempdir().unwrap();
    let secret = secrets.path().join("shop");
    fs::write(&secret, sandbox::Options::default().shop.webhook_secret).unwrap();
    let limits = "timeout_ms = 60000\nlimits = { concurrency = 1, breaker = { failures = 1000 } }";
    let more = format!(
        "[sources.shop]\nplugin = \"crossdock/shopify-order\"\nsource = \"/shop\"\ntypes = \
         [\"retail.order.placed.v1\"]\nsecret = \"file:{}\"\n[hub]\nruns_limit = 10\n",
        secret.display()
    );
    let hub = Setting::new(&[("one", &remote, limits)], &more);
    let (hub, _setting) = (hub.hub(), hub);
    let mut under_way = 0;
    for (lane, room, retry_after) in [("bulk", 5, "5"), ("standard", 8, "2"), ("express", 10, "1")] {
        for id in ids(lane, room - under_way) {
            accepted(&hub, "one", &id, lane).await;
            under_way += 1;
            until(&hub, "/v1/lanes", |shown| shown["under_way"] == under_way).await;
        }
        let refused = send(&hub, "one", &format!("{lane}-refused"), lane).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "{refused:?}");
        assert_eq!(refused.headers()["retry-after"], retry_after);
        let problem: Value = serde_json::from_slice(refused.body()).unwrap();
        assert_eq!((&problem["code"], &problem["lane"]), (&json!("hub.busy"), &json!(lane)), "{problem:#}");
    }
    // A webhook is refused before its plugin has read it.
    let webhook = retailer.shop.ordinary();
    let deliver = |request: Request<Bytes>| hub.send(request);
    let receipt = retailer.shop.deliver(&hub.url, &webhook, &DeliveryOptions::default(), deliver).await.unwrap();
    assert_eq!(receipt.response.status(), StatusCode::TOO_MANY_REQUESTS, "{:?}", receipt.response);
    assert_eq!(receipt.response.headers()["retry-after"], "1");
    let (_, shown) = hub.get("/v1/lanes").await;
    assert!(shown["lanes"].as_array().unwrap().iter().all(|lane| lane["refusing"] == true), "{shown:#}");

    remote.go_on();
    completed(&hub, [ids("bulk", 5), ids("standard", 3), ids("express", 2)].concat()).await;
    let (_, runs) = hub.get("/v1/runs?limit=100").await;
    assert_eq!(runs["runs"].as_array().unwrap().len(), 10, "what was refused has left nothing: {runs:#}");
    until(&hub, "/v1/lanes", |shown| shown["under_way"] == 0).await;
    accepted(&hub, "one", "bulk-refused", "bulk").await;
    completed(&hub, ["bulk-refused".to_owned()]).await;
}

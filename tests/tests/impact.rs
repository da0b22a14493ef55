//! What depends on a plugin, a host or an event type: asked before something is taken away, and told of runs that go on with
//! what they began with as well, whatever serves by now.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{fs, path::Path};

use crossdock_tests::{gatekeeper::Gatekeeper, hub::Hub, packages, said::Said};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const JUDGE: &str = packages::JUDGE;
const WAREHOUSE: &str = "crossdock/sandbox-warehouse";

const PIPELINE: &str = "pipeline: test/stock
version: 1.0.0
owner: stock-team
summary: Has a rule decide, asks a warehouse, and waits.
uses: { wms: retail/warehouse@1 }
trigger: [{ event: test.stock.v1 }]
key: event.subject
steps:
  - id: judge
    rule: test/judge@^1
    with: ${ event.data }
  - id: ask
    call: wms#availability
    with: { lines: [{ sku: a, quantity: 1 }] }
  - id: told
    wait: { event: test.go.v1, match: signal.subject == event.subject, within: 1h, on_expiry: reject }
";

/// The next version has no rule.
fn second() -> String {
    let (before, after) = PIPELINE.split_once("  - id: judge").unwrap();
    let (_, after) = after.split_once("  - id: ask").unwrap();
    format!("{before}  - id: ask{after}").replace("version: 1.0.0", "version: 1.1.0")
}

fn configure(at: &Path, old: &Gatekeeper, new: &Gatekeeper) {
    packages::judge(&at.join("judge-1.0.0"), "1.0.0", "well_behaved", "");
    packages::judge(&at.join("judge-1.1.0"), "1.1.0", "second_version", "");
    fs::write(at.join("stock.yaml"), PIPELINE).unwrap();
    fs::write(at.join("second.yaml"), second()).unwrap();
    fs::write(at.join("secret"), "tok").unwrap();
    let secret = format!("file:{}", at.join("secret").display());
    let plugins = [packages::package("sandbox-warehouse"), at.join("judge-1.0.0")];
    let connection = |name: &str, remote: &Gatekeeper| {
        format!(
            "[connections.{name}]\nplugin = \"{WAREHOUSE}\"\nbase_url = \"{}\"\nallow_addresses = [\"127.0.0.1/32\"]\nauth = \
             {{ scheme = \"bearer\", token = \"{secret}\" }}\n",
            remote.url
        )
    };
    let text = format!(
        "plugins = {plugins:?}\npipelines = [\"stock.yaml\"]\n{}{}[bindings.\"test/stock\"]\nwms = \"old\"\n\
         [apis.\"retail/warehouse@1\"]\nconnection = \"old\"\noperations = [\"availability\"]\n[subscriptions.acme]\nowner = \
         \"acme\"\ntypes = [\"test.*\"]\nurl = \"https://acme.example/hooks\"\nsecrets = [\"{secret}\"]\n",
        connection("old", old),
        connection("new", new)
    );
    fs::write(at.join("hub.toml"), text).unwrap();
}

/// Runs a command as somebody; its exit code and what it said.
fn crossdock(hub: &Hub, token: Option<&str>, arguments: &[&str]) -> (Option<i32>, String) {
    let said = Said::at(hub, BINARY, token, arguments);
    (said.code, said.all())
}

#[track_caller]
fn done(hub: &Hub, arguments: &[&str]) -> String {
    let (code, said) = crossdock(hub, None, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

fn names(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The pipelines of an answer: name and version, steps, whether it holds now, runs.
fn pipelines(impact: &Value) -> Vec<(String, String, bool, u64)> {
    let told = |one: &Value| {
        let named = format!("{}@{} of {}", one["pipeline"], one["version"], one["owner"]).replace('"', "");
        let steps = [names(&one["relations"]), names(&one["steps"])].concat().join(" ");
        (named, steps, one["serves"] == true, one["runs_open"].as_u64().unwrap())
    };
    impact["pipelines"].as_array().unwrap().iter().map(told).collect()
}

fn one(named: &str, steps: &str, serves: bool, runs: u64) -> Vec<(String, String, bool, u64)> {
    vec![(named.to_owned(), steps.to_owned(), serves, runs)]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_depends_on_a_plugin_a_host_and_an_event_type_is_told_with_owners_and_runs() {
    let (old, new) = (Gatekeeper::start("tok").await, Gatekeeper::start("tok").await);
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), &old, &new);
    let hub = Hub::start(BINARY, &folder.path().join("data"), Some(&folder.path().join("hub.toml")));
    let at = |name: &str| folder.path().join(name).display().to_string();
    let event = json!({ "specversion": "1.0", "id": "r1", "source": "/tests", "type": "test.stock.v1", "subject": "r1",
        "data": {} });
    hub.post("/v1/events", &[("content-type", "application/cloudevents+json")], event.to_string()).await;
    let waits = |runs: &[Value]| runs.first().is_some_and(|run| run["step"] == "told" && run["state"] == "waiting");
    let run = hub.runs_until("r1", waits).await[0]["id"].as_str().unwrap().to_owned();
    let host = |remote: &Gatekeeper| remote.url.replace("http://", "");
    let of_host = |host: String| {
        let hub = &hub;
        async move { hub.get(&format!("/v1/hosts/{}/impact", host.replace(':', "%3A").replace('/', "%2F"))).await.1 }
    };
    let first = "test/stock@1.0.0 of stock-team";

    let impact = of_host(host(&old)).await;
    assert_eq!(pipelines(&impact), one(first, "ask", true, 1), "{impact:#}");
    assert_eq!((names(&impact["connections"]), names(&impact["apis"])), (vec!["old"], vec!["retail/warehouse@1"]));
    assert_eq!((names(&impact["runs"]), &impact["runs_holding"]), (vec![run.as_str()], &json!(1)));
    assert_eq!(of_host(old.url.clone()).await, impact, "an origin is asked about as well");
    assert_eq!(names(&of_host("127.0.0.1".to_owned()).await["connections"]), ["new", "old"], "whatever the port");
    let impact = of_host("acme.example".to_owned()).await;
    assert_eq!(impact["subscriptions"], json!([{ "name": "acme", "owner": "acme" }]));
    let impact = of_host("nobody.example".to_owned()).await;
    assert_eq!((pipelines(&impact), impact["runs_holding"].as_u64()), (vec![], Some(0)));
    let (status, wrong) = hub.get("/v1/hosts/a%20b/impact").await;
    assert_eq!((status.as_u16(), &wrong["code"]), (400, &json!("request.invalid")), "{wrong:#}");

    let (_, impact) = hub.get("/v1/schemas/test.stock.v1/impact").await;
    assert_eq!(pipelines(&impact), one(first, "starts", true, 1), "{impact:#}");
    let said = done(&hub, &["schema", "impact", "test.go.v1"]);
    for part in [first.split(' ').next().unwrap(), "stock-team", "waits told", "acme (of acme)", "1 runs"] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    let (code, said) = crossdock(&hub, None, &["schema", "impact", "test.never"]);
    assert!(code == Some(1) && said.contains("nobody knows event type"), "{said}");
    let (_, impact) = hub.get(&format!("/v1/plugins/{WAREHOUSE}/impact")).await;
    assert_eq!((pipelines(&impact), names(&impact["apis"])), (one(first, "ask", true, 1), vec!["retail/warehouse@1"]));

    // The name is bound anew, and new runs start on a version without the rule. The run goes on as it began.
    // Connections are an operator's business, pipelines a retailer's: an admin is both.
    hub.token_as("second", "admin");
    let said = done(&hub, &["pipeline", "bind", "test/stock", "wms=new", "--reason", "we move"]);
    hub.agree(&said);
    let said = done(&hub, &["connection", "impact", &host(&old)]);
    for part in ["connections: old", "test/stock@1.0.0", "ask", "1 runs that have not ended have to do with it"] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    let impact = of_host(host(&old)).await;
    assert_eq!(pipelines(&impact), one(first, "ask", false, 1), "not for runs that start now: {impact:#}");
    done(&hub, &["pipeline", "draft", &at("second.yaml"), "--reason", "no rule"]);
    let rita = hub.token_as("rita", "retailer");
    let (code, said) =
        crossdock(&hub, Some(&rita), &["pipeline", "approve", "test/stock@1.1.0", "--reason", "no rule"]);
    assert_eq!(code, Some(0), "{said}");
    done(&hub, &["pipeline", "promote", "test/stock@1.1.0", "--reason", "no rule"]);
    done(&hub, &["plugin", "publish", &at("judge-1.1.0"), "--reason", "another"]);
    done(&hub, &["plugin", "promote", JUDGE, "1.1.0", "--reason", "another"]);
    let (_, impact) = hub.get(&format!("/v1/plugins/{JUDGE}/impact?version=1.0.0")).await;
    assert_eq!(pipelines(&impact), one(first, "judge", false, 1), "{impact:#}");
    let (code, said) = crossdock(&hub, None, &["plugin", "retire", JUDGE, "1.0.0", "--reason", "nobody calls it"]);
    assert!(code == Some(1) && said.contains("1 runs that have not ended have called it"), "{said}");
    let (code, said) = crossdock(&hub, None, &["plugin", "yank", JUDGE, "1.0.0", "--reason", "nobody calls it"]);
    assert!(code == Some(1) && said.contains("is in use") && said.contains("--yes"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_is_told_what_a_plugin_asks_for_and_not_where_connections_lead() {
    let (old, new) = (Gatekeeper::start("tok").await, Gatekeeper::start("tok").await);
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), &old, &new);
    let hub = Hub::start(BINARY, &folder.path().join("data"), Some(&folder.path().join("hub.toml")));
    let said = done(&hub, &["plugin", "explain", WAREHOUSE]);
    assert!(said.contains(&old.url) && !said.contains("who may see connections"), "{said}");
    let paul = hub.token_as("paul", "partner");
    let (code, said) = crossdock(&hub, Some(&paul), &["plugin", "explain", WAREHOUSE]);
    assert!(
        code == Some(0) && said.contains("limit memory_bytes") && said.contains("who may see connections"),
        "{said}"
    );
    assert!(!said.contains("127.0.0.1") && !said.contains("file:"), "{said}");
    let (code, said) = crossdock(&hub, Some(&paul), &["plugin", "impact", WAREHOUSE]);
    assert!(code == Some(1) && said.contains("access.denied"), "{said}");
}

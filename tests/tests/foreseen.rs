//! What depends on something is seen before it is taken away, or changed so that it breaks its users: the hub itself refuses,
//! over HTTP as on the command line, until whoever asks says that they have seen it. A revocation then acts at once, by one.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{fs, path::Path};

use crossdock_tests::{hub::Hub, packages, said::Said};
use http::Request;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const LINE: &str = packages::JUDGE;
const EVENT: &str = "test.order.v1";
const PIPELINE: &str = "pipeline: test/decide
version: 1.0.0
owner: pricing-team
summary: Has one rule decide.
trigger: [{ event: test.order.v1 }]
key: event.subject
steps:
  - id: judge
    rule: test/judge@>=1
    with: ${ event.data }
";

/// A pipeline that has another decide, and waits.
const PARENT: &str = "pipeline: test/parent
version: 1.0.0
owner: stock-team
summary: Has another pipeline decide, and waits.
trigger: [{ event: test.parent.v1 }]
key: event.subject
steps:
  - id: other
    run: test/decide@^1
    with: { n: 1 }
  - id: told
    wait: { event: test.go.v1, match: signal.subject == event.subject, within: 1h, on_expiry: reject }
";

struct Setting {
    folder: tempfile::TempDir,
}

impl Setting {
    fn new() -> Self {
        let setting = Self { folder: tempfile::tempdir().unwrap() };
        let first = setting.package("1.0.0", "well_behaved", &["n"]);
        fs::write(setting.at("decide.yaml"), PIPELINE).unwrap();
        fs::write(setting.at("hub.toml"), format!("plugins = [{first:?}]\npipelines = [\"decide.yaml\"]\n")).unwrap();
        setting
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn package(&self, version: &str, guest: &str, required: &[&str]) -> String {
        let folder = self.at(&format!("judge-{version}"));
        packages::judge(Path::new(&folder), version, guest, "input_schema = \"input.json\"\n");
        let schema = json!({ "type": "object", "required": required, "properties": { "n": {}, "sku": {} } });
        fs::write(Path::new(&folder).join("input.json"), schema.to_string()).unwrap();
        folder
    }

    fn hub(&self) -> Hub {
        Hub::start(BINARY, &self.folder.path().join("data"), Some(Path::new(&self.at("hub.toml"))))
    }
}

fn crossdock(hub: &Hub, arguments: &[&str]) -> (Option<i32>, String) {
    let said = Said::at(hub, BINARY, None, arguments);
    (said.code, said.all())
}

#[track_caller]
fn done(hub: &Hub, arguments: &[&str]) -> String {
    let (code, said) = crossdock(hub, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

/// Posts as whoever holds a token.
async fn post(hub: &Hub, token: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::post(format!("{}{path}", hub.url))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    let answer = hub.send(request.body(body.to_string().into()).unwrap()).await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap())
}

async fn state(hub: &Hub, version: &str) -> Value {
    let (_, shown) = hub.get(&format!("/v1/plugins/{LINE}")).await;
    let versions = shown["versions"].as_array().unwrap().clone();
    versions.into_iter().find(|one| one["version"] == version).unwrap()["state"].clone()
}

/// An act, refused while nobody has said that they know who depends on it; what the refusal lists.
async fn refused_unseen(hub: &Hub, token: &str, path: &str, body: &Value) -> Value {
    let (status, problem) = post(hub, token, path, body).await;
    assert_eq!((status, &problem["code"]), (409, &json!("change.in-use")), "{body}: {problem:#}");
    assert!(problem["advice"].as_str().unwrap().contains("\"accept_impact\": true"), "{problem:#}");
    problem
}

fn seen(body: &Value) -> Value {
    let mut body = body.clone();
    body["accept_impact"] = true.into();
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_serves_is_taken_away_over_http_only_by_who_has_seen_what_depends_on_it() {
    let setting = Setting::new();
    let hub = setting.hub();
    let olga = hub.token_as("olga", "operator");
    let admin = hub.token_as("ada", "admin");
    let control = format!("/v1/plugins/{LINE}/control");
    done(&hub, &["plugin", "publish", &setting.package("1.1.0", "second_version", &["n"]), "--reason", "unused"]);

    for (who, verb, then) in
        [(&admin, "deprecate", "deprecated"), (&olga, "yank", "yanked"), (&olga, "revoke", "revoked")]
    {
        let body = json!({ "do": verb, "version": "1.0.0", "reason": "it errs" });
        let problem = refused_unseen(&hub, who, &control, &body).await;
        let dependants = &problem["dependants"][0];
        assert_eq!(dependants["of"], "test/judge@1.0.0", "{problem:#}");
        let pipeline = &dependants["impact"]["pipelines"][0];
        assert_eq!((&pipeline["pipeline"], &pipeline["owner"]), (&json!("test/decide"), &json!("pricing-team")));
        assert_ne!(state(&hub, "1.0.0").await, then, "who only asked has changed nothing");
        // What nobody depends on needs no such word.
        let unused = json!({ "do": verb, "version": "1.1.0", "reason": "nobody calls it" });
        let (status, answer) = post(&hub, who, &control, &unused).await;
        assert_eq!((status, &answer["outcome"]), (200, &json!("done")), "{answer:#}");
        // One alone, at once.
        let (status, answer) = post(&hub, who, &control, &seen(&body)).await;
        assert_eq!((status, &answer["outcome"]), (200, &json!("done")), "{answer:#}");
        assert_eq!(state(&hub, "1.0.0").await, then);
    }
    let (status, answer) = hub.event("parked", EVENT, &json!({ "n": 1 })).await;
    assert_eq!(status.as_u16(), 200, "{answer:#}");
    hub.runs_until("parked", |runs| runs.first().is_some_and(|run| run["state"] == "parked")).await;
    // What cannot be done is told before what depends on it.
    let again = json!({ "do": "revoke", "version": "1.0.0", "reason": "again" });
    let (status, problem) = post(&hub, &olga, &control, &again).await;
    assert_eq!((status, &problem["code"]), (409, &json!("registry.conflict")), "{problem:#}");
    let (status, problem) =
        post(&hub, &olga, &control, &json!({ "do": "yank", "version": "9.0.0", "reason": "x" })).await;
    assert_eq!((status, &problem["code"]), (404, &json!("plugin.unknown")), "{problem:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_what_the_hub_lists_and_a_partner_is_told_that_there_is_something() {
    let setting = Setting::new();
    let hub = setting.hub();
    let (code, said) = crossdock(&hub, &["plugin", "deprecate", LINE, "1.0.0", "--reason", "old"]);
    assert_eq!(code, Some(1), "{said}");
    for part in ["test/judge@1.0.0 is in use", "test/decide@1.0.0", "pricing-team", "judge", "--yes", "change.in-use"] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    let (code, said) = crossdock(&hub, &["plugin", "yank", LINE, "1.0.0", "--reason", "old", "--json"]);
    let told: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!((code, &told["code"]), (Some(1), &json!("change.in-use")));
    assert_eq!(told["dependants"][0]["impact"]["pipelines"][0]["pipeline"], "test/decide", "{told:#}");

    // Whose plugin it is says that it ends, without being told who uses it.
    let made = done(&hub, &["token", "create", "tess", "--role", "partner", "--namespace", "test", "--json"]);
    let tess = serde_json::from_str::<Value>(&made).unwrap()["token"].as_str().unwrap().to_owned();
    let (control, body) =
        (format!("/v1/plugins/{LINE}/control"), json!({ "do": "deprecate", "version": "1.0.0", "reason": "old" }));
    let problem = refused_unseen(&hub, &tess, &control, &body).await;
    assert_eq!((&problem["withheld"], problem.get("dependants")), (&json!(true), None), "{problem:#}");
    assert!(!problem.to_string().contains("decide"), "{problem:#}");
    assert_eq!(post(&hub, &tess, &control, &seen(&body)).await.0, 200);
    done(&hub, &["plugin", "yank", LINE, "1.0.0", "--reason", "old", "--yes"]);
    assert_eq!(state(&hub, "1.0.0").await, "yanked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_breaks_who_relies_on_the_one_before_is_promoted_by_who_has_seen_them() {
    let setting = Setting::new();
    let hub = setting.hub();
    let ada = hub.token_as("ada", "admin");
    done(&hub, &["plugin", "publish", &setting.package("2.0.0", "second_version", &["n", "sku"]), "--reason", "more"]);
    let binding = format!("/v1/bindings/{LINE}");
    for verb in ["canary", "promote"] {
        let body = json!({ "do": verb, "version": "2.0.0", "percent": 10, "reason": "it asks for more" });
        let problem = refused_unseen(&hub, &ada, &binding, &body).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("schema.input.narrowed") && detail.contains("relies on 1.0.0"), "{problem:#}");
        assert_eq!(problem["dependants"][0]["of"], "test/judge@1.0.0", "{problem:#}");
        let (status, answer) = post(&hub, &ada, &binding, &seen(&body)).await;
        assert_eq!((status, &answer["outcome"]), (200, &json!("done")), "{answer:#}");
    }
    // Whoever takes it back is not asked.
    let (status, answer) = post(&hub, &ada, &binding, &json!({ "do": "rollback", "reason": "too early" })).await;
    assert_eq!(status, 200, "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_refused_one_day_or_do_not_fit_any_more_are_looked_at_first() {
    let setting = Setting::new();
    let hub = setting.hub();
    let ada = hub.token_as("ada", "admin");
    let (add, control) = (format!("/v1/schemas/{EVENT}"), format!("/v1/schemas/{EVENT}/control"));
    let order = |required: &[&str]| json!({ "type": "object", "required": required });
    let first = json!({ "schema": order(&["n"]), "compatibility": "none", "reason": "first" });
    assert_eq!(post(&hub, &ada, &add, &first).await.0, 201);

    let wider = json!({ "schema": order(&[]), "reason": "anything" });
    assert_eq!(post(&hub, &ada, &add, &wider).await.0, 201, "nobody is let down");
    let narrower = json!({ "schema": order(&["n", "sku"]), "reason": "skus" });
    let problem = refused_unseen(&hub, &ada, &add, &narrower).await;
    let pipeline = &problem["dependants"][0]["impact"]["pipelines"][0];
    assert_eq!((&pipeline["pipeline"], &pipeline["relations"]), (&json!("test/decide"), &json!(["starts"])));
    assert_eq!(hub.get(&format!("{add}/3")).await.0.as_u16(), 404, "who only asked has changed nothing");
    assert_eq!(post(&hub, &ada, &add, &seen(&narrower)).await.0, 201);

    let told = json!({ "do": "deprecate", "reason": "another comes" });
    assert_eq!(post(&hub, &ada, &control, &told).await.0, 200, "nothing is refused by that");
    let over = json!({ "do": "deprecate", "reason": "over", "sunset": "2999-01-01T00:00:00Z" });
    let problem = refused_unseen(&hub, &ada, &control, &over).await;
    assert_eq!(problem["dependants"][0]["of"], EVENT, "{problem:#}");
    let (status, view) = post(&hub, &ada, &control, &seen(&over)).await;
    assert_eq!((status, &view["deprecated"]["sunset"]), (200, &json!("2999-01-01T00:00:00.000Z")), "{view:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_completed_counts_as_long_as_the_one_that_started_it_may_undo_it() {
    let setting = Setting::new();
    fs::write(setting.at("parent.yaml"), PARENT).unwrap();
    let config = fs::read_to_string(setting.at("hub.toml")).unwrap();
    fs::write(setting.at("hub.toml"), config.replace("\"decide.yaml\"", "\"decide.yaml\", \"parent.yaml\"")).unwrap();
    let hub = setting.hub();
    let event = |id: &str, kind: &str| {
        json!({ "specversion": "1.0", "id": id, "source": "/tests", "type": kind, "subject": "p-1", "data": {} })
            .to_string()
    };
    let headers = [("content-type", "application/cloudevents+json")];
    hub.post("/v1/events", &headers, event("p-1", "test.parent.v1")).await;
    let waits = |runs: &[Value]| runs.iter().any(|run| run["pipeline"] == "test/parent" && run["state"] == "waiting");
    hub.runs_until("p-1", waits).await;
    let (_, listed) = hub.get("/v1/runs?pipeline=test%2Fdecide").await;
    let child = &listed["runs"][0];
    assert_eq!(child["state"], "completed", "{listed:#}");

    done(&hub, &["plugin", "publish", &setting.package("1.1.0", "second_version", &["n"]), "--reason", "better"]);
    done(&hub, &["plugin", "promote", LINE, "1.1.0", "--reason", "better"]);
    let of_first = format!("/v1/plugins/{LINE}/impact?version=1.0.0");
    let (_, impact) = hub.get(&of_first).await;
    assert_eq!((&impact["runs_holding"], &impact["runs"]), (&json!(1), &json!([child["id"]])), "{impact:#}");
    let revoke = json!({ "do": "revoke", "version": "1.0.0", "reason": "it errs" });
    refused_unseen(&hub, &hub.token_as("olga", "operator"), &format!("/v1/plugins/{LINE}/control"), &revoke).await;

    hub.post("/v1/events", &headers, event("go-1", "test.go.v1")).await;
    hub.runs_until("p-1", |runs| runs.iter().all(|run| run["state"] == "completed")).await;
    let (_, impact) = hub.get(&of_first).await;
    assert_eq!((&impact["runs_holding"], &impact["runs_open"]), (&json!(0), &json!(0)), "{impact:#}");
}

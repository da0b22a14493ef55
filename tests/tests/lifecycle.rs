//! The life of pipelines from the outside, through the command line and HTTP of a hub's process: one person drafts,
//! another approves, a promotion drops no event, each run finishes on the version that began it, and a restart changes
//! nothing of that.

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
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use crossdock::{
    net::client::{Client, Credentials},
    ports::secrets::Secret,
};
use crossdock_tests::{
    guests,
    hub::{Hub, PATIENCE},
    packages,
};
use serde_json::{Value, json};

#[path = "lifecycle/difference.rs"]
mod difference;
#[path = "lifecycle/tables.rs"]
mod tables;

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const EVENT: &str = "test.order.v1";
const NAME: &str = "test/orders";

/// A pipeline whose runs end with one step for each of the ids.
fn pipeline(version: &str, waits: bool, ids: &[&str]) -> String {
    let mut text = format!(
        "pipeline: {NAME}\nversion: {version}\nowner: shop\nsummary: Orders.\ntrigger: [{{ event: {EVENT} }}]\nkey: \
         event.subject\nsteps:\n"
    );
    if waits {
        text.push_str(
            "  - id: paid\n    wait: { event: test.paid.v1, match: signal.subject == event.subject, within: 1d }\n",
        );
    }
    for id in ids {
        text.push_str(&format!("  - id: {id}\n    rule: test/judge@^1\n    with: ${{ event.data }}\n"));
    }
    text
}

/// A folder with a plugin, a configuration that names it and perhaps pipelines, and data.
struct Setting {
    folder: tempfile::TempDir,
}

impl Setting {
    fn new() -> Self {
        let setting = Self { folder: tempfile::tempdir().unwrap() };
        packages::judge(&setting.path("judge"), "1.0.0", "well_behaved", "");
        setting.declare(None);
        setting
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the configuration says.
    fn declare(&self, pipeline: Option<&str>) {
        let mut text = format!("plugins = [{:?}]\n", self.path("judge"));
        if let Some(pipeline) = pipeline {
            text.push_str(&format!("pipelines = [{:?}]\n", self.write("declared.yaml", pipeline)));
        }
        fs::write(self.path("hub.toml"), text).unwrap();
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    fn hub(&self) -> Hub {
        Hub::start(BINARY, &self.path("data"), Some(&self.path("hub.toml")))
    }
}

struct Said {
    code: Option<i32>,
    out: String,
    all: String,
}

/// Runs the command line as a person, a retailer unless it is the admin of the tests.
fn crossdock(hub: &Hub, actor: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(BINARY);
    command.args(arguments).env("NO_COLOR", "1").env("CROSSDOCK_HUB", &hub.url);
    let token = match actor {
        "tests" => fs::read_to_string(Path::new(&hub.token_file)).unwrap().trim().to_owned(),
        _ => hub.token_as(actor, "retailer"),
    };
    command.env("CROSSDOCK_TOKEN", token);
    let changes = ["draft", "approve", "promote", "rollback", "deprecate", "retire"];
    if changes.contains(&arguments.get(1).copied().unwrap_or_default()) {
        command.args(["--reason", "as the test says"]);
    }
    let output = command.output().expect("runs");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{out}{}", String::from_utf8_lossy(&output.stderr));
    Said { code: output.status.code(), out, all }
}

/// The same, which has to do it.
#[track_caller]
fn done(hub: &Hub, actor: &str, arguments: &[&str]) -> String {
    let said = crossdock(hub, actor, arguments);
    assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.all);
    said.out
}

/// The same, which has to be refused for this reason.
#[track_caller]
fn refused(hub: &Hub, actor: &str, arguments: &[&str], why: &[&str]) {
    let said = crossdock(hub, actor, arguments);
    assert_eq!(said.code, Some(1), "{arguments:?}: {}", said.all);
    for part in why {
        assert!(said.all.contains(part), "no `{part}` in {}", said.all);
    }
}

/// Drafts, approves and promotes a version.
fn bring_in(hub: &Hub, setting: &Setting, version: &str, text: &str) {
    let file = setting.write(&format!("{version}.yaml"), text);
    let named = format!("{NAME}@{version}");
    done(hub, "ann", &["pipeline", "draft", &file]);
    done(hub, "bob", &["pipeline", "approve", &named]);
    done(hub, "ann", &["pipeline", "promote", &named]);
}

async fn sent(hub: &Hub, id: &str, event_type: &str) {
    let event = json!({"specversion": "1.0", "id": format!("{event_type}-{id}"), "source": "/tests", "type": event_type,
        "subject": id, "data": {"n": id}});
    let headers = [("content-type", "application/cloudevents+json")];
    let (status, answer) = hub.post("/v1/events", &headers, event.to_string()).await;
    assert!(status.is_success(), "{status}: {answer:#}");
}

/// The run about a key once it has completed, whole.
async fn completed(hub: &Hub, key: &str) -> Value {
    let runs = hub.runs_until(key, |runs| runs.len() == 1 && runs[0]["state"] == "completed").await;
    hub.get(&format!("/v1/runs/{}", runs[0]["id"].as_str().unwrap())).await.1
}

/// A run's version and the steps that it took.
fn told(run: &Value) -> (String, Vec<String>) {
    let steps = run["steps"].as_array().unwrap().iter().map(|step| step["path"].as_str().unwrap().to_owned());
    (run["pipeline_version"].as_str().unwrap().to_owned(), steps.collect())
}

/// Events that keep coming until they are told to stop; the keys of those that were accepted.
struct Traffic {
    going: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    sender: tokio::task::JoinHandle<Vec<String>>,
}

impl Traffic {
    fn start(hub: &Hub) -> Self {
        let (going, sent) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let token = fs::read_to_string(&hub.token_file).unwrap();
        let credentials = Credentials { token: Some(Secret::new(token.trim())), authorities: None };
        let client = Client::with(&hub.url, &credentials).unwrap();
        let (on, count) = (Arc::clone(&going), Arc::clone(&sent));
        let sender = tokio::spawn(async move {
            let mut keys = Vec::new();
            while on.load(Ordering::SeqCst) {
                let key = format!("t{}", keys.len());
                let event = json!({"specversion": "1.0", "id": key, "source": "/tests", "type": EVENT, "subject": key,
                    "data": {}});
                let answer =
                    client.post::<Value>("/v1/events", "application/cloudevents+json", event.to_string()).await;
                answer.unwrap_or_else(|error| panic!("{key}: {error}"));
                keys.push(key);
                count.fetch_add(1, Ordering::SeqCst);
            }
            keys
        });
        Self { going, sent, sender }
    }

    /// Waits until so many more are accepted.
    async fn more(&self, count: usize) {
        let (from, begun) = (self.sent.load(Ordering::SeqCst), Instant::now());
        while self.sent.load(Ordering::SeqCst) < from + count {
            assert!(begun.elapsed() < PATIENCE, "no events are accepted");
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) -> Vec<String> {
        self.going.store(false, Ordering::SeqCst);
        self.sender.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_is_drafted_by_one_and_approved_by_another_and_serves_when_it_is_promoted() {
    let setting = Setting::new();
    let hub = setting.hub();

    // A mistake is told with its place, and nothing is kept of it.
    let wrong = setting.write("wrong.yaml", &pipeline("1.0.0", false, &["first"]).replace("judge@^1", "jugde@^1"));
    let line = ["wrong.yaml:9:", "test/jugde", "1 to mend"];
    refused(&hub, "ann", &["pipeline", "draft", &wrong], &line);
    let (status, problem) = hub
        .post(
            &format!("/v1/pipelines/{NAME}?reason=x"),
            &[("content-type", "application/yaml")],
            fs::read(&wrong).unwrap(),
        )
        .await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (422, Some("pipeline.refused")), "{problem:#}");
    assert_eq!(problem["mistakes"][0]["line"], 9, "{problem:#}");
    refused(&hub, "ann", &["pipeline", "show", NAME], &["pipeline.unknown"]);

    // Who drafts it does not approve it, and a draft serves nobody.
    let first = setting.write("first.yaml", &pipeline("1.0.0", true, &["first"]));
    let said = done(&hub, "ann", &["pipeline", "draft", &first]);
    assert!(said.contains("drafted test/orders@1.0.0") && said.contains("somebody else than ann"), "{said}");
    assert!(done(&hub, "bob", &["pipeline", "draft", &first]).contains("unchanged"), "the same again");
    let other = setting.write("other.yaml", &pipeline("1.0.0", true, &["other"]));
    refused(&hub, "bob", &["pipeline", "draft", &other], &["pipeline.version-taken", "raise `version`"]);
    let named = "test/orders@1.0.0";
    refused(&hub, "ann", &["pipeline", "approve", named], &["change.same-person", "`ann` drafted it"]);
    refused(&hub, "bob", &["pipeline", "promote", named], &["registry.conflict", "is a draft"]);
    let (status, answer) = hub.event("early", EVENT, &json!({})).await;
    assert_eq!((status.as_u16(), answer["code"].as_str()), (422, Some("event.unknown-type")), "{answer:#}");

    // An operator keeps the hub going, and writes no pipelines.
    let body = json!({"do": "approve", "version": "1.0.0", "reason": "x"}).to_string();
    let json_body = [("content-type", "application/json")];
    let (status, answer) = hub.post_as("oscar", &format!("/v1/pipelines/{NAME}/control"), &json_body, body).await;
    assert_eq!((status.as_u16(), answer["code"].as_str()), (403, Some("access.denied")), "{answer:#}");

    done(&hub, "bob", &["pipeline", "approve", named]);
    refused(&hub, "bob", &["pipeline", "approve", named], &["registry.conflict", "approved before"]);
    assert!(done(&hub, "ann", &["pipeline", "promote", named]).contains("start on 1.0.0"));

    // One run begins on it and waits; meanwhile another version comes, under events that keep coming.
    sent(&hub, "long", EVENT).await;
    hub.runs_until("long", |runs| runs.len() == 1 && runs[0]["state"] == "waiting").await;
    let second = setting.write("second.yaml", &pipeline("1.1.0", false, &["first", "second"]));
    done(&hub, "ann", &["pipeline", "draft", &second]);
    done(&hub, "bob", &["pipeline", "approve", "test/orders@1.1.0"]);
    let differs = done(&hub, "ann", &["pipeline", "diff", named, "test/orders@1.1.0"]);
    for part in ["version: 1.0.0 → 1.1.0", "added rule second", "removed wait paid"] {
        assert!(differs.contains(part), "no `{part}` in {differs}");
    }
    assert!(!differs.contains("rule first"), "{differs}");
    let said = done(&hub, "ann", &["pipeline", "promote", "test/orders@1.1.0"]);
    assert!(said.contains("1 runs under way finish on 1.0.0"), "{said}");

    let third = setting.write("third.yaml", &pipeline("1.2.0", false, &["first", "second", "third"]));
    done(&hub, "ann", &["pipeline", "draft", &third]);
    done(&hub, "bob", &["pipeline", "approve", "test/orders@1.2.0"]);
    let traffic = Traffic::start(&hub);
    traffic.more(10).await;
    done(&hub, "ann", &["pipeline", "promote", "test/orders@1.2.0"]);
    traffic.more(10).await;
    assert!(done(&hub, "bob", &["pipeline", "rollback", NAME]).contains("start on 1.1.0"));
    traffic.more(10).await;
    let keys = traffic.stop().await;
    let mut versions = Vec::new();
    for key in &keys {
        let (version, steps) = told(&completed(&hub, key).await);
        let expected: &[&str] = if version == "1.1.0" { &["first", "second"] } else { &["first", "second", "third"] };
        assert_eq!(steps, expected, "{key} on {version}");
        versions.push(version);
    }
    versions.dedup();
    assert_eq!(versions, ["1.1.0", "1.2.0", "1.1.0"], "one after the other, for each of {} events", keys.len());

    // A crash, and the run that waited finishes on the version that began it.
    hub.kill();
    let hub = setting.hub();
    sent(&hub, "long", "test.paid.v1").await;
    assert_eq!(told(&completed(&hub, "long").await), ("1.0.0".to_owned(), vec!["paid".to_owned(), "first".to_owned()]));
    sent(&hub, "after", EVENT).await;
    assert_eq!(told(&completed(&hub, "after").await).0, "1.1.0", "a restart changes nothing");

    // Who did what is in the log, and an order's explanation names it.
    let (_, log) = hub.get("/v1/audit?limit=100").await;
    let about: Vec<String> = log["records"]
        .as_array()
        .unwrap_or_else(|| panic!("{log:#}"))
        .iter()
        .filter(|line| line["action"].as_str().unwrap().starts_with("pipeline."))
        .map(|line| format!("{} {}", line["actor"].as_str().unwrap(), line["action"].as_str().unwrap()))
        .collect();
    for expected in ["ann pipeline.draft", "bob pipeline.approve", "ann pipeline.promote", "bob pipeline.rollback"] {
        assert!(about.iter().any(|line| line == expected), "no `{expected}` in {about:?}");
    }
    let explained = done(&hub, "tests", &["audit", "explain", "--key", "after"]);
    for part in ["accepted by ann", "approved by bob", "activated by bob"] {
        assert!(explained.contains(part), "no `{part}` in {explained}");
    }

    // What serves is not put away; what does not is.
    refused(&hub, "ann", &["pipeline", "retire", "test/orders@1.1.0"], &["registry.conflict", "serves"]);
    done(&hub, "ann", &["pipeline", "deprecate", named, "--replaced-by", "1.1.0"]);
    done(&hub, "ann", &["pipeline", "retire", "test/orders@1.2.0"]);
    refused(&hub, "ann", &["pipeline", "promote", "test/orders@1.2.0"], &["registry.conflict", "is retired"]);
    let listed = done(&hub, "ann", &["pipeline", "versions", NAME]);
    for part in ["deprecated", "use 1.1.0", "retired", "published", "active", "superseded"] {
        assert!(listed.contains(part), "no `{part}` in {listed}");
    }
    assert!(hub.stop());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_promoted_is_not_undone_by_the_file_at_the_next_start() {
    let setting = Setting::new();
    setting.declare(Some(&pipeline("1.0.0", false, &["first"])));
    let hub = setting.hub();
    sent(&hub, "a", EVENT).await;
    assert_eq!(told(&completed(&hub, "a").await).0, "1.0.0");
    assert!(done(&hub, "ann", &["pipeline", "show", NAME]).contains("start on 1.0.0, as the configuration says"));
    assert!(hub.stop());

    // Until somebody promotes a version, the file decides.
    setting.declare(Some(&pipeline("1.1.0", false, &["first", "second"])));
    let hub = setting.hub();
    sent(&hub, "b", EVENT).await;
    assert_eq!(told(&completed(&hub, "b").await).0, "1.1.0");
    bring_in(&hub, &setting, "2.0.0", &pipeline("2.0.0", false, &["other"]));
    sent(&hub, "c", EVENT).await;
    assert_eq!(told(&completed(&hub, "c").await).0, "2.0.0");
    assert!(hub.stop());

    // From then on it only brings versions in.
    let hub = setting.hub();
    sent(&hub, "d", EVENT).await;
    assert_eq!(told(&completed(&hub, "d").await).0, "2.0.0");
    assert!(hub.stop());
    setting.declare(Some(&pipeline("2.1.0", false, &["other", "second"])));
    let hub = setting.hub();
    sent(&hub, "e", EVENT).await;
    assert_eq!(told(&completed(&hub, "e").await).0, "2.0.0");
    done(&hub, "ann", &["pipeline", "promote", "test/orders@2.1.0"]);
    sent(&hub, "f", EVENT).await;
    assert_eq!(told(&completed(&hub, "f").await).0, "2.1.0");
    done(&hub, "ann", &["pipeline", "rollback", NAME]);
    done(&hub, "ann", &["pipeline", "rollback", NAME]);
    sent(&hub, "g", EVENT).await;
    assert_eq!(told(&completed(&hub, "g").await).0, "1.1.0", "back to what the file declared");
    refused(&hub, "ann", &["pipeline", "rollback", NAME], &["registry.conflict", "no earlier version"]);
    assert!(hub.stop());
}

/// The run about a key once something is true of it, whole.
async fn run_that(hub: &Hub, key: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    let runs = hub.runs_until(key, |runs| runs.len() == 1).await;
    let path = format!("/v1/runs/{}", runs[0]["id"].as_str().unwrap());
    loop {
        let (_, run) = hub.get(&path).await;
        if wanted(&run) {
            return run;
        }
        assert!(begun.elapsed() < PATIENCE, "the run about `{key}` did not become as wanted: {run:#}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_keeps_the_version_of_a_table_that_it_began_with() {
    const TABLE: &str = "test/flags";
    let setting = Setting::new();
    let package = setting.path("shout");
    fs::create_dir_all(&package).unwrap();
    let manifest = "id = \"test/shout\"\nversion = \"1.0.0\"\nkind = \"transform\"\ncontract = \"1.0.0\"\nlicense = \
                    \"MIT\"\nsummary = \"Shouts, and fails over nothing\"\n";
    fs::write(package.join("plugin.toml"), manifest).unwrap();
    fs::write(package.join("component.wasm"), guests::hostile("uncertain_transform")).unwrap();
    fs::write(setting.path("hub.toml"), format!("plugins = [{package:?}]\n")).unwrap();
    let hub = setting.hub();

    // A table that nobody knows is a mistake in the pipeline, with its place.
    let text = format!(
        "pipeline: {NAME}\nversion: 1.0.0\nowner: shop\nsummary: Orders.\ntrigger: [{{ event: {EVENT} }}]\nkey: \
         event.subject\nsteps:\n  - id: flag\n    transform: test/shout@^1\n    tables: {{ flags: {TABLE}@^1 }}\n    \
         retry: {{ on: [retryable, uncertain], attempts: 100, first: 1s, max: 1s }}\n    with: ${{ \
         tables.flags['A'].value }}\n"
    );
    let file = setting.write("orders.yaml", &text);
    refused(&hub, "ann", &["pipeline", "draft", &file], &["orders.yaml:10:", "language.unknown-table", TABLE]);

    // Rows without keys of their own are no table; who drafts does not approve; a draft serves nobody.
    let twice = setting.write("twice.csv", "sku,price\nA,1.00\nA,2.00\n");
    refused(&hub, "ann", &["table", "draft", TABLE, &twice, "--key", "sku"], &["row 2", "table.refused"]);
    let first = setting.write("first.json", r#"{"key": "sku", "rows": [{"sku": "A", "value": {}}]}"#);
    assert!(done(&hub, "ann", &["table", "draft", TABLE, &first]).contains("drafted test/flags@1.0.0"));
    refused(&hub, "ann", &["table", "approve", "test/flags@1.0.0"], &["change.same-person"]);
    refused(&hub, "bob", &["table", "promote", "test/flags@1.0.0"], &["registry.conflict", "is a draft"]);
    done(&hub, "bob", &["table", "approve", "test/flags@1.0.0"]);
    done(&hub, "ann", &["table", "promote", "test/flags@1.0.0"]);
    bring_in(&hub, &setting, "1.0.0", &text);
    assert!(done(&hub, "ann", &["table", "impact", TABLE]).contains("flag"));

    // The first rows have the step fail, and the run is parked. Meanwhile others are promoted, and the hub is killed.
    sent(&hub, "old", EVENT).await;
    run_that(&hub, "old", |run| run["state"] == "parked").await;
    let second = setting.write("second.json", r#"[{"sku": "A", "value": {"say": "go"}}]"#);
    assert!(done(&hub, "ann", &["table", "draft", TABLE, &second]).contains("drafted test/flags@1.0.1"));
    done(&hub, "bob", &["table", "approve", "test/flags@1.0.1"]);
    let differs = done(&hub, "bob", &["table", "diff", "test/flags@1.0.0", "test/flags@1.0.1"]);
    assert!(differs.contains("changed A") && differs.contains("0 rows added, 0 removed, 1 changed"), "{differs}");
    done(&hub, "ann", &["table", "promote", "test/flags@1.0.1"]);
    hub.kill();
    let hub = setting.hub();

    // A step that begins is given the new rows; the one that had begun is tried again with its own.
    sent(&hub, "new", EVENT).await;
    let run = completed(&hub, "new").await;
    assert_eq!(run["steps"][0]["output"]["SAY"], "GO", "{run:#}");
    assert_eq!(run["steps"][0]["tables"][0]["version"], "1.0.1", "{run:#}");
    let run = run_that(&hub, "old", |_| true).await;
    let id = run["id"].as_str().unwrap();
    let headers = [("content-type", "application/json")];
    let again = json!({"do": "resume", "reason": "as the test says"}).to_string();
    let (status, answer) = hub.post(&format!("/v1/runs/{id}/control"), &headers, again).await;
    assert!(status.is_success(), "{status}: {answer:#}");
    let failed = |run: &Value| run["steps"][0]["failures"].as_array().map_or(0, Vec::len);
    let run = run_that(&hub, "old", |run| failed(run) == 2).await;
    assert_eq!(run["steps"][0]["tables"][0]["version"], "1.0.0", "{run:#}");
    assert_ne!(run["state"], "completed", "the rows that it began with have it fail: {run:#}");
    assert!(done(&hub, "ann", &["run", "show", id]).contains("test/flags@1.0.0"));
    let explained = done(&hub, "tests", &["audit", "explain", "--key", "old"]);
    for part in ["table test/flags@1.0.0", "drafted by ann", "approved by bob", "serving by ann"] {
        assert!(explained.contains(part), "no `{part}` in {explained}");
    }

    // Another shape is another major version, which the pipeline does not take.
    let wide = setting.write("wide.csv", "sku,market,value\nA,EU,x\n");
    let keys = ["--key", "sku", "--key", "market"];
    let said = done(&hub, "ann", &[&["table", "draft", TABLE, &wide], keys.as_slice()].concat());
    assert!(said.contains("test/flags@2.0.0"), "{said}");
    done(&hub, "bob", &["table", "approve", "test/flags@2.0.0"]);
    refused(&hub, "ann", &["table", "promote", "test/flags@2.0.0"], &["registry.conflict", "step `flag`"]);
    assert!(done(&hub, "ann", &["table", "rollback", TABLE]).contains("test/flags@1.0.0"));
    assert!(done(&hub, "ann", &["table", "show", "test/flags@2.0.0"]).contains("market"));
    assert!(hub.stop());
}

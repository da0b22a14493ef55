//! The registry from the outside: versions of a rule come, are tried, serve and go while events flow, through the command
//! line and HTTP of a hub's process. No event fails, and each run says what decided it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking, and prints what it measured"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
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
    hub::{Hub, PATIENCE},
    packages,
    remote::Remote,
};
use http::StatusCode;
use serde_json::{Value, json};

#[path = "registry/connectors.rs"]
mod connectors;

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const EVENT: &str = "test.order.v1";
const LINE: &str = "test/judge";
const PIPELINE: &str = "pipeline: test/decide
version: 1.0.0
owner: pricing-team
summary: Has one rule decide twice.
trigger: [{ event: test.order.v1 }]
key: event.subject
steps:
  - id: first
    rule: test/judge@^1
    with: ${ event.data }
  - id: second
    rule: test/judge@^1
    with: ${ event.data }
";

/// A folder with packages, a configuration that names the first, and data.
struct Setting {
    folder: tempfile::TempDir,
}

impl Setting {
    fn new() -> Self {
        let setting = Self { folder: tempfile::tempdir().unwrap() };
        let package = setting.package("1.0.0", "well_behaved", "");
        let pipeline = setting.folder.path().join("decide.yaml");
        fs::write(&pipeline, PIPELINE).unwrap();
        let text = format!("plugins = [{package:?}]\npipelines = [{pipeline:?}]\n");
        fs::write(setting.folder.path().join("hub.toml"), text).unwrap();
        setting
    }

    /// A version of the rule.
    fn package(&self, version: &str, guest: &str, more: &str) -> PathBuf {
        let folder = self.folder.path().join(format!("judge-{version}"));
        fs::create_dir_all(folder.join("golden")).unwrap();
        packages::judge(&folder, version, guest, more);
        folder
    }

    fn golden(&self, version: &str, expected: &Value) {
        let path = self.folder.path().join(format!("judge-{version}/golden/one.json"));
        fs::write(path, json!({ "input": { "n": 1 }, "expected": expected }).to_string()).unwrap();
    }

    fn hub(&self) -> Hub {
        Hub::start(BINARY, &self.folder.path().join("data"), Some(&self.folder.path().join("hub.toml")))
    }
}

struct Said {
    code: Option<i32>,
    out: String,
    all: String,
}

/// Runs the command line as a person.
fn crossdock(hub: &Hub, actor: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(BINARY);
    command.args(arguments).env("NO_COLOR", "1").env("CROSSDOCK_HUB", &hub.url);
    command.env("CROSSDOCK_TOKEN", hub.token_as(actor, "admin"));
    if !["show", "explain", "impact", "changes", "list", "check"]
        .contains(&arguments.get(1).copied().unwrap_or_default())
    {
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

/// The same, which has to be refused.
#[track_caller]
fn refused(hub: &Hub, actor: &str, arguments: &[&str]) -> String {
    let said = crossdock(hub, actor, arguments);
    assert_eq!(said.code, Some(1), "{arguments:?}: {}", said.all);
    said.all
}

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

/// The binding of the line for all pipelines.
async fn binding(hub: &Hub, wanted: impl Fn(&Value) -> bool) -> Value {
    let shown = until(hub, &format!("/v1/plugins/{LINE}"), |shown| wanted(&shown["bindings"][0])).await;
    shown["bindings"][0].clone()
}

/// Sends one event, and returns its run.
async fn run_of(hub: &Hub, id: &str) -> Value {
    let (status, answer) = hub.event(id, EVENT, &json!({ "n": id })).await;
    assert!(status.is_success(), "{status}: {answer:#}");
    let runs = hub.runs_until(id, |runs| runs.len() == 1 && runs[0]["state"] != "running").await;
    let (_, run) = hub.get(&format!("/v1/runs/{}", runs[0]["id"].as_str().unwrap())).await;
    run
}

/// The versions that decided the steps of a run, after a look whether each answer is that version's.
#[track_caller]
fn versions(run: &Value, digests: &BTreeMap<String, String>) -> Vec<String> {
    let steps = run["steps"].as_array().unwrap();
    steps
        .iter()
        .map(|step| {
            let version = step["plugin"]["version"].as_str().unwrap_or_default().to_owned();
            assert_eq!(step["plugin"]["digest"].as_str(), digests.get(&version).map(String::as_str), "{run:#}");
            let second = step["output"].get("second").is_some();
            assert_eq!(second, version == "1.1.0", "the answer is not that of the version that is named: {run:#}");
            version
        })
        .collect()
}

/// Events that keep coming.
struct Traffic {
    going: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    senders: Vec<std::thread::JoinHandle<Vec<String>>>,
}

impl Traffic {
    fn start(hub: &Hub) -> Self {
        let (going, sent) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let spawn = |sender: usize| {
            let (going, sent, url) = (Arc::clone(&going), Arc::clone(&sent), hub.url.clone());
            let token = std::fs::read_to_string(&hub.token_file).unwrap();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async move {
                    let token = Some(Secret::new(token.trim()));
                    let client = Client::with(&url, &Credentials { token, authorities: None }).unwrap();
                    let mut ids = Vec::new();
                    while going.load(Ordering::Relaxed) {
                        let id = format!("flow-{sender}-{}", ids.len());
                        let event = json!({
                            "specversion": "1.0", "id": id, "source": "/tests", "type": EVENT, "subject": id,
                            "data": { "n": id },
                        });
                        let body = event.to_string();
                        let path = "/v1/events?wait=30s";
                        let answer: Value = client.post(path, "application/cloudevents+json", body).await.unwrap();
                        assert!(answer.is_object(), "{answer:#}");
                        ids.push(id);
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                    ids
                })
            })
        };
        let senders = (0..3).map(spawn).collect();
        Self { going, sent, senders }
    }

    /// Waits until so many more events were accepted and worked off.
    async fn more(&self, count: usize) {
        let (begun, from) = (Instant::now(), self.sent.load(Ordering::Relaxed));
        while self.sent.load(Ordering::Relaxed) < from + count {
            assert!(begun.elapsed() < PATIENCE, "events do not flow");
            tokio::task::yield_now().await;
        }
    }

    fn stop(self) -> Vec<String> {
        self.going.store(false, Ordering::Relaxed);
        self.senders.into_iter().flat_map(|sender| sender.join().expect("a sender without a failed event")).collect()
    }
}

async fn digests(hub: &Hub) -> BTreeMap<String, String> {
    let (_, shown) = hub.get(&format!("/v1/plugins/{LINE}")).await;
    let versions = shown["versions"].as_array().unwrap().iter();
    let pair = |version: &Value| {
        (version["version"].as_str().unwrap().to_owned(), version["digest"].as_str().unwrap().to_owned())
    };
    versions.map(pair).collect()
}

fn took(out: &str) -> &str {
    out.lines().find(|line| line.contains("swap")).unwrap_or_default().trim()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_take_turns_while_events_flow_and_no_event_fails() {
    let setting = Setting::new();
    let second = setting.package("1.1.0", "second_version", "");
    let trapping = setting.package("1.2.0", "trap", "");
    let hub = setting.hub();
    let traffic = Traffic::start(&hub);
    traffic.more(30).await;

    done(&hub, "ada", &["plugin", "publish", second.to_str().unwrap()]);
    done(&hub, "ada", &["plugin", "publish", trapping.to_str().unwrap()]);
    let digests = digests(&hub).await;
    assert_eq!(digests.len(), 3);
    let bound = binding(&hub, |_| true).await;
    assert_eq!((&bound["active"], &bound["bound"]), (&json!("1.0.0"), &json!(true)), "publishing promotes nothing");
    assert_eq!(versions(&run_of(&hub, "published").await, &digests), ["1.0.0", "1.0.0"]);

    // Beside the active version, without effect.
    done(&hub, "ada", &["plugin", "shadow", LINE, "1.1.0"]);
    let seen = binding(&hub, |line| line["candidate"]["counts"]["compared"].as_u64() > Some(10)).await;
    let counts = &seen["candidate"]["counts"];
    assert!(counts["diverged"].as_u64() > Some(10) && counts["served"] == 0, "{seen:#}");
    assert!(counts["samples"][0]["other"].as_str().unwrap().contains("second"), "{seen:#}");
    assert_eq!(versions(&run_of(&hub, "shadowed").await, &digests), ["1.0.0", "1.0.0"]);

    // For some keys, always the same ones.
    done(&hub, "ada", &["plugin", "canary", LINE, "1.1.0", "--percent", "40"]);
    let mut served = BTreeSet::new();
    for key in 0..20 {
        let run = run_of(&hub, &format!("sticky-{key}")).await;
        let decided = versions(&run, &digests);
        assert_eq!(decided[0], decided[1], "one key, one version: {run:#}");
        assert_eq!(run["steps"][0]["plugin"]["canary"] == true, decided[0] == "1.1.0", "{run:#}");
        served.insert(decided[0].clone());
    }
    assert_eq!(served, ["1.0.0", "1.1.0"].map(str::to_owned).into(), "both serve");
    binding(&hub, |line| line["candidate"]["counts"]["served"].as_u64() > Some(10)).await;

    let out = done(&hub, "ada", &["plugin", "promote", LINE, "1.1.0"]);
    println!("promote: {}", took(&out));
    assert_eq!(versions(&run_of(&hub, "promoted").await, &digests), ["1.1.0", "1.1.0"]);
    traffic.more(30).await;
    let out = done(&hub, "ada", &["plugin", "rollback", LINE]);
    println!("rollback: {}", took(&out));
    assert_eq!(versions(&run_of(&hub, "rolled-back").await, &digests), ["1.0.0", "1.0.0"]);
    traffic.more(30).await;

    // A canary that traps is taken back by itself, and costs no run anything.
    done(&hub, "ada", &["plugin", "canary", LINE, "1.2.0", "--percent", "50", "--traps-max", "2"]);
    binding(&hub, |line| line.get("candidate").is_none()).await;
    let (_, audit) = hub.get(&format!("/v1/audit?subject=line/{LINE}&limit=1")).await;
    let record = &audit["records"][0];
    assert_eq!((&record["action"], &record["actor"]), (&json!("line.canary-stop"), &json!("hub")), "{record:#}");
    assert!(record["reason"].as_str().unwrap().contains("trapped"), "{record:#}");
    traffic.more(30).await;

    // What serves no more is revoked in the middle of it all.
    done(&hub, "sam", &["plugin", "promote", LINE, "1.1.0"]);
    traffic.more(20).await;
    done(&hub, "sam", &["plugin", "rollback", LINE]);
    done(&hub, "sam", &["plugin", "revoke", LINE, "1.1.0", "--yes"]);
    traffic.more(60).await;
    let ids = traffic.stop();
    assert!(ids.len() >= 200, "{} events", ids.len());

    let mut decided: BTreeMap<String, usize> = BTreeMap::new();
    for id in &ids {
        let runs = hub.runs_until(id, |runs| runs.len() == 1 && runs[0]["state"] == "completed").await;
        let (_, run) = hub.get(&format!("/v1/runs/{}", runs[0]["id"].as_str().unwrap())).await;
        for version in versions(&run, &digests) {
            *decided.entry(version).or_default() += 1;
        }
    }
    println!("{} events, steps decided by version: {decided:?}", ids.len());
    assert_eq!(decided.keys().collect::<Vec<_>>(), ["1.0.0", "1.1.0"], "what traps decides nothing");

    hub.kill();
    let hub = setting.hub();
    let (_, shown) = hub.get(&format!("/v1/plugins/{LINE}")).await;
    assert_eq!(shown["bindings"][0]["active"], "1.0.0", "{shown:#}");
    let states: Vec<_> = shown["versions"].as_array().unwrap().iter().map(|version| &version["state"]).collect();
    assert_eq!(states, ["published", "revoked", "published"], "{shown:#}");
    assert_eq!(versions(&run_of(&hub, "restarted").await, &digests), ["1.0.0", "1.0.0"]);
    let (_, audit) = hub.get("/v1/audit?limit=1000").await;
    let unrecorded = audit["records"].as_array().unwrap().iter();
    let unrecorded = unrecorded.filter(|record| record["action"].as_str().unwrap().ends_with("unrecorded"));
    assert_eq!(unrecorded.count(), 0, "every change was recorded before it was made");
}

#[tokio::test]
async fn a_revocation_parks_and_two_people_take_it_back() {
    let setting = Setting::new();
    let second = setting.package("1.1.0", "second_version", "");
    let hub = setting.hub();
    run_of(&hub, "before").await;
    done(&hub, "ada", &["plugin", "publish", second.to_str().unwrap()]);

    // Somebody depends on it.
    let said = refused(&hub, "sam", &["plugin", "revoke", LINE, "1.0.0"]);
    for part in ["test/decide@1.0.0", "pricing-team", "first, second", "--yes"] {
        assert!(said.contains(part), "`{part}` is not in\n{said}");
    }
    done(&hub, "sam", &["plugin", "revoke", LINE, "1.0.0", "--yes"]);
    let parked = run_of(&hub, "parked").await;
    assert_eq!(parked["state"], "parked", "{parked:#}");
    let cause = parked["cause"].as_str().unwrap();
    assert!(cause.starts_with("`plugin.revoked`") && cause.contains("crossdock plugin promote"), "{cause}");

    // Not alone.
    let said = done(&hub, "sam", &["plugin", "restore", LINE, "1.0.0"]);
    assert!(said.contains("a revocation is taken back"), "{said}");
    let (_, changes) = hub.get("/v1/changes").await;
    let id = changes["changes"][0]["id"].as_str().unwrap();
    let said = refused(&hub, "sam", &["plugin", "approve", id]);
    assert!(said.contains("change.same-person"), "{said}");
    assert_eq!(run_of(&hub, "still").await["state"], "parked");
    let said = done(&hub, "eve", &["plugin", "approve", id]);
    assert!(said.contains("1.0.0 is published"), "{said}");
    let said = refused(&hub, "eve", &["plugin", "approve", id]);
    assert!(said.contains("before"), "{said}");
    for key in ["parked", "still"] {
        let runs = hub.runs_until(key, |runs| runs.len() == 1).await;
        done(&hub, "sam", &["run", "resume", runs[0]["id"].as_str().unwrap()]);
        hub.runs_until(key, |runs| runs[0]["state"] == "completed").await;
    }

    // A run that was parked goes on with whatever serves by then.
    done(&hub, "sam", &["plugin", "revoke", LINE, "1.0.0", "--yes"]);
    assert_eq!(run_of(&hub, "moved").await["state"], "parked");
    done(&hub, "sam", &["plugin", "promote", LINE, "1.1.0"]);
    let runs = hub.runs_until("moved", |runs| runs.len() == 1).await;
    done(&hub, "sam", &["run", "resume", runs[0]["id"].as_str().unwrap()]);
    hub.runs_until("moved", |runs| runs[0]["state"] == "completed").await;
    let (_, run) = hub.get(&format!("/v1/runs/{}", runs[0]["id"].as_str().unwrap())).await;
    assert_eq!(versions(&run, &digests(&hub).await), ["1.1.0", "1.1.0"]);
    let said = refused(&hub, "sam", &["plugin", "rollback", LINE]);
    assert!(said.contains("no earlier version"), "what is revoked does not come back: {said}");

    let (_, audit) = hub.get("/v1/audit?limit=50").await;
    let said: Vec<String> = audit["records"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .filter(|record| {
            !["operator:config", "hub", "tests", "enrolment"].contains(&record["actor"].as_str().unwrap_or_default())
        })
        .map(|record| format!("{} {} {}", record["actor"], record["action"], record["subject"]).replace('"', ""))
        .collect();
    assert_eq!(
        said.iter().map(|line| line.split_once("_").map_or(&**line, |(about, _)| about)).collect::<Vec<_>>(),
        [
            "ada line.pin line/test/judge",
            "ada plugin.publish plugin/test/judge/1.1.0",
            "sam plugin.revoke version/test/judge/1.0.0",
            "sam change.propose change/chg",
            "eve change.approve change/chg",
            "eve plugin.restore version/test/judge/1.0.0",
            "sam run.resume run/run",
            "sam run.resume run/run",
            "sam plugin.revoke version/test/judge/1.0.0",
            "sam line.promote line/test/judge",
            "sam run.resume run/run",
        ]
    );
}

#[tokio::test]
async fn a_hub_that_asks_for_signatures_takes_only_what_a_trusted_key_signed() {
    let setting = Setting::new();
    let at = setting.folder.path();
    let local = |arguments: &[&str]| {
        let output = Command::new(BINARY).args(arguments).current_dir(at).env("NO_COLOR", "1").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for name in ["test.key", "other.key"] {
        local(&["plugin", "key", "new", name, "--namespace", "test"]);
    }
    let key: Value = serde_json::from_str(&local(&["--json", "plugin", "key", "show", "test.key.pub"])).unwrap();
    let key = key["public"].as_str().unwrap();
    // What the configuration names is asked for its signature as well.
    local(&["plugin", "sign", "judge-1.0.0", "--key", "test.key"]);
    let config = fs::read_to_string(at.join("hub.toml")).unwrap();
    let trust = format!("[trust]\nunsigned = \"refuse\"\n[[trust.keys]]\nnamespace = \"test\"\nkey = \"{key}\"\n");
    fs::write(at.join("hub.toml"), format!("{config}{trust}")).unwrap();
    let hub = setting.hub();
    let package = setting.package("1.1.0", "second_version", "");
    let package = package.to_str().unwrap();
    let said = refused(&hub, "ada", &["plugin", "publish", package]);
    assert!(said.contains("signature.absent") && said.contains("plugin.refused"), "{said}");
    // Its author need not publish it to be told so.
    assert!(local(&["plugin", "check", package]).contains("would be accepted"), "a laptop trusts nobody");
    let said = refused(&hub, "ada", &["plugin", "check", package, "--at-hub"]);
    assert!(said.contains("would be refused") && said.contains("signature.absent"), "{said}");
    assert!(said.contains("against 1.0.0"), "against what is published there: {said}");
    local(&["plugin", "sign", package, "--key", "other.key"]);
    let said = refused(&hub, "ada", &["plugin", "publish", package]);
    assert!(said.contains("signature.untrusted"), "{said}");
    local(&["plugin", "sign", package, "--key", "test.key"]);
    let said = done(&hub, "ada", &["plugin", "check", package, "--at-hub", "--json"]);
    let reports: Value = serde_json::from_str(&said).unwrap();
    let report = &reports[0];
    assert_eq!((&report["accepted"], report["signed_by"].as_array().unwrap().len()), (&json!(true), 1), "{report:#}");
    let (_, shown) = hub.get(&format!("/v1/plugins/{LINE}")).await;
    assert_eq!(shown["versions"].as_array().unwrap().len(), 1, "to ask publishes nothing: {shown:#}");
    let said = done(&hub, "ada", &["plugin", "publish", package]);
    assert!(said.contains("signed by"), "{said}");
    let (_, audit) = hub.get("/v1/audit?subject=trust&limit=1").await;
    assert_eq!(audit["records"][0]["action"], "trust.set", "{audit:#}");
}

#[tokio::test]
async fn what_does_not_hold_leaves_what_serves_as_it_is() {
    let setting = Setting::new();
    let hub = setting.hub();
    let publish = |version: &str, guest: &str, more: &str| {
        let package = setting.package(version, guest, more);
        crossdock(&hub, "ada", &["plugin", "publish", package.to_str().unwrap()])
    };
    // A version never changes.
    assert_eq!(publish("1.0.0", "well_behaved", "").code, Some(0), "the same again is no change");
    let said = publish("1.0.0", "second_version", "");
    assert!(said.code == Some(1) && said.all.contains("plugin.version-taken"), "{}", said.all);
    setting.golden("1.0.0", &json!({ "outcome": "proceed" }));
    let said = publish("1.0.0", "well_behaved", "");
    assert!(said.code == Some(1) && said.all.contains("is published with other golden tests"), "{}", said.all);
    let package = setting.folder.path().join("judge-1.0.0");
    let said = refused(&hub, "ada", &["plugin", "check", package.to_str().unwrap(), "--at-hub"]);
    assert!(said.contains("version.reused") && said.contains("other golden tests"), "{said}");
    fs::remove_dir_all(package.join("golden")).unwrap();
    setting.package("1.0.0", "well_behaved", "");
    // Nor does anything come in that the sandbox would not run.
    let said = publish("1.4.0", "wrong_types", "");
    assert!(said.code == Some(1) && said.all.contains("plugin.refused"), "{}", said.all);
    let headers = [("content-type", "application/octet-stream")];
    let (status, problem) = hub.post("/v1/plugins?plugin=test/judge&reason=r", &headers, vec![1; 2_000]).await;
    assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("plugin.refused")), "{problem:#}");
    let (status, problem) = hub.post("/v1/plugins?plugin=test/judge", &headers, vec![]).await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("request.invalid")), "{problem:#}");

    // The gate refuses what fails its own golden tests.
    let package = setting.package("1.1.0", "second_version", "");
    setting.golden("1.1.0", &json!({ "outcome": "reject" }));
    let said = refused(&hub, "ada", &["plugin", "publish", package.to_str().unwrap()]);
    assert!(said.contains("golden") && said.contains("plugin.refused"), "{said}");
    // Pipelines have to take what would serve them.
    let package = setting.package("2.0.0", "second_version", "");
    done(&hub, "ada", &["plugin", "publish", package.to_str().unwrap()]);
    let said = refused(&hub, "ada", &["plugin", "promote", LINE, "2.0.0"]);
    assert!(said.contains("`test/decide` takes `^1`"), "{said}");
    // What is yanked is bound nowhere anew, and forcing takes two.
    let package = setting.package("1.2.0", "second_version", "");
    done(&hub, "ada", &["plugin", "publish", package.to_str().unwrap()]);
    done(&hub, "ada", &["plugin", "yank", LINE, "1.2.0"]);
    let said = refused(&hub, "ada", &["plugin", "promote", LINE, "1.2.0"]);
    assert!(said.contains("yanked") && said.contains("registry.conflict"), "{said}");
    let said = done(&hub, "ada", &["plugin", "promote", LINE, "1.2.0", "--force"]);
    assert!(said.contains("forced") && said.contains("plugin approve chg_"), "{said}");
    // A draft serves nothing and may be replaced.
    let draft = setting.package("1.5.0", "trap", "");
    done(&hub, "ada", &["plugin", "publish", draft.to_str().unwrap(), "--draft"]);
    let said = refused(&hub, "ada", &["plugin", "canary", LINE, "1.5.0"]);
    assert!(said.contains("draft"), "{said}");
    setting.package("1.5.0", "well_behaved", "# better");
    done(&hub, "ada", &["plugin", "publish", draft.to_str().unwrap(), "--draft"]);
    done(&hub, "ada", &["plugin", "release", LINE, "1.5.0"]);
    setting.package("1.5.0", "trap", "");
    let said = refused(&hub, "ada", &["plugin", "publish", draft.to_str().unwrap()]);
    assert!(said.contains("plugin.version-taken"), "{said}");
    // Nonsense is told so.
    for (verb, version, code) in [
        ("promote", "9.9.9", "plugin.unknown"),
        ("promote", "1.0.0", "registry.conflict"),
        ("withdraw", "", "registry.conflict"),
    ] {
        let arguments: Vec<&str> =
            ["plugin", verb, LINE, version].into_iter().filter(|argument| !argument.is_empty()).collect();
        let said = refused(&hub, "ada", &arguments);
        assert!(said.contains(code), "{said}");
    }
    let (status, problem) = hub
        .post(
            &format!("/v1/bindings/{LINE}"),
            &[("content-type", "application/json")],
            json!({ "actor": "hub", "reason": "r", "do": "promote", "version": "1.5.0" }).to_string(),
        )
        .await;
    assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("access.denied")), "{problem:#}");

    let run = run_of(&hub, "after-all").await;
    assert_eq!(
        (&run["state"], &run["steps"][0]["plugin"]["version"]),
        (&json!("completed"), &json!("1.0.0")),
        "{run:#}"
    );

    // One pipeline may have a version of its own; a deprecated version says what to use instead.
    done(&hub, "ada", &["plugin", "promote", LINE, "1.5.0", "--pipeline", "test/decide"]);
    let run = run_of(&hub, "own").await;
    assert_eq!(run["steps"][0]["plugin"]["version"], "1.5.0", "{run:#}");
    done(
        &hub,
        "ada",
        &["plugin", "deprecate", LINE, "1.0.0", "--replaced-by", "1.5.0", "--sunset", "2030-01-01T00:00:00Z"],
    );
    let shown = done(&hub, "ada", &["plugin", "show", LINE]);
    for part in ["until 2030-01-01", "then 1.5.0", "in `test/decide`: served by 1.5.0", "everywhere: served by 1.0.0"] {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
    let explained = done(&hub, "ada", &["plugin", "explain", LINE, "1.5.0"]);
    assert!(explained.contains("limit memory_bytes"), "{explained}");
}

#[tokio::test]
async fn a_draft_is_judged_with_the_files_that_it_brings_and_keeps_them_when_another_is_refused() {
    let setting = Setting::new();
    let hub = setting.hub();
    let draft = |files: &str, expected: &str| {
        let package = setting.package("1.1.0", "asset_reader", "assets = \"assets\"\n");
        fs::create_dir_all(package.join("assets")).unwrap();
        fs::write(package.join("assets/table.csv"), files).unwrap();
        let test = json!({
            "input": { "read": ["/assets/table.csv"] },
            "expected": { "outcome": "proceed", "output": { "read /assets/table.csv": expected } },
        });
        fs::write(package.join("golden/one.json"), test.to_string()).unwrap();
        package.display().to_string()
    };
    let kept = || fs::read_to_string(hub.data.join("assets/test-judge@1.1.0/table.csv")).unwrap();
    done(&hub, "ada", &["plugin", "publish", &draft("one", "one"), "--draft"]);
    assert_eq!(kept(), "one");
    // The same component with other files is judged by these, whether it is only asked about or published.
    let package = draft("two", "one");
    let said = refused(&hub, "ada", &["plugin", "check", &package, "--at-hub"]);
    assert!(said.contains("golden.failed"), "{said}");
    let said = refused(&hub, "ada", &["plugin", "publish", &package, "--draft"]);
    assert!(said.contains("golden.failed"), "{said}");
    assert_eq!(kept(), "one", "what is refused changes nothing");
    done(&hub, "ada", &["plugin", "check", &draft("two", "two"), "--at-hub"]);
    assert_eq!(kept(), "one");
    done(&hub, "ada", &["plugin", "publish", &draft("two", "two"), "--draft"]);
    assert_eq!(kept(), "two");
    done(&hub, "ada", &["plugin", "release", LINE, "1.1.0"]);
    let said = done(&hub, "ada", &["plugin", "promote", LINE, "1.1.0"]);
    assert!(said.contains("golden"), "its tests hold with what it reads now: {said}");
    let said = crossdock(&hub, "ada", &["plugin", "publish", &draft("three", "two")]);
    assert!(said.code == Some(1) && said.all.contains("other assets"), "{}", said.all);
}

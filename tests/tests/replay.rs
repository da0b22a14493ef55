//! Replay from the outside: traffic that one process of a hub recorded is replayed by the next one, which finds a change
//! of one number in a rule and nothing where nothing changed; and a promotion that rests on it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{collections::BTreeSet, fmt::Write as _, fs, path::PathBuf, process::Command};

use crossdock_tests::{guests, hub::Hub};
use http::StatusCode;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const EVENT: &str = "test.order.v1";
const LINE: &str = "test/judge";
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const PIPELINE: &str = "pipeline: test/decide
version: 1.0.0
owner: pricing-team
summary: Has a rule decide about each of several numbers.
trigger: [{ event: test.order.v1 }]
key: event.subject
steps:
  - id: each
    for:
      each: event.data.numbers
      steps:
        - id: judge
          rule: test/judge@^1
          with: { n: '${ item }' }
          outcomes: { hold: dead_letter }
";

/// A folder with versions of a rule, a configuration that names the first, and data.
struct Setting {
    folder: tempfile::TempDir,
}

impl Setting {
    fn new(first: &str) -> Self {
        let setting = Self { folder: tempfile::tempdir().unwrap() };
        let package = setting.package("1.0.0", &guests::hostile(first));
        let pipeline = setting.folder.path().join("decide.yaml");
        fs::write(&pipeline, PIPELINE).unwrap();
        let text = format!("plugins = [{package:?}]\npipelines = [{pipeline:?}]\n");
        fs::write(setting.folder.path().join("hub.toml"), text).unwrap();
        setting
    }

    /// A version of the rule.
    fn package(&self, version: &str, component: &[u8]) -> PathBuf {
        let folder = self.folder.path().join(format!("judge-{version}"));
        fs::create_dir_all(folder.join("golden")).unwrap();
        let mut manifest = format!("id = \"{LINE}\"\nversion = \"{version}\"\nkind = \"rule\"\n");
        write!(manifest, "contract = \"1.0.0\"\nlicense = \"MIT\"\nsummary = \"Judges\"\n\n[rule]\n").unwrap();
        writeln!(manifest, "outcomes = [\"proceed\", \"hold\"]").unwrap();
        fs::write(folder.join("plugin.toml"), manifest).unwrap();
        fs::write(folder.join("component.wasm"), component).unwrap();
        folder
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn hub(&self) -> Hub {
        Hub::start(BINARY, &self.data(), Some(&self.folder.path().join("hub.toml")))
    }
}

/// The same component with other bytes: a custom section at its end, which means nothing.
fn marked(guest: &str) -> Vec<u8> {
    [guests::hostile(guest).as_slice(), &[0, 5, 4], b"mark"].concat()
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
    let output = command.output().expect("runs");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{out}{}", String::from_utf8_lossy(&output.stderr));
    Said { code: output.status.code(), out, all }
}

#[track_caller]
fn done(hub: &Hub, actor: &str, arguments: &[&str]) -> String {
    let said = crossdock(hub, actor, &[arguments, &["--reason", "as the test says"]].concat());
    assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.all);
    said.out
}

/// The report of a replay, and whether the command says that nothing changed.
#[track_caller]
fn replay(hub: &Hub, candidate: &str, more: &[&str]) -> (Value, bool) {
    let candidate = format!("{LINE}@{candidate}");
    let said = crossdock(hub, "ada", &[&["--json", "plugin", "replay", &candidate], more].concat());
    let report = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.all));
    (report, said.code == Some(0))
}

/// Has events recorded; the runs, in their order. One parks at a number that is held.
async fn record(hub: &Hub, name: &str, numbers: &[Vec<u64>]) -> Vec<String> {
    let mut runs = Vec::new();
    for (place, numbers) in numbers.iter().enumerate() {
        let id = format!("{name}-{place}");
        let (status, answer) = hub.event(&id, EVENT, &json!({ "numbers": numbers })).await;
        assert!(status.is_success(), "{status}: {answer:#}");
        let listed = hub.runs_until(&id, |runs| runs.len() == 1 && runs[0]["state"] != "running").await;
        let held = numbers.iter().any(|number| *number > 100);
        assert_eq!(listed[0]["state"], if held { "parked" } else { "completed" }, "{listed:#?}");
        runs.push(listed[0]["id"].as_str().unwrap().to_owned());
    }
    runs
}

/// Some of each: nothing to hold, held by the changed version alone, held by both.
fn numbers() -> Vec<Vec<u64>> {
    vec![vec![1, 50, 101], vec![51, 7], vec![100, 100, 200], vec![], vec![99], vec![3]]
}

#[tokio::test]
async fn a_changed_number_is_found_in_what_another_process_recorded_and_nothing_where_nothing_changed() {
    let setting = Setting::new("holds_above_100");
    let hub = setting.hub();
    let runs = record(&hub, "before", &numbers()).await;
    hub.kill();

    let hub = setting.hub();
    let packages = [
        setting.package("1.0.1", &marked("holds_above_100")),
        setting.package("1.1.0", &guests::hostile("holds_above_50")),
        setting.package("1.2.0", &guests::hostile("trap")),
    ];
    for package in &packages {
        done(&hub, "ada", &["plugin", "publish", package.to_str().unwrap(), "--draft"]);
    }

    let (report, same) = replay(&hub, "1.1.0", &["--since", "1d"]);
    assert!(!same);
    let counts = |report: &Value| {
        ["runs", "replayed", "proven", "changes", "decisions", "outputs", "failures"]
            .map(|name| report[name].as_u64().unwrap_or_else(|| panic!("no `{name}`: {report:#}")))
    };
    assert_eq!(counts(&report), [6, 10, 10, 4, 4, 0, 0], "{report:#}");
    assert_eq!(report["transitions"], json!({ "proceed -> hold people": 4 }));
    assert_eq!(report["reasons"], 2, "what both hold is held in other words: {report:#}");
    assert_eq!((&report["against"]["version"], &report["left_out"]), (&json!("1.0.0"), &json!([])), "{report:#}");
    let places: BTreeSet<(String, String)> = report["examples"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|example| example["what"] != "reasons")
        .map(|example| {
            assert_eq!((&example["what"], &example["recorded"]), (&json!("decision"), &json!("1.0.0")));
            assert_eq!(example["before"], json!({ "outcome": "proceed", "reasons": [] }));
            assert_eq!((&example["after"]["outcome"], &example["after"]["target"]), (&json!("hold"), &json!("people")));
            assert_eq!(example["after"]["reasons"][0]["code"], "n.above", "{example:#}");
            assert_eq!(example["pipeline"], "test/decide@1.0.0");
            (example["run"].as_str().unwrap().to_owned(), example["step"].as_str().unwrap().to_owned())
        })
        .collect();
    let expected = [(1, "judge[1]"), (2, "judge[1]"), (2, "judge[2]"), (4, "judge[1]")];
    assert_eq!(places, expected.map(|(run, step): (usize, &str)| (runs[run].clone(), step.to_owned())).into());
    // The version that is held against it answers as it did when it was recorded.
    assert_eq!((&report["determinism"]["compared"], &report["determinism"]["differed"]), (&json!(10), &json!(0)));
    for side in ["candidate", "against"] {
        let fuel = &report[side]["fuel"];
        assert!(fuel["median"].as_u64() > Some(0) && fuel["max"].as_u64() >= fuel["p99"].as_u64(), "{report:#}");
        assert_eq!((&report[side]["failed"], &report[side]["traps"]), (&json!(0), &json!(0)), "{report:#}");
    }

    let (report, same) = replay(&hub, "1.0.1", &["--against", "1.0.0", "--since", "1d"]);
    assert_eq!((counts(&report), same), ([6, 10, 10, 0, 0, 0, 0], true), "{report:#}");
    assert_eq!(report["examples"], json!([]));
    assert_ne!(report["candidate"]["digest"], report["against"]["digest"], "two components");

    let (report, same) = replay(&hub, "1.2.0", &["--since", "1d", "--limit", "3", "--pipeline", "test/decide"]);
    assert_eq!((&report["replayed"], &report["failures"], same), (&json!(3), &json!(3), false), "{report:#}");
    assert_eq!((&report["candidate"]["traps"], &report["cut_short"]), (&json!(3), &json!("limit")), "{report:#}");
    assert!(report["examples"][0]["after"]["failure"]["code"] == "plugin.trap", "{report:#}");

    let (report, same) = replay(&hub, "1.1.0", &["--since", "2999-01-01T00:00:00Z"]);
    assert_eq!((&report["replayed"], same), (&json!(0), true), "{report:#}");

    let said = crossdock(&hub, "ada", &["plugin", "replay", &format!("{LINE}@1.1.0")]);
    assert_eq!(said.code, Some(1), "{}", said.all);
    for part in [
        "4 are answered otherwise: 4 decisions",
        "4 x proceed -> hold people",
        "judge[2]",
        "n.above",
        "100 of at most 50",
    ] {
        assert!(said.out.contains(part), "`{part}` is not in\n{}", said.out);
    }
    for (wrong, code) in [("9.9.9", "plugin.unknown"), ("1.0.0 --pipeline test/none", "request.invalid")] {
        let arguments: Vec<&str> = wrong.split(' ').collect();
        let candidate = format!("{LINE}@{}", arguments[0]);
        let said = crossdock(&hub, "ada", &[&["plugin", "replay", &candidate], &arguments[1..]].concat());
        assert!(said.code == Some(1) && said.all.contains(code), "{wrong}: {}", said.all);
    }
    // Nothing was changed by all this, and nothing recorded.
    let (_, shown) = hub.get(&format!("/v1/plugins/{LINE}")).await;
    assert_eq!((&shown["bindings"][0]["active"], shown["versions"].as_array().unwrap().len()), (&json!("1.0.0"), 4));

    // What lies in the archive, and is not listed any more after a start, is replayed as well, until it is dropped.
    assert!(hub.stop());
    let data = setting.data().display().to_string();
    let archive = |more: &[&str]| {
        let arguments = [&["archive", "run", "--data", &data, "--older-than", "0s"], more].concat();
        let output = Command::new(BINARY).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    archive(&[]);
    let hub = setting.hub();
    let (_, listed) = hub.get("/v1/runs?limit=100").await;
    assert_eq!(listed["runs"].as_array().unwrap().len(), 2, "two are parked, and so have not ended: {listed:#}");
    let (report, _) = replay(&hub, "1.1.0", &["--since", "1d"]);
    assert_eq!(counts(&report), [6, 10, 10, 4, 4, 0, 0], "{report:#}");
    assert_eq!((&report["archived"], &report["dropped"]), (&json!(4), &json!(0)), "{report:#}");
    let (report, _) = replay(&hub, "1.1.0", &["--since", "1d", "--limit", "7"]);
    assert_eq!((&report["replayed"], &report["cut_short"]), (&json!(7), &json!("limit")), "{report:#}");
    let (report, _) = replay(&hub, "1.1.0", &["--since", "2999-01-01T00:00:00Z"]);
    assert_eq!(report["replayed"], 0, "{report:#}");
    assert!(hub.stop());
    archive(&["--drop-older-than", "0s"]);
    let hub = setting.hub();
    let (report, _) = replay(&hub, "1.1.0", &["--since", "1d"]);
    assert_eq!(counts(&report), [2, 6, 6, 2, 2, 0, 0], "{report:#}");
    assert_eq!((&report["archived"], &report["dropped"]), (&json!(0), &json!(4)), "{report:#}");
}

#[tokio::test]
async fn the_recorded_time_and_seed_give_the_recorded_answer() {
    let setting = Setting::new("deterministic");
    let hub = setting.hub();
    record(&hub, "before", &[(1..=10).collect()]).await;
    hub.kill();
    let hub = setting.hub();
    // Its answers are made of nothing but clocks and randomness.
    let package = setting.package("1.0.1", &marked("deterministic"));
    done(&hub, "ada", &["plugin", "publish", package.to_str().unwrap()]);
    let (report, same) = replay(&hub, "1.0.1", &["--since", "1d"]);
    assert_eq!((&report["replayed"], &report["changes"], same), (&json!(10), &json!(0), true), "{report:#}");
    assert_eq!((&report["determinism"]["compared"], &report["determinism"]["differed"]), (&json!(10), &json!(0)));
}

#[tokio::test]
async fn a_promotion_rests_on_a_replay_if_it_is_asked_to() {
    let setting = Setting::new("holds_above_100");
    let hub = setting.hub();
    let package = setting.package("1.1.0", &guests::hostile("holds_above_50"));
    done(&hub, "ada", &["plugin", "publish", package.to_str().unwrap()]);
    let path = format!("/v1/bindings/{LINE}");
    let promote = |allowed: u64| {
        let replay = json!({ "since": "1d", "changes_max": allowed });
        json!({ "do": "promote", "version": "1.1.0", "reason": "as the test says", "replay": replay }).to_string()
    };
    // A gate that has seen nothing does not open.
    let (status, refused) = hub.post(&path, JSON, promote(1_000)).await;
    assert_eq!((status, &refused["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("plugin.replay-differs")));
    assert!(refused["detail"].as_str().unwrap().contains("no recorded input"), "{refused:#}");

    record(&hub, "before", &numbers()).await;
    let (status, refused) = hub.post(&path, JSON, promote(3)).await;
    assert_eq!((status, &refused["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("plugin.replay-differs")));
    assert_eq!((&refused["report"]["changes"], &refused["report"]["replayed"]), (&json!(4), &json!(10)), "{refused:#}");
    assert!(refused["report"]["examples"][0]["after"]["reasons"][0]["message"].is_string(), "{refused:#}");
    let (_, shown) = hub.get(&format!("/v1/plugins/{LINE}")).await;
    assert_eq!(shown["bindings"][0]["active"], "1.0.0", "nothing was changed: {shown:#}");
    let said = crossdock(&hub, "ada", &["plugin", "promote", LINE, "1.1.0", "--replay-since", "1d", "--reason", "now"]);
    assert_eq!(said.code, Some(1), "{}", said.all);
    for part in ["4 of 10 recorded inputs", "at most 0 may be", "crossdock plugin replay test/judge@1.1.0 --since 1d"] {
        assert!(said.all.contains(part), "`{part}` is not in\n{}", said.all);
    }

    // Two people may do it all the same.
    let forced = ["plugin", "promote", LINE, "1.1.0", "--replay-since", "1d", "--force"];
    let said = done(&hub, "ada", &forced);
    assert!(said.contains("forced: a replay since 1d does not allow it"), "{said}");
    let (_, changes) = hub.get("/v1/changes").await;
    done(&hub, "eve", &["plugin", "approve", changes["changes"][0]["id"].as_str().unwrap()]);
    done(&hub, "ada", &["plugin", "rollback", LINE]);

    let allowed = ["plugin", "promote", LINE, "1.1.0", "--replay-since", "1d", "--replay-changes-max", "4"];
    let said = done(&hub, "ada", &allowed);
    assert!(said.contains("10 recorded inputs since"), "{said}");
    let (_, shown) = hub.get(&format!("/v1/plugins/{LINE}")).await;
    let line = &shown["bindings"][0];
    assert_eq!((&line["active"], &line["replay"]["changes"]), (&json!("1.1.0"), &json!(4)), "{shown:#}");
    let example = &line["replay"]["examples"][0];
    assert_eq!(example["after"], json!({ "outcome": "hold", "target": "people", "reasons": ["n.above"] }));
    let (_, audit) = hub.get(&format!("/v1/audit?subject=line/{LINE}&limit=1")).await;
    let record = &audit["records"][0];
    assert_eq!((&record["action"], &record["actor"]), (&json!("line.promote"), &json!("ada")), "{record:#}");
    let reason = record["reason"].as_str().unwrap();
    assert!(reason.starts_with("as the test says (") && reason.contains("4 decisions") && reason.contains("4 allowed"));

    // What serves next has no such evidence any more, and a restart keeps what was recorded.
    hub.kill();
    let hub = setting.hub();
    let (_, shown) = hub.get(&format!("/v1/plugins/{LINE}")).await;
    assert_eq!(shown["bindings"][0]["replay"]["changes"], 4, "{shown:#}");
    done(&hub, "ada", &["plugin", "rollback", LINE]);
    let (_, shown) = hub.get(&format!("/v1/plugins/{LINE}")).await;
    assert!(shown["bindings"][0].get("replay").is_none(), "{shown:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_go_on_while_a_replay_goes_on() {
    let setting = Setting::new("holds_above_100");
    let hub = setting.hub();
    let many: Vec<Vec<u64>> = (0..4).map(|first| (first..first + 97).collect()).collect();
    record(&hub, "before", &many).await;
    let package = setting.package("1.1.0", &guests::hostile("holds_above_50"));
    done(&hub, "ada", &["plugin", "publish", package.to_str().unwrap()]);
    let path = format!("/v1/plugins/{LINE}/replay");
    let body = json!({ "version": "1.1.0", "since": "1d", "limit": 388 }).to_string();
    let live = numbers();
    let (first, second, runs) = tokio::join!(
        hub.post(&path, JSON, body.clone()),
        hub.post(&path, JSON, body.clone()),
        record(&hub, "meanwhile", &live)
    );
    assert_eq!(runs.len(), live.len(), "every one of them went as ever");
    // One at a time: the other is told when to come again, or came after it.
    let answers = [first, second];
    assert!(
        answers.iter().any(|(status, report)| *status == StatusCode::OK && report["replayed"] == 388),
        "{answers:#?}"
    );
    for (status, answer) in answers {
        assert!(status == StatusCode::OK || answer["code"] == "hub.busy", "{status}: {answer:#}");
    }
    // Who may not promote, may not replay.
    let auditor = format!("Bearer {}", hub.token_as("olga", "auditor"));
    let (status, denied) = hub.post(&path, &[JSON[0], ("authorization", &auditor)], body).await;
    assert_eq!((status, &denied["code"]), (StatusCode::FORBIDDEN, &json!("access.denied")), "{denied:#}");
}

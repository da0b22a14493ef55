//! Personal data from the outside: tagged in a schema, sealed wherever the hub writes, shown to who may see it, and gone
//! for good after an erasure, in restored backups too, while the history is still proven.

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
};

use crossdock_tests::{hub::Hub, packages};
use http::StatusCode;
use serde_json::{Value, json};

#[path = "privacy/deliveries.rs"]
mod deliveries;
#[path = "privacy/reseal.rs"]
mod reseal;

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const CONTACT: &str = "test.contact.v1";
/// What is looked for: who it is about, and what is about them.
const ANN: [&str; 2] = ["c4n4ry-person-ann", "c4n4ry-mail-ann"];
const BOB: [&str; 2] = ["c4n4ry-person-bob", "c4n4ry-mail-bob"];
/// What is not personal, and is therefore found: so the search can find.
const CLEAR: &str = "cl34r-and-not-personal";

const PIPELINE: &str = "pipeline: test/contact
version: 1.0.0
owner: test
summary: Hands what it was told to everything that records something.
trigger: [{ event: test.contact.v1 }]
key: event.subject
steps:
  - id: judge
    rule: test/judge@^1
    with: ${ event.data }
  - id: remember
    set: { mail: '${ event.data.customer.mail }' }
  - id: tell
    emit: test.told.v1
    data: { of: '${ event.data.customer }', order: '${ event.subject }' }
  - id: other
    run: test/other@^1
    with: { of: '${ vars.mail }' }
  - id: answer
    when: event.data.waits
    wait: { event: test.answer.v1, match: signal.subject == event.subject, within: 1d }
vars: { mail: '' }
";

const OTHER: &str = "pipeline: test/other
version: 1.0.0
owner: test
summary: Works on what another run hands on.
trigger: [{ event: test.other.v1 }]
key: event.subject
steps:
  - id: judge
    rule: test/judge@^1
    with: ${ event.data }
";

const TOLD: &str = "pipeline: test/told
version: 1.0.0
owner: test
summary: Hears what another run emits, of a type without a schema.
trigger: [{ event: test.told.v1 }]
key: event.data.order
steps:
  - id: judge
    rule: test/judge@^1
    with: ${ event.data }
";

struct Setting {
    folder: tempfile::TempDir,
}

impl Setting {
    fn new() -> Self {
        let setting = Self { folder: tempfile::tempdir().unwrap() };
        packages::judge(&setting.at("judge"), "1.0.0", "well_behaved", "");
        let pipelines = [("other.yaml", OTHER), ("told.yaml", TOLD), ("contact.yaml", PIPELINE)];
        for (name, text) in pipelines {
            fs::write(setting.at(name), text).unwrap();
        }
        let names = pipelines.map(|(name, _)| name);
        fs::write(setting.at("hub.toml"), format!("plugins = [\"judge\"]\npipelines = {names:?}\n")).unwrap();
        let id = json!({ "type": "string", "x-personal": true });
        let customer = json!({ "type": "object", "required": ["id", "mail"], "additionalProperties": false,
            "properties": { "id": id, "mail": { "type": "string", "x-personal": true } } });
        let properties = json!({ "customer": customer, "clear": { "type": "string" }, "waits": { "type": "boolean" } });
        let schema = json!({ "type": "object", "required": ["customer", "clear", "waits"], "properties": properties,
            "x-subject": "/customer/id", "additionalProperties": false });
        fs::write(setting.at("contact.json"), schema.to_string()).unwrap();
        setting
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    /// A hub on a data folder, which logs everything.
    fn hub_on(&self, data: &str, more: &[&str]) -> Hub {
        let config = self.text("hub.toml");
        let arguments =
            [&["--log", "crossdock=trace,hyper=trace,h2=trace", "--config", config.as_str()], more].concat();
        Hub::launch(BINARY, &self.at(data), &arguments)
    }

    /// The first start: an admin, and the schema.
    fn begin(&self) -> Hub {
        let hub = Hub::start(BINARY, &self.at("data"), Some(&self.at("hub.toml")));
        done(&hub, &["schema", "add", CONTACT, &self.text("contact.json"), "--reason", "agreed"]);
        assert!(hub.stop());
        self.hub_on("data", &[])
    }
}

fn said(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs the command line as the admin.
fn crossdock(hub: &Hub, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    command.args(arguments).args(["--hub", &hub.url, "--token-file", &hub.token_file]).env("NO_COLOR", "1");
    let output = command.env_remove("CROSSDOCK_TOKEN").output().expect("runs");
    (output.status.code(), said(&output))
}

#[track_caller]
fn done(hub: &Hub, arguments: &[&str]) -> String {
    let (code, text) = crossdock(hub, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {text}");
    text
}

/// Runs the command line on files.
fn offline(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(BINARY).args(arguments).env("NO_COLOR", "1").output().expect("runs");
    (output.status.code(), said(&output))
}

#[track_caller]
fn done_offline(arguments: &[&str]) -> String {
    let (code, text) = offline(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {text}");
    text
}

/// Exports the audit log of a data folder and proves it.
#[track_caller]
fn proven(setting: &Setting, data: &str, export: &str) {
    done_offline(&["audit", "export", &setting.text(export), "--data", &setting.text(data)]);
    let key = setting.at(data).join("audit/hub.pub").display().to_string();
    let proof = done_offline(&["--json", "audit", "verify", &setting.text(export), "--key", &key]);
    assert!(proof.contains("\"holds\": true"), "{proof}");
}

fn contact(person: [&str; 2], waits: bool, length: usize) -> Value {
    let mail = person[1].repeat(length);
    json!({ "customer": { "id": person[0], "mail": mail }, "clear": CLEAR, "waits": waits })
}

/// Sends a contact; the run that it starts.
async fn send(hub: &Hub, id: &str, data: &Value) -> (StatusCode, Value) {
    hub.event(id, CONTACT, data).await
}

async fn completed(hub: &Hub, id: &str, data: &Value) -> Value {
    let (status, answer) = send(hub, id, data).await;
    assert!(status.is_success(), "{answer:#}");
    let runs = hub.runs_until(id, |runs| !runs.is_empty() && runs.iter().all(|run| run["state"] == "completed")).await;
    runs[0].clone()
}

/// A run as those may see it who may see runs, and with it the runs that came of it.
async fn shown(hub: &Hub, run: &Value) -> String {
    hub.get(&format!("/v1/runs/{}", run["id"].as_str().unwrap())).await.1.to_string()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The files that hold a text.
fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes());
    files(folder).into_iter().filter(holds).collect()
}

#[track_caller]
fn nowhere(folder: &Path, persons: &[[&str; 2]]) {
    for text in persons.iter().flatten() {
        assert_eq!(holding(folder, text), Vec::<PathBuf>::new(), "`{text}` is written");
    }
}

/// The log of the last process that served the data folder, with everything that it can say.
#[track_caller]
fn not_logged(setting: &Setting, persons: &[[&str; 2]]) {
    let log = fs::read_to_string(setting.at("data.log")).unwrap();
    assert!(log.contains("the list of runs is there"), "the log says much: {log}");
    for text in persons.iter().flatten() {
        assert!(!log.contains(text), "`{text}` is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn personal_data_is_written_nowhere_in_clear_and_survives_a_crash() {
    let setting = Setting::new();
    let hub = setting.begin();
    let ann = completed(&hub, "o-1", &contact(ANN, false, 1)).await;
    // One that is too large for the journal itself.
    let large = completed(&hub, "o-2", &contact(ANN, false, 9_000)).await;
    let told = hub.runs_until("o-1", |runs| runs.len() >= 2).await;
    for run in told.iter().chain([&ann, &large]) {
        assert!(shown(&hub, run).await.contains(ANN[1]), "{run:#}");
    }
    let waits = send(&hub, "o-3", &contact(BOB, true, 1)).await;
    assert!(waits.0.is_success(), "{:#}", waits.1);
    hub.runs_until("o-3", |runs| runs.iter().any(|run| run["state"] == "waiting")).await;
    hub.kill();
    not_logged(&setting, &[ANN, BOB]);

    let hub = setting.hub_on("data", &[]);
    for run in [&ann, &large] {
        assert!(shown(&hub, run).await.contains(ANN[1]), "a crash loses no key");
    }
    // What waited goes on with the data that it began with.
    let (status, answer) = hub.event("a-1", "test.answer.v1", &json!({})).await;
    assert!(status.is_success(), "{answer:#}");
    let answer = json!({ "specversion": "1.0", "id": "a-2", "source": "/tests", "type": "test.answer.v1",
        "subject": "o-3", "data": {} });
    hub.post("/v1/events", &[("content-type", "application/cloudevents+json")], answer.to_string()).await;
    let bob = hub.runs_until("o-3", |runs| runs.iter().all(|run| run["state"] == "completed")).await;
    assert!(shown(&hub, &bob[0]).await.contains(BOB[1]));
    let said = done(&hub, &["backup", "create", &setting.text("backup")]);
    assert!(said.contains("proven"), "{said}");
    assert!(hub.stop());

    let persons = [ANN, BOB];
    assert!(!holding(&setting.at("data"), CLEAR).is_empty(), "what is not personal is found");
    nowhere(&setting.at("data"), &persons);
    nowhere(&setting.at("backup"), &persons);
    not_logged(&setting, &persons);
    proven(&setting, "data", "export");
    nowhere(&setting.at("export"), &persons);
    // The archive is packed: what is shown of it offline is what is in it.
    let data = setting.text("data");
    let archived = done_offline(&["archive", "run", "--older-than", "0s", "--data", &data]);
    assert!(!archived.contains("nothing"), "{archived}");
    nowhere(&setting.at("data"), &persons);
    let id = ann["id"].as_str().unwrap();
    let offline = done_offline(&["--json", "archive", "show", id, "--data", &data]);
    assert!(offline.contains("[personal]") && !offline.contains(ANN[1]), "{offline}");
    let hub = setting.hub_on("data", &[]);
    assert!(shown(&hub, &ann).await.contains(ANN[1]), "in an archive too");
    assert!(hub.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_gone_for_good_and_the_history_is_still_proven() {
    let setting = Setting::new();
    let hub = setting.begin();
    let ann = completed(&hub, "o-1", &contact(ANN, false, 1)).await;
    let bob = completed(&hub, "o-2", &contact(BOB, false, 1)).await;
    let all = hub.runs_until("o-1", |runs| runs.len() >= 2).await;
    done(&hub, &["backup", "create", &setting.text("backup")]);
    assert!(hub.stop());
    proven(&setting, "data", "before");

    let hub = setting.hub_on("data", &[]);
    let held = done(&hub, &["privacy", "show", ANN[0]]);
    assert!(held.contains("is held since") && !held.contains("needed by"), "{held}");
    let (code, named) = crossdock(&hub, &["privacy", "erase", ANN[0], "--reason", &format!("{} asked", ANN[0])]);
    assert!(code == Some(1) && named.contains("names the person"), "{named}");
    let (status, denied) =
        hub.post_as("olga", "/v1/privacy/erase", &JSON, json!({ "subject": ANN[0], "reason": "x" }).to_string()).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{denied:#}");
    assert!(shown(&hub, &ann).await.contains(ANN[1]), "a refusal erases nothing");

    let erased = done(&hub, &["privacy", "erase", ANN[0], "--reason", "request 17"]);
    assert!(erased.contains("is destroyed"), "{erased}");
    let again = done(&hub, &["privacy", "erase", ANN[0], "--reason", "request 17"]);
    assert!(again.contains("nothing to erase"), "{again}");
    let audit = done(&hub, &["--json", "audit", "list"]);
    assert_eq!(audit.matches("privacy.erase").count(), 1, "{audit}");
    assert!(audit.contains("request 17") && !audit.contains(ANN[0]), "{audit}");
    let gone = async |hub: &Hub| {
        for run in all.iter().chain([&ann]) {
            let view = shown(hub, run).await;
            assert!(view.contains("[erased]") && !view.contains(ANN[0]) && !view.contains(ANN[1]), "{view}");
        }
        assert!(shown(hub, &bob).await.contains(BOB[1]), "another's data is untouched");
    };
    gone(&hub).await;
    // The same event again is still a duplicate, and makes no new key; nothing is made of what is gone.
    let (status, duplicate) = send(&hub, "o-1", &contact(ANN, false, 1)).await;
    assert!(status.is_success(), "{duplicate:#}");
    assert_eq!(duplicate["events"][0]["duplicate"], true, "{duplicate:#}");
    let held = done(&hub, &["privacy", "show", ANN[0]]);
    assert!(held.contains("no personal data of this subject is held") && held.contains("erased 20"), "{held}");
    let id = ann["id"].as_str().unwrap();
    let (code, refused) = crossdock(&hub, &["run", "restart", id, "--step", "judge", "--keep-effects"]);
    assert!(code == Some(1) && refused.contains("was erased"), "{refused}");
    let (_, still) = hub.get(&format!("/v1/runs/{id}")).await;
    assert_eq!(still["state"], "completed", "{still:#}");
    let replayed = done(&hub, &["--json", "plugin", "replay", "test/judge@1.0.0", "--since", "1d"]);
    let report: Value = serde_json::from_str(&replayed).unwrap();
    assert_eq!(report["left_out"][0]["code"], "content.erased", "{report:#}");
    assert!(report["replayed"].as_u64() > Some(0), "another's runs are replayed: {report:#}");
    hub.kill();

    let hub = setting.hub_on("data", &[]);
    gone(&hub).await;
    let (_, ready) = hub.get("/health/ready").await;
    assert_eq!(ready["ready"], true, "{ready:#}");
    assert!(hub.stop());
    proven(&setting, "data", "after");
    nowhere(&setting.at("data"), &[ANN]);
    done_offline(&["archive", "run", "--older-than", "0s", "--data", &setting.text("data")]);
    proven(&setting, "data", "archived");

    // A backup from before: not without the list of what was erased since, and with it the data does not come back.
    let (backup, restored) = (setting.text("backup"), setting.text("restored"));
    let restore = ["backup", "restore", backup.as_str(), "--data", restored.as_str()];
    let (code, refused) = offline(&restore);
    assert!(code == Some(1) && refused.contains("--erasures"), "{refused}");
    let missing = setting.text("no-such-list");
    assert_eq!(offline(&[&restore[..], &["--erasures", &missing]].concat()).0, Some(1));
    assert!(!setting.at("restored").exists(), "a refusal restores nothing");
    let list = setting.at("data").join("audit/erasures").display().to_string();
    done_offline(&[&restore[..], &["--erasures", &list]].concat());
    let key = setting.at("data").join("secrets/master.key").display().to_string();
    let hub = setting.hub_on("restored", &["--secrets-key", &key]);
    gone(&hub).await;
    // New data of the same person is new.
    let (status, later) = send(&hub, "o-9", &contact(ANN, false, 1)).await;
    assert!(status.is_success(), "{later:#}");
    let run = later["events"][0]["runs"][0].clone();
    let run = run.get("id").cloned().unwrap_or(run);
    assert!(shown(&hub, &json!({ "id": run })).await.contains(ANN[1]));
    assert!(hub.stop());
}

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_erased_while_a_run_needs_it_unless_the_run_is_ended_first() {
    let setting = Setting::new();
    let hub = setting.begin();
    let (status, begun) = send(&hub, "o-1", &contact(ANN, true, 1)).await;
    assert!(status.is_success(), "{begun:#}");
    let waits = |runs: &[Value]| runs.iter().any(|run| run["state"] == "waiting");
    let runs = hub.runs_until("o-1", waits).await;
    let run = runs.iter().find(|run| run["state"] == "waiting").unwrap().clone();
    let id = run["id"].as_str().unwrap();
    assert!(done(&hub, &["privacy", "show", ANN[0]]).contains(&format!("needed by {id}")));
    let (code, refused) = crossdock(&hub, &["privacy", "erase", ANN[0], "--reason", "request 17"]);
    assert_eq!(code, Some(1), "{refused}");
    assert!(refused.contains("privacy.runs-open") && refused.contains(id), "{refused}");
    assert!(shown(&hub, &run).await.contains(ANN[1]), "nothing is erased");
    let later = completed(&hub, "o-2", &contact(ANN, false, 1)).await;
    assert!(shown(&hub, &later).await.contains(ANN[1]), "and the person's events are taken as before");

    let erased = done(&hub, &["privacy", "erase", ANN[0], "--reason", "request 17", "--end-runs"]);
    assert!(erased.contains(&format!("{id} was cancelled")) && erased.contains("is destroyed"), "{erased}");
    for run in [&run, &later] {
        assert!(!shown(&hub, run).await.contains(ANN[1]));
    }
    let (_, ended) = hub.get(&format!("/v1/runs/{id}")).await;
    assert_eq!(ended["state"], "cancelled", "{ended:#}");
    assert!(hub.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trial_quoted_is_shown_to_no_partner_and_forgotten_with_an_erasure() {
    let setting = Setting::new();
    let hub = setting.begin();
    packages::judge(&setting.at("second"), "1.1.0", "second_version", "");
    done(&hub, &["plugin", "publish", &setting.text("second"), "--reason", "another"]);
    done(&hub, &["plugin", "shadow", packages::JUDGE, "1.1.0", "--reason", "see first"]);
    completed(&hub, "o-1", &contact(ANN, false, 1)).await;
    let begun = std::time::Instant::now();
    while !done(&hub, &["plugin", "show", packages::JUDGE]).contains(ANN[1]) {
        assert!(begun.elapsed() < crossdock_tests::hub::PATIENCE, "the trial quotes no difference");
    }
    let partner = format!("Bearer {}", hub.token_as("paul", "partner"));
    for path in ["/v1/plugins/test/judge", "/v1/bindings"] {
        let request = http::Request::get(format!("{}{path}", hub.url)).header("authorization", &partner);
        let answer = hub.send(request.body(bytes::Bytes::new()).unwrap()).await.unwrap();
        let text = String::from_utf8_lossy(answer.body());
        assert!(answer.status() == StatusCode::OK && text.contains("diverged") && !text.contains(ANN[1]), "{text}");
    }
    done(&hub, &["privacy", "erase", ANN[0], "--reason", "request 18"]);
    let shown = done(&hub, &["plugin", "show", packages::JUDGE]);
    assert!(shown.contains("differed") && !shown.contains(ANN[0]) && !shown.contains(ANN[1]), "{shown}");
}

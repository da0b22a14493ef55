//! Trust that lasts, from the outside: what the configuration names passes the gate too, a revoked key stops what only it
//! signed, and a package says what it is made of.

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

use crossdock::{app::gate::Candidate, model::id::Digest};
use crossdock_tests::{
    guests,
    hub::{self, Hub},
    packages,
};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const EVENT: &str = "test.order.v1";
const LINE: &str = "test/judge";
const PIPELINE: &str = "pipeline: test/decide
version: 1.0.0
owner: test
summary: Has a rule decide.
trigger: [{ event: test.order.v1 }]
key: event.subject
steps:
  - id: decide
    rule: test/judge@^1
    with: ${ event.data }
";

/// Two publishers' keys, a rule in two versions, and a hub that trusts the keys.
struct Setting {
    folder: tempfile::TempDir,
    keys: [Value; 2],
}

impl Setting {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = |name: &str| {
            local(folder.path(), &["plugin", "key", "new", name, "--namespace", "test"]);
            serde_json::from_str(&local(folder.path(), &["--json", "plugin", "key", "show", &format!("{name}.pub")]))
                .unwrap()
        };
        let keys = [key("one.key"), key("two.key")];
        fs::write(folder.path().join("decide.yaml"), PIPELINE).unwrap();
        Self { folder, keys }
    }

    /// A version of the rule, signed with these keys.
    fn package(&self, version: &str, guest: &str, keys: &[&str]) -> PathBuf {
        let folder = self.folder.path().join(format!("judge-{version}"));
        packages::judge(&folder, version, guest, "");
        for key in keys {
            local(self.folder.path(), &["plugin", "sign", folder.to_str().unwrap(), "--key", key]);
        }
        folder
    }

    /// The configuration: the first version, and the keys; more for `[trust]`, and for the first key.
    fn configure(&self, package: &Path, trust: &str, first: &str) {
        let mut text = format!("plugins = [{package:?}]\npipelines = [\"decide.yaml\"]\n[trust]\n{trust}\n");
        for (key, more) in self.keys.iter().zip([first, ""]) {
            let line = key["public"].as_str().unwrap();
            text.push_str(&format!("[[trust.keys]]\nnamespace = \"test\"\nkey = \"{line}\"\n{more}\n"));
        }
        fs::write(self.folder.path().join("hub.toml"), text).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn hub(&self) -> Hub {
        Hub::start(BINARY, &self.data(), Some(&self.folder.path().join("hub.toml")))
    }

    /// What the hub says when it does not start.
    fn refused(&self) -> String {
        let command = hub::command(BINARY, &self.data(), Some(&self.folder.path().join("hub.toml")));
        match Hub::try_start(command, BINARY, &self.data()) {
            Ok(_) => panic!("the hub starts"),
            Err(said) => said,
        }
    }
}

/// Runs a command that needs no hub.
#[track_caller]
fn local(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(BINARY).args(arguments).current_dir(folder).env("NO_COLOR", "1").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command at a hub as a person with a role; its exit code and what it printed.
fn crossdock(hub: &Hub, person: &str, role: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    command.args(arguments).env("NO_COLOR", "1").env("CROSSDOCK_HUB", &hub.url);
    let output = command.env("CROSSDOCK_TOKEN", hub.token_as(person, role)).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

/// The state of a version.
async fn state(hub: &Hub, version: &str) -> Value {
    let (_, plugin) = hub.get(&format!("/v1/plugins/{LINE}")).await;
    let versions = plugin["versions"].as_array().unwrap();
    versions.iter().find(|one| one["version"] == version).unwrap()["state"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_names_is_refused_unsigned_unless_that_is_said() {
    let setting = Setting::new();
    let package = setting.package("1.0.0", "well_behaved", &[]);
    setting.configure(&package, "", "");
    let said = setting.refused();
    for part in [
        "the publish gate refuses test/judge@1.0.0",
        "signature.absent",
        "crossdock plugin sign",
        "`unsigned = \"note\"`",
    ] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    // Said in so many words, it passes, and is not asked about again.
    setting.configure(&package, "unsigned = \"note\"", "");
    let hub = setting.hub();
    assert_eq!(hub.event("o-1", EVENT, &json!({})).await.0, 200);
    assert!(hub.stop());
    // A version more has to be signed again, by a key that is trusted.
    let next = setting.package("1.1.0", "second_version", &[]);
    setting.configure(&next, "", "");
    assert!(setting.refused().contains("signature.absent"));
    local(setting.folder.path(), &["plugin", "sign", next.to_str().unwrap(), "--key", "two.key"]);
    let hub = setting.hub();
    assert_eq!(state(&hub, "1.1.0").await, "published");
    assert!(hub.stop());
    // What was changed after it was signed is refused, whatever is said of unsigned ones.
    let changed = setting.package("1.2.0", "second_version", &["one.key"]);
    fs::write(changed.join("component.wasm"), guests::hostile("well_behaved")).unwrap();
    setting.configure(&changed, "unsigned = \"note\"", "");
    assert!(setting.refused().contains("signature.content-differs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_stops_what_only_it_signed() {
    let setting = Setting::new();
    let first = setting.package("1.0.0", "well_behaved", &["one.key"]);
    setting.configure(&first, "", "");
    let hub = setting.hub();
    let both = setting.package("1.1.0", "second_version", &["one.key", "two.key"]);
    let publish = |path: &Path| {
        crossdock(&hub, "ada", "admin", &["plugin", "publish", path.to_str().unwrap(), "--reason", "better"])
    };
    assert_eq!(publish(&both).0, Some(0));
    assert_eq!(hub.event("o-1", EVENT, &json!({})).await.0, 200);
    let key = setting.keys[0]["key"].as_str().unwrap();
    let (_, listed) = crossdock(&hub, "olga", "operator", &["plugin", "key", "list"]);
    assert!(listed.contains(key) && listed.contains("test/judge@1.0.0, test/judge@1.1.0"), "{listed}");

    let (code, said) =
        crossdock(&hub, "rita", "retailer", &["plugin", "key", "revoke", key, "--yes", "--reason", "stolen"]);
    assert!(code == Some(1) && said.contains("access.denied"), "{said}");
    let revoke = ["plugin", "key", "revoke", key, "--reason", "it was stolen"];
    let (code, said) = crossdock(&hub, "olga", "operator", &revoke);
    assert!(code == Some(1) && said.contains("test/judge@1.0.0 is in use") && said.contains("--yes"), "{said}");
    assert_eq!(state(&hub, "1.0.0").await, "published", "who only asked has changed nothing");
    let (code, said) = crossdock(&hub, "olga", "operator", &[&revoke[..], &["--yes"]].concat());
    assert!(code == Some(0) && said.contains("revoked 2"), "{said}");
    assert_eq!(state(&hub, "1.0.0").await, "revoked");
    assert_eq!(state(&hub, "1.1.0").await, "published", "another key signed it, which holds");
    // Runs that would call it are parked, and go on with another version.
    hub.event("o-2", EVENT, &json!({})).await;
    let runs = hub.runs_until("o-2", |runs| runs.first().is_some_and(|run| run["state"] == "parked")).await;
    assert!(runs[0]["cause"].as_str().unwrap().contains("is revoked"), "{runs:?}");
    let (_, audit) = hub.get("/v1/audit?limit=100").await;
    let find =
        |action: &str| audit["records"].as_array().unwrap().iter().find(|one| one["action"] == action).unwrap().clone();
    assert_eq!(
        (&find("key.revoke")["actor"], &find("key.revoke")["reason"]),
        (&json!("olga"), &json!("it was stolen"))
    );
    let stopped = find("plugin.revoke");
    assert_eq!((&stopped["actor"], &stopped["subject"]), (&json!("hub"), &json!("version/test/judge/1.0.0")));
    let why = stopped["reason"].as_str().unwrap();
    assert!(why.contains("its signature does not count any more") && why.contains(key), "{why}");

    // Nobody brings it back, and nothing more comes in by that key; a restart forgets none of it.
    let (code, said) = crossdock(&hub, "ada", "admin", &["plugin", "restore", LINE, "1.0.0", "--reason", "please"]);
    assert!(code == Some(1) && said.contains("the key was revoked at"), "{said}");
    let late = setting.package("1.2.0", "second_version", &["one.key"]);
    let (code, said) = publish(&late);
    assert!(code == Some(1) && said.contains("signature.key-revoked"), "{said}");
    let promoted =
        crossdock(&hub, "ada", "admin", &["plugin", "promote", LINE, "1.1.0", "--reason", "it is signed twice"]);
    assert_eq!(promoted.0, Some(0), "{}", promoted.1);
    let run = runs[0]["id"].as_str().unwrap();
    assert_eq!(crossdock(&hub, "olga", "operator", &["run", "resume", run, "--reason", "another serves"]).0, Some(0));
    hub.runs_until("o-2", |runs| runs.first().is_some_and(|run| run["state"] == "completed")).await;
    assert!(hub.stop());
    let hub = setting.hub();
    assert_eq!((state(&hub, "1.0.0").await, state(&hub, "1.1.0").await), (json!("revoked"), json!("published")));
    let (_, trust) = hub.get("/v1/trust").await;
    assert_eq!((&trust["keys"][0]["revoked_by"], &trust["keys"][1].get("revoked")), (&json!("olga"), &None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_configuration_revokes_stops_what_it_signed_at_the_next_start() {
    let setting = Setting::new();
    let package = setting.package("1.0.0", "well_behaved", &["one.key"]);
    setting.configure(&package, "", "");
    let hub = setting.hub();
    assert_eq!(hub.event("o-1", EVENT, &json!({})).await.0, 200);
    assert!(hub.stop());
    // A key that ran out signed it in time.
    setting.configure(&package, "", "not_after = \"2999-01-01T00:00:00Z\"");
    let hub = setting.hub();
    assert_eq!(state(&hub, "1.0.0").await, "published");
    assert!(hub.stop());
    setting.configure(&package, "", "revoked = \"2026-01-01T00:00:00Z\"");
    let hub = setting.hub();
    assert_eq!(state(&hub, "1.0.0").await, "revoked");
    hub.event("o-2", EVENT, &json!({})).await;
    hub.runs_until("o-2", |runs| runs.first().is_some_and(|run| run["state"] == "parked")).await;
}

#[test]
fn a_built_package_says_what_it_is_made_of() {
    let package = packages::package("fulfilment-policy");
    let bytes = fs::read(package.join("sbom.json")).expect("a bill of materials");
    let bill: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&json!("CycloneDX"), &json!("1.6")));
    assert_eq!(bill["metadata"]["component"]["name"], "fulfilment-policy");
    let components = bill["components"].as_array().unwrap();
    let names: Vec<&str> = components.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"serde_json") && names.contains(&"wit-bindgen"), "{names:?}");
    assert!(
        !names.contains(&"crossdock") && !names.contains(&"insta"),
        "the hub and what tests need are no part: {names:?}"
    );
    assert!(components.iter().all(|one| one["purl"].as_str().unwrap().starts_with("pkg:cargo/")));
    // Whoever signs the package signs it.
    let candidate = Candidate::read(&package).expect("a package");
    assert_eq!(candidate.descriptor.sbom, Some(Digest::of(&bytes)));
    assert_eq!(candidate.descriptor.files.get("sbom.json"), Some(&Digest::of(&bytes)));
}

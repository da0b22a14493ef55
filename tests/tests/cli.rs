//! The command line as people and programs see it: output and exit codes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{fs, path::Path, process::Command};

use crossdock_tests::{packages, said::Said};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");

fn run(arguments: &[&str], folder: &Path) -> Said {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(folder).env("NO_COLOR", "1");
    Said::by(command.env_remove("CROSSDOCK_HUB").env_remove("CROSSDOCK_LOG"))
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}{}", said.out, said.err))
}

/// A package with this manifest and this component.
fn package(folder: &Path, manifest: &str, component: &[u8]) {
    fs::write(folder.join("plugin.toml"), manifest).expect("written");
    fs::write(folder.join("component.wasm"), component).expect("written");
}

const MANIFEST: &str = r#"
id = "acme/x"
version = "1.0.0"
kind = "transform"
contract = "1.0.0"
license = "Apache-2.0"
summary = "x"
"#;

/// What `plugin check` says of the rule that it refuses by.
fn refused(manifest: &str, component: &[u8]) -> (String, String) {
    let folder = tempfile::tempdir().expect("folder");
    package(folder.path(), manifest, component);
    let said = run(&["--json", "plugin", "check", "."], folder.path());
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    let report = json(&said)[0].clone();
    assert_eq!(report["accepted"], false);
    let findings = report["findings"].as_array().expect("findings").clone();
    let finding = findings.iter().find(|finding| finding["severity"] == "refuse").expect("one that refuses");
    let text = |name: &str| finding[name].as_str().expect("text").to_owned();
    (text("rule"), text("found"))
}

#[test]
fn a_component_that_is_not_one_is_refused_and_told_how_to_be_built() {
    let (rule, detail) = refused(MANIFEST, b"not wasm at all");
    assert_eq!(rule, "component.loads");
    assert!(detail.contains("not a WebAssembly component") && detail.contains("wasm32-wasip2"), "{detail}");
    // A core module is not a component either.
    let (rule, detail) = refused(MANIFEST, b"\0asm\x01\0\0\0");
    assert_eq!(rule, "component.loads");
    assert!(detail.contains("component"), "{detail}");
}

#[test]
fn a_manifest_with_an_unknown_field_is_refused_with_its_line() {
    let (rule, detail) = refused(&format!("{MANIFEST}colour = \"red\"\n"), b"");
    assert_eq!(rule, "manifest.valid");
    assert!(detail.contains("unknown field `colour`") && detail.contains("line 8"), "{detail}");
}

#[test]
fn the_first_plugins_would_be_accepted() {
    let folders: Vec<String> =
        packages::PLUGINS.iter().map(|name| packages::package(name).display().to_string()).collect();
    let mut arguments = vec!["--json", "plugin", "check"];
    arguments.extend(folders.iter().map(String::as_str));
    let said = run(&arguments, &packages::workspace());
    let reports = json(&said);
    for report in reports.as_array().expect("reports") {
        assert_eq!(report["accepted"], true, "{report:#}");
    }
    assert_eq!(said.code, Some(0));
}

#[test]
fn a_broken_pipeline_is_told_where_and_what_to_write_instead() {
    let folder = tempfile::tempdir().expect("folder");
    let text = fs::read_to_string(packages::workspace().join("host/demo/order-fulfilment.yaml")).expect("the demo's");
    let broken = text
        .replace("with: { lines: \"${ steps.order.lines }\" }", "with: { lines: \"${ steps.pick.lines }\" }")
        .replace("transform: crossdock/shopify-order@^1", "transform: crossdock/shopify-ordr@^1");
    fs::write(folder.path().join("broken.yaml"), broken).expect("written");
    let plugins = packages::workspace().join("plugins");
    let plugins = plugins.display().to_string();
    let said = run(&["pipeline", "check", "broken.yaml", "--plugins", &plugins], folder.path());
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    for part in ["broken.yaml:", "shopify-ordr", "steps.pick", "instead:"] {
        assert!(said.out.contains(part), "no {part} in {}", said.out);
    }
    let said = run(&["--json", "pipeline", "check", "broken.yaml", "--plugins", &plugins], folder.path());
    let found = json(&said)[0]["diagnostics"].as_array().expect("diagnostics").clone();
    assert!(
        found.len() >= 2 && found.iter().all(|one| one["line"].as_u64().is_some_and(|line| line > 1)),
        "{found:#?}"
    );
}

#[test]
fn the_demo_pipeline_checks_and_draws() {
    let root = packages::workspace();
    let said = run(&["pipeline", "check", "host/demo/order-fulfilment.yaml"], &root);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let said = run(&["pipeline", "graph", "host/demo/order-fulfilment.yaml"], &root);
    assert_eq!(said.code, Some(0), "{}", said.err);
    for step in ["order", "stock", "quotes", "ranking", "plan", "erp_order", "pick"] {
        assert!(said.out.contains(step), "no {step} in {}", said.out);
    }
    let said = run(&["pipeline", "graph", "--mermaid", "host/demo/order-fulfilment.yaml"], &root);
    assert!(said.out.contains("flowchart") || said.out.contains("graph"), "{}", said.out);
}

#[test]
fn a_hub_that_is_not_there_is_said_to_be_so() {
    let folder = tempfile::tempdir().expect("folder");
    // Port 9 is the discard service's; nothing listens there on loopback.
    let said = run(&["run", "list", "--hub", "http://127.0.0.1:9"], folder.path());
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("no hub answers") && said.err.contains("crossdock serve"), "{}", said.err);
}

#[test]
fn a_hub_does_not_listen_to_the_world() {
    let folder = tempfile::tempdir().expect("folder");
    let said = run(&["serve", "--data", "data", "--listen", "0.0.0.0:0"], folder.path());
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.err.contains("loopback"), "{}", said.err);
}

#[test]
fn a_configuration_with_a_mistake_is_refused_with_its_place() {
    let folder = tempfile::tempdir().expect("folder");
    let config = "[connections.erp]\nplugin = \"acme/erp\"\nbase_url = \"http://x\"\npassword = \"s3cret\"\n";
    fs::write(folder.path().join("hub.toml"), config).expect("written");
    let said = run(&["serve", "--data", "data", "--listen", "127.0.0.1:0", "--config", "hub.toml"], folder.path());
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.err.contains("unknown field `password`"), "{}", said.err);

    let config = config.replace("password = \"s3cret\"", "auth = { scheme = \"bearer\", token = \"s3cret\" }");
    fs::write(folder.path().join("hub.toml"), config).expect("written");
    let said = run(&["serve", "--data", "data", "--listen", "127.0.0.1:0", "--config", "hub.toml"], folder.path());
    assert!(said.err.contains("never by its value"), "{}", said.err);

    let config = "[connections.erp]\nplugin = \"acme/erp\"\nbase_url = \"http://x\"\n";
    fs::write(folder.path().join("hub.toml"), config).expect("written");
    let said = run(&["serve", "--data", "data", "--listen", "127.0.0.1:0", "--config", "hub.toml"], folder.path());
    assert!(said.err.contains("plugin `acme/erp` is not installed"), "{}", said.err);
}

#[test]
fn the_sample_configuration_starts_a_hub() {
    // The packages that it names are built.
    packages::PLUGINS.iter().for_each(|name| drop(packages::package(name)));
    let folder = tempfile::tempdir().expect("folder");
    let sample = packages::workspace().join("host/demo/hub.toml");
    let hub = crossdock_tests::hub::Hub::start(BINARY, &folder.path().join("data"), Some(&sample));
    let said = run(&["--json", "pipeline", "list", "--hub", &hub.url, "--token-file", &hub.token_file], folder.path());
    assert_eq!(json(&said)["pipelines"][0]["name"], "retail/order-fulfilment", "{}", said.out);
    // Its secrets are not set here: that is said before the first order needs them.
    let log = fs::read_to_string(folder.path().join("data.log")).expect("a log");
    assert!(log.contains("ERP_PASSWORD"), "{log}");
    // Nothing answers where it says that the systems are: the order is parked, and the exit code says so.
    let order = packages::workspace().join("host/demo/order.json").display().to_string();
    let said = run(
        &["event", "send", &order, "--wait", "30s", "--hub", &hub.url, "--token-file", &hub.token_file],
        folder.path(),
    );
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.out.contains("parked"), "{}{}", said.out, said.err);
}

#[test]
fn help_completions_and_doctor_answer() {
    let folder = tempfile::tempdir().expect("folder");
    let help = run(&["--help"], folder.path());
    for command in
        ["demo", "serve", "event", "run", "approval", "dead-letter", "plugin", "pipeline", "doctor", "completions"]
    {
        assert!(help.out.contains(command), "no {command} in {}", help.out);
    }
    assert!(run(&["completions", "bash"], folder.path()).out.contains("crossdock"));
    let doctor = json(&run(&["--json", "doctor"], folder.path()));
    assert!(doctor.as_array().expect("findings").iter().any(|finding| finding["what"] == "sandbox"));
    assert_eq!(run(&["no-such-command"], folder.path()).code, Some(2));
}

#[test]
fn people_are_told_what_there_is_to_do_and_what_cannot_be_done() {
    let folder = tempfile::tempdir().expect("folder");
    let hub = crossdock_tests::hub::Hub::start(BINARY, &folder.path().join("data"), None);
    let said = |arguments: &[&str]| {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--hub", &hub.url, "--token-file", &hub.token_file]);
        let said = run(&arguments, folder.path());
        (said.code, format!("{}{}", said.out, said.err))
    };
    let run_id = "run_00000000000000000000000000000000";
    let unknown = format!(
        "error: the hub answers 404 Not Found: there is no run {run_id}; use an id as GET /v1/runs lists it [run.unknown]\n"
    );
    let quoted = unknown.replace(run_id, &format!("`{run_id}`"));
    assert_eq!(said(&["approval", "list"]), (Some(0), "nobody is asked anything\n".to_owned()));
    assert_eq!(said(&["dead-letter", "list"]), (Some(0), "no run is parked\n".to_owned()));
    assert_eq!(said(&["approval", "show", run_id, "plan"]), (Some(1), quoted.clone()));
    assert_eq!(said(&["dead-letter", "show", run_id]), (Some(1), quoted.clone()));
    for act in ["pause", "continue", "cancel", "resume", "close"] {
        assert_eq!(said(&["run", act, run_id]), (Some(1), unknown.clone()), "{act}");
    }
    assert_eq!(said(&["run", "resolve", run_id, "--no-effect"]), (Some(1), quoted.clone()));
    assert_eq!(said(&["run", "restart", run_id, "--step", "x", "--undo"]), (Some(1), unknown));
    let (code, text) = said(&["approval", "approve", run_id]);
    assert_eq!((code, text.contains("asks nobody now")), (Some(1), true), "{text}");
    let (code, text) = said(&["run", "pause", "oops"]);
    assert_eq!((code, text.contains("`oops` is not a run's id")), (Some(1), true), "{text}");
    assert_eq!(
        said(&["dead-letter", "replay", "--cause", "lock"]),
        (Some(0), "0 of 0 parked runs try again; 0 refused, 0 left as they are\n".to_owned())
    );
    for (arguments, names) in [
        (&["run", "resolve", run_id][..], "--took-effect"),
        (&["run", "restart", run_id, "--step", "x"], "--undo"),
        (&["run", "reassign", run_id], "--to"),
        (&["dead-letter", "replay"], "--pipeline"),
        (&["dead-letter", "replay", "--run", run_id, "--canary", "1"], "--canary"),
    ] {
        let (code, text) = said(arguments);
        assert_eq!((code, text.contains(names)), (Some(2), true), "{text}");
    }
}

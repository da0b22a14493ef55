//! Remotes that want more than a password, from the outside: a hub of its own process, a plugin, and a counterpart that
//! reads each request by itself.

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
    sync::Arc,
};

use bytes::Bytes;
use crossdock::{
    app::{clock::SystemClock, secrets::LocalSecrets},
    model::manifest::HttpCapability,
    net::egress::{EgressScope, Gateway},
    ports::egress::Egress,
};
use crossdock_tests::{hub::Hub, packages, said::Said};
use serde_json::{Value, json};

#[path = "remotes/mutual_tls.rs"]
mod mutual_tls;
#[path = "remotes/oauth1.rs"]
mod oauth1;
#[path = "remotes/refresh.rs"]
mod refresh;
#[path = "remotes/sigv4.rs"]
mod sigv4;

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");

/// A folder with a configuration: a pipeline that asks a warehouse, and connections as TOML.
struct Setting {
    folder: tempfile::TempDir,
}

impl Setting {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file; how a connection refers to it as a secret.
    fn secret(&self, name: &str, value: &str) -> String {
        fs::write(self.at(name), value).unwrap();
        format!("file:{}", self.at(name).display())
    }

    /// Declares a connection `wms` to a remote, with more of it in TOML.
    fn configure(&self, url: &str, more: &str) {
        let plugin = packages::package("sandbox-warehouse");
        fs::write(
            self.at("stock.yaml"),
            "pipeline: test/stock\nversion: 1.0.0\nowner: tests\nsummary: Asks a warehouse.\nuses: { wms: \
             retail/warehouse@1 }\ntrigger: [{ event: test.stock.v1 }]\nkey: event.subject\nsteps:\n  - id: ask\n    call: \
             wms#availability\n    with: { lines: [{ sku: a, quantity: 1 }] }\n",
        )
        .unwrap();
        let text = format!(
            "plugins = [{plugin:?}]\npipelines = [{:?}]\n[bindings.\"test/stock\"]\nwms = \"wms\"\n[connections.wms]\nplugin \
             = \"crossdock/sandbox-warehouse\"\nbase_url = \"{url}\"\nallow_addresses = [\"127.0.0.1/32\"]\n{more}\n",
            self.at("stock.yaml")
        );
        fs::write(self.at("hub.toml"), text).unwrap();
    }

    fn hub(&self) -> Hub {
        let (config, data) = (self.at("hub.toml").display().to_string(), self.at("data"));
        let hub = Hub::launch(BINARY, &data, &["--log", "trace", "--config", &config]);
        if !data.join("access/token").exists() {
            let data = data.display().to_string();
            let mut command = Command::new(BINARY);
            command.args(["enroll", "--name", "tests", "--data", &data, "--hub", &hub.url]);
            Said::by(command.env_remove("CROSSDOCK_TOKEN")).done();
        }
        hub
    }

    /// Why a hub does not start.
    fn refused(&self) -> String {
        let (config, data) = (self.at("hub.toml"), self.at("data"));
        let command = crossdock_tests::hub::command(BINARY, &data, Some(&config));
        Hub::try_start(command, BINARY, &data).err().expect("it does not start")
    }
}

fn crossdock(hub: &Hub, arguments: &[&str], input: &str) -> Said {
    let mut command = Command::new(BINARY);
    command.args(arguments).args(["--hub", &hub.url, "--token-file", &hub.token_file]);
    Said::given(command.env("NO_COLOR", "1").env_remove("CROSSDOCK_TOKEN"), input)
}

/// Starts a run, and waits until it has ended or needs somebody.
async fn asked(hub: &Hub, subject: &str) -> Value {
    let event = json!({
        "specversion": "1.0", "id": subject, "source": "/tests", "type": "test.stock.v1", "subject": subject, "data": {},
    });
    let headers = [("content-type", "application/cloudevents+json")];
    let (status, answer) = hub.post("/v1/events", &headers, event.to_string()).await;
    assert_eq!(status, 202, "{answer:#}");
    let ended = |runs: &[Value]| runs.len() == 1 && (runs[0]["state"] == "completed" || runs[0]["state"] == "parked");
    let run = hub.runs_until(subject, ended).await[0].clone();
    hub.get(&format!("/v1/runs/{}", run["id"].as_str().unwrap())).await.1
}

/// The way out of a connection to a remote, with `auth` as TOML.
fn outlet(url: &str, auth: &str) -> Arc<dyn Egress> {
    outlet_with(url, auth, &[(url, true)])
}

/// The same with grants: each origin, and whether requests are authenticated there.
fn outlet_with(url: &str, auth: &str, origins: &[(&str, bool)]) -> Arc<dyn Egress> {
    let text = format!("plugin = \"a/b\"\nbase_url = \"{url}\"\nallow_addresses = [\"127.0.0.1/32\"]\n{auth}\n");
    let connection = toml::from_str(&text).unwrap();
    let capability = |(origin, authenticate): &(&str, bool)| HttpCapability {
        origin: (*origin).to_owned(),
        methods: vec!["GET".to_owned(), "POST".to_owned()],
        reason: "test".to_owned(),
        authenticate: *authenticate,
    };
    Gateway::new().unwrap().open(EgressScope {
        connection_name: "wms".to_owned(),
        connection,
        capabilities: origins.iter().map(capability).collect(),
        read_methods: Vec::new(),
        revision: 1,
        secret_versions: Vec::new(),
        secrets: Arc::new(LocalSecrets),
        clock: Arc::new(SystemClock::default()),
    })
}

/// What comes of a request: its status, and what was answered.
async fn sent(egress: &dyn Egress, request: http::Request<Bytes>) -> (u16, String) {
    let answer = egress.send(request, false).await.unwrap();
    (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
}

/// None of these is in any file below a folder, nor in the log beside it.
#[track_caller]
fn in_no_file(folder: &Path, canaries: &[&str]) {
    let mut waiting = vec![folder.to_owned(), folder.with_extension("log")];
    let mut looked = 0;
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        looked += 1;
        let bytes = fs::read(&path).unwrap();
        for canary in canaries {
            let there = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!there, "`{canary}` is in {}", path.display());
        }
    }
    assert!(looked > 3, "{looked} files");
}

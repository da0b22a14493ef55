//! Who comes in and what they may do, from the outside: hubs in processes of their own, their files, their logs, and the
//! command line.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};

use crossdock_tests::{
    hub::{Hub, PATIENCE},
    said::Said,
};
use http::StatusCode;
use serde_json::{Value, json};
use tokio_rustls::rustls::{self, pki_types::ServerName};

#[path = "access/enrolment.rs"]
mod enrolment;
#[path = "access/streams.rs"]
mod streams;

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const EVENT: (&str, &str) = ("content-type", "application/cloudevents+json");

/// The command line, with nothing of a hub in its environment.
fn crossdock(arguments: &[&str]) -> Said {
    let mut command = Command::new(BINARY);
    for name in ["CROSSDOCK_HUB", "CROSSDOCK_TOKEN", "CROSSDOCK_TOKEN_FILE", "CROSSDOCK_DATA", "CROSSDOCK_CA"] {
        command.env_remove(name);
    }
    Said::by(command.args(arguments).env("NO_COLOR", "1"))
}

#[track_caller]
fn refused(arguments: &[&str], parts: &[&str]) {
    let said = crossdock(arguments);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    for part in parts {
        assert!(said.err.contains(part), "no {part} in {}", said.err);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Makes a token with these fields beside its name.
async fn make(hub: &Hub, name: &str, fields: Value) -> (String, Value) {
    let mut wanted = json!({"name": name, "kind": "service", "roles": ["partner"]});
    wanted.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let (status, issued) = hub.post("/v1/tokens", &JSON, wanted.to_string()).await;
    assert_eq!(status, StatusCode::CREATED, "{issued:#}");
    (issued["token"].as_str().unwrap().to_owned(), issued)
}

async fn get(hub: &Hub, token: &str, path: &str) -> (u16, Value) {
    let bearer = format!("Bearer {token}");
    let request = http::Request::get(format!("{}{path}", hub.url)).header("authorization", bearer);
    let response = hub.send(request.body(bytes::Bytes::new()).unwrap()).await.unwrap();
    (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or_default())
}

async fn send(hub: &Hub, token: &str, source: &str, event_type: &str) -> (u16, Value) {
    let event = json!({"specversion": "1.0", "id": "1", "source": source, "type": event_type, "data": {}});
    let bearer = format!("Bearer {token}");
    let (status, answer) = hub.post("/v1/events", &[EVENT, ("authorization", &bearer)], event.to_string()).await;
    (status.as_u16(), answer)
}

#[tokio::test]
async fn the_first_admin_is_enrolled_once_and_until_then_nothing_but_liveness_answers() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let hub = Hub::launch(BINARY, &data, &[]);
    let offered = data.join("access/enrolment");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&offered).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(get(&hub, "x", "/health/live").await.0, 200);
    for path in ["/health/ready", "/metrics", "/openapi.json", "/v1/runs", "/v1/tokens", "/v1/nothing"] {
        let (status, problem) = get(&hub, "x", path).await;
        assert_eq!((status, &problem["code"]), (401, &json!("auth.required")), "{path}: {problem:#}");
        assert!(problem["detail"].as_str().unwrap().contains("crossdock enroll"), "{problem:#}");
    }
    let (status, problem) = hub.post("/v1/webhooks/shop", &JSON, "{}").await;
    assert_eq!((status.as_u16(), &problem["code"]), (401, &json!("auth.required")), "{problem:#}");

    let kept = fs::read_to_string(&offered).unwrap();
    fs::write(&offered, kept.replace(&kept[40..50], "0123456789")).unwrap();
    let enroll = ["enroll", "--name", "ann", "--data", text(&data), "--hub", &hub.url];
    refused(&enroll, &["enrolment.invalid", "not the enrolment token"]);
    fs::write(&offered, &kept).unwrap();
    let said = crossdock(&enroll);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.contains("`ann` is an admin until"), "{}", said.out);
    assert!(!offered.exists());

    refused(&enroll, &["there is no enrolment token"]);
    fs::write(&offered, &kept).unwrap();
    refused(&enroll, &["enrolment.invalid", "nobody is to be enrolled"]);
    let (status, audit) = hub.get("/v1/audit?action=hub.enroll").await;
    assert_eq!(status, StatusCode::OK, "{audit:#}");
    let record = &audit["records"][0];
    assert_eq!(record["actor"], "enrolment", "{audit:#}");
    assert!(record["reason"].as_str().unwrap().contains("`ann`"), "{audit:#}");
    assert_eq!(hub.post("/v1/webhooks/shop", &JSON, "{}").await.0, StatusCode::NOT_FOUND, "a webhook needs no token");
    assert!(hub.stop());

    let hub = Hub::launch(BINARY, &data, &[]);
    assert!(!offered.exists(), "there is an admin, so nobody is enrolled");
    assert_eq!(hub.get("/v1/runs").await.0, StatusCode::OK, "and the token is good after a restart");
}

#[tokio::test]
async fn a_token_goes_no_further_than_it_was_made_for() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(BINARY, &folder.path().join("data"), None);
    let scope = json!({"scope": {"sources": ["/shops/eu-1"], "types": ["retail.order.*"]}});
    let (partner, _) = make(&hub, "shop", scope).await;
    let (status, problem) = send(&hub, &partner, "/shops/eu-1", "retail.order.unheard.v1").await;
    assert_eq!((status, &problem["code"]), (422, &json!("event.unknown-type")), "let through: {problem:#}");
    for (source, event_type, held) in [
        ("/bank", "retail.order.placed.v1", "its sources are /shops/eu-1"),
        ("/shops/eu-1", "bank.statement.booked", "its event types are retail.order.*"),
    ] {
        let (status, problem) = send(&hub, &partner, source, event_type).await;
        assert_eq!((status, &problem["code"]), (403, &json!("access.denied")), "{problem:#}");
        assert!(problem["detail"].as_str().unwrap().contains(held), "{problem:#}");
    }
    assert_eq!(get(&hub, &partner, "/v1/runs").await.0, 403);

    // Whoever may only make tokens makes none that may more, and gets at no other's secret.
    let only = json!({"kind": "person", "roles": ["admin"], "scope": {"actions": ["token.manage"]}});
    let (clerk, _) = make(&hub, "clerk", only).await;
    let bearer = format!("Bearer {clerk}");
    let headers = [JSON[0], ("authorization", bearer.as_str())];
    let wider = json!({"name": "friend", "kind": "person", "roles": ["admin"]});
    let (status, problem) = hub.post("/v1/tokens", &headers, wider.to_string()).await;
    assert_eq!((status.as_u16(), &problem["code"]), (403, &json!("access.denied")), "{problem:#}");
    let (_, listed) = hub.get("/v1/tokens").await;
    let admin = listed["tokens"].as_array().unwrap().iter().find(|token| token["name"] == "tests").unwrap();
    let id = admin["id"].as_str().unwrap();
    let (status, problem) = hub.post(&format!("/v1/tokens/{id}/rotate"), &headers, "{}").await;
    assert_eq!((status.as_u16(), &problem["code"]), (403, &json!("access.denied")), "{problem:#}");
}

#[tokio::test]
async fn a_revoked_an_expired_and_a_rotated_token_are_good_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let hub = Hub::start(BINARY, &data, None);
    let file = hub.token_file.clone();
    let at = |hub: &Hub| vec!["--hub".to_owned(), hub.url.clone(), "--token-file".to_owned(), file.clone()];
    let run = |hub: &Hub, arguments: &[&str]| {
        let at = at(hub);
        crossdock(&arguments.iter().copied().chain(at.iter().map(String::as_str)).collect::<Vec<_>>())
    };
    let (revoked, issued) = make(&hub, "gone", json!({"roles": ["auditor"]})).await;
    assert_eq!(get(&hub, &revoked, "/v1/runs").await.0, 200);
    let said = run(&hub, &["token", "revoke", issued["id"].as_str().unwrap(), "--reason", "left the company"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let (status, problem) = get(&hub, &revoked, "/v1/runs").await;
    assert_eq!((status, &problem["code"]), (401, &json!("auth.invalid")), "{problem:#}");

    let (brief, _) = make(&hub, "brief", json!({"roles": ["auditor"], "valid_for_s": 1})).await;
    let begun = Instant::now();
    while get(&hub, &brief, "/v1/runs").await.0 == 200 {
        assert!(begun.elapsed() < PATIENCE, "it does not expire");
    }
    assert!(get(&hub, &brief, "/v1/runs").await.1["detail"].as_str().unwrap().contains("expired at"));

    let (old, issued) = make(&hub, "turning", json!({"roles": ["auditor"]})).await;
    let id = issued["id"].as_str().unwrap();
    let said = run(&hub, &["--json", "token", "rotate", id, "--overlap", "1h"]);
    let new = serde_json::from_str::<Value>(&said.out).unwrap()["token"].as_str().unwrap().to_owned();
    assert_eq!(
        (get(&hub, &old, "/v1/runs").await.0, get(&hub, &new, "/v1/runs").await.0),
        (200, 200),
        "both for an hour"
    );
    let said = run(&hub, &["--json", "token", "rotate", id]);
    let newest = serde_json::from_str::<Value>(&said.out).unwrap()["token"].as_str().unwrap().to_owned();
    assert_eq!((get(&hub, &new, "/v1/runs").await.0, get(&hub, &newest, "/v1/runs").await.0), (401, 200));

    // The last admin stays, and what was done is on record.
    let (_, listed) = hub.get("/v1/tokens").await;
    let admin = listed["tokens"].as_array().unwrap().iter().find(|token| token["name"] == "tests").unwrap();
    assert!(admin["last_used"].is_string(), "{admin:#}");
    let said = run(&hub, &["token", "revoke", admin["id"].as_str().unwrap()]);
    assert!(said.err.contains("last valid admin") && said.err.contains("token.conflict"), "{}", said.err);
    let (_, audit) = hub.get("/v1/audit?action=token").await;
    let of =
        |action: &str| audit["records"].as_array().unwrap().iter().find(|record| record["action"] == action).unwrap();
    assert_eq!(
        (&of("token.revoke")["actor"], &of("token.revoke")["reason"]),
        (&json!("tests"), &json!("left the company"))
    );
    assert_eq!(of("token.rotate")["subject"], json!(format!("token/{id}")));
    let said = run(&hub, &["token", "list"]);
    for part in ["gone", "revoked", "brief", "expired", "turning", "active"] {
        assert!(said.out.contains(part), "no {part} in {}", said.out);
    }
    hub.kill();

    let hub = Hub::start(BINARY, &data, None);
    for (token, expected) in [(&revoked, 401), (&brief, 401), (&old, 401), (&new, 401), (&newest, 200)] {
        assert_eq!(get(&hub, token, "/v1/runs").await.0, expected, "after a crash");
    }
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

#[tokio::test]
async fn no_token_is_in_a_log_an_answer_or_the_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let hub = Hub::launch(BINARY, &data, &["--log", "trace"]);
    let enrolment = fs::read_to_string(data.join("access/enrolment")).unwrap();
    let said = crossdock(&["--log", "trace", "enroll", "--name", "tests", "--data", text(&data), "--hub", &hub.url]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let mut printed = format!("{}{}", said.out, said.err);
    let admin = fs::read_to_string(&hub.token_file).unwrap();
    let (token, issued) = make(&hub, "shop", json!({"scope": {"sources": ["/s"], "types": ["t"]}})).await;
    let id = issued["id"].as_str().unwrap();
    let mut answers = Vec::new();
    for path in ["/v1/runs", "/v1/tokens", "/v1/usage", "/v1/audit", "/metrics", "/v1/nothing"] {
        answers.push(get(&hub, &token, path).await.1);
        answers.push(hub.get(path).await.1);
    }
    answers.push(send(&hub, &token, "/s", "t").await.1);
    answers.push(send(&hub, &token, "/x", "t").await.1);
    answers.push(get(&hub, &format!("{token}x"), "/v1/runs").await.1);
    let (_, rotated) = hub.post(&format!("/v1/tokens/{id}/rotate"), &JSON, json!({"overlap_s": 60}).to_string()).await;
    let again = rotated["token"].as_str().unwrap().to_owned();
    answers.push(get(&hub, &token, "/v1/runs").await.1);
    // A token where none belongs.
    for path in
        [format!("/v1/runs/{again}"), format!("/v1/tokens/{again}x/revoke"), format!("/v1/tokens/{token}/revoke")]
    {
        answers.push(hub.post(&path, &JSON, json!({"reason": "oops"}).to_string()).await.1);
        answers.push(hub.get(&path).await.1);
    }
    let at = ["--hub", &hub.url, "--log", "trace"];
    for arguments in [&["token", "list"][..], &["run", "list"], &["token", "revoke", &again]] {
        let command =
            Command::new(BINARY).args(arguments).args(at).env("CROSSDOCK_TOKEN", admin.trim()).output().unwrap();
        printed.push_str(&String::from_utf8_lossy(&command.stdout));
        printed.push_str(&String::from_utf8_lossy(&command.stderr));
    }
    let data = hub.data.clone();
    assert!(hub.stop());

    let secrets: Vec<String> = [&enrolment, &admin, &token, &again]
        .iter()
        .map(|token| token.trim().splitn(3, '_').last().unwrap().to_owned())
        .collect();
    assert!(secrets.iter().all(|secret| secret.len() == 43));
    let log = fs::read_to_string(data.with_extension("log")).unwrap();
    assert!(log.contains("answered"), "the log says much: {} bytes", log.len());
    let looked = files(&data);
    assert!(looked.len() > 3, "{looked:?}");
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()), "in the log");
        assert!(!printed.contains(secret.as_str()), "printed: {printed}");
        assert!(
            !answers.iter().any(|answer| answer.to_string().contains(secret.as_str())),
            "in an answer: {answers:#?}"
        );
        for path in looked.iter().filter(|path| !path.ends_with("access/token")) {
            let bytes = fs::read(path).unwrap();
            let there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!there, "in {}", path.display());
        }
    }
}

#[tokio::test]
async fn a_quota_and_a_spike_limit_hold_and_the_use_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let hub = Hub::start(BINARY, &data, None);
    let limits = json!({"roles": ["auditor"], "limits": {"quota": {"requests": 3, "per": "day"}}});
    let (token, _) = make(&hub, "metered", limits).await;
    for _ in 0..3 {
        assert_eq!(get(&hub, &token, "/v1/runs").await.0, 200);
    }
    let (status, problem) = get(&hub, &token, "/v1/runs").await;
    assert_eq!((status, &problem["code"]), (429, &json!("token.quota")), "{problem:#}");
    assert!(problem["retry_after_s"].as_u64().unwrap() <= 86_400, "{problem:#}");
    let limits = json!({"roles": ["auditor"], "limits": {"per_second": 2}});
    let (spiky, _) = make(&hub, "spiky", limits).await;
    let mut statuses = Vec::new();
    while statuses.len() < 200 && !statuses.contains(&429) {
        statuses.push(get(&hub, &spiky, "/v1/runs").await.0);
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    let begun = Instant::now();
    while get(&hub, &spiky, "/v1/runs").await.0 != 200 {
        assert!(begun.elapsed() < PATIENCE, "it is not let in again");
    }
    assert!(hub.stop());

    // A quota is a contract, and outlives the hub's process.
    let hub = Hub::start(BINARY, &data, None);
    assert_eq!(get(&hub, &token, "/v1/runs").await.0, 429);
    let (_, used) = hub.get("/v1/usage?all=true").await;
    let metered = used["usage"].as_array().unwrap().iter().find(|used| used["name"] == "metered").unwrap();
    assert_eq!((&metered["requests"], &metered["refused"], &metered["in_period"]), (&json!(5), &json!(2), &json!(3)));
    let said = crossdock(&["token", "usage", "--all", "--hub", &hub.url, "--token-file", &hub.token_file]);
    assert!(said.out.contains("3 of 3 this day"), "{}{}", said.out, said.err);
    assert_eq!(get(&hub, &spiky, "/v1/usage?all=true").await.0, 403, "everybody's use is not everybody's business");
}

#[tokio::test]
async fn an_operators_policies_are_in_force_or_refused_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = (folder.path().join("data"), folder.path().join("hub.toml"));
    fs::write(&config, "[access]\npolicies = [\"own.cedar\"]\n").unwrap();
    let own = folder.path().join("own.cedar");
    let wrong = "// ours\npermit (principal, action == Crossdock::Action::\"run.raed\", resource);\n";
    fs::write(&own, wrong).unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", text(&data), "--config", text(&config)];
    refused(&serve, &["own.cedar:2:", "run.raed", "does not follow the schema"]);
    fs::write(&own, "@id(\"quiet\")\nforbid (principal == Crossdock::Service::\"page\", action == Crossdock::Action::\"run.read\", resource);\n").unwrap();
    let hub = Hub::start(BINARY, &data, Some(&config));
    let (page, _) = make(&hub, "page", json!({"roles": ["auditor"]})).await;
    let (status, problem) = get(&hub, &page, "/v1/runs").await;
    assert_eq!((status, &problem["code"]), (403, &json!("access.denied")), "{problem:#}");
    assert!(problem["detail"].as_str().unwrap().contains("#quiet` forbids it"), "{problem:#}");
    assert_eq!(get(&hub, &page, "/v1/approvals").await.0, 200);
    let (_, audit) = hub.get("/v1/audit?subject=policies").await;
    assert_eq!(audit["records"][0]["action"], "policies.set", "{audit:#}");
    assert!(hub.stop());
    // What is in force stays so without the file.
    let hub = Hub::start(BINARY, &data, None);
    assert_eq!(get(&hub, &page, "/v1/runs").await.0, 403);
}

/// An authority of this test's own, and certificates that it vouches for.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// Writes a new certificate and its key; the certificate's bytes.
    fn issue(&self, certificate: &Path, key: &Path) -> Vec<u8> {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "hub.example".to_owned()];
        let own = rcgen::KeyPair::generate().unwrap();
        let issued = rcgen::CertificateParams::new(names).unwrap().signed_by(&own, &self.issuer).unwrap();
        fs::write(key, own.serialize_pem()).unwrap();
        fs::write(certificate, issued.pem()).unwrap();
        issued.der().to_vec()
    }

    /// The certificate that a hub shows, and what it answers to a request for a host.
    fn ask(&self, address: &str, host: &str) -> (Vec<u8>, String) {
        use rustls::pki_types::{CertificateDer, pem::PemObject as _};
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let mut tls = rustls::Stream::new(&mut connection, &mut stream);
        let request = format!("GET /health/live HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        tls.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = tls.read_to_string(&mut answer);
        (connection.peer_certificates().unwrap()[0].to_vec(), answer)
    }
}

#[tokio::test]
async fn the_hub_is_reached_from_elsewhere_only_through_tls_and_with_an_admin_and_its_certificate_turns() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (data, certificate, key, ca) = (at("data"), at("hub.pem"), at("hub.key"), at("ca.pem"));
    let authority = Authority::new();
    fs::write(&ca, &authority.pem).unwrap();
    let first = authority.issue(&certificate, &key);
    let tls = ["--tls-cert", text(&certificate), "--tls-key", text(&key)];
    let serve = |more: &[&'static str]| -> Vec<String> {
        let own = ["serve", "--listen", "0.0.0.0:0", "--data", text(&data)];
        own.iter().chain(more).map(|part| (*part).to_owned()).collect()
    };
    let arguments = |more: Vec<String>, tls: &[&str]| -> Vec<String> {
        more.into_iter().chain(tls.iter().map(|part| (*part).to_owned())).collect()
    };
    let check = |arguments: Vec<String>, parts: &[&str]| {
        refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), parts);
    };
    check(serve(&[]), &["--tls-cert", "--behind-proxy"]);
    check(arguments(serve(&[]), &tls), &["no admin is enrolled", "crossdock enroll"]);
    check(serve(&["--behind-proxy"]), &["no admin is enrolled"]);

    let hub = Hub::start(BINARY, &data, None);
    assert!(hub.stop());
    // What the demo leaves keeps the hub at home.
    let own = crossdock::app::hub::Hub::open(&data).await.unwrap();
    own.access_control().develop("developer").await.unwrap();
    own.stop().await;
    drop(own);
    check(arguments(serve(&[]), &tls), &["development token", "crossdock token revoke"]);
    let hub = Hub::start(BINARY, &data, None);
    let (_, listed) = hub.get("/v1/tokens").await;
    let development = listed["tokens"].as_array().unwrap().iter().find(|token| token["development"] == true).unwrap();
    let path = format!("/v1/tokens/{}/revoke", development["id"].as_str().unwrap());
    assert_eq!(hub.post(&path, &JSON, "{}").await.0, StatusCode::OK);
    let token_file = hub.token_file.clone();
    assert!(hub.stop());

    let mut more = vec!["--name", "hub.example"];
    more.extend(tls);
    let hub = Hub::launch_on(BINARY, &data, "0.0.0.0:0", &more);
    let port = hub.url.rsplit(':').next().unwrap().to_owned();
    assert!(hub.url.starts_with("https://"), "{}", hub.url);
    let address = format!("127.0.0.1:{port}");
    let (shown, answer) = authority.ask(&address, "hub.example");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(shown, first);
    assert!(authority.ask(&address, "other.example").1.starts_with("HTTP/1.1 421"));
    let url = format!("https://localhost:{port}");
    let list = ["run", "list", "--hub", &url, "--token-file", &token_file];
    refused(&list, &["no hub answers"]);
    let said = crossdock(&[&list[..], &["--ca", text(&ca)]].concat());
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);

    // A pair that does not fit changes nothing; the next one that does is taken up while the hub goes on.
    fs::write(&key, "nonsense").unwrap();
    assert_eq!(authority.ask(&address, "localhost").0, first);
    let second = authority.issue(&certificate, &key);
    let begun = Instant::now();
    while authority.ask(&address, "localhost").0 != second {
        assert!(begun.elapsed() < PATIENCE, "the new certificate is not taken up");
        std::thread::yield_now();
    }
    // Plain requests are not answered.
    let mut plain = TcpStream::connect(&address).unwrap();
    plain.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

/// A provider's key, its entry in a JWK set, and tokens signed with it.
struct Provider {
    id: &'static str,
    key: rcgen::KeyPair,
}

impl Provider {
    fn new(id: &'static str) -> Self {
        Self { id, key: rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap() }
    }

    fn keys(&self) -> String {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        // An uncompressed point: 4, x, y.
        let point = self.key.public_key_raw();
        let [x, y] = [&point[1..33], &point[33..65]].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": self.id, "x": x, "y": y}]}).to_string()
    }

    fn token(&self, audience: &str) -> String {
        let header = jsonwebtoken::Header {
            kid: Some(self.id.to_owned()),
            ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256)
        };
        let expires = jsonwebtoken::get_current_timestamp() + 600;
        let claims = json!({"iss": "https://id.example", "aud": audience, "sub": "ann", "exp": expires,
            "groups": ["shop-ops"]});
        let key = jsonwebtoken::EncodingKey::from_ec_der(&self.key.serialize_der());
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }
}

#[tokio::test]
async fn a_provider_of_identities_lets_people_in_with_the_roles_that_their_groups_have() {
    let folder = tempfile::tempdir().unwrap();
    let (config, keys) = (folder.path().join("hub.toml"), folder.path().join("keys.json"));
    let provider = "[access.openid]\nissuer = \"https://id.example\"\naudience = \"crossdock\"\njwks = \"keys.json\"\n\
        roles_claim = \"groups\"\nroles = { \"shop-ops\" = [\"operator\"] }\n";
    fs::write(&config, provider).unwrap();
    let first = Provider::new("k1");
    fs::write(&keys, first.keys()).unwrap();
    let hub = Hub::start(BINARY, &folder.path().join("data"), Some(&config));
    let token = first.token("crossdock");
    assert_eq!(get(&hub, &token, "/v1/runs").await.0, 200);
    let (status, problem) = get(&hub, &token, "/v1/tokens").await;
    assert_eq!((status, &problem["code"]), (403, &json!("access.denied")), "{problem:#}");
    assert_eq!(send(&hub, &token, "/s", "t").await.0, 403, "it lists no sources");
    let (status, problem) = get(&hub, &first.token("another"), "/v1/runs").await;
    assert_eq!((status, &problem["code"]), (401, &json!("auth.invalid")), "{problem:#}");
    assert!(problem["detail"].as_str().unwrap().contains("another audience"), "{problem:#}");

    // The provider's key turns: the old one is no longer good, the new one is found by itself.
    let second = Provider::new("k2");
    let token = second.token("crossdock");
    assert_eq!(get(&hub, &token, "/v1/runs").await.0, 401);
    fs::write(&keys, second.keys()).unwrap();
    let begun = Instant::now();
    while get(&hub, &token, "/v1/runs").await.0 != 200 {
        assert!(begun.elapsed() < PATIENCE, "the new key is not found");
    }
    assert_eq!(get(&hub, &first.token("crossdock"), "/v1/runs").await.0, 401);
    let log = fs::read_to_string(folder.path().join("data.log")).unwrap();
    assert!(!log.contains(&token[token.len() - 40..]), "the token is in the log");
}

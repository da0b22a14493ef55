//! What leaves the hub, back to what hub.toml declares: subscriptions and published reads are handed back to the file as
//! connections and sources are, audited, and by two where that gives others more.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::fs;

use crossdock_tests::{gatekeeper::Gatekeeper, hub::Hub, packages, said::Said};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const CONTRACT: &str = "retail/warehouse@1";
const API: &str = "/v1/apis/retail/warehouse/1";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

struct Setting {
    folder: tempfile::TempDir,
    remote: String,
}

impl Setting {
    fn new(remote: &Gatekeeper) -> Self {
        let setting = Self { folder: tempfile::tempdir().unwrap(), remote: remote.url.clone() };
        fs::write(setting.at("signing"), "whsec_c2VjcmV0").unwrap();
        setting.declare("test.*", "availability");
        setting
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// hub.toml with these types delivered and this read published.
    fn declare(&self, types: &str, operation: &str) {
        let warehouse = packages::package("sandbox-warehouse");
        let connection = format!(
            "plugin = \"crossdock/sandbox-warehouse\"\nbase_url = \"{}\"\nallow_addresses = [\"127.0.0.1/32\"]\n",
            self.remote
        );
        let text = format!(
            "plugins = [{warehouse:?}]\n[connections.one]\n{connection}[connections.two]\n{connection}\
             [subscriptions.acme]\nowner = \"acme\"\ntypes = [\"{types}\"]\nurl = \"https://acme.example/hooks\"\nsecrets = \
             [\"file:{}\"]\n[apis.\"{CONTRACT}\"]\nconnection = \"one\"\noperations = [\"{operation}\"]\n",
            self.at("signing")
        );
        fs::write(self.at("hub.toml"), text).unwrap();
    }

    fn hub(&self) -> Hub {
        Hub::start(BINARY, &self.folder.path().join("data"), Some(&self.folder.path().join("hub.toml")))
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

/// Who has the say, and what hub.toml declares of it.
async fn says(hub: &Hub, path: &str) -> (Value, Value) {
    let (status, view) = hub.get(path).await;
    assert_eq!(status.as_u16(), 200, "{view:#}");
    (view["origin"].clone(), view["declared"].clone())
}

fn is(origin: &str, declared: &str) -> (Value, Value) {
    (json!(origin), json!(declared))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_handed_back_to_the_file_by_two_where_more_leaves_the_hub() {
    let remote = Gatekeeper::start("tok").await;
    let setting = Setting::new(&remote);
    let hub = setting.hub();
    let path = "/v1/subscriptions/acme";
    assert_eq!(says(&hub, path).await, is("file", "same"));
    let said = done(&hub, &["subscription", "show", "acme"]);
    assert!(said.contains("set by       hub.toml"), "{said}");

    let secret = format!("file:{}", setting.at("signing"));
    let add =
        ["subscription", "add", "acme", "--owner", "acme", "--url", "https://acme.example/hooks", "--secret", &secret];
    done(&hub, &[&add[..], &["--types", "test.less.v1", "--reason", "less"]].concat());
    assert_eq!(says(&hub, path).await, is("api", "differs"));
    let said = done(&hub, &["subscription", "show", "acme"]);
    assert!(said.contains("the API; hub.toml declares something else, which is not followed"), "{said}");
    assert!(hub.stop());
    let hub = setting.hub();
    assert_eq!(says(&hub, path).await, is("api", "differs"), "who changed it last has the say");

    // More types than now: not alone.
    let handed_back = ["subscription", "add", "acme", "--declared", "--reason", "as we agreed"];
    let said = done(&hub, &handed_back);
    assert!(said.contains("events of type `test.*` are delivered"), "{said}");
    assert_eq!(says(&hub, path).await, is("api", "differs"), "nothing has changed yet");
    hub.agree(&said);
    assert_eq!(says(&hub, path).await, is("file", "same"));
    let (_, audit) = hub.get("/v1/audit?subject=subscription/acme&limit=1").await;
    let record = &audit["records"][0];
    assert_eq!((&record["action"], &record["actor"]), (&json!("subscription.set"), &json!("second")), "{record:#}");
    assert!(record["reason"].as_str().unwrap().contains("as we agreed"), "{record:#}");
    done(&hub, &handed_back);

    // The file is followed again.
    assert!(hub.stop());
    setting.declare("test.other.*", "availability");
    let hub = setting.hub();
    let (_, view) = hub.get(path).await;
    assert_eq!((&view["types"], &view["origin"]), (&json!(["test.other.*"]), &json!("file")), "{view:#}");

    // One that was removed stays away until it is handed back.
    done(&hub, &["subscription", "remove", "acme", "--reason", "over"]);
    assert!(hub.stop());
    let hub = setting.hub();
    assert_eq!(hub.get(path).await.0.as_u16(), 404);
    let said = done(&hub, &handed_back);
    assert!(said.contains("`acme` sees it"), "{said}");
    hub.agree(&said);
    assert_eq!(says(&hub, path).await, is("file", "same"));

    let (code, said) = crossdock(&hub, &["subscription", "add", "nobody", "--declared", "--reason", "x"]);
    assert!(code == Some(1) && said.contains("hub.toml declares no subscription `nobody`"), "{said}");
    let both = json!({ "do": "declared", "subscription": { "owner": "acme", "types": ["a"], "url": "https://a.example",
        "secrets": ["env:A"] }, "reason": "x" });
    for wrong in [both, json!({ "reason": "x" })] {
        let (status, problem) = hub.post(path, &JSON, wrong.to_string()).await;
        assert_eq!((status.as_u16(), &problem["code"]), (400, &json!("request.invalid")), "{problem:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_is_handed_back_to_the_file_by_two_where_others_get_more() {
    let remote = Gatekeeper::start("tok").await;
    let setting = Setting::new(&remote);
    let hub = setting.hub();
    assert_eq!(says(&hub, API).await, is("file", "same"));
    let said = done(
        &hub,
        &["api", "publish", CONTRACT, "--connection", "two", "--operation", "availability", "--reason", "we move"],
    );
    hub.agree(&said);
    assert_eq!(says(&hub, API).await, is("api", "differs"));

    let handed_back = ["api", "publish", CONTRACT, "--declared", "--reason", "we stay"];
    let said = done(&hub, &handed_back);
    assert!(said.contains("is answered through connection `one`"), "{said}");
    assert_eq!(says(&hub, API).await, is("api", "differs"), "nothing has changed yet");
    hub.agree(&said);
    assert_eq!(says(&hub, API).await, is("file", "same"));
    let said = done(&hub, &["api", "show", CONTRACT]);
    assert!(said.contains("set by       hub.toml") && said.contains("connection   one"), "{said}");

    // What was withdrawn stays so until it is handed back, and what is handed back is followed.
    done(&hub, &["api", "withdraw", CONTRACT, "--reason", "over"]);
    assert!(hub.stop());
    let hub = setting.hub();
    assert_eq!(hub.get(API).await.0.as_u16(), 410);
    let said = done(&hub, &handed_back);
    hub.agree(&said);
    let (_, audit) = hub.get("/v1/audit?subject=api/&limit=1").await;
    let record = &audit["records"][0];
    assert_eq!((&record["action"], &record["actor"]), (&json!("api.publish"), &json!("second")), "{record:#}");
    assert!(hub.stop());
    let hub = setting.hub();
    assert_eq!(says(&hub, API).await, is("file", "same"));

    // A channel is not told who has the say.
    let said = done(&hub, &["token", "create", "chan", "--role", "partner", "--contract", CONTRACT, "--json"]);
    let token = serde_json::from_str::<Value>(&said).unwrap()["token"].as_str().unwrap().to_owned();
    let request = http::Request::get(format!("{}{API}", hub.url)).header("authorization", format!("Bearer {token}"));
    let answer = hub.send(request.body(bytes::Bytes::new()).unwrap()).await.unwrap();
    let view: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!((view.get("origin"), view.get("declared"), view.get("connection")), (None, None, None), "{view:#}");

    let (code, said) = crossdock(&hub, &["api", "publish", "retail/erp-orders@1", "--declared", "--reason", "x"]);
    assert!(code == Some(1) && said.contains("hub.toml declares no publication of `retail/erp-orders@1`"), "{said}");
    let both =
        json!({ "do": "declared", "api": { "connection": "one", "operations": ["availability"] }, "reason": "x" });
    let (status, problem) = hub.post(API, &JSON, both.to_string()).await;
    assert_eq!((status.as_u16(), &problem["code"]), (400, &json!("request.invalid")), "{problem:#}");
}

//! Schemas of events from the outside: registered, compared, held to at the door and at `emit`, brought by plugins, put
//! out of use; and the AsyncAPI document of all events.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use bytes::Bytes;
use crossdock_tests::{
    guests,
    hub::{Hub, PATIENCE},
};
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const ORDER: &str = "test.order.v1";
const PIPELINE: &str = "pipeline: test/take
version: 1.0.0
owner: test
summary: Takes an order, and tells of it.
trigger: [{ event: test.order.v1 }]
key: event.subject
steps:
  - id: tell
    emit: test.told.v1
    data: ${ event.data }
";

/// A hub with a pipeline that takes orders.
struct Setting {
    folder: tempfile::TempDir,
}

impl Setting {
    fn new() -> Self {
        let setting = Self { folder: tempfile::tempdir().unwrap() };
        setting.write("take.yaml", PIPELINE);
        setting.write("hub.toml", "pipelines = [\"take.yaml\"]\n");
        setting
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn schema(&self, name: &str, schema: &Value) -> String {
        self.write(name, &schema.to_string()).display().to_string()
    }

    fn hub(&self) -> Hub {
        Hub::start(BINARY, &self.folder.path().join("data"), Some(&self.folder.path().join("hub.toml")))
    }
}

/// An order's schema, with more properties.
fn order(more: &Value, required: &[&str]) -> Value {
    let mut properties = json!({ "total": { "type": "string", "pattern": "^[0-9]+\\.[0-9]{2}$" }, "lines": {
        "type": "array", "minItems": 1, "items": { "type": "object", "required": ["sku"] } } });
    properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "title": "Order", "type": "object", "required": required, "properties": properties,
        "additionalProperties": false })
}

/// Runs the command line as an operator: its exit code and what it printed.
fn crossdock(hub: &Hub, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    command.args(arguments).env("NO_COLOR", "1").env("CROSSDOCK_HUB", &hub.url);
    let output = command.env("CROSSDOCK_TOKEN", hub.token_of("olga")).output().expect("runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[track_caller]
fn done(hub: &Hub, arguments: &[&str]) -> String {
    let (code, text) = crossdock(hub, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {text}");
    text
}

/// Sends an order; the answer with its headers.
async fn send(hub: &Hub, id: &str, more: &Value, data: &Value) -> (StatusCode, HeaderMap, Value) {
    let mut event =
        json!({ "specversion": "1.0", "id": id, "source": "/tests", "type": ORDER, "subject": id, "data": data });
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request =
        Request::post(format!("{}/v1/events", hub.url)).header("content-type", "application/cloudevents+json");
    let response = hub.send(request.body(Bytes::from(event.to_string())).unwrap()).await.unwrap();
    let body = serde_json::from_slice(response.body()).unwrap();
    (response.status(), response.headers().clone(), body)
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

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_with_where_and_what_to_change_and_changes_nothing() {
    let setting = Setting::new();
    let hub = setting.hub();
    let file = setting.schema("order.json", &order(&json!({}), &["total", "lines"]));
    let said = done(&hub, &["schema", "add", ORDER, &file, "--reason", "as agreed"]);
    assert!(said.contains("it is version 1 of `test.order.v1`"), "{said}");

    let wrong = json!({ "total": "12,50", "lines": [{ "sku": "a" }, {}], "secret": "4711" });
    let (status, _, body) = send(&hub, "o-1", &json!({}), &wrong).await;
    assert_eq!((status.as_u16(), body["code"].as_str()), (422, Some("event.data")), "{body}");
    assert!(body["schema"].as_str().unwrap().ends_with("/v1/schemas/test.order.v1/1"), "{body}");
    let told: BTreeSet<(&str, &str)> = body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["pointer"].as_str().unwrap(), one["change"].as_str().unwrap()))
        .collect();
    let total = ("/total", "write it so that it matches ^[0-9]+\\.[0-9]{2}$");
    let expected =
        [("", "leave out secret, or use a version of the schema that has it"), total, ("/lines/1", "add \"sku\"")];
    assert_eq!(told, BTreeSet::from(expected));
    assert!(!body.to_string().contains("4711") && !body.to_string().contains("12,50"), "what was sent is not repeated");

    // Nothing of it was kept: the same id is free, and there is no run.
    let (_, runs) = hub.get("/v1/runs?key=o-1").await;
    assert_eq!(runs["runs"], json!([]));
    let right = json!({ "total": "12.50", "lines": [{ "sku": "a" }] });
    let (status, _, body) = send(&hub, "o-1", &json!({}), &right).await;
    assert_eq!((status.as_u16(), &body["events"][0]["duplicate"]), (202, &json!(false)), "{body}");
    // One that does not fit refuses its whole batch.
    let batch = json!([
        { "specversion": "1.0", "id": "b-1", "source": "/tests", "type": ORDER, "subject": "b", "data": right },
        { "specversion": "1.0", "id": "b-2", "source": "/tests", "type": ORDER, "subject": "b", "data": {} },
    ]);
    let headers = [("content-type", "application/cloudevents-batch+json")];
    let (status, _) = hub.post("/v1/events", &headers, batch.to_string()).await;
    assert_eq!(status, 422);
    assert_eq!(hub.get("/v1/runs?key=b").await.1["runs"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_compared_stay_as_they_are_and_are_named_by_events() {
    let setting = Setting::new();
    let hub = setting.hub();
    let (one, two) = (order(&json!({}), &["total"]), order(&json!({ "note": { "type": "string" } }), &["total"]));
    let three = order(&json!({ "note": { "type": "string" } }), &["total", "note"]);
    let files: Vec<String> = [&one, &two, &three]
        .iter()
        .zip(["1.json", "2.json", "3.json"])
        .map(|(one, name)| setting.schema(name, one))
        .collect();
    done(&hub, &["schema", "add", ORDER, &files[0], "--reason", "first"]);
    let said = done(&hub, &["schema", "check", ORDER, &files[1]]);
    assert!(said.contains("it could be version 2 of `test.order.v1` (compatibility backward)"), "{said}");
    // Who receives would not know the new property.
    let (code, said) = crossdock(&hub, &["schema", "check", ORDER, &files[1], "--compatibility", "full"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("forward with version 1") && said.contains("`note` is new"), "{said}");
    done(&hub, &["schema", "add", ORDER, &files[1], "--reason", "notes"]);
    let said = done(&hub, &["schema", "add", ORDER, &files[0], "--reason", "again"]);
    assert!(said.contains("it is version 1 of `test.order.v1` already; nothing has changed"), "{said}");
    // Who sends would not send what is required.
    let (code, said) = crossdock(&hub, &["schema", "add", ORDER, &files[2], "--reason", "notes for all"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("backward with version 2") && said.contains("make `note` optional"), "{said}");
    let headers = [("content-type", "application/json")];
    let body = json!({ "reason": "as well", "schema": { "allOf": [] } }).to_string();
    let (status, body) = hub.post(&format!("/v1/schemas/{ORDER}"), &headers, body).await;
    assert_eq!((status.as_u16(), body["code"].as_str()), (422, Some("schema.refused")));
    assert!(body["obstacles"][0]["change"].as_str().is_some_and(|change| !change.is_empty()), "{body}");
    let (status, _) =
        hub.post_as("paul", "/v1/schemas/a%2Fb", &headers, json!({ "reason": "x", "schema": {} }).to_string()).await;
    assert_eq!(status, 400);

    // After a restart it is all there, and each version is what it was.
    assert!(hub.stop());
    let hub = setting.hub();
    for (version, expected) in [("1", &one), ("2", &two), ("latest", &two)] {
        let (status, schema) = hub.get(&format!("/v1/schemas/{ORDER}/{version}")).await;
        assert_eq!((status.as_u16(), &schema), (200, expected));
    }
    assert_eq!(hub.get(&format!("/v1/schemas/{ORDER}/3")).await.0, 404);
    let said = done(&hub, &["schema", "show", ORDER]);
    assert!(said.contains("starts        test/take") && said.contains("version 2  operator, olga"), "{said}");
    let (_, audit) = hub.get("/v1/audit?limit=100").await;
    let text = audit.to_string();
    for subject in ["schema/test.order.v1/1", "schema/test.order.v1/2"] {
        assert!(text.contains(subject), "{subject} is not in the audit log: {text}");
    }
    assert!(!text.contains("schema/test.order.v1/3"), "what was refused is recorded");

    let noted = json!({ "total": "1.00", "note": "x" });
    let named = |version: &str| json!({ "dataschema": format!("https://hub.example/v1/schemas/{ORDER}/{version}") });
    assert_eq!(send(&hub, "n-1", &json!({}), &noted).await.0, 202, "the latest takes notes");
    let (status, _, body) = send(&hub, "n-2", &named("1"), &noted).await;
    assert_eq!((status.as_u16(), body["errors"][0]["pointer"].as_str()), (422, Some("")), "the first does not: {body}");
    assert_eq!(send(&hub, "n-2", &named("2"), &noted).await.0, 202);
    let (status, _, body) = send(&hub, "n-2", &json!({}), &noted).await;
    assert_eq!((status.as_u16(), &body["events"][0]["duplicate"]), (200, &json!(true)), "it is the same event: {body}");
    let (status, _, body) = send(&hub, "n-3", &named("9"), &noted).await;
    assert!(status == 422 && body["detail"].as_str().unwrap().contains("there is 1, 2"), "{body}");
    let other = json!({ "dataschema": "https://hub.example/v1/schemas/retail.order.placed.v1/1" });
    assert_eq!(send(&hub, "n-3", &other, &noted).await.0, 422);
    let foreign = json!({ "dataschema": "https://example.com/order.json" });
    assert_eq!(send(&hub, "n-3", &foreign, &noted).await.0, 202, "another's name for it is no promise of ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_what_is_deprecated_is_told_and_refused_once_it_is_over() {
    let setting = Setting::new();
    let hub = setting.hub();
    let (one, two) = (order(&json!({}), &["total"]), order(&json!({ "note": { "type": "string" } }), &["total"]));
    done(&hub, &["schema", "add", ORDER, &setting.schema("1.json", &one), "--reason", "first"]);
    done(&hub, &["schema", "add", ORDER, &setting.schema("2.json", &two), "--reason", "second"]);
    let data = json!({ "total": "1.00" });
    let first = json!({ "dataschema": format!("https://hub.example/v1/schemas/{ORDER}/1") });
    let (_, headers, _) = send(&hub, "d-1", &first, &data).await;
    assert!(!headers.contains_key("deprecation"));

    let successor = format!("{ORDER}/2");
    let said = done(
        &hub,
        &[
            "schema",
            "deprecate",
            ORDER,
            "1",
            "--since",
            "2026-01-01T00:00:00Z",
            "--sunset",
            "2999-12-31T23:59:59Z",
            "--successor",
            &successor,
            "--reason",
            "notes are needed",
            "--yes",
        ],
    );
    assert!(said.contains("send test.order.v1/2 instead: notes are needed"), "{said}");
    let (status, headers, _) = send(&hub, "d-2", &first, &data).await;
    assert_eq!(status, 202);
    assert_eq!(headers["deprecation"], "@1767225600");
    assert_eq!(headers["sunset"], "Tue, 31 Dec 2999 23:59:59 GMT");
    assert_eq!(headers["link"], "</v1/schemas/test.order.v1/2>; rel=\"successor-version\"");
    let (_, headers, _) = send(&hub, "d-3", &json!({}), &data).await;
    assert!(!headers.contains_key("deprecation"), "the latest is not deprecated");

    let over = [
        "schema",
        "deprecate",
        ORDER,
        "1",
        "--since",
        "2026-01-01T00:00:00Z",
        "--sunset",
        "2026-01-02T00:00:00Z",
        "--successor",
        &successor,
        "--reason",
        "it is over",
    ];
    let (code, said) = crossdock(&hub, &over);
    assert!(code == Some(1) && said.contains("is in use") && said.contains("starts"), "{said}");
    assert_eq!(send(&hub, "d-3b", &first, &data).await.0, 202, "who only asked has changed nothing");
    done(&hub, &[&over[..], &["--yes"]].concat());
    let (status, _, body) = send(&hub, "d-4", &first, &data).await;
    assert_eq!((status.as_u16(), body["code"].as_str()), (422, Some("event.schema-retired")), "{body}");
    assert_eq!(body["successor"], successor.as_str());
    let (status, _, body) = send(&hub, "d-2", &first, &data).await;
    let known = &body["events"][0]["duplicate"];
    assert_eq!((status.as_u16(), known), (200, &json!(true)), "what was accepted in time is a duplicate: {body}");
    assert_eq!(hub.get("/v1/runs?key=d-4").await.1["runs"], json!([]));
    done(&hub, &["schema", "deprecate", ORDER, "1", "--undo", "--reason", "it is not"]);
    assert_eq!(send(&hub, "d-4", &first, &data).await.0, 202);
    // A whole type, in favour of another that there is.
    let (code, said) =
        crossdock(&hub, &["schema", "deprecate", ORDER, "--successor", "test.order.v9", "--reason", "x"]);
    assert!(code == Some(1) && said.contains("no schema of `test.order.v9`"), "{said}");
    let (code, said) = crossdock(&hub, &["schema", "deprecate", ORDER, "--reason", " "]);
    assert!(code == Some(1) && said.contains("`reason`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_emits_what_does_not_fit_fails_and_says_where() {
    let setting = Setting::new();
    let hub = setting.hub();
    let told = order(&json!({}), &["total"]);
    done(
        &hub,
        &["schema", "add", "test.told.v1", &setting.schema("told.json", &told), "--reason", "who listens relies on it"],
    );
    let (status, body) = hub.event("e-1", ORDER, &json!({ "total": 7 })).await;
    assert!(status.is_success(), "{body}");
    let runs = hub.runs_until("e-1", |runs| runs.first().is_some_and(|run| run["state"] != "running")).await;
    let (_, run) = hub.get(&format!("/v1/runs/{}", runs[0]["id"].as_str().unwrap())).await;
    let failure = &run["steps"][0]["failures"][0];
    assert_ne!(run["state"], "completed", "{run:#}");
    let text = failure.to_string();
    assert!(text.contains("emit.schema") && text.contains("permanent") && text.contains("`data/total`"), "{text}");
    let (status, _) = hub.event("e-2", ORDER, &json!({ "total": "7.00" })).await;
    assert_eq!(status, 200);
    let runs = hub.runs_until("e-2", |runs| runs.first().is_some_and(|run| run["state"] == "completed")).await;
    assert_eq!(runs.len(), 1);
}

/// A source that counts, and says what its events look like.
fn counter(setting: &Setting, version: &str, schema: &Value) -> PathBuf {
    let manifest = format!(
        "id = \"test/counter\"\nversion = \"{version}\"\nkind = \"connector\"\ncontract = \"1.0.0\"\nlicense = \"MIT\"\n\
         summary = \"Counts\"\nimplements = [\"retail/carrier-rates@1\"]\nproduces = [\"test.number.v1\"]\n\
         config_schema = \"config.json\"\n[event_schemas]\n\"test.number.v1\" = \"number.json\"\n[[capabilities.http]]\norigin = \"https://counter.example\"\nmethods = [\"POST\"]\nreason = \"Asks\"\n[operations.quote]\neffect \
         = \"read\"\n"
    );
    let folder = setting.folder.path().join(format!("counter-{version}"));
    fs::create_dir_all(&folder).unwrap();
    for (name, text) in
        [("plugin.toml", manifest), ("config.json", "{}".to_owned()), ("number.json", schema.to_string())]
    {
        fs::write(folder.join(name), text).unwrap();
    }
    fs::write(folder.join("component.wasm"), guests::hostile("connector")).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugins_manifest_brings_schemas_that_its_events_are_held_to() {
    let setting = Setting::new();
    let number = |more: Value| json!({ "type": "object", "required": ["number"], "properties": { "number": more } });
    let package = counter(&setting, "1.0.0", &number(json!({ "type": "integer", "maximum": 100 })));
    let pipeline = "pipeline: test/numbers\nversion: 1.0.0\nowner: test\nsummary: Numbers.\n\
        uses: { counter: retail/carrier-rates@1 }\ntrigger: [{ poll: counter, every: 1s, event: test.number.v1 }]\n\
        key: event.dataschema\nsteps:\n  - emit: test.seen.v1\n    data: ${ event.data }\n";
    let path = setting.write("numbers.yaml", pipeline);
    let config = format!(
        "plugins = [{package:?}]\npipelines = [{path:?}]\n[connections.counter]\nplugin = \"test/counter\"\nbase_url = \
         \"https://counter.example\"\nconfig = {{ total = 2 }}\n[bindings.\"test/numbers\"]\ncounter = \"counter\"\n"
    );
    setting.write("hub.toml", &config);
    let hub = setting.hub();
    let reference = "https://schemas.crossdock.invalid/v1/schemas/test.number.v1/1";
    let runs = until(&hub, "/v1/runs?limit=10", |answer| {
        answer["runs"].as_array().is_some_and(|runs| runs.iter().filter(|run| run["state"] == "completed").count() == 2)
    })
    .await;
    assert!(runs["runs"].as_array().unwrap().iter().all(|run| run["key"] == reference), "{runs:#}");
    let (_, view) = hub.get("/v1/schemas/test.number.v1").await;
    assert_eq!(
        (&view["versions"][0]["origin"], &view["compatibility"]),
        (&json!("test/counter@1.0.0"), &json!("forward"))
    );

    // What others receive may not become more than it was: a new number would have to say so, and a new type be made.
    let wider = counter(&setting, "2.0.0", &number(json!({ "type": "integer" })));
    let (code, said) =
        crossdock(&hub, &["plugin", "publish", &wider.display().to_string(), "--reason", "more numbers"]);
    assert!(
        code == Some(1) && (said.contains("access.denied") || said.contains("may not")),
        "an operator publishes nothing: {said}"
    );
    let publish = |folder: &Path| {
        let mut command = Command::new(BINARY);
        command.args(["plugin", "publish", &folder.display().to_string(), "--reason", "more numbers"]);
        command
            .env("NO_COLOR", "1")
            .env("CROSSDOCK_HUB", &hub.url)
            .env("CROSSDOCK_TOKEN", hub.token_as("ada", "admin"));
        let output = command.output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = publish(&wider);
    assert!(code == Some(1) && said.contains("forward with version 1") && said.contains("type of their own"), "{said}");
    assert_eq!(
        hub.get("/v1/plugins/test/counter").await.1["versions"].as_array().unwrap().len(),
        1,
        "nothing was published"
    );
    let narrower = counter(&setting, "1.1.0", &number(json!({ "type": "integer", "maximum": 50 })));
    let (code, said) = publish(&narrower);
    assert_eq!(code, Some(0), "{said}");
    let (_, view) = hub.get("/v1/schemas/test.number.v1").await;
    assert_eq!(view["versions"][1]["origin"], "test/counter@1.1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_asyncapi_document_describes_every_event() {
    let setting = Setting::new();
    let hub = setting.hub();
    done(
        &hub,
        &["schema", "add", ORDER, &setting.schema("1.json", &order(&json!({}), &["total"])), "--reason", "first"],
    );
    done(&hub, &["schema", "deprecate", ORDER, "--reason", "there will be another"]);
    let (status, document) = hub.get("/asyncapi.json").await;
    assert_eq!((status.as_u16(), &document["asyncapi"]), (200, &json!("3.0.0")));
    let channels = document["channels"].as_object().unwrap();
    for event_type in [ORDER, "test.told.v1", "retail.order.placed.v1", "retail.order.shipped.v1"] {
        assert!(channels.contains_key(event_type), "{event_type}: {channels:#?}");
    }
    assert!(document["operations"]["test.told.v1.send"]["summary"].as_str().unwrap().contains("test/take"));
    assert_eq!(document["components"]["messages"]["test.order.v1.1"]["tags"][0]["name"], "deprecated");
    assert_eq!(document["components"]["schemas"]["test.order.v1.1"]["title"], "Order");
    // The shape that AsyncAPI 3.0 asks for: what each part has to have, and that each reference leads somewhere.
    for (name, operation) in document["operations"].as_object().unwrap() {
        assert!(matches!(operation["action"].as_str(), Some("send" | "receive")), "{name}");
        let channel =
            operation["channel"]["$ref"].as_str().and_then(|path| document.pointer(path.strip_prefix('#')?)).unwrap();
        for message in operation["messages"].as_array().unwrap() {
            // An operation's messages are the channel's (Operation Object, `messages`).
            let path = message["$ref"].as_str().unwrap();
            let own = path.strip_prefix(operation["channel"]["$ref"].as_str().unwrap()).unwrap();
            assert!(channel.pointer(own).is_some(), "{name}: {path}");
        }
    }
    for key in ["channels", "operations"]
        .iter()
        .flat_map(|part| document[*part].as_object().unwrap().keys())
        .chain(document["components"]["schemas"].as_object().unwrap().keys())
    {
        assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{key}");
    }
}

//! Published reads from the outside: a hub in a process of its own, consumers with tokens of their own, SAP and another ERP
//! behind one contract, and a system that is down, slow or answers nonsense.

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
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::{Router, extract::State, response::IntoResponse as _, routing::get};
use bytes::Bytes;
use crossdock_tests::{
    guests,
    hub::{Hub, PATIENCE},
    retail::{Retail, log},
    said::Said,
};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

#[path = "apis/disclosure.rs"]
mod disclosure;
#[path = "apis/inventory.rs"]
mod inventory;

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const API: &str = "/v1/apis/retail/erp-orders/1";

const MANIFEST: &str = r#"
id = "test/plain-erp"
version = "1.0.0"
kind = "connector"
contract = "1.0.0"
license = "Apache-2.0"
summary = "An ERP that speaks the canonical model"
implements = ["retail/erp-orders@1"]

[operations.create_order]
effect = "write"
doubt = { by = "none" }

[operations.find_order]
effect = "read"

[operations.read_order]
effect = "read"

[operations.cancel_order]
effect = "write"
doubt = { by = "none" }

[[capabilities.http]]
origin = "${connection.base_url}"
methods = ["GET"]
reason = "Reads orders"
"#;

/// An ERP that answers with one order, or with what it is told to.
struct PlainErp {
    url: String,
    asked: AtomicUsize,
    instead: Mutex<Option<(StatusCode, String)>>,
    open: watch::Sender<bool>,
}

fn order(number: &str) -> Value {
    json!({"id": number, "number": format!("SO-{number}"), "total": "12.50", "currency": "EUR", "status": "open"})
}

async fn plain_erp() -> Arc<PlainErp> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let erp = Arc::new(PlainErp {
        url,
        asked: AtomicUsize::new(0),
        instead: Mutex::default(),
        open: watch::Sender::new(true),
    });
    let answer = |State(erp): State<Arc<PlainErp>>, axum::extract::Path(number): axum::extract::Path<String>| async move {
        erp.asked.fetch_add(1, Ordering::SeqCst);
        let _ = erp.open.subscribe().wait_for(|open| *open).await;
        let instead = erp.instead.lock().unwrap().clone();
        match instead {
            Some((status, body)) => (status, body).into_response(),
            None if number == "nothing" => StatusCode::NOT_FOUND.into_response(),
            None => axum::Json(order(&number)).into_response(),
        }
    };
    let app = Router::new().route("/orders/{number}", get(answer)).with_state(Arc::clone(&erp));
    tokio::spawn(async move { axum::serve(listener, app).await });
    erp
}

impl PlainErp {
    fn answer_instead(&self, status: u16, body: &str) {
        *self.instead.lock().unwrap() = Some((StatusCode::from_u16(status).unwrap(), body.to_owned()));
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn package(folder: &Path) -> PathBuf {
    let package = folder.join("plain-erp");
    fs::create_dir(&package).unwrap();
    fs::write(package.join("plugin.toml"), MANIFEST).unwrap();
    fs::write(package.join("component.wasm"), guests::hostile("plain_erp")).unwrap();
    package
}

fn connection(url: &str) -> String {
    format!(
        "[connections.plain]\nplugin = \"test/plain-erp\"\nbase_url = \"{url}\"\nallow_addresses = [\"127.0.0.1/32\"]\n\
         limits = {{ breaker = {{ open_ms = 500, open_ms_max = 500 }} }}\n"
    )
}

/// A hub with nothing but the plain ERP, and these terms.
fn plain_hub(folder: &Path, url: &str, terms: &str) -> Hub {
    let config = folder.join("hub.toml");
    let text = format!(
        "plugins = [\"{}\"]\n{}[apis.\"retail/erp-orders@1\"]\nconnection = \"plain\"\noperations = [\"read_order\"]\n{terms}\n",
        package(folder).display(),
        connection(url)
    );
    fs::write(&config, text).unwrap();
    Hub::start(BINARY, &folder.join("data"), Some(&config))
}

/// The command line as the tests' admin: exit code, and what it printed.
fn crossdock(hub: &Hub, arguments: &[&str]) -> (i32, String) {
    let said = Said::at(hub, BINARY, None, arguments);
    (said.code.unwrap_or(-1), said.all())
}

/// A consumer's token for contracts.
async fn consumer(hub: &Hub, name: &str, more: Value) -> String {
    let mut wanted = json!({"name": name, "kind": "service", "roles": ["partner"],
        "scope": {"contracts": ["retail/erp-orders@1"]}});
    wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, issued) = hub.post("/v1/tokens", &JSON, wanted.to_string()).await;
    assert_eq!(status, StatusCode::CREATED, "{issued:#}");
    issued["token"].as_str().unwrap().to_owned()
}

async fn ask(hub: &Hub, token: &str, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
    let mut request = Request::get(format!("{}{path}", hub.url)).header("authorization", format!("Bearer {token}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    hub.send(request.body(Bytes::new()).unwrap()).await.unwrap()
}

fn body(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap_or_default()
}

fn header<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[track_caller]
fn refused(response: &Response<Bytes>, status: u16, code: &str) {
    let said = body(response);
    assert_eq!((response.status().as_u16(), said["code"].as_str()), (status, Some(code)), "{said:#}");
}

#[tokio::test]
async fn consumers_know_the_contract_and_do_not_notice_that_the_erp_behind_it_is_exchanged() {
    let retail = Retail::start(BINARY).await;
    let erp = plain_erp().await;
    let text = fs::read_to_string(retail.config()).unwrap();
    let plugin = format!("plugins = [\n  \"{}\",", package(retail.folder.path()).display());
    let text = text.replacen("plugins = [", &plugin, 1) + &connection(&erp.url);
    let api = "[apis.\"retail/erp-orders@1\"]\nconnection = \"erp\"\noperations = [\"read_order\"]\ncache_s = 600\n";
    fs::write(retail.config(), text + api).unwrap();
    let hub = retail.hub();
    let channel = consumer(&hub, "storefront", json!({})).await;

    // An order in SAP.
    let webhook = retail.retailer.shop.ordinary();
    retail.deliver(&hub, &webhook).await.expect("answered");
    let key = webhook.order.as_ref().unwrap().name.trim_start_matches('#').to_owned();
    hub.runs_until(&key, |runs| runs.len() == 1 && runs[0]["state"] == "completed").await;
    let number = retail.retailer.erp.orders()[0].id.clone();

    let path = format!("{API}/read_order?id={number}");
    let first = ask(&hub, &channel, &path, &[]).await;
    assert_eq!(first.status(), StatusCode::OK, "{}", body(&first));
    assert_eq!(body(&first)["id"], number.as_str(), "{}", body(&first));
    assert_eq!(header(&first, "cache-control"), "private, max-age=600");
    assert_eq!(header(&first, "cache-status"), "crossdock; fwd=miss");
    let tag = header(&first, "etag").to_owned();
    let second = ask(&hub, &channel, &path, &[("if-none-match", &tag)]).await;
    assert_eq!((second.status(), second.body().len()), (StatusCode::NOT_MODIFIED, 0));
    assert!(header(&second, "cache-status").starts_with("crossdock; hit; ttl="), "{second:?}");
    assert!(header(&second, "age").parse::<u64>().is_ok());

    // What consumers see of it.
    let listed = body(&ask(&hub, &channel, "/v1/apis", &[]).await);
    assert_eq!(listed["apis"][0]["contract"], "retail/erp-orders@1");
    assert_eq!(listed["apis"][0]["connection"], Value::Null, "{listed:#}");
    let described = body(&ask(&hub, &channel, &format!("{API}/openapi.json"), &[]).await);
    let get = &described["paths"][format!("{API}/read_order")]["get"];
    assert_eq!(get["parameters"][0]["name"], "id", "{described:#}");
    assert!(described["components"]["schemas"]["retail.order.1"].is_object());
    assert!(!described.to_string().to_lowercase().contains("sap"), "{described:#}");

    // Exchanged: the same question, the same shape, another system.
    let publish = ["api", "publish", "retail/erp-orders@1", "--connection", "plain", "--operation", "read_order"];
    let (code, said) = crossdock(&hub, &[&publish[..], &["--cache-s", "600", "--reason", "we move"]].concat());
    assert_eq!(code, 0, "{said}");
    hub.agree(&said);
    let third = ask(&hub, &channel, &path, &[("if-none-match", &tag)]).await;
    assert_eq!((third.status(), body(&third)), (StatusCode::OK, order(&number)));
    assert_eq!(erp.asked(), 1);
    let keys = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert!(keys(&body(&third)).iter().all(|key| keys(&body(&first)).contains(key)));
    let (_, audit) = hub.get("/v1/audit?action=api").await;
    let who: Vec<_> = audit["records"].as_array().unwrap().iter().map(|line| line["actor"].as_str().unwrap()).collect();
    assert_eq!(who, ["second", "operator:config"], "{audit:#}");
    assert_eq!(audit["records"][0]["reason"], "agreed (asked for by tests: we move)");
    assert!(hub.stop());
}

#[tokio::test]
async fn writes_are_not_published_and_who_is_not_meant_to_ask_is_not_answered() {
    let folder = tempfile::tempdir().unwrap();
    let erp = plain_erp().await;
    let hub = plain_hub(folder.path(), &erp.url, "");
    let channel = consumer(&hub, "storefront", json!({})).await;
    let other = consumer(&hub, "carrier", json!({"scope": {"contracts": ["retail/carrier-rates@1"]}})).await;

    let publish = ["api", "publish", "retail/erp-orders@1", "--connection", "plain", "--operation"];
    for (operation, part) in
        [("create_order", "`create_order` of `retail/erp-orders@1` is a write"), ("x", "no operation `x`")]
    {
        let (code, said) = crossdock(&hub, &[&publish[..], &[operation, "--reason", "x"]].concat());
        assert!(code == 1 && said.contains(part), "{said}");
    }
    for (operation, said) in [("create_order", "is a write"), ("find_order", "is not published"), ("x", "no operation")]
    {
        let response = ask(&hub, &channel, &format!("{API}/{operation}"), &[]).await;
        refused(&response, 404, "api.operation-unknown");
        assert!(body(&response)["detail"].as_str().unwrap().contains(said), "{}", body(&response));
    }
    refused(&ask(&hub, &channel, &format!("{API}/read_order"), &[]).await, 422, "api.input");
    refused(&ask(&hub, &channel, &format!("{API}/read_order?id=1&nr=2"), &[]).await, 422, "api.input");
    refused(&ask(&hub, &channel, "/v1/apis/retail/warehouse/1/availability", &[]).await, 403, "access.denied");
    refused(&ask(&hub, &other, &format!("{API}/read_order?id=1"), &[]).await, 403, "access.denied");
    refused(&ask(&hub, "nonsense", &format!("{API}/read_order?id=1"), &[]).await, 401, "auth.invalid");
    assert_eq!(body(&ask(&hub, &other, "/v1/apis", &[]).await), json!({"apis": []}));
    assert_eq!(erp.asked(), 0, "none of this reached the ERP");

    let bearer = format!("Bearer {channel}");
    let headers = [JSON[0], ("authorization", &bearer)];
    let (status, said) = hub.post(&format!("{API}/read_order"), &headers, r#"{"id":"5"}"#).await;
    assert_eq!((status, said), (StatusCode::OK, order("5")));
    let (status, said) = hub.post(API, &headers, r#"{"do":"withdraw"}"#).await;
    assert_eq!((status, &said["code"]), (StatusCode::FORBIDDEN, &json!("access.denied")));

    let held = consumer(&hub, "held", json!({"limits": {"quota": {"requests": 2, "per": "day"}}})).await;
    for _ in 0..2 {
        assert_eq!(ask(&hub, &held, &format!("{API}/read_order?id=1"), &[]).await.status(), StatusCode::OK);
    }
    let response = ask(&hub, &held, &format!("{API}/read_order?id=1"), &[]).await;
    refused(&response, 429, "token.quota");
    assert!(header(&response, "retry-after").parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn an_api_says_that_it_ends_and_then_does() {
    let folder = tempfile::tempdir().unwrap();
    let erp = plain_erp().await;
    let hub = plain_hub(folder.path(), &erp.url, "");
    let channel = consumer(&hub, "storefront", json!({})).await;
    let path = format!("{API}/read_order?id=1");
    let plain = ask(&hub, &channel, &path, &[]).await;
    assert!(["deprecation", "sunset", "link"].iter().all(|name| !plain.headers().contains_key(*name)), "{plain:?}");
    assert_eq!(header(&plain, "cache-control"), "no-store");

    let publish = ["api", "publish", "retail/erp-orders@1", "--connection", "plain", "--operation", "read_order"];
    let until = |deprecated: &str, sunset: &str| {
        let more =
            ["--deprecated", deprecated, "--sunset", sunset, "--successor", "retail/erp-orders@2", "--reason", "x"];
        crossdock(&hub, &[&publish[..], &more].concat())
    };
    let (code, said) = until("2024-03-01T00:00:00Z", "2020-01-01T00:00:00Z");
    assert!(code == 1 && said.contains("is before `deprecated`"), "{said}");
    let (code, said) = until("2024-03-01T00:00:00Z", "2999-01-01T00:00:00Z");
    assert!(code == 0 && said.contains("deprecated"), "{said}");
    for path in [path.as_str(), &format!("{API}/read_order?id=nothing")] {
        let response = ask(&hub, &channel, path, &[]).await;
        assert_eq!(header(&response, "deprecation"), "@1709251200", "{response:?}");
        assert_eq!(header(&response, "sunset"), "Tue, 01 Jan 2999 00:00:00 GMT");
        let link = "</v1/apis/retail/erp-orders/2/openapi.json>; rel=\"successor-version\"";
        assert_eq!(header(&response, "link"), link);
    }
    refused(&ask(&hub, &channel, &format!("{API}/read_order?id=nothing"), &[]).await, 404, "api.not-found");

    let (code, said) = until("2024-03-01T00:00:00Z", "2024-03-02T00:00:00Z");
    assert!(code == 0 && said.contains("gone"), "{said}");
    let response = ask(&hub, &channel, &path, &[]).await;
    refused(&response, 410, "api.gone");
    assert!(body(&response)["detail"].as_str().unwrap().contains("use `retail/erp-orders@2`"), "{}", body(&response));
    let (code, said) = crossdock(&hub, &[&publish[..], &["--reason", "x"]].concat());
    assert_eq!(code, 0, "{said}");
    hub.agree(&said);
    assert_eq!(ask(&hub, &channel, &path, &[]).await.status(), StatusCode::OK, "an operator may think better of it");
    let (code, said) = crossdock(&hub, &["api", "withdraw", "retail/erp-orders@1", "--reason", "nobody asks"]);
    assert!(code == 0 && said.contains("is published no longer"), "{said}");
    refused(&ask(&hub, &channel, &path, &[]).await, 410, "api.gone");
    let (code, said) = crossdock(&hub, &["api", "list"]);
    assert!(code == 0 && said.contains("no APIs are published"), "{said}");
}

#[tokio::test]
async fn a_system_that_is_down_slow_or_talks_nonsense_is_told_apart_and_not_named() {
    let folder = tempfile::tempdir().unwrap();
    let erp = plain_erp().await;
    let hub = plain_hub(folder.path(), &erp.url, "timeout_ms = 1500");
    let channel = consumer(&hub, "storefront", json!({})).await;
    let path = format!("{API}/read_order?id=1");
    erp.answer_instead(200, r#"{"id": 1}"#);
    refused(&ask(&hub, &channel, &path, &[]).await, 502, "api.failed");
    erp.answer_instead(503, "PlainERP is tired");
    let response = ask(&hub, &channel, &path, &[]).await;
    refused(&response, 503, "api.unavailable");
    assert!(header(&response, "retry-after").parse::<u64>().unwrap() > 0);
    assert!(!String::from_utf8_lossy(response.body()).to_lowercase().contains("plain"), "{response:?}");
    *erp.instead.lock().unwrap() = None;
    erp.open.send_replace(false);
    let response = ask(&hub, &channel, &path, &[]).await;
    refused(&response, 504, "api.timeout");
    assert!(header(&response, "retry-after").parse::<u64>().unwrap() > 0);
    erp.open.send_replace(true);
    assert!(log(&hub.data).contains("a read of an API failed"), "the operator is told what the consumer is not");

    // When it has been down for a while, it is left alone: an answer comes at once, without it.
    erp.answer_instead(503, "");
    let begun = Instant::now();
    loop {
        let before = erp.asked();
        refused(&ask(&hub, &channel, &path, &[]).await, 503, "api.unavailable");
        if erp.asked() == before {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it is never left alone");
    }
    *erp.instead.lock().unwrap() = None;
    let begun = Instant::now();
    while ask(&hub, &channel, &path, &[]).await.status() != StatusCode::OK {
        assert!(begun.elapsed() < PATIENCE, "it is never asked again");
    }
}

#[tokio::test]
async fn the_same_question_is_asked_once_and_an_old_answer_stands_in_for_a_system_that_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let erp = plain_erp().await;
    let hub = Arc::new(plain_hub(folder.path(), &erp.url, "cache_s = 1\nstale_if_error_s = 600"));
    let channel = consumer(&hub, "storefront", json!({})).await;
    let path = format!("{API}/read_order?id=1");
    erp.open.send_replace(false);
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let (hub, channel, path) = (Arc::clone(&hub), channel.clone(), path.clone());
            tokio::spawn(async move { ask(&hub, &channel, &path, &[]).await })
        })
        .collect();
    let begun = Instant::now();
    while erp.asked() == 0 {
        assert!(begun.elapsed() < PATIENCE, "nobody asks");
        tokio::task::yield_now().await;
    }
    erp.open.send_replace(true);
    for asked in asking {
        assert_eq!(body(&asked.await.unwrap()), order("1"));
    }
    assert!(erp.asked() < 8, "each asked for itself: {}", erp.asked());

    erp.answer_instead(503, "");
    let begun = Instant::now();
    loop {
        let response = ask(&hub, &channel, &path, &[]).await;
        assert_eq!((response.status(), body(&response)), (StatusCode::OK, order("1")));
        assert_eq!(header(&response, "cache-control"), "private, max-age=1, stale-if-error=600");
        if header(&response, "cache-status").contains("stale-if-error") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it never grows old: {response:?}");
    }
    refused(&ask(&hub, &channel, &format!("{API}/read_order?id=2"), &[]).await, 503, "api.unavailable");
}

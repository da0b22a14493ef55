//! The SAP connector against a counterpart that nobody here wrote: the PyPI package `mock-sap`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use crossdock::sandbox::{erp::SERVICE_PATH, shop::Webhook};
use crossdock_tests::{
    hub::Hub,
    mock_sap::{self, MockSap, PASSWORD, USER},
    retail::{Erp, Retail},
};
use http::Request;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");

fn erp(url: &str, config: &str) -> Erp {
    Erp {
        base_url: format!("{url}{SERVICE_PATH}"),
        user: USER.into(),
        password: PASSWORD.into(),
        config: config.into(),
    }
}

fn key(webhook: &Webhook) -> String {
    webhook.order.as_ref().expect("an order").name.trim_start_matches('#').to_owned()
}

/// The order's step in the ERP, once it is as wanted.
async fn written(hub: &Hub, webhook: &Webhook, wanted: impl Fn(&Value, &Value) -> bool) -> (Value, Value) {
    let found = std::cell::RefCell::new(None);
    loop {
        let runs = hub.runs_until(&key(webhook), |runs| runs.len() == 1).await;
        let (_, run) = hub.get(&format!("/v1/runs/{}", runs[0]["id"].as_str().expect("id"))).await;
        let steps = run["steps"].as_array().cloned().unwrap_or_default();
        if let Some(step) = steps.into_iter().find(|step| step["path"] == "erp_order") {
            if wanted(&run, &step) {
                return (run, step);
            }
            *found.borrow_mut() = Some(step);
        }
        assert!(run["state"] != "parked" && run["state"] != "completed", "{run:#}");
    }
}

async fn admin(hub: &Hub, sap: &MockSap, path: &str, body: Option<&Value>) -> Value {
    let uri = format!("{}{path}", sap.url);
    let request = match body {
        None => Request::get(uri).body(bytes::Bytes::new()),
        Some(body) => Request::post(uri).header("content-type", "application/json").body(body.to_string().into()),
    };
    let response = hub.send(request.expect("a request")).await.expect("answered");
    serde_json::from_slice(response.body()).unwrap_or_default()
}

/// Sales orders of the counterpart with this customer reference.
async fn orders(hub: &Hub, sap: &MockSap, webhook: &Webhook) -> usize {
    let uri = format!(
        "{}{SERVICE_PATH}/A_SalesOrder?$format=json&$filter=PurchaseOrderByCustomer%20eq%20'{}'",
        sap.url,
        key(webhook)
    );
    let login = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{USER}:{PASSWORD}"));
    let request =
        Request::get(uri).header("authorization", format!("Basic {login}")).header("accept", "application/json");
    let response = hub.send(request.body(bytes::Bytes::new()).expect("a request")).await.expect("answered");
    let answer: Value = serde_json::from_slice(response.body()).unwrap_or_else(|_| panic!("{response:?}"));
    answer["d"]["results"].as_array().unwrap_or_else(|| panic!("{answer:#}")).len()
}

#[tokio::test]
async fn an_order_is_created_with_a_csrf_token() {
    let sap = MockSap::start();
    let retail = Retail::with_erp(BINARY, |_| erp(&sap.url, "")).await;
    let hub = retail.hub();
    let webhook = retail.retailer.shop.ordinary();
    retail.deliver(&hub, &webhook).await.expect("answered");
    let (run, _) = written(&hub, &webhook, |run, _| run["state"] == "completed").await;
    assert_eq!(run["state"], "completed");
    assert_eq!(orders(&hub, &sap, &webhook).await, 1);
    let seen = admin(&hub, &sap, "/_mock/requests?verbose=1", None).await.to_string().to_lowercase();
    assert!(seen.contains("x-csrf-token"), "{seen}");
}

#[tokio::test]
async fn a_locked_document_is_tried_again() {
    let sap = MockSap::start();
    let retail = Retail::with_erp(BINARY, |_| erp(&sap.url, "")).await;
    let hub = retail.hub();
    let fault = json!({"scenario": "lock", "method": "POST", "match": "A_SalesOrder", "count": 1});
    admin(&hub, &sap, "/_mock/faults", Some(&fault)).await;
    let webhook = retail.retailer.shop.ordinary();
    retail.deliver(&hub, &webhook).await.expect("answered");
    let (_, step) = written(&hub, &webhook, |run, _| run["state"] == "completed").await;
    assert_eq!(step["attempts"], 2, "{step:#}");
    assert_eq!(step["failures"][0]["failure"]["kind"], "retryable", "{step:#}");
    assert_eq!(orders(&hub, &sap, &webhook).await, 1);
}

#[tokio::test]
async fn the_lock_scenario_of_the_header_is_retryable() {
    let sap = MockSap::start();
    let lock = r#"extra_headers = { "sap-mock-scenario" = "lock" }"#;
    let retail = Retail::with_erp(BINARY, |_| erp(&sap.url, lock)).await;
    let hub = retail.hub();
    let webhook = retail.retailer.shop.ordinary();
    retail.deliver(&hub, &webhook).await.expect("answered");
    let twice = |_: &Value, step: &Value| step["failures"].as_array().is_some_and(|failures| failures.len() >= 2);
    let (_, step) = written(&hub, &webhook, twice).await;
    for failed in step["failures"].as_array().expect("failures") {
        assert_eq!(failed["failure"]["kind"], "retryable", "{step:#}");
    }
}

#[tokio::test]
async fn the_busy_scenario_of_the_header_waits_as_long_as_it_asks() {
    let sap = MockSap::start();
    let busy = r#"extra_headers = { "sap-mock-scenario" = "busy" }"#;
    let retail = Retail::with_erp(BINARY, |_| erp(&sap.url, busy)).await;
    let hub = retail.hub();
    let webhook = retail.retailer.shop.ordinary();
    retail.deliver(&hub, &webhook).await.expect("answered");
    let once = |_: &Value, step: &Value| step["failures"].as_array().is_some_and(|failures| !failures.is_empty());
    let (run, step) = written(&hub, &webhook, once).await;
    let failed = &step["failures"][0];
    assert_eq!(failed["failure"]["retry_after_ms"], 30_000, "{step:#}");
    let time = |value: &Value| -> crossdock::model::timestamp::Timestamp {
        value.as_str().expect("a time").parse().expect("RFC 3339")
    };
    assert!(time(&failed["next"]).since(time(&failed["time"])) >= 30_000, "{step:#}");
    assert_eq!(run["state"], "waiting");
}

#[tokio::test]
async fn after_a_lost_reply_there_is_no_second_order() {
    let sap = MockSap::start();
    let proxy = mock_sap::losing_proxy(&sap.url, "POST ").await;
    let retail = Retail::with_erp(BINARY, |_| erp(&proxy, "")).await;
    let hub = retail.hub();
    let webhook = retail.retailer.shop.ordinary();
    retail.deliver(&hub, &webhook).await.expect("answered");
    let (_, step) = written(&hub, &webhook, |run, _| run["state"] == "completed").await;
    assert_eq!(step["failures"][0]["failure"]["kind"], "uncertain", "{step:#}");
    assert_eq!(orders(&hub, &sap, &webhook).await, 1);
}

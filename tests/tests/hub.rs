//! The hub from the outside: a process, its HTTP, the systems around it, and a `kill -9` whenever it hurts.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use crossdock::sandbox::{
    erp::{Disturbance, Fault},
    shop::Webhook,
};
use crossdock_tests::{hub::Hub, retail::Retail};
use http::{Method, StatusCode};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");

fn key(webhook: &Webhook) -> String {
    webhook.order.as_ref().expect("an order").name.trim_start_matches('#').to_owned()
}

fn states(runs: &[Value]) -> Vec<&str> {
    runs.iter().filter_map(|run| run["state"].as_str()).collect()
}

async fn settled(hub: &Hub, webhook: &Webhook) -> Value {
    let done = |runs: &[Value]| {
        let asks = |run: &Value| run["cause"].as_str().is_some_and(|cause| cause.contains("a decision of group"));
        let over = ["completed", "rejected", "parked"];
        runs.len() == 1 && (over.contains(&runs[0]["state"].as_str().unwrap_or("")) || asks(&runs[0]))
    };
    let runs = hub.runs_until(&key(webhook), done).await;
    let (status, run) = hub.get(&format!("/v1/runs/{}", runs[0]["id"].as_str().expect("id"))).await;
    assert_eq!(status, StatusCode::OK);
    run
}

fn step<'a>(run: &'a Value, path: &str) -> &'a Value {
    let steps = run["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["path"] == path).unwrap_or_else(|| panic!("no step `{path}` in {run:#}"))
}

#[tokio::test]
async fn a_signed_order_becomes_a_sales_order_and_its_run_tells_how() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    let webhook = retail.retailer.shop.ordinary();
    let receipt = retail.deliver(&hub, &webhook).await.expect("answered");
    assert_eq!(receipt.response.status(), StatusCode::ACCEPTED);

    let run = settled(&hub, &webhook).await;
    assert_eq!(run["state"], "completed", "{run:#}");
    assert_eq!(run["event"]["source"], "/shops/eu-1", "the operator, not the plugin, says who speaks");
    assert_eq!(retail.sales_orders(&webhook), 1);
    assert_eq!(retail.retailer.warehouse.picks().len(), 1);
    let plan = step(&run, "plan");
    assert_eq!(plan["decision"], "proceed");
    assert!(plan["plugin"]["digest"].as_str().expect("digest").starts_with("sha256:"));
    assert!(plan["usage"]["fuel"].as_u64().expect("fuel") > 0);
    let written = step(&run, "erp_order");
    assert!(written["idempotency_key"].as_str().expect("key").starts_with("xd_"));
    assert!(hub.stop(), "a hub that is asked to stop ends well");
}

#[tokio::test]
async fn policy_holds_a_large_order_before_anything_is_written() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    let webhook = retail.retailer.shop.high_value();
    retail.deliver(&hub, &webhook).await.expect("answered");
    let run = settled(&hub, &webhook).await;
    assert_eq!(run["state"], "waiting");
    assert!(run["cause"].as_str().expect("cause").contains("fulfilment-leads"), "{run:#}");
    assert_eq!(retail.sales_orders(&webhook), 0);
}

#[tokio::test]
async fn the_same_event_again_is_answered_with_the_first_run() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    let webhook = retail.retailer.shop.ordinary();
    let first = retail.deliver(&hub, &webhook).await.expect("answered");
    let second = retail.deliver(&hub, &retail.retailer.shop.duplicate_of(&webhook)).await.expect("answered");
    let body = |receipt: &crossdock::sandbox::shop::Receipt| -> Value {
        serde_json::from_slice(receipt.response.body()).expect("JSON")
    };
    let (first, second) = (body(&first), body(&second));
    assert_eq!(second["events"][0]["duplicate"], true, "{second:#}");
    assert_eq!(first["events"][0]["id"], second["events"][0]["id"]);
    settled(&hub, &webhook).await;
    assert_eq!(retail.sales_orders(&webhook), 1);
}

#[tokio::test]
async fn a_lost_reply_makes_no_second_order() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    for fault in [Fault::CutAfterCommit, Fault::CutBefore] {
        retail.retailer.erp.disturb(Disturbance { fault, method: Some(Method::POST), times: 1 });
        let webhook = retail.retailer.shop.ordinary();
        retail.deliver(&hub, &webhook).await.expect("answered");
        let run = settled(&hub, &webhook).await;
        assert_eq!(run["state"], "completed", "{fault:?}: {run:#}");
        assert_eq!(retail.sales_orders(&webhook), 1, "{fault:?}");
        let failures = step(&run, "erp_order")["failures"].as_array().expect("failures").clone();
        assert_eq!(failures[0]["failure"]["kind"], "uncertain", "{fault:?}: {failures:#?}");
    }
}

#[tokio::test]
async fn a_locked_or_busy_erp_is_tried_again_when_it_asks() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    let webhook = retail.retailer.order_locked_at_first(2, Some(1));
    retail.deliver(&hub, &webhook).await.expect("answered");
    let run = settled(&hub, &webhook).await;
    assert_eq!(run["state"], "completed", "{run:#}");
    assert_eq!(step(&run, "erp_order")["attempts"], 3);
    assert_eq!(retail.sales_orders(&webhook), 1);
}

#[tokio::test]
async fn a_run_that_a_kill_interrupts_goes_on_from_its_last_recorded_step() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    // The order's document stays locked for long enough that the kill meets the run in its retries.
    let webhook = retail.retailer.order_locked_at_first(2, Some(2));
    retail.deliver(&hub, &webhook).await.expect("answered");
    let waiting = |runs: &[Value]| states(runs) == ["waiting"];
    hub.runs_until(&key(&webhook), waiting).await;
    let before = retail.retailer.warehouse.calls().len();
    hub.kill();

    let hub = retail.hub();
    let run = settled(&hub, &webhook).await;
    assert_eq!(run["state"], "completed", "{run:#}");
    assert_eq!(retail.sales_orders(&webhook), 1);
    let asked = retail.retailer.warehouse.calls().iter().skip(before).filter(|call| call.method == "GET").count();
    assert_eq!(asked, 0, "steps that are recorded are not run again");
    let attempts = step(&run, "erp_order")["attempts"].as_u64().expect("attempts");
    assert_eq!(attempts, 3, "attempts are not counted anew after a crash");
}

#[tokio::test]
async fn orders_survive_kills_at_any_moment_and_none_is_doubled() {
    let retail = Retail::start(BINARY).await;
    let mut hub = retail.hub();
    let mut webhooks = Vec::new();
    for round in 0..6 {
        for _ in 0..5 {
            let webhook = retail.retailer.shop.ordinary();
            let receipt = retail.deliver(&hub, &webhook).await.expect("answered");
            assert!(receipt.delivered(), "{:?}", receipt.response);
            webhooks.push(webhook);
        }
        // Each round lets the hub get a little further before it dies.
        for _ in 0..round {
            hub.get("/v1/runs?limit=1").await;
        }
        hub.kill();
        hub = retail.hub();
    }
    for webhook in &webhooks {
        let run = settled(&hub, webhook).await;
        assert_eq!(run["state"], "completed", "{run:#}");
        assert_eq!(retail.sales_orders(webhook), 1);
    }
    assert_eq!(retail.retailer.warehouse.picks().len(), webhooks.len());
}

#[tokio::test]
async fn what_was_recorded_is_there_after_a_restart_without_configuration() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    let webhook = retail.retailer.shop.ordinary();
    retail.deliver(&hub, &webhook).await.expect("answered");
    let run = settled(&hub, &webhook).await;
    assert!(hub.stop());
    let hub = Hub::start(BINARY, &retail.data(), None);
    let again = settled(&hub, &webhook).await;
    assert_eq!(run, again);
    let (_, plugins) = hub.get("/v1/plugins").await;
    assert_eq!(plugins["plugins"].as_array().expect("plugins").len(), 6);
    let (_, pipelines) = hub.get("/v1/pipelines").await;
    assert_eq!(pipelines["pipelines"][0]["name"], "retail/order-fulfilment");
}

/// Status, code and a part of the advice or detail.
#[track_caller]
fn check((status, problem): (StatusCode, Value), expected: u16, code: &str, says: &str) {
    assert_eq!(status.as_u16(), expected, "{problem:#}");
    assert_eq!(problem["code"], code, "{problem:#}");
    let text = format!("{} {}", problem["detail"], problem["advice"]);
    assert!(text.contains(says), "{text} does not say {says}");
}

#[tokio::test]
async fn bad_input_is_told_what_to_change_and_changes_nothing() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    let structured = [("content-type", "application/cloudevents+json")];
    let order = json!({"specversion": "1.0", "id": "1", "source": "/t", "type": "retail.order.placed.v1", "data": {}});

    check(hub.post("/v1/events", &structured, "{\"id\": ").await, 400, "event.malformed", "line 1");
    check(
        hub.post("/v1/events", &[("content-type", "text/plain")], "x").await,
        415,
        "event.content-type",
        "cloudevents",
    );
    check(hub.event("2", "no.such.type", &json!({})).await, 422, "event.unknown-type", "retail.order.placed.v1");
    check(hub.post("/v1/events", &structured, order.to_string()).await, 422, "event.data", "schema");
    let huge = format!("{{\"data\": \"{}\"}}", "x".repeat(2 << 20));
    check(hub.post("/v1/events", &structured, huge).await, 413, "body.too-large", "1048576");
    check(hub.post("/v1/webhooks/nobody", &[], "{}").await, 404, "webhook.unknown-source", "nobody");
    check(hub.get("/v1/runs/run_00000000000000000000000000000000").await, 404, "run.unknown", "run");
    check(hub.get("/v1/nothing").await, 404, "route.unknown", "openapi");

    for (webhook, status) in [(retail.retailer.shop.wrongly_signed(), 401), (retail.retailer.shop.malformed(), 400)] {
        let receipt = retail.deliver(&hub, &webhook).await.expect("answered");
        assert_eq!(receipt.response.status(), status, "{:?}", receipt.response.body());
    }
    let (_, runs) = hub.get("/v1/runs").await;
    assert_eq!(runs["runs"], json!([]));
    assert!(retail.retailer.erp.orders().is_empty());
    let (status, ready) = hub.get("/health/ready").await;
    assert_eq!(status, StatusCode::OK, "{ready:#}");
}

#[test]
fn a_hub_that_says_that_it_listens_ends_well_however_soon_it_is_asked_to() {
    let data = tempfile::tempdir().unwrap();
    for _ in 0..12 {
        assert!(Hub::launch(BINARY, data.path(), &[]).stop());
    }
}

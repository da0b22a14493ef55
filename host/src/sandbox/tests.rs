//! The four servers over real connections: what they promise to a connector, a hub and a test.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::json;

use self::wire::{Reply, Wire};
use super::{
    Options, Retailer, lock,
    shop::{DeliveryError, DeliveryOptions, Receipt, Signature, Webhook, signature},
};
use crate::{model::timestamp::Timestamp, ports::clock::Clock};

mod erp;
mod wire;

async fn retailer() -> Retailer {
    Retailer::start(Options::default()).await.unwrap()
}

#[tokio::test]
async fn four_servers_listen_apart_and_stop_although_a_client_stays_connected() {
    let retailer = retailer().await;
    let addresses =
        [retailer.shop.address(), retailer.erp.address(), retailer.warehouse.address(), retailer.carrier.address()];
    assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() != 0));
    assert_eq!(addresses.iter().map(std::net::SocketAddr::port).collect::<std::collections::BTreeSet<_>>().len(), 4);
    let idle = tokio::net::TcpStream::connect(retailer.warehouse.address()).await.unwrap();
    retailer.stop().await;
    for address in addresses {
        assert!(tokio::net::TcpStream::connect(address).await.is_err(), "{address} still answers");
    }
    drop(idle);
}

#[tokio::test]
async fn a_body_over_the_limit_and_a_broken_path_are_refused() {
    let retailer = retailer().await;
    let wire = Wire::new(retailer.warehouse.address());
    let large = wire.request("POST", "/picks", &[], &"x".repeat(1024 * 1024 + 1)).await.unwrap();
    assert_eq!(large.status, 413);
    assert_eq!(wire.get("/stock%2", &[]).await.status, 400);
}

// Warehouse.

#[track_caller]
fn check_refusal(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.body["error"]["code"].as_str()), (status, Some(code)), "{:?}", reply.body);
}

fn pick(sku: &str, quantity: u64) -> String {
    json!({ "node": "store-042", "order": "4711", "lines": [{ "sku": sku, "quantity": quantity }] }).to_string()
}

#[tokio::test]
async fn a_pick_takes_from_the_stock_and_its_cancellation_gives_back_once() {
    let retailer = retailer().await;
    let wire = Wire::new(retailer.warehouse.address());
    let available = async || {
        let reply = wire.get("/stock?sku=TENT-2P-GRN,NONSENSE", &[]).await;
        let nodes = reply.body["nodes"].as_array().unwrap().clone();
        let node = nodes.into_iter().find(|node| node["node"] == "store-042").unwrap();
        assert_eq!(node["name"], "Store 042 Berlin");
        assert_eq!(node["stock"][1], json!({ "sku": "NONSENSE", "available": 0 }));
        node["stock"][0]["available"].as_u64().unwrap()
    };
    assert_eq!(available().await, 3);
    let made = wire.request("POST", "/picks", &[], &pick("TENT-2P-GRN", 2)).await.unwrap();
    assert_eq!(made.status, 201);
    assert_eq!(made.body, json!({ "id": "PICK-00001", "node": "store-042", "status": "open" }));
    assert_eq!(available().await, 1);
    let refused = wire.request("POST", "/picks", &[], &pick("TENT-2P-GRN", 2)).await.unwrap();
    check_refusal(&refused, 409, "insufficient-stock");
    for _ in 0..2 {
        let cancelled = wire.request("DELETE", "/picks/PICK-00001", &[], "").await.unwrap();
        assert_eq!((cancelled.status, &cancelled.body["status"]), (200, &json!("cancelled")));
        assert_eq!(available().await, 3);
    }
    let read = wire.get("/picks/PICK-00001", &[]).await;
    assert_eq!((read.status, &read.body["status"]), (200, &json!("cancelled")));
    assert_eq!(retailer.warehouse.picks().len(), 1);
}

#[tokio::test]
async fn an_idempotency_key_makes_one_pick_although_the_first_answer_is_lost() {
    let retailer = retailer().await;
    let wire = Wire::new(retailer.warehouse.address());
    let key = [("idempotency-key", "run-1/pick/1")];
    retailer.warehouse.lose_replies(1);
    assert!(wire.request("POST", "/picks", &key, &pick("MUG-ENML-BLU", 1)).await.is_none());
    let again = wire.request("POST", "/picks", &key, &pick("MUG-ENML-BLU", 1)).await.unwrap();
    assert_eq!((again.status, &again.body["id"]), (201, &json!("PICK-00001")));
    let other = wire.request("POST", "/picks", &key, &pick("MUG-ENML-BLU", 2)).await.unwrap();
    check_refusal(&other, 422, "idempotency-key-reused");
    assert_eq!(retailer.warehouse.picks().len(), 1);
    let statuses: Vec<_> = retailer.warehouse.calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [None, Some(201), Some(422)]);
}

#[tokio::test]
async fn the_warehouse_says_what_is_wrong_with_a_request() {
    let retailer = retailer().await;
    let wire = Wire::new(retailer.warehouse.address());
    check_refusal(&wire.get("/stock", &[]).await, 400, "invalid-request");
    check_refusal(&wire.get("/shelves", &[]).await, 404, "not-found");
    check_refusal(&wire.get("/picks/PICK-00009", &[]).await, 404, "unknown-pick");
    check_refusal(&wire.request("PUT", "/stock", &[], "").await.unwrap(), 405, "method-not-allowed");
    for body in ["{", "{}", r#"{"node":"store-042","lines":[]}"#, &pick("TENT-2P-GRN", 0)] {
        check_refusal(&wire.request("POST", "/picks", &[], body).await.unwrap(), 400, "invalid-request");
    }
    let nowhere = pick("TENT-2P-GRN", 1).replace("store-042", "moon");
    check_refusal(&wire.request("POST", "/picks", &[], &nowhere).await.unwrap(), 404, "unknown-node");
}

// Carrier.

#[tokio::test]
async fn the_carrier_quotes_to_whoever_has_the_token() {
    let retailer = retailer().await;
    let wire = Wire::new(retailer.carrier.address());
    let token = [("authorization", "Bearer sandbox-carrier-token")];
    let path = "/quotes?country=DE&weight_grams=1200";
    check_refusal(&wire.get(path, &[]).await, 401, "unauthorized");
    check_refusal(&wire.get(path, &[("authorization", "Bearer guess")]).await, 401, "unauthorized");
    check_refusal(&wire.get("/quotes?country=de&weight_grams=1200", &token).await, 400, "invalid-request");
    check_refusal(&wire.get("/quotes?country=DE&weight_grams=0", &token).await, 400, "invalid-request");
    let quotes = wire.get(path, &token).await;
    let expected = json!({
        "node": "store-042", "carrier": "Havelkurier", "cost": { "amount": "6.75", "currency": "EUR" }, "days": 1,
    });
    assert_eq!((quotes.status, &quotes.body["quotes"][0]), (200, &expected));
    assert_eq!(quotes.body["quotes"].as_array().unwrap().len(), 4);
    assert_eq!(wire.get("/quotes?country=NZ&weight_grams=1200", &token).await.body, json!({ "quotes": [] }));
    assert!(
        retailer.carrier.calls().iter().filter_map(|call| call.header("authorization")).all(|kept| kept == "Bearer")
    );
}

// Shop.

/// A clock that jumps to whatever is waited for.
#[derive(Default)]
struct JumpingClock(Mutex<Timestamp>);

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        *lock(&self.0)
    }

    fn sleep_until(&self, due: Timestamp) -> futures::future::BoxFuture<'_, ()> {
        *lock(&self.0) = due;
        Box::pin(std::future::ready(()))
    }
}

/// Delivers to a hub that gives these answers (an error is no answer), and says what was sent.
async fn deliver(
    retailer: &Retailer,
    webhook: &Webhook,
    options: &DeliveryOptions,
    answers: &[Result<u16, &str>],
) -> (Result<Receipt, DeliveryError>, Vec<Request<Bytes>>) {
    let answers: Mutex<VecDeque<_>> = Mutex::new(answers.iter().copied().collect());
    let sent = Mutex::new(Vec::new());
    let send = async |request| {
        lock(&sent).push(request);
        let answer = lock(&answers).pop_front().unwrap();
        let response = |status| {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        };
        answer.map(response).map_err(str::to_owned)
    };
    let receipt = retailer.shop.deliver("http://hub.example:8080/", webhook, options, &send).await;
    (receipt, sent.into_inner().unwrap())
}

#[test]
fn a_signature_is_the_base64_of_the_hmac_sha256() {
    // RFC 4231, test case 2, in base64.
    let expected = "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=";
    assert_eq!(signature("Jefe", b"what do ya want for nothing?"), expected);
}

#[tokio::test]
async fn a_webhook_is_signed_over_the_bytes_that_are_sent() {
    let retailer = retailer().await;
    let good = retailer.shop.ordinary();
    let (receipt, sent) = deliver(&retailer, &good, &DeliveryOptions::default(), &[Ok(202)]).await;
    assert!(receipt.unwrap().delivered());
    let [request] = sent.as_slice() else { panic!("one attempt") };
    assert_eq!(request.uri(), "http://hub.example:8080/v1/webhooks/shop");
    assert_eq!(request.headers()["x-shopify-topic"], "orders/create");
    let signed = signature("sandbox-shop-webhook-secret", request.body());
    assert_eq!(request.headers()["x-shopify-hmac-sha256"], signed);

    let wrong = retailer.shop.wrongly_signed();
    let (_, sent) = deliver(&retailer, &wrong, &DeliveryOptions::default(), &[Ok(401)]).await;
    assert_ne!(sent[0].headers()["x-shopify-hmac-sha256"], signature("sandbox-shop-webhook-secret", sent[0].body()));

    let missing = Webhook { signature: Signature::Missing, ..good };
    let (_, sent) = deliver(&retailer, &missing, &DeliveryOptions::default(), &[Ok(401)]).await;
    assert!(!sent[0].headers().contains_key("x-shopify-hmac-sha256"));
}

#[tokio::test]
async fn a_duplicate_is_the_same_event_in_another_delivery() {
    let retailer = retailer().await;
    let first = retailer.shop.ordinary();
    let second = retailer.shop.duplicate_of(&first);
    assert_eq!((&first.event_id, &first.body), (&second.event_id, &second.body));
    assert_ne!(first.delivery_id, second.delivery_id);
    assert_eq!(retailer.shop.orders().len(), 1);
}

#[tokio::test]
async fn a_malformed_webhook_is_signed_well_and_is_not_json() {
    let retailer = retailer().await;
    let malformed = retailer.shop.malformed();
    assert_eq!(malformed.signature, Signature::Good);
    assert!(serde_json::from_slice::<serde_json::Value>(&malformed.body).is_err());
}

#[tokio::test]
async fn an_order_adds_up_and_is_told_as_the_shop_keeps_it() {
    let retailer = retailer().await;
    let webhook = retailer.shop.high_value();
    let told: serde_json::Value = serde_json::from_slice(&webhook.body).unwrap();
    let placed = webhook.order.unwrap();
    assert_eq!((told["total_price"].as_str(), placed.total.as_str()), (Some("3328.00"), "3328.00"));
    assert_eq!((told["name"].as_str(), placed.name.as_str()), (Some("#1001"), "#1001"));
    assert_eq!(told["total_tax"], "531.36");
    let wire = Wire::new(retailer.shop.address());
    let path = format!("/admin/api/{}/orders/{}.json", super::shop::API_VERSION, placed.id);
    assert_eq!(wire.get(&path, &[]).await.status, 401);
    let token = [("x-shopify-access-token", "sandbox-shop-access-token")];
    assert_eq!(wire.get(&path, &token).await.body["order"], told);
    assert_eq!(wire.get("/admin/api/2026-07/orders.json", &token).await.body["orders"], json!([told]));
    assert_eq!(wire.get("/admin/api/2026-07/orders/7.json", &token).await.status, 404);
}

#[tokio::test]
async fn a_delivery_is_retried_until_it_is_taken_and_is_the_same_each_time() {
    let clock = Arc::new(JumpingClock::default());
    let options = Options { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Options::default() };
    let retailer = Retailer::start(options).await.unwrap();
    let webhook = retailer.shop.ordinary();
    let answers = [Ok(503), Err("connection refused"), Ok(400), Ok(202)];
    let (receipt, sent) = deliver(&retailer, &webhook, &DeliveryOptions::as_shopify(1), &answers).await;
    assert_eq!((receipt.unwrap().attempts, sent.len()), (4, 4));
    let ids: Vec<_> = sent.iter().map(|request| &request.headers()["x-shopify-webhook-id"]).collect();
    assert!(ids.iter().all(|id| *id == &webhook.delivery_id));
    assert!(sent.iter().all(|request| request.body() == &webhook.body));

    let started = clock.now();
    let (receipt, sent) = deliver(&retailer, &webhook, &DeliveryOptions::as_shopify(1), &[Err("refused"); 9]).await;
    assert!(matches!(receipt, Err(DeliveryError::NoAnswer { attempts: 9, .. })), "{receipt:?}");
    assert_eq!(sent.len(), 9);
    let (four_hours, took) = (4 * 3_600_000, clock.now().since(started));
    assert!(took.abs_diff(four_hours) < 1_000, "{took}");
}

#[tokio::test]
async fn a_hub_that_takes_too_long_has_not_answered() {
    let retailer = retailer().await;
    let webhook = retailer.shop.ordinary();
    assert_eq!(DeliveryOptions::default().answer_wait_ms, 5_000);
    let options = DeliveryOptions { answer_wait_ms: 20, ..DeliveryOptions::default() };
    let outcome = retailer.shop.deliver("http://hub.example", &webhook, &options, |_| std::future::pending()).await;
    let error = outcome.unwrap_err().to_string();
    assert_eq!(error, "no answer after 1 attempt(s): no answer within 20 ms");
}

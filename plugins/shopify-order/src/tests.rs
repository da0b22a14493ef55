//! Orders and deliveries as Shopify sends them, and what becomes of them.

use crossdock_plugin::{Delivery, FailureKind, Feed, testing::step, typed};
use serde_json::{Value, json};

use crate::{apply, receive};

fn order() -> Value {
    json!({
        "id": 5_123_456_789_012_345_678_u64,
        "admin_graphql_api_id": "gid://shopify/Order/5123456789012345678",
        "name": "#1001",
        "created_at": "2026-03-01T08:15:00Z",
        "currency": "EUR",
        "financial_status": "paid",
        "total_price": "124.70",
        "total_tax": "19.91",
        "total_weight": 1200,
        "customer": {"admin_graphql_api_id": "gid://shopify/Customer/7", "first_name": "Ada", "last_name": "Lund",
                     "email": "ada@example.com"},
        "shipping_address": {"name": "Ada Lund", "address1": "Hafenstr. 1", "address2": null, "city": "Berlin",
                             "zip": "10115", "country_code": "DE"},
        "shipping_lines": [{"code": "express", "title": "Express", "price": "4.90"}],
        "line_items": [{"sku": "STOVE", "title": "Stove", "quantity": 2, "price": "59.90"}],
    })
}

fn turned(order: &Value) -> Result<Value, crossdock_plugin::Failure> {
    let bytes = typed::transform(apply, order.to_string().as_bytes(), step("{}"))?;
    Ok(serde_json::from_slice(&bytes).expect("JSON"))
}

#[test]
fn an_order_becomes_canonical_with_exact_money() {
    let turned = turned(&order()).expect("turned");
    assert_eq!(
        turned,
        json!({
            "key": "1001", "source_id": "gid://shopify/Order/5123456789012345678", "placed": "2026-03-01T08:15:00Z",
            "channel": "shopify", "financial_status": "paid", "shipping_class": "express",
            "customer": {"id": "gid://shopify/Customer/7", "name": "Ada Lund", "email": "ada@example.com"},
            "ship_to": {"name": "Ada Lund", "street": "Hafenstr. 1", "city": "Berlin", "postal_code": "10115",
                        "country": "DE"},
            "currency": "EUR",
            "lines": [{"sku": "STOVE", "title": "Stove", "quantity": 2, "unit_price": "59.90", "total": "119.80"}],
            "shipping": "4.90", "tax": "19.91", "total": "124.70", "weight_grams": 1200,
        })
    );
}

#[test]
fn what_an_order_lacks_is_named() {
    for (path, value, code) in [
        ("/line_items", json!([]), "order.no-lines"),
        ("/line_items/0/sku", json!(null), "order.no-sku"),
        ("/line_items/0/quantity", json!(0), "order.no-lines"),
        ("/shipping_address", json!(null), "order.no-address"),
        ("/shipping_address/city", json!(""), "order.address-incomplete"),
        ("/shipping_address/country_code", json!(null), "order.address-incomplete"),
        ("/total_price", json!(124.7), "input.invalid"),
        ("/total_price", json!("12,40"), "input.invalid"),
        ("/name", json!("#"), "order.no-name"),
    ] {
        let mut broken = order();
        *broken.pointer_mut(path).expect("there") = value;
        let failure = turned(&broken).expect_err(code);
        assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::InvalidInput, code), "{}", failure.message);
    }
}

#[test]
fn discounts_count_wherever_shopify_says_them() {
    let mut order = order();
    order["shipping_lines"][0]["discounted_price"] = json!("2.40");
    order["line_items"][0]["total_discount"] = json!("1.00");
    assert_eq!(turned(&order).expect("turned")["lines"][0]["total"], "118.80");
    order["line_items"][0]["discount_allocations"] = json!([{"amount": "1.00"}, {"amount": "9.05"}]);
    let turned = turned(&order).expect("turned");
    assert_eq!((&turned["lines"][0]["total"], &turned["shipping"]), (&json!("109.75"), &json!("2.40")));
    assert_eq!(turned["lines"][0]["unit_price"], "59.90");
}

#[test]
fn what_was_taken_off_the_order_is_not_delivered() {
    let mut order = order();
    let removed = json!({"sku": null, "title": "Pan", "quantity": 0, "price": "9.00"});
    order["line_items"].as_array_mut().expect("lines").push(removed);
    assert_eq!(turned(&order).expect("turned")["lines"].as_array().map(Vec::len), Some(1));
}

fn delivery(topic: &str, body: &str) -> Delivery {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Delivery {
        method: "POST".into(),
        path: "/".into(),
        query: String::new(),
        headers: vec![
            header("x-shopify-topic", topic),
            header("x-shopify-webhook-id", "delivery-1"),
            header("x-shopify-event-id", "event-1"),
        ],
        body: body.as_bytes().to_vec(),
    }
}

#[test]
fn a_delivery_becomes_an_event_under_the_events_own_id() {
    let body = order().to_string().replacen("{", "{ \"exact\": 12345678901234567890123, ", 1);
    let receipt = receive(&delivery("orders/create", &body), &Feed::default()).expect("received");
    let event = receipt.events.first().expect("an event");
    assert_eq!((event.id.as_str(), event.event_type.as_str()), ("event-1", "retail.order.placed.v1"));
    assert_eq!(event.subject.as_deref(), Some("1001"));
    assert_eq!(event.data, body.as_bytes(), "nothing of the order is lost");
}

#[test]
fn another_topic_brings_no_event_and_a_broken_body_is_refused() {
    assert!(receive(&delivery("products/update", "{}"), &Feed::default()).expect("received").events.is_empty());
    let failure = receive(&delivery("orders/paid", "{\"id\": 1, "), &Feed::default()).expect_err("refused");
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::InvalidInput, "delivery.invalid"));
}

//! The connector against a scripted carrier.

use crossdock_plugin::{
    FailureKind,
    testing::{MockHost, Reply},
};
use serde_json::{Value, json};

fn quoted(weight_grams: u32, reply: Reply) -> (Result<Value, FailureKind>, String) {
    let host = MockHost::new().config(&json!({ "base_url": "http://carrier.example/" })).reply("GET", "/quotes", reply);
    let host = host.install();
    let input = json!({ "order": { "ship_to": { "country": "DE" }, "weight_grams": weight_grams } });
    let output = crate::invoke(&host.call("quote", 1), input.to_string().as_bytes());
    let output = output.map(|bytes| serde_json::from_slice(&bytes).unwrap()).map_err(|failure| failure.kind);
    (output, host.requests()[0].url.clone())
}

#[test]
fn quotes_are_handed_on_as_they_come() {
    let answer = json!({ "quotes": [{
        "node": "BER", "carrier": "kurier", "cost": { "amount": "4.90", "currency": "EUR" }, "days": 2,
    }] });
    let (output, url) = quoted(1_200, Reply::json(200, &answer));
    assert_eq!(output, Ok(answer));
    assert_eq!(url, "http://carrier.example/quotes?country=DE&weight_grams=1200");
}

#[test]
fn a_weight_that_nobody_knows_is_a_gram() {
    assert!(quoted(0, Reply::json(200, &json!({ "quotes": [] }))).1.ends_with("weight_grams=1"));
}

#[test]
fn a_refusal_says_whether_to_try_again() {
    for (status, kind) in [
        (400, FailureKind::InvalidInput),
        (401, FailureKind::Denied),
        (429, FailureKind::Retryable),
        (502, FailureKind::Retryable),
    ] {
        assert_eq!(quoted(1_200, Reply::json(status, &json!({ "error": {} }))).0, Err(kind), "{status}");
    }
    assert_eq!(quoted(1_200, Reply::lost()).0, Err(FailureKind::Retryable));
}

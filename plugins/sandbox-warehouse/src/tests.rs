//! The connector against a scripted warehouse.

use crossdock_plugin::{
    Failure, FailureKind,
    testing::{Installed, MockHost, Reply},
};
use serde_json::{Value, json};

fn warehouse(method: &str, part: &str, replies: Vec<Reply>) -> Installed {
    let host = MockHost::new().config(&json!({ "base_url": "http://wms.example" }));
    replies.into_iter().fold(host, |host, reply| host.reply(method, part, reply)).install()
}

fn invoke(host: &Installed, operation: &str, attempt: u32, input: &Value) -> Result<Value, Failure> {
    crate::invoke(&host.call(operation, attempt), input.to_string().as_bytes())
        .map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

fn pick() -> Value {
    json!({
        "plan": { "node": "BER", "score": 0.9 },
        "order": "4711",
        "lines": [{ "sku": "A", "quantity": 2, "title": "not needed", "total": "9.80" }],
    })
}

#[test]
fn availability_asks_for_all_articles_at_once() {
    let answer = json!({ "nodes": [{ "node": "BER", "name": "Berlin", "stock": [{ "sku": "A", "available": 4 }] }] });
    let host = warehouse("GET", "/stock", vec![Reply::json(200, &answer)]);
    let lines = json!({ "lines": [{ "sku": "A", "quantity": 1 }, { "sku": "B/1", "quantity": 2 }] });
    assert_eq!(invoke(&host, "availability", 1, &lines).unwrap(), answer);
    assert_eq!(host.requests()[0].url, "http://wms.example/stock?sku=A%2CB%2F1");
}

#[test]
fn levels_are_those_of_the_locations_that_are_asked_for() {
    let stock = |node: &str, available: u64| json!({ "node": node, "name": "", "stock": [{ "sku": "A", "available": available }] });
    let answer = json!({ "nodes": [stock("BER", 4), stock("HAM", 0)] });
    let level = |location: &str, available: u64| json!({ "sku": "A", "location": location, "available": available });
    for (locations, levels) in [
        (json!({ "skus": ["A", "B"] }), json!([level("BER", 4), level("HAM", 0)])),
        (json!({ "skus": ["A", "B"], "locations": ["HAM"] }), json!([level("HAM", 0)])),
        (json!({ "skus": ["A", "B"], "locations": [] }), json!([])),
    ] {
        let host = warehouse("GET", "/stock", vec![Reply::json(200, &answer)]);
        assert_eq!(invoke(&host, "levels", 1, &locations).unwrap()["levels"], levels);
        assert_eq!(host.requests()[0].url, "http://wms.example/stock?sku=A%2CB");
    }
}

#[test]
fn a_pick_carries_the_idempotency_key_and_only_what_is_needed() {
    let host =
        warehouse("POST", "/picks", vec![Reply::json(201, &json!({ "id": "P1", "node": "BER", "status": "open" }))]);
    let output = invoke(&host, "create_pick", 1, &pick()).unwrap();
    assert_eq!(output, json!({ "id": "P1", "node": "BER", "status": "open" }));
    let request = &host.requests()[0];
    assert_eq!(request.header("idempotency-key"), Some(host.call("create_pick", 1).idempotency_key.as_str()));
    assert_eq!(request.json(), json!({ "node": "BER", "order": "4711", "lines": [{ "sku": "A", "quantity": 2 }] }));
}

#[test]
fn after_a_lost_reply_the_same_request_goes_out_again() {
    let host = warehouse("POST", "/picks", vec![Reply::lost(), Reply::json(201, &json!({ "id": "P1" }))]);
    assert_eq!(invoke(&host, "create_pick", 1, &pick()).unwrap_err().kind, FailureKind::Uncertain);
    assert_eq!(invoke(&host, "create_pick", 2, &pick()).unwrap()["id"], "P1");
    let requests = host.requests();
    assert_eq!(requests[0], requests[1]);
}

#[test]
fn an_answer_that_cannot_be_read_leaves_doubt() {
    let host = warehouse("POST", "/picks", vec![Reply::json(201, &json!({}))]);
    assert_eq!(invoke(&host, "create_pick", 1, &pick()).unwrap_err().kind, FailureKind::Uncertain);
}

#[test]
fn a_pick_is_cancelled_by_its_id() {
    for reply in [Reply::status(204), Reply::json(200, &json!({ "id": "P/1", "status": "cancelled" }))] {
        let host = warehouse("DELETE", "/picks/P%2F1", vec![reply]);
        let output = invoke(&host, "cancel_pick", 1, &json!({ "id": "P/1" })).unwrap();
        assert_eq!(output, json!({ "id": "P/1", "status": "cancelled" }));
    }
}

#[test]
fn a_refusal_says_what_and_whether_to_try_again() {
    for (status, kind) in [
        (400, FailureKind::InvalidInput),
        (401, FailureKind::Denied),
        (409, FailureKind::Permanent),
        (429, FailureKind::Retryable),
        (502, FailureKind::Uncertain),
        (503, FailureKind::Retryable),
    ] {
        let cause = json!({ "error": { "code": "insufficient-stock", "message": "not enough `A`" } });
        let host = warehouse("POST", "/picks", vec![Reply::json(status, &cause).header("retry-after", "2")]);
        let failure = invoke(&host, "create_pick", 1, &pick()).unwrap_err();
        assert_eq!((failure.kind, failure.retry_after_ms), (kind, Some(2_000)), "{status}");
        assert!(failure.message.contains("not enough `A`"), "{failure}");
        assert_eq!(failure.detail.unwrap()["code"], "insufficient-stock");
    }
}

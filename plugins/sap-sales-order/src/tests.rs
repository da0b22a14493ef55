//! The connector against a scripted SAP: each test says what SAP answers, one request after the other, and what was
//! asked of it.

use std::collections::VecDeque;

use crossdock_plugin::{
    Failure, FailureKind,
    testing::{Installed, MockHost, Reply},
};
use serde_json::{Value, json};

const SERVICE: &str = "http://sap.example/sap/opu/odata/sap/API_SALES_ORDER_SRV";
const FETCH: &str = "GET /";
const POST: &str = "POST /A_SalesOrder";
const FIND: &str = "GET /A_SalesOrder?%24filter";
const READ: &str = "GET /A_SalesOrder('0000004711')";
const DELETE: &str = "DELETE /A_SalesOrder('0000004711')";

/// SAP, answering in this order.
fn sap(replies: impl IntoIterator<Item = Reply>) -> Installed {
    configured(&json!({ "base_url": "http://sap.example/" }), replies)
}

fn configured(config: &Value, replies: impl IntoIterator<Item = Reply>) -> Installed {
    let mut replies: VecDeque<Reply> = replies.into_iter().collect();
    let next = move |_: &_| replies.pop_front().unwrap_or_else(Reply::denied);
    MockHost::new().config(config).answer(next).install()
}

fn order() -> Value {
    json!({ "order": {
        "key": "1001", "source_id": "gid://shopify/Order/1", "placed": "2026-03-01T08:15:00Z", "currency": "EUR",
        "lines": [{ "sku": "A", "title": "Stove", "quantity": 2, "unit_price": "59.90", "total": "119.80" }],
        "shipping": "4.90", "tax": "19.91", "total": "124.70",
    } })
}

fn document() -> Value {
    json!({
        "__metadata": { "etag": "W/\"datetime'1'\"" },
        "SalesOrder": "0000004711", "PurchaseOrderByCustomer": "1001", "TotalNetAmount": "124.700",
        "TransactionCurrency": "EUR", "OverallSDProcessStatus": "A",
        "to_Item": { "results": [
            { "SalesOrderItem": "000010", "Material": "A", "RequestedQuantity": "2.000", "NetAmount": "119.800" },
            { "SalesOrderItem": "000020", "Material": "SHIPPING", "RequestedQuantity": "1.000", "NetAmount": "4.900" },
        ] },
    })
}

fn answered() -> Value {
    json!({
        "id": "0000004711", "number": "4711", "reference": "1001", "total": "124.70", "currency": "EUR", "status": "open",
        "lines": [
            { "line": "10", "sku": "A", "quantity": "2", "total": "119.80" },
            { "line": "20", "sku": "SHIPPING", "quantity": "1", "total": "4.90" },
        ],
    })
}

fn token(token: &str) -> Reply {
    Reply::json(200, &json!({ "d": { "EntitySets": [] } })).header("x-csrf-token", token)
}

fn created() -> Reply {
    let mut entity = document();
    entity["to_Item"] = json!({ "__deferred": { "uri": "…/to_Item" } });
    Reply::json(201, &json!({ "d": entity }))
}

fn found(documents: &[Value]) -> Reply {
    Reply::json(200, &json!({ "d": { "results": documents } }))
}

fn read() -> Reply {
    Reply::json(200, &json!({ "d": document() }))
}

/// A refusal in SAP's shape.
fn refused(status: u16, words: &str) -> Reply {
    Reply::json(
        status,
        &json!({ "error": {
        "code": "V1/302",
        "message": { "lang": "en", "value": words },
        "innererror": {
            "transactionid": "T1",
            "errordetails": [{ "code": "V1/302", "message": words, "propertyref": "Material", "severity": "error" }],
        },
    } }),
    )
}

fn token_required() -> Reply {
    refused(403, "CSRF token validation failed").header("X-CSRF-Token", "Required")
}

fn invoke(host: &Installed, operation: &str, attempt: u32, input: &Value) -> Result<Value, Failure> {
    crate::invoke(&host.call(operation, attempt), input.to_string().as_bytes())
        .map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

fn create(host: &Installed, attempt: u32) -> Result<Value, Failure> {
    invoke(host, "create_order", attempt, &order())
}

fn cancel(host: &Installed) -> Result<Value, Failure> {
    invoke(host, "cancel_order", 1, &json!({ "id": "0000004711", "reason": "no stock" }))
}

/// Holds what was asked to this, each to its beginning.
#[track_caller]
fn check_asked(host: &Installed, expected: &[&str]) {
    let asked: Vec<String> = host
        .requests()
        .iter()
        .map(|request| format!("{} {}", request.method, request.url.strip_prefix(SERVICE).unwrap_or(&request.url)))
        .collect();
    let same = asked.iter().zip(expected).all(|(asked, expected)| match *expected {
        FETCH | POST => asked == expected,
        _ => asked.starts_with(expected),
    });
    assert!(same && asked.len() == expected.len(), "asked {asked:#?}, expected {expected:#?}");
}

#[track_caller]
fn check_failure(result: Result<Value, Failure>, kind: FailureKind, code: &str) -> Failure {
    let failure = result.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (kind, code), "{failure}");
    failure
}

#[test]
fn an_order_is_created_under_a_token_and_answered_as_read_back() {
    let host = sap([token("t1"), created(), read()]);
    assert_eq!(create(&host, 1).unwrap(), answered());
    check_asked(&host, &[FETCH, POST, READ]);
    let requests = host.requests();
    assert_eq!(requests[0].header("x-csrf-token"), Some("Fetch"));
    assert_eq!(requests[1].header("x-csrf-token"), Some("t1"));
    assert!(requests.iter().all(|request| request.header("accept") == Some("application/json")));
    let item = |material: &str, text: &str, quantity: &str, amount: &str| {
        json!({
            "Material": material, "SalesOrderItemText": text, "RequestedQuantity": quantity, "RequestedQuantityUnit": "PC",
            "NetAmount": amount, "TransactionCurrency": "EUR",
        })
    };
    let draft = json!({
        "SalesOrderType": "OR", "SalesOrganization": "1010", "DistributionChannel": "10", "OrganizationDivision": "00",
        "SoldToParty": "10100001", "PurchaseOrderByCustomer": "1001", "CustomerPurchaseOrderDate": "/Date(1772323200000)/",
        "TransactionCurrency": "EUR",
        "to_Item": { "results": [item("A", "Stove", "2", "119.80"), item("SHIPPING", "Shipping", "1", "4.90")] },
    });
    assert_eq!(requests[1].json(), draft);
    assert_eq!(host.annotations(), [("sap.created".to_owned(), "0000004711".to_owned())]);
}

#[test]
fn a_condition_carries_the_amount_where_sap_prices_for_itself() {
    let config = json!({ "base_url": SERVICE, "price_condition": "PPR0", "extra_headers": { "sap-client": "100" } });
    let host = configured(&config, [token("t1"), created(), read()]);
    create(&host, 1).unwrap();
    check_asked(&host, &[FETCH, POST, READ]);
    let requests = host.requests();
    let item = &requests[1].json()["to_Item"]["results"][0];
    assert!(item["NetAmount"].is_null(), "{item:#}");
    let element = &item["to_PricingElement"]["results"][0];
    assert_eq!((&element["ConditionType"], &element["ConditionRateValue"]), (&json!("PPR0"), &json!("119.80")));
    assert!(requests.iter().all(|request| request.header("sap-client") == Some("100")));
}

#[test]
fn a_token_that_ran_out_is_renewed_once() {
    let host = sap([token("old"), token_required(), token("new"), created(), read()]);
    assert_eq!(create(&host, 1).unwrap(), answered());
    check_asked(&host, &[FETCH, POST, FETCH, POST, READ]);
    assert_eq!(host.requests()[3].header("x-csrf-token"), Some("new"));
}

#[test]
fn a_token_refused_twice_is_for_later() {
    let host = sap([token("old"), token_required(), token("new"), token_required()]);
    check_failure(create(&host, 1), FailureKind::Retryable, "sap.csrf");
    check_asked(&host, &[FETCH, POST, FETCH, POST]);
}

#[test]
fn a_second_attempt_finds_the_order_before_it_posts() {
    let host = sap([found(&[document()])]);
    assert_eq!(create(&host, 2).unwrap(), answered());
    check_asked(&host, &[FIND]);
}

#[test]
fn a_second_attempt_posts_when_there_is_no_order() {
    let host = sap([found(&[]), token("t1"), created(), read()]);
    assert_eq!(create(&host, 2).unwrap(), answered());
    check_asked(&host, &[FIND, FETCH, POST, READ]);
}

#[test]
fn a_second_attempt_that_cannot_ask_does_not_post() {
    let host = sap([Reply::lost()]);
    check_failure(create(&host, 2), FailureKind::Retryable, "http.lost");
    check_asked(&host, &[FIND]);
}

#[test]
fn a_lost_reply_leaves_doubt_and_find_resolves_it() {
    let host = sap([token("t1"), Reply::lost(), found(&[document()])]);
    check_failure(create(&host, 1), FailureKind::Uncertain, "http.lost");
    assert_eq!(invoke(&host, "find_order", 1, &order()).unwrap(), answered());
    check_asked(&host, &[FETCH, POST, FIND]);
}

#[test]
fn nothing_has_happened_before_the_post_leaves() {
    for reply in [Reply::lost(), Reply::unreachable(), refused(500, "no"), refused(503, "no")] {
        let host = sap([reply]);
        assert_eq!(create(&host, 1).unwrap_err().kind, FailureKind::Retryable);
    }
    let host = sap([token("t1"), Reply::unreachable()]);
    check_failure(create(&host, 1), FailureKind::Retryable, "http.connect");
}

#[test]
fn whatever_fails_after_the_post_is_doubt() {
    let unreadable = || Reply::json(200, &json!({ "d": {} }));
    for reply in [Reply::lost(), Reply::unreachable(), refused(401, "no"), refused(404, "no"), unreadable()] {
        let host = sap([token("t1"), created(), reply]);
        assert_eq!(create(&host, 1).unwrap_err().kind, FailureKind::Uncertain);
        check_asked(&host, &[FETCH, POST, READ]);
    }
    let host = sap([token("t1"), Reply::json(201, &json!({}))]);
    check_failure(create(&host, 1), FailureKind::Uncertain, "sap.answer");
}

#[test]
fn a_refusal_means_what_sap_means_by_it() {
    for (status, kind, code) in [
        (400, FailureKind::InvalidInput, "sap.refused"),
        (401, FailureKind::Denied, "sap.unauthorized"),
        (403, FailureKind::Denied, "sap.forbidden"),
        (404, FailureKind::Permanent, "sap.no-service"),
        (409, FailureKind::Permanent, "sap.conflict"),
        (423, FailureKind::Retryable, "sap.locked"),
        (429, FailureKind::Retryable, "sap.busy"),
        (500, FailureKind::Uncertain, "sap.failed"),
        (501, FailureKind::Permanent, "sap.unsupported"),
        (503, FailureKind::Uncertain, "sap.failed"),
    ] {
        let host = sap([token("t1"), refused(status, "Material A is not maintained")]);
        let failure = check_failure(create(&host, 1), kind, code);
        assert!(failure.message.ends_with(": Material A is not maintained"), "{failure}");
        let detail = failure.detail.unwrap();
        assert_eq!((&detail["status"], &detail["code"]), (&json!(status), &json!("V1/302")));
        assert_eq!(detail["details"][0]["property"], "Material");
    }
}

#[test]
fn a_refusal_that_is_not_saps_still_has_its_status() {
    let host = sap([token("t1"), Reply::status(400)]);
    let failure = check_failure(create(&host, 1), FailureKind::InvalidInput, "sap.refused");
    assert!(failure.message.ends_with(": HTTP 400"), "{failure}");
}

#[test]
fn retry_after_is_handed_on() {
    for status in [423, 429, 503] {
        let host = sap([token("t1"), refused(status, "wait").header("Retry-After", "30")]);
        let failure = create(&host, 1).unwrap_err();
        assert_eq!((failure.kind, failure.retry_after_ms), (FailureKind::Retryable, Some(30_000)), "{status}");
    }
    let host = sap([token("t1"), refused(423, "locked")]);
    assert_eq!(create(&host, 1).unwrap_err().retry_after_ms, None);
}

#[test]
fn find_asks_by_reference_and_customer() {
    let host = sap([found(&[])]);
    let mut wanted = order();
    wanted["order"]["key"] = json!("O'Hara & Co");
    assert_eq!(invoke(&host, "find_order", 1, &wanted).unwrap(), Value::Null);
    let url = host.requests()[0].url.clone();
    let filter = "%24filter=PurchaseOrderByCustomer%20eq%20%27O%27%27Hara%20%26%20Co%27%20and%20SoldToParty%20eq%20%2710100001%27&";
    assert!(url.contains(filter), "{url}");
}

#[test]
fn of_several_orders_the_oldest_counts() {
    let mut second = document();
    second["SalesOrder"] = json!("0000004712");
    let host = sap([found(&[document(), second])]);
    assert_eq!(invoke(&host, "find_order", 1, &order()).unwrap()["id"], "0000004711");
    assert_eq!(host.annotations(), [("sap.also-there".to_owned(), "0000004712".to_owned())]);
}

#[test]
fn an_order_is_read_by_its_number_with_its_status() {
    for (process, rejection, status) in [
        ("A", "A", "open"),
        ("", "", "open"),
        ("B", "A", "in-process"),
        ("C", "B", "completed"),
        ("C", "C", "cancelled"),
    ] {
        let mut entity = document();
        entity["OverallSDProcessStatus"] = json!(process);
        entity["OverallSDDocumentRejectionSts"] = json!(rejection);
        let host = sap([Reply::json(200, &json!({ "d": entity }))]);
        let read = invoke(&host, "read_order", 1, &json!({ "id": "0000004711" })).unwrap();
        assert_eq!(read["status"], status);
        check_asked(&host, &[READ]);
    }
    let host = sap([refused(404, "no such order")]);
    check_failure(invoke(&host, "read_order", 1, &json!({ "id": "9" })), FailureKind::InvalidInput, "sap.not-found");
    let host = sap([]);
    check_failure(invoke(&host, "read_order", 1, &json!({ "id": "1')/x" })), FailureKind::InvalidInput, "sap.number");
}

#[test]
fn an_order_is_cancelled_under_its_etag() {
    let host = sap([read(), token("t1"), Reply::status(204)]);
    assert_eq!(cancel(&host).unwrap(), json!({ "id": "0000004711", "status": "cancelled" }));
    check_asked(&host, &[READ, FETCH, DELETE]);
    assert_eq!(host.requests()[2].header("if-match"), Some("W/\"datetime'1'\""));
}

#[test]
fn a_stale_etag_is_read_again_once() {
    for status in [412, 428] {
        let host = sap([read(), token("t1"), refused(status, "stale"), read(), token("t2"), Reply::status(204)]);
        assert_eq!(cancel(&host).unwrap()["status"], "cancelled");
        check_asked(&host, &[READ, FETCH, DELETE, READ, FETCH, DELETE]);
        let host = sap([read(), token("t1"), refused(status, "stale"), read(), token("t2"), refused(status, "stale")]);
        check_failure(cancel(&host), FailureKind::Retryable, "sap.stale");
    }
}

#[test]
fn an_order_that_is_gone_counts_as_cancelled() {
    let host = sap([refused(404, "gone")]);
    assert_eq!(cancel(&host).unwrap()["status"], "cancelled");
    let host = sap([read(), token("t1"), refused(404, "gone")]);
    assert_eq!(cancel(&host).unwrap()["status"], "cancelled");
}

#[test]
fn a_locked_or_delivered_order_is_not_cancelled() {
    let host = sap([read(), token("t1"), refused(423, "locked")]);
    check_failure(cancel(&host), FailureKind::Retryable, "sap.locked");
    let host = sap([read(), token("t1"), refused(400, "a delivery follows")]);
    check_failure(cancel(&host), FailureKind::InvalidInput, "sap.refused");
    let host = sap([read(), token("t1"), Reply::lost()]);
    check_failure(cancel(&host), FailureKind::Uncertain, "http.lost");
}

//! Paged operations over the mock host.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what went wrong by panicking")]

use crossdock_plugin::{
    Call, Failure, FailureKind, Portion, http,
    testing::{MockHost, Reply},
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Report {
    report: String,
}

#[derive(Deserialize)]
struct Answer {
    rows: Vec<Value>,
    next: Option<String>,
}

fn summary(report: Report, _call: &Call) -> Result<Value, Failure> {
    Ok(json!({ "report": report.report }))
}

fn rows(report: Report, _call: &Call, cursor: Option<&str>) -> Result<Portion<Vec<Value>>, Failure> {
    let request = http::get(&format!("http://market.example/{}", report.report)).query("page", cursor.unwrap_or("1"));
    let Answer { rows, next } = request.send()?.success()?.json()?;
    Ok(Portion { rows, next })
}

crossdock_plugin::connector! {
    "summary" => summary;
    pages "rows" => rows
}

#[test]
fn portions_follow_each_other_by_their_cursors() {
    let host = MockHost::new()
        .reply("GET", "/june?page=1", Reply::json(200, &json!({ "rows": [1, 2], "next": "2" })))
        .reply("GET", "/june?page=2", Reply::json(200, &json!({ "rows": [3], "next": null })))
        .install();
    let call = host.call("rows", 1);
    let input = br#"{ "report": "june" }"#;
    let first = fetch(&call, input, None).unwrap();
    assert_eq!(first, Portion { rows: b"[1,2]".to_vec(), next: Some("2".to_owned()) });
    let second = fetch(&call, input, first.next.as_deref()).unwrap();
    assert_eq!(second, Portion { rows: b"[3]".to_vec(), next: None });
}

#[test]
fn an_operation_is_paged_or_not_and_says_so() {
    let host = MockHost::new().install();
    let failure = fetch(&host.call("summary", 1), b"{}", None).unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Permanent, "operation.unknown"));
    assert_eq!(invoke(&host.call("summary", 1), br#"{ "report": "june" }"#).unwrap(), br#"{"report":"june"}"#);
    let failure = fetch(&host.call("rows", 1), b"[]", None).unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidInput);
}

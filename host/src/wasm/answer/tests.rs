//! The contract's bounds, one breach at a time.

use super::{assessment, failure, json, page, portion, receipt, verdict};
use crate::{
    model::limits::Limits,
    ports::invoker::{Answer, CallError},
    wasm::bindings::{envelope, paging, polling_source, rule, scorer, webhook_source},
};

/// `expected` is empty if the answer is to be taken, else part of the breach's message.
#[track_caller]
fn check(result: Result<Answer, CallError>, expected: &str) {
    match result {
        Ok(_) => assert_eq!(expected, "", "was taken"),
        Err(CallError::Contract { message }) => {
            assert!(!expected.is_empty() && message.contains(expected), "{message}");
        }
        Err(CallError::Limit(exceeded)) => assert!(exceeded.to_string().contains(expected), "{exceeded}"),
        Err(other) => panic!("{other:?}"),
    }
}

fn reason() -> envelope::Reason {
    envelope::Reason { code: "stock.low".into(), message: "low".into(), path: Some("/lines/0".into()) }
}

fn decided(change: impl FnOnce(&mut rule::Verdict)) -> Result<Answer, CallError> {
    let mut verdict_ = rule::Verdict {
        outcome: rule::Outcome::Hold,
        target: Some("stock-control".into()),
        reasons: vec![reason()],
        output: Some(b"{}".to_vec()),
    };
    change(&mut verdict_);
    verdict(verdict_, &Limits::DEFAULT)
}

#[test]
fn verdicts_are_held_to_the_contract() {
    check(decided(|_| ()), "");
    check(decided(|v| v.target = None), "must name its `target`");
    check(decided(|v| v.outcome = rule::Outcome::Proceed), "has no `target`");
    check(decided(|v| v.target = Some(String::new())), "`target` is 0 bytes");
    check(decided(|v| v.reasons.clear()), "at least one reason");
    check(decided(|v| v.reasons = vec![reason(); 33]), "33 reasons");
    check(decided(|v| v.reasons[0].code = "x".repeat(129)), "code is 129 bytes; it must be 1 to 128");
    check(decided(|v| v.reasons[0].message = "x".repeat(1025)), "message is 1025 bytes");
    check(decided(|v| v.reasons[0].path = Some("lines".into())), "JSON Pointer");
    check(decided(|v| v.output = Some(b"{".to_vec())), "not one JSON value");
    check(decided(|v| v.output = Some(vec![b' '; 2 << 20])), "`output_bytes` exceeded: 2097152 of 1048576");
}

fn assessed(change: impl FnOnce(&mut scorer::Assessment)) -> Result<Answer, CallError> {
    let mut found = scorer::Assessment {
        model: "node-ranking".into(),
        model_version: "1".into(),
        score: 0.5,
        confidence: 1.0,
        recommendation: "berlin".into(),
        alternatives: vec![scorer::Alternative { recommendation: "paris".into(), score: 0.0 }],
        reasons: vec![],
        features: br#"{"distance": 12.5, "express": true, "zone": "a"}"#.to_vec(),
    };
    change(&mut found);
    assessment(found)
}

#[test]
fn assessments_are_held_to_the_contract() {
    check(assessed(|_| ()), "");
    check(assessed(|a| a.model = "Node".into()), "`model` must be a name");
    check(assessed(|a| a.model_version = String::new()), "`model-version`");
    check(assessed(|a| a.score = f64::NAN), "`score` is NaN");
    check(assessed(|a| a.confidence = 1.01), "`confidence` is 1.01");
    check(assessed(|a| a.score = f64::INFINITY), "`score` is inf");
    check(assessed(|a| a.alternatives[0].score = -0.5), "alternative's score");
    check(assessed(|a| a.alternatives = vec![a.alternatives[0].clone(); 17]), "17 alternatives");
    check(assessed(|a| a.features = b"[]".to_vec()), "flat JSON object");
    check(assessed(|a| a.features = br#"{"a": {}}"#.to_vec()), "feature `a`");
    check(assessed(|a| a.features = vec![b' '; 65 << 10]), "`features` is");
}

fn received(
    change: impl FnOnce(&mut envelope::Event),
    reply: Option<webhook_source::Reply>,
    times: usize,
) -> Result<Answer, CallError> {
    let mut event = envelope::Event {
        id: "1".into(),
        source: "/shop".into(),
        event_type: "order.created".into(),
        subject: None,
        time: Some("2026-03-01T08:15:00.000Z".into()),
        data_schema: None,
        data: b"{}".to_vec(),
        extensions: vec![("lane".into(), "fast".into())],
    };
    change(&mut event);
    receipt(webhook_source::Receipt { events: vec![event; times], reply }, &Limits::DEFAULT)
}

#[test]
fn receipts_are_held_to_the_contract() {
    let reply = |status, body: usize, content_type: &str| {
        Some(webhook_source::Reply { status, content_type: content_type.into(), body: vec![0; body] })
    };
    check(received(|_| (), reply(200, 1, "text/plain"), 256), "");
    check(received(|_| (), None, 257), "257 events");
    check(received(|_| (), reply(404, 1, "text/plain"), 1), "status is 404");
    check(received(|_| (), reply(200, 17 << 10, "text/plain"), 1), "body is");
    check(received(|_| (), reply(200, 1, "text/plain\r\nx: y"), 1), "header's value");
    check(received(|e| e.id.clear(), None, 1), "`id` is missing");
    check(received(|e| e.time = Some("today".into()), None, 1), "`today` is not an RFC 3339 time");
    check(received(|e| e.data.clear(), None, 1), "`data` is not one JSON value");
    check(received(|e| e.extensions.push(("lane".into(), "slow".into())), None, 1), "`lane` twice");
    check(received(|e| e.extensions.push(("Lane".into(), "slow".into())), None, 1), "CloudEvents name");
    check(received(|e| e.data = vec![b' '; 600 << 10], None, 2), "`output_bytes` exceeded");
}

#[test]
fn failures_are_held_to_the_contract() {
    let fail = |kind, code: &str, message: usize, detail: Option<&[u8]>, is_pure| {
        let record = envelope::Failure {
            kind,
            code: code.into(),
            message: "x".repeat(message),
            retry_after_ms: None,
            detail: detail.map(<[u8]>::to_vec),
        };
        match failure(record, is_pure) {
            CallError::Failure(failure) => failure.to_string(),
            CallError::Contract { message } => message,
            other => panic!("{other:?}"),
        }
    };
    use envelope::FailureKind::{Permanent, Uncertain};
    assert_eq!(fail(Uncertain, "erp.lost", 1, Some(b"{}"), false), "uncertain `erp.lost`: x");
    assert!(fail(Uncertain, "erp.lost", 1, None, true).contains("pure plugin"));
    assert!(fail(Permanent, "", 1, None, true).contains("code is 0 bytes"));
    assert!(fail(Permanent, "a", 1025, None, true).contains("message is 1025 bytes"));
    assert!(fail(Permanent, "a", 1, Some(b"{"), true).contains("detail is not one JSON value"));
    assert!(fail(Permanent, "a", 1, Some(&[b' '; 17 << 10]), true).contains("at most 16384"));
}

#[test]
fn an_output_is_one_json_value_within_its_limit() {
    check(json(b"{}".to_vec(), &Limits::DEFAULT), "");
    check(json(b"{} {}".to_vec(), &Limits::DEFAULT), "not one JSON value");
    check(json(vec![b' '; 11], &Limits { output_bytes: 10, ..Limits::DEFAULT }), "11 of 10 bytes");
}

#[test]
fn portions_are_held_to_the_contract() {
    let portion =
        |rows: &[u8], next: Option<String>| portion(paging::Portion { rows: rows.to_vec(), next }, &Limits::DEFAULT);
    check(portion(b"[]", Some("2".into())), "");
    check(portion(b"[]", None), "");
    check(portion(b"[", None), "the portion's rows is not one JSON value");
    check(portion(&vec![b' '; 2 << 20], None), "`output_bytes` exceeded");
    check(portion(b"[]", Some("x".repeat(4_097))), "`next` is 4097 bytes; it must be 0 to 4096");
}

#[test]
fn pages_are_held_to_the_contract() {
    let event = |id: &str| envelope::Event {
        id: id.into(),
        source: "/".into(),
        event_type: "order".into(),
        subject: None,
        time: None,
        data_schema: None,
        data: b"{}".to_vec(),
        extensions: vec![],
    };
    let page = |events: Vec<envelope::Event>, cursor: Option<String>| {
        page(polling_source::Page { events, cursor, more: false }, &Limits::DEFAULT)
    };
    check(page(vec![event("1")], Some("1".into())), "");
    check(page(vec![], None), "");
    check(page(vec![event("1"); 257], None), "257 events of one page are too many");
    check(page(vec![event("")], None), "`id` is missing");
    check(page(vec![], Some("x".repeat(4_097))), "`cursor` is 4097 bytes");
}

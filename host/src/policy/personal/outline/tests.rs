//! What is covered of facts and documents, and what is left in clear.

use serde_json::json;

use super::{cover, outline};
use crate::model::{
    entry::{Control, Controlled, Ending, Entry, Output, StepDone, StepStarted},
    failure::{Failure, FailureKind},
    id::Digest,
    json::Json,
    limits::Usage,
    log::{LogLevel, LogLine},
    personal::{ERASED, NO_DIGEST, SEALED},
    timestamp::Timestamp,
};

/// Fields, a document, and what is left of it.
#[track_caller]
fn check(fields: &[&str], document: serde_json::Value, expected: &serde_json::Value) {
    let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
    let covered = cover(&Json::from(document), &fields, "X");
    assert_eq!(covered.to_value(), *expected, "{fields:?}");
    assert_eq!(cover(&covered, &fields, "X"), covered, "what is covered stays so");
}

#[test]
fn only_what_is_named_is_covered_and_nothing_is_made() {
    check(&["/a/b"], json!({ "a": { "b": 1, "c": 2 } }), &json!({ "a": { "b": "X", "c": 2 } }));
    check(&["/a/b", "/z"], json!({ "a": 1 }), &json!({ "a": 1 }));
    check(&["/l/*/n"], json!({ "l": [{ "n": 1, "m": 2 }, {}] }), &json!({ "l": [{ "n": "X", "m": 2 }, {}] }));
    check(&["/o/*"], json!({ "o": { "a": 1, "b": [2] } }), &json!({ "o": { "a": "X", "b": "X" } }));
    check(&["/a~1b"], json!({ "a/b": 1, "a": 2 }), &json!({ "a/b": "X", "a": 2 }));
    check(&[""], json!({ "a": 1 }), &json!("X"));
}

fn done() -> Entry {
    Entry::StepDone(Box::new(StepDone {
        step: "s".into(),
        time: Timestamp::from_millis(1),
        output: Output::Json(Json::from(json!({ "mail": "canary" }))),
        usage: Usage::default(),
        log: vec![LogLine {
            level: LogLevel::Info,
            message: "canary".into(),
            fields: vec![("to".into(), "canary".into())],
        }],
        annotations: vec![("note".into(), "canary".into())],
    }))
}

fn failure() -> Failure {
    let detail = Some(Json::from(json!("canary")));
    Failure { detail, ..Failure::new(FailureKind::Permanent, "erp.no", "canary") }
}

#[test]
fn everything_that_a_run_may_have_derived_is_covered() {
    let time = Timestamp::from_millis(1);
    let step = || "s".to_owned();
    let canary = || Json::from(json!({ "name": "canary" }));
    let input = Some(Digest::of(b"canary"));
    let started = StepStarted { step: step(), time, attempt: 1, plugin: None, operation: None, tables: vec![], input };
    let action = Control::Resolve { step: step(), output: Some(canary()) };
    let controlled = Controlled { time, actor: "ann".into(), action, reason: "canary".into() };
    let entries = [
        done(),
        Entry::VarsSet { step: step(), time, values: canary() },
        Entry::Handled { step: step(), time, by: crate::model::entry::Handler::Fallback, output: Some(canary()) },
        Entry::BranchClosed { step: step(), output: Some(canary()) },
        Entry::StepFailed { step: step(), time, failure: failure() },
        Entry::RunParked { time, step: step(), failure: failure() },
        Entry::RunEnded { time, ending: Ending::Failed { step: step(), failure: failure() } },
        Entry::Controlled(Box::new(controlled)),
        Entry::StepStarted(started),
    ];
    for entry in entries {
        let left = outline(&entry, true, SEALED).expect("something to cover");
        let bytes = left.encode();
        assert!(!bytes.windows(6).any(|window| window == b"canary"), "{left:?}");
        assert!(!bytes.windows(32).any(|window| window == Digest::of(b"canary").as_bytes()), "{left:?}");
        assert_eq!(left.time(), entry.time());
        // The outline of an outline only has another word.
        assert_eq!(outline(&left, true, ERASED), outline(&entry, true, ERASED));
        assert!(outline(&entry, false, SEALED).is_none(), "a run without personal data is left as it is");
    }
    let Some(Entry::StepStarted(left)) = outline(
        &Entry::StepStarted(StepStarted {
            step: step(),
            time,
            attempt: 1,
            plugin: None,
            operation: None,
            tables: vec![],
            input,
        }),
        true,
        SEALED,
    ) else {
        panic!("no outline")
    };
    assert_eq!(left.input, Some(NO_DIGEST));
}

#[test]
fn what_tells_nothing_of_a_person_is_left_in_clear() {
    let time = Timestamp::from_millis(1);
    for entry in [
        Entry::StepSkipped { step: "s".into() },
        Entry::BranchTaken { step: "s".into(), branch: Some("b".into()) },
        Entry::RunEnded { time, ending: Ending::Completed },
        Entry::WaitOver { step: "s".into(), time },
    ] {
        assert!(outline(&entry, true, SEALED).is_none(), "{entry:?}");
    }
}

//! Whether two answers to the same input are the same, what differs if not, and how an answer is quoted.

use serde_json::{Value, json};

use crate::{
    flow::machine::{Recorded, is_defect},
    model::{
        decision::{Assessment, Reason, Verdict},
        entry::Output,
        failure::Failure,
        id::Digest,
        json::Json,
        replay::What,
    },
};

/// Longest document that is quoted whole, bytes.
const QUOTED_BYTES_MAX: usize = 1 << 10;
/// Longest text that is quoted, characters.
const QUOTED_CHARACTERS_MAX: usize = 300;
/// How many reasons are quoted.
const REASONS_MAX: usize = 5;

/// What differs between two answers, if anything does. A model's own name and version may.
pub(super) fn difference(before: &Recorded, after: &Recorded) -> Option<What> {
    match (before, after) {
        (Err(before), Err(after)) => {
            ((before.kind, &before.code) != (after.kind, &after.code)).then_some(What::Failure)
        }
        (Ok(Output::Json(before)), Ok(Output::Json(after))) => (!is_same(before, after)).then_some(What::Output),
        (Ok(Output::Verdict(before)), Ok(Output::Verdict(after))) => verdicts(before, after),
        (Ok(Output::Assessment(before)), Ok(Output::Assessment(after))) => assessments(before, after),
        _ => Some(What::Failure),
    }
}

fn is_same(before: &Json, after: &Json) -> bool {
    before == after || before.to_value() == after.to_value()
}

fn verdicts(before: &Verdict, after: &Verdict) -> Option<What> {
    if (before.outcome, &before.target) != (after.outcome, &after.target) {
        return Some(What::Decision);
    }
    let same = match (&before.output, &after.output) {
        (Some(before), Some(after)) => is_same(before, after),
        (before, after) => before.is_none() && after.is_none(),
    };
    if !same {
        return Some(What::Output);
    }
    (before.reasons != after.reasons).then_some(What::Reasons)
}

fn assessments(before: &Assessment, after: &Assessment) -> Option<What> {
    if before.recommendation != after.recommendation {
        return Some(What::Decision);
    }
    let numbers = |one: &Assessment| (one.score.to_bits(), one.confidence.to_bits());
    let same = numbers(before) == numbers(after)
        && before.alternatives == after.alternatives
        && is_same(&before.features, &after.features);
    if !same {
        return Some(What::Output);
    }
    (before.reasons != after.reasons).then_some(What::Reasons)
}

/// Whether an answer says something about the plugin, rather than about how the hub was at that moment.
pub(super) fn is_its_own(answer: &Recorded) -> bool {
    let of_the_moment = ["limit.deadline", "plugin.unavailable", "plugin.revoked", "plugin.missing"];
    !matches!(answer, Err(failure) if of_the_moment.contains(&failure.code.as_str()))
}

/// How an answer is told in short: what was decided.
pub(super) fn decided(answer: &Recorded) -> String {
    match answer {
        Ok(Output::Verdict(verdict)) => match &verdict.target {
            Some(target) => format!("{} {}", verdict.outcome, cut(target)),
            None => verdict.outcome.to_string(),
        },
        Ok(Output::Assessment(assessment)) => cut(&assessment.recommendation),
        Ok(Output::Json(_)) => "an output".to_owned(),
        Err(failure) if is_defect(failure) => format!("defect {}", cut(&failure.code)),
        Err(failure) => format!("failure {}", cut(&failure.code)),
    }
}

/// An answer as an example quotes it, bounded.
pub(super) fn quoted(answer: &Recorded) -> Value {
    match answer {
        Ok(Output::Json(json)) => json!({ "output": document(json) }),
        Ok(Output::Verdict(verdict)) => {
            let mut quoted = json!({ "outcome": verdict.outcome, "reasons": reasons(&verdict.reasons) });
            if let Some(fields) = quoted.as_object_mut() {
                fields.extend(verdict.target.as_deref().map(|target| ("target".to_owned(), cut(target).into())));
                fields.extend(verdict.output.as_ref().map(|output| ("output".to_owned(), document(output))));
            }
            quoted
        }
        Ok(Output::Assessment(assessment)) => json!({
            "recommendation": cut(&assessment.recommendation),
            "score": assessment.score,
            "confidence": assessment.confidence,
            "reasons": reasons(&assessment.reasons),
            "features": document(&assessment.features),
        }),
        Err(Failure { kind, code, message, .. }) => {
            json!({ "failure": { "kind": kind, "code": cut(code) }, "message": cut(message) })
        }
    }
}

fn reasons(reasons: &[Reason]) -> Value {
    let quoted = |reason: &Reason| match &reason.path {
        Some(path) => json!({ "code": cut(&reason.code), "message": cut(&reason.message), "path": cut(path) }),
        None => json!({ "code": cut(&reason.code), "message": cut(&reason.message) }),
    };
    reasons.iter().take(REASONS_MAX).map(quoted).collect()
}

fn document(json: &Json) -> Value {
    let bytes = json.as_bytes();
    if bytes.len() <= QUOTED_BYTES_MAX {
        return json.to_value();
    }
    json!({ "bytes": bytes.len(), "digest": Digest::of(bytes) })
}

fn cut(text: &str) -> String {
    text.chars().take(QUOTED_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{decision::Outcome, failure::FailureKind};

    fn verdict(outcome: Outcome, target: Option<&str>, code: &str, output: Option<Value>) -> Recorded {
        let reasons = vec![Reason { code: code.into(), message: code.into(), path: None }];
        Ok(Output::Verdict(Verdict {
            outcome,
            target: target.map(str::to_owned),
            reasons,
            output: output.map(Json::from),
        }))
    }

    fn failed(code: &str) -> Recorded {
        Err(Failure::new(FailureKind::Permanent, code, "x".repeat(900)))
    }

    #[test]
    fn a_decision_outweighs_its_document_and_that_its_reasons() {
        let one = verdict(Outcome::Hold, Some("people"), "a", Some(json!({"n": 1})));
        let cases = [
            (verdict(Outcome::Hold, Some("people"), "a", Some(json!({"n": 1}))), None),
            (verdict(Outcome::Hold, Some("people"), "b", Some(json!({"n": 1}))), Some(What::Reasons)),
            (verdict(Outcome::Hold, Some("people"), "b", Some(json!({"n": 2}))), Some(What::Output)),
            (verdict(Outcome::Hold, Some("people"), "a", None), Some(What::Output)),
            (verdict(Outcome::Hold, Some("others"), "a", Some(json!({"n": 1}))), Some(What::Decision)),
            (verdict(Outcome::Reject, None, "b", Some(json!({"n": 2}))), Some(What::Decision)),
            (failed("plugin.trap"), Some(What::Failure)),
        ];
        for (other, expected) in cases {
            assert_eq!(difference(&one, &other), expected, "{other:?}");
            assert_eq!(difference(&other, &one), expected, "{other:?}");
        }
        assert_eq!(difference(&failed("a"), &failed("a")), None);
        assert_eq!(difference(&failed("a"), &failed("b")), Some(What::Failure));
    }

    #[test]
    fn a_document_is_the_same_however_it_is_written() {
        let json = |text: &str| Ok(Output::Json(Json::parse(text.to_owned()).expect("JSON")));
        assert_eq!(difference(&json(r#"{"a":1,"b":2}"#), &json(r#"{"b": 2, "a": 1}"#)), None);
        assert_eq!(difference(&json(r#"{"a":1}"#), &json(r#"{"a":1.5}"#)), Some(What::Output));
    }

    #[test]
    fn what_is_quoted_is_bounded() {
        let large = verdict(Outcome::Route, Some(&"t".repeat(2_000)), "a", Some(json!("x".repeat(5_000))));
        let text = quoted(&large).to_string();
        assert!(text.len() < 1_000 && text.contains("\"bytes\":5002"), "{text}");
        assert!(quoted(&failed("a")).to_string().len() < 500);
        assert_eq!(decided(&failed("plugin.trap")), "defect plugin.trap");
    }

    #[test]
    fn running_out_of_time_says_nothing_about_the_plugin() {
        assert!(!is_its_own(&failed("limit.deadline")) && is_its_own(&failed("limit.fuel")));
    }
}

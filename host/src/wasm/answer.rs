//! From what a guest returned to what the hub works with, held to the contract's bounds on the way. Nothing past this
//! file has to ask whether a plugin's answer is well formed.

use std::collections::BTreeMap;

use super::bindings::{envelope, paging, polling_source, rule, scorer, webhook_source};
use crate::{
    model::{
        decision::{Alternative, Assessment, Outcome, Reason, Verdict},
        event::Event,
        failure::{Failure, FailureKind},
        id::is_name,
        json::Json,
        limits::{Limit, LimitExceeded, Limits},
    },
    ports::invoker::{Answer, CallError, Page, Portion, WebhookReply},
};

/// Bounds of the contract, in bytes or in number.
const CODE_BYTES_LIMIT: usize = 128;
const MESSAGE_BYTES_LIMIT: usize = 1 << 10;
const DETAIL_BYTES_LIMIT: usize = 16 << 10;
const PATH_BYTES_LIMIT: usize = 1 << 10;
const REASONS_LIMIT: usize = 32;
const ALTERNATIVES_LIMIT: usize = 16;
const FEATURES_BYTES_LIMIT: usize = 64 << 10;
const EVENTS_LIMIT: usize = 256;
const CURSOR_BYTES_LIMIT: usize = 4 << 10;
const REPLY_BYTES_LIMIT: usize = 16 << 10;
const WORD_BYTES_LIMIT: usize = 128;

fn breach(message: impl Into<String>) -> CallError {
    CallError::Contract { message: message.into() }
}

/// Text of a bounded length.
fn text(what: &str, text: &str, min: usize, max: usize) -> Result<(), CallError> {
    if (min..=max).contains(&text.len()) {
        return Ok(());
    }
    Err(breach(format!("{what} is {} bytes; it must be {min} to {max}", text.len())))
}

fn document(what: &str, bytes: Vec<u8>, limits: &Limits) -> Result<Json, CallError> {
    if bytes.len() as u64 > limits.output_bytes {
        return Err(CallError::Limit(LimitExceeded {
            limit: Limit::Output,
            allowed: limits.output_bytes,
            used: bytes.len() as u64,
        }));
    }
    parsed(what, bytes)
}

fn parsed(what: &str, bytes: Vec<u8>) -> Result<Json, CallError> {
    Json::parse(bytes).map_err(|error| breach(format!("{what} is not one JSON value: {error}")))
}

/// A transform's or a connector's document.
pub(super) fn json(bytes: Vec<u8>, limits: &Limits) -> Result<Answer, CallError> {
    document("the output", bytes, limits).map(Answer::Json)
}

/// A rule's decision.
pub(super) fn verdict(verdict: rule::Verdict, limits: &Limits) -> Result<Answer, CallError> {
    let outcome = match verdict.outcome {
        rule::Outcome::Proceed => Outcome::Proceed,
        rule::Outcome::Hold => Outcome::Hold,
        rule::Outcome::Reject => Outcome::Reject,
        rule::Outcome::Route => Outcome::Route,
    };
    match (outcome, &verdict.target) {
        (Outcome::Hold | Outcome::Route, None) => {
            return Err(breach(format!("a verdict `{outcome}` must name its `target`")));
        }
        (Outcome::Proceed | Outcome::Reject, Some(_)) => {
            return Err(breach(format!("a verdict `{outcome}` has no `target`; leave it out")));
        }
        (_, target) => text("`target`", target.as_deref().unwrap_or("-"), 1, WORD_BYTES_LIMIT)?,
    }
    if verdict.reasons.is_empty() && outcome != Outcome::Proceed {
        return Err(breach(format!("a verdict `{outcome}` must give at least one reason")));
    }
    Ok(Answer::Verdict(Verdict {
        outcome,
        target: verdict.target,
        reasons: reasons(verdict.reasons)?,
        output: verdict.output.map(|output| document("the verdict's output", output, limits)).transpose()?,
    }))
}

fn reasons(reasons: Vec<envelope::Reason>) -> Result<Vec<Reason>, CallError> {
    if reasons.len() > REASONS_LIMIT {
        return Err(breach(format!("{} reasons are too many; at most {REASONS_LIMIT}", reasons.len())));
    }
    reasons
        .into_iter()
        .map(|reason| {
            text("a reason's code", &reason.code, 1, CODE_BYTES_LIMIT)?;
            text("a reason's message", &reason.message, 0, MESSAGE_BYTES_LIMIT)?;
            if let Some(path) = &reason.path {
                text("a reason's path", path, 0, PATH_BYTES_LIMIT)?;
                if !path.is_empty() && !path.starts_with('/') {
                    return Err(breach(format!("a reason's path `{path}` is not a JSON Pointer such as `/lines/0`")));
                }
            }
            Ok(Reason { code: reason.code, message: reason.message, path: reason.path })
        })
        .collect()
}

/// A scorer's recommendation.
pub(super) fn assessment(found: scorer::Assessment) -> Result<Answer, CallError> {
    if !is_name(&found.model) {
        return Err(breach("`model` must be a name: 1 to 64 of `a-z`, `0-9` and `-`, a letter first"));
    }
    text("`model-version`", &found.model_version, 1, 64)?;
    unit("`score`", found.score)?;
    unit("`confidence`", found.confidence)?;
    text("`recommendation`", &found.recommendation, 1, WORD_BYTES_LIMIT)?;
    if found.alternatives.len() > ALTERNATIVES_LIMIT {
        let number = found.alternatives.len();
        return Err(breach(format!("{number} alternatives are too many; at most {ALTERNATIVES_LIMIT}")));
    }
    let alternatives = found.alternatives.into_iter().map(|other| {
        text("an alternative's recommendation", &other.recommendation, 1, WORD_BYTES_LIMIT)?;
        unit("an alternative's score", other.score)?;
        Ok(Alternative { recommendation: other.recommendation, score: other.score })
    });
    Ok(Answer::Assessment(Assessment {
        alternatives: alternatives.collect::<Result<_, CallError>>()?,
        model: found.model,
        model_version: found.model_version,
        score: found.score,
        confidence: found.confidence,
        recommendation: found.recommendation,
        reasons: reasons(found.reasons)?,
        features: features(found.features)?,
    }))
}

/// A number from 0.0 to 1.0; NaN is not one.
fn unit(what: &str, number: f64) -> Result<(), CallError> {
    if (0.0..=1.0).contains(&number) {
        return Ok(());
    }
    Err(breach(format!("{what} is {number}; it must be 0.0 to 1.0")))
}

fn features(bytes: Vec<u8>) -> Result<Json, CallError> {
    if bytes.len() > FEATURES_BYTES_LIMIT {
        return Err(breach(format!("`features` is {} bytes; at most {FEATURES_BYTES_LIMIT}", bytes.len())));
    }
    let features = parsed("`features`", bytes)?;
    let serde_json::Value::Object(fields) = features.to_value() else {
        return Err(breach("`features` must be a flat JSON object"));
    };
    match fields.iter().find(|(_, value)| !(value.is_number() || value.is_string() || value.is_boolean())) {
        None => Ok(features),
        Some((name, _)) => {
            Err(breach(format!("feature `{name}` must be a number, a string or a boolean: the object is flat")))
        }
    }
}

/// A webhook source's events and its reply.
pub(super) fn receipt(receipt: webhook_source::Receipt, limits: &Limits) -> Result<Answer, CallError> {
    let events = events("one delivery", receipt.events, limits)?;
    Ok(Answer::Receipt(events, receipt.reply.map(reply).transpose()?))
}

/// A portion of a paged operation's result.
pub(super) fn portion(portion: paging::Portion, limits: &Limits) -> Result<Answer, CallError> {
    let rows = document("the portion's rows", portion.rows, limits)?;
    Ok(Answer::Portion(Portion { rows, next: cursor("`next`", portion.next)? }))
}

/// A portion of what is new at a polled source.
pub(super) fn page(page: polling_source::Page, limits: &Limits) -> Result<Answer, CallError> {
    let cursor = cursor("`cursor`", page.cursor)?;
    Ok(Answer::Page(Page { events: events("one page", page.events, limits)?, cursor, more: page.more }))
}

/// Where to go on: some text of a bounded length.
fn cursor(what: &str, cursor: Option<String>) -> Result<Option<String>, CallError> {
    text(what, cursor.as_deref().unwrap_or_default(), 0, CURSOR_BYTES_LIMIT)?;
    Ok(cursor)
}

fn events(of: &str, events: Vec<envelope::Event>, limits: &Limits) -> Result<Vec<Event>, CallError> {
    if events.len() > EVENTS_LIMIT {
        let number = events.len();
        return Err(breach(format!("{number} events of {of} are too many; at most {EVENTS_LIMIT}")));
    }
    let bytes: usize = events.iter().map(|event| event.data.len()).sum();
    if bytes as u64 > limits.output_bytes {
        let (limit, allowed) = (Limit::Output, limits.output_bytes);
        return Err(CallError::Limit(LimitExceeded { limit, allowed, used: bytes as u64 }));
    }
    events.into_iter().map(event).collect()
}

fn event(event: envelope::Event) -> Result<Event, CallError> {
    let mut extensions = BTreeMap::new();
    for (name, value) in event.extensions {
        if extensions.insert(name.clone(), value).is_some() {
            return Err(breach(format!("an event has the extension `{name}` twice")));
        }
    }
    let time = event.time.map(|time| time.parse()).transpose();
    let event = Event {
        id: event.id,
        source: event.source,
        event_type: event.event_type,
        subject: event.subject,
        time: time.map_err(|error| breach(format!("an event's `time`: {error}")))?,
        data_schema: event.data_schema,
        data: parsed("an event's `data`", event.data)?,
        extensions,
    };
    event.check().map_err(|error| breach(error.to_string()))?;
    Ok(event)
}

fn reply(reply: webhook_source::Reply) -> Result<WebhookReply, CallError> {
    if !(200..=299).contains(&reply.status) {
        return Err(breach(format!("the reply's status is {}; it must be 200 to 299", reply.status)));
    }
    text("the reply's content type", &reply.content_type, 0, WORD_BYTES_LIMIT)?;
    if http::HeaderValue::from_str(&reply.content_type).is_err() {
        return Err(breach("the reply's content type cannot be a header's value"));
    }
    if reply.body.len() > REPLY_BYTES_LIMIT {
        return Err(breach(format!("the reply's body is {} bytes; at most {REPLY_BYTES_LIMIT}", reply.body.len())));
    }
    Ok(WebhookReply { status: reply.status, content_type: reply.content_type, body: reply.body.into() })
}

/// A plugin's failure, or the breach that it is itself.
pub(super) fn failure(failure: envelope::Failure, is_pure: bool) -> CallError {
    checked_failure(failure, is_pure).map_or_else(|breach| breach, CallError::Failure)
}

fn checked_failure(failure: envelope::Failure, is_pure: bool) -> Result<Failure, CallError> {
    let kind = match failure.kind {
        envelope::FailureKind::Retryable => FailureKind::Retryable,
        envelope::FailureKind::Uncertain if is_pure => {
            return Err(breach("a pure plugin has no effects that could be `uncertain`; fail as another kind"));
        }
        envelope::FailureKind::Uncertain => FailureKind::Uncertain,
        envelope::FailureKind::InvalidInput => FailureKind::InvalidInput,
        envelope::FailureKind::Denied => FailureKind::Denied,
        envelope::FailureKind::Permanent => FailureKind::Permanent,
    };
    text("a failure's code", &failure.code, 1, CODE_BYTES_LIMIT)?;
    text("a failure's message", &failure.message, 0, MESSAGE_BYTES_LIMIT)?;
    if failure.detail.as_ref().is_some_and(|detail| detail.len() > DETAIL_BYTES_LIMIT) {
        return Err(breach(format!("a failure's detail has at most {DETAIL_BYTES_LIMIT} bytes")));
    }
    Ok(Failure {
        kind,
        code: failure.code,
        message: failure.message,
        retry_after_ms: failure.retry_after_ms,
        detail: failure.detail.map(|detail| parsed("a failure's detail", detail)).transpose()?,
    })
}

#[cfg(test)]
mod tests;

//! The outline of a fact: what happened, when, at which step, without anything that may be about a person.
//!
//! Of an event the tagged fields are covered. Whatever a run made after it began with personal data may be derived from it,
//! so all of it is covered: outputs, logs, annotations, messages of failures, evidence, reasons that people wrote, and
//! digests, which could confirm a guess. Names of steps, plugins, groups and branches stay, and codes of failures.

use serde_json::Value;

use crate::model::{
    decision::{Assessment, Reason, Verdict},
    entry::{Control, Ending, Entry, Output},
    failure::Failure,
    id::SignalKey,
    json::Json,
    log::LogLine,
    personal::{NO_DIGEST, Personal},
};

/// What is left of a fact, with a word in place of what is covered; absent: there is nothing to cover. `derived` says
/// whether earlier facts of the run hold personal data. The outline of an outline is itself, but for the word.
#[must_use]
pub fn outline(entry: &Entry, derived: bool, word: &str) -> Option<Entry> {
    if !derived && entry.personal().is_none() {
        return None;
    }
    let mut left = entry.clone();
    let covered = match &mut left {
        Entry::Accepted(accepted) => {
            accepted.digest = NO_DIGEST;
            event(&mut accepted.event.data, accepted.personal.as_ref(), word)
        }
        Entry::RunStarted(started) => event(&mut started.event.data, started.personal.as_ref(), word),
        Entry::Signalled(signalled) => event(&mut signalled.event.data, signalled.personal.as_ref(), word),
        Entry::ExceptionOpened(opened) => event(&mut opened.event.data, opened.personal.as_ref(), word),
        entry => rest(entry, word),
    };
    covered.then_some(left)
}

fn event(data: &mut Json, personal: Option<&Personal>, word: &str) -> bool {
    let Some(personal) = personal else { return false };
    *data = cover(data, &personal.fields, word);
    true
}

/// Covers what a fact of a run may have derived; whether there was anything.
fn rest(entry: &mut Entry, word: &str) -> bool {
    match entry {
        Entry::Accepted(_)
        | Entry::RunStarted(_)
        | Entry::Signalled(_)
        | Entry::ExceptionOpened(_)
        | Entry::StepSkipped { .. }
        | Entry::BranchTaken { .. }
        | Entry::WaitOver { .. }
        | Entry::ApprovalNudged { .. }
        | Entry::ApprovalExpired { .. }
        | Entry::UndoBegan { .. }
        | Entry::Restarted { .. } => return false,
        Entry::StepStarted(started) => match &mut started.input {
            Some(input) => *input = NO_DIGEST,
            None => return false,
        },
        Entry::Intent(intent) => intent.input = NO_DIGEST,
        Entry::StepDone(done) => {
            match &mut done.output {
                Output::Json(output) => whole(output, word),
                Output::Verdict(verdict) => cover_verdict(verdict, word),
                Output::Assessment(assessment) => cover_assessment(assessment, word),
            }
            cover_log(&mut done.log, word);
            done.annotations.iter_mut().for_each(|(_, value)| word.clone_into(value));
        }
        Entry::AttemptFailed(failed) => {
            cover_failure(&mut failed.failure, word);
            cover_log(&mut failed.log, word);
        }
        Entry::BranchClosed { output, .. } | Entry::Handled { output, .. } => match output {
            Some(output) => whole(output, word),
            None => return false,
        },
        Entry::Entered(entered) => match &mut entered.items {
            // How many there are is what the shape of the run shows anyway.
            Some(items) => *items = cover(items, &["/*".to_owned()], word),
            None => return false,
        },
        Entry::VarsSet { values, .. } => *values = cover(values, &["/*".to_owned()], word),
        Entry::WaitStarted(started) => {
            if started.awaits.is_empty() {
                return false;
            }
            started.awaits.iter_mut().for_each(|awaited| awaited.key = SignalKey::from_bytes([0; 16]));
        }
        Entry::WaitsUndone(undone) => {
            undone.waits.iter_mut().for_each(|wait| wait.awaits.key = SignalKey::from_bytes([0; 16]));
        }
        Entry::ApprovalAsked(asked) => {
            whole(&mut asked.evidence, word);
            asked.digest = NO_DIGEST;
        }
        Entry::ApprovalDecided(decided) => {
            decided.digest = NO_DIGEST;
            cover_text(&mut decided.reason, word);
        }
        Entry::StepFailed { failure, .. } | Entry::RunParked { failure, .. } => cover_failure(failure, word),
        Entry::Halted { ending, .. } | Entry::RunEnded { ending, .. } => match ending {
            Ending::Failed { failure, .. } => cover_failure(failure, word),
            Ending::Completed | Ending::Rejected { .. } | Ending::Cancelled => return false,
        },
        Entry::Controlled(controlled) => {
            cover_text(&mut controlled.reason, word);
            if let Control::Resolve { output: Some(output), .. } = &mut controlled.action {
                whole(output, word);
            }
        }
        Entry::Moved(moved) => cover_text(&mut moved.reason, word),
    }
    true
}

fn whole(document: &mut Json, word: &str) {
    *document = Json::of_sorted(&Value::from(word));
}

fn cover_text(text: &mut String, word: &str) {
    if !text.is_empty() {
        word.clone_into(text);
    }
}

fn cover_failure(failure: &mut Failure, word: &str) {
    word.clone_into(&mut failure.message);
    failure.detail = None;
}

fn cover_reasons(reasons: &mut [Reason], word: &str) {
    reasons.iter_mut().for_each(|reason| word.clone_into(&mut reason.message));
}

fn cover_verdict(verdict: &mut Verdict, word: &str) {
    cover_reasons(&mut verdict.reasons, word);
    if let Some(output) = &mut verdict.output {
        whole(output, word);
    }
}

/// A number has no word: it becomes 0, beside a recommendation that says what became of it.
fn cover_assessment(assessment: &mut Assessment, word: &str) {
    assessment.score = 0.0;
    assessment.confidence = 0.0;
    word.clone_into(&mut assessment.recommendation);
    assessment.alternatives.clear();
    cover_reasons(&mut assessment.reasons, word);
    whole(&mut assessment.features, word);
}

fn cover_log(log: &mut [LogLine], word: &str) {
    for line in log {
        word.clone_into(&mut line.message);
        line.fields.iter_mut().for_each(|(_, value)| word.clone_into(value));
    }
}

/// A document with a word in place of the values at some places, as [`Personal::fields`] names them. What is not there
/// is not made.
#[must_use]
pub fn cover(document: &Json, fields: &[String], word: &str) -> Json {
    let mut value = document.to_value();
    for field in fields {
        let parts: Vec<String> =
            field.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
        cover_at(&mut value, &parts, word);
    }
    Json::of_sorted(&value)
}

fn cover_at(value: &mut Value, parts: &[String], word: &str) {
    let Some((part, rest)) = parts.split_first() else {
        *value = Value::from(word);
        return;
    };
    match value {
        Value::Object(fields) if part == "*" => fields.values_mut().for_each(|inner| cover_at(inner, rest, word)),
        Value::Array(items) if part == "*" => items.iter_mut().for_each(|inner| cover_at(inner, rest, word)),
        Value::Object(fields) => {
            if let Some(inner) = fields.get_mut(part) {
                cover_at(inner, rest, word);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;

//! What people do to runs, as audit records: control, overrides, moves. A record is durable before its act takes effect,
//! so nothing is done to a run that the audit log does not know of; the act itself is a fact of the run.

use std::borrow::Cow;

use serde::Serialize;

use super::{
    audit::{Audit, AuditError, RUNS},
    runner::Shared,
};
use crate::{
    flow::machine::Run,
    model::{
        audit::{Cause, Change},
        entry::{ApprovalDecided, Control, Controlled, Moved},
        id::{Digest, RunId},
        json::Json,
        personal::SEALED,
    },
};

/// What a person does to a run.
pub(super) enum Act<'a> {
    Control(&'a Controlled),
    Override(&'a ApprovalDecided),
    Move(&'a Moved),
}

/// What the record's digest stands for.
#[derive(Serialize)]
struct Document<'a> {
    run: RunId,
    /// Which of the acts upon this run it is, from 1: doing the same again later is another act.
    number: u32,
    actor: &'a str,
    reason: &'a str,
    act: What<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum What<'a> {
    Control(&'a Control),
    Override { step: &'a str, revision: u32, approved: bool, code: &'a str, evidence: Digest },
    Move { version: &'a str, pipeline: Digest, steps: &'a std::collections::BTreeMap<String, String> },
}

/// What the audit log is told of an act upon a run: of one with personal data, not what a write gave.
pub(super) fn shown(controlled: &Controlled, derived: bool) -> Cow<'_, Controlled> {
    let Control::Resolve { step, output: Some(_) } = &controlled.action else { return Cow::Borrowed(controlled) };
    if !derived {
        return Cow::Borrowed(controlled);
    }
    let output = Some(Json::of_sorted(&SEALED.into()));
    let action = Control::Resolve { step: step.clone(), output };
    Cow::Owned(Controlled { action, ..controlled.clone() })
}

/// Whether the audit log knows what is about to be done to a run; if not, it must not be done.
pub(super) async fn is_known(shared: &Shared, run: &Run, act: Act<'_>) -> bool {
    let recorded = record(&shared.audit, run.id, run.acts(), act).await;
    if let Err(error) = &recorded {
        tracing::error!(run = %run.id, error = error as &dyn std::error::Error, "an act upon a run is refused");
    }
    recorded.is_ok()
}

/// Records what is about to be done to a run upon which `before` acts took effect. Durable when it answers. If a crash
/// kept the act from taking effect, the record stands for the same act when it is tried again.
///
/// # Errors
/// If it cannot be recorded: then it must not be done.
async fn record(audit: &Audit, run: RunId, before: u32, act: Act<'_>) -> Result<(), AuditError> {
    let (action, actor, reason, what) = match &act {
        Act::Control(controlled) => {
            (name(&controlled.action), &controlled.actor, &controlled.reason, What::Control(&controlled.action))
        }
        Act::Override(decided) => {
            let code = decided.override_code.as_deref().unwrap_or_default();
            let (step, revision, approved, evidence) =
                (&*decided.step, decided.revision, decided.approved, decided.digest);
            let what = What::Override { step, revision, approved, code, evidence };
            ("approval.override", &decided.actor, &decided.reason, what)
        }
        Act::Move(moved) => {
            let pipeline = &moved.pipeline;
            let what = What::Move { version: &pipeline.version, pipeline: pipeline.digest, steps: &moved.steps };
            ("run.move", &moved.actor, &moved.reason, what)
        }
    };
    let document = Document { run, number: before + 1, actor, reason, act: what };
    // INVARIANT: text, numbers and documents have a JSON form.
    let document = serde_json::to_vec(&document).unwrap_or_default();
    let subject = format!("{RUNS}{run}");
    let digest = Digest::of(&document);
    if audit.newest(&subject).await.is_some_and(|line| line.record.after == Some(digest)) {
        return Ok(());
    }
    let after = Some(audit.keep(document.into()).await?);
    let reason = match &act {
        Act::Override(ApprovalDecided { override_code: Some(code), reason, .. }) if reason.is_empty() => code.clone(),
        _ => reason.clone(),
    };
    let change = Change { action: action.to_owned(), subject, before: None, after };
    audit.record(&Cause { actor: actor.clone(), reason }, &change).await?;
    Ok(())
}

fn name(action: &Control) -> &'static str {
    match action {
        Control::Pause => "run.pause",
        Control::Continue => "run.continue",
        Control::Cancel { .. } => "run.cancel",
        Control::Resume => "run.resume",
        Control::Close { .. } => "run.close",
        Control::Resolve { .. } => "run.resolve",
        Control::Reassign { .. } => "run.reassign",
        Control::Restart { .. } => "run.restart",
        Control::Undo => "run.undo",
        Control::CloseException { .. } => "exception.close",
    }
}

#[cfg(test)]
mod tests;

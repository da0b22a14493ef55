//! What people do: decide questions, take hold of runs. Checked here for who they are; whether it can be done now is the
//! run's to say.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    actors::{Command, Moving},
    facts::FactsError,
    runner::{self, Shared},
};
use crate::{
    flow::machine::DecisionRefusal,
    model::{
        entry::{ApprovalDecided, Control, Controlled, Moved},
        id::RunId,
        run::RunState,
    },
    ports::{
        hub::{ActError, ControlRequest, Decision, MoveRequest},
        journal::StreamId,
    },
};

/// Longest name of a person, and longest reason, bytes.
const NAME_BYTES_LIMIT: usize = 128;
const REASON_BYTES_LIMIT: usize = 2_048;

/// Takes a decision.
pub(super) async fn decide(shared: &Arc<Shared>, run: RunId, step: &str, decision: Decision) -> Result<(), ActError> {
    bounded(&decision.actor, &decision.reason)?;
    exists(shared, run).await?;
    let Some(question) = shared.inbox.get(run, step) else {
        // Decided or never asked: the run knows which, and by whom it was decided.
        return send_decision(shared, run, step, decision).await;
    };
    let people = Arc::clone(&shared.installation.load().people);
    let overrides = decision.override_code.is_some();
    people
        .may_decide(&question.group, &decision.actor, decision.on_behalf_of.as_deref(), overrides, shared.clock.now())
        .map_err(|problem| ActError::Denied { problem })?;
    send_decision(shared, run, step, decision).await
}

async fn send_decision(shared: &Arc<Shared>, run: RunId, step: &str, decision: Decision) -> Result<(), ActError> {
    let Decision { actor, on_behalf_of, approved, revision, digest, override_code, reason } = decision;
    let time = shared.clock.now();
    let step = step.to_owned();
    let decided =
        ApprovalDecided { step, time, revision, digest, actor, on_behalf_of, approved, override_code, reason };
    let (reply, replied) = oneshot::channel();
    runner::deliver(shared, run, Command::Decide(Box::new(decided), reply));
    match replied.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(refusal)) => Err(match refusal {
            DecisionRefusal::Barred { .. } => ActError::Denied { problem: refusal.to_string() },
            DecisionRefusal::NotAsked { step } => ActError::NotAsked { step },
            DecisionRefusal::Decided { outcome, by } => ActError::Decided { outcome, by },
            DecisionRefusal::Stale { revision, digest } => ActError::Stale { revision, digest },
        }),
        Err(_) => Err(gone()),
    }
}

/// Lets a person take hold of a run.
pub(super) async fn control(shared: &Arc<Shared>, run: RunId, request: ControlRequest) -> Result<(), ActError> {
    let ControlRequest { actor, action, reason } = request;
    bounded(&actor, &reason)?;
    exists(shared, run).await?;
    if action == Control::Undo {
        let problem = "only the run that started it has a run undone: cancel that one".to_owned();
        return Err(ActError::Conflict { problem });
    }
    if let Control::Reassign { to, .. } = &action
        && !shared.installation.load().people.groups.contains_key(to)
    {
        return Err(ActError::Conflict { problem: format!("there is no group `{to}`") });
    }
    let controlled = Controlled { time: shared.clock.now(), actor, action, reason };
    let (reply, replied) = oneshot::channel();
    runner::deliver(shared, run, Command::Control(Box::new(controlled), reply));
    match replied.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(refusal)) => Err(ActError::Conflict { problem: refusal.to_string() }),
        Err(_) => Err(gone()),
    }
}

/// Lets a run go on under another version of its pipeline, or only says whether it could.
pub(super) async fn move_to(shared: &Arc<Shared>, run: RunId, request: MoveRequest) -> Result<(), ActError> {
    let MoveRequest { actor, reason, to, steps, dry_run } = request;
    bounded(&actor, &reason)?;
    exists(shared, run).await?;
    let Some(summary) = shared.index.get(run) else {
        return Err(ActError::Conflict { problem: "the run has ended".to_owned() });
    };
    let installation = shared.installation.load_full();
    let plan = installation
        .plans
        .values()
        .find(|plan| plan.pipeline.name == summary.pipeline && plan.pipeline.version == to)
        .cloned();
    let Some(plan) = plan else {
        let problem = format!("there is no version {to} of `{}`", summary.pipeline);
        return Err(ActError::Conflict { problem });
    };
    let moved = Moved { time: shared.clock.now(), actor, reason, pipeline: plan.pipeline.clone(), steps };
    let (reply, replied) = oneshot::channel();
    runner::deliver(shared, run, Command::Move(Box::new(Moving { plan, moved, dry: dry_run }), reply));
    match replied.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(refusal)) => Err(ActError::Conflict { problem: refusal.to_string() }),
        Err(_) => Err(gone()),
    }
}

async fn exists(shared: &Arc<Shared>, run: RunId) -> Result<(), ActError> {
    if let Some(summary) = shared.index.get(run).filter(|summary| !summary.state.is_ended()) {
        // A run that this hub cannot carry forward does nothing that it is told.
        return match (summary.state, summary.cause) {
            (RunState::Parked, Some(cause)) if cause.starts_with("it cannot be taken up") => {
                Err(ActError::Conflict { problem: cause })
            }
            _ => Ok(()),
        };
    }
    // Nothing is made of a run whose data was erased, which is done only when it has ended.
    match shared.facts.read_whole(StreamId::Run(run)).await {
        Err(error @ FactsError::Erased) => Err(ActError::Conflict { problem: error.to_string() }),
        Ok((entries, _)) if entries.is_empty() => Err(ActError::UnknownRun { run }),
        Ok(_) => Ok(()),
        Err(error) => Err(ActError::Unavailable { reason: error.to_string() }),
    }
}

fn bounded(actor: &str, reason: &str) -> Result<(), ActError> {
    let problem = if actor.trim().is_empty() {
        "`actor` says who does this; it is empty".to_owned()
    } else if actor.len() > NAME_BYTES_LIMIT || reason.len() > REASON_BYTES_LIMIT {
        format!("`actor` is at most {NAME_BYTES_LIMIT} bytes, `reason` {REASON_BYTES_LIMIT}")
    } else {
        return Ok(());
    };
    Err(ActError::Conflict { problem })
}

fn gone() -> ActError {
    ActError::Unavailable {
        reason: "the run could not be taken up, or the hub is stopping; look at it and try again".to_owned(),
    }
}

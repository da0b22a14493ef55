//! Runs that steps of other runs start: found if they were started before, watched until they end, cancelled when their
//! end is needed no more, and undone with the run that started them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use tokio::sync::{oneshot, watch};

use super::{
    actors::Command,
    calls::{Caller, EventScope},
    intake,
    runner::{self, Shared},
};
use crate::{
    flow::machine::effect::{Answer, Start, Undo},
    model::{
        entry::{Control, Controlled, Output, Parent, RunStarted},
        event::Event,
        failure::{Failure, FailureKind},
        id::{AcceptanceId, RunId, SubjectKeyId},
        json::Json,
        limits::Usage,
        personal::Personal,
        run::RunState,
    },
    ports::journal::StreamId,
};

/// Which runs that a run started and waits for are needed no more.
#[derive(Clone, Debug, Default)]
pub(super) struct WindingUp {
    /// All of them, once the run that waits is wound up; and whether what they did is undone.
    pub(super) whole: Option<bool>,
    /// Those of branches that were given up; what they did is undone.
    pub(super) needless: Vec<RunId>,
}

impl WindingUp {
    /// Whether what a run did is undone; absent: its end is still needed.
    fn of(&self, run: RunId) -> Option<bool> {
        self.whole.or_else(|| self.needless.contains(&run).then_some(true))
    }
}

/// Starts a run, or finds it, and (unless it is detached) waits for its end. Once the run that waits is wound up, this one
/// is cancelled. Absent: the hub stops meanwhile, and after the next start it is waited for again.
pub(super) async fn run(
    shared: &Arc<Shared>,
    parent: &Caller,
    acceptance: AcceptanceId,
    key: String,
    start: Start,
    keys: Vec<SubjectKeyId>,
    winds_up: watch::Receiver<WindingUp>,
) -> Option<Answer> {
    let begun = begin(shared, parent, acceptance, key, &start, keys).await;
    let Start { instance, run: child, pipeline, detach, .. } = start;
    let result = match begun {
        Err(failure) => Err(failure),
        Ok(()) if detach => Ok(Output::Json(Json::from(json!({ "run": child })))),
        Ok(()) => ended(shared, parent.id, child, &pipeline, winds_up).await?,
    };
    Some(Answer { instance, result, usage: Usage::default(), log: Vec::new(), annotations: Vec::new() })
}

async fn begin(
    shared: &Arc<Shared>,
    parent: &Caller,
    acceptance: AcceptanceId,
    key: String,
    start: &Start,
    keys: Vec<SubjectKeyId>,
) -> Result<(), Failure> {
    let Start { run, pipeline, range, step, detach, data, .. } = start;
    let child = *run;
    if shared.index.contains(child) {
        return Ok(());
    }
    let unreadable = |error: String| Failure::new(FailureKind::Retryable, "hub.journal", error);
    let (entries, _) = shared.facts.read(StreamId::Run(child)).await.map_err(|error| unreadable(error.to_string()))?;
    if !entries.is_empty() {
        return Ok(());
    }
    let installation = shared.installation.load_full();
    let found = installation.pipelines.get(pipeline.as_str()).filter(|found| range.matches(&found.definition.version));
    let Some(found) = found else {
        let message = format!("no pipeline `{pipeline}` at `{range}` is installed");
        return Err(Failure::new(FailureKind::Permanent, "binding.missing", message));
    };
    let time = shared.clock.now();
    let event_type = found.plan.triggers.first().map_or_else(|| "run".to_owned(), |trigger| trigger.event_type.clone());
    let event = Event {
        id: child.to_string(),
        source: format!("/runs/{}", parent.id),
        event_type,
        subject: Some(key),
        time: Some(time),
        data_schema: None,
        data: data.json().clone(),
        extensions: BTreeMap::new(),
    };
    let key = super::calls::key(&found.plan, &event)
        .map_err(|error| Failure::new(FailureKind::InvalidInput, "run.no-key", error.to_string()))?;
    // As urgent as the run that waits for it, unless it says otherwise.
    let lane =
        if found.plan.lane.is_some() { intake::lane_of(&found.plan, &EventScope::new(&event)) } else { parent.lane };
    let parent = Some(Parent { run: parent.id, step: step.clone(), detached: *detach });
    let personal = (!keys.is_empty()).then(|| Personal::whole(keys));
    let pipeline = found.plan.pipeline.clone();
    let started = RunStarted { time, acceptance, pipeline, key, event, lane, parent, personal };
    runner::start_with(shared, child, &found.plan, started);
    Ok(())
}

/// How a run ended; a run that is parked is waited for, since people may still help it. Absent: the hub stops.
async fn ended(
    shared: &Arc<Shared>,
    parent: RunId,
    child: RunId,
    pipeline: &str,
    mut winds_up: watch::Receiver<WindingUp>,
) -> Option<Result<Output, Failure>> {
    let mut told = false;
    loop {
        let watcher = shared.index.watcher(child);
        let changed = watcher.notified();
        let state = match state_of(shared, child).await {
            Ok(state) => state,
            Err(failure) => return Some(Err(failure)),
        };
        if state.is_ended() {
            return Some(match state {
                RunState::Completed => Ok(Output::Json(Json::from(json!({ "run": child, "state": state.as_str() })))),
                other => {
                    let message = format!("run {child} of `{pipeline}` ended as {}", other.as_str());
                    Err(Failure::new(FailureKind::Permanent, "run.ended", message))
                }
            });
        }
        let undo = winds_up.borrow_and_update().of(child);
        if let Some(compensate) = undo.filter(|_| !told) {
            told = true;
            cancel(shared, parent, child, compensate);
        }
        tokio::select! {
            () = changed => {}
            heard = winds_up.changed(), if !told => told = heard.is_err(),
            // A parked run has no watchers: it is looked at again now and then.
            () = shared.clock.sleep_until(shared.clock.now().plus_millis(1_000)) => {}
            () = shared.stopping.cancelled() => return None,
        }
    }
}

async fn state_of(shared: &Shared, child: RunId) -> Result<RunState, Failure> {
    if let Some(summary) = shared.index.get(child) {
        return Ok(summary.state);
    }
    // Ended so long ago that the list does not hold it.
    let (entries, _) = shared
        .facts
        .read(StreamId::Run(child))
        .await
        .map_err(|error| Failure::new(FailureKind::Retryable, "hub.journal", error.to_string()))?;
    Ok(crate::flow::view::story(child, &entries).map_or(RunState::Completed, |story| story.summary.state))
}

/// Has a run that was started, and has completed, undo what it did, and waits until it has. It takes the message once,
/// however often it comes. Absent: the hub stops meanwhile.
pub(super) async fn undo(shared: &Arc<Shared>, parent: RunId, undo: Undo) -> Option<Answer> {
    let Undo { instance, run: child } = undo;
    // Before it has taken the message in it is a run that has ended, of which nothing more is told.
    tokio::select! {
        _ = tell(shared, parent, child, Control::Undo, "the run that started it is undone") => {}
        () = shared.stopping.cancelled() => return None,
    }
    let result = loop {
        let watcher = shared.index.watcher(child);
        let changed = watcher.notified();
        match state_of(shared, child).await {
            Err(failure) => break Err(failure),
            Ok(RunState::Cancelled) => break Ok(Output::Json(Json::from(json!({ "run": child })))),
            // Under way; if it is parked, or could not be taken up, people may help it.
            Ok(state) if !state.is_ended() || state == RunState::Completed => {}
            Ok(state) => {
                let message = format!("run {child} could not undo what it did: it ended as {}", state.as_str());
                break Err(Failure::new(FailureKind::Permanent, "run.not-undone", message));
            }
        }
        tokio::select! {
            () = changed => {}
            () = shared.clock.sleep_until(shared.clock.now().plus_millis(1_000)) => {}
            () = shared.stopping.cancelled() => return None,
        }
    };
    Some(Answer { instance, result, usage: Usage::default(), log: Vec::new(), annotations: Vec::new() })
}

/// Hands a run a message; what comes back ends when it has been taken in, or refused, durably.
fn tell(shared: &Arc<Shared>, parent: RunId, child: RunId, action: Control, reason: &str) -> oneshot::Receiver<()> {
    let (reply, taken) = oneshot::channel();
    let actor = format!("run {parent}");
    let controlled = Controlled { time: shared.clock.now(), actor, action, reason: reason.to_owned() };
    runner::deliver(shared, child, Command::Told(Box::new(controlled), reply));
    taken
}

/// Cancels a run whose end nobody needs any more. After a crash it is told so again: it takes it once.
fn cancel(shared: &Arc<Shared>, parent: RunId, child: RunId, compensate: bool) {
    drop(tell(shared, parent, child, Control::Cancel { compensate }, "nobody waits for its end any more"));
}

#[cfg(test)]
mod tests;

//! Runs that steps of other runs start: found if they were started before, watched until they end.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use tokio::sync::watch;

use super::{
    actors::Command,
    calls::{Caller, EventScope},
    intake,
    runner::{self, Shared},
};
use crate::{
    flow::machine::effect::{Answer, Start},
    model::{
        entry::{Control, Controlled, Output, Parent, RunStarted},
        event::Event,
        failure::{Failure, FailureKind},
        id::{AcceptanceId, RunId},
        json::Json,
        lane::Lane,
        limits::Usage,
        run::RunState,
    },
    ports::journal::StreamId,
};

/// Starts a run, or finds it, and (unless it is detached) waits for its end. Once the run that waits is wound up, this one
/// is cancelled. Absent: the hub stops meanwhile, and after the next start it is waited for again.
pub(super) async fn run(
    shared: &Arc<Shared>,
    parent: &Caller,
    acceptance: AcceptanceId,
    key: String,
    start: Start,
    winds_up: watch::Receiver<Option<bool>>,
) -> Option<Answer> {
    let Start { instance, run: child, pipeline, range, step, detach, data } = start;
    let result = match begin(
        shared,
        parent.id,
        parent.lane,
        acceptance,
        key,
        child,
        &pipeline,
        &range,
        step,
        detach,
        data.json(),
    )
    .await
    {
        Err(failure) => Err(failure),
        Ok(()) if detach => Ok(Output::Json(Json::from(json!({ "run": child })))),
        Ok(()) => ended(shared, parent.id, child, &pipeline, winds_up).await?,
    };
    Some(Answer { instance, result, usage: Usage::default(), log: Vec::new(), annotations: Vec::new() })
}

#[expect(clippy::too_many_arguments, reason = "the parts of one beginning, put together here and nowhere else")]
async fn begin(
    shared: &Arc<Shared>,
    parent: RunId,
    lane: Lane,
    acceptance: AcceptanceId,
    key: String,
    child: RunId,
    pipeline: &str,
    range: &semver::VersionReq,
    step: String,
    detached: bool,
    data: &Json,
) -> Result<(), Failure> {
    if shared.index.contains(child) {
        return Ok(());
    }
    let unreadable = |error: String| Failure::new(FailureKind::Retryable, "hub.journal", error);
    let (entries, _) = shared.facts.read(StreamId::Run(child)).await.map_err(|error| unreadable(error.to_string()))?;
    if !entries.is_empty() {
        return Ok(());
    }
    let installation = shared.installation.load_full();
    let found = installation.pipelines.get(pipeline).filter(|found| range.matches(&found.definition.version));
    let Some(found) = found else {
        let message = format!("no pipeline `{pipeline}` at `{range}` is installed");
        return Err(Failure::new(FailureKind::Permanent, "binding.missing", message));
    };
    let time = shared.clock.now();
    let event_type = found.plan.triggers.first().map_or_else(|| "run".to_owned(), |trigger| trigger.event_type.clone());
    let event = Event {
        id: child.to_string(),
        source: format!("/runs/{parent}"),
        event_type,
        subject: Some(key),
        time: Some(time),
        data_schema: None,
        data: data.clone(),
        extensions: BTreeMap::new(),
    };
    let key = super::calls::key(&found.plan, &event)
        .map_err(|error| Failure::new(FailureKind::InvalidInput, "run.no-key", error.to_string()))?;
    // As urgent as the run that waits for it, unless it says otherwise.
    let lane = if found.plan.lane.is_some() { intake::lane_of(&found.plan, &EventScope::new(&event)) } else { lane };
    let parent = Some(Parent { run: parent, step, detached });
    let started = RunStarted { time, acceptance, pipeline: found.plan.pipeline.clone(), key, event, lane, parent };
    runner::start_with(shared, child, &found.plan, started);
    Ok(())
}

/// How a run ended; a run that is parked is waited for, since people may still help it. Absent: the hub stops.
async fn ended(
    shared: &Arc<Shared>,
    parent: RunId,
    child: RunId,
    pipeline: &str,
    mut winds_up: watch::Receiver<Option<bool>>,
) -> Option<Result<Output, Failure>> {
    let mut told = false;
    loop {
        let watcher = shared.index.watcher(child);
        let changed = watcher.notified();
        let state = match shared.index.get(child) {
            Some(summary) => summary.state,
            // Ended so long ago that the list does not hold it.
            None => match shared.facts.read(StreamId::Run(child)).await {
                Ok((entries, _)) => {
                    crate::flow::view::story(child, &entries).map_or(RunState::Completed, |story| story.summary.state)
                }
                Err(error) => {
                    return Some(Err(Failure::new(FailureKind::Retryable, "hub.journal", error.to_string())));
                }
            },
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
        let undo = *winds_up.borrow_and_update();
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

/// Cancels a run whose end nobody needs any more. After a crash it is told so again: it takes it once.
fn cancel(shared: &Arc<Shared>, parent: RunId, child: RunId, compensate: bool) {
    let controlled = Controlled {
        time: shared.clock.now(),
        actor: format!("run {parent}"),
        action: Control::Cancel { compensate },
        reason: "the run that waits for it is wound up".to_owned(),
    };
    runner::deliver(shared, child, Command::Told(Box::new(controlled)));
}

#[cfg(test)]
mod tests;

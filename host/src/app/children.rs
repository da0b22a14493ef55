//! Runs that steps of other runs start: found if they were started before, watched until they end.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use super::runner::{self, Shared};
use crate::{
    flow::machine::effect::{Answer, Start},
    model::{
        entry::{Output, Parent, RunStarted},
        event::Event,
        failure::{Failure, FailureKind},
        id::{AcceptanceId, RunId},
        json::Json,
        limits::Usage,
        run::RunState,
    },
    ports::journal::StreamId,
};

/// Starts a run, or finds it, and (unless it is detached) waits for its end.
pub(super) async fn run(
    shared: &Arc<Shared>,
    parent: RunId,
    acceptance: AcceptanceId,
    key: String,
    start: Start,
) -> Answer {
    let Start { instance, run: child, pipeline, range, step, detach, data } = start;
    let result = match begin(shared, parent, acceptance, key, child, &pipeline, &range, step, detach, data.json()).await
    {
        Err(failure) => Err(failure),
        Ok(()) if detach => Ok(Output::Json(Json::from(json!({ "run": child })))),
        Ok(()) => ended(shared, child, &pipeline).await,
    };
    Answer { instance, result, usage: Usage::default(), log: Vec::new(), annotations: Vec::new() }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one beginning, put together here and nowhere else")]
async fn begin(
    shared: &Arc<Shared>,
    parent: RunId,
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
    let parent = Some(Parent { run: parent, step, detached });
    let started = RunStarted { time, acceptance, pipeline: found.plan.pipeline.clone(), key, event, parent };
    runner::start_with(shared, child, &found.plan, started);
    Ok(())
}

/// How a run ended; a run that is parked is waited for, since people may still help it.
async fn ended(shared: &Arc<Shared>, child: RunId, pipeline: &str) -> Result<Output, Failure> {
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
                Err(error) => return Err(Failure::new(FailureKind::Retryable, "hub.journal", error.to_string())),
            },
        };
        if state.is_ended() {
            return match state {
                RunState::Completed => Ok(Output::Json(Json::from(json!({ "run": child, "state": state.as_str() })))),
                other => {
                    let message = format!("run {child} of `{pipeline}` ended as {}", other.as_str());
                    Err(Failure::new(FailureKind::Permanent, "run.ended", message))
                }
            };
        }
        tokio::select! {
            () = changed => {}
            // A parked run has no watchers: it is looked at again now and then.
            () = shared.clock.sleep_until(shared.clock.now().plus_millis(1_000)) => {}
            () = shared.stopping.cancelled() => {
                return Err(Failure::new(FailureKind::Retryable, "hub.stopping", "the hub is stopping"));
            }
        }
    }
}

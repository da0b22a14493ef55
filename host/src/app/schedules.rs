//! Schedules: each time at which a pipeline's trigger is due becomes one accepted event. One task.
//!
//! The event's id is made of the trigger and the due time, and its record advances only after the event is durable: a
//! crash in between finds the first acceptance, so that a due time is neither lost nor doubled. Of the times that passed
//! while the hub was down, or could not accept, only the latest is made up for; how many were left out is recorded. A
//! trigger begins when it is installed: what was due before is not made up for.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    accept,
    runner::Shared,
    triggers::{self, Board, Kept, LOOK_MS},
};
use crate::{
    flow::schedule::Schedule,
    model::{
        event::Event,
        json::Json,
        pipeline::{Origin, Trigger},
        timestamp::Timestamp,
    },
};

/// How far left-out times are counted; an every-minute schedule reaches it in a week.
const SKIPPED_MOST: u64 = 10_000;

/// What is recorded of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Every due time up to this instant is done with.
    done: Timestamp,
    /// The latest time that was made up for late while others before it were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caught_up: Option<CaughtUp>,
}

/// What was left out when the hub came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CaughtUp {
    /// When the hub did so.
    at: Timestamp,
    /// The due time that was made up for.
    due: Timestamp,
    /// How many due times before it were left out, at most [`SKIPPED_MOST`].
    skipped: u64,
}

/// A schedule that is being watched.
struct Watch {
    schedule: Schedule,
    kept: Kept<Record>,
    failures: u32,
    not_before: Timestamp,
}

/// Works at schedules until the hub stops.
pub(super) async fn run(shared: Arc<Shared>, board: Arc<Board>) {
    let mut watches = BTreeMap::new();
    loop {
        let next = turn(&shared, &board, &mut watches).await;
        tokio::select! {
            () = shared.clock.sleep_until(next) => {}
            () = shared.stopping.cancelled() => return,
        }
    }
}

/// Accepts what is due now; when to look again.
async fn turn(shared: &Arc<Shared>, board: &Board, watches: &mut BTreeMap<String, Watch>) -> Timestamp {
    let now = shared.clock.now();
    let installation = shared.installation.load_full();
    let mut next = now.plus_millis(LOOK_MS);
    let (mut known, mut names) = (Vec::new(), Vec::new());
    for (pipeline, installed) in &installation.pipelines {
        for trigger in &installed.definition.triggers {
            let Origin::Schedule { cron, timezone } = &trigger.origin else { continue };
            let name = format!("schedule `{cron}` of `{pipeline}`");
            let key = format!("schedule/{pipeline}/{}", triggers::identity(trigger));
            let watched = match watches.remove(&key) {
                Some(watch) => Ok(watch),
                None => watch(shared, &key, cron, timezone.as_deref(), now).await,
            };
            let outcome = match watched {
                Err(problem) => Some(Err(problem)),
                Ok(mut watch) => {
                    let outcome = attend(shared, pipeline, trigger, &key, &mut watch, now).await;
                    let due = watch.schedule.next(watch.kept.value.done).unwrap_or(next);
                    next = next.min(due.max(watch.not_before));
                    watches.insert(key.clone(), watch);
                    outcome
                }
            };
            if let Some(Err(problem)) = &outcome {
                tracing::warn!(trigger = name, problem, "a schedule cannot be attended to; it is tried again");
            }
            outcome.into_iter().for_each(|outcome| board.set(&name, outcome));
            known.push(key);
            names.push(name);
        }
    }
    watches.retain(|key, _| known.contains(key));
    board.keep("schedule", &names);
    next
}

/// Begins to watch a schedule: where its record ends, or now.
async fn watch(
    shared: &Shared,
    key: &str,
    cron: &str,
    timezone: Option<&str>,
    now: Timestamp,
) -> Result<Watch, String> {
    let schedule = Schedule::parse(cron, timezone).map_err(|error| error.to_string())?;
    let kept = match triggers::read(&*shared.records, key).await? {
        Some(kept) => kept,
        None => {
            let mut kept = Kept { value: Record { done: now, caught_up: None }, revision: None };
            triggers::write(&*shared.records, key, &mut kept).await.map_err(|error| error.to_string())?;
            kept
        }
    };
    Ok(Watch { schedule, kept, failures: 0, not_before: now })
}

/// Accepts the latest time that is due, if there is one; absent: it waits before it tries again.
async fn attend(
    shared: &Arc<Shared>,
    pipeline: &str,
    trigger: &Trigger,
    key: &str,
    watch: &mut Watch,
    now: Timestamp,
) -> Option<Result<(), String>> {
    let Some((due, skipped)) = watch.schedule.latest(watch.kept.value.done, now, SKIPPED_MOST) else {
        return Some(Ok(()));
    };
    if now < watch.not_before {
        return None;
    }
    let outcome = accept_due(shared, pipeline, trigger, key, watch, due, skipped).await;
    watch.failures = if outcome.is_ok() { 0 } else { watch.failures.saturating_add(1) };
    watch.not_before = if outcome.is_ok() { now } else { triggers::retry_at(now, watch.failures) };
    Some(outcome)
}

async fn accept_due(
    shared: &Arc<Shared>,
    pipeline: &str,
    trigger: &Trigger,
    key: &str,
    watch: &mut Watch,
    due: Timestamp,
    skipped: u64,
) -> Result<(), String> {
    let event = event(pipeline, trigger, due);
    accept::internal(shared, event, &[])
        .await
        .map_err(|error| format!("the event due at {due} is not accepted: {error}"))?;
    let at = shared.clock.now();
    if skipped > 0 {
        tracing::warn!(pipeline, %due, skipped, "a schedule was due while the hub could not attend to it; only its latest time is made up for");
    }
    let before = watch.kept.value.clone();
    let caught_up = if skipped > 0 { Some(CaughtUp { at, due, skipped }) } else { before.caught_up.clone() };
    watch.kept.value = Record { done: due, caught_up };
    if let Err(error) = triggers::write(&*shared.records, key, &mut watch.kept).await {
        // The same time is tried again, and found accepted.
        watch.kept.value = before;
        if let Ok(Some(kept)) = triggers::read(&*shared.records, key).await {
            watch.kept = kept;
        }
        return Err(format!("that {due} is done cannot be recorded: {error}"));
    }
    Ok(())
}

/// The event of a due time: the same however often it is made.
fn event(pipeline: &str, trigger: &Trigger, due: Timestamp) -> Event {
    Event {
        id: format!("{}/{due}", triggers::identity(trigger)),
        source: format!("/schedules/{pipeline}"),
        event_type: trigger.event.clone(),
        subject: None,
        time: Some(due),
        data_schema: None,
        data: Json::from(serde_json::json!({ "scheduled": due })),
        extensions: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests;

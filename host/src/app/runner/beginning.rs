//! The beginning of a run: what it is made of, and when it is its turn.

use std::sync::Arc;

use super::{Drive, Shared, spawn};
use crate::{
    app::{accept, calls, queues::Queue},
    flow::{machine::Run, plan::Plan},
    model::{
        entry::{Accepted, RunStarted, Start},
        id::{AcceptanceId, RunId},
        pipeline::Order,
    },
    ports::journal::Version,
};

/// Starts a run that a durable acceptance names.
pub fn start(shared: &Arc<Shared>, accepted: &Accepted, acceptance: AcceptanceId, start: &Start) {
    if accepted.is_erased() {
        // In a backup from before the erasure, it may not have begun.
        tracing::warn!(run = %start.run, "a run is not begun: the personal data that it is about was erased");
        return;
    }
    let installation = shared.installation.load();
    let Some(plan) = installation.plans.get(&start.pipeline.digest) else {
        tracing::error!(run = %start.run, pipeline = start.pipeline.name, "the accepted pipeline is not installed");
        return;
    };
    let started = started(plan, accepted, acceptance, start);
    if plan.order != Order::None {
        let queue = Queue::of(&plan.pipeline.name, &started.key);
        if let Err(first) = shared.queues.enter(queue, start.run, acceptance) {
            shared.index.begin(start.run, &started);
            shared.index.waits_its_turn(start.run, first);
            return;
        }
        // It was seen waiting before: now it is its turn.
        shared.index.has_its_turn(start.run);
    }
    start_with(shared, start.run, plan, started);
}

/// Lets the next run of the same key begin.
pub(super) fn next_of_key(shared: &Arc<Shared>, queue: Queue, run: RunId) {
    let Some((next, acceptance)) = shared.queues.leave(queue, run) else { return };
    let task = Arc::clone(shared);
    shared.tasks.spawn(async move {
        match accept::first(&task, acceptance).await {
            Ok(Some(accepted)) => {
                if let Some(begins) = accepted.starts.iter().find(|start| start.run == next) {
                    start(&task, &accepted, acceptance, begins);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(run = %next, %error, "a run whose turn it is cannot be begun"),
        }
    });
}

/// Starts a run whose beginning is known, unless it was begun before.
pub fn start_with(shared: &Arc<Shared>, id: RunId, plan: &Arc<Plan>, started: RunStarted) {
    // What it derives from is durable, and with it that there is this run: it may be seen at once.
    if !shared.index.begin(id, &started) {
        return;
    }
    let Some(commands) = shared.actors.enlist(id) else { return };
    let (run, entry) = Run::start(id, Arc::clone(plan), Arc::clone(&shared.hub), started);
    spawn(shared, Drive::new(run, Version::default(), vec![entry], commands));
}

/// How a run begins: derived from its acceptance alone, so that it is the same whenever it is derived.
pub fn started(plan: &Plan, accepted: &Accepted, acceptance: AcceptanceId, start: &Start) -> RunStarted {
    RunStarted {
        time: accepted.time,
        acceptance,
        pipeline: start.pipeline.clone(),
        key: calls::key(plan, &accepted.event).unwrap_or_else(|_| accepted.event.id.clone()),
        event: accepted.event.clone(),
        lane: start.lane,
        parent: None,
        personal: accepted.personal.clone(),
    }
}

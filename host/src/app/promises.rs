//! Runs that are late, or will be: what pipelines promise about the duration of their runs, held against the runs that
//! have not ended. Derived whenever somebody asks; nothing of it is recorded, and no run is changed by it.

use std::collections::HashMap;

use super::{index::Unfinished, runner::Shared};
use crate::{
    model::{
        id::RunId,
        pipeline::{Sla, Standing},
    },
    ports::promises::{Promise, PromiseFilter},
};

/// How often it is looked whether a run became late, milliseconds.
const LOOK_MS: u64 = 30_000;
/// How many runs are named in the log at one look.
const NAMED_MAX: usize = 20;

/// Runs that are at risk or late, the most urgent first.
pub(super) fn list(shared: &Shared, filter: &PromiseFilter) -> Vec<Promise> {
    let mut found = all(shared);
    found.retain(|promise| {
        filter.pipeline.as_ref().is_none_or(|wanted| *wanted == promise.pipeline)
            && filter.standing.is_none_or(|wanted| wanted == promise.standing)
    });
    found.sort_by_key(|promise| (promise.due, promise.run));
    found.truncate(filter.limit);
    found
}

fn all(shared: &Shared) -> Vec<Promise> {
    let installation = shared.installation.load_full();
    let promised: HashMap<(&str, &str), Sla> = installation
        .plans
        .values()
        .filter_map(|plan| Some(((plan.pipeline.name.as_str(), plan.pipeline.version.as_str()), plan.sla?)))
        .collect();
    if promised.is_empty() {
        return Vec::new();
    }
    let now = shared.clock.now();
    shared.index.unfinished(|run: Unfinished<'_>| {
        let sla = promised.get(&(run.pipeline, run.version))?;
        let standing = sla.standing(run.started, now)?;
        Some(Promise {
            run: run.id,
            pipeline: run.pipeline.to_owned(),
            key: run.key.to_owned(),
            state: run.state,
            step: run.step.map(str::to_owned),
            started: run.started,
            due: sla.due(run.started),
            standing,
        })
    })
}

/// Sets the gauges: how many runs of each pipeline are at risk, and how many are late.
#[expect(clippy::cast_precision_loss, reason = "a gauge works in floating point")]
pub(super) fn gauge(shared: &Shared) {
    let mut counts: HashMap<(String, &'static str), usize> = HashMap::new();
    for plan in shared.installation.load().plans.values().filter(|plan| plan.sla.is_some()) {
        for standing in ["at_risk", "late"] {
            counts.entry((plan.pipeline.name.clone(), standing)).or_default();
        }
    }
    for promise in all(shared) {
        let standing = if promise.standing == Standing::Late { "late" } else { "at_risk" };
        *counts.entry((promise.pipeline, standing)).or_default() += 1;
    }
    for ((pipeline, standing), count) in counts {
        metrics::gauge!("crossdock_runs_not_in_time", "pipeline" => pipeline, "standing" => standing).set(count as f64);
    }
}

/// Warns of each run once when it is at risk, and once when it is late, for as long as the hub lives.
pub(super) async fn watch(shared: std::sync::Arc<Shared>) {
    let mut warned: HashMap<RunId, Standing> = HashMap::new();
    loop {
        let due = shared.clock.now().plus_millis(LOOK_MS);
        tokio::select! {
            () = shared.clock.sleep_until(due) => {}
            () = shared.stopping.cancelled() => return,
        }
        let found = all(&shared);
        let fresh: Vec<&Promise> =
            found.iter().filter(|promise| warned.get(&promise.run) != Some(&promise.standing)).collect();
        for promise in fresh.iter().take(NAMED_MAX) {
            let (run, pipeline, key) = (promise.run, promise.pipeline.as_str(), promise.key.as_str());
            let (due, standing) = (promise.due, promise.standing);
            tracing::warn!(%run, pipeline, key, %due, ?standing, "a run does not keep what was promised");
        }
        if let Some(more) = fresh.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
            tracing::warn!(more, "and more runs do not keep what was promised: `crossdock run late` lists them");
        }
        warned = found.into_iter().map(|promise| (promise.run, promise.standing)).collect();
    }
}

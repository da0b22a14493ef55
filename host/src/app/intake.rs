//! How much is taken in: the lane of what an event starts, and whether there is still room for it. Refuses new events
//! only; what was accepted is worked on, however much it is.

use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::config::HubLimits;
use crate::{
    flow::{expression::Scope, plan::Plan},
    model::{entry::Accepted, lane::Lane},
    policy::flow_control::shed,
    ports::hub::AcceptError,
};

/// Runs under way, above which no event is accepted; an operator may set fewer. One batch may go beyond it.
pub const RUNS_LIMIT: usize = 50_000;

/// How much is taken in.
pub struct Intake {
    runs_limit: AtomicUsize,
}

impl Default for Intake {
    fn default() -> Self {
        Self { runs_limit: AtomicUsize::new(RUNS_LIMIT) }
    }
}

impl Intake {
    /// Takes the bounds that an operator sets.
    pub fn limit(&self, limits: &HubLimits) {
        let runs = limits.runs_limit.map_or(RUNS_LIMIT, NonZeroUsize::get).min(RUNS_LIMIT);
        self.runs_limit.store(runs, Ordering::Relaxed);
    }

    /// Runs under way at most.
    #[must_use]
    pub fn runs_limit(&self) -> usize {
        self.runs_limit.load(Ordering::Relaxed)
    }

    /// Whether there is room for an event of this lane while so much is under way.
    ///
    /// # Errors
    /// [`AcceptError::Busy`] if not.
    pub fn check(&self, lane: Lane, under_way: usize) -> Result<(), AcceptError> {
        let limit = shed::room(lane, self.runs_limit());
        if under_way < limit {
            return Ok(());
        }
        metrics::counter!("crossdock_events_refused_total", "lane" => lane.as_str()).increment(1);
        Err(AcceptError::Busy { lane, under_way, limit, retry_after_s: shed::retry_after_s(lane) })
    }
}

/// The lane of an event: the highest of what it starts, so that nothing urgent is refused for what comes with it.
#[must_use]
pub(super) fn lane(accepted: &Accepted) -> Lane {
    accepted.starts.iter().map(|start| start.lane).max().unwrap_or_default()
}

/// The lane of a run that an event starts. A pipeline that names no lane that there is gets the standard one: a slip in a
/// priority is no reason to refuse an order.
#[must_use]
pub(super) fn lane_of(plan: &Plan, scope: &dyn Scope) -> Lane {
    let Some(template) = &plan.lane else { return Lane::default() };
    let told = template.text(scope).map_err(|error| error.to_string());
    match told.and_then(|text| text.parse().map_err(|error: crate::model::lane::LaneError| error.to_string())) {
        Ok(lane) => lane,
        Err(problem) => {
            let pipeline = plan.pipeline.name.clone();
            tracing::warn!(pipeline, problem, "a run's lane cannot be told; it is standard");
            metrics::counter!("crossdock_lane_unknown_total", "pipeline" => pipeline).increment(1);
            Lane::default()
        }
    }
}

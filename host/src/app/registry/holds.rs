//! Pipelines paused as a whole: nothing of them begins, what is out is recorded, and events are accepted as before.

use std::sync::Arc;

use super::{
    Registry,
    review::{self, refused, signed},
};
use crate::{
    app::{install::copy, runner},
    model::hold::{Hold, HoldAct},
    ports::{
        registry::Who,
        review::{ReviewDone, ReviewError, Thing},
    },
};

const THING: Thing = Thing::Pipeline;

impl Registry {
    /// Pauses a pipeline, or lets it go on.
    pub(in crate::app) async fn hold_pipeline(
        &self,
        name: &str,
        act: HoldAct,
        who: &Who,
    ) -> Result<ReviewDone, ReviewError> {
        let cause = signed(who)?;
        let _changing = self.changing.lock().await;
        let now = self.shared.installation.load_full();
        if !now.pipeline_versions.contains_key(name) {
            return Err(review::unknown(THING, name, now.pipeline_versions.keys()));
        }
        let conflict = |problem: String| Err(ReviewError::Conflict { problem });
        let mut next = copy(&now);
        let hold = match (act, now.holds.get(name)) {
            (HoldAct::Pause, Some(Hold { by, at, reason })) => {
                return conflict(format!("`{name}` is paused already, by {by} at {at}: {reason}"));
            }
            (HoldAct::Continue, None) => return conflict(format!("`{name}` is not paused")),
            (HoldAct::Pause, None) => {
                let at = self.shared.clock.now();
                Some(Hold { by: cause.actor.clone(), at, reason: cause.reason.clone() })
            }
            (HoldAct::Continue, Some(_)) => None,
        };
        let put = self.installer.hold(&cause, name, hold.as_ref()).await;
        put.map_err(|error| refused(THING, error))?;
        let (summary, note) = match hold {
            Some(hold) => {
                next.holds.insert(name.to_owned(), hold);
                self.shared.installation.store(Arc::new(next));
                let open: usize = self.runs_of(name).values().sum();
                let note = format!(
                    "runs under way, {open} of them, begin no step until `crossdock pipeline continue {name}`; what is out is \
                     recorded, events are accepted, and new runs wait"
                );
                (format!("`{name}` is paused"), note)
            }
            None => {
                next.holds.remove(name);
                self.shared.installation.store(Arc::new(next));
                let runs = self.shared.index.let_go(name);
                let note = format!("runs that were held back go on: {}", runs.len());
                runner::go_on(&self.shared, runs);
                (format!("`{name}` goes on"), note)
            }
        };
        tracing::info!(pipeline = name, summary, actor = cause.actor, "a pipeline was taken hold of");
        Ok(ReviewDone { name: name.to_owned(), version: None, summary, notes: vec![note] })
    }
}

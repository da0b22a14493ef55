//! What comes for a run from outside: time, events, people.

use std::sync::Arc;

use super::{Drive, Shared, Stop};
use crate::{
    app::{accept, installation::Installation},
    flow::machine::effect::{Arrived, Input},
    model::{
        entry::{Accepted, Control, Controlled},
        hold::Hold,
        id::{AcceptanceId, SignalKey},
    },
};

impl Drive {
    /// What is installed now, with whether the run's pipeline is paused. Whoever lets it go on finds the run among those that
    /// are held back, or the run sees that it may.
    pub(super) fn picture(&mut self, shared: &Shared) -> Arc<Installation> {
        let pipeline = &self.run.plan.pipeline.name;
        let mut installation = shared.installation.load_full();
        if let Some(Hold { by, reason, .. }) = installation.holds.get(pipeline) {
            let cause = format!("its pipeline is paused by {by}: {reason}");
            shared.index.hold_back(self.run.id, pipeline, &cause);
            installation = shared.installation.load_full();
            if !installation.holds.contains_key(pipeline) {
                shared.index.release(self.run.id);
            }
        }
        let held = installation.holds.contains_key(pipeline);
        self.run.hold(held);
        installation
    }

    /// It is time for something. Events that were accepted by now come first: a wait is not over while what it waits
    /// for is on its way.
    pub(super) async fn wake(&mut self, shared: &Arc<Shared>) -> Result<(), Stop> {
        let now = shared.clock.now();
        if shared.mailbox.awaits(self.run.id) {
            tokio::select! {
                () = shared.mailbox.caught_up(now) => {}
                () = shared.stopping.cancelled() => return Err(Stop::Stopping),
            }
            for (key, acceptance) in shared.mailbox.lying_for(self.run.id) {
                self.signal(key, acceptance, shared).await?;
            }
        }
        self.run.offered(now);
        self.turn(Input::Wake, shared).await
    }

    /// An event lies under a key that it waits for.
    pub(super) async fn signal(
        &mut self,
        key: SignalKey,
        acceptance: AcceptanceId,
        shared: &Arc<Shared>,
    ) -> Result<(), Stop> {
        let accepted = match accept::first(shared, acceptance).await {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::error!(run = %self.run.id, %error, "a signal cannot be read");
                return Ok(());
            }
        };
        // Nobody needs to know of an event whose data was erased.
        if shared.facts.is_gone(&accepted).await {
            return Ok(());
        }
        let Accepted { time: accepted, event, personal, .. } = accepted;
        let signal = Arrived { key, acceptance, accepted, event, personal };
        self.turn(Input::Signal(Box::new(signal)), shared).await
    }

    pub(super) async fn control(&mut self, controlled: Box<Controlled>, shared: &Arc<Shared>) -> Result<(), Stop> {
        let cancels = matches!(controlled.action, Control::Cancel { .. }) && !self.run.is_halted();
        self.turn(Input::Control(controlled), shared).await?;
        self.commit(shared).await?;
        if cancels {
            self.withdrawn.cancel();
        }
        Ok(())
    }
}

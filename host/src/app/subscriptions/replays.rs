//! Has events delivered again. Who asked for what is an audit record before anything of it is done; the work is the
//! subscription's own task's.

use tokio::sync::{mpsc::error::TrySendError, oneshot};

use super::{
    Slot, Subscriptions,
    record::{DECLARED, Replay},
    unavailable,
    worker::is_wanted,
};
use crate::{
    app::accept,
    model::{
        audit::{Cause, Change},
        entry::Accepted,
        id::Digest,
        timestamp::Timestamp,
    },
    policy::delivery,
    ports::subscriptions::{ReplayRequest, Selection, Standing, SubscriptionError, SubscriptionView},
};

/// Most replayed deliveries a second.
const PER_SECOND_MAX: u32 = 100;

impl Subscriptions {
    pub(super) async fn ask_replay(
        &self,
        name: &str,
        request: ReplayRequest,
    ) -> Result<SubscriptionView, SubscriptionError> {
        let ReplayRequest { who, selection, types, per_second, may_change } = request;
        let refused = |problem: String| SubscriptionError::Refused { problem };
        if !(1..=PER_SECOND_MAX).contains(&per_second) {
            return Err(refused(format!("`per_second` is {per_second}; it must be 1 to {PER_SECOND_MAX}")));
        }
        if types.len() > delivery::TYPES_MAX {
            return Err(refused(format!("`types` has {} entries; at most {}", types.len(), delivery::TYPES_MAX)));
        }
        // What is decided here has to hold until it is recorded: nobody pauses or removes it meanwhile, or has it
        // changed to what may not be delivered to its owner.
        let changing = self.changing.lock().await;
        let slot = self.slot(name)?;
        self.may_replay(&slot, &selection, may_change).await?;
        let until = self.feed.catch_up(&self.shared).await.map_err(unavailable)?.0;
        let what = serde_json::to_string(&selection).unwrap_or_default();
        let replay = Replay { selection, types, per_second, after: None, at: 0, until, sent: 0, failed: 0 };
        let place = slot.commands.try_reserve().map_err(|error| match error {
            TrySendError::Full(()) => under_way(),
            TrySendError::Closed(()) => stopping(),
        })?;
        // What was declared is as it was: the record says who had what delivered again.
        let digest = Digest::of(&serde_json::to_vec(&*slot.declared()).map_err(unavailable)?);
        let cause = Cause { actor: who.actor, reason: format!("{what} {}", who.reason).trim_end().to_owned() };
        let change = Change {
            action: "subscription.replay".to_owned(),
            subject: format!("{DECLARED}{name}"),
            before: Some(digest),
            after: Some(digest),
        };
        self.audit.record(&cause, &change).await?;
        let (told, begun) = oneshot::channel();
        slot.live().replay_begins = true;
        place.send((replay, told));
        // The task that begins it may be about to stop the subscription, for which it waits for the lock.
        drop(changing);
        begun.await.map_err(|_| stopping())?.map_err(|problem| SubscriptionError::Conflict { problem })?;
        Ok(self.view(&slot))
    }

    /// Whether a replay may be asked for now; the lock is held.
    async fn may_replay(&self, slot: &Slot, selection: &Selection, may_change: bool) -> Result<(), SubscriptionError> {
        let refused = |problem: String| SubscriptionError::Refused { problem };
        let (name, declared) = (&slot.name, slot.declared());
        if declared.standing != Standing::Active {
            let problem = format!("`{name}` is not active: resume it, and then have events replayed");
            return Err(SubscriptionError::Conflict { problem });
        }
        {
            let live = slot.live();
            if live.replay_begins || live.replay.is_some() {
                return Err(under_way());
            }
        }
        // What was accepted before it was there was for others: who declares it may say otherwise.
        let reaches = |time: Timestamp| may_change || time >= declared.created;
        match *selection {
            Selection::Event(id) => {
                let found = accept::first(&self.shared, id).await.map_err(unavailable)?;
                let is_its = |event: &Accepted| is_wanted(&declared.subscription, event) && reaches(event.time);
                if found.is_some_and(|event| is_its(&event)) {
                    return Ok(());
                }
                Err(refused(format!("there is no event {id} that `{name}` wants")))
            }
            Selection::Since(since) if !reaches(since) => {
                let created = declared.created;
                Err(refused(format!("`{name}` is there since {created}; `since` cannot be earlier for you")))
            }
            Selection::Since(_) | Selection::DeadLetters => Ok(()),
        }
    }
}

fn under_way() -> SubscriptionError {
    SubscriptionError::Conflict { problem: "a replay is under way; wait until it is done".to_owned() }
}

fn stopping() -> SubscriptionError {
    unavailable("the subscription is not worked on now")
}

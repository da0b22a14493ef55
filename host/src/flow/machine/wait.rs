//! Waiting for an event or for a time.

use std::sync::Arc;

use super::{
    effect::Arrived,
    instance::InstanceId,
    scope::RunScope,
    turn::{Stuck, Turn, Walk},
};
use crate::{
    flow::{
        document::Document,
        expression::Scope,
        plan::{Action, Signal, Until},
    },
    model::{
        entry::{Await, Entry, Handler, Signalled, WaitStarted},
        event::Event,
        failure::{Failure, FailureKind},
        id::SignalKey,
        timestamp::Timestamp,
    },
};

/// The key under which an event is found by waits for this signal; absent: it lacks the part that is compared.
#[must_use]
pub fn key_of(signal: &Signal, event: &Event) -> Option<SignalKey> {
    struct Alone(Document);
    impl Scope for Alone {
        fn lookup<'p>(&self, path: &'p [String]) -> Option<(Document, &'p [String])> {
            let (root, rest) = path.split_first()?;
            (root == "signal").then(|| (self.0.clone(), rest))
        }
    }
    let event = Alone(Document::from(serde_json::to_value(event).ok()?));
    let value = signal.part.evaluate(&event).ok()?;
    Some(SignalKey::of(&signal.event_type, signal.part.source(), value.value().to_string().as_bytes()))
}

impl Turn<'_> {
    pub(super) fn begin_wait(&mut self, id: InstanceId) -> Result<(), Stuck> {
        let plan = Arc::clone(&self.run.plan);
        let instance = self.run.instance(id);
        let Action::Wait { until, within_ms, .. } = &plan.node(instance.node).action else { return Ok(()) };
        let scope = RunScope::new(self.run, instance.frame);
        let mut awaits = Vec::new();
        let due = match until {
            Until::Elapsed(span_ms) => self.now.plus_millis(*span_ms),
            Until::Time(moment) => {
                let text = moment.text(&scope)?;
                text.parse::<Timestamp>().map_err(|_| {
                    let message = format!("`{text}` is not a moment such as 2026-11-27T08:00:00Z");
                    Stuck(Failure::new(FailureKind::InvalidInput, "wait.no-moment", message))
                })?
            }
            Until::Signals(signals) => {
                for signal in signals {
                    let value = signal.value.evaluate(&scope)?.value().to_string();
                    let key = SignalKey::of(&signal.event_type, signal.part.source(), value.as_bytes());
                    awaits.push(Await { name: signal.name.clone(), key });
                }
                // `check` demands a bound; a day if a plan was made without it.
                self.now.plus_millis(within_ms.unwrap_or(86_400_000))
            }
        };
        let step = self.run.path(id);
        self.record(Entry::WaitStarted(Box::new(WaitStarted { step, time: self.now, due, awaits })));
        self.commit();
        Ok(())
    }

    pub(super) fn in_wait(&mut self, id: InstanceId) -> Walk {
        let Some(wait) = self.run.instance(id).wait() else { return Walk::Busy };
        if !wait.over {
            let due = if wait.due <= self.run.grace { self.run.grace } else { wait.due };
            // What was accepted by its deadline is offered first.
            let offered = self.run.offered.filter(|_| !wait.awaits.is_empty());
            if due > offered.map_or(self.now, |offered| offered.min(self.now)) {
                self.sleep_until(due);
                return Walk::Busy;
            }
            let step = self.run.path(id);
            self.record(Entry::WaitOver { step, time: self.now });
            self.commit();
        }
        let plan = Arc::clone(&self.run.plan);
        let instance = self.run.instance(id);
        let Action::Wait { until: Until::Signals(_), on_expiry, .. } = &plan.node(instance.node).action else {
            return Walk::Done;
        };
        let failure = Failure::new(FailureKind::Permanent, "wait.expired", "no event came in time");
        match on_expiry {
            Some(then) => self.conclude(id, then, Handler::OnExpiry, Some(failure)),
            None => {
                self.fail(id, failure);
                self.failed_for_good(id)
            }
        }
    }

    /// An event came under a key that some wait of the run waits for.
    pub(super) fn signal(&mut self, arrived: Arrived) {
        let waiting: Vec<(InstanceId, String)> = (0..self.run.instances.len())
            .map(InstanceId)
            .filter_map(|id| {
                let wait = self.run.instance(id).wait()?;
                let open = !wait.over && wait.signal.is_none();
                let named = wait.awaits.iter().find(|awaited| awaited.key == arrived.key)?;
                let ended = self.run.settled && self.run.parked.is_none();
                (open && !ended && self.run.is_live(id)).then(|| (id, named.name.clone()))
            })
            .collect();
        let event = Document::from(serde_json::to_value(&arrived.event).unwrap_or_default());
        let mut taken = false;
        for (id, name) in waiting {
            let frame = self.run.instance(id).frame;
            if !self.run.would_take(self.run.instance(id).node, frame, &name, &event) {
                continue;
            }
            taken = true;
            let (step, acceptance) = (self.run.path(id), arrived.acceptance);
            let (event, personal) = (arrived.event.clone(), arrived.personal.clone());
            let signalled = Signalled { step, time: self.now, name, acceptance, event, personal };
            self.record(Entry::Signalled(Box::new(signalled)));
        }
        if !taken {
            self.came_late(arrived, &event);
        }
    }
}

//! Events that come for something that was undone: a shipment was cancelled, and the warehouse says that it left. No wait
//! takes them, and they do not disappear: each opens an exception, which a person closes.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Run,
    effect::Arrived,
    instance::{Facet, FrameId, InstanceId, Phase},
    scope::RunScope,
    turn::Turn,
};
use crate::{
    flow::{
        document::Document,
        plan::{Action, NodeId, Plan, Signal, Until},
    },
    model::{
        entry::{Await, Entry, ExceptionOpened, UndoneWait, WaitsUndone},
        id::{AcceptanceId, SignalKey},
        timestamp::Timestamp,
    },
};

/// What is known of such events.
#[derive(Debug, Default)]
pub(super) struct Late {
    /// What the run waited for when it was undone, and when that was.
    waits: Vec<UndoneWait>,
    since: Timestamp,
    /// Events that a wait took or that opened an exception.
    seen: BTreeSet<AcceptanceId>,
    /// Exceptions that nobody has closed.
    open: BTreeSet<AcceptanceId>,
}

impl Late {
    /// A wait took the event, perhaps one that began after its exception was opened.
    pub(super) fn take(&mut self, event: AcceptanceId) {
        self.seen.insert(event);
        self.open.remove(&event);
    }

    pub(super) fn open(&mut self, event: AcceptanceId) {
        self.seen.insert(event);
        self.open.insert(event);
    }

    pub(super) fn close(&mut self, event: AcceptanceId) {
        self.open.remove(&event);
    }

    pub(super) fn is_open(&self, event: AcceptanceId) -> bool {
        self.open.contains(&event)
    }

    pub(super) fn undone(&mut self, undone: &WaitsUndone) {
        self.waits.clone_from(&undone.waits);
        self.since = undone.time;
    }

    /// The run begins again: its waits are what counts.
    pub(super) fn forget_waits(&mut self) {
        self.waits.clear();
    }

    #[cfg(test)]
    pub(super) fn awaits(&self, key: SignalKey) -> bool {
        self.waits.iter().any(|wait| wait.awaits.key == key)
    }
}

impl Turn<'_> {
    /// An event came that no wait took.
    pub(super) fn came_late(&mut self, arrived: Arrived, event: &Document) {
        let Arrived { key, acceptance, accepted, event: whole, personal } = arrived;
        if self.run.late.seen.contains(&acceptance) {
            return;
        }
        let Some((step, name)) = self.run.undone_for(key, accepted, event) else { return };
        let time = self.now;
        let opened = ExceptionOpened { step, time, name, acceptance, event: whole, personal };
        self.record(Entry::ExceptionOpened(Box::new(opened)));
        self.commit();
    }
}

impl Run {
    /// Whether an event is one that a wait in this frame waits for under a name.
    pub(super) fn would_take(&self, node: NodeId, frame: FrameId, name: &str, event: &Document) -> bool {
        let signal = signals(&self.plan, node).iter().find(|signal| signal.name == name);
        signal.is_some_and(|signal| {
            signal.matches.is_true(&RunScope::with_signal(self, frame, event.clone())).unwrap_or(false)
        })
    }

    /// The wait that an event would have been for, had what it stood on not been undone, and the event's name in it.
    fn undone_for(&self, key: SignalKey, accepted: Timestamp, event: &Document) -> Option<(String, String)> {
        if self.settled && self.parked.is_none() {
            return self.late.waits.iter().filter(|wait| wait.awaits.key == key).find_map(|wait| {
                let instance = self.find(&wait.step);
                // A wait that got its event needed no other; what comes after the undoing is news all the same.
                let got = instance.is_some_and(|id| self.instance(id).wait().is_some_and(|wait| wait.signal.is_some()));
                if got && accepted <= self.late.since {
                    return None;
                }
                let node = instance.map_or_else(|| self.plan.find(&wait.step), |id| Some(self.instance(id).node))?;
                let frame = instance.map_or_else(|| self.nearest(node), |id| self.instance(id).frame);
                self.would_take(node, frame, &wait.awaits.name, event)
                    .then(|| (wait.step.clone(), wait.awaits.name.clone()))
            });
        }
        self.all().find_map(|id| {
            let instance = self.instance(id);
            let wait = instance.wait().filter(|wait| wait.signal.is_none())?;
            let awaited = wait.awaits.iter().find(|awaited| awaited.key == key)?;
            let undone = (wait.over || !self.is_live(id)) && self.halt.is_none() && self.stood_on_undone(id);
            let meant = undone && self.would_take(instance.node, instance.frame, &awaited.name, event);
            meant.then(|| (self.path(id), awaited.name.clone()))
        })
    }

    /// Waits that stood on something undone, as the run is about to end. If the run as a whole was undone, those are all,
    /// begun or not.
    pub(super) fn undone_waits(&self, whole: bool) -> Vec<UndoneWait> {
        let mut waits = Vec::new();
        if self.plan.signals().next().is_none() {
            return waits;
        }
        for id in self.all() {
            let instance = self.instance(id);
            // What `on_error` does comes after the undoing. What was begun again counts as it is now.
            if instance.facet != Facet::Main || self.is_winding(instance.frame) || self.find(&self.path(id)) != Some(id)
            {
                continue;
            }
            let step = || self.path(id);
            match instance.wait() {
                Some(wait) if whole || wait.signal.is_none() && self.stood_on_undone(id) => {
                    waits.extend(wait.awaits.iter().map(|awaits| UndoneWait { step: step(), awaits: awaits.clone() }));
                }
                None if whole => {
                    let awaits = self.would_await(instance.node, instance.frame);
                    waits.extend(awaits.map(|awaits| UndoneWait { step: step(), awaits }));
                }
                _ => {}
            }
        }
        let handler = self.plan.on_error.as_ref().map(|handler| handler.steps);
        for block in whole.then(|| self.plan.once_blocks(handler)).into_iter().flatten() {
            if self.find_frame(block, &[]).is_some() {
                continue;
            }
            for node in &self.plan.block(block).nodes {
                let step = &self.plan.node(*node).id;
                let awaits = self.would_await(*node, self.nearest(*node));
                waits.extend(awaits.map(|awaits| UndoneWait { step: step.clone(), awaits }));
            }
        }
        waits
    }

    fn all(&self) -> impl Iterator<Item = InstanceId> + use<> {
        (0..self.instances.len()).map(InstanceId)
    }

    /// What a wait that has not begun would wait for, as far as that can be told already.
    fn would_await(&self, node: NodeId, frame: FrameId) -> impl Iterator<Item = Await> {
        signals(&self.plan, node).iter().filter_map(move |signal| {
            let value = signal.value.evaluate(&RunScope::new(self, frame)).ok()?;
            if value.value().is_null() {
                return None;
            }
            let key = SignalKey::of(&signal.event_type, signal.part.source(), value.value().to_string().as_bytes());
            Some(Await { name: signal.name.clone(), key })
        })
    }

    /// The innermost frame around a step that was entered.
    fn nearest(&self, node: NodeId) -> FrameId {
        let mut block = Some(self.plan.node(node).block);
        while let Some(here) = block {
            if let Some(frame) = self.find_frame(here, &[]) {
                return frame;
            }
            block = self.plan.block(here).parent;
        }
        FrameId(0)
    }

    /// Whether something that came before a step, in its own list or in those around it, was undone.
    fn stood_on_undone(&self, id: InstanceId) -> bool {
        let around = self.places(id);
        self.instances.iter().enumerate().any(|(place, call)| {
            let (Facet::Compensate, Phase::Done, Some(undone)) = (call.facet, call.phase, call.main) else {
                return false;
            };
            // One that was begun again is another effect.
            self.instance(undone).facet(Facet::Compensate) == Some(InstanceId(place))
                && self
                    .places(undone)
                    .iter()
                    .any(|(frame, position)| around.iter().any(|(here, later)| here == frame && position < later))
        })
    }

    /// The frames that a step stands in, innermost first, and its place in each.
    fn places(&self, id: InstanceId) -> Vec<(FrameId, usize)> {
        let mut places = Vec::new();
        let mut at = Some(id);
        while let Some(here) = at {
            let frame = self.instance(here).frame;
            places.push((frame, here.0.saturating_sub(self.frame(frame).first)));
            at = self.frame(frame).owner;
        }
        places
    }
}

fn signals(plan: &Arc<Plan>, node: NodeId) -> &[Signal] {
    match &plan.node(node).action {
        Action::Wait { until: Until::Signals(signals), .. } => signals,
        _ => &[],
    }
}

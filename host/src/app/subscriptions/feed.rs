//! Accepted events as subscriptions read them: one reader follows the journal for all of them, and keeps the latest events
//! in memory; a subscription that is further behind reads the journal itself, at its own pace.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::{
    app::{facts::FactsError, runner::Shared},
    model::{entry::Accepted, id::SubjectKeyId, timestamp::Timestamp},
    ports::journal::Position,
};

/// Most events that are kept in memory.
const EVENTS_MAX: usize = 1_024;
/// Most bytes of their data that are kept in memory.
const BYTES_MAX: usize = 16 << 20;
/// How many appends one look at the journal reads.
const PAGE: usize = 512;
/// How often the reader looks whether something came, milliseconds.
const LOOK_MS: u64 = 100;

/// Some events, in order.
pub(super) struct Page {
    /// The events, each at its place.
    pub(super) events: Vec<(Position, Arc<Accepted>)>,
    /// Up to where was looked.
    pub(super) to: Position,
}

/// The latest events.
pub(super) struct Feed {
    ring: Mutex<Ring>,
    /// How many subscriptions there are: without one, nothing is followed.
    readers: watch::Sender<usize>,
    grown: watch::Sender<Position>,
}

#[derive(Default)]
struct Ring {
    /// Everything after this, up to `to`, is in `events`.
    from: Position,
    to: Position,
    events: VecDeque<(Position, Arc<Accepted>)>,
    bytes: usize,
}

impl Default for Feed {
    fn default() -> Self {
        Self { ring: Mutex::default(), readers: watch::Sender::new(0), grown: watch::Sender::new(Position::default()) }
    }
}

impl Ring {
    fn push(&mut self, events: Vec<(Position, Accepted)>, to: Position) {
        for (position, accepted) in events {
            self.bytes += accepted.event.data.as_bytes().len();
            self.events.push_back((position, Arc::new(accepted)));
            while self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
                let Some((position, oldest)) = self.events.pop_front() else { break };
                self.bytes = self.bytes.saturating_sub(oldest.event.data.as_bytes().len());
                self.from = position;
            }
        }
        self.to = to;
    }
}

impl Feed {
    /// Says where the journal ends as somebody has just read it.
    pub(super) fn begin(&self, at: Position) {
        let mut ring = self.lock();
        (ring.from, ring.to) = (at, at);
    }

    /// Forgets what is sealed with a key that was destroyed.
    pub(super) fn forget(&self, key: SubjectKeyId) {
        let sealed = |accepted: &Accepted| accepted.personal.as_ref().is_some_and(|of| of.keys.contains(&key));
        let mut ring = self.lock();
        ring.events.retain(|(_, accepted)| !sealed(accepted));
        ring.bytes = ring.events.iter().map(|(_, accepted)| accepted.event.data.as_bytes().len()).sum();
    }

    /// Says how many subscriptions there are.
    pub(super) fn set_readers(&self, count: usize) {
        self.readers.send_replace(count);
    }

    /// Follows the journal for as long as somebody wants it, until the hub stops.
    pub(super) async fn follow(self: Arc<Self>, shared: Arc<Shared>) {
        let mut readers = self.readers.subscribe();
        loop {
            tokio::select! {
                wanted = readers.wait_for(|count| *count > 0) => if wanted.is_err() { return },
                () = shared.stopping.cancelled() => return,
            }
            if let Err(error) = self.catch_up(&shared).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the journal cannot be read for subscriptions"
                );
            }
            tokio::select! {
                () = shared.clock.sleep_until(shared.clock.now().plus_millis(LOOK_MS)) => {}
                () = shared.stopping.cancelled() => return,
            }
        }
    }

    /// Reads what came; where the journal ends then.
    pub(super) async fn catch_up(&self, shared: &Shared) -> Result<Position, FactsError> {
        loop {
            let before = self.lock().to;
            let (events, to) = shared.facts.acceptances(before, PAGE).await?;
            if to == before {
                return Ok(to);
            }
            let mut ring = self.lock();
            // Somebody else may have read the same.
            if ring.to == before {
                ring.push(events, to);
                drop(ring);
                self.grown.send_replace(to);
            }
        }
    }

    /// Events after a place: those in memory, or a page of the journal.
    pub(super) async fn after(&self, shared: &Shared, after: Position) -> Result<Page, FactsError> {
        {
            let ring = self.lock();
            if after >= ring.from {
                let events = ring.events.iter().filter(|(position, _)| *position > after).cloned().collect();
                return Ok(Page { events, to: ring.to.max(after) });
            }
        }
        let (events, to) = shared.facts.acceptances(after, PAGE).await?;
        Ok(Page { events: events.into_iter().map(|(position, accepted)| (position, Arc::new(accepted))).collect(), to })
    }

    /// When the first event after a place, up to the end, was accepted; absent: there is none.
    pub(super) async fn unread_since(
        &self,
        shared: &Shared,
        mut after: Position,
        end: Position,
    ) -> Result<Option<Timestamp>, FactsError> {
        while after < end {
            let page = self.after(shared, after).await?;
            // Those that were accepted side by side are not in the order of their times.
            if let Some(first) = page.events.iter().map(|(_, accepted)| accepted.time).min() {
                return Ok(Some(first));
            }
            if page.to <= after {
                break;
            }
            after = page.to;
        }
        Ok(None)
    }

    /// Resolves when there may be something after a place.
    pub(super) async fn grown(&self, after: Position) {
        // The sender lives as long as `self`.
        let _ = self.grown.subscribe().wait_for(|to| *to > after).await;
    }

    /// Where the journal ended when it was last read.
    pub(super) fn end(&self) -> Position {
        self.lock().to
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // Nothing panics while it is held.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

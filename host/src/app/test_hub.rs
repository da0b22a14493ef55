//! For tests of what a hub does by itself: a hub in memory whose time stands still until a test moves it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    actors::{Actors, Timers},
    audit::Audit,
    contracts::Library,
    effects::Effects,
    exceptions::Exceptions,
    facts::Facts,
    inbox::Inbox,
    index::Index,
    install::Installer,
    installation::Installation,
    intake::Intake,
    mailbox::Mailbox,
    permits::Permits,
    queues::Queues,
    runner::Shared,
    secrets::LocalSecrets,
    trial::Trials,
    turns::Turns,
};
use crate::{
    model::{entry::Entry, event::Event, timestamp::Timestamp},
    net::egress::Gateway,
    ports::{clock::Clock, invoker::Invoker, journal::Position},
    store::memory::Store,
};

/// Time that a test moves.
pub(super) struct HandClock {
    now: AtomicI64,
    moved: Notify,
}

impl HandClock {
    pub(super) fn at(text: &str) -> Arc<Self> {
        let now: Timestamp = text.parse().expect("a time");
        Arc::new(Self { now: AtomicI64::new(now.millis()), moved: Notify::new() })
    }

    /// Moves time, and wakes whoever waited for it.
    pub(super) fn set(&self, text: &str) {
        self.now.store(text.parse::<Timestamp>().expect("a time").millis(), Ordering::SeqCst);
        self.moved.notify_waiters();
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, due: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            loop {
                let moved = self.moved.notified();
                if self.now() >= due {
                    return;
                }
                moved.await;
            }
        })
    }
}

/// What outlives a hub: its store and its time.
pub(super) struct Ground {
    pub(super) store: Store,
    pub(super) clock: Arc<HandClock>,
    pub(super) invoker: Arc<dyn Invoker>,
}

impl Ground {
    pub(super) fn new(clock: Arc<HandClock>, invoker: Arc<dyn Invoker>) -> Self {
        Self { store: Store::new(Arc::clone(&clock) as _), clock, invoker }
    }

    pub(super) fn installer(&self) -> Installer {
        Installer {
            audit: Arc::new(self.audit()),
            records: self.store.records(),
            blobs: self.store.blobs(),
            invoker: Arc::clone(&self.invoker),
            gateway: Arc::new(Gateway::new().expect("a gateway")),
            secrets: Arc::new(LocalSecrets),
            clock: Arc::clone(&self.clock) as _,
            library: Arc::new(Library::built_in().expect("contracts")),
            assets: PathBuf::from("unused"),
        }
    }

    pub(super) fn audit(&self) -> Audit {
        let audit = Audit::open(self.store.journal(), self.store.blobs(), Arc::clone(&self.clock) as _);
        futures::executor::block_on(audit).expect("an audit log")
    }

    /// A hub over the store, as after a start.
    pub(super) fn hub(&self, installation: Installation) -> Arc<Shared> {
        Arc::new(Shared {
            audit: Arc::new(self.audit()),
            hub: "test".into(),
            facts: Facts::new(self.store.journal(), self.store.blobs()),
            invoker: Arc::clone(&self.invoker),
            clock: Arc::clone(&self.clock) as _,
            records: self.store.records(),
            secrets: Arc::new(LocalSecrets),
            installation: ArcSwap::from_pointee(installation),
            index: Index::default(),
            actors: Actors::default(),
            timers: Timers::default(),
            mailbox: Mailbox::default(),
            queues: Queues::default(),
            inbox: Inbox::default(),
            exceptions: Exceptions::default(),
            effects: Effects::default(),
            grace: Timestamp::default(),
            trials: Trials::default(),
            turns: Turns::default(),
            permits: Permits::default(),
            intake: Intake::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Every accepted event, in order.
    pub(super) async fn accepted(&self) -> Vec<Event> {
        let facts = Facts::new(self.store.journal(), self.store.blobs());
        let mut events = Vec::new();
        let mut after = Position::default();
        loop {
            let page = facts.tail(after, 512).await.expect("a journal");
            let Some(last) = page.last() else { return events };
            after = last.position;
            events.extend(page.into_iter().flat_map(|stored| stored.entries).filter_map(|entry| match entry {
                Entry::Accepted(accepted) => Some(accepted.event),
                _ => None,
            }));
        }
    }
}

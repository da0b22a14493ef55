//! Subscriptions over a hub in memory, with time moved by hand. Their secret is not there, so nothing is delivered.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;

use super::{Subscriptions, record};
use crate::{
    app::{
        audit::Audit,
        installation::Installation,
        runner::Shared,
        test_hub::{Ground, HandClock},
    },
    model::{
        audit::Cause,
        entry::{Accepted, Entry},
        event::Event,
        id::{AcceptanceId, Digest},
        json::Json,
        subscription::Subscription,
    },
    net::egress::Gateway,
    ports::{
        hub::AuditFilter,
        invoker::{Completed, Component, Inspection, Invocation, Invoker, LoadError},
        journal::{Position, StreamId, Version},
        registry::Who,
        subscriptions::{
            Act, ActRequest, ReplayRequest, Selection, Standing, SubscriptionError, SubscriptionView,
            Subscriptions as _,
        },
    },
};

const START: &str = "2026-06-01T12:00:00Z";

struct NoPlugins;

impl Invoker for NoPlugins {
    fn inspect(&self, wasm: &[u8]) -> Result<Inspection, LoadError> {
        Ok(Inspection { digest: Digest::of(wasm), bytes: 0, imports: Vec::new(), exports: Vec::new() })
    }

    fn load(&self, component: Component) -> BoxFuture<'_, Result<Inspection, LoadError>> {
        Box::pin(async move { self.inspect(&component.wasm) })
    }

    fn invoke(&self, _: Invocation) -> BoxFuture<'_, Completed> {
        panic!("no plugin is called")
    }
}

/// A hub, from its start to its end.
struct Life {
    shared: Arc<Shared>,
    subscriptions: Arc<Subscriptions>,
}

fn ground() -> Ground {
    Ground::new(HandClock::at(START), Arc::new(NoPlugins))
}

fn wanted(more: &str) -> Subscription {
    toml::from_str(&format!(
        "owner = \"acme\"\ntypes = [\"test.*\"]\nurl = \"https://acme.example/in\"\nsecrets = [\"env:CROSSDOCK_NOT_SET\"]\n{more}"
    ))
    .expect("a subscription")
}

fn who(actor: &str) -> Who {
    Who { actor: actor.to_owned(), reason: "a test".to_owned() }
}

impl Life {
    async fn begin(ground: &Ground) -> Self {
        let shared = ground.hub(Installation::default());
        let audit = Audit::open(ground.store.journal(), ground.store.blobs(), Arc::clone(&ground.clock) as _).await;
        let gateway = Arc::new(Gateway::new().expect("a gateway"));
        let audit = Arc::new(audit.expect("an audit log"));
        let subscriptions = Subscriptions::new(Arc::clone(&shared), audit, gateway);
        subscriptions.begin(Position::default()).await.expect("begins");
        Self { shared, subscriptions }
    }

    async fn end(self) {
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    async fn declare(&self, more: &str) {
        self.subscriptions.declare(&Cause::hub("a test"), "x", wanted(more)).await.expect("declared");
    }

    /// Accepts an event of a type, from a source, now.
    async fn accept(&self, id: &str, source: &str) -> AcceptanceId {
        let event = Event {
            id: id.to_owned(),
            source: source.to_owned(),
            event_type: "test.order.v1".to_owned(),
            subject: Some(id.to_owned()),
            time: None,
            data_schema: None,
            data: Json::parse("{}").expect("JSON"),
            extensions: Default::default(),
        };
        let (acceptance, digest) = (event.acceptance(), event.digest());
        let accepted = Accepted { time: self.shared.clock.now(), event, digest, starts: Vec::new(), personal: None };
        let entries = [Entry::Accepted(Box::new(accepted))];
        let stream = StreamId::Acceptance(acceptance);
        self.shared.facts.append(stream, Version::default(), &entries).await.expect("accepted");
        acceptance
    }

    fn view(&self) -> SubscriptionView {
        self.subscriptions.list().into_iter().next().expect("there is one")
    }

    async fn until(&self, what: &str, wanted: impl Fn(&SubscriptionView) -> bool) {
        let becomes = async {
            while !wanted(&self.view()) {
                tokio::task::yield_now().await;
            }
        };
        let became = tokio::time::timeout(Duration::from_secs(60), becomes).await;
        assert!(became.is_ok(), "{what}: {:?}", self.view());
    }

    async fn act(&self, actor: &str, act: Act, may_change: bool) -> Result<SubscriptionView, SubscriptionError> {
        self.subscriptions.act("x", ActRequest { who: who(actor), act, may_change }).await
    }

    async fn replay(&self, selection: Selection, may_change: bool) -> Result<SubscriptionView, SubscriptionError> {
        let request = ReplayRequest { who: who("acme"), selection, types: Vec::new(), per_second: 100, may_change };
        self.subscriptions.replay("x", request).await
    }
}

#[tokio::test]
async fn a_replay_gives_its_owner_what_it_wants_since_it_is_there_and_nothing_else() {
    let ground = ground();
    let life = Life::begin(&ground).await;
    let before = life.accept("1", "/pipelines/test/shipping").await;
    ground.clock.set("2026-06-01T13:00:00Z");
    life.declare("").await;
    let outside = life.accept("2", "/shops/one").await;
    let inside = life.accept("3", "/pipelines/test/shipping").await;

    for (id, what) in [(outside, "came from outside"), (before, "was there before")] {
        let refused = life.replay(Selection::Event(id), false).await.expect_err(what);
        assert!(refused.to_string().contains("there is no event"), "{what}: {refused}");
    }
    let refused = life.replay(Selection::Event(outside), true).await.expect_err("whoever asks");
    assert!(refused.to_string().contains("there is no event"), "{refused}");
    let early = Selection::Since(START.parse().expect("a time"));
    let refused = life.replay(early.clone(), false).await.expect_err("it was not there");
    assert!(refused.to_string().contains("is there since 2026-06-01T13:00:00.000Z"), "{refused}");
    assert!(life.view().replay.is_none());

    life.replay(Selection::Event(inside), false).await.expect("its own");
    life.end().await;
    let life = Life::begin(&ground).await;
    life.until("it goes on", |view| view.replay.is_some()).await;
    life.end().await;
    // What was asked for is not wanted any more when it is its turn.
    let life = Life::begin(&ground).await;
    let mut other = wanted("");
    other.types = vec!["test.stock.*".to_owned()];
    life.subscriptions.declare(&Cause::hub("a test"), "x", other).await.expect("declared");
    life.end().await;
    let life = Life::begin(&ground).await;
    life.until("it is over", |view| view.replay.is_none() && view.caught_up).await;
    let progress = record::read::<record::Progress>(&*life.shared.records, "delivery/x").await.expect("read");
    assert_eq!(progress.expect("recorded").0.replay, None);
    life.replay(early, true).await.expect("who declares it may go back");
    life.end().await;
}

#[tokio::test]
async fn what_one_that_is_held_has_not_read_stays_out_of_the_archive_for_so_long() {
    let ground = ground();
    let life = Life::begin(&ground).await;
    life.declare("accepted = true\n").await;
    let behind = async |life: &Life| life.subscriptions.behind_since().await.expect("the journal can be read");
    life.accept("1", "/shops/one").await;
    // It is read into the window, and what is recorded names it.
    life.until("read", |view| view.waiting == 1).await;
    let read = tokio::time::timeout(Duration::from_secs(60), async {
        while behind(&life).await.is_some() {
            tokio::task::yield_now().await;
        }
    });
    read.await.expect("nothing is unread");

    life.act("ops", Act::Pause, true).await.expect("paused");
    ground.clock.set("2026-06-02T12:00:00Z");
    let unread = life.shared.clock.now();
    life.accept("2", "/shops/one").await;
    assert_eq!(behind(&life).await, Some(unread), "it was accepted while nothing is read");
    life.end().await;

    // After a start it is the same, and in the end nobody waits for it any more.
    let life = Life::begin(&ground).await;
    let again = tokio::time::timeout(Duration::from_secs(60), async {
        while behind(&life).await != Some(unread) {
            tokio::task::yield_now().await;
        }
    });
    again.await.expect("it is unread still");
    ground.clock.set("2026-07-15T12:00:00Z");
    assert_eq!(behind(&life).await, None);
    assert!(life.subscriptions.problems().iter().any(|problem| problem.contains("archive")), "somebody is told");
    life.end().await;
}

#[tokio::test]
async fn a_replay_waits_for_whoever_changes_the_subscription_and_is_recorded_before_it_begins() {
    let ground = ground();
    let life = Life::begin(&ground).await;
    life.declare("").await;
    let event = life.accept("1", "/pipelines/test/shipping").await;
    let asked_for = async || {
        let filter = AuditFilter { subject: Some("subscription/x".to_owned()), limit: 9, ..AuditFilter::default() };
        let lines = life.subscriptions.audit.list(&filter).await.expect("an audit log");
        lines.iter().filter(|line| line.record.action == "subscription.replay").count()
    };
    let changing = life.subscriptions.changing.lock().await;
    let mut replay = Box::pin(life.replay(Selection::Event(event), false));
    for _ in 0..1_000 {
        assert!(futures::poll!(&mut replay).is_pending(), "somebody changes it");
        tokio::task::yield_now().await;
    }
    assert!(life.view().replay.is_none(), "nothing has begun");
    assert_eq!(asked_for().await, 0);
    // While it is begun, the lock is free: the subscription's own task may need it.
    drop(changing);
    replay.await.expect("its turn");
    assert_eq!(asked_for().await, 1);

    // What is refused has not been asked for.
    let refused = life.replay(Selection::DeadLetters, false).await.expect_err("one at a time");
    assert!(refused.to_string().contains("a replay is under way"), "{refused}");
    assert_eq!(asked_for().await, 1);
    life.end().await;
}

#[tokio::test]
async fn what_an_operator_has_paused_its_owner_does_not_let_go_on() {
    let ground = ground();
    let life = Life::begin(&ground).await;
    life.declare("").await;
    let paused_by = |view: SubscriptionView| match view.standing {
        Standing::Paused { by, .. } => by,
        other => format!("{other:?}"),
    };
    let view = life.act("acme", Act::Pause, false).await.expect("its own");
    assert_eq!(paused_by(view), "acme");
    let view = life.act("ops", Act::Pause, true).await.expect("an operator holds it on");
    assert_eq!(paused_by(view), "ops");
    life.act("ops", Act::Pause, true).await.expect_err("it is held");
    for act in [Act::Resume, Act::Pause] {
        let refused = life.act("acme", act, false).await.expect_err("it is not theirs to say");
        assert!(matches!(refused, SubscriptionError::Conflict { .. }), "{refused}");
    }
    assert_eq!(paused_by(life.view()), "ops");
    let view = life.act("olga", Act::Resume, true).await.expect("another operator");
    assert_eq!(view.standing, Standing::Active);
    life.act("acme", Act::Pause, false).await.expect("its own");
    life.act("Acme", Act::Resume, false).await.expect("who paused it lets it go on");
    life.end().await;
}

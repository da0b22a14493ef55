//! For tests of what comes for runs: a hub in memory with one pipeline, whose runs wait for an event.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    accept,
    installation::Installation,
    people,
    runner::Shared,
    snapshot::{self, Derived, Progress},
    test_hub::{Ground, HandClock},
};
use crate::{
    model::{
        audit::Cause,
        entry::{Control, Entry},
        event::Event,
        id::RunId,
        json::Json,
        run::RunState,
    },
    ports::{
        hub::{ActError, ControlRequest},
        invoker::Invoker,
        journal::StreamId,
    },
    wasm::Sandbox,
};

const PIPELINE: &str = "
pipeline: test/waits
version: 1.0.0
owner: test
summary: Waits.
uses: {}
trigger: [{ event: test.said.v1 }]
key: event.subject
steps:
  - id: s
    wait: { event: test.sent.v1, match: signal.subject == event.subject, within: 1h, on_expiry: reject }
";

/// A hub at noon, and what outlives it.
pub(super) async fn hub() -> (Ground, Arc<Shared>, tempfile::TempDir) {
    let cache = tempfile::tempdir().expect("a folder");
    let sandbox: Arc<dyn Invoker> = Arc::new(Sandbox::new(cache.path()).expect("a sandbox"));
    let ground = Ground::new(HandClock::at("2026-06-01T12:00:00Z"), sandbox);
    let installer = ground.installer();
    let base = installer.load().await.expect("loads");
    let installed = installer.pipeline(&base, &Cause::hub("a test"), "waits", PIPELINE).await.expect("installs");
    let shared = ground.hub(installed.unwrap_or_else(Installation::default));
    (ground, shared, cache)
}

/// Another hub over the same store, which has derived everything from the journal.
pub(super) async fn again(ground: &Ground, shared: Arc<Shared>) -> Arc<Shared> {
    shared.stopping.cancel();
    shared.tasks.close();
    shared.tasks.wait().await;
    let shared = ground.hub(ground.installer().load().await.expect("loads"));
    let derived = Derived {
        index: &shared.index,
        mailbox: &shared.mailbox,
        inbox: &shared.inbox,
        exceptions: &shared.exceptions,
    };
    let installation = shared.installation.load_full();
    snapshot::fold(&shared.facts, &installation, derived, &mut Progress::default()).await.expect("folds");
    shared
}

pub(super) fn event(id: &str, event_type: &str) -> Event {
    Event {
        id: id.to_owned(),
        source: "/tests".to_owned(),
        event_type: event_type.to_owned(),
        subject: Some("o1".to_owned()),
        time: None,
        data_schema: None,
        data: Json::empty_object(),
        extensions: BTreeMap::new(),
    }
}

/// A run that waits.
pub(super) async fn waiting(shared: &Arc<Shared>) -> RunId {
    let run = accept::external(shared, vec![event("1", "test.said.v1")]).await.expect("accepted").remove(0).runs[0];
    until(shared, run, RunState::Waiting).await;
    run
}

pub(super) async fn act(shared: &Arc<Shared>, run: RunId, action: Control, reason: &str) -> Result<(), ActError> {
    people::control(shared, run, ControlRequest { actor: "ann".to_owned(), action, reason: reason.to_owned() }).await
}

pub(super) async fn until(shared: &Shared, run: RunId, state: RunState) {
    becomes(|| shared.index.get(run).is_some_and(|summary| summary.state == state)).await;
}

/// Waits until something holds.
#[track_caller]
pub(super) fn becomes(mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let found = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), found).await.is_ok(), "what {place} waits for");
    }
}

pub(super) async fn facts(shared: &Shared, run: RunId) -> Vec<Entry> {
    shared.facts.read(StreamId::Run(run)).await.expect("facts").0
}

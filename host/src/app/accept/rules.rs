//! The engine's rules about identity, order and what may be seen (SEMANTICS 1, 2, 4, 10), over a store in memory.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::json;
use tokio::sync::oneshot;

use super::external;
use crate::{
    app::{
        actors::Command,
        installation::Installation,
        runner::{self, Shared},
        test_hub::{Ground, HandClock},
    },
    model::{
        audit::Cause,
        entry::{Control, Controlled},
        event::Event,
        id::RunId,
        json::Json,
        run::RunState,
    },
    ports::{hub::AcceptError, invoker::Invoker},
    wasm::Sandbox,
};

/// A hub with one pipeline, whose runs wait for what never comes.
async fn hub(order: &str) -> (Ground, Arc<Shared>, tempfile::TempDir) {
    let cache = tempfile::tempdir().expect("a folder");
    let sandbox: Arc<dyn Invoker> = Arc::new(Sandbox::new(cache.path()).expect("a sandbox"));
    let ground = Ground::new(HandClock::at("2026-06-01T12:00:00Z"), sandbox);
    let text = format!(
        "pipeline: test/waits\nversion: 1.0.0\nowner: test\nsummary: Waits.\nuses: {{}}\n\
         trigger: [{{ event: test.said.v1 }}]\nkey: event.subject\norder: {order}\nsteps:\n  - id: s\n    wait: {{ event: \
         test.never.v1, match: signal.subject == event.subject, within: 1d, on_expiry: reject }}\n"
    );
    let installer = ground.installer();
    let base = installer.load().await.expect("loads");
    let installed = installer.pipeline(&base, &Cause::hub("a test"), "waits", &text).await.expect("installs");
    let shared = ground.hub(installed.unwrap_or_else(Installation::default));
    (ground, shared, cache)
}

fn event(id: &str, number: u32) -> Event {
    Event {
        id: id.to_owned(),
        source: "/tests".to_owned(),
        event_type: "test.said.v1".to_owned(),
        subject: Some("o1".to_owned()),
        time: None,
        data_schema: None,
        data: Json::from(json!({ "number": number })),
        extensions: BTreeMap::new(),
    }
}

fn state(shared: &Shared, run: RunId) -> Option<RunState> {
    shared.index.get(run).map(|summary| summary.state)
}

async fn until(shared: &Shared, run: RunId, wanted: RunState) {
    let found = async {
        while state(shared, run) != Some(wanted) {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), found).await.is_err() {
        panic!("{run} is {:?}, not {wanted:?}", state(shared, run));
    }
}

fn cancel(shared: &Arc<Shared>, run: RunId) -> oneshot::Receiver<Result<(), crate::flow::machine::ControlRefusal>> {
    let action = Control::Cancel { compensate: true };
    let controlled = Controlled { time: shared.clock.now(), actor: "ann".into(), action, reason: String::new() };
    let (reply, answered) = oneshot::channel();
    runner::deliver(shared, run, Command::Control(Box::new(controlled), reply));
    answered
}

// SEMANTICS 2
#[tokio::test]
async fn an_event_that_comes_again_finds_its_first_acceptance_and_other_content_is_a_contradiction() {
    let (ground, shared, _cache) = hub("none").await;
    let first = external(&shared, vec![event("1", 1)]).await.expect("accepted").remove(0);
    ground.clock.set("2026-06-01T12:00:01Z");
    let again = external(&shared, vec![event("1", 1)]).await.expect("known").remove(0);
    assert!(again.duplicate && !first.duplicate);
    assert_eq!((first.id, &first.runs), (again.id, &again.runs));
    let refused = external(&shared, vec![event("1", 2)]).await;
    assert!(matches!(refused, Err(AcceptError::Contradiction { first: known, .. }) if known == first.id));
    assert_eq!(ground.accepted().await.len(), 1);
}

// SEMANTICS 1
#[tokio::test]
async fn nothing_of_a_batch_is_accepted_that_contradicts_itself_or_what_was_before() {
    let (ground, shared, _cache) = hub("none").await;
    let refused = external(&shared, vec![event("1", 1), event("2", 1), event("1", 2)]).await;
    assert!(matches!(refused, Err(AcceptError::Contradiction { .. })));
    assert!(ground.accepted().await.is_empty());
    external(&shared, vec![event("3", 1)]).await.expect("accepted");
    let refused = external(&shared, vec![event("4", 1), event("3", 2)]).await;
    assert!(matches!(refused, Err(AcceptError::Contradiction { .. })));
    assert_eq!(ground.accepted().await.len(), 1);
}

// SEMANTICS 4
#[tokio::test]
async fn exclusive_runs_of_one_key_are_under_way_one_at_a_time_in_the_order_of_acceptance() {
    let (_ground, shared, _cache) = hub("exclusive").await;
    let mut runs = Vec::new();
    for id in ["1", "2", "3"] {
        runs.extend(external(&shared, vec![event(id, 1)]).await.expect("accepted").remove(0).runs);
    }
    until(&shared, runs[0], RunState::Waiting).await;
    let begun = |run: RunId| shared.index.get(run).is_some_and(|summary| summary.due.is_some());
    assert!(!begun(runs[1]) && !begun(runs[2]), "they wait for their turn");
    for place in 0..2 {
        cancel(&shared, runs[place]).await.expect("answered").expect("cancelled");
        until(&shared, runs[place], RunState::Cancelled).await;
        let next = async {
            while !begun(runs[place + 1]) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), next).await.expect("the next one begins");
        assert!(runs.get(place + 2).is_none_or(|run| !begun(*run)), "one at a time");
    }
}

// SEMANTICS 10
#[tokio::test]
async fn what_the_journal_did_not_take_is_neither_answered_nor_shown() {
    let (ground, shared, _cache) = hub("none").await;
    let run = external(&shared, vec![event("1", 1)]).await.expect("accepted").remove(0).runs[0];
    until(&shared, run, RunState::Waiting).await;
    ground.store.close();
    let answered = cancel(&shared, run);
    let waited = tokio::time::timeout(Duration::from_millis(200), answered).await;
    assert!(!matches!(waited, Ok(Ok(Ok(())))), "a cancel that is not durable is not confirmed");
    // That the hub cannot get at it may be shown, but not that it ended.
    let cause = shared.index.get(run).and_then(|summary| summary.cause).unwrap_or_default();
    assert!(
        state(&shared, run) == Some(RunState::Waiting) || cause.contains("cannot be taken up"),
        "{:?}: {cause}",
        state(&shared, run)
    );
    let refused = external(&shared, vec![event("2", 1)]);
    let refused = tokio::time::timeout(Duration::from_millis(200), refused).await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.is_err()), "nothing is accepted");
    let everything = crate::ports::hub::RunFilter { limit: 10, ..crate::ports::hub::RunFilter::default() };
    assert_eq!(shared.index.list(&everything).len(), 1, "nothing of it is shown");
}

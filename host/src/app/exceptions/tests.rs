//! Events for runs that were undone (SEMANTICS 20), over a store in memory.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    app::{
        accept, mailbox, retention,
        runner::Shared,
        test_waits::{act, again, becomes, event, facts, hub, until, waiting},
    },
    model::{
        entry::{Control, Entry},
        id::RunId,
        run::RunState,
        timestamp::Timestamp,
    },
    ports::{
        exceptions::{Exception, ExceptionFilter},
        journal::StreamId,
    },
};

fn open(shared: &Shared) -> Vec<Exception> {
    let filter = ExceptionFilter { limit: 100, ..ExceptionFilter::default() };
    shared.exceptions.list(&filter, |run| shared.index.get(run).map(|found| (found.pipeline, found.key)))
}

async fn cancelled(shared: &Arc<Shared>) -> RunId {
    let run = waiting(shared).await;
    act(shared, run, Control::Cancel { compensate: true }, "not wanted").await.expect("cancelled");
    until(shared, run, RunState::Cancelled).await;
    run
}

#[tokio::test]
async fn an_event_for_a_run_that_was_undone_is_an_exception_until_a_person_closes_it() {
    let (ground, shared, _cache) = hub().await;
    let run = cancelled(&shared).await;
    let accepted = accept::external(&shared, vec![event("late", "test.sent.v1")]).await.expect("accepted").remove(0);
    becomes(|| open(&shared).len() == 1).await;
    let found = open(&shared).remove(0);
    assert_eq!((found.run, found.acceptance, found.event.id.as_str()), (run, accepted.id, "late"));
    assert_eq!((found.pipeline.as_deref(), found.key.as_deref()), (Some("test/waits"), Some("o1")));
    // The run is what it was, and the same event again is nothing new.
    accept::external(&shared, vec![event("late", "test.sent.v1")]).await.expect("known");
    let shared = again(&ground, shared).await;
    assert_eq!(shared.index.get(run).map(|summary| summary.state), Some(RunState::Cancelled));
    assert_eq!(open(&shared).len(), 1, "it is there after a start");

    let close = Control::CloseException { event: accepted.id };
    act(&shared, run, close.clone(), "the carrier brings it back").await.expect("closed");
    act(&shared, run, close, "twice").await.expect_err("it is closed");
    assert!(open(&shared).is_empty());
    let shared = again(&ground, shared).await;
    assert!(open(&shared).is_empty());
    assert_eq!(shared.index.get(run).map(|summary| summary.state), Some(RunState::Cancelled));
    let opened = facts(&shared, run).await.into_iter().filter(|fact| matches!(fact, Entry::ExceptionOpened(_)));
    assert_eq!(opened.count(), 1);
}

#[tokio::test]
async fn an_event_whose_exception_a_crash_took_is_offered_to_the_run_after_the_start() {
    let (ground, shared, _cache) = hub().await;
    let run = cancelled(&shared).await;
    // The crash comes between the event's acceptance and the exception.
    let late = event("late", "test.sent.v1");
    let acceptance = late.acceptance();
    let time = shared.clock.now();
    let digest = late.digest();
    let fact = Entry::Accepted(Box::new(crate::model::entry::Accepted {
        time,
        event: late,
        digest,
        starts: vec![],
        personal: None,
    }));
    shared.facts.append(StreamId::Acceptance(acceptance), Default::default(), &[fact]).await.expect("appended");
    let shared = again(&ground, shared).await;
    assert!(open(&shared).is_empty());
    assert_eq!(shared.mailbox.undone(), [run]);
    assert_eq!(shared.mailbox.lying_for(run).iter().map(|(_, lies)| *lies).collect::<Vec<_>>(), [acceptance]);
}

#[tokio::test]
async fn a_run_is_not_archived_while_an_event_for_it_may_come_or_was_not_dealt_with() {
    let (ground, shared, _cache) = hub().await;
    let run = cancelled(&shared).await;
    let ended = shared.clock.now();
    let archived = async |shared: &Shared, before: Timestamp| {
        let plan = retention::plan(&shared.facts, before).await.expect("a plan");
        let streams: BTreeSet<String> = plan.bundles.iter().flatten().map(|stream| format!("{stream:?}")).collect();
        streams.contains(&format!("{:?}", StreamId::Run(run)))
    };
    assert!(!archived(&shared, ended.plus_millis(1)).await, "an event for it may come");
    assert!(archived(&shared, ended.plus_millis(mailbox::KEPT_MS + 1)).await);
    let accepted = accept::external(&shared, vec![event("late", "test.sent.v1")]).await.expect("accepted").remove(0);
    becomes(|| open(&shared).len() == 1).await;
    assert!(!archived(&shared, ended.plus_millis(2 * mailbox::KEPT_MS)).await, "it is open");
    act(&shared, run, Control::CloseException { event: accepted.id }, "done").await.expect("closed");
    assert!(archived(&shared, ended.plus_millis(2 * mailbox::KEPT_MS)).await);
    drop(ground);
}

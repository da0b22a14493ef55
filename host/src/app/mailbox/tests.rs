//! The mailbox alone, and with runs that wait.

use std::sync::Arc;

use super::Mailbox;
use crate::{
    app::{
        runner,
        test_waits::{becomes, event, facts, hub, until, waiting},
    },
    model::{
        entry::{Accepted, Await, Ending, Entry, UndoneWait, WaitStarted, WaitsUndone},
        id::{AcceptanceId, RunId, SignalKey},
        run::RunState,
        timestamp::Timestamp,
    },
    ports::journal::StreamId,
};

fn run() -> RunId {
    RunId::of(AcceptanceId::of("/s", "1"), "p")
}

fn waits(key: SignalKey) -> Entry {
    let (time, due) = (Timestamp::from_millis(1), Timestamp::from_millis(9));
    let awaits = vec![Await { name: "signal".into(), key }];
    Entry::WaitStarted(Box::new(WaitStarted { step: "w".into(), time, due, awaits }))
}

#[test]
fn an_event_is_found_whether_it_comes_before_or_after_its_wait() {
    let mailbox = Mailbox::default();
    let key = SignalKey::of("t", "signal.subject", b"\"x\"");
    let (early, late) = (AcceptanceId::of("/s", "2"), AcceptanceId::of("/s", "3"));
    assert!(mailbox.keep(key, Timestamp::from_millis(1), early).is_empty());
    assert_eq!(mailbox.observe(run(), &[waits(key)]), [(key, early)]);
    assert_eq!(mailbox.keep(key, Timestamp::from_millis(2), late), [run()]);
    mailbox.observe(run(), &[Entry::RunEnded { time: Timestamp::from_millis(3), ending: Ending::Completed }]);
    assert!(mailbox.keep(key, Timestamp::from_millis(4), late).is_empty());
}

// SEMANTICS 20
#[test]
fn a_run_that_was_undone_is_still_told_of_events_and_one_that_begins_again_is_not() {
    let mailbox = Mailbox::default();
    let key = SignalKey::of("t", "signal.subject", b"\"x\"");
    let (early, late) = (AcceptanceId::of("/s", "2"), AcceptanceId::of("/s", "3"));
    let at = Timestamp::from_millis;
    mailbox.keep(key, at(1), early);
    let wait = UndoneWait { step: "w".into(), awaits: Await { name: "signal".into(), key } };
    let undone = Entry::WaitsUndone(Box::new(WaitsUndone { time: at(2), waits: vec![wait] }));
    let ended = Entry::RunEnded { time: at(2), ending: Ending::Cancelled };
    assert_eq!(mailbox.observe(run(), &[undone.clone(), ended]), [(key, early)]);
    assert_eq!((mailbox.keep(key, at(3), late), mailbox.undone()), (vec![run()], vec![run()]));
    mailbox.observe(run(), &[Entry::Restarted { step: "w".into(), time: at(4) }]);
    assert!(mailbox.keep(key, at(5), AcceptanceId::of("/s", "4")).is_empty());
    mailbox.observe(run(), &[undone]);
    let later = at(3).plus_millis(super::KEPT_MS);
    assert!(mailbox.keep(key, later, AcceptanceId::of("/s", "5")).is_empty(), "it is forgotten");
}

#[test]
fn an_event_does_not_lie_there_for_ever() {
    let mailbox = Mailbox::default();
    let key = SignalKey::of("t", "signal.subject", b"1");
    mailbox.keep(key, Timestamp::from_millis(1), AcceptanceId::of("/s", "2"));
    let later = Timestamp::from_millis(2).plus_millis(super::KEPT_MS);
    mailbox.keep(SignalKey::of("t", "signal.subject", b"2"), later, AcceptanceId::of("/s", "3"));
    assert!(mailbox.observe(run(), &[waits(key)]).is_empty());
}

/// Whether a wait took its event rather than its time.
async fn took(shared: &runner::Shared, run: RunId) -> bool {
    facts(shared, run).await.iter().any(|fact| matches!(fact, Entry::Signalled(_)))
}

// SEMANTICS 15
#[tokio::test]
async fn a_wait_that_is_due_first_takes_what_was_accepted_by_then() {
    let (ground, shared, _cache) = hub().await;
    let run = waiting(&shared).await;
    shared.tasks.spawn(runner::keep_time(Arc::clone(&shared)));
    // Durable and kept in time, and not offered yet when the time is up.
    let sent = event("2", "test.sent.v1");
    let (id, digest) = (sent.acceptance(), sent.digest());
    let accepted = Accepted { time: shared.clock.now(), event: sent, digest, starts: Vec::new(), personal: None };
    let fact = Entry::Accepted(Box::new(accepted.clone()));
    shared.facts.append(StreamId::Acceptance(id), Default::default(), &[fact]).await.expect("appended");
    for key in shared.installation.load().signal_keys(&accepted.event) {
        shared.mailbox.keep(key, accepted.time, id);
    }
    ground.clock.set("2026-06-01T13:00:01Z");
    becomes(|| shared.index.get(run).is_some_and(|summary| summary.state.is_ended())).await;
    assert!(took(&shared, run).await);
    until(&shared, run, RunState::Completed).await;
}

// SEMANTICS 15
#[tokio::test]
async fn a_wait_that_is_due_waits_for_what_is_being_accepted() {
    let (ground, shared, _cache) = hub().await;
    let run = waiting(&shared).await;
    shared.tasks.spawn(runner::keep_time(Arc::clone(&shared)));
    let under_way = shared.mailbox.under_way(&*shared.clock);
    ground.clock.set("2026-06-01T13:00:01Z");
    becomes(|| shared.timers.count() == 0).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(shared.index.get(run).map(|summary| summary.state), Some(RunState::Waiting));
    let sent = event("2", "test.sent.v1");
    let (id, digest) = (sent.acceptance(), sent.digest());
    let accepted = Accepted { time: under_way.time, event: sent, digest, starts: Vec::new(), personal: None };
    let fact = Entry::Accepted(Box::new(accepted.clone()));
    shared.facts.append(StreamId::Acceptance(id), Default::default(), &[fact]).await.expect("appended");
    crate::app::accept::signal(&shared, id, &accepted);
    drop(under_way);
    until(&shared, run, RunState::Completed).await;
    assert!(took(&shared, run).await);
}

// SEMANTICS 15
#[tokio::test]
async fn a_wait_whose_event_was_refused_is_over_in_time() {
    let (ground, shared, _cache) = hub().await;
    let run = waiting(&shared).await;
    shared.tasks.spawn(runner::keep_time(Arc::clone(&shared)));
    let refused = shared.mailbox.under_way(&*shared.clock);
    ground.clock.set("2026-06-01T13:00:01Z");
    drop(refused);
    until(&shared, run, RunState::Rejected).await;
}

// SEMANTICS 14
#[tokio::test]
async fn an_event_that_was_stored_and_not_offered_is_offered_when_it_comes_again() {
    let (_ground, shared, _cache) = hub().await;
    let run = waiting(&shared).await;
    let sent = event("2", "test.sent.v1");
    let (id, digest) = (sent.acceptance(), sent.digest());
    let earlier = Timestamp::from_millis(shared.clock.now().millis() - 5);
    let accepted = Accepted { time: earlier, event: sent.clone(), digest, starts: Vec::new(), personal: None };
    let fact = Entry::Accepted(Box::new(accepted));
    shared.facts.append(StreamId::Acceptance(id), Default::default(), &[fact]).await.expect("appended");
    let again = crate::app::accept::external(&shared, vec![sent]).await.expect("known").remove(0);
    assert!(again.duplicate);
    until(&shared, run, RunState::Completed).await;
}

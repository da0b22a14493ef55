//! What people do to runs is in the audit log first, once (invariant 8 of the design).

use std::sync::Arc;

use super::{Act, record};
use crate::{
    app::{
        runner::Shared,
        test_waits::{act, facts, hub, until, waiting},
    },
    model::{
        audit::AuditLine,
        entry::{Control, Controlled, Entry},
        id::RunId,
        run::RunState,
    },
    ports::{
        hub::AuditFilter,
        journal::{Position, StreamId},
    },
};

/// Records about a run, oldest first.
async fn said(shared: &Shared, run: RunId) -> Vec<AuditLine> {
    let filter = AuditFilter { subject: Some(format!("run/{run}")), limit: 100, ..AuditFilter::default() };
    let mut lines = shared.audit.list(&filter).await.expect("an audit log");
    lines.reverse();
    lines
}

async fn actions(shared: &Shared, run: RunId) -> Vec<String> {
    said(shared, run).await.into_iter().map(|line| line.record.action).collect()
}

#[tokio::test]
async fn each_act_upon_a_run_is_recorded_before_it_takes_effect_with_who_and_why() {
    let (_ground, shared, _cache) = hub().await;
    let run = waiting(&shared).await;
    act(&shared, run, Control::Pause, "stocktaking").await.expect("paused");
    act(&shared, run, Control::Pause, "stocktaking").await.expect_err("it is paused");
    act(&shared, run, Control::Continue, "counted").await.expect("continued");
    // The same again is another act.
    act(&shared, run, Control::Pause, "stocktaking").await.expect("paused");
    act(&shared, run, Control::Cancel { compensate: true }, "not wanted").await.expect("cancelled");
    until(&shared, run, RunState::Cancelled).await;
    assert_eq!(actions(&shared, run).await, ["run.pause", "run.continue", "run.pause", "run.cancel"]);
    let lines = said(&shared, run).await;
    let first = &lines[0].record;
    assert_eq!((first.actor.as_str(), first.reason.as_str()), ("ann", "stocktaking"));
    let document = shared.audit.document(first.after.expect("a digest")).await.expect("kept").expect("there");
    let document: serde_json::Value = serde_json::from_slice(&document).expect("JSON");
    assert_eq!((&document["run"], &document["act"]["control"]["do"]), (&run.to_string().into(), &"pause".into()));

    // In the journal, each record lies before the fact that it is about.
    let mut order = Vec::new();
    for stored in shared.facts.tail(Position::default(), 1_000).await.expect("a journal") {
        let acts = stored.entries.iter().filter(|entry| matches!(entry, Entry::Controlled(_))).count();
        order.extend(std::iter::repeat_n("fact", acts));
        if stored.stream == StreamId::Audit {
            order.push("record");
        }
    }
    // The pipeline's installation is recorded too.
    let order: Vec<&str> = order.into_iter().skip_while(|what| *what == "record").collect();
    assert_eq!(order, ["fact", "record", "fact", "record", "fact", "record", "fact"]);
}

#[tokio::test]
async fn an_act_that_a_crash_kept_from_taking_effect_is_not_recorded_again_when_it_is_tried_again() {
    let (_ground, shared, _cache) = hub().await;
    let run = waiting(&shared).await;
    let (actor, reason) = ("ann".to_owned(), "stocktaking".to_owned());
    let controlled = Controlled { time: shared.clock.now(), actor, action: Control::Pause, reason };
    record(&shared.audit, run, 0, Act::Control(&controlled)).await.expect("recorded");
    act(&shared, run, Control::Pause, "stocktaking").await.expect("paused");
    assert_eq!(actions(&shared, run).await, ["run.pause"]);
    // Another reason is another act.
    record(&shared.audit, run, 1, Act::Control(&controlled)).await.expect("recorded");
    act(&shared, run, Control::Continue, "counted").await.expect("continued");
    assert_eq!(actions(&shared, run).await, ["run.pause", "run.pause", "run.continue"]);
}

#[tokio::test]
async fn what_the_audit_log_does_not_take_is_not_done() {
    let (ground, shared, _cache) = hub().await;
    let run = waiting(&shared).await;
    ground.store.close();
    act(&shared, run, Control::Pause, "stocktaking").await.expect_err("not recorded");
    let state = shared.index.get(run).map(|summary| summary.state);
    assert!(state != Some(RunState::Paused), "{state:?}");
}

#[tokio::test]
async fn a_run_that_another_run_winds_up_is_no_act_of_a_person() {
    let (_ground, shared, _cache) = hub().await;
    let run = waiting(&shared).await;
    let action = Control::Cancel { compensate: true };
    let controlled = Controlled { time: shared.clock.now(), actor: "run x".into(), action, reason: String::new() };
    let told = crate::app::actors::Command::Told(Box::new(controlled), tokio::sync::oneshot::channel().0);
    crate::app::runner::deliver(&Arc::clone(&shared), run, told);
    until(&shared, run, RunState::Cancelled).await;
    assert!(actions(&shared, run).await.is_empty());
    assert!(facts(&shared, run).await.iter().any(|fact| matches!(fact, Entry::Controlled(_))));
}

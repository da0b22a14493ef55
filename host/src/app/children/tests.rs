//! Runs within runs, over a store in memory.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use crate::{
    app::{
        accept,
        actors::Command,
        installation::Installation,
        runner::{self, Shared},
        test_hub::{Ground, HandClock},
    },
    model::{
        audit::Cause,
        entry::{Control, Controlled, Entry},
        event::Event,
        id::RunId,
        json::Json,
        run::RunState,
    },
    ports::{invoker::Invoker, journal::StreamId},
    wasm::Sandbox,
};

/// Each starts the one before it; the first waits for what never comes.
const PIPELINES: [(&str, &str); 3] = [
    ("leaf", "wait: { event: test.never.v1, match: signal.subject == event.subject, within: 1d, on_expiry: reject }"),
    ("middle", "run: test/leaf@^1\n    with: {}"),
    ("root", "run: test/middle@^1\n    with: {}"),
];

async fn install(ground: &Ground, pipelines: &[(&str, &str)]) -> Installation {
    let installer = ground.installer();
    let mut installation = Installation::default();
    for (name, step) in pipelines {
        let text = format!(
            "pipeline: test/{name}\nversion: 1.0.0\nowner: test\nsummary: For tests.\nuses: {{}}\n\
             trigger: [{{ event: test.{name}.v1 }}]\nkey: event.subject\nsteps:\n  - id: s\n    {step}\n"
        );
        let made = installer.pipeline(&installation, &Cause::hub("a test"), name, &text).await;
        installation = match made.unwrap_or_else(|error| panic!("{error}: {text}")) {
            Some(installation) => installation,
            None => installer.load().await.expect("loads"),
        };
    }
    installation
}

fn ground() -> (Ground, tempfile::TempDir) {
    let cache = tempfile::tempdir().expect("a folder");
    let sandbox: Arc<dyn Invoker> = Arc::new(Sandbox::new(cache.path()).expect("a sandbox"));
    (Ground::new(HandClock::at("2026-06-01T12:00:00Z"), sandbox), cache)
}

/// Accepts an event that starts `test/root`; the run, and those that it starts.
async fn begin(shared: &Arc<Shared>) -> [RunId; 3] {
    let event = Event {
        id: "1".into(),
        source: "/tests".into(),
        event_type: "test.root.v1".into(),
        subject: Some("o1".into()),
        time: None,
        data_schema: None,
        data: Json::empty_object(),
        extensions: BTreeMap::new(),
    };
    let accepted = accept::internal(shared, event, &[]).await.expect("accepted");
    let root = accepted.runs.first().copied().expect("a run");
    let middle = RunId::child(root, "s", 0);
    [root, middle, RunId::child(middle, "s", 0)]
}

async fn until(shared: &Shared, run: RunId, state: RunState) {
    let found = async {
        while shared.index.get(run).is_none_or(|summary| summary.state != state) {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), found).await.is_err() {
        panic!("{run} is {:?}, not {state:?}", shared.index.get(run).map(|summary| summary.state));
    }
}

async fn cancel(shared: &Arc<Shared>, run: RunId) {
    let action = Control::Cancel { compensate: true };
    let controlled = Controlled { time: shared.clock.now(), actor: "ann".into(), action, reason: String::new() };
    let (reply, answered) = oneshot::channel();
    runner::deliver(shared, run, Command::Control(Box::new(controlled), reply));
    answered.await.expect("answered").expect("cancelled");
}

/// Who cancelled a run, each time.
async fn cancelled_by(shared: &Shared, run: RunId) -> Vec<String> {
    let (entries, _) = shared.facts.read(StreamId::Run(run)).await.expect("facts");
    entries
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Controlled(controlled) => Some(controlled.actor),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_cancel_reaches_the_runs_that_a_run_started_and_theirs() {
    let (ground, _cache) = ground();
    let shared = ground.hub(install(&ground, &PIPELINES).await);
    let [root, middle, leaf] = begin(&shared).await;
    until(&shared, leaf, RunState::Waiting).await;
    cancel(&shared, root).await;
    for run in [leaf, middle, root] {
        until(&shared, run, RunState::Cancelled).await;
    }
    assert_eq!(cancelled_by(&shared, leaf).await, [format!("run {middle}")]);
    assert_eq!(cancelled_by(&shared, middle).await, [format!("run {root}")]);
}

/// A hub that stops, and another over the same store.
async fn again(ground: &Ground, shared: Arc<Shared>, runs: &[RunId], between: Option<(RunId, Entry)>) -> Arc<Shared> {
    shared.stopping.cancel();
    shared.tasks.close();
    shared.tasks.wait().await;
    if let Some((run, fact)) = between {
        let (_, version) = shared.facts.read(StreamId::Run(run)).await.expect("facts");
        shared.facts.append(StreamId::Run(run), version, &[fact]).await.expect("appended");
    }
    let shared = ground.hub(ground.installer().load().await.expect("loads"));
    for run in runs {
        let (entries, _) = shared.facts.read(StreamId::Run(*run)).await.expect("facts");
        shared.index.add(*run, &entries);
    }
    for run in runs {
        runner::resume(&shared, *run).await.expect("taken up");
    }
    shared
}

#[tokio::test]
async fn a_run_that_waits_for_another_waits_for_it_again_after_the_hub_was_stopped() {
    let (ground, _cache) = ground();
    let shared = ground.hub(install(&ground, &PIPELINES).await);
    let runs = begin(&shared).await;
    let [root, middle, leaf] = runs;
    until(&shared, leaf, RunState::Waiting).await;
    let shared = again(&ground, shared, &runs, None).await;
    cancel(&shared, leaf).await;
    until(&shared, leaf, RunState::Cancelled).await;
    // Its end is what was waited for; it was not a good one.
    until(&shared, middle, RunState::Parked).await;
    let cause = shared.index.get(middle).and_then(|summary| summary.cause).unwrap_or_default();
    assert!(cause.contains("run.ended"), "{cause}");
    let (entries, _) = shared.facts.read(StreamId::Run(root)).await.expect("facts");
    assert!(!entries.iter().any(|entry| matches!(entry, Entry::AttemptFailed(_))), "{entries:#?}");
}

#[tokio::test]
async fn a_cancel_that_a_crash_kept_from_arriving_arrives_after_the_start_and_once() {
    let (ground, _cache) = ground();
    let shared = ground.hub(install(&ground, &PIPELINES).await);
    let runs = begin(&shared).await;
    let [root, middle, leaf] = runs;
    until(&shared, leaf, RunState::Waiting).await;
    // The crash comes between the parent's cancel, which is durable, and its child.
    let action = Control::Cancel { compensate: true };
    let controlled = Controlled { time: shared.clock.now(), actor: "ann".into(), action, reason: String::new() };
    let fact = Entry::Controlled(Box::new(controlled));
    let shared = again(&ground, shared, &runs, Some((root, fact))).await;
    for run in [leaf, middle, root] {
        until(&shared, run, RunState::Cancelled).await;
    }
    assert_eq!(cancelled_by(&shared, leaf).await, [format!("run {middle}")]);
    assert_eq!(cancelled_by(&shared, middle).await, [format!("run {root}")]);
}

#[tokio::test]
async fn a_detached_run_goes_on_when_the_one_that_started_it_is_cancelled() {
    let (ground, _cache) = ground();
    let wait = "wait: { event: test.never.v1, match: signal.subject == event.subject, within: 1d, on_expiry: reject }";
    let pipelines = [
        PIPELINES[0],
        ("root", &*format!("run: test/leaf@^1\n    with: {{}}\n    detach: true\n  - id: t\n    {wait}")),
    ];
    let shared = ground.hub(install(&ground, &pipelines).await);
    let [root, leaf, _] = begin(&shared).await;
    until(&shared, leaf, RunState::Waiting).await;
    until(&shared, root, RunState::Waiting).await;
    cancel(&shared, root).await;
    until(&shared, root, RunState::Cancelled).await;
    assert_eq!(shared.index.get(leaf).map(|summary| summary.state), Some(RunState::Waiting));
}

/// It starts a run, and then waits itself.
const STARTS: (&str, &str) = (
    "root",
    "run: test/leaf@^1\n    with: {}\n  - id: t\n    wait: { event: test.later.v1, match: signal.subject == event.subject, \
     within: 1d, on_expiry: reject }",
);

async fn send(shared: &Arc<Shared>, event_type: &str) {
    let event = Event {
        id: event_type.into(),
        source: "/tests".into(),
        event_type: event_type.into(),
        subject: Some("o1".into()),
        time: None,
        data_schema: None,
        data: Json::empty_object(),
        extensions: BTreeMap::new(),
    };
    accept::internal(shared, event, &[]).await.expect("accepted");
}

// SEMANTICS 25
#[tokio::test]
async fn a_run_that_has_completed_is_undone_with_the_run_that_started_it_once_over_a_crash() {
    for crash in [false, true] {
        let (ground, _cache) = ground();
        let pipelines = [PIPELINES[0], STARTS];
        let mut shared = ground.hub(install(&ground, &pipelines).await);
        let [root, leaf, _] = begin(&shared).await;
        until(&shared, leaf, RunState::Waiting).await;
        send(&shared, "test.never.v1").await;
        until(&shared, leaf, RunState::Completed).await;
        until(&shared, root, RunState::Waiting).await;
        if crash {
            // The parent's cancel is durable, and the crash comes before its child hears of it.
            let action = Control::Cancel { compensate: true };
            let controlled =
                Controlled { time: shared.clock.now(), actor: "ann".into(), action, reason: String::new() };
            let fact = Entry::Controlled(Box::new(controlled));
            shared = again(&ground, shared, &[root, leaf], Some((root, fact))).await;
        } else {
            cancel(&shared, root).await;
        }
        until(&shared, leaf, RunState::Cancelled).await;
        until(&shared, root, RunState::Cancelled).await;
        assert_eq!(cancelled_by(&shared, leaf).await, [format!("run {root}")], "told once, by the run");
        let (entries, _) = shared.facts.read(StreamId::Run(root)).await.expect("facts");
        let undone = entries.iter().filter(|fact| matches!(fact, Entry::StepDone(done) if done.step == "s~compensate"));
        assert_eq!(undone.count(), 1);
        // Once more, as if the answer had been lost.
        super::tell(&shared, root, leaf, Control::Undo, "again").await.expect("heard");
        assert_eq!(cancelled_by(&shared, leaf).await.len(), 1, "it is taken once");
    }
}

// SEMANTICS 25
#[tokio::test]
async fn a_branch_that_lost_has_its_run_cancelled_rather_than_waited_for() {
    let (ground, _cache) = ground();
    let race = "parallel:\n      join: any\n      branches:\n        slow: { id: child, run: test/leaf@^1, with: {} }\n        \
                fast: { id: quick, wait: { event: test.later.v1, match: signal.subject == event.subject, within: 1d, \
                on_expiry: reject } }";
    let shared = ground.hub(install(&ground, &[PIPELINES[0], ("root", race)]).await);
    let [root, ..] = begin(&shared).await;
    let leaf = RunId::child(root, "child", 0);
    until(&shared, leaf, RunState::Waiting).await;
    send(&shared, "test.later.v1").await;
    until(&shared, leaf, RunState::Cancelled).await;
    until(&shared, root, RunState::Completed).await;
    assert_eq!(cancelled_by(&shared, leaf).await, [format!("run {root}")]);
}

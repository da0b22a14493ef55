//! Runs whose calls wait: what a cancel and a stop of the hub make of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::future::BoxFuture;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::{
    app::{
        accept,
        contracts::Library,
        installation::{Installation, OpenConnection, Plugin, lines::Live},
        package::Schemas,
        people,
        runner::Shared,
        test_hub::{Ground, HandClock},
    },
    model::{
        connection::Connection,
        entry::Control,
        event::Event,
        id::{Digest, RunId},
        json::Json,
        lane::Lane,
        limits::{Limits, Usage},
        manifest::Manifest,
        pace::Pace,
        run::RunState,
    },
    ports::{
        hub::ControlRequest,
        invoker::{Answer, Completed, Component, Inspection, Invocation, Invoker, LoadError},
    },
};

const PIPELINE: &str = "pipeline: test/ask\nversion: 1.0.0\nowner: test\nsummary: Asks.\n\
    uses: { market: retail/carrier-rates@1 }\ntrigger: [{ event: test.ask.v1 }]\nkey: event.id\n\
    lane: '${ event.data.lane }'\nsteps:\n  - id: ask\n    call: market#quote\n    \
    with: { order: '${ event.data }' }\n";

/// A connector whose remote answers when it is let.
struct Slow {
    answers: Semaphore,
    calls: AtomicUsize,
}

impl Invoker for Slow {
    fn inspect(&self, wasm: &[u8]) -> Result<Inspection, LoadError> {
        Ok(Inspection { digest: Digest::of(wasm), bytes: 0, imports: Vec::new(), exports: Vec::new() })
    }

    fn load(&self, component: Component) -> BoxFuture<'_, Result<Inspection, LoadError>> {
        Box::pin(async move { self.inspect(&component.wasm) })
    }

    fn invoke(&self, _: Invocation) -> BoxFuture<'_, Completed> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            self.answers.acquire().await.expect("open").forget();
            let result = Ok(Answer::Json(Json::from(json!({ "quotes": [] }))));
            Completed { result, usage: Usage::default(), log: vec![], annotations: vec![] }
        })
    }
}

fn connection() -> OpenConnection {
    let manifest: Manifest = toml::from_str(
        "id = \"test/market\"\nversion = \"1.0.0\"\nkind = \"connector\"\ncontract = \"1.0.0\"\nlicense = \"Apache-2.0\"\n\
         summary = \"A market\"\nimplements = [\"retail/carrier-rates@1\"]\n[operations.quote]\neffect = \"read\"\n\
         [vendor]\nconcurrency = 1\n",
    )
    .expect("a manifest");
    let connection: Connection =
        toml::from_str("plugin = \"test/market\"\nbase_url = \"https://market.example\"\n").expect("a connection");
    let pace = Pace::narrowest(&manifest.vendor, &connection.limits);
    let digest = Digest::of(b"market");
    let plugin = Arc::new(Plugin {
        pure: Plugin::used(&manifest, digest, 0),
        inspection: Inspection { digest, bytes: 0, imports: Vec::new(), exports: Vec::new() },
        manifest,
        schemas: Schemas::default(),
        limits: Limits::DEFAULT,
        input: None,
        output: None,
        operations: std::collections::BTreeMap::new(),
        produces: std::collections::BTreeMap::new(),
        signed: None,
        golden: None,
        live: Live::default(),
    });
    let used = Plugin::used(&plugin.manifest, digest, 1);
    OpenConnection {
        name: "market".to_owned(),
        connection,
        revision: 1,
        secret_versions: Vec::new(),
        plugin,
        used,
        pace,
        outlets: HashMap::new(),
    }
}

fn hub(slow: &Arc<Slow>) -> Arc<Shared> {
    let ground = Ground::new(HandClock::at("2026-06-01T12:00:00Z"), Arc::clone(slow) as _);
    let library = Library::built_in().expect("contracts");
    let base = Installation { contracts: library.contracts, events: library.events, ..Installation::default() };
    let pipeline = Arc::new(ground.installer().plan(&base, "ask", PIPELINE).expect("a pipeline"));
    let mut installation = base;
    installation.plans.insert(pipeline.plan.pipeline.digest, Arc::clone(&pipeline.plan));
    installation.pipelines.insert("test/ask".to_owned(), pipeline);
    installation.connections.insert("market".to_owned(), Arc::new(connection()));
    let names = BTreeMap::from([("market".to_owned(), "market".to_owned())]);
    installation.bindings.insert("test/ask".to_owned(), names);
    ground.hub(installation)
}

async fn ask(shared: &Arc<Shared>, id: &str, lane: &str) -> RunId {
    let event = Event {
        id: id.to_owned(),
        source: "/tests".to_owned(),
        event_type: "test.ask.v1".to_owned(),
        subject: None,
        time: None,
        data_schema: None,
        data: Json::from(json!({ "lane": lane })),
        extensions: BTreeMap::new(),
    };
    let accepted = accept::external(shared, vec![event]).await.expect("accepted");
    accepted[0].runs[0]
}

async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

fn settled(shared: &Shared, run: RunId) -> Option<RunState> {
    shared.index.get(run).map(|summary| summary.state).filter(|state| state.is_settled())
}

#[tokio::test]
async fn a_cancelled_run_that_waits_to_leave_does_not_leave_and_makes_room() {
    let slow = Arc::new(Slow { answers: Semaphore::new(0), calls: AtomicUsize::new(0) });
    let shared = hub(&slow);
    let first = ask(&shared, "1", "standard").await;
    until(|| slow.calls.load(Ordering::SeqCst) == 1).await;
    let second = ask(&shared, "2", "express").await;
    until(|| shared.permits.waiting(Lane::Express) == 1).await;
    let third = ask(&shared, "3", "nonsense").await;
    until(|| shared.permits.waiting(Lane::Standard) == 1).await;

    let action = Control::Cancel { compensate: false };
    let request = ControlRequest { actor: "ada".to_owned(), action, reason: "not wanted".to_owned() };
    people::control(&shared, second, request).await.expect("cancelled");
    until(|| settled(&shared, second).is_some()).await;
    assert_eq!(shared.permits.waiting(Lane::Express), 0);
    slow.answers.add_permits(2);
    until(|| settled(&shared, first).is_some() && settled(&shared, third).is_some()).await;
    assert_eq!([first, third].map(|run| settled(&shared, run)), [Some(RunState::Completed); 2]);
    assert_eq!(slow.calls.load(Ordering::SeqCst), 2, "the cancelled run's call has not left");
}

#[tokio::test]
async fn a_hub_that_stops_waits_for_what_is_out_and_not_for_what_waits() {
    let slow = Arc::new(Slow { answers: Semaphore::new(0), calls: AtomicUsize::new(0) });
    let shared = hub(&slow);
    ask(&shared, "1", "bulk").await;
    until(|| slow.calls.load(Ordering::SeqCst) == 1).await;
    ask(&shared, "2", "bulk").await;
    until(|| shared.permits.waiting(Lane::Bulk) == 1).await;
    let under_way = shared.tasks.len();
    shared.stopping.cancel();
    until(|| shared.tasks.len() < under_way).await;
    slow.answers.add_permits(1);
    shared.tasks.close();
    shared.tasks.wait().await;
    assert_eq!(slow.calls.load(Ordering::SeqCst), 1);
}

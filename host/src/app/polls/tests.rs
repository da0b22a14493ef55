//! Polls over a store in memory, with time moved by hand and a connector that says what a test wrote down.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use futures::future::BoxFuture;

use super::{PAGES_LIMIT, Polls, Record, turn};
use crate::{
    app::{
        contracts::Library,
        installation::{Installation, OpenConnection, Plugin, lines::Live},
        package::Schemas,
        runner::Shared,
        test_hub::{Ground, HandClock},
        triggers::Board,
    },
    model::{
        connection::Connection,
        event::Event,
        failure::{Failure, FailureKind},
        id::Digest,
        json::Json,
        limits::{Limits, Usage},
        manifest::Manifest,
        pace::Pace,
        timestamp::Timestamp,
    },
    ports::invoker::{Answer, CallError, Completed, Component, Inspection, Invocation, Invoker, LoadError, Page, Work},
};

const PIPELINE: &str = r#"
pipeline: test/market
version: 1.0.0
owner: test
summary: What the market sold.
uses: { market: retail/carrier-rates@1 }
trigger: [{ poll: market, every: 1h, event: test.sold.v1 }]
key: event.id
steps:
  - emit: test.seen.v1
    data: ${ event.data }
"#;

const START: &str = "2026-06-01T12:00:00Z";

/// A connector that answers what was written down, in order, and keeps the cursors it was given.
#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Option<Result<Page, CallError>>>>,
    cursors: Mutex<Vec<Option<String>>>,
}

impl Scripted {
    fn say(&self, answer: Result<Page, CallError>) {
        self.answers.lock().expect("a script").push_back(Some(answer));
    }

    /// The next call gets no answer, ever.
    fn hang(&self) {
        self.answers.lock().expect("a script").push_back(None);
    }

    fn cursors(&self) -> Vec<Option<String>> {
        self.cursors.lock().expect("cursors").clone()
    }
}

impl Invoker for Scripted {
    fn inspect(&self, wasm: &[u8]) -> Result<Inspection, LoadError> {
        Ok(Inspection { digest: Digest::of(wasm), bytes: 0, imports: Vec::new(), exports: Vec::new() })
    }

    fn load(&self, component: Component) -> BoxFuture<'_, Result<Inspection, LoadError>> {
        Box::pin(async move { self.inspect(&component.wasm) })
    }

    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Completed> {
        Box::pin(async move {
            let Work::Poll { cursor, feed } = invocation.work else { panic!("only polls are scripted") };
            assert_eq!(feed.name, "market-main");
            assert_eq!(feed.attributes, [("event".to_owned(), "test.sold.v1".to_owned())]);
            assert!(feed.config.to_value()["base_url"].is_string());
            self.cursors.lock().expect("cursors").push(cursor);
            let answer = self.answers.lock().expect("a script").pop_front().expect("an answer");
            let Some(answer) = answer else { return std::future::pending().await };
            Completed { result: answer.map(Answer::Page), usage: Usage::default(), log: vec![], annotations: vec![] }
        })
    }
}

fn event(id: &str, event_type: &str, data: &str) -> Event {
    Event {
        id: id.to_owned(),
        source: "/whoever".to_owned(),
        event_type: event_type.to_owned(),
        subject: None,
        time: None,
        data_schema: None,
        data: Json::parse(data.as_bytes().to_vec()).expect("JSON"),
        extensions: BTreeMap::new(),
    }
}

fn page(ids: &[&str], cursor: &str, more: bool) -> Result<Page, CallError> {
    let events = ids.iter().map(|id| event(id, "test.sold.v1", "{}")).collect();
    Ok(Page { events, cursor: Some(cursor.to_owned()), more })
}

fn failure(message: &str) -> Result<Page, CallError> {
    Err(CallError::Failure(Failure::new(FailureKind::Retryable, "market.down", message)))
}

struct Market {
    ground: Ground,
    script: Arc<Scripted>,
    board: Arc<Board>,
}

impl Market {
    async fn new() -> Self {
        let script = Arc::new(Scripted::default());
        let ground = Ground::new(HandClock::at(START), Arc::clone(&script) as _);
        Self { ground, script, board: Arc::default() }
    }

    async fn hub(&self) -> Arc<Shared> {
        let library = Library::built_in().expect("contracts");
        let base = Installation { contracts: library.contracts, events: library.events, ..Installation::default() };
        let installer = self.ground.installer();
        let pipeline = Arc::new(installer.plan(&base, "market", PIPELINE).expect("a pipeline"));
        let mut installation = base;
        installation.plans.insert(pipeline.plan.pipeline.digest, Arc::clone(&pipeline.plan));
        installation.pipelines.insert("test/market".to_owned(), pipeline);
        installation.connections.insert("market-main".to_owned(), Arc::new(open()));
        let names = BTreeMap::from([("market".to_owned(), "market-main".to_owned())]);
        installation.bindings.insert("test/market".to_owned(), names);
        self.ground.hub(installation)
    }

    /// One turn, and every poll that it begins.
    async fn turn(&self, shared: &Arc<Shared>, polls: &Arc<Polls>) -> Timestamp {
        turn(shared, &self.board, polls).await;
        while !polls.lock().under_way.is_empty() {
            tokio::task::yield_now().await;
        }
        turn(shared, &self.board, polls).await
    }

    async fn sold(&self) -> Vec<String> {
        let events = self.ground.accepted().await;
        events.into_iter().filter(|event| event.event_type == "test.sold.v1").map(|event| event.id).collect()
    }

    async fn record(&self) -> Record {
        let listed = self.ground.store.records().list("poll/", None, 10).await.expect("records");
        assert_eq!(listed.len(), 1);
        assert!(listed[0].0.starts_with("poll/test/market/") && listed[0].0.ends_with("/market-main"));
        serde_json::from_slice(&listed[0].1.value).expect("a record")
    }
}

fn open() -> OpenConnection {
    let manifest: Manifest = toml::from_str(
        "id = \"test/market\"\nversion = \"1.0.0\"\nkind = \"connector\"\ncontract = \"1.0.0\"\nlicense = \"Apache-2.0\"\n\
         summary = \"A market\"\nimplements = [\"retail/carrier-rates@1\"]\n[operations.quote]\neffect = \"read\"\n",
    )
    .expect("a manifest");
    let connection: Connection =
        toml::from_str("plugin = \"test/market\"\nbase_url = \"https://market.example\"\n").expect("a connection");
    let digest = Digest::of(b"market");
    let inspection = Inspection {
        digest,
        bytes: 0,
        imports: Vec::new(),
        exports: vec!["crossdock:plugin/polling-source@1.0.0".to_owned()],
    };
    let plugin = Arc::new(Plugin {
        pure: Plugin::used(&manifest, digest, 0),
        manifest,
        inspection,
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
    let pace = Pace::narrowest(&plugin.manifest.vendor, &connection.limits);
    OpenConnection {
        name: "market-main".to_owned(),
        connection,
        revision: 1,
        secret_versions: Vec::new(),
        used: Plugin::used(&plugin.manifest, digest, 1),
        plugin,
        pace,
        outlets: HashMap::new(),
    }
}

#[tokio::test]
async fn pages_are_accepted_one_after_the_other_and_the_next_poll_goes_on_where_they_end() {
    let market = Market::new().await;
    let (shared, polls) = (market.hub().await, Arc::default());
    market.script.say(page(&["1", "2"], "2", true));
    market.script.say(page(&["3"], "3", false));
    market.turn(&shared, &polls).await;
    assert_eq!(market.sold().await, ["1", "2", "3"]);
    assert_eq!(market.record().await.cursor.as_deref(), Some("3"));
    assert_eq!(market.record().await.due.to_string(), "2026-06-01T13:00:00.000Z");
    assert!(market.ground.accepted().await.iter().all(|event| event.source != "/whoever"));

    market.ground.clock.set("2026-06-01T12:59:59Z");
    assert_eq!(market.turn(&shared, &polls).await.to_string(), "2026-06-01T13:00:00.000Z", "it waits until it is due");
    market.ground.clock.set("2026-06-01T13:00:00Z");
    market.script.say(page(&[], "3", false));
    market.turn(&shared, &polls).await;
    let cursors = [None, Some("2"), Some("3")].map(|cursor| cursor.map(str::to_owned));
    assert_eq!(market.script.cursors(), cursors);
    assert!(market.board.problems().is_empty());
}

#[tokio::test]
async fn a_page_whose_cursor_a_crash_took_is_found_accepted() {
    let market = Market::new().await;
    market.script.say(page(&["1", "2"], "2", false));
    market.turn(&market.hub().await, &Arc::default()).await;
    // The records as a crash after the acceptance, before the cursor, would have left them.
    let records = market.ground.store.records();
    let (key, stored) = records.list("poll/", None, 1).await.expect("records").remove(0);
    records.delete_if(&key, stored.revision).await.expect("deleted");
    market.script.say(page(&["1", "2"], "2", false));
    market.turn(&market.hub().await, &Arc::default()).await;
    assert_eq!(market.sold().await, ["1", "2"]);
    assert_eq!(market.record().await.cursor.as_deref(), Some("2"));
    assert_eq!(market.script.cursors(), [None, None]);
}

#[tokio::test]
async fn a_failing_poll_waits_longer_and_longer_is_shown_and_recovers() {
    let market = Market::new().await;
    let (shared, polls) = (market.hub().await, Arc::default());
    for (now, due) in [(START, "12:00:01"), ("2026-06-01T12:00:01Z", "12:00:03"), ("2026-06-01T12:00:03Z", "12:00:07")]
    {
        market.ground.clock.set(now);
        market.script.say(failure("closed for the night"));
        market.turn(&shared, &polls).await;
        assert_eq!(market.record().await.due.to_string(), format!("2026-06-01T{due}.000Z"));
    }
    let record = market.record().await;
    assert_eq!((record.failures, record.cursor), (3, None));
    assert!(record.failure.expect("recorded").contains("closed for the night"));
    let problems = market.board.problems();
    let shown = "poll of `market` for `test.sold.v1` by `test/market`: ";
    assert!(problems.len() == 1 && problems[0].starts_with(shown), "{problems:?}");

    market.ground.clock.set("2026-06-01T12:00:07Z");
    market.script.say(page(&["1"], "1", false));
    market.turn(&shared, &polls).await;
    assert_eq!(market.record().await.failures, 0);
    assert!(market.board.problems().is_empty());
}

#[tokio::test]
async fn a_page_is_accepted_whole_or_not_at_all_and_its_cursor_stays() {
    let market = Market::new().await;
    let (shared, polls) = (market.hub().await, Arc::default());
    market.script.say(page(&["1"], "1", true));
    let events = vec![event("2", "test.sold.v1", "{}"), event("3", "test.returned.v1", "{}")];
    market.script.say(Ok(Page { events, cursor: Some("3".to_owned()), more: false }));
    market.turn(&shared, &polls).await;
    assert_eq!(market.sold().await, ["1"]);
    assert_eq!(market.record().await.cursor.as_deref(), Some("1"));
    assert!(market.board.problems()[0].contains("brought event `3` of type `test.returned.v1`"));

    // The same id with other content: the remote contradicts itself.
    market.ground.clock.set("2026-06-01T12:00:01Z");
    let events = vec![event("4", "test.sold.v1", "{}"), event("1", "test.sold.v1", "[]")];
    market.script.say(Ok(Page { events, cursor: Some("4".to_owned()), more: false }));
    market.turn(&shared, &polls).await;
    assert_eq!(market.sold().await, ["1"]);
    assert_eq!(market.record().await.cursor.as_deref(), Some("1"));
    assert!(market.board.problems()[0].contains("accepted before with other content"));
}

#[tokio::test]
async fn a_poll_without_end_is_cut_and_goes_on_soon() {
    let market = Market::new().await;
    let (shared, polls) = (market.hub().await, Arc::default());
    for number in 1..=PAGES_LIMIT {
        market.script.say(page(&[], &number.to_string(), true));
    }
    market.turn(&shared, &polls).await;
    let record = market.record().await;
    assert_eq!(record.cursor, Some(PAGES_LIMIT.to_string()));
    assert_eq!(record.due.to_string(), "2026-06-01T12:00:01.000Z");
}

#[tokio::test]
async fn more_without_moving_the_cursor_is_a_failure() {
    let market = Market::new().await;
    let (shared, polls) = (market.hub().await, Arc::default());
    market.script.say(page(&["1"], "1", true));
    market.script.say(page(&["1"], "1", true));
    market.turn(&shared, &polls).await;
    assert!(market.board.problems()[0].contains("does not move its cursor"));
    assert_eq!(market.record().await.cursor.as_deref(), Some("1"));
}

#[tokio::test]
async fn it_polls_by_itself_and_ends_when_the_hub_stops() {
    let market = Market::new().await;
    let shared = market.hub().await;
    market.script.say(page(&["1"], "1", false));
    let task = tokio::spawn(super::run(Arc::clone(&shared), Arc::clone(&market.board)));
    while market.sold().await.is_empty() {
        tokio::task::yield_now().await;
    }
    shared.stopping.cancel();
    task.await.expect("ends");
}

#[tokio::test]
async fn a_poll_whose_plugin_is_revoked_ends_and_brings_nothing() {
    let market = Market::new().await;
    let (shared, polls): (_, Arc<Polls>) = (market.hub().await, Arc::default());
    market.script.say(page(&["1"], "1", true));
    market.script.hang();
    turn(&shared, &market.board, &polls).await;
    while market.script.cursors().len() < 2 {
        tokio::task::yield_now().await;
    }
    let plugin = Arc::clone(&shared.installation.load().connections["market-main"].plugin);
    assert_eq!(plugin.live.calls(), 1, "it is counted among the calls that are under way");
    plugin.live.set_revoked(true);
    while !polls.lock().under_way.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(market.sold().await, ["1"]);
    assert!(market.board.problems()[0].contains("is revoked"), "{:?}", market.board.problems());

    market.ground.clock.set("2026-06-01T13:00:00Z");
    market.turn(&shared, &polls).await;
    assert_eq!(market.script.cursors().len(), 2, "it is not called again");
}

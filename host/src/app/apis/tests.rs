//! Published reads over a hub in memory, with time moved by hand and a connector that says what a test wrote down.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::Semaphore;

use super::Apis;
use crate::{
    app::{
        audit::Audit,
        contracts::Library,
        installation::{Installation, OpenConnection, Plugin, lines::Live},
        package::Schemas,
        test_hub::{Ground, HandClock},
    },
    model::{
        api::Publication,
        audit::Cause,
        connection::Connection,
        failure::{Failure, FailureKind},
        id::{ContractId, Digest},
        json::Json,
        limits::{Limits, Usage},
        manifest::Manifest,
        pace::Pace,
        setting,
    },
    ports::{
        apis::{ApiAnswer, ApiError, Apis as _, Input, Origin},
        hub::AuditFilter,
        invoker::{Answer, CallError, Completed, Component, Inspection, Invocation, Invoker, LoadError, Work},
        registry::Who,
    },
};

const START: &str = "2026-06-01T12:00:00Z";
const ORDER: &str = r#"{"id":"17","number":"17","total":"1.00","currency":"EUR","status":"open"}"#;

/// A connector that answers what was written down, in order, once it is let.
struct Scripted {
    answers: Mutex<VecDeque<Result<&'static str, Failure>>>,
    inputs: Mutex<Vec<String>>,
    let_go: Semaphore,
}

impl Scripted {
    fn say(&self, answer: Result<&'static str, Failure>) {
        self.answers.lock().expect("a script").push_back(answer);
    }

    fn asked(&self) -> usize {
        self.inputs.lock().expect("inputs").len()
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
            let Work::Invoke { operation, input, read_only, step, .. } = invocation.work else { panic!("a read") };
            assert!(read_only && operation == "read_order");
            assert_eq!(step.pipeline, "retail/erp-orders@1");
            self.inputs.lock().expect("inputs").push(String::from_utf8_lossy(input.as_bytes()).into_owned());
            self.let_go.acquire().await.expect("open").forget();
            let answer = self.answers.lock().expect("a script").pop_front().expect("an answer");
            let result = answer.map(|text| Answer::Json(Json::parse(text).expect("JSON"))).map_err(CallError::Failure);
            Completed { result, usage: Usage::default(), log: vec![], annotations: vec![] }
        })
    }
}

struct Published {
    ground: Ground,
    script: Arc<Scripted>,
    apis: Arc<Apis>,
}

fn connection(name: &str, implements: &str) -> OpenConnection {
    let manifest: Manifest = toml::from_str(&format!(
        "id = \"test/{name}\"\nversion = \"1.0.0\"\nkind = \"connector\"\ncontract = \"1.0.0\"\nlicense = \"Apache-2.0\"\n\
         summary = \"An ERP\"\nimplements = [\"{implements}\"]\n[operations.read_order]\neffect = \"read\"\n",
    ))
    .expect("a manifest");
    let connection: Connection =
        toml::from_str(&format!("plugin = \"test/{name}\"\nbase_url = \"https://erp.example\"\n"))
            .expect("a connection");
    let digest = Digest::of(name.as_bytes());
    let inspection = Inspection { digest, bytes: 0, imports: Vec::new(), exports: Vec::new() };
    let plugin = Arc::new(Plugin {
        pure: Plugin::used(&manifest, digest, 0),
        manifest,
        inspection,
        schemas: Schemas::default(),
        limits: Limits::DEFAULT,
        input: None,
        output: None,
        golden: None,
        operations: std::collections::BTreeMap::new(),
        produces: std::collections::BTreeMap::new(),
        signed: None,
        live: Live::default(),
    });
    let pace = Pace::narrowest(&plugin.manifest.vendor, &connection.limits);
    let used = Plugin::used(&plugin.manifest, digest, 1);
    OpenConnection {
        name: name.to_owned(),
        connection,
        revision: 1,
        used,
        plugin,
        pace,
        outlets: HashMap::new(),
        secret_versions: Vec::new(),
    }
}

fn contract() -> ContractId {
    "retail/erp-orders@1".parse().expect("a contract")
}

fn publication(connection: &str, more: &str) -> Publication {
    toml::from_str(&format!("connection = \"{connection}\"\noperations = [\"read_order\"]\n{more}")).expect("it is one")
}

fn failure(kind: FailureKind, code: &str) -> Result<&'static str, Failure> {
    Err(Failure::new(kind, code, "SAP says no"))
}

impl Published {
    async fn new(more: &str) -> Self {
        let script =
            Arc::new(Scripted { answers: Mutex::default(), inputs: Mutex::default(), let_go: Semaphore::new(1_000) });
        let ground = Ground::new(HandClock::at(START), Arc::clone(&script) as _);
        let apis = Arc::new(Self::open(&ground).await);
        apis.set(&Cause::hub("a test"), contract(), publication("sap", more)).await.expect("published");
        Self { ground, script, apis }
    }

    async fn open(ground: &Ground) -> Apis {
        let library = Library::built_in().expect("contracts");
        let mut installation =
            Installation { contracts: library.contracts, documents: library.documents, ..Installation::default() };
        for (name, implements) in
            [("sap", "retail/erp-orders@1"), ("tryton", "retail/erp-orders@1"), ("wms", "retail/warehouse@1")]
        {
            installation.connections.insert(name.to_owned(), Arc::new(connection(name, implements)));
        }
        let audit = Audit::open(ground.store.journal(), ground.store.blobs(), Arc::clone(&ground.clock) as _).await;
        Apis::open(ground.hub(installation), Arc::new(audit.expect("an audit log"))).await.expect("opens")
    }

    async fn read(&self, id: &str) -> Result<ApiAnswer, ApiError> {
        self.apis.read(&contract(), "read_order", Input::Fields(vec![("id".to_owned(), id.to_owned())])).await
    }

    async fn origin(&self, id: &str) -> Result<(Origin, u64), ApiError> {
        self.read(id).await.map(|answer| (answer.origin, answer.age_s))
    }
}

#[tokio::test]
async fn an_answer_is_given_again_for_as_long_as_it_was_declared_and_no_longer() {
    let api = Published::new("cache_s = 30").await;
    api.script.say(Ok(ORDER));
    assert_eq!(api.origin("17").await, Ok((Origin::Remote, 0)));
    api.ground.clock.set("2026-06-01T12:00:29.500Z");
    assert_eq!(api.origin("17").await, Ok((Origin::Kept, 30)));
    let document = Input::Document(Bytes::from_static(br#"{ "id" : "17" }"#));
    let same = api.apis.read(&contract(), "read_order", document).await;
    assert_eq!(same.map(|answer| answer.origin), Ok(Origin::Kept), "the same input, written otherwise");
    assert_eq!(api.script.asked(), 1);
    api.script.say(Ok(ORDER));
    assert_eq!(api.origin("18").await, Ok((Origin::Remote, 0)), "another input is another question");
    api.ground.clock.set("2026-06-01T12:00:30Z");
    api.script.say(failure(FailureKind::Retryable, "sap.busy"));
    let error = api.origin("17").await.unwrap_err();
    assert!(matches!(error, ApiError::Unavailable { .. }), "nothing stale was declared: {error:?}");
    assert!(!error.to_string().contains("SAP"), "{error}");
}

#[tokio::test]
async fn what_is_not_declared_to_be_kept_is_asked_for_each_time() {
    let api = Published::new("").await;
    for _ in 0..2 {
        api.script.say(Ok(ORDER));
        assert_eq!(api.origin("17").await, Ok((Origin::Remote, 0)));
    }
    assert_eq!(api.script.asked(), 2);
}

#[tokio::test]
async fn a_stale_answer_stands_in_while_the_remote_is_down_if_that_is_declared() {
    let api = Published::new("cache_s = 30\nstale_if_error_s = 60").await;
    api.script.say(Ok(ORDER));
    api.read("17").await.expect("an answer");
    api.ground.clock.set("2026-06-01T12:01:29Z");
    api.script.say(failure(FailureKind::Retryable, "http.lost"));
    assert_eq!(api.origin("17").await, Ok((Origin::Stale, 89)));
    api.script.say(failure(FailureKind::InvalidInput, "sap.not-found"));
    assert_eq!(api.origin("17").await, Err(ApiError::NotFound), "that it is gone is an answer");
    api.ground.clock.set("2026-06-01T12:01:30Z");
    api.script.say(failure(FailureKind::Retryable, "http.lost"));
    assert_eq!(api.origin("17").await, Err(ApiError::Timeout { retry_after_s: 5 }));
}

#[tokio::test]
async fn who_asks_the_same_at_the_same_time_waits_for_the_same_answer() {
    let api = Published::new("cache_s = 1").await;
    api.script.let_go.forget_permits(1_000);
    api.script.say(Ok(ORDER));
    let mut first = api.read("17").boxed();
    let mut second = api.read("17").boxed();
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    drop(first);
    api.script.let_go.add_permits(1);
    let answer = second.await.expect("the read goes on though the first who asked has gone");
    assert_eq!((answer.origin, answer.body), (Origin::Collapsed, Bytes::from_static(ORDER.as_bytes())));
    assert_eq!(api.script.asked(), 1);
}

#[tokio::test]
async fn the_connection_behind_is_exchanged_without_the_old_ones_answers() {
    let api = Published::new("cache_s = 3600").await;
    api.script.say(Ok(ORDER));
    let before = api.read("17").await.expect("an answer");
    let cause = Cause::hub("we move");
    api.apis
        .publish(&cause, contract(), publication("tryton", "cache_s = 3600"), setting::Origin::Api)
        .await
        .expect("taken");
    assert_eq!(api.apis.api(&contract()).map(|view| view.connection), Ok(Some("tryton".to_owned())));
    let other = r#"{"id":"17","number":"SO17","total":"1.00","currency":"EUR","status":"open"}"#;
    api.script.say(Ok(other));
    let after = api.read("17").await.expect("an answer");
    assert_eq!((after.origin, after.body), (Origin::Remote, Bytes::from_static(other.as_bytes())));
    assert_ne!(before.tag, after.tag);

    let refused = api.apis.publish(&cause, contract(), publication("wms", ""), setting::Origin::Api).await.unwrap_err();
    assert!(refused.to_string().contains("which does not implement `retail/erp-orders@1`"), "{refused}");
    assert_eq!(api.apis.api(&contract()).map(|view| view.connection), Ok(Some("tryton".to_owned())));
}

#[tokio::test]
async fn neither_a_wrong_input_nor_a_wrong_answer_passes() {
    let api = Published::new("").await;
    let error = api.read("").await.unwrap_err();
    assert!(matches!(&error, ApiError::Input { problem } if problem.contains("`/id`")), "{error:?}");
    assert_eq!(api.script.asked(), 0, "nothing was called");
    api.script.say(Ok(r#"{"id":"17"}"#));
    assert!(matches!(api.read("17").await, Err(ApiError::Failed { .. })));
    for operation in ["create_order", "find_order", "nothing"] {
        let error = api.apis.read(&contract(), operation, Input::Fields(Vec::new())).await.unwrap_err();
        assert!(matches!(error, ApiError::UnknownOperation { .. }), "{operation}: {error:?}");
    }
}

#[tokio::test]
async fn a_remote_that_is_left_alone_is_not_waited_for() {
    let api = Published::new("").await;
    // As many failures as open the breaker.
    for _ in 0..5 {
        api.script.say(failure(FailureKind::Retryable, "sap.busy"));
        assert!(api.read("17").await.is_err());
    }
    let said = api.read("17").await;
    assert!(matches!(said, Err(ApiError::Unavailable { retry_after_s: 5, .. })), "{said:?}");
    assert_eq!(api.script.asked(), 5, "the sixth was not tried");
}

#[tokio::test]
async fn a_read_that_waits_for_its_place_does_not_begin_once_its_plugin_is_revoked() {
    let api = Published::new("").await;
    api.script.let_go.forget_permits(1_000);
    let ids: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let mut reads = futures::future::join_all(ids.iter().map(|id| api.read(id)));
    for _ in 0..100 {
        assert!(futures::poll!(&mut reads).is_pending());
        tokio::task::yield_now().await;
    }
    let begun = api.script.asked();
    assert!((1..40).contains(&begun), "{begun} have begun, the others wait");
    api.apis.shared.installation.load().connections["sap"].plugin.live.set_revoked(true);
    let answers = reads.await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(ApiError::Unavailable { .. }))), "{answers:?}");
    assert_eq!(api.script.asked(), begun, "nothing has begun since");
}

#[tokio::test]
async fn publications_are_audited_survive_a_start_and_end() {
    let api = Published::new("deprecated = \"2026-06-02T00:00:00Z\"\nsunset = \"2026-07-01T00:00:00Z\"").await;
    let state = |apis: &Apis| apis.api(&contract()).map(|view| view.state);
    assert_eq!(state(&api.apis), Ok("active"));
    api.ground.clock.set("2026-06-03T00:00:00Z");
    let again = Published::open(&api.ground).await;
    assert_eq!(state(&again), Ok("deprecated"));
    again.set(&Cause::hub("declared"), contract(), again.list_one()).await.expect("as it was");
    let who = Who { actor: "ann".to_owned(), reason: "nobody asks".to_owned() };
    assert_eq!(again.withdraw(who, &contract()).await.map(|view| view.state), Ok("gone"));
    assert!(matches!(state(&again), Err(ApiError::Gone { .. })));
    assert!(again.list().is_empty());
    let filter = AuditFilter { subject: Some("api/".to_owned()), limit: 9, ..AuditFilter::default() };
    let lines = again.audit.list(&filter).await.expect("an audit log");
    let actions: Vec<_> = lines.iter().map(|line| (line.record.actor.as_str(), line.record.action.as_str())).collect();
    assert_eq!(actions, [("ann", "api.withdraw"), ("hub", "api.publish")]);

    api.ground.clock.set("2026-07-01T00:00:00Z");
    assert!(matches!(state(&api.apis), Err(ApiError::Gone { problem }) if problem.contains("its sunset was")));
}

#[tokio::test]
async fn a_publication_whose_connection_went_keeps_nobody_from_starting() {
    let api = Published::new("").await;
    let again = Published::open(&api.ground).await;
    let mut installation = Installation {
        contracts: Arc::clone(&again.shared.installation.load().contracts),
        documents: Arc::clone(&again.shared.installation.load().documents),
        ..Installation::default()
    };
    installation.connections.insert("tryton".to_owned(), Arc::new(connection("tryton", "retail/erp-orders@1")));
    again.shared.installation.store(Arc::new(installation));
    again.set(&Cause::hub("declared"), contract(), again.list_one()).await.expect("it is as it was");
    assert!(again.problems()[0].contains("cannot answer"), "{:?}", again.problems());
    let another = again.set(&Cause::hub("declared"), contract(), publication("wms", "")).await;
    assert!(matches!(another, Err(ApiError::Refused { .. })), "what is changed has to hold");
}

impl Apis {
    fn list_one(&self) -> Publication {
        self.published.load()[&contract()].publication.clone()
    }
}

//! The surface through real HTTP, before a hub that is only as clever as the tests need.

mod access;
mod audit;
mod bad_input;
mod connections;
mod good_input;
mod people;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, ready},
    stream::{self, BoxStream},
};
use http::{Request, Response};
use serde_json::Value;
use tokio::sync::{Notify, oneshot};

use super::{Options, ServeError, Transport, listen, serve};
use crate::{
    model::{
        audit::{AuditLine, AuditRecord},
        connection::{SecretRef, WebhookSource},
        event::Event,
        explanation::Explanation,
        id::{AcceptanceId, Digest, RunId},
        json::Json,
        lane::Lane,
        limits::Usage,
        pace::{ConnectionLimits, Pace, VendorLimits},
        pipeline::Standing,
        run::{RunEvent, RunState, RunSummary, RunView, StepState, StepView},
        timestamp::Timestamp,
    },
    net::client::send,
    ports::{
        exceptions::{Exception, ExceptionFilter},
        hub::{
            AcceptError, Acceptance, ActError, AuditFilter, ControlRequest, Decision, Delivered, Hub, MoveRequest,
            PipelineView, PluginView, Question, QuestionFilter, Readiness, RunFilter, WebhookError,
        },
        invoker::{Delivery, WebhookReply},
        promises::{Promise, PromiseFilter},
        traffic::{BreakerView, ConnectionView, LanesView},
    },
};

const KNOWN: &str = "retail.order.placed.v1";

/// Remembers what it was given.
#[derive(Default)]
struct Fake {
    events: Mutex<Vec<Event>>,
    deliveries: Mutex<Vec<Delivery>>,
    runs: Mutex<BTreeMap<RunId, RunSummary>>,
    people: people::People,
    door: access::Door,
    sick: bool,
    /// A stream of a run never ends by itself.
    endless: bool,
    /// Tells that a run is taken hold of, and waits before it is.
    held: Option<(Arc<Notify>, Arc<Notify>)>,
}

fn summary(event: &Event) -> RunSummary {
    let acceptance = event.acceptance();
    RunSummary {
        id: RunId::of(acceptance, "retail/orders"),
        pipeline: "retail/orders".into(),
        pipeline_version: "1.0.0".into(),
        key: event.subject.clone().unwrap_or_default(),
        state: RunState::Completed,
        step: Some("plan".into()),
        cause: Some("because".into()),
        due: Some(Timestamp::from_millis(1)),
        started: Timestamp::from_millis(0),
        updated: Timestamp::from_millis(1),
        acceptance,
        parent: None,
        out: 0,
        wide: false,
        halted: false,
        aside: None,
    }
}

fn view(summary: RunSummary) -> RunView {
    let step = StepView {
        path: "plan".into(),
        kind: "rule".into(),
        state: StepState::Done,
        plugin: None,
        tables: Vec::new(),
        operation: None,
        idempotency_key: None,
        started: Timestamp::from_millis(0),
        ended: None,
        attempts: 1,
        usage: Usage::default(),
        decision: None,
        reasons: Vec::new(),
        output: Some(Json::null()),
        failures: Vec::new(),
        log: Vec::new(),
    };
    let event = RunEvent {
        id: "1".into(),
        source: "/t".into(),
        event_type: KNOWN.into(),
        subject: None,
        accepted: Timestamp::from_millis(0),
    };
    RunView { summary, pipeline_digest: Digest::of(b""), event, steps: vec![step] }
}

impl Fake {
    fn take(&self, event: Event) -> Result<Acceptance, AcceptError> {
        match event.event_type.as_str() {
            KNOWN => {}
            "panic" => panic!("a defect"),
            "busy" => {
                return Err(AcceptError::Busy { lane: Lane::Standard, under_way: 9, limit: 8, retry_after_s: 2 });
            }
            "full" => return Err(AcceptError::Unavailable { reason: "the disk is full".into() }),
            _ => {
                let known = KNOWN.to_owned();
                return Err(AcceptError::UnknownType { event_type: event.event_type, known });
            }
        }
        if event.subject.as_deref() == Some("bad") {
            return Err(AcceptError::Data { id: event.id, problem: "`/total` is missing".into() });
        }
        let (id, run) = (event.acceptance(), summary(&event));
        let mut events = self.events.lock().unwrap();
        let first = events.iter().find(|known| known.acceptance() == id);
        if first.is_some_and(|first| first.digest() != event.digest()) {
            return Err(AcceptError::Contradiction { id: event.id, source_uri: event.source, first: id });
        }
        let duplicate = first.is_some();
        self.runs.lock().unwrap().insert(run.id, run.clone());
        if !duplicate {
            events.push(event);
        }
        Ok(Acceptance { id, duplicate, runs: vec![run.id] })
    }
}

impl Hub for Fake {
    fn access(&self) -> &dyn crate::ports::access::Access {
        &self.door
    }

    fn accept(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Acceptance>, AcceptError>> {
        async move {
            if events.iter().any(|event| event.id == "slow") {
                let _ = tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>()).await;
            }
            events.into_iter().map(|event| self.take(event)).collect()
        }
        .boxed()
    }

    fn webhook_source(&self, name: &str) -> Option<WebhookSource> {
        (name == "shop").then(|| WebhookSource {
            plugin: "acme/shop".parse().unwrap(),
            source: "/shop".into(),
            types: vec![KNOWN.into()],
            secret: SecretRef::Env("X".into()),
            config: Json::empty_object(),
            body_bytes_limit: 64,
        })
    }

    fn deliver(&self, source: &str, delivery: Delivery) -> BoxFuture<'_, Result<Delivered, WebhookError>> {
        let name = source.to_owned();
        self.deliveries.lock().unwrap().push(delivery.clone());
        let acceptance =
            |id: &str| Acceptance { id: AcceptanceId::of("/shop", id), duplicate: false, runs: Vec::new() };
        ready(match delivery.body.as_ref() {
            b"unsigned" => Err(WebhookError::Signature { problem: "header `x-sig` is missing".into() }),
            b"unreadable" => Err(WebhookError::Invalid { code: "shop.shape".into(), message: "no `id`".into() }),
            b"forbidden" => Err(WebhookError::TypeNotAllowed { name, event_type: "bank.booked".into() }),
            b"trap" => Err(WebhookError::Plugin { problem: "it trapped".into() }),
            b"full" => Err(AcceptError::Unavailable { reason: "the disk is full".into() }.into()),
            b"reply" => {
                let body = Bytes::from_static(b"<ok/>");
                let reply = Some(WebhookReply { status: 200, content_type: "text/xml".into(), body });
                Ok(Delivered { events: vec![acceptance("r")], reply })
            }
            b"redirect" => {
                let reply = WebhookReply { status: 302, content_type: "text/html".into(), body: Bytes::new() };
                Ok(Delivered { events: vec![acceptance("x")], reply: Some(reply) })
            }
            _ => Ok(Delivered { events: vec![acceptance("1")], reply: None }),
        })
        .boxed()
    }

    fn settle<'a>(&'a self, runs: &'a [RunId], _: Duration) -> BoxFuture<'a, Vec<RunSummary>> {
        let known = self.runs.lock().unwrap();
        ready(runs.iter().filter_map(|id| known.get(id).cloned()).collect()).boxed()
    }

    fn runs(&self, filter: &RunFilter) -> Vec<RunSummary> {
        let known = self.runs.lock().unwrap();
        let fits = |run: &&RunSummary| {
            filter.state.is_none_or(|state| run.state == state)
                && filter.key.as_ref().is_none_or(|key| run.key == *key)
                && filter.pipeline.as_ref().is_none_or(|pipeline| run.pipeline == *pipeline)
        };
        let mut found: Vec<RunSummary> = known.values().filter(fits).cloned().collect();
        found.sort_by_key(|run| std::cmp::Reverse(run.started));
        found.truncate(filter.limit);
        found
    }

    fn run(&self, id: RunId) -> BoxFuture<'_, Option<RunView>> {
        ready(self.runs.lock().unwrap().get(&id).cloned().map(view)).boxed()
    }

    fn watch(&self, id: RunId) -> BoxStream<'static, RunView> {
        let views = self.runs.lock().unwrap().get(&id).cloned().map(view);
        let twice = stream::iter(views.clone().into_iter().chain(views));
        if self.endless { twice.chain(stream::pending()).boxed() } else { twice.boxed() }
    }

    fn event(&self, id: RunId) -> BoxFuture<'_, Option<Event>> {
        let events = self.events.lock().unwrap();
        ready(events.iter().find(|event| summary(event).id == id).cloned()).boxed()
    }

    fn questions(&self, filter: &QuestionFilter) -> Vec<Question> {
        self.people.list(filter)
    }

    fn question<'a>(&'a self, run: RunId, step: &'a str) -> BoxFuture<'a, Option<Question>> {
        ready(self.people.get(run, step)).boxed()
    }

    fn decide<'a>(&'a self, run: RunId, step: &'a str, decision: Decision) -> BoxFuture<'a, Result<(), ActError>> {
        let known = self.runs.lock().unwrap().contains_key(&run);
        ready(if known { self.people.decide(run, step, &decision) } else { Err(ActError::UnknownRun { run }) }).boxed()
    }

    fn move_run(&self, run: RunId, request: MoveRequest) -> BoxFuture<'_, Result<(), ActError>> {
        let mut known = self.runs.lock().unwrap();
        ready(match known.get_mut(&run) {
            Some(_) if request.to != "2.0.0" => {
                Err(ActError::Conflict { problem: format!("there is no version {}", request.to) })
            }
            Some(summary) => {
                if !request.dry_run {
                    summary.pipeline_version = request.to;
                }
                Ok(())
            }
            None => Err(ActError::UnknownRun { run }),
        })
        .boxed()
    }

    fn control(&self, run: RunId, request: ControlRequest) -> BoxFuture<'_, Result<(), ActError>> {
        async move {
            if let Some((begun, goes_on)) = &self.held {
                begun.notify_one();
                goes_on.notified().await;
            }
            let mut known = self.runs.lock().unwrap();
            match known.get_mut(&run) {
                Some(summary) => self.people.control(summary, request),
                None => Err(ActError::UnknownRun { run }),
            }
        }
        .boxed()
    }

    fn plugins(&self) -> Vec<PluginView> {
        Vec::new()
    }

    fn pipelines(&self) -> Vec<PipelineView> {
        Vec::new()
    }

    fn connections(&self) -> Vec<ConnectionView> {
        vec![ConnectionView {
            name: "erp".into(),
            plugin: "acme/erp".parse().unwrap(),
            version: "1.0.0".into(),
            revision: 1,
            origin: "file",
            declared: Some("same"),
            hosts: vec!["https://erp.example".into()],
            limits: Pace::narrowest(&VendorLimits::default(), &ConnectionLimits::default()),
            breaker: BreakerView { state: "closed", since: None, until: None, last_failure: None },
            tokens: None,
            in_flight: 0,
            waiting: 0,
        }]
    }

    fn exceptions(&self, _: &ExceptionFilter) -> Vec<Exception> {
        vec![Exception {
            run: RunId::of(AcceptanceId::of("/s", "1"), "retail/orders"),
            pipeline: Some("retail/orders".into()),
            key: Some("7".into()),
            step: "picked".into(),
            name: "signal".into(),
            acceptance: AcceptanceId::of("/s", "2"),
            opened: Timestamp::default(),
            event: Event {
                id: "2".into(),
                source: "/s".into(),
                event_type: KNOWN.into(),
                subject: None,
                time: None,
                data_schema: None,
                data: Json::null(),
                extensions: BTreeMap::new(),
            },
        }]
    }

    fn promises(&self, _: &PromiseFilter) -> Vec<Promise> {
        vec![Promise {
            run: RunId::of(AcceptanceId::of("/s", "1"), "retail/orders"),
            pipeline: "retail/orders".into(),
            key: "7".into(),
            state: RunState::Waiting,
            step: Some("step".into()),
            started: Timestamp::from_millis(0),
            due: Timestamp::from_millis(1),
            standing: Standing::Late,
        }]
    }

    fn lanes(&self) -> LanesView {
        LanesView { under_way: 0, runs_limit: 1, lanes: Vec::new() }
    }

    fn gauge(&self) {}

    fn audit(&self, filter: AuditFilter) -> BoxFuture<'_, Result<Vec<AuditLine>, String>> {
        if self.sick {
            return ready(Err("the journal is damaged".to_owned())).boxed();
        }
        let line = |sequence: u64| AuditLine {
            sequence,
            record: AuditRecord {
                time: Timestamp::from_millis(0),
                actor: "operator:config".into(),
                action: "connection.set".into(),
                subject: "connection/erp".into(),
                before: None,
                after: Some(Digest::of(b"")),
                reason: "declared".into(),
            },
            batch: sequence,
            append: 0,
        };
        let lines = (1..=3).rev().map(line).filter(|line| filter.suits(line)).take(filter.limit);
        ready(Ok(lines.collect())).boxed()
    }

    fn explain(&self, key: String) -> BoxFuture<'_, Result<Explanation, String>> {
        ready(Ok(Explanation { key, runs: Vec::new(), notes: Vec::new() })).boxed()
    }

    fn readiness(&self) -> Readiness {
        let store = if self.sick { "free some space on the disk" } else { "ok" };
        Readiness { ready: !self.sick, checks: vec![("store".into(), store.into())] }
    }
}

/// A server in front of a fake, stopped when dropped.
struct Served {
    url: String,
    hub: Arc<Fake>,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<tokio::task::JoinHandle<Result<(), ServeError>>>,
}

async fn start() -> Served {
    start_with(Fake::default(), Options::default()).await
}

async fn start_with(hub: Fake, options: Options) -> Served {
    let listener = listen("127.0.0.1:0".parse().unwrap(), &Transport::Plain).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let hub = Arc::new(hub);
    let (stop, stopped) = oneshot::channel();
    let serving = serve(listener, Arc::clone(&hub) as Arc<dyn Hub>, options, async move {
        // A dropped sender stops as well.
        let _ = stopped.await;
    });
    Served { url, hub, stop: Some(stop), ended: Some(tokio::spawn(serving)) }
}

impl Served {
    async fn get(&self, path: &str) -> Response<Bytes> {
        self.ask("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Bytes> {
        self.ask("POST", path, headers, body).await
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Bytes> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(request.body(body.into()).unwrap()).await.unwrap()
    }

    /// Sends one structured event.
    async fn event(&self, event: &Value) -> Response<Bytes> {
        self.post("/v1/events", &STRUCTURED, event.to_string()).await
    }
}

const STRUCTURED: [(&str, &str); 1] = [("content-type", "application/cloudevents+json")];
const BATCH: [(&str, &str); 1] = [("content-type", "application/cloudevents-batch+json")];

fn json(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap_or_else(|error| panic!("{error}: {response:?}"))
}

fn order(id: &str) -> Value {
    serde_json::json!({"specversion": "1.0", "id": id, "source": "/t", "type": KNOWN, "data": {"total": "1.10"}})
}

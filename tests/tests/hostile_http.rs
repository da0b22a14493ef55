//! Guests that misuse outgoing HTTP: everything passes the call's egress, and what it says is all that they see.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a helper that fails fails its test")]

use std::{
    path::Path,
    sync::{Arc, LazyLock, Mutex},
};

use bytes::Bytes;
use crossdock::{
    model::{
        limits::{Limit, Limits},
        log::LogLevel,
    },
    ports::{
        egress::{Egress, EgressError},
        invoker::{Authority, CallError, Completed, Invocation, Invoker, Work},
    },
    wasm::Sandbox,
};
use crossdock_tests::calls::{self, invocation, load, operation, output};
use futures::future::BoxFuture;
use serde_json::{Value, json};

static SANDBOX: LazyLock<Sandbox> =
    LazyLock::new(|| Sandbox::new(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")).unwrap());

/// Calls a read operation of the connector guest.
async fn connect(name: &str, input: Value, authority: Authority) -> Completed {
    connect_within(name, input, authority, Limits::DEFAULT).await
}

async fn connect_within(name: &str, input: Value, authority: Authority, limits: Limits) -> Completed {
    let component = load(&SANDBOX, "connector", None).await;
    SANDBOX.invoke(Invocation { authority, limits, ..invocation(component, operation(name, &input, true)) }).await
}

/// An egress that records what reaches it, and answers as it is told.
struct Recorder {
    sent: Mutex<Vec<(http::Request<Bytes>, bool)>>,
    answer: Result<(u16, &'static str), EgressError>,
}

impl Recorder {
    fn new(answer: Result<(u16, &'static str), EgressError>) -> Arc<Self> {
        Arc::new(Self { sent: Mutex::default(), answer })
    }
}

impl Egress for Recorder {
    fn send(
        &self,
        request: http::Request<Bytes>,
        read_only: bool,
    ) -> BoxFuture<'_, Result<http::Response<Bytes>, EgressError>> {
        self.sent.lock().unwrap().push((request, read_only));
        let answer = self.answer.clone().map(|(status, body)| {
            http::Response::builder().status(status).body(Bytes::from_static(body.as_bytes())).unwrap()
        });
        Box::pin(async move { answer })
    }
}

fn through(egress: &Arc<Recorder>) -> Authority {
    Authority { egress: Some(Arc::clone(egress) as Arc<dyn Egress>), ..Authority::default() }
}

fn request() -> Value {
    json!({"host": "erp.example:8443", "path": "/orders?id=1", "headers": {"x-kind": "a"}, "body": "x".repeat(9000)})
}

#[tokio::test]
async fn a_request_reaches_the_egress_whole_and_its_answer_the_guest() {
    let egress = Recorder::new(Ok((201, "made")));
    let done = connect("http", request(), through(&egress)).await;
    assert_eq!(output(&done), json!({"status": 201, "body": "made"}));
    let sent = egress.sent.lock().unwrap();
    let (request, read_only) = &sent[0];
    assert_eq!(request.uri(), "https://erp.example:8443/orders?id=1");
    assert_eq!((request.method(), request.body().len(), *read_only), (&http::Method::POST, 9000, true));
    assert_eq!(request.headers().keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["x-kind"]);
}

/// An egress that never answers, and records whether it was asked for a read.
#[derive(Default)]
struct Silence(Mutex<Vec<bool>>);

impl Egress for Silence {
    fn send(
        &self,
        _: http::Request<Bytes>,
        read_only: bool,
    ) -> BoxFuture<'_, Result<http::Response<Bytes>, EgressError>> {
        self.0.lock().unwrap().push(read_only);
        Box::pin(futures::future::pending())
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_meets_the_guests_patience_or_the_deadline() {
    let silence = Arc::new(Silence::default());
    let authority = || Authority { egress: Some(Arc::clone(&silence) as Arc<dyn Egress>), ..Authority::default() };
    let mut asked = request();
    asked["patience_ms"] = json!(20);
    let done = connect("http", asked, authority()).await;
    assert_eq!(output(&done)["error"], "ErrorCode::HttpResponseTimeout");

    let component = load(&SANDBOX, "connector", None).await;
    let limits = Limits { deadline_ms: 200, ..Limits::DEFAULT };
    let call = invocation(component, operation("http", &request(), false));
    let done = SANDBOX.invoke(Invocation { limits, authority: authority(), ..call }).await;
    let Err(CallError::Limit(exceeded)) = done.result else { panic!("{:?}", done.result) };
    assert_eq!(exceeded.limit, Limit::Deadline);
    assert_eq!(*silence.0.lock().unwrap(), [true, false], "a write is not taken for a read");
}

#[tokio::test]
async fn without_an_egress_no_request_leaves_and_the_log_says_why() {
    let done = connect("http", request(), Authority::default()).await;
    assert_eq!(output(&done)["error"], "ErrorCode::HttpRequestDenied");
    let told = done.log.iter().any(|line| {
        line.level == LogLevel::Warn
            && line.message.contains("https://erp.example:8443/orders: this call has no outbound")
    });
    assert!(told, "{:?}", done.log);
}

#[tokio::test]
async fn a_guest_can_tell_apart_why_there_is_no_answer() {
    let reason = || "because".to_owned();
    let cases = [
        (EgressError::Refused { reason: reason() }, "ErrorCode::HttpRequestDenied"),
        (EgressError::Authentication { reason: reason() }, "ErrorCode::HttpRequestDenied"),
        (EgressError::Connect { reason: reason() }, "ErrorCode::ConnectionRefused"),
        (EgressError::Timeout { limit_ms: 5 }, "ErrorCode::ConnectionReadTimeout"),
        (EgressError::Broken { reason: reason() }, "ErrorCode::ConnectionTerminated"),
        (EgressError::TooLarge { what: "response body", limit_bytes: 9 }, "ErrorCode::HttpResponseBodySize(Some(9))"),
        (EgressError::TooLarge { what: "request body", limit_bytes: 9 }, "ErrorCode::HttpRequestBodySize(Some(9))"),
    ];
    for (error, code) in cases {
        let done = connect("http", request(), through(&Recorder::new(Err(error.clone())))).await;
        assert_eq!(output(&done)["error"], code, "{error}");
        assert!(done.log.iter().any(|line| line.message.ends_with(&error.to_string())), "{:?}", done.log);
    }
}

#[tokio::test]
async fn a_redirect_is_what_the_egress_makes_of_it() {
    // The egress follows redirects, each checked. One that it does not follow is an answer like any other, and a guest
    // that goes there by itself meets the same egress again.
    let egress = Recorder::new(Ok((302, "")));
    let done = connect("http", request(), through(&egress)).await;
    assert_eq!(output(&done)["status"], 302);
    assert_eq!(egress.sent.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_guest_cannot_set_the_headers_that_prove_who_we_are() {
    for name in ["authorization", "Authorization", "cookie", "proxy-authorization", "host", "x-forwarded-for"] {
        let egress = Recorder::new(Ok((200, "")));
        let mut asked = request();
        asked["headers"] = json!({ name: "stolen" });
        let done = connect("http", asked, through(&egress)).await;
        assert_eq!(output(&done)["header"], "HeaderError::Forbidden", "{name}");
        assert!(egress.sent.lock().unwrap().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn requests_are_counted() {
    let egress = Recorder::new(Ok((200, "")));
    let limits = Limits { http_requests: 2, ..Limits::DEFAULT };
    let done = connect_within("many", request(), through(&egress), limits).await;
    assert_eq!(output(&done)[2]["error"], "ErrorCode::ConnectionLimitReached");
    assert_eq!(egress.sent.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_request_body_that_is_too_large_is_refused() {
    let egress = Recorder::new(Ok((200, "")));
    let mut asked = request();
    asked["body"] = json!("x".repeat(1000 << 10));
    let done = connect("http", asked.clone(), through(&egress)).await;
    assert_eq!(output(&done)["status"], 200, "{:?}", done.log);

    asked["body"] = json!("x".repeat(1025 << 10));
    let limits = Limits { input_bytes: 2 << 20, ..Limits::DEFAULT };
    let done = connect_within("http", asked, through(&egress), limits).await;
    assert_eq!(output(&done)["error"], "ErrorCode::HttpRequestBodySize(Some(1048576))");
    assert_eq!(egress.sent.lock().unwrap().len(), 1);
}

/// The SDK hands over what fits before the request sets out, and the rest while it is under way.
#[tokio::test]
async fn a_body_of_any_size_that_the_sdk_sends_arrives_whole() {
    let component = load(&SANDBOX, "effects", None).await;
    for bytes in [0, 1, 4_000, 65_500, 65_536, 65_537, 200_000, 1_000_000] {
        let egress = Recorder::new(Ok((200, "{}")));
        let document = json!({ "ref": "1", "filler": "x".repeat(bytes) });
        let mut work = operation("put", &document, false);
        if let Work::Invoke { step, .. } = &mut work {
            step.config = calls::json(&json!({ "base_url": "http://target.example" }));
        }
        let call = Invocation { authority: through(&egress), ..invocation(component, work) };
        let done = SANDBOX.invoke(call).await;
        assert_eq!(output(&done), json!({}), "{bytes}");
        let sent = egress.sent.lock().unwrap();
        let arrived: Value = serde_json::from_slice(sent[0].0.body()).unwrap();
        assert!(sent.len() == 1 && arrived == document, "{bytes}");
    }
}

#[tokio::test]
async fn there_are_no_sockets_beside_http() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let done = connect("socket", json!({ "address": address }), through(&Recorder::new(Ok((200, ""))))).await;
    assert_eq!(output(&done), json!("PermissionDenied"));
}

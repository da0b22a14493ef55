//! One HTTP server of the sandbox: reads a request whole, asks its system, records the call, answers.
//!
//! A system may also tell it to cut the connection, which is how a reply gets lost after its effect has happened.

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Query, Request, State, connect_info::Connected},
    serve::{IncomingStream, Listener},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::lock;

/// Larger requests are refused with 413.
const BODY_BYTES_LIMIT: usize = 1024 * 1024;
/// Older calls are forgotten.
const CALLS_KEPT_MAX: usize = 10_000;
/// A client that does not finish within this time does not keep the sandbox from stopping.
const STOP_WAIT: Duration = Duration::from_secs(2);
/// The headers that a record of a call keeps. `Authorization` is kept by its scheme alone.
const HEADERS_KEPT: [&str; 9] = [
    "accept",
    "authorization",
    "content-type",
    "cookie",
    "idempotency-key",
    "if-match",
    "sap-mock-scenario",
    "user-agent",
    "x-csrf-token",
];

/// A system behind a server: decides what is answered, performs no I/O.
pub(super) trait System: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: &Received) -> Answer;
}

/// A request, read whole.
pub(super) struct Received {
    pub(super) method: Method,
    /// Percent-decoded.
    pub(super) path: String,
    /// Decoded pairs, in their order.
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Received {
    /// A header's text; none if absent or not text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A query parameter's first value.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What becomes of a request.
pub(super) enum Answer {
    /// A response.
    Reply(Response<Bytes>),
    /// The connection is closed without a byte of an answer.
    Cut,
}

impl From<Response<Bytes>> for Answer {
    fn from(response: Response<Bytes>) -> Self {
        Self::Reply(response)
    }
}

/// A JSON response.
pub(super) fn json(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// A call that a server of the sandbox received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its method.
    pub method: String,
    /// Its path, percent-decoded, without the query.
    pub path: String,
    /// Its query parameters, decoded.
    pub query: Vec<(String, String)>,
    /// Those headers that matter to an assertion, names in lower case; of `authorization` only the scheme.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
    /// What it was answered with; none if the connection was cut instead.
    pub status: Option<u16>,
}

impl Call {
    /// A kept header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// A running server.
pub(super) struct Server {
    address: SocketAddr,
    calls: Arc<Calls>,
    held: watch::Sender<bool>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    /// Binds a free port of 127.0.0.1 and serves `system` on it.
    pub(super) async fn start(system: Arc<dyn System>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let calls = Arc::new(Calls::default());
        let stop = CancellationToken::new();
        let (held, holding) = watch::channel(false);
        let desk = Desk { system, calls: Arc::clone(&calls), holding };
        let router = Router::new().fallback(serve).with_state(desk);
        let served = axum::serve(Door(listener), router.into_make_service_with_connect_info::<Scissors>())
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        let task = tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::warn!(%error, "a sandbox server ended early");
            }
        });
        Ok(Self { address, calls, held, stop, task })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        lock(&self.calls.0).iter().cloned().collect()
    }

    /// Whether answers to writes are kept back, after the write was done.
    pub(super) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Takes no new request, lets those under way finish, then ends.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        if timeout(STOP_WAIT, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[derive(Clone)]
struct Desk {
    system: Arc<dyn System>,
    calls: Arc<Calls>,
    holding: watch::Receiver<bool>,
}

#[derive(Default)]
struct Calls(Mutex<VecDeque<Call>>);

impl Calls {
    fn record(&self, request: &Received, status: Option<StatusCode>) {
        let headers = HEADERS_KEPT.iter().filter_map(|name| {
            let value = request.header(name)?;
            let value = if *name == "authorization" { value.split(' ').next().unwrap_or_default() } else { value };
            Some(((*name).to_owned(), value.to_owned()))
        });
        let call = Call {
            method: request.method.to_string(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: headers.collect(),
            body: request.body.clone(),
            status: status.map(|status| status.as_u16()),
        };
        let mut calls = lock(&self.0);
        if calls.len() == CALLS_KEPT_MAX {
            calls.pop_front();
        }
        calls.push_back(call);
    }
}

async fn serve(
    State(desk): State<Desk>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_LIMIT).await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let Ok(Query(query)) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri) else {
        return plain(StatusCode::BAD_REQUEST);
    };
    let Some(path) = percent_decoded(parts.uri.path()) else {
        return plain(StatusCode::BAD_REQUEST);
    };
    let request = Received { method: parts.method, path, query, headers: parts.headers, body };
    match desk.system.answer(&request) {
        Answer::Reply(response) => {
            desk.calls.record(&request, Some(response.status()));
            if !request.method.is_safe() {
                // A server that is gone holds nothing.
                let _ = desk.holding.clone().wait_for(|held| !held).await;
            }
            response.map(Body::from)
        }
        Answer::Cut => {
            desk.calls.record(&request, None);
            scissors.cut();
            plain(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let (high, low) = (bytes.next()?, bytes.next()?);
            u8::from_str_radix(std::str::from_utf8(&[high, low]).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(decoded).ok()
}

/// Cuts the connection that it belongs to: from then on nothing is written to it.
#[derive(Clone, Default)]
struct Scissors(Arc<AtomicBool>);

impl Scissors {
    fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Connected<IncomingStream<'_, Door>> for Scissors {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().scissors.clone()
    }
}

/// Accepts connections that can be cut.
struct Door(TcpListener);

impl Listener for Door {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        (Wire { stream, scissors: Scissors::default() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection that can be cut.
struct Wire {
    stream: TcpStream,
    scissors: Scissors,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.scissors.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.scissors.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

//! What holds for every request: it names this machine, ends in time, is counted, and every error is a problem.

use std::any::Any;

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderName, StatusCode, header, uri::Authority};
use tokio::time::timeout;

use super::Surface;
use crate::{
    net::problem::{Code, Problem},
    policy::token::redact,
};

/// What a problem keeps of the answer that it is made of: which methods there are, and that an API ends.
const KEPT: [HeaderName; 4] =
    [header::ALLOW, header::LINK, HeaderName::from_static("deprecation"), HeaderName::from_static("sunset")];

/// Answers what no route takes.
pub(super) async fn no_route() -> Problem {
    Problem::new(Code::RouteUnknown, "there is nothing at this path")
}

/// Answers a panic of a handler. What it says stays in the log.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over")]
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(message, "a request met a defect of the hub");
    Problem::new(Code::Internal, "the request met a defect of the hub").into_response()
}

/// Refuses requests under another name than this machine's own or one that an operator gave the hub: a web page somewhere may have its name resolve to
/// loopback, and would reach the hub through its reader's browser.
pub(super) async fn for_this_host(State(surface): State<Surface>, request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let named = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        _ => None,
    };
    let is_ours = named.as_ref().is_some_and(|host| {
        let name = host.host().to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        matches!(name, "localhost" | "127.0.0.1" | "[::1]")
            || surface.options.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    });
    // An absolute target would speak of another host than the header.
    let target_is_ours = request.uri().authority().is_none_or(|target| Some(target) == named.as_ref());
    if is_ours && target_is_ours {
        return next.run(request).await;
    }
    let asked = named.map_or_else(|| "no single name".to_owned(), |host| format!("`{}`", host.host()));
    Problem::new(Code::HostNotAllowed, format!("the request is for {asked}")).into_response()
}

/// Bounds the work on a request. A stream's answer begins within it, and goes on after it.
pub(super) async fn within_time(State(surface): State<Surface>, request: Request, next: Next) -> Response {
    let limit = surface.options.request_timeout;
    timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
        let detail = format!("there is no answer after {} ms", limit.as_millis());
        Problem::new(Code::RequestTimeout, detail).into_response()
    })
}

/// Counts the request, makes a problem of whatever refusal is not one yet, and names the path in it.
pub(super) async fn account(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    // People paste what they have: a path is not where a secret belongs, and not how it gets into a log.
    let path = redact(request.uri().path()).into_owned();
    let response = next.run(request).await;
    let status = response.status();
    tracing::debug!(%method, path, %status, "answered");
    metrics::counter!("crossdock_http_requests_total", "route" => route, "status" => status.as_str().to_owned())
        .increment(1);
    if status.is_client_error() || status.is_server_error() { as_problem(response, path) } else { response }
}

fn as_problem(mut response: Response, path: String) -> Response {
    let known = response.extensions_mut().remove::<Box<Problem>>();
    let mut problem = known.map_or_else(|| unnamed(response.status()), |problem| *problem);
    problem.instance = Some(path);
    problem.detail = redact(&problem.detail).into_owned();
    let mut named = problem.into_response();
    for (name, value) in response.headers() {
        if KEPT.contains(name) {
            named.headers_mut().insert(name.clone(), value.clone());
        }
    }
    named
}

/// The problem behind a refusal of the framework.
fn unnamed(status: StatusCode) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::new(Code::RouteUnknown, "there is nothing at this path"),
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(Code::MethodNotAllowed, "the path does not take this method"),
        status if status.is_client_error() => {
            Problem::new(Code::RequestInvalid, format!("the request cannot be read: {status}"))
        }
        status => Problem::new(Code::Internal, format!("the request met a defect of the hub: {status}")),
    }
}

//! Outgoing HTTP of a guest: every request goes through the call's egress, or nowhere. This file decides nothing about
//! hosts; it refuses where there is no egress, counts, and says to the guest what became of its request.

use std::sync::{Arc, LazyLock};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks,
};

use super::ledger::Ledger;
use crate::ports::egress::{Egress, EgressError};

/// Largest body of one request, bytes: what a document may have.
const REQUEST_BODY_BYTES_LIMIT: usize = 1 << 20;

/// What a body that nobody reads yet may hold, bytes: a guest can open many.
const BODY_CHUNK_BYTES: usize = 64 << 10;

/// Headers that prove who we are or route the request: the host sets them after the request has left the guest.
const HOST_HEADERS: [&str; 5] = ["authorization", "cookie", "cookie2", "forwarded", "te"];

/// Prefixes of more such headers.
const HOST_HEADER_PREFIXES: [&str; 2] = ["proxy-", "x-forwarded-"];

type Exchange = (http::Response<WasiBody>, Completion);
type Completion = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// The way out of one call.
pub(super) struct Outgoing {
    egress: Option<Arc<dyn Egress>>,
    read_only: bool,
    requests: u32,
    requests_limit: u32,
    ledger: Ledger,
    is_forbidden: ForbiddenHeaderFilter,
}

impl Outgoing {
    /// The way out through an egress; none: every request is refused.
    pub(super) fn new(egress: Option<Arc<dyn Egress>>, read_only: bool, requests_limit: u32, ledger: Ledger) -> Self {
        Self { egress, read_only, requests: 0, requests_limit, ledger, is_forbidden: filter() }
    }
}

/// The filter, made once: WASI asks for it with every set of headers.
fn filter() -> ForbiddenHeaderFilter {
    static FILTER: LazyLock<ForbiddenHeaderFilter> = LazyLock::new(|| Arc::new(is_host_header));
    Arc::clone(&FILTER)
}

fn is_host_header(name: &http::HeaderName) -> bool {
    DEFAULT_FORBIDDEN_HEADERS.contains(name)
        || HOST_HEADERS.contains(&name.as_str())
        || HOST_HEADER_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

impl WasiHttpHooks for Outgoing {
    fn is_forbidden_header(&mut self, name: &http::HeaderName) -> bool {
        is_host_header(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::clone(&self.is_forbidden)
    }

    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Completion,
    ) -> Box<dyn Future<Output = Result<Exchange, Error>> + Send> {
        self.requests = self.requests.saturating_add(1);
        let over_limit = self.requests > self.requests_limit;
        let (requests_limit, read_only) = (self.requests_limit, self.read_only);
        let egress = self.egress.clone();
        let ledger = self.ledger.clone();
        Box::new(async move {
            let (parts, body) = request.into_parts();
            // The body is read to its end even if the request is refused: a guest that writes to a closed stream
            // sees that instead of the refusal, and JavaScript's glue traps.
            let is_sent = egress.is_some() && !over_limit;
            let body = read_body(body, if is_sent { REQUEST_BODY_BYTES_LIMIT } else { 0 }).await;
            let target = format!("{} {}", parts.method, shown(&parts.uri));
            if over_limit {
                ledger.write_hub(format!(
                    "request refused: {target}: a call may make {requests_limit} requests; make fewer, or raise \
                     `limits.http_requests`"
                ));
                return Err(Error::ConnectionLimitReached);
            }
            let Some(egress) = egress else {
                ledger.write_hub(format!(
                    "request refused: {target}: this call has no outbound HTTP; declare `capabilities.http` in the \
                     manifest of a connector, and have it granted"
                ));
                return Err(Error::HttpRequestDenied);
            };
            let body = body.inspect_err(|error| ledger.write_hub(format!("request not sent: {target}: {error}")))?;
            let mut request = http::Request::from_parts(parts, body);
            // Both follow from what is really sent.
            request.headers_mut().remove(http::header::HOST);
            request.headers_mut().remove(http::header::CONTENT_LENGTH);
            let response = exchange(egress.as_ref(), request, read_only, options).await;
            let response =
                response.map_err(|failed| failed.told(&ledger, &target))?.map(|body| Full::new(body).map_err(never));
            Ok((response.map(|body| body.boxed_unsync()), Box::new(async { Ok(()) }) as Completion))
        })
    }
}

fn never(never: std::convert::Infallible) -> Error {
    match never {}
}

/// The target as the log shows it: without a query, which may hold personal data.
fn shown(uri: &http::Uri) -> String {
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default(), uri.path())
}

/// Reads a body to its end, keeping no more than the limit.
async fn read_body(mut body: WasiBody, bytes_limit: usize) -> Result<Bytes, Error> {
    let mut read = BytesMut::new();
    let mut is_over = false;
    while let Some(frame) = body.frame().await {
        // Trailers are not sent on: HTTP/1.1 peers rarely take them.
        let Ok(data) = frame?.into_data() else { continue };
        is_over |= read.len().saturating_add(data.len()) > bytes_limit;
        if !is_over {
            read.extend_from_slice(&data);
        }
    }
    if is_over { Err(Error::HttpRequestBodySize(Some(bytes_limit as u64))) } else { Ok(read.freeze()) }
}

/// Why there is no response.
enum NoResponse {
    Egress(EgressError),
    /// The guest's own bound of the wait.
    GuestTimeout,
}

async fn exchange(
    egress: &dyn Egress,
    request: http::Request<Bytes>,
    read_only: bool,
    options: Option<RequestOptions>,
) -> Result<http::Response<Bytes>, NoResponse> {
    let patience = options.and_then(|options| {
        let first_byte = options.first_byte_timeout?;
        Some(options.connect_timeout.unwrap_or_default().saturating_add(first_byte))
    });
    let sending = egress.send(request, read_only);
    let sent = match patience {
        Some(patience) => tokio::time::timeout(patience, sending).await.map_err(|_| NoResponse::GuestTimeout)?,
        None => sending.await,
    };
    sent.map_err(NoResponse::Egress)
}

impl NoResponse {
    /// Tells the run's log why, and the guest what it can act on: each of these is another error code.
    fn told(self, ledger: &Ledger, target: &str) -> Error {
        let error = match self {
            Self::GuestTimeout => return Error::HttpResponseTimeout,
            Self::Egress(error) => error,
        };
        match &error {
            EgressError::Refused { .. } => ledger.write_hub(format!("request refused: {target}: {error}")),
            _ => ledger.write_hub(format!("request failed: {target}: {error}")),
        }
        match error {
            EgressError::Refused { .. } | EgressError::Authentication { .. } => Error::HttpRequestDenied,
            EgressError::Connect { .. } => Error::ConnectionRefused,
            EgressError::Timeout { .. } => Error::ConnectionReadTimeout,
            EgressError::Broken { .. } => Error::ConnectionTerminated,
            EgressError::TooLarge { what: "request body", limit_bytes } => {
                Error::HttpRequestBodySize(Some(limit_bytes))
            }
            EgressError::TooLarge { limit_bytes, .. } => Error::HttpResponseBodySize(Some(limit_bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_host_header;

    #[test]
    fn headers_that_prove_who_we_are_are_the_hosts() {
        for name in ["authorization", "cookie", "proxy-authorization", "proxy-anything", "host", "x-forwarded-for"] {
            assert!(is_host_header(&http::HeaderName::from_static(name)), "{name}");
        }
        for name in ["accept", "content-type", "if-match", "x-csrf-token", "idempotency-key"] {
            assert!(!is_host_header(&http::HeaderName::from_static(name)), "{name}");
        }
    }
}

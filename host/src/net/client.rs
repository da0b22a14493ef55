//! A small HTTP client for the command line and the demo: JSON to and from a hub, and a stream of its events.
//!
//! To whatever address it is given; connectors go through [`egress`](super::egress) instead. A token goes to loopback or
//! through TLS, and nowhere else.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client as Hyper,
        connect::{Connect, HttpConnector},
    },
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::tls::{self, TlsError};
use crate::ports::{review::Mistake, secrets::Secret};

/// Longest wait for an answer; above the longest `?wait=` of the hub.
const ANSWER_LIMIT: Duration = Duration::from_secs(90);
/// Largest answer, bytes.
const ANSWER_BYTES_LIMIT: usize = 64 << 20;
/// Largest line of a stream, bytes.
const LINE_BYTES_LIMIT: usize = 16 << 20;

/// A client of one hub. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    base: String,
    hyper: Hyper<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// The `Authorization` header, marked as sensitive so that nothing prints it.
    authorization: Option<HeaderValue>,
}

/// What a client shows a hub, and whom it trusts.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The token; absent: none is sent.
    pub token: Option<Secret>,
    /// A PEM file of authorities that may vouch for the hub, beside those that everybody trusts.
    pub authorities: Option<PathBuf>,
}

/// What the hub says is wrong (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// Stable and for programs.
    pub code: String,
    /// The kind of problem.
    pub title: String,
    /// What happened.
    pub detail: String,
    /// What to do about it.
    pub advice: String,
    /// Of a text that is refused: each mistake, and where.
    pub mistakes: Vec<Mistake>,
    /// Of what is in use: `of` what, and its `impact`.
    pub dependants: Vec<Value>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.detail.is_empty() { &self.title } else { &self.detail })?;
        if !self.advice.is_empty() {
            write!(f, "; {}", self.advice)?;
        }
        if self.code.is_empty() { Ok(()) } else { write!(f, " [{}]", self.code) }
    }
}

/// Why a hub gave no answer, or not a good one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is not one.
    #[error("`{url}` is not a hub's address such as `http://127.0.0.1:7420`")]
    Address {
        /// As given.
        url: String,
    },
    /// The token would be sent in the clear.
    #[error("a token is not sent to `{url}` in the clear: use `https://`, or reach the hub on 127.0.0.1")]
    Clear {
        /// The address.
        url: String,
    },
    /// The token cannot be sent.
    #[error("the token holds characters that no token has: give it as it was printed, on one line")]
    Token,
    /// The authorities cannot be used.
    #[error(transparent)]
    Authorities(#[from] TlsError),
    /// Nobody answers.
    #[error("no hub answers at `{url}`: start one with `crossdock serve --data DIR`, or name it with `--hub`")]
    Unreachable {
        /// The address.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The hub refuses.
    #[error("the hub answers {status}: {problem}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// What it says.
        problem: Problem,
    },
    /// The answer is not what was expected.
    #[error("the hub's answer cannot be understood; is it of another release?")]
    Answer {
        /// Why.
        source: serde_json::Error,
    },
}

impl Client {
    /// A client of the hub at an address, which shows nothing.
    ///
    /// # Errors
    /// If the address is not one.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        Self::with(url, &Credentials::default())
    }

    /// A client of the hub at an address.
    ///
    /// # Errors
    /// If the address is not one, or the credentials cannot be used there.
    pub fn with(url: &str, credentials: &Credentials) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address { url: url.to_owned() };
        let parsed: Uri = url.parse().map_err(|_| wrong())?;
        let host = parsed.host().ok_or_else(wrong)?;
        let clear = match parsed.scheme_str() {
            Some("http") => true,
            Some("https") => false,
            _ => return Err(wrong()),
        };
        if clear && credentials.token.is_some() && !is_loopback(host) {
            return Err(ClientError::Clear { url: url.to_owned() });
        }
        let authorization = credentials.token.as_ref().map(|token| {
            let value = [b"Bearer ", token.expose()].concat();
            let mut value = HeaderValue::from_bytes(&value).map_err(|_| ClientError::Token)?;
            value.set_sensitive(true);
            Ok::<_, ClientError>(value)
        });
        Ok(Self {
            base: url.trim_end_matches('/').to_owned(),
            hyper: secured(credentials.authorities.as_deref())?,
            authorization: authorization.transpose()?,
        })
    }

    /// Gets a document.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.get_with(path, &[]).await
    }

    /// Gets a document with query parameters.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn get_with<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T, ClientError> {
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let separator = if query.is_empty() { "" } else { "?" };
        let path = format!("{path}{separator}{}", query.join("&"));
        self.ask(Method::GET, &path, None, Bytes::new()).await
    }

    /// Gets a text, such as a hub's metrics.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let body = self.exchange(Method::GET, path, None, Bytes::new()).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Posts a document.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<T, ClientError> {
        self.ask(Method::POST, path, Some(content_type), body.into()).await
    }

    /// The data of each server-sent event, until the hub ends the stream.
    ///
    /// # Errors
    /// As [`ClientError`] says; in the stream too, if it breaks.
    pub async fn stream(&self, path: &str) -> Result<BoxStream<'static, Result<String, ClientError>>, ClientError> {
        let request = self.request(Method::GET, path, None, Bytes::new())?;
        let url = self.base.clone();
        let lost = move |source: Box<dyn std::error::Error + Send + Sync>| ClientError::Unreachable {
            url: url.clone(),
            source,
        };
        let response = self.hyper.request(request.map(Full::new)).await.map_err(|error| lost(error.into()))?;
        if !response.status().is_success() {
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_LIMIT).collect().await.map_err(&lost)?;
            return Err(refused(status, &body.to_bytes()));
        }
        let chunks = response.into_body().into_data_stream();
        let state = (chunks, Vec::<u8>::new(), lost);
        Ok(futures::stream::unfold(Some(state), |state| async move {
            let (mut chunks, mut buffer, lost) = state?;
            loop {
                if let Some(data) = next_event(&mut buffer) {
                    return Some((Ok(data), Some((chunks, buffer, lost))));
                }
                match chunks.next().await {
                    Some(Ok(chunk)) if buffer.len() + chunk.len() <= LINE_BYTES_LIMIT => {
                        buffer.extend_from_slice(&chunk)
                    }
                    Some(Ok(_)) => return Some((Err(lost("an event is too large".into())), None)),
                    Some(Err(error)) => return Some((Err(lost(error.into())), None)),
                    None => return None,
                }
            }
        })
        .boxed())
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let body = self.exchange(method, path, content_type, body).await?;
        serde_json::from_slice(&body).map_err(|source| ClientError::Answer { source })
    }

    /// The body of a good answer.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let request = self.request(method, path, content_type, body)?;
        let response = exchange(&self.hyper, request)
            .await
            .map_err(|source| ClientError::Unreachable { url: self.base.clone(), source })?;
        if !response.status().is_success() {
            return Err(refused(response.status(), response.body()));
        }
        Ok(response.into_body())
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Request<Bytes>, ClientError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        request.body(body).map_err(|_| ClientError::Address { url: format!("{}{path}", self.base) })
    }
}

/// Sends one request and answers with the whole response. For senders that are not a hub's client, such as the
/// sandbox's shop.
///
/// # Errors
/// If there is no answer.
pub async fn send(request: Request<Bytes>) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    exchange(&hyper(), request).await
}

fn hyper() -> Hyper<HttpConnector, Full<Bytes>> {
    Hyper::builder(TokioExecutor::new()).build_http()
}

/// Whether a host is this machine, whoever answers for its names.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Through TLS where the address says so.
fn secured(authorities: Option<&Path>) -> Result<Hyper<HttpsConnector<HttpConnector>, Full<Bytes>>, ClientError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = authorities {
        roots.add_parsable_certificates(tls::authorities(path)?);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Unreachable { url: String::new(), source: error.into() })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let https =
        HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(http);
    Ok(Hyper::builder(TokioExecutor::new()).build(https))
}

async fn exchange<C>(
    hyper: &Hyper<C, Full<Bytes>>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let whole = async {
        let (parts, body) = hyper.request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_LIMIT).collect().await?.to_bytes();
        Ok(Response::from_parts(parts, body))
    };
    tokio::time::timeout(ANSWER_LIMIT, whole).await?
}

fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    let problem = serde_json::from_slice(body).unwrap_or_else(|_| Problem {
        title: String::from_utf8_lossy(body).chars().take(200).collect(),
        ..Problem::default()
    });
    ClientError::Refused { status, problem }
}

/// Takes the first whole event from a buffer; comments and other fields are left out.
fn next_event(buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
        let event: Vec<u8> = buffer.drain(..end + 2).collect();
        let event = String::from_utf8_lossy(&event).into_owned();
        let data: Vec<&str> = event
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| data.strip_prefix(' ').unwrap_or(data))
            .collect();
        if !data.is_empty() {
            return Some(data.join("\n"));
        }
    }
}

/// A query value or a part of a path, percent-encoded where it must be.
#[must_use]
pub fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Client, Credentials, encoded, next_event};
    use crate::ports::secrets::Secret;

    #[test]
    fn an_event_is_taken_when_it_is_whole() {
        let mut buffer = b": comment\n\nevent: run\ndata: {\"a\":\ndata: 1}\n\ndata: half".to_vec();
        assert_eq!(next_event(&mut buffer).as_deref(), Some("{\"a\":\n1}"));
        assert_eq!(next_event(&mut buffer), None);
        assert_eq!(buffer, b"data: half");
    }

    #[test]
    fn query_values_cannot_add_parameters() {
        assert_eq!(encoded("a&b=c/ü"), "a%26b%3Dc%2F%C3%BC");
    }

    #[test]
    fn an_address_must_be_http() {
        assert!(Client::new("127.0.0.1:7420").is_err());
        assert!(Client::new("http://127.0.0.1:7420/").is_ok());
        assert!(Client::new("https://hub.example/").is_ok());
    }

    #[test]
    fn a_token_does_not_leave_the_machine_in_the_clear() {
        let credentials = Credentials { token: Some(Secret::new("crossdock_x")), authorities: None };
        for url in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost", "https://hub.example"] {
            assert!(Client::with(url, &credentials).is_ok(), "{url}");
        }
        for url in ["http://hub.example", "http://127.0.0.1.example", "http://10.0.0.1"] {
            let error = Client::with(url, &credentials).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("in the clear") && !error.contains("crossdock_x"), "{url}: {error}");
        }
        let odd = Credentials { token: Some(Secret::new("a\nb")), authorities: None };
        assert!(Client::with("http://127.0.0.1:1", &odd).is_err());
    }
}

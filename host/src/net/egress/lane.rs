//! What one connection at one revision owns: its pools, its credentials, its limits. Nothing in here is shared with
//! another connection.

use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;

use super::{
    EgressScope, RESPONSE_BYTES_LIMIT_MAX, TIMEOUT_MS_MAX,
    credentials::{Credentials, Tokens},
    dial::{Cleartext, DialError, Dialer},
    redact::Needles,
};
use crate::{
    model::{
        connection::{Auth, Connection},
        timestamp::Timestamp,
    },
    policy::address::AddressRules,
    ports::{clock::Clock, egress::EgressError, secrets::Secrets},
};

/// Longest wait for a connection, milliseconds; a shorter timeout of the connection leaves three quarters to it.
const CONNECT_MS_MAX: u64 = 10_000;

/// How long an idle connection is kept: shorter than what servers commonly keep theirs, so that we rarely write into
/// one that is being closed.
const IDLE: Duration = Duration::from_secs(4);

/// Most idle connections per remote: as many as a connection has calls at the same time, so that under load no call
/// opens what another has just closed. With 8, opening took a twentieth of the hub's time.
const IDLE_MAX: usize = 32;

/// Most header lines of an answer.
const HEADERS_MAX: usize = 128;

/// Most bytes of an answer's head.
const HEAD_BYTES_LIMIT: usize = 64 << 10;

pub(super) type Client = legacy::Client<Dialer, Full<Bytes>>;

/// One connection at one revision.
pub(super) struct Lane {
    name: Arc<str>,
    connection: Connection,
    clients: Result<Clients, String>,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    tokens: Tokens,
}

/// Separate pools, so that a request with a secret never uses a connection that was opened under the looser rule.
struct Clients {
    bare: Client,
    credentialed: Client,
}

impl Lane {
    pub(super) fn new(scope: EgressScope, tls: &ClientConfig) -> Self {
        let EgressScope { connection_name, connection, secrets, clock, .. } = scope;
        let name: Arc<str> = connection_name.into();
        let limit = Duration::from_millis((connection.timeout_ms.min(TIMEOUT_MS_MAX) * 3 / 4).min(CONNECT_MS_MAX));
        let clients = AddressRules::new(&name, &connection.allow_addresses)
            .map_err(|error| format!("connection `{name}` cannot be used: `allow_addresses`: {error}"))
            .map(|rules| {
                let rules = Arc::new(rules);
                let client = |cleartext| {
                    let dialer = Dialer::new(Arc::clone(&rules), Arc::clone(&name), cleartext, limit, tls);
                    legacy::Client::builder(TokioExecutor::new())
                        .timer(TokioTimer::new())
                        .pool_timer(TokioTimer::new())
                        .pool_idle_timeout(IDLE)
                        .pool_max_idle_per_host(IDLE_MAX)
                        .http1_max_headers(HEADERS_MAX)
                        .http1_max_buf_size(HEAD_BYTES_LIMIT)
                        .build(dialer)
                };
                Clients { bare: client(Cleartext::Anywhere), credentialed: client(Cleartext::OnlyListed) }
            });
        Self { name, connection, clients, secrets, clock, tokens: Tokens::default() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it was made for exactly this configuration.
    pub(super) fn serves(&self, connection: &Connection) -> bool {
        self.connection == *connection
    }

    pub(super) fn timeout_ms(&self) -> u64 {
        self.connection.timeout_ms.min(TIMEOUT_MS_MAX)
    }

    pub(super) fn response_bytes_limit(&self) -> u64 {
        self.connection.response_bytes_limit.min(RESPONSE_BYTES_LIMIT_MAX)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The client for requests without the host's credentials.
    pub(super) fn bare(&self) -> Result<&Client, EgressError> {
        self.clients().map(|clients| &clients.bare)
    }

    /// The client for requests with them.
    pub(super) fn credentialed(&self) -> Result<&Client, EgressError> {
        self.clients().map(|clients| &clients.credentialed)
    }

    fn clients(&self) -> Result<&Clients, EgressError> {
        self.clients.as_ref().map_err(|reason| EgressError::Refused { reason: reason.clone() })
    }

    pub(super) fn has_credentials(&self) -> bool {
        self.connection.auth != Auth::None
    }

    /// What proves who we are, now; what must not come back is added to `needles`.
    pub(super) async fn credentials(&self, needles: &mut Needles) -> Result<Credentials, EgressError> {
        let client = self.credentialed()?;
        self.tokens.credentials(&self.connection.auth, &*self.secrets, client, &*self.clock, needles).await
    }

    /// Drops a token that the remote no longer takes.
    pub(super) async fn forget(&self, credentials: &Credentials) {
        self.tokens.forget(credentials).await;
    }
}

/// Sends one request and reads its whole answer.
pub(super) async fn transmit(
    client: &Client,
    request: Request<Bytes>,
    limit_bytes: u64,
) -> Result<Response<Bytes>, EgressError> {
    let too_large = || EgressError::TooLarge { what: "response body", limit_bytes };
    let answer = client.request(request.map(Full::new)).await.map_err(|error| failed(&error))?;
    let (head, body) = answer.into_parts();
    let read = Limited::new(body, usize::try_from(limit_bytes).unwrap_or(usize::MAX)).collect().await;
    match read {
        Ok(collected) => Ok(Response::from_parts(head, collected.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(EgressError::Broken { reason: chain(&*error) }),
    }
}

/// Tells apart what was never sent from what may have been.
fn failed(error: &legacy::Error) -> EgressError {
    match DialError::within(error) {
        Some(DialError::Refused(reason)) => EgressError::Refused { reason: reason.clone() },
        Some(DialError::Failed(reason)) => EgressError::Connect { reason: reason.clone() },
        None if error.is_connect() => EgressError::Connect { reason: chain(error) },
        None => EgressError::Broken { reason: chain(error) },
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        // Many libraries repeat the cause within the message.
        if parts.last().is_none_or(|last| !last.ends_with(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

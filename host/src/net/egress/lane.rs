//! What one connection at one revision owns: its pools, its credentials, its limits. Nothing in here is shared with
//! another connection.

use std::{
    error::Error,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{AlertDescription, ClientConfig};

use super::{
    EgressScope, RESPONSE_BYTES_LIMIT_MAX, TIMEOUT_MS_MAX,
    credentials::{Credentials, Means, Tokens},
    dial::{Cleartext, DialError, Dialer},
    identity::{IdentityError, Material},
    redact::Needles,
    trust,
};
use crate::{
    model::{connection::Connection, timestamp::Timestamp},
    policy::{address::AddressRules, egress::Origin},
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
    maker: Maker,
    bare: Client,
    credentialed: Client,
    /// With a certificate: the pool in which it was shown last.
    identified: Mutex<Option<Identified>>,
}

/// Makes pools.
struct Maker {
    rules: Arc<AddressRules>,
    name: Arc<str>,
    limit: Duration,
    tls: ClientConfig,
}

/// A pool whose connections have shown a certificate.
struct Identified {
    fingerprint: [u8; 32],
    not_after: Timestamp,
    client: Client,
}

impl Maker {
    fn client(&self, cleartext: Cleartext, tls: &ClientConfig) -> Client {
        let dialer = Dialer::new(Arc::clone(&self.rules), Arc::clone(&self.name), cleartext, self.limit, tls);
        legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX)
            .http1_max_headers(HEADERS_MAX)
            .http1_max_buf_size(HEAD_BYTES_LIMIT)
            .build(dialer)
    }
}

impl Clients {
    fn new(maker: Maker) -> Self {
        let bare = maker.client(Cleartext::Anywhere, &maker.tls);
        let credentialed = maker.client(Cleartext::OnlyListed, &maker.tls);
        Self { maker, bare, credentialed, identified: Mutex::default() }
    }

    /// The pool for a certificate as it is now: another one after it was exchanged.
    fn identified(&self, material: &Material, now: Timestamp) -> Result<Client, IdentityError> {
        let fingerprint = material.fingerprint();
        let mut identified = self.identified.lock().unwrap_or_else(PoisonError::into_inner);
        let known = identified.as_ref().filter(|known| known.fingerprint == fingerprint && now <= known.not_after);
        if let Some(known) = known {
            return Ok(known.client.clone());
        }
        // Nothing of before is used any more, whatever becomes of this.
        *identified = None;
        let identity = material.identity(now)?;
        let (subject, not_after) = (identity.subject(), identity.not_after());
        if identity.ends_soon(now) {
            tracing::warn!(connection = &*self.maker.name, subject, %not_after, "the client certificate expires soon");
        }
        let client = self.maker.client(Cleartext::OnlyListed, &identity.shown_by(&self.maker.tls));
        *identified = Some(Identified { fingerprint, not_after, client: client.clone() });
        Ok(client)
    }
}

impl Lane {
    pub(super) fn new(scope: EgressScope, tls: &ClientConfig) -> Self {
        let EgressScope { connection_name, connection, secrets, clock, .. } = scope;
        let name: Arc<str> = connection_name.into();
        let limit = Duration::from_millis((connection.timeout_ms.min(TIMEOUT_MS_MAX) * 3 / 4).min(CONNECT_MS_MAX));
        let tls = match &connection.authorities {
            None => Ok(tls.clone()),
            Some(pem) => trust::authorities(pem).and_then(trust::trusting),
        };
        let cannot = |problem: String| format!("connection `{name}` cannot be used: {problem}");
        let clients = AddressRules::new(&name, &connection.allow_addresses)
            .map_err(|error| cannot(format!("`allow_addresses`: {error}")))
            .and_then(|rules| {
                let tls = tls.map_err(cannot)?;
                Ok(Clients::new(Maker { rules: Arc::new(rules), name: Arc::clone(&name), limit, tls }))
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

    /// The client for requests with them, to an origin that they belong to.
    pub(super) fn credentialed(&self, origin: &Origin) -> Result<Client, EgressError> {
        let clients = self.clients()?;
        let Some(certificate) = &self.connection.client_certificate else { return Ok(clients.credentialed.clone()) };
        let refused = |reason: String| EgressError::Authentication { reason };
        if origin.is_cleartext() {
            return Err(refused(format!("`{origin}`: a client certificate can only be shown in TLS; use `https`")));
        }
        Material::read(certificate, &*self.secrets)
            .and_then(|material| clients.identified(&material, self.clock.now()))
            .map_err(|error| refused(format!("client certificate: {error}")))
    }

    fn clients(&self) -> Result<&Clients, EgressError> {
        self.clients.as_ref().map_err(|reason| EgressError::Refused { reason: reason.clone() })
    }

    pub(super) fn has_credentials(&self) -> bool {
        self.connection.has_credentials()
    }

    /// What proves who we are, now; what must not come back is added to `needles`.
    pub(super) async fn credentials(&self, client: &Client, needles: &mut Needles) -> Result<Credentials, EgressError> {
        let means = Means { secrets: &*self.secrets, client, clock: &*self.clock };
        self.tokens.credentials(&self.connection.auth, &means, needles).await
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
    if let Some(alert) = refused_certificate(error) {
        let reason = match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                "the remote asks for a client certificate and was shown none: give the connection a `client_certificate`, and \
                 its plugin `authenticate = true` there"
                    .to_owned()
            }
            _ => format!(
                "the remote does not take the client certificate (TLS alert `{alert:?}`): see that its authority is known \
                 there, that the chain is whole, and that it was not revoked"
            ),
        };
        return EgressError::Authentication { reason };
    }
    match DialError::within(error) {
        Some(DialError::Refused(reason)) => EgressError::Refused { reason: reason.clone() },
        Some(DialError::Failed(reason)) => EgressError::Connect { reason: reason.clone() },
        None if error.is_connect() => EgressError::Connect { reason: chain(error) },
        None => EgressError::Broken { reason: chain(error) },
    }
}

/// The alert by which a remote refuses who we are in TLS. It ends the handshake: nothing of a request was looked at.
fn refused_certificate(error: &(dyn Error + 'static)) -> Option<AlertDescription> {
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error does not count what it wraps among its sources.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = wrapped.map_or_else(|| error.downcast_ref(), |inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(alert)) = found {
            use AlertDescription::{
                AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
                CertificateUnknown, DecryptError, NoCertificate, UnknownCA, UnsupportedCertificate,
            };
            let refuses = matches!(
                alert,
                AccessDenied
                    | BadCertificate
                    | CertificateExpired
                    | CertificateRequired
                    | CertificateRevoked
                    | CertificateUnknown
                    | DecryptError
                    | NoCertificate
                    | UnknownCA
                    | UnsupportedCertificate
            );
            return refuses.then_some(*alert);
        }
        next = error.source();
    }
    None
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

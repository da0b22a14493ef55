//! The one way out: every request of every connector passes [`Gateway`], and nothing else in the hub opens a
//! connection on a plugin's behalf.
//!
//! An exchange is: permission by policy; the guest's own credentials taken away; the host's added, where the grant
//! says so; the name resolved here and each address checked; a connection to exactly those addresses; the answer read
//! up to its limit; redirects followed through all of this again. What the guest gets back holds no cookie and no
//! echo of a secret.
//!
//! | module | does |
//! | --- | --- |
//! | `dial` | resolves, checks and connects |
//! | `lane` | what one connection at one revision owns: pools, credentials |
//! | `credentials` | authentication |
//! | `tokens` | OAuth 2 tokens |
//! | `cookies` | session cookies, per outlet |
//! | `headers` | what may pass in and out |
//! | [`identity`] | the certificate that is shown in TLS |
//! | `redirect` | where an answer points to |
//! | `redact` | echoes of secrets |
//! | `oauth1` | OAuth 1 signatures |
//! | `sigv4` | AWS signatures |
//! | `percent` | the percent-encoding of signatures |
//! | [`trust`] | whose certificates remotes may show |

mod cookies;
mod credentials;
mod dial;
mod headers;
pub mod identity;
mod lane;
mod oauth1;
mod redact;
mod redirect;
mod signing;
mod sigv4;
mod tokens;
pub mod trust;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::time::{Instant, timeout};

use self::{
    cookies::Jar,
    lane::{Lane, transmit},
    redact::Needles,
    redirect::{Hop, Next},
};
use crate::{
    model::{connection::Connection, manifest::HttpCapability},
    policy::egress::{Granted, Grants},
    ports::{
        clock::Clock,
        egress::{Egress, EgressError},
        secrets::Secrets,
    },
};

/// Largest request body, bytes; what a document may be.
pub const REQUEST_BYTES_LIMIT: u64 = 1 << 20;

/// Largest response body whatever a connection allows, bytes.
pub const RESPONSE_BYTES_LIMIT_MAX: u64 = 16 << 20;

/// Longest exchange whatever a connection allows, milliseconds; the longest that a call may take.
pub const TIMEOUT_MS_MAX: u64 = 60_000;

/// Most redirects followed in one exchange.
pub const REDIRECTS_MAX: usize = 5;

/// Why there is no way out at all.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The file of additional certificate authorities cannot be used.
    #[error("cannot use the certificate authorities in `{path}`: {problem}")]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {problem}")]
    Tls {
        /// What the library says.
        problem: String,
    },
}

/// What an outlet is for: one operation of one connection at one revision.
#[derive(Clone)]
pub struct EgressScope {
    /// The connection's name.
    pub connection_name: String,
    /// The connection.
    pub connection: Connection,
    /// The manifest's HTTP capabilities.
    pub capabilities: Vec<HttpCapability>,
    /// The operation's `read_methods`.
    pub read_methods: Vec<String>,
    /// Revision of the connection and its grants; another revision shares no pooled connection and no token.
    pub revision: u64,
    /// The versions of those of its secrets that the hub keeps; other versions share neither.
    pub secret_versions: Vec<u64>,
    /// Where the connection's secrets come from.
    pub secrets: Arc<dyn Secrets>,
    /// Time, for tokens and cookies.
    pub clock: Arc<dyn Clock>,
}

/// A connection's name, its revision, and the versions of its secrets.
type LaneKey = (String, u64, Vec<u64>);

/// Opens outlets. Owns the certificate authorities, and knows which lanes are in use.
pub struct Gateway {
    tls: ClientConfig,
    lanes: Mutex<HashMap<LaneKey, Weak<Lane>>>,
}

impl Gateway {
    /// A gateway that trusts the authorities that Mozilla trusts.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new() -> Result<Self, GatewayError> {
        Self::trusting(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }

    /// A gateway that trusts the certificate authorities of a PEM file as well.
    ///
    /// # Errors
    /// If the file cannot be read or holds no certificate.
    pub fn with_roots(path: &Path) -> Result<Self, GatewayError> {
        let wrong = |problem: String| GatewayError::Roots { path: path.to_owned(), problem };
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let before = roots.len();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))? {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(wrong("it holds no certificate in PEM form".to_owned()));
        }
        Self::trusting(roots)
    }

    fn trusting(roots: RootCertStore) -> Result<Self, GatewayError> {
        let tls = trust::trusting(roots).map_err(|problem| GatewayError::Tls { problem })?;
        Ok(Self { tls, lanes: Mutex::default() })
    }

    /// Opens the outlet of one operation. Outlets of the same connection and revision share pooled connections and
    /// tokens; when the last is dropped, the connections are closed.
    #[must_use]
    pub fn open(&self, scope: EgressScope) -> Arc<dyn Egress> {
        let grants = Grants::new(&scope.connection_name, &scope.connection, &scope.capabilities, &scope.read_methods);
        let lane = self.lane(scope);
        Arc::new(Outlet { grants, lane, jar: Mutex::default(), follows: Follows::Granted })
    }

    /// The same for an outlet that follows no redirects.
    #[must_use]
    pub fn open_direct(&self, scope: EgressScope) -> Arc<dyn Egress> {
        let grants = Grants::new(&scope.connection_name, &scope.connection, &scope.capabilities, &scope.read_methods);
        let lane = self.lane(scope);
        Arc::new(Outlet { grants, lane, jar: Mutex::default(), follows: Follows::Nothing })
    }

    fn lane(&self, scope: EgressScope) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (scope.connection_name.clone(), scope.revision, scope.secret_versions.clone());
        if let Some(lane) = lanes.get(&key).and_then(Weak::upgrade)
            && lane.serves(&scope.connection)
        {
            return lane;
        }
        lanes.retain(|_, lane| lane.strong_count() > 0);
        let lane = Arc::new(Lane::new(scope, &self.tls));
        lanes.insert(key, Arc::downgrade(&lane));
        lane
    }
}

/// The way out of one operation.
struct Outlet {
    grants: Grants,
    lane: Arc<Lane>,
    jar: Mutex<Jar>,
    follows: Follows,
}

/// Which redirects an outlet follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follows {
    /// Those whose targets are granted too.
    Granted,
    /// None: the answer is given as it is.
    Nothing,
}

impl Egress for Outlet {
    fn send(&self, request: Request<Bytes>, read_only: bool) -> BoxFuture<'_, Result<Response<Bytes>, EgressError>> {
        Box::pin(async move {
            let started = Instant::now();
            let limit_ms = self.lane.timeout_ms();
            let exchange = Box::pin(self.exchange(request, read_only));
            let result = timeout(Duration::from_millis(limit_ms), exchange)
                .await
                .unwrap_or(Err(EgressError::Timeout { limit_ms }));
            let connection = self.lane.name().to_owned();
            metrics::counter!("crossdock_egress_requests_total", "connection" => connection, "outcome" => outcome(&result))
                .increment(1);
            metrics::histogram!("crossdock_egress_seconds").record(started.elapsed().as_secs_f64());
            result
        })
    }
}

fn outcome(result: &Result<Response<Bytes>, EgressError>) -> &'static str {
    match result {
        Ok(_) => "answered",
        Err(EgressError::Refused { .. }) => "refused",
        Err(EgressError::Authentication { .. }) => "authentication",
        Err(EgressError::Connect { .. }) => "connect",
        Err(EgressError::Timeout { .. }) => "timeout",
        Err(EgressError::Broken { .. }) => "broken",
        Err(EgressError::TooLarge { .. }) => "too_large",
    }
}

impl Outlet {
    async fn exchange(&self, request: Request<Bytes>, read_only: bool) -> Result<Response<Bytes>, EgressError> {
        if request.body().len() as u64 > REQUEST_BYTES_LIMIT {
            return Err(EgressError::TooLarge { what: "request body", limit_bytes: REQUEST_BYTES_LIMIT });
        }
        let mut needles = Needles::default();
        let mut hop = Hop::first(request);
        let mut home = None;
        for _ in 0..=REDIRECTS_MAX {
            let granted = self
                .grants
                .permit(hop.request(), read_only)
                .map_err(|refusal| hop.account(EgressError::Refused { reason: refusal.to_string() }))?;
            // Credentials belong to the origin that the guest asked for. A redirect never carries them elsewhere.
            let at_home = home.get_or_insert_with(|| granted.origin().clone()) == granted.origin();
            let answer = self.send_hop(granted, at_home, &mut needles).await.map_err(|error| hop.account(error))?;
            if self.follows == Follows::Nothing {
                return Ok(headers::for_guest(needles.redact(answer)));
            }
            hop = match redirect::next(hop, &answer) {
                Next::Done => return Ok(headers::for_guest(needles.redact(answer))),
                Next::Nowhere(reason) => return Err(EgressError::Broken { reason }),
                Next::Hop(next) => *next,
            };
        }
        Err(hop.account(EgressError::Refused { reason: format!("more than {REDIRECTS_MAX} redirects") }))
    }

    /// Sends one request that is permitted, authenticated if its grant says so; with a token that the remote no longer
    /// takes, once more with a new one.
    async fn send_hop(
        &self,
        mut granted: Granted<Bytes>,
        at_home: bool,
        needles: &mut Needles,
    ) -> Result<Response<Bytes>, EgressError> {
        self.add_cookies(&mut granted);
        if !(at_home && granted.authenticate() && self.lane.has_credentials()) {
            return self.transmit(granted, self.lane.bare()?).await;
        }
        let client = &self.lane.credentialed(granted.origin())?;
        let credentials = self.lane.credentials(client, needles).await?;
        credentials.add_to(&mut granted, self.lane.now(), needles)?;
        let again = credentials.is_renewable().then(|| granted.clone());
        let answer = self.transmit(granted, client).await?;
        let Some(mut again) = again.filter(|_| answer.status() == StatusCode::UNAUTHORIZED) else { return Ok(answer) };
        self.lane.forget(&credentials).await;
        let renewed = self.lane.credentials(client, needles).await?;
        renewed.add_to(&mut again, self.lane.now(), needles)?;
        self.add_cookies(&mut again);
        self.transmit(again, client).await
    }

    async fn transmit(&self, granted: Granted<Bytes>, client: &lane::Client) -> Result<Response<Bytes>, EgressError> {
        let origin = granted.origin().clone();
        let request = granted.into_request();
        let path = request.uri().path().to_owned();
        let answer = transmit(client, request, self.lane.response_bytes_limit()).await?;
        self.jar().store(&origin, &path, answer.headers(), self.lane.now());
        Ok(answer)
    }

    fn add_cookies(&self, granted: &mut Granted<Bytes>) {
        let cookies = self.jar().cookies_for(granted.origin(), granted.path(), self.lane.now());
        headers::set_cookies(granted.headers_mut(), cookies);
    }

    fn jar(&self) -> std::sync::MutexGuard<'_, Jar> {
        self.jar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

//! The keys of an OpenID provider: read from a file, or fetched through the same way out that connectors have, with its
//! checks of addresses and certificates; kept for a while, and looked for again when a token names another key.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use crate::{
    app::{outlet::Outlet, secrets::LocalSecrets},
    model::{principal::Principal, timestamp::Timestamp},
    net::egress::Gateway,
    policy::openid::{self, Keys, Provider},
    ports::{access::AuthError, clock::Clock, egress::Egress},
};

/// After how long keys are fetched again, milliseconds.
const FRESH_MS: u64 = 10 * 60_000;
/// For how long keys are used though they cannot be fetched again, milliseconds: a provider that is down for a day
/// locks everybody out then, rather than that a key which it has withdrawn is trusted for ever.
const STALE_MS: u64 = 24 * 3_600_000;
/// How often a fetch is tried at most, milliseconds, whatever keys tokens name.
const TRY_MS: u64 = 5_000;
/// Longest wait for keys, milliseconds.
const FETCH_MS: u64 = 5_000;
/// Largest key set, bytes.
const KEYS_BYTES_LIMIT: u64 = 256 << 10;
/// What the way out calls this.
const NAME: &str = "access.openid";

/// A provider whose tokens are taken.
pub(super) struct OpenId {
    provider: Provider,
    outlet: Option<Arc<dyn Egress>>,
    keys: ArcSwapOption<(Timestamp, Keys)>,
    tried: Mutex<Option<Timestamp>>,
    fetching: tokio::sync::Mutex<()>,
    clock: Arc<dyn Clock>,
}

impl OpenId {
    /// Sets it up; keys are fetched when the first token comes.
    ///
    /// # Errors
    /// What is wrong with the provider's description.
    pub(super) fn new(provider: Provider, clock: Arc<dyn Clock>) -> Result<Self, String> {
        provider.check()?;
        let outlet = if provider.jwks.starts_with("https://") { Some(outlet(&provider, &clock)?) } else { None };
        let keys = ArcSwapOption::empty();
        Ok(Self { provider, outlet, keys, tried: Mutex::default(), fetching: tokio::sync::Mutex::default(), clock })
    }

    /// Whom a token stands for.
    pub(super) async fn verify(&self, shown: &str, now: Timestamp) -> Result<Principal, AuthError> {
        let invalid = |problem: String| AuthError::Invalid { problem };
        let named = openid::key_of(shown).map_err(invalid)?;
        let known = self.keys.load_full();
        let is_fresh =
            known.as_ref().is_some_and(|known| now.since(known.0) < FRESH_MS && known.1.has(named.as_deref()));
        if !is_fresh {
            self.renew(named.as_deref(), now).await;
        }
        let usable = self.keys.load_full().filter(|known| now.since(known.0) < STALE_MS);
        let keys = usable.ok_or_else(|| AuthError::Unavailable {
            reason: format!("the keys of `{}` cannot be had: the log says why", self.provider.issuer),
        })?;
        openid::verify(shown, &self.provider, &keys.1, now).map_err(invalid)
    }

    /// Fetches the keys, unless somebody just did.
    async fn renew(&self, named: Option<&str>, now: Timestamp) {
        let _fetching = self.fetching.lock().await;
        let found = |known: &Arc<(Timestamp, Keys)>| now.since(known.0) < FRESH_MS && known.1.has(named);
        if self.keys.load().as_ref().is_some_and(found) {
            return;
        }
        {
            let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
            if tried.is_some_and(|tried| now.since(tried) < TRY_MS) {
                return;
            }
            *tried = Some(now);
        }
        match self.fetch().await.and_then(|text| Keys::parse(&text)) {
            Ok(keys) => self.keys.store(Some(Arc::new((self.clock.now(), keys)))),
            Err(problem) => tracing::error!(jwks = self.provider.jwks, problem, "a provider's keys cannot be had"),
        }
    }

    async fn fetch(&self) -> Result<Bytes, String> {
        let Some(outlet) = &self.outlet else { return read(Path::new(&self.provider.jwks)) };
        let request = http::Request::get(&self.provider.jwks).header("accept", "application/json").body(Bytes::new());
        let request = request.map_err(|error| error.to_string())?;
        let answer = outlet.send(request, true).await.map_err(|error| error.to_string())?;
        if answer.status().is_success() {
            Ok(answer.into_body())
        } else {
            Err(format!("it answers {}", answer.status()))
        }
    }
}

fn read(path: &Path) -> Result<Bytes, String> {
    let bytes = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if bytes > KEYS_BYTES_LIMIT {
        return Err(format!("it is {bytes} bytes, the limit is {KEYS_BYTES_LIMIT}"));
    }
    std::fs::read(path).map(Bytes::from).map_err(|error| error.to_string())
}

/// A way out that leads to the provider's origin and nowhere else.
fn outlet(provider: &Provider, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Egress>, String> {
    let outlet = Outlet {
        name: NAME.to_owned(),
        plugin: "crossdock/openid",
        reason: "the provider's keys",
        url: &provider.jwks,
        method: "GET",
        allow_addresses: &provider.allow_addresses,
        timeout_ms: FETCH_MS,
        answer_bytes_limit: KEYS_BYTES_LIMIT,
    };
    let scope = outlet.scope(Arc::new(LocalSecrets), Arc::clone(clock)).map_err(|error| format!("`jwks`: {error}"))?;
    let gateway = Gateway::new().map_err(|error| error.to_string())?;
    Ok(gateway.open(scope))
}

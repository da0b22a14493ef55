//! How the host proves who it is to a remote, after a request has left the guest and before it leaves the hub.
//!
//! Secrets are read anew each time, so that rotating one needs no restart. Tokens are kept until shortly before they
//! expire; their response never reaches a guest.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Uri, header};

use super::{
    lane::Client,
    oauth1,
    redact::Needles,
    signing::NotSigned,
    sigv4,
    tokens::{Token, TokenRequest},
};
use crate::{
    model::{
        auth::{Auth, ClientAuthentication},
        connection::SecretRef,
        hex::hex,
        timestamp::Timestamp,
    },
    policy::egress::Granted,
    ports::{
        clock::Clock,
        egress::EgressError,
        secrets::{Secret, Secrets},
    },
};

/// What goes into one request.
pub(super) struct Credentials {
    proof: Proof,
    token: Option<Secret>,
}

enum Proof {
    /// The certificate that is shown in TLS is all.
    Shown,
    /// The `Authorization` header, the same for each request.
    Header(HeaderValue),
    /// A signature of each request.
    OAuth1(Box<oauth1::Signer>),
    /// The same.
    AwsSigV4(Box<sigv4::Signer>),
}

impl Credentials {
    fn header(value: HeaderValue, token: Option<Secret>) -> Self {
        Self { proof: Proof::Header(value), token }
    }

    /// Adds them; what must not come back is added to `needles`. INVARIANT: called only with a request whose grant says so,
    /// at its own origin.
    pub(super) fn add_to(
        &self,
        granted: &mut Granted<Bytes>,
        now: Timestamp,
        needles: &mut Needles,
    ) -> Result<(), EgressError> {
        if let Proof::Header(value) = &self.proof {
            granted.headers_mut().insert(header::AUTHORIZATION, value.clone());
            return Ok(());
        }
        let mut signed = granted.request().clone();
        let signature = match &self.proof {
            Proof::Shown | Proof::Header(_) => return Ok(()),
            Proof::OAuth1(signer) => {
                let nonce = nonce()?;
                let signed = signer.sign(&mut signed, granted.origin(), now, &nonce);
                signed.map_err(|NotSigned(why)| refused(why))?
            }
            Proof::AwsSigV4(signer) => {
                let host = host(signed.uri()).ok_or_else(|| refused("its host fits into no header"))?;
                signed.headers_mut().insert(header::HOST, host);
                signer.sign(&mut signed, now).map_err(|NotSigned(why)| refused(why))?
            }
        };
        needles.add(signature.expose());
        *granted.headers_mut() = std::mem::take(signed.headers_mut());
        Ok(())
    }

    /// Whether there are new ones to be had when the remote no longer takes these.
    pub(super) fn is_renewable(&self) -> bool {
        self.token.is_some()
    }
}

/// What it takes to prove who we are.
pub(super) struct Means<'a> {
    pub(super) secrets: &'a dyn Secrets,
    pub(super) client: &'a Client,
    pub(super) clock: &'a dyn Clock,
}

/// The tokens of a lane.
#[derive(Default)]
pub(super) struct Tokens {
    // Held while a token is fetched, so that many requests fetch one token.
    held: tokio::sync::Mutex<Held>,
}

#[derive(Default)]
struct Held {
    access: Option<Token>,
    renewed: Option<Renewed>,
}

/// What tokens are given out for.
struct Grant<'a> {
    token_url: &'a str,
    client_id: &'a str,
    client_secret: &'a SecretRef,
    scope: Option<&'a str>,
    how: ClientAuthentication,
    /// Absent: for being the client.
    refresh_token: Option<&'a SecretRef>,
}

impl Held {
    /// Fetches a token, and keeps it.
    async fn fetch(
        &mut self,
        grant: &Grant<'_>,
        means: &Means<'_>,
        needles: &mut Needles,
    ) -> Result<Secret, EgressError> {
        let Grant { token_url, client_id, client_secret, scope, how, refresh_token } = *grant;
        let secret = resolve(means.secrets, client_secret)?;
        let given = refresh_token.map(|token| resolve(means.secrets, token)).transpose()?;
        let refresh = given.clone().map(|given| match &self.renewed {
            Some(Renewed { of, by }) if of.expose() == given.expose() => by.clone(),
            _ => given,
        });
        let request = TokenRequest { token_url, client_id, secret: &secret, scope, how, refresh: refresh.as_ref() };
        let (token, next) = request.send(means.client, means.clock, needles).await?;
        if let (Some(of), Some(used), Some(by)) = (given, refresh, next)
            && used.expose() != by.expose()
        {
            tracing::warn!(
                token_url,
                "the remote has given another refresh token, which is used until the hub stops or the connection changes; \
                 if it takes the one that is configured only once, have one given out that stays valid"
            );
            self.renewed = Some(Renewed { of, by });
        }
        Ok(self.access.insert(token).value.clone())
    }
}

/// A refresh token that a remote has given in another's place.
struct Renewed {
    /// The one that is configured.
    of: Secret,
    by: Secret,
}

impl Tokens {
    pub(super) async fn credentials(
        &self,
        auth: &Auth,
        means: &Means<'_>,
        needles: &mut Needles,
    ) -> Result<Credentials, EgressError> {
        let secrets = means.secrets;
        match auth {
            Auth::None => Ok(Credentials { proof: Proof::Shown, token: None }),
            Auth::Basic { user, password } => {
                if user.contains(':') {
                    return Err(refused("a user's name must not contain `:`"));
                }
                let authorization = basic(user.as_bytes(), resolve(secrets, password)?.expose(), needles)?;
                Ok(Credentials::header(authorization, None))
            }
            Auth::Bearer { token } => {
                let token = resolve(secrets, token)?;
                let authorization = bearer(&token, needles)?;
                Ok(Credentials::header(authorization, None))
            }
            Auth::OAuth2ClientCredentials { token_url, client_id, client_secret, scope, client_authentication } => {
                let (scope, how) = (scope.as_deref(), *client_authentication);
                let grant = Grant { token_url, client_id, client_secret, scope, how, refresh_token: None };
                self.access(&grant, means, needles).await
            }
            Auth::OAuth2RefreshToken {
                token_url,
                client_id,
                client_secret,
                refresh_token,
                scope,
                client_authentication,
            } => {
                let (scope, how) = (scope.as_deref(), *client_authentication);
                let refresh_token = Some(refresh_token);
                let grant = Grant { token_url, client_id, client_secret, scope, how, refresh_token };
                self.access(&grant, means, needles).await
            }
            Auth::OAuth1 { signature_method, consumer_key, consumer_secret, token, token_secret, realm } => {
                let token = match token.as_ref().zip(token_secret.as_ref()) {
                    Some((token, secret)) => Some((token.clone(), resolve_hidden(secrets, secret, needles)?)),
                    None => None,
                };
                let signer = oauth1::Signer {
                    method: *signature_method,
                    consumer_key: consumer_key.clone(),
                    consumer_secret: resolve_hidden(secrets, consumer_secret, needles)?,
                    token,
                    realm: realm.clone(),
                };
                Ok(Credentials { proof: Proof::OAuth1(Box::new(signer)), token: None })
            }
            Auth::AwsSigV4 { region, service, access_key_id, secret_access_key, session_token } => {
                let session_token =
                    session_token.as_ref().map(|token| resolve_hidden(secrets, token, needles)).transpose()?;
                let signer = sigv4::Signer {
                    access_key_id: access_key_id.clone(),
                    secret_access_key: resolve_hidden(secrets, secret_access_key, needles)?,
                    session_token,
                    region: region.clone(),
                    service: service.clone(),
                };
                Ok(Credentials { proof: Proof::AwsSigV4(Box::new(signer)), token: None })
            }
        }
    }

    /// A token that is held, or a new one.
    async fn access(
        &self,
        grant: &Grant<'_>,
        means: &Means<'_>,
        needles: &mut Needles,
    ) -> Result<Credentials, EgressError> {
        let mut held = self.held.lock().await;
        let value = match held.access.as_ref().filter(|token| means.clock.now() < token.use_until) {
            Some(token) => token.value.clone(),
            None => held.fetch(grant, means, needles).await?,
        };
        Ok(Credentials::header(bearer(&value, needles)?, Some(value)))
    }

    /// Drops the token, unless another has taken its place already.
    pub(super) async fn forget(&self, credentials: &Credentials) {
        let mut held = self.held.lock().await;
        let same = held
            .access
            .as_ref()
            .zip(credentials.token.as_ref())
            .is_some_and(|(token, used)| token.value.expose() == used.expose());
        if same {
            held.access = None;
        }
    }
}

pub(super) fn refused(reason: impl Into<String>) -> EgressError {
    EgressError::Authentication { reason: reason.into() }
}

fn resolve(secrets: &dyn Secrets, reference: &SecretRef) -> Result<Secret, EgressError> {
    secrets.resolve(reference).map_err(|error| refused(error.to_string()))
}

/// The same, and it must not come back.
fn resolve_hidden(secrets: &dyn Secrets, reference: &SecretRef, needles: &mut Needles) -> Result<Secret, EgressError> {
    let secret = resolve(secrets, reference)?;
    needles.add(secret.expose());
    Ok(secret)
}

/// Bytes of a nonce: enough that none comes twice.
const NONCE_BYTES: usize = 16;

/// A text that no request was signed with before.
fn nonce() -> Result<String, EgressError> {
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| refused("the machine gives no random numbers"))?;
    Ok(hex(&bytes))
}

/// What the client would write into `Host`: the signature covers it.
fn host(uri: &Uri) -> Option<HeaderValue> {
    let host = uri.host()?;
    let text = match (uri.scheme_str(), uri.port_u16()) {
        (_, None) | (Some("https"), Some(443)) | (Some("http"), Some(80)) => host.to_owned(),
        (_, Some(port)) => format!("{host}:{port}"),
    };
    HeaderValue::from_str(&text).ok()
}

pub(super) fn basic(user: &[u8], password: &[u8], needles: &mut Needles) -> Result<HeaderValue, EgressError> {
    let pair = Secret::new([user, b":", password].concat());
    let encoded = STANDARD.encode(pair.expose());
    needles.add(password);
    needles.add(encoded.as_bytes());
    sensitive(&format!("Basic {encoded}"))
}

fn bearer(token: &Secret, needles: &mut Needles) -> Result<HeaderValue, EgressError> {
    needles.add(token.expose());
    let text = std::str::from_utf8(token.expose()).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    let text = text.ok_or_else(|| refused("the token holds characters that no HTTP header can carry"))?;
    sensitive(&format!("Bearer {text}"))
}

fn sensitive(text: &str) -> Result<HeaderValue, EgressError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| refused("the credentials do not fit into a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

//! How the host proves who it is to a remote, after a request has left the guest and before it leaves the hub.
//!
//! Secrets are read anew each time, so that rotating one needs no restart. Tokens are kept until shortly before they
//! expire; their response never reaches a guest.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use serde::Deserialize;
use url::form_urlencoded;

use super::{
    headers::USER_AGENT,
    lane::{Client, transmit},
    oauth1,
    redact::Needles,
    sigv4,
};
use crate::{
    model::{auth::Auth, connection::SecretRef, timestamp::Timestamp},
    policy::egress::{Granted, Origin},
    ports::{
        clock::Clock,
        egress::EgressError,
        secrets::{Secret, Secrets},
    },
};

/// Largest token response, bytes.
const TOKEN_RESPONSE_BYTES_LIMIT: u64 = 64 << 10;

/// How long a token without `expires_in` is used, seconds.
const EXPIRES_S_DEFAULT: u64 = 300;

/// How long before its end a token is no longer used, milliseconds; at most a tenth of its life.
const EARLY_MS_MAX: u64 = 30_000;

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
                signed.map_err(|oauth1::NotSigned(why)| refused(why))?
            }
            Proof::AwsSigV4(signer) => {
                let host = host(signed.uri()).ok_or_else(|| refused("its host fits into no header"))?;
                signed.headers_mut().insert(header::HOST, host);
                signer.sign(&mut signed, now).map_err(|sigv4::NotSigned(why)| refused(why))?
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

struct Token {
    value: Secret,
    use_until: Timestamp,
}

/// The token of a lane.
#[derive(Default)]
pub(super) struct Tokens {
    // Held while a token is fetched, so that many requests fetch one token.
    current: tokio::sync::Mutex<Option<Token>>,
}

impl Tokens {
    pub(super) async fn credentials(
        &self,
        auth: &Auth,
        secrets: &dyn Secrets,
        client: &Client,
        clock: &dyn Clock,
        needles: &mut Needles,
    ) -> Result<Credentials, EgressError> {
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
            Auth::OAuth2ClientCredentials { token_url, client_id, client_secret, scope } => {
                let mut current = self.current.lock().await;
                let value = match current.as_ref() {
                    Some(token) if clock.now() < token.use_until => token.value.clone(),
                    _ => {
                        let secret = resolve(secrets, client_secret)?;
                        let request = TokenRequest { token_url, client_id, secret: &secret, scope: scope.as_deref() };
                        let token = request.send(client, clock, needles).await?;
                        current.insert(token).value.clone()
                    }
                };
                Ok(Credentials::header(bearer(&value, needles)?, Some(value)))
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

    /// Drops the token, unless another has taken its place already.
    pub(super) async fn forget(&self, credentials: &Credentials) {
        let mut current = self.current.lock().await;
        let same = current
            .as_ref()
            .zip(credentials.token.as_ref())
            .is_some_and(|(token, used)| token.value.expose() == used.expose());
        if same {
            *current = None;
        }
    }
}

fn refused(reason: impl Into<String>) -> EgressError {
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
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
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

fn basic(user: &[u8], password: &[u8], needles: &mut Needles) -> Result<HeaderValue, EgressError> {
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

/// A request for a token (RFC 6749 §4.4.2), the client authenticated by HTTP basic (§2.3.1).
struct TokenRequest<'a> {
    token_url: &'a str,
    client_id: &'a str,
    secret: &'a Secret,
    scope: Option<&'a str>,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    token_type: String,
    #[serde(default)]
    expires_in: Option<serde_json::Number>,
}

#[derive(Deserialize, Default)]
struct TokenRefusal {
    #[serde(default)]
    error: String,
}

impl TokenRequest<'_> {
    async fn send(&self, client: &Client, clock: &dyn Clock, needles: &mut Needles) -> Result<Token, EgressError> {
        let origin = Origin::parse(self.token_url).map_err(|error| refused(format!("`token_url`: {error}")))?;
        let request = self.request(needles)?;
        let asked = clock.now();
        // Whatever happens to this request, nothing of the guest's was sent: a later attempt is safe.
        let answer = transmit(client, request, TOKEN_RESPONSE_BYTES_LIMIT).await.map_err(|error| match error {
            EgressError::Refused { reason } => refused(format!("token endpoint: {reason}")),
            EgressError::TooLarge { .. } => refused("the token endpoint answers with too much"),
            other => EgressError::Connect { reason: format!("token endpoint `{origin}`: {other}") },
        })?;
        read(&origin, answer.status(), answer.body(), asked)
    }

    fn request(&self, needles: &mut Needles) -> Result<Request<Bytes>, EgressError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let Some(scope) = self.scope {
            form.append_pair("scope", scope);
        }
        let encode = |bytes: &[u8]| form_urlencoded::byte_serialize(bytes).collect::<String>();
        let (user, password) = (encode(self.client_id.as_bytes()), Secret::new(encode(self.secret.expose())));
        needles.add(self.secret.expose());
        Request::builder()
            .method(Method::POST)
            .uri(self.token_url)
            .header(header::AUTHORIZATION, basic(user.as_bytes(), password.expose(), needles)?)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Bytes::from(form.finish()))
            .map_err(|error| refused(format!("`token_url`: {error}")))
    }
}

fn read(origin: &Origin, status: StatusCode, body: &[u8], asked: Timestamp) -> Result<Token, EgressError> {
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(EgressError::Connect { reason: format!("token endpoint `{origin}` answers {status}") });
    }
    if status != StatusCode::OK {
        let code: TokenRefusal = serde_json::from_slice(body).unwrap_or_default();
        // Only a code of the protocol is shown, nothing that may echo what was sent.
        let code: String = code.error.chars().filter(|c| c.is_ascii_lowercase() || *c == '_').take(64).collect();
        return Err(refused(format!(
            "token endpoint `{origin}` answers {status} `{code}`; look at `client_id`, `client_secret` and `scope`"
        )));
    }
    let response: TokenResponse = serde_json::from_slice(body)
        .map_err(|_| refused(format!("token endpoint `{origin}` answers something else than a token")))?;
    if !response.token_type.eq_ignore_ascii_case("bearer") {
        return Err(refused(format!("token endpoint `{origin}` gives a token that is not of type `Bearer`")));
    }
    let life_s = response.expires_in.and_then(|number| number.as_u64()).unwrap_or(EXPIRES_S_DEFAULT);
    let life_ms = life_s.saturating_mul(1000);
    let use_until = asked.plus_millis(life_ms - (life_ms / 10).min(EARLY_MS_MAX));
    Ok(Token { value: Secret::new(response.access_token.into_bytes()), use_until })
}

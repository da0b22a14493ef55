//! OAuth 2 tokens: how they are asked for, and what is read of the answer, which no guest ever sees.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde::Deserialize;
use url::form_urlencoded;

use super::{
    credentials::{basic, refused},
    headers::USER_AGENT,
    lane::{Client, transmit},
    redact::Needles,
};
use crate::{
    model::{auth::ClientAuthentication, timestamp::Timestamp},
    policy::egress::Origin,
    ports::{clock::Clock, egress::EgressError, secrets::Secret},
};

/// Largest token response, bytes.
const TOKEN_RESPONSE_BYTES_LIMIT: u64 = 64 << 10;

/// How long a token without `expires_in` is used, seconds.
const EXPIRES_S_DEFAULT: u64 = 300;

/// How long before its end a token is no longer used, milliseconds; at most a tenth of its life.
const EARLY_MS_MAX: u64 = 30_000;

/// An access token.
pub(super) struct Token {
    pub(super) value: Secret,
    pub(super) use_until: Timestamp,
}

/// A request for a token (RFC 6749 §4.4.2, §6).
pub(super) struct TokenRequest<'a> {
    pub(super) token_url: &'a str,
    pub(super) client_id: &'a str,
    pub(super) secret: &'a Secret,
    pub(super) scope: Option<&'a str>,
    pub(super) how: ClientAuthentication,
    /// What the token is given out for; absent: for being the client.
    pub(super) refresh: Option<&'a Secret>,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    token_type: String,
    #[serde(default)]
    expires_in: Option<serde_json::Number>,
    #[serde(default)]
    refresh_token: Option<String>,
}

#[derive(Deserialize, Default)]
struct TokenRefusal {
    #[serde(default)]
    error: String,
}

impl TokenRequest<'_> {
    pub(super) async fn send(
        &self,
        client: &Client,
        clock: &dyn Clock,
        needles: &mut Needles,
    ) -> Result<(Token, Option<Secret>), EgressError> {
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
        match self.refresh {
            None => form.append_pair("grant_type", "client_credentials"),
            Some(_) => form.append_pair("grant_type", "refresh_token"),
        };
        if let Some(scope) = self.scope {
            form.append_pair("scope", scope);
        }
        if self.how == ClientAuthentication::Body {
            form.append_pair("client_id", self.client_id);
        }
        let mut form = form.finish();
        // A secret may hold any bytes, which a form takes as text only.
        let encode = |bytes: &[u8]| form_urlencoded::byte_serialize(bytes).collect::<String>();
        let mut hidden = |name: &str, secret: &Secret, needles: &mut Needles| {
            needles.add(secret.expose());
            form.push_str(&format!("&{name}={}", encode(secret.expose())));
        };
        if let Some(refresh) = self.refresh {
            hidden("refresh_token", refresh, needles);
        }
        if self.how == ClientAuthentication::Body {
            hidden("client_secret", self.secret, needles);
        }
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.token_url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, USER_AGENT);
        if self.how == ClientAuthentication::Basic {
            needles.add(self.secret.expose());
            let (user, password) = (encode(self.client_id.as_bytes()), Secret::new(encode(self.secret.expose())));
            request = request.header(header::AUTHORIZATION, basic(user.as_bytes(), password.expose(), needles)?);
        }
        request.body(Bytes::from(form)).map_err(|error| refused(format!("`token_url`: {error}")))
    }
}

fn read(
    origin: &Origin,
    status: StatusCode,
    body: &[u8],
    asked: Timestamp,
) -> Result<(Token, Option<Secret>), EgressError> {
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(EgressError::Connect { reason: format!("token endpoint `{origin}` answers {status}") });
    }
    if status != StatusCode::OK {
        let code: TokenRefusal = serde_json::from_slice(body).unwrap_or_default();
        // Only a code of the protocol is shown, nothing that may echo what was sent.
        let code: String = code.error.chars().filter(|c| c.is_ascii_lowercase() || *c == '_').take(64).collect();
        return Err(refused(format!(
            "token endpoint `{origin}` answers {status} `{code}`; look at `client_id`, `client_secret`, `scope` and, if \
             there is one, `refresh_token`"
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
    let refresh = response.refresh_token.map(|token| Secret::new(token.into_bytes()));
    Ok((Token { value: Secret::new(response.access_token.into_bytes()), use_until }, refresh))
}

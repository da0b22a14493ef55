//! `POST /v1/enroll`, `/v1/tokens` and what is below it, `GET /v1/usage`: who may come in, and how much they use.
//!
//! A token's text is in the answer that makes it and nowhere else; such an answer is not to be stored by anybody between.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, RawQuery, Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Surface,
    answer::{parameters, read_json},
    gate::{self, Caller},
};
use crate::{
    model::principal::{Action, Resource},
    net::problem::{Code, Document, Problem},
    ports::access::{AuthError, Issued, TokenRequest, TokenView, Usage},
};

/// Who is enrolled.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Enrolment {
    /// The name that decisions and audit records will carry.
    #[schema(example = "ann")]
    name: String,
}

/// What a token is to be.
#[derive(ToSchema)]
#[schema(as = TokenRequest)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct TokenRequestDoc {
    /// Whose it is: the name that decisions and audit records will carry.
    name: String,
    /// `person`, `partner` or `service`.
    kind: String,
    /// At least one of `partner`, `retailer`, `operator`, `auditor`, `admin`.
    roles: Vec<String>,
    /// What it is held to.
    scope: Option<ScopeDoc>,
    /// How often it may be used.
    limits: Option<TokenLimitsDoc>,
    /// For how long it is valid, seconds; 90 days unless told, at most 366.
    valid_for_s: Option<u64>,
    /// Why it is made.
    reason: Option<String>,
}

/// What a token is held to, whatever its roles allow.
#[derive(ToSchema)]
#[schema(as = Scope)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct ScopeDoc {
    /// Only these actions, such as `run.read`; absent: whatever the roles allow.
    actions: Option<Vec<String>>,
    /// Sources that events may be sent from, exact or with `*` at the end; absent: none.
    sources: Option<Vec<String>>,
    /// Event types that may be sent, in the same form; absent: none.
    types: Option<Vec<String>>,
    /// Namespaces that may be published in.
    namespaces: Option<Vec<String>>,
    /// Contracts whose published reads may be asked; absent: those that the roles allow, which for a partner is none.
    contracts: Option<Vec<String>>,
}

/// How often a token may be used.
#[derive(ToSchema)]
#[schema(as = TokenLimits)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct TokenLimitsDoc {
    /// Spike limit: requests a second.
    per_second: Option<u32>,
    /// Quota: `{ "requests": 10000, "per": "day" }`, with `minute`, `hour` or `day`.
    #[schema(value_type = Object)]
    quota: Option<BTreeMap<String, String>>,
}

/// A token as it may be seen.
#[derive(ToSchema)]
#[schema(as = TokenView)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct TokenViewDoc {
    /// Its id, which begins the token itself after `crossdock_`.
    #[schema(example = "0123456789abcdef")]
    id: String,
    /// Whose it is.
    name: String,
    /// What they are.
    kind: String,
    /// What they do here.
    roles: Vec<String>,
    /// What it is held to.
    scope: ScopeDoc,
    /// How often it may be used.
    limits: TokenLimitsDoc,
    /// `active`, `expired` or `revoked`.
    state: String,
    /// When it was made, or last got another secret; RFC 3339.
    created: String,
    /// By whom.
    created_by: String,
    /// Until when it is valid, RFC 3339.
    expires: String,
    /// When it was revoked, RFC 3339.
    revoked: Option<String>,
    /// When it was last used, RFC 3339.
    last_used: Option<String>,
    /// Whether it is only for trying the hub out.
    development: bool,
}

/// A new token.
#[derive(ToSchema)]
#[schema(as = IssuedToken)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct IssuedDoc {
    /// The token, to be sent as `Authorization: Bearer …`. It is not shown again.
    token: String,
    /// What it is.
    #[schema(inline)]
    #[serde(flatten)]
    view: TokenViewDoc,
}

/// All tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    /// The newest first.
    #[schema(value_type = Vec<TokenViewDoc>)]
    tokens: Vec<TokenView>,
}

/// Makes the first admin's token for whoever shows the enrolment token that the hub wrote to its data folder.
#[utoipa::path(
    post,
    path = "/v1/enroll",
    tag = "access",
    request_body(content = Enrolment, content_type = "application/json"),
    responses(
        (status = 201, description = "Enrolled; the answer is the only place that shows the token", body = IssuedDoc),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "`auth.required`, `enrolment.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn enroll(State(surface): State<Surface>, request: Request) -> Result<Response, Problem> {
    let shown = gate::bearer(request.headers())?.ok_or(AuthError::Missing)?.to_owned();
    let Enrolment { name } = read_json(&surface, request).await?;
    Ok(issued(surface.hub.access().enroll(&shown, &name).await?, StatusCode::CREATED))
}

/// Lists tokens, the newest first. Their secrets are not kept, and so not shown.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    tag = "access",
    responses((status = 200, description = "The tokens", body = Tokens))
)]
pub(super) async fn list(State(surface): State<Surface>) -> Json<Tokens> {
    Json(Tokens { tokens: surface.hub.access().tokens() })
}

/// Makes a token. It reaches no further than whoever makes it does.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    tag = "access",
    request_body(content = TokenRequestDoc, content_type = "application/json"),
    responses(
        (status = 201, description = "Made; the answer is the only place that shows the token", body = IssuedDoc),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 403, description = "`access.denied`: it would reach further than whoever makes it", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`token.conflict`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(surface): State<Surface>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let wanted: TokenRequest = read_json(&surface, request).await?;
    Ok(issued(surface.hub.access().create_token(caller.principal(), wanted).await?, StatusCode::CREATED))
}

/// Why a token is revoked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    /// Why.
    #[serde(default)]
    reason: String,
}

/// Revokes a token, at once and for good.
#[utoipa::path(
    post,
    path = "/v1/tokens/{id}/revoke",
    tag = "access",
    params(("id" = String, Path, description = "The token's id")),
    request_body(content = Revocation, content_type = "application/json"),
    responses(
        (status = 200, description = "Revoked, now or before", body = TokenViewDoc),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`token.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`token.conflict`: it is the last admin's", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn revoke(
    State(surface): State<Surface>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<TokenView>, Problem> {
    let Revocation { reason } = read_json(&surface, request).await?;
    Ok(Json(surface.hub.access().revoke_token(caller.principal(), &id, &reason).await?))
}

/// How a token gets another secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// For how many seconds the old secret is good after this; 0 unless told, at most a week.
    #[serde(default)]
    overlap_s: u64,
    /// Why.
    #[serde(default)]
    reason: String,
}

/// Gives a token another secret. It keeps its id, and is valid for as long again as it was made for.
#[utoipa::path(
    post,
    path = "/v1/tokens/{id}/rotate",
    tag = "access",
    params(("id" = String, Path, description = "The token's id")),
    request_body(content = Rotation, content_type = "application/json"),
    responses(
        (status = 200, description = "Done; the answer is the only place that shows the token", body = IssuedDoc),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 403, description = "`access.denied`: it reaches further than whoever rotates it", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`token.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`token.conflict`: it is no longer valid", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn rotate(
    State(surface): State<Surface>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let Rotation { overlap_s, reason } = read_json(&surface, request).await?;
    let rotated = surface.hub.access().rotate_token(caller.principal(), &id, overlap_s, &reason).await?;
    Ok(issued(rotated, StatusCode::OK))
}

/// The answer with a token's text.
fn issued(issued: Issued, status: StatusCode) -> Response {
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, no_store, Json(issued)).into_response()
}

/// How much tokens were used.
#[derive(Serialize, ToSchema)]
pub(super) struct Used {
    /// One for each token: `token`, `name`, `requests`, `refused`, `limits`, `last_used`; with a quota also `in_period`
    /// and `period_ends`.
    #[schema(value_type = Vec<Object>)]
    usage: Vec<Usage>,
}

/// Shows how much one's own tokens were used; all of them to those who manage tokens.
#[utoipa::path(
    get,
    path = "/v1/usage",
    tag = "access",
    params(("all" = Option<bool>, Query, description = "Everybody's, for those who manage tokens")),
    responses(
        (status = 200, description = "The use", body = Used),
        (status = 400, description = "`query.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 403, description = "`access.denied`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn usage(
    State(surface): State<Surface>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Used>, Problem> {
    let [all] = parameters(query.as_deref(), ["all"])?;
    let access = surface.hub.access();
    let usage = match all.as_deref() {
        None | Some("false") => access.usage(Some(&caller.principal().name)),
        Some("true") => {
            access.decide(caller.principal(), Action::TokenManage, Resource::Hub)?;
            access.usage(None)
        }
        Some(other) => {
            return Err(Problem::new(Code::QueryInvalid, format!("`all={other}` must be `true` or `false`")));
        }
    };
    Ok(Json(Used { usage }))
}

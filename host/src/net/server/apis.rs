//! `/v1/apis` and what is below it: reads that are published under a contract, and who publishes them.
//!
//! Answers say for how long they are good (RFC 9111), where they came from (RFC 9211), and, where the publication says so,
//! that the API is deprecated (RFC 9745) or ends (RFC 8594), and what is to be used instead.

use axum::{
    Json,
    extract::{Path, RawQuery, Request, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Surface,
    answer::read_json,
    ending::Ending,
    gate::Caller,
    settings::{answered, settings},
};
use crate::{
    model::{
        api::Publication,
        id::ContractId,
        principal::{Action, Resource},
    },
    net::problem::{Code, Document, Problem},
    ports::{
        apis::{ApiAnswer, ApiError, ApiView, Apis, Input, Origin},
        settings::{PublicationAct, SettingChanged, SettingError},
    },
};

/// `Cache-Status` (RFC 9211).
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Namespace, name and major version of a contract.
type Place = (String, String, String);

/// What is published.
#[derive(Serialize, ToSchema)]
pub(super) struct Listed {
    /// By contract; those that the caller may ask.
    #[schema(value_type = Vec<ApiViewDoc>)]
    apis: Vec<ApiView>,
}

/// An API.
#[derive(ToSchema)]
#[schema(as = ApiView)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct ApiViewDoc {
    /// The contract.
    #[schema(example = "retail/erp-orders@1")]
    contract: String,
    /// One sentence.
    summary: String,
    /// `active`, `deprecated` or `gone`.
    state: String,
    /// Where its OpenAPI description is.
    description: String,
    /// `name`, `summary` and `path` of each.
    #[schema(value_type = Vec<Object>)]
    operations: Vec<Value>,
    /// The connection behind it; only for those who may see connections.
    connection: Option<String>,
    /// Who has the say about it: `file` (hub.toml) or `api`, whose changes hub.toml does not override; for the same.
    origin: Option<String>,
    /// What hub.toml declares of it: the `same`, or something that `differs`; absent: nothing; for the same.
    declared: Option<String>,
    /// For how long an answer may be given again, seconds.
    cache_s: u32,
    /// For how long after that while nothing else can be had, seconds.
    stale_if_error_s: u32,
    /// From when on it is deprecated, RFC 3339.
    deprecated: Option<String>,
    /// From when on it answers nothing, RFC 3339.
    sunset: Option<String>,
    /// The contract to move to.
    successor: Option<String>,
    /// When it was published as it is, RFC 3339.
    published: String,
}

/// What to do with a publication.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlBody {
    r#do: Act,
    api: Option<Box<Publication>>,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Act {
    Publish,
    Declared,
    Withdraw,
}

/// What to do with a publication.
#[derive(ToSchema)]
#[schema(as = ApiControl)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct ControlDoc {
    /// `publish`, `declared` (take what hub.toml says) or `withdraw`.
    r#do: String,
    /// To publish: `connection`, `operations`, and where wanted `cache_s`, `stale_if_error_s`, `deprecated`, `sunset`,
    /// `successor`, `timeout_ms`.
    #[schema(value_type = Option<Object>)]
    api: Option<Value>,
    /// Who; absent: whoever sends it.
    actor: Option<String>,
    /// Why.
    reason: Option<String>,
}

/// Lists the APIs that the caller may ask.
#[utoipa::path(
    get,
    path = "/v1/apis",
    tag = "apis",
    responses((status = 200, description = "The APIs", body = Listed))
)]
pub(super) async fn list(State(surface): State<Surface>, caller: Caller) -> Json<Listed> {
    let all = surface.hub.apis().map(Apis::list).unwrap_or_default();
    let may = |view: &ApiView| may(&surface, &caller, Action::ApiRead, Resource::Contract(view.contract.as_str()));
    Json(Listed { apis: all.into_iter().filter(may).map(|view| for_caller(&surface, &caller, view)).collect() })
}

/// Shows an API.
#[utoipa::path(
    get,
    path = "/v1/apis/{namespace}/{name}/{major}",
    tag = "apis",
    params(("namespace" = String, Path), ("name" = String, Path), ("major" = String, Path)),
    responses(
        (status = 200, description = "The API", body = ApiViewDoc),
        (status = 404, description = "`api.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "`api.gone`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(surface): State<Surface>,
    caller: Caller,
    Path(place): Path<Place>,
) -> Result<Json<ApiView>, Problem> {
    let contract = permitted(&caller, &place)?;
    Ok(Json(for_caller(&surface, &caller, apis(&surface)?.api(&contract)?)))
}

/// Publishes reads of a connection under a contract, or changes or ends that, or proposes to where more is given to others
/// than before; in effect and audited when it answers 200.
#[utoipa::path(
    post,
    path = "/v1/apis/{namespace}/{name}/{major}",
    tag = "apis",
    params(("namespace" = String, Path), ("name" = String, Path), ("major" = String, Path)),
    request_body(content = ControlDoc, content_type = "application/json"),
    responses(
        (status = 200, description = "Published, or withdrawn", body = ApiViewDoc),
        (status = 202, description = "Proposed: a second person has to agree at `/v1/changes/{id}/decision`", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`api.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`setting.conflict`", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "`api.gone`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`api.refused`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn control(
    State(surface): State<Surface>,
    caller: Caller,
    Path(place): Path<Place>,
    request: Request,
) -> Result<Response, Problem> {
    let contract = permitted(&caller, &place)?;
    let ControlBody { r#do: act, api, actor, reason } = read_json(&surface, request).await?;
    let who = caller.signed(actor, reason)?;
    let act = match (act, api) {
        (Act::Publish, Some(api)) => PublicationAct::Publish(api),
        (Act::Declared, None) => PublicationAct::Declared,
        (Act::Withdraw, None) => return Ok(Json(apis(&surface)?.withdraw(who, &contract).await?).into_response()),
        (Act::Publish, None) => {
            return Err(Problem::new(Code::RequestInvalid, "`api` says what to publish; it is not there"));
        }
        (Act::Withdraw | Act::Declared, Some(_)) => {
            return Err(Problem::new(Code::RequestInvalid, "`api` is there, and only `publish` takes one"));
        }
    };
    match settings(&surface)?.publish(contract.clone(), act, who).await.map_err(told)? {
        proposed @ SettingChanged::Proposed(_) => Ok(answered(proposed)),
        SettingChanged::Done { .. } => {
            // As it is now, though its sunset may be over.
            let view = apis(&surface)?.list().into_iter().find(|view| view.contract == contract);
            let unknown = || ApiError::Unknown { contract: contract.to_string() };
            Ok(Json(view.ok_or_else(unknown)?).into_response())
        }
    }
}

/// Why reads are not published, in this route's own words.
fn told(error: SettingError) -> Problem {
    match error {
        SettingError::Refused { problem, .. } => ApiError::Refused { problem }.into(),
        other => other.into(),
    }
}

/// Describes an API: OpenAPI 3.1, made from the contract.
#[utoipa::path(
    get,
    path = "/v1/apis/{namespace}/{name}/{major}/openapi.json",
    tag = "apis",
    params(("namespace" = String, Path), ("name" = String, Path), ("major" = String, Path)),
    responses(
        (status = 200, description = "OpenAPI 3.1", body = Object),
        (status = 404, description = "`api.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "`api.gone`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn describe(
    State(surface): State<Surface>,
    caller: Caller,
    Path(place): Path<Place>,
) -> Result<Json<Value>, Problem> {
    let contract = permitted(&caller, &place)?;
    Ok(Json(apis(&surface)?.describe(&contract)?))
}

/// Asks a published read with its input's fields as parameters: text as it is, everything else as JSON. Each API describes
/// its own.
#[utoipa::path(
    get,
    path = "/v1/apis/{namespace}/{name}/{major}/{operation}",
    tag = "apis",
    params(
        ("namespace" = String, Path),
        ("name" = String, Path),
        ("major" = String, Path),
        ("operation" = String, Path),
    ),
    responses(
        (status = 200, description = "The answer, with Cache-Control, ETag, Age and Cache-Status", body = Object),
        (status = 304, description = "It is as the ETag in If-None-Match says"),
        (status = 404, description = "`api.unknown`, `api.operation-unknown`, `api.not-found`", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "`api.gone`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`api.input`", body = Document, content_type = "application/problem+json"),
        (status = 502, description = "`api.failed`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`api.unavailable`", body = Document, content_type = "application/problem+json"),
        (status = 504, description = "`api.timeout`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn ask(
    State(surface): State<Surface>,
    caller: Caller,
    Path((namespace, name, major, operation)): Path<(String, String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let contract = permitted(&caller, &(namespace, name, major))?;
    let fields = url::form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes()).into_owned().collect();
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    answer(apis(&surface)?, &contract, &operation, Input::Fields(fields), known.collect()).await
}

/// Asks a published read with its input as a document. Each API describes its own.
#[utoipa::path(
    post,
    path = "/v1/apis/{namespace}/{name}/{major}/{operation}",
    tag = "apis",
    params(
        ("namespace" = String, Path),
        ("name" = String, Path),
        ("major" = String, Path),
        ("operation" = String, Path),
    ),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, description = "The answer, with Cache-Control, ETag, Age and Cache-Status", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`api.unknown`, `api.operation-unknown`, `api.not-found`", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "`body.timeout`", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "`api.gone`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`api.input`", body = Document, content_type = "application/problem+json"),
        (status = 502, description = "`api.failed`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`api.unavailable`", body = Document, content_type = "application/problem+json"),
        (status = 504, description = "`api.timeout`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn ask_with(
    State(surface): State<Surface>,
    caller: Caller,
    Path((namespace, name, major, operation)): Path<(String, String, String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let contract = permitted(&caller, &(namespace, name, major))?;
    let document: Value = read_json(&surface, request).await?;
    // Whether it is as before is asked with `GET` alone (RFC 9110, 13.1.2).
    answer(apis(&surface)?, &contract, &operation, Input::Document(document.to_string().into()), Vec::new()).await
}

async fn answer(
    apis: &dyn Apis,
    contract: &ContractId,
    operation: &str,
    input: Input,
    known: Vec<&str>,
) -> Result<Response, Problem> {
    let view = apis.api(contract)?;
    let mut response = match apis.read(contract, operation, input).await {
        Ok(answer) => given(&view, answer, &known),
        Err(error) => Problem::from(error).into_response(),
    };
    announce(&view, response.headers_mut());
    Ok(response)
}

/// A good answer, or that it is as whoever asks knows it.
fn given(view: &ApiView, answer: ApiAnswer, known: &[&str]) -> Response {
    let ApiAnswer { body, tag, age_s, origin } = answer;
    let tag = format!("\"{tag}\"");
    let is_known = known.iter().flat_map(|line| line.split(',')).map(str::trim).any(|shown| {
        // Weak comparison (RFC 9110, 13.1.2).
        shown == "*" || shown.strip_prefix("W/").unwrap_or(shown) == tag
    });
    let (status, body) = if is_known { (StatusCode::NOT_MODIFIED, Bytes::new()) } else { (StatusCode::OK, body) };
    let mut response = (status, body).into_response();
    let cache = match (view.cache_s, view.stale_if_error_s) {
        (0, 0) => "no-store".to_owned(),
        // Who may ask is proven with each request: only whoever asked may keep it.
        (0, _) => "private, no-cache".to_owned(),
        (fresh, 0) => format!("private, max-age={fresh}"),
        (fresh, stale) => format!("private, max-age={fresh}, stale-if-error={stale}"),
    };
    let left_s = i64::from(view.cache_s).saturating_sub_unsigned(age_s);
    let status = match origin {
        Origin::Remote => "crossdock; fwd=miss".to_owned(),
        Origin::Collapsed => "crossdock; fwd=miss; collapsed".to_owned(),
        Origin::Kept => format!("crossdock; hit; ttl={left_s}"),
        Origin::Stale => format!("crossdock; hit; ttl={left_s}; detail=stale-if-error"),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::AGE, age_s.into());
    for (name, text) in [(header::ETAG, tag), (header::CACHE_CONTROL, cache), (CACHE_STATUS, status)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    response
}

/// Says on each answer that an API ends, and what comes after it.
fn announce(view: &ApiView, headers: &mut HeaderMap) {
    let path = |successor: &ContractId| format!("/v1/apis/{}/openapi.json", successor.as_str().replace('@', "/"));
    let successors = view.successor.iter().map(path).collect();
    Ending { since: view.deprecated, sunset: view.sunset, successors }.announce(headers);
}

/// The contract that a path names, if the caller may do there what the route is for.
fn permitted(caller: &Caller, (namespace, name, major): &Place) -> Result<ContractId, Problem> {
    let text = format!("{namespace}/{name}@{major}");
    caller.may(Resource::Contract(&text))?;
    text.parse().map_err(|_| ApiError::Unknown { contract: text.chars().take(200).collect() }.into())
}

fn may(surface: &Surface, caller: &Caller, action: Action, resource: Resource<'_>) -> bool {
    surface.hub.access().decide(caller.principal(), action, resource).is_ok()
}

/// Without the connection, unless the caller may see connections.
fn for_caller(surface: &Surface, caller: &Caller, view: ApiView) -> ApiView {
    if may(surface, caller, Action::ConnectionRead, Resource::Hub) {
        return view;
    }
    ApiView { connection: None, origin: None, declared: None, ..view }
}

fn apis(surface: &Surface) -> Result<&dyn Apis, Problem> {
    surface.hub.apis().ok_or_else(|| Problem::new(Code::ApiUnknown, "this hub publishes no APIs"))
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        let text = error.to_string();
        match error {
            ApiError::Unknown { .. } => Self::new(Code::ApiUnknown, text),
            ApiError::UnknownOperation { .. } => Self::new(Code::ApiOperationUnknown, text),
            ApiError::Gone { .. } => Self::new(Code::ApiGone, text),
            ApiError::Input { .. } => Self::new(Code::ApiInput, text),
            ApiError::NotFound => Self::new(Code::ApiNotFound, text),
            ApiError::Unavailable { retry_after_s, .. } => {
                Self::new(Code::ApiUnavailable, text).with("retry_after_s", retry_after_s)
            }
            ApiError::Timeout { retry_after_s } => {
                Self::new(Code::ApiTimeout, text).with("retry_after_s", retry_after_s)
            }
            ApiError::Failed { .. } => Self::new(Code::ApiFailed, text),
            ApiError::Refused { .. } => Self::new(Code::ApiRefused, text),
            ApiError::Unrecorded { .. } => Self::new(Code::HubUnavailable, text),
        }
    }
}

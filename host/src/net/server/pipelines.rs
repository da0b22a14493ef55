//! `/v1/pipelines/{namespace}/{name}…`: versions of pipelines, what differs between them, and which one serves.

use axum::{
    Json,
    extract::{Path, RawQuery, Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use semver::Version;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    Surface,
    answer::{parameters, read_body, read_json, require_type},
    gate::Caller,
};
use crate::{
    model::{
        difference::PipelineDifference,
        principal::{Action, Resource},
        review::ReviewAct,
    },
    net::problem::{Code, Document, Problem},
    ports::{
        pipelines::{PIPELINE_BYTES_LIMIT, PipelineDetail, PipelineText, Pipelines},
        registry::Who,
        review::{ReviewError, Thing},
    },
};

/// A change to a version, or to which version serves.
#[derive(ToSchema)]
#[schema(as = ReviewChange)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct ChangeDoc {
    /// Who; absent: whoever sends it.
    actor: Option<String>,
    /// Why.
    reason: String,
    /// `approve`, `promote`, `rollback`, `deprecate`, `retire`.
    r#do: String,
    /// Which version; not for `rollback`.
    version: Option<String>,
    /// For `promote` of a pipeline: connections that names of its `uses` are bound to first.
    #[schema(value_type = Option<Object>)]
    bindings: Option<Value>,
    /// For `deprecate`: until when it is meant to be used, RFC 3339.
    sunset: Option<String>,
    /// For `deprecate`: the version to use instead.
    replaced_by: Option<String>,
}

/// Drafts a version of a pipeline: checked, kept, and serving nobody before somebody else approves it.
#[utoipa::path(
    post,
    path = "/v1/pipelines/{namespace}/{name}",
    tag = "registry",
    params(
        ("namespace" = String, Path), ("name" = String, Path),
        ("actor" = Option<String>, Query, description = "Who drafts it; absent: whoever sends it"),
        ("reason" = String, Query, description = "Why"),
    ),
    request_body(content = String, content_type = "application/yaml", description = "The pipeline; at most 256 KiB"),
    responses(
        (status = 200, description = "Exactly this version was there before", body = Object),
        (status = 201, description = "Drafted: version, digest, author, what to do next", body = Object),
        (status = 400, description = "`query.invalid`, `request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`pipeline.version-taken`, `registry.conflict`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`pipeline.refused`: each of the `mistakes` with line, column and what to write instead", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn draft(
    State(surface): State<Surface>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    let name = name_of(&path);
    caller.may(Resource::Pipeline(&name))?;
    let [actor, reason] = parameters(query.as_deref(), ["actor", "reason"])?;
    let who = caller.signed(actor.unwrap_or_default(), reason.unwrap_or_default())?;
    let (head, body) = request.into_parts();
    require_type(&head.headers, "application/yaml")?;
    let body = read_body(body, &head.headers, PIPELINE_BYTES_LIMIT, surface.options.body_timeout).await?;
    let text = String::from_utf8(body.into())
        .map_err(|_| Problem::new(Code::RequestInvalid, "the body is not UTF-8, which a pipeline's text has to be"))?;
    let drafted = pipelines(&surface)?.draft(name, text, who).await?;
    let status = if drafted.unchanged { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(drafted)).into_response())
}

/// Shows a pipeline's versions, who drafted and approved each, and which one serves.
#[utoipa::path(
    get,
    path = "/v1/pipelines/{namespace}/{name}",
    tag = "registry",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses(
        (status = 200, description = "`versions`, the latest first, `active`, `earlier`; `bindings` for who has `connection.read`", body = Object),
        (status = 404, description = "`pipeline.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(surface): State<Surface>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Json<PipelineDetail>, Problem> {
    let mut detail = pipelines(&surface)?.pipeline(&name_of(&path))?;
    detail.bindings = detail.bindings.filter(|_| caller.sees(Action::ConnectionRead));
    Ok(Json(detail))
}

/// Shows one version with its text.
#[utoipa::path(
    get,
    path = "/v1/pipelines/{namespace}/{name}/versions/{version}",
    tag = "registry",
    params(("namespace" = String, Path), ("name" = String, Path), ("version" = String, Path)),
    responses(
        (status = 200, description = "The version, with `text`", body = Object),
        (status = 400, description = "`query.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`pipeline.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn version(
    State(surface): State<Surface>,
    Path((namespace, name, version)): Path<(String, String, String)>,
) -> Result<Json<PipelineText>, Problem> {
    let version = parse_version("version", &version)?;
    Ok(Json(pipelines(&surface)?.version(&name_of(&(namespace, name)), &version)?))
}

/// Tells what differs between two versions, step by step.
#[utoipa::path(
    get,
    path = "/v1/pipelines/{namespace}/{name}/difference",
    tag = "registry",
    params(
        ("namespace" = String, Path), ("name" = String, Path),
        ("from" = String, Query, description = "The earlier version"),
        ("to" = String, Query, description = "The later version"),
    ),
    responses(
        (status = 200, description = "`fields` of the pipeline, and `steps` that were added, removed, changed or moved", body = Object),
        (status = 400, description = "`query.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`pipeline.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn difference(
    State(surface): State<Surface>,
    Path(path): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Json<PipelineDifference>, Problem> {
    let (from, to) = from_to(query.as_deref())?;
    Ok(Json(pipelines(&surface)?.difference(&name_of(&path), &from, &to)?))
}

/// Approves a draft, promotes a version, rolls back, deprecates or retires; durable and in effect when it answers. Its
/// author cannot approve a version.
#[utoipa::path(
    post,
    path = "/v1/pipelines/{namespace}/{name}/control",
    tag = "registry",
    params(("namespace" = String, Path), ("name" = String, Path)),
    request_body(content = ChangeDoc, content_type = "application/json"),
    responses(
        (status = 200, description = "Done: what was done, what was looked at, what to know", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 403, description = "`change.same-person`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`pipeline.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`registry.conflict`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`pipeline.refused`: it does not hold any more", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn control(
    State(surface): State<Surface>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let name = name_of(&path);
    caller.may(Resource::Pipeline(&name))?;
    let (act, who): (ReviewAct, Who) = read_act(&surface, &caller, request).await?;
    if let ReviewAct::Promote { bindings, .. } = &act
        && !bindings.is_empty()
    {
        // What a connection may do, the pipeline may have it do from then on.
        caller.may_do(Action::ConnectionChange, Resource::Hub)?;
    }
    Ok(Json(pipelines(&surface)?.change(name, act, who).await?).into_response())
}

/// A pipeline that is paused, or goes on.
#[derive(ToSchema)]
#[schema(as = PipelineHold)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct HoldDoc {
    /// Who; absent: whoever sends it.
    actor: Option<String>,
    /// Why.
    reason: String,
    /// `pause` or `continue`.
    r#do: String,
}

/// Pauses a pipeline as a whole, or lets it go on; durable and in effect when it answers. While it is paused no step of its
/// runs begins, what is out is recorded, decisions are taken, events are accepted and new runs wait. A restart changes
/// nothing of it.
#[utoipa::path(
    post,
    path = "/v1/pipelines/{namespace}/{name}/hold",
    tag = "people",
    params(("namespace" = String, Path), ("name" = String, Path)),
    request_body(content = HoldDoc, content_type = "application/json"),
    responses(
        (status = 200, description = "Done: what was done, and how many runs it is about", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`pipeline.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`registry.conflict`: it is paused already, or is not", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn hold(
    State(surface): State<Surface>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let name = name_of(&path);
    caller.may(Resource::Pipeline(&name))?;
    let (act, who) = read_act(&surface, &caller, request).await?;
    Ok(Json(pipelines(&surface)?.hold(name, act, who).await?).into_response())
}

/// Reads what somebody wants to do, and who.
pub(super) async fn read_act<T: DeserializeOwned>(
    surface: &Surface,
    caller: &Caller,
    request: Request,
) -> Result<(T, Who), Problem> {
    let ([actor, reason], what) = read_apart(surface, request).await?;
    let act = taken(what)?;
    Ok((act, caller.signed(actor, reason)?))
}

/// Reads a body that says who and why beside what: the `actor`, the `reason`, and all the rest.
pub(super) async fn read_apart(surface: &Surface, request: Request) -> Result<([String; 2], Value), Problem> {
    let mut body: Map<String, Value> = read_json(surface, request).await?;
    let mut text = |name: &str| match body.remove(name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Problem::new(Code::RequestInvalid, format!("`{name}` must be text"))),
    };
    let who = [text("actor")?, text("reason")?];
    Ok((who, Value::Object(body)))
}

/// What is asked for, once who asks is taken off.
pub(super) fn taken<T: DeserializeOwned>(what: Value) -> Result<T, Problem> {
    let invalid = |error| Problem::new(Code::RequestInvalid, format!("the body is not what is taken here: {error}"));
    serde_json::from_value(what).map_err(invalid)
}

/// The two versions that a query names.
pub(super) fn from_to(query: Option<&str>) -> Result<(Version, Version), Problem> {
    let [from, to] = parameters(query, ["from", "to"])?;
    Ok((parse_version("from", &from.unwrap_or_default())?, parse_version("to", &to.unwrap_or_default())?))
}

pub(super) fn parse_version(name: &str, text: &str) -> Result<Version, Problem> {
    text.parse().map_err(|_| Problem::new(Code::QueryInvalid, format!("`{name}={text}` is no version such as `1.2.0`")))
}

pub(super) fn name_of((namespace, name): &(String, String)) -> String {
    format!("{namespace}/{name}")
}

fn pipelines(surface: &Surface) -> Result<&dyn Pipelines, Problem> {
    let none = || Problem::new(Code::RouteUnknown, "this hub keeps no versions of pipelines");
    surface.hub.pipeline_versions().ok_or_else(none)
}

impl From<ReviewError> for Problem {
    fn from(error: ReviewError) -> Self {
        let text = error.to_string();
        match error {
            ReviewError::Unknown { thing: Thing::Pipeline, .. } => Self::new(Code::PipelineUnknown, text),
            ReviewError::Taken { thing: Thing::Pipeline, .. } => Self::new(Code::PipelineVersionTaken, text),
            ReviewError::Unknown { thing: Thing::Table, .. } => Self::new(Code::TableUnknown, text),
            ReviewError::Refused { thing, mistakes, .. } => {
                let code = match thing {
                    Thing::Pipeline => Code::PipelineRefused,
                    Thing::Table => Code::TableRefused,
                };
                Self::new(code, text).with("mistakes", serde_json::to_value(mistakes).unwrap_or_default())
            }
            ReviewError::Taken { thing: Thing::Table, .. } => Self::new(Code::TableVersionTaken, text),
            ReviewError::Invalid { .. } => Self::new(Code::RequestInvalid, text),
            ReviewError::Conflict { .. } => Self::new(Code::RegistryConflict, text),
            ReviewError::Author { .. } => Self::new(Code::ChangeSamePerson, text),
            ReviewError::Unavailable { .. } => Self::new(Code::HubUnavailable, text),
        }
    }
}

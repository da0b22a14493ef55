//! `/v1/tables…`: versions of reference tables, their rows, what differs between them, who uses them, which one serves.

use axum::{
    Json,
    extract::{Path, RawQuery, Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Surface,
    gate::Caller,
    pipelines::{ChangeDoc, from_to, name_of, parse_version, read_act, read_apart, taken},
};
use crate::{
    model::{principal::Resource, table::TableDifference},
    net::problem::{Code, Document, Problem},
    ports::tables::{TableDetail, TableRows, TableUser, TableView, Tables},
};

/// Rows that somebody drafts.
#[derive(ToSchema)]
#[schema(as = TableDraft)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct DraftDoc {
    /// Who; absent: whoever sends it.
    actor: Option<String>,
    /// Why.
    reason: String,
    /// The version; absent: the next one.
    version: Option<String>,
    /// The columns that find a row; absent: as in the latest version.
    key: Option<Vec<String>>,
    /// The JSON Schema of a row; absent: as in the latest version.
    #[schema(value_type = Option<Object>)]
    schema: Option<Value>,
    /// The rows, at most 20 000.
    #[schema(value_type = Option<Vec<Object>>)]
    rows: Option<Vec<Value>>,
    /// The rows as comma-separated values instead.
    csv: Option<String>,
}

/// Reference tables.
#[derive(Serialize, ToSchema)]
pub(super) struct Listed {
    /// By name: `table`, `active`, `versions`, `rows`.
    #[schema(value_type = Vec<Object>)]
    tables: Vec<TableView>,
}

/// Lists the reference tables, by name.
#[utoipa::path(
    get,
    path = "/v1/tables",
    tag = "registry",
    responses((status = 200, description = "The tables", body = Listed))
)]
pub(super) async fn list(State(surface): State<Surface>) -> Result<Json<Listed>, Problem> {
    Ok(Json(Listed { tables: tables(&surface)?.tables() }))
}

/// Drafts a version of a table: checked, kept, and given to no step before somebody else approves it.
#[utoipa::path(
    post,
    path = "/v1/tables/{namespace}/{name}",
    tag = "registry",
    params(("namespace" = String, Path), ("name" = String, Path)),
    request_body(content = DraftDoc, content_type = "application/json", description = "At most 1 MiB"),
    responses(
        (status = 200, description = "Exactly this version was there before", body = Object),
        (status = 201, description = "Drafted: version, digest, author, what to do next", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`table.version-taken`, `registry.conflict`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`table.refused`: each of the `mistakes` with the number of its row as `line`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn draft(
    State(surface): State<Surface>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let name = name_of(&path);
    caller.may(Resource::Table(&name))?;
    let ([actor, reason], rows) = read_apart(&surface, request).await?;
    let who = caller.signed(actor, reason)?;
    let draft = taken(rows)?;
    let drafted = tables(&surface)?.draft(name, draft, who).await?;
    let status = if drafted.unchanged { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(drafted)).into_response())
}

/// Shows a table's versions, who drafted and approved each, and which one serves.
#[utoipa::path(
    get,
    path = "/v1/tables/{namespace}/{name}",
    tag = "registry",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses(
        (status = 200, description = "`versions`, the latest first, `active`, `earlier`", body = Object),
        (status = 404, description = "`table.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(surface): State<Surface>,
    Path(path): Path<(String, String)>,
) -> Result<Json<TableDetail>, Problem> {
    Ok(Json(tables(&surface)?.table(&name_of(&path))?))
}

/// Shows one version with its rows.
#[utoipa::path(
    get,
    path = "/v1/tables/{namespace}/{name}/versions/{version}",
    tag = "registry",
    params(("namespace" = String, Path), ("name" = String, Path), ("version" = String, Path)),
    responses(
        (status = 200, description = "The version, with `key`, `schema` and `rows` by key", body = Object),
        (status = 400, description = "`query.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`table.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn version(
    State(surface): State<Surface>,
    Path((namespace, name, version)): Path<(String, String, String)>,
) -> Result<Json<TableRows>, Problem> {
    let version = parse_version("version", &version)?;
    Ok(Json(tables(&surface)?.rows(name_of(&(namespace, name)), version).await?))
}

/// Tells what differs between two versions, row by row.
#[utoipa::path(
    get,
    path = "/v1/tables/{namespace}/{name}/difference",
    tag = "registry",
    params(
        ("namespace" = String, Path), ("name" = String, Path),
        ("from" = String, Query, description = "The earlier version"),
        ("to" = String, Query, description = "The later version"),
    ),
    responses(
        (status = 200, description = "`fields` of the key and the schema; `added`, `removed` and `changed` rows, the first 200 of them in `rows`", body = Object),
        (status = 400, description = "`query.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`table.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn difference(
    State(surface): State<Surface>,
    Path(path): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Json<TableDifference>, Problem> {
    let (from, to) = from_to(query.as_deref())?;
    Ok(Json(tables(&surface)?.difference(name_of(&path), from, to).await?))
}

/// Steps that are given a table.
#[derive(Serialize, ToSchema)]
pub(super) struct Users {
    /// By pipeline: `pipeline`, `version`, `owner`, `step`, `alias`, `range`.
    #[schema(value_type = Vec<Object>)]
    steps: Vec<TableUser>,
}

/// Tells which steps of pipelines that serve are given the table.
#[utoipa::path(
    get,
    path = "/v1/tables/{namespace}/{name}/impact",
    tag = "registry",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses(
        (status = 200, description = "The steps", body = Users),
        (status = 404, description = "`table.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn impact(
    State(surface): State<Surface>,
    Path(path): Path<(String, String)>,
) -> Result<Json<Users>, Problem> {
    Ok(Json(Users { steps: tables(&surface)?.users(&name_of(&path))? }))
}

/// Approves a draft, promotes a version, rolls back, deprecates or retires; durable and in effect when it answers. Its
/// author cannot approve a version.
#[utoipa::path(
    post,
    path = "/v1/tables/{namespace}/{name}/control",
    tag = "registry",
    params(("namespace" = String, Path), ("name" = String, Path)),
    request_body(content = ChangeDoc, content_type = "application/json"),
    responses(
        (status = 200, description = "Done: what was done, what to know", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 403, description = "`change.same-person`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`table.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`registry.conflict`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
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
    caller.may(Resource::Table(&name))?;
    let (act, who) = read_act(&surface, &caller, request).await?;
    Ok(Json(tables(&surface)?.change(name, act, who).await?).into_response())
}

fn tables(surface: &Surface) -> Result<&dyn Tables, Problem> {
    surface.hub.tables().ok_or_else(|| Problem::new(Code::RouteUnknown, "this hub keeps no tables"))
}

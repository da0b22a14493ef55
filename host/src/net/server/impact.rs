//! What depends on a plugin, a host or an event type: `GET …/impact`.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
};

use super::{
    Surface,
    registry::{id_of, registry, version_of},
    schemas,
};
use crate::{
    net::problem::{Document, Problem},
    ports::impact::{Impact, Subject},
};

/// Tells what depends on a plugin or a version: pipelines and their owners, connections, sources, runs under way.
#[utoipa::path(
    get,
    path = "/v1/plugins/{namespace}/{name}/impact",
    tag = "registry",
    params(
        ("namespace" = String, Path),
        ("name" = String, Path),
        ("version" = Option<String>, Query, description = "Absent: any version"),
    ),
    responses(
        (status = 200, description = "What depends on it", body = Object),
        (status = 400, description = "`query.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`plugin.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn plugin(
    State(surface): State<Surface>,
    Path(path): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Json<Impact>, Problem> {
    let subject = Subject::Plugin { id: id_of(&path)?, version: version_of(query.as_deref())? };
    Ok(Json(registry(&surface)?.impact(&subject).await?))
}

/// Tells what reaches a host: connections, pipelines and their owners, published reads, deliveries, runs under way.
#[utoipa::path(
    get,
    path = "/v1/hosts/{host}/impact",
    tag = "traffic",
    params(("host" = String, Path, description = "`erp.example`, `erp.example:8443`, or an origin such as `https://erp.example`")),
    responses(
        (status = 200, description = "What reaches it; nothing may", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn host(State(surface): State<Surface>, Path(host): Path<String>) -> Result<Json<Impact>, Problem> {
    Ok(Json(registry(&surface)?.impact(&Subject::Host(host)).await?))
}

/// Tells who has to do with an event type: pipelines and their owners, plugins, sources, deliveries, runs under way.
#[utoipa::path(
    get,
    path = "/v1/schemas/{type}/impact",
    tag = "schemas",
    params(("type" = String, Path, description = "The event type")),
    responses(
        (status = 200, description = "Who has to do with it", body = Object),
        (status = 404, description = "`schema.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn schema(
    State(surface): State<Surface>,
    Path(event_type): Path<String>,
) -> Result<Json<Impact>, Problem> {
    let known = schemas::find(&surface, &event_type)?;
    Ok(Json(registry(&surface)?.impact(&Subject::EventType(known.name)).await?))
}

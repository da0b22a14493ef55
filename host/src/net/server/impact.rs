//! What depends on a plugin, a host or an event type: `GET …/impact`; and the refusal to take it away unseen.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
};

use super::{
    Surface,
    gate::Caller,
    registry::{id_of, registry, version_of},
    schemas,
};
use crate::{
    model::principal::Action,
    net::problem::{Code, Document, Problem},
    ports::{
        impact::{Impact, InUse, Subject},
        registry::RegistryError,
        schemas::SchemaError,
    },
};

/// Why a change to a plugin or a key is refused, with what depends on it for whoever may see that.
pub(super) fn refused(caller: &Caller, error: RegistryError) -> Problem {
    match error {
        RegistryError::InUse(used) => in_use(Some(caller), &used),
        other => other.into(),
    }
}

/// The same of an event type.
pub(super) fn refused_schema(caller: &Caller, error: SchemaError) -> Problem {
    match error {
        SchemaError::InUse(used) => in_use(Some(caller), &used),
        other => other.into(),
    }
}

/// That something is in use. By what is shown to whoever may see runs: where connections lead, and how much a retailer does,
/// is no partner's business.
pub(super) fn in_use(caller: Option<&Caller>, used: &InUse) -> Problem {
    if caller.is_some_and(|caller| caller.sees(Action::RunRead)) {
        let dependants = serde_json::to_value(&used.dependants).unwrap_or_default();
        return Problem::new(Code::ChangeInUse, used.to_string()).with("dependants", dependants);
    }
    let detail = format!("{used}; by what is shown to who may see runs");
    Problem::new(Code::ChangeInUse, detail).with("withheld", true)
}

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

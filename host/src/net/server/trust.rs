//! `/v1/trust…`: whose signatures of plugins count, and revoking a key.

use axum::{
    Json,
    extract::{Path, Request, State},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Surface, answer::read_json, gate::Caller, impact, registry::registry};
use crate::{
    model::{id::KeyId, principal::Resource},
    net::problem::{Code, Document, Problem},
    ports::registry::TrustView,
};

/// Why a key is revoked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRevocation {
    /// Who; absent: whoever sends it.
    #[serde(default)]
    actor: String,
    /// Why.
    #[serde(default)]
    reason: String,
    /// That whoever asks has seen what depends on what stops, as `change.in-use` lists it.
    #[serde(default)]
    accept_impact: bool,
}

/// Lists the keys whose signatures count, and what each signed.
#[utoipa::path(
    get,
    path = "/v1/trust",
    tag = "registry",
    responses((status = 200, description = "`unsigned`, and `keys`: id, namespace, key, not_before, not_after, revoked, note, signed", body = Object))
)]
pub(super) async fn show(State(surface): State<Surface>) -> Result<Json<TrustView>, Problem> {
    Ok(Json(registry(&surface)?.trust()))
}

/// Revokes a key: what only it signed stops at once, and nothing at the hub takes that back.
#[utoipa::path(
    post,
    path = "/v1/trust/{key}/revoke",
    tag = "registry",
    params(("key" = String, Path, description = "The key's id, as GET /v1/trust lists it")),
    request_body(content = KeyRevocation, content_type = "application/json"),
    responses(
        (status = 200, description = "It is revoked: the keys, as they are now", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`plugin.unknown`: no such key", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`change.in-use` with the `dependants`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn revoke(
    State(surface): State<Surface>,
    caller: Caller,
    Path(key): Path<String>,
    request: Request,
) -> Result<Json<TrustView>, Problem> {
    let id = key.parse::<KeyId>().ok();
    let namespaces = match (surface.hub.registry(), id) {
        (Some(registry), Some(id)) => registry.namespaces_of(id),
        _ => Vec::new(),
    };
    if namespaces.is_empty() {
        caller.may(Resource::Namespace(""))?;
    }
    for namespace in &namespaces {
        caller.may(Resource::Namespace(namespace))?;
    }
    let KeyRevocation { actor, reason, accept_impact } = read_json(&surface, request).await?;
    let who = caller.signed(actor, reason)?;
    let registry = registry(&surface)?;
    let id = id.ok_or_else(|| Problem::new(Code::PluginUnknown, format!("`{key}` is not a key's id")))?;
    Ok(Json(registry.revoke_key(id, who, accept_impact).await.map_err(|error| impact::refused(&caller, error))?))
}

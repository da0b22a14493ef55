//! `POST /v1/plugins/{namespace}/{name}/replay`: how a version answers what was recorded.

use axum::{
    Json,
    extract::{Path, Request, State},
};
use semver::Version;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Surface,
    answer::read_json,
    gate::Caller,
    registry::{id_of, registry},
};
use crate::{
    model::{
        age::Since,
        principal::{Action, Resource},
        replay::Report,
    },
    net::problem::{Document, Problem},
    ports::registry::ReplayRequest,
};

/// What is to be replayed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayBody {
    /// The version that is looked at; a draft may be.
    #[schema(value_type = String, example = "1.1.0")]
    version: Version,
    /// The version that it is held against; absent: the one that serves.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    against: Option<Version>,
    /// How far back inputs are looked for: a length of time, or a time.
    #[schema(value_type = String, example = "7d")]
    since: Since,
    /// Inputs of this pipeline alone.
    #[serde(default)]
    pipeline: Option<String>,
    /// How many at most, the latest; 1 to 20000, 1000 unless told.
    #[serde(default)]
    limit: Option<u32>,
}

/// Replays recorded inputs of a transform, rule or scorer with two versions, and says where they answer otherwise. Changes
/// nothing; takes at most 30 seconds, and one call's turn in the lowest lane.
#[utoipa::path(
    post,
    path = "/v1/plugins/{namespace}/{name}/replay",
    tag = "registry",
    params(("namespace" = String, Path), ("name" = String, Path)),
    request_body(content = ReplayBody, content_type = "application/json"),
    responses(
        (status = 200, description = "The report: `replayed`, `proven`, `changes` with `examples`, `left_out`, `determinism`, and what each side used", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`plugin.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`registry.conflict`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`plugin.refused`", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "`hub.busy`: another replay is under way", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn replay(
    State(surface): State<Surface>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Result<Json<Report>, Problem> {
    let ReplayBody { version, against, since, pipeline, limit } = read_json(&surface, request).await?;
    caller.may(Resource::Namespace(&path.0))?;
    // The report quotes runs.
    caller.may_do(Action::RunRead, Resource::Hub)?;
    let request = ReplayRequest { plugin: id_of(&path)?, version, against, since, pipeline, limit };
    Ok(Json(registry(&surface)?.replay(request).await?))
}

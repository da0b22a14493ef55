//! `GET /v1/plugins` and `GET /v1/pipelines`.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Surface,
    openapi::{PipelineViewDoc, PluginViewDoc},
};
use crate::ports::hub::{PipelineView, PluginView};

/// Installed plugins.
#[derive(Serialize, ToSchema)]
pub(super) struct Plugins {
    /// By id and version.
    #[schema(value_type = Vec<PluginViewDoc>)]
    plugins: Vec<PluginView>,
}

/// Lists the installed plugins, by id and version.
#[utoipa::path(
    get,
    path = "/v1/plugins",
    tag = "catalog",
    responses((status = 200, description = "The plugins", body = Plugins))
)]
pub(super) async fn plugins(State(surface): State<Surface>) -> Json<Plugins> {
    Json(Plugins { plugins: surface.hub.plugins() })
}

/// Accepted pipelines.
#[derive(Serialize, ToSchema)]
pub(super) struct Pipelines {
    /// By name and version.
    #[schema(value_type = Vec<PipelineViewDoc>)]
    pipelines: Vec<PipelineView>,
}

/// Lists the accepted pipelines, by name and version.
#[utoipa::path(
    get,
    path = "/v1/pipelines",
    tag = "catalog",
    responses((status = 200, description = "The pipelines", body = Pipelines))
)]
pub(super) async fn pipelines(State(surface): State<Surface>) -> Json<Pipelines> {
    Json(Pipelines { pipelines: surface.hub.pipelines() })
}

//! `GET /v1/connections`, `GET /v1/connections/{name}` and `GET /v1/lanes`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Surface;
use crate::{
    net::problem::{Code, Document, Problem},
    ports::traffic::{ConnectionView, LanesView},
};

/// Configured connections.
#[derive(Serialize, ToSchema)]
pub(super) struct Connections {
    /// By name.
    #[schema(value_type = Vec<ConnectionViewDoc>)]
    connections: Vec<ConnectionView>,
}

/// Lists the connections with their limits, their health, and what waits for them; never a secret.
#[utoipa::path(
    get,
    path = "/v1/connections",
    tag = "traffic",
    responses((status = 200, description = "The connections", body = Connections))
)]
pub(super) async fn connections(State(surface): State<Surface>) -> Json<Connections> {
    Json(Connections { connections: surface.hub.connections() })
}

/// Shows one connection.
#[utoipa::path(
    get,
    path = "/v1/connections/{name}",
    tag = "traffic",
    params(("name" = String, Path, description = "The connection's name")),
    responses(
        (status = 200, description = "The connection", body = ConnectionViewDoc),
        (status = 404, description = "`connection.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn connection(
    State(surface): State<Surface>,
    Path(name): Path<String>,
) -> Result<Json<ConnectionView>, Problem> {
    let found = surface.hub.connections().into_iter().find(|connection| connection.name == name);
    found.map(Json).ok_or_else(|| Problem::new(Code::ConnectionUnknown, format!("there is no connection `{name}`")))
}

/// Shows the priority lanes: what waits in them, and which of them refuse new events.
#[utoipa::path(
    get,
    path = "/v1/lanes",
    tag = "traffic",
    responses((status = 200, description = "The lanes, the first to go first", body = LanesViewDoc))
)]
pub(super) async fn lanes(State(surface): State<Surface>) -> Json<LanesView> {
    Json(surface.hub.lanes())
}

/// A connection as it is now.
#[derive(ToSchema)]
#[schema(as = ConnectionView)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct ConnectionViewDoc {
    /// Its name.
    name: String,
    /// The plugin that serves it.
    plugin: String,
    /// The plugin's version.
    version: String,
    /// Changes with each change of the connection.
    revision: u64,
    /// Who has the say about it: `file` (hub.toml) or `api`, whose changes hub.toml does not override.
    origin: String,
    /// What hub.toml declares of it: the `same`, or something that `differs`; absent: nothing.
    declared: Option<String>,
    /// The origins that it may reach.
    hosts: Vec<String>,
    /// The limits that hold: `concurrency`, `rate` (`calls`, `per_ms`, `burst`), `breaker` (`failures`, `window_ms`,
    /// `open_ms`, `open_ms_max`).
    #[schema(value_type = Object)]
    limits: Value,
    /// `state` (`closed`, `open` or `half-open`), `since`, `until`, `last_failure` (`time`, `kind`, `code`, `message`).
    #[schema(value_type = Object)]
    breaker: Value,
    /// Calls that may leave at once now; absent: no rate is set.
    tokens: Option<u32>,
    /// Calls that are under way.
    in_flight: u32,
    /// Calls that wait to leave.
    waiting: usize,
}

/// The lanes, and how much is under way.
#[derive(ToSchema)]
#[schema(as = LanesView)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct LanesViewDoc {
    /// Runs that are being worked on.
    under_way: usize,
    /// So many are under way at most.
    runs_limit: usize,
    /// Each lane, the first to go first: `lane`, `waiting_pure`, `waiting_outward`, `waiting_connections`,
    /// `refused_from` (runs under way from which on its events are refused), `refusing`.
    #[schema(value_type = Vec<Object>)]
    lanes: Vec<Value>,
}

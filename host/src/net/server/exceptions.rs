//! `GET /v1/exceptions`: events that came for something that was undone. They are closed through [`super::control`].

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Surface, answer::parameters, runs};
use crate::{
    model::event::Event,
    net::problem::{Document, Problem},
    ports::exceptions::{Exception, ExceptionFilter},
};

/// Open exceptions.
#[derive(Serialize, ToSchema)]
pub(super) struct Exceptions {
    /// Latest first.
    #[schema(value_type = Vec<ExceptionDoc>)]
    exceptions: Vec<Exception>,
}

/// Lists events that came for something that was undone, latest first, until a person closes them with
/// `{"do": "close_exception", "event": ACCEPTANCE}` at `POST /v1/runs/{id}/control`.
#[utoipa::path(
    get,
    path = "/v1/exceptions",
    tag = "people",
    params(
        ("run" = Option<String>, Query, description = "Only of this run, as for `/v1/runs/{id}`"),
        ("pipeline" = Option<String>, Query, description = "Only of this pipeline"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 1000; 50 unless told"),
    ),
    responses(
        (status = 200, description = "The open exceptions", body = Exceptions),
        (status = 400, description = "`query.invalid`, `run.id-invalid`, `run.id-ambiguous`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`run.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(surface): State<Surface>,
    RawQuery(query): RawQuery,
) -> Result<Json<Exceptions>, Problem> {
    let [run, pipeline, limit] = parameters(query.as_deref(), ["run", "pipeline", "limit"])?;
    let run = run.map(|run| runs::find(&surface, &run)).transpose()?;
    let limit = limit.as_deref().map_or(Ok(runs::LIST_DEFAULT), runs::parse_limit)?;
    Ok(Json(Exceptions { exceptions: surface.hub.exceptions(&ExceptionFilter { run, pipeline, limit }) }))
}

/// An event that came for something that was undone.
#[derive(ToSchema)]
#[schema(as = Exception)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct ExceptionDoc {
    /// The run that was undone.
    run: String,
    /// Its pipeline; absent: it ended so long ago that it is no longer listed.
    pipeline: Option<String>,
    /// What the run is about.
    key: Option<String>,
    /// The wait that would have taken the event.
    step: String,
    /// The event's name in that wait.
    name: String,
    /// The event's acceptance, by which the exception is closed.
    acceptance: String,
    /// When it was opened, RFC 3339.
    opened: String,
    /// The event, with its data.
    #[schema(value_type = Object)]
    event: Event,
}

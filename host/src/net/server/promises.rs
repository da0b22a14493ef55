//! `GET /v1/promises`: runs that are late, or will be.

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Surface, answer::parameters, runs};
use crate::{
    model::pipeline::Standing,
    net::problem::{Code, Document, Problem},
    ports::promises::{Promise, PromiseFilter},
};

/// Runs that are late or at risk.
#[derive(Serialize, ToSchema)]
pub(super) struct Promises {
    /// The most urgent first.
    #[schema(value_type = Vec<PromiseDoc>)]
    promises: Vec<Promise>,
}

/// Lists the runs that have not ended and are late, or at risk of being it, by what their pipelines promise in `sla`; the
/// most urgent first.
#[utoipa::path(
    get,
    path = "/v1/promises",
    tag = "runs",
    params(
        ("pipeline" = Option<String>, Query, description = "Only of this pipeline"),
        ("standing" = Option<String>, Query, description = "`at_risk` or `late`"),
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 1000; 50 unless told"),
    ),
    responses(
        (status = 200, description = "The runs", body = Promises),
        (status = 400, description = "`query.invalid`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(surface): State<Surface>, RawQuery(query): RawQuery) -> Result<Json<Promises>, Problem> {
    let [pipeline, standing, limit] = parameters(query.as_deref(), ["pipeline", "standing", "limit"])?;
    let standing = match standing.as_deref() {
        None => None,
        Some("at_risk") => Some(Standing::AtRisk),
        Some("late") => Some(Standing::Late),
        Some(other) => {
            let problem = format!("`standing={other}` is not one; there are: at_risk, late");
            return Err(Problem::new(Code::QueryInvalid, problem));
        }
    };
    let limit = limit.as_deref().map_or(Ok(runs::LIST_DEFAULT), runs::parse_limit)?;
    Ok(Json(Promises { promises: surface.hub.promises(&PromiseFilter { pipeline, standing, limit }) }))
}

/// A run that is late or at risk.
#[derive(ToSchema)]
#[schema(as = Promise)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct PromiseDoc {
    /// The run.
    run: String,
    /// Its pipeline.
    pipeline: String,
    /// What it is about.
    key: String,
    /// Where it stands.
    state: String,
    /// The step that it is at.
    step: Option<String>,
    /// When it began.
    started: String,
    /// When it has to be finished.
    due: String,
    /// `at_risk` or `late`.
    standing: String,
}

//! `GET /v1/runs` and what is below it.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, StreamExt as _, future};
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Surface,
    answer::parameters,
    gate::Caller,
    openapi::{RunSummaryDoc, RunViewDoc},
};
use crate::{
    model::{
        id::RunId,
        run::{RunState, RunSummary, RunView},
    },
    net::problem::{Code, Document, Problem},
    ports::hub::RunFilter,
};

/// Runs in a list that does not say how many.
pub(super) const LIST_DEFAULT: usize = 50;

/// Most runs in a list.
const LIST_MAX: usize = 1000;

/// Fewest digits of an id's beginning.
const PREFIX_DIGITS_MIN: usize = 8;

/// How many of the latest runs are looked through for the beginning of an id.
pub(super) const PREFIX_RUNS_MAX: usize = 100_000;

/// How often an idle stream says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Runs, latest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Runs {
    /// Latest first.
    #[schema(value_type = Vec<RunSummaryDoc>)]
    runs: Vec<RunSummary>,
}

/// Lists runs, latest first.
#[utoipa::path(
    get,
    path = "/v1/runs",
    tag = "runs",
    params(
        ("pipeline" = Option<String>, Query, description = "Only of this pipeline"),
        ("state" = Option<String>, Query, description = "Only in this state: `running`, `waiting`, `paused`, `compensating`, `parked`, `completed`, `rejected`, `failed`, `cancelled`"),
        ("key" = Option<String>, Query, description = "Only about this key, such as an order number"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 1000; 50 unless told"),
    ),
    responses(
        (status = 200, description = "The runs", body = Runs),
        (status = 400, description = "`query.invalid`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(surface): State<Surface>, RawQuery(query): RawQuery) -> Result<Json<Runs>, Problem> {
    let [pipeline, state, key, limit] = parameters(query.as_deref(), ["pipeline", "state", "key", "limit"])?;
    let state = state.as_deref().map(parse_state).transpose()?;
    let limit = limit.as_deref().map_or(Ok(LIST_DEFAULT), parse_limit)?;
    Ok(Json(Runs { runs: surface.hub.runs(&RunFilter { pipeline, state, key, limit }) }))
}

pub(super) fn parse_state(text: &str) -> Result<RunState, Problem> {
    const STATES: [RunState; 9] = [
        RunState::Running,
        RunState::Waiting,
        RunState::Paused,
        RunState::Compensating,
        RunState::Parked,
        RunState::Completed,
        RunState::Rejected,
        RunState::Failed,
        RunState::Cancelled,
    ];
    STATES.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
        let known = STATES.map(RunState::as_str).join(", ");
        Problem::new(Code::QueryInvalid, format!("`state={text}` is not a state; there are: {known}"))
    })
}

pub(super) fn parse_limit(text: &str) -> Result<usize, Problem> {
    text.parse().ok().filter(|limit| (1..=LIST_MAX).contains(limit)).ok_or_else(|| {
        Problem::new(Code::QueryInvalid, format!("`limit={text}` must be a whole number from 1 to {LIST_MAX}"))
    })
}

/// Tells everything that is recorded about a run.
#[utoipa::path(
    get,
    path = "/v1/runs/{id}",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id, or at least the first 8 of its digits if no other begins so")),
    responses(
        (status = 200, description = "The run", body = RunViewDoc),
        (status = 400, description = "`run.id-invalid`, `run.id-ambiguous`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`run.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(State(surface): State<Surface>, Path(id): Path<String>) -> Result<Json<RunView>, Problem> {
    let run = find(&surface, &id)?;
    surface.hub.run(run).await.map(Json).ok_or_else(|| unknown(&id))
}

/// Streams the run as it is, and again after each durable change, until it is settled, or the caller's token is not valid
/// any more: server-sent events named `run`.
#[utoipa::path(
    get,
    path = "/v1/runs/{id}/stream",
    tag = "runs",
    params(("id" = String, Path, description = "As for `/v1/runs/{id}`")),
    responses(
        (status = 200, description = "Events named `run`, each with the whole run as JSON", body = String, content_type = "text/event-stream"),
        (status = 400, description = "`run.id-invalid`, `run.id-ambiguous`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`run.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn stream(
    State(surface): State<Surface>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, axum::Error>>>, Problem> {
    let run = find(&surface, &id)?;
    if surface.hub.run(run).await.is_none() {
        return Err(unknown(&id));
    }
    let views = surface.hub.watch(run).map(|view| Event::default().event("run").json_data(view));
    let over = future::select(Box::pin(surface.stopping.cancelled_owned()), Box::pin(caller.until_shut_out(&headers)));
    Ok(Sse::new(views.take_until(over)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

pub(super) fn unknown(id: &str) -> Problem {
    Problem::new(Code::RunUnknown, format!("there is no run `{id}`"))
}

/// The run that an id, or the beginning of one, stands for.
pub(super) fn find(surface: &Surface, text: &str) -> Result<RunId, Problem> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let digits = text.strip_prefix("run_").unwrap_or(text).to_ascii_lowercase();
    if !(PREFIX_DIGITS_MIN..=32).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Problem::new(Code::RunIdInvalid, format!("`{text}` is not a run's id")));
    }
    let prefix = format!("run_{digits}");
    let filter = RunFilter { limit: PREFIX_RUNS_MAX, ..RunFilter::default() };
    let mut fitting =
        surface.hub.runs(&filter).into_iter().map(|run| run.id).filter(|id| id.to_string().starts_with(&prefix));
    match (fitting.next(), fitting.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(unknown(text)),
        (Some(_), Some(_)) => Err(Problem::new(Code::RunIdAmbiguous, format!("several runs begin with `{text}`"))),
    }
}

//! `GET /v1/dead-letters` and what is below it: runs that cannot go on without a person, and all that is known about
//! why. What is done with them is [`super::control`]'s.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
};
use futures::{StreamExt as _, stream};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Surface,
    answer::parameters,
    openapi::RunSummaryDoc,
    runs::{self, LIST_DEFAULT, PREFIX_RUNS_MAX, parse_limit},
};
use crate::{
    model::{
        event::Event,
        id::{Digest, RunId},
        run::{AttemptFailure, RunState, RunSummary, RunView, StepView},
        timestamp::Timestamp,
    },
    net::problem::{Code, Document, Problem},
    ports::hub::RunFilter,
};

/// The code of a write of which it is not known whether it took effect.
pub(crate) const IN_DOUBT: &str = "effect.in-doubt";

/// How many runs are read from the journal at a time.
const READ_AT_ONCE: usize = 8;

/// A parked run.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetter {
    /// The run.
    #[schema(value_type = String)]
    run: RunId,
    /// The pipeline's name.
    pipeline: String,
    /// The pipeline's version.
    pipeline_version: String,
    /// What the run is about.
    key: String,
    /// The step that parked it.
    step: Option<String>,
    /// Stable and for programs, such as `effect.in-doubt`.
    code: Option<String>,
    /// In one sentence.
    cause: Option<String>,
    /// Attempts of that step.
    attempts: u32,
    /// Type of the event that started it.
    event_type: String,
    /// Digest of the event's data.
    #[schema(value_type = String)]
    payload_digest: Digest,
    /// When it was started, RFC 3339.
    #[schema(value_type = String)]
    started: Timestamp,
    /// When it was parked, RFC 3339.
    #[schema(value_type = String)]
    parked: Timestamp,
    /// What can be done with it: values of `do` of `POST /v1/runs/{id}/control`.
    actions: Vec<&'static str>,
}

/// Parked runs.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetters {
    /// How many there are, listed or not.
    total: usize,
    /// Latest first.
    dead_letters: Vec<DeadLetter>,
}

/// A parked run with all that is known about why.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetterWhole {
    #[serde(flatten)]
    letter: DeadLetter,
    /// The event that started it, with its data.
    #[schema(value_type = Object)]
    event: Event,
    /// Every failure of the run in order of time: `step`, `attempt`, `time`, `failure`, `next`.
    #[schema(value_type = Vec<Object>)]
    chain: Vec<Link>,
    /// The step that parked it, as in `/v1/runs/{id}`: its decision, reasons, key, log.
    #[schema(value_type = Object)]
    #[serde(skip_serializing_if = "Option::is_none")]
    parked_at: Option<StepView>,
    /// The run's line in a list.
    #[schema(value_type = RunSummaryDoc)]
    summary: RunSummary,
}

/// One failure on the way.
#[derive(Serialize)]
pub(super) struct Link {
    step: String,
    #[serde(flatten)]
    failed: AttemptFailure,
}

/// Lists parked runs, latest first.
#[utoipa::path(
    get,
    path = "/v1/dead-letters",
    tag = "people",
    params(
        ("pipeline" = Option<String>, Query, description = "Only of this pipeline"),
        ("key" = Option<String>, Query, description = "Only about this key"),
        ("cause" = Option<String>, Query, description = "Only those whose cause contains this text"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 1000; 50 unless told"),
    ),
    responses(
        (status = 200, description = "The parked runs", body = DeadLetters),
        (status = 400, description = "`query.invalid`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(surface): State<Surface>,
    RawQuery(query): RawQuery,
) -> Result<Json<DeadLetters>, Problem> {
    let [pipeline, key, cause, limit] = parameters(query.as_deref(), ["pipeline", "key", "cause", "limit"])?;
    let limit = limit.as_deref().map_or(Ok(LIST_DEFAULT), parse_limit)?;
    let filter = RunFilter { pipeline, key, state: Some(RunState::Parked), limit: PREFIX_RUNS_MAX };
    let mut parked = surface.hub.runs(&filter);
    parked.retain(|run| cause.as_ref().is_none_or(|text| run.cause.as_ref().is_some_and(|known| known.contains(text))));
    let total = parked.len();
    parked.truncate(limit);
    let dead_letters = stream::iter(parked)
        .map(|run| async {
            // One that a person took up meanwhile is no dead letter any more.
            let (view, event) = read(&surface, run.id).await?;
            (view.summary.state == RunState::Parked || run.state == RunState::Parked)
                .then(|| letter(run, &view, &event))
        })
        .buffered(READ_AT_ONCE)
        .filter_map(|letter| async { letter })
        .collect()
        .await;
    Ok(Json(DeadLetters { total, dead_letters }))
}

/// Shows a parked run: its cause, what it was started with, and every failure on the way.
#[utoipa::path(
    get,
    path = "/v1/dead-letters/{run}",
    tag = "people",
    params(("run" = String, Path, description = "As for `/v1/runs/{id}`")),
    responses(
        (status = 200, description = "The parked run", body = DeadLetterWhole),
        (status = 400, description = "`run.id-invalid`, `run.id-ambiguous`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`run.unknown`, `dead-letter.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(surface): State<Surface>,
    Path(run): Path<String>,
) -> Result<Json<DeadLetterWhole>, Problem> {
    let id = runs::find(&surface, &run)?;
    let (view, event) = read(&surface, id).await.ok_or_else(|| runs::unknown(&run))?;
    // The list also knows of runs that this hub cannot carry forward, which are parked without a fact.
    let summary = surface.hub.settle(&[id], std::time::Duration::ZERO).await.into_iter().next();
    let summary = summary.unwrap_or_else(|| view.summary.clone());
    if summary.state != RunState::Parked {
        let detail = format!("the run is {}", summary.state.as_str());
        return Err(Problem::new(Code::DeadLetterUnknown, detail).with("state", summary.state.as_str()));
    }
    let letter = letter(summary.clone(), &view, &event);
    let mut chain: Vec<Link> = view
        .steps
        .iter()
        .flat_map(|step| step.failures.iter().map(|failed| Link { step: step.path.clone(), failed: failed.clone() }))
        .collect();
    chain.sort_by_key(|link| link.failed.time);
    let parked_at = view.steps.into_iter().find(|step| Some(&step.path) == summary.step.as_ref());
    Ok(Json(DeadLetterWhole { letter, event, chain, parked_at, summary }))
}

async fn read(surface: &Surface, run: RunId) -> Option<(RunView, Event)> {
    let (view, event) = futures::join!(surface.hub.run(run), surface.hub.event(run));
    view.zip(event)
}

fn letter(summary: RunSummary, view: &RunView, event: &Event) -> DeadLetter {
    let at = summary.step.as_ref().and_then(|at| view.steps.iter().find(|step| step.path == *at));
    let actions = match summary.code() {
        // Before it is known, nothing is repeated and nothing is undone.
        Some(IN_DOUBT) => vec!["resolve"],
        Some(_) => vec!["resume", "close", "cancel", "restart"],
        // The hub cannot take it up: the cause says what is missing.
        None => Vec::new(),
    };
    DeadLetter {
        run: summary.id,
        code: summary.code().map(str::to_owned),
        attempts: at.map_or(0, |step| step.attempts),
        event_type: event.event_type.clone(),
        payload_digest: Digest::of(event.data.as_bytes()),
        started: summary.started,
        parked: summary.updated,
        pipeline: summary.pipeline,
        pipeline_version: summary.pipeline_version,
        key: summary.key,
        step: summary.step,
        cause: summary.cause,
        actions,
    }
}

//! `POST /v1/runs/{id}/control` and `POST /v1/runs/control`: what people do with runs, one or many.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::{Path, Request, State},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};
use utoipa::ToSchema;

use super::{
    Surface, WAIT_MAX,
    answer::read_json,
    gate::Caller,
    openapi::RunSummaryDoc,
    runs::{self, PREFIX_RUNS_MAX, parse_state},
};
use crate::{
    model::{
        entry::Control,
        id::RunId,
        principal::Resource,
        run::{RunState, RunSummary},
    },
    net::problem::{Code, Document, Problem},
    ports::hub::{ActError, ControlRequest, MoveRequest, RunFilter},
};

/// Runs a second that a request without a rate gets.
pub(super) const RATE_DEFAULT: u32 = 20;
/// Most runs a second.
pub(super) const RATE_MAX: u32 = 500;
/// Runs that a request without a limit is about.
pub(super) const MANY_DEFAULT: usize = 100;
/// Most runs of one request.
pub(super) const MANY_MAX: usize = 1_000;
/// Longest wait until the first runs are settled again.
const CANARY_WAIT: Duration = Duration::from_secs(30);

/// What a person does with a run.
#[derive(ToSchema)]
#[schema(as = ControlRequest)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct ControlDoc {
    /// Who; absent: whose token it is. Another name only if that is allowed.
    actor: Option<String>,
    /// `pause`, `continue`, `cancel`, `resume`, `close`, `resolve`, `reassign`, `restart` or `close_exception`.
    r#do: String,
    /// For `cancel` and `close`: whether the run's effects are undone.
    compensate: Option<bool>,
    /// For `resolve`, `reassign` and `restart`: the step.
    step: Option<String>,
    /// For `resolve`: what the write gave; absent: it did not take effect and may be repeated.
    #[schema(value_type = Object)]
    output: Option<Value>,
    /// For `reassign`: the group.
    to: Option<String>,
    /// For `restart`: whether later effects are undone first.
    undo: Option<bool>,
    /// For `close_exception`: the acceptance of the event.
    event: Option<String>,
    /// Why.
    reason: Option<String>,
}

/// Does something with a run; durable when it answers.
#[utoipa::path(
    post,
    path = "/v1/runs/{id}/control",
    tag = "people",
    params(("id" = String, Path, description = "As for `/v1/runs/{id}`")),
    request_body(content = ControlDoc, content_type = "application/json"),
    responses(
        (status = 200, description = "Done; the run as it is now", body = RunSummaryDoc),
        (status = 400, description = "`request.invalid`, `run.id-invalid`, `run.id-ambiguous`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`run.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`run.conflict`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(
    State(surface): State<Surface>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<RunSummary>, Problem> {
    let mut request: ControlRequest = read_json(&surface, request).await?;
    let run = runs::find(&surface, &id);
    may_control(&surface, &caller, run.as_ref().ok()).await?;
    caller.sign(&mut request.actor, &mut request.reason)?;
    let run = run?;
    surface.hub.control(run, request).await?;
    summary_of(&surface, run).await.map(Json)
}

/// A run that is to go on under another version of its pipeline.
#[derive(ToSchema)]
#[schema(as = MoveRequest)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct MoveDoc {
    /// Who; absent: whoever sends it.
    actor: Option<String>,
    /// Why.
    reason: Option<String>,
    /// The version.
    to: String,
    /// Steps that are called otherwise there, by their ids of now.
    steps: Option<std::collections::BTreeMap<String, String>>,
    /// Whether it is only looked at whether the run could be moved.
    dry_run: Option<bool>,
}

/// Lets a run go on under another version of its pipeline, if it then stands exactly where it stands; durable when it
/// answers. Nothing of the run may be out: pause it first.
#[utoipa::path(
    post,
    path = "/v1/runs/{id}/move",
    tag = "people",
    params(("id" = String, Path, description = "As for `/v1/runs/{id}`")),
    request_body(content = MoveDoc, content_type = "application/json"),
    responses(
        (status = 200, description = "Moved, or could be; the run as it is now", body = RunSummaryDoc),
        (status = 400, description = "`request.invalid`, `run.id-invalid`, `run.id-ambiguous`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`run.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`run.conflict`: what stands in the way", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn move_run(
    State(surface): State<Surface>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<RunSummary>, Problem> {
    let mut request: MoveRequest = read_json(&surface, request).await?;
    let run = runs::find(&surface, &id);
    may_control(&surface, &caller, run.as_ref().ok()).await?;
    caller.sign(&mut request.actor, &mut request.reason)?;
    let run = run?;
    surface.hub.move_run(run, request).await?;
    summary_of(&surface, run).await.map(Json)
}

/// Whether somebody may take hold of a run; of one that there is not, only who may of any.
async fn may_control(surface: &Surface, caller: &Caller, run: Option<&RunId>) -> Result<(), Problem> {
    let summary = match run {
        Some(run) => summary_of(surface, *run).await.ok(),
        None => None,
    };
    caller.may(Resource::Pipeline(summary.as_ref().map_or("", |summary| &summary.pipeline)))
}

/// A run as it is now.
pub(super) async fn summary_of(surface: &Surface, run: RunId) -> Result<RunSummary, Problem> {
    if let Some(summary) = surface.hub.settle(&[run], Duration::ZERO).await.into_iter().next() {
        return Ok(summary);
    }
    // It settled so long ago that it is no longer listed.
    surface.hub.run(run).await.map(|view| view.summary).ok_or_else(|| runs::unknown(&run.to_string()))
}

/// What a person does with many runs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Many {
    /// Which runs.
    filter: ManyFilter,
    /// What is done with each.
    #[schema(value_type = ControlDoc)]
    request: ControlRequest,
    /// So many are done first and waited for, at most 30 s; unless each of them ended, the rest is not done.
    #[serde(default)]
    canary: usize,
    /// At most so many a second, 1 to 500; 20 unless told.
    rate_per_second: Option<u32>,
    /// At most so many runs, 1 to 1000, those that began first; 100 unless told.
    limit: Option<usize>,
}

/// Which runs; at least one field says so.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ManyFilter {
    /// Only of this pipeline.
    pipeline: Option<String>,
    /// Only in this state.
    state: Option<String>,
    /// Only about this key.
    key: Option<String>,
    /// Only those whose cause contains this text.
    cause: Option<String>,
}

/// What became of many runs.
#[derive(Serialize, ToSchema)]
pub(super) struct ManyDone {
    /// How many runs the filter fits.
    matched: usize,
    /// With how many it was done.
    done: usize,
    /// How many refused it.
    refused: usize,
    /// How many were left as they are.
    left: usize,
    /// Why runs were left: `canary`, `time` or `limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<&'static str>,
    /// What the first runs came to, if some were to go first.
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<Canary>,
    /// Each run that it was tried with, in order: `run`, and its `state` or the `problem`.
    #[schema(value_type = Vec<Object>)]
    runs: Vec<Value>,
}

/// What the first runs came to.
#[derive(Serialize, ToSchema)]
pub(super) struct Canary {
    /// How many went first.
    runs: usize,
    /// Those that are parked again.
    parked: Vec<String>,
    /// Those that were still under way when they were no longer waited for.
    under_way: Vec<String>,
}

/// Does something with many runs, at a bounded rate, those that began first first. It goes on for at most a minute, and
/// ends with the request: what is left can be asked for again.
#[utoipa::path(
    post,
    path = "/v1/runs/control",
    tag = "people",
    request_body(content = Many, content_type = "application/json"),
    responses(
        (status = 200, description = "What became of each", body = ManyDone),
        (status = 400, description = "`request.invalid`, `query.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn many(
    State(surface): State<Surface>,
    caller: Caller,
    request: Request,
) -> Result<Json<ManyDone>, Problem> {
    let mut many: Many = read_json(&surface, request).await?;
    let (limit, rate) = check(&many)?;
    caller.sign(&mut many.request.actor, &mut many.request.reason)?;
    let Many { filter, request, canary, .. } = many;
    let state = filter.state.as_deref().map(parse_state).transpose()?;
    let listed = RunFilter { pipeline: filter.pipeline, state, key: filter.key, limit: PREFIX_RUNS_MAX };
    let mut found = surface.hub.runs(&listed);
    found.retain(|run| filter.cause.as_ref().is_none_or(|text| run.cause.as_ref().is_some_and(|c| c.contains(text))));
    only_allowed(&caller, &mut found)?;
    let matched = found.len();
    found.sort_by_key(|run| (run.started, run.id));
    let runs: Vec<RunId> = found.iter().take(limit).map(|run| run.id).collect();

    let mut doing = Doing {
        surface: &surface,
        request,
        pace: interval(Duration::from_secs(1) / rate),
        until: Instant::now() + WAIT_MAX,
        tried: Vec::new(),
        refused: 0,
    };
    doing.pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let first = canary.min(runs.len());
    let (head, rest) = runs.split_at_checked(first).unwrap_or((&runs, &[]));
    let mut stopped = doing.each(head).await;
    let mut went_first = None;
    if canary > 0 && stopped.is_none() {
        let seen = doing.settle(head).await;
        if !(seen.parked.is_empty() && seen.under_way.is_empty()) || doing.refused > 0 {
            stopped = Some("canary");
        }
        went_first = Some(seen);
    }
    if stopped.is_none() {
        stopped = doing.each(rest).await;
    }
    let left = matched.saturating_sub(doing.tried.len());
    if left > 0 && stopped.is_none() {
        stopped = Some("limit");
    }
    let (tried, refused) = (doing.tried, doing.refused);
    Ok(Json(ManyDone {
        matched,
        done: tried.len() - refused,
        refused,
        left,
        stopped: stopped.filter(|_| left > 0 || went_first.as_ref().is_some_and(|seen| !seen.parked.is_empty())),
        canary: went_first,
        runs: tried,
    }))
}

/// Leaves out runs of pipelines whose runs the caller may not take hold of.
///
/// # Errors
/// Why not, if there is none left for that reason, or none at all and they could not take hold of any.
fn only_allowed(caller: &Caller, found: &mut Vec<RunSummary>) -> Result<(), Problem> {
    let mut decided: BTreeMap<String, Result<(), Problem>> = BTreeMap::new();
    let mut may = |pipeline: &str| -> Result<(), Problem> {
        decided.entry(pipeline.to_owned()).or_insert_with(|| caller.may(Resource::Pipeline(pipeline))).clone()
    };
    let first = may(found.first().map_or("", |run| &run.pipeline));
    found.retain(|run| may(&run.pipeline).is_ok());
    if found.is_empty() { first } else { Ok(()) }
}

/// The limit and the rate of a request.
fn check(many: &Many) -> Result<(usize, u32), Problem> {
    let wrong = |problem: String| Problem::new(Code::RequestInvalid, problem);
    let ManyFilter { pipeline, state, key, cause } = &many.filter;
    if [pipeline, state, key, cause].into_iter().all(Option::is_none) {
        return Err(wrong("`filter` fits every run: give a `pipeline`, `state`, `key` or `cause`".to_owned()));
    }
    if let Control::Resolve { .. } = &many.request.action {
        return Err(wrong("whether a write took effect is different for each run: resolve them one by one".to_owned()));
    }
    let limit = many.limit.unwrap_or(MANY_DEFAULT);
    if !(1..=MANY_MAX).contains(&limit) {
        return Err(wrong(format!("`limit` is {limit}; it must be from 1 to {MANY_MAX}")));
    }
    let rate = many.rate_per_second.unwrap_or(RATE_DEFAULT);
    if !(1..=RATE_MAX).contains(&rate) {
        return Err(wrong(format!("`rate_per_second` is {rate}; it must be from 1 to {RATE_MAX}")));
    }
    Ok((limit, rate))
}

/// A request about many runs, under way.
struct Doing<'a> {
    surface: &'a Surface,
    request: ControlRequest,
    pace: tokio::time::Interval,
    until: Instant,
    tried: Vec<Value>,
    refused: usize,
}

impl Doing<'_> {
    /// Does it with each run; why it stopped before the last, if it did.
    async fn each(&mut self, runs: &[RunId]) -> Option<&'static str> {
        for run in runs {
            if tokio::time::timeout_at(self.until, self.pace.tick()).await.is_err() {
                return Some("time");
            }
            if self.surface.stopping.is_cancelled() {
                return Some("time");
            }
            let done = match self.surface.hub.control(*run, self.request.clone()).await {
                Ok(()) => summary_of(self.surface, *run).await,
                Err(error) => Err(error.into()),
            };
            self.tried.push(match done {
                Ok(summary) => serde_json::json!({ "run": run, "state": summary.state }),
                Err(problem) => {
                    self.refused += 1;
                    serde_json::json!({ "run": run, "problem": problem.document() })
                }
            });
        }
        None
    }

    /// Waits until runs are settled, within bounds.
    async fn settle(&self, runs: &[RunId]) -> Canary {
        let left = self.until.saturating_duration_since(Instant::now());
        let seen = self.surface.hub.settle(runs, CANARY_WAIT.min(left)).await;
        let named = |fits: &dyn Fn(&RunSummary) -> bool| -> Vec<String> {
            seen.iter().filter(|run| fits(run)).map(|run| run.id.to_string()).collect()
        };
        Canary {
            runs: runs.len(),
            parked: named(&|run| run.state == RunState::Parked),
            under_way: named(&|run| !run.state.is_settled()),
        }
    }
}

impl From<ActError> for Problem {
    fn from(error: ActError) -> Self {
        let text = error.to_string();
        match error {
            ActError::UnknownRun { .. } => Self::new(Code::RunUnknown, text),
            ActError::Conflict { .. } => Self::new(Code::RunConflict, text),
            ActError::NotAsked { .. } => Self::new(Code::ApprovalUnknown, text),
            ActError::Decided { outcome, by } => {
                Self::new(Code::ApprovalDecided, text).with("outcome", outcome).with("by", by)
            }
            ActError::Stale { revision, digest } => {
                Self::new(Code::ApprovalStale, text).with("revision", revision).with("digest", digest.to_string())
            }
            ActError::Denied { .. } => Self::new(Code::ApprovalDenied, text),
            ActError::Unavailable { .. } => Self::new(Code::HubUnavailable, text),
        }
    }
}

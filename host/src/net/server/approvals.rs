//! `GET /v1/approvals` and what is below it: questions that pipelines ask people, and people's decisions.

use axum::{
    Json,
    extract::{Path, RawQuery, Request, State},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Surface,
    answer::{parameters, read_json},
    control::summary_of,
    gate::Caller,
    openapi::RunSummaryDoc,
    runs::{self, LIST_DEFAULT, parse_limit},
};
use crate::{
    model::{id::RunId, principal::Resource, run::RunSummary},
    net::problem::{Code, Document, Problem},
    ports::hub::{Decision, Question, QuestionFilter},
};

/// Most decisions in one request.
pub(super) const DECISIONS_MAX: usize = 256;

/// A question that people have not answered.
#[derive(ToSchema)]
#[schema(as = Question)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct QuestionDoc {
    /// The run that asks.
    run: String,
    /// The step that asks.
    step: String,
    /// Which question of the step, from 1; a decision names it.
    revision: u32,
    /// Digest of the evidence; a decision names it.
    digest: String,
    /// Who is asked now.
    group: String,
    /// How many have to agree.
    quorum: u32,
    /// Who has agreed so far.
    decided_by: Vec<String>,
    /// When they were asked, RFC 3339.
    asked: String,
    /// When it is too late, RFC 3339.
    due: String,
    /// How often they were reminded.
    reminders: u32,
    /// The run's pipeline.
    pipeline: Option<String>,
    /// What the run is about.
    key: Option<String>,
    /// What there is to see; only of a single question.
    #[schema(value_type = Object)]
    evidence: Option<Value>,
}

/// A person's decision.
#[derive(ToSchema)]
#[schema(as = Decision)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct DecisionDoc {
    /// Who decides; absent: whose token it is. Another name only if that is allowed.
    actor: Option<String>,
    /// For whom, if the actor stands in for somebody.
    on_behalf_of: Option<String>,
    /// Yes or no.
    approved: bool,
    /// The question's revision, as it was shown.
    revision: u32,
    /// The digest of the evidence, as it was shown.
    digest: String,
    /// Decides alone, whatever the quorum, with this reason code; only for members of group `override`.
    override_code: Option<String>,
    /// Why.
    reason: Option<String>,
}

/// Open questions.
#[derive(Serialize, ToSchema)]
pub(super) struct Questions {
    /// The most urgent first.
    #[schema(value_type = Vec<QuestionDoc>)]
    approvals: Vec<Question>,
}

/// Lists the questions that people have not answered, the most urgent first.
#[utoipa::path(
    get,
    path = "/v1/approvals",
    tag = "people",
    params(
        ("group" = Option<String>, Query, description = "Only those that this group is asked"),
        ("run" = Option<String>, Query, description = "Only of this run, as for `/v1/runs/{id}`"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 1000; 50 unless told"),
    ),
    responses(
        (status = 200, description = "The questions", body = Questions),
        (status = 400, description = "`query.invalid`, `run.id-invalid`, `run.id-ambiguous`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`run.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(surface): State<Surface>,
    RawQuery(query): RawQuery,
) -> Result<Json<Questions>, Problem> {
    let [group, run, limit] = parameters(query.as_deref(), ["group", "run", "limit"])?;
    let run = run.map(|run| runs::find(&surface, &run)).transpose()?;
    let limit = limit.as_deref().map_or(Ok(LIST_DEFAULT), parse_limit)?;
    Ok(Json(Questions { approvals: surface.hub.questions(&QuestionFilter { group, run, limit }) }))
}

/// Shows one open question with its evidence.
#[utoipa::path(
    get,
    path = "/v1/approvals/{run}/{step}",
    tag = "people",
    params(
        ("run" = String, Path, description = "As for `/v1/runs/{id}`"),
        ("step" = String, Path, description = "The step, percent-encoded, such as `plan%5B2%5D`"),
    ),
    responses(
        (status = 200, description = "The question", body = QuestionDoc),
        (status = 400, description = "`run.id-invalid`, `run.id-ambiguous`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`run.unknown`, `approval.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(surface): State<Surface>,
    Path((run, step)): Path<(String, String)>,
) -> Result<Json<Question>, Problem> {
    let id = runs::find(&surface, &run)?;
    if let Some(question) = surface.hub.question(id, &step).await {
        return Ok(Json(question));
    }
    if surface.hub.run(id).await.is_none() {
        return Err(runs::unknown(&run));
    }
    Err(Problem::new(Code::ApprovalUnknown, format!("the run asks nobody at step `{step}` now")))
}

/// Takes a person's decision; durable when it answers.
#[utoipa::path(
    post,
    path = "/v1/approvals/{run}/{step}/decision",
    tag = "people",
    params(
        ("run" = String, Path, description = "As for `/v1/runs/{id}`"),
        ("step" = String, Path, description = "The step, percent-encoded"),
    ),
    request_body(content = DecisionDoc, content_type = "application/json"),
    responses(
        (status = 200, description = "Decided; the run as it is now", body = RunSummaryDoc),
        (status = 400, description = "`request.invalid`, `run.id-invalid`, `run.id-ambiguous`", body = Document, content_type = "application/problem+json"),
        (status = 403, description = "`approval.denied`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`run.unknown`, `approval.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`approval.decided`, with `outcome` and `by`; `approval.stale`, with `revision` and `digest`; `run.conflict`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn decide(
    State(surface): State<Surface>,
    caller: Caller,
    Path((run, step)): Path<(String, String)>,
    request: Request,
) -> Result<Json<RunSummary>, Problem> {
    let decision: Decision = read_json(&surface, request).await?;
    decide_one(&surface, &caller, &run, &step, decision).await.map(Json)
}

async fn decide_one(
    surface: &Surface,
    caller: &Caller,
    run: &str,
    step: &str,
    mut decision: Decision,
) -> Result<RunSummary, Problem> {
    let id = runs::find(surface, run);
    let asked = |id: &RunId| {
        let of_run = QuestionFilter { group: None, run: Some(*id), limit: usize::MAX };
        surface.hub.questions(&of_run).into_iter().find(|question| question.step == step)
    };
    let group = id.as_ref().ok().and_then(asked).map(|question| question.group).unwrap_or_default();
    caller.may(Resource::Group(&group))?;
    caller.sign(&mut decision.actor, &mut decision.reason)?;
    let id = id?;
    surface.hub.decide(id, step, decision).await?;
    summary_of(surface, id).await
}

/// Decisions about several questions.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Decisions {
    /// At most 256: each is a decision with `run` and `step` beside it.
    #[schema(value_type = Vec<Object>)]
    decisions: Vec<serde_json::Map<String, Value>>,
}

/// What became of each decision.
#[derive(Serialize, ToSchema)]
pub(super) struct Decided {
    /// In the order in which they came: `run`, `step`, and the run's `summary` or the `problem`.
    #[schema(value_type = Vec<Object>)]
    decisions: Vec<Value>,
}

/// Takes several decisions, one after the other. Each is answered by itself: one that is refused stops no other.
#[utoipa::path(
    post,
    path = "/v1/approvals/decisions",
    tag = "people",
    request_body(content = Decisions, content_type = "application/json"),
    responses(
        (status = 200, description = "What became of each", body = Decided),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn decide_many(
    State(surface): State<Surface>,
    caller: Caller,
    request: Request,
) -> Result<Json<Decided>, Problem> {
    let Decisions { decisions } = read_json(&surface, request).await?;
    if decisions.len() > DECISIONS_MAX {
        let detail = format!("there are {} decisions; at most {DECISIONS_MAX} are taken at once", decisions.len());
        return Err(Problem::new(Code::RequestInvalid, detail));
    }
    if decisions.is_empty() {
        caller.may(Resource::Group(""))?;
    }
    let mut answers = Vec::with_capacity(decisions.len());
    for mut fields in decisions {
        let mut text = |name: &str| match fields.remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let (run, step) = (text("run"), text("step"));
        let mut answer = serde_json::json!({ "run": run, "step": step });
        let done = match serde_json::from_value::<Decision>(Value::Object(fields)) {
            Ok(decision) => decide_one(&surface, &caller, &run, &step, decision).await,
            Err(error) => Err(Problem::new(Code::RequestInvalid, format!("this is no decision: {error}"))),
        };
        let (name, value) = match &done {
            Ok(summary) => ("summary", serde_json::to_value(summary)),
            Err(problem) => ("problem", serde_json::to_value(problem.document())),
        };
        if let Some(answer) = answer.as_object_mut() {
            answer.insert(name.to_owned(), value.unwrap_or_default());
        }
        answers.push(answer);
    }
    Ok(Json(Decided { decisions: answers }))
}

//! `/v1/privacy…`: what is held of a person's data, and its erasure. The person is named in the body, never in a path: paths
//! end up in logs.

use axum::{
    Json,
    extract::{Request, State},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Surface, answer::read_json, gate::Caller};
use crate::{
    model::principal::{Action, Resource},
    net::problem::{Code, Document, Problem},
    ports::privacy::{Erased, Erasure, Held, Privacy, PrivacyError},
};

/// Whom it is about.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SubjectRequest {
    /// The person, as the events name them where their schema's `x-subject` points.
    #[schema(example = "customer-4711")]
    subject: String,
}

/// Whose data is erased, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ErasureRequest {
    /// The person, as the events name them where their schema's `x-subject` points.
    #[schema(example = "customer-4711")]
    subject: String,
    /// Who; absent: whoever sends it.
    #[serde(default)]
    actor: String,
    /// Why, without the person's name: the audit log keeps it.
    #[serde(default)]
    reason: String,
    /// Cancel the runs that need the data first, and leave what they did in place. It takes the right to control them.
    #[serde(default)]
    end_runs: bool,
}

/// Says what is held of a person's data: the key that it is sealed with, and which runs need it.
#[utoipa::path(
    post,
    path = "/v1/privacy/subject",
    tag = "privacy",
    request_body(content = SubjectRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "`subject`, an id from which nobody finds the person; `key` and `since`, if there is data; `erased`, keys that were destroyed; `runs` that have not ended and need it", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn subject(State(surface): State<Surface>, request: Request) -> Result<Json<Held>, Problem> {
    let SubjectRequest { subject } = read_json(&surface, request).await?;
    Ok(Json(privacy(&surface)?.held(&subject).await?))
}

/// Erases a person's data for good, everywhere that the hub keeps it: the key that it is sealed with is destroyed.
#[utoipa::path(
    post,
    path = "/v1/privacy/erase",
    tag = "privacy",
    request_body(content = ErasureRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "Erased: `subject`, `key`, `ended`. Without a `key` there was nothing to erase", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`privacy.runs-open`: `runs` that have not ended need the data", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`: ask again, which completes it", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn erase(
    State(surface): State<Surface>,
    caller: Caller,
    request: Request,
) -> Result<Json<Erased>, Problem> {
    caller.may(Resource::Hub)?;
    let ErasureRequest { subject, actor, reason, end_runs } = read_json(&surface, request).await?;
    let who = caller.signed(actor, reason)?;
    let privacy = privacy(&surface)?;
    if end_runs {
        for run in privacy.held(&subject).await?.runs {
            caller.may_do(Action::RunControl, Resource::Pipeline(&run.pipeline))?;
        }
    }
    Ok(Json(privacy.erase(Erasure { subject, who, end_runs }).await?))
}

fn privacy(surface: &Surface) -> Result<&dyn Privacy, Problem> {
    surface.hub.privacy().ok_or_else(|| Problem::new(Code::RouteUnknown, "this hub seals no personal data"))
}

impl From<PrivacyError> for Problem {
    fn from(error: PrivacyError) -> Self {
        let text = error.to_string();
        match error {
            PrivacyError::Invalid { .. } => Self::new(Code::RequestInvalid, text),
            PrivacyError::RunsOpen { runs, .. } => {
                let ids: Vec<String> = runs.iter().map(|run| run.id.to_string()).collect();
                Self::new(Code::PrivacyRunsOpen, text).with("runs", ids)
            }
            PrivacyError::Unavailable { .. } => Self::new(Code::HubUnavailable, text),
        }
    }
}

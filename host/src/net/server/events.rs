//! `POST /v1/events`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    EVENTS_BODY_BYTES_LIMIT, Surface, WAIT_MAX,
    answer::{parameters, read_body},
    cloudevents,
    gate::Caller,
    openapi::RunSummaryDoc,
    schemas::announce,
};
use crate::{
    model::{
        event::Event,
        id::RunId,
        principal::{Kind, Resource},
        run::RunSummary,
    },
    net::problem::{Code, Document, Problem},
    ports::{
        hub::{AcceptError, Acceptance},
        schemas::Notice,
    },
};

/// The extension that names who sent an event.
const ACTOR: &str = "actor";

/// What became of the events of one request.
#[derive(Serialize, ToSchema)]
pub(super) struct Accepted {
    /// In the order in which they came.
    events: Vec<AcceptedEvent>,
}

/// What became of one event.
#[derive(Serialize, ToSchema)]
struct AcceptedEvent {
    /// The acceptance.
    #[schema(example = "acc_0123456789abcdef0123456789abcdef")]
    id: String,
    /// Whether it had been accepted before; then the runs are those of the first time.
    duplicate: bool,
    /// The runs that it started; none: no pipeline listens to it.
    #[schema(value_type = Vec<RunSummaryDoc>)]
    runs: Vec<StartedRun>,
}

/// A run, as far as it is known.
#[derive(Serialize)]
#[serde(untagged)]
enum StartedRun {
    Known(Box<RunSummary>),
    Started { id: RunId },
}

/// Accepts events: all of them or none, durable when it answers.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "events",
    params(("wait" = Option<String>, Query, description = "Wait until the runs are settled, at most so long: `5s`, `500ms`; at most 60s", example = "5s")),
    request_body(
        description = "CloudEvents 1.0: one event, at most 256 of them, or JSON data with the attributes in `ce-` headers",
        content(
            (Object = "application/cloudevents+json"),
            (Vec<Object> = "application/cloudevents-batch+json"),
            (Object = "application/json"),
        )
    ),
    responses(
        (status = 202, description = "Accepted; the runs go on. `Deprecation`, `Sunset` and `Link` say that an event's type or schema is not to be used any more", body = Accepted),
        (status = 200, description = "Accepted and, as far as was waited for, settled; or all accepted before", body = Accepted),
        (status = 400, description = "`event.malformed`, `event.invalid`, `query.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 403, description = "`access.denied`: the token may not send events of this source and type", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`event.contradiction`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`, `event.batch-too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`, `event.data-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`event.unknown-type`, `event.data` (with `errors`: `pointer`, `found`, `change`), `event.schema-retired`", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "`hub.busy`, with Retry-After", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn accept(
    State(surface): State<Surface>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let [wait] = parameters(head.uri.query(), ["wait"])?;
    let wait = wait.as_deref().map(parse_wait).transpose()?;
    cloudevents::check_type(&head.headers)?;
    let body = read_body(body, &head.headers, EVENTS_BODY_BYTES_LIMIT, surface.options.body_timeout).await?;
    let mut events = cloudevents::read(&head.headers, &body)?;
    drop(body);
    if events.is_empty() {
        caller.may(Resource::Source { source: "", event_type: "" })?;
    }
    // Batches are of one source mostly, and a decision costs more than a look.
    let mut decided: BTreeSet<(String, String)> = BTreeSet::new();
    for (index, event) in events.iter_mut().enumerate() {
        let from = (event.source.clone(), event.event_type.clone());
        if !decided.contains(&from) {
            let resource = Resource::Source { source: &event.source, event_type: &event.event_type };
            caller.may(resource).map_err(|problem| problem.with("index", index))?;
            decided.insert(from);
        }
        send_as(&caller, event).map_err(|problem| problem.with("index", index))?;
    }
    let notices: Vec<Notice> = match surface.hub.schemas() {
        Some(schemas) => events.iter().filter_map(|event| schemas.notice(event)).collect(),
        None => Vec::new(),
    };
    let acceptances = surface.hub.accept(events).await?;
    let mut response = answer(&surface, acceptances, wait).await;
    announce(response.headers_mut(), &notices);
    Ok(response)
}

/// Holds an event to who sends it: nobody decides later about what they sent, so that a person's event carries their
/// name, and nobody's carries another's.
fn send_as(caller: &Caller, event: &mut Event) -> Result<(), Problem> {
    let named = event.extensions.get(ACTOR).map(String::as_str);
    if named.is_some() || caller.principal().kind == Kind::Person {
        let actor = caller.acting_as(named)?;
        event.extensions.insert(ACTOR.to_owned(), actor);
    }
    Ok(())
}

/// The answer about events that were accepted.
pub(super) async fn answer(surface: &Surface, acceptances: Vec<Acceptance>, wait: Option<Duration>) -> Response {
    let ids: Vec<RunId> = acceptances.iter().flat_map(|acceptance| acceptance.runs.iter().copied()).collect();
    let settling = surface.hub.settle(&ids, wait.unwrap_or_default());
    let summaries: BTreeMap<RunId, RunSummary> =
        settling.await.into_iter().map(|summary| (summary.id, summary)).collect();
    let all_known = acceptances.iter().all(|acceptance| acceptance.duplicate);
    let all_settled = ids.iter().all(|id| summaries.get(id).is_some_and(|summary| summary.state.is_settled()));
    let of = |id: RunId| match summaries.get(&id) {
        Some(summary) => StartedRun::Known(Box::new(summary.clone())),
        None => StartedRun::Started { id },
    };
    let events = acceptances
        .into_iter()
        .map(|Acceptance { id, duplicate, runs }| AcceptedEvent {
            id: id.to_string(),
            duplicate,
            runs: runs.into_iter().map(of).collect(),
        })
        .collect();
    let status = if all_known || wait.is_some() && all_settled { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, Json(Accepted { events })).into_response()
}

/// Reads `5s` or `500ms`.
fn parse_wait(text: &str) -> Result<Duration, Problem> {
    let wrong = |problem: &str| {
        Problem::new(Code::QueryInvalid, format!("`wait={text}` {problem}, such as `5s` or `500ms`, at most `60s`"))
    };
    let (digits, unit) = text.find(|c: char| !c.is_ascii_digit()).map_or((text, ""), |at| text.split_at(at));
    let number: u64 = digits.parse().map_err(|_| wrong("must be a whole number with a unit"))?;
    let wait = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        _ => return Err(wrong("must have the unit `s` or `ms`")),
    };
    if wait > WAIT_MAX { Err(wrong("is too long")) } else { Ok(wait) }
}

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        let text = error.to_string();
        match error {
            AcceptError::Invalid { index, source } => {
                Self::new(Code::EventInvalid, format!("{text}: {source}")).with("index", index)
            }
            AcceptError::UnknownType { .. } => Self::new(Code::EventTypeUnknown, text),
            AcceptError::Data { .. } => Self::new(Code::EventDataInvalid, text),
            AcceptError::Misfit { schema, misfits, .. } => Self::new(Code::EventDataInvalid, text)
                .with("schema", schema)
                .with("errors", serde_json::to_value(misfits).unwrap_or_default()),
            AcceptError::SchemaRetired { successor, .. } => {
                Self::new(Code::EventSchemaRetired, text).with("successor", successor)
            }
            AcceptError::Contradiction { first, .. } => {
                Self::new(Code::EventContradiction, text).with("first", first.to_string())
            }
            AcceptError::Busy { lane, retry_after_s, .. } => {
                Self::new(Code::HubBusy, text).with("lane", lane.as_str()).with("retry_after_s", retry_after_s)
            }
            AcceptError::Unavailable { .. } => Self::new(Code::HubUnavailable, text),
        }
    }
}

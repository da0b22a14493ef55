//! `/v1/subscriptions` and what is below it: events that are delivered to others' endpoints. Whoever owns a subscription
//! sees it, holds it and has its events replayed; an operator declares and removes it.

use axum::{
    Json,
    extract::{Path, RawQuery, Request, State},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Surface,
    answer::{parameters, read_json},
    gate::Caller,
    runs,
    settings::{answered, settings},
};
use crate::{
    model::{
        principal::{Action, Resource},
        subscription::Subscription,
    },
    net::problem::{Code, Document, Problem},
    ports::{
        settings::{SettingChanged, SettingError, SubscriptionAct},
        subscriptions::{
            Act, ActRequest, Letter, ReplayRequest, Selection, SubscriptionError, SubscriptionView, Subscriptions,
        },
    },
};

/// Replayed deliveries a second unless told.
const PER_SECOND_DEFAULT: u32 = 10;

/// The subscriptions that the caller may see.
#[derive(Serialize, ToSchema)]
pub(super) struct Listed {
    /// By name.
    #[schema(value_type = Vec<SubscriptionViewDoc>)]
    subscriptions: Vec<SubscriptionView>,
}

/// A subscription.
#[derive(ToSchema)]
#[schema(as = SubscriptionView)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct SubscriptionViewDoc {
    /// Its name.
    name: String,
    /// Whose it is.
    owner: String,
    /// Event types, exact or with `*` at the end.
    types: Vec<String>,
    /// Whether events from outside are delivered too; otherwise what pipelines emit.
    accepted: bool,
    /// Where to.
    url: String,
    /// Names of the secrets that deliveries are signed with, never their values.
    secrets: Vec<String>,
    /// Private addresses that may be reached all the same.
    allow_addresses: Option<Vec<String>>,
    /// Longest wait for an answer, milliseconds.
    timeout_ms: u64,
    /// Deliveries at the same time.
    concurrency: u32,
    /// `attempts`, `first_ms`, `max_ms`, `within_s`.
    #[schema(value_type = Object)]
    retry: Value,
    /// `active`, `paused` or `disabled`.
    state: String,
    /// Since when it is paused or disabled.
    since: Option<String>,
    /// Who paused it.
    by: Option<String>,
    /// Why it is disabled.
    cause: Option<String>,
    /// Who has the say about it: `file` (hub.toml) or `api`, whose changes hub.toml does not override.
    origin: String,
    /// What hub.toml declares of it: the `same`, or something that `differs`; absent: nothing.
    declared: Option<String>,
    /// Since when it is there.
    created: String,
    /// Deliveries that were taken since the hub started.
    delivered: u64,
    /// Events that were looked at and are not delivered yet; more may wait in the journal.
    waiting: u64,
    /// Whether everything that was accepted was looked at.
    caught_up: bool,
    /// Until when what it has not read is kept from the archive, if it is paused or disabled.
    kept_until: Option<String>,
    /// The delivery that fails: `event`, `attempts`, `due`, `cause`.
    #[schema(value_type = Option<Object>)]
    failing: Option<Value>,
    /// Events that were given up.
    dead_letters: u64,
    /// A replay that is under way: `sent`, `failed`.
    #[schema(value_type = Option<Object>)]
    replay: Option<Value>,
}

/// Events that were given up.
#[derive(Serialize, ToSchema)]
pub(super) struct Letters {
    /// In the order of acceptance: `event`, `id`, `type`, `subject`, `accepted`, `given_up`, `attempts`, `cause`.
    #[schema(value_type = Vec<Object>)]
    dead_letters: Vec<Letter>,
}

/// What is declared.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetBody {
    #[serde(default)]
    r#do: SetDo,
    #[serde(default)]
    subscription: Option<Box<Subscription>>,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SetDo {
    #[default]
    Set,
    Declared,
}

/// What is declared.
#[derive(ToSchema)]
#[schema(as = SubscriptionRequest)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct SetDoc {
    /// `set`, which it is unless told, or `declared` (take what hub.toml says).
    r#do: Option<String>,
    /// To `set`: `owner`, `types`, `url`, `secrets`, and where wanted `accepted`, `allow_addresses`, `timeout_ms`,
    /// `concurrency`, `retry`.
    #[schema(value_type = Option<Object>)]
    subscription: Option<Value>,
    /// Who; absent: whoever sends it.
    actor: Option<String>,
    /// Why.
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlBody {
    r#do: Do,
    replay: Option<ReplayBody>,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Do {
    Pause,
    Resume,
    Remove,
    Replay,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    selection: Selection,
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    per_second: Option<u32>,
}

/// What is done with a subscription.
#[derive(ToSchema)]
#[schema(as = SubscriptionControl)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct ControlDoc {
    /// `pause`, `resume`, `replay` or `remove`.
    r#do: String,
    /// For `replay`: `selection` (`{"event": "acc_…"}`, `"dead_letters"` or `{"since": "2026-06-01T00:00:00Z"}`), `types`,
    /// `per_second`.
    #[schema(value_type = Option<Object>)]
    replay: Option<Value>,
    /// Who; absent: whoever sends it.
    actor: Option<String>,
    /// Why.
    reason: Option<String>,
}

/// Lists the subscriptions that the caller may see.
#[utoipa::path(
    get,
    path = "/v1/subscriptions",
    tag = "subscriptions",
    responses((status = 200, description = "The subscriptions", body = Listed))
)]
pub(super) async fn list(State(surface): State<Surface>, caller: Caller) -> Result<Json<Listed>, Problem> {
    let own = caller.principal().name.clone();
    caller.may(Resource::Subscription { name: "", owner: &own })?;
    let all = surface.hub.subscriptions().map(Subscriptions::list).unwrap_or_default();
    let access = surface.hub.access();
    let may =
        |view: &SubscriptionView| access.decide(caller.principal(), Action::SubscriptionRead, resource(view)).is_ok();
    Ok(Json(Listed { subscriptions: all.into_iter().filter(may).collect() }))
}

/// Shows a subscription.
#[utoipa::path(
    get,
    path = "/v1/subscriptions/{name}",
    tag = "subscriptions",
    params(("name" = String, Path)),
    responses(
        (status = 200, description = "The subscription", body = SubscriptionViewDoc),
        (status = 404, description = "`subscription.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(surface): State<Surface>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<SubscriptionView>, Problem> {
    Ok(Json(permitted(&surface, &caller, Action::SubscriptionRead, &name)?))
}

/// Lists the events of a subscription that were given up.
#[utoipa::path(
    get,
    path = "/v1/subscriptions/{name}/dead-letters",
    tag = "subscriptions",
    params(
        ("name" = String, Path),
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 1000; 50 unless told"),
    ),
    responses(
        (status = 200, description = "The events, in the order of acceptance", body = Letters),
        (status = 400, description = "`query.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`subscription.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn dead_letters(
    State(surface): State<Surface>,
    caller: Caller,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Letters>, Problem> {
    permitted(&surface, &caller, Action::SubscriptionRead, &name)?;
    let [limit] = parameters(query.as_deref(), ["limit"])?;
    let limit = limit.as_deref().map_or(Ok(runs::LIST_DEFAULT), runs::parse_limit)?;
    Ok(Json(Letters { dead_letters: subscriptions(&surface)?.dead_letters(&name, limit).await? }))
}

/// Declares a subscription, or changes it, or proposes to where more leaves the hub than before; a new one begins with what
/// is accepted from then on. Audited and in effect when it answers 200.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{name}",
    tag = "subscriptions",
    params(("name" = String, Path, description = "1 to 64 of `a-z`, `0-9` and `-`, a letter first")),
    request_body(content = SetDoc, content_type = "application/json"),
    responses(
        (status = 200, description = "The subscription", body = SubscriptionViewDoc),
        (status = 202, description = "Proposed: a second person has to agree at `/v1/changes/{id}/decision`", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`subscription.conflict`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`subscription.refused`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn set(
    State(surface): State<Surface>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    // Before anything is read, and again once it is known whose it is to be.
    caller.may(Resource::Subscription { name: &name, owner: "" })?;
    let SetBody { r#do, subscription, actor, reason } = read_json(&surface, request).await?;
    let (act, owner) = match (r#do, subscription) {
        (SetDo::Set, Some(subscription)) => {
            let owner = subscription.owner.clone();
            (SubscriptionAct::Set(subscription), owner)
        }
        (SetDo::Declared, None) => {
            let declared = settings(&surface)?.declared_subscription(&name);
            (SubscriptionAct::Declared, declared.map(|declared| declared.owner).unwrap_or_default())
        }
        (SetDo::Set, None) => {
            return Err(Problem::new(Code::RequestInvalid, "`subscription` says what is delivered; it is not there"));
        }
        (SetDo::Declared, Some(_)) => {
            return Err(Problem::new(Code::RequestInvalid, "`subscription` is there, and hub.toml is to be followed"));
        }
    };
    may_set(&surface, &caller, &name, &owner)?;
    let who = caller.signed(actor, reason)?;
    match settings(&surface)?.subscribe(&name, act, who).await.map_err(told)? {
        proposed @ SettingChanged::Proposed(_) => Ok(answered(proposed)),
        SettingChanged::Done { .. } => {
            let all = subscriptions(&surface)?.list();
            let view = all.into_iter().find(|view| view.name == name);
            Ok(Json(view.ok_or_else(|| Problem::from(SubscriptionError::Unknown { name }))?).into_response())
        }
    }
}

/// Whether somebody may have a subscription become another's, or be as they say: it is both owners' matter.
pub(super) fn may_set(surface: &Surface, caller: &Caller, name: &str, owner: &str) -> Result<(), Problem> {
    let all = surface.hub.subscriptions().map(Subscriptions::list).unwrap_or_default();
    if let Some(held) = all.iter().find(|view| view.name == name) {
        caller.may_do(Action::SubscriptionChange, resource(held))?;
    }
    caller.may_do(Action::SubscriptionChange, Resource::Subscription { name, owner })
}

/// Why a subscription is not set, in this route's own words.
fn told(error: SettingError) -> Problem {
    match error {
        SettingError::Refused { problem, .. } => SubscriptionError::Refused { problem }.into(),
        SettingError::Conflict { problem } => SubscriptionError::Conflict { problem }.into(),
        other => other.into(),
    }
}

/// Pauses, resumes or removes a subscription, or has its events delivered again; recorded when it answers.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{name}/control",
    tag = "subscriptions",
    params(("name" = String, Path)),
    request_body(content = ControlDoc, content_type = "application/json"),
    responses(
        (status = 200, description = "The subscription", body = SubscriptionViewDoc),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`subscription.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`subscription.conflict`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`subscription.refused`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn control(
    State(surface): State<Surface>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<SubscriptionView>, Problem> {
    let view = permitted(&surface, &caller, Action::SubscriptionControl, &name)?;
    let may_change =
        surface.hub.access().decide(caller.principal(), Action::SubscriptionChange, resource(&view)).is_ok();
    let ControlBody { r#do, replay, actor, reason } = read_json(&surface, request).await?;
    if let Do::Remove = r#do {
        permitted(&surface, &caller, Action::SubscriptionChange, &name)?;
    }
    let who = caller.signed(actor, reason)?;
    let port = subscriptions(&surface)?;
    let act = match (r#do, replay) {
        (Do::Replay, Some(ReplayBody { selection, types, per_second })) => {
            let per_second = per_second.unwrap_or(PER_SECOND_DEFAULT);
            let request = ReplayRequest { who, selection, types, per_second, may_change };
            return Ok(Json(port.replay(&name, request).await?));
        }
        (Do::Replay, None) => {
            return Err(Problem::new(Code::RequestInvalid, "`replay` says what is delivered again; it is not there"));
        }
        (_, Some(_)) => return Err(Problem::new(Code::RequestInvalid, "`replay` is there, and nothing is replayed")),
        (Do::Pause, None) => Act::Pause,
        (Do::Resume, None) => Act::Resume,
        (Do::Remove, None) => Act::Remove,
    };
    Ok(Json(port.act(&name, ActRequest { who, act, may_change }).await?))
}

/// The subscription, if the caller may do this with it. Whether there is one is shown to those alone who may see any.
fn permitted(surface: &Surface, caller: &Caller, action: Action, name: &str) -> Result<SubscriptionView, Problem> {
    let all = surface.hub.subscriptions().map(Subscriptions::list).unwrap_or_default();
    let found = all.into_iter().find(|view| view.name == name);
    let owner = found.as_ref().map_or("", |view| view.subscription.owner.as_str());
    caller.may_do(action, Resource::Subscription { name, owner })?;
    found.ok_or_else(|| SubscriptionError::Unknown { name: name.chars().take(200).collect() }.into())
}

fn resource(view: &SubscriptionView) -> Resource<'_> {
    Resource::Subscription { name: &view.name, owner: &view.subscription.owner }
}

fn subscriptions(surface: &Surface) -> Result<&dyn Subscriptions, Problem> {
    let none = || Problem::new(Code::SubscriptionUnknown, "this hub delivers to nobody");
    surface.hub.subscriptions().ok_or_else(none)
}

impl From<SubscriptionError> for Problem {
    fn from(error: SubscriptionError) -> Self {
        let text = error.to_string();
        match error {
            SubscriptionError::Unknown { .. } => Self::new(Code::SubscriptionUnknown, text),
            SubscriptionError::Refused { .. } => Self::new(Code::SubscriptionRefused, text),
            SubscriptionError::Conflict { .. } => Self::new(Code::SubscriptionConflict, text),
            SubscriptionError::Unavailable { .. } => Self::new(Code::HubUnavailable, text),
        }
    }
}

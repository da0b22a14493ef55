//! `/v1/plugins…`, `/v1/bindings…` and `/v1/changes…`: versions of plugins, which of them serve, and changes that need a
//! second person.

use axum::{
    Json,
    extract::{Path, RawQuery, Request, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::{
    Surface,
    answer::{flag, parameters, read_body, read_json},
    gate::Caller,
    impact,
    pipelines::{from_to, parse_version},
    settings::may_bind,
    subscriptions::may_set,
};
use crate::{
    model::{
        id::PluginId,
        principal::{Action, Resource},
        registry::Act,
        setting::{SettingChange, SettingProposal},
        timestamp::Timestamp,
    },
    net::problem::{Code, Document, Problem},
    ports::registry::{ChangeRequest, Changed, Effective, LineView, PluginDetail, Published, Registry, RegistryError},
};

/// Largest upload, bytes.
const UPLOAD_BYTES_LIMIT: u64 = 96 << 20;
/// Uploads at the same time: each is held in memory until it is checked.
const UPLOADS_AT_ONCE: usize = 2;
/// After how long to try again when there are that many, seconds.
const UPLOAD_RETRY_AFTER_S: u32 = 5;

/// After how long to try again while another replay is under way, seconds.
const REPLAY_RETRY_AFTER_S: u32 = 10;

static UPLOADS: Semaphore = Semaphore::const_new(UPLOADS_AT_ONCE);

/// A change to a version, or to which version serves.
#[derive(ToSchema)]
#[schema(as = RegistryChange)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct ChangeDoc {
    /// Who; absent: whoever sends it.
    actor: Option<String>,
    /// Why.
    reason: String,
    /// For a version: `publish` (a draft), `deprecate`, `yank`, `retire`, `revoke`, `restore`. For a binding: `stage`,
    /// `shadow`, `canary`, `promote`, `withdraw`, `rollback`.
    r#do: String,
    /// Which version; not for `withdraw` and `rollback`.
    version: Option<String>,
    /// For a binding: this pipeline alone.
    pipeline: Option<String>,
    /// For `deprecate`: until when it is meant to be used, RFC 3339.
    sunset: Option<String>,
    /// For `deprecate`: the version to use instead.
    replaced_by: Option<String>,
    /// For `canary`: of a hundred keys, so many; 1 to 99.
    percent: Option<u8>,
    /// For `canary`: it is taken back beyond so many traps; 0 unless told.
    traps_max: Option<u32>,
    /// For `canary`: it is taken back beyond so many calls out of time; 0 unless told.
    deadlines_max: Option<u32>,
    /// For `canary`: it is taken back if more of a hundred answers differ from the active version's.
    divergence_percent_max: Option<u8>,
    /// For `promote`: only if it answers recorded inputs as the version that serves does.
    replay: Option<GateDoc>,
    /// Overrides what stands against it; then a second person has to agree.
    force: Option<bool>,
    /// That whoever asks has seen what depends on what is taken away or broken, as `change.in-use` lists it.
    accept_impact: Option<bool>,
}

/// What a promotion asks of a replay.
#[derive(ToSchema)]
#[schema(as = ReplayGate)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct GateDoc {
    /// How far back inputs are looked for: a length of time such as `7d`, or a time.
    since: String,
    /// How many may be answered otherwise; 0 unless told.
    changes_max: Option<u64>,
    /// How many are replayed at most, the latest; 1000 unless told.
    limit: Option<u32>,
}

#[derive(Deserialize)]
struct ChangeBody {
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    pipeline: Option<String>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    accept_impact: bool,
    #[serde(flatten)]
    act: Act,
}

/// Publishes a packed version. It serves nobody before it is promoted.
#[utoipa::path(
    post,
    path = "/v1/plugins",
    tag = "registry",
    params(
        ("plugin" = String, Query, description = "Which plugin it is, as its manifest says"),
        ("actor" = Option<String>, Query, description = "Who publishes it; absent: whoever sends it"),
        ("reason" = String, Query, description = "Why"),
        ("draft" = Option<bool>, Query, description = "Whether it may still be replaced"),
        ("dry_run" = Option<bool>, Query, description = "Only have the gate judge it, against what is published and whose signatures count here: the report, as `plugin check --json` prints it"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "A package file, as `plugin pack` makes one; at most 96 MiB"),
    responses(
        (status = 200, description = "Exactly this was published before; or the report (`dry_run`)", body = Object),
        (status = 201, description = "Published: plugin, version, digest, state, what to do next", body = Object),
        (status = 400, description = "`query.invalid`, `request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`plugin.version-taken`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`plugin.refused`", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "`hub.busy`: other uploads are under way", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn publish(
    State(surface): State<Surface>,
    caller: Caller,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    let names = ["plugin", "actor", "reason", "draft", "dry_run"];
    let [plugin, actor, reason, draft, dry_run] = parameters(query.as_deref(), names)?;
    let plugin = plugin.unwrap_or_default();
    let plugin: PluginId = plugin.parse().map_err(|_| {
        Problem::new(Code::QueryInvalid, format!("`plugin={plugin}` must be the plugin's id, such as `acme/rules`"))
    })?;
    caller.may(Resource::Namespace(plugin.namespace()))?;
    let (draft, dry_run) = (flag("draft", draft.as_deref())?, flag("dry_run", dry_run.as_deref())?);
    let (head, body) = request.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type != "application/octet-stream" {
        let detail = format!("the body is `{content_type}`; it must be `application/octet-stream`, a packed plugin");
        return Err(Problem::new(Code::ContentTypeUnsupported, detail));
    }
    let Ok(_room) = UPLOADS.try_acquire() else {
        let detail = format!("{UPLOADS_AT_ONCE} uploads are under way already");
        return Err(Problem::new(Code::HubBusy, detail).with("retry_after_s", UPLOAD_RETRY_AFTER_S));
    };
    let upload = read_body(body, &head.headers, UPLOAD_BYTES_LIMIT, super::WAIT_MAX).await?;
    if dry_run {
        return Ok(Json(registry(&surface)?.check(plugin, upload).await?).into_response());
    }
    let who = caller.signed(actor.unwrap_or_default(), reason.unwrap_or_default())?;
    let published: Published = registry(&surface)?.publish(plugin, upload, draft, who).await?;
    let status = if published.unchanged { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(published)).into_response())
}

/// Shows a plugin's versions and where they serve.
#[utoipa::path(
    get,
    path = "/v1/plugins/{namespace}/{name}",
    tag = "registry",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses(
        (status = 200, description = "`versions`, the latest first, and `bindings`; samples of trials only for who may see runs", body = Object),
        (status = 404, description = "`plugin.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(surface): State<Surface>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Json<PluginDetail>, Problem> {
    let mut detail = registry(&surface)?.plugin(&id_of(&path)?)?;
    withhold_samples(&caller, &mut detail.bindings);
    Ok(Json(detail))
}

/// Samples of a trial quote what runs were answered, and are shown to whoever may see runs.
fn withhold_samples(caller: &Caller, lines: &mut [LineView]) {
    if !caller.sees(Action::RunRead) {
        lines.iter_mut().filter_map(|line| line.candidate.as_mut()).for_each(|trial| trial.counts.samples.clear());
    }
}

/// Tells what a version may touch and use: manifest, then grants, then the hub's ceiling; and which of them denies what.
#[utoipa::path(
    get,
    path = "/v1/plugins/{namespace}/{name}/explain",
    tag = "registry",
    params(
        ("namespace" = String, Path),
        ("name" = String, Path),
        ("version" = Option<String>, Query, description = "Absent: the one that serves"),
    ),
    responses(
        (status = 200, description = "`parts`: connection, what, granted, layer, why; `withheld`, if what connections grant is not shown to who may not see connections", body = Object),
        (status = 400, description = "`query.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`plugin.unknown`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn explain(
    State(surface): State<Surface>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Json<Effective>, Problem> {
    let version = version_of(query.as_deref())?;
    let mut effective = registry(&surface)?.effective(&id_of(&path)?, version.as_ref())?;
    // Where connections lead, and what their secrets are called, is no partner's business.
    if !caller.sees(Action::ConnectionRead) {
        let all = effective.parts.len();
        effective.parts.retain(|part| part.connection.is_none());
        effective.withheld = effective.parts.len() < all;
    }
    Ok(Json(effective))
}

/// Tells what one version changes for who relies on another, as the publish gate finds it.
#[utoipa::path(
    get,
    path = "/v1/plugins/{namespace}/{name}/difference",
    tag = "registry",
    params(
        ("namespace" = String, Path), ("name" = String, Path),
        ("from" = String, Query, description = "The earlier version"),
        ("to" = String, Query, description = "The later version"),
    ),
    responses(
        (status = 200, description = "`bump` that the changes mean, and the `next` version that says so; `capabilities`: `unchanged`, `narrowed` or `widened`; the gate's `findings`; `manifest`, field by field; `imports`, `exports`, `component`", body = Object),
        (status = 400, description = "`query.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`plugin.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn difference(
    State(surface): State<Surface>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    caller.may(Resource::Namespace(&path.0))?;
    let (from, to) = from_to(query.as_deref())?;
    Ok(Json(registry(&surface)?.difference(&id_of(&path)?, &from, &to).await?))
}

/// Changes where a version stands; durable when it answers.
#[utoipa::path(
    post,
    path = "/v1/plugins/{namespace}/{name}/control",
    tag = "registry",
    params(("namespace" = String, Path), ("name" = String, Path)),
    request_body(content = ChangeDoc, content_type = "application/json"),
    responses(
        (status = 200, description = "Done: what was done, what to know, how long it took", body = Object),
        (status = 202, description = "Proposed: a second person has to agree at `/v1/changes/{id}/decision`", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`plugin.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`registry.conflict`; `change.in-use` with the `dependants`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn control(
    State(surface): State<Surface>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    change(&surface, &caller, &path, request, true).await
}

/// Which versions serve.
#[derive(Serialize, ToSchema)]
pub(super) struct Bindings {
    /// By line: `plugin`, `pipeline`, `bound`, `active`, `earlier`, `candidate` with its `counts`.
    #[schema(value_type = Vec<Object>)]
    bindings: Vec<LineView>,
}

/// Lists which versions serve, and what is on trial.
#[utoipa::path(
    get,
    path = "/v1/bindings",
    tag = "registry",
    responses((status = 200, description = "The bindings, by plugin", body = Bindings))
)]
pub(super) async fn bindings(State(surface): State<Surface>, caller: Caller) -> Result<Json<Bindings>, Problem> {
    let mut bindings = registry(&surface)?.bindings();
    withhold_samples(&caller, &mut bindings);
    Ok(Json(Bindings { bindings }))
}

/// Changes which version serves; durable and in effect when it answers.
#[utoipa::path(
    post,
    path = "/v1/bindings/{namespace}/{name}",
    tag = "registry",
    params(("namespace" = String, Path), ("name" = String, Path)),
    request_body(content = ChangeDoc, content_type = "application/json"),
    responses(
        (status = 200, description = "Done: what was done, what was checked, how long it took", body = Object),
        (status = 202, description = "Proposed: a second person has to agree at `/v1/changes/{id}/decision`", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`plugin.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`registry.conflict`; `change.in-use` with the `dependants`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`plugin.refused`; `plugin.replay-differs` with the `report`", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "`hub.busy`: another replay is under way", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn bind(
    State(surface): State<Surface>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    change(&surface, &caller, &path, request, false).await
}

/// Changes that need, or needed, a second person.
#[derive(Serialize, ToSchema)]
pub(super) struct Changes {
    /// The latest first: `id`, `time`, `actor`, `reason`, `act`, `because`, `state`; of a plugin (`chg_…`) `plugin`,
    /// `pipeline` and `force` as well. Changes of connections, bindings, subscriptions and publications (`set_…`) only for who
    /// has `connection.read`, of webhook sources for who has `source.read`.
    #[schema(value_type = Vec<Object>)]
    changes: Vec<Value>,
}

/// Lists changes that were proposed, the latest first.
#[utoipa::path(
    get,
    path = "/v1/changes",
    tag = "registry",
    responses(
        (status = 200, description = "The changes", body = Changes),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn changes(State(surface): State<Surface>, caller: Caller) -> Result<Json<Changes>, Problem> {
    let proposed = registry(&surface)?.proposals().await?;
    let mut changes: Vec<(Timestamp, Value)> =
        proposed.iter().map(|change| (change.time, serde_json::to_value(change).unwrap_or_default())).collect();
    // They hold whole connections and webhook sources.
    let (connections, sources) = (caller.sees(Action::ConnectionRead), caller.sees(Action::SourceRead));
    if let Some(settings) = surface.hub.settings().filter(|_| connections || sources) {
        let proposed = settings.proposals().await?;
        let seen = |change: &&SettingProposal| match change.act {
            SettingChange::Source { .. } => sources,
            _ => connections,
        };
        let seen = proposed.iter().filter(seen);
        changes.extend(seen.map(|change| (change.time, serde_json::to_value(change).unwrap_or_default())));
    }
    changes.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    Ok(Json(Changes { changes: changes.into_iter().map(|(_, change)| change).collect() }))
}

/// Whether somebody agrees to a change.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeDecision {
    /// Who; absent: whoever sends it.
    #[serde(default)]
    actor: String,
    /// Why.
    #[serde(default)]
    reason: String,
    /// Whether it is made.
    approved: bool,
}

/// Agrees to a proposed change, which is made then, or declines it. Whoever asked for it cannot agree.
#[utoipa::path(
    post,
    path = "/v1/changes/{id}/decision",
    tag = "registry",
    params(("id" = String, Path, description = "As GET /v1/changes lists it")),
    request_body(content = ChangeDecision, content_type = "application/json"),
    responses(
        (status = 200, description = "Made, or declined", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 403, description = "`change.same-person`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`change.unknown`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`registry.conflict`; `change.in-use` with the `dependants`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`plugin.refused`; `plugin.replay-differs` with the `report`", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "`hub.busy`: another replay is under way", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn decide(
    State(surface): State<Surface>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let ChangeDecision { actor, reason, approved } = read_json(&surface, request).await?;
    if let Some(settings) = surface.hub.settings() {
        let of_setting = settings.proposals().await?.into_iter().find(|proposal| proposal.id == id);
        if let Some(proposal) = of_setting {
            match &proposal.act {
                SettingChange::Connection { .. } => caller.may_do(Action::ConnectionChange, Resource::Hub)?,
                SettingChange::Source { .. } => caller.may_do(Action::SourceChange, Resource::Hub)?,
                SettingChange::Bind { pipeline, .. } => may_bind(&caller, pipeline)?,
                SettingChange::Subscription { name, subscription, .. } => {
                    may_set(&surface, &caller, name, &subscription.owner)?;
                }
                SettingChange::Api { contract, .. } => {
                    caller.may_do(Action::ApiPublish, Resource::Contract(contract.as_str()))?;
                }
            }
            let who = caller.signed(actor, reason)?;
            let made = settings.decide(&id, approved, who).await?;
            return Ok(Json(decided(made)));
        }
    }
    let proposed = match surface.hub.registry() {
        Some(registry) => registry.proposals().await?.into_iter().find(|proposal| proposal.id == id),
        None => None,
    };
    caller.may(Resource::Namespace(proposed.as_ref().map_or("", |proposal| proposal.plugin.namespace())))?;
    if proposed.is_some_and(|proposal| matches!(proposal.act, Act::Promote { replay: Some(_), .. })) {
        caller.may_do(Action::RunRead, Resource::Hub)?;
    }
    let who = caller.signed(actor, reason)?;
    let made = registry(&surface)?.decide(&id, approved, who).await?;
    Ok(Json(decided(made)))
}

fn decided(made: Option<impl Serialize>) -> Value {
    match made {
        Some(changed) => serde_json::to_value(changed).unwrap_or_default(),
        None => serde_json::json!({ "outcome": "rejected" }),
    }
}

async fn change(
    surface: &Surface,
    caller: &Caller,
    path: &(String, String),
    request: Request,
    about_version: bool,
) -> Result<Response, Problem> {
    let ChangeBody { actor, reason, pipeline, force, accept_impact, act } =
        read_json::<ChangeBody>(surface, request).await?;
    let (namespace, _) = path;
    // Who publishes a version also says that it is final, and what to use instead.
    match act {
        Act::Publish { .. } | Act::Deprecate { .. } => {
            caller.may_do(Action::PluginPublish, Resource::Namespace(namespace))?;
        }
        _ => caller.may(Resource::Namespace(namespace))?,
    }
    if matches!(act, Act::Promote { replay: Some(_), .. }) {
        // What stands against it quotes runs.
        caller.may_do(Action::RunRead, Resource::Hub)?;
    }
    let who = caller.signed(actor, reason)?;
    let registry = registry(surface)?;
    let plugin = id_of(path)?;
    if act.is_about_version() != about_version {
        let place =
            if about_version { format!("/v1/bindings/{plugin}") } else { format!("/v1/plugins/{plugin}/control") };
        return Err(Problem::new(Code::RequestInvalid, format!("`{}` is asked for at `{place}`", act.verb())));
    }
    let request = ChangeRequest { who, plugin, pipeline, act, force, accept_impact };
    let changed = registry.change(request).await.map_err(|error| impact::refused(caller, error))?;
    let status = if matches!(changed, Changed::Done(_)) { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(changed)).into_response())
}

pub(super) fn registry(surface: &Surface) -> Result<&dyn Registry, Problem> {
    surface.hub.registry().ok_or_else(|| Problem::new(Code::RouteUnknown, "this hub has no registry"))
}

pub(super) fn id_of((namespace, name): &(String, String)) -> Result<PluginId, Problem> {
    let text = format!("{namespace}/{name}");
    text.parse().map_err(|_| Problem::new(Code::PluginUnknown, format!("`{text}` is not a plugin's id")))
}

pub(super) fn version_of(query: Option<&str>) -> Result<Option<Version>, Problem> {
    let [version] = parameters(query, ["version"])?;
    version.map(|text| parse_version("version", &text)).transpose()
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        let text = error.to_string();
        match error {
            RegistryError::Unknown { .. } => Self::new(Code::PluginUnknown, text),
            RegistryError::UnknownChange { .. } => Self::new(Code::ChangeUnknown, text),
            RegistryError::Invalid { .. } => Self::new(Code::RequestInvalid, text),
            RegistryError::Conflict { .. } => Self::new(Code::RegistryConflict, text),
            RegistryError::InUse(used) => impact::in_use(None, &used),
            RegistryError::Refused { findings, .. } => Self::new(Code::PluginRefused, text).with("findings", findings),
            RegistryError::ReplayDiffers { report, .. } => Self::new(Code::PluginReplayDiffers, text)
                .with("report", serde_json::to_value(report).unwrap_or_default()),
            RegistryError::Busy { .. } => Self::new(Code::HubBusy, text).with("retry_after_s", REPLAY_RETRY_AFTER_S),
            RegistryError::Taken { .. } => Self::new(Code::PluginVersionTaken, text),
            RegistryError::SamePerson { .. } => Self::new(Code::ChangeSamePerson, text),
            RegistryError::Unavailable { .. } => Self::new(Code::HubUnavailable, text),
        }
    }
}

//! `/v1/sources` and `/v1/sources/{name}`: webhook sources, as an operator sees and sets them. Their deliveries come in at
//! `/v1/webhooks/{source}`.

use axum::{
    Json,
    extract::{Path, Request, State},
    response::Response,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Surface,
    gate::Caller,
    settings::{answered, read_quietly, settings},
};
use crate::{
    model::connection::{SecretRef, WebhookSource},
    net::problem::{Code, Document, Problem},
    ports::settings::{SourceAct, SourceView},
};

/// Configured webhook sources.
#[derive(Serialize, ToSchema)]
pub(super) struct Sources {
    /// By name.
    #[schema(value_type = Vec<SourceViewDoc>)]
    sources: Vec<SourceView>,
}

/// A webhook source.
#[derive(ToSchema)]
#[schema(as = SourceView)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct SourceViewDoc {
    /// Its name.
    name: String,
    /// Where its deliveries come in.
    #[schema(example = "/v1/webhooks/shop")]
    path: String,
    /// The plugin that reads them.
    plugin: String,
    /// The plugin's version; absent: none serves.
    version: Option<String>,
    /// How they are signed, as the plugin says: `algorithm`, `header`, `encoding`, `prefix`, `timestamp_header`, ….
    #[schema(value_type = Option<Object>)]
    signed: Option<Value>,
    /// The `source` that the host writes into its events.
    source: String,
    /// The event types that it may bring.
    types: Vec<String>,
    /// Where the secret is found that they are signed with: `store:NAME`, `env:NAME` or `file:PATH`.
    secret: String,
    /// The secret of before, as long as it is taken too: `secret`, `until`.
    #[schema(value_type = Option<Object>)]
    replaced: Option<Value>,
    /// Settings for the plugin.
    #[schema(value_type = Object)]
    config: Value,
    /// Largest delivery, bytes.
    body_bytes_limit: u64,
    /// Who has the say about it: `file` (hub.toml) or `api`, whose changes hub.toml does not override.
    origin: String,
    /// What hub.toml declares of it: the `same`, or something that `differs`; absent: nothing.
    declared: Option<String>,
}

/// Lists the webhook sources: who signs, what they bring, as what; never a secret.
#[utoipa::path(
    get,
    path = "/v1/sources",
    tag = "settings",
    responses((status = 200, description = "The sources", body = Sources))
)]
pub(super) async fn list(State(surface): State<Surface>) -> Result<Json<Sources>, Problem> {
    Ok(Json(Sources { sources: settings(&surface)?.sources() }))
}

/// Shows one webhook source.
#[utoipa::path(
    get,
    path = "/v1/sources/{name}",
    tag = "settings",
    params(("name" = String, Path, description = "The source's name")),
    responses(
        (status = 200, description = "The source", body = SourceViewDoc),
        (status = 404, description = "`webhook.unknown-source`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(surface): State<Surface>,
    Path(name): Path<String>,
) -> Result<Json<SourceView>, Problem> {
    let found = settings(&surface)?.sources().into_iter().find(|source| source.name == name);
    let unknown = || Problem::new(Code::WebhookSourceUnknown, format!("there is no webhook source `{name}`"));
    found.map(Json).ok_or_else(unknown)
}

/// What is to be done with a webhook source.
#[derive(ToSchema)]
#[schema(as = SourceChange)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct SourceDoc {
    /// `add`, `change`, `declared` (take what hub.toml says), `rotate`, `confirm` (take the secret of before no more) or
    /// `remove`.
    r#do: String,
    /// For `add` and `change`: the fields that a webhook source has in hub.toml.
    #[schema(value_type = Option<Object>)]
    source: Option<Value>,
    /// For `rotate`: the secret that deliveries are signed with, `store:NAME`, `env:NAME` or `file:PATH`.
    reference: Option<String>,
    /// For `rotate`: for how long the secret of before is taken too, seconds; a day unless told, thirty days at most.
    keep_s: Option<u64>,
    /// Who; absent: whoever sends it.
    actor: Option<String>,
    /// Why.
    reason: String,
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum SourceDo {
    Add {
        source: Box<WebhookSource>,
    },
    Change {
        source: Box<WebhookSource>,
    },
    Declared,
    Remove,
    Confirm,
    Rotate {
        reference: SecretRef,
        #[serde(default)]
        keep_s: Option<u64>,
    },
}

#[derive(Deserialize)]
struct SourceBody {
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
    #[serde(flatten)]
    act: SourceDo,
}

/// Changes a webhook source, or proposes to where more would come in than before; durable when it answers 200, and in effect
/// from the next delivery on.
#[utoipa::path(
    post,
    path = "/v1/sources/{name}",
    tag = "settings",
    params(("name" = String, Path, description = "The source's name: its deliveries come in at `/v1/webhooks/{name}`")),
    request_body(content = SourceDoc, content_type = "application/json"),
    responses(
        (status = 200, description = "Done: `summary`, `notes`", body = Object),
        (status = 202, description = "Proposed: a second person has to agree at `/v1/changes/{id}/decision`", body = Object),
        (status = 400, description = "`request.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`webhook.unknown-source`", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "`setting.conflict`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "`setting.refused`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change(
    State(surface): State<Surface>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    // Whoever writes a secret's value where its reference belongs does not read it back.
    let SourceBody { actor, reason, act } = read_quietly(&surface, request).await?;
    let who = caller.signed(actor, reason)?;
    let act = match act {
        SourceDo::Add { source } => SourceAct::Add(source),
        SourceDo::Change { source } => SourceAct::Change(source),
        SourceDo::Declared => SourceAct::Declared,
        SourceDo::Remove => SourceAct::Remove,
        SourceDo::Confirm => SourceAct::Confirm,
        SourceDo::Rotate { reference, keep_s } => {
            SourceAct::Rotate { to: reference, keep_ms: keep_s.map(|seconds| seconds.saturating_mul(1_000)) }
        }
    };
    Ok(answered(settings(&surface)?.source(&name, act, who).await?))
}

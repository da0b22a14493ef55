//! `GET /openapi.json`: the description of every route. Types of lower layers, which know nothing of HTTP, are
//! described here by twins; a test holds their fields against the real ones.

use axum::Json;
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

use super::{
    admin, apis, approvals, asyncapi, audit, catalog, control, dead_letters, events, exceptions, health, impact,
    pipelines, privacy, promises, registry, replays, runs, schemas, settings, sources, subscriptions, tables, tokens,
    traffic, trust, webhooks,
};
use crate::net::problem::Document;

/// The description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Crossdock",
        description = "A hub that chains sandboxed plugins into durable pipelines. Errors are problem documents (RFC 9457) with stable codes.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        events::accept,
        webhooks::deliver,
        webhooks::deliver_below,
        runs::list,
        runs::show,
        runs::stream,
        apis::list,
        apis::show,
        apis::control,
        apis::describe,
        apis::ask,
        apis::ask_with,
        subscriptions::list,
        subscriptions::show,
        subscriptions::set,
        subscriptions::control,
        subscriptions::dead_letters,
        catalog::plugins,
        catalog::pipelines,
        traffic::connections,
        traffic::connection,
        promises::list,
        exceptions::list,
        traffic::lanes,
        audit::list,
        audit::explain,
        admin::backup,
        health::live,
        health::ready,
        health::metrics,
        document,
        approvals::list,
        approvals::show,
        approvals::decide,
        approvals::decide_many,
        control::move_run,
        control::one,
        control::many,
        dead_letters::list,
        dead_letters::show,
        registry::publish,
        registry::show,
        registry::explain,
        registry::difference,
        impact::plugin,
        impact::host,
        impact::schema,
        registry::control,
        registry::bindings,
        registry::bind,
        registry::changes,
        registry::decide,
        pipelines::draft,
        pipelines::show,
        pipelines::version,
        pipelines::difference,
        pipelines::control,
        pipelines::hold,
        tables::list,
        tables::draft,
        tables::show,
        tables::version,
        tables::difference,
        tables::impact,
        tables::control,
        sources::list,
        sources::show,
        sources::change,
        settings::secrets,
        settings::secret,
        settings::connection,
        settings::test,
        settings::binding,
        settings::bind,
        replays::replay,
        trust::show,
        trust::revoke,
        privacy::subject,
        privacy::erase,
        schemas::list,
        schemas::show,
        schemas::get,
        schemas::add,
        schemas::control,
        asyncapi::document,
        tokens::enroll,
        tokens::list,
        tokens::create,
        tokens::revoke,
        tokens::rotate,
        tokens::usage,
    ),
    components(schemas(Document)),
    tags(
        (name = "events", description = "What happened, on its way in"),
        (name = "webhooks", description = "Signed deliveries of other systems"),
        (name = "runs", description = "What became of it"),
        (name = "people", description = "What people decide and do with runs"),
        (name = "catalog", description = "What is installed"),
        (name = "registry", description = "Versions of plugins, pipelines and tables, which of them serve, and who agreed"),
        (name = "settings", description = "Secrets, connections, webhook sources, and what pipelines' names stand for"),
        (name = "apis", description = "Reads that are published under a contract; each describes itself"),
        (name = "subscriptions", description = "Events that are delivered to others' endpoints"),
        (name = "schemas", description = "Event types and what their data looks like"),
        (name = "traffic", description = "Who may go on, and who waits"),
        (name = "privacy", description = "Personal data: what is held of a person, and its erasure"),
        (name = "admin", description = "What an operator has the hub do"),
        (name = "access", description = "Who may come in"),
        (name = "audit", description = "Who changed what runs"),
        (name = "health", description = "For whoever keeps the hub running"),
    )
)]
pub(super) struct Description;

/// Describes this API.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "health",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Description::openapi())
}

/// The line of a run in a list.
#[derive(ToSchema)]
#[schema(as = RunSummary)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct RunSummaryDoc {
    /// Its id.
    #[schema(example = "run_0123456789abcdef0123456789abcdef")]
    id: String,
    /// The pipeline's name.
    pipeline: String,
    /// The pipeline's version.
    pipeline_version: String,
    /// What it is about.
    key: String,
    /// `running`, `waiting`, `paused`, `compensating`, `parked`, `completed`, `rejected`, `failed` or `cancelled`.
    state: String,
    /// The step that it is at, or ended at.
    step: Option<String>,
    /// In one sentence, why it waits, is parked or was rejected.
    cause: Option<String>,
    /// When the next thing is due, while waiting.
    due: Option<String>,
    /// When it was started, RFC 3339.
    started: String,
    /// When its latest fact was recorded, RFC 3339.
    updated: String,
    /// The acceptance that started it.
    acceptance: String,
}

/// A run with everything that is recorded about it.
#[derive(ToSchema)]
#[schema(as = RunView)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct RunViewDoc {
    /// The summary.
    #[schema(inline)]
    #[serde(flatten)]
    summary: RunSummaryDoc,
    /// Digest of the pipeline's text.
    pipeline_digest: String,
    /// The event that started it: `id`, `source`, `type`, `subject`, `accepted`.
    #[schema(value_type = Object)]
    event: Value,
    /// Its steps in the order in which they began: path, kind, state, plugin, operation, attempts, usage, decision,
    /// reasons, output, failures, log.
    #[schema(value_type = Vec<Object>)]
    steps: Vec<Value>,
}

/// An installed plugin.
#[derive(ToSchema)]
#[schema(as = PluginView)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct PluginViewDoc {
    /// Digest of its component.
    digest: String,
    /// Size of its component, bytes.
    bytes: u64,
    /// Whether pipelines are served by it.
    active: bool,
    /// `draft`, `published`, `deprecated`, `yanked`, `retired` or `revoked`.
    state: String,
    /// Its part: `active`, `staged`, `shadow`, `canary`, `draining`, `superseded`, `unbound`, or its state.
    part: String,
    /// What it imports, computed.
    imports: Vec<String>,
    /// What it exports, computed.
    exports: Vec<String>,
    /// What it says about itself: its `plugin.toml`.
    #[schema(value_type = Object)]
    manifest: Value,
}

/// An accepted pipeline.
#[derive(ToSchema)]
#[schema(as = PipelineView)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct PipelineViewDoc {
    /// Its name.
    name: String,
    /// Its version.
    version: String,
    /// Who answers for it.
    owner: String,
    /// One sentence.
    summary: String,
    /// Digest of its text.
    digest: String,
    /// Event types that start it.
    triggers: Vec<String>,
    /// Names of its steps, in order.
    steps: Vec<String>,
    /// The text as it was accepted.
    text: String,
}

/// A change to what runs.
#[derive(ToSchema)]
#[schema(as = AuditRecord)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct AuditLineDoc {
    /// Its number among the audit records, from 1, without gaps.
    sequence: u64,
    /// When, RFC 3339.
    time: String,
    /// Who: `operator:config` for the configuration file, `hub` for the hub itself.
    actor: String,
    /// What was done, as `thing.verb`.
    #[schema(example = "connection.set")]
    action: String,
    /// To what.
    #[schema(example = "connection/erp")]
    subject: String,
    /// Digest of what was there; absent: nothing.
    before: Option<String>,
    /// Digest of what is there from then on; absent: nothing.
    after: Option<String>,
    /// Why.
    reason: String,
    /// The batch of the journal that it lies in.
    batch: u64,
    /// Which append of that batch, from 0.
    append: u64,
}

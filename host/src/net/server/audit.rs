//! `GET /v1/audit` and what is below it.

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Surface, answer::parameters, openapi::AuditLineDoc};
use crate::{
    model::{anchor::AnchorView, audit::AuditLine, explanation::Explanation},
    net::problem::{Code, Document, Problem},
    ports::hub::AuditFilter,
};

/// Records in a list that does not say how many.
const LIST_DEFAULT: usize = 50;

/// Most records in a list.
const LIST_MAX: usize = 1000;

/// Audit records, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Records {
    /// Newest first.
    #[schema(value_type = Vec<AuditLineDoc>)]
    records: Vec<AuditLine>,
    /// Who is sent what the hub signs, if somebody is: `origin`, `every_s`, the `signed` and the `acknowledged` checkpoint
    /// (`batch`, `time`), `behind_since`, and the `cause` and number of `attempts` that failed.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    anchor: Option<AnchorView>,
}

/// Lists the changes to what runs, newest first: who changed what, when and why.
#[utoipa::path(
    get,
    path = "/v1/audit",
    tag = "audit",
    params(
        ("actor" = Option<String>, Query, description = "Only by this actor"),
        ("action" = Option<String>, Query, description = "Only actions that begin so: `plugin`, `connection.set`"),
        ("subject" = Option<String>, Query, description = "Only subjects that begin so: `connection/`, `pipeline/retail/orders`"),
        ("before" = Option<u64>, Query, description = "Only those before this number: the last `sequence` of the page before"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 1000; 50 unless told"),
    ),
    responses(
        (status = 200, description = "The records", body = Records),
        (status = 400, description = "`query.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`: the log cannot be read", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(surface): State<Surface>, RawQuery(query): RawQuery) -> Result<Json<Records>, Problem> {
    let names = ["actor", "action", "subject", "before", "limit"];
    let [actor, action, subject, before, limit] = parameters(query.as_deref(), names)?;
    let before = before.as_deref().map(|text| number("before", text, 1, u64::MAX)).transpose()?;
    let limit = limit.as_deref().map_or(Ok(LIST_DEFAULT as u64), |text| number("limit", text, 1, LIST_MAX as u64))?;
    let limit = usize::try_from(limit).unwrap_or(LIST_MAX);
    let filter = AuditFilter { actor, action, subject, before, limit };
    let records = surface.hub.audit(filter).await;
    let anchor = surface.hub.anchor();
    records
        .map(|records| Json(Records { records, anchor }))
        .map_err(|reason| Problem::new(Code::HubUnavailable, reason))
}

/// Tells which versions decided what a key stands for, such as an order; who allowed each; what each could touch.
#[utoipa::path(
    get,
    path = "/v1/audit/explain",
    tag = "audit",
    params(("key" = String, Query, description = "What the runs are about, such as an order number")),
    responses(
        (status = 200, description = "The runs, oldest first: of each the pipeline and who accepted it, and of each step the plugin, its digest and grant, who allowed them, and what they could touch", body = Object),
        (status = 400, description = "`query.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`: the log cannot be read", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn explain(
    State(surface): State<Surface>,
    RawQuery(query): RawQuery,
) -> Result<Json<Explanation>, Problem> {
    let [key] = parameters(query.as_deref(), ["key"])?;
    let key =
        key.ok_or_else(|| Problem::new(Code::QueryInvalid, "say what to explain: `?key=` and an order number"))?;
    surface.hub.explain(key).await.map(Json).map_err(|reason| Problem::new(Code::HubUnavailable, reason))
}

fn number(name: &str, text: &str, least: u64, most: u64) -> Result<u64, Problem> {
    text.parse().ok().filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        Problem::new(Code::QueryInvalid, format!("`{name}={text}` must be a whole number from {least} to {most}"))
    })
}

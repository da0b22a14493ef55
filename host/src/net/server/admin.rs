//! `POST /v1/admin/backup`: what an operator has a running hub do.

use std::{path::PathBuf, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Surface,
    answer::{malformed, read_body},
};
use crate::net::problem::{Code, Document, Problem};

/// Largest body, bytes.
const BODY_BYTES_LIMIT: u64 = 16 << 10;
/// How long a backup is waited for; it goes on all the same.
const WAIT: Duration = Duration::from_secs(60);

/// Where a backup goes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupRequest {
    /// An absolute path on the hub's machine; the folder must not exist yet.
    #[schema(example = "/backup/crossdock/2026-01-02")]
    directory: String,
}

/// What became of a backup.
#[derive(Serialize, ToSchema)]
pub(super) struct Backup {
    /// `made`, or `going-on`: then it is whole once `backup.json` is in it.
    state: &'static str,
    /// The last group of its journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u64>,
    /// Appends in its journal, proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    appends: Option<u64>,
    /// Its size, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// For how long nothing was committed meanwhile, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_ms: Option<u64>,
}

/// Backs up the hub's data folder while it works, and proves the copy.
#[utoipa::path(
    post,
    path = "/v1/admin/backup",
    tag = "admin",
    request_body(content = BackupRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "It is made", body = Backup),
        (status = 202, description = "It goes on: it is whole once `backup.json` is in it", body = Backup),
        (status = 400, description = "`request.invalid`, `event.malformed`: the body or the directory", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "`body.timeout`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "`event.content-type`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`: there is no backup, and why", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn backup(State(surface): State<Surface>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    // A page in a browser cannot send this type to another site without asking first.
    let json = parts.headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes() == b"application/json");
    if !json {
        return Err(Problem::new(Code::ContentTypeUnsupported, "the body must be `application/json`"));
    }
    let body = read_body(body, &parts.headers, BODY_BYTES_LIMIT, surface.options.body_timeout).await?;
    let asked: BackupRequest = serde_json::from_slice(&body).map_err(|error| malformed(&error))?;
    let target = PathBuf::from(&asked.directory);
    if !target.is_absolute() || target.exists() {
        let problem = if target.exists() { "exists" } else { "is not an absolute path" };
        let detail = format!("`{}` {problem}; name a folder that does not exist yet", asked.directory);
        return Err(Problem::new(Code::RequestInvalid, detail));
    }
    match tokio::time::timeout(WAIT, surface.hub.back_up(target)).await {
        Err(_) => {
            let going_on = Backup { state: "going-on", group: None, appends: None, bytes: None, paused_ms: None };
            Ok((StatusCode::ACCEPTED, Json(going_on)).into_response())
        }
        Ok(Err(reason)) => Err(Problem::new(Code::HubUnavailable, reason)),
        Ok(Ok(made)) => Ok(Json(Backup {
            state: "made",
            group: Some(made.group),
            appends: Some(made.appends),
            bytes: Some(made.bytes),
            paused_ms: made.paused_ms,
        })
        .into_response()),
    }
}

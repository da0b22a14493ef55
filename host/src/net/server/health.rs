//! Liveness, readiness and metrics, for whoever keeps the hub running.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::header;
use serde::Serialize;
use utoipa::ToSchema;

use super::Surface;
use crate::net::problem::{Code, Document, Problem};

/// The media type of Prometheus' text form.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// That the process answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Live {
    /// `live`.
    status: &'static str,
}

/// Says that the process answers, and nothing more.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "health",
    responses((status = 200, description = "It does", body = Live))
)]
pub(super) async fn live() -> Json<Live> {
    Json(Live { status: "live" })
}

/// Whether the hub does its work.
#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    /// Whether it accepts events.
    ready: bool,
    /// Each part that was looked at, with `ok` or what to do about it.
    checks: BTreeMap<String, String>,
}

/// Says whether the hub does its work, and if not, what to do about it.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "health",
    responses(
        (status = 200, description = "It does", body = Ready),
        (status = 503, description = "`hub.not-ready`, with the same `checks`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn ready(State(surface): State<Surface>) -> Result<Json<Ready>, Problem> {
    let readiness = surface.hub.readiness();
    let stopping = surface.stopping.is_cancelled();
    let mut checks: BTreeMap<String, String> = readiness.checks.into_iter().collect();
    if stopping {
        checks.insert("server".to_owned(), "the hub is stopping".to_owned());
    }
    if readiness.ready && !stopping {
        return Ok(Json(Ready { ready: true, checks }));
    }
    let failing: Vec<_> =
        checks.iter().filter(|(_, state)| *state != "ok").map(|(part, state)| format!("{part}: {state}")).collect();
    let checks: serde_json::Map<_, _> =
        checks.iter().map(|(part, state)| (part.clone(), state.as_str().into())).collect();
    Err(Problem::new(Code::NotReady, failing.join("; ")).with("checks", checks))
}

/// Shows the process's metrics in Prometheus' text form.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "text/plain"),
        (status = 404, description = "`metrics.off`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn metrics(State(surface): State<Surface>) -> Result<Response, Problem> {
    let handle =
        surface.options.metrics.ok_or_else(|| Problem::new(Code::MetricsOff, "this hub collects no metrics"))?;
    surface.hub.gauge();
    metrics::gauge!("process_cpu_seconds_total").set(cpu_seconds());
    // What metrics mean is told of those that were described by now.
    handle.run_upkeep();
    Ok(([(header::CONTENT_TYPE, PROMETHEUS)], handle.render()).into_response())
}

/// Processor time that this process has used, seconds.
fn cpu_seconds() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    std::time::Duration::try_from(used).unwrap_or_default().as_secs_f64()
}

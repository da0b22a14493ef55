//! The hub's HTTP surface, on loopback only: access control does not exist yet.
//!
//! Reads, bounds and answers; what is accepted and what it means is the hub's ([`Hub`]). Every error is a problem
//! document ([`super::problem`]).
//!
//! | module | does |
//! | --- | --- |
//! | `attend` | connections: how many, how long, how they end |
//! | `guard` | what holds for every request |
//! | `events` | `POST /v1/events` |
//! | `cloudevents` | the CloudEvents 1.0 HTTP binding |
//! | `webhooks` | `POST /v1/webhooks/{source}` |
//! | `runs` | runs, and their live stream |
//! | `approvals` | questions to people, and their decisions |
//! | `control` | what people do with runs, one or many |
//! | `dead_letters` | runs that cannot go on without a person |
//! | `catalog` | plugins and pipelines |
//! | `registry` | versions of plugins, which of them serve, changes that need a second person |
//! | `traffic` | connections and lanes |
//! | `audit` | the audit log |
//! | `admin` | backups |
//! | `health` | liveness, readiness, metrics |
//! | `openapi` | the description of all this |

mod admin;
mod answer;
mod approvals;
mod attend;
mod audit;
mod catalog;
mod cloudevents;
mod control;
mod dead_letters;
mod events;
mod guard;
mod health;
mod openapi;
mod promises;
mod registry;
mod runs;
mod traffic;
mod webhooks;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router, middleware,
    routing::{MethodRouter, get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::ports::hub::Hub;

/// Largest body of `POST /v1/events`, bytes.
pub const EVENTS_BODY_BYTES_LIMIT: u64 = 1 << 20;

/// Largest body of a webhook delivery, whatever the source allows, bytes.
pub const WEBHOOK_BODY_BYTES_LIMIT_MAX: u64 = 4 << 20;

/// Most events in one batch.
pub const BATCH_EVENTS_MAX: usize = 256;

/// Longest `?wait=`.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// How a server behaves. The defaults suit a hub; tests shorten the times.
#[derive(Clone)]
pub struct Options {
    /// What `/metrics` shows; absent: it answers that nothing is collected.
    pub metrics: Option<PrometheusHandle>,
    /// Most connections at once; further ones wait.
    pub connections_max: usize,
    /// Longest wait for a request's head, and for the next request on a connection.
    pub head_timeout: Duration,
    /// Longest wait for a request's body.
    pub body_timeout: Duration,
    /// Longest work on one request, streams apart. Longer than [`WAIT_MAX`].
    pub request_timeout: Duration,
    /// How long requests in flight may go on when the server stops.
    pub drain_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            metrics: None,
            connections_max: 512,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(10),
            request_timeout: WAIT_MAX + Duration::from_secs(15),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is not loopback.
    #[error(
        "`{address}` is not a loopback address; the hub has no access control yet, so that anybody there could send \
         events: listen on 127.0.0.1 or [::1]"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`; is another hub running there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The listener is broken.
    #[error("the listener cannot be used")]
    Listener {
        /// What the system says.
        #[from]
        source: io::Error,
    },
}

/// Listens on a loopback address; port 0 takes a free one.
///
/// # Errors
/// If the address is not loopback, or is taken.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    require_loopback(address)?;
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

fn require_loopback(address: SocketAddr) -> Result<(), ServeError> {
    if address.ip().is_loopback() { Ok(()) } else { Err(ServeError::NotLoopback { address }) }
}

/// Serves until `shutdown` resolves; then takes no further connection, ends streams, and lets requests in flight go on
/// for [`Options::drain_timeout`].
///
/// # Errors
/// If the listener is not on loopback.
pub async fn serve(
    listener: TcpListener,
    hub: Arc<dyn Hub>,
    options: Options,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    require_loopback(listener.local_addr()?)?;
    let stopping = CancellationToken::new();
    let app = router(Surface { hub, options: options.clone(), stopping: stopping.clone() });
    attend::attend(listener, app, &options, stopping, shutdown).await;
    Ok(())
}

/// What handlers share.
#[derive(Clone)]
struct Surface {
    hub: Arc<dyn Hub>,
    options: Options,
    stopping: CancellationToken,
}

/// A path, its methods, and who answers.
type Route = (&'static str, &'static [&'static str], MethodRouter<Surface>);

/// Every route. `openapi` describes the same ones; a test compares them.
fn routes() -> Vec<Route> {
    vec![
        ("/v1/events", &["post"], post(events::accept)),
        ("/v1/webhooks/{source}", &["post"], post(webhooks::deliver)),
        ("/v1/webhooks/{source}/{*rest}", &["post"], post(webhooks::deliver_below)),
        ("/v1/runs", &["get"], get(runs::list)),
        ("/v1/runs/{id}", &["get"], get(runs::show)),
        ("/v1/runs/{id}/stream", &["get"], get(runs::stream)),
        ("/v1/plugins", &["get", "post"], get(catalog::plugins).post(registry::publish)),
        ("/v1/pipelines", &["get"], get(catalog::pipelines)),
        ("/v1/connections", &["get"], get(traffic::connections)),
        ("/v1/connections/{name}", &["get"], get(traffic::connection)),
        ("/v1/promises", &["get"], get(promises::list)),
        ("/v1/lanes", &["get"], get(traffic::lanes)),
        ("/v1/audit", &["get"], get(audit::list)),
        ("/v1/audit/explain", &["get"], get(audit::explain)),
        ("/v1/admin/backup", &["post"], post(admin::backup)),
        ("/health/live", &["get"], get(health::live)),
        ("/health/ready", &["get"], get(health::ready)),
        ("/metrics", &["get"], get(health::metrics)),
        ("/openapi.json", &["get"], get(openapi::document)),
        ("/v1/approvals", &["get"], get(approvals::list)),
        ("/v1/approvals/decisions", &["post"], post(approvals::decide_many)),
        ("/v1/approvals/{run}/{step}", &["get"], get(approvals::show)),
        ("/v1/approvals/{run}/{step}/decision", &["post"], post(approvals::decide)),
        ("/v1/runs/control", &["post"], post(control::many)),
        ("/v1/runs/{id}/move", &["post"], post(control::move_run)),
        ("/v1/runs/{id}/control", &["post"], post(control::one)),
        ("/v1/dead-letters", &["get"], get(dead_letters::list)),
        ("/v1/dead-letters/{run}", &["get"], get(dead_letters::show)),
        ("/v1/plugins/{namespace}/{name}", &["get"], get(registry::show)),
        ("/v1/plugins/{namespace}/{name}/explain", &["get"], get(registry::explain)),
        ("/v1/plugins/{namespace}/{name}/impact", &["get"], get(registry::impact)),
        ("/v1/plugins/{namespace}/{name}/control", &["post"], post(registry::control)),
        ("/v1/bindings", &["get"], get(registry::bindings)),
        ("/v1/bindings/{namespace}/{name}", &["post"], post(registry::bind)),
        ("/v1/changes", &["get"], get(registry::changes)),
        ("/v1/changes/{id}/decision", &["post"], post(registry::decide)),
    ]
}

fn router(surface: Surface) -> Router {
    routes()
        .into_iter()
        .fold(Router::new(), |router, (path, _, answers)| router.route(path, answers))
        .fallback(guard::no_route)
        .layer(middleware::from_fn_with_state(surface.clone(), guard::within_time))
        .layer(middleware::from_fn(guard::for_this_host))
        .layer(CatchPanicLayer::custom(guard::panicked))
        .layer(middleware::from_fn(guard::account))
        .with_state(surface)
}

#[cfg(test)]
mod tests;

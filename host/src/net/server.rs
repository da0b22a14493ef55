//! The hub's HTTP surface: on loopback, or elsewhere with TLS or a proxy in front of it and an admin enrolled.
//!
//! Reads, bounds and answers; what is accepted and what it means is the hub's ([`Hub`]). Every error is a problem
//! document ([`super::problem`]).
//!
//! | module | does |
//! | --- | --- |
//! | `attend` | connections: how many, how long, how they end |
//! | `guard` | what holds for every request |
//! | `gate` | who may ask what: the one place |
//! | `events` | `POST /v1/events` |
//! | `cloudevents` | the CloudEvents 1.0 HTTP binding |
//! | `webhooks` | `POST /v1/webhooks/{source}` |
//! | `runs` | runs, and their live stream |
//! | `approvals` | questions to people, and their decisions |
//! | `control` | what people do with runs, one or many |
//! | `dead_letters` | runs that cannot go on without a person |
//! | `exceptions` | events that came for something that was undone |
//! | `apis` | reads that are published under a contract |
//! | `subscriptions` | events that are delivered to others' endpoints |
//! | `catalog` | plugins and pipelines |
//! | `pipelines` | versions of pipelines, and which one serves |
//! | `registry` | versions of plugins, which of them serve, changes that need a second person |
//! | `tables` | versions of reference tables, their rows, and which one serves |
//! | `impact` | what depends on a plugin, a host or an event type |
//! | `replays` | how a version answers what was recorded |
//! | `schemas` | event types and their schemas |
//! | `asyncapi` | the description of every event |
//! | `trust` | whose signatures count |
//! | `privacy` | personal data: what is held of a person, and its erasure |
//! | `traffic` | connections and lanes |
//! | `settings` | secrets, changes of connections, bindings |
//! | `sources` | webhook sources |
//! | `audit` | the audit log |
//! | `admin` | backups |
//! | `tokens` | enrolment, tokens and their use |
//! | `health` | liveness, readiness, metrics |
//! | `openapi` | the description of all this |

mod admin;
mod answer;
mod apis;
mod approvals;
mod asyncapi;
mod attend;
mod audit;
mod catalog;
mod cloudevents;
mod control;
mod dead_letters;
mod ending;
mod events;
mod exceptions;
mod gate;
mod guard;
mod health;
mod impact;
mod openapi;
mod pipelines;
mod privacy;
mod promises;
mod registry;
mod replays;
mod runs;
mod schemas;
mod settings;
mod sources;
mod subscriptions;
mod tables;
mod tokens;
mod traffic;
mod trust;
mod webhooks;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router, middleware,
    routing::{MethodRouter, any, get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use self::gate::Access;
use super::tls::Certificate;
use crate::{model::principal::Action, ports::hub::Hub};

/// Largest body of `POST /v1/events`, bytes.
pub const EVENTS_BODY_BYTES_LIMIT: u64 = 1 << 20;

/// Largest body of a webhook delivery, whatever the source allows, bytes.
pub const WEBHOOK_BODY_BYTES_LIMIT_MAX: u64 = 4 << 20;

/// Most events in one batch.
pub const BATCH_EVENTS_MAX: usize = 256;

/// Longest `?wait=`.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// How requests come in.
#[derive(Clone, Default)]
pub enum Transport {
    /// As they are; on loopback only.
    #[default]
    Plain,
    /// Through TLS.
    Tls(Certificate),
    /// As they are, from a proxy that has taken TLS off; an operator says so.
    Proxied,
}

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
    /// How requests come in.
    pub transport: Transport,
    /// Names that the hub is reached by, beside this machine's own loopback names.
    pub names: Vec<String>,
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
            transport: Transport::Plain,
            names: Vec::new(),
        }
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is not loopback, and nothing protects what is sent there.
    #[error(
        "`{address}` is not a loopback address, and requests would come in unprotected: give a certificate with \
         `--tls-cert` and `--tls-key`, or say `--behind-proxy` if a proxy takes TLS off, or listen on 127.0.0.1"
    )]
    Unprotected {
        /// The address.
        address: SocketAddr,
    },
    /// The address is not loopback, and the hub is not ready to be reached from elsewhere.
    #[error("`{address}` is not a loopback address, and {problem}")]
    NotExposable {
        /// The address.
        address: SocketAddr,
        /// Why not, and what to do first.
        problem: String,
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

/// Listens; port 0 takes a free one. Other addresses than loopback need a transport that protects what is sent.
///
/// # Errors
/// If the address is unprotected, or is taken.
pub async fn listen(address: SocketAddr, transport: &Transport) -> Result<TcpListener, ServeError> {
    require_protected(address, transport)?;
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

fn require_protected(address: SocketAddr, transport: &Transport) -> Result<(), ServeError> {
    match transport {
        Transport::Plain if !address.ip().is_loopback() => Err(ServeError::Unprotected { address }),
        _ => Ok(()),
    }
}

/// Serves until `shutdown` resolves; then takes no further connection, ends streams, and lets requests in flight go on
/// for [`Options::drain_timeout`].
///
/// # Errors
/// If the listener is not on loopback, and nothing protects what is sent or nobody is enrolled.
pub async fn serve(
    listener: TcpListener,
    hub: Arc<dyn Hub>,
    options: Options,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    require_protected(address, &options.transport)?;
    if !address.ip().is_loopback() {
        let exposable = hub.access().may_be_exposed();
        exposable.map_err(|problem| ServeError::NotExposable { address, problem })?;
    }
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

/// How a webhook proves who sends it.
const SIGNED: &str = "the delivery's signature";

/// A path, its methods, who answers, and who may ask.
type Route = (&'static str, &'static [&'static str], MethodRouter<Surface>, Access);

/// Every route. `openapi` describes the same ones; a test compares them.
fn routes() -> Vec<Route> {
    use Access::{Each, Enrolment, Hub, Itself, Liveness};
    use Action as A;
    vec![
        ("/v1/events", &["post"], post(events::accept), Each(A::EventSend)),
        ("/v1/webhooks/{source}", &["post"], post(webhooks::deliver), Itself(SIGNED)),
        ("/v1/webhooks/{source}/{*rest}", &["post"], post(webhooks::deliver_below), Itself(SIGNED)),
        ("/v1/runs", &["get"], get(runs::list), Hub(A::RunRead)),
        ("/v1/runs/{id}", &["get"], get(runs::show), Hub(A::RunRead)),
        ("/v1/runs/{id}/stream", &["get"], get(runs::stream), Hub(A::RunRead)),
        ("/v1/plugins", &["get"], get(catalog::plugins), Hub(A::CatalogRead)),
        ("/v1/pipelines", &["get"], get(catalog::pipelines), Hub(A::CatalogRead)),
        ("/v1/connections", &["get"], get(traffic::connections), Hub(A::ConnectionRead)),
        ("/v1/connections/{name}", &["get"], get(traffic::connection), Hub(A::ConnectionRead)),
        ("/v1/connections/{name}", &["post"], post(settings::connection), Hub(A::ConnectionChange)),
        ("/v1/connections/{name}/test", &["post"], post(settings::test), Hub(A::ConnectionChange)),
        ("/v1/sources", &["get"], get(sources::list), Hub(A::SourceRead)),
        ("/v1/sources/{name}", &["get"], get(sources::show), Hub(A::SourceRead)),
        ("/v1/sources/{name}", &["post"], post(sources::change), Hub(A::SourceChange)),
        ("/v1/secrets", &["get"], get(settings::secrets), Hub(A::SecretRead)),
        ("/v1/secrets/{name}", &["post"], post(settings::secret), Hub(A::SecretChange)),
        ("/v1/pipelines/{namespace}/{name}/bindings", &["get"], get(settings::binding), Hub(A::ConnectionRead)),
        ("/v1/pipelines/{namespace}/{name}/bindings", &["post"], post(settings::bind), Each(A::PipelineChange)),
        ("/v1/lanes", &["get"], get(traffic::lanes), Hub(A::ConnectionRead)),
        ("/v1/audit", &["get"], get(audit::list), Hub(A::AuditRead)),
        ("/v1/audit/explain", &["get"], get(audit::explain), Hub(A::AuditRead)),
        ("/v1/privacy/subject", &["post"], post(privacy::subject), Hub(A::PrivacyRead)),
        ("/v1/privacy/erase", &["post"], post(privacy::erase), Each(A::PrivacyErase)),
        ("/v1/admin/backup", &["post"], post(admin::backup), Hub(A::HubBackup)),
        ("/health/live", &["get"], get(health::live), Liveness),
        ("/health/ready", &["get"], get(health::ready), Hub(A::HealthRead)),
        ("/metrics", &["get"], get(health::metrics), Hub(A::HealthRead)),
        ("/openapi.json", &["get"], get(openapi::document), Hub(A::DescriptionRead)),
        ("/v1/approvals", &["get"], get(approvals::list), Hub(A::ApprovalRead)),
        ("/v1/approvals/decisions", &["post"], post(approvals::decide_many), Each(A::ApprovalDecide)),
        ("/v1/approvals/{run}/{step}", &["get"], get(approvals::show), Hub(A::ApprovalRead)),
        ("/v1/approvals/{run}/{step}/decision", &["post"], post(approvals::decide), Each(A::ApprovalDecide)),
        ("/v1/runs/control", &["post"], post(control::many), Each(A::RunControl)),
        ("/v1/runs/{id}/control", &["post"], post(control::one), Each(A::RunControl)),
        ("/v1/dead-letters", &["get"], get(dead_letters::list), Hub(A::RunRead)),
        ("/v1/dead-letters/{run}", &["get"], get(dead_letters::show), Hub(A::RunRead)),
        ("/v1/exceptions", &["get"], get(exceptions::list), Hub(A::RunRead)),
        ("/v1/enroll", &["post"], post(tokens::enroll), Enrolment),
        ("/v1/tokens", &["get"], get(tokens::list), Hub(A::TokenManage)),
        ("/v1/tokens", &["post"], post(tokens::create), Hub(A::TokenManage)),
        ("/v1/tokens/{id}/revoke", &["post"], post(tokens::revoke), Hub(A::TokenManage)),
        ("/v1/tokens/{id}/rotate", &["post"], post(tokens::rotate), Hub(A::TokenManage)),
        ("/v1/usage", &["get"], get(tokens::usage), Hub(A::UsageRead)),
        ("/v1/promises", &["get"], get(promises::list), Hub(A::RunRead)),
        ("/v1/runs/{id}/move", &["post"], post(control::move_run), Each(A::RunControl)),
        ("/v1/plugins", &["post"], post(registry::publish), Each(A::PluginPublish)),
        ("/v1/plugins/{namespace}/{name}", &["get"], get(registry::show), Hub(A::CatalogRead)),
        ("/v1/plugins/{namespace}/{name}/explain", &["get"], get(registry::explain), Hub(A::CatalogRead)),
        ("/v1/plugins/{namespace}/{name}/difference", &["get"], get(registry::difference), Each(A::PluginCompare)),
        ("/v1/plugins/{namespace}/{name}/impact", &["get"], get(impact::plugin), Hub(A::RunRead)),
        ("/v1/plugins/{namespace}/{name}/control", &["post"], post(registry::control), Each(A::PluginRevoke)),
        ("/v1/plugins/{namespace}/{name}/replay", &["post"], post(replays::replay), Each(A::PluginPromote)),
        ("/v1/bindings", &["get"], get(registry::bindings), Hub(A::CatalogRead)),
        ("/v1/bindings/{namespace}/{name}", &["post"], post(registry::bind), Each(A::PluginPromote)),
        ("/v1/pipelines/{namespace}/{name}", &["get"], get(pipelines::show), Hub(A::CatalogRead)),
        ("/v1/pipelines/{namespace}/{name}", &["post"], post(pipelines::draft), Each(A::PipelineChange)),
        ("/v1/pipelines/{namespace}/{name}/versions/{version}", &["get"], get(pipelines::version), Hub(A::CatalogRead)),
        ("/v1/pipelines/{namespace}/{name}/difference", &["get"], get(pipelines::difference), Hub(A::CatalogRead)),
        ("/v1/pipelines/{namespace}/{name}/control", &["post"], post(pipelines::control), Each(A::PipelineChange)),
        ("/v1/pipelines/{namespace}/{name}/hold", &["post"], post(pipelines::hold), Each(A::RunControl)),
        ("/v1/tables", &["get"], get(tables::list), Hub(A::TableRead)),
        ("/v1/tables/{namespace}/{name}", &["get"], get(tables::show), Hub(A::TableRead)),
        ("/v1/tables/{namespace}/{name}", &["post"], post(tables::draft), Each(A::TableChange)),
        ("/v1/tables/{namespace}/{name}/versions/{version}", &["get"], get(tables::version), Hub(A::TableRead)),
        ("/v1/tables/{namespace}/{name}/difference", &["get"], get(tables::difference), Hub(A::TableRead)),
        ("/v1/tables/{namespace}/{name}/impact", &["get"], get(tables::impact), Hub(A::TableRead)),
        ("/v1/tables/{namespace}/{name}/control", &["post"], post(tables::control), Each(A::TableChange)),
        ("/v1/apis", &["get"], get(apis::list), Hub(A::CatalogRead)),
        ("/v1/apis/{namespace}/{name}/{major}", &["get"], get(apis::show), Each(A::ApiRead)),
        ("/v1/apis/{namespace}/{name}/{major}", &["post"], post(apis::control), Each(A::ApiPublish)),
        ("/v1/apis/{namespace}/{name}/{major}/openapi.json", &["get"], get(apis::describe), Each(A::ApiRead)),
        ("/v1/apis/{namespace}/{name}/{major}/{operation}", &["get"], get(apis::ask), Each(A::ApiRead)),
        ("/v1/apis/{namespace}/{name}/{major}/{operation}", &["post"], post(apis::ask_with), Each(A::ApiRead)),
        ("/v1/subscriptions", &["get"], get(subscriptions::list), Each(A::SubscriptionRead)),
        ("/v1/subscriptions/{name}", &["get"], get(subscriptions::show), Each(A::SubscriptionRead)),
        ("/v1/subscriptions/{name}", &["post"], post(subscriptions::set), Each(A::SubscriptionChange)),
        ("/v1/subscriptions/{name}/control", &["post"], post(subscriptions::control), Each(A::SubscriptionControl)),
        (
            "/v1/subscriptions/{name}/dead-letters",
            &["get"],
            get(subscriptions::dead_letters),
            Each(A::SubscriptionRead),
        ),
        ("/v1/changes", &["get"], get(registry::changes), Hub(A::CatalogRead)),
        ("/v1/trust", &["get"], get(trust::show), Hub(A::CatalogRead)),
        ("/v1/trust/{key}/revoke", &["post"], post(trust::revoke), Each(A::PluginRevoke)),
        ("/v1/schemas", &["get"], get(schemas::list), Hub(A::CatalogRead)),
        ("/v1/schemas/{type}", &["get"], get(schemas::show), Hub(A::CatalogRead)),
        ("/v1/schemas/{type}", &["post"], post(schemas::add), Each(A::SchemaChange)),
        ("/v1/schemas/{type}/{version}", &["get"], get(schemas::get), Hub(A::CatalogRead)),
        ("/v1/schemas/{type}/control", &["post"], post(schemas::control), Each(A::SchemaChange)),
        ("/v1/schemas/{type}/impact", &["get"], get(impact::schema), Hub(A::RunRead)),
        ("/v1/hosts/{host}/impact", &["get"], get(impact::host), Hub(A::ConnectionRead)),
        ("/asyncapi.json", &["get"], get(asyncapi::document), Hub(A::CatalogRead)),
        ("/v1/changes/{id}/decision", &["post"], post(registry::decide), Each(A::PluginPromote)),
    ]
}

fn router(surface: Surface) -> Router {
    let gated = |access| middleware::from_fn_with_state((surface.clone(), access), gate::pass);
    routes()
        .into_iter()
        .fold(Router::new(), |router, (path, _, answers, access)| router.route(path, answers.layer(gated(access))))
        // What there is not is shown only to those who may see what there is.
        .fallback_service(
            any(guard::no_route).layer(gated(Access::Hub(Action::DescriptionRead))).with_state(surface.clone()),
        )
        .layer(middleware::from_fn_with_state(surface.clone(), guard::within_time))
        .layer(middleware::from_fn_with_state(surface.clone(), guard::for_this_host))
        .layer(CatchPanicLayer::custom(guard::panicked))
        .layer(middleware::from_fn(guard::account))
        .with_state(surface)
}

/// Every endpoint, as method and path.
#[cfg(test)]
pub(crate) fn endpoints() -> Vec<(&'static str, &'static str)> {
    routes().into_iter().flat_map(|(path, methods, ..)| methods.iter().map(move |method| (*method, path))).collect()
}

#[cfg(test)]
mod tests;

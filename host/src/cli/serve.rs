//! `crossdock serve`.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;

use super::{Failed, out::Out};
use crate::{
    app::{
        config::{CONFIG_FILE, Config},
        hub::Hub,
    },
    net::server,
    telemetry,
};

/// Runs a hub.
#[derive(Args, Debug)]
pub(super) struct Serve {
    /// Where the hub keeps its data; made if it is not there.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// What to install: plugins, connections, sources, pipelines, bindings. Absent: `hub.toml` in the data folder, if
    /// there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen; loopback only, until access control exists.
    #[arg(long, default_value = "127.0.0.1:7420", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// For tests of crashes: where the process ends itself. Only debug builds have it.
    #[cfg(debug_assertions)]
    #[arg(long, env = crate::app::crash_point::VARIABLE, hide = true)]
    crash_at: Option<crate::app::crash_point::CrashPoint>,
}

impl Serve {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        #[cfg(debug_assertions)]
        if let Some(point) = self.crash_at {
            crate::app::crash_point::arm(point);
        }
        let listener = server::listen(self.listen).await?;
        // Before anything happens that is counted, such as runs that are taken up.
        let metrics = telemetry::metrics();
        let hub = Hub::open(&self.data).await?;
        let declared = self.data.join(CONFIG_FILE);
        let config = self.config.or_else(|| declared.is_file().then_some(declared));
        if let Some(path) = config {
            hub.apply(&Config::read(&path)?).await?;
        }
        hub.take_up().await?;
        let address = listener.local_addr()?;
        if out.is_json() {
            out.value(&serde_json::json!({ "listening": format!("http://{address}"), "data": self.data }));
        } else {
            out.say(format!("listening on http://{address}, data in {}", self.data.display()));
        }
        if crate::app::effects::marker(&self.data).exists() && !out.is_json() {
            out.say(super::backup::said(&self.data));
        }
        let options = server::Options { metrics: Some(metrics), ..server::Options::default() };
        let served = server::serve(listener, Arc::new(hub.clone()), options, ending(&hub)).await;
        let failed = hub.failure();
        hub.stop().await;
        served?;
        if let Some(reason) = failed {
            return Err(reason.into());
        }
        out.say("stopped");
        Ok(ExitCode::SUCCESS)
    }
}

/// Resolves when the hub is asked to stop, or cannot go on: whoever supervises the process starts it again then, and
/// the store is checked at its opening.
async fn ending(hub: &Hub) {
    tokio::select! {
        () = asked_to_stop() => {}
        reason = hub.failed() => tracing::error!(reason, "the hub cannot go on"),
    }
}

/// Resolves at an interrupt or a request to terminate.
async fn asked_to_stop() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without signals the hub is stopped by ending the process; nothing is lost by that.
    if interrupt.await.is_err() {
        std::future::pending::<()>().await;
    }
}

//! `crossdock serve`.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failed, out::Out};
use crate::{
    app::{
        config::{CONFIG_FILE, Config},
        hub::Hub,
        secrets::store::KeyPlace,
    },
    net::{
        server::{self, Transport},
        tls::Certificate,
    },
    ports::hub::Hub as _,
    telemetry,
};

/// Where the command line looks for a hub unless told.
const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7420);

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
    /// Where to listen. Other addresses than loopback need TLS, or a proxy that takes it off, and an enrolled admin.
    #[arg(long, default_value = "127.0.0.1:7420", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The hub's certificate and those that vouch for it, as a PEM file; read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, as a PEM file.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A proxy in front of the hub takes TLS off.
    #[arg(long, conflicts_with = "tls_cert")]
    behind_proxy: bool,
    /// A name that the hub is reached by, beside localhost; may be given several times.
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,
    /// The file with the key that seals the secrets which the hub keeps; made when the first is set. Absent:
    /// `secrets/master.key` in the data folder. No backup holds it.
    #[arg(long, env = "CROSSDOCK_SECRETS_KEY", value_name = "FILE")]
    secrets_key: Option<PathBuf>,
    /// Forget every secret that the hub keeps, because their key is lost.
    #[arg(long)]
    forget_secrets: bool,
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
        let transport = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Transport::Tls(Certificate::read(certificate, key)?),
            _ if self.behind_proxy => Transport::Proxied,
            _ => Transport::Plain,
        };
        let scheme = if matches!(transport, Transport::Tls(_)) { "https" } else { "http" };
        let listener = server::listen(self.listen, &transport).await?;
        // Before anything happens that is counted, such as runs that are taken up.
        let metrics = telemetry::metrics();
        let place = KeyPlace::in_data(&self.data);
        let key = KeyPlace { path: self.secrets_key.unwrap_or(place.path), forget: self.forget_secrets };
        let hub = Hub::open_with(&self.data, key).await?;
        let declared = self.data.join(CONFIG_FILE);
        let config = self.config.or_else(|| declared.is_file().then_some(declared));
        if let Some(path) = config {
            hub.apply(&Config::read(&path)?).await?;
        }
        if !self.listen.ip().is_loopback() {
            // Before any run is taken up; the server looks again.
            hub.access()
                .may_be_exposed()
                .map_err(|problem| format!("`{}` is not a loopback address, and {problem}", self.listen))?;
        }
        let enrolment = hub.access_control().offer_enrolment(&self.data).await?;
        hub.take_up().await?;
        let address = listener.local_addr()?;
        // Whoever reads the next line may ask it to stop at once.
        let asked = Asked::from_now_on();
        if out.is_json() {
            out.value(&serde_json::json!({
                "listening": format!("{scheme}://{address}"), "data": self.data, "enrolment": enrolment
            }));
        } else {
            out.say(format!("listening on {scheme}://{address}, data in {}", self.data.display()));
            if enrolment.is_some() {
                out.say(format!(
                    "nobody is enrolled: within 15 minutes, in another terminal: crossdock enroll --data {}{}",
                    self.data.display(),
                    if address == DEFAULT { String::new() } else { format!(" --hub {scheme}://{address}") }
                ));
            }
        }
        if crate::app::effects::marker(&self.data).exists() && !out.is_json() {
            out.say(super::backup::said(&self.data));
        }
        let options =
            server::Options { metrics: Some(metrics), transport, names: self.names, ..server::Options::default() };
        let served = server::serve(listener, Arc::new(hub.clone()), options, ending(&hub, asked)).await;
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
async fn ending(hub: &Hub, asked: Asked) {
    tokio::select! {
        () = asked.heard() => {}
        reason = hub.failed() => tracing::error!(reason, "the hub cannot go on"),
    }
}

/// Interrupts and requests to terminate, from its making on. Before that, either ends the process at once, which is as
/// safe as a kill.
struct Asked {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

impl Asked {
    fn from_now_on() -> Self {
        let listen = |kind| signal(kind).inspect_err(|error| tracing::warn!(%error, "a signal cannot be heard")).ok();
        Self { interrupt: listen(SignalKind::interrupt()), terminate: listen(SignalKind::terminate()) }
    }

    /// Resolves at either.
    async fn heard(self) {
        let one = |signal: Option<Signal>| async move {
            match signal {
                Some(mut signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = one(self.interrupt) => {}
            () = one(self.terminate) => {}
        }
    }
}

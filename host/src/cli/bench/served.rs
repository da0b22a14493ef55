//! The hub that is measured: this binary again, as `crossdock serve` in a process of its own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    app::access::enrolment::enrolment_path,
    cli::Failed,
    net::client::{Client, Credentials},
    ports::secrets::Secret,
};

/// How long a hub may take to listen, and to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A hub's process. Killed when dropped.
pub(super) struct Served {
    child: Child,
    client: Client,
    data: PathBuf,
}

/// What a hub has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    /// Processor time of its process.
    pub(super) cpu: Duration,
    /// Flushes of its journal.
    pub(super) flushes: u64,
    /// Bytes in its data folder.
    pub(super) bytes: u64,
}

impl Counters {
    /// What was done since an earlier look.
    pub(super) fn since(self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            flushes: self.flushes.saturating_sub(before.flushes),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

impl Served {
    /// Starts a hub on a free port of loopback and waits until it listens.
    pub(super) async fn start(data: &Path, config: &Path) -> Result<Self, Failed> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--json", "serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("the hub has no output")?).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await? {
                let url = line.find("http://").and_then(|at| line.get(at..)?.split('"').next());
                if let Some(url) = url {
                    return Ok::<_, Failed>(url.to_owned());
                }
            }
            Err("the hub did not start; what it says is above".into())
        };
        let url = timeout(PATIENCE, listening).await.map_err(|_| "the hub does not listen in time")??;
        // What it prints later must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, client: enrolled(&url, data).await?, data: data.to_owned() })
    }

    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// What it has done so far.
    pub(super) async fn counters(&self) -> Result<Counters, Failed> {
        let text = self.client.text("/metrics").await?;
        let value = |name: &str| -> Result<f64, Failed> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Ok(line.ok_or_else(|| format!("the hub's metrics have no `{name}`"))?.parse()?)
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count that is never negative")]
        let flushes = value("crossdock_journal_flushes_total")? as u64;
        let cpu = Duration::try_from_secs_f64(value("process_cpu_seconds_total")?)?;
        Ok(Counters { cpu, flushes, bytes: size(&self.data) })
    }

    /// Asks it to stop and waits for its end.
    pub(super) async fn stop(mut self) -> Result<(), Failed> {
        let id = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        kill_process(id.ok_or("the hub has ended before it was asked to")?, Signal::TERM)?;
        let status = timeout(PATIENCE, self.child.wait()).await.map_err(|_| "the hub does not stop in time")??;
        if status.success() { Ok(()) } else { Err(format!("the hub ended with {status}").into()) }
    }
}

/// A client of a new hub, as its first admin.
async fn enrolled(url: &str, data: &Path) -> Result<Client, Failed> {
    let showing = |token: Secret| Client::with(url, &Credentials { token: Some(token), authorities: None });
    let offered = std::fs::read_to_string(enrolment_path(data))?;
    let body = br#"{"name": "bench"}"#.to_vec();
    let client = showing(Secret::new(offered.trim()))?;
    let issued: serde_json::Value = client.post("/v1/enroll", "application/json", body).await?;
    let token = issued.get("token").and_then(serde_json::Value::as_str).ok_or("the hub gives no token")?;
    Ok(showing(Secret::new(token))?)
}

/// Bytes of the files in a folder. A file that goes meanwhile counts nothing.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => size(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

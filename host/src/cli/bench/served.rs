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
    token: Secret,
    data: PathBuf,
}

/// How a hub's process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is asked to stop.
    Stop,
    /// It is killed.
    Kill,
}

/// Memory of a hub's process, bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Resident now.
    pub(super) now: u64,
    /// Resident at most so far.
    pub(super) most: u64,
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
        let (child, url) = spawn(data, config).await?;
        let token = enrolled(&url, data).await?;
        Ok(Self { child, client: showing(&url, token.clone())?, token, data: data.to_owned() })
    }

    /// Starts a hub on the data of an earlier one, whose admin had this token.
    pub(super) async fn start_again(data: &Path, config: &Path, token: &Secret) -> Result<Self, Failed> {
        let (child, url) = spawn(data, config).await?;
        Ok(Self { child, client: showing(&url, token.clone())?, token: token.clone(), data: data.to_owned() })
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

    /// What shows that its first admin asks.
    pub(super) fn token(&self) -> Secret {
        self.token.clone()
    }

    /// Memory of its process.
    pub(super) fn memory(&self) -> Result<Memory, Failed> {
        let id = self.child.id().ok_or("the hub has ended before it was asked to")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let bytes = |name: &str| -> Result<u64, Failed> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB"));
            Ok(line.ok_or("the system does not tell the hub's memory")?.trim().parse::<u64>()? << 10)
        };
        Ok(Memory { now: bytes("VmRSS:")?, most: bytes("VmHWM:")? })
    }

    /// Ends it, and waits for that.
    pub(super) async fn end(mut self, end: End) -> Result<(), Failed> {
        let id = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let signal = match end {
            End::Stop => Signal::TERM,
            End::Kill => Signal::KILL,
        };
        kill_process(id.ok_or("the hub has ended before it was asked to")?, signal)?;
        let status = timeout(PATIENCE, self.child.wait()).await.map_err(|_| "the hub does not stop in time")??;
        if end == End::Kill || status.success() { Ok(()) } else { Err(format!("the hub ended with {status}").into()) }
    }
}

/// A hub's process on a free port of loopback, once it listens, and its address.
async fn spawn(data: &Path, config: &Path) -> Result<(Child, String), Failed> {
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
    Ok((child, url))
}

/// A client that shows a token.
fn showing(url: &str, token: Secret) -> Result<Client, Failed> {
    Ok(Client::with(url, &Credentials { token: Some(token), authorities: None })?)
}

/// The token of a new hub's first admin.
async fn enrolled(url: &str, data: &Path) -> Result<Secret, Failed> {
    let offered = std::fs::read_to_string(enrolment_path(data))?;
    let body = br#"{"name": "bench"}"#.to_vec();
    let client = showing(url, Secret::new(offered.trim()))?;
    let issued: serde_json::Value = client.post("/v1/enroll", "application/json", body).await?;
    let token = issued.get("token").and_then(serde_json::Value::as_str).ok_or("the hub gives no token")?;
    Ok(Secret::new(token))
}

/// Bytes of the files in a folder. A file that goes meanwhile counts nothing.
pub(super) fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => size(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

//! `crossdock backup`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::{Failed, HubAddress, out::Out};
use crate::{
    app::{
        backup::{self, MANIFEST_FILE, Since},
        clock::SystemClock,
        effects,
    },
    ports::clock::Clock,
    store::disk::Store,
};

/// Backups.
#[derive(Subcommand, Debug)]
pub(super) enum Backup {
    /// Back up a running hub, or with `--data` one that is switched off. The copy is proven before it counts.
    Create(Create),
    /// Restore a backup. The restored hub makes no call of a connector until an operator says that it is reconciled.
    Restore(Restore),
    /// Say that the remotes were compared with a restored hub: its calls leave again, whether it runs or not.
    Reconciled(Reconciled),
}

/// Where to.
#[derive(Args, Debug)]
pub(super) struct Create {
    /// The folder to write; it must not exist yet.
    dir: PathBuf,
    /// The data folder of a hub that is switched off; absent: the hub that runs is asked.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    address: HubAddress,
}

/// From where, and where to.
#[derive(Args, Debug)]
pub(super) struct Restore {
    /// The backup.
    dir: PathBuf,
    /// The data folder to make; it must not exist yet.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The list of keys of personal data that were destroyed since: `audit/erasures` of the data folder that is lost, or the
    /// copy that you keep. What it names is not brought back.
    #[arg(long, value_name = "FILE", conflicts_with = "nothing_erased")]
    erasures: Option<PathBuf>,
    /// Nobody's data was erased since the backup was made.
    #[arg(long)]
    nothing_erased: bool,
}

/// Which hub.
#[derive(Args, Debug)]
pub(super) struct Reconciled {
    /// The hub's data folder.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// What a hub answers.
#[derive(Serialize, Deserialize)]
struct Made {
    state: String,
    group: Option<u64>,
    appends: Option<u64>,
    bytes: Option<u64>,
    paused_ms: Option<u64>,
}

impl Backup {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::Create(create) => create.run(out).await,
            Self::Restore(restore) => {
                let manifest = backup::restore(&restore.dir, &restore.data, restore.since())?;
                if out.is_json() {
                    out.value(&serde_json::json!({
                        "data": restore.data, "time": manifest.time, "appends": manifest.appends, "effects": "paused"
                    }));
                } else {
                    out.say(format!("restored the hub of {} to {}", manifest.time, restore.data.display()));
                    out.say(said(&restore.data));
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Reconciled(reconciled) => {
                let were = effects::release(&reconciled.data)?;
                if out.is_json() {
                    out.value(&serde_json::json!({ "were_paused": were }));
                } else if were {
                    out.say("effects go on: calls of connectors leave again");
                } else {
                    out.say("effects were not paused");
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// What an operator does after a restore.
pub(super) fn said(data: &Path) -> String {
    format!(
        "effects are paused: runs are taken up, and no call of a connector leaves. Compare the remotes with the hub's \
         runs (`crossdock run list`), then: crossdock backup reconciled --data {}",
        data.display()
    )
}

impl Restore {
    fn since(&self) -> Since<'_> {
        match &self.erasures {
            Some(list) => Since::Listed(list),
            None if self.nothing_erased => Since::Nothing,
            None => Since::Unknown,
        }
    }
}

impl Create {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let dir = std::path::absolute(&self.dir)?;
        let made = match &self.data {
            Some(data) => offline(data, &dir).await?,
            None => {
                let client = self.address.client()?;
                let body = serde_json::to_vec(&serde_json::json!({ "directory": dir }))?;
                client.post("/v1/admin/backup", "application/json", body).await?
            }
        };
        if out.is_json() {
            out.value(&made);
        } else if made.state == "made" {
            out.say(format!(
                "backed up {} appends, {} KiB, to {}; proven{}",
                made.appends.unwrap_or_default(),
                made.bytes.unwrap_or_default().div_ceil(1024),
                dir.display(),
                made.paused_ms.map_or_else(String::new, |ms| format!("; nothing was committed for {ms} ms"))
            ));
        } else {
            let whole = dir.join(MANIFEST_FILE);
            out.say(format!("the backup goes on; it is whole once {} exists", whole.display()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn offline(data: &Path, dir: &Path) -> Result<Made, Failed> {
    let folder = data.join("store");
    if !folder.is_dir() {
        return Err(format!("`{}` is not the data folder of a hub: there is no `store` in it", data.display()).into());
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let store = Store::open(&folder, Arc::clone(&clock))?;
    let made = backup::create(&store, data, dir, &clock, false).await;
    store.close().await?;
    let made = made?;
    let bytes = made.files.iter().map(|held| held.bytes).sum();
    Ok(Made {
        state: "made".to_owned(),
        group: Some(made.group),
        appends: Some(made.appends),
        bytes: Some(bytes),
        paused_ms: made.paused_ms,
    })
}

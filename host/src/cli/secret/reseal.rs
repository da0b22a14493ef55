//! `crossdock secret reseal`: on the files of a hub that is switched off.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{
    app::{reseal, secrets::key},
    cli::{Failed, out::Out},
};

/// Whose secrets, and under which key.
#[derive(Args, Debug)]
pub(in crate::cli) struct Reseal {
    /// The hub's data folder.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The file of the key that seals from now on; made if it is not there.
    #[arg(long, value_name = "FILE")]
    new_key: PathBuf,
    /// The file of the key that has sealed until now; absent: `secrets/master.key` in the data folder.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Why; it is recorded.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// For tests of crashes: where the process ends itself. Only debug builds have it.
    #[cfg(debug_assertions)]
    #[arg(long, env = crate::app::crash_point::VARIABLE, hide = true)]
    crash_at: Option<crate::app::crash_point::CrashPoint>,
}

impl Reseal {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        #[cfg(debug_assertions)]
        if let Some(point) = self.crash_at {
            crate::app::crash_point::arm(point);
        }
        let from = self.key.unwrap_or_else(|| key::path_in(&self.data));
        let done = reseal::reseal(&self.data, &from, &self.new_key, &self.reason).await?;
        if out.is_json() {
            out.value(&done);
            return Ok(ExitCode::SUCCESS);
        }
        let (secrets, keys, file) = (done.secrets, done.personal_keys, done.file.display());
        out.say(format!("{secrets} secrets and {keys} keys of personal data are sealed with key {} now", done.key));
        if done.lost > 0 {
            out.say(format!("  {} keys of personal data opened with neither: they were lost before", done.lost));
        }
        out.say(format!(
            "  next: start the hub with `--secrets-key {file}`, or put that file in the place of the old one"
        ));
        out.say("  keep the old key for as long as backups of before, which it opens; no backup holds either key");
        Ok(ExitCode::SUCCESS)
    }
}

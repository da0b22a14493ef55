//! `crossdock doctor`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{Failed, out::Out};
use crate::app::diagnose;

/// Looks whether this machine can run a hub and build plugins.
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// Also look at this data folder.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Doctor {
    pub(super) fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let findings = diagnose::look(self.data.as_deref());
        if out.is_json() {
            out.value(&findings);
        }
        for finding in &findings {
            let sign = if finding.fine { out.green("✓") } else { out.red("✗") };
            out.say(format!("{sign} {:<22} {}", finding.what, finding.detail));
        }
        let fine = findings.iter().all(|finding| finding.fine);
        Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

//! `crossdock demo`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{Failed, out::Out};

/// Runs a small retailer end to end.
#[derive(Args, Debug)]
pub(super) struct Demo {
    /// Keep the data here.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Demo {
    pub(super) async fn run(self, _out: &Out) -> Result<ExitCode, Failed> {
        Ok(ExitCode::SUCCESS)
    }
}

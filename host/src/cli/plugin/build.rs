//! `crossdock plugin build`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    app::build,
    cli::{Failed, out::Out},
};

/// Which plugins to build.
#[derive(Args, Debug)]
pub(in crate::cli) struct Build {
    /// Plugins' source folders, each with a `plugin.toml`.
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Where packages are put.
    #[arg(long, default_value = "target/plugins", value_name = "DIR")]
    out: PathBuf,
}

impl Build {
    pub(super) fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let mut packages = Vec::new();
        for folder in &self.folders {
            let bar = spinner(out, &folder.display().to_string());
            let built = build::build(folder, &self.out, &mut |name| bar.set_message(name.to_owned()));
            bar.finish_and_clear();
            let package = built?;
            out.say(format!("{} {}", out.green("built"), package.display()));
            packages.push(package);
        }
        if out.is_json() {
            out.value(&serde_json::json!({ "packages": packages }));
        } else {
            out.say(format!("next: crossdock plugin check {}", self.out.join("*-*").display()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A line that shows that something is going on; invisible where nobody looks.
pub(in crate::cli) fn spinner(out: &Out, prefix: &str) -> ProgressBar {
    if out.is_json() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_prefix(prefix.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {wide_msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

//! `crossdock plugin`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{Failed, HubAddress, out::Out, story::grouped};
use crate::{
    app::{
        build,
        check::{self, Report},
        contracts::Library,
    },
    wasm::Sandbox,
};

/// Plugins.
#[derive(Subcommand, Debug)]
pub(super) enum Plugin {
    /// Compile plugins and put each in a package.
    Build(Build),
    /// Check packages as the hub would before it takes them.
    Check(Check),
    /// List the plugins that a hub has installed.
    List(HubAddress),
}

/// Which plugins to build.
#[derive(Args, Debug)]
pub(super) struct Build {
    /// Plugins' source folders, each with a `plugin.toml`.
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Where packages are put.
    #[arg(long, default_value = "target/plugins", value_name = "DIR")]
    out: PathBuf,
}

/// Which packages to check.
#[derive(Args, Debug)]
pub(super) struct Check {
    /// Packages' folders, each with a `plugin.toml` and a `component.wasm`.
    #[arg(required = true)]
    folders: Vec<PathBuf>,
}

impl Plugin {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::Build(build) => build.run(out),
            Self::Check(check) => check.run(out).await,
            Self::List(address) => list(&address, out).await,
        }
    }
}

impl Build {
    fn run(self, out: &Out) -> Result<ExitCode, Failed> {
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
pub(super) fn spinner(out: &Out, prefix: &str) -> ProgressBar {
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

impl Check {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let cache = tempfile::tempdir()?;
        let sandbox = Sandbox::new(cache.path())?;
        let library = Library::built_in()?;
        let mut reports = Vec::with_capacity(self.folders.len());
        for folder in &self.folders {
            reports.push(check::check(folder, &sandbox, &library).await);
        }
        if out.is_json() {
            out.value(&reports);
        }
        reports.iter().for_each(|report| tell(out, report));
        let accepted = reports.iter().all(|report| report.accepted);
        Ok(if accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn tell(out: &Out, report: &Report) {
    let verdict = if report.accepted { out.green("would be accepted") } else { out.red("would be refused") };
    out.say(format!("{}  {verdict}", out.bold(&report.plugin)));
    for finding in &report.findings {
        let sign = if finding.holds { out.green("✓") } else { out.red("✗") };
        out.say(format!("  {sign} {:<22} {}", finding.rule, finding.detail));
    }
    for golden in &report.golden {
        let sign = if golden.passed { out.green("✓") } else { out.red("✗") };
        let share = (golden.usage.fuel * 100).checked_div(golden.fuel_limit).unwrap_or_default();
        let percent = if share == 0 { "less than 1".to_owned() } else { share.to_string() };
        let used = format!("{} fuel, {percent} % of its limit", grouped(golden.usage.fuel));
        // An author should see a limit coming before a bigger cart runs into it.
        let used = if share >= 50 { out.red(&used) } else { out.dim(&used) };
        out.say(format!("    {sign} golden {:<24} {used}", golden.name));
        if let Some(difference) = &golden.difference {
            out.say(format!("        {difference}"));
        }
    }
}

async fn list(address: &HubAddress, out: &Out) -> Result<ExitCode, Failed> {
    let client = address.client()?;
    let answer: Value = client.get("/v1/plugins").await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let plugins = answer.get("plugins").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows = plugins
        .iter()
        .map(|plugin| {
            let text = |path: &str| match plugin.pointer(path) {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            };
            let active = text("/active") == "true";
            vec![
                text("/manifest/id"),
                text("/manifest/version"),
                text("/manifest/kind"),
                if active { "serving".to_owned() } else { "installed".to_owned() },
                text("/digest").chars().take(19).collect(),
                text("/manifest/summary"),
            ]
        })
        .collect();
    out.table(&["plugin", "version", "kind", "state", "digest", "summary"], rows, "no plugins are installed");
    Ok(ExitCode::SUCCESS)
}

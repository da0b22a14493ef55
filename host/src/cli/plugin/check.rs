//! `crossdock plugin check`: the gate, on the author's own machine.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::opened;
use crate::{
    app::{
        clock::SystemClock,
        contracts::Library,
        gate::{Candidate, Gate, History, TrustNow},
        package::read_manifest,
        parcel::Files,
    },
    cli::{Failed, HubAddress, out::Out, story::grouped},
    model::trust::{Trust, TrustedKey, Unsigned},
    net::client::encoded,
    policy::{
        gate::{Finding, Report, Severity, Verdict, golden::GoldenResult, version::Published},
        signing::trust::Moments,
    },
    ports::clock::Clock as _,
    wasm::Sandbox,
};

/// Which packages to check.
#[derive(Args, Debug)]
pub(in crate::cli) struct Check {
    /// Packages: folders with a `plugin.toml` and a `component.wasm`, or files made by `plugin pack`.
    #[arg(required = true, value_name = "PACKAGE")]
    packages: Vec<PathBuf>,
    /// The version before, as folder or file: says what has changed, and what that means for the version number.
    #[arg(long, value_name = "PACKAGE")]
    against: Option<PathBuf>,
    /// Public keys that count for the plugins' namespaces.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Refuse what none of these keys has signed.
    #[arg(long, requires = "key")]
    signed: bool,
    /// Have a hub judge them, against what is published there and whose signatures count there; nothing is published.
    #[arg(long, conflicts_with_all = ["against", "key"])]
    at_hub: bool,
    #[command(flatten)]
    address: HubAddress,
}

impl Check {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        if self.at_hub {
            return at_hub(&self, out).await;
        }
        let cache = tempfile::tempdir()?;
        let sandbox = Sandbox::new(cache.path())?;
        let library = Library::built_in()?;
        let gate = Gate { invoker: &sandbox, library: &library };
        let before = self.against.as_deref().map(opened::readable).transpose()?.map(|(before, _)| before);
        let mut reports = Vec::with_capacity(self.packages.len());
        for path in &self.packages {
            reports.push(match opened::candidate(path) {
                Err(report) => *report,
                Ok((candidate, _opened)) => {
                    let trust = trust(&candidate, &self.key, self.signed)?;
                    let now = TrustNow { trust: &trust, moments: Moments::at(SystemClock::default().now()) };
                    gate.judge(&candidate, &history(before.as_ref()), &now).await
                }
            });
        }
        if out.is_json() {
            out.value(&reports);
        }
        reports.iter().for_each(|report| tell(out, report));
        let accepted = reports.iter().all(|report| report.accepted);
        Ok(if accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Asks a hub what it would say.
async fn at_hub(check: &Check, out: &Out) -> Result<ExitCode, Failed> {
    let client = check.address.client()?;
    let mut reports: Vec<Report> = Vec::with_capacity(check.packages.len());
    for path in &check.packages {
        let opened = opened::Opened::new(path)?;
        let plugin = read_manifest(&opened.folder)?.0.id;
        let asked = format!("/v1/plugins?plugin={}&dry_run=true", encoded(plugin.as_str()));
        reports.push(client.post(&asked, "application/octet-stream", Files::of_folder(&opened.folder)?.pack()?).await?);
    }
    let accepted = reports.iter().all(|report| report.accepted);
    if out.is_json() {
        out.value(&reports);
    } else {
        reports.iter().for_each(|report| tell(out, report));
    }
    Ok(if accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The history that a person shows: one version before.
pub(super) fn history(before: Option<&Candidate>) -> History {
    let subject = before.map(|before| before.subject.clone());
    let published = subject
        .iter()
        .map(|subject| Published { version: subject.manifest.version.clone(), content: subject.content })
        .collect();
    History { previous: subject, published }
}

/// Trust in the keys that a person names, for this plugin's namespace.
pub(super) fn trust(candidate: &Candidate, keys: &[PathBuf], signed: bool) -> Result<Trust, Failed> {
    let namespace = candidate.descriptor.namespace();
    let read = |path: &PathBuf| -> Result<TrustedKey, Failed> {
        let key = crate::app::audit::key::read_public(path)?.to_line();
        let (namespace, note) = (namespace.to_owned(), Some(path.display().to_string()));
        Ok(TrustedKey { namespace, key, not_before: None, not_after: None, revoked: None, note })
    };
    let unsigned = if signed { Unsigned::Refuse } else { Unsigned::Note };
    Ok(Trust { unsigned: Some(unsigned), keys: keys.iter().map(read).collect::<Result<_, _>>()? })
}

/// Prints a report for people.
pub(super) fn tell(out: &Out, report: &Report) {
    let against = report.against.as_ref().map(|version| format!(" against {version}")).unwrap_or_default();
    let verdict = match report.verdict {
        Verdict::Accepted => out.green("would be accepted"),
        Verdict::NeedsConsent => out.yellow("would be accepted, and needs a consent"),
        Verdict::Refused => out.red("would be refused"),
    };
    out.say(format!("{}{against}  {verdict}", out.bold(&report.plugin)));
    for finding in &report.findings {
        tell_finding(out, finding);
    }
    for held in &report.held {
        out.say(format!("  {} {:<20} {}", out.green("✓"), held.rule, out.dim(&held.detail)));
    }
    for golden in &report.golden {
        tell_golden(out, golden);
    }
    if let Some(bump) = report.bump {
        out.say(format!("  the changes are {}", out.bold(&bump.to_string())));
    }
}

/// Prints one finding.
pub(super) fn tell_finding(out: &Out, finding: &Finding) {
    let sign = match finding.severity {
        Severity::Refuse => out.red("✗"),
        Severity::Consent => out.yellow("!"),
        Severity::Note => out.dim("·"),
    };
    let bump = finding.bump.map(|bump| out.dim(&format!(" [{bump}]"))).unwrap_or_default();
    out.say(format!("  {sign} {:<20} {}: {}{bump}", finding.rule, finding.place, finding.found));
    if !finding.change.is_empty() {
        out.say(format!("      {} {}", out.dim("→"), finding.change));
    }
}

/// Prints one golden test.
pub(super) fn tell_golden(out: &Out, golden: &GoldenResult) {
    let sign = if golden.passed { out.green("✓") } else { out.red("✗") };
    let share = golden.fuel_percent();
    let percent = if share == 0 { "less than 1".to_owned() } else { share.to_string() };
    let used = format!("{} fuel, {percent} % of its limit", grouped(golden.usage.fuel));
    // An author should see a limit coming before a bigger cart runs into it.
    let used = if share >= 50 { out.red(&used) } else { out.dim(&used) };
    out.say(format!("    {sign} golden {:<24} {used}", golden.name));
    if let Some(difference) = &golden.difference {
        out.say(format!("        {difference}"));
    }
}

/// A package's path for people: relative ones as they were given.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

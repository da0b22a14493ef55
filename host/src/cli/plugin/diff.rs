//! `crossdock plugin diff`: what one version changes for who relies on another. Nothing is compiled or run.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{
    check::{history, tell_finding},
    opened,
};
use crate::{
    app::contracts::Library,
    cli::{Failed, out::Out},
    policy::gate::{self, Facts, Finding, Severity},
    wasm::surface,
};

/// Two versions of one plugin.
#[derive(Args, Debug)]
pub(in crate::cli) struct Diff {
    /// The version before: a package's folder or file.
    before: PathBuf,
    /// The version after it.
    after: PathBuf,
}

impl Diff {
    pub(super) fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let (before, _before) = opened::readable(&self.before)?;
        let (after, _after) = opened::readable(&self.after)?;
        let history = history(Some(&before));
        let contract = surface::contract()?;
        let references = Library::references();
        let report = gate::judge(&Facts {
            candidate: &after.subject,
            previous: history.previous.as_ref(),
            published: &history.published,
            contract: &contract,
            references: &references,
            golden: None,
        });
        if out.is_json() {
            out.value(&report);
            return Ok(ExitCode::SUCCESS);
        }
        let from = &before.subject.manifest.version;
        let to = &after.subject.manifest.version;
        out.say(format!("{} {from} → {to}", out.bold(after.subject.manifest.id.as_str())));
        let changes: Vec<&Finding> = report
            .findings
            .iter()
            .filter(|finding| finding.bump.is_some() || finding.rule.starts_with("version."))
            .collect();
        changes.iter().for_each(|finding| tell_finding(out, finding));
        for (what, old, new) in [
            ("imports", &before.descriptor.imports, &after.descriptor.imports),
            ("exports", &before.descriptor.exports, &after.descriptor.exports),
        ] {
            new.iter().filter(|name| !old.contains(name)).for_each(|name| out.say(format!("  + {what} {name}")));
            old.iter().filter(|name| !new.contains(name)).for_each(|name| out.say(format!("  - {what} {name}")));
        }
        let component = before.package.digest == after.package.digest;
        out.say(format!("  the component is {}", if component { "the same" } else { "another" }));
        if let Some(bump) = report.bump {
            let next = gate::version::next(from, bump);
            out.say(format!("  the changes are {}: {next} or higher", out.bold(&bump.to_string())));
        }
        if report.findings.iter().any(|finding| finding.severity == Severity::Consent) {
            out.say("  an operator has to agree to what it newly may do");
        }
        Ok(ExitCode::SUCCESS)
    }
}

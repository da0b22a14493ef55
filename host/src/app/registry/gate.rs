//! The publish gate, asked before a version is taken in: the same report that its author gets from `plugin check`.

use std::path::Path;

use super::{Registry, unavailable};
use crate::{
    app::{
        gate::{Candidate, Gate, History, TrustNow, subject_of, with_source},
        installation::Installation,
    },
    model::manifest::Manifest,
    policy::{
        gate::{
            Finding, Report, Severity, Verdict,
            version::{self, Published},
        },
        signing::trust::Moments,
    },
    ports::registry::RegistryError,
};

/// Findings that a refusal tells in its text; all of them are in its list.
const TOLD_MAX: usize = 8;

impl Registry {
    /// Has the gate judge a package; what it says of what it lets pass.
    pub(super) async fn judge(&self, now: &Installation, folder: &Path) -> Result<Vec<String>, RegistryError> {
        let refused = |report: &Report| {
            let against = report.findings.iter().filter(|one| one.severity == Severity::Refuse);
            let findings: Vec<String> = against.map(line).collect();
            let told = findings.iter().take(TOLD_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
            RegistryError::Refused { problem: format!("the publish gate refuses {}: {told}", report.plugin), findings }
        };
        let candidate = Candidate::read(folder).map_err(|report| refused(&report))?;
        let history = self.history(now, &candidate.package.manifest).await?;
        let gate = Gate { invoker: &*self.installer.invoker, library: &self.installer.library };
        let trust = self.trust();
        let trust = TrustNow { trust: &trust, moments: Moments::at(self.shared.clock.now()) };
        let report = gate.judge(&candidate, &history, &trust).await;
        if report.verdict == Verdict::Refused {
            return Err(refused(&report));
        }
        let mut notes: Vec<String> = report.findings.iter().map(line).collect();
        if !report.signed_by.is_empty() {
            let keys: Vec<String> = report.signed_by.iter().map(ToString::to_string).collect();
            notes.push(format!("signed by {}", keys.join(", ")));
        }
        Ok(notes)
    }

    /// The version to compare with, and the numbers that are taken. That the candidate's own number is taken by something
    /// else is found before the gate is asked.
    async fn history(&self, now: &Installation, candidate: &Manifest) -> Result<History, RegistryError> {
        let installed: Vec<_> = now
            .by_digest
            .values()
            .filter(|plugin| plugin.manifest.id == candidate.id && plugin.manifest.version != candidate.version)
            .collect();
        let published = installed
            .iter()
            .map(|plugin| Published { version: plugin.manifest.version.clone(), content: plugin.inspection.digest });
        let published: Vec<Published> = published.collect();
        let previous = version::previous(published.iter().map(|one| &one.version), &candidate.version);
        let previous = previous.and_then(|version| installed.iter().find(|one| one.manifest.version == *version));
        let Some(previous) = previous else { return Ok(History { previous: None, published }) };
        let digest = previous.inspection.digest;
        let wasm = self.installer.blobs.get(digest).await.map_err(|error| unavailable(&error))?;
        let wasm = wasm.ok_or_else(|| RegistryError::Unavailable {
            reason: format!("component {digest} is missing from the store"),
        })?;
        let subject = subject_of(previous.manifest.clone(), previous.schemas.clone(), &wasm, digest);
        let subject = subject.map_err(|error| RegistryError::Unavailable { reason: with_source(&error) })?;
        Ok(History { previous: Some(subject), published })
    }
}

fn line(finding: &Finding) -> String {
    let change = if finding.change.is_empty() { String::new() } else { format!(" → {}", finding.change) };
    format!("{} {}: {}{change}", finding.rule, finding.place, finding.found)
}

//! The publish gate, asked before a version is taken in: the same report that its author gets from `plugin check`.

use std::{path::Path, sync::Arc};

use bytes::Bytes;

use super::{Registry, unavailable};
use crate::{
    app::{
        gate::{Candidate, Gate, History, TrustNow, subject_of, with_source},
        installation::Installation,
    },
    model::{audit::Cause, manifest::Manifest, trust::Trust},
    policy::{
        gate::{
            Finding, Report, Severity, Verdict,
            version::{self, Published},
        },
        seal::PublicKey,
        signing::trust::Moments,
    },
    ports::registry::RegistryError,
};

/// Findings that a refusal tells in its text; all of them are in its list.
const TOLD_MAX: usize = 8;
/// The record that says whose signatures count.
const TRUST: &str = "trust";

impl Registry {
    /// Whose signatures count, as it was last declared.
    pub(in crate::app) async fn load_trust(&self) -> Result<(), RegistryError> {
        let kept = self.installer.records.get(TRUST).await.map_err(|error| unavailable(&error))?;
        if let Some(kept) = kept {
            let wrong = |error: serde_json::Error| RegistryError::Unavailable {
                reason: format!("record `{TRUST}` cannot be read: {error}"),
            };
            self.trust.store(Arc::new(serde_json::from_slice(&kept.value).map_err(wrong)?));
        }
        Ok(())
    }

    /// Declares whose signatures count.
    pub(in crate::app) async fn set_trust(&self, cause: &Cause, trust: &Trust) -> Result<(), RegistryError> {
        if **self.trust.load() == *trust {
            return Ok(());
        }
        for trusted in &trust.keys {
            PublicKey::from_line(&trusted.key).map_err(|error| RegistryError::Invalid {
                problem: format!(
                    "`key = \"{}\"` under [[trust.keys]] is no public key ({error}): write the line of the `.pub` file",
                    trusted.key
                ),
            })?;
        }
        let value = serde_json::to_vec(trust).map_err(|error| unavailable(&error))?;
        let put = self.installer.audit.put(&*self.installer.records, cause, TRUST, Bytes::from(value)).await;
        put.map_err(|error| unavailable(&error))?;
        self.trust.store(Arc::new(trust.clone()));
        Ok(())
    }

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
        let trust = self.trust.load_full();
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

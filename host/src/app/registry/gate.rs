//! The publish gate, asked before a version is taken in, or only asked: the same report that its author gets from `plugin
//! check`; and its comparison of any two versions.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use semver::Version;

use super::{Registry, install_refused, named, plan, taken, unavailable, unpacked, views::unknown};
use crate::{
    app::{
        contracts::Library,
        gate::{Candidate, Gate, History, TrustNow, subject_of, with_source},
        installation::{Installation, Plugin},
    },
    model::{
        id::{Digest, PluginId},
        manifest::Manifest,
        registry::VersionState,
    },
    policy::{
        gate::{
            Finding, Report, Severity, Verdict,
            difference::Difference,
            subject::Subject,
            version::{self, Published},
        },
        signing::trust::Moments,
    },
    ports::registry::RegistryError,
};

/// Comparisons of two versions at the same time: each holds a component in memory.
pub(super) const COMPARED_AT_ONCE: usize = 2;
/// Findings that a refusal tells in its text; all of them are in its list.
const TOLD_MAX: usize = 8;

impl Registry {
    /// What the gate says of a package, as it would when the package was published now. Nothing is taken in.
    pub(in crate::app) async fn check_upload(&self, plugin: PluginId, upload: Bytes) -> Result<Report, RegistryError> {
        let upload = unpacked(&plugin, upload).await?;
        let now = self.shared.installation.load_full();
        let package = &upload.package;
        let (id, version) = (&package.manifest.id, &package.manifest.version);
        let mut report = self.report(&now, &package.folder).await?;
        let mut refuse = |rule, place: &str, found: String| {
            report.add(Finding::new(rule, Severity::Refuse, place, found));
        };
        // That it is there with another component or manifest is the one thing that can be wrong with it here.
        let differs = match self.installer.is_there(&now, package) {
            Ok(true) => self.installer.differs(package).await.map_err(install_refused)?,
            Ok(false) => {
                if let Err(error) = self.check_brought(&package.manifest, &package.schemas.events) {
                    refuse("event.schema", "plugin.toml", error.to_string());
                }
                None
            }
            Err(_) => Some("content"),
        };
        if let Some(what) = differs {
            refuse("version.reused", "plugin.toml", taken(&named(id, version), what));
        }
        Ok(report)
    }

    /// What one version changes for who relies on another: the comparison of the gate, of two that are there.
    pub(in crate::app) async fn difference(
        &self,
        id: &PluginId,
        from: &Version,
        to: &Version,
    ) -> Result<Difference, RegistryError> {
        let now = self.shared.installation.load_full();
        if !now.plugins.contains_key(id) {
            return Err(unknown(&now, id));
        }
        let (from, to) = (plan::find(&now, id, from)?, plan::find(&now, id, to)?);
        // INVARIANT: nobody closes it.
        let _room = self.comparisons.acquire().await.map_err(|error| unavailable(&error))?;
        let (before, after) = (self.subject(from).await?, self.subject(to).await?);
        Ok(Difference::between(&before, &after, &Library::references()))
    }

    /// What the gate compares, of a version that is there.
    async fn subject(&self, plugin: &Plugin) -> Result<Subject, RegistryError> {
        let digest = plugin.inspection.digest;
        let wasm = self.installer.blobs.get(digest).await.map_err(|error| unavailable(&error))?;
        let wasm = wasm.ok_or_else(|| RegistryError::Unavailable {
            reason: format!("component {digest} is missing from the store"),
        })?;
        let (manifest, schemas) = (plugin.manifest.clone(), plugin.schemas.clone());
        // Reading the types of a large component takes its time.
        let read = tokio::task::spawn_blocking(move || subject_of(manifest, schemas, &wasm, digest)).await;
        let read = read.map_err(|error| unavailable(&error))?;
        read.map_err(|error| RegistryError::Unavailable { reason: with_source(&error) })
    }

    /// Has the gate judge a package; what it says of what it lets pass.
    pub(super) async fn judge(&self, now: &Installation, folder: &Path) -> Result<Vec<String>, RegistryError> {
        let report = self.report(now, folder).await?;
        if report.verdict == Verdict::Refused {
            let against = report.findings.iter().filter(|one| one.severity == Severity::Refuse);
            let findings: Vec<String> = against.map(line).collect();
            let told = findings.iter().take(TOLD_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
            let problem = format!("the publish gate refuses {}: {told}", report.plugin);
            return Err(RegistryError::Refused { problem, findings });
        }
        let mut notes: Vec<String> = report.findings.iter().map(line).collect();
        if !report.signed_by.is_empty() {
            let keys: Vec<String> = report.signed_by.iter().map(ToString::to_string).collect();
            notes.push(format!("signed by {}", keys.join(", ")));
        }
        Ok(notes)
    }

    async fn report(&self, now: &Installation, folder: &Path) -> Result<Report, RegistryError> {
        let candidate = match Candidate::read(folder) {
            Ok(candidate) => candidate,
            Err(report) => return Ok(*report),
        };
        let history = self.history(now, &candidate.package.manifest).await?;
        let gate = Gate { invoker: &*self.installer.invoker, library: &self.installer.library };
        let trust = self.trust();
        let trust = TrustNow { trust: &trust, moments: Moments::at(self.shared.clock.now()) };
        // With the files that it brings, and not with those of a draft before it; and what only asks is not kept in memory.
        let digest = candidate.package.digest;
        let _judging = self.judging.lock().await;
        let free = is_free(now, digest);
        if free {
            self.installer.invoker.unload(digest);
        }
        let report = gate.judge(&candidate, &history, &trust).await;
        if free {
            self.installer.invoker.unload(digest);
        }
        Ok(report)
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
        Ok(History { previous: Some(self.subject(previous).await?), published })
    }
}

/// Whether nothing but drafts is of this component, so that it need not stay loaded.
fn is_free(now: &Installation, digest: Digest) -> bool {
    let all = now.plugins.values().flat_map(BTreeMap::values);
    let mut same = all.filter(|plugin| plugin.inspection.digest == digest);
    same.all(|plugin| now.state(&plugin.manifest.id, &plugin.manifest.version) == VersionState::Draft)
}

fn line(finding: &Finding) -> String {
    let change = if finding.change.is_empty() { String::new() } else { format!(" → {}", finding.change) };
    format!("{} {}: {}{change}", finding.rule, finding.place, finding.found)
}

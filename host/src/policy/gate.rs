//! The publish gate: whether a plugin version may be published, as one report. The same code judges on an author's laptop
//! and at the hub. Pure: what has to be read, run or inspected comes in as facts.
//!
//! | module | rules |
//! | --- | --- |
//! | [`subject`] | what is judged, and the sizes that it may have (`size.…`) |
//! | [`version`] | `version.…`: nothing is reused, and the number says what the change means |
//! | [`surface`] | `import.…`, `world.…`: what is imported by which kind, and the contract's types |
//! | [`capability`] | `capability.…`: what a version may touch that the one before could not |
//! | [`promise`] | `kind.…`, `operation.…`, `outcome.…`, `event.…`, `webhook.…`, `model.…`: what pipelines rely on |
//! | [`schema`] | `schema.…`: whether documents still fit, in both directions |
//! | [`golden`] | `golden.…`: the author's own examples, within the limits |
//! | [`difference`] | all of that which compares, for any two versions |
//!
//! A change that breaks who relies on the plugin is refused unless the version says so; one that lets the plugin do more
//! asks for a consent whatever the version says.

pub mod capability;
pub mod difference;
pub mod golden;
pub mod promise;
pub mod schema;
pub mod subject;
pub mod surface;
#[cfg(test)]
mod tests;
pub mod version;

use std::{borrow::Cow, collections::BTreeMap, fmt};

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::{
    golden::GoldenResult,
    schema::Position,
    subject::Subject,
    version::{Bump, Published},
};
use crate::model::{
    id::{Digest, KeyId, PluginId},
    surface::Surface,
};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// An operator has to agree to it before the version serves anything.
    Consent,
    /// The version is not published.
    Refuse,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Consent => "consent",
            Self::Refuse => "refuse",
        })
    }
}

/// One thing that the gate saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable and for programs, such as `capability.widened`.
    pub rule: Cow<'static, str>,
    /// How much it matters.
    pub severity: Severity,
    /// Where: a file, a field of the manifest, a function, or a JSON Pointer into a document.
    pub place: String,
    /// What was found.
    pub found: String,
    /// What to change, or to do. Empty if there is nothing to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub change: String,
    /// What it means for the version number, if it means something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bump: Option<Bump>,
}

impl Finding {
    /// A finding that changes nothing about the version number.
    #[must_use]
    pub fn new(rule: &'static str, severity: Severity, place: impl Into<String>, found: impl Into<String>) -> Self {
        let (place, found) = (place.into(), found.into());
        Self { rule: rule.into(), severity, place, found, change: String::new(), bump: None }
    }

    /// Says what to change.
    #[must_use]
    pub fn change(mut self, change: impl Into<String>) -> Self {
        self.change = change.into();
        self
    }

    /// Says what it means for the version number.
    #[must_use]
    pub fn bump(mut self, bump: Bump) -> Self {
        self.bump = Some(bump);
        self
    }
}

/// What the gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It may be published.
    Accepted,
    /// It may be published; before it serves anything, an operator agrees to what it newly may do.
    NeedsConsent,
    /// It may not be published.
    Refused,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Accepted => "accepted",
            Self::NeedsConsent => "accepted, needs consent",
            Self::Refused => "refused",
        })
    }
}

/// A rule that was looked at and found to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The rule, or the family of rules.
    pub rule: Cow<'static, str>,
    /// What was looked at.
    pub detail: String,
}

/// Everything that the gate says about one version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// `id@version`, as far as it could be read.
    pub plugin: String,
    /// The version that it was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Version>,
    /// The verdict, the worst of the findings.
    pub verdict: Verdict,
    /// Whether it is not refused.
    pub accepted: bool,
    /// What the changes mean for the version number; absent without a version to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bump: Option<Bump>,
    /// What was found, worst first.
    pub findings: Vec<Finding>,
    /// What holds.
    pub held: Vec<Held>,
    /// Digest of the component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<Digest>,
    /// Digest of everything that was packed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Digest>,
    /// What the component really imports.
    pub imports: Vec<String>,
    /// What the component really exports.
    pub exports: Vec<String>,
    /// Trusted keys whose signatures of exactly this hold.
    pub signed_by: Vec<KeyId>,
    /// Its golden tests.
    pub golden: Vec<GoldenResult>,
}

impl Report {
    /// A report that has seen nothing yet.
    #[must_use]
    pub fn new(plugin: impl Into<String>) -> Self {
        Self {
            plugin: plugin.into(),
            against: None,
            verdict: Verdict::Accepted,
            accepted: true,
            bump: None,
            findings: Vec::new(),
            held: Vec::new(),
            component: None,
            content: None,
            imports: Vec::new(),
            exports: Vec::new(),
            signed_by: Vec::new(),
            golden: Vec::new(),
        }
    }

    /// Takes up what a family of rules found; if it found nothing, that the family holds.
    pub fn take(&mut self, family: &'static str, findings: Vec<Finding>, holds: impl Into<String>) {
        if findings.iter().all(|finding| finding.severity == Severity::Note) {
            self.held.push(Held { rule: family.into(), detail: holds.into() });
        }
        for finding in findings {
            self.add(finding);
        }
    }

    /// Takes up one finding.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
        self.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        self.verdict = match self.findings.first().map(|worst| worst.severity) {
            Some(Severity::Refuse) => Verdict::Refused,
            Some(Severity::Consent) => Verdict::NeedsConsent,
            Some(Severity::Note) | None => Verdict::Accepted,
        };
        self.accepted = self.verdict != Verdict::Refused;
    }

    /// Whether a rule found something.
    #[must_use]
    pub fn has(&self, rule: &str) -> bool {
        self.findings.iter().any(|finding| finding.rule == rule)
    }
}

/// What the gate judges by.
pub struct Facts<'a> {
    /// The version that somebody wants to publish.
    pub candidate: &'a Subject,
    /// The version before it, as [`version::previous`] chooses it.
    pub previous: Option<&'a Subject>,
    /// Every version of the plugin that is published, in any order.
    pub published: &'a [Published],
    /// The contract, as `wasm` reads it.
    pub contract: &'a Surface,
    /// Documents that schemas may refer to, by name.
    pub references: &'a BTreeMap<String, Value>,
    /// What came of the golden tests; `None` if none were run.
    pub golden: Option<&'a [GoldenResult]>,
}

/// Judges a version by everything that needs no I/O. Signatures are judged by [`super::signing`].
#[must_use]
pub fn judge(facts: &Facts<'_>) -> Report {
    let candidate = facts.candidate;
    let id: &PluginId = &candidate.manifest.id;
    let mut report = Report::new(format!("{id}@{}", candidate.manifest.version));
    report.against = facts.previous.map(|previous| previous.manifest.version.clone());
    report.take("size", subject::check_sizes(candidate), "every file is within its limit");
    report.take(
        "import",
        surface::check_imports(candidate, facts.contract),
        format!("{} interfaces, all of which a {} may import", candidate.surface.imports.len(), candidate.kind()),
    );
    report.take("world", surface::check_exports(candidate, facts.contract), "types are the contract's");
    let schemas = candidate.all_schemas();
    let holds = format!("{} within the profile", counted(schemas.len(), "schema"));
    report.take("schema.profile", schema::check_profile(&schemas, facts.references), holds);
    if let Some(results) = facts.golden {
        let holds = format!("{} passed within the limits", counted(results.len(), "golden test"));
        report.take("golden", golden::check(candidate, results), holds);
    }
    report.take("version", version::check_reuse(candidate, facts.published), "not used before");
    let Some(previous) = facts.previous else {
        report.take("capability", capability::declared(candidate), "everything that it may touch is declared");
        return report;
    };
    let Changes { compatible, capabilities, computed } = Changes::between(previous, candidate, facts.references);
    report.bump = Some(computed);
    report.take("compatible", compatible, format!("with {} and who relies on it", previous.manifest.version));
    report.take("capability", capabilities, "it may touch no more than before");
    report.take(
        "version.bump",
        version::check_bump(previous, candidate, computed),
        format!("{} says what changed since {}: {computed}", candidate.manifest.version, previous.manifest.version),
    );
    report
}

/// What a version changes beside another.
struct Changes {
    /// For who relies on it: refused if it breaks them and the number does not say so.
    compatible: Vec<Finding>,
    /// What it may touch.
    capabilities: Vec<Finding>,
    /// What all of it means for the version number.
    computed: Bump,
}

impl Changes {
    fn between(previous: &Subject, candidate: &Subject, references: &BTreeMap<String, Value>) -> Self {
        let mut compatible = promise::compare(previous, candidate);
        compatible.extend(compare_schemas(previous, candidate, references));
        let capabilities = capability::compare(&previous.manifest, &candidate.manifest);
        let computed = compatible.iter().chain(&capabilities).filter_map(|finding| finding.bump).max();
        let declared = version::declared(&previous.manifest.version, &candidate.manifest.version);
        for finding in compatible.iter_mut().filter(|finding| finding.bump == Some(Bump::Major)) {
            if declared < Some(Bump::Major) && finding.severity == Severity::Note {
                finding.severity = Severity::Refuse;
            }
        }
        Self { compatible, capabilities, computed: computed.unwrap_or(Bump::Patch) }
    }
}

fn compare_schemas(previous: &Subject, candidate: &Subject, references: &BTreeMap<String, Value>) -> Vec<Finding> {
    let mut found = Vec::new();
    let (before, now) = (previous.all_schemas(), candidate.all_schemas());
    let mut names: Vec<&String> = before.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let position = Position::of(name);
        // What an operation or event without a predecessor reads or produces, nobody relies on yet; and one that is
        // gone is reported as such.
        let optional = position.is_optional();
        let (old, new) = match (before.get(name), now.get(name)) {
            (None, None) => continue,
            (None, Some(new)) if optional && !previous.names(name) => (new.clone(), new.clone()),
            (Some(old), None) if optional && !candidate.names(name) => (old.clone(), old.clone()),
            (old, new) => (
                old.cloned().unwrap_or_else(|| position.without_schema()),
                new.cloned().unwrap_or_else(|| position.without_schema()),
            ),
        };
        found.extend(schema::compare(position, name, &old, &new, references));
    }
    found
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

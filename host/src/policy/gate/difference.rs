//! What one version changes for whoever relies on another, whichever two: the comparison that [`judge`](super::judge) makes
//! with the version before, without what is asked of a candidate alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Bump, Changes, Finding, Severity,
    subject::Subject,
    version::{check_bump, next},
};
use crate::model::{
    difference::{FieldChange, compare},
    id::{Digest, PluginId},
    surface::Interface,
};

/// What a version may touch, beside what another may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// The same.
    Unchanged,
    /// Less.
    Narrowed,
    /// More, whatever it may no longer: an operator has to agree.
    Widened,
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unchanged => "unchanged",
            Self::Narrowed => "narrowed",
            Self::Widened => "widened",
        })
    }
}

/// Names that are new, and names that are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// New, sorted.
    pub added: Vec<String>,
    /// Gone, sorted.
    pub removed: Vec<String>,
}

/// The code of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Digest of the earlier one's component.
    pub from: Digest,
    /// Digest of the later one's.
    pub to: Digest,
}

/// What differs between two versions of a plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The plugin.
    pub plugin: PluginId,
    /// The earlier version.
    pub from: Version,
    /// The later one.
    pub to: Version,
    /// What the changes mean for the version number.
    pub bump: Bump,
    /// The lowest number after `from` that says so.
    pub next: Version,
    /// What it may touch; each thing is among the findings.
    pub capabilities: Reach,
    /// What the gate finds: contract, schemas of config, documents and events, capabilities, version; worst first.
    pub findings: Vec<Finding>,
    /// What the manifest says otherwise, the version number apart.
    pub manifest: Vec<FieldChange>,
    /// What the component really imports.
    pub imports: Names,
    /// What it really exports.
    pub exports: Names,
    /// The component.
    pub component: Component,
}

impl Difference {
    /// What the later version changes.
    #[must_use]
    pub fn between(before: &Subject, after: &Subject, references: &BTreeMap<String, Value>) -> Self {
        let Changes { compatible, capabilities, computed } = Changes::between(before, after, references);
        let narrowed = capabilities.iter().any(|finding| finding.rule == "capability.narrowed");
        let (from, to) = (before.manifest.version.clone(), after.manifest.version.clone());
        let mut findings: Vec<Finding> = compatible.into_iter().chain(capabilities).collect();
        // Whatever asks for a consent is more than before: an operation that begins to write as well.
        let reach = match findings.iter().any(|finding| finding.severity == Severity::Consent) {
            true => Reach::Widened,
            false if narrowed => Reach::Narrowed,
            false => Reach::Unchanged,
        };
        findings.extend(check_bump(before, after, computed));
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Self {
            plugin: after.manifest.id.clone(),
            next: next(&from, computed),
            bump: computed,
            capabilities: reach,
            findings,
            manifest: manifest(before, after),
            imports: names(&before.surface.imports, &after.surface.imports),
            exports: names(&before.surface.exports, &after.surface.exports),
            component: Component { from: before.component, to: after.component },
            from,
            to,
        }
    }
}

/// What the manifests say, field by field.
fn manifest(before: &Subject, after: &Subject) -> Vec<FieldChange> {
    // INVARIANT: a manifest has a JSON form.
    let of = |subject: &Subject| serde_json::to_value(&subject.manifest).unwrap_or_default();
    let mut found = Vec::new();
    compare("", Some(&of(before)), Some(&of(after)), &mut found);
    found.retain(|change| change.path != "version");
    found
}

fn names(before: &BTreeMap<String, Interface>, after: &BTreeMap<String, Interface>) -> Names {
    let (before, after): (BTreeSet<_>, BTreeSet<_>) = (before.keys().collect(), after.keys().collect());
    let owned = |names: &mut dyn Iterator<Item = &&String>| names.map(|name| (*name).clone()).collect();
    Names { added: owned(&mut after.difference(&before)), removed: owned(&mut before.difference(&after)) }
}

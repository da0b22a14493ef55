//! What is signed: everything that a package holds, by digest, in one canonical text.

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::model::{
    id::{Digest, PluginId},
    manifest::{Kind, Manifest},
    surface::Surface,
};

/// The format of this release.
const FORMAT: u32 = 1;
/// Where a package keeps a bill of materials that was made beside it, such as in CycloneDX's or SPDX's JSON.
pub const SBOM_FILE: &str = "sbom.json";

/// What a package is. Two packages are the same if and only if their descriptors are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// Format of this text.
    pub format: u32,
    /// The plugin.
    pub id: PluginId,
    /// Its version.
    pub version: Version,
    /// What it does.
    pub kind: Kind,
    /// The contract that it was built against.
    pub contract: Version,
    /// Digest of the component.
    pub component: Digest,
    /// What the component really imports, sorted.
    pub imports: Vec<String>,
    /// What it really exports, sorted.
    pub exports: Vec<String>,
    /// Digest of the bill of materials: the file's if there is one, else of what the toolchain embedded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sbom: Option<Digest>,
    /// Digest of every file but signatures, by path: manifest, component, schemas, golden tests, assets.
    pub files: BTreeMap<String, Digest>,
}

impl Descriptor {
    /// The descriptor of a package with these files.
    #[must_use]
    pub fn of(manifest: &Manifest, component: Digest, surface: &Surface, files: BTreeMap<String, Digest>) -> Self {
        Self {
            format: FORMAT,
            id: manifest.id.clone(),
            version: manifest.version.clone(),
            kind: manifest.kind,
            contract: manifest.contract.clone(),
            component,
            imports: surface.imports.keys().cloned().collect(),
            exports: surface.exports.keys().cloned().collect(),
            sbom: files.get(SBOM_FILE).copied().or(surface.sbom),
            files,
        }
    }

    /// The namespace whose key has to sign it.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.id.as_str().split('/').next().unwrap_or_default()
    }

    /// The text that is signed: JSON without white space, fields in the order of this type, names in maps sorted.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // INVARIANT: texts, numbers and maps with text keys always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Its digest, which names the content as a whole.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// What this package has otherwise than the one that was signed; empty if nothing.
    #[must_use]
    pub fn differences(&self, signed: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if (&self.id, &self.version) != (&signed.id, &signed.version) {
            // A signature of another package says nothing about this one; details would only confuse.
            return vec![format!("it was made for `{}@{}`", signed.id, signed.version)];
        }
        for (path, digest) in &self.files {
            match signed.files.get(path) {
                None => found.push(format!("`{path}` was added after signing")),
                Some(then) if then != digest => found.push(format!("`{path}` was changed after signing")),
                Some(_) => {}
            }
        }
        for path in signed.files.keys().filter(|path| !self.files.contains_key(*path)) {
            found.push(format!("`{path}` was removed after signing"));
        }
        if found.is_empty() && self != signed {
            found.push("what the signature says of its imports, exports or contract is not what they are".to_owned());
        }
        found
    }
}

//! What the gate judges: a version with everything about it that was read or computed, and the sizes it may have.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Finding, Severity};
use crate::model::{
    id::Digest,
    manifest::{Kind, Manifest},
    schemas::Schemas,
    surface::Surface,
};

/// Largest component, bytes.
pub const COMPONENT_BYTES_LIMIT: u64 = 64 << 20;
/// Largest manifest, and largest schema, bytes.
pub const TEXT_BYTES_LIMIT: u64 = 256 << 10;
/// Largest package, unpacked, bytes.
pub const PACKAGE_BYTES_LIMIT: u64 = 96 << 20;
/// Files of a package.
pub const FILES_LIMIT: usize = 1_024;

/// A plugin version.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// What it says about itself.
    pub manifest: Manifest,
    /// Digest of the component.
    pub component: Digest,
    /// Digest of everything that was packed: two packages with the same one are the same.
    pub content: Digest,
    /// Its schemas.
    pub schemas: Schemas,
    /// What it really imports and exports.
    pub surface: Surface,
    /// Size of each file, bytes, by its path in the package.
    pub files: BTreeMap<String, u64>,
}

impl Subject {
    /// Its kind, as the manifest writes it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.manifest.kind.interface()
    }

    /// Each schema by where it counts: `config`, `input`, `output`, `event TYPE`, `operation NAME input`.
    #[must_use]
    pub fn all_schemas(&self) -> BTreeMap<String, Value> {
        let Schemas { config, input, output, events, operations } = &self.schemas;
        let mut all = BTreeMap::new();
        let mut add = |name: String, schema: &Option<Value>| {
            if let Some(schema) = schema {
                all.insert(name, schema.clone());
            }
        };
        add("config".to_owned(), config);
        add("input".to_owned(), input);
        add("output".to_owned(), output);
        for (name, schemas) in operations {
            add(format!("operation {name} input"), &schemas.input);
            add(format!("operation {name} output"), &schemas.output);
        }
        all.extend(events.iter().map(|(name, schema)| (format!("event {name}"), schema.clone())));
        all
    }

    /// Whether it has the operation or event that a schema's name, as in [`Self::all_schemas`], speaks of.
    #[must_use]
    pub fn names(&self, schema: &str) -> bool {
        let mut words = schema.split(' ');
        match (words.next(), words.next()) {
            (Some("operation"), Some(name)) => self.manifest.operations.contains_key(name),
            (Some("event"), Some(name)) => self.manifest.produces.iter().any(|event| event == name),
            _ => true,
        }
    }

    /// Whether its functions may have effects: a connector, or a source beside a pure function.
    #[must_use]
    pub fn has_effects(&self) -> bool {
        self.manifest.kind == Kind::Connector || self.manifest.webhook.is_some()
    }
}

/// Each file within its limit, and all of them together.
pub(super) fn check_sizes(subject: &Subject) -> Vec<Finding> {
    let mut found = Vec::new();
    let refuse = |place: &str, text: String| Finding::new("size.exceeded", Severity::Refuse, place, text);
    for (path, &bytes) in &subject.files {
        let limit = match path.as_str() {
            "component.wasm" => COMPONENT_BYTES_LIMIT,
            path if path == "plugin.toml" || path.starts_with("schemas/") => TEXT_BYTES_LIMIT,
            _ => PACKAGE_BYTES_LIMIT,
        };
        if bytes > limit {
            let change = if path == "component.wasm" {
                "build it with `--profile release` and `strip = true`, or move data into assets"
            } else {
                "shorten it"
            };
            found.push(refuse(path, format!("it is {bytes} bytes, the limit is {limit}")).change(change));
        }
    }
    let total: u64 = subject.files.values().sum();
    if total > PACKAGE_BYTES_LIMIT {
        let text = format!("the package is {total} bytes, the limit is {PACKAGE_BYTES_LIMIT}");
        found.push(refuse("the package", text).change("leave out assets that the plugin does not read"));
    }
    if subject.files.len() > FILES_LIMIT {
        let text = format!("the package has {} files, the limit is {FILES_LIMIT}", subject.files.len());
        found.push(refuse("the package", text).change("put assets together in fewer files"));
    }
    found
}

//! The bill of materials of a guest: every crate that is linked into it, as CycloneDX, from what cargo resolved. The same
//! sources and lock file give the same bytes.
//!
//! Asked with `cargo tree`, since `cargo metadata` fetches whatever any member of the workspace needs for its tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use serde_json::{Value, json};

use super::{BuildError, TARGET, leave_outer_build};
use crate::model::manifest::Manifest;

/// The version of CycloneDX that is written. <https://cyclonedx.org/docs/1.6/json/>
const SPEC: &str = "1.6";

/// Asks cargo what a plugin is made of.
///
/// # Errors
/// If cargo cannot be run, or does not say.
pub(super) fn of(folder: &Path, manifest: &Manifest) -> Result<Vec<u8>, BuildError> {
    let mut cargo = Command::new("cargo");
    // Ordinary dependencies. Procedural macros are among them: they write code that is linked in. What was just built is
    // in the cache, so nobody is asked on the network.
    cargo
        .args(["tree", "--offline", "--target", TARGET, "--edges", "normal", "--prefix", "depth"])
        .args(["--charset", "ascii", "--color", "never", "--format", "{p}|{l}"])
        .current_dir(folder);
    leave_outer_build(&mut cargo);
    let output = cargo.output().map_err(|source| BuildError::Tool { tool: "cargo".to_owned(), source })?;
    let failed = |output: String| BuildError::Materials { folder: folder.to_owned(), output };
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let document = document(&String::from_utf8_lossy(&output.stdout), manifest)
        .ok_or_else(|| failed("what `cargo tree` prints cannot be read".to_owned()))?;
    let mut bytes = serde_json::to_vec_pretty(&document).map_err(|error| failed(error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A line of the tree: how deep it lies, the crate's name and version, and its licence.
fn read(line: &str) -> Option<(usize, &str, &str, &str)> {
    let (package, license) = line.rsplit_once('|')?;
    let digits = package.find(|c: char| !c.is_ascii_digit())?;
    let (depth, package) = package.split_at(digits);
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    // A crate that was shown with what it needs before is marked.
    Some((depth.parse().ok()?, name, version, license.trim_end_matches("(*)").trim()))
}

/// The bill of materials of a tree, as `cargo tree` prints it; `None` if it is none.
fn document(tree: &str, manifest: &Manifest) -> Option<Value> {
    let id = manifest.id.as_str();
    let root = format!("pkg:generic/{id}@{}", manifest.version);
    let (mut components, mut needs) = (BTreeMap::new(), BTreeMap::<String, BTreeSet<String>>::new());
    let mut above: Vec<String> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (depth, name, version, license) = read(line)?;
        if depth > above.len() || (depth == 0) != needs.is_empty() {
            return None;
        }
        above.truncate(depth);
        // The package URL: the same crate has the same everywhere.
        let own = if depth == 0 { root.clone() } else { format!("pkg:cargo/{name}@{version}") };
        if depth > 0 {
            components.entry(own.clone()).or_insert_with(|| component(&own, name, version, license));
        }
        if let Some(parent) = above.last() {
            needs.entry(parent.clone()).or_default().insert(own.clone());
        }
        needs.entry(own.clone()).or_default();
        above.push(own);
    }
    let dependencies = needs.iter().map(|(name, below)| json!({ "ref": name, "dependsOn": below }));
    (!needs.is_empty()).then(|| {
        json!({
            "bomFormat": "CycloneDX",
            "specVersion": SPEC,
            "version": 1,
            "metadata": {
                "component": {
                    "type": "library",
                    "bom-ref": root,
                    "group": manifest.id.namespace(),
                    "name": id.rsplit('/').next().unwrap_or(id),
                    "version": manifest.version.to_string(),
                    "description": manifest.summary,
                    "licenses": [{ "expression": manifest.license }],
                },
            },
            "components": components.into_values().collect::<Vec<_>>(),
            "dependencies": dependencies.collect::<Vec<_>>(),
        })
    })
}

fn component(reference: &str, name: &str, version: &str, license: &str) -> Value {
    let mut component =
        json!({ "type": "library", "bom-ref": reference, "name": name, "version": version, "purl": reference });
    // `MIT/Apache-2.0` is the old way to write `MIT OR Apache-2.0`, which SPDX does not know.
    let license = license.replace('/', " OR ");
    if let (false, Some(fields)) = (license.is_empty(), component.as_object_mut()) {
        fields.insert("licenses".to_owned(), json!([{ "expression": license }]));
    }
    component
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::document;
    use crate::model::manifest::Manifest;

    fn manifest() -> Manifest {
        let text = "id = \"acme/rules\"\nversion = \"2.1.0\"\nkind = \"rule\"\ncontract = \"1.0.0\"\nlicense = \
                    \"MIT\"\nsummary = \"x\"";
        toml::from_str(text).unwrap()
    }

    #[test]
    fn each_crate_is_listed_once_with_what_it_needs() {
        let tree = "0rules v2.1.0 (/work/a|b)|MIT\n1sdk v0.1.0 (/sdk)|Apache-2.0\n2deep v1.0.0|MIT/Apache-2.0\n\
                    3macro v1.2.3 (proc-macro)|\n1other v3.0.0-rc.1|MIT\n2deep v1.0.0|MIT/Apache-2.0 (*)\n";
        let found = document(tree, &manifest()).unwrap();
        let names: Vec<&str> =
            found["components"].as_array().unwrap().iter().map(|one| one["purl"].as_str().unwrap()).collect();
        let expected =
            ["pkg:cargo/deep@1.0.0", "pkg:cargo/macro@1.2.3", "pkg:cargo/other@3.0.0-rc.1", "pkg:cargo/sdk@0.1.0"];
        assert_eq!(names, expected);
        assert_eq!(found["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert!(found["components"][1].get("licenses").is_none());
        let needs = |name: &str| {
            let all = found["dependencies"].as_array().unwrap();
            all.iter().find(|one| one["ref"] == name).unwrap()["dependsOn"].clone()
        };
        assert_eq!(needs("pkg:generic/acme/rules@2.1.0"), json!(["pkg:cargo/other@3.0.0-rc.1", "pkg:cargo/sdk@0.1.0"]));
        assert_eq!(needs("pkg:cargo/other@3.0.0-rc.1"), json!(["pkg:cargo/deep@1.0.0"]));
        assert_eq!(needs("pkg:cargo/deep@1.0.0"), json!(["pkg:cargo/macro@1.2.3"]));
        assert_eq!(needs("pkg:cargo/macro@1.2.3"), json!([]));
    }

    #[test]
    fn what_is_no_tree_is_none() {
        for text in ["", "error: no", "1deep v1.0.0|MIT", "0a v1.0.0|MIT\n2b v1.0.0|MIT", "0a v1.0.0|\n0b v1.0.0|"] {
            assert!(document(text, &manifest()).is_none(), "{text}");
        }
    }
}

//! A copy of the plugin SDK and of the contract, for plugins that are begun where neither can be found.

use std::path::PathBuf;

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../../", $path)))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "plugin-sdk/src/bindings.rs",
    "plugin-sdk/src/bindings/conversions.rs",
    "plugin-sdk/src/call.rs",
    "plugin-sdk/src/context.rs",
    "plugin-sdk/src/decision.rs",
    "plugin-sdk/src/failure.rs",
    "plugin-sdk/src/http.rs",
    "plugin-sdk/src/hub.rs",
    "plugin-sdk/src/hub/native.rs",
    "plugin-sdk/src/hub/wasm.rs",
    "plugin-sdk/src/lib.rs",
    "plugin-sdk/src/log.rs",
    "plugin-sdk/src/money.rs",
    "plugin-sdk/src/secrets.rs",
    "plugin-sdk/src/source.rs",
    "plugin-sdk/src/state.rs",
    "plugin-sdk/src/testing.rs",
    "plugin-sdk/src/testing/memory.rs",
    "plugin-sdk/src/typed.rs",
    "wit/envelope.wit",
    "wit/exports.wit",
    "wit/imports.wit",
    "wit/worlds.wit",
];

/// The SDK's manifest outside of the workspace; a test holds the versions to the workspace's.
const MANIFEST: &str = r#"[package]
name = "crossdock-plugin"
description = "Write Crossdock plugins in Rust"
version = "0.1.0"
edition = "2024"
rust-version = "1.95"
license = "Apache-2.0"
publish = false

[features]
# Paged operations: `connector! { …; pages … }`.
paging = []

[dependencies]
serde = { version = "1", features = ["derive", "rc"] }
serde_json = { version = "1", features = ["raw_value"] }
wit-bindgen = "0.59"

[target.'cfg(target_arch = "wasm32")'.dependencies]
wasip2 = "1.0"

[target.'cfg(not(target_arch = "wasm32"))'.dependencies]
hmac = "0.12"
sha2 = "0.10"
"#;

/// Each file of the copy, below the plugin's folder.
pub(super) fn files() -> impl Iterator<Item = (PathBuf, String)> {
    let manifest = ("plugin-sdk/Cargo.toml", MANIFEST);
    let all = FILES.iter().copied().chain([manifest]);
    all.map(|(path, text)| (PathBuf::from("sdk").join(path), text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
        path::Path,
    };

    use super::{FILES, MANIFEST};

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace")
    }

    fn collect(folder: &Path, below: &str, ending: &str, into: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry")) {
            let name = format!("{below}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                collect(&entry.path(), &name, ending, into);
            } else if name.ends_with(ending) {
                into.insert(name);
            }
        }
    }

    #[test]
    fn the_copy_has_every_file_of_the_sdk_and_of_the_contract() {
        let mut there = BTreeSet::new();
        collect(&root().join("plugin-sdk/src"), "plugin-sdk/src", ".rs", &mut there);
        collect(&root().join("wit"), "wit", ".wit", &mut there);
        let copied: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(copied, there);
    }

    #[test]
    fn the_copy_needs_what_the_sdk_needs_in_the_workspaces_versions() {
        let read =
            |path: &str| -> toml::Table { fs::read_to_string(root().join(path)).expect("read").parse().expect("TOML") };
        let (workspace, sdk, copy) =
            (read("Cargo.toml"), read("plugin-sdk/Cargo.toml"), MANIFEST.parse().expect("TOML"));
        let tables = |of: &toml::Table| -> BTreeMap<String, toml::Value> {
            let targets = of["target"].as_table().expect("targets").values();
            let all = targets.map(|target| &target["dependencies"]).chain([&of["dependencies"]]);
            all.flat_map(|table| table.as_table().expect("table").clone()).collect()
        };
        let copied = tables(&copy);
        assert_eq!(tables(&sdk).keys().collect::<Vec<_>>(), copied.keys().collect::<Vec<_>>());
        for (name, wanted) in copied {
            assert_eq!(workspace["workspace"]["dependencies"][&name], wanted, "{name}");
        }
        assert_eq!(sdk["features"], copy["features"]);
    }
}

//! The first plugins as packages, built once for all tests.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use crossdock::app::build;

use crate::guests;

/// The line of [`judge`]'s versions.
pub const JUDGE: &str = "test/judge";

/// The plugins of this repository.
pub const PLUGINS: [&str; 6] =
    ["shopify-order", "node-ranking", "fulfilment-policy", "sap-sales-order", "sandbox-warehouse", "sandbox-carrier"];

/// The workspace's root.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// The package of one of [`PLUGINS`].
///
/// # Panics
/// With the compiler's output, if it does not build.
#[must_use]
#[allow(clippy::panic, reason = "a test without its plugins has failed, and must say why")]
pub fn package(name: &str) -> PathBuf {
    static BUILT: LazyLock<Vec<(&'static str, PathBuf)>> = LazyLock::new(|| {
        let root = workspace();
        PLUGINS
            .into_iter()
            .map(|name| {
                let built = build::build(&root.join("plugins").join(name), &root.join("target/plugins"), &mut |_| ());
                match built {
                    Ok(package) => (name, package),
                    Err(error) => panic!("plugin `{name}`: {error} ({:?})", std::error::Error::source(&error)),
                }
            })
            .collect()
    });
    match BUILT.iter().find(|(built, _)| *built == name) {
        Some((_, package)) => package.clone(),
        None => panic!("no plugin is named `{name}`"),
    }
}

/// Writes a package of a version of [`JUDGE`], a rule that decides as a hostile guest of this name does; `more` of its
/// manifest stands before the rule's own table.
///
/// # Panics
/// If it cannot be written.
#[allow(clippy::expect_used, reason = "a test without its package has failed, and must say why")]
pub fn judge(folder: &Path, version: &str, guest: &str, more: &str) {
    let manifest = format!(
        "id = \"{JUDGE}\"\nversion = \"{version}\"\nkind = \"rule\"\ncontract = \"1.0.0\"\nlicense = \"MIT\"\nsummary = \
         \"Judges\"\n{more}\n[rule]\noutcomes = [\"proceed\"]\n"
    );
    fs::create_dir_all(folder).expect("a folder");
    fs::write(folder.join("plugin.toml"), manifest).expect("a manifest");
    fs::write(folder.join("component.wasm"), guests::hostile(guest)).expect("a component");
}

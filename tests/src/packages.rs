//! The first plugins as packages, built once for all tests.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use crossdock::app::build;

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

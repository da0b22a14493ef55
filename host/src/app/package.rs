//! A plugin as it lies on disk: a folder with `plugin.toml`, `component.wasm`, and the schemas, golden tests and assets
//! that the manifest names.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde_json::Value;

pub use crate::model::schemas::Schemas;
use crate::{
    model::{id::Digest, manifest::Manifest, schemas::OperationSchemas},
    policy::signing::envelope::SIGNATURE_FILE,
};

/// The manifest's file name.
pub const MANIFEST_FILE: &str = "plugin.toml";
/// The component's file name.
pub const COMPONENT_FILE: &str = "component.wasm";
/// Largest manifest, and largest schema, bytes.
const TEXT_BYTES_LIMIT: u64 = 256 << 10;
/// Largest signature, bytes: it names every file.
const SIGNATURE_BYTES_LIMIT: u64 = 1 << 20;
/// Largest component, bytes.
const COMPONENT_BYTES_LIMIT: u64 = 64 << 20;

/// A plugin read from disk; nothing of it has been checked against the sandbox yet.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its folder.
    pub folder: PathBuf,
    /// What it says about itself.
    pub manifest: Manifest,
    /// The manifest's text.
    pub manifest_text: String,
    /// The component.
    pub wasm: Bytes,
    /// The component's digest.
    pub digest: Digest,
    /// Schemas that the manifest names.
    pub schemas: Schemas,
    /// The folder of its assets.
    pub assets: Option<PathBuf>,
    /// The signature that came with it; nothing about it is verified.
    pub signature: Option<Bytes>,
}

/// Why a package cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file is missing or cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than allowed.
    #[error("`{path}` is {actual_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        actual_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The manifest is not one.
    #[error("`{path}` is not a plugin manifest: {problem}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Where, why, and which fields there are.
        problem: String,
    },
    /// A path leads out of the package.
    #[error("`{path}` in the manifest leads out of the package: name a file below it")]
    Outside {
        /// As the manifest says.
        path: String,
    },
    /// A schema is not JSON.
    #[error("`{path}` is not JSON")]
    Schema {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// No component has been built.
    #[error("`{path}` is missing: build it with `crossdock plugin build`")]
    NoComponent {
        /// Where it should be.
        path: PathBuf,
    },
}

impl Package {
    /// Reads a package.
    ///
    /// # Errors
    /// As [`PackageError`] says.
    pub fn read(folder: &Path) -> Result<Self, PackageError> {
        let (manifest, manifest_text) = read_manifest(folder)?;
        let component = folder.join(COMPONENT_FILE);
        if !component.exists() {
            return Err(PackageError::NoComponent { path: component });
        }
        let wasm = read_file(&component, COMPONENT_BYTES_LIMIT)?;
        let mut schemas = Schemas {
            config: read_schema(folder, manifest.config_schema.as_deref())?,
            input: read_schema(folder, manifest.input_schema.as_deref())?,
            output: read_schema(folder, manifest.output_schema.as_deref())?,
            ..Schemas::default()
        };
        for (event, path) in &manifest.event_schemas {
            schemas.events.extend(read_schema(folder, Some(path))?.map(|schema| (event.clone(), schema)));
        }
        for (name, operation) in &manifest.operations {
            let (input, output) = (operation.input_schema.as_deref(), operation.output_schema.as_deref());
            if input.is_some() || output.is_some() {
                let read =
                    OperationSchemas { input: read_schema(folder, input)?, output: read_schema(folder, output)? };
                schemas.operations.insert(name.clone(), read);
            }
        }
        let assets = manifest.assets.as_deref().map(|path| below(folder, path)).transpose()?;
        let digest = Digest::of(&wasm);
        let signature = folder.join(SIGNATURE_FILE);
        let signature =
            if signature.exists() { Some(read_file(&signature, SIGNATURE_BYTES_LIMIT)?.into()) } else { None };
        Ok(Self {
            signature,
            folder: folder.to_owned(),
            manifest,
            manifest_text,
            wasm: wasm.into(),
            digest,
            schemas,
            assets,
        })
    }
}

/// Reads only the manifest of a package or of a plugin's source folder.
///
/// # Errors
/// As [`PackageError`] says.
pub fn read_manifest(folder: &Path) -> Result<(Manifest, String), PackageError> {
    let path = folder.join(MANIFEST_FILE);
    let bytes = read_file(&path, TEXT_BYTES_LIMIT)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let manifest = toml::from_str(&text)
        .map_err(|error| PackageError::Manifest { path, problem: error.to_string().trim_end().to_owned() })?;
    Ok((manifest, text))
}

fn read_schema(folder: &Path, path: Option<&str>) -> Result<Option<Value>, PackageError> {
    let Some(path) = path else { return Ok(None) };
    let path = below(folder, path)?;
    let bytes = read_file(&path, TEXT_BYTES_LIMIT)?;
    serde_json::from_slice(&bytes).map(Some).map_err(|source| PackageError::Schema { path, source })
}

/// A path of the manifest, held to the package: relative, without `..`, and not through a link that leads out.
fn below(folder: &Path, path: &str) -> Result<PathBuf, PackageError> {
    let outside = || PackageError::Outside { path: path.to_owned() };
    let relative = Path::new(path);
    if !relative.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
        return Err(outside());
    }
    let whole = folder.join(relative);
    let read = |path: &Path| path.canonicalize().map_err(|source| PackageError::Read { path: path.to_owned(), source });
    if read(&whole)?.starts_with(read(folder)?) { Ok(whole) } else { Err(outside()) }
}

fn read_file(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, PackageError> {
    let wrong = |source| PackageError::Read { path: path.to_owned(), source };
    let actual_bytes = fs::metadata(path).map_err(wrong)?.len();
    if actual_bytes > limit_bytes {
        return Err(PackageError::TooLarge { path: path.to_owned(), actual_bytes, limit_bytes });
    }
    fs::read(path).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::{Package, PackageError, read_manifest};

    const MINIMAL: &str = r#"
id = "acme/x"
version = "1.0.0"
kind = "transform"
contract = "1.0.0"
license = "Apache-2.0"
summary = "x"
"#;

    fn folder(manifest: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("plugin.toml"), manifest).expect("written");
        folder
    }

    #[test]
    fn an_unknown_field_is_named_with_its_line() {
        let folder = folder(&format!("{MINIMAL}colour = \"red\"\n"));
        let error = read_manifest(folder.path()).expect_err("refused").to_string();
        assert!(error.contains("unknown field `colour`") && error.contains("line 8"), "{error}");
    }

    #[test]
    fn a_package_without_a_component_says_how_to_build_it() {
        let folder = folder(MINIMAL);
        assert!(matches!(Package::read(folder.path()), Err(PackageError::NoComponent { .. })));
    }

    #[test]
    fn a_path_cannot_leave_the_package() {
        for path in ["../secret.json", "/etc/passwd", "a/../../b"] {
            let folder = folder(&format!("{MINIMAL}input_schema = \"{path}\"\n"));
            std::fs::write(folder.path().join("component.wasm"), b"x").expect("written");
            assert!(matches!(Package::read(folder.path()), Err(PackageError::Outside { .. })), "{path}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_link_cannot_leave_the_package() {
        let folder = folder(&format!("{MINIMAL}input_schema = \"schema.json\"\n"));
        std::fs::write(folder.path().join("component.wasm"), b"x").expect("written");
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("schema.json")).expect("linked");
        assert!(matches!(Package::read(folder.path()), Err(PackageError::Outside { .. })));
    }
}

//! From a plugin's source folder to a package: compiles the component with the partner's own toolchain and puts it
//! beside the manifest and the files that the manifest names.

mod sbom;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::package::{COMPONENT_FILE, MANIFEST_FILE, Package, PackageError, read_manifest};
use crate::{model::manifest::Manifest, policy::signing::descriptor::SBOM_FILE};

/// The target that guests are compiled for.
pub const TARGET: &str = "wasm32-wasip2";
/// The cargo profile that guests are compiled with; falls back to `release` in a workspace without it.
const PROFILE: &str = "guest";
/// Linear memory that guests begin with, bytes: stack, data, and room for what most calls allocate. A call whose memory
/// grows costs two changes of page protection, each of which interrupts every processor.
pub const MEMORY_BYTES_AT_START: u64 = 2 << 20;
/// Folders of a plugin that go into its package beside what the manifest names.
const PACKAGED_FOLDERS: [&str; 2] = ["schemas", "golden"];
/// Held while a package is put into its place.
const LOCK_FILE: &str = ".packing";

/// Why a plugin was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The manifest does not hold, or the finished package does not.
    #[error("the plugin in `{folder}` cannot be packaged")]
    Package {
        /// Its folder.
        folder: PathBuf,
        /// Why.
        source: PackageError,
    },
    /// There is no way to build it.
    #[error(
        "`{folder}` holds no `Cargo.toml`: build the component with its own toolchain and put it there as `{COMPONENT_FILE}`"
    )]
    NoBuild {
        /// Its folder.
        folder: PathBuf,
    },
    /// The tool is missing.
    #[error("cannot run `{tool}`: install Rust with rustup (https://rustup.rs)")]
    Tool {
        /// Which.
        tool: String,
        /// Why.
        source: io::Error,
    },
    /// The target cannot be had.
    #[error("the Rust target {TARGET} is missing and `rustup target add {TARGET}` failed: {output}")]
    Target {
        /// What rustup says.
        output: String,
    },
    /// Nobody can say what it is made of.
    #[error("cargo does not say what `{folder}` is made of: {output}")]
    Materials {
        /// Its folder.
        folder: PathBuf,
        /// What cargo says.
        output: String,
    },
    /// It does not compile.
    #[error("`{folder}` does not compile:\n{output}")]
    Compile {
        /// Its folder.
        folder: PathBuf,
        /// What the compiler says.
        output: String,
    },
    /// A file cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes sure that the guest target is installed. Quick if it is.
///
/// # Errors
/// If rustup cannot add it.
pub fn ensure_target(folder: &Path) -> Result<(), BuildError> {
    if target_is_there(folder) {
        return Ok(());
    }
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .current_dir(folder)
        .output()
        .map_err(|source| BuildError::Tool { tool: "rustup".to_owned(), source })?;
    if added.status.success() {
        return Ok(());
    }
    Err(BuildError::Target { output: String::from_utf8_lossy(&added.stderr).trim().to_owned() })
}

/// Whether the standard library of the target lies in the compiler's own folder; asks nobody on the network.
fn target_is_there(folder: &Path) -> bool {
    let libraries =
        Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).current_dir(folder).output();
    libraries.is_ok_and(|output| {
        output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
    })
}

/// Builds a plugin; the package's folder, below `packages`. `progress` hears each line that the compiler prints.
///
/// # Errors
/// As [`BuildError`] says.
pub fn build(folder: &Path, packages: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf, BuildError> {
    let (manifest, _) =
        read_manifest(folder).map_err(|source| BuildError::Package { folder: folder.to_owned(), source })?;
    // Cargo runs in the plugin's folder, so a relative path would end up there.
    let packages =
        &std::path::absolute(packages).map_err(|source| BuildError::Write { path: packages.to_owned(), source })?;
    let (wasm, materials) = if folder.join("Cargo.toml").is_file() {
        ensure_target(folder)?;
        (compile(folder, &manifest, packages, progress)?, Some(sbom::of(folder, &manifest)?))
    } else if folder.join(COMPONENT_FILE).is_file() {
        (folder.join(COMPONENT_FILE), None)
    } else {
        return Err(BuildError::NoBuild { folder: folder.to_owned() });
    };
    pack(folder, &manifest, &wasm, materials.as_deref(), packages)
}

fn compile(
    folder: &Path,
    manifest: &Manifest,
    target: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf, BuildError> {
    let profile = if workspace_has_profile(folder) { PROFILE } else { "release" };
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--target", TARGET, "--profile", profile, "--message-format", "json-render-diagnostics"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    leave_outer_build(&mut cargo);
    if manifest.limits.memory_bytes >= MEMORY_BYTES_AT_START {
        link_with_room(&mut cargo);
    }
    let mut child = cargo.spawn().map_err(|source| BuildError::Tool { tool: "cargo".to_owned(), source })?;
    let said = child.stderr.take();
    let listener = std::thread::spawn(move || {
        let mut lines = Vec::new();
        if let Some(said) = said {
            lines.extend(io::BufRead::lines(io::BufReader::new(said)).map_while(Result::ok));
        }
        lines
    });
    let mut wasm = None;
    if let Some(out) = child.stdout.take() {
        for line in io::BufRead::lines(io::BufReader::new(out)).map_while(Result::ok) {
            let Ok(message) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            if message.get("reason").and_then(|reason| reason.as_str()) != Some("compiler-artifact") {
                continue;
            }
            if let Some(name) = message.pointer("/target/name").and_then(|name| name.as_str()) {
                progress(name);
            }
            let files = message.get("filenames").and_then(|files| files.as_array());
            let built =
                files.into_iter().flatten().filter_map(|file| file.as_str()).find(|file| file.ends_with(".wasm"));
            wasm = built.map(PathBuf::from).or(wasm);
        }
    }
    let status = child.wait().map_err(|source| BuildError::Tool { tool: "cargo".to_owned(), source })?;
    let output = listener.join().unwrap_or_default().join("\n");
    match wasm {
        Some(wasm) if status.success() => Ok(wasm),
        _ => Err(BuildError::Compile { folder: folder.to_owned(), output }),
    }
}

/// Frees a cargo from what an outer cargo has set for its own build: with its flags and wrappers, guests would be built
/// differently under `cargo test` than by their authors.
pub fn leave_outer_build(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let outer = name.starts_with("CARGO_")
            && name != "CARGO_HOME"
            && !name.starts_with("CARGO_REGISTRIES")
            && !name.starts_with("CARGO_NET")
            && !name.starts_with("CARGO_HTTP")
            && !name.starts_with("CARGO_SOURCE");
        if outer || matches!(name.as_str(), "RUSTFLAGS" | "RUSTC_WRAPPER" | "MAKEFLAGS" | "RUSTC_WORKSPACE_WRAPPER") {
            command.env_remove(&name);
        }
    }
}

/// Has a cargo link guests with the memory that most calls need.
pub fn link_with_room(cargo: &mut Command) {
    cargo.env("CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS", format!("-Clink-arg=--initial-memory={MEMORY_BYTES_AT_START}"));
}

/// Whether a `[profile.guest]` stands in this or an enclosing folder's `Cargo.toml`.
fn workspace_has_profile(folder: &Path) -> bool {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    whole
        .ancestors()
        .take(8)
        .any(|folder| fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("[profile.guest]")))
}

fn pack(
    folder: &Path,
    manifest: &Manifest,
    wasm: &Path,
    materials: Option<&[u8]>,
    packages: &Path,
) -> Result<PathBuf, BuildError> {
    let name = format!("{}-{}", manifest.id.as_str().replace('/', "-"), manifest.version);
    let package = packages.join(name);
    let written = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::Write { path, source }
    };
    fs::create_dir_all(packages).map_err(written(packages))?;
    // Two builds at the same time make the same package one after the other.
    let turn = File::create(packages.join(LOCK_FILE)).and_then(|file| file.lock().map(|()| file));
    let _turn = turn.map_err(written(packages))?;
    let workshop = tempfile::tempdir_in(packages).map_err(written(packages))?;
    let made = workshop.path().join("package");
    fs::create_dir(&made).map_err(written(&made))?;
    fill(folder, manifest, (wasm, materials), &made)?;
    Package::read(&made).map_err(|source| BuildError::Package { folder: folder.to_owned(), source })?;
    // Somebody may be reading it: what is there already stays.
    if !same(&made, &package).map_err(written(&package))? {
        if package.exists() {
            fs::remove_dir_all(&package).map_err(written(&package))?;
        }
        fs::rename(&made, &package).map_err(written(&package))?;
    }
    Ok(package)
}

/// Lays a package out in an empty folder.
fn fill(
    folder: &Path,
    manifest: &Manifest,
    (wasm, materials): (&Path, Option<&[u8]>),
    package: &Path,
) -> Result<(), BuildError> {
    let written = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::Write { path, source }
    };
    for (from, name) in [(folder.join(MANIFEST_FILE), MANIFEST_FILE), (wasm.to_owned(), COMPONENT_FILE)] {
        let to = package.join(name);
        fs::copy(from, &to).map_err(written(&to))?;
    }
    let sbom = folder.join(SBOM_FILE);
    if sbom.is_file() {
        // What the author wrote by hand or with another tool knows more than cargo does.
        fs::copy(&sbom, package.join(SBOM_FILE)).map_err(written(&sbom))?;
    } else if let Some(materials) = materials {
        fs::write(package.join(SBOM_FILE), materials).map_err(written(package))?;
    }
    let assets = manifest.assets.as_deref();
    for name in PACKAGED_FOLDERS.into_iter().chain(assets) {
        let from = folder.join(name);
        if from.is_dir() {
            copy_folder(&from, &package.join(name)).map_err(written(package))?;
        }
    }
    Ok(())
}

/// Whether two folders hold the same files.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let names = |folder: &Path| -> io::Result<BTreeSet<OsString>> {
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    };
    if !other.is_dir() || names(one)? != names(other)? {
        return Ok(false);
    }
    for name in names(one)? {
        let (left, right) = (one.join(&name), other.join(&name));
        let equal = match (left.is_dir(), right.is_dir()) {
            (true, true) => same(&left, &right)?,
            (false, false) => fs::read(&left)? == fs::read(&right)?,
            _ => false,
        };
        if !equal {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Copies a folder's regular files; links are left out, since they may lead anywhere.
pub(super) fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{COMPONENT_FILE, MANIFEST_FILE, build, same};

    /// A plugin whose component was built by another toolchain.
    fn plugin(folder: &Path) {
        let manifest = "id = \"acme/x\"\nversion = \"1.0.0\"\nkind = \"transform\"\ncontract = \"1.0.0\"\n\
                        summary = \"For tests.\"\nlicense = \"MIT\"\n";
        fs::write(folder.join(MANIFEST_FILE), manifest).unwrap();
        fs::write(folder.join(COMPONENT_FILE), b"\0asm").unwrap();
    }

    #[test]
    fn what_is_built_at_the_same_time_is_whole_for_whoever_reads_it() {
        let (source, packages) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        plugin(source.path());
        let first = build(source.path(), packages.path(), &mut |_| {}).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let again = build(source.path(), packages.path(), &mut |_| {}).unwrap();
                        assert!(fs::read(again.join(COMPONENT_FILE)).is_ok(), "nobody takes it away");
                    }
                });
            }
        });
        fs::write(source.path().join(COMPONENT_FILE), b"\0asm2").unwrap();
        build(source.path(), packages.path(), &mut |_| {}).unwrap();
        assert_eq!(fs::read(first.join(COMPONENT_FILE)).unwrap(), b"\0asm2");
        assert!(same(&first, &first).unwrap() && !same(&first, packages.path()).unwrap());
    }
}

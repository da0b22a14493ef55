//! Builds guests for tests: once per process, with a cargo of its own that the outer one cannot disturb.

use std::{
    collections::HashMap,
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{LazyLock, Mutex, PoisonError},
};

use crossdock::app::build::{self, TARGET};

/// Builds a package's guests and returns the folder that holds the `.wasm` files: those of its examples, or its own.
///
/// The folder is `target/plugins` of the workspace, apart from the outer build, which holds a lock on its own.
///
/// # Panics
/// With the compiler's output, if the package does not build.
#[must_use]
pub fn build(package: &str, examples: bool) -> PathBuf {
    static BUILT: LazyLock<Mutex<HashMap<(String, bool), PathBuf>>> = LazyLock::new(Mutex::default);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.entry((package.to_owned(), examples)).or_insert_with(|| build_now(package, examples)).clone()
}

/// The bytes of the component that a plugin's package builds.
///
/// # Panics
/// If it does not build, or its library is not a `cdylib`.
#[must_use]
pub fn component(package: &str) -> Vec<u8> {
    read(&build(package, false).join(format!("{}.wasm", package.replace('-', "_"))))
}

/// The bytes of one of the hostile guests, by the example's name.
///
/// # Panics
/// If the guests do not build, or there is none of that name.
#[must_use]
pub fn hostile(name: &str) -> Vec<u8> {
    read(&build("crossdock-test-guests", true).join(format!("{name}.wasm")))
}

fn read(path: &Path) -> Vec<u8> {
    match std::fs::read(path) {
        Ok(wasm) => wasm,
        Err(error) => fail(&format!("cannot read `{}`: {error}", path.display())),
    }
}

fn build_now(package: &str, examples: bool) -> PathBuf {
    if let Err(error) = build::ensure_target(workspace()) {
        fail(&error.to_string());
    }
    let target_dir = workspace().join("target/plugins");
    let mut command = inner(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build::link_with_room(&mut command);
    command.args(["build", "--profile", "guest", "--target", TARGET, "--package", package, "--target-dir"]);
    command.arg(&target_dir).arg(if examples { "--examples" } else { "--lib" });
    run(command);
    let folder = target_dir.join(TARGET).join("guest");
    if examples { folder.join("examples") } else { folder }
}

/// A command in the workspace, free of what the outer cargo has set.
fn inner(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace());
    build::leave_outer_build(&mut command);
    command
}

fn run(mut command: Command) {
    match command.output() {
        Ok(Output { status, .. }) if status.success() => {}
        Ok(output) => fail(&format!(
            "{command:?} failed\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
        Err(error) => fail(&format!("cannot run {command:?}: {error}")),
    }
}

fn workspace() -> &'static Path {
    // This package is one folder below the root.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

#[allow(clippy::panic, reason = "a test that cannot have its guests has failed, and must say why")]
#[track_caller]
pub(crate) fn fail(problem: &str) -> ! {
    panic!("{problem}")
}

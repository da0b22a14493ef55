//! `crossdock plugin test`: a plugin's own tests natively, then its golden tests in the sandbox, as the hub would run it.

use std::{
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use clap::Args;

use super::{build::spinner, check::tell_golden};
use crate::{
    app::{
        build::{self, leave_outer_build},
        golden,
        package::{Package, read_manifest},
    },
    cli::{Failed, out::Out},
    ports::invoker::{Component, Invoker as _},
    wasm::Sandbox,
};

/// Which plugins to test.
#[derive(Args, Debug)]
pub(in crate::cli) struct Test {
    /// Plugins' source folders, or packages' folders.
    #[arg(default_value = ".")]
    folders: Vec<PathBuf>,
    /// Leave out `cargo test`.
    #[arg(long)]
    golden_only: bool,
    /// Where packages are put.
    #[arg(long, default_value = "target/plugins", value_name = "DIR")]
    out: PathBuf,
}

impl Test {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let cache = tempfile::tempdir()?;
        let sandbox = Sandbox::new(cache.path())?;
        let mut passed = true;
        let mut told = Vec::new();
        for folder in &self.folders {
            let (manifest, _) = read_manifest(folder)?;
            let source = folder.join("Cargo.toml").is_file();
            let native = if source && !self.golden_only { Some(native(folder, out)?) } else { None };
            let package = if source {
                let bar = spinner(out, &folder.display().to_string());
                let built = build::build(folder, &self.out, &mut |name| bar.set_message(name.to_owned()));
                bar.finish_and_clear();
                built?
            } else {
                folder.clone()
            };
            let package = Package::read(&package)?;
            let (digest, wasm, assets) = (package.digest, package.wasm.clone(), package.assets.clone());
            sandbox.load(Component { digest, wasm, assets }).await?;
            let results = if manifest.kind.is_pure() { golden::run(&package, &sandbox).await } else { Vec::new() };
            let failed = results.iter().filter(|result| !result.passed).count();
            out.say(format!("{}@{}", out.bold(manifest.id.as_str()), manifest.version));
            results.iter().for_each(|result| tell_golden(out, result));
            match (results.len(), manifest.kind.is_pure()) {
                (0, false) => out.say("    a connector has no golden tests; its native tests script the remote"),
                (0, true) => out.say("    no golden test: add `golden/NAME.json` with `input` and `expected`"),
                (total, _) => out.say(format!("    {} of {total} golden tests passed", total - failed)),
            }
            passed &= failed == 0 && native != Some(false);
            told.push(serde_json::json!({
                "plugin": manifest.id,
                "version": manifest.version,
                "native": native,
                "golden": results,
            }));
        }
        if out.is_json() {
            out.value(&told);
        }
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The plugin's own tests, with what they print. Programs that read JSON get it on standard error.
fn native(folder: &PathBuf, out: &Out) -> Result<bool, Failed> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--quiet"]).current_dir(folder).stdin(Stdio::null());
    leave_outer_build(&mut cargo);
    if out.is_json() {
        cargo.stdout(std::io::stderr());
    }
    let status = cargo
        .status()
        .map_err(|error| format!("cannot run `cargo`: {error}; install Rust with rustup (https://rustup.rs)"))?;
    Ok(status.success())
}

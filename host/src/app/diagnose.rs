//! What a machine needs for a hub and for building plugins, looked at one by one.

use std::{fs, path::Path, process::Command};

use serde::Serialize;

use super::build::TARGET;

/// Free space below which a data folder is reported, bytes.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub what: String,
    /// Whether it is as it should be.
    pub fine: bool,
    /// What was found, or what to do.
    pub detail: String,
}

/// Looks at the toolchain, the sandbox and, if one is named, a data folder.
#[must_use]
pub fn look(data: Option<&Path>) -> Vec<Finding> {
    let mut findings = vec![
        tool("cargo", &["--version"], "install Rust with rustup"),
        tool("rustc", &["--version"], "install Rust with rustup"),
        target(),
        sandbox(),
        limit_of_files(),
    ];
    findings.extend(data.map(folder));
    findings
}

fn finding(what: &str, result: Result<String, String>) -> Finding {
    let fine = result.is_ok();
    Finding { what: what.to_owned(), fine, detail: result.unwrap_or_else(|problem| problem) }
}

fn tool(name: &str, arguments: &[&str], mend: &str) -> Finding {
    let result = match Command::new(name).args(arguments).output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Ok(output) => Err(format!("{}; {mend}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{error}; {mend}")),
    };
    finding(name, result)
}

fn target() -> Finding {
    let result = match Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output() {
        Ok(output) if Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir() => Ok("installed".to_owned()),
        Ok(_) => Err(format!("missing: `rustup target add {TARGET}` (`crossdock plugin build` does it too)")),
        Err(error) => Err(error.to_string()),
    };
    finding(TARGET, result)
}

fn sandbox() -> Finding {
    let made = tempfile::tempdir()
        .map_err(|error| error.to_string())
        .and_then(|cache| crate::wasm::Sandbox::new(cache.path()).map_err(|error| error.to_string()));
    finding("sandbox", made.map(|_| "the engine starts with its pool".to_owned()))
}

/// Each run that waits for a remote holds a socket.
fn limit_of_files() -> Finding {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    let result = match soft {
        None => Ok("unknown on this system".to_owned()),
        Some(files) if files >= 1_024 => Ok(format!("{files} open files")),
        Some(files) => Err(format!("only {files} open files: raise `ulimit -n` to 4096")),
    };
    finding("open files", result)
}

fn folder(data: &Path) -> Finding {
    if !data.is_dir() {
        let detail = format!("{} is not there; `crossdock serve` would make it", data.display());
        return finding("data folder", Ok(detail));
    }
    finding("data folder", writable(data))
}

fn writable(data: &Path) -> Result<String, String> {
    let probe = data.join(".crossdock-probe");
    fs::write(&probe, b"x").and_then(|()| fs::remove_file(&probe)).map_err(|error| error.to_string())?;
    match free_bytes(data) {
        Some(free) if free < FREE_BYTES_MIN => Err(format!("only {} MiB free: make room", free >> 20)),
        Some(free) => Ok(format!("{} can be written, {} MiB free", data.display(), free >> 20)),
        None => Ok(format!("{} can be written", data.display())),
    }
}

/// What `df` says; absent where there is none.
fn free_bytes(folder: &Path) -> Option<u64> {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(folder).output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().nth(1)?.trim().parse().ok()
}

//! The demo, as somebody who has just arrived runs it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what went wrong by panicking")]

use std::{fs, process::Command};

use crossdock_tests::packages;

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");

#[test]
fn the_demo_shows_what_it_promises_a_crash_in_mid_run_included() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let plugins = packages::workspace().join("plugins");
    let output = Command::new(BINARY)
        .args(["demo", "--plugins"])
        .arg(&plugins)
        .arg("--data")
        .arg(&data)
        .env("NO_COLOR", "1")
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    for part in [
        "lea approves",
        "erp_order~compensate",
        "A crash in mid-run, which nobody notices",
        "kill -9 after 2 attempts",
        "started again",
        "sales orders in the ERP: 1",
        "Everything came out as it should.",
    ] {
        assert!(said.contains(part), "no {part} in {told}");
    }
    // The killed process left data that opens.
    assert!(fs::metadata(data.join("store")).is_ok_and(|found| found.is_dir()));
}

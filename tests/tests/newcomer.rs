//! The newcomer's way, as `plugins/README.md` tells it: every line of its last section is run, in that order. A line that
//! says that it exits with 1 does.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use crossdock_tests::{hub::Hub, packages};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const SECTION: &str = "## From nothing to a rule that serves, and back";

/// The shell blocks of the section.
fn blocks(page: &str) -> Vec<&str> {
    let section = page.split(SECTION).nth(1).expect("the section").split("\n## ").next().expect("its end");
    section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().expect("a block's end")).collect()
}

/// The commands of a block: lines, or a line with the document that follows it.
fn commands(block: &str) -> Vec<String> {
    let (mut commands, mut lines) = (Vec::new(), block.lines());
    while let Some(line) = lines.next() {
        let mut command = line.to_owned();
        if line.contains("<<") {
            for more in lines.by_ref() {
                command.push('\n');
                command.push_str(more);
                if more == "END" {
                    break;
                }
            }
        }
        commands.push(command);
    }
    commands
}

/// Runs a command in a shell; what it said.
fn run(folder: &Path, hub: Option<&Hub>, command: &str) -> String {
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", command]).current_dir(folder).env("NO_COLOR", "1").env_remove("USER");
    let path = std::env::var("PATH").unwrap_or_default();
    shell.env("PATH", format!("{}:{path}", folder.join("bin").display()));
    if let Some(hub) = hub {
        shell.env("CROSSDOCK_HUB", &hub.url);
    }
    let output = shell.output().expect("bash");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let expected = i32::from(command.contains("# exits with 1"));
    assert_eq!(output.status.code(), Some(expected), "{command}\n{said}");
    said
}

#[test]
fn every_line_of_the_page_does_what_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    fs::create_dir_all(at.join("bin")).expect("made");
    symlink(BINARY, at.join("bin/crossdock")).expect("linked");
    let page = fs::read_to_string(packages::workspace().join("plugins/README.md")).expect("the page");
    let (mut hub, mut said) = (None, Vec::new());
    let blocks = blocks(&page);
    for (place, block) in blocks.iter().enumerate() {
        if block.starts_with("crossdock serve ") {
            assert_eq!(block.trim(), "crossdock serve --data data --config hub.toml");
            hub =
                Some(Hub::launch(BINARY, &at.join("data"), &["--config", &at.join("hub.toml").display().to_string()]));
            continue;
        }
        if place + 1 == blocks.len() {
            assert!(hub.take().is_some_and(Hub::stop), "the hub is switched off");
        }
        for command in commands(block) {
            said.push((command.clone(), run(at, hub.as_ref(), &command)));
            if command.starts_with("crossdock plugin new") {
                // The versions that are there already: a test must not depend on a network.
                fs::copy(packages::workspace().join("Cargo.lock"), at.join("quantity-limit/Cargo.lock"))
                    .expect("copied");
            }
        }
    }
    let of = |begin: &str| {
        let found = said.iter().find(|(command, _)| command.starts_with(begin));
        found.map(|(_, said)| said.as_str()).unwrap_or_else(|| panic!("the page has no `{begin}`"))
    };
    let expected = [
        ("crossdock plugin run", "quantity.large"),
        ("crossdock plugin bench", "bare"),
        ("crossdock plugin diff", "the component is another"),
        ("crossdock plugin diff", "what it may touch is unchanged"),
        ("crossdock plugin replay", "2 are answered otherwise: 2 decisions"),
        ("crossdock plugin replay", "proceed -> hold buyers"),
        ("crossdock plugin promote", "plugin.replay-differs"),
        ("crossdock plugin rollback", "served by 0.1.0, before by 0.1.1"),
        ("crossdock audit list", "3 decisions, 0 outputs and 0 failures changed, 3 allowed"),
        ("crossdock audit explain", "0.1.1"),
        ("crossdock audit verify", "proven"),
    ];
    for (command, words) in expected {
        assert!(of(command).contains(words), "`{words}` is not in what `{command}` says:\n{}", of(command));
    }
}

//! The structure that the design promises, held against the code: layers, homes of technologies, names of files.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Modules of the host from low to high. Each imports only modules of lower rank.
const LAYERS: [(&str, u32); 11] = [
    ("model", 0),
    ("ports", 1),
    ("policy", 2),
    ("flow", 2),
    ("wasm", 3),
    ("store", 3),
    ("net", 3),
    ("telemetry", 3),
    ("app", 4),
    ("sandbox", 5),
    ("cli", 6),
];

/// Crates that are named in one module only.
const HOMES: [(&str, &str); 5] =
    [("wasmtime", "wasm"), ("wasmtime_wasi", "wasm"), ("sled", "store"), ("hyper", "net"), ("hyper_util", "net")];

/// Longest file, lines. A file that needs more is about two things.
const LINES_LIMIT: usize = 650;
/// Longest file of tests, lines: a table of cases is one thing, however long.
const TEST_LINES_LIMIT: usize = 900;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace").to_owned()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                found.extend(sources(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The top module of a file of the host: `flow` for `flow.rs` and `flow/plan.rs`.
fn module(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(root().join("host/src")).ok()?;
    let first = inside.components().next()?.as_os_str().to_string_lossy().into_owned();
    let name = first.trim_end_matches(".rs").to_owned();
    (name != "lib" && name != "main").then_some(name)
}

/// Code without comments and string literals, roughly: enough to find paths.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The first names after each `crate::`, through groups: `crate::{a::b, c}` gives `a` and `c`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c == '_' || c == '$' || c.is_alphanumeric()) {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(name(rest));
            continue;
        };
        let mut depth = 0_i32;
        let mut begins = true;
        for (offset, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if begins && depth == 0 && c.is_alphabetic() => {
                    found.insert(name(&group[offset..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    found
}

fn name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn rank(module: &str) -> Option<u32> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

#[test]
fn each_layer_imports_only_lower_ones() {
    let mut wrong = Vec::new();
    for path in sources(&root().join("host/src")) {
        let Some(own) = module(&path) else { continue };
        let own_rank = rank(&own).unwrap_or_else(|| panic!("module `{own}` has no layer: add it to the table"));
        let text = fs::read_to_string(&path).expect("readable");
        for other in imports(&code(&text)) {
            if other != own && rank(&other).is_some_and(|other_rank| other_rank >= own_rank) {
                wrong.push(format!("{} imports `{other}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "against the layers:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_host_has_a_layer_and_every_layer_a_module() {
    let there: BTreeSet<String> = sources(&root().join("host/src")).iter().filter_map(|path| module(path)).collect();
    let listed: BTreeSet<String> = LAYERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(there, listed);
}

#[test]
fn a_technology_is_named_only_at_home() {
    let mut wrong = Vec::new();
    for path in sources(&root().join("host/src")) {
        let Some(own) = module(&path) else { continue };
        let code = code(&fs::read_to_string(&path).expect("readable"));
        for (technology, home) in HOMES {
            let named = [format!("{technology}::"), format!("use {technology};")].iter().any(|pattern| {
                code.match_indices(pattern.as_str())
                    .any(|(at, _)| !code[..at].ends_with(|c: char| c == '_' || c == ':' || c.is_alphanumeric()))
            });
            if named && own != home {
                wrong.push(format!("{} names `{technology}`, which belongs to `{home}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_named_after_things_and_are_about_one() {
    let mut wrong = Vec::new();
    for folder in ["host", "plugin-sdk", "plugins", "tests"] {
        for path in sources(&root().join(folder)) {
            let stem = path.file_stem().expect("name").to_string_lossy().into_owned();
            if ["mod", "util", "utils", "common", "helper", "helpers", "misc", "manager"].contains(&stem.as_str()) {
                wrong.push(format!("{} is named after a pattern", path.display()));
            }
            let text = fs::read_to_string(&path).expect("readable");
            let lines = text.lines().count();
            let is_test = stem == "tests" || path.components().any(|part| part.as_os_str() == "tests");
            let limit = if is_test { TEST_LINES_LIMIT } else { LINES_LIMIT };
            if lines > limit {
                wrong.push(format!("{} has {lines} lines, the limit is {limit}", path.display()));
            }
            if !text.starts_with("//!") && !text.starts_with("#!") {
                wrong.push(format!("{} does not say what it is for", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_root_holds_what_the_design_lists() {
    let allowed = ["host", "plugin-sdk", "plugins", "wit", "tests", "target"];
    for entry in fs::read_dir(root()).expect("root") {
        let entry = entry.expect("entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') {
            assert!(allowed.contains(&name.as_str()), "folder `{name}` is not part of the layout");
        }
    }
}

#[test]
fn the_import_reader_sees_through_groups() {
    let code = "use crate::{flow::{a, b}, model::c};\nlet x = crate::net::y();\nuse other_crate::z;";
    let names: Vec<String> = imports(code).into_iter().collect();
    assert_eq!(names, ["flow", "model", "net"]);
}

//! What a component imports, by kind, and whether its types are the contract's, told in the contract's words.

use super::{Finding, Severity, subject::Subject};
use crate::model::{
    manifest::Kind,
    surface::{Function, Interface, Shape, Surface},
};

/// The contract's package.
const PACKAGE: &str = "crossdock:plugin/";
/// WASI packages that every guest may import: the host makes them inert or virtual.
const VIRTUAL: [&str; 5] = ["wasi:cli/", "wasi:io/", "wasi:clocks/", "wasi:random/", "wasi:filesystem/"];
/// Imported by Python's toolchain whatever the author does; every call is refused.
const REFUSED_AT_RUN: &str = "wasi:sockets/";
/// Outbound HTTP.
const HTTP: &str = "wasi:http/";
/// What the hub gives to plugins with effects only.
const EFFECTS: [&str; 3] = ["context", "state", "secrets"];

/// Only what a plugin of its kind may import, and with the contract's types.
pub(super) fn check_imports(subject: &Subject, contract: &Surface) -> Vec<Finding> {
    let kind = subject.kind();
    let refuse = |rule, import: &str, found: String, change: String| {
        Finding::new(rule, Severity::Refuse, format!("component.wasm imports `{import}`"), found).change(change)
    };
    let mut found = Vec::new();
    for (import, functions) in &subject.surface.imports {
        if VIRTUAL.iter().any(|prefix| import.starts_with(prefix)) {
            continue;
        }
        if import.starts_with(REFUSED_AT_RUN) {
            let text = "sockets are never given: every call of them fails".to_owned();
            let place = format!("component.wasm imports `{import}`");
            if !found.iter().any(|finding: &Finding| finding.rule == "import.refused-at-run") {
                found.push(Finding::new("import.refused-at-run", Severity::Note, place, text));
            }
            continue;
        }
        if import.starts_with(HTTP) {
            if subject.manifest.kind != Kind::Connector {
                let text = format!("a {kind} is pure: it cannot send requests");
                let change = "do the request in a connector; with JavaScript build with `--disable http` and \
                              `--disable fetch-event`";
                found.push(refuse("import.not-for-kind", import, text, change.to_owned()));
            } else if subject.manifest.capabilities.http.is_empty() && import.contains("outgoing-handler") {
                let text = "the manifest declares no `[[capabilities.http]]`: every request would be refused";
                let change = "add origin, methods and reason, or build it without HTTP";
                found.push(refuse("import.without-capability", import, text.to_owned(), change.to_owned()));
            }
            continue;
        }
        let Some((name, version)) = import.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')) else {
            let text = "the hub does not give it".to_owned();
            let change = "import only `wasi:*` and what `crossdock:plugin` gives; build against its worlds".to_owned();
            found.push(refuse("import.unknown", import, text, change));
            continue;
        };
        if EFFECTS.contains(&name) && !subject.has_effects() {
            let text = format!("a {kind} is pure: it has no {name}");
            let change = format!("build against the world `{kind}-plugin`");
            found.push(refuse("import.not-for-kind", import, text, change));
            continue;
        }
        let Some(given) = served(contract, name, version).and_then(|name| contract.imports.get(&name)) else {
            let text = "the hub gives no such interface".to_owned();
            let change = format!("build against the hub's contract: {}", given_names(contract));
            found.push(refuse("import.unknown", import, text, change));
            continue;
        };
        differences(name, functions, given, Sides::Imported, &mut found);
    }
    found
}

/// Every interface of the contract that is exported has the contract's types; the one of its kind is there.
pub(super) fn check_exports(subject: &Subject, contract: &Surface) -> Vec<Finding> {
    let mut found = Vec::new();
    let exported = &subject.surface.exports;
    let mut needed = vec![(subject.kind(), "kind")];
    needed.extend(subject.manifest.webhook.is_some().then_some(("webhook-source", "webhook")));
    for (interface, field) in needed {
        let prefix = format!("{PACKAGE}{interface}@1.");
        if exported.keys().any(|name| name.starts_with(&prefix)) {
            continue;
        }
        let there: Vec<&str> = exported.keys().map(String::as_str).collect();
        let there = if there.is_empty() { "nothing".to_owned() } else { format!("`{}`", there.join("`, `")) };
        let text = format!("`{field}` needs `{PACKAGE}{interface}@1.0.0`; it exports {there}");
        let change = format!("export `{interface}` (world `{interface}-plugin`), or correct `{field}` in plugin.toml");
        let place = "component.wasm exports";
        found.push(Finding::new("world.export-missing", Severity::Refuse, place, text).change(change));
    }
    for (export, functions) in exported {
        let Some((name, version)) = export.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')) else {
            let place = format!("component.wasm exports `{export}`");
            found.push(Finding::new("world.export-unused", Severity::Note, place, "the hub never calls it"));
            continue;
        };
        match served(contract, name, version).and_then(|name| contract.exports.get(&name)) {
            Some(promised) => differences(name, functions, promised, Sides::Exported, &mut found),
            None => {
                let place = format!("component.wasm exports `{export}`");
                let text = "the contract that this hub serves has no such interface".to_owned();
                let finding = Finding::new("world.export-unknown", Severity::Refuse, place, text);
                found.push(finding.change("build against the hub's contract"));
            }
        }
    }
    found
}

/// The contract's own name of an interface, for a version that it serves: its major, and no later minor.
fn served(contract: &Surface, name: &str, version: &str) -> Option<String> {
    let wanted: semver::Version = version.parse().ok()?;
    let prefix = format!("{PACKAGE}{name}@");
    contract.imports.keys().chain(contract.exports.keys()).find_map(|full| {
        let own: semver::Version = full.strip_prefix(&prefix)?.parse().ok()?;
        (own.major == wanted.major && wanted.minor <= own.minor).then(|| full.clone())
    })
}

fn given_names(contract: &Surface) -> String {
    contract.imports.keys().cloned().collect::<Vec<_>>().join(", ")
}

#[derive(Clone, Copy, PartialEq)]
enum Sides {
    /// The guest may use less than there is.
    Imported,
    /// The hub expects all there is.
    Exported,
}

fn differences(name: &str, actual: &Interface, promised: &Interface, sides: Sides, found: &mut Vec<Finding>) {
    let change = "build against the hub's contract (`wit/`, or the SDK of its version)";
    let mut wrong = |function: &str, text: String| {
        let place = format!("{name}.{function}");
        found.push(Finding::new("world.types-differ", Severity::Refuse, place, text).change(change));
    };
    for (function, actual) in actual {
        match promised.get(function) {
            None if sides == Sides::Exported => wrong(function, "the contract has no such function".to_owned()),
            None => wrong(function, "the hub gives no such function; it may be of a later contract".to_owned()),
            Some(promised) => {
                if let Some(text) = function_difference(function, actual, promised) {
                    wrong(function, text);
                }
            }
        }
    }
    if sides == Sides::Exported {
        for function in promised.keys().filter(|function| !actual.contains_key(*function)) {
            wrong(function, "the contract has it, the component does not export it".to_owned());
        }
    }
}

fn function_difference(name: &str, actual: &Function, promised: &Function) -> Option<String> {
    if actual.params.len() != promised.params.len() {
        return Some(format!("`{name}` takes {}, the contract says {}", params(actual), params(promised)));
    }
    for ((own, shape), (theirs, expected)) in actual.params.iter().zip(&promised.params) {
        if own != theirs {
            return Some(format!("`{name}` names a parameter `{own}`, the contract says `{theirs}`"));
        }
        if let Some(text) = difference(shape, expected) {
            return Some(format!("`{name}` takes `{own}` {text}"));
        }
    }
    match (&actual.result, &promised.result) {
        (None, None) => None,
        (Some(shape), Some(expected)) => difference(shape, expected).map(|text| format!("`{name}` returns {text}")),
        (actual, promised) => {
            let text = |shape: &Option<Shape>| shape.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
            Some(format!("`{name}` returns {}, the contract says {}", text(actual), text(promised)))
        }
    }
}

fn params(function: &Function) -> String {
    let params: Vec<String> = function.params.iter().map(|(name, shape)| format!("{name}: {shape}")).collect();
    format!("({})", params.join(", "))
}

/// The first place where a type is not the contract's, as the end of a sentence; `None` if there is none.
fn difference(actual: &Shape, promised: &Shape) -> Option<String> {
    let other = || Some(format!("{actual}, the contract says {promised}"));
    let inner = |actual: &Shape, promised: &Shape, whole: &Shape| {
        difference(actual, promised).map(|text| format!("{whole} whose {actual} is {text}"))
    };
    match (actual, promised) {
        (Shape::Simple(one), Shape::Simple(another)) if one == another => None,
        (Shape::List(one), Shape::List(another)) | (Shape::Option(one), Shape::Option(another)) => {
            // A list of something else is best told whole.
            difference(one, another).and_then(|text| {
                if one.to_string() == another.to_string() { Some(format!("{actual}, of {text}")) } else { other() }
            })
        }
        (Shape::Result(ok, error), Shape::Result(expected_ok, expected_error)) => {
            for (one, another) in [(ok, expected_ok), (error, expected_error)] {
                match (one, another) {
                    (None, None) => {}
                    (Some(one), Some(another)) => {
                        if let Some(text) = difference(one, another) {
                            let same_name = one.to_string() == another.to_string();
                            return if same_name { Some(format!("{actual}: {text}")) } else { other() };
                        }
                    }
                    _ => return other(),
                }
            }
            None
        }
        (Shape::Tuple(one), Shape::Tuple(another)) if one.len() == another.len() => {
            one.iter().zip(another).find_map(|(one, another)| inner(one, another, actual))
        }
        (Shape::Record(name, fields), Shape::Record(theirs, expected)) => parts_difference(
            ("record", name, theirs),
            "field",
            &fields.iter().map(|(name, shape)| (name.as_str(), Some(shape))).collect::<Vec<_>>(),
            &expected.iter().map(|(name, shape)| (name.as_str(), Some(shape))).collect::<Vec<_>>(),
        ),
        (Shape::Variant(name, cases), Shape::Variant(theirs, expected)) => parts_difference(
            ("variant", name, theirs),
            "case",
            &cases.iter().map(|(name, shape)| (name.as_str(), shape.as_ref())).collect::<Vec<_>>(),
            &expected.iter().map(|(name, shape)| (name.as_str(), shape.as_ref())).collect::<Vec<_>>(),
        ),
        (Shape::Enum(name, cases), Shape::Enum(theirs, expected)) => {
            parts_difference(("enum", name, theirs), "case", &bare(cases), &bare(expected))
        }
        (Shape::Flags(name, cases), Shape::Flags(theirs, expected)) => {
            parts_difference(("flags", name, theirs), "flag", &bare(cases), &bare(expected))
        }
        _ => other(),
    }
}

fn bare(names: &[String]) -> Vec<(&str, Option<&Shape>)> {
    names.iter().map(|name| (name.as_str(), None)).collect()
}

/// Records and variants are frozen: order, names and types all count. What has another name but the same parts is the
/// same.
fn parts_difference(
    (kind, name, theirs): (&str, &str, &str),
    part: &str,
    actual: &[(&str, Option<&Shape>)],
    promised: &[(&str, Option<&Shape>)],
) -> Option<String> {
    let whole = if name == theirs {
        format!("{kind} `{name}`")
    } else {
        format!("{kind} `{name}` (the contract's `{theirs}`)")
    };
    let has = |list: &[(&str, Option<&Shape>)], wanted: &str| list.iter().any(|(name, _)| *name == wanted);
    if let Some((extra, _)) = actual.iter().find(|(name, _)| !has(promised, name)) {
        return Some(format!("{whole} with a {part} `{extra}`, which the contract does not have"));
    }
    if let Some((missing, _)) = promised.iter().find(|(name, _)| !has(actual, name)) {
        return Some(format!("{whole} without the {part} `{missing}`, which the contract has"));
    }
    for ((name, shape), (expected_name, expected)) in actual.iter().zip(promised) {
        if name != expected_name {
            return Some(format!("{whole} with `{name}` where the contract has `{expected_name}`: the order counts"));
        }
        match (shape, expected) {
            (None, None) => {}
            (Some(shape), Some(expected)) => {
                if let Some(text) = difference(shape, expected) {
                    return Some(format!("{whole} whose {part} `{name}` is {text}"));
                }
            }
            (shape, expected) => {
                let text = |shape: &Option<&Shape>| shape.map_or_else(|| "nothing".to_owned(), ToString::to_string);
                let (shape, expected) = (text(shape), text(expected));
                return Some(format!("{whole} whose {part} `{name}` holds {shape}, the contract says {expected}"));
            }
        }
    }
    None
}

//! What a component says about itself, read from its bytes without compiling it, and whether that fits the contract.

use wasmparser::{Parser, Payload, Validator, WasmFeatures};

use crate::{
    model::id::Digest,
    ports::{
        blobs::BLOB_BYTES_LIMIT,
        invoker::{Inspection, LoadError},
    },
};

/// The interfaces that the hub gives; `envelope` only holds types.
const IMPORTS: [&str; 5] = ["envelope", "log", "context", "state", "secrets"];

/// The interfaces that the hub calls.
const EXPORTS: [&str; 7] = ["transform", "rule", "scorer", "connector", "paging", "webhook-source", "polling-source"];

const HOW_TO_BUILD: &str = "build one with `cargo build --target wasm32-wasip2` (Rust), `jco componentize` \
                            (JavaScript) or `componentize-py` (Python)";

/// Reads and validates a component.
///
/// # Errors
/// If the bytes are not a valid component of at most [`BLOB_BYTES_LIMIT`].
pub(super) fn inspect(wasm: &[u8]) -> Result<Inspection, LoadError> {
    let inspection = read(wasm)?;
    Validator::new_with_features(WasmFeatures::default())
        .validate_all(wasm)
        .map_err(|error| LoadError::NotAComponent { problem: format!("it is damaged: {error}; {HOW_TO_BUILD}") })?;
    Ok(inspection)
}

/// Reads a component's digest, imports and exports, without validating the code in it.
///
/// # Errors
/// As [`inspect`], but for the code.
pub(super) fn read(wasm: &[u8]) -> Result<Inspection, LoadError> {
    let wrong = |problem: String| LoadError::NotAComponent { problem };
    if wasm.len() > BLOB_BYTES_LIMIT {
        return Err(wrong(format!("it is {} bytes, the limit is {BLOB_BYTES_LIMIT}", wasm.len())));
    }
    if !wasm.starts_with(b"\0asm") {
        return Err(wrong(format!("the bytes do not begin as WebAssembly does; {HOW_TO_BUILD}")));
    }
    if Parser::is_core_wasm(wasm) {
        return Err(wrong(format!(
            "it is a core module, which has no typed interface; {HOW_TO_BUILD}, or wrap it with `wasm-tools \
             component new`"
        )));
    }
    let damaged = |error: wasmparser::BinaryReaderError| wrong(format!("it is damaged: {error}; {HOW_TO_BUILD}"));
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0_u32);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(damaged)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(damaged)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(damaged)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    imports.sort();
    exports.sort();
    Ok(Inspection { digest: Digest::of(wasm), bytes: wasm.len() as u64, imports, exports })
}

/// Holds a component to the contract: it imports only what the hub can give, and exports something the hub can call.
///
/// # Errors
/// Names the import that cannot be given, or says what could be exported.
pub(super) fn check_contract(inspection: &Inspection) -> Result<(), LoadError> {
    for import in &inspection.imports {
        let given = import.starts_with("wasi:") || interface(import).is_some_and(|name| IMPORTS.contains(&name));
        if !given {
            return Err(LoadError::Contract {
                problem: format!(
                    "it imports `{import}`; a plugin may import `wasi:*` and `crossdock:plugin/` log, context, state \
                     and secrets at 1.x. Remove the import, or build against the contract's worlds"
                ),
            });
        }
    }
    if inspection.exports.iter().any(|export| interface(export).is_some_and(|name| EXPORTS.contains(&name))) {
        return Ok(());
    }
    let exported = if inspection.exports.is_empty() { "nothing".to_owned() } else { inspection.exports.join("`, `") };
    Err(LoadError::Contract {
        problem: format!(
            "it exports `{exported}`, none of which the hub calls; export one of `crossdock:plugin/` {} at 1.0.0",
            EXPORTS.join(", ")
        ),
    })
}

/// The interface's name within this contract, if it belongs to a version that this hub serves.
fn interface(name: &str) -> Option<&str> {
    let (interface, version) = name.strip_prefix("crossdock:plugin/")?.split_once('@')?;
    version.starts_with("1.").then_some(interface)
}

#[cfg(test)]
mod tests {
    use super::{check_contract, inspect};
    use crate::{model::id::Digest, ports::invoker::Inspection};

    #[track_caller]
    fn check_bytes(bytes: &[u8], expected: &str) {
        let error = inspect(bytes).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("not a WebAssembly component"), "{error}");
    }

    #[test]
    fn what_is_not_a_component_is_named_with_how_to_build_one() {
        check_bytes(b"", "do not begin as WebAssembly does; build one with");
        check_bytes(b"#!/bin/sh", "do not begin as WebAssembly does");
        check_bytes(b"\0asm\x01\0\0\0", "core module");
        check_bytes(b"\0asm\x0d\0\x01\0\x07\xff", "damaged");
        check_bytes(&vec![0; super::BLOB_BYTES_LIMIT + 1], "the limit is");
    }

    #[track_caller]
    fn check(imports: &[&str], exports: &[&str], expected: &str) {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let inspection =
            Inspection { digest: Digest::of(b""), bytes: 0, imports: names(imports), exports: names(exports) };
        let result = check_contract(&inspection).map_or_else(|error| error.to_string(), |()| "fits".to_owned());
        assert!(result.contains(expected), "{result}");
    }

    #[test]
    fn a_component_is_held_to_the_contract() {
        let rule = ["crossdock:plugin/rule@1.0.0"];
        check(&[], &rule, "fits");
        check(&["wasi:cli/environment@0.2.6", "crossdock:plugin/log@1.0.0"], &rule, "fits");
        check(&["acme:private/door@1.0.0"], &rule, "`acme:private/door@1.0.0`");
        check(&["crossdock:plugin/log@2.0.0"], &rule, "`crossdock:plugin/log@2.0.0`");
        check(&["crossdock:plugin/rule@1.0.0"], &rule, "it imports");
        check(&["door"], &rule, "`door`");
        check(&[], &[], "it exports `nothing`");
        check(&[], &["wasi:cli/run@0.2.6"], "`wasi:cli/run@0.2.6`, none of which");
        check(&[], &["crossdock:plugin/rule@2.0.0"], "none of which");
    }
}

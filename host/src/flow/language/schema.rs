//! The language's JSON Schema, for editors: completion, descriptions, and shape while typing. It says less than
//! `check`, and never refuses what `parse` accepts.

/// The schema as it is published (JSON Schema 2020-12).
pub const TEXT: &str = include_str!("pipeline.schema.json");

/// The schema as a value.
#[must_use]
pub fn schema() -> serde_json::Value {
    // INVARIANT: the file is JSON; a test reads it.
    serde_json::from_str(TEXT).unwrap_or_default()
}

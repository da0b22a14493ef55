//! Reference tables: price lists, calendars, blocklists, thresholds. Versioned, and pinned into a step's input by the
//! digest of their rows.

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{difference::FieldChange, id::Digest};

/// Most columns of a key.
pub const KEY_COLUMNS_MAX: usize = 4;
/// Most rows of a table.
pub const ROWS_MAX: usize = 20_000;
/// Most rows of a difference that are told one by one.
pub const ROWS_TOLD_MAX: usize = 200;
/// What joins the columns of a key.
pub const KEY_SEPARATOR: &str = "/";

/// Exactly which version of a table a step was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableUse {
    /// What the step calls it.
    pub alias: String,
    /// `namespace/name`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Digest of its rows.
    pub digest: Digest,
}

/// A version of a table as it is recorded; its rows are a blob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableRecord {
    /// Digest of its rows: an object of rows by key.
    pub digest: Digest,
    /// The columns whose values, joined by [`KEY_SEPARATOR`], find a row.
    pub key: Vec<String>,
    /// The JSON Schema of a row; absent: any object is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// How many rows there are.
    pub rows: usize,
}

/// Rows that somebody drafts. What is left out is as in the latest version.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableDraft {
    /// The version; absent: the next one.
    #[serde(default)]
    pub version: Option<Version>,
    /// The columns of the key.
    #[serde(default)]
    pub key: Option<Columns>,
    /// The JSON Schema of a row.
    #[serde(default)]
    pub schema: Option<Value>,
    /// The rows.
    #[serde(default)]
    pub rows: Option<Vec<Map<String, Value>>>,
    /// The rows as comma-separated values (RFC 4180), with the columns' names in the first line. Read by the types that
    /// the schema gives the columns; an empty field is left out.
    #[serde(default)]
    pub csv: Option<String>,
}

/// One column, or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Columns {
    /// One.
    One(String),
    /// Several, in order.
    Several(Vec<String>),
}

impl Columns {
    /// All of them.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Several(names) => names,
        }
    }
}

/// What differs between two versions of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableDifference {
    /// Of its key and schema.
    pub fields: Vec<FieldChange>,
    /// How many rows are new.
    pub added: usize,
    /// How many are gone.
    pub removed: usize,
    /// How many have other content.
    pub changed: usize,
    /// The rows, at most [`ROWS_TOLD_MAX`] of them.
    pub rows: Vec<RowChange>,
}

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowChange {
    /// Its key.
    pub key: String,
    /// What became of it.
    pub change: super::difference::Fate,
    /// What differs in it.
    pub fields: Vec<FieldChange>,
}

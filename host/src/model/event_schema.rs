//! Schemas of events' data, as they are registered: an event type has versions, each fixed once it is there, and a mode
//! that says how they may differ.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::timestamp::Timestamp;

/// Longest event type that may be registered, bytes: that of an event.
pub const TYPE_BYTES_MAX: usize = 128;
/// Versions of one type, at most.
pub const VERSIONS_MAX: usize = 64;
/// Event types that are registered, at most.
pub const TYPES_MAX: usize = 1_000;
/// Largest schema, bytes of its JSON.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// What references to registered schemas begin with. A name and no address: `.invalid` resolves nowhere (RFC 6761).
const BASE: &str = "https://schemas.crossdock.invalid";
/// What stands before type and version in such a reference, whichever hub it names.
const PATH: &str = "/v1/schemas/";

/// How a new version of a type's schema may differ from those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compatibility {
    /// As it likes.
    None,
    /// Every event that fitted before fits the new version: who sends need not change.
    #[default]
    Backward,
    /// Every event that fits the new version fitted before: who receives need not change.
    Forward,
    /// Both.
    Full,
}

impl Compatibility {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::None, Self::Backward, Self::Forward, Self::Full];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Backward => "backward",
            Self::Forward => "forward",
            Self::Full => "full",
        }
    }

    /// Whether events of before have to fit the new version.
    #[must_use]
    pub fn is_backward(self) -> bool {
        matches!(self, Self::Backward | Self::Full)
    }

    /// Whether events of the new version have to fit those before.
    #[must_use]
    pub fn is_forward(self) -> bool {
        matches!(self, Self::Forward | Self::Full)
    }
}

impl fmt::Display for Compatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The word is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is no compatibility; there are none, backward, forward and full")]
pub struct CompatibilityError {
    word: String,
}

impl FromStr for Compatibility {
    type Err = CompatibilityError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|mode| mode.as_str() == word);
        found.ok_or_else(|| CompatibilityError { word: word.to_owned() })
    }
}

/// That a type or a version is not to be used any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deprecation {
    /// From when on.
    pub since: Timestamp,
    /// From when on events of it are refused; absent: that is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sunset: Option<Timestamp>,
    /// What to send instead: an event type, or `TYPE/VERSION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
    /// Why.
    pub reason: String,
}

impl Deprecation {
    /// Whether events of it are refused.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.sunset.is_some_and(|sunset| sunset <= now)
    }
}

/// A version of a type's schema, as it is recorded. It never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchemaRecord {
    /// The JSON Schema of the events' data.
    pub schema: Value,
    /// Who brought it: `operator`, or the plugin.
    pub origin: String,
    /// When it was added.
    pub added: Timestamp,
    /// By whom.
    pub by: String,
}

/// What is recorded of an event type as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeRecord {
    /// How its versions may differ.
    #[serde(default)]
    pub compatibility: Compatibility,
    /// That the type is not to be used any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecation>,
    /// Versions that are not to be used any more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<u32, Deprecation>,
}

/// The `dataschema` of an event that is held to a version.
#[must_use]
pub fn reference(event_type: &str, version: u32) -> String {
    format!("{BASE}{PATH}{event_type}/{version}")
}

/// The type and version that a `dataschema` names, if it is of the form that the hub gives out, wherever the hub is:
/// `…/v1/schemas/TYPE/VERSION`.
#[must_use]
pub fn named_by(data_schema: &str) -> Option<(&str, u32)> {
    let (_, below) = data_schema.split_once(PATH)?;
    let (event_type, version) = below.rsplit_once('/')?;
    Some((event_type, version.parse().ok()?))
}

/// Whether a type can be registered: its name is part of paths and references.
#[must_use]
pub fn is_type_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=TYPE_BYTES_MAX).contains(&name.len()) && name.chars().all(word) && !name.starts_with('.')
}

/// A place where an event's data does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Misfit {
    /// JSON Pointer into the data; empty: the data as a whole.
    pub pointer: String,
    /// The keyword of the schema that it does not fit, and where it stands: a JSON Pointer into the schema.
    pub schema_pointer: String,
    /// What is wrong. Values are not repeated.
    pub found: String,
    /// What to change.
    pub change: String,
}

/// Why a schema may not become the next version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// The version that it was compared with; absent: it does not hold by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<u32>,
    /// Who would be broken: `backward`, whoever sends; `forward`, whoever receives; `schema`, everybody.
    pub mode: &'static str,
    /// JSON Pointer into the event's data, or into the schema.
    pub pointer: String,
    /// What was found.
    pub found: String,
    /// What to change.
    pub change: String,
}

#[cfg(test)]
mod tests {
    use super::{Compatibility, is_type_name, named_by, reference};

    #[test]
    fn a_reference_is_read_wherever_the_hub_is() {
        assert_eq!(named_by(&reference("retail.order.placed.v1", 3)), Some(("retail.order.placed.v1", 3)));
        assert_eq!(named_by("https://hub.example:7420/v1/schemas/a.b/12"), Some(("a.b", 12)));
        for other in ["https://example.com/order.json", "urn:x", "https://h/v1/schemas/a", "https://h/v1/schemas/a/x"] {
            assert_eq!(named_by(other), None, "{other}");
        }
    }

    #[test]
    fn a_mode_is_written_as_it_is_read() {
        for mode in Compatibility::ALL {
            assert_eq!(mode.as_str().parse(), Ok(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
        assert!("both".parse::<Compatibility>().unwrap_err().to_string().contains("full"));
    }

    #[test]
    fn names_are_those_that_a_path_can_hold() {
        assert!(is_type_name("retail.order.placed.v1"));
        for wrong in ["", "a/b", "a b", "..", ".a", "ä", &"x".repeat(129)] {
            assert!(!is_type_name(wrong), "{wrong}");
        }
    }
}

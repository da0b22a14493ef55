//! Something that happened, after CloudEvents 1.0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    event_schema,
    id::{AcceptanceId, Digest},
    json::Json,
    timestamp::Timestamp,
};

/// Longest `source`, bytes.
pub const SOURCE_BYTES_MAX: usize = 256;
/// Longest `type`, bytes.
pub const TYPE_BYTES_MAX: usize = 128;

/// An event. Bounds are the contract's: id and type 1 to 128 bytes, source 1 to 256, subject at most 256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Unique within `source`.
    pub id: String,
    /// Who says so: a URI reference.
    pub source: String,
    /// What happened, dotted, such as `retail.order.placed.v1`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When, at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// The schema of `data`, a URI.
    #[serde(default, rename = "dataschema", skip_serializing_if = "Option::is_none")]
    pub data_schema: Option<String>,
    /// The payload; `null` if there is none.
    pub data: Json,
    /// CloudEvents extensions, names in lower-case letters and digits; at most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, String>,
}

/// Why an event cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event attribute `{attribute}` {problem}")]
pub struct EventError {
    /// The CloudEvents name of the attribute.
    pub attribute: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Event {
    /// The id under which it is accepted.
    #[must_use]
    pub fn acceptance(&self) -> AcceptanceId {
        AcceptanceId::of(&self.source, &self.id)
    }

    /// The digest of all that makes two deliveries the same event: everything but the time of receipt, and which version of
    /// a registered schema it is held to, since that is the hub's to say.
    #[must_use]
    pub fn digest(&self) -> Digest {
        if self.data_schema.as_deref().is_some_and(|schema| event_schema::named_by(schema).is_some()) {
            return Self { data_schema: None, ..self.clone() }.digest();
        }
        // INVARIANT: an event always has a JSON form; maps are ordered, so the form is canonical.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Holds the attributes to their bounds.
    ///
    /// # Errors
    /// Names the first attribute that is out of bounds.
    pub fn check(&self) -> Result<(), EventError> {
        length("id", &self.id, 1, 128)?;
        length("source", &self.source, 1, SOURCE_BYTES_MAX)?;
        length("type", &self.event_type, 1, TYPE_BYTES_MAX)?;
        length("subject", self.subject.as_deref().unwrap_or_default(), 0, 256)?;
        length("dataschema", self.data_schema.as_deref().unwrap_or_default(), 0, 256)?;
        if self.extensions.len() > 32 {
            return Err(EventError {
                attribute: "extensions".into(),
                problem: format!("has {} entries; at most 32 are kept", self.extensions.len()),
            });
        }
        for (name, value) in &self.extensions {
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
                return Err(EventError {
                    attribute: name.clone(),
                    problem: "is not a CloudEvents name: use lower-case letters and digits only".into(),
                });
            }
            length(name, name, 1, 64)?;
            length(name, value, 0, 1024)?;
        }
        Ok(())
    }
}

fn length(attribute: &str, value: &str, min: usize, max: usize) -> Result<(), EventError> {
    if (min..=max).contains(&value.len()) {
        return Ok(());
    }
    let problem = if value.is_empty() {
        "is missing or empty".to_owned()
    } else {
        format!("is {} bytes; it must be {min} to {max}", value.len())
    };
    Err(EventError { attribute: attribute.to_owned(), problem })
}

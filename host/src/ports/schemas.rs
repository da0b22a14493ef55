//! Event types and their schemas, as the surfaces see and change them.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;

use super::{impact::InUse, registry::Who};
use crate::model::{
    event::Event,
    event_schema::{Compatibility, Deprecation, Obstacle},
    id::Digest,
    timestamp::Timestamp,
};

/// That an event which was sent is of a type or version that is not to be used any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The event's type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The version of its schema.
    pub version: u32,
    /// Since when, until when, and what instead.
    #[serde(flatten)]
    pub deprecation: Deprecation,
}

/// An event type.
#[derive(Clone, Debug, Serialize)]
pub struct EventTypeView {
    /// Its name.
    #[serde(rename = "type")]
    pub name: String,
    /// How its versions may differ; absent: it has no schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatibility: Option<Compatibility>,
    /// That it is not to be used any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecation>,
    /// The versions of its schema, the first first.
    pub versions: Vec<SchemaView>,
    /// Pipelines that it starts.
    pub starts: Vec<String>,
    /// Pipelines that wait for it.
    pub awaited_by: Vec<String>,
    /// Pipelines that send it.
    pub emitted_by: Vec<String>,
    /// Plugins that bring it.
    pub produced_by: Vec<String>,
}

/// A version of a type's schema.
#[derive(Clone, Debug, Serialize)]
pub struct SchemaView {
    /// Its number.
    pub version: u32,
    /// What events name it by, as `dataschema`.
    pub reference: String,
    /// Of the schema, whatever the order of its fields.
    pub digest: Digest,
    /// Who brought it: `crossdock`, `operator`, or a plugin's version.
    pub origin: String,
    /// When; absent: it came with the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added: Option<Timestamp>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// That it is not to be used any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecation>,
    /// The schema.
    pub schema: Value,
}

/// A schema that somebody wants to register.
#[derive(Clone, Debug)]
pub struct Addition {
    /// The event type.
    pub event_type: String,
    /// The JSON Schema of the events' data.
    pub schema: Value,
    /// How versions may differ from here on; absent: as before.
    pub compatibility: Option<Compatibility>,
    /// Whether whoever adds it knows who sends what would not fit any more.
    pub accept_impact: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Added {
    /// The event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The version that the schema has, or would have.
    pub version: u32,
    /// How versions may differ.
    pub compatibility: Compatibility,
    /// What events name it by.
    pub reference: String,
    /// Whether exactly this was there before.
    pub unchanged: bool,
}

/// A change to whether a type or a version is to be used.
#[derive(Clone, Debug)]
pub struct Retirement {
    /// The event type.
    pub event_type: String,
    /// Its version; absent: the type as a whole.
    pub version: Option<u32>,
    /// From when on; absent: now.
    pub since: Option<Timestamp>,
    /// From when on events of it are refused.
    pub sunset: Option<Timestamp>,
    /// What to send instead: an event type, or `TYPE/VERSION`.
    pub successor: Option<String>,
    /// Whether it is to be used again after all; then nothing else is said.
    pub withdrawn: bool,
    /// Whether whoever asks knows who has to do with events that are refused from `sunset` on.
    pub accept_impact: bool,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// No such type or version.
    #[error("there is no schema of `{what}`; there are {known}")]
    Unknown {
        /// What was asked for.
        what: String,
        /// What there is.
        known: String,
    },
    /// The request contradicts itself.
    #[error("{problem}")]
    Invalid {
        /// What to change.
        problem: String,
    },
    /// Somebody has to do with it, and nobody has said that they know.
    #[error(transparent)]
    InUse(#[from] Box<InUse>),
    /// The schema may not become the next version.
    #[error("{problem}")]
    Refused {
        /// The first obstacles, in words.
        problem: String,
        /// All of them.
        obstacles: Vec<Obstacle>,
    },
    /// It cannot be recorded now.
    #[error("it cannot be recorded: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// The registry of event types.
pub trait Schemas: Send + Sync {
    /// Every event type that has a schema, starts a pipeline, is waited for, sent or brought; by name.
    fn event_types(&self) -> Vec<EventTypeView>;

    /// Canonical documents that schemas may refer to, by name.
    fn documents(&self) -> BTreeMap<String, Value>;

    /// What the sender of an event is to know about its type.
    fn notice(&self, event: &Event) -> Option<Notice>;

    /// Whether a schema may be registered; nothing is changed.
    ///
    /// # Errors
    /// Everything that stands against it.
    fn check(&self, addition: &Addition) -> Result<Added, SchemaError>;

    /// Registers a schema as the next version of its type. The same schema again changes nothing.
    ///
    /// # Errors
    /// As [`SchemaError`] says; nothing was changed then.
    fn add(&self, addition: Addition, who: Who) -> BoxFuture<'_, Result<Added, SchemaError>>;

    /// Says that a type or a version is not to be used any more, or is to be used after all.
    ///
    /// # Errors
    /// As [`SchemaError`] says; nothing was changed then.
    fn retire(&self, retirement: Retirement, who: Who) -> BoxFuture<'_, Result<EventTypeView, SchemaError>>;
}

//! Event types with their registered schemas: one immutable picture, part of what is installed. Each version's validator is
//! made once, when it is added or loaded; an event costs one look-up and one pass over its data.
//!
//! An event is held to the version that its `dataschema` names, else to the latest; what a plugin brings without naming
//! one, to the version that the plugin's manifest brought. What is recorded of it, and who may change it, is the
//! registry's (`app::registry`).

pub mod misfit;

use std::{collections::BTreeMap, sync::Arc};

use jsonschema::Validator;
use serde_json::Value;

use self::misfit::misfits;
use super::installation::Plugin;
use crate::{
    model::{
        event::Event,
        event_schema::{self, Deprecation, SchemaRecord, TypeRecord},
        id::Digest,
        json::Json,
        timestamp::Timestamp,
    },
    policy::personal::tags::Tags,
    ports::{hub::AcceptError, schemas::Notice},
};

/// Who brought what comes with the hub.
pub const BUILT_IN: &str = "crossdock";

/// Every event type that has a schema.
#[derive(Clone, Default)]
pub struct EventTypes {
    types: BTreeMap<String, EventType>,
}

/// An event type.
#[derive(Clone, Default)]
pub struct EventType {
    /// What is recorded of it as a whole.
    pub record: TypeRecord,
    /// Its versions.
    pub versions: BTreeMap<u32, Arc<SchemaVersion>>,
}

/// A version of a type's schema.
pub struct SchemaVersion {
    /// What is recorded of it.
    pub record: SchemaRecord,
    /// Of the schema, whatever the order of its fields.
    pub digest: Digest,
    /// Made of it.
    pub validator: Validator,
    /// What it says of personal data; absent: nothing.
    pub personal: Option<Arc<Tags>>,
}

/// A version of a type's schema, with its number and its type.
struct Named<'a> {
    number: u32,
    of: &'a EventType,
    version: &'a SchemaVersion,
}

impl EventType {
    /// The latest version.
    #[must_use]
    pub fn latest(&self) -> Option<(u32, &Arc<SchemaVersion>)> {
        self.versions.last_key_value().map(|(number, version)| (*number, version))
    }

    /// The version with this schema.
    #[must_use]
    pub fn same(&self, digest: Digest) -> Option<u32> {
        self.versions.iter().rev().find(|(_, version)| version.digest == digest).map(|(number, _)| *number)
    }

    /// That the type or one of its versions is not to be used any more; what is said of the version counts first.
    #[must_use]
    pub fn deprecation(&self, version: u32) -> Option<&Deprecation> {
        self.record.versions.get(&version).or(self.record.deprecated.as_ref())
    }
}

/// The digest of a schema, the same whatever the order of its fields.
#[must_use]
pub fn digest(schema: &Value) -> Digest {
    Digest::of(Json::from(schema.clone()).as_bytes())
}

impl EventTypes {
    /// A type.
    #[must_use]
    pub fn get(&self, event_type: &str) -> Option<&EventType> {
        self.types.get(event_type)
    }

    /// Every type, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &EventType)> {
        self.types.iter().map(|(name, found)| (name.as_str(), found))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.types.len()
    }

    /// Adds a version, or takes its place among the built-in ones.
    pub fn add(&mut self, event_type: &str, number: u32, version: SchemaVersion) {
        self.types.entry(event_type.to_owned()).or_default().versions.insert(number, Arc::new(version));
    }

    /// Sets what holds for a type as a whole.
    pub fn set(&mut self, event_type: &str, record: TypeRecord) {
        self.types.entry(event_type.to_owned()).or_default().record = record;
    }

    /// The version that an event is to be held to, if its type has a schema.
    fn version_of(&self, event: &Event) -> Result<Option<Named<'_>>, AcceptError> {
        let Some(of) = self.types.get(&event.event_type) else { return Ok(None) };
        let Some((latest, version)) = of.latest() else { return Ok(None) };
        let named = event.data_schema.as_deref().and_then(event_schema::named_by);
        let Some((named_type, number)) = named else { return Ok(Some(Named { number: latest, of, version })) };
        let wrong = |problem: String| AcceptError::Data { id: event.id.clone(), problem };
        if named_type != event.event_type {
            let problem = format!(
                "`dataschema` names the schema of `{named_type}`, and the event is of type `{}`: correct one of them, or \
                 leave `dataschema` out",
                event.event_type
            );
            return Err(wrong(problem));
        }
        match of.versions.get(&number) {
            Some(version) => Ok(Some(Named { number, of, version })),
            None => {
                let known: Vec<String> = of.versions.keys().map(ToString::to_string).collect();
                let problem = format!(
                    "`dataschema` names version {number} of the schema of `{named_type}`; there is {}. Name one of these, \
                     or leave `dataschema` out for the latest",
                    known.join(", ")
                );
                Err(wrong(problem))
            }
        }
    }

    /// Holds an event to its schema; the reference of the version that it fits, if there is one.
    ///
    /// # Errors
    /// Everything that does not fit, and what to change.
    pub fn hold(&self, event: &Event) -> Result<Option<String>, AcceptError> {
        let Some(Named { number, version, .. }) = self.version_of(event)? else { return Ok(None) };
        let data = event.data.to_value();
        if version.validator.is_valid(&data) {
            return Ok(Some(event_schema::reference(&event.event_type, number)));
        }
        let misfits = misfits(&version.validator, &data);
        let first = misfits.first().map(|first| format!("`data{}`", first.pointer)).unwrap_or_default();
        let said = misfits.first().map(|first| first.found.clone()).unwrap_or_default();
        Err(AcceptError::Misfit {
            id: event.id.clone(),
            problem: format!("{first} does not follow the schema of `{}`: {said}", event.event_type),
            schema: event_schema::reference(&event.event_type, number),
            misfits,
        })
    }

    /// What an event's schema says of personal data. The event fits it.
    #[must_use]
    pub fn tags(&self, event: &Event) -> Option<Arc<Tags>> {
        self.version_of(event).ok()??.version.personal.clone()
    }

    /// Refuses what is sent although its time is over.
    ///
    /// # Errors
    /// Since when, and what to send instead.
    pub fn still_taken(&self, event: &Event, now: Timestamp) -> Result<(), AcceptError> {
        let Some(Named { number, of, .. }) = self.version_of(event)? else { return Ok(()) };
        match of.deprecation(number) {
            Some(deprecation) if deprecation.is_over(now) => Err(AcceptError::SchemaRetired {
                id: event.id.clone(),
                schema: format!("{}/{number}", event.event_type),
                sunset: deprecation.sunset.unwrap_or(deprecation.since),
                successor: deprecation.successor.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// What its sender is to know about an event's type or version: that it is not to be used any more.
    #[must_use]
    pub fn notice(&self, event: &Event) -> Option<Notice> {
        let Named { number, of, .. } = self.version_of(event).ok()??;
        let deprecation = of.deprecation(number)?;
        Some(Notice { event_type: event.event_type.clone(), version: number, deprecation: deprecation.clone() })
    }

    /// Names the version that a plugin's manifest brought in each of its events that names none.
    pub fn name_produced(&self, plugin: &Plugin, events: &mut [Event]) {
        for event in events.iter_mut().filter(|event| event.data_schema.is_none()) {
            let digest = plugin.produces.get(&event.event_type);
            let found = self.types.get(&event.event_type).zip(digest);
            let number = found.and_then(|(found, digest)| found.same(*digest));
            event.data_schema = number.map(|number| event_schema::reference(&event.event_type, number));
        }
    }
}

//! Event types and their schemas: added, compared, put out of use. One change at a time, with everything else that is
//! installed; recorded in the audit log first.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{Registry, cause};
use crate::{
    app::{
        contracts::Library,
        install::{
            copy,
            schemas::{SCHEMAS, TYPES},
        },
        installation::Installation,
        schemas::{self, EventType, EventTypes},
    },
    model::{
        audit::Cause,
        event_schema::{
            Compatibility, Deprecation, Obstacle, SchemaRecord, TYPES_MAX, TypeRecord, VERSIONS_MAX, is_type_name,
            reference,
        },
        manifest::Manifest,
    },
    policy::event_schema::{beyond, obstacles},
    ports::{
        registry::{RegistryError, Who},
        schemas::{Added, Addition, EventTypeView, Retirement, SchemaError},
    },
};

/// Obstacles that a refusal tells in its text; all of them are in its list.
const TOLD_MAX: usize = 4;
/// Who brings what somebody adds over HTTP or the command line.
const OPERATOR: &str = "operator";

impl Registry {
    /// Whether a schema may be registered.
    pub(in crate::app) fn check_schema(&self, addition: &Addition) -> Result<Added, SchemaError> {
        may_be_added(&self.shared.installation.load().events, addition)
    }

    /// Registers a schema.
    pub(in crate::app) async fn add_schema(&self, addition: Addition, who: Who) -> Result<Added, SchemaError> {
        let cause = cause(&who).map_err(invalid)?;
        let _changing = self.changing.lock().await;
        self.put_schema(&cause, addition, OPERATOR).await
    }

    /// Adds a version; whoever calls holds `changing`.
    async fn put_schema(&self, cause: &Cause, addition: Addition, origin: &str) -> Result<Added, SchemaError> {
        let now = self.shared.installation.load_full();
        let added = may_be_added(&now.events, &addition)?;
        let Addition { event_type, schema, .. } = addition;
        let mut types = (*now.events).clone();
        if !added.unchanged {
            let (time, by) = (self.shared.clock.now(), cause.actor.clone());
            let record = SchemaRecord { schema, origin: origin.to_owned(), added: time, by };
            let key = format!("{SCHEMAS}{event_type}/{}", added.version);
            // Compiled before it is recorded: what is recorded has to load.
            let version = self.installer.library.version(record.clone()).map_err(|problem| SchemaError::Refused {
                problem: problem.clone(),
                obstacles: vec![Obstacle {
                    against: None,
                    mode: "schema",
                    pointer: String::new(),
                    found: problem,
                    change: "correct it; patterns are those of Rust's `regex`, without look-around".to_owned(),
                }],
            })?;
            self.put(cause, "schema.add", &key, &record).await.map_err(unavailable)?;
            types.add(&event_type, added.version, version);
        }
        let before = now.events.get(&event_type).map(|found| found.record.clone());
        let record = TypeRecord { compatibility: added.compatibility, ..before.clone().unwrap_or_default() };
        if before.as_ref() != Some(&record) {
            self.put(cause, "schema.set", &format!("{TYPES}{event_type}"), &record).await.map_err(unavailable)?;
            types.set(&event_type, record);
        }
        self.swap_events(&now, types);
        Ok(added)
    }

    /// Says that a type or a version is not to be used any more, or is to be used after all.
    pub(in crate::app) async fn retire_schema(
        &self,
        retirement: Retirement,
        who: Who,
    ) -> Result<EventTypeView, SchemaError> {
        let cause = cause(&who).map_err(invalid)?;
        let _changing = self.changing.lock().await;
        let now = self.shared.installation.load_full();
        self.may_retire_schema(&now.events, &retirement)?;
        let Retirement { event_type, version, since, sunset, successor, withdrawn, .. } = retirement;
        let found = now.events.get(&event_type).ok_or_else(|| unknown(&now.events, &event_type))?;
        let mut record = found.record.clone();
        let since = since.unwrap_or_else(|| self.shared.clock.now());
        let deprecation = Deprecation { since, sunset, successor, reason: cause.reason.clone() };
        let deprecation = (!withdrawn).then_some(deprecation);
        match (version, deprecation) {
            (None, deprecation) => record.deprecated = deprecation,
            (Some(version), Some(deprecation)) => drop(record.versions.insert(version, deprecation)),
            (Some(version), None) => drop(record.versions.remove(&version)),
        }
        if record != found.record {
            let action = if withdrawn { "schema.restore" } else { "schema.deprecate" };
            self.put(&cause, action, &format!("{TYPES}{event_type}"), &record).await.map_err(unavailable)?;
            let mut types = (*now.events).clone();
            types.set(&event_type, record);
            self.swap_events(&now, types);
        }
        let views = self.event_types();
        views.into_iter().find(|view| view.name == event_type).ok_or_else(|| unknown(&now.events, &event_type))
    }

    /// Whether a type or a version may be put out of use like that; nothing is changed.
    pub(in crate::app) fn check_retirement(&self, retirement: &Retirement, who: &Who) -> Result<(), SchemaError> {
        cause(who).map_err(invalid)?;
        self.may_retire_schema(&self.shared.installation.load().events, retirement)
    }

    fn may_retire_schema(&self, types: &EventTypes, retirement: &Retirement) -> Result<(), SchemaError> {
        let Retirement { event_type, version, since, sunset, successor, .. } = retirement;
        let found = types.get(event_type).ok_or_else(|| unknown(types, event_type))?;
        if let Some(version) = version.filter(|version| !found.versions.contains_key(version)) {
            let known: Vec<String> = found.versions.keys().map(ToString::to_string).collect();
            return Err(SchemaError::Unknown { what: format!("{event_type}/{version}"), known: known.join(", ") });
        }
        let since = since.unwrap_or_else(|| self.shared.clock.now());
        if sunset.is_some_and(|sunset| sunset < since) {
            let problem = "`sunset` lies before `since`: nobody would have time to change".to_owned();
            return Err(SchemaError::Invalid { problem });
        }
        successor.as_ref().map_or(Ok(()), |successor| is_there(types, event_type, *version, successor))
    }

    /// Whether the schemas of events that a manifest brings may be registered.
    pub(super) fn check_brought(
        &self,
        manifest: &Manifest,
        brought: &BTreeMap<String, Value>,
    ) -> Result<(), SchemaError> {
        let now = self.shared.installation.load();
        for (event_type, schema) in brought {
            if let Some(addition) = wanted(&now.events, manifest, event_type, schema)? {
                may_be_added(&now.events, &addition)?;
            }
        }
        Ok(())
    }

    /// Registers the schemas of events that a manifest brings; whoever calls holds `changing`.
    pub(super) async fn take_brought(
        &self,
        cause: &Cause,
        manifest: &Manifest,
        brought: &BTreeMap<String, Value>,
    ) -> Result<(), SchemaError> {
        self.check_brought(manifest, brought)?;
        for (event_type, schema) in brought {
            let now = self.shared.installation.load_full();
            if let Some(addition) = wanted(&now.events, manifest, event_type, schema)? {
                let origin = format!("{}@{}", manifest.id, manifest.version);
                self.put_schema(cause, addition, &origin).await?;
            }
        }
        Ok(())
    }

    fn swap_events(&self, now: &Installation, types: EventTypes) {
        let mut next = copy(now);
        next.events = Arc::new(types);
        self.shared.installation.store(Arc::new(next));
    }
}

/// Whether a schema refuses events that an earlier version takes, whatever mode lets it be registered.
pub(super) fn breaks_senders(types: &EventTypes, addition: &Addition) -> bool {
    let Some(found) = types.get(&addition.event_type) else { return false };
    let latest = found.latest().map(|(number, version)| (number, &version.record.schema));
    !obstacles(Compatibility::Backward, &latest.into_iter().collect(), &addition.schema, &Library::references())
        .is_empty()
}

/// What a plugin's schema of an event asks for: to be the next version of a type that is new, or that the plugin began;
/// nothing, if it is there already, or the type is somebody else's and takes everything that the plugin brings.
fn wanted(
    types: &EventTypes,
    manifest: &Manifest,
    event_type: &str,
    schema: &Value,
) -> Result<Option<Addition>, SchemaError> {
    let addition = |compatibility| Addition {
        event_type: event_type.to_owned(),
        schema: schema.clone(),
        compatibility,
        // A plugin that is published brings it; who relies on the plugin is looked at when it is promoted.
        accept_impact: true,
    };
    let Some((found, (number, latest))) = types.get(event_type).and_then(|found| Some((found, found.latest()?))) else {
        // Whoever receives relies on it; whoever sends is the plugin, which names its own version.
        return Ok(Some(addition(Some(Compatibility::Forward))));
    };
    if found.same(schemas::digest(schema)).is_some() {
        return Ok(None);
    }
    let began = found.versions.first_key_value().map(|(_, first)| first.record.origin.as_str()).unwrap_or_default();
    if began.rsplit_once('@').is_some_and(|(id, _)| id == manifest.id.as_str()) {
        return Ok(Some(addition(None)));
    }
    let obstacles = beyond(schema, &latest.record.schema, &Library::references());
    if obstacles.is_empty() {
        return Ok(None);
    }
    let what = format!("`{}` says it brings `{event_type}`, which is {began}'s (version {number})", manifest.id);
    Err(refused(&what, obstacles))
}

/// Whether a schema may become the next version, and which that would be.
fn may_be_added(types: &EventTypes, addition: &Addition) -> Result<Added, SchemaError> {
    let Addition { event_type, schema, compatibility, .. } = addition;
    let invalid = |problem: String| Err(SchemaError::Invalid { problem });
    if !is_type_name(event_type) {
        return invalid(format!(
            "`{event_type}` is no event type: letters, digits, `.`, `_` and `-`, at most 128 of them"
        ));
    }
    let none = EventType::default();
    let found = types.get(event_type).unwrap_or(&none);
    let compatibility = compatibility.unwrap_or(found.record.compatibility);
    let of = |version, unchanged| Added {
        event_type: event_type.clone(),
        version,
        compatibility,
        reference: reference(event_type, version),
        unchanged,
    };
    if let Some(version) = found.same(schemas::digest(schema)) {
        return Ok(of(version, true));
    }
    if found.versions.len() >= VERSIONS_MAX {
        return invalid(format!("`{event_type}` has {VERSIONS_MAX} versions already: begin a type of a new name"));
    }
    if found.versions.is_empty() && types.count() >= TYPES_MAX {
        return invalid(format!("there are {TYPES_MAX} event types already"));
    }
    let earlier: BTreeMap<u32, &Value> =
        found.versions.iter().map(|(number, version)| (*number, &version.record.schema)).collect();
    let obstacles = obstacles(compatibility, &earlier, schema, &Library::references());
    if !obstacles.is_empty() {
        return Err(refused(&format!("the schema cannot become the next version of `{event_type}`"), obstacles));
    }
    Ok(of(found.latest().map_or(0, |(number, _)| number) + 1, false))
}

/// Whether what is to be sent instead is there, and is something else.
fn is_there(types: &EventTypes, event_type: &str, version: Option<u32>, successor: &str) -> Result<(), SchemaError> {
    let (name, number) = match successor.rsplit_once('/') {
        Some((name, number)) => (name, Some(number)),
        None => (successor, None),
    };
    let found = types.get(name).ok_or_else(|| unknown(types, name))?;
    let number = match number {
        None => None,
        Some(text) => {
            let there = text.parse::<u32>().ok().filter(|number| found.versions.contains_key(number));
            Some(there.ok_or_else(|| unknown(types, successor))?)
        }
    };
    if name == event_type && (version.is_none() || number.is_none() || number == version) {
        let problem = format!("`{successor}` is what is not to be used any more: name something else to send instead");
        return Err(SchemaError::Invalid { problem });
    }
    Ok(())
}

fn refused(what: &str, obstacles: Vec<Obstacle>) -> SchemaError {
    let told = obstacles.iter().take(TOLD_MAX).map(|one| {
        let against = one.against.map_or_else(String::new, |version| format!(" ({} with version {version})", one.mode));
        format!("at `{}` {}{against} → {}", one.pointer, one.found, one.change)
    });
    SchemaError::Refused { problem: format!("{what}: {}", told.collect::<Vec<_>>().join("; ")), obstacles }
}

fn unknown(types: &EventTypes, what: &str) -> SchemaError {
    let known: Vec<&str> = types.iter().map(|(name, _)| name).collect();
    SchemaError::Unknown { what: what.to_owned(), known: known.join(", ") }
}

fn invalid(error: RegistryError) -> SchemaError {
    SchemaError::Invalid { problem: error.to_string() }
}

fn unavailable(error: RegistryError) -> SchemaError {
    SchemaError::Unavailable { reason: error.to_string() }
}

/// Why a plugin's version is refused for what it says of its events.
pub(super) fn refused_version(error: SchemaError) -> RegistryError {
    match error {
        SchemaError::Unavailable { reason } => RegistryError::Unavailable { reason },
        SchemaError::Refused { problem, obstacles } => {
            let findings =
                obstacles.iter().map(|one| format!("event.schema {}: {} → {}", one.pointer, one.found, one.change));
            RegistryError::Refused { findings: findings.collect(), problem }
        }
        other => RegistryError::Refused { problem: other.to_string(), findings: Vec::new() },
    }
}

//! Event types as the surfaces see them: their schemas, and who starts by, waits for, sends or brings them.

use std::collections::{BTreeMap, BTreeSet};

use super::Registry;
use crate::{
    app::{
        installation::Installation,
        schemas::{BUILT_IN, EventType, SchemaVersion},
    },
    flow::plan::Action,
    model::event_schema::reference,
    ports::schemas::{EventTypeView, SchemaView},
};

/// Who has to do with a type.
#[derive(Default)]
struct Users {
    starts: BTreeSet<String>,
    awaited_by: BTreeSet<String>,
    emitted_by: BTreeSet<String>,
    produced_by: BTreeSet<String>,
}

impl Registry {
    /// Every event type that somebody knows, by name.
    pub(in crate::app) fn event_types(&self) -> Vec<EventTypeView> {
        let now = self.shared.installation.load();
        let mut users = users(&now);
        for (name, _) in now.events.iter() {
            users.entry(name.to_owned()).or_default();
        }
        let list = |names: BTreeSet<String>| names.into_iter().collect();
        let views = users.into_iter().map(|(name, users)| {
            let found = now.events.get(&name);
            let versions = found.into_iter().flat_map(|found| &found.versions);
            EventTypeView {
                compatibility: found.map(|found| found.record.compatibility),
                deprecated: found.and_then(|found| found.record.deprecated.clone()),
                versions: versions.map(|(number, version)| view(&name, found, *number, version)).collect(),
                starts: list(users.starts),
                awaited_by: list(users.awaited_by),
                emitted_by: list(users.emitted_by),
                produced_by: list(users.produced_by),
                name,
            }
        });
        views.collect()
    }
}

fn view(name: &str, found: Option<&EventType>, number: u32, version: &SchemaVersion) -> SchemaView {
    let record = &version.record;
    let added = record.origin != BUILT_IN;
    SchemaView {
        version: number,
        reference: reference(name, number),
        digest: version.digest,
        origin: record.origin.clone(),
        added: added.then_some(record.added),
        by: added.then(|| record.by.clone()),
        deprecated: found.and_then(|found| found.record.versions.get(&number)).cloned(),
        schema: record.schema.clone(),
    }
}

fn users(now: &Installation) -> BTreeMap<String, Users> {
    let mut users: BTreeMap<String, Users> = BTreeMap::new();
    for (name, pipeline) in &now.pipelines {
        for trigger in &pipeline.plan.triggers {
            users.entry(trigger.event_type.clone()).or_default().starts.insert(name.clone());
        }
        for signal in pipeline.plan.signals() {
            users.entry(signal.event_type.clone()).or_default().awaited_by.insert(name.clone());
        }
        for node in pipeline.plan.nodes() {
            if let Action::Emit { event_type, .. } = &node.action {
                users.entry(event_type.clone()).or_default().emitted_by.insert(name.clone());
            }
        }
    }
    for (id, versions) in &now.plugins {
        for event_type in versions.values().flat_map(|plugin| &plugin.manifest.produces) {
            users.entry(event_type.clone()).or_default().produced_by.insert(id.to_string());
        }
    }
    users
}

//! What is known of connections, bindings and webhook sources beside what serves now: who has the say, and what they were
//! before. A run goes on with the system that it began with, whatever is changed meanwhile.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Installation, OpenConnection};
use crate::model::{
    entry::PluginUse,
    setting::{BindingRecord, ConnectionRecord, Origin},
    source::SourceRecord,
};

/// What is known beside what serves.
#[derive(Clone, Default)]
pub struct Settings {
    /// Connections as they are recorded, by name; those that were removed while hub.toml declares them as well.
    pub connections: BTreeMap<String, ConnectionRecord>,
    /// Bindings as they are recorded, by pipeline.
    pub bindings: BTreeMap<String, BindingRecord>,
    /// Webhook sources as they are recorded, by name; those that were removed while hub.toml declares them as well.
    pub sources: BTreeMap<String, SourceRecord>,
    /// Earlier revisions that stood for another system than their connection does now, under each version of their
    /// plugin that may be called.
    pub earlier: HashMap<u64, Vec<Arc<OpenConnection>>>,
}

impl Settings {
    /// Who has the say about a connection.
    #[must_use]
    pub fn origin(&self, connection: &str) -> Origin {
        self.connections.get(connection).map_or(Origin::File, |record| record.origin)
    }

    /// The connection that had a revision.
    fn name_of(&self, revision: u64) -> Option<&String> {
        let had = |record: &ConnectionRecord| record.earlier.iter().any(|earlier| earlier.revision == revision);
        self.connections.iter().find(|(_, record)| had(record)).map(|(name, _)| name)
    }

    /// Every revision that a connection had.
    pub fn revisions(&self, connection: &str) -> impl Iterator<Item = u64> {
        let earlier = self.connections.get(connection).into_iter().flat_map(|record| &record.earlier);
        earlier.map(|earlier| earlier.revision)
    }
}

impl Installation {
    /// The connections that stand for the system that was called under a grant, first under the plugin's bound version:
    /// as it was, if it stands for another system now; as it is, if only credentials or limits have changed. None: it is
    /// not known any more.
    #[must_use]
    pub fn same_system(&self, grant: u64) -> Option<Vec<Arc<OpenConnection>>> {
        if let Some(earlier) = self.settings.earlier.get(&grant) {
            return Some(earlier.clone());
        }
        let now = self.connections.values().find(|open| open.revision == grant);
        let now = now.or_else(|| self.connections.get(self.settings.name_of(grant)?))?;
        let others = self.alternates.get(&now.name).into_iter().flatten();
        Some(std::iter::once(now).chain(others).cloned().collect())
    }

    /// The connection that a call was decided for, under exactly the version that it was decided for.
    #[must_use]
    pub(super) fn decided(&self, used: &PluginUse) -> Option<Arc<OpenConnection>> {
        let same = self.same_system(used.grant)?;
        same.into_iter().find(|open| open.plugin.is(used) && !open.plugin.live.is_revoked())
    }
}

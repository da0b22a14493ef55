//! Connections under the versions of their plugins: which one serves, and which others must stay callable.

use std::{collections::BTreeMap, sync::Arc};

use semver::Version;

use super::{InstallError, Installer, read};
use crate::{
    app::installation::{
        Installation, OpenConnection,
        lines::{LineInUse, Lines},
    },
    model::{
        connection::Connection,
        id::PluginId,
        registry::{Line, VersionState},
    },
    policy::lifecycle,
};

impl Installer {
    /// The connection with the version of its plugin that is bound; of a line that nobody has bound, the latest that its
    /// settings suit.
    pub(super) fn open_with_any(
        &self,
        now: &Installation,
        name: &str,
        connection: &Connection,
        revision: u64,
    ) -> Result<OpenConnection, InstallError> {
        let latest = self.open(now, name, connection.clone(), revision);
        if now.line(&connection.plugin, None).is_some() {
            return latest;
        }
        let older = now.plugins.get(&connection.plugin).into_iter().flat_map(BTreeMap::values).rev().skip(1);
        match latest {
            Ok(open) => Ok(open),
            Err(error) => older
                .filter_map(|plugin| self.open_as(Arc::clone(plugin), name, connection.clone(), revision).ok())
                .next()
                .ok_or(error),
        }
    }

    /// After a plugin has come, or another version is bound: connections are served by the bound version of their plugin.
    pub(in crate::app) fn reopen(&self, next: &mut Installation) {
        let names: Vec<String> = next.connections.keys().cloned().collect();
        for name in names {
            let Some(old) = next.connections.get(&name).cloned() else { continue };
            let bound = next.bound_version(&old.connection.plugin, None);
            if bound.is_none_or(|plugin| Arc::ptr_eq(plugin, &old.plugin)) {
                continue;
            }
            match self.open(next, &name, old.connection.clone(), old.revision) {
                Ok(open) => drop(next.connections.insert(name, Arc::new(open))),
                Err(error) => tracing::warn!(
                    connection = name,
                    reason = %error,
                    "the connection stays with the older version of its plugin until its settings suit the new one"
                ),
            }
        }
        self.open_others(next);
    }

    /// Opens connections under the other versions of their plugins as well: an effect is found out about and undone by
    /// the version that made it, and a canary serves beside the active version.
    pub(in crate::app) fn open_others(&self, next: &mut Installation) {
        let mut alternates = std::mem::take(&mut next.alternates);
        alternates.retain(|name, _| next.connections.contains_key(name));
        for (name, open) in &next.connections {
            let known = alternates.remove(name).unwrap_or_default();
            let id = &open.connection.plugin;
            let versions = next.plugins.get(id).into_iter().flatten();
            let callable = versions.filter(|(version, plugin)| {
                let state = next.state(id, version);
                // A revoked one is kept: it is refused where it would be called, and may be restored.
                (lifecycle::may_serve(state) || state == VersionState::Revoked) && !Arc::ptr_eq(plugin, &open.plugin)
            });
            let others = callable.filter_map(|(_, plugin)| {
                let same = |known: &&Arc<OpenConnection>| {
                    Arc::ptr_eq(&known.plugin, plugin)
                        && known.revision == open.revision
                        && known.connection == open.connection
                };
                let opened = || {
                    let opened = self.open_as(Arc::clone(plugin), name, open.connection.clone(), open.revision);
                    opened.ok().map(Arc::new)
                };
                known.iter().find(same).cloned().or_else(opened)
            });
            let others: Vec<_> = others.collect();
            if !others.is_empty() {
                alternates.insert(name.clone(), others);
            }
        }
        next.alternates = alternates;
    }

    /// Reads where versions stand and which of them serve.
    pub(super) async fn load_lines(&self, next: &mut Installation) -> Result<(), InstallError> {
        for (key, stored) in self.all("version/").await? {
            let Some((id, version)) = after_plugin(&key, "version/") else { continue };
            let Some(version) = version.and_then(|version| version.parse::<Version>().ok()) else { continue };
            next.states.entry(id).or_default().insert(version, read(&key, &stored)?);
        }
        for (key, stored) in self.all("line/").await? {
            let Some((id, pipeline)) = after_plugin(&key, "line/") else { continue };
            let line = LineInUse::new(read::<Line>(&key, &stored)?, None);
            let lines: &mut Lines = next.lines.entry(id).or_default();
            match pipeline {
                None => lines.everywhere = Some(line),
                Some(pipeline) => drop(lines.pipelines.insert(pipeline.to_owned(), line)),
            }
        }
        Ok(())
    }
}

/// Reads `prefix namespace/name` and what stands after a further slash.
fn after_plugin<'k>(key: &'k str, prefix: &str) -> Option<(PluginId, Option<&'k str>)> {
    let rest = key.strip_prefix(prefix)?;
    let mut slashes = rest.match_indices('/').map(|(at, _)| at).skip(1);
    let (id, more) = match slashes.next() {
        Some(at) => (rest.get(..at)?, rest.get(at + 1..)),
        None => (rest, None),
    };
    Some((id.parse().ok()?, more))
}

#[cfg(test)]
mod tests {
    use super::{super::PluginRecord, after_plugin};

    #[test]
    fn a_plugin_as_earlier_releases_recorded_it_is_read() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let schemas = "{\"config\":null,\"input\":null,\"output\":null}";
        let text = format!("{{\"manifest\":\"id = 1\",\"digest\":\"{digest}\",\"schemas\":{schemas}}}");
        let record: PluginRecord = serde_json::from_str(&text).expect("a record");
        assert_eq!(serde_json::to_string(&record).expect("a record"), text, "and written as it was");
    }

    #[test]
    fn keys_of_lines_name_a_plugin_and_perhaps_a_pipeline() {
        let read = |key: &'static str| after_plugin(key, "line/").map(|(id, rest)| (id.to_string(), rest));
        assert_eq!(read("line/acme/check"), Some(("acme/check".into(), None)));
        assert_eq!(read("line/acme/check/retail/orders"), Some(("acme/check".into(), Some("retail/orders"))));
        assert_eq!(read("line/acme"), None);
        assert_eq!(read("version/acme/check"), None);
    }
}

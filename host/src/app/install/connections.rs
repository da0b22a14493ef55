//! Connections: set, removed, and opened under the versions of their plugins: which one serves, and which others must stay
//! callable.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use semver::Version;

use super::{InstallError, Installer, copy, read};
use crate::{
    app::installation::{
        Installation, OpenConnection,
        lines::{LineInUse, Lines},
    },
    model::{
        audit::Cause,
        connection::{Connection, SecretRef},
        id::PluginId,
        registry::{Line, VersionState},
        setting::{ConnectionRecord, Earlier, Origin},
    },
    net::egress::{identity::ClientIdentity, trust},
    policy::{egress, lifecycle},
};

/// How many earlier revisions of a connection are kept: runs that began under one of them go on with it.
const EARLIER_MAX: usize = 64;

impl Installer {
    /// Sets a connection as hub.toml declares it. One that was changed over the API stays as it is.
    ///
    /// # Errors
    /// If its plugin is not installed or its settings do not fit; nothing has changed then.
    pub async fn connection(
        &self,
        now: &Installation,
        cause: &Cause,
        name: &str,
        connection: Connection,
    ) -> Result<Option<Installation>, InstallError> {
        if let Some(held) = now.settings.connections.get(name).filter(|held| held.origin == Origin::Api) {
            if held.connection.as_ref() != Some(&connection) {
                tracing::warn!(
                    connection = name,
                    "hub.toml declares it in another way than it was set over the API, which holds; `crossdock connection \
                     change {name} --declared` takes what hub.toml says"
                );
            }
            return Ok(None);
        }
        if now.connections.get(name).is_some_and(|open| open.connection == connection) {
            return Ok(None);
        }
        self.check_credentials(&connection)
            .map_err(|problem| InstallError::Setting { what: format!("connection `{name}`"), problem })?;
        self.set_connection(now, cause, "connection.set", name, connection, Origin::File).await.map(Some)
    }

    /// Whether a connection that is about to be set can be spoken through: what its `auth` says, its authorities, and the
    /// certificate that it shows. One that is set stays when its certificate expires: its calls fail and say so, and the hub
    /// starts all the same.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub(in crate::app) fn check_credentials(&self, connection: &Connection) -> Result<(), String> {
        connection.auth.check()?;
        connection.authorities.as_deref().map(trust::authorities).transpose()?;
        let Some(shown) = &connection.client_certificate else { return Ok(()) };
        if egress::Origin::parse(&connection.base_url).is_ok_and(|origin| origin.is_cleartext()) {
            return Err("`client_certificate`: it can only be shown in TLS; let `base_url` be `https`".to_owned());
        }
        let read = ClientIdentity::read(shown, &*self.secrets, self.clock.now());
        read.map(drop).map_err(|error| error.to_string())
    }

    /// Sets a connection; what it was before is kept for the runs that began with it.
    ///
    /// # Errors
    /// If its plugin is not installed or its settings do not fit; nothing has changed then.
    pub async fn set_connection(
        &self,
        now: &Installation,
        cause: &Cause,
        action: &str,
        name: &str,
        connection: Connection,
        origin: Origin,
    ) -> Result<Installation, InstallError> {
        // Opened once to be checked, and again under the revision that its record gets.
        self.open(now, name, connection.clone(), 0)?;
        let earlier = self.earlier(now, name).await?;
        let key = format!("connection/{name}");
        let record = ConnectionRecord { connection: Some(connection.clone()), origin, earlier };
        self.put_as(cause, action, &key, &record).await?;
        let revision = self.records.get(&key).await?.map_or(0, |stored| stored.revision.0);
        let mut next = copy(now);
        next.connections.insert(name.to_owned(), Arc::new(self.open(now, name, connection, revision)?));
        next.settings.connections.insert(name.to_owned(), record);
        self.open_others(&mut next);
        Ok(next)
    }

    /// Removes a connection. One that hub.toml declares is remembered as removed, so that the next start does not bring it
    /// back. Whoever calls has made sure that nothing needs it.
    ///
    /// # Errors
    /// If it cannot be recorded; nothing has changed then.
    pub async fn remove_connection(
        &self,
        now: &Installation,
        cause: &Cause,
        name: &str,
        is_declared: bool,
    ) -> Result<Installation, InstallError> {
        let key = format!("connection/{name}");
        let mut next = copy(now);
        if is_declared {
            let earlier = self.earlier(now, name).await?;
            let record = ConnectionRecord { connection: None, origin: Origin::Api, earlier };
            self.put_as(cause, "connection.remove", &key, &record).await?;
            next.settings.connections.insert(name.to_owned(), record);
        } else {
            self.audit.delete_as(&*self.records, cause, "connection.remove", &key).await?;
            next.settings.connections.remove(name);
        }
        next.connections.remove(name);
        self.open_others(&mut next);
        Ok(next)
    }

    /// What a connection was, with what it is now.
    async fn earlier(&self, now: &Installation, name: &str) -> Result<Vec<Earlier>, InstallError> {
        let Some(held) = now.settings.connections.get(name) else { return Ok(Vec::new()) };
        let stored = self.records.get(&format!("connection/{name}")).await?;
        let mut earlier = held.earlier.clone();
        if let (Some(stored), Some(connection)) = (stored, held.connection.clone()) {
            earlier.push(Earlier { revision: stored.revision.0, connection });
        }
        let surplus = earlier.len().saturating_sub(EARLIER_MAX);
        earlier.drain(..surplus);
        Ok(earlier)
    }

    /// After a secret that the hub keeps has another value: connections that use it share no pool and no token with what
    /// was opened before.
    pub(in crate::app) fn renew(&self, next: &mut Installation, secret: &str) {
        let uses = |connection: &Connection| {
            connection.references().any(|(_, used)| matches!(used, SecretRef::Store(name) if name == secret))
        };
        let using: Vec<_> = next.connections.values().filter(|open| uses(&open.connection)).cloned().collect();
        for old in using {
            match self.open_as(Arc::clone(&old.plugin), &old.name, old.connection.clone(), old.revision) {
                Ok(open) => drop(next.connections.insert(old.name.clone(), Arc::new(open))),
                Err(error) => tracing::error!(connection = old.name, %error, "the connection cannot be opened anew"),
            }
        }
        next.settings.earlier.retain(|_, opened| !opened.iter().any(|open| uses(&open.connection)));
        self.open_others(next);
    }

    /// Opens the earlier revisions that stand for another system than their connection does now.
    fn open_earlier(&self, next: &mut Installation) {
        let known = std::mem::take(&mut next.settings.earlier);
        let mut opened: HashMap<u64, Vec<Arc<OpenConnection>>> = HashMap::new();
        for (name, record) in &next.settings.connections {
            let differs = |earlier: &&Earlier| {
                record.connection.as_ref().is_none_or(|connection| !connection.is_same_target(&earlier.connection))
            };
            for Earlier { revision, connection } in record.earlier.iter().filter(differs) {
                let id = &connection.plugin;
                let bound = next.bound_version(id, None);
                let callable = next.plugins.get(id).into_iter().flatten().filter(|(version, _)| {
                    let state = next.state(id, version);
                    lifecycle::may_serve(state) || state == VersionState::Revoked
                });
                let mut plugins: Vec<_> = callable.map(|(_, plugin)| plugin).collect();
                plugins.sort_by_key(|plugin| !bound.is_some_and(|bound| Arc::ptr_eq(bound, plugin)));
                let under = plugins.into_iter().filter_map(|plugin| {
                    let same = |known: &&Arc<OpenConnection>| Arc::ptr_eq(&known.plugin, plugin);
                    known.get(revision).and_then(|known| known.iter().find(same).cloned()).or_else(|| {
                        self.open_as(Arc::clone(plugin), name, connection.clone(), *revision).ok().map(Arc::new)
                    })
                });
                opened.insert(*revision, under.collect());
            }
        }
        next.settings.earlier = opened;
    }

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
                        && known.secret_versions == open.secret_versions
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
        self.open_earlier(next);
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

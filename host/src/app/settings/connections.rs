//! Connections, as people change them. A connection that was changed here is no longer what hub.toml says, until somebody
//! takes that back (`declared`).

use std::sync::Arc;

use super::{HubSettings, Ready, cause, references::check_name, refused};
use crate::{
    app::{
        install::copy,
        installation::{Installation, OpenConnection},
    },
    model::{
        audit::Cause,
        connection::{Connection, SecretRef},
        setting::{Origin, Probe, SettingChange},
    },
    policy::{address::AddressRules, egress::Origin as WebOrigin, reach::Reach},
    ports::{
        registry::Who,
        secrets::{Secret, SecretError, Secrets},
        settings::{ConnectionAct, NewSecret, SettingChanged, SettingError},
    },
};

/// Most connections.
const CONNECTIONS_MAX: usize = 1_000;

/// Another value for a secret that is in place.
struct Rotation {
    place: String,
    value: Secret,
    keep_ms: Option<u64>,
    probe: Probe,
}

/// Another reference to put in place.
struct Referral {
    place: String,
    reference: SecretRef,
    probe: Probe,
}

/// A connection as it was when it was tested.
struct Tried {
    /// The revision of its record.
    on: Option<u64>,
    connection: Connection,
}

/// The hub's secrets, with another value in one place.
pub(super) struct Instead {
    pub(super) secrets: Arc<dyn Secrets>,
    pub(super) reference: SecretRef,
    pub(super) value: Secret,
}

impl Secrets for Instead {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        if *reference == self.reference { Ok(self.value.clone()) } else { self.secrets.resolve(reference) }
    }

    fn version(&self, reference: &SecretRef) -> u64 {
        // It shares nothing with what uses the value that is in place.
        if *reference == self.reference { u64::MAX } else { self.secrets.version(reference) }
    }
}

impl HubSettings {
    pub(super) async fn change_connection(
        &self,
        name: &str,
        act: ConnectionAct,
        who: Who,
    ) -> Result<SettingChanged, SettingError> {
        let cause = cause(&who)?;
        let _changing = match &act {
            // Its test comes first, and nobody waits for that.
            ConnectionAct::Rotate { .. } => None,
            _ => Some(self.registry.changing().await),
        };
        let now = self.shared.installation.load_full();
        let held = held(&now, name);
        let unknown = || SettingError::UnknownConnection { name: name.to_owned() };
        let ready = match act {
            ConnectionAct::Add(_) if held.is_some() => {
                let problem =
                    format!("there is a connection `{name}`: `crossdock connection change {name}` changes it");
                return Err(SettingError::Conflict { problem });
            }
            ConnectionAct::Add(connection) => {
                check_name("connection", name)?;
                if now.settings.connections.len() >= CONNECTIONS_MAX {
                    let problem = format!("there are {CONNECTIONS_MAX} connections already: remove one");
                    return Err(SettingError::Conflict { problem });
                }
                self.plan_connection(&now, name, *connection, Origin::Api, None)?
            }
            ConnectionAct::Change(connection) => {
                let held = held.ok_or_else(unknown)?;
                if held == *connection && now.settings.origin(name) == Origin::Api {
                    return Ok(unchanged(name));
                }
                self.plan_connection(&now, name, *connection, Origin::Api, None)?
            }
            ConnectionAct::Declared => {
                let declared = self.declared.load().connections.get(name).cloned();
                let none = || SettingError::Conflict { problem: format!("hub.toml declares no connection `{name}`") };
                let declared = declared.ok_or_else(none)?;
                if held.as_ref() == Some(&declared) && now.settings.origin(name) == Origin::File {
                    return Ok(unchanged(name));
                }
                self.plan_connection(&now, name, declared, Origin::File, None)?
            }
            ConnectionAct::Remove => {
                held.ok_or_else(unknown)?;
                self.may_go(&now, name).await?;
                let is_declared = self.declared.load().connections.contains_key(name);
                let next = self.installer.remove_connection(&now, &cause, name, is_declared).await.map_err(refused)?;
                self.shared.installation.store(Arc::new(next));
                tracing::info!(connection = name, actor = cause.actor, "a connection was removed");
                let mut notes = Vec::new();
                if is_declared {
                    notes.push(format!(
                        "hub.toml still declares it, and is not followed; `crossdock connection change {name} --declared` \
                         brings it back"
                    ));
                }
                let summary = format!("connection `{name}` is removed");
                return Ok(SettingChanged::Done { summary, notes, tested: None });
            }
            ConnectionAct::Rotate { place, to, probe } => {
                let tried = Tried { on: self.revision(&subject(name)).await?, connection: held.ok_or_else(unknown)? };
                return match to {
                    NewSecret::Reference(reference) => {
                        let referral = Referral { place, reference, probe };
                        self.rotate_reference(&now, name, tried, referral, &who).await
                    }
                    NewSecret::Value { value, keep_ms } => {
                        let rotation = Rotation { place, value, keep_ms, probe };
                        self.rotate_value(&now, name, tried, rotation, &cause).await
                    }
                };
            }
        };
        self.settle(&now, &who, &cause, ready).await
    }

    /// Whether a connection is still what was tested; the registry's lock is held.
    async fn unmoved(&self, name: &str, tried: &Tried) -> Result<Arc<Installation>, SettingError> {
        let now = self.shared.installation.load_full();
        if self.revision(&subject(name)).await? == tried.on && held(&now, name).as_ref() == Some(&tried.connection) {
            return Ok(now);
        }
        let problem = format!("connection `{name}` has changed while it was tested, so nothing was rotated: try again");
        Err(SettingError::Conflict { problem })
    }

    /// What setting a connection comes to.
    pub(super) fn plan_connection(
        &self,
        now: &Installation,
        name: &str,
        connection: Connection,
        origin: Origin,
        probe: Option<Probe>,
    ) -> Result<Ready, SettingError> {
        let wrong = |problem: String| SettingError::Refused { problem, tested: None };
        WebOrigin::parse(&connection.base_url).map_err(|error| wrong(format!("`base_url`: {error}")))?;
        AddressRules::new(name, &connection.allow_addresses)
            .map_err(|error| wrong(format!("`allow_addresses`: {error}")))?;
        self.installer.check_credentials(&connection).map_err(wrong)?;
        let candidate = self.installer.open(now, name, connection.clone(), 0).map_err(refused)?;
        let capabilities = &candidate.plugin.manifest.capabilities.http;
        let after = Reach::of(&connection, capabilities);
        let before = now.connections.get(name);
        let reached =
            before.map(|open| Reach::of(&open.connection, &open.plugin.manifest.capabilities.http)).unwrap_or_default();
        let mut because = reached.widened(&after);
        if let Some(before) = before.filter(|before| before.connection.plugin != connection.plugin) {
            because
                .push(format!("the code of `{}` takes the place of `{}`", connection.plugin, before.connection.plugin));
        }
        let known: Vec<&SecretRef> =
            before.into_iter().flat_map(|open| open.connection.references()).map(|(_, reference)| reference).collect();
        for (place, reference) in connection.references() {
            self.may_refer(&place, reference)?;
            if !known.contains(&reference) {
                because.extend(self.beyond(&format!("connection `{name}`"), &place, reference));
            }
        }
        self.check_publications(name, &candidate)?;
        self.check_bindings(now, name, candidate)?;
        let mut notes = Vec::new();
        if self.declared.load().connections.get(name).is_some_and(|declared| *declared != connection) {
            notes.push(format!(
                "hub.toml declares it in another way and is not followed any more; `crossdock connection change {name} \
                 --declared` takes that back"
            ));
        }
        let action = match (before, &probe) {
            (None, _) => "connection.add",
            (Some(_), Some(_)) => "connection.rotate",
            (Some(_), None) => "connection.change",
        };
        Ok(Ready {
            summary: format!("connection `{name}` is set: `{}` at {}", connection.plugin, origin_of(&connection)),
            change: SettingChange::Connection {
                name: name.to_owned(),
                connection: Box::new(connection),
                origin,
                probe,
            },
            because,
            action,
            notes,
            tested: None,
        })
    }

    /// Whether every pipeline that a connection is bound in can work with it.
    fn check_bindings(&self, now: &Installation, name: &str, candidate: OpenConnection) -> Result<(), SettingError> {
        let mut next = copy(now);
        next.connections.insert(name.to_owned(), Arc::new(candidate));
        for (pipeline, names) in &now.bindings {
            if names.values().any(|bound| bound == name) && now.pipelines.contains_key(pipeline) {
                self.installer.check_binding(&next, pipeline, names).map_err(refused)?;
            }
        }
        Ok(())
    }

    /// Whether what is published through a connection can be answered with it.
    fn check_publications(&self, name: &str, candidate: &OpenConnection) -> Result<(), SettingError> {
        let manifest = &candidate.plugin.manifest;
        let lost = self.apis.through(name).into_iter().find(|contract| !manifest.implements.contains(contract));
        let Some(contract) = lost else { return Ok(()) };
        let problem = format!(
            "`{contract}` is published through connection `{name}`, and `{}` does not implement it: publish it through \
             another one first (`crossdock api publish`), or end that (`crossdock api withdraw`)",
            manifest.id
        );
        Err(SettingError::Refused { problem, tested: None })
    }

    /// What putting another reference in place comes to.
    fn plan_rotation(
        &self,
        now: &Installation,
        name: &str,
        mut connection: Connection,
        place: &str,
        reference: SecretRef,
        probe: Probe,
    ) -> Result<Ready, SettingError> {
        let places = places(&connection);
        let origin = now.settings.origin(name);
        match connection.reference_mut(place) {
            None => return Err(no_place(name, place, &places)),
            Some(held) if *held == reference => {
                let problem = format!("`{place}` of connection `{name}` refers to `{reference}` already");
                return Err(SettingError::Conflict { problem });
            }
            Some(held) => *held = reference,
        }
        // What hub.toml declares would put the old reference back at the next start.
        let origin = if self.declared.load().connections.contains_key(name) { Origin::Api } else { origin };
        let planned = self.plan_connection(now, name, connection, origin, Some(probe))?;
        let summary = format!("connection `{name}` has another secret in `{place}`");
        Ok(Ready { summary, ..planned })
    }

    /// Puts another reference in place, once a test has shown that the remote takes it, or proposes to.
    async fn rotate_reference(
        &self,
        now: &Installation,
        name: &str,
        tried: Tried,
        referral: Referral,
        who: &Who,
    ) -> Result<SettingChanged, SettingError> {
        let Referral { place, reference, probe } = referral;
        let plan = |now: &Installation| {
            self.plan_rotation(now, name, tried.connection.clone(), &place, reference.clone(), probe.clone())
        };
        let planned = plan(now)?;
        let tested = match &planned.change {
            // Where a second person has to agree, it is tested when they do.
            SettingChange::Connection { connection, .. } if planned.because.is_empty() => {
                Some(self.prove(now, name, connection, &probe).await?)
            }
            _ => None,
        };
        let _changing = self.registry.changing().await;
        let now = self.unmoved(name, &tried).await?;
        self.settle(&now, who, &cause(who)?, Ready { tested, ..plan(&now)? }).await
    }

    /// Gives the secret in place another value, once a test has shown that the remote takes it.
    async fn rotate_value(
        &self,
        now: &Installation,
        name: &str,
        tried: Tried,
        rotation: Rotation,
        cause: &Cause,
    ) -> Result<SettingChanged, SettingError> {
        let connection = &tried.connection;
        let Rotation { place, value, keep_ms, probe } = rotation;
        let found = connection.references().find(|(at, _)| *at == place).map(|(_, reference)| reference.clone());
        let reference = found.ok_or_else(|| no_place(name, &place, &places(connection)))?;
        let SecretRef::Store(secret) = &reference else {
            let problem = format!(
                "`{place}` of connection `{name}` refers to `{reference}`, which the hub does not keep: change it there (it \
                 is read anew at each use), or give `--to store:NAME`"
            );
            return Err(SettingError::Conflict { problem });
        };
        let secrets: Arc<dyn Secrets> = Arc::new(Instead {
            secrets: Arc::clone(&self.installer.secrets),
            reference: reference.clone(),
            value: value.clone(),
        });
        let version = self.store.version(secret);
        let tested = self.proven(now, name, connection, &probe, &place, &secrets).await?;
        let _changing = self.registry.changing().await;
        self.unmoved(name, &tried).await?;
        if self.store.version(secret) != version {
            let problem = format!("`{reference}` has changed while it was tested, so nothing was rotated: try again");
            return Err(SettingError::Conflict { problem });
        }
        let record = self.store.set(cause, secret, &value, keep_ms).await?;
        self.renew(secret);
        tracing::info!(connection = name, secret, actor = cause.actor, "a connection's secret was rotated");
        let mut notes = Vec::new();
        if let Some(previous) = &record.previous {
            notes.push(format!("`crossdock secret take-back {secret}` takes it back until {}", previous.until));
        }
        let others = self.others_using(&format!("connection `{name}`"), secret);
        if !others.is_empty() {
            notes.push(format!("{} use it too, and were not tested", others.join(", ")));
        }
        let version = record.current.version;
        let summary = format!("connection `{name}` uses version {version} of `{reference}` in `{place}`");
        Ok(SettingChanged::Done { summary, notes, tested: Some(tested) })
    }
}

fn held(now: &Installation, name: &str) -> Option<Connection> {
    now.settings.connections.get(name).and_then(|held| held.connection.clone())
}

fn subject(name: &str) -> String {
    format!("connection/{name}")
}

fn unchanged(name: &str) -> SettingChanged {
    let summary = format!("connection `{name}` is like that already; nothing has changed");
    SettingChanged::Done { summary, notes: Vec::new(), tested: None }
}

fn places(connection: &Connection) -> String {
    let places: Vec<String> = connection.references().map(|(place, _)| place).collect();
    if places.is_empty() { "none".to_owned() } else { places.join(", ") }
}

fn no_place(name: &str, place: &str, places: &str) -> SettingError {
    let problem = format!("connection `{name}` has no secret in `{place}`; its places are: {places}");
    SettingError::Refused { problem, tested: None }
}

/// Where a connection goes, without what a URL may say beside.
pub(super) fn origin_of(connection: &Connection) -> String {
    WebOrigin::parse(&connection.base_url).map_or_else(|_| "…".to_owned(), |origin| origin.to_string())
}

//! Whose signatures count, and what is stopped when one does no more. The configuration declares keys; a key is revoked
//! there, or at the hub itself, which no configuration takes back.
//!
//! The hub keeps the signature of what it took in. It looks at them again at each start, when the trust changes, and when
//! the time comes that a revocation names: a version whose signatures have all stopped to count is revoked by the hub, as a
//! person would revoke it.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use bytes::Bytes;
use semver::Version;

use super::{Registry, cause, named, unavailable};
use crate::{
    app::{
        install::read,
        installation::{Installation, Plugin},
        triggers::retry_at,
    },
    model::{
        audit::Cause,
        id::{KeyId, PluginId},
        registry::{Act, VersionState},
        timestamp::Timestamp,
        trust::{RevokedKey, Trust},
    },
    policy::{
        seal::PublicKey,
        signing::trust::{Moments, lost, standings},
    },
    ports::registry::{ChangeRequest, KeyView, RegistryError, TrustView, Who},
};

/// The record that says whose signatures count.
const TRUST: &str = "trust";
/// What keys of records begin with that say that a key was revoked at the hub.
const REVOKED: &str = "revoked-key/";
/// Longest time without a look whether a revocation has begun, milliseconds: a day.
const LOOK_MS: u64 = 24 * 60 * 60 * 1_000;

impl Registry {
    /// Whose signatures count, as it was last declared, and what was revoked since; what counts no more is stopped.
    pub(in crate::app) async fn load_trust(&self) -> Result<(), RegistryError> {
        let kept = self.installer.records.get(TRUST).await.map_err(|error| unavailable(&error))?;
        if let Some(kept) = kept {
            self.declared.store(Arc::new(read(TRUST, &kept).map_err(super::install_refused)?));
        }
        let mut revoked = BTreeMap::new();
        for (key, stored) in self.installer.all(REVOKED).await.map_err(super::install_refused)? {
            let record: RevokedKey = read(&key, &stored).map_err(super::install_refused)?;
            let id = key
                .trim_start_matches(REVOKED)
                .parse()
                .map_err(|_| RegistryError::Unavailable { reason: format!("record `{key}` names no key") })?;
            revoked.insert(id, record);
        }
        self.revoked.store(Arc::new(revoked));
        let _changing = self.changing.lock().await;
        self.stop_lost().await
    }

    /// Declares whose signatures count.
    pub(in crate::app) async fn set_trust(&self, cause: &Cause, trust: &Trust) -> Result<(), RegistryError> {
        let _changing = self.changing.lock().await;
        if **self.declared.load() == *trust {
            return Ok(());
        }
        for trusted in &trust.keys {
            PublicKey::from_line(&trusted.key).map_err(|error| RegistryError::Invalid {
                problem: format!(
                    "`key = \"{}\"` under [[trust.keys]] is no public key ({error}): write the line of the `.pub` file",
                    trusted.key
                ),
            })?;
        }
        let value = serde_json::to_vec(trust).map_err(|error| unavailable(&error))?;
        let put = self.installer.audit.put(&*self.installer.records, cause, TRUST, Bytes::from(value)).await;
        put.map_err(|error| unavailable(&error))?;
        self.declared.store(Arc::new(trust.clone()));
        self.trust_changed.notify_one();
        self.stop_lost().await
    }

    /// Revokes a key: from now on nothing holds that it ever signed. Nothing at the hub takes that back.
    pub(in crate::app) async fn revoke_key(&self, id: KeyId, who: &Who) -> Result<TrustView, RegistryError> {
        let cause = cause(who)?;
        let _changing = self.changing.lock().await;
        self.known_key(id)?;
        let before = self.revoked.load_full();
        if before.get(&id).is_none() {
            let record =
                RevokedKey { at: self.shared.clock.now(), by: cause.actor.clone(), reason: cause.reason.clone() };
            self.put(&cause, "key.revoke", &format!("{REVOKED}{id}"), &record).await?;
            let mut revoked = (*before).clone();
            revoked.insert(id, record);
            self.revoked.store(Arc::new(revoked));
        }
        self.stop_lost().await?;
        Ok(self.trust_view())
    }

    /// Whether a key is trusted for anything.
    pub(super) fn known_key(&self, id: KeyId) -> Result<(), RegistryError> {
        if self.namespaces(id).is_empty() {
            let keys: Vec<String> = self.keys().map(|(id, _)| id.to_string()).collect();
            let known = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
            return Err(RegistryError::Unknown { what: format!("key {id}"), known });
        }
        Ok(())
    }

    /// The versions that are stopped if a key is revoked now.
    pub(super) fn lost_with(&self, id: KeyId) -> Vec<(PluginId, Version)> {
        let now = self.shared.clock.now();
        let mut trust = self.trust();
        for trusted in &mut trust.keys {
            if PublicKey::from_line(&trusted.key).is_ok_and(|key| key.id() == id) {
                trusted.revoked = Some(trusted.revoked.map_or(now, |declared| declared.min(now)));
            }
        }
        let lost = lost_versions(&self.shared.installation.load(), |plugin| self.lost(&trust, plugin));
        lost.into_iter().map(|(id, version, _)| (id, version)).collect()
    }

    /// The namespaces that a key is trusted for.
    pub(in crate::app) fn namespaces(&self, id: KeyId) -> Vec<String> {
        self.keys().filter(|(key, _)| *key == id).map(|(_, namespace)| namespace).collect()
    }

    fn keys(&self) -> impl Iterator<Item = (KeyId, String)> {
        let keys = self.declared.load().keys.clone();
        keys.into_iter().filter_map(|trusted| Some((PublicKey::from_line(&trusted.key).ok()?.id(), trusted.namespace)))
    }

    /// Whose signatures count, with what was revoked at the hub.
    pub(super) fn trust(&self) -> Trust {
        let mut trust = (**self.declared.load()).clone();
        let revoked = self.revoked.load();
        for trusted in &mut trust.keys {
            let id = PublicKey::from_line(&trusted.key).map(|key| key.id());
            if let Some(record) = id.ok().and_then(|id| revoked.get(&id)) {
                trusted.revoked = Some(trusted.revoked.map_or(record.at, |declared| declared.min(record.at)));
            }
        }
        trust
    }

    /// What is trusted, and what it signed, for people and programs.
    pub(in crate::app) fn trust_view(&self) -> TrustView {
        let (trust, now) = (self.trust(), self.shared.installation.load());
        let keys = trust.keys.iter().filter_map(|trusted| {
            let id = PublicKey::from_line(&trusted.key).ok()?.id();
            let signed = now.plugins.values().flat_map(BTreeMap::values).filter(|plugin| {
                let signed = plugin.signed.as_ref();
                let by =
                    |envelope| standings(envelope, plugin.manifest.id.namespace(), &trust.keys, self.moments(plugin));
                signed.is_some_and(|signed| by(&signed.envelope).iter().any(|signed| signed.key == id))
            });
            let at_hub = self.revoked.load().get(&id).cloned();
            Some(KeyView {
                id,
                signed: signed.map(|plugin| named(&plugin.manifest.id, &plugin.manifest.version)).collect(),
                revoked_by: at_hub.as_ref().map(|record| record.by.clone()),
                reason: at_hub.map(|record| record.reason),
                key: trusted.clone(),
            })
        });
        TrustView { unsigned: trust.unsigned(), keys: keys.collect() }
    }

    fn moments(&self, plugin: &Plugin) -> Moments {
        let now = self.shared.clock.now();
        Moments { taken: plugin.signed.as_ref().map_or(now, |signed| signed.taken), now }
    }

    /// Why a version's signatures do not count any more, if they did.
    fn lost(&self, trust: &Trust, plugin: &Plugin) -> Option<String> {
        let signed = plugin.signed.as_ref()?;
        lost(&signed.envelope, plugin.manifest.id.namespace(), &trust.keys, self.moments(plugin))
    }

    /// Whether a version's signatures count as they did when it came in.
    pub(super) fn may_count(&self, plugin: &Plugin) -> Result<(), RegistryError> {
        match self.lost(&self.trust(), plugin) {
            None => Ok(()),
            Some(why) => Err(RegistryError::Conflict {
                problem: format!(
                    "{}: {why}; have it signed with a key that is trusted now, and publish it under another version",
                    named(&plugin.manifest.id, &plugin.manifest.version)
                ),
            }),
        }
    }

    /// Stops every version whose signatures have all stopped to count; whoever calls holds `changing`. One that cannot be
    /// stopped keeps none of the others going.
    ///
    /// # Errors
    /// Why the first of them could not be stopped.
    async fn stop_lost(&self) -> Result<(), RegistryError> {
        let (trust, now) = (self.trust(), self.shared.installation.load_full());
        let mut ended = Ok(());
        for (id, version, why) in lost_versions(&now, |plugin| self.lost(&trust, plugin)) {
            match self.stop(&id, &version, &why).await {
                Ok(()) => {
                    tracing::warn!(plugin = %id, %version, why, "a version was stopped: its signature does not count any more");
                }
                Err(error) => ended = ended.and(Err(error)),
            }
        }
        ended
    }

    async fn stop(&self, id: &PluginId, version: &Version, why: &str) -> Result<(), RegistryError> {
        let cause = Cause::hub(format!("its signature does not count any more: {why}"));
        let who = Who { actor: cause.actor.clone(), reason: cause.reason.clone() };
        let act = Act::Revoke { version: version.clone() };
        let request = ChangeRequest { who, plugin: id.clone(), pipeline: None, act, force: false, accept_impact: true };
        let now = self.shared.installation.load_full();
        let planned = self.plan(&now, &request, None).await?;
        self.make(&now, &cause, &request, planned, Instant::now()).await.map(drop)
    }

    /// Stops what a revocation stops whose time has come, until the hub stops.
    pub(in crate::app) async fn keep_trust(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let now = self.shared.clock.now();
            tokio::select! {
                () = self.shared.clock.sleep_until(next_look(&self.trust(), now, failures)) => {}
                () = self.trust_changed.notified() => continue,
                () = self.shared.stopping.cancelled() => return,
            }
            let _changing = self.changing.lock().await;
            match self.stop_lost().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "what a revoked key signed cannot be stopped, and will be tried again soon"
                    );
                }
            }
        }
    }
}

/// When to look again: when the next revocation begins; soon, after so many looks in a row that failed.
fn next_look(trust: &Trust, now: Timestamp, failures: u32) -> Timestamp {
    let coming = trust.keys.iter().filter_map(|key| key.revoked).filter(|revoked| *revoked > now);
    let again = (failures > 0).then(|| retry_at(now, failures));
    coming.chain(again).min().unwrap_or(now.plus_millis(LOOK_MS)).min(now.plus_millis(LOOK_MS))
}

/// Versions that may serve and whose signatures are lost, with why.
fn lost_versions(now: &Installation, lost: impl Fn(&Plugin) -> Option<String>) -> Vec<(PluginId, Version, String)> {
    let mut found = Vec::new();
    for (id, versions) in &now.plugins {
        for (version, plugin) in versions {
            let over = [VersionState::Draft, VersionState::Retired, VersionState::Revoked];
            if over.contains(&now.state(id, version)) {
                continue;
            }
            found.extend(lost(plugin).map(|why| (id.clone(), version.clone(), why)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trust::TrustedKey;

    #[test]
    fn what_cannot_be_stopped_is_tried_again_soon_and_what_is_to_come_is_not_missed() {
        let now = Timestamp::from_millis(1_000_000);
        let check = |revoked: Option<i64>, failures: u32, expected_ms: u64| {
            let revoked_at = revoked.map(Timestamp::from_millis);
            let key = serde_json::json!({ "namespace": "acme", "key": "x" });
            let key = TrustedKey { revoked: revoked_at, ..serde_json::from_value(key).unwrap() };
            let trust = Trust { keys: vec![key], ..Trust::default() };
            assert_eq!(next_look(&trust, now, failures).since(now), expected_ms, "{revoked:?} {failures}");
        };
        check(None, 0, LOOK_MS);
        check(Some(1_060_000), 0, 60_000);
        // Its moment has come, and stopping failed.
        check(Some(1_000_000), 1, 1_000);
        check(Some(999_000), 3, 4_000);
        check(Some(1_000_500), 1, 500);
        check(Some(1_000_000), 0, LOOK_MS);
    }
}

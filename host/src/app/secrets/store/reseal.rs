//! Everything that the hub keeps is sealed anew, under another key.
//!
//! The point of no return is one record, which names the key that seals (`secrets-key`). Before it, `resealing` is written:
//! the key of before, sealed under the new one. So a crash leaves either a store that opens with the key of before, as if
//! nothing had happened, or one that opens with the new key, which opens the key of before and goes on. When nothing is
//! sealed with that any more, `resealing` goes.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{KEY_RECORD, SecretStore, StoreError};
use crate::{
    app::{reseal::durable, secrets::key::MasterKey},
    model::{
        audit::Cause,
        id::Digest,
        setting::{PreviousSecret, SecretRecord, SecretVersion},
    },
};

/// The record that is there while some things are sealed with the key of before.
const RESEALING: &str = "resealing";

/// What is to be known to go on after a crash.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resealing {
    /// The key of before.
    from: String,
    /// The key that takes its place.
    to: String,
    /// The key of before, sealed under the new one.
    sealed: String,
    /// Who asked for it.
    actor: String,
    /// Why.
    reason: String,
}

impl SecretStore {
    /// Seals every secret anew under another key, which is durable in its file already. What is sealed with the key of
    /// before elsewhere is the caller's to seal anew then, before [`Self::end_reseal`].
    ///
    /// # Errors
    /// As [`StoreError`] says. The store opens with the key of before then, or with the new one, and goes on.
    pub async fn reseal(&self, cause: &Cause, new: MasterKey) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let refused = |problem: &str| StoreError::Refused { problem: problem.to_owned(), invalid: false };
        let recorded: Option<String> = self.get(KEY_RECORD).await?;
        let old = self.state.load().key.clone().filter(|key| recorded.as_ref() == Some(&key.id()));
        let old = old.ok_or_else(|| refused("nothing is sealed here yet: start the hub with the new key"))?;
        if old.id() == new.id() {
            return Err(refused("it is sealed with that key already"));
        }
        if self.state.load().before.is_some() {
            // INVARIANT: `resealing` names the only other key that something may be sealed with.
            return Err(refused("another key is being put in place: start the hub once, so that it ends"));
        }
        let note = Resealing {
            from: old.id(),
            to: new.id(),
            sealed: STANDARD.encode(new.keep(&old)?),
            actor: cause.actor.clone(),
            reason: cause.reason.clone(),
        };
        let text = Bytes::from(serde_json::to_vec(&note).unwrap_or_default());
        let left = self.records.get(RESEALING).await?.map(|stored| stored.revision);
        self.records.put_if(RESEALING, text, left).await?;
        durable();
        let id = serde_json::to_vec(&note.to).unwrap_or_default();
        self.audit.put_as(&*self.records, cause, "secrets-key.reseal", KEY_RECORD, Bytes::from(id)).await?;
        durable();
        self.go_on(cause, old, Arc::new(new)).await
    }

    /// After a crash: goes on with what was begun, or drops what was not.
    ///
    /// INVARIANT: the key that is there is the one that is recorded.
    pub(super) async fn take_up_reseal(&self, key: Option<&Arc<MasterKey>>) -> Result<(), StoreError> {
        let Some(note) = self.get::<Resealing>(RESEALING).await? else { return Ok(()) };
        let Some(new) = key.filter(|key| key.id() == note.to) else { return self.end_reseal().await };
        let damaged = || StoreError::Damaged {
            key: RESEALING.to_owned(),
            problem: "it does not hold the key of before: restore the hub from a backup".to_owned(),
        };
        let sealed = STANDARD.decode(&note.sealed).map_err(|_| damaged())?;
        let old = new.kept(&sealed).ok_or_else(damaged)?;
        let reason = format!("{} (it was cut short, and goes on)", note.reason);
        tracing::warn!(from = note.from, to = note.to, "secrets were being sealed with another key: that goes on");
        self.go_on(&Cause { actor: note.actor, reason }, Arc::new(old), Arc::clone(new)).await
    }

    /// Seals every secret anew that is not yet.
    async fn go_on(&self, cause: &Cause, old: Arc<MasterKey>, new: Arc<MasterKey>) -> Result<(), StoreError> {
        let names = self.all("secret/").await?;
        for name in &names {
            let before: SecretRecord = self.need(&format!("secret/{name}")).await?;
            let current = self.anew(name, &before.current, &old, &new).await?;
            let previous = match &before.previous {
                // One that is damaged could not have been used again either.
                Some(previous) => self.anew(name, &previous.version, &old, &new).await.ok(),
                None => None,
            };
            let until = before.previous.as_ref().map(|previous| previous.until);
            let previous = previous.zip(until).map(|(version, until)| PreviousSecret { version, until });
            let record = SecretRecord { key: new.id(), current, previous, highest: before.highest };
            if record != before {
                self.put(cause, "secret.reseal", name, &record).await?;
                durable();
            }
        }
        self.read(Some(new), &names).await?;
        for name in &names {
            // What a crash of before left lies there sealed with the key of before.
            self.destroy_unnamed(name).await?;
        }
        self.swap(|state| state.before = Some(old));
        Ok(())
    }

    /// A version's value under the new key.
    async fn anew(
        &self,
        name: &str,
        version: &SecretVersion,
        old: &MasterKey,
        new: &MasterKey,
    ) -> Result<SecretVersion, StoreError> {
        let number = version.version;
        let key = format!("sealed/{name}/{number}");
        let damaged = |problem: &str| StoreError::Damaged { key: key.clone(), problem: problem.to_owned() };
        let stored = self.records.get(&key).await?.ok_or_else(|| damaged("it is gone"))?;
        let sealed = match new.open(name, number, &stored.value) {
            Ok(_) => stored.value,
            Err(_) => {
                let value = old.open(name, number, &stored.value).map_err(|error| damaged(&error.to_string()))?;
                let sealed = Bytes::from(new.seal(name, number, &value)?);
                self.records.put_if(&key, sealed.clone(), Some(stored.revision)).await?;
                durable();
                sealed
            }
        };
        Ok(SecretVersion { sealed: Digest::of(&sealed), ..version.clone() })
    }

    /// The key of before and the new one, while something may still be sealed with the first.
    #[must_use]
    pub fn keys_of_reseal(&self) -> Option<(Arc<MasterKey>, Arc<MasterKey>)> {
        let state = self.state.load();
        state.before.clone().zip(state.key.clone())
    }

    /// Nothing is sealed with the key of before any more.
    ///
    /// # Errors
    /// If the store cannot be used.
    pub async fn end_reseal(&self) -> Result<(), StoreError> {
        if let Some(stored) = self.records.get(RESEALING).await? {
            self.records.delete_if(RESEALING, stored.revision).await?;
        }
        self.swap(|state| state.before = None);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

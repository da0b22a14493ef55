//! The secrets that the hub keeps, `store:NAME`. Two records each: `secret/NAME` says everything but the value and is
//! audited; `sealed/NAME/VERSION` is the sealed value, of which the first holds the digest. So neither the audit log nor
//! what it keeps ever holds a value, not even a sealed one, and a value that was rotated away can be destroyed.

mod reseal;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::key::{self, KeyError, MasterKey};
use crate::{
    app::audit::{Audit, AuditError},
    model::{
        audit::Cause,
        connection::is_secret_name,
        id::Digest,
        setting::{PreviousSecret, SecretRecord, SecretVersion},
    },
    ports::{
        clock::Clock,
        records::{RecordError, Records},
        secrets::{Secret, SecretError},
    },
};

/// Longest secret, bytes.
pub const SECRET_BYTES_LIMIT: usize = 64 << 10;
/// Most secrets that are kept.
pub const SECRETS_MAX: usize = 1_000;
/// For how long a rotation can be taken back unless told, milliseconds: a day.
pub const KEEP_MS_DEFAULT: u64 = 24 * 60 * 60 * 1_000;
/// For how long at most: thirty days.
pub const KEEP_MS_MAX: u64 = 30 * KEEP_MS_DEFAULT;
/// How often it is looked whether something is to be destroyed, milliseconds.
const LOOK_MS: u64 = 60_000;
/// How many records one look reads.
const PAGE: usize = 256;
/// Which key seals; audited like the secrets.
const KEY_RECORD: &str = "secrets-key";

/// Why secrets are not kept, or not changed. Never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The key that sealed them is not there.
    #[error(
        "the hub keeps secrets that were sealed with key {recorded}, and {found}: put that key's file back, or name it with \
         `--secrets-key FILE` (no backup holds it). If it is lost for good, start once with `--forget-secrets`, and set \
         each secret again"
    )]
    Key {
        /// The key's name.
        recorded: String,
        /// What there is instead.
        found: String,
    },
    /// The key cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyError),
    /// No such secret.
    #[error("there is no secret `{name}`; `crossdock secret list` shows which there are")]
    Unknown {
        /// As asked.
        name: String,
    },
    /// It cannot be done as things stand, or with what was given.
    #[error("{problem}")]
    Refused {
        /// Why, and what can be done instead.
        problem: String,
        /// Whether what was given can never be taken.
        invalid: bool,
    },
    /// It cannot be recorded.
    #[error("the secret cannot be changed")]
    Audit(#[from] AuditError),
    /// The store cannot be used.
    #[error("the secret cannot be kept")]
    Record(#[from] RecordError),
    /// What is recorded cannot be understood.
    #[error("record `{key}` cannot be understood: {problem}")]
    Damaged {
        /// Its key.
        key: String,
        /// Why.
        problem: String,
    },
}

/// Where the key is, and what is done without it.
#[derive(Clone, Debug)]
pub struct KeyPlace {
    /// The file.
    pub path: PathBuf,
    /// Drop every secret whose key is not there.
    pub forget: bool,
}

impl KeyPlace {
    /// Where it is in a data folder, unless it is named.
    #[must_use]
    pub fn in_data(data: &Path) -> Self {
        Self { path: key::path_in(data), forget: false }
    }
}

/// A secret, and its sealed value.
#[derive(Clone)]
struct Held {
    record: SecretRecord,
    sealed: Bytes,
    /// The value of before, as long as the record names it.
    previous: Option<Bytes>,
}

#[derive(Clone, Default)]
struct State {
    key: Option<Arc<MasterKey>>,
    /// While something may still be sealed with it: the key of before.
    before: Option<Arc<MasterKey>>,
    secrets: BTreeMap<String, Held>,
}

/// The secrets of a hub. Values are held sealed, and opened at each use.
pub struct SecretStore {
    records: Arc<dyn Records>,
    audit: Arc<Audit>,
    clock: Arc<dyn Clock>,
    place: KeyPlace,
    state: ArcSwap<State>,
    changing: Mutex<()>,
}

impl SecretStore {
    /// Reads what is kept, and makes sure that it opens.
    ///
    /// # Errors
    /// If the key is not there or another, and secrets are not to be forgotten.
    pub async fn open(
        records: Arc<dyn Records>,
        audit: Arc<Audit>,
        clock: Arc<dyn Clock>,
        place: KeyPlace,
    ) -> Result<Self, StoreError> {
        let key = MasterKey::read(&place.path)?.map(Arc::new);
        let this = Self {
            records,
            audit,
            clock,
            place,
            state: ArcSwap::from_pointee(State { key: key.clone(), ..State::default() }),
            changing: Mutex::default(),
        };
        let recorded: Option<String> = this.get(KEY_RECORD).await?;
        let secrets = this.all("secret/").await?;
        if let Some(recorded) = recorded.filter(|recorded| key.as_ref().is_none_or(|key| key.id() != *recorded)) {
            let file = this.place.path.display();
            let found = match &key {
                None => format!("there is no key in `{file}`"),
                Some(key) => format!("`{file}` holds key {}", key.id()),
            };
            if !this.place.forget {
                return Err(StoreError::Key { recorded, found });
            }
            this.forget(&secrets, &recorded).await?;
            this.end_reseal().await?;
            return Ok(this);
        }
        this.take_up_reseal(key.as_ref()).await?;
        this.read(key, &secrets).await?;
        this.destroy_expired().await?;
        Ok(this)
    }

    /// Reads what is kept, and makes sure that it opens.
    async fn read(&self, key: Option<Arc<MasterKey>>, names: &[String]) -> Result<(), StoreError> {
        let mut held = BTreeMap::new();
        for name in names {
            let record: SecretRecord = self.need(&format!("secret/{name}")).await?;
            let sealed = self.sealed(name, &record.current).await?;
            // One that is damaged is told of by whoever takes the rotation back.
            let previous = match &record.previous {
                Some(previous) => self.sealed(name, &previous.version).await.ok(),
                None => None,
            };
            held.insert(name.clone(), Held { record, sealed, previous });
        }
        self.swap(|state| (state.key, state.secrets) = (key, held));
        for name in self.state.load().secrets.keys() {
            if let Err(error) = self.value(name) {
                return Err(StoreError::Damaged { key: format!("sealed/{name}"), problem: error.problem });
            }
        }
        Ok(())
    }

    /// The file that holds the key.
    #[must_use]
    pub fn key_path(&self) -> &Path {
        &self.place.path
    }

    /// The value of a secret.
    ///
    /// # Errors
    /// If it is not set, or does not open.
    pub fn value(&self, name: &str) -> Result<Secret, SecretError> {
        let wrong = |problem: String| SecretError { reference: format!("store:{name}"), problem };
        let state = self.state.load();
        let held =
            state.secrets.get(name).ok_or_else(|| wrong(format!("it is not set: `crossdock secret set {name}`")))?;
        let key = state.key.as_ref().ok_or_else(|| wrong("the secrets' key is not there".to_owned()))?;
        let opened = key.open(name, held.record.current.version, &held.sealed);
        opened.map_err(|error| wrong(error.to_string()))
    }

    /// The value that a secret had before, as long as its rotation can be taken back.
    #[must_use]
    pub fn earlier(&self, name: &str) -> Option<Secret> {
        let state = self.state.load();
        let held = state.secrets.get(name)?;
        let previous = held.record.previous.as_ref().filter(|previous| previous.until > self.clock.now())?;
        state.key.as_ref()?.open(name, previous.version.version, held.previous.as_ref()?).ok()
    }

    /// The version of a secret that is used; 0: it is not set.
    #[must_use]
    pub fn version(&self, name: &str) -> u64 {
        self.state.load().secrets.get(name).map_or(0, |held| held.record.current.version)
    }

    /// What is kept, by name; no values.
    #[must_use]
    pub fn list(&self) -> Vec<(String, SecretRecord)> {
        let now = self.clock.now();
        let state = self.state.load();
        let shown = |(name, held): (&String, &Held)| {
            let mut record = held.record.clone();
            record.previous = record.previous.filter(|previous| previous.until > now);
            (name.clone(), record)
        };
        state.secrets.iter().map(shown).collect()
    }

    /// Sets a secret that is not set yet, or rotates one that is; what was used before is kept for a time.
    ///
    /// # Errors
    /// As [`StoreError`] says; nothing has changed then.
    pub async fn set(
        &self,
        cause: &Cause,
        name: &str,
        value: &Secret,
        keep_ms: Option<u64>,
    ) -> Result<SecretRecord, StoreError> {
        check(name, value)?;
        let keep_ms = keep_ms.unwrap_or(KEEP_MS_DEFAULT);
        if keep_ms > KEEP_MS_MAX {
            let problem = format!("a value that was rotated away is kept for at most {KEEP_MS_MAX} ms");
            return Err(StoreError::Refused { problem, invalid: true });
        }
        let _changing = self.changing.lock().await;
        let state = self.state.load_full();
        let before = state.secrets.get(name);
        if before.is_none() && state.secrets.len() >= SECRETS_MAX {
            let problem = format!("{SECRETS_MAX} secrets are kept already: remove one that is not used");
            return Err(StoreError::Refused { problem, invalid: false });
        }
        let key = self.key(cause).await?;
        let now = self.clock.now();
        // A version that was ever used under this name is not used again, not even after the secret was removed.
        let version = self.highest(name).await?.max(before.map_or(0, |before| before.record.highest)) + 1;
        let sealed = Bytes::from(key.seal(name, version, value)?);
        let current = SecretVersion { version, set: now, by: cause.actor.clone(), sealed: Digest::of(&sealed) };
        let previous = before
            .filter(|_| keep_ms > 0)
            .map(|before| PreviousSecret { version: before.record.current.clone(), until: now.plus_millis(keep_ms) });
        let record = SecretRecord { key: key.id(), current, previous, highest: version };
        let at = format!("sealed/{name}/{version}");
        let left = self.records.get(&at).await?.map(|stored| stored.revision);
        self.records.put_if(&at, sealed.clone(), left).await?;
        let action = if before.is_some() { "secret.rotate" } else { "secret.set" };
        self.put(cause, action, name, &record).await?;
        let previous = before.filter(|_| record.previous.is_some()).map(|before| before.sealed.clone());
        let held = Held { record: record.clone(), sealed, previous };
        self.swap(|state| drop(state.secrets.insert(name.to_owned(), held)));
        self.destroy_unnamed(name).await?;
        Ok(record)
    }

    /// Takes a rotation back: what was used before is used again, and what it was replaced by is destroyed.
    ///
    /// # Errors
    /// If nothing is kept any more.
    pub async fn take_back(&self, cause: &Cause, name: &str) -> Result<SecretRecord, StoreError> {
        let _changing = self.changing.lock().await;
        let held = self.held(name)?;
        let now = self.clock.now();
        let Some(previous) = held.record.previous.filter(|previous| previous.until > now) else {
            let problem =
                format!("nothing is kept of what `{name}` was before: rotate it to the value that it is to have");
            return Err(StoreError::Refused { problem, invalid: false });
        };
        let sealed = self.sealed(name, &previous.version).await?;
        let record = SecretRecord { current: previous.version, previous: None, ..held.record };
        self.put(cause, "secret.take-back", name, &record).await?;
        let held = Held { record: record.clone(), sealed, previous: None };
        self.swap(|state| drop(state.secrets.insert(name.to_owned(), held)));
        self.destroy_unnamed(name).await?;
        Ok(record)
    }

    /// Confirms a rotation: what was used before is destroyed.
    ///
    /// # Errors
    /// If there is no such secret.
    pub async fn confirm(&self, cause: &Cause, name: &str) -> Result<SecretRecord, StoreError> {
        let _changing = self.changing.lock().await;
        let held = self.held(name)?;
        let record = SecretRecord { previous: None, ..held.record };
        self.put(cause, "secret.confirm", name, &record).await?;
        let held = Held { record: record.clone(), sealed: held.sealed, previous: None };
        self.swap(|state| drop(state.secrets.insert(name.to_owned(), held)));
        self.destroy_unnamed(name).await?;
        Ok(record)
    }

    /// Removes a secret. Whoever calls has made sure that nothing needs it.
    ///
    /// # Errors
    /// If there is no such secret.
    pub async fn remove(&self, cause: &Cause, name: &str) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        self.held(name)?;
        self.audit.delete_as(&*self.records, cause, "secret.remove", &format!("secret/{name}")).await?;
        self.swap(|state| drop(state.secrets.remove(name)));
        self.destroy_unnamed(name).await
    }

    /// Destroys, now and then, what was kept long enough, for as long as the hub lives.
    pub async fn keep(self: Arc<Self>, stopping: CancellationToken) {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.clock.sleep_until(self.clock.now().plus_millis(LOOK_MS)) => {}
            }
            let _changing = self.changing.lock().await;
            if let Err(error) = self.destroy_expired().await {
                tracing::error!(error = &error as &dyn std::error::Error, "old secrets cannot be destroyed");
            }
        }
    }

    /// Destroys versions whose time is over.
    async fn destroy_expired(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for (name, held) in &self.state.load_full().secrets {
            if held.record.previous.as_ref().is_none_or(|previous| previous.until > now) {
                continue;
            }
            let record = SecretRecord { previous: None, ..held.record.clone() };
            let cause = Cause::hub("the time for taking the rotation back is over");
            self.put(&cause, "secret.expire", name, &record).await?;
            let held = Held { record, sealed: held.sealed.clone(), previous: None };
            self.swap(|state| drop(state.secrets.insert(name.clone(), held)));
            self.destroy_unnamed(name).await?;
        }
        Ok(())
    }

    /// Deletes the sealed values of a name that its record does not name. The newest is kept as an empty record, so that
    /// its version is not used again.
    async fn destroy_unnamed(&self, name: &str) -> Result<(), StoreError> {
        let state = self.state.load_full();
        let record = state.secrets.get(name).map(|held| &held.record);
        let named = |version: u64| {
            record.is_some_and(|record| {
                let previous = record.previous.as_ref().map(|previous| previous.version.version);
                record.current.version == version || previous == Some(version)
            })
        };
        let versions = self.versions(name).await?;
        let newest = versions.iter().max().copied();
        for version in versions.into_iter().filter(|version| !named(*version)) {
            let key = format!("sealed/{name}/{version}");
            let Some(stored) = self.records.get(&key).await? else { continue };
            if Some(version) == newest {
                if !stored.value.is_empty() {
                    self.records.put_if(&key, Bytes::new(), Some(stored.revision)).await?;
                }
            } else {
                self.records.delete_if(&key, stored.revision).await?;
            }
        }
        Ok(())
    }

    async fn versions(&self, name: &str) -> Result<Vec<u64>, StoreError> {
        let versions = self.all(&format!("sealed/{name}/")).await?;
        Ok(versions.iter().filter_map(|version| version.parse().ok()).collect())
    }

    async fn highest(&self, name: &str) -> Result<u64, StoreError> {
        Ok(self.versions(name).await?.into_iter().max().unwrap_or_default())
    }

    /// Drops every secret: its key is lost.
    async fn forget(&self, names: &[String], key: &str) -> Result<(), StoreError> {
        let cause = Cause::hub(format!("the hub was started with `--forget-secrets`: key {key} is lost"));
        for name in names {
            self.audit.delete_as(&*self.records, &cause, "secret.forget", &format!("secret/{name}")).await?;
            self.destroy_unnamed(name).await?;
        }
        self.audit.delete_as(&*self.records, &cause, "secrets-key.forget", KEY_RECORD).await?;
        tracing::warn!(secrets = names.len(), "the secrets that the hub kept are forgotten: set them again");
        Ok(())
    }

    /// The key that seals, for what the hub keeps sealed elsewhere; made if there is none. From then on the hub does not start
    /// without it.
    ///
    /// # Errors
    /// If it cannot be made or recorded.
    pub async fn master(&self, cause: &Cause) -> Result<Arc<MasterKey>, StoreError> {
        let _changing = self.changing.lock().await;
        self.key(cause).await
    }

    /// The key; made if there is none.
    async fn key(&self, cause: &Cause) -> Result<Arc<MasterKey>, StoreError> {
        let key = match self.state.load().key.clone() {
            Some(key) => key,
            None => Arc::new(MasterKey::make(&self.place.path)?),
        };
        let value = serde_json::to_vec(&key.id()).unwrap_or_default();
        self.audit.put_as(&*self.records, cause, "secrets-key.set", KEY_RECORD, Bytes::from(value)).await?;
        let kept = Arc::clone(&key);
        self.swap(|state| state.key = Some(kept));
        Ok(key)
    }

    fn held(&self, name: &str) -> Result<Held, StoreError> {
        let held = self.state.load().secrets.get(name).cloned();
        held.ok_or_else(|| StoreError::Unknown { name: name.to_owned() })
    }

    /// INVARIANT: called with `changing` held, or before anybody else knows the store.
    fn swap(&self, change: impl FnOnce(&mut State)) {
        let mut next = State::clone(&self.state.load());
        change(&mut next);
        self.state.store(Arc::new(next));
    }

    async fn put(&self, cause: &Cause, action: &str, name: &str, record: &impl Serialize) -> Result<(), StoreError> {
        let key = format!("secret/{name}");
        let bytes = serde_json::to_vec(record)
            .map_err(|error| StoreError::Damaged { key: key.clone(), problem: error.to_string() })?;
        self.audit.put_as(&*self.records, cause, action, &key, Bytes::from(bytes)).await?;
        Ok(())
    }

    async fn sealed(&self, name: &str, version: &SecretVersion) -> Result<Bytes, StoreError> {
        let key = format!("sealed/{name}/{}", version.version);
        let stored = self.records.get(&key).await?.map(|stored| stored.value);
        stored.filter(|sealed| Digest::of(sealed) == version.sealed).ok_or_else(|| StoreError::Damaged {
            key,
            problem: "it is not what was sealed: restore the hub from a backup, or rotate the secret".to_owned(),
        })
    }

    async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let Some(stored) = self.records.get(key).await? else { return Ok(None) };
        let read = serde_json::from_slice(&stored.value);
        read.map(Some).map_err(|error| StoreError::Damaged { key: key.to_owned(), problem: error.to_string() })
    }

    async fn need<T: DeserializeOwned>(&self, key: &str) -> Result<T, StoreError> {
        let gone = || StoreError::Damaged { key: key.to_owned(), problem: "it is gone".to_owned() };
        self.get(key).await?.ok_or_else(gone)
    }

    /// The keys under a prefix, without it.
    async fn all(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let after = all.last().map(|name| format!("{prefix}{name}"));
            let page = self.records.list(prefix, after.as_deref(), PAGE).await?;
            let full = page.len() == PAGE;
            all.extend(page.into_iter().filter_map(|(key, _)| key.strip_prefix(prefix).map(str::to_owned)));
            if !full {
                return Ok(all);
            }
        }
    }
}

/// Whether a value may be kept under a name.
fn check(name: &str, value: &Secret) -> Result<(), StoreError> {
    let refused = |problem: String| Err(StoreError::Refused { problem, invalid: true });
    if !is_secret_name(name) {
        return refused(format!(
            "`{name}` cannot name a secret: at most 64 of a-z, 0-9, `.`, `_` and `-`, a letter or digit first"
        ));
    }
    match value.expose().len() {
        0 => refused("the value is empty".to_owned()),
        length if length > SECRET_BYTES_LIMIT => {
            refused(format!("the value is {length} bytes, the limit is {SECRET_BYTES_LIMIT}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;

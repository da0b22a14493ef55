//! Sealing everything anew under another key of secrets: of a hub that is switched off, on its data folder. A crash in
//! between leaves a hub that starts with the key of before or with the new one, and whatever opens it next goes on.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use super::{
    audit,
    clock::SystemClock,
    personal::{
        self,
        keyring::{
            KeyringError,
            reseal::{Resealed, reseal as reseal_keys},
        },
    },
    secrets::{
        key::{KeyError, MasterKey},
        store::{KeyPlace, SecretStore, StoreError},
    },
};
use crate::{
    model::audit::Cause,
    ports::clock::Clock,
    store::disk::{OpenError, Store},
};

/// Who does it, in the audit log: whoever can write the data folder.
const ACTOR: &str = "operator:offline";

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// The key that seals from now on.
    pub key: String,
    /// The file that holds it.
    pub file: PathBuf,
    /// Whether the file was made.
    pub made: bool,
    /// Secrets that were sealed anew.
    pub secrets: usize,
    /// Keys of personal data that were.
    pub personal_keys: usize,
    /// Keys of personal data that opened with neither key, and did not before.
    pub lost: usize,
}

/// Why not everything is sealed anew.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// There is no hub.
    #[error("`{path}` is not the data folder of a hub: there is no `store` in it")]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// The key of before is to be kept: backups of before are sealed with it.
    #[error("`{path}` holds the key of before, which opens backups of before: name another file for the new one")]
    SameFile {
        /// The file.
        path: PathBuf,
    },
    /// The store refuses to open.
    #[error("the store does not open; is the hub switched off?")]
    Store(#[from] OpenError),
    /// The store does not close.
    #[error("the store does not close: {reason}")]
    Close {
        /// Why.
        reason: String,
    },
    /// The audit log cannot be used.
    #[error(transparent)]
    Audit(#[from] audit::begin::BeginError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Secrets cannot be sealed anew.
    #[error(transparent)]
    Secrets(#[from] StoreError),
    /// Keys of personal data cannot be.
    #[error(transparent)]
    Personal(#[from] KeyringError),
}

/// Seals everything in a data folder anew. The new key is made if its file is not there.
///
/// # Errors
/// As [`ResealError`] says: the hub starts with the key of before, or with the new one.
pub async fn reseal(data: &Path, from: &Path, to: &Path, reason: &str) -> Result<Done, ResealError> {
    let folder = data.join("store");
    if !folder.is_dir() {
        return Err(ResealError::Folder { path: data.to_owned() });
    }
    if from.canonicalize().ok().is_some_and(|from| to.canonicalize().is_ok_and(|to| from == to)) || from == to {
        return Err(ResealError::SameFile { path: to.to_owned() });
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let store = Arc::new(Store::open(&folder, Arc::clone(&clock))?);
    let done = open_and_reseal(data, &store, &clock, from, to, reason).await;
    store.close().await.map_err(|reason| ResealError::Close { reason: reason.to_string() })?;
    done
}

async fn open_and_reseal(
    data: &Path,
    store: &Arc<Store>,
    clock: &Arc<dyn Clock>,
    from: &Path,
    to: &Path,
    reason: &str,
) -> Result<Done, ResealError> {
    let (audit, checkpoints) = audit::begin::begin(data, store, clock).await?;
    let open = |path: &Path| {
        let place = KeyPlace { path: path.to_owned(), forget: false };
        SecretStore::open(store.records(), Arc::clone(&audit), Arc::clone(clock), place)
    };
    let (new, made) = match MasterKey::read(to)? {
        Some(new) => (new, false),
        None => (MasterKey::make(to)?, true),
    };
    let key = new.id();
    let secrets = match open(from).await {
        // It was cut short after the new key had taken the place of the old one, and goes on with that.
        Err(StoreError::Key { recorded, .. }) if recorded == key => open(to).await?,
        Err(error) => return Err(error.into()),
        Ok(secrets) => {
            // An earlier reseal may have been cut short: its key of before is forgotten with nothing left under it.
            finish(data, &secrets).await?;
            let cause = Cause { actor: ACTOR.to_owned(), reason: reason.to_owned() };
            secrets.reseal(&cause, new).await?;
            secrets
        }
    };
    let count = secrets.list().len();
    let personal = finish(data, &secrets).await?;
    if let Err(error) = checkpoints.make().await {
        tracing::error!(error = &error as &dyn std::error::Error, "the journal's state could not be signed");
    }
    let Resealed { keys, lost } = personal;
    Ok(Done { key, file: to.to_owned(), made, secrets: count, personal_keys: keys, lost })
}

/// Seals the keys of personal data anew, if secrets were, and forgets the key of before. At a start: what a crash left.
///
/// # Errors
/// If a file or the store cannot be used; the same call again goes on.
pub async fn finish(data: &Path, secrets: &SecretStore) -> Result<Resealed, ResealError> {
    let Some((old, new)) = secrets.keys_of_reseal() else { return Ok(Resealed::default()) };
    let dir = data.join(personal::FOLDER);
    let task = tokio::task::spawn_blocking(move || reseal_keys(&dir, &old, &new));
    let failed = |error| KeyringError::File { path: data.to_owned(), source: std::io::Error::other(error) };
    let done = task.await.map_err(failed)??;
    secrets.end_reseal().await?;
    Ok(done)
}

/// A step is durable: where a test may have the process end.
pub(super) fn durable() {
    #[cfg(debug_assertions)]
    super::crash_point::pass_step("resealed");
}

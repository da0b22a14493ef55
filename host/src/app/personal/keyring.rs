//! The keys that seal personal data, one a person, each in a file of its own, sealed with the key of secrets.
//!
//! ```text
//! <data>/personal/<2 digits>/<subject id>    JSON: which key it is, when it was made, the key, sealed
//! ```
//!
//! A subject's id is a keyed hash, so that no name is written anywhere; its key comes from the key of secrets, or from the
//! first one that there was ([`reseal`]). Files, and not the store: what a database deletes may lie in it for long, whereas
//! a file is overwritten before it is removed. (A disk that writes elsewhere, as flash does, may still keep the old bytes:
//! they open only with the key of secrets.)
//!
//! A key is durable before anything that is sealed with it. After an erasure, new data of the same person gets a new key.

pub mod reseal;

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard};

use super::erasures;
use crate::{
    app::{
        access::enrolment::write_secret,
        secrets::{
            key::{KeyError, MasterKey},
            store::{SecretStore, StoreError},
        },
    },
    model::{
        audit::Cause,
        id::{SubjectId, SubjectKeyId},
        timestamp::Timestamp,
    },
    policy::personal::seal::{KEY_BYTES, SubjectKey},
    ports::{clock::Clock, secrets::Secret},
};

/// Keys that are held open at once; when there are more, all are read anew.
const OPEN_MAX: usize = 10_000;
/// Largest file of a key, bytes.
const FILE_BYTES_LIMIT: u64 = 4 << 10;

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// Facts are read without the keys.
    #[error("the keys of personal data are not there: start the hub on its data folder")]
    NoKeyring,
    /// The key of secrets cannot be used.
    #[error("the key of secrets, which seals the keys of personal data, cannot be used")]
    Master {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// A key cannot be made or sealed.
    #[error("a key of personal data cannot be made")]
    Make {
        /// Why.
        #[from]
        source: KeyError,
    },
    /// A file cannot be read or written.
    #[error("cannot use the key file `{path}`; see to its permissions and to the room on the disk")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold a key.
    #[error("`{path}` does not hold a key of personal data: restore it from a backup")]
    Form {
        /// Which.
        path: PathBuf,
    },
    /// The person's data is being erased, or was.
    #[error("the person's data is being erased: send the event again in a moment")]
    Erasing,
}

/// A file of a key.
#[derive(Serialize, Deserialize)]
struct KeyFile {
    key: SubjectKeyId,
    made: Timestamp,
    sealed: String,
}

/// That a person has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// Which.
    pub key: SubjectKeyId,
    /// When it was made.
    pub made: Timestamp,
}

/// The keys of a hub. Shared behind an `Arc`.
pub struct Keyring {
    dir: PathBuf,
    list: PathBuf,
    secrets: Arc<SecretStore>,
    clock: Arc<dyn Clock>,
    master: OnceCell<Arc<MasterKey>>,
    /// What ids of persons are made with.
    subjects: OnceCell<[u8; 32]>,
    open: Mutex<HashMap<SubjectKeyId, SubjectKey>>,
    /// Held while files change, so that a person has one key.
    changing: Arc<Mutex<()>>,
    erasing: Mutex<HashSet<SubjectId>>,
    /// Read-locked while something is accepted with a key, until its runs are listed.
    accepting: RwLock<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keyring {
    /// The keys of a data folder. What an erasure that a crash cut short left, or a restore brought back, is destroyed:
    /// the keys whose erasure is recorded, and those on the list.
    ///
    /// # Errors
    /// If files cannot be read or removed.
    pub fn open(
        data: &Path,
        erased: impl IntoIterator<Item = SubjectKeyId>,
        secrets: Arc<SecretStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KeyringError> {
        let (dir, list) = (data.join(super::FOLDER), erasures::path_in(data));
        erasures::add(&list, erased).map_err(|source| KeyringError::File { path: list.clone(), source })?;
        destroy_listed(&dir, &list)?;
        Ok(Self {
            dir,
            list,
            secrets,
            clock,
            master: OnceCell::new(),
            subjects: OnceCell::new(),
            open: Mutex::default(),
            changing: Arc::default(),
            erasing: Mutex::default(),
            accepting: RwLock::default(),
        })
    }

    /// The key of secrets; made, and recorded as needed, if there is none.
    async fn master(&self) -> Result<&Arc<MasterKey>, KeyringError> {
        let made = self.master.get_or_try_init(async || {
            let cause = Cause::hub("it seals the keys of personal data");
            self.secrets.master(&cause).await
        });
        Ok(made.await?)
    }

    /// Whom a name stands for.
    ///
    /// # Errors
    /// If the key of secrets cannot be used.
    pub async fn subject(&self, name: &str) -> Result<SubjectId, KeyringError> {
        let subjects = self.subjects.get_or_try_init(async || reseal::subjects(&self.dir, &**self.master().await?));
        let hash = blake3::keyed_hash(subjects.await?, name.as_bytes());
        let mut id = [0; 16];
        id.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        Ok(SubjectId::from_bytes(id))
    }

    /// The same; absent: nobody's data was ever sealed here, and no key of secrets is made to tell.
    ///
    /// # Errors
    /// As [`Self::subject`], or if the folder cannot be read.
    pub async fn known(&self, name: &str) -> Result<Option<SubjectId>, KeyringError> {
        // The folder stays when the last key of it goes.
        if !self.master.initialized() && !self.dir.is_dir() {
            return Ok(None);
        }
        self.subject(name).await.map(Some)
    }

    /// The key of a person's data; made if there is none, and durable when it answers.
    ///
    /// # Errors
    /// As [`KeyringError`] says: nothing may be sealed then.
    pub async fn key_of(&self, name: &str) -> Result<SubjectKeyId, KeyringError> {
        let subject = self.subject(name).await?;
        if let Some(current) = self.current(subject)? {
            return Ok(current.key);
        }
        let (master, path) = (Arc::clone(self.master().await?), path_of(&self.dir, subject));
        let (changing, made) = (Arc::clone(&self.changing), self.clock.now());
        let task = tokio::task::spawn_blocking(move || {
            let _changing = lock(&changing);
            // Somebody else may have made it meanwhile.
            match read(&path)? {
                Some(there) => Ok(there.key),
                None => make(&master, &path, subject, made),
            }
        });
        task.await.map_err(|error| KeyringError::File { path: self.dir.clone(), source: io::Error::other(error) })?
    }

    /// A person's key, if there is one.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn current(&self, subject: SubjectId) -> Result<Option<Current>, KeyringError> {
        let found = read(&path_of(&self.dir, subject))?;
        Ok(found.map(|found| Current { key: found.key, made: found.made }))
    }

    /// A key, to seal or open with; absent: it was destroyed, or is sealed with a key of secrets that is lost.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub async fn key(&self, id: SubjectKeyId) -> Result<Option<SubjectKey>, KeyringError> {
        if let Some(open) = lock(&self.open).get(&id) {
            return Ok(Some(open.clone()));
        }
        let path = path_of(&self.dir, id.subject());
        let Some(file) = read(&path)?.filter(|file| file.key == id) else { return Ok(None) };
        let sealed = STANDARD.decode(&file.sealed).map_err(|_| KeyringError::Form { path: path.clone() })?;
        let Ok(opened) = self.master().await?.open(&name_of(id), 1, &sealed) else {
            tracing::warn!(key = %id, "a key of personal data was sealed with a key of secrets that is not there");
            return Ok(None);
        };
        let key = SubjectKey::new(opened).ok_or(KeyringError::Form { path: path.clone() })?;
        let mut open = lock(&self.open);
        // Not again, if it was destroyed meanwhile.
        if read(&path)?.is_none_or(|file| file.key != id) {
            return Ok(None);
        }
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        open.insert(id, key.clone());
        Ok(Some(key))
    }

    /// Keeps an erasure of these persons from beginning while something is accepted.
    ///
    /// # Errors
    /// If one has begun, or is done.
    pub async fn accept(&self, keys: &[SubjectKeyId]) -> Result<RwLockReadGuard<'_, ()>, KeyringError> {
        let guard = self.accepting.read().await;
        for key in keys {
            let erasing = lock(&self.erasing).contains(&key.subject());
            if erasing || self.key(*key).await?.is_none() {
                return Err(KeyringError::Erasing);
            }
        }
        Ok(guard)
    }

    /// Nothing more of a person is accepted until the answer is dropped, and what was being accepted is listed.
    ///
    /// # Errors
    /// If somebody erases the same person.
    pub async fn hold_off(&self, subject: SubjectId) -> Result<HeldOff<'_>, KeyringError> {
        if !lock(&self.erasing).insert(subject) {
            return Err(KeyringError::Erasing);
        }
        let held = HeldOff { keyring: self, subject };
        drop(self.accepting.write().await);
        Ok(held)
    }

    /// Destroys a key, durably: it is on the list first. What is destroyed already stays so.
    ///
    /// # Errors
    /// If a file cannot be written or removed; the next start, or the same call again, goes on.
    pub async fn destroy(&self, id: SubjectKeyId) -> Result<(), KeyringError> {
        let (dir, list, changing) = (self.dir.clone(), self.list.clone(), Arc::clone(&self.changing));
        let task = tokio::task::spawn_blocking(move || {
            let _changing = lock(&changing);
            erasures::add(&list, [id]).map_err(|source| KeyringError::File { path: list, source })?;
            destroy(&path_of(&dir, id.subject()), id)
        });
        let done = task.await;
        lock(&self.open).remove(&id);
        done.map_err(|error| KeyringError::File { path: self.dir.clone(), source: io::Error::other(error) })?
    }
}

/// Nothing of a person is accepted while this lives.
pub struct HeldOff<'a> {
    keyring: &'a Keyring,
    subject: SubjectId,
}

impl Drop for HeldOff<'_> {
    fn drop(&mut self) {
        lock(&self.keyring.erasing).remove(&self.subject);
    }
}

/// Under which name a key is sealed. No secret has a name with a space in it.
fn name_of(id: SubjectKeyId) -> String {
    format!("personal {id}")
}

fn path_of(dir: &Path, subject: SubjectId) -> PathBuf {
    let shard = subject.as_bytes().first().copied().unwrap_or_default();
    dir.join(format!("{shard:02x}")).join(subject.to_string())
}

fn read(path: &Path) -> Result<Option<KeyFile>, KeyringError> {
    let wrong = |source| KeyringError::File { path: path.to_owned(), source };
    let form = || KeyringError::Form { path: path.to_owned() };
    match fs::metadata(path) {
        Ok(found) if found.len() > FILE_BYTES_LIMIT => return Err(form()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    }
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    };
    // Overwritten, and not yet removed: a crash came between.
    if text.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    serde_json::from_slice(&text).map(Some).map_err(|_| form())
}

fn make(master: &MasterKey, path: &Path, subject: SubjectId, made: Timestamp) -> Result<SubjectKeyId, KeyringError> {
    let wrong = |source| KeyringError::File { path: path.to_owned(), source };
    let random =
        |bytes: &mut [u8]| getrandom::fill(bytes).map_err(|error| KeyError::Randomness { problem: error.to_string() });
    let (mut generation, mut key) = ([0; 8], [0; KEY_BYTES]);
    random(&mut generation)?;
    random(&mut key)?;
    let secret = Secret::new(key);
    key.fill(0);
    let id = SubjectKeyId::new(subject, generation);
    let sealed = STANDARD.encode(master.seal(&name_of(id), 1, &secret)?);
    let text = serde_json::to_string(&KeyFile { key: id, made, sealed }).map_err(|error| wrong(error.into()))?;
    // The folders' own names are to survive a power cut too.
    for folder in path.ancestors().skip(1).take(2).collect::<Vec<_>>().into_iter().rev() {
        if !folder.is_dir() {
            fs::create_dir_all(folder).map_err(wrong)?;
            sync_folder(folder).map_err(wrong)?;
        }
    }
    write_secret(path, &text).map_err(wrong)?;
    Ok(id)
}

/// Makes the name of a file or folder, or that it is gone, durable.
fn sync_folder(of: &Path) -> io::Result<()> {
    of.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all())
}

/// Overwrites a key's file and removes it, unless it holds another key by now.
fn destroy(path: &Path, id: SubjectKeyId) -> Result<(), KeyringError> {
    let wrong = |source| KeyringError::File { path: path.to_owned(), source };
    if read(path)?.is_some_and(|file| file.key != id) {
        return Ok(());
    }
    let gone = || -> io::Result<()> {
        let length = usize::try_from(fs::metadata(path)?.len()).map_err(io::Error::other)?;
        let mut file = fs::OpenOptions::new().write(true).open(path)?;
        io::Write::write_all(&mut file, &vec![0; length])?;
        file.sync_all()?;
        fs::remove_file(path)?;
        sync_folder(path)
    };
    match gone() {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(wrong(error)),
        _ => Ok(()),
    }
}

/// Destroys every key of a folder that is on a list; how many there were.
///
/// # Errors
/// If the list or the folder cannot be used.
pub fn destroy_listed(dir: &Path, list: &Path) -> Result<usize, KeyringError> {
    let listed = erasures::read(list).map_err(|source| KeyringError::File { path: list.to_owned(), source })?;
    let mut destroyed = 0;
    for id in listed {
        let path = path_of(dir, id.subject());
        if path.exists() {
            destroyed += usize::from(read(&path)?.is_some_and(|file| file.key == id));
            destroy(&path, id)?;
        }
    }
    Ok(destroyed)
}

/// Whether a folder holds any key.
///
/// # Errors
/// If it cannot be read.
pub fn holds_any(dir: &Path) -> io::Result<bool> {
    let shards = match fs::read_dir(dir) {
        Ok(shards) => shards,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for shard in shards {
        let path = shard?.path();
        if path.is_dir() && fs::read_dir(path)?.next().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
pub(in crate::app) mod tests;

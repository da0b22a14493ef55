//! Backups of a data folder, and their restore.
//!
//! ```text
//! DIR/backup.json     what is in it, with the digest of each file; written last, so that half a backup is none
//! DIR/data/           the data folder: store, assets, audit keys, configuration; without what can be computed again, and
//!                     without the key of the secrets that the hub keeps, which are in the store, encrypted
//! ```
//!
//! The keys of personal data are copied, sealed, after the journal: whatever it holds has its key. A backup is older than
//! the erasures that come after it, so a restore asks for the list of them ([`super::personal::erasures`]) and destroys
//! those keys before it counts.
//!
//! The journal is copied while its committer stands still, and the copy is opened and proven from the first group to the
//! last before the backup counts. A restored hub starts with its effects paused: see [`super::effects`].

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    effects,
    personal::{self, erasures, keyring},
    secrets,
};
use crate::{
    model::timestamp::Timestamp,
    ports::{clock::Clock, journal::ReadError},
    store::disk::{OpenError, Store},
};

/// The file that makes a backup one.
pub const MANIFEST_FILE: &str = "backup.json";
const DATA: &str = "data";
const FORMAT: &str = "crossdock-backup-1";
const ASSETS: &str = "assets";
/// What is not copied with the rest: it can be computed again, is of this process, opens secrets that are in the backup, or
/// is copied after the journal.
const LEFT_OUT: [&str; 5] = ["store", "cache", effects::MARKER_FILE, secrets::key::FOLDER, personal::FOLDER];

/// What a backup holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// `FORMAT`.
    pub format: String,
    /// When the journal was copied.
    pub time: Timestamp,
    /// The last group of the journal.
    pub group: u64,
    /// Appends in the journal, proven.
    pub appends: u64,
    /// How long the committer stood still, milliseconds; absent: no hub was running.
    pub paused_ms: Option<u64>,
    /// Each file.
    pub files: Vec<Held>,
}

/// A file of a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Held {
    /// Its path below `data`.
    pub path: PathBuf,
    /// Its length, bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes, hexadecimal.
    pub digest: String,
}

/// Why there is no backup, or no restore.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The target is taken.
    #[error("`{path}` exists and is not empty: name a folder that does not exist yet")]
    Taken {
        /// As given.
        path: PathBuf,
    },
    /// The target is in the data folder.
    #[error("`{path}` lies in the data folder `{data}`: a backup belongs on another disk")]
    Inside {
        /// As given.
        path: PathBuf,
        /// The data folder.
        data: PathBuf,
    },
    /// It is no backup.
    #[error("`{path}` is not a whole backup: {problem}")]
    NotOne {
        /// As given.
        path: PathBuf,
        /// What is missing or wrong.
        problem: String,
    },
    /// It may hold keys that were destroyed since.
    #[error(
        "`{path}` holds keys of personal data, some of which may have been destroyed since: name the list of those, \
         `--erasures OLD_DATA/audit/erasures` or the copy of it that you keep; or, if nothing was erased since, say \
         `--nothing-erased`"
    )]
    Erasures {
        /// As given.
        path: PathBuf,
    },
    /// The keys of personal data cannot be used.
    #[error("the keys of personal data cannot be used")]
    Keys {
        /// Why.
        #[from]
        source: keyring::KeyringError,
    },
    /// A file cannot be read or written.
    #[error("cannot copy `{path}`; see to its permissions and to the room on the disk")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store does not open.
    #[error("the store does not open")]
    Open {
        /// Why.
        #[from]
        source: OpenError,
    },
    /// The store cannot be copied or proven.
    #[error("the journal cannot be copied or proven")]
    Store {
        /// Why.
        #[from]
        source: ReadError,
    },
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { path: path.clone(), source }
}

fn make_target(target: &Path) -> Result<(), BackupError> {
    match fs::read_dir(target) {
        Ok(mut entries) => {
            return match entries.next() {
                Some(_) => Err(BackupError::Taken { path: target.to_owned() }),
                None => Ok(()),
            };
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(target)(error)),
    }
    fs::create_dir_all(target).map_err(io_error(target))
}

/// Backs up the data folder of a running hub, or, with a store that was opened for it, of one that does not run.
///
/// # Errors
/// As [`BackupError`] says; what there is of the backup then does not count.
pub async fn create(
    store: &Store,
    data: &Path,
    target: &Path,
    clock: &Arc<dyn Clock>,
    running: bool,
) -> Result<Manifest, BackupError> {
    let inside = |path: &Path| path.canonicalize().ok().zip(data.canonicalize().ok());
    make_target(target)?;
    if inside(target).is_some_and(|(target, data)| target.starts_with(data)) {
        let _ = fs::remove_dir(target);
        return Err(BackupError::Inside { path: target.to_owned(), data: data.to_owned() });
    }
    let to = target.join(DATA);
    // Before the journal: what was signed of it must not be ahead of it.
    let (from, into) = (data.to_owned(), to.clone());
    let copied = tokio::task::spawn_blocking(move || copy_rest(&from, &into, &LEFT_OUT)).await;
    copied.map_err(|error| ReadError::Unavailable { reason: error.to_string() })??;
    let time = clock.now();
    let paused = store.copy_to(&to.join("store")).await?;
    // After it: what was installed, and what was sealed meanwhile, needs its files.
    for folder in [ASSETS, personal::FOLDER] {
        let (from, into) = (data.join(folder), to.join(folder));
        let again = move || if from.is_dir() { copy_rest(&from, &into, &[]) } else { Ok(()) };
        let copied = tokio::task::spawn_blocking(again).await;
        copied.map_err(|error| ReadError::Unavailable { reason: error.to_string() })??;
    }
    // The copy itself is opened and proven, not one more copy of it: a backup that does not open is none.
    let (copy, own) = (to.join("store"), Arc::clone(clock));
    let opened = tokio::task::spawn_blocking(move || Store::open(&copy, own)).await;
    let proof = opened.map_err(|error| ReadError::Unavailable { reason: error.to_string() })??;
    let verified = proof.verify().await;
    let closed = proof.close().await.map_err(|reason| ReadError::Unavailable { reason });
    let verified = verified?;
    closed?;
    for left in ["lock", "reserve"] {
        let _ = fs::remove_file(to.join("store").join(left));
    }
    let list = to.clone();
    let files = tokio::task::spawn_blocking(move || {
        let mut files = Vec::new();
        hold(&list, &list, &mut files)?;
        Ok::<_, BackupError>(files)
    })
    .await
    .map_err(|error| ReadError::Unavailable { reason: error.to_string() })??;
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        time,
        group: verified.groups,
        appends: verified.appends,
        paused_ms: running.then_some(paused),
        files,
    };
    write_durably(&target.join(MANIFEST_FILE), &serde_json::to_vec_pretty(&manifest).unwrap_or_default())?;
    Ok(manifest)
}

fn write_durably(path: &Path, content: &[u8]) -> Result<(), BackupError> {
    let part = path.with_extension("part");
    let write = || -> io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(io_error(path))
}

/// Copies a folder durably, without some names at its top.
fn copy_rest(from: &Path, to: &Path, left_out: &[&str]) -> Result<(), BackupError> {
    fs::create_dir_all(to).map_err(io_error(to))?;
    for entry in fs::read_dir(from).map_err(io_error(from))? {
        let entry = entry.map_err(io_error(from))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if left_out.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let kind = entry.file_type().map_err(io_error(&path))?;
        if kind.is_dir() {
            copy_rest(&path, &target, &[])?;
        } else if kind.is_file() {
            let copied = fs::copy(&path, &target).and_then(|_| File::open(&target)?.sync_all());
            match copied {
                // A key of personal data may go while its folder is copied.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => {}
                copied => copied.map_err(io_error(&path))?,
            }
        }
    }
    File::open(to).and_then(|dir| dir.sync_all()).map_err(io_error(to))
}

fn digest(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Lists every file below a folder with its digest.
fn hold(base: &Path, dir: &Path, files: &mut Vec<Held>) -> Result<(), BackupError> {
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error(dir))? {
        entries.push(entry.map_err(io_error(dir))?.path());
    }
    entries.sort();
    for path in entries {
        if path.is_dir() {
            hold(base, &path, files)?;
        } else {
            let bytes = fs::metadata(&path).map_err(io_error(&path))?.len();
            let digest = digest(&path).map_err(io_error(&path))?;
            files.push(Held { path: path.strip_prefix(base).unwrap_or(&path).to_owned(), bytes, digest });
        }
    }
    Ok(())
}

/// Reads what a backup says of itself, and holds every file to its digest.
///
/// # Errors
/// If it is not whole.
pub fn check(backup: &Path) -> Result<Manifest, BackupError> {
    let wrong = |problem: String| BackupError::NotOne { path: backup.to_owned(), problem };
    let text = fs::read(backup.join(MANIFEST_FILE)).map_err(|error| wrong(format!("`{MANIFEST_FILE}`: {error}")))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| wrong(format!("`{MANIFEST_FILE}`: {error}")))?;
    if manifest.format != FORMAT {
        return Err(wrong(format!("its format is `{}`; this release reads `{FORMAT}`", manifest.format)));
    }
    for held in &manifest.files {
        if held.path.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(wrong(format!("`{}` is not a path below it", held.path.display())));
        }
        let path = backup.join(DATA).join(&held.path);
        let found = digest(&path).map_err(|error| wrong(format!("`{}`: {error}", held.path.display())))?;
        if found != held.digest {
            return Err(wrong(format!("`{}` is not what was backed up", held.path.display())));
        }
    }
    Ok(manifest)
}

/// What is known of erasures since a backup was made.
#[derive(Clone, Copy, Debug)]
pub enum Since<'a> {
    /// Nobody says: a backup with keys of personal data is not restored.
    Unknown,
    /// There were none.
    Nothing,
    /// Those of this list, which is kept from then on.
    Listed(&'a Path),
}

/// Restores a backup to a data folder that does not exist yet, and pauses its effects. What was erased since is not
/// brought back.
///
/// # Errors
/// As [`BackupError`] says.
pub fn restore(backup: &Path, data: &Path, since: Since<'_>) -> Result<Manifest, BackupError> {
    let manifest = check(backup)?;
    let held = backup.join(DATA).join(personal::FOLDER);
    if matches!(since, Since::Unknown) && keyring::holds_any(&held).map_err(io_error(&held))? {
        return Err(BackupError::Erasures { path: backup.to_owned() });
    }
    let listed = match since {
        Since::Listed(list) => {
            // A name that was mistyped is not taken for an empty list.
            fs::metadata(list).and_then(|_| erasures::read(list)).map_err(io_error(list))?
        }
        Since::Unknown | Since::Nothing => BTreeSet::new(),
    };
    make_target(data)?;
    // The marker comes first: a restore that is cut short must not run with its effects either.
    let word = format!(
        "Restored from a backup of {}. What this hub did later, it does not know: compare the remotes with its runs, \
         then run `crossdock backup reconciled --data {}`.\n",
        manifest.time,
        data.display()
    );
    write_durably(&effects::marker(data), word.as_bytes())?;
    copy_rest(&backup.join(DATA), data, &[])?;
    let list = erasures::path_in(data);
    erasures::add(&list, listed).map_err(io_error(&list))?;
    keyring::destroy_listed(&data.join(personal::FOLDER), &list)?;
    Ok(manifest)
}

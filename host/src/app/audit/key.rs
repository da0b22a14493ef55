//! The hub's signing key: `<data>/audit/hub.key`, made at the first start and readable by its owner alone, and
//! `<data>/audit/hub.pub` beside it, for whoever is to verify. The private key is never printed, exported or sent.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::policy::seal::{PrivateKey, PublicKey, SealError};

/// Folder of the audit's own files in the data folder.
pub const FOLDER: &str = "audit";
/// The private key's file.
const KEY_FILE: &str = "hub.key";
/// The public key's file, here and in an export.
pub const PUBLIC_KEY_FILE: &str = "hub.pub";
/// What the hub has signed.
pub const CHECKPOINTS_FILE: &str = "checkpoints.jsonl";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read or written.
    #[error("cannot use `{path}`; see to its permissions")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold a key.
    #[error("`{path}` does not hold a key: restore it from a backup")]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        source: SealError,
    },
    /// The key is gone, but what it signed is there.
    #[error(
        "the hub's signing key `{path}` is missing, though the hub has signed checkpoints with it: restore it from a \
         backup, or move `{folder}` aside to begin with a new key (what was signed before then verifies under the old \
         `hub.pub` only, so keep it)"
    )]
    Gone {
        /// The key's file.
        path: PathBuf,
        /// The audit's folder.
        folder: PathBuf,
    },
    /// There is no key yet.
    #[error("there is no signing key in `{path}`: start the hub once on this data folder, or name another one")]
    None {
        /// The key's file.
        path: PathBuf,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness for a key: {problem}")]
    Randomness {
        /// Why.
        problem: String,
    },
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::File { path, source }
}

/// The key of a data folder; made if there is none. Whether it was made just now.
///
/// # Errors
/// As [`KeyError`] says.
pub fn open_or_make(data: &Path) -> Result<(PrivateKey, bool), KeyError> {
    let folder = data.join(FOLDER);
    let path = folder.join(KEY_FILE);
    if path.exists() {
        let key = open(data)?;
        // Whoever verifies needs it, and it follows from the private one.
        write_public(&folder, &key.public())?;
        return Ok((key, false));
    }
    if folder.join(CHECKPOINTS_FILE).exists() {
        return Err(KeyError::Gone { path, folder });
    }
    fs::create_dir_all(&folder).map_err(file_error(&folder))?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| KeyError::Randomness { problem: error.to_string() })?;
    let key = PrivateKey::from_seed(&seed);
    let pem = key.to_pem().map_err(|source| KeyError::Form { path: path.clone(), source })?;
    write_private(&folder, &path, &pem).map_err(file_error(&path))?;
    write_public(&folder, &key.public())?;
    Ok((key, true))
}

/// The key of a data folder.
///
/// # Errors
/// If there is none.
pub fn open(data: &Path) -> Result<PrivateKey, KeyError> {
    let path = data.join(FOLDER).join(KEY_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(KeyError::None { path }),
        Err(source) => return Err(KeyError::File { path, source }),
    };
    warn_if_open_to_others(&path);
    PrivateKey::from_pem(&text).map_err(|source| KeyError::Form { path, source })
}

/// Reads a public key's file.
///
/// # Errors
/// If it cannot be read or is none.
pub fn read_public(path: &Path) -> Result<PublicKey, KeyError> {
    let text = fs::read(path).map_err(file_error(path))?;
    let text = String::from_utf8_lossy(&text);
    PublicKey::from_line(&text).map_err(|source| KeyError::Form { path: path.to_owned(), source })
}

/// Appears under its name only whole and synced, and is never readable by others, not even for a moment.
fn write_private(folder: &Path, path: &Path, pem: &str) -> io::Result<()> {
    let part = path.with_extension("part");
    let _ = fs::remove_file(&part); // left by a crash; absent otherwise
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&part)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    File::open(folder)?.sync_all()
}

fn write_public(folder: &Path, key: &PublicKey) -> Result<(), KeyError> {
    let path = folder.join(PUBLIC_KEY_FILE);
    let text = format!("{}\n", key.to_line());
    if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    fs::write(&path, text).map_err(file_error(&path))
}

fn warn_if_open_to_others(path: &Path) {
    #[cfg(unix)]
    if let Ok(file) = fs::metadata(path) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.permissions());
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "others may read the hub's signing key: run `chmod 600` on it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_may_read_it() {
        let data = tempfile::tempdir().unwrap();
        assert!(matches!(open(data.path()), Err(KeyError::None { .. })));
        let (key, made) = open_or_make(data.path()).unwrap();
        let (again, made_again) = open_or_make(data.path()).unwrap();
        assert_eq!((key.public(), made, made_again), (again.public(), true, false));
        assert_eq!(read_public(&data.path().join("audit/hub.pub")).unwrap(), key.public());
        #[cfg(unix)]
        {
            let file = fs::metadata(data.path().join("audit/hub.key")).unwrap();
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777, 0o600);
        }
    }

    #[test]
    fn a_lost_key_is_not_replaced_in_silence() {
        let data = tempfile::tempdir().unwrap();
        open_or_make(data.path()).unwrap();
        fs::write(data.path().join("audit").join(CHECKPOINTS_FILE), "").unwrap();
        fs::remove_file(data.path().join("audit/hub.key")).unwrap();
        assert!(matches!(open_or_make(data.path()), Err(KeyError::Gone { .. })));
    }
}

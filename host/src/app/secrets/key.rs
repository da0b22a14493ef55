//! The key that seals the secrets which the hub keeps: a file of its own, made when the first secret is set, readable by
//! its owner alone, and left out of every backup.
//!
//! Sealed with ChaCha20-Poly1305 (RFC 8439), from the library that the hub's TLS stands on. Nonces are drawn at random: under
//! one key that holds for 2³² values, and a hub keeps a thousand. The name and the version of a secret are authenticated with
//! it, so that no sealed value passes for another.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::{app::access::enrolment::write_secret, model::hex::hex, ports::secrets::Secret};

/// Folder of the key in the data folder. No backup holds it.
pub const FOLDER: &str = "secrets";
/// The key's file in it.
const KEY_FILE: &str = "master.key";
/// What stands before the key in its file.
const PREFIX: &str = "crossdock-secrets-key-1:";
/// Largest key file, bytes.
const FILE_BYTES_LIMIT: u64 = 1 << 10;
const KEY_BYTES: usize = 32;
/// Under which name a key of before is sealed. No secret has a name with a space in it.
const BEFORE: &str = "key of before";

/// Why the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot use the secrets' key `{path}`; see to its permissions, or name another file with `--secrets-key`")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read the file.
    #[error("the secrets' key `{path}` can be read by others than its owner: `chmod 600` it")]
    Exposed {
        /// Which.
        path: PathBuf,
    },
    /// The file does not hold a key.
    #[error("`{path}` does not hold a key of secrets: name the right file with `--secrets-key`")]
    Form {
        /// Which.
        path: PathBuf,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness for a key: {problem}")]
    Randomness {
        /// Why.
        problem: String,
    },
}

/// A sealed value cannot be opened, or none be sealed.
#[derive(Debug, thiserror::Error)]
#[error("it does not open with this key: it was sealed with another, or was changed")]
pub struct OpenError;

/// The key. It never prints, and is wiped when dropped.
pub struct MasterKey(Secret);

/// Where the key of a data folder is, unless it is named.
#[must_use]
pub fn path_in(data: &Path) -> PathBuf {
    data.join(FOLDER).join(KEY_FILE)
}

impl MasterKey {
    /// Reads a key; absent: there is no such file.
    ///
    /// # Errors
    /// As [`KeyError`] says.
    pub fn read(path: &Path) -> Result<Option<Self>, KeyError> {
        let wrong = |source| KeyError::File { path: path.to_owned(), source };
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error)),
        };
        #[cfg(unix)]
        if std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned() });
        }
        let form = || KeyError::Form { path: path.to_owned() };
        if found.len() > FILE_BYTES_LIMIT {
            return Err(form());
        }
        let text = Secret::new(fs::read(path).map_err(wrong)?);
        let text = std::str::from_utf8(text.expose()).map_err(|_| form())?;
        let key = STANDARD.decode(text.trim().strip_prefix(PREFIX).ok_or_else(form)?).map_err(|_| form())?;
        if key.len() != KEY_BYTES {
            return Err(form());
        }
        Ok(Some(Self(Secret::new(key))))
    }

    /// Makes a key and writes it to a file.
    ///
    /// # Errors
    /// As [`KeyError`] says; no secret may be sealed with it then.
    pub fn make(path: &Path) -> Result<Self, KeyError> {
        let key = Secret::new(random::<KEY_BYTES>()?.to_vec());
        let text = Secret::new(format!("{PREFIX}{}", STANDARD.encode(key.expose())));
        let text = std::str::from_utf8(text.expose()).unwrap_or_default();
        write_secret(path, text).map_err(|source| KeyError::File { path: path.to_owned(), source })?;
        Ok(Self(key))
    }

    /// The key's name: tells keys apart, and tells nothing of the key.
    #[must_use]
    pub fn id(&self) -> String {
        let digest = blake3::derive_key("crossdock 2026 id of a key of secrets", self.0.expose());
        hex(digest.iter().take(8))
    }

    /// What makes ids of the persons that personal data is about: without this key nobody can tell whose an id is.
    #[must_use]
    pub fn subjects(&self) -> [u8; KEY_BYTES] {
        blake3::derive_key("crossdock 2026 ids of subjects of personal data", self.0.expose())
    }

    /// Another key, sealed: whoever has this one can open what that one sealed.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn keep(&self, other: &Self) -> Result<Vec<u8>, KeyError> {
        self.seal(BEFORE, 1, &other.0)
    }

    /// A key that was sealed with this one.
    #[must_use]
    pub fn kept(&self, sealed: &[u8]) -> Option<Self> {
        self.open(BEFORE, 1, sealed).ok().filter(|key| key.expose().len() == KEY_BYTES).map(Self)
    }

    /// Seals a value under a name and a version.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn seal(&self, name: &str, version: u64, value: &Secret) -> Result<Vec<u8>, KeyError> {
        let nonce = random::<NONCE_LEN>()?;
        let mut sealed = value.expose().to_vec();
        let done = self.cipher().and_then(|cipher| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            cipher.seal_in_place_append_tag(nonce, Aad::from(about(name, version)), &mut sealed).ok()
        });
        if done.is_none() {
            // INVARIANT: the key has the cipher's length, and values are bounded far below what it can seal.
            sealed.fill(0);
            return Err(KeyError::Randomness { problem: "the value cannot be sealed".to_owned() });
        }
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens a value that was sealed under exactly this name and version.
    ///
    /// # Errors
    /// If it was not, or by another key.
    pub fn open(&self, name: &str, version: u64, sealed: &[u8]) -> Result<Secret, OpenError> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(OpenError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError)?;
        let cipher = self.cipher().ok_or(OpenError)?;
        let mut opened = sealed.to_vec();
        let length =
            cipher.open_in_place(nonce, Aad::from(about(name, version)), &mut opened).map_err(|_| OpenError)?.len();
        opened.truncate(length);
        Ok(Secret::new(opened))
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&CHACHA20_POLY1305, self.0.expose()).ok().map(LessSafeKey::new)
    }
}

/// What is authenticated with a value. A name holds no line feed, so no two give the same.
fn about(name: &str, version: u64) -> Vec<u8> {
    format!("crossdock secret 1\n{name}\n{version}").into_bytes()
}

fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| KeyError::Randomness { problem: error.to_string() })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_under_its_own_name_version_and_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let key = MasterKey::make(&path_in(folder.path())).unwrap();
        let other = MasterKey::make(&folder.path().join("other")).unwrap();
        let sealed = key.seal("erp", 1, &Secret::new("hunter2")).unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(key.open("erp", 1, &sealed).unwrap().expose(), b"hunter2");
        assert!(key.open("wms", 1, &sealed).is_err() && key.open("erp", 2, &sealed).is_err());
        assert!(other.open("erp", 1, &sealed).is_err());
        assert_ne!(key.id(), other.id());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open("erp", 1, &changed).is_err(), "byte {at}");
        }
        assert!(key.open("erp", 1, &sealed[..10]).is_err());
        assert_ne!(sealed, key.seal("erp", 1, &Secret::new("hunter2")).unwrap(), "nonces are drawn anew");
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_owners_alone_and_refused_otherwise() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = path_in(folder.path());
        assert!(MasterKey::read(&path).unwrap().is_none());
        let made = MasterKey::make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(MasterKey::read(&path).unwrap().unwrap().id(), made.id());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(MasterKey::read(&path), Err(KeyError::Exposed { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "something else").unwrap();
        assert!(matches!(MasterKey::read(&path), Err(KeyError::Form { .. })));
    }
}

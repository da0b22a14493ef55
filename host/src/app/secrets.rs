//! Secrets: from the environment and from files, read anew at each use; and those that the hub keeps itself, encrypted.
//!
//! | module | does |
//! | --- | --- |
//! | [`key`] | the key that seals what the hub keeps: a file that no backup holds |
//! | [`store`] | the secrets that the hub keeps: set, rotated, taken back, removed |

pub mod key;
pub mod store;

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use self::store::SecretStore;
use crate::{
    model::connection::SecretRef,
    ports::secrets::{Secret, SecretError, Secrets},
};

/// Longest secret, bytes.
const SECRET_BYTES_LIMIT: u64 = 64 << 10;

/// Resolves `env:NAME` and `file:PATH`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalSecrets;

/// Folders below the data folder in which the hub keeps tokens, keys and what it has recorded: nobody's secret lies there.
/// `secrets` is not among them, since a retailer in a box keeps those of its systems beside the key.
const OWN_FOLDERS: [&str; 4] = ["access", "audit", "personal", "store"];

/// Resolves every reference, but to the hub's own files: whoever may name a secret could have them signed with, or sent.
pub struct AllSecrets {
    store: Arc<SecretStore>,
    own: Vec<PathBuf>,
}

impl AllSecrets {
    /// Those of a hub with this data folder.
    #[must_use]
    pub fn new(store: Arc<SecretStore>, data: &Path) -> Self {
        // Where the key is unless it is named: after a reseal, the key of before.
        let keys = [store.key_path().to_owned(), key::path_in(data)];
        let own = OWN_FOLDERS.iter().map(|folder| data.join(folder)).chain(keys);
        Self { own: own.collect(), store }
    }

    fn is_own(&self, path: &Path) -> bool {
        // What cannot be followed is told by whoever reads it.
        let Ok(file) = path.canonicalize() else { return false };
        self.own.iter().filter_map(|own| own.canonicalize().ok()).any(|own| file.starts_with(own))
    }
}

impl Secrets for AllSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        match reference {
            SecretRef::Store(name) => self.store.value(name),
            SecretRef::File(path) if self.is_own(path.as_ref()) => Err(SecretError {
                reference: reference.to_string(),
                problem: "the file is the hub's own; keep secrets elsewhere".to_owned(),
            }),
            _ => LocalSecrets.resolve(reference),
        }
    }

    fn earlier(&self, reference: &SecretRef) -> Option<Secret> {
        match reference {
            SecretRef::Store(name) => self.store.earlier(name),
            _ => None,
        }
    }

    fn version(&self, reference: &SecretRef) -> u64 {
        match reference {
            SecretRef::Store(name) => self.store.version(name),
            _ => 0,
        }
    }
}

impl Secrets for LocalSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let wrong = |problem: String| SecretError { reference: reference.to_string(), problem };
        match reference {
            SecretRef::Env(name) => env::var(name)
                .map(|value| Secret::new(value.into_bytes()))
                .map_err(|_| wrong(format!("set the environment variable `{name}` for the hub's process"))),
            SecretRef::Store(_) => Err(wrong("no secrets are kept here".to_owned())),
            SecretRef::File(path) => {
                let found = fs::metadata(path).map_err(|error| wrong(format!("{error}; create the file")))?;
                if found.len() > SECRET_BYTES_LIMIT {
                    return Err(wrong(format!("the file is larger than {SECRET_BYTES_LIMIT} bytes")));
                }
                let mut value = fs::read(path).map_err(|error| wrong(error.to_string()))?;
                while value.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                    value.pop();
                }
                if value.is_empty() {
                    return Err(wrong("the file is empty".to_owned()));
                }
                Ok(Secret::new(value))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LocalSecrets;
    use crate::{model::connection::SecretRef, ports::secrets::Secrets};

    #[test]
    fn a_file_gives_its_content_without_the_line_break() {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), "s3cret\n").expect("written");
        let reference = SecretRef::File(file.path().display().to_string());
        let secret = LocalSecrets.resolve(&reference).expect("resolves");
        assert_eq!(secret.expose(), b"s3cret");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn what_is_missing_is_named_without_a_value() {
        let error = LocalSecrets.resolve(&SecretRef::Env("CROSSDOCK_NOT_SET".into())).expect_err("not set");
        assert!(error.to_string().contains("set the environment variable `CROSSDOCK_NOT_SET`"));
    }
}

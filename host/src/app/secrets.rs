//! Secrets: from the environment and from files, read anew at each use; and those that the hub keeps itself, encrypted.
//!
//! | module | does |
//! | --- | --- |
//! | [`key`] | the key that seals what the hub keeps: a file that no backup holds |
//! | [`store`] | the secrets that the hub keeps: set, rotated, taken back, removed |

pub mod key;
pub mod store;

use std::{env, fs, sync::Arc};

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

/// Resolves every reference.
pub struct AllSecrets {
    /// What the hub keeps.
    pub store: Arc<SecretStore>,
}

impl Secrets for AllSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        match reference {
            SecretRef::Store(name) => self.store.value(name),
            _ => LocalSecrets.resolve(reference),
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

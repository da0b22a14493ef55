//! What may be named where: names that stand in a path of the API, and secrets by reference.

use std::path::Path;

use super::HubSettings;
use crate::{model::connection::SecretRef, ports::settings::SettingError};

/// Longest name of a connection or a webhook source, bytes.
const NAME_BYTES_MAX: usize = 64;

impl HubSettings {
    /// Whether a reference may stand in a place at all: there is such a secret, and it is not the hub's own.
    pub(super) fn may_refer(&self, place: &str, reference: &SecretRef) -> Result<(), SettingError> {
        let wrong = |problem: String| SettingError::Refused { problem: format!("`{place}`: {problem}"), tested: None };
        match reference {
            SecretRef::Store(secret) if self.store.version(secret) == 0 => {
                Err(wrong(format!("secret `{secret}` is not set: `crossdock secret set {secret}`")))
            }
            SecretRef::File(path) => {
                // The data folder holds the hub's own keys and tokens.
                let real = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
                let (file, data, key) = (real(path.as_ref()), real(&self.data), real(self.store.key_path()));
                let is_own = |file: &Path| {
                    data.as_ref().is_ok_and(|data| file.starts_with(data)) || key.as_ref().is_ok_and(|key| file == key)
                };
                if file.map_or(true, |file| is_own(&file)) {
                    return Err(wrong(
                        "what lies in the hub's data folder is the hub's own, and no such secret".to_owned(),
                    ));
                }
                Ok(())
            }
            SecretRef::Store(_) | SecretRef::Env(_) => Ok(()),
        }
    }

    /// Why a second person has to agree to a reference that was not there: one that the hub keeps and nothing else uses opens
    /// nothing else.
    pub(super) fn beyond(&self, own: &str, place: &str, reference: &SecretRef) -> Option<String> {
        match reference {
            SecretRef::Store(secret) => {
                let others = self.others_using(own, secret);
                let shared = || format!("it is given `{reference}` ({place}), which {} uses", others.join(", "));
                (!others.is_empty()).then(shared)
            }
            SecretRef::File(_) | SecretRef::Env(_) => Some(format!("it is given `{reference}` ({place})")),
        }
    }

    /// What else uses a secret that the hub keeps.
    pub(super) fn others_using(&self, own: &str, secret: &str) -> Vec<String> {
        self.users_of(secret).into_iter().filter(|user| user != own).collect()
    }
}

/// Whether a connection or a webhook source may have a name.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), SettingError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    // A path's `.` and `..` lead elsewhere.
    let fits = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(plain)
        && name.bytes().any(|byte| byte != b'.');
    if fits {
        return Ok(());
    }
    let problem = format!(
        "`{name}` cannot name a {what}: at most {NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`, and not dots alone"
    );
    Err(SettingError::Invalid { problem })
}

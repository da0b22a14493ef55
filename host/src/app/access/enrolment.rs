//! How the first admin is let in: whoever can read the data folder can. The hub writes a token to a file there that is
//! good once and for a quarter of an hour; it is exchanged for an admin's token, and that is an audit record.
//!
//! The same is the way back in when every admin's token has expired: the next start writes such a file again.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{Access, AccessError, tokens};
use crate::{
    model::{audit::Cause, timestamp::Timestamp},
    policy::token,
    ports::access::{Issued, TokenError},
};

/// Folder of access's own files in the data folder.
pub const FOLDER: &str = "access";
/// The enrolment token's file in it.
pub const ENROLMENT_FILE: &str = "enrolment";
/// The file in it that `crossdock enroll` writes the admin's token to, and that the command line reads.
pub const TOKEN_FILE: &str = "token";
/// For how long an enrolment token is good, seconds.
pub const ENROLMENT_S: u64 = 15 * 60;

/// An enrolment token that was not used yet.
pub(super) struct Enrolment {
    secret: String,
    until: Timestamp,
    path: PathBuf,
}

/// Where the enrolment token of a data folder is.
#[must_use]
pub fn enrolment_path(data: &Path) -> PathBuf {
    data.join(FOLDER).join(ENROLMENT_FILE)
}

/// Where the command line's token of a data folder is.
#[must_use]
pub fn token_path(data: &Path) -> PathBuf {
    data.join(FOLDER).join(TOKEN_FILE)
}

/// Writes a secret to a file that its owner alone can read, in place of what was there.
///
/// # Errors
/// If it cannot be written; what was there stays.
pub fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let new = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = options.open(&new)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // Its name too survives a power cut.
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

impl Access {
    /// Writes an enrolment token if no admin's token is valid; where it is then.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn offer_enrolment(&self, data: &Path) -> Result<Option<PathBuf>, AccessError> {
        let now = self.clock.now();
        let path = enrolment_path(data);
        if self.read().values().any(|held| held.record.is_admin() && held.record.is_valid(now)) {
            // What an earlier start left is good for nothing.
            let _ = fs::remove_file(&path);
            return Ok(None);
        }
        let wrong = |source| AccessError::Enrolment { path: path.clone(), source };
        let (id, secret) = tokens::random().map_err(|error| wrong(io::Error::other(error.to_string())))?;
        let text = token::text(&id, &secret);
        write_secret(&path, &text).map_err(wrong)?;
        let until = tokens::after(now, ENROLMENT_S);
        *self.enrolment.lock().await = Some(Enrolment { secret: tokens::digest(&text), until, path: path.clone() });
        Ok(Some(path))
    }

    pub(super) async fn enroll_admin(&self, shown: &str, name: &str) -> Result<Issued, TokenError> {
        let refused = |problem: &str| Err(TokenError::Enrolment { problem: problem.to_owned() });
        tokens::check_name(name)?;
        let _changing = self.changing.lock().await;
        let mut offered = self.enrolment.lock().await;
        let Some(enrolment) = offered.as_ref() else {
            return refused("nobody is to be enrolled: an admin makes further tokens, with `crossdock token create`");
        };
        let now = self.clock.now();
        let secret = token::parse(shown).map_or("", |(_, secret)| secret);
        if !token::is_it(secret, &enrolment.secret) {
            return refused("this is not the enrolment token that the hub wrote to its data folder at this start");
        }
        if now >= enrolment.until {
            return refused("the enrolment token was good for 15 minutes: start the hub again for another");
        }
        let (text, record) = tokens::admin(name, now, tokens::VALID_S_DEFAULT, false)?;
        let reason = format!("`{name}` showed the enrolment token of the data folder");
        let cause = Cause { actor: "enrolment".to_owned(), reason };
        let view = self.keep(&cause, "hub.enroll", record).await?;
        if let Some(used) = offered.take() {
            // It is good for nothing now, whether it is there or not.
            let _ = fs::remove_file(used.path);
        }
        Ok(Issued { token: text, view })
    }
}

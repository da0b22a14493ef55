//! The keys of personal data are sealed anew, under another key of secrets, one file after the other; a crash leaves each
//! sealed with one of the two.
//!
//! Who a person is stays the same: ids of persons are made with what the *first* key of secrets gave, which is kept, sealed,
//! in `personal/subjects` from then on.

use std::{fs, io, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{KeyFile, KeyringError, name_of, read, sync_folder};
use crate::{
    app::{access::enrolment::write_secret, reseal::durable, secrets::key::MasterKey},
    ports::secrets::Secret,
};

/// The file that holds what ids of persons are made with, once that is not the key of secrets any more.
const SUBJECTS_FILE: &str = "subjects";
/// Under which name that is sealed. No secret has a name with a space in it.
const SUBJECTS: &str = "personal subjects";
/// How long it is, bytes.
const SUBJECTS_BYTES: usize = 32;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Keys that are sealed with the new key.
    pub keys: usize,
    /// Keys that open with neither: they were lost before.
    pub lost: usize,
}

/// What ids of persons are made with.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn subjects(dir: &Path, master: &MasterKey) -> Result<[u8; SUBJECTS_BYTES], KeyringError> {
    // One that does not open was sealed with a key that is lost, and so is everybody whom it told.
    Ok(kept(dir, master)?.unwrap_or_else(|| master.subjects()))
}

fn kept(dir: &Path, master: &MasterKey) -> Result<Option<[u8; SUBJECTS_BYTES]>, KeyringError> {
    let path = dir.join(SUBJECTS_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(KeyringError::File { path, source }),
    };
    let sealed = STANDARD.decode(text.trim()).map_err(|_| KeyringError::Form { path })?;
    let opened = master.open(SUBJECTS, 1, &sealed).ok();
    Ok(opened.and_then(|opened| opened.expose().try_into().ok()))
}

/// Seals every key of a folder anew that is not yet.
///
/// # Errors
/// If a file cannot be read or written; the same call again goes on.
pub fn reseal(dir: &Path, old: &MasterKey, new: &MasterKey) -> Result<Resealed, KeyringError> {
    let wrong = |source| KeyringError::File { path: dir.to_owned(), source };
    if !dir.is_dir() {
        return Ok(Resealed::default());
    }
    if kept(dir, new)?.is_none() {
        let sealed = STANDARD.encode(new.seal(SUBJECTS, 1, &Secret::new(subjects(dir, old)?))?);
        replace(&dir.join(SUBJECTS_FILE), &sealed).map_err(wrong)?;
        durable();
    }
    let mut done = Resealed::default();
    for shard in fs::read_dir(dir).map_err(wrong)? {
        let shard = shard.map_err(wrong)?.path();
        if !shard.is_dir() {
            continue;
        }
        for file in fs::read_dir(shard).map_err(wrong)? {
            let path = file.map_err(wrong)?.path();
            // What a crash left of a file that was being written is not read by anybody.
            let is_key = path.extension().is_none();
            let Some(held) = is_key.then(|| read(&path)).transpose()?.flatten() else { continue };
            let count = if anew(&path, held, old, new)? { &mut done.keys } else { &mut done.lost };
            *count += 1;
        }
    }
    Ok(done)
}

/// Seals one key anew, unless it is; whether it opens at all.
fn anew(path: &Path, held: KeyFile, old: &MasterKey, new: &MasterKey) -> Result<bool, KeyringError> {
    let name = name_of(held.key);
    let sealed = STANDARD.decode(&held.sealed).map_err(|_| KeyringError::Form { path: path.to_owned() })?;
    if new.open(&name, 1, &sealed).is_ok() {
        return Ok(true);
    }
    let Ok(key) = old.open(&name, 1, &sealed) else { return Ok(false) };
    let wrong = |source| KeyringError::File { path: path.to_owned(), source };
    let file = KeyFile { sealed: STANDARD.encode(new.seal(&name, 1, &key)?), ..held };
    let text = serde_json::to_string(&file).map_err(|error| wrong(error.into()))?;
    replace(path, &text).map_err(wrong)?;
    durable();
    Ok(true)
}

/// Puts a file in another's place, which is overwritten then: whoever has the key of before is not to find it on the disk.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let old = match fs::OpenOptions::new().write(true).open(path) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    write_secret(path, text)?;
    let Some(mut old) = old else { return sync_folder(path) };
    let found = old.metadata()?;
    // Somebody's copy, by another name of the same file, is not ours to destroy.
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(&found) > 0 {
        return Ok(());
    }
    let length = usize::try_from(found.len()).map_err(io::Error::other)?;
    io::Write::write_all(&mut old, &vec![0; length])?;
    old.sync_all()
}

#[cfg(test)]
mod tests;

//! Compiled code on disk, by the component's digest and the engine's settings, so that a restart loads in microseconds
//! what took seconds to compile.
//!
//! A compiled artifact is machine code: whoever can change one runs code in the hub. So the folder belongs to the
//! hub's user alone (0700), and each artifact is accepted only with a tag made by a key that is beside it (0600), over
//! its name and its content. That catches damage, an artifact that another user, a careless restore or an image build
//! put there, and one copied under another component's name. It does not hold against somebody who already runs as the
//! hub's user and can read the key; nothing on this machine does. What does not pass is compiled anew and replaced.

use std::{
    fs::{self, Permissions},
    hash::{Hash, Hasher},
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use subtle::ConstantTimeEq as _;
use wasmtime::{Engine, component::Component};

use crate::model::{hex::hex, id::Digest};

const KEY_FILE: &str = "key";
const CODE_EXTENSION: &str = "cwasm";
const TAG_EXTENSION: &str = "tag";

/// The cache in one folder, for one engine.
pub(super) struct CompiledCache {
    folder: PathBuf,
    key: [u8; 32],
    settings: String,
}

/// What stands in for a component whose code was not found.
#[derive(Debug)]
pub(super) enum Miss {
    /// It was never stored.
    Absent,
    /// What is stored cannot be trusted or read.
    Damaged(String),
}

impl CompiledCache {
    /// Opens a folder, creating it and its key if need be, and clears away what other engines left.
    ///
    /// # Errors
    /// If the folder or its key cannot be created or read.
    pub(super) fn open(folder: &Path, engine: &Engine) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        let cache = Self { folder: folder.to_owned(), key: key(folder)?, settings: settings(engine) };
        cache.clear_others()?;
        Ok(cache)
    }

    /// The compiled component, if it is there and untouched.
    ///
    /// # Errors
    /// Why it is to be compiled.
    pub(super) fn load(&self, engine: &Engine, digest: Digest) -> Result<Component, Miss> {
        let (code, tag) = self.paths(digest);
        let mut file = match fs::File::open(&code) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Miss::Absent),
            Err(error) => return Err(Miss::Damaged(error.to_string())),
        };
        let damaged = |error: io::Error| Miss::Damaged(error.to_string());
        let mut expected = Vec::new();
        fs::File::open(tag).and_then(|tag| tag.take(64).read_to_end(&mut expected)).map_err(damaged)?;
        let mut hasher = self.hasher(&code);
        hasher.update_reader(&mut file).map_err(damaged)?;
        if !bool::from(hasher.finalize().as_bytes().as_slice().ct_eq(&expected)) {
            return Err(Miss::Damaged("its tag does not match its content".into()));
        }
        #[allow(
            unsafe_code,
            reason = "the content was made by this engine's settings and not touched since: see above"
        )]
        // SAFETY: the bytes under this name were written by `store` from `Component::serialize`, as the tag just
        // showed, and nobody else may write into the folder.
        let component = unsafe { Component::deserialize_file(engine, &code) };
        component.map_err(|error| Miss::Damaged(format!("{error:#}")))
    }

    /// Keeps a compiled component. The tag comes last: without it the code counts for nothing.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn store(&self, digest: Digest, code: &[u8]) -> io::Result<()> {
        let (code_path, tag_path) = self.paths(digest);
        let tag = *self.hasher(&code_path).update(code).finalize().as_bytes();
        for (path, content) in [(&code_path, code), (&tag_path, tag.as_slice())] {
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(content)?;
            file.persist(path).map_err(|error| error.error)?;
        }
        Ok(())
    }

    fn paths(&self, digest: Digest) -> (PathBuf, PathBuf) {
        let digest = hex(digest.as_bytes());
        let code = self.folder.join(format!("{digest}-{}.{CODE_EXTENSION}", self.settings));
        let tag = code.with_extension(TAG_EXTENSION);
        (code, tag)
    }

    fn hasher(&self, code: &Path) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        // Names are all of one length, so the name and the content cannot be shifted against each other.
        hasher.update(code.file_name().unwrap_or_default().as_encoded_bytes());
        hasher
    }

    fn clear_others(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_ours = name == KEY_FILE || name.contains(&format!("-{}.", self.settings));
            if !is_ours && path.is_file() {
                // Two hubs that start at once may both try.
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// The folder's key, made at first use.
fn key(folder: &Path) -> io::Result<[u8; 32]> {
    let path = folder.join(KEY_FILE);
    match fs::read(&path) {
        Ok(bytes) => {
            if let Ok(key) = bytes.as_slice().try_into() {
                fs::set_permissions(&path, Permissions::from_mode(0o600))?;
                return Ok(key);
            }
            fs::remove_file(&path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    // A temporary file is 0600 from the start, and a second hub that starts now does not overwrite the first's key.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&key)?;
    match file.persist_noclobber(&path) {
        Ok(_) => Ok(key),
        Err(_) => fs::read(&path)?.as_slice().try_into().map_err(io::Error::other),
    }
}

/// The engine's version and settings, as part of a file's name.
fn settings(engine: &Engine) -> String {
    struct Blake(blake3::Hasher);
    impl Hasher for Blake {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            self.0.finalize().as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
        }
    }
    let mut hasher = Blake(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use wasmtime::component::Component;

    use super::{CompiledCache, Miss};
    use crate::{model::id::Digest, wasm::engine};

    const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn a_stored_component_loads_and_a_touched_or_renamed_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine::new().unwrap();
        let cache = CompiledCache::open(folder.path(), &engine).unwrap();
        let (digest, other) = (Digest::of(b"1"), Digest::of(b"2"));
        assert!(matches!(cache.load(&engine, digest), Err(Miss::Absent)));

        let code = Component::new(&engine, EMPTY_COMPONENT).unwrap().serialize().unwrap();
        cache.store(digest, &code).unwrap();
        assert!(cache.load(&engine, digest).is_ok());
        assert!(CompiledCache::open(folder.path(), &engine).unwrap().load(&engine, digest).is_ok(), "after a restart");

        let ((from, from_tag), (to, to_tag)) = (cache.paths(digest), cache.paths(other));
        fs::copy(&from, to).unwrap();
        fs::copy(&from_tag, to_tag).unwrap();
        assert!(matches!(cache.load(&engine, other), Err(Miss::Damaged(_))), "under another name");

        let mut touched = fs::read(&from).unwrap();
        *touched.last_mut().unwrap() ^= 1;
        fs::write(&from, touched).unwrap();
        assert!(matches!(cache.load(&engine, digest), Err(Miss::Damaged(_))), "touched");
        cache.store(digest, &code).unwrap();
        fs::remove_file(&from_tag).unwrap();
        assert!(matches!(cache.load(&engine, digest), Err(Miss::Damaged(_))), "without its tag");
        cache.store(digest, &code).unwrap();
        fs::write(folder.path().join("key"), [7; 32]).unwrap();
        let with_another_key = CompiledCache::open(folder.path(), &engine).unwrap();
        assert!(matches!(with_another_key.load(&engine, digest), Err(Miss::Damaged(_))), "with another key");
    }

    #[test]
    fn the_folder_and_its_key_are_for_the_hub_alone_and_leftovers_are_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine::new().unwrap();
        let path = folder.path().join("cache");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("00-old.cwasm"), "").unwrap();
        CompiledCache::open(&path, &engine).unwrap();
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("key"))), (0o700, 0o600));
        assert!(!path.join("00-old.cwasm").exists());
    }
}

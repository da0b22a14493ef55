//! Blobs as files: `<dir>/blobs/<64 hexadecimal digits of the digest>`.
//!
//! A file appears under its name only whole and synced; what lies under another name is litter of a crash, and goes
//! when the store is opened.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::{
    model::id::Digest,
    ports::blobs::{BLOB_BYTES_LIMIT, BlobError, Blobs},
};

const LITTER_SUFFIX: &str = ".part";

/// Blobs in a folder.
#[derive(Debug)]
pub(super) struct BlobFiles {
    dir: PathBuf,
}

impl BlobFiles {
    /// Opens the folder, which exists, and removes litter.
    pub(super) fn open(dir: PathBuf) -> io::Result<Self> {
        for file in fs::read_dir(&dir)? {
            let path = file?.path();
            if path.to_string_lossy().ends_with(LITTER_SUFFIX) {
                fs::remove_file(path)?;
            }
        }
        Ok(Self { dir })
    }

    /// A folder of another store, which is only read and need not be there.
    pub(super) fn beside(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let text = digest.to_string();
        self.dir.join(text.strip_prefix("sha256:").unwrap_or(&text))
    }
}

fn unavailable(path: &Path) -> impl Fn(io::Error) -> BlobError {
    let path = path.display().to_string();
    move |error| BlobError::Unavailable { reason: format!("`{path}`: {error}") }
}

fn store(dir: &Path, path: &Path, digest: Digest, content: &[u8]) -> Result<(), BlobError> {
    // A whole file is kept; a damaged one is replaced, which is how publishing again repairs it.
    if !matches!(load(path, digest), Ok(Some(_))) {
        let mut file = tempfile::Builder::new().suffix(LITTER_SUFFIX).tempfile_in(dir).map_err(unavailable(dir))?;
        file.write_all(content).and_then(|()| file.as_file().sync_all()).map_err(unavailable(path))?;
        file.persist(path).map_err(|error| unavailable(path)(error.error))?;
    }
    // Also for a file that was there: whoever renamed it may not have got as far as this.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(unavailable(dir))
}

fn load(path: &Path, digest: Digest) -> Result<Option<Bytes>, BlobError> {
    let content = match fs::read(path) {
        Ok(content) => Bytes::from(content),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unavailable(path)(error)),
    };
    if Digest::of(&content) == digest { Ok(Some(content)) } else { Err(BlobError::Damaged { digest }) }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(BlobError::Unavailable { reason: error.to_string() }))
}

impl Blobs for BlobFiles {
    fn put(&self, content: Bytes) -> BoxFuture<'_, Result<Digest, BlobError>> {
        Box::pin(async move {
            if content.len() > BLOB_BYTES_LIMIT {
                return Err(BlobError::TooLarge { actual_bytes: content.len(), limit_bytes: BLOB_BYTES_LIMIT });
            }
            let this = Self { dir: self.dir.clone() };
            let put = move || {
                let digest = Digest::of(&content);
                store(&this.dir, &this.path(digest), digest, &content).map(|()| digest)
            };
            blocking(put).await
        })
    }

    fn get(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Bytes>, BlobError>> {
        let path = self.path(digest);
        Box::pin(async move { blocking(move || load(&path, digest)).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_damaged_blob_is_found_and_repaired_by_storing_it_again() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobFiles::open(dir.path().to_owned()).unwrap();
        let content = Bytes::from_static(b"a component");
        let digest = blobs.put(content.clone()).await.unwrap();
        fs::write(blobs.path(digest), b"a componenT").unwrap();
        assert_eq!(blobs.get(digest).await, Err(BlobError::Damaged { digest }));
        assert_eq!(blobs.put(content.clone()).await, Ok(digest));
        assert_eq!(blobs.get(digest).await, Ok(Some(content)));
    }

    #[test]
    fn litter_of_a_crash_is_removed_and_blobs_stay() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".tmpabc.part"), b"half").unwrap();
        fs::write(dir.path().join("00ff"), b"whole").unwrap();
        BlobFiles::open(dir.path().to_owned()).unwrap();
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left, ["00ff"]);
    }
}

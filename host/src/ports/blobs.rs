//! Blobs: immutable content by digest, such as components.

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::model::id::Digest;

/// Largest blob, bytes; a Python component is about 18 MB.
pub const BLOB_BYTES_LIMIT: usize = 64 << 20;

/// Why a blob could not be stored or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// The content is too large.
    #[error("the content is {actual_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// Its size.
        actual_bytes: usize,
        /// [`BLOB_BYTES_LIMIT`].
        limit_bytes: usize,
    },
    /// What is stored under the digest has another digest.
    #[error("stored content does not match its digest {digest}; restore it from a backup or publish it again")]
    Damaged {
        /// The digest asked for.
        digest: Digest,
    },
    /// The store cannot be used now.
    #[error("the blob store cannot be used: {reason}")]
    Unavailable {
        /// What to do about it.
        reason: String,
    },
}

/// Immutable content.
pub trait Blobs: Send + Sync {
    /// Stores content, durable when it answers. Storing it again changes nothing.
    ///
    /// # Errors
    /// As [`BlobError`] says.
    fn put(&self, content: Bytes) -> BoxFuture<'_, Result<Digest, BlobError>>;

    /// The content of a digest, verified; absent if it was never stored.
    ///
    /// # Errors
    /// As [`BlobError`] says.
    fn get(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Bytes>, BlobError>>;
}

//! Records: small named values with optimistic concurrency, for registry, bindings, connections and plugins' state.

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};

/// Largest value, bytes.
pub const RECORD_BYTES_LIMIT: usize = 512 << 10;

/// Changes with every write to a key. Opaque: only compare it for equality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Revision(pub u64);

/// A value as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The value.
    pub value: Bytes,
    /// Its revision.
    pub revision: Revision,
}

/// A write that somebody made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The new value; absent: it was deleted.
    pub stored: Option<Stored>,
}

/// Why a record could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The key is at another revision.
    #[error("somebody else changed it first")]
    Conflict,
    /// The value is too large.
    #[error("the record is {actual_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// Its size.
        actual_bytes: usize,
        /// [`RECORD_BYTES_LIMIT`].
        limit_bytes: usize,
    },
    /// The store cannot be used now.
    #[error("the store cannot be used: {reason}")]
    Unavailable {
        /// What to do about it.
        reason: String,
    },
}

/// Named values. Keys are UTF-8 paths such as `plugin/acme/x/1.0.0`, at most 512 bytes.
pub trait Records: Send + Sync {
    /// Reads a key. May be a little stale on a networked store.
    ///
    /// # Errors
    /// If the store cannot be used.
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Stored>, RecordError>>;

    /// Writes a key if it is still at the revision (absent: if there is no such key). Durable when it answers.
    ///
    /// # Errors
    /// `Conflict` if it is not; nothing is changed then.
    fn put_if(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, RecordError>>;

    /// Deletes a key if it is still at the revision. Durable when it answers.
    ///
    /// # Errors
    /// `Conflict` if it is not.
    fn delete_if(&self, key: &str, expected: Revision) -> BoxFuture<'_, Result<(), RecordError>>;

    /// At most `limit` keys with the prefix, after a key (absent: from the start), in ascending byte order. Not a
    /// snapshot.
    ///
    /// # Errors
    /// If the store cannot be used.
    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(String, Stored)>, RecordError>>;

    /// The durable changes under a prefix from now on. A watcher that falls too far behind sees its stream end, and
    /// lists anew.
    fn watch(&self, prefix: &str) -> BoxStream<'static, Change>;
}

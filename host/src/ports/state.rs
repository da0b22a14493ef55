//! A connector's own durable state, already confined to one connection.

use futures::future::BoxFuture;

use crate::model::{failure::Failure, json::Json};

/// A value as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// The value.
    pub value: Json,
    /// Opaque; changes with every write to the key.
    pub revision: String,
}

/// Some keys, in ascending byte order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateKeys {
    /// The keys.
    pub names: Vec<String>,
    /// Where to go on; absent at the end.
    pub next: Option<String>,
}

/// The `state` interface of the contract, function by function; failures carry its codes.
pub trait PluginState: Send + Sync {
    /// Reads a key; absent if it was never set, was removed or has expired.
    fn get(&self, bucket: &str, key: &str) -> BoxFuture<'_, Result<Option<StateEntry>, Failure>>;

    /// Writes a key whatever it holds; the new revision.
    fn put(
        &self,
        bucket: &str,
        key: &str,
        value: Json,
        ttl_seconds: Option<u32>,
    ) -> BoxFuture<'_, Result<String, Failure>>;

    /// Writes a key only if it is at the revision (absent: if there is none); the new revision, or nothing if not.
    fn swap(
        &self,
        bucket: &str,
        key: &str,
        revision: Option<&str>,
        value: Json,
        ttl_seconds: Option<u32>,
    ) -> BoxFuture<'_, Result<Option<String>, Failure>>;

    /// Removes a key, at that revision or (absent) at any; false if the revision differed.
    fn remove(&self, bucket: &str, key: &str, revision: Option<&str>) -> BoxFuture<'_, Result<bool, Failure>>;

    /// At most `limit` keys with the prefix, after a key, ascending; and where to go on.
    fn scan(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> BoxFuture<'_, Result<StateKeys, Failure>>;
}

//! A connector's own small durable store, by bucket and key. At least once, with compare-and-swap; never the only record
//! of an effect.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, hub};

/// A value as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value as JSON; read it with [`Entry::read`].
    pub value: Vec<u8>,
    /// Changes with every write to the key. Opaque.
    pub revision: String,
}

impl Entry {
    /// The value as a type.
    ///
    /// # Errors
    /// `permanent` with `state.invalid`, if it is not of that type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.value)
            .map_err(|error| Failure::permanent("state.invalid", format!("the kept value does not fit: {error}")))
    }
}

/// Some keys, in ascending byte order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// The keys.
    pub names: Vec<String>,
    /// Give it as `after` to go on; absent at the end.
    pub next: Option<String>,
}

/// Reads a key; absent if it was never set, was removed or has expired.
///
/// # Errors
/// As the contract's `state` says; `denied` if the bucket is not granted.
pub fn get(bucket: &str, key: &str) -> Result<Option<Entry>, Failure> {
    hub::state_get(bucket, key)
}

/// Writes a key whatever it holds, and returns the new revision.
///
/// # Errors
/// As the contract's `state` says.
pub fn put(bucket: &str, key: &str, value: &impl Serialize, ttl_seconds: Option<u32>) -> Result<String, Failure> {
    hub::state_put(bucket, key, &json(value)?, ttl_seconds)
}

/// Writes a key only if it is still at the revision that you read (absent: only if there is no such key). Nothing if
/// somebody else was first: read again and decide anew.
///
/// # Errors
/// As the contract's `state` says.
pub fn swap(
    bucket: &str,
    key: &str,
    revision: Option<&str>,
    value: &impl Serialize,
    ttl_seconds: Option<u32>,
) -> Result<Option<String>, Failure> {
    hub::state_swap(bucket, key, revision, &json(value)?, ttl_seconds)
}

/// Removes a key, at that revision or (absent) at any; false if the revision differed.
///
/// # Errors
/// As the contract's `state` says.
pub fn remove(bucket: &str, key: &str, revision: Option<&str>) -> Result<bool, Failure> {
    hub::state_remove(bucket, key, revision)
}

/// Lists the keys that begin with the prefix, from after the given key on; `limit` 1 to 1,000.
///
/// # Errors
/// As the contract's `state` says.
pub fn scan(bucket: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Keys, Failure> {
    hub::state_scan(bucket, prefix, after, limit)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value)
        .map_err(|error| Failure::permanent("state.invalid", format!("the value has no JSON form: {error}")))
}

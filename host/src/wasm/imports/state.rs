//! `state`: a connector's own durable keys, in the buckets that it was granted.

use std::sync::Arc;

use super::{failure, guest_failure};
use crate::{
    model::{failure::FailureKind, json::Json},
    ports::state::{PluginState, StateKeys},
    wasm::{
        bindings::{
            envelope::Failure,
            state::{Entry, Host, Keys},
        },
        call_state::CallState,
    },
};

/// Bounds of the contract.
const KEY_BYTES_LIMIT: usize = 256;
const VALUE_BYTES_LIMIT: usize = 64 << 10;
const TTL_SECONDS_LIMIT: u32 = 31_536_000;
const SCAN_KEYS_LIMIT: u32 = 1_000;

fn granted(call: &CallState, bucket: &str) -> Result<Arc<dyn PluginState>, Failure> {
    match &call.state {
        Some((state, buckets)) if buckets.iter().any(|granted| granted == bucket) => Ok(Arc::clone(state)),
        _ => Err(failure(
            FailureKind::Denied,
            "state.bucket-not-granted",
            format!(
                "bucket `{}` is not granted to this call; declare it in the manifest and have it granted",
                bucket.chars().take(64).collect::<String>()
            ),
        )),
    }
}

fn check_key(key: &str) -> Result<(), Failure> {
    if (1..=KEY_BYTES_LIMIT).contains(&key.len()) {
        return Ok(());
    }
    let message = format!("the key is {} bytes; it must be 1 to {KEY_BYTES_LIMIT}", key.len());
    Err(failure(FailureKind::InvalidInput, "state.key-invalid", message))
}

fn check_value(value: Vec<u8>, ttl_seconds: Option<u32>) -> Result<Json, Failure> {
    let invalid = |message: String| failure(FailureKind::InvalidInput, "state.value-invalid", message);
    if value.len() > VALUE_BYTES_LIMIT {
        return Err(invalid(format!("the value is {} bytes; at most {VALUE_BYTES_LIMIT}", value.len())));
    }
    if ttl_seconds.is_some_and(|ttl| !(1..=TTL_SECONDS_LIMIT).contains(&ttl)) {
        return Err(invalid(format!("`ttl-seconds` must be 1 to {TTL_SECONDS_LIMIT}")));
    }
    Json::parse(value).map_err(|error| invalid(format!("the value is not one JSON value: {error}")))
}

impl CallState {
    async fn state_get(&mut self, bucket: &str, key: &str) -> Result<Option<Entry>, Failure> {
        let state = granted(self, bucket)?;
        check_key(key)?;
        let entry = state.get(bucket, key).await.map_err(guest_failure)?;
        Ok(entry.map(|entry| Entry { value: entry.value.as_bytes().to_vec(), revision: entry.revision }))
    }

    async fn state_put(
        &mut self,
        bucket: &str,
        key: &str,
        value: Vec<u8>,
        ttl: Option<u32>,
    ) -> Result<String, Failure> {
        let state = granted(self, bucket)?;
        check_key(key)?;
        state.put(bucket, key, check_value(value, ttl)?, ttl).await.map_err(guest_failure)
    }

    async fn state_swap(
        &mut self,
        (bucket, key): (&str, &str),
        revision: Option<&str>,
        value: Vec<u8>,
        ttl: Option<u32>,
    ) -> Result<Option<String>, Failure> {
        let state = granted(self, bucket)?;
        check_key(key)?;
        state.swap(bucket, key, revision, check_value(value, ttl)?, ttl).await.map_err(guest_failure)
    }

    async fn state_remove(&mut self, bucket: &str, key: &str, revision: Option<&str>) -> Result<bool, Failure> {
        let state = granted(self, bucket)?;
        check_key(key)?;
        state.remove(bucket, key, revision).await.map_err(guest_failure)
    }

    async fn state_scan(
        &mut self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Keys, Failure> {
        let state = granted(self, bucket)?;
        if prefix.len() > KEY_BYTES_LIMIT || after.is_some_and(|after| after.len() > KEY_BYTES_LIMIT) {
            let message = format!("`prefix` and `after` have at most {KEY_BYTES_LIMIT} bytes");
            return Err(failure(FailureKind::InvalidInput, "state.key-invalid", message));
        }
        if !(1..=SCAN_KEYS_LIMIT).contains(&limit) {
            let message = format!("`limit` must be 1 to {SCAN_KEYS_LIMIT}");
            return Err(failure(FailureKind::InvalidInput, "state.key-invalid", message));
        }
        let StateKeys { names, next } = state.scan(bucket, prefix, after, limit).await.map_err(guest_failure)?;
        Ok(Keys { names, next })
    }
}

impl Host for CallState {
    async fn get(&mut self, bucket: String, key: String) -> wasmtime::Result<Result<Option<Entry>, Failure>> {
        Ok(self.state_get(&bucket, &key).await)
    }

    async fn put(
        &mut self,
        bucket: String,
        key: String,
        value: Vec<u8>,
        ttl_seconds: Option<u32>,
    ) -> wasmtime::Result<Result<String, Failure>> {
        Ok(self.state_put(&bucket, &key, value, ttl_seconds).await)
    }

    async fn swap(
        &mut self,
        bucket: String,
        key: String,
        revision: Option<String>,
        value: Vec<u8>,
        ttl_seconds: Option<u32>,
    ) -> wasmtime::Result<Result<Option<String>, Failure>> {
        Ok(self.state_swap((&bucket, &key), revision.as_deref(), value, ttl_seconds).await)
    }

    async fn remove(
        &mut self,
        bucket: String,
        key: String,
        revision: Option<String>,
    ) -> wasmtime::Result<Result<bool, Failure>> {
        Ok(self.state_remove(&bucket, &key, revision.as_deref()).await)
    }

    async fn scan(
        &mut self,
        bucket: String,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<Keys, Failure>> {
        Ok(self.state_scan(&bucket, &prefix, after.as_deref(), limit).await)
    }
}

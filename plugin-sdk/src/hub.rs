//! The functions that the hub gives, in one place: in Wasm the real ones, natively those of the mock host.

use crate::{
    Failure,
    http::{Lost, Request, Response},
    log::Level,
    state::{Entry, Keys},
};

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod wasm;

#[cfg(not(target_arch = "wasm32"))]
use native as given;
#[cfg(target_arch = "wasm32")]
use wasm as given;

/// At the start of a call: a panic is to reach the run's log before it traps.
pub(crate) fn begin() {
    given::begin();
}

pub(crate) fn log(level: Level, message: &str, fields: &[(String, String)]) {
    given::log(level, message, fields);
}

pub(crate) fn send(request: &Request) -> Result<Response, Lost> {
    given::send(request)
}

pub(crate) fn state_get(bucket: &str, key: &str) -> Result<Option<Entry>, Failure> {
    given::state_get(bucket, key)
}

pub(crate) fn state_put(bucket: &str, key: &str, value: &[u8], ttl_seconds: Option<u32>) -> Result<String, Failure> {
    given::state_put(bucket, key, value, ttl_seconds)
}

pub(crate) fn state_swap(
    bucket: &str,
    key: &str,
    revision: Option<&str>,
    value: &[u8],
    ttl_seconds: Option<u32>,
) -> Result<Option<String>, Failure> {
    given::state_swap(bucket, key, revision, value, ttl_seconds)
}

pub(crate) fn state_remove(bucket: &str, key: &str, revision: Option<&str>) -> Result<bool, Failure> {
    given::state_remove(bucket, key, revision)
}

pub(crate) fn state_scan(bucket: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Keys, Failure> {
    given::state_scan(bucket, prefix, after, limit)
}

pub(crate) fn sign(secret: &str, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, Failure> {
    given::sign(secret, algorithm, data)
}

pub(crate) fn verify(secret: &str, algorithm: &str, data: &[u8], signature: &[u8]) -> Result<bool, Failure> {
    given::verify(secret, algorithm, data, signature)
}

pub(crate) fn remaining_ms() -> u32 {
    given::remaining_ms()
}

pub(crate) fn annotate(name: &str, value: &str) {
    given::annotate(name, value);
}

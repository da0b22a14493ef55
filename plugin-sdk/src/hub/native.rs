//! Natively: the mock host of this thread.

use crate::{
    Failure,
    http::{Lost, Request, Response},
    log::Level,
    state::{Entry, Keys},
    testing::with_host,
};

pub(crate) fn begin() {}

pub(crate) fn log(level: Level, message: &str, fields: &[(String, String)]) {
    with_host(|host| host.log(level, message, fields));
}

pub(crate) fn send(request: &Request) -> Result<Response, Lost> {
    with_host(|host| host.send(request))
}

pub(crate) fn state_get(bucket: &str, key: &str) -> Result<Option<Entry>, Failure> {
    with_host(|host| Ok(host.state.get(bucket, key)))
}

pub(crate) fn state_put(bucket: &str, key: &str, value: &[u8], _: Option<u32>) -> Result<String, Failure> {
    with_host(|host| Ok(host.state.put(bucket, key, value)))
}

pub(crate) fn state_swap(
    bucket: &str,
    key: &str,
    revision: Option<&str>,
    value: &[u8],
    _: Option<u32>,
) -> Result<Option<String>, Failure> {
    with_host(|host| Ok(host.state.swap(bucket, key, revision, value)))
}

pub(crate) fn state_remove(bucket: &str, key: &str, revision: Option<&str>) -> Result<bool, Failure> {
    with_host(|host| Ok(host.state.remove(bucket, key, revision)))
}

pub(crate) fn state_scan(bucket: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Keys, Failure> {
    with_host(|host| Ok(host.state.scan(bucket, prefix, after, limit)))
}

pub(crate) fn sign(secret: &str, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, Failure> {
    with_host(|host| host.sign(secret, algorithm, data))
}

pub(crate) fn verify(secret: &str, algorithm: &str, data: &[u8], signature: &[u8]) -> Result<bool, Failure> {
    Ok(sign(secret, algorithm, data)? == signature)
}

pub(crate) fn remaining_ms() -> u32 {
    with_host(|host| host.remaining_ms)
}

pub(crate) fn annotate(name: &str, value: &str) {
    with_host(|host| host.annotations.push((name.to_owned(), value.to_owned())));
}

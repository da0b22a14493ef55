//! A connector's durable state, kept as records under its connection's name.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::{
    model::{
        failure::{Failure, FailureKind},
        json::Json,
        timestamp::Timestamp,
    },
    ports::{
        clock::Clock,
        records::{RecordError, Records, Revision, Stored},
        state::{PluginState, StateEntry, StateKeys},
    },
};

/// Largest value, bytes.
const VALUE_BYTES_LIMIT: usize = 64 << 10;
/// Longest time to live, seconds: a year.
const TTL_SECONDS_LIMIT: u32 = 31_536_000;
/// How often an unconditional write is tried again when somebody else wrote in between.
const PUT_ATTEMPTS: u32 = 16;

/// The state of one connection.
pub struct ConnectionState {
    connection: String,
    records: Arc<dyn Records>,
    clock: Arc<dyn Clock>,
}

/// A value as it is stored.
#[derive(Serialize, Deserialize)]
struct Kept {
    value: Json,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
}

impl ConnectionState {
    /// The state of the connection of this name.
    #[must_use]
    pub fn new(connection: String, records: Arc<dyn Records>, clock: Arc<dyn Clock>) -> Self {
        Self { connection, records, clock }
    }

    fn path(&self, bucket: &str, key: &str) -> Result<String, Failure> {
        if key.is_empty() || key.len() > 256 {
            return Err(Failure::new(
                FailureKind::InvalidInput,
                "state.key-invalid",
                format!("the key is {} bytes; it must be 1 to 256", key.len()),
            ));
        }
        Ok(format!("{}{key}", self.prefix(bucket)))
    }

    fn prefix(&self, bucket: &str) -> String {
        format!("state/{}/{bucket}/", self.connection)
    }

    fn kept(&self, value: Json, ttl_seconds: Option<u32>) -> Result<Bytes, Failure> {
        let invalid = |code: &str, message: String| Failure::new(FailureKind::InvalidInput, code, message);
        if value.as_bytes().len() > VALUE_BYTES_LIMIT {
            let message = format!("the value is {} bytes, the limit is {VALUE_BYTES_LIMIT}", value.as_bytes().len());
            return Err(invalid("state.value-too-large", message));
        }
        if ttl_seconds.is_some_and(|ttl| ttl == 0 || ttl > TTL_SECONDS_LIMIT) {
            return Err(invalid("state.ttl-invalid", format!("`ttl-seconds` must be 1 to {TTL_SECONDS_LIMIT}")));
        }
        let expires = ttl_seconds.map(|ttl| self.clock.now().plus_millis(u64::from(ttl) * 1_000));
        serde_json::to_vec(&Kept { value, expires }).map(Bytes::from).map_err(|error| unavailable(&error.to_string()))
    }

    /// The value at a path, if it is there and has not expired; with the record that holds it.
    async fn read(&self, path: &str) -> Result<(Option<Stored>, Option<Json>), Failure> {
        let Some(stored) = self.records.get(path).await.map_err(|error| failure(&error))? else {
            return Ok((None, None));
        };
        let kept: Kept = serde_json::from_slice(&stored.value).map_err(|error| unavailable(&error.to_string()))?;
        let alive = kept.expires.is_none_or(|expires| expires > self.clock.now());
        Ok((Some(stored), alive.then_some(kept.value)))
    }
}

impl PluginState for ConnectionState {
    fn get(&self, bucket: &str, key: &str) -> BoxFuture<'_, Result<Option<StateEntry>, Failure>> {
        let path = self.path(bucket, key);
        Box::pin(async move {
            let (stored, value) = self.read(&path?).await?;
            Ok(stored.zip(value).map(|(stored, value)| StateEntry { value, revision: text(stored.revision) }))
        })
    }

    fn put(
        &self,
        bucket: &str,
        key: &str,
        value: Json,
        ttl_seconds: Option<u32>,
    ) -> BoxFuture<'_, Result<String, Failure>> {
        let path = self.path(bucket, key);
        Box::pin(async move {
            let (path, value) = (path?, self.kept(value, ttl_seconds)?);
            for _ in 0..PUT_ATTEMPTS {
                let current = self.records.get(&path).await.map_err(|error| failure(&error))?;
                match self.records.put_if(&path, value.clone(), current.map(|stored| stored.revision)).await {
                    Ok(revision) => return Ok(text(revision)),
                    Err(RecordError::Conflict) => {}
                    Err(error) => return Err(failure(&error)),
                }
            }
            Err(unavailable("other calls write this key all the time; use `swap`"))
        })
    }

    fn swap(
        &self,
        bucket: &str,
        key: &str,
        revision: Option<&str>,
        value: Json,
        ttl_seconds: Option<u32>,
    ) -> BoxFuture<'_, Result<Option<String>, Failure>> {
        let path = self.path(bucket, key);
        let wanted = revision.map(str::to_owned);
        Box::pin(async move {
            let (path, value) = (path?, self.kept(value, ttl_seconds)?);
            let (stored, alive) = self.read(&path).await?;
            let visible = stored.as_ref().filter(|_| alive.is_some()).map(|stored| text(stored.revision));
            if visible != wanted {
                return Ok(None);
            }
            match self.records.put_if(&path, value, stored.map(|stored| stored.revision)).await {
                Ok(revision) => Ok(Some(text(revision))),
                Err(RecordError::Conflict) => Ok(None),
                Err(error) => Err(failure(&error)),
            }
        })
    }

    fn remove(&self, bucket: &str, key: &str, revision: Option<&str>) -> BoxFuture<'_, Result<bool, Failure>> {
        let path = self.path(bucket, key);
        let wanted = revision.map(str::to_owned);
        Box::pin(async move {
            let path = path?;
            let (Some(stored), alive) = self.read(&path).await? else { return Ok(wanted.is_none()) };
            if wanted.is_some_and(|wanted| alive.is_none() || wanted != text(stored.revision)) {
                return Ok(false);
            }
            match self.records.delete_if(&path, stored.revision).await {
                Ok(()) => Ok(true),
                Err(RecordError::Conflict) => Ok(false),
                Err(error) => Err(failure(&error)),
            }
        })
    }

    fn scan(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> BoxFuture<'_, Result<StateKeys, Failure>> {
        let base = self.prefix(bucket);
        let (prefix, after) = (format!("{base}{prefix}"), after.map(|after| format!("{base}{after}")));
        Box::pin(async move {
            let limit = usize::try_from(limit.clamp(1, 1_000)).unwrap_or(1_000);
            let listed = self.records.list(&prefix, after.as_deref(), limit).await.map_err(|error| failure(&error))?;
            let full = listed.len() == limit;
            let now = self.clock.now();
            let mut names: Vec<String> = Vec::with_capacity(listed.len());
            let mut last = None;
            for (path, stored) in &listed {
                let name = path.strip_prefix(&base).unwrap_or(path).to_owned();
                last = Some(name.clone());
                let kept: Option<Kept> = serde_json::from_slice(&stored.value).ok();
                if kept.is_some_and(|kept| kept.expires.is_none_or(|expires| expires > now)) {
                    names.push(name);
                }
            }
            Ok(StateKeys { names, next: last.filter(|_| full) })
        })
    }
}

fn text(revision: Revision) -> String {
    revision.0.to_string()
}

fn failure(error: &RecordError) -> Failure {
    unavailable(&error.to_string())
}

fn unavailable(reason: &str) -> Failure {
    Failure::new(FailureKind::Retryable, "state.unavailable", reason)
}

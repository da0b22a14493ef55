//! What is recorded of subscriptions: what was declared, audited; how far each is, unaudited; what was given up.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::window::Tried;
use crate::{
    model::{entry::Accepted, id::AcceptanceId, setting::Origin, subscription::Subscription, timestamp::Timestamp},
    ports::{
        records::{RecordError, Records, Revision},
        subscriptions::{Letter, Selection, Standing},
    },
};

/// Keys of what was declared.
pub(super) const DECLARED: &str = "subscription/";
/// Most events of one subscription that were given up.
pub(super) const LETTERS_MAX: usize = 10_000;
/// How many records one look reads.
const PAGE: usize = 256;

/// A subscription as it is declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Declared {
    pub(super) subscription: Subscription,
    pub(super) standing: Standing,
    /// Since when it is there.
    pub(super) created: Timestamp,
    /// When it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) removed: Option<Timestamp>,
    /// Who has the say about it.
    #[serde(default)]
    pub(super) origin: Origin,
}

/// How far a subscription is. INVARIANT: everything up to `read` was delivered or given up, or is in `waiting`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) read: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) waiting: Vec<Waiting>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replay: Option<Replay>,
}

/// An event that was read and is not delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) position: u64,
    pub(super) event: AcceptanceId,
    #[serde(default)]
    pub(super) tried: Tried,
}

/// A replay, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Replay {
    pub(super) selection: Selection,
    pub(super) types: Vec<String>,
    pub(super) per_second: u32,
    /// The last dead letter that was dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<String>,
    /// Up to where the journal was gone through.
    pub(super) at: u64,
    /// Where the journal ended when it was asked for: what is later is delivered anyway.
    pub(super) until: u64,
    pub(super) sent: u64,
    pub(super) failed: u64,
}

/// Where how far a subscription is, is recorded.
pub(super) fn progress_key(name: &str) -> String {
    format!("delivery/{name}")
}

/// Before the keys of a subscription's dead letters.
pub(super) fn letters_prefix(name: &str) -> String {
    format!("undelivered/{name}/")
}

/// Where a dead letter is: in the order of acceptance, and the same for the same event.
pub(super) fn letter_key(name: &str, accepted: &Accepted) -> String {
    let id = accepted.event.acceptance();
    format!("{}{:016}-{id}", letters_prefix(name), accepted.time.millis())
}

/// A dead letter of an event.
pub(super) fn letter(accepted: &Accepted, given_up: Timestamp, attempts: u32, cause: &str) -> Letter {
    let event = &accepted.event;
    Letter {
        event: event.acceptance(),
        id: event.id.clone(),
        event_type: event.event_type.clone(),
        subject: event.subject.clone(),
        accepted: accepted.time,
        given_up,
        attempts,
        cause: cause.to_owned(),
    }
}

/// Reads a record with its revision; absent: there is none.
///
/// # Errors
/// If it cannot be read, or holds something else.
pub(super) async fn read<T: DeserializeOwned>(
    records: &dyn Records,
    key: &str,
) -> Result<Option<(T, Revision)>, String> {
    let Some(stored) = records.get(key).await.map_err(|error| error.to_string())? else { return Ok(None) };
    let value = serde_json::from_slice(&stored.value).map_err(|error| format!("record `{key}` is damaged: {error}"))?;
    Ok(Some((value, stored.revision)))
}

/// Writes a record, whatever is there: only its subscription's own task writes it.
///
/// # Errors
/// If the store cannot be used.
pub(super) async fn write<T: Serialize>(records: &dyn Records, key: &str, value: &T) -> Result<(), RecordError> {
    let bytes = serde_json::to_vec(value).map_err(|error| RecordError::Unavailable { reason: error.to_string() })?;
    let before = records.get(key).await?.map(|stored| stored.revision);
    records.put_if(key, Bytes::from(bytes), before).await.map(|_| ())
}

/// Deletes a record, if there is one.
///
/// # Errors
/// If the store cannot be used.
pub(super) async fn delete(records: &dyn Records, key: &str) -> Result<(), RecordError> {
    match records.get(key).await? {
        Some(stored) => records.delete_if(key, stored.revision).await,
        None => Ok(()),
    }
}

/// Keys and values below a prefix, at most so many.
///
/// # Errors
/// If the store cannot be used.
pub(super) async fn list(
    records: &dyn Records,
    prefix: &str,
    limit: usize,
) -> Result<Vec<(String, Bytes)>, RecordError> {
    let mut found: Vec<(String, Bytes)> = Vec::new();
    while found.len() < limit {
        let after = found.last().map(|(key, _)| key.clone());
        let page = records.list(prefix, after.as_deref(), PAGE.min(limit - found.len())).await?;
        if page.is_empty() {
            break;
        }
        found.extend(page.into_iter().map(|(key, stored)| (key, stored.value)));
    }
    Ok(found)
}

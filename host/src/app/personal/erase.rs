//! Erasures that were recorded: `erasure/KEY` in the store, audited like everything else that affects what runs. The record
//! comes before the key goes, so that a crash in between leaves what the next start completes.
//!
//! The order, carried out by `app::hub::privacy`: nothing more of the person is accepted, no run that has not ended needs
//! the data, the record, the list beside the audit key, and only then the key.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    app::audit::{Audit, AuditError},
    model::{
        audit::Cause,
        id::{SubjectId, SubjectKeyId},
        timestamp::Timestamp,
    },
    ports::records::{RecordError, Records},
};

/// What the keys of the records begin with.
pub const PREFIX: &str = "erasure/";
/// How many records one look reads.
const PAGE: usize = 256;

/// What is recorded of an erasure, beside who and why, which the audit log has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureRecord {
    /// When.
    pub erased: Timestamp,
}

/// Records an erasure, unless it is recorded already.
///
/// # Errors
/// If it cannot be recorded: then the key may not be destroyed.
pub async fn record(
    audit: &Audit,
    records: &dyn Records,
    cause: &Cause,
    key: SubjectKeyId,
    now: Timestamp,
) -> Result<(), AuditError> {
    let at = format!("{PREFIX}{key}");
    if records.get(&at).await?.is_some() {
        return Ok(());
    }
    let value = serde_json::to_vec(&ErasureRecord { erased: now }).unwrap_or_default();
    audit.put(records, cause, &at, Bytes::from(value)).await.map(|_| ())
}

/// The keys of everybody, or of one person, whose erasure is recorded, and when it was.
///
/// # Errors
/// If the records cannot be read.
pub async fn recorded(
    records: &dyn Records,
    subject: Option<SubjectId>,
) -> Result<BTreeMap<SubjectKeyId, Timestamp>, RecordError> {
    // A person's keys begin alike.
    let prefix = match subject {
        Some(subject) => {
            let first = SubjectKeyId::new(subject, [0; 8]).to_string();
            format!("{PREFIX}{}", first.get(..first.len() - 16).unwrap_or_default())
        }
        None => PREFIX.to_owned(),
    };
    let mut found = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = records.list(&prefix, after.as_deref(), PAGE).await?;
        let full = page.len() == PAGE;
        after = page.last().map(|(key, _)| key.clone());
        for (key, stored) in page {
            let Some(Ok(id)) = key.strip_prefix(PREFIX).map(str::parse) else { continue };
            let record: Option<ErasureRecord> = serde_json::from_slice(&stored.value).ok();
            found.insert(id, record.map_or_else(Timestamp::default, |record| record.erased));
        }
        if !full {
            return Ok(found);
        }
    }
}

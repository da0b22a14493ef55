//! The audit log: one record for every change to what runs, in a stream of the journal of its own.
//!
//! A record is durable *before* its change takes effect, rather than in the same commit: the journal and the records
//! are two seams, and over a network no commit spans both. So nothing is in effect without its audit record; what a
//! crash leaves in between is found at the next start ([`reconcile`]) and recorded as abandoned. The same comparison
//! finds whatever was changed behind the hub's back.
//!
//! | module | does |
//! | --- | --- |
//! | [`anchor`] | sends checkpoints to somebody who keeps them |
//! | [`begin`] | opens all this at the hub's start |
//! | [`key`] | the hub's signing key, in the data folder |
//! | [`checkpoints`] | what the hub signs: at each stop, every few minutes, in an export |
//! | [`export`] | writes the whole history into a folder, offline, from a copy |
//! | [`verify`] | proves such a folder, with nothing but a public key |
//! | [`explain`] | which versions decided an order, who allowed each, what they could touch |
//! | [`reconcile`] | compares what is recorded with what the log says, at each start |

pub mod anchor;
pub mod begin;
pub mod checkpoints;
pub mod explain;
pub mod export;
pub mod key;
pub mod reconcile;
pub mod verify;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use tokio::sync::Mutex;

use crate::{
    model::{
        audit::{AuditLine, AuditRecord, AuditRecordError, Cause, Change},
        id::{AppendId, Digest},
    },
    policy::chain,
    ports::{
        blobs::{BlobError, Blobs},
        clock::Clock,
        hub::AuditFilter,
        journal::{Append, AppendError, Journal, ReadError, Record, StreamId, Version},
        records::{RecordError, Records, Revision},
    },
};

/// How many records a list reads first; then twice as many, until it has enough.
const WINDOW: u64 = 256;
/// What the subjects of acts upon runs begin with; then follows the run's id.
pub const RUNS: &str = "run/";
/// Of how many acts upon runs the newest record of the run is known.
const ACTS_KNOWN: usize = 10_000;
/// How often an append is tried again that somebody else came before, or whose outcome is unknown.
const ATTEMPTS: u32 = 5;

/// Why something is not recorded, and so not changed.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The journal does not take the audit record.
    #[error("the audit log does not take a record, so nothing was changed")]
    Append {
        /// Why.
        #[from]
        source: AppendError,
    },
    /// The audit log cannot be read.
    #[error("the audit log cannot be read")]
    Read {
        /// Why.
        #[from]
        source: ReadError,
    },
    /// A record in it cannot be understood.
    #[error("audit record {sequence} cannot be understood")]
    Record {
        /// Its number.
        sequence: u64,
        /// Why.
        source: AuditRecordError,
    },
    /// What is to be changed cannot be kept.
    #[error("what is to be changed cannot be kept")]
    Blob {
        /// Why.
        #[from]
        source: BlobError,
    },
    /// The change itself is refused; the log says that it was abandoned.
    #[error("the change is not taken")]
    Change {
        /// Why.
        #[from]
        source: RecordError,
    },
}

/// The audit log of a hub. Shared behind an `Arc`.
pub struct Audit {
    journal: Arc<dyn Journal>,
    blobs: Arc<dyn Blobs>,
    clock: Arc<dyn Clock>,
    log: Mutex<Log>,
    /// Held from a change's record until the change is made, so that a crash leaves at most one unmade.
    changing: Mutex<()>,
}

/// Where the log ends, and the newest record of each subject.
#[derive(Default)]
struct Log {
    version: Version,
    latest: HashMap<String, AuditLine>,
    /// Runs among the subjects, with the number of a record about each, oldest first.
    acts: VecDeque<(String, u64)>,
}

impl Audit {
    /// Reads the log.
    ///
    /// # Errors
    /// If the journal cannot be read or holds something that is no audit record.
    pub async fn open(
        journal: Arc<dyn Journal>,
        blobs: Arc<dyn Blobs>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AuditError> {
        let this = Self { journal, blobs, clock, log: Mutex::default(), changing: Mutex::default() };
        this.log.lock().await.catch_up(&*this.journal).await?;
        Ok(this)
    }

    /// Records a change that is about to be made; durable when it answers, and only then may the change be made.
    ///
    /// # Errors
    /// If the journal does not take it: then the change must not be made.
    pub async fn record(&self, cause: &Cause, change: &Change) -> Result<AuditLine, AuditError> {
        let mut log = self.log.lock().await;
        let entry = AuditRecord::new(self.clock.now(), cause, change).encode();
        let mut attempts = 0;
        loop {
            let expected = log.version;
            let id = AppendId::of(&StreamId::Audit.to_key(), expected.0, blake3::hash(&entry).as_bytes());
            let append = Append { stream: StreamId::Audit, expected, id, entries: vec![entry.clone()] };
            attempts += 1;
            match self.journal.append(append).await {
                Ok(_) => break,
                Err(AppendError::Conflict) if attempts < ATTEMPTS => drop(log.catch_up(&*self.journal).await?),
                // The same append again, under the same id: stored once at most.
                Err(AppendError::Unknown { .. }) if attempts < ATTEMPTS => {}
                Err(error) => return Err(error.into()),
            }
        }
        let recorded = log.catch_up(&*self.journal).await?;
        recorded.ok_or_else(|| {
            AppendError::Unknown { reason: "the record that was just written is not read back".to_owned() }.into()
        })
    }

    /// Writes a record that affects what runs: the audit record first, then the value. The value is kept under its
    /// digest for as long as the log names it. Writing what is there already changes and records nothing.
    ///
    /// # Errors
    /// As [`AuditError`] says; the value is not written then.
    pub async fn put(
        &self,
        records: &dyn Records,
        cause: &Cause,
        key: &str,
        value: Bytes,
    ) -> Result<Revision, AuditError> {
        self.put_as(records, cause, action(key), key, value).await
    }

    /// The same under another name than setting a record of its kind has, such as `token.revoke`.
    ///
    /// # Errors
    /// As [`AuditError`] says; the value is not written then.
    pub async fn put_as(
        &self,
        records: &dyn Records,
        cause: &Cause,
        action: &str,
        key: &str,
        value: Bytes,
    ) -> Result<Revision, AuditError> {
        let _changing = self.changing.lock().await;
        let current = records.get(key).await?;
        if let Some(current) = current.as_ref().filter(|current| current.value == value) {
            return Ok(current.revision);
        }
        let after = self.blobs.put(value.clone()).await?;
        let before = current.as_ref().map(|current| Digest::of(&current.value));
        let change = Change { action: action.to_owned(), subject: key.to_owned(), before, after: Some(after) };
        self.record(cause, &change).await?;
        match records.put_if(key, value, current.map(|current| current.revision)).await {
            Ok(revision) => Ok(revision),
            Err(error) => {
                self.abandon(&change, &error.to_string()).await;
                Err(error.into())
            }
        }
    }

    /// Deletes a record that affects what runs: the audit record first. What is not there changes and records nothing.
    ///
    /// # Errors
    /// As [`AuditError`] says; nothing is deleted then.
    pub async fn delete_as(
        &self,
        records: &dyn Records,
        cause: &Cause,
        action: &str,
        key: &str,
    ) -> Result<(), AuditError> {
        let _changing = self.changing.lock().await;
        let Some(current) = records.get(key).await? else { return Ok(()) };
        let before = Some(Digest::of(&current.value));
        let change = Change { action: action.to_owned(), subject: key.to_owned(), before, after: None };
        self.record(cause, &change).await?;
        match records.delete_if(key, current.revision).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.abandon(&change, &error.to_string()).await;
                Err(error.into())
            }
        }
    }

    /// Records that a recorded change was not made. If that fails as well, the next start finds it.
    async fn abandon(&self, change: &Change, reason: &str) {
        let abandoned = Change {
            action: format!("{}.abandoned", change.action),
            subject: change.subject.clone(),
            before: change.after,
            after: change.before,
        };
        if let Err(error) = self.record(&Cause::hub(format!("it was not made: {reason}")), &abandoned).await {
            tracing::error!(
                subject = change.subject,
                error = &error as &dyn std::error::Error,
                "a change was recorded and not made, which could not be recorded"
            );
        }
    }

    /// The records that suit, newest first.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn list(&self, filter: &AuditFilter) -> Result<Vec<AuditLine>, AuditError> {
        let mut end = self.log.lock().await.version.0;
        if let Some(before) = filter.before {
            end = end.min(before.saturating_sub(1));
        }
        let (mut listed, mut window) = (Vec::new(), WINDOW);
        while end > 0 && listed.len() < filter.limit {
            let start = end.saturating_sub(window);
            let mut page = Vec::new();
            for record in self.journal.read(StreamId::Audit, Version(start)).await? {
                if record.version.0 <= end {
                    page.push(line(&record)?);
                }
            }
            listed.extend(page.into_iter().rev().filter(|line| filter.suits(line)));
            (end, window) = (start, window * 2);
        }
        listed.truncate(filter.limit);
        Ok(listed)
    }

    /// The newest record about a subject; of a run, only if it is among the latest ones.
    pub async fn newest(&self, subject: &str) -> Option<AuditLine> {
        self.log.lock().await.latest.get(subject).cloned()
    }

    /// The newest record about each subject.
    pub async fn latest(&self) -> HashMap<String, AuditLine> {
        self.log.lock().await.latest.clone()
    }

    /// What an audit record's digest stands for, if it is kept.
    ///
    /// # Errors
    /// If it is damaged or cannot be read.
    pub async fn document(&self, digest: Digest) -> Result<Option<Bytes>, AuditError> {
        Ok(self.blobs.get(digest).await?)
    }

    /// Keeps what an audit record is to name.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub async fn keep(&self, document: Bytes) -> Result<Digest, AuditError> {
        Ok(self.blobs.put(document).await?)
    }
}

impl Log {
    /// Reads what came since; the newest of it.
    async fn catch_up(&mut self, journal: &dyn Journal) -> Result<Option<AuditLine>, AuditError> {
        let mut newest = None;
        for record in journal.read(StreamId::Audit, self.version).await? {
            let line = line(&record)?;
            self.version = record.version;
            self.latest.insert(line.record.subject.clone(), line.clone());
            if line.record.subject.starts_with(RUNS) {
                self.acts.push_back((line.record.subject.clone(), line.sequence));
            }
            if self.acts.len() > ACTS_KNOWN
                && let Some((oldest, sequence)) = self.acts.pop_front()
                && self.latest.get(&oldest).is_some_and(|line| line.sequence == sequence)
            {
                self.latest.remove(&oldest);
            }
            newest = Some(line);
        }
        Ok(newest)
    }
}

/// The audit record of an append. Each append holds one, so that the stream's versions number them.
fn line(record: &Record) -> Result<AuditLine, AuditError> {
    let sequence = record.version.0;
    let entry = record.entries.first().map(Bytes::as_ref).unwrap_or_default();
    let (batch, append) = chain::place(record.position);
    let record = AuditRecord::decode(entry).map_err(|source| AuditError::Record { sequence, source })?;
    Ok(AuditLine { sequence, record, batch, append })
}

/// Keys of the records that affect what runs, and what setting one is called.
const ACTIONS: [(&str, &str); 28] = [
    ("plugin/", "plugin.install"),
    ("connection/", "connection.set"),
    ("source/", "source.set"),
    ("pipeline/", "pipeline.accept"),
    ("pipeline-state/", "pipeline.state"),
    ("table/", "table.set"),
    ("table-state/", "table.state"),
    ("table-active/", "table.activate"),
    ("active/", "pipeline.activate"),
    ("hold/", "pipeline.pause"),
    ("binding/", "binding.set"),
    ("version/", "version.set"),
    ("line/", "line.set"),
    ("change/", "change.set"),
    ("token/", "token.set"),
    ("policies", "policies.set"),
    ("openid", "openid.set"),
    ("trust", "trust.set"),
    ("anchor", "anchor.set"),
    ("secret/", "secret.set"),
    ("secrets-key", "secrets-key.set"),
    ("setting/", "setting.set"),
    ("erasure/", "privacy.erase"),
    ("api/", "api.publish"),
    ("subscription/", "subscription.set"),
    ("revoked-key/", "key.revoke"),
    ("schema/", "schema.add"),
    ("schema-type/", "schema.set"),
];

fn action(key: &str) -> &'static str {
    ACTIONS.iter().find(|(prefix, _)| key.starts_with(prefix)).map_or("record.set", |(_, action)| action)
}

#[cfg(test)]
mod tests;

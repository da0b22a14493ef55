//! Between facts and the journal: encoding, and large facts kept once as blobs.

use std::sync::Arc;

use bytes::Bytes;

#[cfg(debug_assertions)]
use super::crash_point;
use crate::{
    model::{
        entry::{Accepted, Entry, EntryError},
        id::{AppendId, Digest},
    },
    ports::{
        blobs::{BlobError, Blobs},
        journal::{APPEND_BYTES_LIMIT, Append, AppendError, Journal, Position, ReadError, Record, StreamId, Version},
    },
};

/// Encoded facts above this are stored as blobs, and the journal holds their digest.
const INLINE_BYTES_LIMIT: usize = 64 << 10;
/// A fact that is not larger than this is not worth a blob.
const SET_ASIDE_BYTES_MIN: usize = 1 << 10;
/// The first byte of a fact that is stored as a blob; format bytes of entries stay below it.
const BLOB_MARK: u8 = 0xB1;

/// A journal of facts. Cheap to clone.
#[derive(Clone)]
pub struct Facts {
    journal: Arc<dyn Journal>,
    blobs: Arc<dyn Blobs>,
}

/// Facts that were stored by one append.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The stream.
    pub stream: StreamId,
    /// The stream's version after it.
    pub version: Version,
    /// Its place in the whole journal.
    pub position: Position,
    /// The facts, in order.
    pub entries: Vec<Entry>,
}

/// Why facts cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The journal cannot be read.
    #[error("the journal cannot be read")]
    Read {
        /// Why.
        #[from]
        source: ReadError,
    },
    /// What is stored is not a fact.
    #[error("a stored fact of {stream:?} cannot be understood")]
    Entry {
        /// The stream.
        stream: StreamId,
        /// Why.
        source: EntryError,
    },
    /// A large fact's blob is missing or damaged.
    #[error("a large fact's content {digest} cannot be read")]
    Blob {
        /// Its digest.
        digest: Digest,
        /// Why; absent: it is missing.
        source: Option<BlobError>,
    },
}

impl Facts {
    /// A journal of facts over these seams.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>, blobs: Arc<dyn Blobs>) -> Self {
        Self { journal, blobs }
    }

    /// Appends facts; durable when it answers.
    ///
    /// # Errors
    /// As the journal says; a blob that cannot be stored is `Unavailable`.
    pub async fn append(&self, stream: StreamId, expected: Version, entries: &[Entry]) -> Result<Version, AppendError> {
        let mut encoded = Vec::with_capacity(entries.len());
        for entry in entries {
            let bytes = entry.encode();
            encoded.push(if bytes.len() > INLINE_BYTES_LIMIT { self.set_aside(bytes).await? } else { bytes });
        }
        // Many facts that are small enough each may be too large together.
        while encoded.iter().map(Bytes::len).sum::<usize>() > APPEND_BYTES_LIMIT {
            let Some(largest) = encoded.iter_mut().max_by_key(|bytes| bytes.len()) else { break };
            if largest.len() <= SET_ASIDE_BYTES_MIN {
                break;
            }
            *largest = self.set_aside(largest.clone()).await?;
        }
        let mut hasher = blake3::Hasher::new();
        encoded.iter().for_each(|bytes| {
            hasher.update(bytes);
        });
        let id = AppendId::of(&stream.to_key(), expected.0, hasher.finalize().as_bytes());
        #[cfg(debug_assertions)]
        crash_point::pass(crash_point::Side::Before, entries);
        let appended = self.journal.append(Append { stream, expected, id, entries: encoded }).await;
        #[cfg(debug_assertions)]
        if appended.is_ok() {
            crash_point::pass(crash_point::Side::After, entries);
        }
        appended
    }

    async fn set_aside(&self, bytes: Bytes) -> Result<Bytes, AppendError> {
        let digest =
            self.blobs.put(bytes).await.map_err(|error| AppendError::Unavailable {
                reason: format!("a large fact cannot be stored: {error}"),
            })?;
        let mut mark = Vec::with_capacity(33);
        mark.push(BLOB_MARK);
        mark.extend_from_slice(digest.as_bytes());
        Ok(mark.into())
    }

    /// Everything in a stream, and the version at its end.
    ///
    /// # Errors
    /// As [`FactsError`] says.
    pub async fn read(&self, stream: StreamId) -> Result<(Vec<Entry>, Version), FactsError> {
        let records = self.journal.read(stream, Version::default()).await?;
        let version = records.last().map_or(Version::default(), |record| record.version);
        let mut entries = Vec::new();
        for record in records {
            entries.extend(self.decode(record).await?.entries);
        }
        Ok((entries, version))
    }

    /// At most `limit` appends after a position.
    ///
    /// # Errors
    /// As [`FactsError`] says.
    pub async fn tail(&self, after: Position, limit: usize) -> Result<Vec<Stored>, FactsError> {
        let records = self.journal.tail(after, limit).await?;
        let mut stored = Vec::with_capacity(records.len());
        for record in records {
            stored.push(self.decode(record).await?);
        }
        Ok(stored)
    }

    /// The acceptances among at most `limit` appends after a position, and the position up to which was looked; facts of
    /// runs are not decoded.
    ///
    /// # Errors
    /// As [`FactsError`] says.
    pub async fn acceptances(
        &self,
        after: Position,
        limit: usize,
    ) -> Result<(Vec<(Position, Accepted)>, Position), FactsError> {
        let records = self.journal.tail(after, limit).await?;
        let last = records.last().map_or(after, |record| record.position);
        let mut found = Vec::new();
        for record in records.into_iter().filter(|record| matches!(record.stream, StreamId::Acceptance(_))) {
            let position = record.position;
            for entry in self.decode(record).await?.entries {
                if let Entry::Accepted(accepted) = entry {
                    found.push((position, *accepted));
                }
            }
        }
        Ok((found, last))
    }

    /// Whether appends are taken.
    ///
    /// # Errors
    /// What to do if not.
    pub fn health(&self) -> Result<(), String> {
        self.journal.health()
    }

    /// Whether there is room for new work.
    ///
    /// # Errors
    /// What to do if not.
    pub fn room(&self) -> Result<(), String> {
        self.journal.room()
    }

    async fn decode(&self, record: Record) -> Result<Stored, FactsError> {
        let Record { stream, version, position, entries: mut encoded, .. } = record;
        if stream == StreamId::Audit {
            // Audit records are no facts of runs; `audit` reads them.
            encoded.clear();
        }
        let mut entries = Vec::with_capacity(encoded.len());
        for bytes in encoded {
            let bytes = match kept_apart(&bytes) {
                Some(digest) => self.fetch(digest).await?,
                None => bytes,
            };
            entries.push(Entry::decode(&bytes).map_err(|source| FactsError::Entry { stream, source })?);
        }
        Ok(Stored { stream, version, position, entries })
    }

    /// What is kept under a digest.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub async fn fetch(&self, digest: Digest) -> Result<Bytes, FactsError> {
        match self.blobs.get(digest).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(FactsError::Blob { digest, source: None }),
            Err(source) => Err(FactsError::Blob { digest, source: Some(source) }),
        }
    }
}

/// The digest of the blob that a stored fact stands for, if it is kept as one.
#[must_use]
pub fn kept_apart(entry: &[u8]) -> Option<Digest> {
    match entry.split_first() {
        Some((&BLOB_MARK, digest)) => Some(Digest::from_bytes(digest.try_into().unwrap_or([0; 32]))),
        _ => None,
    }
}

//! Between facts and the journal: encoding, personal data sealed and opened, and large facts kept once as blobs.
//!
//! Above this, facts are as they were told. Below it, in the journal, its archive, blobs, backups and exports, a fact with
//! personal data is its outline in clear, and the whole of it sealed (`policy::personal`). Once a key is destroyed, the
//! outline is what is read.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;

#[cfg(debug_assertions)]
use super::crash_point;
use super::personal::keyring::{Keyring, KeyringError};
use crate::{
    model::{
        entry::{Accepted, Entry, EntryError},
        id::{AppendId, Digest, SubjectKeyId},
        personal::{ERASED, SEALED},
    },
    policy::personal::{
        outline::outline,
        seal::{self, KEYS_MAX, Place, Sealed, SealedError, SubjectKey},
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
    /// Absent: nothing is sealed, and of what is sealed the outline is read.
    keyring: Option<Arc<Keyring>>,
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
    /// Whether any of them was sealed.
    pub sealed: bool,
    /// Whether the key of any of them is gone: of that one, this is the outline.
    pub erased: bool,
}

impl Stored {
    /// The facts as everybody may see them, and as what is derived from them is kept.
    #[must_use]
    pub fn shown(&self) -> Cow<'_, [Entry]> {
        shown(&self.entries, self.sealed)
    }
}

/// Facts as everybody may see them; `derived` says whether there was personal data before them.
#[must_use]
pub fn shown(entries: &[Entry], derived: bool) -> Cow<'_, [Entry]> {
    if !derived && entries.iter().all(|entry| entry.personal().is_none()) {
        return Cow::Borrowed(entries);
    }
    let mut derived = derived;
    let shown = entries.iter().map(|entry| {
        derived |= entry.personal().is_some();
        outline(entry, derived, SEALED).unwrap_or_else(|| entry.clone())
    });
    Cow::Owned(shown.collect())
}

/// Whether a fact as it is stored may hold a text: it does, or is kept apart.
#[must_use]
pub fn may_hold(stored: &[u8], text: &[u8]) -> bool {
    kept_apart(stored).is_some() || !text.is_empty() && stored.windows(text.len()).any(|window| window == text)
}

/// Adds the keys that facts bring with them to those of their run: what comes after is sealed with all of them.
pub fn keys_of(entries: &[Entry], keys: &mut Vec<SubjectKeyId>) {
    for personal in entries.iter().filter_map(Entry::personal) {
        for key in &personal.keys {
            if let Err(place) = keys.binary_search(key)
                && keys.len() < KEYS_MAX
            {
                keys.insert(place, *key);
            }
        }
    }
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
    /// What is sealed cannot be opened, though its key is there.
    #[error("a sealed fact of {stream:?} cannot be read")]
    Sealed {
        /// The stream.
        stream: StreamId,
        /// Why.
        source: SealedError,
    },
    /// The keys cannot be read.
    #[error("the keys of personal data cannot be read")]
    Keys {
        /// Why.
        #[from]
        source: KeyringError,
    },
    /// It was erased, and the outline does not do.
    #[error("the personal data in it was erased: nothing can be made of it any more")]
    Erased,
}

impl Facts {
    /// A journal of facts over these seams.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>, blobs: Arc<dyn Blobs>) -> Self {
        Self { journal, blobs, keyring: None }
    }

    /// The same, which seals and opens personal data with these keys.
    #[must_use]
    pub fn with_keys(self, keyring: Arc<Keyring>) -> Self {
        Self { keyring: Some(keyring), ..self }
    }

    /// The keys of personal data.
    #[must_use]
    pub fn keyring(&self) -> Option<&Arc<Keyring>> {
        self.keyring.as_ref()
    }

    /// Appends facts of which none before in the stream holds personal data; durable when it answers.
    ///
    /// # Errors
    /// As the journal says; a blob that cannot be stored is `Unavailable`, and so is a key that cannot be used.
    pub async fn append(&self, stream: StreamId, expected: Version, entries: &[Entry]) -> Result<Version, AppendError> {
        self.append_sealed(stream, expected, entries, &[]).await
    }

    /// Appends facts, sealed with the keys of the facts before them in the stream as with those that they bring along;
    /// durable when it answers.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub async fn append_sealed(
        &self,
        stream: StreamId,
        expected: Version,
        entries: &[Entry],
        keys: &[SubjectKeyId],
    ) -> Result<Version, AppendError> {
        let mut encoded = Vec::with_capacity(entries.len());
        let mut keys = Cow::Borrowed(keys);
        for (index, entry) in entries.iter().enumerate() {
            if entry.personal().is_some() {
                keys_of(std::slice::from_ref(entry), keys.to_mut());
            }
            let bytes = match outline(entry, !keys.is_empty(), SEALED) {
                Some(outline) => self.seal(stream, index, entry, &outline, &keys).await?,
                None => entry.encode(),
            };
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

    async fn seal(
        &self,
        stream: StreamId,
        index: usize,
        entry: &Entry,
        outline: &Entry,
        ids: &[SubjectKeyId],
    ) -> Result<Bytes, AppendError> {
        let unavailable = |error: &dyn std::error::Error| AppendError::Unavailable {
            reason: format!("personal data cannot be sealed: {error}"),
        };
        let keyring = self.keyring.as_ref().ok_or_else(|| unavailable(&KeyringError::NoKeyring))?;
        let mut keys = Vec::with_capacity(ids.len());
        for id in ids {
            let key = keyring.key(*id).await.map_err(|error| unavailable(&error))?;
            keys.push((*id, key.ok_or_else(|| unavailable(&KeyringError::Erasing))?));
        }
        let sealed = seal::seal(&keys, place(stream, index), &outline.encode(), &entry.encode());
        sealed.map_err(|error| unavailable(&error))
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

    /// Everything in a stream, for whoever would go on from it.
    ///
    /// # Errors
    /// As [`FactsError`] says; if any of it was erased.
    pub async fn read_whole(&self, stream: StreamId) -> Result<(Vec<Entry>, Version), FactsError> {
        let records = self.journal.read(stream, Version::default()).await?;
        let version = records.last().map_or(Version::default(), |record| record.version);
        let mut entries = Vec::new();
        for record in records {
            let stored = self.decode(record).await?;
            if stored.erased {
                return Err(FactsError::Erased);
            }
            entries.extend(stored.entries);
        }
        Ok((entries, version))
    }

    /// The keys that facts of a stream are sealed with. Nothing is opened.
    ///
    /// # Errors
    /// As [`FactsError`] says.
    pub async fn sealed_with(&self, stream: StreamId) -> Result<Vec<SubjectKeyId>, FactsError> {
        let mut keys = Vec::new();
        for record in self.journal.read(stream, Version::default()).await? {
            for bytes in record.entries {
                let bytes = self.content(bytes).await?;
                if bytes.first() == Some(&seal::MARK) {
                    let sealed = Sealed::parse(&bytes).map_err(|source| FactsError::Sealed { stream, source })?;
                    keys.extend(sealed.keys());
                }
            }
        }
        Ok(keys)
    }

    /// Whether the personal data of an event was erased, in the journal or since it was read.
    pub async fn is_gone(&self, accepted: &Accepted) -> bool {
        let (Some(personal), Some(keyring)) = (&accepted.personal, &self.keyring) else { return false };
        for key in &personal.keys {
            // A key that cannot be read now is not gone.
            if matches!(keyring.key(*key).await, Ok(None)) {
                return true;
            }
        }
        accepted.is_erased()
    }

    /// Whether facts cannot be sealed, because a key of them or of those before them was destroyed.
    pub async fn lacks_keys(&self, entries: &[Entry], keys: &[SubjectKeyId]) -> bool {
        let Some(keyring) = &self.keyring else { return false };
        let mut keys = keys.to_vec();
        keys_of(entries, &mut keys);
        for key in keys {
            if matches!(keyring.key(key).await, Ok(None)) {
                return true;
            }
        }
        false
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

    /// The streams of at most `limit` appends after a position, and the position up to which was looked; nothing is decoded.
    ///
    /// # Errors
    /// As [`FactsError`] says.
    pub async fn streams(&self, after: Position, limit: usize) -> Result<(Vec<StreamId>, Position), FactsError> {
        let records = self.journal.tail(after, limit).await?;
        let last = records.last().map_or(after, |record| record.position);
        Ok((records.iter().map(|record| record.stream).collect(), last))
    }

    /// The acceptances among at most `limit` appends after a position, and the position up to which was looked; facts of
    /// runs are not decoded. One whose personal data was erased is left out.
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
                match entry {
                    Entry::Accepted(accepted) if !accepted.is_erased() => found.push((position, *accepted)),
                    _ => {}
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
        let mut stored = Stored { stream, version, position, entries: Vec::new(), sealed: false, erased: false };
        stored.entries.reserve_exact(encoded.len());
        for (index, bytes) in encoded.into_iter().enumerate() {
            let bytes = self.content(bytes).await?;
            let understood = |bytes: &[u8]| Entry::decode(bytes).map_err(|source| FactsError::Entry { stream, source });
            if bytes.first() != Some(&seal::MARK) {
                stored.entries.push(understood(&bytes)?);
                continue;
            }
            let wrong = |source| FactsError::Sealed { stream, source };
            let sealed = Sealed::parse(&bytes).map_err(wrong)?;
            stored.sealed = true;
            let entry = match self.keys_for(&sealed).await? {
                Some(keys) => understood(&sealed.open(&keys, place(stream, index)).map_err(wrong)?)?,
                None => {
                    let left = understood(sealed.outline())?;
                    stored.erased = true;
                    // Without any keys at all nobody knows what was erased.
                    let word = if self.keyring.is_some() { ERASED } else { SEALED };
                    outline(&left, true, word).unwrap_or(left)
                }
            };
            stored.entries.push(entry);
        }
        Ok(stored)
    }

    /// The keys of a sealed fact, in its order; absent: one is gone.
    async fn keys_for(&self, sealed: &Sealed<'_>) -> Result<Option<Vec<SubjectKey>>, FactsError> {
        let Some(keyring) = &self.keyring else { return Ok(None) };
        let mut keys = Vec::new();
        for id in sealed.keys() {
            match keyring.key(id).await? {
                Some(key) => keys.push(key),
                None => return Ok(None),
            }
        }
        Ok(Some(keys))
    }

    /// A stored fact's bytes, wherever they are kept.
    async fn content(&self, bytes: Bytes) -> Result<Bytes, FactsError> {
        match kept_apart(&bytes) {
            Some(digest) => self.fetch(digest).await,
            None => Ok(bytes),
        }
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

fn place(stream: StreamId, index: usize) -> Place {
    // INVARIANT: an append holds far fewer facts than this.
    Place { stream: stream.to_key(), index: u32::try_from(index).unwrap_or(u32::MAX) }
}

/// The digest of the blob that a stored fact stands for, if it is kept as one.
#[must_use]
pub fn kept_apart(entry: &[u8]) -> Option<Digest> {
    match entry.split_first() {
        Some((&BLOB_MARK, digest)) => Some(Digest::from_bytes(digest.try_into().unwrap_or([0; 32]))),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

//! The seams in the process's memory: the reference for tests and simulation. Durable means here: until it is dropped.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::{
    future::{BoxFuture, ready},
    stream::BoxStream,
};
use tokio::sync::broadcast;

use super::watch::{self, WATCH_CHANGES_LIMIT};
use crate::{
    model::{
        id::{AppendId, Digest},
        timestamp::Timestamp,
    },
    ports::{
        blobs::{BLOB_BYTES_LIMIT, BlobError, Blobs},
        clock::Clock,
        journal::{Append, AppendError, Journal, Position, ReadError, Record, StreamId, Version},
        records::{Change, RecordError, Records, Revision, Stored},
    },
};

/// A store in memory.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed: bool,
    time: Timestamp,
    journal: Vec<Record>,
    /// For each stream, the append ids and places in `journal`, by version.
    streams: HashMap<StreamId, Vec<(AppendId, usize)>>,
    records: BTreeMap<String, Stored>,
    last_revision: u64,
    blobs: HashMap<Digest, Bytes>,
    changes: Option<broadcast::Sender<Change>>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let changes = Some(broadcast::channel(WATCH_CHANGES_LIMIT).0);
        Self(Arc::new(Inner { clock, state: Mutex::new(State { changes, ..State::default() }) }))
    }

    /// Its journal.
    #[must_use]
    pub fn journal(&self) -> Arc<dyn Journal> {
        self.0.clone()
    }

    /// Its records.
    #[must_use]
    pub fn records(&self) -> Arc<dyn Records> {
        self.0.clone()
    }

    /// Its blobs.
    #[must_use]
    pub fn blobs(&self) -> Arc<dyn Blobs> {
        self.0.clone()
    }

    /// Takes nothing more; watchers see their streams end.
    pub fn close(&self) {
        let mut state = self.0.state();
        state.closed = true;
        state.changes = None;
    }
}

const CLOSED: &str = "it was closed; the hub is stopping";

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, so a poisoned one is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_now(&self, append: Append) -> Result<Version, AppendError> {
        super::check_size(&append)?;
        let now = self.clock.now();
        let mut state = self.state();
        if state.closed {
            return Err(AppendError::Unavailable { reason: CLOSED.to_owned() });
        }
        let place = state.journal.len();
        let stream = state.streams.get(&append.stream).map_or(&[][..], Vec::as_slice);
        let Ok(expected) = usize::try_from(append.expected.0) else { return Err(AppendError::Conflict) };
        match stream.get(expected) {
            Some((id, _)) if *id == append.id => return Ok(Version(append.expected.0 + 1)),
            Some(_) => return Err(AppendError::Conflict),
            None if stream.len() != expected => return Err(AppendError::Conflict),
            None => {}
        }
        state.streams.entry(append.stream).or_default().push((append.id, place));
        state.time = state.time.max(now);
        let version = Version(append.expected.0 + 1);
        let record = Record {
            stream: append.stream,
            version,
            position: Position(place as u64 + 1),
            time: state.time,
            entries: append.entries,
        };
        state.journal.push(record);
        Ok(version)
    }

    fn write_now(&self, key: &str, value: Option<Bytes>, expected: Option<Revision>) -> Result<Revision, RecordError> {
        super::check_record(key, value.as_ref())?;
        let mut state = self.state();
        if state.closed {
            return Err(RecordError::Unavailable { reason: CLOSED.to_owned() });
        }
        if state.records.get(key).map(|stored| stored.revision) != expected {
            return Err(RecordError::Conflict);
        }
        state.last_revision += 1;
        let revision = Revision(state.last_revision);
        let stored = value.map(|value| Stored { value, revision });
        match &stored {
            Some(stored) => drop(state.records.insert(key.to_owned(), stored.clone())),
            None => drop(state.records.remove(key)),
        }
        if let Some(changes) = &state.changes {
            // No receiver is no error: nobody watches.
            let _ = changes.send(Change { key: key.to_owned(), stored });
        }
        Ok(revision)
    }

    fn readable(&self) -> Result<MutexGuard<'_, State>, ReadError> {
        let state = self.state();
        if state.closed { Err(ReadError::Unavailable { reason: CLOSED.to_owned() }) } else { Ok(state) }
    }

    fn records_readable(&self) -> Result<MutexGuard<'_, State>, RecordError> {
        let state = self.state();
        if state.closed { Err(RecordError::Unavailable { reason: CLOSED.to_owned() }) } else { Ok(state) }
    }
}

impl Journal for Inner {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Version, AppendError>> {
        Box::pin(async move { self.append_now(append) })
    }

    fn read(&self, stream: StreamId, after: Version) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        Box::pin(ready(self.readable().map(|state| {
            let places = state.streams.get(&stream).map_or(&[][..], Vec::as_slice);
            let skipped = usize::try_from(after.0).unwrap_or(usize::MAX);
            places.iter().skip(skipped).filter_map(|(_, place)| state.journal.get(*place).cloned()).collect()
        })))
    }

    fn tail(&self, after: Position, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        Box::pin(ready(self.readable().map(|state| {
            let skipped = usize::try_from(after.0).unwrap_or(usize::MAX);
            state.journal.iter().skip(skipped).take(limit).cloned().collect()
        })))
    }

    fn health(&self) -> Result<(), String> {
        self.readable().map(drop).map_err(|_| CLOSED.to_owned())
    }
}

impl Records for Inner {
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Stored>, RecordError>> {
        Box::pin(ready(self.records_readable().map(|state| state.records.get(key).cloned())))
    }

    fn put_if(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, RecordError>> {
        let key = key.to_owned();
        Box::pin(async move { self.write_now(&key, Some(value), expected) })
    }

    fn delete_if(&self, key: &str, expected: Revision) -> BoxFuture<'_, Result<(), RecordError>> {
        let key = key.to_owned();
        Box::pin(async move { self.write_now(&key, None, Some(expected)).map(drop) })
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(String, Stored)>, RecordError>> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        Box::pin(ready(self.records_readable().map(|state| {
            let from = state.records.range::<str, _>((start, Bound::Unbounded));
            let within = from.take_while(|(key, _)| key.starts_with(prefix));
            within.take(limit).map(|(key, stored)| (key.clone(), stored.clone())).collect()
        })))
    }

    fn watch(&self, prefix: &str) -> BoxStream<'static, Change> {
        watch::stream(self.state().changes.as_ref().map(broadcast::Sender::subscribe), prefix)
    }
}

impl Blobs for Inner {
    fn put(&self, content: Bytes) -> BoxFuture<'_, Result<Digest, BlobError>> {
        Box::pin(async move {
            if content.len() > BLOB_BYTES_LIMIT {
                return Err(BlobError::TooLarge { actual_bytes: content.len(), limit_bytes: BLOB_BYTES_LIMIT });
            }
            let digest = Digest::of(&content);
            let mut state = self.state();
            if state.closed {
                return Err(BlobError::Unavailable { reason: CLOSED.to_owned() });
            }
            state.blobs.insert(digest, content);
            Ok(digest)
        })
    }

    fn get(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Bytes>, BlobError>> {
        let state = self.state();
        Box::pin(ready(if state.closed {
            Err(BlobError::Unavailable { reason: CLOSED.to_owned() })
        } else {
            Ok(state.blobs.get(&digest).cloned())
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::Store;
    use crate::store::conformance::{self, Fixture, StillClock};

    #[tokio::test]
    async fn the_store_in_memory_conforms() {
        conformance::run(|| {
            let store = Store::new(StillClock::shared());
            let closing = store.clone();
            Fixture {
                journal: store.journal(),
                records: store.records(),
                blobs: store.blobs(),
                close: Box::new(move || Box::pin(async move { closing.close() })),
            }
        })
        .await;
    }

    #[test]
    fn the_journal_in_memory_agrees_with_a_map() {
        conformance::journal_agrees_with_a_map(64, || Store::new(StillClock::shared()).journal());
    }
}

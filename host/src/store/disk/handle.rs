//! The seams' face of the store on disk: sends writes to the committer, and reads the table.

use std::sync::{Arc, mpsc::Sender};

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use tokio::sync::{Semaphore, oneshot};

use super::{
    archive::Folder,
    committer::Message,
    fault::{Fault, guarded},
    group::{RecordWrite, Write},
    layout, reading,
    shared::Shared,
    table::Table,
};
use crate::{
    ports::{
        journal::{Append, AppendError, Journal, Position, ReadError, Record, StreamId, Version},
        records::{Change, RecordError, Records, Revision, Stored},
    },
    store::{check_record, check_size, watch},
};

/// What may wait for the committer, KiB; beyond it, writers wait to be let in. A write counts at least 1.
pub(super) const QUEUE_KIB_LIMIT: usize = 64 << 10;
/// Records that are read on the calling thread; more are read on one that may block.
const INLINE_RECORDS: usize = 64;
/// Most records in one page of the journal's tail or of a listing.
const PAGE_RECORDS_LIMIT: usize = 1024;
/// Bytes after which a page of the journal's tail ends.
const PAGE_BYTES_LIMIT: usize = 8 << 20;

/// A handle on the store.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: Sender<Message>,
    pub(super) room: Arc<Semaphore>,
    pub(super) archive: Folder,
}

impl Handle {
    /// The table, for reading; while it is being opened again, that is waited for.
    pub(super) async fn table(&self) -> Result<Table, Fault> {
        loop {
            let changed = self.shared.changed();
            match self.shared.table() {
                Err(_) if self.shared.failed().is_none() => changed.await,
                found => return found,
            }
        }
    }

    /// Sends a write once there is room for it; the reason if there is nobody to send it to.
    async fn send(&self, write: Write, bytes: usize) -> Result<(), String> {
        let kib = u32::try_from(1 + (bytes >> 10)).unwrap_or(u32::MAX);
        let permit = self.room.clone().acquire_many_owned(kib).await;
        let permit = permit.map_err(|_| "it was closed; the hub is stopping".to_owned())?;
        self.shared.usable()?;
        self.queue.send(Message::Write(write, permit)).map_err(|_| {
            self.shared.usable().err().unwrap_or_else(|| "its committer has stopped; restart the hub".to_owned())
        })
    }

    async fn write_record(&self, change: RecordWrite) -> Result<Revision, RecordError> {
        let bytes = check_record(&change.key, change.value.as_ref())?;
        let (reply, answer) = oneshot::channel();
        let sent = self.send(Write::Record { change, reply }, bytes).await;
        sent.map_err(|reason| RecordError::Unavailable { reason })?;
        let unanswered = "the store was closed before it answered; whether the record was written is unknown";
        answer.await.unwrap_or_else(|_| Err(RecordError::Unavailable { reason: unanswered.to_owned() }))
    }
}

/// Reads on a thread that may block, so that a long scan holds up nobody else.
async fn blocking<T: Send + 'static>(
    table: Table,
    work: impl FnOnce(&Table) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(move || guarded(|| work(&table))).await;
    done.unwrap_or_else(|error| Err(Fault::failed(error)))
}

impl Journal for Handle {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Version, AppendError>> {
        Box::pin(async move {
            let bytes = check_size(&append)?;
            let (reply, answer) = oneshot::channel();
            let sent = self.send(Write::Append { append, reply }, bytes).await;
            sent.map_err(|reason| AppendError::Unavailable { reason })?;
            let unanswered = "the store was closed before it answered";
            answer.await.unwrap_or_else(|_| Err(AppendError::Unknown { reason: unanswered.to_owned() }))
        })
    }

    fn read(&self, stream: StreamId, after: Version) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        Box::pin(async move {
            let Ok(after) = u32::try_from(after.0) else { return Ok(Vec::new()) };
            let (table, durable) = (self.table().await?, self.shared.durable());
            let mut records =
                guarded(|| reading::stream(&table, &self.archive, stream, after, durable, INLINE_RECORDS))?;
            // A stream is archived whole, and comes whole.
            let last = records.last().map_or(after, |record| u32::try_from(record.version.0).unwrap_or(u32::MAX));
            if records.len() == INLINE_RECORDS
                && last == after.saturating_add(u32::try_from(INLINE_RECORDS).unwrap_or(u32::MAX))
            {
                let after = after.saturating_add(u32::try_from(INLINE_RECORDS).unwrap_or(u32::MAX));
                let archive = self.archive.clone();
                let rest = move |table: &Table| reading::stream(table, &archive, stream, after, durable, usize::MAX);
                records.append(&mut blocking(table, rest).await?);
            }
            Ok(records)
        })
    }

    fn tail(&self, after: Position, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        Box::pin(async move {
            let (table, durable) = (self.table().await?, self.shared.durable());
            let limit = limit.min(PAGE_RECORDS_LIMIT);
            let page = move |table: &Table| reading::tail(table, after, durable, limit, PAGE_BYTES_LIMIT);
            let records = if limit <= INLINE_RECORDS { guarded(|| page(&table)) } else { blocking(table, page).await };
            Ok(records?)
        })
    }

    fn health(&self) -> Result<(), String> {
        self.shared.usable()
    }

    fn room(&self) -> Result<(), String> {
        self.shared.room()
    }
}

impl Records for Handle {
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Stored>, RecordError>> {
        let key = key.to_owned();
        Box::pin(async move {
            let table = self.table().await?;
            Ok(guarded(|| Ok(reading::record(&table, &key)?.map(|current| current.stored)))?)
        })
    }

    fn put_if(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, RecordError>> {
        let key = key.to_owned();
        Box::pin(async move { self.write_record(RecordWrite { key, value: Some(value), expected }).await })
    }

    fn delete_if(&self, key: &str, expected: Revision) -> BoxFuture<'_, Result<(), RecordError>> {
        let key = key.to_owned();
        Box::pin(async move {
            self.write_record(RecordWrite { key, value: None, expected: Some(expected) }).await.map(drop)
        })
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(String, Stored)>, RecordError>> {
        let (prefix, mut after) = (prefix.to_owned(), after.map(str::to_owned));
        Box::pin(async move {
            let mut listed = Vec::new();
            let mut more = true;
            while more && listed.len() < limit {
                let (prefix, start) = (prefix.clone(), after.clone());
                // Pages are small, because the committer waits for a look at the records to end.
                let room = INLINE_RECORDS.min(limit - listed.len());
                let page = move |table: &Table| super::listing::page(table, &prefix, start.as_deref(), room);
                let page = blocking(self.table().await?, page).await?;
                more = page.next.is_some();
                after = page.next;
                listed.extend(page.records);
            }
            Ok(listed)
        })
    }

    fn watch(&self, prefix: &str) -> BoxStream<'static, Change> {
        watch::stream(self.shared.subscribe(), prefix)
    }
}

/// The position up to which a store whose last group is this one is durable.
pub(super) fn durable_after(group: u64) -> Position {
    if group == 0 { Position(0) } else { layout::last_position(group) }
}

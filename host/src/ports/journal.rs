//! The journal: streams of facts, appended under an expected version, durable when acknowledged.

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::model::{
    id::{AcceptanceId, AppendId, RunId},
    timestamp::Timestamp,
};

/// Largest append, bytes over all its entries; what one message of a networked journal holds with room to spare.
pub const APPEND_BYTES_LIMIT: usize = 512 << 10;

/// What a stream is about. One acceptance, one run: nothing spans two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamId {
    /// The acceptance of one event; exactly one append, at version 0.
    Acceptance(AcceptanceId),
    /// A run.
    Run(RunId),
    /// Every change to what runs; there is one such stream.
    Audit,
}

impl StreamId {
    /// A fixed-width key: kind, then id.
    #[must_use]
    pub fn to_key(self) -> [u8; 17] {
        let (kind, id) = match self {
            Self::Acceptance(id) => (b'a', *id.as_bytes()),
            Self::Run(id) => (b'r', *id.as_bytes()),
            Self::Audit => (b'u', [0; 16]),
        };
        let mut key = [kind; 17];
        key.iter_mut().skip(1).zip(id).for_each(|(to, from)| *to = from);
        key
    }

    /// The stream of a key made by [`StreamId::to_key`].
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let (kind, id) = key.split_first()?;
        let id: [u8; 16] = id.try_into().ok()?;
        match kind {
            b'a' => Some(Self::Acceptance(AcceptanceId::from_bytes(id))),
            b'r' => Some(Self::Run(RunId::from_bytes(id))),
            b'u' if id == [0; 16] => Some(Self::Audit),
            _ => None,
        }
    }
}

/// Where a stream ends. Opaque: only compare it, and hand it back. The default is the empty stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// A place in the order over the whole journal, for projections only. The default is before everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// One append: all of its entries or none.
#[derive(Clone, Debug)]
pub struct Append {
    /// The stream.
    pub stream: StreamId,
    /// Where it must end.
    pub expected: Version,
    /// The same for every repetition of this append; a repetition that finds itself there succeeds.
    pub id: AppendId,
    /// Encoded facts, at least one, at most [`APPEND_BYTES_LIMIT`] in all.
    pub entries: Vec<Bytes>,
}

/// What one append stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The stream.
    pub stream: StreamId,
    /// The stream's version after it.
    pub version: Version,
    /// Its place in the whole journal.
    pub position: Position,
    /// When it was committed.
    pub time: Timestamp,
    /// The entries, in order.
    pub entries: Vec<Bytes>,
}

/// Why an append was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The stream does not end there; somebody else appended.
    #[error("the stream has moved on")]
    Conflict,
    /// The entries are larger than an append may be, or there are none.
    #[error("the append is {actual_bytes} bytes, the limit is {limit_bytes} and the least is one entry")]
    TooLarge {
        /// Size of the entries.
        actual_bytes: usize,
        /// [`APPEND_BYTES_LIMIT`].
        limit_bytes: usize,
    },
    /// The journal takes no appends now; nothing was stored.
    #[error("the journal takes no appends: {reason}")]
    Unavailable {
        /// What to do about it.
        reason: String,
    },
    /// It may or may not be stored: repeat it with the same id and expectation.
    #[error("the append's outcome is unknown: {reason}")]
    Unknown {
        /// What happened.
        reason: String,
    },
}

/// Why the journal cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Stored bytes are not what was written.
    #[error("the journal is damaged at {place}: {problem}")]
    Damaged {
        /// Which record.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It cannot be read now.
    #[error("the journal cannot be read: {reason}")]
    Unavailable {
        /// What to do about it.
        reason: String,
    },
}

/// The only truth. Implementations are cheap handles, clonable behind an `Arc`.
pub trait Journal: Send + Sync {
    /// Appends. When it answers `Ok`, the entries survive a power cut. Dropping the future does not undo it.
    ///
    /// # Errors
    /// As [`AppendError`] says.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Version, AppendError>>;

    /// Everything in the stream after a version, and every acknowledged append is included.
    ///
    /// # Errors
    /// If stored bytes are damaged or the store is closed.
    fn read(&self, stream: StreamId, after: Version) -> BoxFuture<'_, Result<Vec<Record>, ReadError>>;

    /// At most `limit` durable records after a position, in order; empty at the end.
    ///
    /// # Errors
    /// If stored bytes are damaged or the store is closed.
    fn tail(&self, after: Position, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, ReadError>>;

    /// Whether appends are taken, and if not, what to do about it. For readiness.
    ///
    /// # Errors
    /// The reason.
    fn health(&self) -> Result<(), String>;

    /// Whether there is room for new work, and if not, what to do about it. Appends of work under way are taken all the
    /// same.
    ///
    /// # Errors
    /// The reason.
    fn room(&self) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_survives_its_key_and_no_other_key_is_taken_for_the_audit_stream() {
        let streams = [
            StreamId::Acceptance(AcceptanceId::from_bytes([1; 16])),
            StreamId::Run(RunId::from_bytes([2; 16])),
            StreamId::Audit,
        ];
        for stream in streams {
            assert_eq!(StreamId::from_key(&stream.to_key()), Some(stream));
        }
        let mut other = StreamId::Audit.to_key();
        other[16] = 1;
        assert_eq!(StreamId::from_key(&other), None);
    }
}

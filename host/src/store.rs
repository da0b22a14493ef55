//! L3: the hub's memory. Implements the seams [`journal`](crate::ports::journal), [`records`](crate::ports::records)
//! and [`blobs`](crate::ports::blobs) twice, and is the only place that names sled.
//!
//! - [`memory`] keeps everything in the process: for tests and simulation. It promises nothing about power cuts.
//! - [`disk`] keeps it on one machine's disk. What it acknowledged survives a power cut; what it cannot prove to be
//!   whole it refuses to open. It has no faster, less safe mode.
//!
//! One conformance suite (`conformance.rs`) is run by both. Nothing here knows what an entry means.

#[cfg(test)]
mod conformance;
pub mod disk;
pub mod memory;
mod watch;

use bytes::Bytes;

use crate::ports::{
    journal::{APPEND_BYTES_LIMIT, Append, AppendError},
    records::{RECORD_BYTES_LIMIT, RecordError},
};

/// Most entries in one append, so that empty ones are bounded too.
const APPEND_ENTRIES_LIMIT: usize = 65_536;
/// Longest key of a record, bytes.
const RECORD_KEY_BYTES_LIMIT: usize = 512;

/// Holds an append to its limits; the size of its entries, bytes.
fn check_size(append: &Append) -> Result<usize, AppendError> {
    let actual_bytes = append.entries.iter().map(Bytes::len).sum();
    let entries = append.entries.len();
    if entries == 0 || entries > APPEND_ENTRIES_LIMIT || actual_bytes > APPEND_BYTES_LIMIT {
        return Err(AppendError::TooLarge { actual_bytes, limit_bytes: APPEND_BYTES_LIMIT });
    }
    Ok(actual_bytes)
}

/// Holds a record's key and value to their limits; the size of the value, bytes.
fn check_record(key: &str, value: Option<&Bytes>) -> Result<usize, RecordError> {
    let value_bytes = value.map_or(0, Bytes::len);
    for (actual_bytes, limit_bytes) in [(key.len(), RECORD_KEY_BYTES_LIMIT), (value_bytes, RECORD_BYTES_LIMIT)] {
        if actual_bytes > limit_bytes {
            return Err(RecordError::TooLarge { actual_bytes, limit_bytes });
        }
    }
    Ok(value_bytes)
}

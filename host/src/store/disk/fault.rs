//! What goes wrong below the seams, and the guard that turns sled's panics into it.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::ports::{journal::ReadError, records::RecordError};

/// Why stored bytes could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// They are not what was written.
    #[error("damaged at {place}: {problem}")]
    Damaged { place: String, problem: String },
    /// The database or the disk said no.
    #[error("{reason}")]
    Failed { reason: String },
}

impl Fault {
    pub(super) fn damaged(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Damaged { place: place.into(), problem: problem.into() }
    }

    pub(super) fn failed(reason: impl ToString) -> Self {
        Self::Failed { reason: reason.to_string() }
    }
}

impl From<sled::Error> for Fault {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Corruption { at, .. } => {
                let place = at.map_or_else(|| "the database file".to_owned(), |at| format!("{at:?}"));
                Self::damaged(place, "the database reports corruption")
            }
            other => Self::failed(other),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error)
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged { place, problem } => Self::Damaged { place, problem },
            Fault::Failed { reason } => Self::Unavailable { reason },
        }
    }
}

impl From<Fault> for RecordError {
    fn from(fault: Fault) -> Self {
        let reason = match fault {
            Fault::Damaged { place, problem } => {
                format!("{place} is damaged: {problem}; stop the hub and restore the store from a backup")
            }
            Fault::Failed { reason } => reason,
        };
        Self::Unavailable { reason }
    }
}

/// Runs something that calls sled, which panics on much damage.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(Fault::damaged("the database", format!("it panicked: {}", panic_text(panic.as_ref()))))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

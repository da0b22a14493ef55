//! Why a store is not opened, in words that say what to do.

use std::{io, path::PathBuf};

/// Why a store was not opened. Nothing in it was changed, except that leftovers of a crash may have been removed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or this one, has it open.
    #[error("the store `{dir}` is in use by another hub; stop that one, or choose another directory")]
    InUse {
        /// The store.
        dir: PathBuf,
    },
    /// A file cannot be made, read or written.
    #[error("cannot use `{path}` for the store; see to its permissions and to the disk")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is a database, but nothing says what was acknowledged.
    #[error("`{path}` is missing or damaged, so that nobody knows what `{dir}` must hold; restore both from a backup")]
    HeadMissing {
        /// The head file.
        path: PathBuf,
        /// The store.
        dir: PathBuf,
    },
    /// The database file is shorter than when the last append was acknowledged.
    #[error(
        "the database `{path}` is {actual_bytes} bytes, but was {acknowledged_bytes} when group {group} was \
         acknowledged; acknowledged events are missing: keep the directory for inquiry and restore a backup"
    )]
    Shortened {
        /// The database file.
        path: PathBuf,
        /// Its length.
        actual_bytes: u64,
        /// The length that was recorded.
        acknowledged_bytes: u64,
        /// The last acknowledged group.
        group: u64,
    },
    /// The database ends before the last acknowledged group.
    #[error(
        "the store `{dir}` ends at group {actual}, but group {acknowledged} was acknowledged; acknowledged events are \
         missing: keep the directory for inquiry and restore a backup"
    )]
    Behind {
        /// The store.
        dir: PathBuf,
        /// The last group there is.
        actual: u64,
        /// The last acknowledged group.
        acknowledged: u64,
    },
    /// The acknowledged group is there, but is another one.
    #[error(
        "group {group} of the store `{dir}` is not the one that was acknowledged; `head` and `journal` are from \
         different backups, or the store was tampered with: restore both from the same backup"
    )]
    Diverged {
        /// The store.
        dir: PathBuf,
        /// The group.
        group: u64,
    },
    /// The database cannot be read.
    #[error(
        "the store `{dir}` is damaged ({problem}); move the directory aside for inquiry and restore a backup to its \
         place"
    )]
    Damaged {
        /// The store.
        dir: PathBuf,
        /// What was found.
        problem: String,
    },
}

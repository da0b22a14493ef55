//! Whether calls of connectors may leave the hub. After a restore they may not until an operator has compared the
//! remotes with what was restored: what the hub did after the backup was made, it does not know.
//!
//! The marker is a file in the data folder; the operator's word removes it (`crossdock backup reconciled`), whether the
//! hub runs or not.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ports::clock::Clock;

/// The marker in the data folder. Its text says why.
pub const MARKER_FILE: &str = "effects-paused";
/// How often it is looked whether the marker is still there, milliseconds.
const LOOK_MS: u64 = 250;

/// Whether calls may leave. Cheap to look at.
pub struct Effects {
    paused: watch::Sender<bool>,
}

impl Default for Effects {
    fn default() -> Self {
        Self { paused: watch::Sender::new(false) }
    }
}

impl Effects {
    /// As the data folder says.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self { paused: watch::Sender::new(marker(data).exists()) }
    }

    /// Whether no call may leave now.
    #[must_use]
    pub fn are_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Waits until calls may leave.
    pub async fn allowed(&self) {
        // The sender lives as long as `self`.
        let _ = self.paused.subscribe().wait_for(|paused| !paused).await;
    }

    /// Waits for the operator's word, for as long as the hub lives.
    pub async fn watch(&self, data: PathBuf, clock: &dyn Clock, stopping: &CancellationToken) {
        while self.are_paused() {
            tokio::select! {
                () = clock.sleep_until(clock.now().plus_millis(LOOK_MS)) => {}
                () = stopping.cancelled() => return,
            }
            if !marker(&data).exists() {
                tracing::warn!("effects were released: calls of connectors leave again");
                self.paused.send_replace(false);
            }
        }
    }
}

/// The marker of a data folder.
#[must_use]
pub fn marker(data: &Path) -> PathBuf {
    data.join(MARKER_FILE)
}

/// Lets effects go on; whether they were paused.
///
/// # Errors
/// If the marker cannot be removed.
pub fn release(data: &Path) -> io::Result<bool> {
    match fs::remove_file(marker(data)) {
        Ok(()) => fs::File::open(data)?.sync_all().map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

//! After a failed commit: the database is let go, opened again through all the checks of a start, and compared with the
//! acknowledged head. What was acknowledged is there, or the store stays shut and says what to do.
//!
//! The handle on which a flush failed is never flushed again. A failed sync may leave bytes in the kernel's cache that
//! the disk never got and that count as clean; they are dropped before the file is read again. A full disk is helped by
//! giving up the reserve, and otherwise waited for.

use std::{
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

use super::{
    committer::{Committer, Message, refuse},
    durability::Durability,
    fault::{Fault, guarded},
    group::Ends,
    handle, opening,
    refusal::OpenError,
};

/// Free space below which opening is not even tried, bytes: sled writes while it opens.
const FREE_BYTES_MIN: u64 = 4 << 20;
/// For how long such room is waited for, milliseconds.
const ROOM_WAIT_MS: u64 = 300_000;
/// The wait before the first attempt, and the longest, milliseconds: each is twice the one before.
const PAUSE_MS: (u64, u64) = (20, 5_000);

impl Committer {
    /// Opens the database again, or gives up. What is to be done next.
    pub(super) fn recover(&mut self, met: Option<Message>) -> Option<Message> {
        if let Some(message) = met.and_then(|message| self.turn_away(message)) {
            return Some(message);
        }
        self.space.give_up_reserve();
        let mut problem = "it may not be opened again".to_owned();
        let mut waited_ms = 0;
        while self.reopenings < self.options.reopenings_limit {
            let pause = PAUSE_MS.0.saturating_mul(1 << self.reopenings.min(16)).min(PAUSE_MS.1);
            if let Some(closing) = self.pause(Duration::from_millis(pause)) {
                return Some(closing);
            }
            if self.space.free_bytes().is_ok_and(|free| free < FREE_BYTES_MIN) && waited_ms < ROOM_WAIT_MS {
                "the disk is full".clone_into(&mut problem);
                waited_ms += pause;
                continue;
            }
            self.reopenings += 1;
            match self.reopen() {
                Ok(()) => {
                    tracing::warn!(group = self.chain.group, "the store was opened again and is whole; it goes on");
                    metrics::counter!("crossdock_store_reopened_total").increment(1);
                    return None;
                }
                Err(error) => {
                    problem = chain(&error);
                    tracing::error!(problem, "the store does not open again");
                    if !matches!(error, OpenError::Io { .. } | OpenError::InUse { .. }) {
                        break;
                    }
                }
            }
        }
        self.shared.give_up(format!(
            "a commit failed, and the store cannot go on ({problem}); see that the disk is healthy and has room, then \
             start the hub again: everything acknowledged before is checked at the start"
        ));
        None
    }

    fn reopen(&mut self) -> Result<(), OpenError> {
        self.shared.suspend();
        let durability = self.durability.take();
        // sled flushes once more as its last handle goes, and panics if it cannot; that vouches for nothing.
        let _ = guarded(|| {
            drop(durability);
            Ok(())
        });
        opening::distrust_cache(&self.paths)?;
        self.open()
    }

    /// Opens the database, through all the checks of a start, and goes on with it.
    pub(super) fn open(&mut self) -> Result<(), OpenError> {
        let opened = opening::open(&self.paths)?;
        let chain = opened.chain;
        let durability = Durability::start(
            opened,
            &self.paths,
            self.options.settle_pause,
            self.shared.clone(),
            #[cfg(test)]
            &self.fail_syncs,
        )
        .map_err(|source| OpenError::Io { path: self.paths.journal.clone(), source })?;
        self.chain = chain;
        self.opened_at_groups = self.shared.counters.snapshot().groups;
        self.ends = Ends::default();
        self.shared.resume(durability.table().clone(), handle::durable_after(chain.group));
        self.durability = Some(durability);
        Ok(())
    }

    /// Waits, and turns away what comes meanwhile. A close is not turned away.
    fn pause(&self, pause: Duration) -> Option<Message> {
        let until = Instant::now() + pause;
        loop {
            match self.queue.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(message) => match self.turn_away(message) {
                    None => {}
                    closing => return closing,
                },
                Err(RecvTimeoutError::Timeout) => return None,
                // Nobody is left to work for: the loop that called this ends at its next look.
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn turn_away(&self, message: Message) -> Option<Message> {
        match message {
            Message::Write(write, _) => {
                refuse(write, self.shared.usable().err().unwrap_or_else(|| "it is being opened again".to_owned()));
                None
            }
            // Dropped unseen: whoever waits for it is told so by its channel.
            Message::Work(_) => None,
            closing @ Message::Close(_) => Some(closing),
        }
    }
}

/// An error and all that led to it, in one line.
fn chain(error: &OpenError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl From<OpenError> for Fault {
    fn from(error: OpenError) -> Self {
        Self::failed(chain(&error))
    }
}

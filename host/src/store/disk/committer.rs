//! The one thread that writes. It groups whatever waits, commits the group, and only then answers; meanwhile the next
//! group collects in the queue.
//!
//! A failed commit poisons the store: the group's waiters hear `Unknown`, later ones `Unavailable`, and the database is
//! never written again through this handle.

use std::{
    mem,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use sled::Tree;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    durability::Durability,
    fault::{Fault, guarded},
    group::{Ends, Group, Sealed, Write},
    layout::{self, Hash},
    opening::Lock,
    shared::Shared,
};
use crate::{
    model::timestamp::Timestamp,
    ports::{clock::Clock, journal::AppendError, records::RecordError},
};

/// How long the committer idles before it looks whether sled has shortened its file.
const IDLE: Duration = Duration::from_millis(500);

/// A message to the committer.
pub(super) enum Message {
    /// A write, with the room that it takes in the queue.
    Write(Write, OwnedSemaphorePermit),
    /// Commit what was sent before this, close, and answer.
    Close(oneshot::Sender<Result<(), String>>),
}

/// The last group: what the next one continues.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chain {
    pub(super) group: u64,
    pub(super) hash: Hash,
    pub(super) time: Timestamp,
}

/// The committer's state, owned by its thread.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: Receiver<Message>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tree: Tree,
    pub(super) durability: Durability,
    pub(super) chain: Chain,
    pub(super) ends: Ends,
    pub(super) frame: Vec<u8>,
    /// Held until the database is closed.
    pub(super) lock: Lock,
}

impl Committer {
    /// Commits until it is told to close or nobody is left to tell it.
    pub(super) fn run(mut self) {
        let closing = loop {
            match self.queue.recv_timeout(IDLE) {
                Ok(Message::Write(write, permit)) => {
                    if let Some(reply) = self.group(write, permit) {
                        break Some(reply);
                    }
                }
                Ok(Message::Close(reply)) => break Some(reply),
                Err(RecvTimeoutError::Timeout) => self.idle(),
                Err(RecvTimeoutError::Disconnected) => break None,
            }
        };
        let Self { shared, queue, tree, durability, lock, .. } = self;
        let healthy = shared.usable();
        shared.let_go();
        drop(tree);
        // After a failure nothing is noted, and what sled still does as it goes vouches for nothing.
        let closed = match healthy {
            Ok(()) => durability.close().map_err(|fault| fault.to_string()),
            Err(reason) => guarded(|| {
                drop(durability);
                Ok(())
            })
            .map_err(|fault| fault.to_string())
            .and(Err(reason)),
        };
        drop(lock);
        if let Some(reply) = closing {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(closed);
        }
        // What was sent after the close is dropped unseen: nothing of it is stored.
        drop(queue);
    }

    fn idle(&mut self) {
        if self.shared.usable().is_ok()
            && let Err(error) = self.durability.note_length()
        {
            self.poison(&Fault::from(error));
        }
    }

    /// Collects a group, commits it and answers. A close that was met on the way.
    fn group(&mut self, first: Write, permit: OwnedSemaphorePermit) -> Option<oneshot::Sender<Result<(), String>>> {
        if let Err(reason) = self.shared.usable() {
            refuse(first, reason);
            return None;
        }
        let number = self.chain.group + 1;
        let time = self.chain.time.max(self.clock.now());
        let tree = self.tree.clone();
        let mut ends = mem::take(&mut self.ends);
        let mut frame = mem::take(&mut self.frame);
        let mut group = Group::new(&tree, &mut ends, &mut frame, number, time);
        let mut closing = None;
        let collected = guarded(|| {
            group.add(first, permit);
            while !group.is_full() {
                match self.queue.try_recv() {
                    Ok(Message::Write(write, permit)) => group.add(write, permit),
                    Ok(Message::Close(reply)) => {
                        closing = Some(reply);
                        break;
                    }
                    Err(_) => break,
                }
            }
            Ok(group.seal(self.chain.hash))
        });
        let (waiters, changes) = (mem::take(&mut group.waiters), mem::take(&mut group.changes));
        let shadow = mem::take(&mut group.shadow);
        drop(group);
        (self.ends, self.frame) = (ends, frame);
        let committed = collected.and_then(|sealed| match sealed {
            Some(sealed) => {
                if !shadow.is_empty() {
                    self.shared.cast_shadow(shadow);
                }
                self.commit(sealed, waiters.len() as u64)?;
                self.shared.reveal(layout::last_position(number), changes);
                Ok(())
            }
            None => Ok(()),
        });
        match committed {
            Ok(()) => waiters.into_iter().for_each(super::group::Waiter::succeed),
            Err(fault) => {
                let reason = self.poison(&fault);
                waiters.into_iter().for_each(|waiter| waiter.doubt(&reason));
            }
        }
        closing
    }

    fn commit(&mut self, sealed: Sealed, size: u64) -> Result<(), Fault> {
        let Sealed { header, batch, appends, bytes, record_writes } = sealed;
        let begun = Instant::now();
        let spilled = guarded(|| self.durability.commit(batch, &header))?;
        metrics::histogram!("crossdock_journal_flush_seconds").record(begun.elapsed().as_secs_f64());
        metrics::counter!("crossdock_journal_flushes_total").increment(1);
        self.chain = Chain { group: header.group, hash: header.hash(), time: header.time };
        self.shared.counters.update(|statistics| {
            statistics.groups += 1;
            statistics.flushes += 1;
            statistics.appends += appends;
            statistics.appended_bytes += bytes;
            statistics.record_writes += record_writes;
            statistics.group_size_max = statistics.group_size_max.max(size);
            statistics.spilled_files += spilled;
        });
        Ok(())
    }

    fn poison(&self, fault: &Fault) -> String {
        let reason = format!(
            "a commit failed ({fault}); see that the disk is healthy and has room, then restart the hub: everything \
             acknowledged before is checked at the start"
        );
        tracing::error!(%fault, "the store takes no more writes until the hub is restarted");
        self.shared.refuse(reason.clone());
        reason
    }
}

fn refuse(write: Write, reason: String) {
    match write {
        Write::Append { reply, .. } => drop(reply.send(Err(AppendError::Unavailable { reason }))),
        Write::Record { reply, .. } => drop(reply.send(Err(RecordError::Unavailable { reason }))),
    }
}

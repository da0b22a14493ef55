//! The one thread that writes. It groups whatever waits, commits the group, and only then answers; meanwhile the next
//! group collects in the queue.
//!
//! A failed commit ends this opening of the database: the group's waiters hear `Unknown`, later ones `Unavailable`, and
//! it is never written again. `recovery.rs` opens it anew, through all the checks of a start.

use std::{
    mem,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    Options,
    durability::Durability,
    fault::{Fault, guarded},
    group::{Ends, Group, Sealed, Write},
    layout::{self, Hash},
    log::Frame,
    opening::{Lock, Paths},
    shared::Shared,
    space::Space,
};
use crate::{
    model::timestamp::Timestamp,
    ports::{clock::Clock, journal::AppendError, records::RecordError},
};

/// How long the committer idles before it looks at the room on the disk and at its own health.
const IDLE: Duration = Duration::from_millis(500);

/// A group of so many or more shows that many write at the same time: the next one waits before it is collected. With
/// fewer, whoever writes would only wait.
const CROWD: usize = 4;

/// How long a group is waited for, for each of those that waited for the last one, and the longest such wait. A commit costs
/// processor time for its sync and for waking its waiters, whatever it holds, so that few large ones carry more; whoever waits
/// for one in a crowd waits longer for a processor.
const GATHER: (Duration, Duration) = (Duration::from_micros(250), Duration::from_micros(4_000));

/// How often the committer looks at the room on the disk.
const SPACE_LOOK: Duration = Duration::from_millis(250);

/// A message to the committer.
pub(super) enum Message {
    /// A write, with the room that it takes in the queue.
    Write(Write, OwnedSemaphorePermit),
    /// Something to be done while nothing is being committed.
    Work(Box<dyn FnOnce(&mut Committer) + Send>),
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
    pub(super) paths: Paths,
    /// Absent until it is opened, and while it is opened again.
    pub(super) durability: Option<Durability>,
    pub(super) chain: Chain,
    pub(super) ends: Ends,
    pub(super) frame: Vec<u8>,
    /// Room for a group's frame in the log.
    pub(super) logged: Vec<u8>,
    /// How many waited for the last group.
    pub(super) crowd: usize,
    pub(super) space: Space,
    /// When the room on the disk was looked at last.
    pub(super) space_seen: Option<Instant>,
    pub(super) options: Options,
    /// How often the database was opened again without a commit that succeeded.
    pub(super) reopenings: u32,
    /// How many groups there were when it was opened last.
    pub(super) opened_at_groups: u64,
    /// Held until the database is closed.
    pub(super) lock: Lock,
    #[cfg(test)]
    pub(super) fail_syncs: super::durability::FailSyncs,
}

impl Committer {
    /// Commits until it is told to close or nobody is left to tell it.
    pub(super) fn run(mut self) {
        let mut next = None;
        let closing = loop {
            self.look_at_space();
            let message = next.take().map_or_else(|| self.queue.recv_timeout(IDLE), Ok);
            match message {
                Ok(Message::Write(write, permit)) => next = self.group(write, permit),
                Ok(Message::Work(work)) => work(&mut self),
                Ok(Message::Close(reply)) => break Some(reply),
                Err(RecvTimeoutError::Timeout) => self.refresh(),
                Err(RecvTimeoutError::Disconnected) => break None,
            }
            if self.shared.usable().is_err() && self.shared.failed().is_none() {
                next = self.recover(next);
            }
        };
        // So that the next start is quick too, however busy it was.
        self.refresh();
        let Self { shared, queue, durability, lock, .. } = self;
        let healthy = shared.usable();
        shared.let_go();
        let closed = match (healthy, durability) {
            (Ok(()), Some(durability)) => durability.close().map(drop).map_err(|fault| fault.to_string()),
            // After a failure nothing is noted, and what sled still does as it goes vouches for nothing.
            (healthy, durability) => guarded(|| {
                drop(durability);
                Ok(())
            })
            .map_err(|fault| fault.to_string())
            .and(healthy),
        };
        drop(lock);
        if let Some(reply) = closing {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(closed);
        }
        // What was sent after the close is dropped unseen: nothing of it is stored.
        drop(queue);
    }

    /// Opens the database anew if much was written since it was opened: sled notes only then where its pages are, and a
    /// start after a crash need not read all of what was written before. Readers and writers wait meanwhile.
    fn refresh(&mut self) {
        let groups = self.shared.counters.snapshot().groups;
        if groups.saturating_sub(self.opened_at_groups) < self.options.refresh_groups || self.shared.usable().is_err() {
            return;
        }
        self.shared.suspend();
        let closed = self.durability.take().map_or(Ok(()), |durability| durability.close().map(drop));
        if let Err(fault) = closed.and_then(|()| self.open().map_err(Fault::from)) {
            self.poison(&fault);
        }
    }

    fn look_at_space(&mut self) {
        if self.space_seen.is_none_or(|seen| seen.elapsed() >= SPACE_LOOK) {
            self.space_seen = Some(Instant::now());
            self.shared.set_short(self.space.look());
        }
    }

    /// Collects a group, commits it and answers. What was met on the way and is no write.
    fn group(&mut self, first: Write, permit: OwnedSemaphorePermit) -> Option<Message> {
        let table = match (self.shared.usable(), &self.durability) {
            (Ok(()), Some(durability)) => durability.table().clone(),
            (healthy, _) => {
                refuse(first, healthy.err().unwrap_or_else(|| "it is being opened again".to_owned()));
                return None;
            }
        };
        if let Some(wait) = gathering(self.crowd) {
            thread::sleep(wait);
        }
        let number = self.chain.group + 1;
        let time = self.chain.time.max(self.clock.now());
        let mut ends = mem::take(&mut self.ends);
        let mut frame = mem::take(&mut self.frame);
        let logged = Frame::within(mem::take(&mut self.logged));
        let mut group = Group::new(&table, &mut ends, &mut frame, logged, number, time);
        let mut met = None;
        let collected = guarded(|| {
            group.add(first, permit);
            while !group.is_full() {
                match self.queue.try_recv() {
                    Ok(Message::Write(write, permit)) => group.add(write, permit),
                    Ok(other) => {
                        met = Some(other);
                        break;
                    }
                    Err(_) => break,
                }
            }
            Ok(group.seal(self.chain.hash))
        });
        let (waiters, changes) = (mem::take(&mut group.waiters), mem::take(&mut group.changes));
        drop(group);
        self.crowd = waiters.len();
        (self.ends, self.frame) = (ends, frame);
        let committed = collected.and_then(|sealed| match sealed {
            Some(sealed) => {
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
        met
    }

    fn commit(&mut self, sealed: Sealed, size: u64) -> Result<(), Fault> {
        let Sealed { header, taken, logged, appends, bytes, record_writes } = sealed;
        let begun = Instant::now();
        let durability = self.durability.as_mut().ok_or_else(closed)?;
        guarded(|| durability.commit(taken, &logged, &header))?;
        self.logged = logged.into_room();
        self.reopenings = 0;
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
        });
        Ok(())
    }

    /// The open store, if it takes writes.
    pub(super) fn opened(&self) -> Result<&Durability, Fault> {
        self.shared.usable().map_err(Fault::failed)?;
        self.durability.as_ref().ok_or_else(closed)
    }

    /// Ends this opening of the database; why, for whoever waits.
    pub(super) fn poison(&self, fault: &Fault) -> String {
        let reason = format!("a commit failed ({fault}); the store is opened again and checked before it goes on");
        tracing::error!(%fault, "a commit failed: nothing is acknowledged until the store has been opened again");
        self.shared.refuse(reason.clone());
        reason
    }
}

fn closed() -> Fault {
    Fault::failed("it is being opened again")
}

/// How long the next group is waited for when so many waited for the last one.
fn gathering(crowd: usize) -> Option<Duration> {
    let (each, most) = GATHER;
    let waiters = u32::try_from(crowd).unwrap_or(u32::MAX);
    (crowd >= CROWD).then(|| each.saturating_mul(waiters).min(most))
}

pub(super) fn refuse(write: Write, reason: String) {
    match write {
        Write::Append { reply, .. } => drop(reply.send(Err(AppendError::Unavailable { reason }))),
        Write::Record { reply, .. } => drop(reply.send(Err(RecordError::Unavailable { reason }))),
    }
}

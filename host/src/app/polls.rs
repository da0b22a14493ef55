//! Polls: a connection is asked for what is new, and each page becomes accepted events. One task, and one more for each
//! poll under way, so that a remote that hangs holds nobody else's.
//!
//! A cursor belongs to a pipeline's trigger and its connection, and advances only after every event of its page is
//! durable: after a crash the page is asked for again, and its events are found by their ids. A page is accepted whole or
//! not at all. A poll that fails is tried again after a growing wait, and is shown as failing until it succeeds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{
    accept, calls,
    installation::{OpenConnection, POLL},
    permits,
    runner::Shared,
    triggers::{self, Board, Kept, LOOK_MS},
};
use crate::{
    model::{
        failure::FailureKind,
        id::{Digest, hash32},
        lane::Lane,
        pipeline::{Origin, Trigger},
        timestamp::Timestamp,
    },
    ports::invoker::{Answer, Feed, Invocation, Page, Work},
};

/// Most pages of one poll. If there is still more, the next poll comes soon, after others had their turn.
const PAGES_LIMIT: usize = 32;
/// How soon, milliseconds.
const SOON_MS: u64 = 1_000;

/// What is recorded of a poll.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Where the next poll goes on; absent: nothing was polled yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// When the next poll is due.
    due: Timestamp,
    /// How often it failed since it last succeeded.
    #[serde(default)]
    failures: u32,
    /// Why it failed the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// Polls that are known: when each is due, and which are under way.
#[derive(Default)]
struct Polls {
    inner: Mutex<Inner>,
    /// Told when a poll has ended.
    ended: Notify,
}

#[derive(Default)]
struct Inner {
    due: BTreeMap<String, Timestamp>,
    under_way: BTreeSet<String>,
}

impl Polls {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What a panic could leave is a poll that seems under way; the next start finds its record.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One poll of one trigger.
struct Job {
    shared: Arc<Shared>,
    board: Arc<Board>,
    /// For people.
    name: String,
    /// Of its record.
    key: String,
    event_type: String,
    every_ms: u64,
    open: Arc<OpenConnection>,
}

/// Works at polls until the hub stops.
pub(super) async fn run(shared: Arc<Shared>, board: Arc<Board>) {
    let polls = Arc::new(Polls::default());
    loop {
        let ended = polls.ended.notified();
        let next = turn(&shared, &board, &polls).await;
        tokio::select! {
            () = shared.clock.sleep_until(next) => {}
            () = ended => {}
            () = shared.stopping.cancelled() => return,
        }
    }
}

/// Begins every poll that is due; when to look again.
async fn turn(shared: &Arc<Shared>, board: &Arc<Board>, polls: &Arc<Polls>) -> Timestamp {
    let now = shared.clock.now();
    let installation = shared.installation.load_full();
    let mut next = now.plus_millis(LOOK_MS);
    let mut names = Vec::new();
    for (pipeline, installed) in &installation.pipelines {
        for trigger in &installed.definition.triggers {
            let Origin::Poll { connection, every_ms } = &trigger.origin else { continue };
            let name = format!("poll of `{}` for `{}` by `{pipeline}`", connection.value, trigger.event);
            names.push(name.clone());
            let open = match installation.connection(pipeline, &connection.value) {
                Ok(open) => Arc::clone(open),
                Err(problem) => {
                    board.set(&name, Err(problem));
                    continue;
                }
            };
            let key = key(pipeline, trigger, &connection.value, &open.name);
            if polls.lock().under_way.contains(&key) {
                continue;
            }
            match due(shared, polls, &key, now).await {
                Err(problem) => board.set(&name, Err(problem)),
                Ok(due) if due > now => next = next.min(due),
                Ok(_) => {
                    polls.lock().under_way.insert(key.clone());
                    let job = Job {
                        shared: Arc::clone(shared),
                        board: Arc::clone(board),
                        name,
                        key,
                        event_type: trigger.event.clone(),
                        every_ms: *every_ms,
                        open,
                    };
                    let polls = Arc::clone(polls);
                    shared.tasks.spawn(async move {
                        let due = job.poll().await;
                        let mut inner = polls.lock();
                        inner.under_way.remove(&job.key);
                        inner.due.insert(job.key, due);
                        drop(inner);
                        polls.ended.notify_waiters();
                    });
                }
            }
        }
    }
    board.keep("poll", &names);
    next
}

/// Names a trigger's record. How often it polls is left out: to poll more often must not begin anew.
fn key(pipeline: &str, trigger: &Trigger, used_as: &str, connection: &str) -> String {
    let what = Digest::of(format!("{used_as}\n{}", trigger.event).as_bytes()).short();
    format!("poll/{pipeline}/{what}/{connection}")
}

/// When a poll is due: as is known, as is recorded, or now.
async fn due(shared: &Shared, polls: &Polls, key: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Some(due) = polls.lock().due.get(key) {
        return Ok(*due);
    }
    let due = triggers::read::<Record>(&*shared.records, key).await?.map_or(now, |kept| kept.value.due);
    polls.lock().due.insert(key.to_owned(), due);
    Ok(due)
}

impl Job {
    /// Polls until there is no more for now; when the next poll is due.
    async fn poll(&self) -> Timestamp {
        let kept = match triggers::read::<Record>(&*self.shared.records, &self.key).await {
            Ok(kept) => kept,
            Err(problem) => {
                self.board.set(&self.name, Err(problem));
                return triggers::retry_at(self.shared.clock.now(), 1);
            }
        };
        let mut kept = kept.unwrap_or(Kept { value: Record::default(), revision: None });
        let outcome = self.pages(&mut kept).await;
        let now = self.shared.clock.now();
        match &outcome {
            Ok(more) => {
                let wait_ms = if *more { SOON_MS.min(self.every_ms) } else { self.every_ms };
                kept.value = Record { due: now.plus_millis(wait_ms), failures: 0, failure: None, ..kept.value };
            }
            Err(problem) => {
                let failures = kept.value.failures.saturating_add(1);
                tracing::warn!(trigger = self.name, problem, failures, "a poll failed; it is tried again");
                metrics::counter!("crossdock_poll_failures_total").increment(1);
                let due = triggers::retry_at(now, failures);
                kept.value = Record { due, failures, failure: Some(problem.clone()), ..kept.value };
            }
        }
        let due = kept.value.due;
        // Without it, only the time of the next poll is forgotten at a restart.
        let written = triggers::write(&*self.shared.records, &self.key, &mut kept).await;
        let written = written.map_err(|error| format!("its record cannot be written: {error}"));
        self.board.set(&self.name, outcome.map(|_| ()).and(written));
        due
    }

    /// Accepts page after page; whether there is more.
    async fn pages(&self, kept: &mut Kept<Record>) -> Result<bool, String> {
        for _ in 0..PAGES_LIMIT {
            if self.shared.stopping.is_cancelled() {
                return Ok(true);
            }
            let page = self.ask(kept.value.cursor.clone()).await?;
            let moved = page.cursor.is_some() && page.cursor != kept.value.cursor;
            if page.more && !moved {
                return Err("the connector says that there is more, and does not move its cursor".to_owned());
            }
            let more = page.more;
            let cursor = page.cursor.clone();
            self.accept(page).await?;
            if moved {
                // INVARIANT: every event of the page is durable before its cursor is.
                kept.value.cursor = cursor;
                triggers::write(&*self.shared.records, &self.key, kept)
                    .await
                    .map_err(|error| format!("the cursor cannot be recorded: {error}"))?;
            }
            if !more {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks the connector for one page, with the authority of its connection and no more.
    async fn ask(&self, cursor: Option<String>) -> Result<Page, String> {
        let (shared, open) = (&self.shared, &self.open);
        let authority = calls::authority(shared, open, POLL).map_err(|failure| failure.to_string())?;
        let admitted = permits::admit(shared, open, Lane::default(), 0, &shared.stopping).await;
        let admitted = admitted.map_err(|_| "the hub is stopping".to_owned())?;
        let now = shared.clock.now();
        let seed = hash32("crossdock poll 1", &[self.key.as_bytes(), &now.millis().to_be_bytes()]);
        let attributes = vec![("event".to_owned(), self.event_type.clone())];
        let feed = Feed { name: open.name.clone(), config: calls::connection_config(open), attributes };
        let (component, limits) = (open.plugin.inspection.digest, open.plugin.limits);
        let work = Work::Poll { cursor, feed };
        let asking = shared.invoker.invoke(Invocation { component, work, limits, now, seed, authority });
        let result = match open.plugin.live.unless_revoked(asking).await {
            Some(completed) => completed.result.map_err(|error| calls::effect_failure(error, true)),
            None => Err(calls::revoked(&open.plugin, FailureKind::Permanent)),
        };
        admitted.settle(result.as_ref().err());
        match result {
            Ok(Answer::Page(page)) => Ok(page),
            Ok(_) => Err("the connector answered with something else than a page".to_owned()),
            Err(failure) => Err(failure.to_string()),
        }
    }

    /// Accepts every event of a page, or none.
    async fn accept(&self, page: Page) -> Result<(), String> {
        let mut events = page.events;
        if events.is_empty() {
            return Ok(());
        }
        for event in &mut events {
            if event.event_type != self.event_type {
                return Err(format!(
                    "the connector brought event `{}` of type `{}`; the trigger expects `{}`",
                    event.id, event.event_type, self.event_type
                ));
            }
            // Whatever the plugin says: what comes through a connection comes from its remote.
            event.source = format!("/connections/{}", self.open.name);
        }
        self.shared.installation.load().events.name_produced(&self.open.plugin, &mut events);
        let with_source = |error: &dyn std::error::Error| match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        let accepted = accept::external(&self.shared, events).await;
        accepted.map(|_| ()).map_err(|error| format!("its events are not accepted: {}", with_source(&error)))
    }
}

#[cfg(test)]
mod tests;

//! The work on one subscription, in a task of its own: reads what comes, delivers it, and records how far it is.
//!
//! A delivery is recorded after the endpoint has taken it: what a crash takes in between is delivered again, under the same
//! id. A replay goes beside what comes in, one event at a time and at its own rate.

use std::{collections::VecDeque, sync::Arc};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot};

use super::{
    Slot, Subscriptions, endpoint,
    record::{self, LETTERS_MAX, Progress, Replay, Waiting},
    window::{Item, Settled, Tried, Window},
};
use crate::{
    app::{accept, runner::Shared, triggers},
    model::{
        entry::Accepted,
        failure::{Failure, FailureKind},
        id::AcceptanceId,
        subscription::fits,
        timestamp::Timestamp,
    },
    policy::delivery::Verdict,
    ports::{
        journal::Position,
        subscriptions::{Letter, ReplayView, Selection, Standing},
    },
};

/// After so many events that were only looked at, how far it is is recorded all the same.
const LOOKED_MAX: usize = 1_000;

/// A replay that somebody asks for, and who waits until it is recorded.
pub(super) type Command = (Replay, oneshot::Sender<Result<(), String>>);

/// What is delivered, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Window(Position),
    Replay,
}

type Delivery = (Of, Arc<Accepted>, Verdict);

/// An event of a replay that is tried.
struct Trying {
    event: Arc<Accepted>,
    /// How far the replay is once this is over: not before, so that a crash takes nothing of it.
    then: Replay,
    attempts: u32,
    /// Its dead letter, if it is one.
    letter: Option<(String, Letter)>,
    in_flight: bool,
}

struct Worker {
    subscriptions: Arc<Subscriptions>,
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    window: Window,
    read: Position,
    looked_since: usize,
    is_dirty: bool,
    replay: Option<Replay>,
    trying: Option<Trying>,
    /// What a replay has read ahead.
    ahead: VecDeque<(Position, Arc<Accepted>)>,
    replay_due: Timestamp,
    failures: u32,
}

/// Works on a subscription until it is removed or the hub stops.
pub(super) async fn run(subscriptions: Arc<Subscriptions>, slot: Arc<Slot>, mut commands: mpsc::Receiver<Command>) {
    let shared = Arc::clone(&subscriptions.shared);
    let mut failures = 0;
    let mut worker = loop {
        match Worker::open(&subscriptions, &slot).await {
            Ok(worker) => break worker,
            Err(problem) => {
                failures += 1;
                tracing::error!(subscription = slot.name, problem, "a subscription cannot be taken up");
                slot.set_problem(Some(problem));
                let changed = slot.changed.notified();
                if slot.is_removed() {
                    return;
                }
                tokio::select! {
                    () = shared.clock.sleep_until(triggers::retry_at(shared.clock.now(), failures)) => {}
                    () = changed => {}
                    () = shared.stopping.cancelled() => return,
                }
            }
        }
    };
    let mut deliveries: FuturesUnordered<BoxFuture<'static, Delivery>> = FuturesUnordered::new();
    while !slot.is_removed() {
        let changed = slot.changed.notified();
        let now = shared.clock.now();
        let outcome = worker.turn(now, &mut deliveries).await;
        let mut wake = worker.wake(now);
        match outcome {
            Ok(()) => worker.failures = 0,
            Err(problem) => {
                worker.failures += 1;
                tracing::warn!(
                    subscription = worker.slot.name,
                    problem,
                    "a subscription cannot be worked on; it is tried again"
                );
                worker.slot.set_problem(Some(problem));
                wake = Some(triggers::retry_at(now, worker.failures));
            }
        }
        worker.show();
        let is_hungry = worker.failures == 0 && worker.is_active() && worker.window.has_room();
        let (feed, read) = (Arc::clone(&worker.subscriptions.feed), worker.read);
        tokio::select! {
            biased;
            () = shared.stopping.cancelled() => return,
            Some(done) = deliveries.next(), if !deliveries.is_empty() => {
                let mut done = Some(done);
                while let Some(delivery) = done {
                    worker.ended(delivery).await;
                    done = deliveries.next().now_or_never().flatten();
                }
            }
            Some((replay, told)) = commands.recv() => {
                let begun = worker.begin_replay(replay).await;
                worker.show();
                worker.slot.live().replay_begins = false;
                // Whoever asked may have gone.
                let _ = told.send(begun);
            }
            () = changed => worker.window.wake(),
            () = feed.grown(read), if is_hungry => {}
            () = shared.clock.sleep_until(wake.unwrap_or_default()), if wake.is_some() => {}
        }
    }
}

impl Worker {
    async fn open(subscriptions: &Arc<Subscriptions>, slot: &Arc<Slot>) -> Result<Self, String> {
        let shared = Arc::clone(&subscriptions.shared);
        let progress = record::read::<Progress>(&*shared.records, &record::progress_key(&slot.name)).await?;
        // Absent: a crash came before its beginning was recorded.
        let progress = progress.map_or_else(
            || Progress { read: subscriptions.feed.end().0, ..Progress::default() },
            |(progress, _)| progress,
        );
        let letters = record::list(&*shared.records, &record::letters_prefix(&slot.name), LETTERS_MAX).await;
        slot.live().dead_letters = letters.map_err(|error| error.to_string())?.len();
        let mut worker = Self {
            subscriptions: Arc::clone(subscriptions),
            slot: Arc::clone(slot),
            window: Window::default(),
            read: Position(progress.read),
            looked_since: 0,
            is_dirty: true,
            replay: progress.replay,
            trying: None,
            ahead: VecDeque::new(),
            replay_due: Timestamp::default(),
            failures: 0,
            shared,
        };
        for Waiting { position, event, tried } in progress.waiting {
            match worker.event(event).await? {
                Some(accepted) => worker.window.push(Position(position), accepted, tried),
                None => {
                    tracing::error!(subscription = slot.name, %event, "an event that waits for delivery is no longer kept")
                }
            }
        }
        Ok(worker)
    }

    async fn event(&self, id: AcceptanceId) -> Result<Option<Arc<Accepted>>, String> {
        let found = accept::first(&self.shared, id).await;
        found.map(|found| found.map(Arc::new)).map_err(|error| error.to_string())
    }

    fn is_active(&self) -> bool {
        self.slot.declared().standing == Standing::Active
    }

    /// Reads what there is room for, records how far it is, and begins what may begin.
    async fn turn(
        &mut self,
        now: Timestamp,
        deliveries: &mut FuturesUnordered<BoxFuture<'static, Delivery>>,
    ) -> Result<(), String> {
        let declared = self.slot.declared();
        let is_active = declared.standing == Standing::Active;
        if is_active {
            self.fill().await?;
        }
        if self.is_dirty || self.looked_since >= LOOKED_MAX {
            self.record().await?;
        }
        if !is_active {
            return Ok(());
        }
        for (position, event) in self.window.begin(now, declared.subscription.concurrency) {
            deliveries.push(self.deliver(Of::Window(position), event));
        }
        self.next_of_replay().await?;
        if let Some(trying) = &mut self.trying
            && !trying.in_flight
            && self.replay_due <= now
            && !self.window.is_down(now)
        {
            trying.in_flight = true;
            let event = Arc::clone(&trying.event);
            deliveries.push(self.deliver(Of::Replay, event));
        }
        Ok(())
    }

    fn deliver(&self, of: Of, event: Arc<Accepted>) -> BoxFuture<'static, Delivery> {
        let (shared, slot) = (Arc::clone(&self.shared), Arc::clone(&self.slot));
        async move {
            let verdict = match slot.outlet() {
                // What waited for its turn, or for another attempt, is not sent any more.
                _ if shared.facts.is_gone(&event).await => Verdict::Refused(Failure::new(
                    FailureKind::Permanent,
                    "event.erased",
                    "the personal data in it was erased",
                )),
                Ok(egress) => endpoint::deliver(&shared, &*egress, &slot.declared().subscription, &event).await,
                Err(failure) => Verdict::Down(failure),
            };
            (of, event, verdict)
        }
        .boxed()
    }

    /// Takes in what comes, as far as there is room.
    async fn fill(&mut self) -> Result<(), String> {
        let wanted = self.slot.declared();
        while self.window.has_room() {
            let page =
                self.subscriptions.feed.after(&self.shared, self.read).await.map_err(|error| error.to_string())?;
            if page.to <= self.read {
                return Ok(());
            }
            let mut to = page.to;
            for (position, event) in page.events {
                if !self.window.has_room() {
                    break;
                }
                to = position;
                self.looked_since += 1;
                if is_wanted(&wanted.subscription, &event) {
                    self.window.push(position, event, Tried::default());
                    // What is recorded names everything up to `read` that is not delivered: the archive goes by it.
                    self.is_dirty = true;
                }
            }
            self.read = if self.window.has_room() { page.to } else { to };
        }
        Ok(())
    }

    /// Records how far it is.
    async fn record(&mut self) -> Result<(), String> {
        let waiting = self.window.open().map(|(position, Item { event, tried, .. })| Waiting {
            position: position.0,
            event: event.event.acceptance(),
            tried: tried.clone(),
        });
        let progress = Progress { read: self.read.0, waiting: waiting.collect(), replay: self.replay.clone() };
        record::write(&*self.shared.records, &record::progress_key(&self.slot.name), &progress)
            .await
            .map_err(|error| format!("how far it is cannot be recorded: {error}"))?;
        (self.is_dirty, self.looked_since) = (false, 0);
        Ok(())
    }

    /// When to look again, if time alone changes something.
    fn wake(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.is_active() {
            return None;
        }
        let replay = self.trying.as_ref().filter(|trying| !trying.in_flight).map(|_| self.replay_due);
        let replay = replay.filter(|due| *due > now).or_else(|| {
            // Held back by the window's endpoint.
            replay.and_then(|_| self.window.is_down(now).then(|| now.plus_millis(250)))
        });
        [self.window.next(now), replay].into_iter().flatten().min()
    }

    /// Takes note of how a delivery ended.
    async fn ended(&mut self, (of, event, verdict): Delivery) {
        let outcome = match &verdict {
            Verdict::Taken => "taken",
            Verdict::Gone => "gone",
            Verdict::Refused(_) => "refused",
            Verdict::Down(_) => "down",
        };
        metrics::counter!("crossdock_deliveries_total", "subscription" => self.slot.name.clone(), "outcome" => outcome)
            .increment(1);
        if let Verdict::Refused(failure) | Verdict::Down(failure) = &verdict {
            tracing::info!(subscription = self.slot.name, event = %event.event.acceptance(), %failure, "a delivery failed");
        }
        self.is_dirty = true;
        let now = self.shared.clock.now();
        let retry = self.slot.declared().subscription.retry;
        match of {
            Of::Replay => self.replayed(verdict, now).await,
            Of::Window(position) => match self.window.settle(&self.slot.name, &retry, position, verdict, now) {
                Settled::Delivered => self.slot.live().delivered += 1,
                Settled::Again => {}
                Settled::Gone => self.gone(now).await,
                Settled::GivenUp(item) => {
                    let letter = record::letter(&item.event, now, item.tried.attempts, &item.tried.cause);
                    tracing::warn!(subscription = self.slot.name, event = %letter.event, cause = letter.cause, "a delivery was given up");
                    if let Err(problem) = self.bury(&item.event, &letter).await {
                        // It stays until it can be written down.
                        tracing::error!(subscription = self.slot.name, problem, "a dead letter cannot be recorded");
                        self.window.push(position, item.event, item.tried);
                    }
                }
            },
        }
    }

    async fn gone(&mut self, now: Timestamp) {
        let cause = "its endpoint answered 410: nothing is wanted there any more".to_owned();
        self.subscriptions.disable(&self.slot, Standing::Disabled { since: now, cause }).await;
    }

    /// Writes a dead letter down.
    async fn bury(&mut self, event: &Accepted, letter: &Letter) -> Result<(), String> {
        let key = record::letter_key(&self.slot.name, event);
        let records = &*self.shared.records;
        let is_new = record::read::<Letter>(records, &key).await?.is_none();
        let count = self.slot.live().dead_letters;
        if is_new && count >= LETTERS_MAX {
            let cause = format!("{count} events were given up, which is the most: have them replayed");
            let since = self.shared.clock.now();
            self.subscriptions.disable(&self.slot, Standing::Disabled { since, cause }).await;
            return Err(format!("there are {count} dead letters"));
        }
        record::write(records, &key, letter).await.map_err(|error| error.to_string())?;
        if is_new {
            self.slot.live().dead_letters += 1;
        }
        Ok(())
    }

    async fn begin_replay(&mut self, replay: Replay) -> Result<(), String> {
        if self.replay.is_some() {
            return Err("a replay is under way; wait until it is done".to_owned());
        }
        self.replay = Some(replay);
        self.replay_due = Timestamp::default();
        match self.record().await {
            Ok(()) => Ok(()),
            Err(problem) => {
                self.replay = None;
                Err(problem)
            }
        }
    }

    /// Finds what a replay is to deliver next.
    async fn next_of_replay(&mut self) -> Result<(), String> {
        while self.trying.is_none() {
            let Some(replay) = self.replay.clone() else { return Ok(()) };
            let is_done = match replay.selection {
                Selection::Event(id) => match self.event(id).await? {
                    // It may want something else since it was asked for.
                    Some(event) if replay.at == 0 && is_wanted(&self.slot.declared().subscription, &event) => {
                        self.try_again(event, Replay { at: 1, ..replay.clone() }, None);
                        false
                    }
                    _ => true,
                },
                Selection::DeadLetters => self.next_letter(&replay).await?,
                Selection::Since(since) => self.next_accepted(&replay, since).await?,
            };
            if is_done {
                tracing::info!(
                    subscription = self.slot.name,
                    sent = replay.sent,
                    failed = replay.failed,
                    "a replay is done"
                );
                self.replay = None;
                self.record().await?;
            }
        }
        Ok(())
    }

    /// The next dead letter; whether there is none.
    async fn next_letter(&mut self, replay: &Replay) -> Result<bool, String> {
        let prefix = record::letters_prefix(&self.slot.name);
        let page = self.shared.records.list(&prefix, replay.after.as_deref(), 1).await;
        let page = page.map_err(|error| error.to_string())?;
        let Some((key, stored)) = page.into_iter().next() else { return Ok(true) };
        let letter: Letter =
            serde_json::from_slice(&stored.value).map_err(|error| format!("record `{key}` is damaged: {error}"))?;
        let then = Replay { after: Some(key.clone()), ..replay.clone() };
        if !replay.types.is_empty() && !fits(&replay.types, &letter.event_type) {
            self.replay = Some(then);
            return Ok(false);
        }
        match self.event(letter.event).await? {
            // What it does not want any more stays a dead letter.
            Some(event) if !is_wanted(&self.slot.declared().subscription, &event) => self.replay = Some(then),
            Some(event) => self.try_again(event, then, Some((key, letter))),
            None => self.replay = Some(Replay { failed: then.failed + 1, ..then }),
        }
        Ok(false)
    }

    /// The next event of the journal; whether there is none.
    async fn next_accepted(&mut self, replay: &Replay, since: Timestamp) -> Result<bool, String> {
        let Some((position, event)) = self.ahead.pop_front() else {
            if replay.at >= replay.until {
                return Ok(true);
            }
            let page = self.subscriptions.feed.after(&self.shared, Position(replay.at)).await;
            let page = page.map_err(|error| error.to_string())?;
            if page.to.0 <= replay.at {
                return Ok(true);
            }
            if page.events.is_empty() {
                self.replay = Some(Replay { at: page.to.0, ..replay.clone() });
            }
            self.ahead = page.events.into();
            return Ok(false);
        };
        if position.0 > replay.until {
            self.ahead.clear();
            return Ok(true);
        }
        let then = Replay { at: position.0, ..replay.clone() };
        let suits = replay.types.is_empty() || fits(&replay.types, &event.event.event_type);
        if event.time >= since && suits && is_wanted(&self.slot.declared().subscription, &event) {
            self.try_again(event, then, None);
        } else {
            self.replay = Some(then);
        }
        Ok(false)
    }

    fn try_again(&mut self, event: Arc<Accepted>, then: Replay, letter: Option<(String, Letter)>) {
        self.trying = Some(Trying { event, then, attempts: 0, letter, in_flight: false });
    }

    /// Takes note of how a delivery of a replay ended.
    async fn replayed(&mut self, verdict: Verdict, now: Timestamp) {
        let Some(mut trying) = self.trying.take() else { return };
        let per_second = self.replay.as_ref().map_or(1, |replay| replay.per_second.max(1));
        self.replay_due = now.plus_millis(1_000 / u64::from(per_second));
        let retry = self.slot.declared().subscription.retry;
        trying.attempts += 1;
        let id = trying.event.event.acceptance();
        match verdict {
            Verdict::Taken => {
                self.window.heard(&self.slot.name, &retry, id, None, now);
                if let Some((key, _)) = &trying.letter {
                    match record::delete(&*self.shared.records, key).await {
                        Ok(()) => {
                            let mut live = self.slot.live();
                            live.dead_letters = live.dead_letters.saturating_sub(1);
                        }
                        // It is delivered; at worst it is so again.
                        Err(error) => tracing::warn!(key, %error, "a dead letter that was delivered cannot be removed"),
                    }
                }
                let then = trying.then;
                self.replay = Some(Replay { sent: then.sent + 1, ..then });
            }
            Verdict::Gone => {
                trying.in_flight = false;
                self.trying = Some(trying);
                self.gone(now).await;
            }
            Verdict::Down(failure) if trying.attempts < retry.attempts => {
                self.window.heard(&self.slot.name, &retry, id, Some(&failure), now);
                trying.in_flight = false;
                self.trying = Some(trying);
            }
            Verdict::Down(failure) | Verdict::Refused(failure) => {
                let before = trying.letter.as_ref().map_or(0, |(_, letter)| letter.attempts);
                let letter = record::letter(&trying.event, now, before + trying.attempts, &failure.message);
                if let Err(problem) = self.bury(&trying.event, &letter).await {
                    tracing::error!(subscription = self.slot.name, problem, "a dead letter cannot be recorded");
                }
                let then = trying.then;
                self.replay = Some(Replay { failed: then.failed + 1, ..then });
            }
        }
    }

    /// Shows how it stands.
    fn show(&self) {
        let mut live = self.slot.live();
        live.waiting = self.window.len();
        live.read = self.read;
        if !self.is_dirty {
            live.recorded = Some(self.read);
        }
        live.failing = self.window.failing();
        live.replay = self.replay.as_ref().map(|replay| ReplayView { sent: replay.sent, failed: replay.failed });
        if self.failures == 0 {
            live.problem = None;
        }
    }
}

/// Whether an event is delivered: what a pipeline emits, and the rest if that is declared.
pub(super) fn is_wanted(subscription: &crate::model::subscription::Subscription, accepted: &Accepted) -> bool {
    let event = &accepted.event;
    (subscription.accepted || event.source.starts_with("/pipelines/")) && subscription.wants(&event.event_type)
}

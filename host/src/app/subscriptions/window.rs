//! What of a subscription is not delivered yet: which delivery may begin, which waits, what an answer changes. Pure.
//!
//! Events about one subject go one after the other, in the order of acceptance; those about different ones side by side. An
//! endpoint that takes nothing is asked with one delivery at a time, after ever longer waits; one that refuses a single
//! event holds back only what is about the same.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    flow::retry::Policy,
    model::{
        entry::Accepted,
        failure::{Failure, FailureKind},
        id::{AcceptanceId, RunId},
        subscription::Retry,
        timestamp::Timestamp,
    },
    policy::delivery::Verdict,
    ports::{journal::Position, subscriptions::Failing},
};

/// Most events that are looked at and not delivered. More wait in the journal.
pub(super) const OPEN_MAX: usize = 256;

/// How often an event was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tried {
    /// How often.
    pub(super) attempts: u32,
    /// When first.
    pub(super) first: Timestamp,
    /// When it is tried again.
    pub(super) due: Timestamp,
    /// Why it failed the last time.
    pub(super) cause: String,
}

/// An event that is not delivered yet.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// It.
    pub(super) event: Arc<Accepted>,
    /// How often it was tried.
    pub(super) tried: Tried,
    in_flight: bool,
}

/// The events that are not delivered yet, by their place in the journal.
#[derive(Debug, Default)]
pub(super) struct Window {
    open: BTreeMap<Position, Item>,
    /// Failures of the endpoint in a row.
    outages: u32,
    /// Until when the endpoint is left alone.
    down_until: Timestamp,
}

/// What an answer means for an event.
#[derive(Debug)]
pub(super) enum Settled {
    /// It is delivered.
    Delivered,
    /// It is tried again.
    Again,
    /// It is given up.
    GivenUp(Item),
    /// Nothing is to be delivered there any more.
    Gone,
}

impl Window {
    /// Whether another event fits.
    pub(super) fn has_room(&self) -> bool {
        self.open.len() < OPEN_MAX
    }

    /// How many are not delivered.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Takes an event in; one that is there already stays as it is.
    pub(super) fn push(&mut self, position: Position, event: Arc<Accepted>, tried: Tried) {
        self.open.entry(position).or_insert(Item { event, tried, in_flight: false });
    }

    /// Everything that is not delivered, for what is recorded.
    pub(super) fn open(&self) -> impl Iterator<Item = (Position, &Item)> {
        self.open.iter().map(|(position, item)| (*position, item))
    }

    /// The deliveries that may begin now; they count as begun.
    pub(super) fn begin(&mut self, now: Timestamp, concurrency: u32) -> Vec<(Position, Arc<Accepted>)> {
        if self.down_until > now {
            return Vec::new();
        }
        let limit = if self.outages > 0 { 1 } else { usize::try_from(concurrency).unwrap_or(1) };
        let mut under_way = self.open.values().filter(|item| item.in_flight).count();
        let mut busy = HashSet::new();
        let mut begun = Vec::new();
        for (position, item) in &mut self.open {
            let is_first = busy.insert(lane(&item.event));
            if under_way < limit && is_first && !item.in_flight && item.tried.due <= now {
                item.in_flight = true;
                under_way += 1;
                begun.push((*position, Arc::clone(&item.event)));
            }
        }
        begun
    }

    /// When to look again, if time alone lets something begin; what may begin already waits for an answer to another.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let mut busy = HashSet::new();
        let first = self.open.values().filter(|item| busy.insert(lane(&item.event)));
        let dues = first.filter(|item| !item.in_flight).map(|item| item.tried.due.max(self.down_until));
        dues.filter(|due| *due > now).min()
    }

    /// Takes note of an answer.
    pub(super) fn settle(
        &mut self,
        name: &str,
        retry: &Retry,
        position: Position,
        verdict: Verdict,
        now: Timestamp,
    ) -> Settled {
        let Some(item) = self.open.get_mut(&position) else { return Settled::Again };
        item.in_flight = false;
        let (failure, is_down) = match verdict {
            Verdict::Taken => {
                self.open.remove(&position);
                self.outages = 0;
                self.down_until = Timestamp::default();
                return Settled::Delivered;
            }
            Verdict::Gone => return Settled::Gone,
            Verdict::Refused(failure) => (failure, false),
            Verdict::Down(failure) => (failure, true),
        };
        let tried = &mut item.tried;
        if tried.attempts == 0 {
            tried.first = now;
        }
        tried.attempts = tried.attempts.saturating_add(1);
        tried.cause = failure.message.clone();
        let acceptance = item.event.event.acceptance();
        tried.due = now.plus_millis(delay_ms(name, retry, &failure, tried.attempts, acceptance));
        // Whatever its endpoint says: nothing is left that could be delivered.
        let is_void = failure.kind == FailureKind::Permanent;
        let is_over = is_void
            || tried.attempts >= retry.attempts
            || now.since(tried.first) >= retry.within_s.saturating_mul(1_000);
        if is_void {
            // Nobody was asked.
        } else if is_down {
            self.outages = self.outages.saturating_add(1);
            self.down_until = now.plus_millis(delay_ms(name, retry, &failure, self.outages, acceptance));
        } else {
            // It answers.
            self.outages = 0;
        }
        if !is_over {
            return Settled::Again;
        }
        self.open.remove(&position).map_or(Settled::Again, Settled::GivenUp)
    }

    /// Takes note of how a delivery that is not of the window ended.
    pub(super) fn heard(
        &mut self,
        name: &str,
        retry: &Retry,
        event: AcceptanceId,
        failure: Option<&Failure>,
        now: Timestamp,
    ) {
        match failure {
            None => {
                self.outages = 0;
                self.down_until = Timestamp::default();
            }
            Some(failure) => {
                self.outages = self.outages.saturating_add(1);
                self.down_until = now.plus_millis(delay_ms(name, retry, failure, self.outages, event));
            }
        }
    }

    /// Whether the endpoint is left alone.
    pub(super) fn is_down(&self, now: Timestamp) -> bool {
        self.down_until > now
    }

    /// Lets everything be tried at once, for somebody who says that it works again.
    pub(super) fn wake(&mut self) {
        self.outages = 0;
        self.down_until = Timestamp::default();
        self.open.values_mut().for_each(|item| item.tried.due = Timestamp::default());
    }

    /// The delivery that fails and is tried next, if one does.
    pub(super) fn failing(&self) -> Option<Failing> {
        let failed = self.open.values().filter(|item| item.tried.attempts > 0);
        let item = failed.min_by_key(|item| item.tried.due)?;
        let Tried { attempts, due, cause, .. } = item.tried.clone();
        Some(Failing { event: item.event.event.acceptance(), attempts, due: due.max(self.down_until), cause })
    }
}

/// What is delivered one after the other: what is about the same; an event that says not what it is about stands alone.
fn lane(accepted: &Accepted) -> String {
    match &accepted.event.subject {
        Some(subject) => subject.clone(),
        None => accepted.event.acceptance().to_string(),
    }
}

fn delay_ms(name: &str, retry: &Retry, failure: &Failure, attempt: u32, event: AcceptanceId) -> u64 {
    let policy = Policy {
        on: vec![FailureKind::Retryable],
        attempts: retry.attempts,
        first_ms: retry.first_ms,
        factor_milli: 2_000,
        max_ms: retry.max_ms,
    };
    // A subscription stands where a pipeline does: each waits in its own rhythm.
    policy.delay_ms(failure, attempt, RunId::of(event, name), "delivery")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::{OPEN_MAX, Settled, Tried, Window};
    use crate::{
        model::{
            entry::Accepted,
            event::Event,
            failure::{Failure, FailureKind},
            json::Json,
            subscription::Retry,
            timestamp::Timestamp,
        },
        policy::delivery::{Verdict, verdict},
        ports::journal::Position,
    };

    const RETRY: Retry = Retry { attempts: 3, first_ms: 1_000, max_ms: 4_000, within_s: 60 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn window(subjects: &[&str]) -> Window {
        let mut window = Window::default();
        for (number, subject) in (1..).zip(subjects) {
            let event = Event {
                id: number.to_string(),
                source: "/pipelines/x".to_owned(),
                event_type: "a".to_owned(),
                subject: (!subject.is_empty()).then(|| (*subject).to_owned()),
                time: None,
                data_schema: None,
                data: Json::null(),
                extensions: BTreeMap::new(),
            };
            let digest = event.digest();
            let accepted = Accepted { time: at(0), event, digest, starts: Vec::new(), personal: None };
            window.push(Position(number), Arc::new(accepted), Tried::default());
        }
        window
    }

    fn begin(window: &mut Window, now: i64) -> Vec<u64> {
        window.begin(at(now), 3).into_iter().map(|(position, _)| position.0).collect()
    }

    fn settle(window: &mut Window, position: u64, verdict: Verdict, now: i64) -> Settled {
        window.settle("s", &RETRY, Position(position), verdict, at(now))
    }

    #[test]
    fn what_is_about_the_same_goes_in_order_and_the_rest_side_by_side() {
        let mut window = window(&["a", "a", "b", "", "", "c"]);
        assert_eq!(begin(&mut window, 0), [1, 3, 4]);
        assert_eq!(begin(&mut window, 0), [0; 0], "three at a time");
        assert!(matches!(settle(&mut window, 3, Verdict::Taken, 0), Settled::Delivered));
        assert_eq!(begin(&mut window, 0), [5]);
        settle(&mut window, 1, Verdict::Taken, 0);
        assert_eq!(begin(&mut window, 0), [2]);
        assert_eq!(window.len(), 4);
    }

    #[test]
    fn an_event_that_is_refused_holds_back_only_its_subject_and_is_given_up_in_the_end() {
        let mut window = window(&["a", "a", "b"]);
        assert_eq!(begin(&mut window, 0), [1, 3]);
        assert!(matches!(settle(&mut window, 1, verdict(422, None), 0), Settled::Again));
        settle(&mut window, 3, Verdict::Taken, 0);
        assert_eq!(begin(&mut window, 0), [0; 0]);
        let due = window.next(at(0)).unwrap().millis();
        assert!((800..=1_000).contains(&due), "{due}");
        assert_eq!(
            window.failing().map(|failing| (failing.attempts, failing.cause)),
            Some((1, "it answered 422".to_owned()))
        );
        assert_eq!(begin(&mut window, 1), [1]);
        settle(&mut window, 1, verdict(422, Some(5_000)), 1);
        assert_eq!(window.next(at(1)), Some(at(6)), "it says when");
        assert_eq!(begin(&mut window, 6), [1]);
        let Settled::GivenUp(item) = settle(&mut window, 1, verdict(422, None), 6) else { panic!("not given up") };
        assert_eq!((item.tried.attempts, item.tried.first), (3, at(0)));
        assert_eq!(begin(&mut window, 6), [2], "what came after it goes on");
        settle(&mut window, 2, verdict(422, None), 6);
        begin(&mut window, 100);
        assert!(matches!(settle(&mut window, 2, verdict(422, None), 100), Settled::GivenUp(_)), "the time is up");
    }

    #[test]
    fn what_cannot_be_delivered_any_more_is_given_up_at_once_and_says_nothing_of_its_endpoint() {
        let mut window = window(&["a", "a", "b"]);
        begin(&mut window, 0);
        settle(&mut window, 3, verdict(503, None), 0);
        let void = || Verdict::Refused(Failure::new(FailureKind::Permanent, "event.erased", "it was erased"));
        assert!(matches!(settle(&mut window, 1, void(), 0), Settled::GivenUp(_)), "not after days of attempts");
        assert!(window.is_down(at(0)), "whether the endpoint is back is for its answers to say");
        assert_eq!(begin(&mut window, 4).len(), 1, "what came after it goes on");
    }

    #[test]
    fn an_endpoint_that_is_down_is_asked_with_one_delivery_at_a_time() {
        let mut window = window(&["a", "b", "c"]);
        assert_eq!(begin(&mut window, 0), [1, 2, 3]);
        for position in [1, 2, 3] {
            settle(&mut window, position, verdict(503, None), 0);
        }
        assert_eq!(begin(&mut window, 1), [0; 0], "three failures in a row: it is left alone for longer");
        assert_eq!(begin(&mut window, 4).len(), 1);
        assert_eq!(begin(&mut window, 4), [0; 0]);
        assert!(matches!(settle(&mut window, 1, Verdict::Taken, 4), Settled::Delivered));
        assert_eq!(begin(&mut window, 4), [2, 3]);
        settle(&mut window, 2, verdict(503, None), 4);
        assert!(window.is_down(at(4)));
        window.wake();
        assert_eq!(begin(&mut window, 4), [2]);
        assert!(matches!(settle(&mut window, 2, Verdict::Gone, 4), Settled::Gone));
        assert_eq!(window.len(), 2, "what is not wanted is not thrown away");
    }

    #[test]
    fn there_is_room_for_so_many() {
        let subjects = vec![""; OPEN_MAX];
        let mut window = window(&subjects);
        assert!(!window.has_room());
        assert_eq!(begin(&mut window, 0).len(), 3);
        settle(&mut window, 1, Verdict::Taken, 0);
        assert!(window.has_room());
    }
}

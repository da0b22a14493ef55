//! A circuit breaker: whether a remote is left alone for a while.
//!
//! Closed, every call goes. It opens when, of the latest calls within a window, so many failed in a way that tells of the
//! remote's health. Open, none goes, for as long as was set or the remote asked for. Then it is half open: one call after
//! the other goes as a probe. A probe that is answered closes it; one that fails opens it again, for twice as long.
//!
//! Only outcomes of calls that began in the present state count: an answer that comes late says how the remote was, and
//! not how it is.

use std::collections::VecDeque;

use crate::model::{failure::FailureKind, pace::BreakerLimits, timestamp::Timestamp};

/// The longest wait that a remote can ask for, milliseconds: a nonsensical `Retry-After` must not cut a connection off.
pub const RETRY_AFTER_MS_MAX: u64 = 600_000;

/// The breaker of one connection.
#[derive(Clone, Debug)]
pub struct Breaker {
    limits: BreakerLimits,
    state: State,
    /// Counts changes of state, so that outcomes of calls from before are told apart.
    era: u64,
}

#[derive(Clone, Debug)]
enum State {
    /// The latest calls: when each ended, and whether it failed. INVARIANT: at most twice `failures`.
    Closed {
        latest: VecDeque<(Timestamp, bool)>,
    },
    /// `opened` is how often in a row it did.
    Open {
        since: Timestamp,
        until: Timestamp,
        opened: u32,
    },
    HalfOpen {
        since: Timestamp,
        opened: u32,
        probing: bool,
    },
}

/// That a call may go; its outcome is told with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    era: u64,
}

/// Why a call may not go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The remote is left alone until then.
    Until(Timestamp),
    /// One call is out to see how the remote is; ask again when it is back.
    Probing,
}

/// How a call ended, as far as it tells of the remote's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Good,
    /// The remote answered, and refused for a reason that lies in the call.
    Refused,
    /// The remote did not do its work; absent `retry_after_ms`: it did not say when to try again.
    Failed {
        /// Do not try again for so long, milliseconds.
        retry_after_ms: Option<u64>,
    },
}

impl Outcome {
    /// Of a failure.
    #[must_use]
    pub fn of(kind: FailureKind, retry_after_ms: Option<u32>) -> Self {
        match kind {
            FailureKind::Retryable | FailureKind::Uncertain => {
                Self::Failed { retry_after_ms: retry_after_ms.map(u64::from) }
            }
            FailureKind::InvalidInput | FailureKind::Denied | FailureKind::Permanent => Self::Refused,
        }
    }
}

/// What the state is called outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Calls go.
    Closed,
    /// No call goes.
    Open {
        /// From when on.
        since: Timestamp,
        /// Until when.
        until: Timestamp,
    },
    /// One call at a time goes.
    HalfOpen {
        /// From when on.
        since: Timestamp,
    },
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(limits: BreakerLimits) -> Self {
        Self { limits, state: State::Closed { latest: VecDeque::new() }, era: 0 }
    }

    /// Takes other limits. What is remembered stays.
    pub fn limit(&mut self, limits: BreakerLimits) {
        self.limits = limits;
        if let State::Closed { latest } = &mut self.state {
            trim(latest, &limits);
        }
    }

    /// Lets the next call probe the remote whatever time is left: somebody has changed something that may have mended it.
    pub fn probe_now(&mut self, now: Timestamp) {
        if let State::Open { opened, .. } = self.state {
            self.enter(State::HalfOpen { since: now, opened, probing: false });
        }
    }

    /// Whether a call may go now.
    ///
    /// # Errors
    /// Until when it may not.
    pub fn check(&self, now: Timestamp) -> Result<(), Held> {
        match &self.state {
            State::Open { until, .. } if now < *until => Err(Held::Until(*until)),
            State::HalfOpen { probing: true, .. } => Err(Held::Probing),
            State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } => Ok(()),
        }
    }

    /// Lets a call go.
    ///
    /// # Errors
    /// As for [`Breaker::check`].
    pub fn admit(&mut self, now: Timestamp) -> Result<Ticket, Held> {
        self.check(now)?;
        if let State::Open { opened, .. } = self.state {
            self.enter(State::HalfOpen { since: now, opened, probing: false });
        }
        if let State::HalfOpen { probing, .. } = &mut self.state {
            *probing = true;
        }
        Ok(Ticket { era: self.era })
    }

    /// Takes note of how a call ended; whether the state has changed by it.
    pub fn settle(&mut self, ticket: Ticket, outcome: Outcome, now: Timestamp) -> bool {
        let current = ticket.era == self.era;
        let limits = self.limits;
        match (&mut self.state, outcome) {
            (State::Closed { .. }, Outcome::Refused) => false,
            (State::Closed { latest }, _) if current => {
                let retry_after_ms = match outcome {
                    Outcome::Failed { retry_after_ms } => retry_after_ms,
                    Outcome::Good | Outcome::Refused => None,
                };
                latest.push_back((now, matches!(outcome, Outcome::Failed { .. })));
                trim(latest, &limits);
                latest.retain(|(ended, _)| now.since(*ended) <= limits.window_ms);
                let failed = latest.iter().filter(|(_, failed)| *failed).count();
                let opens = failed >= count(&limits);
                if opens {
                    self.open(1, retry_after_ms, now);
                }
                opens
            }
            (State::HalfOpen { opened, .. }, Outcome::Failed { retry_after_ms }) if current => {
                let again = opened.saturating_add(1);
                self.open(again, retry_after_ms, now);
                true
            }
            (State::HalfOpen { .. }, _) if current => {
                self.enter(State::Closed { latest: VecDeque::new() });
                true
            }
            // From before it opened; all that it still can tell is how long the remote wants to be left alone.
            (State::Open { until, .. }, Outcome::Failed { retry_after_ms: Some(retry_after_ms) }) => {
                *until = (*until).max(now.plus_millis(retry_after_ms.min(RETRY_AFTER_MS_MAX)));
                false
            }
            _ => false,
        }
    }

    /// Takes note that a call did not leave, or that nobody will hear how it ended.
    pub fn abandon(&mut self, ticket: Ticket) {
        if let State::HalfOpen { probing, .. } = &mut self.state
            && ticket.era == self.era
        {
            *probing = false;
        }
    }

    /// How it is.
    #[must_use]
    pub fn phase(&self, now: Timestamp) -> Phase {
        match self.state {
            State::Closed { .. } => Phase::Closed,
            State::Open { since, until, .. } if now < until => Phase::Open { since, until },
            State::Open { until, .. } => Phase::HalfOpen { since: until },
            State::HalfOpen { since, .. } => Phase::HalfOpen { since },
        }
    }

    fn open(&mut self, opened: u32, retry_after_ms: Option<u64>, now: Timestamp) {
        let doublings = opened.saturating_sub(1).min(32);
        let grown = self.limits.open_ms.saturating_mul(1 << doublings);
        let own_ms = grown.min(self.limits.open_ms_max.max(self.limits.open_ms));
        let asked_ms = retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX);
        self.enter(State::Open { since: now, until: now.plus_millis(own_ms.max(asked_ms)), opened });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

fn count(limits: &BreakerLimits) -> usize {
    usize::try_from(limits.failures.get()).unwrap_or(usize::MAX)
}

fn trim(latest: &mut VecDeque<(Timestamp, bool)>, limits: &BreakerLimits) {
    let excess = latest.len().saturating_sub(count(limits).saturating_mul(2));
    latest.drain(..excess);
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::{Breaker, Held, Outcome, Phase, RETRY_AFTER_MS_MAX, Ticket};
    use crate::model::{failure::FailureKind, pace::BreakerLimits, timestamp::Timestamp};

    const FAILED: Outcome = Outcome::Failed { retry_after_ms: None };

    fn limits(failures: u32) -> BreakerLimits {
        let failures = NonZeroU32::new(failures).unwrap();
        BreakerLimits { failures, window_ms: 1_000, open_ms: 100, open_ms_max: 350 }
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).plus_millis(ms)
    }

    fn call(breaker: &mut Breaker, outcome: Outcome, ms: u64) {
        let ticket = breaker.admit(at(ms)).unwrap();
        breaker.settle(ticket, outcome, at(ms));
    }

    #[test]
    fn it_opens_probes_and_closes() {
        let mut breaker = Breaker::new(limits(3));
        (0..3).for_each(|ms| call(&mut breaker, FAILED, ms));
        assert_eq!(breaker.phase(at(2)), Phase::Open { since: at(2), until: at(102) });
        assert_eq!(breaker.admit(at(101)), Err(Held::Until(at(102))));
        let probe = breaker.admit(at(102)).unwrap();
        assert_eq!(breaker.admit(at(102)), Err(Held::Probing));
        breaker.settle(probe, Outcome::Good, at(150));
        assert_eq!(breaker.phase(at(150)), Phase::Closed);
        (150..152).for_each(|ms| call(&mut breaker, FAILED, ms));
        assert_eq!(breaker.phase(at(152)), Phase::Closed, "what was before it opened is forgotten");
    }

    #[test]
    fn each_probe_that_fails_doubles_the_wait_up_to_its_limit() {
        let mut breaker = Breaker::new(limits(1));
        call(&mut breaker, FAILED, 0);
        let mut waits = Vec::new();
        while let Phase::Open { since, until } = breaker.phase(breaker_time(&breaker)) {
            waits.push(until.since(since));
            if waits.len() == 4 {
                break;
            }
            let probe = breaker.admit(until).unwrap();
            breaker.settle(probe, FAILED, until);
        }
        assert_eq!(waits, [100, 200, 350, 350]);
    }

    /// A time at which it is open, if it is.
    fn breaker_time(breaker: &Breaker) -> Timestamp {
        match breaker.phase(at(0)) {
            Phase::Open { since, .. } => since,
            _ => at(0),
        }
    }

    #[test]
    fn the_remote_is_left_alone_for_as_long_as_it_asks_within_reason() {
        let asks = |ms| Outcome::Failed { retry_after_ms: Some(ms) };
        let mut breaker = Breaker::new(limits(2));
        let late = breaker.admit(at(0)).unwrap();
        call(&mut breaker, FAILED, 0);
        call(&mut breaker, asks(5_000), 0);
        assert_eq!(breaker.check(at(0)), Err(Held::Until(at(5_000))));
        breaker.settle(late, asks(7_000), at(1));
        assert_eq!(breaker.check(at(1)), Err(Held::Until(at(7_001))));
        breaker.settle(late, asks(u64::MAX), at(2));
        assert_eq!(breaker.check(at(2)), Err(Held::Until(at(2 + RETRY_AFTER_MS_MAX))));
    }

    #[test]
    fn what_lies_in_the_call_does_not_count_and_shows_that_the_remote_answers() {
        for kind in [FailureKind::InvalidInput, FailureKind::Denied, FailureKind::Permanent] {
            let mut breaker = Breaker::new(limits(1));
            call(&mut breaker, Outcome::of(kind, None), 0);
            assert_eq!(breaker.phase(at(0)), Phase::Closed);
            call(&mut breaker, Outcome::of(FailureKind::Uncertain, None), 0);
            assert_eq!(breaker.check(at(0)), Err(Held::Until(at(100))));
            call(&mut breaker, Outcome::of(kind, None), 100);
            assert_eq!(breaker.phase(at(100)), Phase::Closed);
        }
    }

    #[test]
    fn late_answers_neither_open_nor_close_it_and_a_probe_that_is_given_up_makes_room() {
        let mut breaker = Breaker::new(limits(1));
        let (late, later) = (breaker.admit(at(0)).unwrap(), breaker.admit(at(0)).unwrap());
        call(&mut breaker, FAILED, 0);
        breaker.settle(late, Outcome::Good, at(1));
        assert!(matches!(breaker.phase(at(1)), Phase::Open { .. }));
        let probe = breaker.admit(at(100)).unwrap();
        breaker.settle(later, FAILED, at(100));
        assert_eq!(breaker.phase(at(100)), Phase::HalfOpen { since: at(100) });
        assert_eq!(breaker.check(at(100)), Err(Held::Probing));
        breaker.abandon(late);
        assert_eq!(breaker.check(at(100)), Err(Held::Probing));
        breaker.abandon(probe);
        assert_eq!(breaker.check(at(100)), Ok(()));
    }

    #[test]
    fn a_connection_that_was_changed_is_probed_at_once() {
        let mut breaker = Breaker::new(limits(1));
        call(&mut breaker, FAILED, 0);
        breaker.probe_now(at(1));
        assert!(breaker.admit(at(1)).is_ok());
        assert_eq!(breaker.admit(at(1)), Err(Held::Probing));
    }

    /// The slow reference: everything that ever happened, read from the start for each question.
    #[derive(Clone, Debug)]
    enum Happened {
        Admitted { id: usize },
        Settled { id: usize, outcome: Outcome, now: u64 },
    }

    #[derive(Debug, PartialEq)]
    enum Now {
        Closed,
        Open(u64),
        HalfOpen(Option<usize>),
    }

    fn read(history: &[(u64, Happened)], limits: &BreakerLimits) -> Now {
        let (mut state, mut opened, mut counted, mut members) = (Now::Closed, 0_u32, Vec::new(), Vec::new());
        let length = |opened: u32, asked: Option<u64>| {
            (limits.open_ms << (opened - 1).min(20)).min(limits.open_ms_max).max(asked.unwrap_or(0))
        };
        for (time, happened) in history {
            match happened {
                Happened::Admitted { id } => match state {
                    Now::Closed => members.push(*id),
                    Now::Open(_) | Now::HalfOpen(_) => {
                        assert!(!matches!(state, Now::Open(until) if *time < until));
                        assert!(!matches!(state, Now::HalfOpen(Some(_))));
                        state = Now::HalfOpen(Some(*id));
                    }
                },
                Happened::Settled { id, outcome, now } => match (&state, outcome) {
                    (Now::Closed, Outcome::Good | Outcome::Failed { .. }) if members.contains(id) => {
                        counted.push((*now, *outcome));
                        let latest: Vec<_> = counted.iter().rev().take(2 * limits.failures.get() as usize).collect();
                        let failed = latest
                            .iter()
                            .filter(|(ended, _)| now - ended <= limits.window_ms)
                            .filter(|(_, outcome)| matches!(outcome, Outcome::Failed { .. }))
                            .count();
                        if failed >= limits.failures.get() as usize {
                            let Outcome::Failed { retry_after_ms } = outcome else { unreachable!("a good one opens") };
                            opened = 1;
                            state = Now::Open(now + length(opened, *retry_after_ms));
                        }
                    }
                    (Now::Open(until), Outcome::Failed { retry_after_ms: Some(asked) }) => {
                        state = Now::Open((*until).max(now + asked));
                    }
                    (Now::HalfOpen(Some(probe)), Outcome::Failed { retry_after_ms }) if probe == id => {
                        opened += 1;
                        state = Now::Open(now + length(opened, *retry_after_ms));
                    }
                    (Now::HalfOpen(Some(probe)), _) if probe == id => {
                        (state, counted, members) = (Now::Closed, Vec::new(), Vec::new());
                    }
                    _ => {}
                },
            }
        }
        state
    }

    proptest! {
        #[test]
        fn it_is_as_its_whole_history_says(
            failures in 1_u32..5,
            steps in prop::collection::vec((0_u64..120, any::<prop::sample::Index>(), 0_u8..5), 1..120)
        ) {
            let limits = limits(failures);
            let (mut breaker, mut history, mut now) = (Breaker::new(limits), Vec::new(), 0);
            let mut out: Vec<(usize, Ticket)> = Vec::new();
            for (number, (gap, which, what)) in steps.into_iter().enumerate() {
                now += gap;
                if what == 0 || out.is_empty() {
                    let admitted = breaker.admit(at(now));
                    let expected = match read(&history, &limits) {
                        Now::Open(until) if now < until => Err(Held::Until(at(until))),
                        Now::HalfOpen(Some(_)) => Err(Held::Probing),
                        _ => Ok(()),
                    };
                    prop_assert_eq!(admitted.map(|_| ()), expected);
                    if let Ok(ticket) = admitted {
                        history.push((now, Happened::Admitted { id: number }));
                        out.push((number, ticket));
                    }
                } else {
                    let (id, ticket) = out.swap_remove(which.index(out.len()));
                    let outcome = match what {
                        1 => Outcome::Good,
                        2 => Outcome::Refused,
                        3 => Outcome::Failed { retry_after_ms: Some(250) },
                        _ => FAILED,
                    };
                    breaker.settle(ticket, outcome, at(now));
                    history.push((now, Happened::Settled { id, outcome, now }));
                }
            }
        }
    }
}

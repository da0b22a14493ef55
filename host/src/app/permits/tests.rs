//! Gates by a clock that a test owns.

use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, poll_immediate},
};
use tokio::sync::Notify;

use super::{Gate, Permit};
use crate::{
    model::{
        failure::{Failure, FailureKind},
        lane::Lane,
        pace::{BreakerLimits, Pace, Rate},
        timestamp::Timestamp,
    },
    policy::flow_control::breaker::Phase,
    ports::clock::Clock,
};

#[derive(Default)]
struct TestClock {
    now_ms: AtomicI64,
    moved: Notify,
}

impl TestClock {
    /// Moves on, and lets everybody who waited for it do what they waited for.
    async fn advance(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
        self.moved.notify_waiters();
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, due: Timestamp) -> BoxFuture<'_, ()> {
        async move {
            loop {
                let moved = self.moved.notified();
                if self.now() >= due {
                    return;
                }
                moved.await;
            }
        }
        .boxed()
    }
}

fn pace(concurrency: u32, rate: Option<(u32, u64)>, failures: u32) -> Pace {
    let rate = rate.map(|(calls, per_ms)| Rate {
        calls: NonZeroU32::new(calls).unwrap(),
        per_ms: NonZeroU64::new(per_ms).unwrap(),
        burst: None,
    });
    let failures = NonZeroU32::new(failures).unwrap();
    Pace { concurrency, rate, breaker: BreakerLimits { failures, window_ms: 1_000, open_ms: 100, open_ms_max: 100 } }
}

fn gate(pace: Pace) -> (Arc<Gate>, Arc<TestClock>) {
    let clock = Arc::new(TestClock::default());
    (Arc::new(Gate::new("remote".into(), pace, 1, Arc::clone(&clock) as _)), clock)
}

/// A wait that has begun.
async fn wait(gate: &Arc<Gate>, lane: Lane) -> BoxFuture<'static, Permit> {
    let gate = Arc::clone(gate);
    let mut waiting = async move { gate.acquire(lane).await }.boxed();
    assert!(poll_immediate(&mut waiting).await.is_none(), "it need not wait");
    waiting
}

fn now(waiting: BoxFuture<'static, Permit>) -> Permit {
    waiting.now_or_never().expect("it is its turn")
}

fn failure() -> Failure {
    Failure::new(FailureKind::Retryable, "remote.busy", "come back later")
}

#[tokio::test]
async fn a_full_bulkhead_lets_the_higher_lane_in_first() {
    let (gate, _clock) = gate(pace(1, None, 5));
    let first = gate.acquire(Lane::Bulk).await;
    let bulk = wait(&gate, Lane::Bulk).await;
    let express = wait(&gate, Lane::Express).await;
    first.settle(None);
    let express = now(express);
    assert_eq!(gate.lock().in_flight, 1);
    express.settle(None);
    now(bulk).settle(None);
    assert_eq!(gate.lock().in_flight, 0);
}

#[tokio::test]
async fn an_empty_bucket_is_waited_for_and_who_goes_away_leaves_the_token() {
    let (gate, clock) = gate(pace(8, Some((1, 100)), 5));
    let first = gate.acquire(Lane::Standard).await;
    let gone = wait(&gate, Lane::Standard).await;
    let next = wait(&gate, Lane::Standard).await;
    let last = wait(&gate, Lane::Standard).await;
    clock.advance(100).await;
    // It was let go, and never looked.
    drop(gone);
    assert_eq!(gate.lock().in_flight, 2, "the token went to who is next");
    let next = now(next);
    clock.advance(99).await;
    assert_eq!(gate.lock().in_flight, 2);
    clock.advance(1).await;
    drop((now(last), next, first));
    assert_eq!(gate.lock().in_flight, 0);
}

#[tokio::test]
async fn an_open_breaker_is_waited_for_and_one_probe_decides_for_all() {
    let (gate, clock) = gate(pace(8, None, 2));
    for _ in 0..2 {
        gate.acquire(Lane::Standard).await.settle(Some(&failure()));
    }
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(wait(&gate, Lane::Standard).await);
    }
    clock.advance(99).await;
    assert_eq!(gate.lock().in_flight, 0);
    clock.advance(1).await;
    assert_eq!(gate.lock().in_flight, 1, "one probe");
    let rest = waiting.split_off(1);
    now(waiting.remove(0)).settle(Some(&failure()));
    clock.advance(99).await;
    assert_eq!(gate.lock().in_flight, 0, "left alone again");
    clock.advance(1).await;
    assert_eq!(gate.lock().in_flight, 1);
    let mut rest = rest.into_iter();
    // A probe that is given up makes room for another.
    drop(rest.next());
    assert_eq!(gate.lock().in_flight, 1);
    now(rest.next().unwrap()).settle(None);
    assert_eq!(gate.lock().in_flight, 2, "everybody goes");
    rest.for_each(|waiting| now(waiting).settle(None));
    let failure = gate.lock().last_failure.clone().expect("remembered");
    assert_eq!((failure.code.as_str(), failure.time), ("remote.busy", Timestamp::from_millis(100)));
}

#[tokio::test]
async fn the_hubs_own_failures_and_those_of_the_call_do_not_count() {
    let (gate, clock) = gate(pace(8, None, 1));
    let own = Failure::new(FailureKind::Retryable, "plugin.unavailable", "the sandbox is full");
    let input = Failure::new(FailureKind::InvalidInput, "remote.sku", "there is no such article");
    for failure in [own, input] {
        gate.acquire(Lane::Standard).await.settle(Some(&failure));
        assert_eq!(gate.lock().breaker.phase(clock.now()), Phase::Closed);
    }
}

#[tokio::test]
async fn a_changed_connection_is_probed_at_once_and_keeps_what_is_counted() {
    let (gate, clock) = gate(pace(4, Some((1, 1_000)), 1));
    let out = gate.acquire(Lane::Standard).await;
    clock.advance(1_000).await;
    gate.acquire(Lane::Standard).await.settle(Some(&failure()));
    clock.advance(50).await;
    let waiting = wait(&gate, Lane::Standard).await;
    gate.adopt(pace(4, Some((1, 100)), 1), 2);
    assert_eq!(gate.lock().in_flight, 1, "no token for it yet");
    clock.advance(95).await;
    assert_eq!(gate.lock().in_flight, 2, "the probe of what was changed");
    now(waiting).settle(None);
    // Narrower than what is under way: it drains.
    gate.adopt(pace(1, None, 1), 3);
    let waiting = wait(&gate, Lane::Standard).await;
    gate.adopt(pace(4, None, 1), 2);
    assert_eq!(gate.lock().pace.concurrency, 1, "an older picture changes nothing");
    out.settle(None);
    now(waiting).settle(None);
}

#[tokio::test]
async fn a_remote_that_may_still_be_at_it_keeps_its_place_until_it_has_settled() {
    let (gate, clock) = gate(pace(1, None, 9));
    let uncertain = Failure { kind: FailureKind::Uncertain, ..failure() };
    for cancelled in [true, false] {
        let mut permit = gate.acquire(Lane::Standard).await;
        permit.leaves(50);
        if cancelled {
            drop(permit)
        } else {
            permit.settle(Some(&uncertain))
        }
        tokio::task::yield_now().await;
        let waiting = wait(&gate, Lane::Standard).await;
        clock.advance(49).await;
        assert_eq!(gate.lock().in_flight, 1);
        clock.advance(1).await;
        drop(now(waiting));
        assert_eq!(gate.lock().in_flight, 0);
    }
}

//! The system's clock: the one place that asks the operating system for the time.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::future::BoxFuture;

use crate::{model::timestamp::Timestamp, ports::clock::Clock};

/// The wall clock of this machine, except that it never goes back, and goes on while the wall clock is set back.
#[derive(Debug)]
pub struct SystemClock {
    /// Wall time and monotonic time of the same moment.
    anchor: (i64, Instant),
    /// The latest time that was told or witnessed.
    latest: AtomicI64,
}

impl Default for SystemClock {
    fn default() -> Self {
        let wall = wall_millis();
        Self { anchor: (wall, Instant::now()), latest: AtomicI64::new(wall) }
    }
}

impl SystemClock {
    /// Takes note of a time that is recorded: what is told from now on is not before it.
    pub fn witness(&self, recorded: Timestamp) {
        self.latest.fetch_max(recorded.millis(), Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the adapter that the rule points to")]
fn wall_millis() -> i64 {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    i64::try_from(millis).unwrap_or(i64::MAX)
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let (wall, begun) = self.anchor;
        let passed = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        let now = wall_millis().max(wall.saturating_add(passed));
        Timestamp::from_millis(self.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the adapter that the rule points to")]
    fn sleep_until(&self, due: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // In slices: a wall clock that is set forward, or a machine that was suspended, must not stretch a wait.
            loop {
                let left_ms = due.since(self.now());
                if left_ms == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(left_ms.min(30_000))).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::SystemClock;
    use crate::ports::clock::Clock;

    #[test]
    fn time_does_not_go_back_behind_what_is_recorded() {
        let clock = SystemClock::default();
        let ahead = clock.now().plus_millis(3_600_000);
        clock.witness(ahead);
        assert!(clock.now() >= ahead);
    }
}

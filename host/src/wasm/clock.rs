//! The clock that a guest sees: standing still for a pure call, starting at the recorded time for one with effects.

use std::time::{Duration, Instant};

use wasmtime::{Result, component::Resource};
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock,
    clocks::WasiClocksView as _,
    p2::{
        DynPollable,
        bindings::clocks::{monotonic_clock, wall_clock},
    },
};

use super::call_state::CallState;
use crate::model::timestamp::Timestamp;

/// What the clock claims to resolve: the hub records milliseconds.
const RESOLUTION: Duration = Duration::from_millis(1);

/// The time of one call.
#[derive(Clone, Copy, Debug)]
pub(super) enum CallClock {
    /// Always this instant.
    Frozen(Timestamp),
    /// This instant, and what has really passed since.
    Running {
        /// The recorded time.
        start: Timestamp,
        /// When the call began.
        since: Instant,
    },
}

impl CallClock {
    /// Time since the Unix epoch; earlier times are shown as the epoch, since WASI has no form for them.
    pub(super) fn since_epoch(self) -> Duration {
        let of = |time: Timestamp| Duration::from_millis(u64::try_from(time.millis()).unwrap_or(0));
        match self {
            Self::Frozen(time) => of(time),
            Self::Running { start, since } => of(start).saturating_add(since.elapsed()),
        }
    }

    fn nanos(self) -> u64 {
        u64::try_from(self.since_epoch().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl HostWallClock for CallClock {
    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn now(&self) -> Duration {
        self.since_epoch()
    }
}

impl HostMonotonicClock for CallClock {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        self.nanos()
    }
}

impl wall_clock::Host for CallState {
    fn now(&mut self) -> Result<wall_clock::Datetime> {
        let now = self.clock.since_epoch();
        Ok(wall_clock::Datetime { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() })
    }

    fn resolution(&mut self) -> Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: RESOLUTION.as_secs(), nanoseconds: RESOLUTION.subsec_nanos() })
    }
}

/// Reading is answered here, without a WASI context. Waiting goes through WASI's own timers, in real time even where
/// the clock stands still: a sleeping guest wakes up, or meets its deadline.
impl monotonic_clock::Host for CallState {
    fn now(&mut self) -> Result<u64> {
        Ok(self.clock.nanos())
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(HostMonotonicClock::resolution(&self.clock))
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        monotonic_clock::Host::subscribe_instant(&mut self.clocks(), when)
    }

    fn subscribe_duration(&mut self, duration: u64) -> Result<Resource<DynPollable>> {
        monotonic_clock::Host::subscribe_duration(&mut self.clocks(), duration)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::CallClock;
    use crate::model::timestamp::Timestamp;

    #[test]
    fn a_frozen_clock_stands_still_and_a_running_one_starts_at_the_recorded_time() {
        let start = Timestamp::from_millis(1_700_000_000_000);
        assert_eq!(CallClock::Frozen(start).since_epoch(), Duration::from_millis(1_700_000_000_000));
        let running = CallClock::Running { start, since: Instant::now() };
        assert!(running.since_epoch() >= CallClock::Frozen(start).since_epoch());
        assert_eq!(CallClock::Frozen(Timestamp::from_millis(-1)).since_epoch(), Duration::ZERO);
    }
}

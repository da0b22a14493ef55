//! Who is next: those who wait for one thing, by lane, and within a lane in the order in which they came.
//!
//! The highest lane goes first. A lower one that was passed over so many times in a row gets one turn, so that it still
//! makes progress: with all lanes waiting, at least every fifth turn is a standard one's, and at least every seventeenth
//! a bulk one's.

use std::collections::VecDeque;

use crate::model::lane::Lane;

/// How often a standard run is passed over in a row.
pub const PASSED_STANDARD_MAX: u32 = 3;
/// How often a bulk run is passed over in a row.
pub const PASSED_BULK_MAX: u32 = 15;

/// Those who wait.
#[derive(Debug)]
pub struct LaneQueue<T> {
    express: Waiting<T>,
    standard: Waiting<T>,
    bulk: Waiting<T>,
}

#[derive(Debug)]
struct Waiting<T> {
    queue: VecDeque<T>,
    /// How often others were taken while somebody waited here.
    passed: u32,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), passed: 0 }
    }
}

impl<T> Default for LaneQueue<T> {
    fn default() -> Self {
        Self { express: Waiting::default(), standard: Waiting::default(), bulk: Waiting::default() }
    }
}

impl<T> LaneQueue<T> {
    /// Adds somebody at the end of a lane.
    pub fn push(&mut self, lane: Lane, waiting: T) {
        self.of_mut(lane).queue.push_back(waiting);
    }

    /// Takes who is next.
    pub fn pop(&mut self) -> Option<T> {
        let lane = self.next()?;
        for other in Lane::ALL {
            let waiting = self.of_mut(other);
            waiting.passed = if other == lane || waiting.queue.is_empty() { 0 } else { waiting.passed + 1 };
        }
        self.of_mut(lane).queue.pop_front()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        Lane::ALL.into_iter().all(|lane| self.of(lane).queue.is_empty())
    }

    /// Those of a lane, the first first.
    pub fn iter(&self, lane: Lane) -> impl Iterator<Item = &T> {
        self.of(lane).queue.iter()
    }

    fn next(&self) -> Option<Lane> {
        let waits = |lane: &Lane| !self.of(*lane).queue.is_empty();
        let overdue = |lane: Lane, limit: u32| waits(&lane) && self.of(lane).passed >= limit;
        if overdue(Lane::Bulk, PASSED_BULK_MAX) {
            return Some(Lane::Bulk);
        }
        if overdue(Lane::Standard, PASSED_STANDARD_MAX) {
            return Some(Lane::Standard);
        }
        Lane::ALL.into_iter().find(waits)
    }

    fn of(&self, lane: Lane) -> &Waiting<T> {
        match lane {
            Lane::Express => &self.express,
            Lane::Standard => &self.standard,
            Lane::Bulk => &self.bulk,
        }
    }

    fn of_mut(&mut self, lane: Lane) -> &mut Waiting<T> {
        match lane {
            Lane::Express => &mut self.express,
            Lane::Standard => &mut self.standard,
            Lane::Bulk => &mut self.bulk,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LaneQueue, PASSED_BULK_MAX, PASSED_STANDARD_MAX};
    use crate::model::lane::Lane;

    fn filled(counts: [usize; 3]) -> LaneQueue<Lane> {
        let mut queue = LaneQueue::default();
        for (lane, count) in Lane::ALL.into_iter().zip(counts) {
            (0..count).for_each(|_| queue.push(lane, lane));
        }
        queue
    }

    #[test]
    fn a_higher_lane_goes_first_and_a_lower_one_is_not_starved() {
        let mut queue = filled([200, 200, 200]);
        let order: Vec<Lane> = (0..170).filter_map(|_| queue.pop()).collect();
        assert_eq!(order[..3], [Lane::Express; 3]);
        let share = |lane| order.iter().filter(|taken| **taken == lane).count();
        assert!(share(Lane::Bulk) >= 10, "{}", share(Lane::Bulk));
        assert!(share(Lane::Standard) >= 34, "{}", share(Lane::Standard));
        assert!(share(Lane::Express) >= 110, "{}", share(Lane::Express));
    }

    #[test]
    fn a_lane_that_is_alone_has_every_turn() {
        let mut queue = filled([0, 0, 3]);
        assert_eq!(
            [queue.pop(), queue.pop(), queue.pop(), queue.pop()],
            [Some(Lane::Bulk), Some(Lane::Bulk), Some(Lane::Bulk), None]
        );
    }

    /// One list of everybody, looked through from the start each time; how often each was passed over is counted anew
    /// from the whole history.
    fn reference(list: &mut Vec<(Lane, u32)>, history: &mut Vec<(Lane, Vec<Lane>)>) -> Option<u32> {
        let waits = |lane: Lane| list.iter().any(|(of, _)| *of == lane);
        let passed = |lane: Lane| {
            let since = history.iter().rev().take_while(|(taken, waiting)| *taken != lane && waiting.contains(&lane));
            since.count()
        };
        let lane = if waits(Lane::Bulk) && passed(Lane::Bulk) >= PASSED_BULK_MAX as usize {
            Lane::Bulk
        } else if waits(Lane::Standard) && passed(Lane::Standard) >= PASSED_STANDARD_MAX as usize {
            Lane::Standard
        } else {
            list.iter().map(|(lane, _)| *lane).max()?
        };
        history.push((lane, list.iter().map(|(lane, _)| *lane).collect()));
        let at = list.iter().position(|(of, _)| *of == lane)?;
        Some(list.remove(at).1)
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_a_list_looked_through_each_time(
            steps in prop::collection::vec(prop_oneof![
                2 => (0_usize..3).prop_map(Some), 3 => Just(None)
            ], 0..300)
        ) {
            let (mut queue, mut list, mut history) = (LaneQueue::default(), Vec::new(), Vec::new());
            for (number, step) in (0_u32..).zip(steps) {
                match step {
                    Some(lane) => {
                        queue.push(Lane::ALL[lane], number);
                        list.push((Lane::ALL[lane], number));
                    }
                    None => prop_assert_eq!(queue.pop(), reference(&mut list, &mut history)),
                }
                prop_assert_eq!(queue.is_empty(), list.is_empty());
            }
        }
    }
}

//! What is refused when too much is under way: new events, those of the lowest lane first, and never what was accepted.

use crate::model::lane::Lane;

/// How much may be under way for an event of this lane to be accepted, runs that are not settled, of a limit.
#[must_use]
pub const fn room(lane: Lane, limit: usize) -> usize {
    let percent = match lane {
        Lane::Express => 100,
        Lane::Standard => 80,
        Lane::Bulk => 50,
    };
    limit.saturating_mul(percent).div_ceil(100)
}

/// When to send a refused event of this lane again, seconds: the lower the lane, the later, so that the higher ones come
/// back first.
#[must_use]
pub const fn retry_after_s(lane: Lane) -> u32 {
    match lane {
        Lane::Express => 1,
        Lane::Standard => 2,
        Lane::Bulk => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::room;
    use crate::model::lane::Lane;

    #[test]
    fn the_lowest_lane_is_refused_first_and_some_room_is_always_there() {
        assert_eq!(Lane::ALL.map(|lane| room(lane, 50_000)), [50_000, 40_000, 25_000]);
        assert_eq!(Lane::ALL.map(|lane| room(lane, 1)), [1, 1, 1]);
    }
}

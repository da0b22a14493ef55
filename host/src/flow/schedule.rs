//! When a schedule is due: five-field cron in a time zone, across the hours that a zone's clocks skip or repeat. Pure.
//!
//! The rules of Vixie cron, which `croner` implements. A schedule whose minute and hour are written out is a *fixed time*:
//! one that the clocks skip is due when they go on, and one that they repeat is due the first time only. Any other
//! schedule (`*/15`, `0 * * * *`) follows the clock on the wall: what is skipped is left out, what is repeated is due
//! again. A day of the month and a day of the week together mean either.

use std::str::FromStr as _;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

use crate::model::timestamp::Timestamp;

/// Most fixed times of one schedule; a schedule that names more follows the clock on the wall.
const FIXED_TIMES_LIMIT: usize = 96;

/// A schedule that can be asked when it is due.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// One for each fixed time, or a single one.
    crons: Vec<Cron>,
    zone: Tz,
}

/// Why a schedule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The fields are not five, or one of them is wrong.
    #[error("`{cron}` is not a schedule: {problem}")]
    Cron {
        /// The fields.
        cron: String,
        /// What is wrong.
        problem: String,
    },
    /// No such time zone.
    #[error("`{zone}` is not a time zone of IANA")]
    Zone {
        /// As written.
        zone: String,
    },
    /// It names a day that no year has.
    #[error("`{cron}` is never due")]
    Never {
        /// The fields.
        cron: String,
    },
}

impl Schedule {
    /// Of five fields (minute, hour, day of month, month, day of week) and an IANA time zone; absent: UTC.
    ///
    /// # Errors
    /// As [`ScheduleError`] says.
    pub fn parse(cron: &str, zone: Option<&str>) -> Result<Self, ScheduleError> {
        let wrong = |problem: String| ScheduleError::Cron { cron: cron.to_owned(), problem };
        let zone = match zone {
            None => Tz::UTC,
            Some(zone) => Tz::from_str(zone).map_err(|_| ScheduleError::Zone { zone: zone.to_owned() })?,
        };
        let fields: Vec<&str> = cron.split_whitespace().collect();
        let [minute, hour, rest @ ..] = fields.as_slice() else {
            return Err(wrong("it has no five fields".to_owned()));
        };
        if rest.len() != 3 {
            return Err(wrong("it has no five fields".to_owned()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parse = |text: &str| parser.parse(text).map_err(|error| wrong(error.to_string()));
        let whole = parse(cron)?;
        let crons = match fixed_times(minute, hour) {
            None => vec![whole],
            Some(times) => times
                .into_iter()
                .map(|(minute, hour)| parse(&format!("{minute} {hour} {}", rest.join(" "))))
                .collect::<Result<_, _>>()?,
        };
        let schedule = Self { crons, zone };
        // Any instant would do: a leap day comes within eight years of each.
        match schedule.next(Timestamp::from_millis(0)) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never { cron: cron.to_owned() }),
        }
    }

    /// The first instant after another at which it is due; absent: never before the year 5000.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = local(after, self.zone)?;
        self.crons.iter().filter_map(|cron| cron.find_next_occurrence(&after, false).ok()).map(instant).min()
    }

    /// The last instant at which it was due, after one instant and not after another, and how many there were before it
    /// in between, counted up to `most`.
    #[must_use]
    pub fn latest(&self, after: Timestamp, until: Timestamp, most: u64) -> Option<(Timestamp, u64)> {
        let end = local(until, self.zone)?;
        let previous = |cron: &Cron| cron.find_previous_occurrence(&end, true).ok().map(instant);
        let last = self.crons.iter().filter_map(previous).max().filter(|last| *last > after)?;
        let mut skipped = 0;
        let mut at = after;
        while skipped < most
            && let Some(due) = self.next(at).filter(|due| *due < last)
        {
            skipped += 1;
            at = due;
        }
        Some((last, skipped))
    }
}

fn local(instant: Timestamp, zone: Tz) -> Option<DateTime<Tz>> {
    DateTime::<Utc>::from_timestamp_millis(instant.millis()).map(|instant| instant.with_timezone(&zone))
}

fn instant(local: DateTime<Tz>) -> Timestamp {
    Timestamp::from_millis(local.timestamp_millis())
}

/// Every minute and hour, if both are written out: numbers, lists and ranges of them.
fn fixed_times(minute: &str, hour: &str) -> Option<Vec<(u32, u32)>> {
    let (minutes, hours) = (numbers(minute)?, numbers(hour)?);
    let times: Vec<_> = hours.iter().flat_map(|hour| minutes.iter().map(|minute| (*minute, *hour))).collect();
    (times.len() <= FIXED_TIMES_LIMIT).then_some(times)
}

fn numbers(field: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in field.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last >= 60 {
            return None;
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

#[cfg(test)]
mod tests;

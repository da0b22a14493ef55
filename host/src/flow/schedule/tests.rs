//! Schedules against a slow reference that looks at every minute, around the days on which clocks change.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike as _, NaiveDateTime, TimeDelta, Timelike as _, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::Schedule;
use crate::model::timestamp::Timestamp;

#[track_caller]
fn check(cron: &str, zone: &str, after: &str, expected: &[&str]) {
    let schedule = Schedule::parse(cron, Some(zone)).expect("a schedule");
    let mut at = after.parse().expect("a time");
    for expected in expected {
        at = schedule.next(at).expect("due");
        assert_eq!(at.to_string(), *expected, "`{cron}` in {zone}");
    }
}

#[test]
fn a_fixed_time_that_clocks_skip_is_due_when_they_go_on() {
    check(
        "30 2 * * *",
        "Europe/Berlin",
        "2026-03-28T12:00:00Z",
        &["2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"],
    );
    check(
        "0 2,14 29 3 *",
        "Europe/Berlin",
        "2026-03-28T12:00:00Z",
        &["2026-03-29T01:00:00.000Z", "2026-03-29T12:00:00.000Z"],
    );
}

#[test]
fn a_fixed_time_that_clocks_repeat_is_due_once() {
    check(
        "30 2 * * *",
        "Europe/Berlin",
        "2026-10-24T12:00:00Z",
        &["2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z"],
    );
}

#[test]
fn an_interval_follows_the_clock_on_the_wall() {
    check(
        "*/30 * * * *",
        "Europe/Berlin",
        "2026-03-29T00:30:00Z",
        &["2026-03-29T01:00:00.000Z", "2026-03-29T01:30:00.000Z"],
    );
    check(
        "0 * * * *",
        "Europe/Berlin",
        "2026-10-24T23:59:00Z",
        &["2026-10-25T00:00:00.000Z", "2026-10-25T01:00:00.000Z", "2026-10-25T02:00:00.000Z"],
    );
}

#[test]
fn names_steps_and_leap_days_are_understood() {
    check("0 3 * * MON", "UTC", "2026-11-24T00:00:00Z", &["2026-11-30T03:00:00.000Z"]);
    check("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", &["2104-02-29T00:00:00.000Z"]);
    check("0 9 1 * MON", "UTC", "2026-11-24T00:00:00Z", &["2026-11-30T09:00:00.000Z", "2026-12-01T09:00:00.000Z"]);
}

#[test]
fn what_is_no_schedule_says_why() {
    let problem = |cron, zone| Schedule::parse(cron, zone).map(|_| ()).unwrap_err().to_string();
    assert_eq!(problem("0 0 30 2 *", None), "`0 0 30 2 *` is never due");
    assert_eq!(problem("0 0 * *", None), "`0 0 * *` is not a schedule: it has no five fields");
    assert!(problem("0 25 * * *", None).starts_with("`0 25 * * *` is not a schedule: "));
    assert!(problem("0 0 0 * * *", None).contains("no five fields"));
    assert_eq!(problem("0 0 * * *", Some("Berlin")), "`Berlin` is not a time zone of IANA");
}

#[test]
fn the_latest_missed_is_found_with_how_many_came_before_it() {
    let schedule = Schedule::parse("0 * * * *", None).expect("a schedule");
    let at = |text: &str| text.parse::<Timestamp>().expect("a time");
    let (after, until) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T05:30:00Z"));
    assert_eq!(schedule.latest(after, until, 1_000), Some((at("2026-01-01T05:00:00Z"), 4)));
    assert_eq!(schedule.latest(after, until, 2), Some((at("2026-01-01T05:00:00Z"), 2)));
    assert_eq!(schedule.latest(after, at("2026-01-01T00:59:59Z"), 2), None);
    assert_eq!(schedule.latest(after, at("2026-01-01T01:00:00Z"), 2), Some((at("2026-01-01T01:00:00Z"), 0)));
}

/// A field as text and as the numbers that it means.
#[derive(Clone, Debug)]
struct Field {
    text: String,
    numbers: BTreeSet<u32>,
    written_out: bool,
}

fn field(from: u32, to: u32) -> impl Strategy<Value = Field> {
    let every = Just(Field { text: "*".to_owned(), numbers: (from..=to).collect(), written_out: false });
    let step = (2..=(to - from).max(2)).prop_map(move |step| Field {
        text: format!("*/{step}"),
        numbers: (from..=to).step_by(usize::try_from(step).expect("small")).collect(),
        written_out: false,
    });
    let list = prop::collection::btree_set(from..=to, 1..3).prop_map(|numbers| Field {
        text: numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
        numbers,
        written_out: true,
    });
    let range = (from..=to, 0_u32..4).prop_map(move |(first, more)| {
        let last = (first + more).min(to);
        Field { text: format!("{first}-{last}"), numbers: (first..=last).collect(), written_out: true }
    });
    prop_oneof![2 => every, 1 => step, 3 => list, 1 => range]
}

/// Minute, hour, day of month, month, day of week.
fn fields() -> impl Strategy<Value = [Field; 5]> {
    // The hours around which clocks change, and any other.
    let hour = prop_oneof![2 => field(0, 3).prop_map(|hour| widened(hour, 0, 23)), 1 => field(0, 23)];
    let day = field(1, 28).prop_map(|day| widened(day, 1, 31));
    (field(0, 59), hour, day, field(1, 12), field(0, 6))
        .prop_map(|(minute, hour, day, month, weekday)| [minute, hour, day, month, weekday])
}

/// `*` and `*/n` go over all that there is.
fn widened(mut field: Field, from: u32, to: u32) -> Field {
    if !field.written_out {
        let step = field.text.strip_prefix("*/").map_or(1, |step| step.parse().expect("a step"));
        field.numbers = (from..=to).step_by(step).collect();
    }
    field
}

fn matches(fields: &[Field; 5], local: NaiveDateTime) -> bool {
    let [minute, hour, day, month, weekday] = fields;
    let on_day = day.numbers.contains(&local.day());
    let on_weekday = weekday.numbers.contains(&local.weekday().num_days_from_sunday());
    // Two restrictions mean either, and `*` is none.
    let restricted = |field: &Field| field.text != "*";
    let days = if restricted(day) && restricted(weekday) { on_day || on_weekday } else { on_day && on_weekday };
    days && minute.numbers.contains(&local.minute())
        && hour.numbers.contains(&local.hour())
        && month.numbers.contains(&local.month())
}

/// Every due minute between two instants, found by looking at each.
fn reference(fields: &[Field; 5], zone: Tz, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<i64> {
    let times = fields[0].numbers.len() * fields[1].numbers.len();
    let fixed = fields[0].written_out && fields[1].written_out && times <= super::FIXED_TIMES_LIMIT;
    let minute = TimeDelta::minutes(1);
    let mut seen = BTreeSet::new();
    let mut due = Vec::new();
    // What came shortly before decides whether a time on the wall is there again.
    let mut at = from - TimeDelta::hours(6);
    let mut before = (at - minute).with_timezone(&zone).naive_local();
    while at <= to {
        let local = at.with_timezone(&zone).naive_local();
        let again = !seen.insert(local);
        let mut is_due = matches(fields, local) && !(fixed && again);
        let mut skipped = before + minute;
        while fixed && skipped < local {
            is_due |= matches(fields, skipped);
            skipped += minute;
        }
        if is_due && at > from {
            due.push(at.timestamp_millis());
        }
        before = local;
        at += minute;
    }
    due
}

const ZONES: [(&str, &[&str]); 5] = [
    ("Europe/Berlin", &["2026-03-28T22:17:00Z", "2026-10-24T20:03:00Z", "2026-06-01T00:00:00Z"]),
    ("America/New_York", &["2026-03-08T00:10:00Z", "2026-11-01T00:30:00Z"]),
    ("Australia/Lord_Howe", &["2026-04-04T06:00:00Z", "2026-10-03T06:00:00Z"]),
    ("Asia/Kolkata", &["2026-03-28T22:17:00Z"]),
    ("UTC", &["2026-02-28T12:00:00Z", "2028-02-28T12:00:00Z"]),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn agrees_with_a_reference_that_looks_at_every_minute(
        fields in fields(), zone in 0..ZONES.len(), change in any::<prop::sample::Index>(),
    ) {
        let (name, changes) = ZONES[zone];
        let from: DateTime<Utc> = changes[change.index(changes.len())].parse().expect("a time");
        let to = from + TimeDelta::hours(40);
        let zone: Tz = name.parse().expect("a zone");
        let cron = fields.clone().map(|field| field.text).join(" ");
        let expected = reference(&fields, zone, from, to);
        let schedule = Schedule::parse(&cron, Some(name)).expect("a schedule");
        let (mut at, end) = (Timestamp::from_millis(from.timestamp_millis()), Timestamp::from_millis(to.timestamp_millis()));
        let begin = at;
        let mut found = Vec::new();
        while let Some(due) = schedule.next(at).filter(|due| *due <= end) {
            found.push(due.millis());
            at = due;
        }
        prop_assert_eq!(&found, &expected, "`{}` in {} from {}", cron, name, from);
        let latest = schedule.latest(begin, end, 10_000).map(|(due, skipped)| (due.millis(), skipped));
        let expected = expected.last().map(|last| (*last, expected.len() as u64 - 1));
        prop_assert_eq!(latest, expected, "the latest of `{}` in {} until {}", cron, name, to);
    }
}

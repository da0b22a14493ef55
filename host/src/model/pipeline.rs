//! Pipelines as they are written: the whole language as plain data, before anything is checked against the world.
//!
//! `flow::language` makes these from YAML, and finds what is wrong with them. Serialized only outwards, for programs
//! that read a pipeline; the stored form of a pipeline is its text.

pub mod action;
pub mod step;
pub mod template;

use std::collections::BTreeMap;

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use super::{
    id::{ContractId, PluginId},
    json::Json,
    timestamp::Timestamp,
};
use step::Step;
use template::{Expression, Template};

/// A whole pipeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Definition {
    /// `namespace/name`.
    pub name: Spot<String>,
    /// Its semantic version.
    pub version: Version,
    /// Who answers for it.
    pub owner: String,
    /// One sentence for people.
    pub summary: String,
    /// What it talks to, by the names it uses: an operator binds each to a connection.
    pub uses: BTreeMap<String, Spot<ContractId>>,
    /// What starts a run; at least one.
    pub triggers: Vec<Trigger>,
    /// What a run is about; evaluates to text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Expression>,
    /// How runs of one key relate.
    pub order: Order,
    /// The priority lane; evaluates to text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<Template>,
    /// What was promised about its duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sla: Option<Sla>,
    /// The touchpoints: operations that may write to the system of record. No other may.
    pub erp: Vec<Spot<String>>,
    /// Constants, `config` in expressions.
    pub config: Json,
    /// Variables with their initial values, `vars` in expressions.
    pub vars: BTreeMap<String, Json>,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// What happens when a step fails for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
}

impl Definition {
    /// Every step, outer before inner, in the order of the text; those of `on_error` last.
    #[must_use]
    pub fn all_steps(&self) -> Vec<&Step> {
        let mut all = Vec::new();
        for step in self.steps.iter().chain(self.on_error.iter().flat_map(|handler| &handler.steps)) {
            step.collect(&mut all);
        }
        all
    }
}

/// A line and column of the text, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
}

/// A value and where it is written. Serialized as the value alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot<T> {
    /// What is written.
    pub value: T,
    /// Where.
    pub at: Place,
}

impl<T: Serialize> Serialize for Spot<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

/// What starts a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trigger {
    /// Where its events come from.
    #[serde(flatten)]
    pub origin: Origin,
    /// The event's type.
    pub event: String,
    /// Only events for which this holds.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<Expression>,
    /// Where it is written.
    #[serde(skip)]
    pub at: Place,
}

/// Where a trigger's events come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "origin", rename_all = "snake_case")]
pub enum Origin {
    /// Somebody sends them.
    Event,
    /// The hub asks a connection for them.
    Poll {
        /// The connection's name in `uses`.
        connection: Spot<String>,
        /// How often, milliseconds.
        every_ms: u64,
    },
    /// The hub makes them by the calendar.
    Schedule {
        /// Five fields: minute, hour, day of month, month, day of week.
        cron: String,
        /// An IANA time zone; absent: UTC.
        #[serde(skip_serializing_if = "Option::is_none")]
        timezone: Option<String>,
    },
}

/// How runs of one key relate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Not at all.
    #[default]
    None,
    /// They begin in the order of acceptance.
    Start,
    /// One at a time.
    Exclusive,
}

/// What was promised about a run's duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sla {
    /// The promise, milliseconds from acceptance.
    pub finish_within_ms: u64,
    /// How much of that may pass before people are warned, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warn_at_percent: Option<u8>,
}

impl Sla {
    /// When a run that began then has to be finished.
    #[must_use]
    pub fn due(&self, started: Timestamp) -> Timestamp {
        started.plus_millis(self.finish_within_ms)
    }

    /// How a run that began then and has not ended stands now; absent: it is in time.
    #[must_use]
    pub fn standing(&self, started: Timestamp, now: Timestamp) -> Option<Standing> {
        if now > self.due(started) {
            return Some(Standing::Late);
        }
        // In this order, so that long promises do not overflow.
        let warn_ms = self.finish_within_ms / 100 * u64::from(self.warn_at_percent?)
            + self.finish_within_ms % 100 * u64::from(self.warn_at_percent?) / 100;
        (now >= started.plus_millis(warn_ms)).then_some(Standing::AtRisk)
    }
}

/// How a run that is not in time stands to what was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// So much of the time has passed that people are warned.
    AtRisk,
    /// The promised time is over.
    Late,
}

/// What happens when a step fails for good. In its expressions, `error` is the failure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnError {
    /// Whether every completed effect is undone first, latest first.
    pub compensate_all: bool,
    /// What happens then.
    pub steps: Vec<Step>,
    /// Where it is written.
    #[serde(skip)]
    pub at: Place,
}

/// A plugin's line and the versions that will do: `crossdock/order-risk@^1`. The binding chooses one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginRef {
    /// The line.
    pub id: PluginId,
    /// Which versions.
    pub range: VersionReq,
    /// Where it is written.
    #[serde(skip)]
    pub at: Place,
}

/// A reference table and the versions that will do: `retail/prices@^1`. The one that serves when a step begins is its.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableRef {
    /// `namespace/name`.
    pub name: String,
    /// Which versions.
    pub range: VersionReq,
    /// Where it is written.
    #[serde(skip)]
    pub at: Place,
}

#[cfg(test)]
mod tests {
    use super::{Sla, Standing};
    use crate::model::timestamp::Timestamp;

    #[test]
    fn a_run_is_in_time_then_at_risk_then_late() {
        let sla = Sla { finish_within_ms: 1_000, warn_at_percent: Some(75) };
        let started = Timestamp::from_millis(500);
        let cases = [
            (500, None),
            (1_249, None),
            (1_250, Some(Standing::AtRisk)),
            (1_500, Some(Standing::AtRisk)),
            (1_501, Some(Standing::Late)),
        ];
        for (now, standing) in cases {
            assert_eq!(sla.standing(started, Timestamp::from_millis(now)), standing, "{now}");
        }
        let silent = Sla { warn_at_percent: None, ..sla };
        assert_eq!(silent.standing(started, Timestamp::from_millis(1_400)), None);
        assert_eq!(silent.standing(started, Timestamp::from_millis(1_600)), Some(Standing::Late));
        let long = Sla { finish_within_ms: u64::MAX, warn_at_percent: Some(100) };
        assert_eq!(long.standing(started, Timestamp::from_millis(1_600)), None);
    }
}

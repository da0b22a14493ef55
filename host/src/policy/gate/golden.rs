//! Golden tests: the author's own examples have to hold, and within the limits.

use serde::{Deserialize, Serialize};

use super::{Finding, Severity, subject::Subject};
use crate::model::limits::Usage;

/// Share of a limit from which on an author is told, percent: a bigger cart should not be the one to find out.
const NEAR_PERCENT: u64 = 80;

/// What came of one golden test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoldenResult {
    /// The test's file, without its ending.
    pub name: String,
    /// Whether the answer was the expected one.
    pub passed: bool,
    /// What differed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
    /// What the call used.
    pub usage: Usage,
    /// Its fuel limit for that input.
    pub fuel_limit: u64,
    /// Its memory limit, bytes.
    pub memory_limit: u64,
}

impl GoldenResult {
    /// How much of its fuel it took, percent.
    #[must_use]
    pub fn fuel_percent(&self) -> u64 {
        self.usage.fuel.saturating_mul(100).checked_div(self.fuel_limit).unwrap_or_default()
    }
}

/// Each test passed, with room to spare.
pub(super) fn check(subject: &Subject, results: &[GoldenResult]) -> Vec<Finding> {
    let mut found = Vec::new();
    if results.is_empty() && subject.manifest.kind.is_pure() {
        let note = Finding::new("golden.none", Severity::Note, "golden/", "there is no golden test");
        found.push(note.change("add `golden/NAME.json` with `input` and `expected`"));
    }
    for result in results {
        let place = format!("golden/{}.json", result.name);
        if !result.passed {
            let difference = result.difference.clone().unwrap_or_else(|| "it failed".to_owned());
            let change = "correct the plugin, or the test if the answer is meant to be another";
            found.push(Finding::new("golden.failed", Severity::Refuse, place, difference).change(change));
            continue;
        }
        let memory = result.usage.memory_bytes.saturating_mul(100).checked_div(result.memory_limit).unwrap_or_default();
        for (what, percent, field) in
            [("fuel", result.fuel_percent(), "fuel_base` or `fuel_per_input_kib"), ("memory", memory, "memory_bytes")]
        {
            if percent >= NEAR_PERCENT {
                let near = format!("it takes {percent} % of its {what} limit");
                let note = Finding::new("golden.near-limit", Severity::Note, place.clone(), near);
                found.push(note.change(format!("do less, or raise `limits.{field}`")));
            }
        }
    }
    found
}

//! What came of replaying recorded inputs with two versions of a plugin: how often they decide otherwise, where, and what
//! they use. Holds no documents of runs beyond what its examples quote.

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    age::Since,
    id::{Digest, PluginId, RunId},
    timestamp::Timestamp,
};

/// What a promotion asks of a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// How far back inputs are looked for.
    pub since: Since,
    /// How many answers may differ from those of the version that serves; none unless told.
    #[serde(default)]
    pub changes_max: u64,
    /// How many inputs are replayed at most, the latest; absent: as a replay does by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What a replay came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The line.
    pub plugin: PluginId,
    /// The version that is looked at.
    pub candidate: Side,
    /// The version that it is held against, on the same inputs.
    pub against: Side,
    /// The pipeline that it was about alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// From when on inputs were looked for.
    pub since: Timestamp,
    /// When that was.
    pub until: Timestamp,
    /// How many inputs were to be replayed at most.
    pub limit: u32,
    /// Why not all inputs of that time were: `limit` or `time`; absent: they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_short: Option<String>,
    /// Runs that were looked into, the latest first.
    pub runs: u64,
    /// Inputs that both versions were called with.
    pub replayed: u64,
    /// Of them, those that are proven to be the recorded ones, by their digest. Earlier releases recorded none.
    pub proven: u64,
    /// Inputs that were answered otherwise: the sum of the next three.
    pub changes: u64,
    /// Another outcome, target or recommendation.
    pub decisions: u64,
    /// The same decision and another document.
    pub outputs: u64,
    /// One of them failed, or both did in another way.
    pub failures: u64,
    /// The same answer for other reasons; no change.
    pub reasons: u64,
    /// How decisions changed, `before -> after`, and how often.
    pub transitions: BTreeMap<String, u64>,
    /// Runs in archives of that time, whatever their pipeline; they are looked into after those that the hub lists.
    pub archived: u64,
    /// The same in archives that were dropped: nothing of them can be looked into.
    pub dropped: u64,
    /// What could not be replayed.
    pub left_out: Vec<LeftOut>,
    /// Whether versions answered as they did when they were recorded.
    pub determinism: Determinism,
    /// What else to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Some of the inputs that were answered otherwise; decisions and failures first.
    pub examples: Vec<Example>,
}

/// What one of the two versions did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The version.
    pub version: Version,
    /// Digest of its component.
    pub digest: Digest,
    /// Calls that it gave no answer to, traps and limits included.
    pub failed: u64,
    /// Calls that ended by a defect: a trap, or an answer that the contract or its own schema does not allow.
    pub traps: u64,
    /// Calls that ran into a limit, by the limit.
    pub limits: BTreeMap<String, u64>,
    /// Fuel.
    pub fuel: Spread,
    /// Wall-clock time, microseconds; what else the machine does is in it.
    pub elapsed_us: Spread,
}

/// The middle and the end of many numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Half of them are no higher.
    pub median: u64,
    /// 99 of a hundred are no higher.
    pub p99: u64,
    /// The highest.
    pub max: u64,
}

impl Spread {
    /// Of these numbers, by nearest rank.
    #[must_use]
    pub fn of(mut numbers: Vec<u64>) -> Self {
        numbers.sort_unstable();
        let at = |percent: usize| {
            let rank = (numbers.len() * percent).div_ceil(100).max(1);
            numbers.get(rank - 1).copied().unwrap_or_default()
        };
        Self { median: at(50), p99: at(99), max: at(100) }
    }
}

/// Inputs, or whole runs, that could not be replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Why, for programs.
    pub code: String,
    /// Why, for people.
    pub why: String,
    /// How many.
    pub count: u64,
    /// Some of them: runs, with the step where it is about one.
    pub examples: Vec<String>,
}

/// Answers that were made again by the very version that had given them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Determinism {
    /// Those that could be compared.
    pub compared: u64,
    /// Those that differ, which none may: the plugin is not deterministic, or the hub is wrong.
    pub differed: u64,
    /// Some of them.
    pub examples: Vec<Example>,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The outcome, the target or the recommendation.
    Decision,
    /// Whether, or how, it failed.
    Failure,
    /// The document.
    Output,
    /// The reasons alone.
    Reasons,
}

/// An input that was answered in two ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// What differs.
    pub what: What,
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: String,
    /// What the run executed, `name@version`.
    pub pipeline: String,
    /// When it was called.
    pub time: Timestamp,
    /// The version that was called then.
    pub recorded: String,
    /// What the version answers that it is held against; in [`Determinism`]: what is recorded.
    pub before: Value,
    /// What the candidate answers; in [`Determinism`]: what the same version answers now.
    pub after: Value,
}

impl Report {
    /// The report as it is kept for ever: it says what was decided where, and quotes nothing of what runs are about.
    #[must_use]
    pub fn for_record(&self) -> Self {
        let mut kept = self.clone();
        let examples = kept.examples.iter_mut().chain(&mut kept.determinism.examples);
        for example in examples {
            for answer in [&mut example.before, &mut example.after] {
                *answer = without_documents(answer);
            }
        }
        kept
    }

    /// In one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let cut = self.cut_short.as_ref().map_or_else(String::new, |why| format!(" (not all: the {why} was reached)"));
        format!(
            "{} recorded inputs since {}{cut} replayed against {}: {} decisions, {} outputs and {} failures changed",
            self.replayed, self.since, self.against.version, self.decisions, self.outputs, self.failures
        )
    }
}

/// What of an answer is no document and no prose: outcome, target, recommendation, codes.
fn without_documents(answer: &Value) -> Value {
    let mut kept = serde_json::Map::new();
    for name in ["outcome", "target", "recommendation", "failure"] {
        kept.extend(answer.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    let reasons = answer.get("reasons").and_then(Value::as_array);
    let codes = reasons.map(|reasons| reasons.iter().filter_map(|reason| reason.get("code")).cloned().collect());
    kept.extend(codes.map(|codes| ("reasons".to_owned(), Value::Array(codes))));
    Value::Object(kept)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Spread, without_documents};

    #[test]
    fn a_spread_is_by_nearest_rank() {
        let spread = |numbers: &[u64]| {
            let Spread { median, p99, max } = Spread::of(numbers.to_vec());
            (median, p99, max)
        };
        assert_eq!(spread(&[]), (0, 0, 0));
        assert_eq!(spread(&[7]), (7, 7, 7));
        assert_eq!(spread(&[4, 1, 3, 2]), (2, 4, 4));
        assert_eq!(spread(&(1..=200).collect::<Vec<_>>()), (100, 198, 200));
    }

    #[test]
    fn what_is_kept_quotes_no_document() {
        let reasons = json!([{"code": "a.b", "message": "Ann owes 5", "path": "/ann"}]);
        let answer = json!({"outcome": "hold", "target": "people", "reasons": reasons, "output": {"name": "Ann"}});
        let kept = json!({"outcome": "hold", "target": "people", "reasons": ["a.b"]});
        assert_eq!(without_documents(&answer), kept);
    }
}

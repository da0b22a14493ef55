//! Counts what a replay comes to. What it keeps is bounded: some examples of each kind, never all.

use std::collections::BTreeMap;

use semver::Version;

use super::compare;
use crate::{
    flow::machine::{Given, Recorded, is_defect},
    model::{
        id::{Digest, PluginId, RunId},
        limits::Usage,
        replay::{Determinism, Example, LeftOut, Report, Side, Spread, What},
        timestamp::Timestamp,
    },
};

/// How many differences are quoted.
const EXAMPLES_MAX: usize = 20;
/// How many answers that are not those of before, and how many of each kind that was left out.
const FEW: usize = 5;
/// How many different changes of decisions are told apart.
const TRANSITIONS_MAX: usize = 50;

/// What a replay is about, as its report says it.
pub(super) struct About {
    pub(super) plugin: PluginId,
    pub(super) candidate: (Version, Digest),
    pub(super) against: (Version, Digest),
    pub(super) pipeline: Option<String>,
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    pub(super) limit: u32,
}

/// The books of a replay.
pub(super) struct Tally {
    report: Report,
    before: Used,
    after: Used,
    /// The two components are one.
    same_code: bool,
}

/// What one version used, call by call.
#[derive(Default)]
struct Used {
    fuel: Vec<u64>,
    elapsed_us: Vec<u64>,
}

impl Used {
    fn take(&mut self, side: &mut Side, answer: &Recorded, usage: Usage) {
        self.fuel.push(usage.fuel);
        self.elapsed_us.push(usage.elapsed_us);
        let Err(failure) = answer else { return };
        side.failed += 1;
        match failure.code.strip_prefix("limit.") {
            Some(limit) => *side.limits.entry(limit.to_owned()).or_default() += 1,
            None => side.traps += u64::from(is_defect(failure)),
        }
    }

    fn spread(self, side: &mut Side) {
        (side.fuel, side.elapsed_us) = (Spread::of(self.fuel), Spread::of(self.elapsed_us));
    }
}

impl Tally {
    pub(super) fn new(about: About) -> Self {
        let side = |(version, digest)| Side {
            version,
            digest,
            failed: 0,
            traps: 0,
            limits: BTreeMap::new(),
            fuel: Spread::default(),
            elapsed_us: Spread::default(),
        };
        let About { plugin, candidate, against, pipeline, since, until, limit } = about;
        let (candidate, against) = (side(candidate), side(against));
        let same_code = candidate.digest == against.digest;
        let report = Report {
            plugin,
            candidate,
            against,
            pipeline,
            since,
            until,
            limit,
            cut_short: None,
            runs: 0,
            replayed: 0,
            proven: 0,
            changes: 0,
            decisions: 0,
            outputs: 0,
            failures: 0,
            reasons: 0,
            transitions: BTreeMap::new(),
            archived: 0,
            dropped: 0,
            left_out: Vec::new(),
            determinism: Determinism::default(),
            notes: Vec::new(),
            examples: Vec::new(),
        };
        Self { report, before: Used::default(), after: Used::default(), same_code }
    }

    pub(super) fn note(&mut self, note: &str) {
        self.report.notes.push(note.to_owned());
    }

    pub(super) fn look_into(&mut self) {
        self.report.runs += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.report.replayed >= u64::from(self.report.limit)
    }

    pub(super) fn cut_short(&mut self, why: &str) {
        self.report.cut_short.get_or_insert_with(|| why.to_owned());
    }

    /// A run that cannot be replayed, or one step of it.
    pub(super) fn left_out(&mut self, code: &str, why: &str, run: RunId, step: Option<&str>) {
        let known = self.report.left_out.iter().position(|left| left.code == code);
        let place = known.unwrap_or_else(|| {
            let left = LeftOut { code: code.to_owned(), why: why.to_owned(), count: 0, examples: Vec::new() };
            self.report.left_out.push(left);
            self.report.left_out.len() - 1
        });
        let Some(left) = self.report.left_out.get_mut(place) else { return };
        left.count += 1;
        if left.examples.len() < FEW {
            left.examples.push(step.map_or_else(|| run.to_string(), |step| format!("{run} {step}")));
        }
    }

    /// An input that both versions were called with.
    pub(super) fn take(&mut self, run: RunId, given: &Given, before: (Recorded, Usage), after: (Recorded, Usage)) {
        let ((before, before_usage), (after, after_usage)) = (before, after);
        let no_room = |answer: &Recorded| matches!(answer, Err(failure) if failure.code == "plugin.unavailable");
        if no_room(&before) || no_room(&after) {
            let why = "the sandbox had no room, or the component is not loaded";
            return self.left_out("plugin.unavailable", why, run, Some(&given.step));
        }
        let report = &mut self.report;
        report.replayed += 1;
        report.proven += u64::from(given.proven == Some(true));
        self.before.take(&mut report.against, &before, before_usage);
        self.after.take(&mut report.candidate, &after, after_usage);
        self.hold_against_the_record(run, given, self.report.against.digest, &before);
        if !self.same_code {
            self.hold_against_the_record(run, given, self.report.candidate.digest, &after);
        }
        let Some(what) = compare::difference(&before, &after) else { return };
        let report = &mut self.report;
        let counted = match what {
            What::Decision => &mut report.decisions,
            What::Output => &mut report.outputs,
            What::Failure => &mut report.failures,
            What::Reasons => &mut report.reasons,
        };
        *counted += 1;
        if what != What::Reasons {
            report.changes += 1;
        }
        if matches!(what, What::Decision | What::Failure) {
            let mut change = format!("{} -> {}", compare::decided(&before), compare::decided(&after));
            if report.transitions.len() >= TRANSITIONS_MAX && !report.transitions.contains_key(&change) {
                "others".clone_into(&mut change);
            }
            *report.transitions.entry(change).or_default() += 1;
        }
        let example = example(what, run, given, &before, &after);
        // What was decided otherwise is what people look for: it takes the place of lesser changes.
        let place = report.examples.partition_point(|known| known.what <= what);
        if place < EXAMPLES_MAX {
            report.examples.insert(place, example);
            report.examples.truncate(EXAMPLES_MAX);
        }
    }

    /// A version that answers otherwise than it did is not deterministic, and nothing that is said here can be trusted.
    fn hold_against_the_record(&mut self, run: RunId, given: &Given, digest: Digest, answer: &Recorded) {
        let Some(recorded) = given.recorded.as_ref().filter(|_| given.plugin.digest == digest) else { return };
        if !compare::is_its_own(recorded) || !compare::is_its_own(answer) {
            return;
        }
        let same = match (recorded, answer) {
            (Ok(recorded), Ok(answer)) => recorded == answer,
            (Err(recorded), Err(answer)) => (recorded.kind, &recorded.code) == (answer.kind, &answer.code),
            _ => false,
        };
        let determinism = &mut self.report.determinism;
        determinism.compared += 1;
        if !same {
            determinism.differed += 1;
            tracing::error!(%run, step = given.step, %digest, "a replayed answer is not the recorded one");
            if determinism.examples.len() < FEW {
                let what = compare::difference(recorded, answer).unwrap_or(What::Reasons);
                determinism.examples.push(example(what, run, given, recorded, answer));
            }
        }
    }

    pub(super) fn report(self) -> Report {
        let Self { mut report, before, after, .. } = self;
        before.spread(&mut report.against);
        after.spread(&mut report.candidate);
        report
    }
}

fn example(what: What, run: RunId, given: &Given, before: &Recorded, after: &Recorded) -> Example {
    Example {
        what,
        run,
        step: given.step.clone(),
        pipeline: format!("{}@{}", given.pipeline.name, given.pipeline.version),
        time: given.time,
        recorded: given.plugin.version.clone(),
        before: compare::quoted(before),
        after: compare::quoted(after),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        flow::{document::Document, plan::PureKind},
        model::{
            decision::{Outcome, Verdict},
            entry::{Output, PipelineUse, PluginUse},
            failure::{Failure, FailureKind},
            id::AcceptanceId,
            json::Json,
        },
    };

    fn about() -> About {
        let version = |text: &str| text.parse::<Version>().expect("a version");
        let now = Timestamp::from_millis(10);
        About {
            plugin: "acme/rules".parse().expect("an id"),
            candidate: (version("1.1.0"), Digest::of(b"after")),
            against: (version("1.0.0"), Digest::of(b"before")),
            pipeline: None,
            since: now,
            until: now,
            limit: 100,
        }
    }

    fn verdict(outcome: Outcome) -> Recorded {
        Ok(Output::Verdict(Verdict { outcome, target: None, reasons: Vec::new(), output: None }))
    }

    fn failed(code: &str) -> Recorded {
        Err(Failure::new(FailureKind::Permanent, code, "because"))
    }

    fn given(recorded: Recorded) -> Given {
        let plugin = PluginUse {
            id: "acme/rules".parse().expect("an id"),
            version: "1.0.0".into(),
            digest: Digest::of(b"before"),
            contract: "1.0.0".into(),
            grant: 0,
            canary: false,
        };
        Given::new(
            "judge",
            PipelineUse { name: "acme/orders".into(), version: "1.0.0".into(), digest: Digest::of(b"") },
            (PureKind::Rule, Arc::new(plugin)),
            Document::new(Json::null()),
            Some(recorded),
        )
    }

    /// The report of one input after another: what is recorded, what is answered before and after.
    fn report(inputs: Vec<(Recorded, Recorded, Recorded)>) -> Report {
        let mut tally = Tally::new(about());
        let run = RunId::of(AcceptanceId::of("/s", "1"), "acme/orders");
        for (recorded, before, after) in inputs {
            let usage = Usage { fuel: 5, ..Usage::default() };
            tally.take(run, &given(recorded), (before, usage), (after, usage));
        }
        tally.report()
    }

    #[test]
    fn a_version_that_answers_otherwise_than_it_did_is_told_although_nothing_changed() {
        let (proceed, hold) = (|| verdict(Outcome::Proceed), || verdict(Outcome::Hold));
        let report = report(vec![(proceed(), hold(), hold()), (hold(), hold(), hold())]);
        assert_eq!((report.changes, report.determinism.compared, report.determinism.differed), (0, 2, 1));
        assert_eq!(report.determinism.examples[0].before["outcome"], "proceed");
    }

    #[test]
    fn what_the_moment_did_is_not_held_against_a_version() {
        let proceed = || verdict(Outcome::Proceed);
        let report = report(vec![
            (failed("limit.deadline"), proceed(), proceed()),
            (failed("plugin.revoked"), proceed(), proceed()),
            (failed("plugin.trap"), proceed(), proceed()),
        ]);
        assert_eq!((report.determinism.compared, report.determinism.differed), (1, 1));
    }

    #[test]
    fn traps_limits_and_failures_are_told_apart() {
        let proceed = || verdict(Outcome::Proceed);
        let answers = ["plugin.trap", "limit.fuel", "limit.fuel", "acme.no", "plugin.unavailable"];
        let report = report(answers.map(|code| (proceed(), proceed(), failed(code))).into());
        let side = &report.candidate;
        assert_eq!((report.replayed, report.failures, report.changes), (4, 4, 4));
        assert_eq!((side.failed, side.traps, side.limits.get("fuel"), side.fuel.max), (4, 1, Some(&2), 5));
        assert_eq!((report.against.failed, report.transitions.get("proceed -> failure limit.fuel")), (0, None));
        assert_eq!(report.transitions.get("proceed -> defect limit.fuel"), Some(&2));
        assert_eq!((report.left_out[0].code.as_str(), report.left_out[0].count), ("plugin.unavailable", 1));
    }

    #[test]
    fn examples_are_bounded_and_decisions_come_first() {
        let (proceed, reject) = (|| verdict(Outcome::Proceed), || verdict(Outcome::Reject));
        let mut inputs: Vec<_> = (0..50).map(|_| (proceed(), proceed(), failed("acme.no"))).collect();
        inputs.push((proceed(), proceed(), reject()));
        let report = report(inputs);
        assert_eq!((report.examples.len(), report.examples[0].what), (EXAMPLES_MAX, What::Decision));
    }
}

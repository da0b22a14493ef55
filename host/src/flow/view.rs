//! A run as people see it, folded from its facts: the summary for lists, the story for one run.

use crate::model::{
    decision::Verdict,
    entry::{AttemptFailed, Ending, Entry, Output, RunStarted, StepDone},
    id::RunId,
    limits::Usage,
    log::LogLine,
    run::{AttemptFailure, RunEvent, RunState, RunSummary, RunView, StepState, StepView},
    timestamp::Timestamp,
};

/// The summary of a run that has just begun.
#[must_use]
pub fn begin(id: RunId, started: &RunStarted) -> RunSummary {
    RunSummary {
        id,
        pipeline: started.pipeline.name.clone(),
        pipeline_version: started.pipeline.version.clone(),
        key: started.key.clone(),
        state: RunState::Running,
        step: None,
        cause: None,
        due: None,
        started: started.time,
        updated: started.time,
        acceptance: started.acceptance,
    }
}

/// Takes one more fact into a summary.
pub fn summarize(summary: &mut RunSummary, entry: &Entry) {
    match entry {
        Entry::Accepted(_)
        | Entry::RunStarted(_)
        | Entry::StepSkipped { .. }
        | Entry::BranchTaken { .. }
        | Entry::BranchClosed { .. } => {}
        Entry::StepStarted(started) => at(summary, &started.step, started.time),
        Entry::Intent(intent) => at(summary, &intent.step, intent.time),
        Entry::StepDone(done) => {
            summary.updated = summary.updated.max(done.time);
            if let Output::Verdict(verdict) = &done.output {
                summary.cause = because(verdict);
            }
        }
        Entry::AttemptFailed(failed) => {
            at(summary, &failed.step, failed.time);
            if failed.next.is_some() {
                summary.state = RunState::Waiting;
            }
            summary.due = failed.next;
            summary.cause = Some(failed.failure.to_string());
        }
        Entry::RunEnded { time, ending } => {
            summary.updated = summary.updated.max(*time);
            summary.due = None;
            match ending {
                Ending::Completed => {
                    summary.state = RunState::Completed;
                    summary.step = None;
                    summary.cause = None;
                }
                Ending::Rejected { step } => {
                    summary.state = RunState::Rejected;
                    summary.step = Some(step.clone());
                }
            }
        }
        Entry::RunParked { time, step, failure } => {
            summary.updated = summary.updated.max(*time);
            summary.due = None;
            summary.state = RunState::Parked;
            summary.step = Some(step.clone());
            summary.cause = Some(format!("`{}`: {}", failure.code, failure.message));
        }
    }
}

fn at(summary: &mut RunSummary, step: &str, time: Timestamp) {
    summary.state = RunState::Running;
    summary.step = Some(step.to_owned());
    summary.due = None;
    summary.cause = None;
    summary.updated = summary.updated.max(time);
}

fn because(verdict: &Verdict) -> Option<String> {
    verdict.reasons.first().map(|reason| format!("`{}`: {}", reason.code, reason.message))
}

/// The whole run from its facts; absent if they do not begin with its start.
#[must_use]
pub fn story(id: RunId, entries: &[Entry]) -> Option<RunView> {
    let (Entry::RunStarted(started), rest) = entries.split_first()? else { return None };
    let mut view = RunView {
        summary: begin(id, started),
        pipeline_digest: started.pipeline.digest,
        event: RunEvent {
            id: started.event.id.clone(),
            source: started.event.source.clone(),
            event_type: started.event.event_type.clone(),
            subject: started.event.subject.clone(),
            accepted: started.time,
        },
        steps: Vec::new(),
    };
    for entry in rest {
        summarize(&mut view.summary, entry);
        tell(&mut view.steps, entry);
    }
    Some(view)
}

fn tell(steps: &mut Vec<StepView>, entry: &Entry) {
    match entry {
        Entry::Accepted(_) | Entry::RunStarted(_) | Entry::BranchClosed { .. } | Entry::RunEnded { .. } => {}
        Entry::StepSkipped { step } => {
            let time = steps.last().map_or(Timestamp::default(), |step| step.started);
            let step = find(steps, step, time);
            step.state = StepState::Skipped;
            step.attempts = 0;
        }
        Entry::StepStarted(started) => {
            let step = find(steps, &started.step, started.time);
            step.state = StepState::Running;
            step.attempts = step.attempts.max(started.attempt);
            step.plugin.clone_from(&started.plugin);
            step.operation.clone_from(&started.operation);
            if started.plugin.is_none() {
                step.kind = "emit".to_owned();
            } else if started.operation.is_some() {
                step.kind = "call".to_owned();
            }
        }
        Entry::Intent(intent) => {
            let step = find(steps, &intent.step, intent.time);
            step.state = StepState::Running;
            step.kind = "call".to_owned();
            step.plugin = Some(intent.plugin.clone());
            step.idempotency_key = Some(intent.key.to_string());
            if intent.resolving {
                step.log.push(format!("asked `{}` whether the lost write took effect", intent.operation));
            } else {
                step.attempts = step.attempts.max(intent.attempt);
                step.operation = Some(intent.operation.clone());
            }
        }
        Entry::StepDone(done) => tell_done(steps, done),
        Entry::AttemptFailed(failed) => tell_failed(steps, failed),
        Entry::BranchTaken { step, branch } => {
            let time = steps.last().map_or(Timestamp::default(), |step| step.ended.unwrap_or(step.started));
            let step = find(steps, step, time);
            step.kind = "switch".to_owned();
            step.state = StepState::Done;
            step.ended = Some(time);
            step.decision = Some(branch.as_ref().map_or_else(
                || "no case holds".to_owned(),
                |branch| match branch.parse::<u32>() {
                    Ok(number) => format!("case {number}"),
                    Err(_) => branch.clone(),
                },
            ));
        }
        Entry::RunParked { step, .. } => {
            if let Some(step) = steps.iter_mut().find(|known| known.path == *step)
                && step.state != StepState::Done
            {
                step.state = StepState::Failed;
            }
        }
    }
}

fn tell_done(steps: &mut Vec<StepView>, done: &StepDone) {
    let step = find(steps, &done.step, done.time);
    step.state = StepState::Done;
    step.ended = Some(done.time);
    step.usage = done.usage;
    step.log.extend(done.log.iter().map(line));
    step.log.extend(done.annotations.iter().map(|(name, value)| format!("{name}: {value}")));
    match &done.output {
        Output::Json(json) => {
            if step.kind.is_empty() {
                step.kind = "transform".to_owned();
            }
            step.output = Some(json.clone());
        }
        Output::Verdict(verdict) => {
            step.kind = "rule".to_owned();
            step.decision = Some(
                verdict
                    .target
                    .as_ref()
                    .map_or_else(|| verdict.outcome.to_string(), |target| format!("{} → {target}", verdict.outcome)),
            );
            step.reasons.clone_from(&verdict.reasons);
            step.output.clone_from(&verdict.output);
        }
        Output::Assessment(assessment) => {
            step.kind = "score".to_owned();
            step.decision = Some(format!(
                "{} (score {:.2}, confidence {:.2}, model {} {})",
                assessment.recommendation,
                assessment.score,
                assessment.confidence,
                assessment.model,
                assessment.model_version
            ));
            step.reasons.clone_from(&assessment.reasons);
            step.output = Some(assessment.features.clone());
        }
    }
}

fn tell_failed(steps: &mut Vec<StepView>, failed: &AttemptFailed) {
    let step = find(steps, &failed.step, failed.time);
    step.state = if failed.next.is_some() { StepState::Waiting } else { StepState::Failed };
    step.ended = failed.next.is_none().then_some(failed.time);
    step.usage = failed.usage;
    step.log.extend(failed.log.iter().map(line));
    step.failures.push(AttemptFailure {
        attempt: failed.attempt,
        time: failed.time,
        failure: failed.failure.clone(),
        next: failed.next,
    });
}

/// The story of a step, begun if it is new.
fn find<'a>(steps: &'a mut Vec<StepView>, path: &str, time: Timestamp) -> &'a mut StepView {
    let index = steps.iter().position(|step| step.path == path).unwrap_or(steps.len());
    if index == steps.len() {
        steps.push(StepView {
            path: path.to_owned(),
            kind: String::new(),
            state: StepState::Running,
            plugin: None,
            operation: None,
            idempotency_key: None,
            started: time,
            ended: None,
            attempts: 1,
            usage: Usage::default(),
            decision: None,
            reasons: Vec::new(),
            output: None,
            failures: Vec::new(),
            log: Vec::new(),
        });
    }
    #[expect(clippy::indexing_slicing, reason = "found, or just pushed")]
    &mut steps[index]
}

fn line(line: &LogLine) -> String {
    let fields: String = line.fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    format!("{}: {}{fields}", line.level, line.message)
}

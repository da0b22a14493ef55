//! A run as a story that a newcomer understands: what came in, what each step did and why, what came out.

use std::collections::HashMap;

use super::{next, out::Out};
use crate::model::{
    json::Json,
    run::{RunState, RunView, StepState, StepView},
    timestamp::Timestamp,
};

/// Longest output that is shown, characters.
const OUTPUT_CHARACTERS: usize = 160;

/// Tells a run.
pub(super) fn tell(out: &Out, run: &RunView) {
    let summary = &run.summary;
    out.say(format!(
        "{}  {} {}  about {}",
        out.bold(&summary.id.to_string()),
        summary.pipeline,
        summary.pipeline_version,
        out.bold(&summary.key)
    ));
    out.say(format!(
        "  {} `{}` from {}, accepted {}",
        out.dim("event"),
        run.event.event_type,
        run.event.source,
        run.event.accepted
    ));
    for step in &run.steps {
        tell_step(out, step, summary.started, 0);
    }
    out.say(format!("  {} {}", mark(out, summary.state), ending(out, run)));
    next::say(out, summary);
}

/// One line for a run.
pub(super) fn ending(out: &Out, run: &RunView) -> String {
    let summary = &run.summary;
    let took_ms = summary.updated.since(summary.started);
    let state = match summary.state {
        RunState::Completed => out.green("completed"),
        RunState::Rejected => out.yellow("rejected"),
        RunState::Parked => out.yellow("parked"),
        RunState::Waiting => out.yellow("waiting"),
        RunState::Failed => out.yellow("failed"),
        RunState::Cancelled => out.yellow("cancelled"),
        RunState::Paused => out.yellow("paused"),
        RunState::Compensating => out.yellow("compensating"),
        RunState::Running => "running".to_owned(),
    };
    let at = summary.step.as_deref().map(|step| format!(" at `{step}`")).unwrap_or_default();
    let due = summary.due.map(|due| format!(", next at {due}")).unwrap_or_default();
    let cause = summary.cause.as_deref().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{state} after {}{at}{due}{cause}", duration(took_ms * 1_000))
}

fn mark(out: &Out, state: RunState) -> String {
    match state {
        RunState::Completed => out.green("●"),
        RunState::Rejected | RunState::Parked | RunState::Failed | RunState::Cancelled => out.yellow("●"),
        RunState::Running | RunState::Waiting | RunState::Paused | RunState::Compensating => out.dim("○"),
    }
}

/// A run that is told while it happens: each attempt that fails, and each step when it has ended, once.
#[derive(Default)]
pub(super) struct Telling {
    /// For each step: the failures that were told, and whether its end was.
    told: HashMap<String, (usize, bool)>,
}

impl Telling {
    /// Tells what is new.
    pub(super) fn tell(&mut self, out: &Out, run: &RunView) {
        for step in &run.steps {
            let (failures, ended) = self.told.entry(step.path.clone()).or_default();
            let ends = matches!(step.state, StepState::Done | StepState::Skipped | StepState::Failed);
            if !*ended && (ends || step.failures.len() > *failures) {
                tell_step(out, step, run.summary.started, *failures);
                *failures = step.failures.len();
                *ended = ends;
            }
        }
    }
}

/// Tells one step; of its failures, those from the given one on.
fn tell_step(out: &Out, step: &StepView, started: Timestamp, failures_from: usize) {
    let sign = match step.state {
        StepState::Done => out.green("✓"),
        StepState::Skipped => out.dim("–"),
        StepState::Failed => out.red("✗"),
        StepState::Waiting => out.yellow("…"),
        StepState::Running => out.dim("○"),
    };
    let what = step.operation.clone().unwrap_or_default();
    let who = step
        .plugin
        .as_ref()
        .map(|plugin| format!("{} {} {}", plugin.id, plugin.version, out.dim(&plugin.digest.short())))
        .unwrap_or_default();
    let used = if step.usage.elapsed_us > 0 {
        let attempts = if step.attempts > 1 { format!(", {} attempts", step.attempts) } else { String::new() };
        format!("{}, {} fuel{attempts}", duration(step.usage.elapsed_us), grouped(step.usage.fuel))
    } else {
        String::new()
    };
    let last = step.failures.last().map(|failed| failed.time);
    let offset = step.ended.or(last).unwrap_or(step.started).since(started);
    let offset = out.dim(&format!("+{:>7}", duration(offset * 1_000)));
    // Padded before it is painted: colours have no width.
    let name = out.bold(&format!("{:<10}", step.path));
    let line = format!("  {offset} {sign} {name} {:<9} {what:<20} {who}  {}", step.kind, out.dim(&used));
    out.say(line.trim_end());
    let indent = "                ";
    for table in &step.tables {
        let digest = out.dim(&table.digest.short());
        out.say(format!("{indent}given {}: {}@{} {digest}", table.alias, table.name, table.version));
    }
    if let Some(decision) = &step.decision {
        out.say(format!("{indent}→ {}", out.bold(decision)));
    }
    for reason in &step.reasons {
        let path = reason.path.as_deref().map(|path| format!(" ({path})")).unwrap_or_default();
        out.say(format!("{indent}  because {} {}{path}", reason.message, out.dim(&format!("[{}]", reason.code))));
    }
    for failed in step.failures.iter().skip(failures_from) {
        let next = failed
            .next
            .map(|next| format!("; next in {}", duration(next.since(failed.time) * 1_000)))
            .unwrap_or_default();
        out.say(format!("{indent}{} attempt {}: {}{next}", out.yellow("!"), failed.attempt, failed.failure));
    }
    if let Some(key) = &step.idempotency_key {
        out.say(format!("{indent}{} {key}", out.dim("idempotency key")));
    }
    for line in &step.log {
        out.say(format!("{indent}{} {line}", out.dim("log")));
    }
    if let Some(output) = &step.output
        && step.decision.is_none()
    {
        out.say(format!("{indent}{} {}", out.dim("gives"), short(output)));
    }
}

fn short(json: &Json) -> String {
    let text = json.to_value().to_string();
    if text.chars().count() <= OUTPUT_CHARACTERS {
        return text;
    }
    let cut: String = text.chars().take(OUTPUT_CHARACTERS).collect();
    format!("{cut}… ({} bytes)", text.len())
}

/// A duration in the unit that suits it.
pub(super) fn duration(micros: u64) -> String {
    match micros {
        0 => "0 ms".to_owned(),
        1..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

//! What holds inside the text alone: ids, order of steps, cycles, bounds that need more than one step.

use std::collections::BTreeMap;

use super::super::{Diagnostic, near};
use crate::model::pipeline::{
    Definition, Place,
    action::{Action, Until},
    step::{Consequence, Step, Then},
};

pub(super) fn check(definition: &Definition, found: &mut Vec<Diagnostic>) {
    duplicates(definition, found);
    unreachable(&definition.steps, found);
    for step in definition.all_steps() {
        for (_, steps) in step.children() {
            unreachable(steps, found);
        }
        expiry(step, found);
    }
    own_trigger(definition, found);
}

fn duplicates(definition: &Definition, found: &mut Vec<Diagnostic>) {
    let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
    for step in definition.all_steps() {
        if let Some(first) = seen.get(step.id.as_str()) {
            let problem = format!("`{}` is already the id of the step in line {}", step.id, first.line);
            found.push(Diagnostic::new(step.at, "language.duplicate-id", problem, "give this step another id"));
        } else {
            seen.insert(&step.id, step.at);
        }
    }
}

fn unreachable(steps: &[Step], found: &mut Vec<Diagnostic>) {
    let end = steps.iter().position(|step| step.when.is_none() && matches!(step.action, Action::End { .. }));
    if let Some(after) = end.and_then(|end| steps.get(end + 1)) {
        let problem = "the run has ended before this step";
        let instead = "put a `when` on the `end`, or leave out what follows it";
        found.push(Diagnostic::new(after.at, "language.unreachable", problem, instead));
    }
}

/// `as` names one of the signals.
fn expiry(step: &Step, found: &mut Vec<Diagnostic>) {
    let Action::Wait { until, on_expiry: Some(Consequence { then: Then::As { signal }, at }), .. } = &step.action
    else {
        return;
    };
    let names: Vec<&str> = match until {
        Until::Signals(signals) => signals.iter().map(|signal| signal.name.as_str()).collect(),
        Until::Time(_) | Until::Elapsed(_) => Vec::new(),
    };
    if !names.contains(&signal.as_str()) {
        let problem = format!("this wait has no signal `{signal}`");
        let instead = near::advice(signal, names, "`continue`, as there are no signals");
        found.push(Diagnostic::new(*at, "language.unknown-signal", problem, instead));
    }
}

/// A pipeline that emits what starts it would run for ever.
fn own_trigger(definition: &Definition, found: &mut Vec<Diagnostic>) {
    for step in definition.all_steps() {
        let Action::Emit { event_type, .. } = &step.action else { continue };
        let starts = definition.triggers.iter().any(|trigger| trigger.event == *event_type && trigger.filter.is_none());
        if starts {
            let problem = format!("`{event_type}` starts this same pipeline again, without end");
            let instead = "emit another type, or put a `where` on the trigger";
            found.push(Diagnostic::new(step.at, "language.cycle", problem, instead));
        }
    }
}

//! What the language has and this release does not run yet. Accepting such a pipeline in silence would be a lie.

use super::{Diagnostic, diagnostic::sorted};
use crate::model::pipeline::{
    Definition, Order, Origin, Place,
    action::{Action, Mode, Outcomes},
    step::{Consequence, Step, Then},
};

/// Each thing in a pipeline that this release does not run yet, with code `language.not-yet-run`.
#[must_use]
pub fn unsupported(definition: &Definition) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut report = |at: Place, what: &str, instead: &str| {
        let problem = format!("this release reads and checks {what}, but does not run it yet");
        found.push(Diagnostic::new(at, "language.not-yet-run", problem, instead));
    };
    for trigger in &definition.triggers {
        match trigger.origin {
            Origin::Event => {}
            Origin::Poll { .. } => report(trigger.at, "`poll`", "send the event with `POST /v1/events`"),
            Origin::Schedule { .. } => report(trigger.at, "`schedule`", "send the event with `POST /v1/events`"),
        }
    }
    if definition.order != Order::None {
        report(definition.name.at, "`order`", "leave it out, or `order: none`: runs of one key may overlap");
    }
    if !definition.vars.is_empty() {
        report(definition.name.at, "`vars`", "use `config` for what does not change");
    }
    if definition.sla.is_some() {
        report(definition.name.at, "`sla`", "leave it out: nobody is warned yet");
    }
    if let Some(handler) = &definition.on_error {
        report(handler.at, "`on_error`", "leave it out: a run that fails for good is parked with its cause");
    }
    for step in definition.all_steps() {
        in_step(step, &mut report);
    }
    sorted(found)
}

fn in_step(step: &Step, report: &mut impl FnMut(Place, &str, &str)) {
    match &step.action {
        Action::Score { mode: Mode::Off | Mode::Shadow, .. } => {
            report(step.at, "`mode: off` and `mode: shadow`", "use `advise` or `auto`, or leave the step out");
        }
        Action::Transform { .. }
        | Action::Score { .. }
        | Action::Emit { .. }
        | Action::Switch { .. }
        | Action::End { .. } => {}
        Action::Rule { outcomes, .. } => in_outcomes(outcomes, report),
        Action::Call { confirm, .. } => {
            if let Some(confirm) = confirm {
                report(confirm.at, "`confirm`", "leave it out, or read back with a `call` and a `rule` after it");
            }
        }
        Action::Parallel { .. } => report(step.at, "`parallel`", "do one after the other"),
        Action::Undo { .. }
        | Action::Set { .. }
        | Action::For { .. }
        | Action::Loop { .. }
        | Action::Wait { .. }
        | Action::Approve(_)
        | Action::Run { .. } => {
            report(step.at, &format!("`{}`", step.action.keyword()), "leave the step out for now");
        }
    }
    if let Some(compensation) = &step.compensate {
        report(
            compensation.at,
            "`compensate`",
            "leave it out: a run that fails for good is parked with its effects in place",
        );
    }
    if step.point_of_no_return {
        report(step.at, "`point_of_no_return`", "leave it out: nothing is undone yet");
    }
    if step.within_ms.is_some() {
        report(step.at, "`within` of a step", "bound each attempt with `timeout`, and their number with `retry`");
    }
    if step.fallback.is_some() {
        report(step.at, "`fallback`", "leave it out: a step that fails for good parks the run");
    }
    if let Some(consequence) = &step.on_error {
        report(consequence.at, "`on_error`", "leave it out: a step that fails for good parks the run");
    }
}

/// Branches run, and every way to go on but those that need people or stand in for an output.
fn in_outcomes(outcomes: &Outcomes, report: &mut impl FnMut(Place, &str, &str)) {
    for (name, Consequence { then, at }) in outcomes.consequences() {
        match then {
            Then::Continue | Then::Reject | Then::DeadLetter { .. } | Then::End { .. } | Then::Steps { .. } => {}
            Then::Approve(_) => {
                report(*at, &format!("an approval after `{name}`"), "`hold: dead_letter` parks the run for people");
            }
            Then::Use { .. } | Then::As { .. } => {
                report(*at, &format!("this way to go on after `{name}`"), "leave it out")
            }
        }
    }
}

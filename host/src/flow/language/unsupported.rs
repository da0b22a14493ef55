//! What the language has and this release does not run yet. Accepting such a pipeline in silence would be a lie.

use super::{Diagnostic, diagnostic::sorted};
use crate::model::pipeline::{
    Definition, Place,
    action::{Action, Over},
};

/// Each thing in a pipeline that this release does not run yet, with code `language.not-yet-run`.
#[must_use]
pub fn unsupported(definition: &Definition) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut report = |at: Place, what: &str, instead: &str| {
        let problem = format!("this release reads and checks {what}, but does not run it yet");
        found.push(Diagnostic::new(at, "language.not-yet-run", problem, instead));
    };
    if definition.lane.is_some() {
        report(definition.name.at, "`lane`", "leave it out: every run has the same priority");
    }
    if definition.sla.is_some() {
        report(definition.name.at, "`sla`", "leave it out: nobody is warned yet");
    }
    for step in definition.all_steps() {
        if let Action::For { over: Over::Pages { .. }, .. } = &step.action {
            report(step.at, "`for` over `pages`", "read the pages in a connector, or give the list with `each`");
        }
    }
    sorted(found)
}

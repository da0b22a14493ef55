//! A pipeline as a picture: a tree for the terminal that reads like the text, and Mermaid for pages.

mod draw;
mod mermaid;

use serde::Serialize;

use crate::model::pipeline::{
    Definition, Origin,
    action::{Action, Over, Until},
    step::{Consequence, Step, Then},
};

/// A drawn pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// `name version`.
    pub title: String,
    /// One line for each trigger.
    pub triggers: Vec<String>,
    /// The steps, in order.
    pub nodes: Vec<Node>,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// The step's id.
    pub id: String,
    /// What it does, in a few words: `call erp#create_order`.
    pub label: String,
    /// What else is said about it: conditions, retries, how it is undone.
    pub notes: Vec<String>,
    /// Its branches.
    pub branches: Vec<Branch>,
}

/// A branch of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Branch {
    /// When it is taken: a route's name, a case's condition; empty for the body of a loop.
    pub label: String,
    /// Its steps, in order.
    pub nodes: Vec<Node>,
}

/// Draws a pipeline.
#[must_use]
pub fn graph(definition: &Definition) -> Graph {
    let triggers = definition.triggers.iter().map(|trigger| {
        let origin = match &trigger.origin {
            Origin::Event => String::new(),
            Origin::Poll { connection, every_ms } => {
                format!(" from {}, polled every {}", connection.value, span(*every_ms))
            }
            Origin::Schedule { cron, .. } => format!(" at {cron}"),
        };
        let filter = trigger.filter.as_ref().map(|filter| format!(" where {}", filter.source)).unwrap_or_default();
        format!("{}{origin}{filter}", trigger.event)
    });
    let mut nodes = list(&definition.steps);
    if let Some(handler) = &definition.on_error {
        let notes = if handler.compensate_all { vec!["compensates all".to_owned()] } else { Vec::new() };
        let branches = vec![Branch { label: String::new(), nodes: list(&handler.steps) }];
        nodes.push(Node { id: "on_error".to_owned(), label: "if a step fails for good".to_owned(), notes, branches });
    }
    Graph { title: format!("{} {}", definition.name.value, definition.version), triggers: triggers.collect(), nodes }
}

impl Graph {
    /// A tree of box-drawing characters.
    #[must_use]
    pub fn text(&self) -> String {
        draw::text(self)
    }

    /// A Mermaid flowchart.
    #[must_use]
    pub fn mermaid(&self) -> String {
        mermaid::flowchart(self)
    }
}

fn list(steps: &[Step]) -> Vec<Node> {
    steps.iter().map(node).collect()
}

fn node(step: &Step) -> Node {
    let branches =
        step.children().into_iter().map(|(name, steps)| Branch { label: branch(step, name), nodes: list(steps) });
    Node { id: step.id.clone(), label: label(&step.action), notes: notes(step), branches: branches.collect() }
}

fn branch(step: &Step, name: &str) -> String {
    match &step.action {
        Action::Switch { cases, .. } => {
            let case = cases.iter().find(|case| case.name == name);
            case.map_or_else(|| name.to_owned(), |case| format!("when {}", case.when.source))
        }
        _ => name.to_owned(),
    }
}

fn label(action: &Action) -> String {
    let what = match action {
        Action::Transform { plugin, .. } | Action::Rule { plugin, .. } | Action::Score { plugin, .. } => {
            format!("{}@{}", plugin.id, plugin.range)
        }
        Action::Call { connection, operation, .. } | Action::Assess { connection, operation, .. } => {
            format!("{}#{}", connection.value, operation.value)
        }
        Action::For { over: Over::Each(list), at_once, .. } => format!("each {}, {at_once} at once", list.source),
        Action::For { over: Over::Pages { connection, operation, .. }, at_once, .. } => {
            format!("pages of {}#{}, {at_once} at once", connection.value, operation.value)
        }
        Action::Loop { until, .. } => format!("until {}", until.source),
        Action::Wait { until: Until::Signals(signals), .. } => {
            signals.iter().map(|signal| signal.event.as_str()).collect::<Vec<_>>().join(" or ")
        }
        Action::Wait { until: Until::Time(time), .. } => format!("until {}", time.source),
        Action::Wait { until: Until::Elapsed(ms), .. } => span(*ms),
        Action::Approve(approval) => approval.group.clone(),
        Action::Emit { event_type, .. } => event_type.clone(),
        Action::Run { pipeline, range, .. } => format!("{}@{range}", pipeline.value),
        Action::Undo { steps, .. } => steps.iter().map(|step| step.value.as_str()).collect::<Vec<_>>().join(", "),
        Action::Set { values } => values.iter().map(|(name, _)| name.value.as_str()).collect::<Vec<_>>().join(", "),
        Action::End { reason } => reason.clone(),
        Action::Switch { .. } | Action::Parallel { .. } => String::new(),
    };
    format!("{} {what}", action.keyword()).trim_end().to_owned()
}

fn notes(step: &Step) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(step.when.as_ref().map(|when| format!("when {}", when.source)));
    match &step.action {
        Action::Rule { outcomes, .. } => {
            notes.extend(
                outcomes.consequences().filter_map(|(name, one)| Some(format!("{name}: {}", consequence(one)?))),
            );
        }
        Action::Call { confirm: Some(confirm), .. } => notes.push(format!("confirmed by {}", confirm.operation.value)),
        Action::Wait { within_ms, on_expiry, .. } => {
            notes.extend(within_ms.map(|within| format!("within {}", span(within))));
            notes.extend(on_expiry.as_ref().and_then(consequence).map(|then| format!("else {then}")));
        }
        Action::Approve(approval) => notes.push(format!("within {}", span(approval.within_ms))),
        Action::For { reduce: Some(plugin), .. } => notes.push(format!("folded by {}@{}", plugin.id, plugin.range)),
        Action::Loop { on_exhausted: Some(one), .. } => {
            notes.extend(consequence(one).map(|then| format!("if exhausted, {then}")));
        }
        Action::Run { detach: true, .. } => notes.push("on its own".to_owned()),
        _ => {}
    }
    notes.extend(step.retry.as_ref().map(|retry| format!("up to {} attempts", retry.attempts)));
    notes.extend(step.within_ms.map(|within| format!("within {}", span(within))));
    notes.extend(step.compensate.as_ref().map(|undo| format!("undone by {}", undo.operation)));
    notes.extend(step.fallback.as_ref().map(|_| "with a fallback".to_owned()));
    notes.extend(step.on_error.as_ref().and_then(consequence).map(|then| format!("on error, {then}")));
    if step.point_of_no_return {
        notes.push("no way back".to_owned());
    }
    notes
}

/// A consequence in a few words; none for steps, which are drawn.
fn consequence(consequence: &Consequence) -> Option<String> {
    Some(match &consequence.then {
        Then::Continue => "go on".to_owned(),
        Then::Reject => "reject".to_owned(),
        Then::DeadLetter { .. } => "park for people".to_owned(),
        Then::End { reason } => format!("end, {reason}"),
        Then::Use { .. } => "use what is given".to_owned(),
        Then::As { signal } => format!("as {signal}"),
        Then::Approve(approval) => format!("ask {} within {}", approval.group, span(approval.within_ms)),
        Then::Steps { .. } => return None,
    })
}

/// Milliseconds as the language writes them.
fn span(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = units.into_iter().find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{ms}ms"), |(unit, name)| format!("{}{name}", ms / unit))
}

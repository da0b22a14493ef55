//! Reading a step: its kind, its id and what every kind may have.

use std::collections::BTreeMap;

use super::{
    super::{
        near,
        yaml::{Node, Value},
    },
    action, control,
    fields::{Fields, Reader},
};
use crate::model::{
    failure::FailureKind,
    id::PluginId,
    pipeline::{
        TableRef,
        action::{Action, Fallback},
        step::{Compensation, Consequence, Retry, Step, Then},
        template::Template,
    },
};

/// The kinds of step, by the field that makes them.
pub(in crate::flow::language) const KINDS: [&str; 15] = [
    "transform",
    "rule",
    "score",
    "call",
    "switch",
    "parallel",
    "for",
    "loop",
    "wait",
    "approve",
    "emit",
    "run",
    "undo",
    "set",
    "end",
];
/// Most attempts of one step.
const ATTEMPTS_MAX: u32 = 100;
/// Longest delay between attempts: a day.
const DELAY_MS_MAX: u64 = 86_400_000;

/// A list of steps. `prefix` begins the ids that are made for steps without one.
pub(super) fn steps(reader: &mut Reader, node: &Node, prefix: &str) -> Vec<Step> {
    let items = reader.list(node, "steps").unwrap_or_default();
    items.iter().enumerate().filter_map(|(index, item)| step(reader, item, prefix, index + 1)).collect()
}

/// A branch: a list of steps, or one step as it stands.
pub(super) fn branch(reader: &mut Reader, node: &Node, prefix: &str) -> Vec<Step> {
    match &node.value {
        Value::Map(_) => step(reader, node, prefix, 1).into_iter().collect(),
        _ => steps(reader, node, prefix),
    }
}

fn step(reader: &mut Reader, node: &Node, prefix: &str, position: usize) -> Option<Step> {
    let mut fields = reader.fields(node, "a step")?;
    let id_node = fields.take("id");
    let kind = kind(reader, &fields, node)?;
    let written = id_node.and_then(|node| {
        let id = reader.text(node)?;
        reader.identifier(&id, node.at, "a step's id");
        Some(id)
    });
    let named = written.is_some();
    let id = written.unwrap_or_else(|| format!("{prefix}{kind}-{position}"));
    let when = fields.take("when").and_then(|node| reader.expression(node));
    let on_error =
        fields.take("on_error").and_then(|node| consequence(reader, node, &ON_ERROR, &format!("{id}-on-error-")));
    let mut step = Step {
        id,
        named,
        when,
        timeout_ms: None,
        within_ms: None,
        retry: None,
        tables: BTreeMap::new(),
        compensate: None,
        fallback: None,
        on_error,
        point_of_no_return: false,
        action: Action::End { reason: String::new() },
        at: node.at,
    };
    if matches!(kind, "transform" | "rule" | "score" | "call") {
        attempts(reader, &mut fields, &mut step);
        step.tables = fields.take("tables").map(|node| tables(reader, node)).unwrap_or_default();
    }
    if kind == "for" && goes_over_pages(node) {
        step.timeout_ms = fields.take("timeout").and_then(|node| reader.duration(node));
        step.retry = fields.take("retry").and_then(|node| retry(reader, node));
    }
    if matches!(kind, "call" | "run") {
        let plain = kind == "run";
        step.compensate = fields.take("compensate").and_then(|node| compensation(reader, node, plain));
    }
    if matches!(kind, "call" | "emit" | "run") {
        let flag = fields.take("point_of_no_return").and_then(|node| reader.flag(node));
        step.point_of_no_return = flag.unwrap_or(false);
    }
    let action = match kind {
        "switch" | "parallel" | "for" | "loop" | "wait" | "approve" => {
            control::read(reader, &mut fields, kind, &step.id)
        }
        _ => action::read(reader, &mut fields, kind, &step.id),
    };
    fields.finish(reader);
    step.action = action?;
    Some(step)
}

fn tables(reader: &mut Reader, node: &Node) -> BTreeMap<String, TableRef> {
    let mut tables = BTreeMap::new();
    let entries = reader.entries(node, "names and the reference tables that they stand for").unwrap_or_default();
    for (key, node) in entries {
        reader.identifier(&key.text, key.at, "a name in `tables`");
        let Some((name, range)) = reader.name_range(node) else { continue };
        if name.parse::<PluginId>().is_err() {
            let problem = format!("`{name}` is not a table's name");
            let instead = "`namespace/name`, of a-z, 0-9 and `-`, such as `retail/prices@^1`";
            reader.report(node.at, "language.name", problem, instead);
            continue;
        }
        tables.insert(key.text.clone(), TableRef { name, range, at: node.at });
    }
    tables
}

fn kind(reader: &mut Reader, fields: &Fields, node: &Node) -> Option<&'static str> {
    let mut kinds: Vec<&'static str> = KINDS.into_iter().filter(|kind| fields.has(kind)).collect();
    if kinds == ["undo", "set"] {
        kinds.pop();
    }
    match kinds.as_slice() {
        [kind] => Some(kind),
        [] => {
            let written = match &node.value {
                Value::Map(entries) => {
                    entries.iter().find_map(|(key, _)| near::nearest(&key.text, KINDS).map(|near| (key.clone(), near)))
                }
                _ => None,
            };
            match written {
                Some((key, near)) => {
                    let problem = format!("`{}` is not a kind of step", key.text);
                    reader.report(key.at, "language.unknown-kind", problem, format!("did you mean `{near}`?"));
                }
                None => {
                    let instead =
                        format!("give it one of {}", near::list(KINDS).replace(", …", ", `undo`, `set`, `end`"));
                    reader.report(node.at, "language.unknown-kind", "this step does nothing", instead);
                }
            }
            None
        }
        [first, rest @ ..] => {
            let problem = format!("a step is a `{first}` or a {}, not both", near::list(rest.iter().copied()));
            reader.report(node.at, "language.conflict", problem, "make a step of each");
            None
        }
    }
}

/// Whether a `for` calls something itself, so that an attempt has a bound and may be made again.
fn goes_over_pages(step: &Node) -> bool {
    fn inside<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
        let Value::Map(entries) = &node.value else { return None };
        entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }
    inside(step, "for").and_then(|node| inside(node, "pages")).is_some()
}

fn attempts(reader: &mut Reader, fields: &mut Fields, step: &mut Step) {
    let timeout = fields.take("timeout");
    step.timeout_ms = timeout.and_then(|node| reader.duration(node));
    step.within_ms = fields.take("within").and_then(|node| reader.duration(node));
    step.retry = fields.take("retry").and_then(|node| retry(reader, node));
    step.fallback = fields.take("fallback").and_then(|node| fallback(reader, node));
    if let (Some(node), Some(timeout), Some(within)) = (timeout, step.timeout_ms, step.within_ms)
        && timeout > within
    {
        let problem = "one attempt may take longer than the whole step";
        reader.report(
            node.at,
            "language.bounds",
            problem,
            "`timeout` is per attempt, `within` for the step: make `within` the longer",
        );
    }
}

fn retry(reader: &mut Reader, node: &Node) -> Option<Retry> {
    let mut fields = reader.fields(node, "a retry")?;
    let on = fields.require(reader, "on").map(|node| match &node.value {
        Value::List(items) => items.iter().filter_map(|item| class(reader, item)).collect(),
        _ => class(reader, node).into_iter().collect::<Vec<_>>(),
    });
    let attempts = fields.require(reader, "attempts").and_then(|node| reader.count(node, 2, ATTEMPTS_MAX));
    let first = fields.require(reader, "first").and_then(|node| delay(reader, node));
    let factor = fields.take("factor").map_or(Some(2.0), |node| reader.factor(node, 1.0, 10.0));
    let max_node = fields.require(reader, "max");
    let max = max_node.and_then(|node| delay(reader, node));
    fields.finish(reader);
    if let (Some(node), Some(first), Some(max)) = (max_node, first, max)
        && first > max
    {
        reader.report(
            node.at,
            "language.bounds",
            "the first delay is longer than the longest",
            "make `max` at least `first`",
        );
    }
    Some(Retry { on: on?, attempts: attempts?, first_ms: first?, factor: factor?, max_ms: max?, at: node.at })
}

fn class(reader: &mut Reader, node: &Node) -> Option<FailureKind> {
    let hopeless = ["invalid-input", "denied", "permanent"];
    if let Value::Scalar(scalar) = &node.value
        && hopeless.contains(&scalar.text.as_str())
    {
        let problem = format!("a `{}` failure comes again however often it is tried", scalar.text);
        reader.report(
            node.at,
            "language.retry-class",
            problem,
            "`retryable` or `uncertain`; for the rest, `fallback` or `on_error`",
        );
        return None;
    }
    reader.one_of(node, &[("retryable", FailureKind::Retryable), ("uncertain", FailureKind::Uncertain)])
}

fn delay(reader: &mut Reader, node: &Node) -> Option<u64> {
    let delay = reader.duration(node)?;
    if delay > DELAY_MS_MAX {
        reader.report(node.at, "language.bounds", "a delay between attempts is at most a day", "`1d` or less");
        return None;
    }
    Some(delay)
}

fn compensation(reader: &mut Reader, node: &Node, whole: bool) -> Option<Compensation> {
    let mut fields = reader.fields(node, "a compensation")?;
    let call = fields.require(reader, "call").and_then(|node| {
        let text = reader.text(node)?;
        if whole || text.contains('#') {
            let (connection, operation) = reader.operation(node)?;
            return Some((Some(connection.value), operation.value));
        }
        Some((None, text))
    });
    let with = fields.require(reader, "with").and_then(|node| reader.template(node));
    fields.finish(reader);
    let (connection, operation) = call?;
    Some(Compensation { connection, operation, with: with?, at: node.at })
}

fn fallback(reader: &mut Reader, node: &Node) -> Option<Fallback> {
    let mut fields = reader.fields(node, "a fallback")?;
    let value = fields.take("value");
    let rule = fields.take("rule");
    let transform = fields.take("transform");
    let mut plugin = |reader: &mut Reader, node| {
        let plugin = reader.plugin(node);
        let with = fields.require(reader, "with").and_then(|node| reader.template(node));
        plugin.zip(with)
    };
    let fallback = match (value, rule, transform) {
        (Some(value), None, None) => reader.template(value).map(Fallback::Value),
        (None, Some(rule), None) => plugin(reader, rule).map(|(plugin, with)| Fallback::Rule { plugin, with }),
        (None, None, Some(node)) => plugin(reader, node).map(|(plugin, with)| Fallback::Transform { plugin, with }),
        _ => {
            let problem = "a fallback is one of `value`, `rule` and `transform`";
            reader.report(node.at, "language.conflict", problem, "keep one, such as `fallback: { value: [] }`");
            None
        }
    };
    fields.finish(reader);
    fallback
}

/// The ways to go on, by where they are allowed.
pub(super) type Ways = [&'static str];
/// After a failure for good.
pub(super) const ON_ERROR: [&str; 7] = ["continue", "reject", "dead_letter", "end", "use", "approve", "steps"];
/// After the expiry of a wait.
pub(super) const ON_EXPIRY: [&str; 8] = ["continue", "reject", "dead_letter", "end", "use", "as", "approve", "steps"];

/// How a run goes on: a word, or a map of one word and what it needs.
pub(super) fn consequence(reader: &mut Reader, node: &Node, ways: &Ways, prefix: &str) -> Option<Consequence> {
    let (word, value) = match &node.value {
        Value::Map(entries) => match entries.as_slice() {
            [(key, value)] => (key.text.as_str(), Some(value)),
            _ => {
                reader.expected(node, &format!("one way to go on: one of {}", near::list(ways.iter().copied())));
                return None;
            }
        },
        Value::Scalar(scalar) => (scalar.text.as_str(), None),
        Value::List(_) => {
            reader.expected(node, "one way to go on; a list of steps stands under `steps`");
            return None;
        }
    };
    if !ways.contains(&word) {
        let problem = format!("`{word}` is not a way to go on here");
        reader.report(node.at, "language.word", problem, near::advice(word, ways.iter().copied(), "leave it out"));
        return None;
    }
    let then = match (word, value) {
        ("continue", None) => Then::Continue,
        ("reject", None) => Then::Reject,
        ("dead_letter", None) => Then::DeadLetter { reason: None },
        ("dead_letter", Some(node)) => Then::DeadLetter { reason: Some(reader.text(node)?) },
        ("end", Some(node)) => Then::End { reason: reader.text(node)? },
        ("use", Some(node)) => Then::Use { output: reader.template(node)? },
        ("as", Some(node)) => Then::As { signal: reader.text(node)? },
        ("approve", Some(node)) => Then::Approve(Box::new(control::approval(reader, node)?)),
        ("steps", Some(node)) => Then::Steps { steps: steps(reader, node, prefix) },
        (_, Some(_)) => {
            reader.report(
                node.at,
                "language.type",
                format!("`{word}` takes nothing"),
                format!("only the word: `{word}`"),
            );
            return None;
        }
        (_, None) => {
            let problem = format!("`{word}` needs more than the word");
            reader.report(node.at, "language.type", problem, format!("a map, such as `{{ {word}: … }}`"));
            return None;
        }
    };
    Some(Consequence { then, at: node.at })
}

/// A map of names and templates.
pub(super) fn assignments(reader: &mut Reader, node: &Node) -> Vec<(crate::model::pipeline::Spot<String>, Template)> {
    let entries = reader.entries(node, "variables and their new values").unwrap_or_default();
    let read = |(key, value): &(super::super::yaml::Key, Node)| {
        let name = crate::model::pipeline::Spot { value: key.text.clone(), at: key.at };
        reader.template(value).map(|template| (name, template))
    };
    entries.into_iter().filter_map(read).collect()
}

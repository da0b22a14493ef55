//! Reading what a step does: plugins, operations, events, other pipelines.

use super::{
    super::yaml::{Node, Value},
    fields::{Fields, Reader},
    step::{assignments, branch, consequence},
};
use crate::model::{
    id::is_name,
    pipeline::{
        Spot,
        action::{Action, Branch, Confirm, Mode, Outcomes},
        template::Template,
    },
};

pub(super) fn read(reader: &mut Reader, fields: &mut Fields, kind: &'static str, id: &str) -> Option<Action> {
    let main = fields.take(kind)?;
    match kind {
        "transform" => {
            let plugin = reader.plugin(main);
            let with = with(reader, fields);
            Some(Action::Transform { plugin: plugin?, with: with? })
        }
        "rule" => {
            let plugin = reader.plugin(main);
            let with = with(reader, fields);
            let outcomes = fields.take("outcomes").map(|node| outcomes(reader, node, id));
            let outcomes = outcomes.unwrap_or_else(|| Some(Outcomes { at: fields.at, ..Outcomes::default() }));
            Some(Action::Rule { plugin: plugin?, with: with?, outcomes: outcomes? })
        }
        "score" => {
            let called = matches!(main.value, Value::Map(_));
            let plugin = if called { None } else { reader.plugin(main) };
            let operation = if called { called_scorer(reader, main) } else { None };
            let with = with(reader, fields);
            let modes = [("off", Mode::Off), ("shadow", Mode::Shadow), ("advise", Mode::Advise), ("auto", Mode::Auto)];
            let written = fields.take("mode");
            let mode = written.map_or(Some(Mode::default()), |node| reader.one_of(node, &modes));
            if !called {
                return Some(Action::Score { plugin: plugin?, with: with?, mode: mode? });
            }
            if let (Some(node), Some(Mode::Auto)) = (written, mode) {
                let problem = "nothing vouches for the model behind an operation, so it may not decide alone";
                reader.report(node.at, "language.conflict", problem, "`advise`, and let a rule or people decide");
            }
            let (connection, operation) = operation?;
            Some(Action::Assess { connection, operation, with: with?, mode: mode? })
        }
        "call" => {
            let operation = reader.operation(main);
            let with = with(reader, fields);
            let confirm = fields.take("confirm").map(|node| confirm(reader, node));
            let (connection, operation) = operation?;
            Some(Action::Call { connection, operation, with: with?, confirm: flip(confirm)? })
        }
        "emit" => {
            let event_type = reader.event_type(main);
            let subject = fields.take("subject").map(|node| reader.template(node));
            let data = fields.require(reader, "data").and_then(|node| reader.template(node));
            Some(Action::Emit { event_type: event_type?, subject: flip(subject)?, data: data? })
        }
        "run" => run(reader, fields, main),
        "undo" => {
            let steps = reader.texts(main);
            let set = fields.take("set").map(|node| assignments(reader, node)).unwrap_or_default();
            Some(Action::Undo { steps, set })
        }
        "set" => Some(Action::Set { values: assignments(reader, main) }),
        _ => Some(Action::End { reason: reader.text(main)? }),
    }
}

/// The operation that recommends.
fn called_scorer(reader: &mut Reader, node: &Node) -> Option<(Spot<String>, Spot<String>)> {
    let mut fields = reader.fields(node, "a scorer that is called")?;
    let operation = fields.require(reader, "call").and_then(|node| reader.operation(node));
    fields.finish(reader);
    operation
}

/// There, but wrong, is not absent.
pub(super) fn flip<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(Some(value)) => Some(Some(value)),
        Some(None) => None,
    }
}

/// There is no implicit input.
pub(super) fn with(reader: &mut Reader, fields: &mut Fields) -> Option<Template> {
    fields.require(reader, "with").and_then(|node| reader.template(node))
}

fn run(reader: &mut Reader, fields: &mut Fields, main: &Node) -> Option<Action> {
    let target = reader.name_range(main);
    let detach = fields.take("detach").and_then(|node| reader.flag(node)).unwrap_or(false);
    let with = with(reader, fields);
    let (name, range) = target?;
    if !name.split_once('/').is_some_and(|(namespace, name)| is_name(namespace) && is_name(name)) {
        let problem = format!("`{name}` is not a pipeline's name");
        reader.report(main.at, "language.name", problem, "`namespace/name`, such as `retail/returns@^1`");
        return None;
    }
    Some(Action::Run { pipeline: Spot { value: name, at: main.at }, range, detach, with: with? })
}

fn outcomes(reader: &mut Reader, node: &Node, id: &str) -> Option<Outcomes> {
    let mut fields = reader.fields(node, "`outcomes`")?;
    let mut read = |reader: &mut Reader, name, ways: &[&'static str]| {
        flip(fields.take(name).map(|node| consequence(reader, node, ways, &format!("{id}-{name}-"))))
    };
    let proceed = read(reader, "proceed", &["continue", "end", "steps"]);
    let hold = read(reader, "hold", &["approve", "dead_letter"]);
    let reject = read(reader, "reject", &["reject", "dead_letter", "end", "steps"]);
    let mut outcomes = Outcomes { at: node.at, ..Outcomes::default() };
    if let Some(node) = fields.take("route") {
        for (key, node) in reader.entries(node, "branches by name").unwrap_or_default() {
            if key.text == "output" {
                outcomes.output = reader.template(node);
            } else {
                let steps = branch(reader, node, &format!("{id}-{}-", key.text));
                outcomes.route.push(Branch { name: key.text.clone(), steps, at: key.at });
            }
        }
    }
    fields.finish(reader);
    Some(Outcomes { proceed: proceed?, hold: hold?, reject: reject?, ..outcomes })
}

fn confirm(reader: &mut Reader, node: &Node) -> Option<Confirm> {
    let mut fields = reader.fields(node, "`confirm`")?;
    let operation = fields.require(reader, "call").and_then(|node| reader.spot(node));
    let with = with(reader, &mut fields);
    let equals = fields.require(reader, "equals").map(|node| {
        let entries = reader.entries(node, "what was read, and what it must be equal to").unwrap_or_default();
        if entries.is_empty() {
            reader.report(
                node.at,
                "language.bounds",
                "nothing is compared",
                "name at least one value that must be equal",
            );
        }
        let read = |(key, value): &(super::super::yaml::Key, Node)| {
            reader.template(value).map(|template| (key.text.clone(), template))
        };
        entries.into_iter().filter_map(read).collect()
    });
    fields.finish(reader);
    Some(Confirm { operation: operation?, with: with?, equals: equals?, at: node.at })
}

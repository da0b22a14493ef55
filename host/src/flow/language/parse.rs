//! Text to [`Definition`]. Finds everything that needs no knowledge beyond the text: shape, spelling, bounds.

mod action;
mod control;
mod fields;
mod scalar;
mod step;
mod template;

use std::collections::BTreeMap;

use super::{
    Diagnostic,
    diagnostic::sorted,
    near,
    yaml::{self, Node, Value},
};
use crate::{
    flow::schedule::{Schedule, ScheduleError},
    model::{
        id::{ContractId, is_name},
        json::Json,
        lane::Lane,
        pipeline::{Definition, OnError, Order, Origin, Sla, Spot, Trigger, template::Template},
    },
};
use fields::Reader;
pub(super) use step::KINDS;

/// Reads a pipeline.
///
/// # Errors
/// Everything that is wrong with the text, in its order. There is at least one.
pub fn parse(text: &str) -> Result<Definition, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let Some(root) = yaml::read(text, &mut found) else { return Err(found) };
    let mut reader = Reader::new(text, found);
    match (definition(&mut reader, &root), reader.found) {
        (Some(definition), found) if found.is_empty() => Ok(definition),
        (_, found) => Err(sorted(found)),
    }
}

fn definition(reader: &mut Reader, root: &Node) -> Option<Definition> {
    let mut fields = reader.fields(root, "a pipeline")?;
    let name = fields.require(reader, "pipeline").and_then(|node| pipeline_name(reader, node));
    let version = fields.require(reader, "version").and_then(|node| reader.version(node));
    let owner = fields.require(reader, "owner").and_then(|node| reader.text(node));
    let summary = fields.require(reader, "summary").and_then(|node| reader.text(node));
    let uses = fields.take("uses").map(|node| uses(reader, node)).unwrap_or_default();
    let triggers = fields.require(reader, "trigger").map(|node| triggers(reader, node)).unwrap_or_default();
    let key = fields.take("key").and_then(|node| reader.expression(node));
    let orders = [("none", Order::None), ("start", Order::Start), ("exclusive", Order::Exclusive)];
    let order = fields.take("order").and_then(|node| reader.one_of(node, &orders)).unwrap_or_default();
    let lane = fields.take("lane").and_then(|node| lane(reader, node));
    let sla = fields.take("sla").and_then(|node| sla(reader, node));
    let erp = fields.take("erp").map(|node| reader.texts(node)).unwrap_or_default();
    let config = fields.take("config").and_then(|node| constants(reader, node)).unwrap_or_default();
    let vars = fields.take("vars").and_then(|node| constants(reader, node)).unwrap_or_default();
    let steps = fields.require(reader, "steps").map(|node| step::steps(reader, node, ""));
    let on_error = fields.take("on_error").and_then(|node| on_error(reader, node));
    fields.finish(reader);
    if order != Order::None && key.is_none() {
        let problem = "`order` says how runs of one key relate, and there is no `key`";
        reader.report(root.at, "language.missing-field", problem, "add `key`, such as `key: event.subject`");
    }
    Some(Definition {
        name: name?,
        version: version?,
        owner: owner?,
        summary: summary?,
        uses,
        triggers,
        key,
        order,
        lane,
        sla,
        erp,
        config: Json::from(serde_json::Value::Object(config)),
        vars: vars.into_iter().map(|(name, value)| (name, Json::from(value))).collect(),
        steps: steps?,
        on_error,
    })
}

fn pipeline_name(reader: &mut Reader, node: &Node) -> Option<Spot<String>> {
    let name = reader.text(node)?;
    if name.split_once('/').is_some_and(|(namespace, name)| is_name(namespace) && is_name(name)) {
        return Some(Spot { value: name, at: node.at });
    }
    let problem = format!("`{name}` is not a pipeline's name");
    reader.report(node.at, "language.name", problem, "`namespace/name`, of a-z, 0-9 and `-`, such as `retail/returns`");
    None
}

/// A lane's name, or what says it. What an expression gives is known only with the event.
fn lane(reader: &mut Reader, node: &Node) -> Option<Template> {
    let template = reader.template(node)?;
    let written = match &template {
        Template::Expression(_) | Template::Text(_) => return Some(template),
        Template::Literal(serde_json::Value::String(text)) => text.clone(),
        Template::Literal(_) | Template::List(_) | Template::Map(_) => String::new(),
    };
    if written.parse::<Lane>().is_err() {
        let instead = near::advice(&written, Lane::ALL.map(Lane::as_str), "");
        reader.report(node.at, "language.lane", format!("`{written}` is not a lane"), instead);
    }
    Some(template)
}

fn uses(reader: &mut Reader, node: &Node) -> BTreeMap<String, Spot<ContractId>> {
    let mut uses = BTreeMap::new();
    for (key, node) in reader.entries(node, "names and the operation contracts that they stand for").unwrap_or_default()
    {
        reader.identifier(&key.text, key.at, "a name in `uses`");
        let Some(text) = reader.text(node) else { continue };
        match text.parse::<ContractId>() {
            Ok(value) => {
                uses.insert(key.text.clone(), Spot { value, at: node.at });
            }
            Err(_) => {
                let problem = format!("`{text}` is not an operation contract");
                let instead = "`namespace/name@major`, such as `retail/erp-orders@1`";
                reader.report(node.at, "language.contract", problem, instead);
            }
        }
    }
    uses
}

fn triggers(reader: &mut Reader, node: &Node) -> Vec<Trigger> {
    let items: Vec<&Node> = reader.list(node, "triggers").map(|items| items.iter().collect()).unwrap_or_default();
    if items.is_empty() && matches!(node.value, Value::List(_)) {
        let problem = "nothing starts this pipeline";
        reader.report(node.at, "language.missing-field", problem, "list what does: `- event: retail.order.placed.v1`");
    }
    items.into_iter().filter_map(|item| trigger(reader, item)).collect()
}

fn trigger(reader: &mut Reader, node: &Node) -> Option<Trigger> {
    let mut fields = reader.fields(node, "a trigger")?;
    let poll = fields.take("poll");
    let schedule = fields.take("schedule");
    let origin = match (poll, schedule) {
        (Some(poll), None) => {
            let every = fields.require(reader, "every").and_then(|node| reader.duration(node));
            let connection = reader.spot(poll);
            connection.zip(every).map(|(connection, every_ms)| Origin::Poll { connection, every_ms })
        }
        (None, Some(schedule)) => {
            let timezone = fields.take("timezone").and_then(|node| reader.text(node));
            cron(reader, schedule, timezone.as_deref()).map(|cron| Origin::Schedule { cron, timezone })
        }
        (None, None) => Some(Origin::Event),
        (Some(_), Some(_)) => {
            let problem = "a trigger is a `poll` or a `schedule`, not both";
            reader.report(node.at, "language.conflict", problem, "make two triggers of it");
            None
        }
    };
    let event = fields.require(reader, "event").and_then(|node| reader.event_type(node));
    let filter = fields.take("where").and_then(|node| reader.expression(node));
    fields.finish(reader);
    Some(Trigger { origin: origin?, event: event?, filter, at: node.at })
}

fn cron(reader: &mut Reader, node: &Node, timezone: Option<&str>) -> Option<String> {
    let text = reader.text(node)?;
    let error = Schedule::parse(&text, timezone).err();
    let instead = match &error {
        None => return Some(text),
        Some(ScheduleError::Cron { .. }) => {
            "five fields: minute, hour, day of month, month, day of week, such as `\"0 3 * * MON\"`"
        }
        Some(ScheduleError::Zone { .. }) => "such as `Europe/Berlin`, or leave `timezone` out for UTC",
        Some(ScheduleError::Never { .. }) => "name a day that there is",
    };
    let problem = error.map(|error| error.to_string()).unwrap_or_default();
    reader.report(node.at, "language.schedule", problem, instead);
    None
}

fn sla(reader: &mut Reader, node: &Node) -> Option<Sla> {
    let mut fields = reader.fields(node, "an SLA")?;
    let finish_within_ms = fields.require(reader, "finish_within").and_then(|node| reader.duration(node));
    let warn_at_percent = fields.take("warn_at").and_then(|node| reader.percent(node));
    fields.finish(reader);
    Some(Sla { finish_within_ms: finish_within_ms?, warn_at_percent })
}

/// A map of constants: no expressions.
fn constants(reader: &mut Reader, node: &Node) -> Option<serde_json::Map<String, serde_json::Value>> {
    let mut constants = serde_json::Map::new();
    for (key, node) in reader.entries(node, "names and values")? {
        reader.identifier(&key.text, key.at, "a name here");
        let template = reader.template(node)?;
        if let Some(expression) = template.expressions().first() {
            let problem = "there are no expressions here, only constants";
            reader.report(
                expression.at,
                "language.constant",
                problem,
                "move the expression to where the value is used",
            );
        }
        constants.insert(key.text.clone(), plain(template));
    }
    Some(constants)
}

fn plain(template: Template) -> serde_json::Value {
    match template {
        Template::Literal(value) => value,
        Template::List(items) => items.into_iter().map(plain).collect(),
        Template::Map(entries) => entries.into_iter().map(|(key, value)| (key, plain(value))).collect(),
        Template::Expression(_) | Template::Text(_) => serde_json::Value::Null,
    }
}

fn on_error(reader: &mut Reader, node: &Node) -> Option<OnError> {
    let mut fields = reader.fields(node, "`on_error` of a pipeline")?;
    let ways = [("all", true), ("none", false)];
    let compensate_all = fields.take("compensate").and_then(|node| reader.one_of(node, &ways)).unwrap_or(false);
    let steps = fields.take("steps").map(|node| step::steps(reader, node, "on-error-")).unwrap_or_default();
    fields.finish(reader);
    Some(OnError { compensate_all, steps, at: node.at })
}

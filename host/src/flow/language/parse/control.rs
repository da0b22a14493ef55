//! Reading what a step does: branches, repetition, waiting, people.

use super::{
    super::yaml::{Node, Value},
    action::{flip, with},
    fields::{Fields, Reader},
    step::{ON_EXPIRY, branch, consequence, steps},
};
use crate::model::pipeline::{
    action::{Action, Approval, Branch, Case, Escalation, Join, Over, Signal, Until},
    template::Template,
};

/// Most things of a `for` at a time.
const AT_ONCE_MAX: u32 = 256;

pub(super) fn read(reader: &mut Reader, fields: &mut Fields, kind: &'static str, id: &str) -> Option<Action> {
    let main = fields.take(kind)?;
    match kind {
        "switch" => switch(reader, fields, main, id),
        "parallel" => parallel(reader, main, id),
        "for" => each(reader, main, id),
        "loop" => repeat(reader, main, id),
        "wait" => wait(reader, main, id),
        _ => approval(reader, main).map(|approval| Action::Approve(Box::new(approval))),
    }
}

fn switch(reader: &mut Reader, fields: &mut Fields, main: &Node, id: &str) -> Option<Action> {
    let items = reader.list(main, "cases: `- when: …` with `steps: […]`").unwrap_or_default();
    if items.is_empty() && matches!(main.value, Value::List(_)) {
        let problem = "this switch has no cases";
        reader.report(main.at, "language.missing-field", problem, "write `- when: …` with `steps: […]`");
    }
    let cases: Vec<_> = items.iter().enumerate().map(|(index, item)| case(reader, item, index + 1, id)).collect();
    let otherwise = fields.take("otherwise").map(|node| branch(reader, node, &format!("{id}-otherwise-")));
    let output = fields.take("output").map(|node| reader.template(node));
    Some(Action::Switch { cases: cases.into_iter().collect::<Option<_>>()?, otherwise, output: flip(output)? })
}

fn case(reader: &mut Reader, node: &Node, number: usize, id: &str) -> Option<Case> {
    let mut fields = reader.fields(node, "a case")?;
    let when = fields.require(reader, "when").and_then(|node| reader.expression(node));
    let steps = fields.require(reader, "steps").map(|node| branch(reader, node, &format!("{id}-{number}-")));
    fields.finish(reader);
    Some(Case { name: number.to_string(), when: when?, steps: steps?, at: node.at })
}

fn parallel(reader: &mut Reader, main: &Node, id: &str) -> Option<Action> {
    let mut fields = reader.fields(main, "`parallel`")?;
    let joins = [("all", Join::All), ("any", Join::Any)];
    let join = fields.take("join").map_or(Some(Join::default()), |node| reader.one_of(node, &joins));
    let within = fields.take("within").map(|node| reader.duration(node));
    let branches = fields.require(reader, "branches").map(|node| {
        let entries = reader.entries(node, "branches by name").unwrap_or_default();
        let mut branches = Vec::new();
        for (key, node) in entries {
            reader.identifier(&key.text, key.at, "a branch's name");
            let steps = branch(reader, node, &format!("{id}-{}-", key.text));
            branches.push(Branch { name: key.text.clone(), steps, at: key.at });
        }
        if branches.len() < 2 {
            reader.report(
                node.at,
                "language.bounds",
                "there is nothing to do in parallel",
                "write at least two branches",
            );
        }
        branches
    });
    fields.finish(reader);
    Some(Action::Parallel { join: join?, within_ms: flip(within)?, branches: branches? })
}

fn each(reader: &mut Reader, main: &Node, id: &str) -> Option<Action> {
    let mut fields = reader.fields(main, "`for`")?;
    let over = match (fields.take("each"), fields.take("pages")) {
        (Some(node), None) => reader.expression(node).map(Over::Each),
        (None, Some(node)) => {
            let operation = reader.operation(node);
            let with = with(reader, &mut fields);
            operation.zip(with).map(|((connection, operation), with)| Over::Pages { connection, operation, with })
        }
        _ => {
            let problem = "a `for` goes over `each` of a list or the `pages` of an operation";
            reader.report(
                main.at,
                "language.missing-field",
                problem,
                "write one of the two, such as `each: steps.order.lines`",
            );
            None
        }
    };
    let at_once = fields.take("at_once").map_or(Some(1), |node| reader.count(node, 1, AT_ONCE_MAX));
    let steps = fields.require(reader, "steps").map(|node| steps(reader, node, &format!("{id}-")));
    let output = fields.take("output").map(|node| reader.template(node));
    let reduce_node = fields.take("reduce");
    let reduce = reduce_node.map(|node| reader.plugin(node));
    fields.finish(reader);
    if let Some(node) = reduce_node.filter(|_| output.is_none()) {
        let problem = "there is no `output` to fold";
        reader.report(node.at, "language.missing-field", problem, "add `output`: what leaves each time");
    }
    Some(Action::For { over: over?, at_once: at_once?, steps: steps?, output: flip(output)?, reduce: flip(reduce)? })
}

fn repeat(reader: &mut Reader, main: &Node, id: &str) -> Option<Action> {
    let mut fields = reader.fields(main, "`loop`")?;
    let max = fields.require(reader, "max").and_then(|node| {
        let max = reader.template(node)?;
        match &max {
            Template::Literal(value) if !value.as_u64().is_some_and(|max| (1..=1_000).contains(&max)) => {
                reader.report(node.at, "language.bounds", "this is out of bounds", "a whole number from 1 to 1000");
                None
            }
            _ => Some(max),
        }
    });
    let until = fields.require(reader, "until").and_then(|node| reader.expression(node));
    let steps = fields.require(reader, "steps").map(|node| steps(reader, node, &format!("{id}-")));
    let output = fields.take("output").map(|node| reader.template(node));
    let ways = ["continue", "reject", "dead_letter", "end", "use", "steps"];
    let prefix = format!("{id}-on-exhausted-");
    let on_exhausted = fields.take("on_exhausted").map(|node| consequence(reader, node, &ways, &prefix));
    fields.finish(reader);
    Some(Action::Loop {
        max: max?,
        until: until?,
        steps: steps?,
        output: flip(output)?,
        on_exhausted: flip(on_exhausted)?,
    })
}

fn wait(reader: &mut Reader, main: &Node, id: &str) -> Option<Action> {
    let mut fields = reader.fields(main, "`wait`")?;
    let kinds: Vec<&str> = ["event", "first_of", "until", "for"].into_iter().filter(|name| fields.has(name)).collect();
    let until = match kinds.as_slice() {
        ["event"] => signal(reader, &mut fields, "signal").map(|signal| Until::Signals(vec![signal])),
        ["first_of"] => fields.take("first_of").map(|node| Until::Signals(first_of(reader, node))),
        ["until"] => fields.take("until").and_then(|node| reader.expression(node)).map(Until::Time),
        ["for"] => fields.take("for").and_then(|node| reader.duration(node)).map(Until::Elapsed),
        _ => {
            let problem = "a `wait` is for one of `event`, `first_of`, `until` (a time) and `for` (a duration)";
            reader.report(
                main.at,
                "language.conflict",
                problem,
                "write one, such as `event: wms.pick.shipped.v1` with `match`",
            );
            None
        }
    };
    let within = fields.take("within").map(|node| reader.duration(node));
    let prefix = format!("{id}-on-expiry-");
    let on_expiry = fields.take("on_expiry").map(|node| consequence(reader, node, &ON_EXPIRY, &prefix));
    if within.is_none() && kinds != ["for"] {
        let problem = "this wait has no bound, and could hang for ever";
        reader.report(
            main.at,
            "language.wait-without-bound",
            problem,
            "add `within`, such as `within: 2d`, and `on_expiry`",
        );
    }
    fields.finish(reader);
    Some(Action::Wait { until: until?, within_ms: flip(within)?, on_expiry: flip(on_expiry)? })
}

fn first_of(reader: &mut Reader, node: &Node) -> Vec<Signal> {
    let mut signals = Vec::new();
    for (key, node) in reader.entries(node, "signals by name").unwrap_or_default() {
        reader.identifier(&key.text, key.at, "a signal's name");
        let Some(mut fields) = reader.fields(node, "a signal") else { continue };
        signals.extend(signal(reader, &mut fields, &key.text));
        fields.finish(reader);
    }
    signals
}

fn signal(reader: &mut Reader, fields: &mut Fields, name: &str) -> Option<Signal> {
    let at = fields.at;
    let event = fields.require(reader, "event").and_then(|node| reader.event_type(node));
    let matches = fields.require(reader, "match").and_then(|node| reader.expression(node));
    Some(Signal { name: name.to_owned(), event: event?, matches: matches?, at })
}

/// A question to people.
pub(super) fn approval(reader: &mut Reader, node: &Node) -> Option<Approval> {
    let mut fields = reader.fields(node, "an approval")?;
    let group = fields.require(reader, "group").and_then(|node| reader.text(node));
    let quorum = fields.take("quorum").map(|node| reader.template(node));
    let mut texts = |reader: &mut Reader, name| {
        let texts = fields.take(name).map(|node| reader.texts(node)).unwrap_or_default();
        texts.into_iter().map(|text| text.value).collect::<Vec<_>>()
    };
    let (not, show) = (texts(reader, "not"), texts(reader, "show"));
    let remind = fields.take("remind").map(|node| {
        let items = reader.list(node, "durations").unwrap_or_default();
        items.iter().filter_map(|item| Some((item.at, reader.duration(item)?))).collect::<Vec<_>>()
    });
    let escalate_node = fields.take("escalate");
    let escalate = escalate_node.map(|node| escalation(reader, node));
    let within = fields.require(reader, "within").and_then(|node| reader.duration(node));
    let ways = ["reject", "dead_letter", "end", "use"];
    let on_expiry = fields.require(reader, "on_expiry").and_then(|node| consequence(reader, node, &ways, ""));
    fields.finish(reader);
    let escalated =
        escalate.as_ref().and_then(Option::as_ref).zip(escalate_node).map(|(one, node)| (node.at, one.after_ms));
    for (at, after) in remind.iter().flatten().copied().chain(escalated) {
        if within.is_some_and(|within| after >= within) {
            let problem = "this comes only after the approval has expired";
            reader.report(at, "language.bounds", problem, "make it shorter than `within`");
        }
    }
    Some(Approval {
        group: group?,
        quorum: flip(quorum)?,
        not,
        show,
        remind_ms: remind.unwrap_or_default().into_iter().map(|(_, remind)| remind).collect(),
        escalate: flip(escalate)?,
        within_ms: within?,
        on_expiry: on_expiry?,
        at: node.at,
    })
}

fn escalation(reader: &mut Reader, node: &Node) -> Option<Escalation> {
    let mut fields = reader.fields(node, "an escalation")?;
    let to = fields.require(reader, "to").and_then(|node| reader.text(node));
    let after = fields.require(reader, "after").and_then(|node| reader.duration(node));
    fields.finish(reader);
    Some(Escalation { to: to?, after_ms: after? })
}

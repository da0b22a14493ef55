//! What differs between two texts of a pipeline, step by step, in the words in which they are written. Layout, comments
//! and the order of fields are no difference. Pure.
//!
//! Steps are matched by their id, wherever they stand. One without an id is matched with one of the same content, then
//! with one of the same kind in the same list.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::{
    Diagnostic,
    parse::KINDS,
    yaml::{self, Node, Scalar, Value},
};
use crate::model::difference::{Fate, FieldChange, PipelineDifference, StepChange, compare};

/// Fields that hold documents, in which a list of maps is no list of steps.
const DOCUMENTS: [&str; 8] = ["with", "data", "output", "config", "vars", "use", "confirm", "compensate"];
/// What stands in a step for the steps inside it.
const INSIDE: &str = "(steps)";
/// The field that stands for where a step stands.
const PLACE: &str = "(place)";

/// A step, taken out of the tree.
#[derive(Clone, Debug, PartialEq)]
struct Found {
    /// Its id, if it is written.
    id: Option<String>,
    kind: &'static str,
    /// The list that it stands in, such as `pick.otherwise`.
    place: String,
    /// Its fields; [`INSIDE`] stands for the steps inside.
    fields: Json,
}

impl Found {
    fn title(&self) -> String {
        match &self.id {
            Some(id) => id.clone(),
            None => format!("{} in {}", self.kind, self.place),
        }
    }
}

/// What differs between two texts.
///
/// # Errors
/// If one of them cannot be read as YAML.
pub fn difference(before: &str, after: &str) -> Result<PipelineDifference, Vec<Diagnostic>> {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    let before = tree(before, &mut old)?;
    let after = tree(after, &mut new)?;
    let mut fields = Vec::new();
    compare("", Some(&before), Some(&after), &mut fields);
    Ok(PipelineDifference { fields, steps: steps(&old, &new) })
}

/// A text as a tree without its steps, which are appended.
fn tree(text: &str, steps: &mut Vec<Found>) -> Result<Json, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let root = yaml::read(text, &mut found).ok_or(found)?;
    let mut tree = value(&root, "", steps);
    if let Some(fields) = tree.as_object_mut() {
        // They are told step by step.
        fields.remove("steps");
        fields.get_mut("on_error").and_then(Json::as_object_mut).map(|handler| handler.remove("steps"));
    }
    Ok(tree)
}

/// A node as a value. `place` is what the lists of steps in it are called.
fn value(node: &Node, place: &str, steps: &mut Vec<Found>) -> Json {
    match &node.value {
        Value::Scalar(scalar) => plain(scalar),
        Value::List(items) => items.iter().map(|item| value(item, place, steps)).collect(),
        Value::Map(entries) => {
            let mut fields = Map::new();
            for (key, node) in entries {
                let name = key.text.as_str();
                let inner = match (&node.value, place) {
                    (Value::List(items), _) if !DOCUMENTS.contains(&name) && is_steps(items) => {
                        let place = if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
                        list(items, &place, steps);
                        Json::from(INSIDE)
                    }
                    (_, "") if name == "on_error" => value(node, name, steps),
                    (_, "") => document(node),
                    _ if DOCUMENTS.contains(&name) => document(node),
                    _ => value(node, &format!("{place}.{name}"), steps),
                };
                fields.insert(key.text.clone(), inner);
            }
            Json::Object(fields)
        }
    }
}

/// A list of steps: they are taken out.
fn list(items: &[Node], place: &str, steps: &mut Vec<Found>) {
    for item in items {
        let Some(kind) = kind(item) else { continue };
        let id = field(item, "id").and_then(|node| match &node.value {
            Value::Scalar(scalar) => Some(scalar.text.clone()),
            _ => None,
        });
        let index = steps.len();
        let inside = id.clone().unwrap_or_else(|| format!("{place}.{kind}"));
        // Before the steps inside it, so that they are listed as they are read.
        steps.push(Found { id, kind, place: place.to_owned(), fields: Json::Null });
        let fields = value(item, &inside, steps);
        if let Some(step) = steps.get_mut(index) {
            step.fields = fields;
        }
    }
}

fn is_steps(items: &[Node]) -> bool {
    !items.is_empty() && items.iter().all(|item| kind(item).is_some())
}

fn kind(node: &Node) -> Option<&'static str> {
    KINDS.into_iter().find(|kind| field(node, kind).is_some())
}

fn field<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    match &node.value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node),
        _ => None,
    }
}

fn document(node: &Node) -> Json {
    match &node.value {
        Value::Scalar(scalar) => plain(scalar),
        Value::List(items) => items.iter().map(document).collect(),
        Value::Map(entries) => entries.iter().map(|(key, node)| (key.text.clone(), document(node))).collect(),
    }
}

/// A scalar: a number, a truth value or null only if it is written as one.
fn plain(scalar: &Scalar) -> Json {
    let parsed = scalar.plain.then(|| serde_json::from_str::<Json>(&scalar.text).ok()).flatten();
    parsed.unwrap_or_else(|| Json::from(scalar.text.clone()))
}

/// Which steps came, went, changed and moved.
fn steps(old: &[Found], new: &[Found]) -> Vec<StepChange> {
    let pairs = pair(old, new);
    let stayed = in_order(old, new, &pairs);
    let mut changes = Vec::new();
    for (index, step) in new.iter().enumerate() {
        let (kind, title) = (step.kind.to_owned(), step.title());
        let before =
            pairs.iter().find(|(_, new)| *new == index).and_then(|(before, _)| Some((*before, old.get(*before)?)));
        let Some((place, before)) = before else {
            changes.push(StepChange { step: title, change: Fate::Added, kind, fields: whole(step, false) });
            continue;
        };
        let mut fields = Vec::new();
        compare("", Some(&before.fields), Some(&step.fields), &mut fields);
        let changed = !fields.is_empty();
        if before.place != step.place {
            let at = |place: &str| Some(Json::from(place));
            fields.push(FieldChange { path: PLACE.to_owned(), before: at(&before.place), after: at(&step.place) });
        }
        let moved = before.place != step.place || !stayed.contains(&place);
        let change = match (changed, moved) {
            (true, _) => Fate::Changed,
            (false, true) => Fate::Moved,
            (false, false) => continue,
        };
        changes.push(StepChange { step: title, change, kind, fields });
    }
    let gone = old.iter().enumerate().filter(|(index, _)| !pairs.iter().any(|(before, _)| before == index));
    for (_, step) in gone {
        let (kind, title) = (step.kind.to_owned(), step.title());
        changes.push(StepChange { step: title, change: Fate::Removed, kind, fields: whole(step, true) });
    }
    changes
}

/// Each field of a step that came or went.
fn whole(step: &Found, gone: bool) -> Vec<FieldChange> {
    let fields = step.fields.as_object().into_iter().flatten().filter(|(name, _)| *name != "id");
    let change = |(name, value): (&String, &Json)| {
        let (before, after) = if gone { (Some(value.clone()), None) } else { (None, Some(value.clone())) };
        FieldChange { path: name.clone(), before, after }
    };
    fields.map(change).collect()
}

/// Which step of the one is which of the other.
fn pair(old: &[Found], new: &[Found]) -> Vec<(usize, usize)> {
    let (mut pairs, mut left, mut taken) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    left.extend(0..old.len());
    let alike: [fn(&Found, &Found) -> bool; 4] = [
        |old, new| old.id.is_some() && old.id == new.id && old.kind == new.kind,
        |old, new| old.id.is_none() && new.id.is_none() && old == new,
        |old, new| old.id.is_none() && new.id.is_none() && old.kind == new.kind && old.fields == new.fields,
        |old, new| old.id.is_none() && new.id.is_none() && old.kind == new.kind && old.place == new.place,
    ];
    for alike in alike {
        for (index, step) in new.iter().enumerate() {
            if taken.contains(&index) {
                continue;
            }
            let same = left.iter().copied().find(|before| old.get(*before).is_some_and(|before| alike(before, step)));
            if let Some(before) = same {
                left.remove(&before);
                taken.insert(index);
                pairs.push((before, index));
            }
        }
    }
    pairs.sort_by_key(|(_, new)| *new);
    pairs
}

/// The earlier steps that stand in the same order as before: a longest common sequence, list by list.
fn in_order(old: &[Found], new: &[Found], pairs: &[(usize, usize)]) -> BTreeSet<usize> {
    let mut stayed = BTreeSet::new();
    let places: BTreeSet<&str> = new.iter().map(|step| step.place.as_str()).collect();
    for place in places {
        let stands = |steps: &[Found], index: usize| steps.get(index).is_some_and(|step| step.place == place);
        let kept: Vec<usize> = pairs
            .iter()
            .filter(|(before, after)| stands(old, *before) && stands(new, *after))
            .map(|(before, _)| *before)
            .collect();
        // In the order of the new text; the longest part that rises in the old one has not moved.
        let mut best: Vec<Vec<usize>> = Vec::with_capacity(kept.len());
        for (index, step) in kept.iter().enumerate() {
            let longest = best
                .iter()
                .take(index)
                .filter(|chain| chain.last().is_some_and(|last| last < step))
                // Of several as long, the first: what was moved down has moved, not what it was moved past.
                .rev()
                .max_by_key(|chain| chain.len());
            let mut chain = longest.cloned().unwrap_or_default();
            chain.push(*step);
            best.push(chain);
        }
        stayed.extend(best.into_iter().rev().max_by_key(Vec::len).unwrap_or_default());
    }
    stayed
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::difference;

    const BEFORE: &str = r#"
pipeline: retail/orders
version: 1.0.0
owner: shop
summary: Orders.
uses: { erp: retail/erp-orders@1 }
trigger: [{ event: retail.order.placed.v1 }]
sla: { finish_within: 4h }
config: { limit: "9.00" }
steps:
  - id: order
    transform: shop/order@^1
    with: ${ event.data }
  - id: policy
    rule: shop/policy@^1
    with: { order: "${ steps.order }", lines: [{ call: x }] }
    outcomes:
      reject:
        - emit: retail.order.rejected.v1
          data: { order: "${ event.subject }" }
  - id: place
    call: erp#create_order
    timeout: 20s
    with: ${ steps.order }
  - emit: retail.order.placed-in-erp.v1
    data: {}
on_error:
  compensate: all
  steps:
    - emit: retail.order.failed.v1
      data: {}
"#;

    #[track_caller]
    fn check(after: &str, expected: &str) {
        let found = difference(BEFORE, after).unwrap();
        let mut said = String::new();
        for step in &found.steps {
            let _ = write!(said, "{} {} {}:", step.change.as_str(), step.kind, step.step);
            for field in &step.fields {
                let show =
                    |value: &Option<serde_json::Value>| value.as_ref().map_or("-".to_owned(), ToString::to_string);
                let _ = write!(said, " {} {} > {}", field.path, show(&field.before), show(&field.after));
            }
            said.push('\n');
        }
        for field in &found.fields {
            let _ = writeln!(said, "{}", field.path);
        }
        assert_eq!(said, expected);
    }

    #[test]
    fn layout_and_comments_are_no_difference() {
        let other = BEFORE.replace("sla: { finish_within: 4h }", "sla:   # promised\n  finish_within: \"4h\"");
        assert_ne!(other, BEFORE);
        assert!(difference(BEFORE, &other).unwrap().is_empty());
    }

    #[test]
    fn fields_of_the_pipeline_are_told_by_their_path() {
        let after = BEFORE.replace("version: 1.0.0", "version: 1.1.0").replace("4h", "2h").replace("\"9.00\"", "9.00");
        check(&after, "version\nsla.finish_within\nconfig.limit\n");
        let after = BEFORE.replace("sla: { finish_within: 4h }\n", "order: start\nkey: event.subject\n");
        check(&after, "sla\norder\nkey\n");
    }

    #[test]
    fn a_step_is_matched_by_its_id_and_its_fields_are_compared() {
        let after = BEFORE.replace("timeout: 20s", "timeout: 30s").replace("\"${ steps.order }\"", "1");
        check(
            &after,
            "changed rule policy: with.order \"${ steps.order }\" > 1\nchanged call place: timeout \"20s\" > \"30s\"\n",
        );
    }

    #[test]
    fn steps_come_and_go_at_any_depth() {
        let after = BEFORE.replace(
            "      reject:\n",
            "      reject:\n        - id: note\n          call: erp#note\n          with: {}\n",
        );
        check(&after, "added call note: call - > \"erp#note\" with - > {}\n");
        let after = BEFORE.replace("  - emit: retail.order.placed-in-erp.v1\n    data: {}\n", "");
        check(&after, "removed emit emit in steps: emit \"retail.order.placed-in-erp.v1\" > - data {} > -\n");
    }

    #[test]
    fn a_step_that_stands_elsewhere_has_moved_and_those_around_it_have_not() {
        let order = "  - id: order\n    transform: shop/order@^1\n    with: ${ event.data }\n";
        let after = BEFORE.replace(order, "").replace("  - id: place\n", &format!("{order}  - id: place\n"));
        check(&after, "moved transform order:\n");
    }

    #[test]
    fn what_happens_on_a_failure_is_part_of_it() {
        let after = BEFORE.replace("compensate: all", "compensate: none").replace("failed.v1", "failed.v2");
        check(
            &after,
            "changed emit emit in on_error.steps: emit \"retail.order.failed.v1\" > \
             \"retail.order.failed.v2\"\non_error.compensate\n",
        );
    }
}

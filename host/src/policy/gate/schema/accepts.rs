//! Holds one value against a schema of the profile. Slow and plain: it is asked about the members of enums only.

use std::{cell::Cell, collections::BTreeSet};

use regex::Regex;
use serde_json::Value;

use super::{
    compare::resolve,
    profile::{Document, Node, References, Schema, Types},
};

/// References followed within one value, at most: a schema may refer to itself without end.
const DEPTH_LIMIT: usize = 64;
/// Schemas that one value is held against, at most: unions that refer to themselves branch without end.
const LOOKS_LIMIT: u32 = 20_000;

/// Whether a value is taken. What cannot be decided (a pattern that Rust cannot read) counts as refused.
#[must_use]
pub fn accepts(schema: &Schema, document: &Document, references: &References, value: &Value) -> bool {
    Look { references, looks: Cell::new(0) }.at(schema, document, value, 0)
}

struct Look<'a> {
    references: &'a References,
    looks: Cell<u32>,
}

impl Look<'_> {
    fn at(&self, schema: &Schema, document: &Document, value: &Value, depth: usize) -> bool {
        self.looks.set(self.looks.get().saturating_add(1));
        if depth > DEPTH_LIMIT || self.looks.get() > LOOKS_LIMIT {
            return false;
        }
        match schema {
            Schema::Never => false,
            Schema::Reference(name) => resolve(name, document, self.references)
                .is_some_and(|(schema, document)| self.at(schema, document, value, depth + 1)),
            Schema::Union(branches) => branches.iter().any(|branch| self.at(branch, document, value, depth + 1)),
            Schema::Node(node) => fits(node, value, &|schema, value| self.at(schema, document, value, depth + 1)),
        }
    }
}

fn fits(node: &Node, value: &Value, inner: &dyn Fn(&Schema, &Value) -> bool) -> bool {
    if !node.types.has(Types::of(value)) || node.values.as_ref().is_some_and(|values| !holds(values, value)) {
        return false;
    }
    let count = |actual: usize, min: &str, max: &str| {
        let actual = actual as u64;
        node.counts.get(min).is_none_or(|min| actual >= *min) && node.counts.get(max).is_none_or(|max| actual <= *max)
    };
    match value {
        Value::Null | Value::Bool(_) => true,
        Value::Number(number) => {
            let Some(number) = number.as_f64() else { return false };
            node.numbers.iter().all(|(keyword, bound)| match *keyword {
                "minimum" => number >= *bound,
                "exclusiveMinimum" => number > *bound,
                "maximum" => number <= *bound,
                "exclusiveMaximum" => number < *bound,
                _ => (number / bound).fract() == 0.0,
            })
        }
        Value::String(text) => {
            count(text.chars().count(), "minLength", "maxLength")
                && node
                    .pattern
                    .as_ref()
                    .is_none_or(|pattern| Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text)))
        }
        Value::Array(items) => {
            let unique = || items.iter().map(ToString::to_string).collect::<BTreeSet<_>>().len() == items.len();
            count(items.len(), "minItems", "maxItems")
                && (!node.unique || unique())
                && node.items.as_ref().is_none_or(|schema| items.iter().all(|item| inner(schema, item)))
        }
        Value::Object(fields) => {
            count(fields.len(), "minProperties", "maxProperties")
                && node.required.iter().all(|name| fields.contains_key(name))
                && fields.iter().all(|(name, value)| match (node.properties.get(name), &node.additional) {
                    (Some(schema), _) | (None, Some(schema)) => inner(schema, value),
                    (None, None) => true,
                })
        }
    }
}

/// Whether a value is among these; 1 and 1.0 are the same.
fn holds(values: &[Value], value: &Value) -> bool {
    values.iter().any(|one| match (one, value) {
        (Value::Number(one), Value::Number(value)) => one == value || one.as_f64() == value.as_f64(),
        (one, value) => one == value,
    })
}

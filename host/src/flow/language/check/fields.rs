//! Names of fields against contracts: what a `call` is given, and what is read of its output. Only names, and only where
//! the contract says all that there is: a reference to a canonical document, a choice of schemas or a list is not looked
//! into.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    super::{Diagnostic, near},
    Environment,
};
use crate::model::{
    contract::ContractOperation,
    pipeline::{Definition, Place, action::Action, template::Template},
};

/// The output's schema of each step that surely gives what its contract says: a call without a stand-in.
pub(super) fn outputs<'d>(definition: &'d Definition, environment: &Environment<'_>) -> BTreeMap<&'d str, Value> {
    let steps = definition.all_steps().into_iter().filter(|step| step.fallback.is_none());
    let known = steps.filter_map(|step| match &step.action {
        Action::Call { connection, operation, .. } => {
            let declared = operation_of(definition, environment, &connection.value, &operation.value)?;
            Some((step.id.as_str(), declared.output.to_value()))
        }
        _ => None,
    });
    known.collect()
}

/// The first name of a path that a schema does not have, with the names that it has instead.
pub(super) fn unknown<'p>(schema: &Value, path: &'p [String]) -> Option<(&'p str, Vec<String>)> {
    let mut schema = schema;
    for name in path {
        let properties = closed(schema)?;
        match properties.get(name) {
            Some(inner) => schema = inner,
            None => return Some((name, properties.keys().cloned().collect())),
        }
    }
    None
}

/// Holds each call's `with` to its contract's input.
pub(super) fn inputs(definition: &Definition, environment: &Environment<'_>, found: &mut Vec<Diagnostic>) {
    for step in definition.all_steps() {
        let (Action::Call { connection, operation, with, .. } | Action::Assess { connection, operation, with, .. }) =
            &step.action
        else {
            continue;
        };
        let Some(declared) = operation_of(definition, environment, &connection.value, &operation.value) else {
            continue;
        };
        let what = format!("{}#{}", connection.value, operation.value);
        input(&declared.input.to_value(), with, &what, "", operation.at, found);
    }
}

fn input(schema: &Value, with: &Template, what: &str, below: &str, at: Place, found: &mut Vec<Diagnostic>) {
    let Template::Map(entries) = with else { return };
    let Some(properties) = closed(schema) else { return };
    let names = || properties.keys().map(String::as_str);
    for (name, value) in entries {
        match properties.get(name) {
            Some(inner) => input(inner, value, what, &format!("{below}{name}."), at, found),
            // What a schema leaves open may have more.
            None if schema.get("additionalProperties") != Some(&Value::Bool(false)) => {}
            None => {
                let problem = format!("`{what}` takes no `{below}{name}`");
                found.push(Diagnostic::new(
                    at,
                    "language.unknown-field",
                    problem,
                    near::advice(name, names(), "nothing"),
                ));
            }
        }
    }
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for name in required.filter(|name| !entries.iter().any(|(given, _)| given == name)) {
        let problem = format!("`{what}` needs `{below}{name}`");
        let instead = format!("add it to `with`; it takes {}", near::list(names()));
        found.push(Diagnostic::new(at, "language.missing-field", problem, instead));
    }
}

fn operation_of<'e>(
    definition: &Definition,
    environment: &Environment<'e>,
    connection: &str,
    operation: &str,
) -> Option<&'e ContractOperation> {
    let contract = environment.contracts.get(&definition.uses.get(connection)?.value)?;
    contract.operations.get(operation)
}

/// The properties of a schema that says all names of an object, as far as is promised.
fn closed(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
    let open = ["$ref", "$dynamicRef", "oneOf", "anyOf", "allOf", "if", "patternProperties", "dependentSchemas"];
    if open.iter().any(|keyword| schema.get(keyword).is_some()) {
        return None;
    }
    // A schema or a plain yes for what is not named: it is meant to have more.
    if schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false)) {
        return None;
    }
    schema.get("properties").and_then(Value::as_object).filter(|properties| !properties.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::unknown;

    #[track_caller]
    fn check(schema: &serde_json::Value, path: &str, expected: Option<&str>) {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        assert_eq!(unknown(schema, &path).map(|(name, _)| name), expected);
    }

    #[test]
    fn a_name_is_unknown_only_where_all_names_are_known() {
        let order = json!({
            "type": "object",
            "properties": {
                "id": { "type": "string" },
                "total": { "$ref": "retail/money@1" },
                "partner": { "properties": { "name": {} } },
                "extra": { "properties": { "a": {} }, "additionalProperties": true },
                "lines": { "type": "array", "items": { "properties": { "sku": {} } } },
            },
        });
        check(&order, "id", None);
        check(&order, "idd", Some("idd"));
        check(&order, "total.whatever", None);
        check(&order, "partner.name", None);
        check(&order, "partner.nam", Some("nam"));
        check(&order, "extra.b", None);
        check(&order, "lines.sku", None);
        check(&json!({}), "anything", None);
        check(&json!({ "anyOf": [], "properties": { "a": {} } }), "b", None);
    }
}

//! An API's description, OpenAPI 3.1, made from its contract: what consumers depend on, and nothing of what is behind it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    input::{is_text, names},
    path,
};
use crate::{
    model::contract::{ContractOperation, OperationContract},
    ports::apis::ApiView,
};

/// Where schemas that several operations use are.
const SHARED: &str = "#/components/schemas/";

/// The description of what is published.
pub(super) fn document(view: &ApiView, contract: &OperationContract, canonical: &BTreeMap<String, Value>) -> Value {
    let (name, major) = view.contract.as_str().split_once('@').unwrap_or_default();
    let mut paths = Map::new();
    for operation in &view.operations {
        let Some(declared) = contract.operations.get(&operation.name) else { continue };
        paths.insert(operation.path.clone(), operation_paths(view, &operation.name, declared));
    }
    let mut schemas: Map<String, Value> = canonical
        .iter()
        .map(|(name, schema)| (component(name), resolved(schema, &format!("{SHARED}{}", component(name)))))
        .collect();
    schemas.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": { "title": name, "version": format!("{major}.0.0"), "summary": contract.summary },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas,
        },
    })
}

/// Asking with fields in the query, which caches understand, and with a document.
fn operation_paths(view: &ApiView, name: &str, declared: &ContractOperation) -> Value {
    let schema = declared.input.to_value();
    let base = path(&view.contract);
    let input = resolved(
        &schema,
        &format!("#/paths/{}~1{name}/post/requestBody/content/application~1json/schema", base.replace('/', "~1")),
    );
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let parameters: Vec<Value> = names(&schema)
        .filter_map(|field| {
            let of = schema.pointer("/properties")?.get(field)?;
            let inner = resolved(of, "#");
            let mut parameter = json!({ "name": field, "in": "query", "required": required.contains(&field) });
            let (key, value) = match is_text(of) {
                true => ("schema", inner),
                false => ("content", json!({ "application/json": { "schema": inner } })),
            };
            parameter.as_object_mut()?.insert(key.to_owned(), value);
            if let Some(text) = of.get("description") {
                parameter.as_object_mut()?.insert("description".to_owned(), text.clone());
            }
            Some(parameter)
        })
        .collect();
    let deprecated = view.deprecated.is_some();
    let responses = responses(view, &resolved(&declared.output.to_value(), "#"));
    let base = |id: &str| json!({ "operationId": id, "summary": declared.summary, "deprecated": deprecated, "responses": responses });
    let (mut get, mut post) = (base(name), base(&format!("{name}_document")));
    if let (Some(get), Some(post)) = (get.as_object_mut(), post.as_object_mut()) {
        get.insert("parameters".to_owned(), parameters.into());
        post.insert(
            "requestBody".to_owned(),
            json!({ "required": true, "content": { "application/json": { "schema": input } } }),
        );
    }
    json!({ "get": get, "post": post })
}

fn responses(view: &ApiView, output: &Value) -> Value {
    let header = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    let mut headers = json!({
        "ETag": header("Changes with the document; give it back in If-None-Match"),
        "Cache-Control": header("For how long the answer may be used again"),
        "Age": header("How long ago it was read, seconds"),
    });
    if let Some(headers) = headers.as_object_mut() {
        let times = [
            ("Deprecation", view.deprecated.is_some(), "From when on this is deprecated (RFC 9745)"),
            ("Sunset", view.sunset.is_some(), "From when on this answers nothing (RFC 8594)"),
            ("Link", view.successor.is_some(), "What to use instead: `successor-version`"),
        ];
        for (name, _, text) in times.into_iter().filter(|(_, is_there, _)| *is_there) {
            headers.insert(name.to_owned(), header(text));
        }
    }
    let said = |description: &str| {
        json!({ "description": description,
            "content": { "application/problem+json": { "schema": { "$ref": format!("{SHARED}Problem") } } } })
    };
    json!({
        "200": { "description": "The answer", "headers": headers,
            "content": { "application/json": { "schema": output } } },
        "304": { "description": "It is as it was" },
        "401": said("`auth.required`, `auth.invalid`"),
        "403": said("`access.denied`"),
        "404": said("`api.not-found`: there is nothing like that"),
        "410": said("`api.gone`"),
        "422": said("`api.input`: the input does not follow the schema"),
        "429": said("`token.spike`, `token.quota`; Retry-After says when to ask again"),
        "502": said("`api.failed`"),
        "503": said("`api.unavailable`; Retry-After says when to ask again"),
        "504": said("`api.timeout`; Retry-After says when to ask again"),
    })
}

fn problem() -> Value {
    json!({
        "description": "What went wrong (RFC 9457)",
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "advice"],
        "properties": {
            "type": { "type": "string" }, "title": { "type": "string" }, "status": { "type": "integer" },
            "detail": { "type": "string" }, "code": { "type": "string" }, "advice": { "type": "string" },
        },
    })
}

/// The name of a canonical document among the components.
fn component(name: &str) -> String {
    name.replace(['/', '@'], ".")
}

/// A schema with its references as they are in the description: `retail/order@1` is a component, and `#` is where the
/// schema itself is.
fn resolved(schema: &Value, own: &str) -> Value {
    match schema {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "$schema" | "$id"))
            .map(|(name, value)| match value {
                Value::String(target) if name == "$ref" => {
                    let target = match target.strip_prefix('#') {
                        Some(below) => format!("{own}{below}"),
                        None => format!("{SHARED}{}", component(target)),
                    };
                    (name.clone(), target.into())
                }
                value => (name.clone(), resolved(value, own)),
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(|item| resolved(item, own)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::document;
    use crate::{
        app::contracts::Library,
        model::timestamp::Timestamp,
        ports::apis::{ApiView, OperationView},
    };

    fn references(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(target) if name == "$ref" => drop(into.insert(target.clone())),
                        value => references(value, into),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            _ => {}
        }
    }

    #[test]
    fn a_description_of_each_built_in_read_holds_together() {
        let library = Library::built_in().unwrap();
        for (id, contract) in &*library.contracts {
            let operations = contract.operations.keys().map(|name| OperationView {
                name: name.clone(),
                summary: String::new(),
                path: format!("{}/{name}", super::path(id)),
            });
            let view = ApiView {
                origin: None,
                declared: None,
                contract: id.clone(),
                summary: String::new(),
                state: "active",
                description: String::new(),
                operations: operations.collect(),
                connection: Some("erp-main".to_owned()),
                cache_s: 0,
                stale_if_error_s: 0,
                deprecated: Some(Timestamp::default()),
                sunset: None,
                successor: None,
                published: Timestamp::default(),
            };
            let description = document(&view, contract, &Library::references());
            assert!(!description.to_string().contains("erp-main"), "what is behind it is nobody's business");
            let mut targets = BTreeSet::new();
            references(&description, &mut targets);
            for target in targets {
                let pointer = target.strip_prefix('#').unwrap();
                assert!(description.pointer(pointer).is_some(), "{id}: {target} is nowhere");
            }
            assert_eq!(description["paths"].as_object().unwrap().len(), contract.operations.len());
        }
    }
}

//! `GET /asyncapi.json`: every event that the hub takes in or sends, as an AsyncAPI 3.0 document. Made anew for each
//! request from what is installed.
//!
//! A channel is an event type, a message a version of its schema. What the hub takes in is sent to `POST /v1/events` as a
//! CloudEvent. <https://www.asyncapi.com/docs/reference/specification/v3.0.0>

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde_json::{Map, Value, json};

use super::{Surface, schemas::schemas};
use crate::{
    net::problem::Problem,
    ports::schemas::{EventTypeView, SchemaView},
};

/// Media type of an event in structured mode.
const CLOUD_EVENT: &str = "application/cloudevents+json";

/// Describes every event.
#[utoipa::path(
    get,
    path = "/asyncapi.json",
    tag = "schemas",
    responses((status = 200, description = "AsyncAPI 3.0", body = Object))
)]
pub(super) async fn document(State(surface): State<Surface>) -> Result<Json<Value>, Problem> {
    let schemas = schemas(&surface)?;
    Ok(Json(describe(&schemas.event_types(), &schemas.documents())))
}

/// The document of these types.
fn describe(types: &[EventTypeView], documents: &BTreeMap<String, Value>) -> Value {
    let mut components = Map::new();
    for (name, schema) in documents {
        components.insert(component(name), placed(schema, &component(name)));
    }
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for view in types {
        let key = component(&view.name);
        let mut own = Map::new();
        for version in &view.versions {
            let name = format!("{key}.{}", version.version);
            components.insert(name.clone(), placed(&version.schema, &name));
            let payload = json!({ "$ref": format!("#/components/schemas/{name}") });
            messages.insert(name.clone(), message(view, Some(version), &payload));
            own.insert(name.clone(), json!({ "$ref": format!("#/components/messages/{name}") }));
        }
        if own.is_empty() {
            messages.insert(key.clone(), message(view, None, &json!(true)));
            own.insert(key.clone(), json!({ "$ref": format!("#/components/messages/{key}") }));
        }
        let all: Vec<Value> =
            own.keys().map(|name| json!({ "$ref": format!("#/channels/{key}/messages/{name}") })).collect();
        let channel = json!({ "$ref": format!("#/channels/{key}") });
        // Whoever has a token for it may send it.
        let takes = json!({
            "action": "receive", "channel": channel, "messages": all,
            "summary": format!("Send it to the hub: {}", users("starts", &view.starts, "awaited by", &view.awaited_by)),
        });
        operations.insert(format!("{key}.receive"), takes);
        if !view.emitted_by.is_empty() {
            let sends = json!({
                "action": "send", "channel": channel, "messages": all,
                "summary": format!("Pipelines send it: {}", view.emitted_by.join(", ")),
            });
            operations.insert(format!("{key}.send"), sends);
        }
        let channel = json!({
            "address": "/v1/events",
            "title": view.name,
            "messages": own,
            "servers": [{ "$ref": "#/servers/hub" }],
            "bindings": { "http": {} },
        });
        channels.insert(key, channel);
    }
    json!({
        "asyncapi": "3.0.0",
        "id": "urn:crossdock:hub",
        "info": {
            "title": "Crossdock events",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The events that this hub takes in and sends, as CloudEvents 1.0.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": CLOUD_EVENT,
        "servers": { "hub": {
            "host": "localhost:7420",
            "protocol": "http",
            "description": "The hub, wherever it listens",
            "security": [{ "$ref": "#/components/securitySchemes/token" }],
        } },
        "channels": channels,
        "operations": operations,
        "components": {
            "schemas": components,
            "messages": messages,
            "messageTraits": { "cloudevent": { "headers": envelope() } },
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn message(view: &EventTypeView, version: Option<&SchemaView>, payload: &Value) -> Value {
    let described = |name: &str| version.and_then(|version| version.schema.get(name)).and_then(Value::as_str);
    let mut message = json!({
        "name": view.name,
        "title": described("title").unwrap_or(&view.name),
        "contentType": "application/json",
        "traits": [{ "$ref": "#/components/messageTraits/cloudevent" }],
        "payload": payload,
    });
    let deprecation =
        version.and_then(|version| version.deprecated.as_ref()).or(view.deprecated.as_ref()).map(|deprecation| {
            let until = deprecation.sunset.map_or_else(String::new, |sunset| format!(", taken until {sunset}"));
            let instead =
                deprecation.successor.as_ref().map_or_else(String::new, |name| format!(", send {name} instead"));
            format!("Deprecated since {}{until}{instead}: {}.", deprecation.since, deprecation.reason)
        });
    let mut tags = Vec::new();
    if let Some(fields) = message.as_object_mut() {
        let mut words: Vec<String> = described("description").map(str::to_owned).into_iter().collect();
        if let Some(deprecation) = deprecation {
            words.push(deprecation);
            tags.push(json!({ "name": "deprecated" }));
        }
        if !words.is_empty() {
            fields.insert("description".to_owned(), Value::from(words.join(" ")));
        }
        if let Some(version) = version {
            fields.insert("x-dataschema".to_owned(), Value::from(version.reference.as_str()));
        }
        if !tags.is_empty() {
            fields.insert("tags".to_owned(), Value::from(tags));
        }
    }
    message
}

fn users(verb: &str, one: &[String], other_verb: &str, other: &[String]) -> String {
    let mut words = Vec::new();
    for (verb, names) in [(verb, one), (other_verb, other)] {
        if !names.is_empty() {
            words.push(format!("{verb} {}", names.join(", ")));
        }
    }
    if words.is_empty() { "no pipeline listens to it".to_owned() } else { words.join("; ") }
}

/// A name as a key of the document (`^[a-zA-Z0-9._-]+$`).
fn component(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '.' }).collect()
}

/// A schema as a component: what it refers to is where the document has it, and what names it elsewhere is left out.
fn placed(schema: &Value, key: &str) -> Value {
    match schema {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| !matches!(name.as_str(), "$schema" | "$id"));
            let placed = kept.map(|(name, value)| {
                let value = match (name.as_str(), value.as_str()) {
                    ("$ref", Some(reference)) => Value::from(match reference.strip_prefix('#') {
                        Some(within) => format!("#/components/schemas/{key}{within}"),
                        None => format!("#/components/schemas/{}", component(reference)),
                    }),
                    // Values of the events, which may look like schemas.
                    ("enum" | "const" | "default" | "examples", _) => value.clone(),
                    _ => placed(value, key),
                };
                (name.clone(), value)
            });
            Value::Object(placed.collect())
        }
        Value::Array(items) => items.iter().map(|item| placed(item, key)).collect(),
        other => other.clone(),
    }
}

/// The attributes of a CloudEvent, as they are in headers in binary mode.
fn envelope() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "type": "object",
        "required": ["ce-specversion", "ce-id", "ce-source", "ce-type"],
        "properties": {
            "ce-specversion": { "type": "string", "const": "1.0" },
            "ce-id": text("Unique within the source"),
            "ce-source": text("Who says so: a URI reference"),
            "ce-type": text("The channel's title"),
            "ce-subject": text("What it is about"),
            "ce-time": text("When it happened, RFC 3339"),
            "ce-dataschema": text("The version of the schema that the data follows; absent: the latest"),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::{Value, json};

    use super::describe;
    use crate::{
        model::{
            event_schema::{Compatibility, Deprecation},
            id::Digest,
            timestamp::Timestamp,
        },
        ports::schemas::{EventTypeView, SchemaView},
    };

    fn view(name: &str, schemas: &[Value]) -> EventTypeView {
        let versions = schemas.iter().zip(1..).map(|(schema, version)| SchemaView {
            version,
            reference: format!("https://h/v1/schemas/{name}/{version}"),
            digest: Digest::of(b""),
            origin: "operator".to_owned(),
            added: None,
            by: None,
            deprecated: (version == 1).then(|| Deprecation {
                since: Timestamp::from_millis(0),
                sunset: None,
                successor: Some(format!("{name}/2")),
                reason: "too loose".to_owned(),
            }),
            schema: schema.clone(),
        });
        EventTypeView {
            name: name.to_owned(),
            compatibility: Some(Compatibility::Backward),
            deprecated: None,
            versions: versions.collect(),
            starts: vec!["retail/orders".to_owned()],
            awaited_by: Vec::new(),
            emitted_by: vec!["retail/late".to_owned()],
            produced_by: Vec::new(),
        }
    }

    /// Every `$ref` of a document.
    fn references(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| match value.as_str() {
                Some(reference) if name == "$ref" => drop(into.insert(reference.to_owned())),
                _ => references(value, into),
            }),
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            _ => {}
        }
    }

    #[test]
    fn every_version_is_a_message_and_every_reference_leads_somewhere() {
        let order = json!({ "$id": "https://x/order", "$defs": { "line": { "type": "object" } },
            "properties": { "lines": { "items": { "$ref": "#/$defs/line" } }, "total": { "$ref": "retail/money@1" } },
            "examples": [{ "$ref": "not a reference" }] });
        let documents = BTreeMap::from([("retail/money@1".to_owned(), json!({ "type": "object" }))]);
        let types = [view("retail.order.v1", &[json!({ "title": "Order" }), order]), view("bare", &[])];
        let document = describe(&types, &documents);
        assert_eq!(document["asyncapi"], "3.0.0");
        let messages = document["channels"]["retail.order.v1"]["messages"].as_object().unwrap();
        assert_eq!(messages.keys().collect::<Vec<_>>(), ["retail.order.v1.1", "retail.order.v1.2"]);
        let first = &document["components"]["messages"]["retail.order.v1.1"];
        assert_eq!((first["title"].as_str(), first["tags"][0]["name"].as_str()), (Some("Order"), Some("deprecated")));
        assert!(first["description"].as_str().unwrap().contains("send retail.order.v1/2 instead"), "{first}");
        assert_eq!(document["operations"]["retail.order.v1.receive"]["action"], "receive");
        assert_eq!(document["operations"]["retail.order.v1.send"]["action"], "send");
        assert_eq!(document["components"]["messages"]["bare"]["payload"], true);
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        found.remove("not a reference");
        assert!(found.contains("#/components/schemas/retail.order.v1.2/$defs/line"), "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "`{reference}` leads nowhere");
        }
    }
}

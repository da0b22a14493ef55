//! Tags of schemas: where they are found, what is said against them, and when they may go.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Tags, uncovered};

fn documents() -> BTreeMap<String, Value> {
    let party = json!({
        "type": "object", "required": ["id"],
        "properties": { "id": { "type": "string" }, "name": { "type": "string", "x-personal": true } },
    });
    BTreeMap::from([("retail/party@1".to_owned(), party)])
}

fn object(properties: &Value) -> Value {
    let required: Vec<&String> = properties.as_object().unwrap().keys().collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

/// The tagged places, or what is said against the schema.
#[track_caller]
fn check(schema: &Value, expected: &str) {
    let said = match Tags::read(schema, &documents()) {
        Ok(None) => "none".to_owned(),
        Ok(Some(tags)) => format!("{} of {}", tags.fields.join(" "), tags.subject),
        Err(problem) => format!("{}: {}", problem.at, problem.found),
    };
    assert!(said.contains(expected), "{schema}\nsays {said}\nnot {expected}");
}

fn with_subject(mut schema: Value, subject: &Value) -> Value {
    schema["x-subject"] = subject.clone();
    schema
}

#[test]
fn tags_are_found_wherever_they_are_in_a_schema() {
    let id = json!({ "type": "string" });
    let tagged = json!({ "type": "string", "x-personal": true });
    check(&json!({ "type": "object" }), "none");
    check(&with_subject(object(&json!({ "id": id, "email": tagged })), &json!("/id")), "/email of /id");
    let lines = json!({ "type": "array", "items": object(&json!({ "note": tagged, "sku": id })) });
    check(&with_subject(object(&json!({ "id": id, "lines": lines })), &json!("/id")), "/lines/*/note of /id");
    let others = json!({ "type": "object", "additionalProperties": tagged });
    check(&with_subject(object(&json!({ "id": id, "a/b": others })), &json!("/id")), "/a~1b/* of /id");
    let either = json!({ "anyOf": [object(&json!({ "x": tagged })), object(&json!({ "y": tagged }))] });
    check(&with_subject(object(&json!({ "id": id, "who": either })), &json!("/id")), "/who/x /who/y of /id");
    let party = json!({ "$ref": "retail/party@1" });
    check(&with_subject(object(&json!({ "who": party })), &json!("/who/id")), "/who/name of /who/id");
    let mut defined = with_subject(object(&json!({ "id": { "$ref": "#/$defs/n" } })), &json!("/id"));
    defined["properties"]["id"]["x-personal"] = json!(true);
    defined["$defs"] = json!({ "n": { "type": "integer" } });
    check(&defined, "/id of /id");
}

#[test]
fn what_is_personal_has_to_say_whose_it_is() {
    let id = json!({ "type": "string" });
    let tagged = json!({ "type": "string", "x-personal": true });
    let schema = object(&json!({ "id": id, "email": tagged }));
    check(&schema, "`/email` of the data is `x-personal`, and the schema does not say about whom");
    check(&with_subject(object(&json!({ "id": id })), &json!("/id")), "nothing in it is `x-personal`");
    check(&with_subject(schema.clone(), &json!("id")), "no JSON Pointer");
    check(&with_subject(schema.clone(), &json!(7)), "no JSON Pointer");
    check(&with_subject(schema.clone(), &json!("/customer/id")), "no property `customer` at `/`");
    let mut optional = with_subject(schema.clone(), &json!("/id"));
    optional["required"] = json!(["email"]);
    check(&optional, "`id` at `/` is not required");
    let mut number = with_subject(schema.clone(), &json!("/id"));
    number["properties"]["id"] = json!({ "type": "number" });
    check(&number, "neither of type string nor of type integer");
    let mut word = with_subject(schema.clone(), &json!("/id"));
    word["properties"]["email"]["x-personal"] = json!("yes");
    check(&word, "`x-personal` is `\"yes\"`");
    let mut below = with_subject(schema, &json!("/id"));
    below["properties"]["email"]["x-subject"] = json!("/id");
    check(&with_subject(object(&json!({ "id": id, "in": below })), &json!("/id")), "`x-subject` below the top");
}

#[test]
fn what_refers_to_itself_is_taken_unless_it_holds_personal_data() {
    let mut schema = with_subject(
        object(&json!({ "id": { "type": "string", "x-personal": true }, "tree": { "$ref": "#/$defs/node" } })),
        &json!("/id"),
    );
    let next = json!({ "$ref": "#/$defs/node" });
    schema["$defs"] = json!({ "node": { "type": "object", "properties": { "next": next } } });
    check(&schema, "/id of /id");
    schema["$defs"]["node"]["properties"]["name"] = json!({ "type": "string", "x-personal": true });
    check(&schema, "inside of what refers to itself");
    // As a whole, it can be tagged.
    schema["properties"]["tree"]["x-personal"] = json!(true);
    check(&schema, "/id /tree of /id");
}

#[test]
fn a_subject_is_a_text_or_a_whole_number() {
    let tags = Tags { subject: "/customer/id".into(), fields: vec!["/x".into()] };
    assert_eq!(tags.subject_of(&json!({ "customer": { "id": "c-1" } })), Some("c-1".into()));
    assert_eq!(tags.subject_of(&json!({ "customer": { "id": 7 } })), Some("7".into()));
    assert_eq!(tags.subject_of(&json!({ "customer": {} })), None);
}

#[test]
fn a_tag_that_goes_while_the_data_may_stay_is_found() {
    let id = json!({ "type": "string" });
    let tagged = json!({ "type": "string", "x-personal": true });
    let before = with_subject(object(&json!({ "id": id, "email": tagged, "name": tagged })), &json!("/id"));
    let tags = Tags::read(&before, &BTreeMap::new()).unwrap().unwrap();
    let against = |schema: &Value| -> Vec<String> {
        let after = Tags::read(schema, &BTreeMap::new()).unwrap();
        uncovered(&tags, after.as_ref(), schema, &BTreeMap::new()).into_iter().map(str::to_owned).collect()
    };
    assert!(against(&before).is_empty());
    let one = with_subject(object(&json!({ "id": id, "email": tagged, "name": id })), &json!("/id"));
    assert_eq!(against(&one), ["/name"]);
    // An open schema takes it all the same; a closed one does not.
    let mut gone = with_subject(object(&json!({ "id": id, "email": tagged })), &json!("/id"));
    assert_eq!(against(&gone), ["/name"]);
    gone["additionalProperties"] = json!(false);
    assert!(against(&gone).is_empty());
    assert_eq!(against(&object(&json!({ "id": id }))), ["/email", "/name"]);
    let whole = json!({ "type": "object", "required": ["id"], "properties": { "id": id }, "x-personal": true, "x-subject": "/id" });
    assert!(against(&whole).is_empty(), "all of it is tagged");
}

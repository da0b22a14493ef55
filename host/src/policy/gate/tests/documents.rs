//! The comparison of schemas against a slow reference: documents, tried one by one.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::schema::{
    accepts::accepts,
    compare::within,
    profile::{Document, References},
};

fn read(schema: &Value, references: &References) -> Document {
    Document::read(schema, references).unwrap_or_else(|problems| panic!("{schema}: {problems:?}"))
}

/// Small schemas of everything that the profile has.
fn schema() -> impl Strategy<Value = Value> {
    let bound = 0..4_i64;
    let leaf = prop_oneof![
        Just(json!({})),
        Just(json!(true)),
        Just(json!(false)),
        Just(json!({ "type": "string" })),
        Just(json!({ "type": ["integer", "null"] })),
        Just(json!({ "type": "boolean" })),
        Just(json!({ "enum": ["a", 1, null] })),
        Just(json!({ "enum": ["a", "b"] })),
        Just(json!({ "enum": [true, false] })),
        Just(json!({ "const": 2 })),
        Just(json!({ "$ref": "#/$defs/tree" })),
        (bound.clone(), bound.clone())
            .prop_map(|(low, high)| json!({ "type": "integer", "minimum": low, "maximum": high })),
        bound.clone().prop_map(|low| json!({ "type": "number", "exclusiveMinimum": low })),
        bound.clone().prop_map(|low| json!({ "type": "integer", "exclusiveMinimum": low })),
        (1..4_i64).prop_map(|step| json!({ "type": "number", "multipleOf": step })),
        (bound.clone(), bound).prop_map(|(low, high)| json!({ "minLength": low, "maxLength": high })),
        Just(json!({ "type": "string", "pattern": "^a" })),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let properties = prop::collection::btree_map("[ab]", inner.clone(), 0..3);
        let required = prop::collection::btree_set("[abc]", 0..3);
        let additional = prop::option::of(inner.clone());
        prop_oneof![
            3 => (properties, required, additional, any::<bool>()).prop_map(|(properties, required, additional, typed)| {
                let mut schema = json!({ "properties": properties, "required": required });
                if let Some(additional) = additional {
                    schema["additionalProperties"] = additional;
                }
                if typed {
                    schema["type"] = json!("object");
                }
                schema
            }),
            1 => (0..3_u64, 0..3_u64).prop_map(|(low, high)| json!({ "minProperties": low, "maxProperties": high })),
            1 => (inner.clone(), 0..3_u64, any::<bool>()).prop_map(|(items, high, unique)| {
                json!({ "type": "array", "items": items, "maxItems": high, "uniqueItems": unique })
            }),
            1 => prop::collection::vec(inner, 1..3).prop_map(|branches| json!({ "anyOf": branches })),
        ]
    })
}

fn with_tree(mut schema: Value) -> Value {
    let tree = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": { "a": { "anyOf": [{ "$ref": "#/$defs/tree" }, { "type": "null" }] } },
    });
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("$defs".to_owned(), json!({ "tree": tree }));
        schema
    } else {
        json!({ "anyOf": [schema], "$defs": { "tree": tree } })
    }
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1..5_i64).prop_map(Value::from),
        Just(json!(0.5)),
        Just(json!(2.0)),
        "[ab]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..3).prop_map(|fields| json!(fields)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn without_a_gap_no_document_is_lost(one in schema(), other in schema(), documents in prop::collection::vec(document(), 24)) {
        let references = References::new(&BTreeMap::new());
        let (one_text, other_text) = (with_tree(one), with_tree(other));
        let (one, other) = (read(&one_text, &references), read(&other_text, &references));
        if within(&one, &other, &references).is_empty() {
            for document in documents {
                let lost = accepts(&one.root, &one, &references, &document) && !accepts(&other.root, &other, &references, &document);
                prop_assert!(!lost, "{document} is taken by {one_text} and not by {other_text}");
            }
        }
    }

    #[test]
    fn every_schema_lies_within_itself(one in schema()) {
        let references = References::new(&BTreeMap::new());
        let text = with_tree(one);
        let (one, again) = (read(&text, &references), read(&text, &references));
        let gaps = within(&one, &again, &references);
        prop_assert!(gaps.is_empty(), "{text}: {gaps:?}");
    }

    #[test]
    fn a_document_is_taken_as_the_validator_takes_it(schema in schema(), document in document()) {
        let references = References::new(&BTreeMap::new());
        let text = with_tree(schema);
        let validator = jsonschema::validator_for(&text).expect("a schema");
        let read = read(&text, &references);
        prop_assert_eq!(accepts(&read.root, &read, &references, &document), validator.is_valid(&document), "{} {}", text, document);
    }
}

#[test]
fn what_refers_to_itself_without_end_ends() {
    let references = References::new(&BTreeMap::new());
    let mut defs = serde_json::Map::new();
    for level in 0..200 {
        let next = format!("#/$defs/d{}", (level + 1) % 200);
        let branch = json!({ "type": "object", "properties": { "p": { "$ref": next } } });
        defs.insert(format!("d{level}"), json!({ "anyOf": [branch, branch, { "$ref": next }] }));
    }
    let schema = |last: &str| {
        let mut defs = defs.clone();
        defs["d199"]["anyOf"][0]["properties"]["q"] = json!({ "type": last });
        json!({ "$ref": "#/$defs/d0", "$defs": defs })
    };
    let (one, other) = (read(&schema("string"), &references), read(&schema("integer"), &references));
    assert!(!within(&one, &other, &references).is_empty());
    assert!(!accepts(&one.root, &one, &references, &json!(1)));
    let circle = json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/a" } } });
    let circle = read(&circle, &references);
    assert!(!within(&circle, &one, &references).is_empty());
    assert!(!accepts(&circle.root, &circle, &references, &json!(1)));
}

//! Where a document does not fit its schema, and what to change: for whoever sent it. What they sent is not repeated.

use jsonschema::{
    ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde_json::Value;

use crate::model::event_schema::Misfit;

/// Places that are told of one document, at most.
const MISFITS_MAX: usize = 16;
/// Longest text of one place, characters: an `enum` may be long.
const CHARACTERS_MAX: usize = 400;

/// Every place where a document does not fit, the first of them.
#[must_use]
pub fn misfits(schema: &Validator, data: &Value) -> Vec<Misfit> {
    schema.iter_errors(data).take(MISFITS_MAX).map(|error| misfit(&error)).collect()
}

fn misfit(error: &ValidationError<'_>) -> Misfit {
    Misfit {
        pointer: error.instance_path().to_string(),
        schema_pointer: error.schema_path().to_string(),
        found: short(error.masked().to_string()),
        change: short(change(error.kind())),
    }
}

fn short(text: String) -> String {
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

fn change(kind: &Kind) -> String {
    match kind {
        Kind::Required { property } => format!("add {property}"),
        Kind::AdditionalProperties { unexpected } => {
            format!("leave out {}, or use a version of the schema that has it", unexpected.join(", "))
        }
        Kind::Type { kind: TypeKind::Single(one) } => format!("make it of type {one}"),
        Kind::Type { kind: TypeKind::Multiple(several) } => {
            let names: Vec<String> = several.iter().map(|one| one.to_string()).collect();
            format!("make it of type {}", names.join(" or "))
        }
        Kind::Enum { options } => format!("use one of {options}"),
        Kind::Constant { expected_value } => format!("use {expected_value}"),
        Kind::Pattern { pattern } => format!("write it so that it matches {pattern}"),
        Kind::MinLength { limit } => format!("write at least {limit} characters"),
        Kind::MaxLength { limit } => format!("write at most {limit} characters"),
        Kind::MinItems { limit } => format!("give at least {limit} items"),
        Kind::MaxItems { limit } => format!("give at most {limit} items"),
        Kind::MinProperties { limit } => format!("give at least {limit} properties"),
        Kind::MaxProperties { limit } => format!("give at most {limit} properties"),
        Kind::Minimum { limit } => format!("give at least {limit}"),
        Kind::Maximum { limit } => format!("give at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("give more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("give less than {limit}"),
        Kind::UniqueItems => "leave out items that are there twice".to_owned(),
        _ => format!("see `{}` in the schema", kind.keyword()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::misfits;

    #[test]
    fn each_place_is_told_with_what_to_change_and_without_what_was_sent() {
        let schema = json!({
            "type": "object", "required": ["name", "total"], "additionalProperties": false,
            "properties": {
                "name": { "type": "string", "maxLength": 3 },
                "total": { "type": ["integer", "null"] },
                "kind": { "enum": ["a", "b"] },
                "lines": { "type": "array", "minItems": 1, "items": { "type": "object", "required": ["sku"] } },
            },
        });
        let validator = jsonschema::validator_for(&schema).unwrap();
        let data = json!({ "name": "a secret name", "kind": "hidden", "lines": [{}], "more": 1 });
        let found = misfits(&validator, &data);
        let told: Vec<(&str, &str)> = found.iter().map(|one| (one.pointer.as_str(), one.change.as_str())).collect();
        for expected in [
            ("", "add \"total\""),
            ("", "leave out more, or use a version of the schema that has it"),
            ("/name", "write at most 3 characters"),
            ("/kind", "use one of [\"a\",\"b\"]"),
            ("/lines/0", "add \"sku\""),
        ] {
            assert!(told.contains(&expected), "{expected:?} is not in {told:?}");
        }
        let text = serde_json::to_string(&found).unwrap();
        assert!(!text.contains("secret") && !text.contains("hidden"), "{text}");
    }

    #[test]
    fn what_is_told_is_bounded() {
        let validator = jsonschema::validator_for(&json!({ "items": { "type": "string" } })).unwrap();
        let many: Vec<u32> = (0..1_000).collect();
        assert_eq!(misfits(&validator, &json!(many)).len(), super::MISFITS_MAX);
    }
}

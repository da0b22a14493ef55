//! What a consumer gives an operation, as one document.

use serde_json::{Map, Value};

use crate::{
    model::{contract::ContractOperation, json::Json},
    ports::apis::{ApiError, Input},
};

/// The input's document, not yet held against its schema.
///
/// # Errors
/// If it is none, or a field of it cannot be read.
pub(super) fn document(input: Input, operation: &ContractOperation) -> Result<Json, ApiError> {
    match input {
        // In order, so that the same input is the same bytes.
        Input::Document(bytes) => match Json::parse(bytes) {
            Ok(json) => Ok(Json::from(json.to_value())),
            Err(error) => Err(wrong(format!("the body is not a JSON document: {error}"))),
        },
        Input::Fields(fields) => from_fields(fields, &operation.input.to_value()),
    }
}

fn from_fields(fields: Vec<(String, String)>, schema: &Value) -> Result<Json, ApiError> {
    let mut object = Map::new();
    for (name, text) in fields {
        let Some(field) = schema.pointer("/properties").and_then(|known| known.get(&name)) else {
            let known: Vec<&str> = names(schema).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(wrong(format!("the operation takes no `{name}`; it takes: {known}")));
        };
        let value = if is_text(field) {
            Value::from(text)
        } else {
            let json = Json::parse(text.into_bytes());
            json.map_err(|error| wrong(format!("`{name}` is not JSON, which the operation takes there: {error}")))?
                .to_value()
        };
        if object.insert(name.clone(), value).is_some() {
            return Err(wrong(format!("`{name}` is there twice")));
        }
    }
    Ok(Json::from(Value::Object(object)))
}

/// The names of an object's fields.
pub(super) fn names(schema: &Value) -> impl Iterator<Item = &str> {
    schema.pointer("/properties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str())
}

/// Whether a field holds text, which is then given as it is.
pub(super) fn is_text(field: &Value) -> bool {
    let text = |value: &Value| value == "string";
    match (field.get("type"), field.get("enum"), field.get("const")) {
        (Some(Value::Array(types)), ..) => types.iter().any(text),
        (Some(one), ..) => text(one),
        (None, Some(Value::Array(values)), _) => values.iter().all(Value::is_string),
        (None, _, Some(value)) => value.is_string(),
        _ => false,
    }
}

fn wrong(problem: String) -> ApiError {
    ApiError::Input { problem }
}

#[cfg(test)]
mod tests {
    use super::document;
    use crate::{
        model::{contract::ContractOperation, json::Json, manifest::Effect},
        ports::apis::Input,
    };

    #[track_caller]
    fn check(fields: &[(&str, &str)], expected: &str) {
        let schema = r#"{"type": "object", "properties": {"id": {"type": "string"}, "limit": {"type": "integer"},
            "state": {"enum": ["open", "closed"]}, "lines": {"type": "array"}, "order": {"$ref": "retail/order@1"}}}"#;
        let operation = ContractOperation {
            effect: Effect::Read,
            summary: String::new(),
            input: Json::parse(schema).unwrap(),
            output: Json::null(),
        };
        let fields = fields.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let said = match document(Input::Fields(fields), &operation) {
            Ok(json) => String::from_utf8(json.as_bytes().to_vec()).unwrap(),
            Err(error) => error.to_string(),
        };
        assert!(said == expected || (expected.starts_with('`') && said.starts_with(expected)), "{said}");
    }

    #[test]
    fn fields_are_text_where_the_schema_says_so_and_json_elsewhere() {
        check(&[("id", "17"), ("limit", "17")], r#"{"id":"17","limit":17}"#);
        check(&[("state", "open"), ("lines", r#"[{"sku":"a"}]"#)], r#"{"lines":[{"sku":"a"}],"state":"open"}"#);
        check(&[("order", r#"{"b":1,"a":2}"#)], r#"{"order":{"a":2,"b":1}}"#);
        check(&[], "{}");
        check(&[("limit", "many")], "`limit` is not JSON");
        check(&[("id", "1"), ("id", "2")], "`id` is there twice");
        check(&[("name", "1")], "the operation takes no `name`; it takes: id, limit, lines, order, state");
    }
}

//! Reading what a hub answers, for people: what is absent is nothing to show.

use serde_json::Value;

/// What is at a JSON pointer, as text.
pub(super) fn text(value: &Value, path: &str) -> String {
    match value.pointer(path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// The number at a JSON pointer; absent: 0.
pub(super) fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_default()
}

/// The elements at a JSON pointer.
pub(super) fn list<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

/// The texts at a JSON pointer, one after the other.
pub(super) fn texts(value: &Value, path: &str) -> String {
    list(value, path).filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

/// Who has the say about a setting, and what hub.toml declares of it.
pub(super) fn set_by(view: &Value) -> &'static str {
    match (text(view, "/origin").as_str(), text(view, "/declared").as_str()) {
        ("api", "differs") => "the API; hub.toml declares something else, which is not followed",
        ("api", "same") => "the API; hub.toml declares the same",
        ("api", _) => "the API; hub.toml does not declare it",
        _ => "hub.toml",
    }
}

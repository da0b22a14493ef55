//! A JSON document of a run: exact bytes, parsed at most once and only if somebody looks inside; or a value, written
//! down at most once and only if somebody wants the bytes.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::model::json::{self, Json};

/// A shared document. Cheap to clone; the form that it was not made of is made on first use and shared by all clones.
#[derive(Clone, Debug)]
pub struct Document(Arc<Inner>);

// INVARIANT: at least one of the two is there from the beginning. A value's fields are in order.
#[derive(Debug)]
struct Inner {
    json: OnceLock<Json>,
    value: OnceLock<Value>,
}

impl Document {
    /// Wraps a document.
    #[must_use]
    pub fn new(json: Json) -> Self {
        Self(Arc::new(Inner { json: OnceLock::from(json), value: OnceLock::new() }))
    }

    /// Its exact bytes.
    #[must_use]
    pub fn json(&self) -> &Json {
        self.0.json.get_or_init(|| self.0.value.get().map_or_else(Json::null, Json::of_sorted))
    }

    /// Its parsed form.
    #[must_use]
    pub fn value(&self) -> &Value {
        self.0.value.get_or_init(|| self.0.json.get().map_or(Value::Null, Json::to_value))
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

impl From<Value> for Document {
    fn from(mut value: Value) -> Self {
        json::sort(&mut value);
        Self(Arc::new(Inner { json: OnceLock::new(), value: OnceLock::from(value) }))
    }
}

//! A JSON document of a run: exact bytes, parsed at most once and only if somebody looks inside.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::model::json::Json;

/// A shared document. Cheap to clone; the parsed form is made on first use and shared by all clones.
#[derive(Clone, Debug)]
pub struct Document(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    json: Json,
    value: OnceLock<Value>,
}

impl Document {
    /// Wraps a document.
    #[must_use]
    pub fn new(json: Json) -> Self {
        Self(Arc::new(Inner { json, value: OnceLock::new() }))
    }

    /// Its exact bytes.
    #[must_use]
    pub fn json(&self) -> &Json {
        &self.0.json
    }

    /// Its parsed form.
    #[must_use]
    pub fn value(&self) -> &Value {
        self.0.value.get_or_init(|| self.0.json.to_value())
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.0.json == other.0.json
    }
}

impl From<Value> for Document {
    fn from(mut value: Value) -> Self {
        value.sort_all_objects();
        Self(Arc::new(Inner { json: Json::from(value.clone()), value: OnceLock::from(value) }))
    }
}

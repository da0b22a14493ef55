//! The JSON Schemas that a plugin's manifest names, read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Schemas of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schemas {
    /// Of its settings.
    pub config: Option<Value>,
    /// Of its input.
    pub input: Option<Value>,
    /// Of its output.
    pub output: Option<Value>,
    /// Of the data of events that it produces, by event type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<String, Value>,
    /// Of its operations, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub operations: BTreeMap<String, OperationSchemas>,
}

/// Schemas of one operation, beyond those of the contracts that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationSchemas {
    /// Of its input.
    pub input: Option<Value>,
    /// Of its output.
    pub output: Option<Value>,
}

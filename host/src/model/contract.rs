//! Operation contracts: what a pipeline may ask of any ERP, warehouse or carrier, whoever wrote the connector.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{id::ContractId, json::Json, manifest::Effect};

/// A contract: operations with schemas in the canonical model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationContract {
    /// `namespace/name@major`.
    pub id: ContractId,
    /// One sentence for people.
    pub summary: String,
    /// By name.
    pub operations: BTreeMap<String, ContractOperation>,
}

/// One operation of a contract.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContractOperation {
    /// Whether it changes the remote.
    pub effect: Effect,
    /// One sentence for people.
    pub summary: String,
    /// JSON Schema (2020-12) of the input. `{"$ref": "retail/order@1"}` names a canonical document.
    pub input: Json,
    /// JSON Schema of the output.
    pub output: Json,
}

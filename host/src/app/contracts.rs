//! The operation contracts, canonical documents and event schemas that come with the hub, and validators made of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jsonschema::{PatternOptions, Registry, Validator};
use serde_json::Value;

use super::schemas::{self, EventTypes, SchemaVersion};
use crate::{
    model::{
        contract::OperationContract, event_schema::SchemaRecord, id::ContractId, manifest::Manifest,
        timestamp::Timestamp,
    },
    policy::personal::tags::Tags,
};

/// What relative references in schemas are relative to: `{"$ref": "retail/order@1"}` is this and `retail/order@1`.
const BASE: &str = "https://schemas.crossdock.invalid/";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../contracts/", $name, ".json")))),*]
    };
}

/// Operation contracts, by id.
const CONTRACTS: &[(&str, &str)] = files![
    "retail/erp-orders@1",
    "retail/warehouse@1",
    "retail/carrier-rates@1",
    "retail/inventory@1",
    "retail/pricing@1",
    "retail/returns@1",
    "retail/supplier-events@1",
    "bench/target@1",
    "bench/source@1",
];
/// Canonical documents, by name below `schemas/`.
const DOCUMENTS: &[(&str, &str)] = files![
    "schemas/retail/order@1",
    "schemas/retail/money@1",
    "schemas/retail/return@1",
    "schemas/retail/supplier-event@1",
];
/// Schemas of events' data, by event type below `events/`.
const EVENTS: &[(&str, &str)] = files![
    "events/retail.fulfilment.planned.v1",
    "events/retail.order.failed.v1",
    "events/retail.order.placed.v1",
    "events/retail.order.shipped.v1",
];

/// Contracts and schemas, ready to use.
pub struct Library {
    /// Operation contracts by id.
    pub contracts: Arc<BTreeMap<ContractId, OperationContract>>,
    /// Validators of each operation's input and output.
    pub documents: Arc<HashMap<(ContractId, String), (Validator, Validator)>>,
    /// The event types that come with the hub, each with version 1 of its schema.
    pub events: Arc<EventTypes>,
    registry: Registry<'static>,
}

impl Library {
    /// What comes with this release.
    ///
    /// # Errors
    /// Which file does not hold, and why; a test keeps that from being released.
    pub fn built_in() -> Result<Self, String> {
        let mut schemas = Vec::new();
        for (name, text) in DOCUMENTS {
            let name = name.trim_start_matches("schemas/");
            schemas.push((format!("{BASE}{name}"), parse(name, text)?));
        }
        let registry = Registry::new()
            .extend(schemas)
            .and_then(jsonschema::RegistryBuilder::prepare)
            .map_err(|error| format!("the canonical documents do not hold together: {error}"))?;
        let mut library =
            Self { contracts: Arc::default(), documents: Arc::default(), events: Arc::default(), registry };
        let mut contracts = BTreeMap::new();
        let mut documents = HashMap::new();
        for (name, text) in CONTRACTS {
            let contract: OperationContract =
                serde_json::from_str(text).map_err(|error| format!("contract `{name}`: {error}"))?;
            for (operation, declared) in &contract.operations {
                let validators =
                    (library.validator(&declared.input.to_value())?, library.validator(&declared.output.to_value())?);
                documents.insert((contract.id.clone(), operation.clone()), validators);
            }
            contracts.insert(contract.id.clone(), contract);
        }
        let mut events = EventTypes::default();
        for (name, text) in EVENTS {
            let record = SchemaRecord {
                schema: parse(name, text)?,
                origin: schemas::BUILT_IN.to_owned(),
                added: Timestamp::default(),
                by: schemas::BUILT_IN.to_owned(),
            };
            events.add(name.trim_start_matches("events/"), 1, library.version(record)?);
        }
        library.contracts = Arc::new(contracts);
        library.documents = Arc::new(documents);
        library.events = Arc::new(events);
        Ok(library)
    }

    /// The canonical documents that schemas may refer to, by name.
    #[must_use]
    pub fn references() -> BTreeMap<String, Value> {
        let documents = DOCUMENTS.iter();
        documents
            .filter_map(|(name, text)| Some((name.trim_start_matches("schemas/").to_owned(), parse(name, text).ok()?)))
            .collect()
    }

    /// A validator of a schema, which may refer to canonical documents. Nothing is fetched from anywhere.
    ///
    /// # Errors
    /// What is wrong with the schema.
    pub fn validator(&self, schema: &Value) -> Result<Validator, String> {
        jsonschema::options()
            .with_base_uri(BASE)
            .with_registry(&self.registry)
            .offline()
            .build(schema)
            .map_err(|error| format!("a schema does not hold: {error}"))
    }

    /// A version of an event type's schema, with its validator. Its patterns are matched in time linear in the text, so that
    /// no event can hold the hub up.
    ///
    /// # Errors
    /// What is wrong with the schema.
    pub fn version(&self, record: SchemaRecord) -> Result<SchemaVersion, String> {
        let validator = jsonschema::options()
            .with_base_uri(BASE)
            .with_registry(&self.registry)
            .with_pattern_options(PatternOptions::regex())
            .offline()
            .build(&record.schema)
            .map_err(|error| format!("the schema does not hold: {error}"))?;
        let personal = Tags::read(&record.schema, &Self::references());
        let personal =
            personal.map_err(|problem| format!("the schema does not hold at `{}`: {}", problem.at, problem.found))?;
        let (digest, personal) = (schemas::digest(&record.schema), personal.map(Arc::new));
        Ok(SchemaVersion { digest, record, validator, personal })
    }

    /// Whether a connector has every operation of the contracts that it says it implements.
    ///
    /// # Errors
    /// Which contract or operation is missing, and what to add.
    pub fn implements(&self, manifest: &Manifest) -> Result<(), String> {
        for id in &manifest.implements {
            let Some(contract) = self.contracts.get(id) else {
                let known: Vec<&str> = self.contracts.keys().map(ContractId::as_str).collect();
                return Err(format!("no contract is named `{id}`; there is {}", known.join(", ")));
            };
            for (name, operation) in &contract.operations {
                match manifest.operations.get(name) {
                    None => return Err(format!("contract `{id}` needs operation `{name}`: add `[operations.{name}]`")),
                    Some(declared) if declared.effect != operation.effect => {
                        return Err(format!(
                            "operation `{name}` is a {:?} in contract `{id}`: set its `effect` so",
                            operation.effect
                        )
                        .to_lowercase());
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}

fn parse(name: &str, text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("schema `{name}`: {error}"))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use serde_json::{Value, json};

    use super::{CONTRACTS, DOCUMENTS, EVENTS, Library};

    fn files(folder: &Path, below: &str, into: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry")) {
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                files(&entry.path(), &format!("{name}/"), into);
            } else if let Some(name) = name.strip_suffix(".json") {
                into.insert(name.to_owned());
            }
        }
    }

    #[test]
    fn everything_in_the_folder_is_built_in_and_holds() {
        let mut there = BTreeSet::new();
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts"), "", &mut there);
        let built_in: BTreeSet<String> =
            CONTRACTS.iter().chain(DOCUMENTS).chain(EVENTS).map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(there, built_in);
        Library::built_in().map(|_| ()).expect("holds");
    }

    #[test]
    fn what_contracts_are_for_fits_and_what_is_not_so_does_not() {
        let library = Library::built_in().expect("holds");
        let line = json!({ "sku": "A", "quantity": 1, "reason": "too-small" });
        let back = json!({ "id": "R1", "order": "4711", "status": "received", "lines": [line], "currency": "EUR", "refund": "9.90" });
        let event = json!({ "id": "1", "type": "shipped", "time": "2026-01-02T03:04:05Z", "purchase_order": "PO-1",
            "lines": [{ "sku": "A", "quantity": 2.5, "unit": "KGM", "price": "3.10" }] });
        let level = json!({ "sku": "A", "location": "BER", "available": 4 });
        let price = json!({ "sku": "A", "price": { "amount": "9.90", "currency": "EUR" } });
        let spoilt = |document: &Value, field: &str, value: Value| {
            let mut spoilt = document.clone();
            spoilt[field] = value;
            spoilt
        };
        for (contract, operation, good, bad) in [
            ("retail/returns@1", "read_return", back.clone(), spoilt(&back, "refund", json!(9.9))),
            ("retail/returns@1", "find_return", Value::Null, json!([])),
            ("retail/returns@1", "find_return", back.clone(), spoilt(&back, "status", json!("lost"))),
            ("retail/returns@1", "returns_of", json!({ "returns": [back] }), json!({ "returns": [{}] })),
            (
                "retail/supplier-events@1",
                "events",
                json!({ "events": [event], "next": "2" }),
                json!({ "events": [{}] }),
            ),
            (
                "retail/supplier-events@1",
                "events_of",
                json!({ "events": [event] }),
                json!({ "events": [spoilt(&event, "type", json!("eaten"))] }),
            ),
            (
                "retail/inventory@1",
                "levels",
                json!({ "levels": [level] }),
                json!({ "levels": [spoilt(&level, "available", json!(-1))] }),
            ),
            (
                "retail/pricing@1",
                "prices",
                json!({ "prices": [price] }),
                json!({ "prices": [spoilt(&price, "price", json!("9.90"))] }),
            ),
        ] {
            let (_, output) = &library.documents[&(contract.parse().expect("an id"), operation.to_owned())];
            assert!(output.is_valid(&good), "{contract} {operation}: {good}");
            assert!(!output.is_valid(&bad), "{contract} {operation}: {bad}");
        }
    }
}

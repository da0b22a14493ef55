//! Plugins, contracts and pipelines that the examples name.

use std::collections::BTreeMap;

use semver::Version;

use crate::{
    flow::language::{Environment, PipelineFacts, PluginFacts},
    model::{
        contract::{ContractOperation, OperationContract},
        id::{ContractId, PluginId},
        json::Json,
        manifest::{Effect, Kind, RuleFacts},
    },
};

pub(super) struct World {
    pub(super) contracts: BTreeMap<ContractId, OperationContract>,
    plugins: BTreeMap<PluginId, Vec<PluginFacts>>,
    pipelines: BTreeMap<String, PipelineFacts>,
    tables: BTreeMap<String, Vec<Version>>,
}

/// Contract, reads, writes.
const CONTRACTS: [(&str, &str, &str); 11] = [
    ("retail/erp-orders@1", "read_order read_reservation", "create_order cancel_order reserve release"),
    ("retail/warehouse@1", "availability", "create_pick cancel_pick restock"),
    ("retail/carrier-rates@1", "quote expedite", ""),
    ("retail/erp-purchasing@1", "read_purchase_order", "change_order restore_order create_order cancel_order"),
    ("retail/supplier-edi@1", "", "send_change"),
    ("retail/erp-returns@1", "read_return", "create_return reverse_credit"),
    ("retail/shop@1", "", "refund"),
    ("retail/carrier-labels@1", "", "return_label void_label"),
    ("retail/settlement-source@1", "rows", ""),
    ("retail/erp-ledger@1", "open_items read_journal", "post_journal reverse_journal"),
    ("retail/empty@1", "", ""),
];

/// Plugin, version, kind, outcomes, routes.
const PLUGINS: [(&str, &str, Kind, &str, &str); 19] = [
    ("crossdock/shopify-order", "1.2.0", Kind::Transform, "", ""),
    ("crossdock/settlement-summary", "1.0.0", Kind::Transform, "", ""),
    ("crossdock/order-risk", "1.0.0", Kind::Scorer, "", ""),
    ("crossdock/node-ranking", "1.0.0", Kind::Scorer, "", ""),
    ("crossdock/stockout-risk", "1.0.0", Kind::Scorer, "", ""),
    ("crossdock/return-abuse", "1.0.0", Kind::Scorer, "", ""),
    ("crossdock/settlement-cause", "1.0.0", Kind::Scorer, "", ""),
    ("crossdock/order-risk-rules", "1.0.0", Kind::Rule, "proceed", ""),
    ("crossdock/days-of-cover", "1.0.0", Kind::Rule, "proceed", ""),
    ("crossdock/order-validation", "2.0.1", Kind::Rule, "proceed hold reject", ""),
    ("crossdock/fulfilment-policy", "1.0.0", Kind::Rule, "proceed hold", ""),
    ("crossdock/supplier-exception", "1.0.0", Kind::Rule, "proceed route", "short late dearer different silent"),
    ("crossdock/alternate-sourcing", "1.0.0", Kind::Rule, "hold route", "accept expedite substitute"),
    ("crossdock/return-eligibility", "1.0.0", Kind::Rule, "proceed reject", ""),
    ("crossdock/return-disposition", "1.0.0", Kind::Rule, "route reject", "keep send_back"),
    ("crossdock/refund-amount", "1.0.0", Kind::Rule, "proceed hold", ""),
    ("crossdock/settlement-match", "1.0.0", Kind::Rule, "proceed", ""),
    ("crossdock/settlement-policy", "1.0.0", Kind::Rule, "proceed hold", ""),
    ("crossdock/sap", "1.0.0", Kind::Connector, "", ""),
];

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

impl World {
    pub(super) fn new() -> Self {
        let operation = |effect| ContractOperation {
            effect,
            summary: String::new(),
            input: Json::empty_object(),
            output: Json::empty_object(),
        };
        let contract = |(id, reads, writes): &(&str, &str, &str)| {
            let id: ContractId = id.parse().unwrap();
            let reads = words(reads).into_iter().map(|name| (name, operation(Effect::Read)));
            let writes = words(writes).into_iter().map(|name| (name, operation(Effect::Write)));
            let operations = reads.chain(writes).collect();
            (id.clone(), OperationContract { id, summary: String::new(), operations })
        };
        let plugin = |(id, version, kind, outcomes, routes): &(&str, &str, Kind, &str, &str)| {
            let rule = (*kind == Kind::Rule).then(|| RuleFacts { outcomes: words(outcomes), routes: words(routes) });
            let facts = PluginFacts { version: version.parse().unwrap(), kind: *kind, rule };
            (id.parse().unwrap(), vec![facts])
        };
        let pipeline = |name: &str, version: &str, runs: &[&str]| {
            let runs = runs.iter().map(|&name| name.to_owned()).collect();
            (name.to_owned(), PipelineFacts { versions: vec![version.parse().unwrap()], runs })
        };
        Self {
            contracts: CONTRACTS.iter().map(contract).collect(),
            plugins: PLUGINS.iter().map(plugin).collect(),
            pipelines: BTreeMap::from([
                pipeline("retail/three-way-match", "1.0.0", &[]),
                pipeline("retail/ping", "1.0.0", &["retail/pong"]),
                pipeline("retail/pong", "1.0.0", &["retail/orders"]),
            ]),
            tables: BTreeMap::from([("retail/prices".to_owned(), vec![Version::new(1, 2, 0)])]),
        }
    }

    pub(super) fn environment(&self) -> Environment<'_> {
        Environment {
            contracts: &self.contracts,
            plugins: &self.plugins,
            pipelines: &self.pipelines,
            tables: Some(&self.tables),
        }
    }
}

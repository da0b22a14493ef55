//! What every history begins with: a pipeline, an event, what is installed.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::super::effect::{Bindings, OperationUse, Pick, Unserved};
use crate::{
    flow::{
        language,
        plan::{Plan, PluginRange, compile},
    },
    model::{
        contract::OperationContract,
        decision::{Outcome, Reason, Verdict},
        entry::{PipelineUse, PluginUse, RunStarted},
        event::Event,
        id::{AcceptanceId, ContractId, Digest, RunId},
        manifest::Doubt,
        timestamp::Timestamp,
    },
};

const HEAD: &str = "
pipeline: test/orders
version: 1.0.0
owner: tests
summary: For tests.
uses: { erp: test/erp@1 }
trigger:
  - event: order.placed
key: event.subject
erp: [create, cancel]
config: { limit: 10, tries: 2, people: 2 }
vars: { n: 0, seen: [] }
steps:
";

pub(super) fn plan(steps: &str) -> Arc<Plan> {
    plan_of("1.0.0", steps)
}

pub(super) fn plan_of(version: &str, steps: &str) -> Arc<Plan> {
    let operation = |effect: &str| json!({"effect": effect, "summary": "", "input": true, "output": true});
    let contract = json!({"id": "test/erp@1", "summary": "", "operations": {
        "read": operation("read"), "create": operation("write"), "cancel": operation("write"), "find": operation("read"),
        "assess": operation("read"),
    }});
    let contract: OperationContract = serde_json::from_value(contract).expect("contract");
    let contracts: BTreeMap<ContractId, OperationContract> = BTreeMap::from([(contract.id.clone(), contract)]);
    let head = HEAD.replace("version: 1.0.0", &format!("version: {version}"));
    let text = format!("{head}{}", steps.trim_start_matches('\n'));
    let definition = language::parse(&text).unwrap_or_else(|found| panic!("{found:#?}\n{text}"));
    Arc::new(compile::compile(&definition, &text, &contracts).expect("compiles"))
}

pub(super) fn id() -> RunId {
    RunId::of(AcceptanceId::of("/s", "1"), "test/orders")
}

pub(super) fn begun(data: Value) -> RunStarted {
    RunStarted {
        time: Timestamp::from_millis(1_000),
        acceptance: AcceptanceId::of("/s", "1"),
        pipeline: PipelineUse { name: "test/orders".into(), version: "1.0.0".into(), digest: Digest::of(b"") },
        lane: crate::model::lane::Lane::default(),
        key: "k".into(),
        event: event("1", "order.placed", data),
        parent: None,
        personal: None,
    }
}

pub(super) fn event(id: &str, event_type: &str, data: Value) -> Event {
    Event {
        id: id.into(),
        source: "/s".into(),
        event_type: event_type.into(),
        subject: Some("k".into()),
        time: None,
        data_schema: None,
        data: data.into(),
        extensions: BTreeMap::new(),
    }
}

pub(super) fn verdict(outcome: Outcome, target: Option<&str>) -> Verdict {
    let reason = Reason { code: "why".into(), message: "because".into(), path: None };
    Verdict { outcome, target: target.map(str::to_owned), reasons: vec![reason], output: None }
}

pub(super) fn used() -> PluginUse {
    PluginUse {
        id: "test/x".parse().expect("id"),
        version: "1.0.0".into(),
        digest: Digest::of(b"x"),
        contract: "1.0.0".into(),
        grant: 1,
        canary: false,
    }
}

/// What is installed: how doubt is resolved, and the revision of the connection.
pub(super) struct Installed {
    pub(super) doubt: Doubt,
    pub(super) grant: u64,
}

impl Bindings for Installed {
    fn plugin(&self, _: &PluginRange, _: Pick<'_>) -> Result<Arc<PluginUse>, Unserved> {
        Ok(Arc::new(used()))
    }

    fn operation(&self, _: &str, _: &str, pick: Pick<'_>) -> Result<OperationUse, Unserved> {
        let plugin = PluginUse { grant: self.grant, ..used() };
        let elsewhere = matches!(pick, Pick::Same(made) if made.grant != self.grant);
        Ok(OperationUse { plugin: Arc::new(plugin), doubt: self.doubt.clone(), elsewhere })
    }
}

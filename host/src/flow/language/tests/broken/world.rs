//! What does not fit the plugins, contracts and connections that there are.

use super::super::lines;
use super::check;

#[test]
fn world_unknown_plugin() {
    check(
        "crossdock/order-risk@^1",
        "crossdock/order-rsik@^1",
        &[
            "18:12 language.unknown-plugin: no plugin is called `crossdock/order-rsik` → did you mean `crossdock/order-risk`?",
        ],
    );
}

#[test]
fn world_plugin_of_another_kind() {
    check(
        "    score: crossdock/order-risk@^1",
        "    rule: crossdock/order-risk@^1",
        &[
            "18:11 language.plugin-kind: `crossdock/order-risk` is a scorer, here belongs a rule → `score: crossdock/order-risk@^1`",
        ],
    );
}

#[test]
fn world_scorers_that_are_called() {
    let score = "    score: crossdock/order-risk@^1";
    check(score, "    score: { call: wms#availability }", &[]);
    check(
        score,
        "    score: { call: wms#create_pick }",
        &[
            "18:24 language.operation-effect: `create_pick` writes, and what recommends is a read → name an operation that only reads",
        ],
    );
    check(
        score,
        "    score: { call: llm#assess }",
        &["18:24 language.unknown-connection: `uses` has no `llm` → one of `erp`, `wms`"],
    );
    check(
        score,
        "    score: { call: wms#availability }\n    mode: auto",
        &[
            "19:11 language.conflict: nothing vouches for the model behind an operation, so it may not decide alone → `advise`, and let a rule or people decide",
        ],
    );
}

#[test]
fn world_connector_as_step() {
    check(
        "    transform: crossdock/shopify-order@^1",
        "    transform: crossdock/sap@^1",
        &[
            "14:16 language.plugin-kind: `crossdock/sap` is a connector, here belongs a transform → name a connection in `uses`, and `call` its operation",
        ],
    );
}

#[test]
fn world_no_version_in_range() {
    check(
        "crossdock/order-risk@^1",
        "crossdock/order-risk@^3",
        &[
            "18:12 language.no-version: no version of `crossdock/order-risk` is within `^3` → widen the range, or add a version; there are `1.0.0`",
        ],
    );
}

#[test]
fn world_unknown_contract() {
    check(
        "wms: retail/warehouse@1",
        "wms: retail/warehouse@2",
        &[
            "6:40 language.unknown-contract: no operation contract is called `retail/warehouse@2` → did you mean `retail/warehouse@1`?",
        ],
    );
}

#[test]
fn world_unknown_connection() {
    check(
        "call: wms#availability",
        "call: wsm#availability",
        &["21:11 language.unknown-connection: `uses` has no `wsm` → did you mean `wms`?"],
    );
}

#[test]
fn world_unknown_operation() {
    check(
        "call: wms#availability",
        "call: wms#avalability",
        &[
            "21:15 language.unknown-operation: `retail/warehouse@1` has no operation `avalability` → did you mean `availability`?",
        ],
    );
}

#[test]
fn world_undeclared_erp_write() {
    check(
        "call: wms#create_pick",
        "call: erp#reserve",
        &[
            "29:23 language.undeclared-touchpoint: `reserve` writes to the ERP, and `erp` does not list it → add `reserve` to `erp` at the top, so that everybody sees what is touched",
        ],
    );
}

#[test]
fn world_touchpoint_that_is_not_touched() {
    check(
        "key: event.subject",
        "key: event.subject\nerp: [reserve]",
        &[
            "10:7 language.unused-touchpoint: no step writes to the ERP by `reserve` → leave it out: `erp` lists the writes that there are",
        ],
    );
}

#[test]
fn world_outcomes_not_handled() {
    check(
        "  - id: stock",
        "  - rule: crossdock/order-validation@^2\n    with: {}\n  - id: stock",
        &[
            "20:11 language.outcome-unhandled: `crossdock/order-validation` may answer `hold`, and nobody is asked then → add `outcomes: { hold: { approve: { group: …, within: …, on_expiry: … } } }`, or `hold: dead_letter`",
        ],
    );
}

#[test]
fn world_outcomes_not_listed() {
    check(
        "  - id: stock",
        "  - rule: crossdock/return-disposition@^1\n    with: {}\n    outcomes: { proceed: { end: fine }, route: { keep: [], sendback: [] } }\n  - id: stock",
        &[
            "20:11 language.outcome-unhandled: `crossdock/return-disposition` may take the route `send_back`, and there is no such branch → add it under `outcomes: { route: … }`, as `send_back: []` if nothing is to be done",
            "22:26 language.outcome-not-listed: `crossdock/return-disposition` never answers `proceed` → it answers `route`, `reject`; leave this out",
            "22:60 language.outcome-not-listed: `crossdock/return-disposition` never takes the route `sendback` → did you mean `send_back`?",
        ],
    );
}

#[test]
fn world_unknown_pipeline() {
    check(
        "  - id: way",
        "  - run: retail/three-way-mach@^1\n    with: {}\n  - id: way",
        &[
            "24:10 language.unknown-pipeline: no pipeline is called `retail/three-way-mach` → did you mean `retail/three-way-match`?",
        ],
    );
}

#[test]
fn world_pipeline_that_runs_itself() {
    check(
        "  - id: way",
        "  - run: retail/orders@^1\n    with: {}\n  - id: way",
        &[
            "24:10 language.cycle: this pipeline would run itself: `retail/orders` → `retail/orders` → repeat with `loop`, or emit an event that a person or a condition lets through",
        ],
    );
}

#[test]
fn world_pipelines_that_run_each_other() {
    check(
        "  - id: way",
        "  - run: retail/ping@^1\n    with: {}\n  - id: way",
        &[
            "24:10 language.cycle: this pipeline would run itself: `retail/orders` → `retail/ping` → `retail/pong` → `retail/orders` → repeat with `loop`, or emit an event that a person or a condition lets through",
        ],
    );
}

#[test]
fn world_emits_its_own_trigger() {
    check(
        "emit: retail.order.planned.v1",
        "emit: retail.order.placed.v1",
        &[
            "39:5 language.cycle: `retail.order.placed.v1` starts this same pipeline again, without end → emit another type, or put a `where` on the trigger",
        ],
    );
}

#[test]
fn an_erp_write_without_read_back_is_advised_against_but_accepted() {
    let world = super::super::stubs::World::new();
    let advice = |text: &str| {
        let definition = crate::flow::language::parse(text).unwrap();
        lines(&crate::flow::language::advise(&definition, &world.environment()))
    };
    let text = include_str!("../../fixtures/orders.yaml");
    assert_eq!(advice(text), [""; 0]);
    assert_eq!(
        advice(&text.replacen("wms#create_pick", "erp#reserve", 1)),
        ["29:23 language.write-without-read-back: nothing reads back what `reserve` wrote to the ERP → read it back \
             with a `call` after it, so that \"sent\" becomes \"posted\""]
    );
    for text in [include_str!("../../fixtures/fulfilment.yaml"), include_str!("../../fixtures/replenishment.yaml")] {
        assert_eq!(advice(text), [""; 0]);
    }
}

//! What an expression may do with values: amounts only as decimals, patterns only constant.

use super::{diagnose, lines, stubs::World};
use crate::{flow::language, model::json::Json};

#[track_caller]
fn check(condition: &str, expected: &[&str]) {
    let text = include_str!("../fixtures/orders.yaml");
    let found = diagnose(&text.replacen("steps.risk.score > 0.9", condition, 1));
    assert_eq!(lines(&found), expected);
}

#[test]
fn amounts_are_compared_as_decimals_only() {
    let refused = |column: u32| {
        format!(
            "31:{column} language.amount-as-text: this takes amounts as texts, in which `9.00` comes after `10.00` → put \
             `decimal()` around both sides"
        )
    };
    check("steps.order.total.amount > event.data.limit.amount", &[&refused(40)]);
    check("event.data.limit.amount == '10.00'", &[&refused(39)]);
    check("event.data.limit.amount <= 10", &[&refused(39)]);
    check("event.data.limit.amount + event.data.fee.amount == ''", &[&refused(39)]);
    check("decimal(steps.order.total.amount) > decimal(event.data.limit.amount)", &[]);
    check("decimal(event.data.limit.amount) > 10", &[]);
    check("event.data.limit.amount != null", &[]);
    check("event.data.shown == 'EUR ' + event.data.limit.amount", &[]);
}

#[test]
fn times_have_functions() {
    check("timestamp(event.time) + duration('72h') > timestamp(event.data.promised)", &[]);
    check("timestamp(event.time).getHours('Europe/Berlin') >= 18", &[]);
}

#[test]
fn patterns_are_constant() {
    let found = "31:15 language.expression-limit: this expression has a pattern for `matches` that is not written out: \
                 write it as a text → do this in a `transform` or a `rule`";
    check("event.data.sku.matches(event.data.pattern)", &[found]);
    check("event.data.sku.matches('^A-[0-9]+$')", &[]);
}

/// With schemas for `wms#create_pick`.
#[track_caller]
fn check_fields(from: &str, to: &str, expected: &[&str]) {
    let mut world = World::new();
    let contract = world.contracts.get_mut(&"retail/warehouse@1".parse().unwrap()).unwrap();
    let operation = contract.operations.get_mut("create_pick").unwrap();
    operation.input = Json::from(serde_json::json!({
        "type": "object",
        "required": ["order"],
        "additionalProperties": false,
        "properties": { "order": { "$ref": "retail/order@1" }, "note": { "type": "string" } },
    }));
    operation.output = Json::from(serde_json::json!({
        "type": "object",
        "required": ["id"],
        "properties": { "id": { "type": "string" }, "node": { "type": "string" } },
    }));
    let text = include_str!("../fixtures/orders.yaml").replacen(from, to, 1);
    let definition = language::parse(&text).unwrap();
    assert_eq!(lines(&language::check(&definition, &world.environment())), expected);
}

#[test]
fn fields_are_those_of_the_contract() {
    let (with, output) = (r#"with: { order: "${ steps.order }" }"#, "null : steps.pick.id");
    check_fields(with, with, &[]);
    check_fields(
        output,
        "null : steps.pick.idd",
        &["38:53 language.unknown-field: the output of `pick` has no `idd` → did you mean `id`?"],
    );
    check_fields(
        with,
        r#"with: { order: "${ steps.order }", notes: fragile }"#,
        &["29:23 language.unknown-field: `wms#create_pick` takes no `notes` → did you mean `note`?"],
    );
    check_fields(
        with,
        "with: { note: fragile }",
        &["29:23 language.missing-field: `wms#create_pick` needs `order` → add it to `with`; it takes `note`, `order`"],
    );
    check_fields(with, r#"with: "${ steps.order }""#, &[]);
}

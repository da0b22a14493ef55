//! Decisions, and the way from a shop's order to one.

use crossdock_plugin::{Outcome, Verdict, testing::step, typed};
use serde_json::{Value, json};

use crate::evaluate;

fn decide(input: &Value) -> Verdict {
    typed::rule(evaluate, input.to_string().as_bytes(), step("{}")).expect("decided")
}

fn input(total: &str, currency: &str, recommendation: &str, confidence: f64) -> Value {
    json!({
        "order": {"key": "1001", "currency": currency, "total": total},
        "ranking": {"recommendation": recommendation, "confidence": confidence,
                    "alternatives": [{"recommendation": "far", "score": 0.5}]},
        "thresholds": {"approval_from": {"amount": "1000.00", "currency": "EUR"}},
    })
}

#[track_caller]
fn check(input: &Value, outcome: Outcome, code: &str) {
    let verdict = decide(input);
    assert_eq!(verdict.outcome, outcome, "{verdict:?}");
    assert_eq!(verdict.reasons.first().map(|reason| reason.code.as_str()), Some(code));
}

#[test]
fn an_ordinary_order_proceeds_with_a_plan() {
    let verdict = decide(&input("124.70", "EUR", "near", 0.9));
    assert_eq!(verdict.outcome, Outcome::Proceed);
    let plan = verdict.output.expect("a plan");
    assert_eq!((&plan["node"], &plan["alternatives"]), (&json!("near"), &json!(["far"])));
}

#[test]
fn the_threshold_itself_is_held_and_a_cent_below_is_not() {
    check(&input("1000.00", "EUR", "near", 0.9), Outcome::Hold, "policy.high-value");
    check(&input("999.99", "EUR", "near", 0.9), Outcome::Proceed, "policy.recommended");
}

#[test]
fn doubt_is_held_and_what_cannot_be_is_rejected() {
    check(&input("10.00", "EUR", "near", 0.59), Outcome::Hold, "policy.low-confidence");
    check(&input("10.00", "EUR", "none", 0.0), Outcome::Reject, "policy.no-node");
    check(&input("10.00", "CHF", "near", 0.9), Outcome::Reject, "policy.currency");
}

#[test]
fn people_are_told_every_reason_and_what_happens_without_them() {
    let mut input = input("2000.00", "EUR", "near", 0.1);
    input["ranking"]["features"] = json!({"carrier": "kurier"});
    input["ranking"]["reasons"] = json!([{"code": "ranking.coverage", "message": "Near has everything"}]);
    let verdict = decide(&input);
    let codes: Vec<_> = verdict.reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, ["policy.high-value", "policy.low-confidence"]);
    let plan = verdict.output.expect("a plan");
    let choice = json!({"node": "near", "carrier": "kurier", "reason": "Near has everything"});
    assert_eq!(plan["best_within_policy"], choice);
    assert_eq!((&plan["node"], &plan["carrier"]), (&choice["node"], &choice["carrier"]));
}

#[test]
fn a_shops_order_goes_all_the_way_to_a_decision() {
    let shop_order = json!({
        "admin_graphql_api_id": "gid://shopify/Order/1", "name": "#1001", "created_at": "2026-03-01T08:15:00Z",
        "currency": "EUR", "financial_status": "paid", "total_price": "119.80",
        "shipping_address": {"name": "Ada", "address1": "Hafenstr. 1", "city": "Berlin", "zip": "10115", "country_code": "DE"},
        "line_items": [{"sku": "STOVE", "title": "Stove", "quantity": 2, "price": "59.90", "grams": 600}],
    });
    let order = typed::transform(shopify_order::apply, shop_order.to_string().as_bytes(), step("{}")).expect("turned");
    let order: Value = serde_json::from_slice(&order).expect("JSON");
    let asked = json!({
        "order": order,
        "stock": {"nodes": [{"node": "near", "name": "Near", "stock": [{"sku": "STOVE", "available": 9}]}]},
        "quotes": {"quotes": [{"node": "near", "carrier": "x", "cost": {"amount": "4.90", "currency": "EUR"}, "days": 1}]},
        "excluded": [],
    });
    let ranking = typed::scorer(node_ranking::score, asked.to_string().as_bytes(), step("{}")).expect("assessed");
    let verdict = decide(&json!({
        "order": order, "ranking": ranking,
        "thresholds": {"approval_from": {"amount": "1000.00", "currency": "EUR"}},
    }));
    assert_eq!(verdict.outcome, Outcome::Proceed, "{verdict:?}");
    let plan = verdict.output.expect("a plan");
    assert_eq!((&plan["node"], &plan["carrier"]), (&json!("near"), &json!("x")));
}

//! Decides where an order is fulfilled from. The scorer's ranking is advice; the thresholds are the retailer's, and come
//! with the input, so that a change of policy is a change of configuration and not of code.

use crossdock_plugin::{Decimal, Failure, Money, Step, Verdict};
use serde::{Deserialize, Serialize};

crossdock_plugin::rule!(evaluate);

/// Who decides about what is held.
const GROUP: &str = "fulfilment-leads";
/// The least confidence that goes ahead without people, unless the thresholds say otherwise.
const CONFIDENCE_MIN: &str = "0.6";

/// What the rule is given.
#[derive(Debug, Deserialize)]
pub struct Input {
    order: Order,
    ranking: Ranking,
    thresholds: Thresholds,
}

#[derive(Debug, Deserialize)]
struct Order {
    key: String,
    currency: String,
    total: Decimal,
}

#[derive(Debug, Deserialize)]
struct Ranking {
    recommendation: String,
    confidence: f64,
    #[serde(default)]
    alternatives: Vec<Alternative>,
}

#[derive(Debug, Deserialize)]
struct Alternative {
    recommendation: String,
}

#[derive(Debug, Deserialize)]
struct Thresholds {
    approval_from: Money,
    #[serde(default)]
    confidence_min: Option<Decimal>,
}

/// What goes on: where the order is fulfilled from.
#[derive(Debug, Serialize)]
struct Plan<'a> {
    order: &'a str,
    node: &'a str,
    /// What would be done without people, should nobody decide in time.
    best_within_policy: Choice<'a>,
    alternatives: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
struct Choice<'a> {
    node: &'a str,
}

/// Decides on one order.
///
/// # Errors
/// None of its own: an input that fits is always decided on.
pub fn evaluate(input: Input, _step: &Step) -> Result<Verdict, Failure> {
    let Input { order, ranking, thresholds } = input;
    let from = &thresholds.approval_from;
    if order.currency != from.currency {
        let text =
            format!("the order is in {}, the threshold in {}: no rule covers that", order.currency, from.currency);
        return Ok(Verdict::reject().because("policy.currency", text).at("/order/currency"));
    }
    if ranking.recommendation == "none" {
        let text = "no node can deliver the whole order";
        return Ok(Verdict::reject().because("policy.no-node", text).at("/ranking/recommendation"));
    }
    let plan = Plan {
        order: &order.key,
        node: &ranking.recommendation,
        best_within_policy: Choice { node: &ranking.recommendation },
        alternatives: ranking.alternatives.iter().map(|one| one.recommendation.as_str()).collect(),
    };
    if order.total >= from.amount {
        let text = format!("{} {} reaches the approval threshold of {}", order.total, order.currency, from.amount);
        return Ok(Verdict::hold(GROUP).because("policy.high-value", text).at("/order/total").with(&plan));
    }
    let least = thresholds.confidence_min.or_else(|| CONFIDENCE_MIN.parse().ok()).unwrap_or_default().approximate();
    if ranking.confidence < least {
        let text = format!("the ranking is only {:.2} sure, below {least:.2}", ranking.confidence);
        return Ok(Verdict::hold(GROUP).because("policy.low-confidence", text).at("/ranking/confidence").with(&plan));
    }
    let text = format!("{} is recommended, and policy allows it", ranking.recommendation);
    Ok(Verdict::proceed().because("policy.recommended", text).at("/ranking/recommendation").with(&plan))
}

#[cfg(test)]
mod tests;

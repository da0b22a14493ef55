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
    #[serde(default)]
    reasons: Vec<Ground>,
    #[serde(default)]
    features: Features,
}

#[derive(Debug, Deserialize)]
struct Ground {
    message: String,
}

/// Of what the model saw, what the plan needs.
#[derive(Debug, Default, Deserialize)]
struct Features {
    #[serde(default)]
    carrier: Option<String>,
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
    #[serde(flatten)]
    choice: Choice<'a>,
    /// What would be done without people, should nobody decide in time.
    best_within_policy: Choice<'a>,
    alternatives: Vec<&'a str>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Choice<'a> {
    node: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    carrier: Option<&'a str>,
    /// Why this one, for people.
    reason: &'a str,
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
    let choice = Choice {
        node: &ranking.recommendation,
        carrier: ranking.features.carrier.as_deref().filter(|carrier| !carrier.is_empty()),
        reason: ranking.reasons.first().map_or("it ranks first", |ground| ground.message.as_str()),
    };
    let plan = Plan {
        order: &order.key,
        choice,
        best_within_policy: choice,
        alternatives: ranking.alternatives.iter().map(|one| one.recommendation.as_str()).collect(),
    };
    Ok(decided(&order, &ranking, &thresholds).with(&plan))
}

/// Whether people are asked first, for every reason that there is.
fn decided(order: &Order, ranking: &Ranking, thresholds: &Thresholds) -> Verdict {
    let mut hold = Verdict::hold(GROUP);
    let from = thresholds.approval_from.amount;
    if order.total >= from {
        let text = format!("{} {} reaches the approval threshold of {from}", order.total, order.currency);
        hold = hold.because("policy.high-value", text).at("/order/total");
    }
    let least = thresholds.confidence_min.or_else(|| CONFIDENCE_MIN.parse().ok()).unwrap_or_default().approximate();
    if ranking.confidence < least {
        let text = format!("the ranking is only {:.2} sure, below {least:.2}", ranking.confidence);
        hold = hold.because("policy.low-confidence", text).at("/ranking/confidence");
    }
    if !hold.reasons.is_empty() {
        return hold;
    }
    let text = format!("{} is recommended, and policy allows it", ranking.recommendation);
    Verdict::proceed().because("policy.recommended", text).at("/ranking/recommendation")
}

#[cfg(test)]
mod tests;

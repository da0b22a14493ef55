//! Ranks the nodes that an order could be fulfilled from: by how much of it they have, what sending it costs, and how
//! long it takes. It recommends; a rule decides.

use std::collections::BTreeMap;

use crossdock_plugin::{Assessment, Decimal, Failure, Money, Step};
use serde::Deserialize;

crossdock_plugin::scorer!(score);

/// The model, as its card says it.
const MODEL: (&str, &str) = ("node-ranking", "1.0.0");
/// What coverage, cost and speed count for. They add up to 1.
const WEIGHTS: (f64, f64, f64) = (0.6, 0.25, 0.15);
/// What is left of the confidence where no carrier has said what the way costs.
const WITHOUT_QUOTE: f64 = 0.5;
/// Alternatives that are told.
const ALTERNATIVES_MAX: usize = 5;

/// What the scorer is given.
#[derive(Debug, Deserialize)]
pub struct Input {
    order: Order,
    stock: Stock,
    quotes: Quotes,
    #[serde(default)]
    excluded: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Order {
    currency: String,
    #[serde(default)]
    shipping_class: String,
    lines: Vec<Line>,
}

#[derive(Debug, Deserialize)]
struct Line {
    sku: String,
    quantity: u32,
}

#[derive(Debug, Deserialize)]
struct Stock {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    node: String,
    #[serde(default)]
    name: String,
    stock: Vec<OnHand>,
}

#[derive(Debug, Deserialize)]
struct OnHand {
    sku: String,
    available: u32,
}

#[derive(Debug, Deserialize)]
struct Quotes {
    /// Absent if the pipeline's fallback stood in for the carriers with an empty list.
    #[serde(default)]
    quotes: Vec<Quote>,
}

#[derive(Clone, Debug, Deserialize)]
struct Quote {
    node: String,
    #[serde(default)]
    carrier: String,
    cost: Money,
    days: u32,
}

/// A node with what counts.
struct Candidate<'a> {
    node: &'a Node,
    index: usize,
    /// Share of the order's pieces that it has, 0 to 1.
    coverage: f64,
    /// Pieces that would be left of the scarcest article, as a share of those ordered.
    slack: f64,
    /// The best quote from there, and its place among the quotes.
    quote: Option<(usize, &'a Quote)>,
    score: f64,
}

/// Recommends a node, or `none` if no node has everything. A node without a quote comes after all that have one, and is
/// recommended with little confidence.
///
/// # Errors
/// None of its own: an input that fits is always assessed.
pub fn score(input: Input, _step: &Step) -> Result<Assessment, Failure> {
    let wanted = wanted(&input.order);
    let mut candidates: Vec<Candidate<'_>> = input
        .stock
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| !input.excluded.contains(&node.node))
        .map(|(index, node)| candidate(index, node, &wanted, best_quote(node, &input)))
        .collect();
    let cheapest = candidates.iter().filter_map(|one| one.quote).map(|(_, quote)| quote.cost.amount).min();
    for one in &mut candidates {
        one.score = points(one, cheapest);
    }
    // Equal scores are ordered by name, so that the same input always gives the same answer.
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.node.node.cmp(&b.node.node)));
    let complete = candidates.iter().filter(|one| one.coverage >= 1.0);
    let Some(best) = complete.min_by_key(|one| one.quote.is_none()) else {
        return Ok(nobody(&candidates));
    };
    Ok(recommended(best, &candidates, &wanted))
}

fn wanted(order: &Order) -> BTreeMap<&str, u32> {
    let mut wanted = BTreeMap::new();
    for line in &order.lines {
        let count: &mut u32 = wanted.entry(line.sku.as_str()).or_default();
        *count = count.saturating_add(line.quantity);
    }
    wanted
}

/// The quote in the order's currency that costs least, or for an express order the one that takes least time.
fn best_quote<'a>(node: &Node, input: &'a Input) -> Option<(usize, &'a Quote)> {
    let express = input.order.shipping_class == "express";
    let quotes = input.quotes.quotes.iter().enumerate();
    quotes.filter(|(_, quote)| quote.node == node.node && quote.cost.currency == input.order.currency).min_by(
        |(_, a), (_, b)| {
            let (cost, days) = (a.cost.amount.cmp(&b.cost.amount), a.days.cmp(&b.days));
            let order = if express { days.then(cost) } else { cost.then(days) };
            order.then_with(|| a.carrier.cmp(&b.carrier))
        },
    )
}

fn candidate<'a>(
    index: usize,
    node: &'a Node,
    wanted: &BTreeMap<&str, u32>,
    quote: Option<(usize, &'a Quote)>,
) -> Candidate<'a> {
    let on_hand = |sku: &str| node.stock.iter().find(|one| one.sku == sku).map_or(0, |one| one.available);
    let pieces = wanted.values().copied().fold(0, u32::saturating_add);
    let there = wanted.iter().map(|(sku, count)| on_hand(sku).min(*count)).fold(0, u32::saturating_add);
    let slack = wanted
        .iter()
        .map(|(sku, count)| f64::from(on_hand(sku).saturating_sub(*count)) / f64::from((*count).max(1)))
        .fold(f64::INFINITY, f64::min);
    Candidate {
        node,
        index,
        coverage: if pieces == 0 { 0.0 } else { f64::from(there) / f64::from(pieces) },
        slack: if slack.is_finite() { slack } else { 0.0 },
        quote,
        score: 0.0,
    }
}

fn points(one: &Candidate<'_>, cheapest: Option<Decimal>) -> f64 {
    let (coverage, cost, speed) = WEIGHTS;
    let Some((_, quote)) = one.quote else { return coverage * one.coverage };
    let own = quote.cost.amount.approximate();
    let cheapness = match cheapest {
        Some(cheapest) if own > 0.0 => cheapest.approximate() / own,
        _ => 1.0,
    };
    coverage * one.coverage + cost * cheapness + speed / f64::from(quote.days.max(1))
}

fn nobody(candidates: &[Candidate<'_>]) -> Assessment {
    let best = candidates.iter().map(|one| one.coverage).fold(0.0, f64::max);
    Assessment::new(MODEL.0, MODEL.1, "none", 0.0, 0.0)
        .because("ranking.no-node", format!("no node has everything; the best has {:.0} %", best * 100.0))
        .at("/stock/nodes")
        .saw("candidates", candidates.len())
        .saw("best_coverage", best)
}

fn recommended(best: &Candidate<'_>, candidates: &[Candidate<'_>], wanted: &BTreeMap<&str, u32>) -> Assessment {
    let others = candidates.iter().filter(|one| one.node.node != best.node.node && one.coverage >= 1.0);
    // Alone is as far ahead as can be.
    let margin = others.clone().map(|one| best.score - one.score).fold(1.0, f64::min).max(0.0);
    // Sure if there is more than is needed and the next best is far; half sure if it takes the last piece.
    let sure = (0.5 + 0.3 * best.slack.min(1.0) + 0.2 * (margin * 5.0).min(1.0)).min(1.0);
    let confidence = if best.quote.is_some() { sure } else { sure * WITHOUT_QUOTE };
    let name = if best.node.name.is_empty() { &best.node.node } else { &best.node.name };
    let mut assessment = Assessment::new(MODEL.0, MODEL.1, &best.node.node, best.score.clamp(0.0, 1.0), confidence)
        .because("ranking.coverage", format!("{name} has everything that is ordered"))
        .at(format!("/stock/nodes/{}", best.index));
    if let Some((place, quote)) = best.quote {
        let text = format!("sending costs {} {} and takes {} days", quote.cost.amount, quote.cost.currency, quote.days);
        assessment = assessment
            .because("ranking.delivery", text)
            .at(format!("/quotes/quotes/{place}"))
            .saw("carrier", quote.carrier.as_str())
            .saw("cost", quote.cost.amount.approximate())
            .saw("days", quote.days);
    } else {
        let text = format!("no carrier quotes the way from {name} in the order's currency");
        assessment = assessment.because("ranking.no-quote", text).at("/quotes");
    }
    if best.slack < 1.0 {
        assessment = assessment.because("ranking.thin-stock", "little is left there afterwards");
    }
    for other in others.take(ALTERNATIVES_MAX) {
        assessment = assessment.or(&other.node.node, other.score.clamp(0.0, 1.0));
    }
    assessment
        .saw("coverage", best.coverage)
        .saw("slack", best.slack)
        .saw("margin", margin)
        .saw("articles", wanted.len())
        .saw("candidates", candidates.len())
}

#[cfg(test)]
mod tests {
    use crossdock_plugin::{Assessment, testing::step, typed};
    use serde_json::{Value, json};

    use super::score;

    fn assess(stock: &Value, quotes: &Value, excluded: &Value) -> Assessment {
        let input = json!({
            "order": {"currency": "EUR", "lines": [{"sku": "A", "quantity": 2}, {"sku": "B", "quantity": 1}]},
            "stock": {"nodes": stock}, "quotes": {"quotes": quotes}, "excluded": excluded,
        });
        typed::scorer(score, input.to_string().as_bytes(), step("{}")).expect("assessed")
    }

    fn node(name: &str, a: u32, b: u32) -> Value {
        json!({"node": name, "name": name, "stock": [{"sku": "A", "available": a}, {"sku": "B", "available": b}]})
    }

    fn quote(name: &str, amount: &str, days: u32) -> Value {
        json!({"node": name, "carrier": "x", "cost": {"amount": amount, "currency": "EUR"}, "days": days})
    }

    #[test]
    fn the_cheaper_of_two_that_have_everything_is_recommended() {
        let stock = json!([node("near", 9, 9), node("far", 9, 9)]);
        let best = assess(&stock, &json!([quote("near", "4.00", 1), quote("far", "9.00", 3)]), &json!([]));
        assert_eq!(best.recommendation, "near");
        assert_eq!(best.alternatives.first().map(|one| one.recommendation.as_str()), Some("far"));
        assert!(best.confidence > 0.8 && best.score > 0.9, "{best:?}");
    }

    #[test]
    fn of_a_nodes_quotes_the_cheapest_in_the_orders_currency_counts() {
        let mut quotes = json!([quote("near", "9.00", 1), quote("near", "4.00", 3), quote("near", "1.00", 1)]);
        quotes[2]["cost"]["currency"] = json!("CHF");
        let best = assess(&json!([node("near", 9, 9)]), &quotes, &json!([]));
        assert_eq!((&best.features["cost"], &best.features["days"]), (&json!(4.0), &json!(3)));
        assert_eq!(best.reasons[1].path.as_deref(), Some("/quotes/quotes/1"));
    }

    #[test]
    fn without_carriers_a_node_is_recommended_with_little_confidence() {
        let stock = json!([node("near", 9, 9), node("far", 9, 9)]);
        let best = assess(&stock, &json!([quote("far", "90.00", 9)]), &json!([]));
        assert_eq!(best.recommendation, "far", "a quote counts more than none");
        let nobody = assess(&stock, &json!([]), &json!([]));
        assert_eq!(nobody.recommendation, "far", "by name");
        assert!(nobody.confidence <= 0.5, "{nobody:?}");
        assert_eq!(nobody.reasons[1].code, "ranking.no-quote");
    }

    #[test]
    fn the_pipelines_empty_fallback_for_the_carriers_is_taken() {
        let input = json!({
            "order": {"currency": "EUR", "lines": [{"sku": "A", "quantity": 1}]},
            "stock": {"nodes": [node("near", 9, 9)]}, "quotes": [],
        });
        let best = typed::scorer(score, input.to_string().as_bytes(), step("{}")).expect("assessed");
        assert_eq!(best.recommendation, "near");
    }

    #[test]
    fn thin_stock_lowers_confidence() {
        let quotes = json!([quote("near", "4.00", 1)]);
        let plenty = assess(&json!([node("near", 9, 9)]), &quotes, &json!([]));
        let thin = assess(&json!([node("near", 2, 1)]), &quotes, &json!([]));
        assert!(thin.confidence < plenty.confidence, "{thin:?} {plenty:?}");
    }

    #[test]
    fn nobody_is_recommended_if_nobody_has_everything_or_may_be_asked() {
        let quotes = json!([quote("near", "4.00", 1)]);
        for best in [
            assess(&json!([node("near", 2, 0)]), &quotes, &json!([])),
            assess(&json!([node("near", 9, 9)]), &quotes, &json!(["near"])),
            assess(&json!([]), &json!([]), &json!([])),
        ] {
            assert_eq!((best.recommendation.as_str(), best.confidence), ("none", 0.0));
            assert!(!best.reasons.is_empty());
        }
    }
}

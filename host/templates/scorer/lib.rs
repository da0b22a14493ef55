//! Recommends whether a return is looked at by a person, from how often the customer sends goods back.

use crossdock_plugin::{Assessment, Failure, Step};

crossdock_plugin::scorer!(score);

/// The model, as the card in `plugin.toml` says it.
const MODEL: (&str, &str) = ("{{name}}", "0.1.0");
/// Orders from which on the share says something.
const ORDERS_ENOUGH: f64 = 10.0;

/// What the model is given, as `schemas/input.json` says.
#[derive(serde::Deserialize)]
struct Customer {
    orders: u32,
    returns: u32,
}

fn score(customer: Customer, _step: &Step) -> Result<Assessment, Failure> {
    let (orders, returns) = (f64::from(customer.orders.max(1)), f64::from(customer.returns));
    let share = (returns / orders).min(1.0);
    let (recommendation, other) = if share > 0.5 { ("look", "accept") } else { ("accept", "look") };
    let confidence = (orders / ORDERS_ENOUGH).min(1.0);
    Ok(Assessment::new(MODEL.0, MODEL.1, recommendation, share, confidence)
        .because("returns.share", format!("{returns} of {orders} orders were sent back"))
        .at("/returns")
        .or(other, 1.0 - share)
        .saw("share", share))
}

#[cfg(test)]
mod tests {
    use crossdock_plugin::testing::step;

    #[test]
    fn who_has_ordered_little_is_not_known_well() {
        let assessment = super::score(super::Customer { orders: 1, returns: 1 }, &step("{}")).expect("scored");
        assert!(assessment.confidence < 0.2);
    }
}

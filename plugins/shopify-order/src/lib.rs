//! Shopify's orders. As a webhook source: one delivery becomes one event, whose data is the order as it came. As a
//! transform: that order becomes the canonical one.
//!
//! Shopify's numeric ids may have been rounded by somebody's JSON, so the global id is the one that counts; and one event
//! may be delivered more than once, so the event's id counts and not the delivery's.

mod order;
#[cfg(test)]
mod tests;

use crossdock_plugin::{Delivery, Event, Failure, Feed, Receipt, Step, log};

pub use order::{Order, ShopifyOrder};

crossdock_plugin::transform!(apply);
crossdock_plugin::webhook!(receive);

/// What an order's webhook becomes.
const PLACED: &str = "retail.order.placed.v1";
/// The topics that tell of a placed order.
const TOPICS: [&str; 2] = ["orders/create", "orders/paid"];

/// Turns a Shopify order into the canonical order.
///
/// # Errors
/// `invalid-input` where the order lacks something or an amount is none.
pub fn apply(input: ShopifyOrder, _step: &Step) -> Result<Order, Failure> {
    order::normalized(input)
}

/// Turns a delivery into an event. The hub has verified its signature.
///
/// # Errors
/// `invalid-input` if the body is not an order, or nothing identifies the event.
pub fn receive(delivery: &Delivery, _feed: &Feed) -> Result<Receipt, Failure> {
    let topic = delivery.header("x-shopify-topic").unwrap_or_default();
    if !TOPICS.contains(&topic) {
        log::info("delivery of another topic", &[("topic", topic)]);
        return Ok(Receipt::default());
    }
    let order: ShopifyOrder = delivery.json()?;
    let id = delivery
        .header("x-shopify-event-id")
        .or_else(|| delivery.header("x-shopify-webhook-id"))
        .filter(|id| !id.is_empty())
        .ok_or_else(|| {
            Failure::invalid("delivery.no-id", "neither X-Shopify-Event-Id nor X-Shopify-Webhook-Id is there")
        })?;
    // As it came, since numbers would not survive being read and written again.
    let mut event = Event::with_json(id, PLACED, delivery.body.clone()).about(order.key());
    event.time = Some(order.created_at);
    Ok(event.into())
}

//! The sandbox carrier: the contract `retail/carrier-rates@1` over one request. A connector at its shortest.

use crossdock_plugin::{
    Call, Failure,
    http::{self, Response},
};
use serde::Deserialize;
use serde_json::Value;

crossdock_plugin::connector! { "quote" => quote }

#[derive(Deserialize)]
struct Config {
    base_url: String,
}

/// What `quote` takes: of the order, where it goes and how heavy it is.
#[derive(Deserialize)]
pub struct Inquiry {
    order: Order,
}

#[derive(Deserialize)]
struct Order {
    ship_to: ShipTo,
    weight_grams: u32,
}

#[derive(Deserialize)]
struct ShipTo {
    country: String,
}

fn quote(input: Inquiry, call: &Call) -> Result<Value, Failure> {
    let config: Config = call.config()?;
    let response = http::get(&format!("{}/quotes", config.base_url.trim_end_matches('/')))
        .query("country", &input.order.ship_to.country)
        .query("weight_grams", &input.order.weight_grams.max(1).to_string())
        .send()?;
    response.success()?.json()
}

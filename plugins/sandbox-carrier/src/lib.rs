//! The sandbox carrier: the contract `retail/carrier-rates@1` over one request. A connector at its shortest.

use crossdock_plugin::{
    Call, Failure,
    http::{self, Response},
};
use serde::Deserialize;
use serde_json::Value;

#[cfg(test)]
mod tests;

crossdock_plugin::connector! { "quote" => quote }

#[derive(Deserialize)]
struct Config {
    base_url: String,
}

/// Of the order, the carrier needs to know where it goes and how heavy it is.
#[derive(Deserialize)]
struct Inquiry {
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
    let request = http::get(&format!("{}/quotes", config.base_url.trim_end_matches('/')))
        .query("country", &input.order.ship_to.country)
        .query("weight_grams", input.order.weight_grams.max(1).to_string());
    accepted(request.send()?)?.json()
}

fn accepted(response: Response) -> Result<Response, Failure> {
    let shown: String = response.text().chars().take(400).collect();
    match response.status() {
        200..=299 => Ok(response),
        401 | 403 => Err(Failure::denied("carrier.denied", format!("the carrier does not let us in: {shown}"))),
        429 | 500.. => Err(Failure::retryable("carrier.failed", format!("the carrier does not answer now: {shown}"))),
        _ => Err(Failure::invalid("carrier.refused", format!("the carrier refuses the order: {shown}"))),
    }
}

//! The sandbox carrier: the contract `retail/carrier-rates@1` over one request. A connector at its shortest.

use crossdock_plugin::{Call, Failure, http};
use serde::Deserialize;
use serde_json::Value;

crossdock_plugin::connector! { "quote" => quote }

#[derive(Deserialize)]
struct Config {
    base_url: String,
}

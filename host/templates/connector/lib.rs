//! Reads stock from a system that answers `GET /stock/SKU`. The hub adds the connection's credentials.

use crossdock_plugin::{Call, Failure, http};
use serde::Deserialize;
use serde_json::Value;

crossdock_plugin::connector! { "stock" => stock }

/// The connection's settings, as `schemas/config.json` says.
#[derive(Deserialize)]
struct Config {
    base_url: String,
}

/// What the operation is given, as `schemas/stock-input.json` says.
#[derive(Deserialize)]
struct Inquiry {
    sku: String,
}

fn stock(input: Inquiry, call: &Call) -> Result<Value, Failure> {
    let config: Config = call.config()?;
    http::get(&format!("{}/stock/{}", config.base_url.trim_end_matches('/'), input.sku)).send()?.success()?.json()
}

#[cfg(test)]
mod tests {
    use crossdock_plugin::{
        FailureKind,
        testing::{MockHost, Reply},
    };
    use serde_json::json;

    #[test]
    fn stock_is_handed_on_as_it_comes() {
        let answer = json!({ "sku": "STOVE", "available": 3 });
        let host = MockHost::new().config(&json!({ "base_url": "http://stock.example/" }));
        let host = host.reply("GET", "/stock/STOVE", Reply::json(200, &answer)).install();
        let output = crate::invoke(&host.call("stock", 1), br#"{"sku":"STOVE"}"#).expect("answered");
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&output).expect("JSON"), answer);
    }

    #[test]
    fn a_lost_answer_to_a_read_may_be_tried_again() {
        let host = MockHost::new().config(&json!({ "base_url": "http://stock.example" }));
        let host = host.reply("GET", "/stock/STOVE", Reply::lost()).install();
        let failure = crate::invoke(&host.call("stock", 1), br#"{"sku":"STOVE"}"#).expect_err("lost");
        assert_eq!(failure.kind, FailureKind::Retryable);
    }
}

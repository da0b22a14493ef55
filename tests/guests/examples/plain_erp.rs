//! Another ERP than SAP, made with the SDK: the same contract `retail/erp-orders@1`, over plain JSON that is already in the
//! canonical model. It shows that who asks through a contract does not notice which system is behind it.

use crossdock_plugin::{Call, Failure, http};
use serde::Deserialize;
use serde_json::Value;

crossdock_plugin::connector! {
    "create_order" => create_order,
    "find_order" => find_order,
    "read_order" => read_order,
    "cancel_order" => cancel_order,
}

#[derive(Deserialize)]
struct Config {
    base_url: String,
}

#[derive(Deserialize)]
struct ById {
    id: String,
}

fn read_order(input: ById, call: &Call) -> Result<Value, Failure> {
    let url = format!("{}/orders/{}", call.config::<Config>()?.base_url, input.id);
    let response = http::get(&url).send()?;
    if response.status() == 404 {
        return Err(Failure::invalid("plain.not-found", "no such order"));
    }
    response.success()?.json()
}

fn create_order(_: Value, _: &Call) -> Result<Value, Failure> {
    Err(Failure::permanent("plain.read-only", "it is only read"))
}

fn find_order(_: Value, _: &Call) -> Result<Value, Failure> {
    Ok(Value::Null)
}

fn cancel_order(_: Value, _: &Call) -> Result<Value, Failure> {
    Err(Failure::permanent("plain.read-only", "it is only read"))
}

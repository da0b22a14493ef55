//! The sandbox warehouse: the contract `retail/warehouse@1` over a small REST interface. A connector that writes, at
//! its shortest: typed input, a request, typed output. The idempotency key goes along, so a repetition is harmless.

use crossdock_plugin::{
    Call, Failure,
    http::{self, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[cfg(test)]
mod tests;

crossdock_plugin::connector! {
    "availability" => availability,
    "create_pick" => create_pick,
    "cancel_pick" => cancel_pick,
}

#[derive(Deserialize)]
struct Config {
    base_url: String,
}

#[derive(Deserialize, Serialize)]
struct Line {
    sku: String,
    quantity: u32,
}

/// What `availability` takes.
#[derive(Deserialize)]
pub struct Wanted {
    lines: Vec<Line>,
}

/// What `create_pick` takes. Of the plan, the warehouse needs to know where.
#[derive(Deserialize)]
pub struct PickOrder {
    plan: Plan,
    order: String,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Plan {
    node: String,
}

/// What `cancel_pick` takes.
#[derive(Deserialize)]
pub struct ById {
    id: String,
}

fn availability(input: Wanted, call: &Call) -> Result<Value, Failure> {
    let skus: Vec<&str> = input.lines.iter().map(|line| line.sku.as_str()).collect();
    accepted(http::get(&url(call, "/stock")?).query("sku", &skus.join(",")).send()?)?.json()
}

fn create_pick(input: PickOrder, call: &Call) -> Result<Value, Failure> {
    let pick = json!({ "node": input.plan.node, "order": input.order, "lines": input.lines });
    let request = http::post(&url(call, "/picks")?).header("idempotency-key", &call.idempotency_key).json(&pick)?;
    accepted(request.send()?)?.json()
}

fn cancel_pick(input: ById, call: &Call) -> Result<Value, Failure> {
    accepted(http::delete(&url(call, &format!("/picks/{}", http::encode(&input.id)))?).send()?)?;
    Ok(json!({ "id": input.id, "status": "cancelled" }))
}

fn url(call: &Call, path: &str) -> Result<String, Failure> {
    Ok(format!("{}{path}", call.config::<Config>()?.base_url.trim_end_matches('/')))
}

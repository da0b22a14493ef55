//! The sandbox warehouse: the contracts `retail/warehouse@1` and `retail/inventory@1` over a small REST interface. A connector
//! that writes, at its shortest: typed input, a request, typed output. The idempotency key goes along, so a repetition is
//! harmless.

use crossdock_plugin::{
    Call, Failure, FailureKind,
    http::{self, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(test)]
mod tests;

crossdock_plugin::connector! {
    "availability" => availability,
    "levels" => levels,
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

#[derive(Deserialize)]
struct Wanted {
    lines: Vec<Line>,
}

/// Of the plan, the warehouse needs to know where.
#[derive(Deserialize)]
struct PickOrder {
    plan: Plan,
    order: String,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Plan {
    node: String,
}

#[derive(Serialize)]
struct PickRequest<'a> {
    node: &'a str,
    order: &'a str,
    lines: &'a [Line],
}

#[derive(Deserialize)]
struct Created {
    id: String,
    status: Option<String>,
}

#[derive(Deserialize)]
struct ById {
    id: String,
}

#[derive(Serialize)]
struct Pick {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    status: String,
}

fn availability(input: Wanted, call: &Call) -> Result<Value, Failure> {
    let skus: Vec<&str> = input.lines.iter().map(|line| line.sku.as_str()).collect();
    let request = http::get(&url(call, "/stock")?).query("sku", skus.join(","));
    accepted(request.send()?, FailureKind::Retryable)?.json()
}

/// What `retail/inventory@1` asks for.
#[derive(Deserialize)]
struct Asked {
    skus: Vec<String>,
    locations: Option<Vec<String>>,
}

/// The warehouse's answer about its stock.
#[derive(Deserialize)]
struct Stock {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    node: String,
    stock: Vec<Available>,
}

#[derive(Deserialize)]
struct Available {
    sku: String,
    available: u64,
}

#[derive(Serialize)]
struct Levels {
    levels: Vec<Level>,
}

#[derive(Serialize)]
struct Level {
    sku: String,
    location: String,
    available: u64,
}

fn levels(input: Asked, call: &Call) -> Result<Levels, Failure> {
    let request = http::get(&url(call, "/stock")?).query("sku", input.skus.join(","));
    let stock: Stock = accepted(request.send()?, FailureKind::Retryable)?.json()?;
    let wanted = |node: &Node| input.locations.as_ref().is_none_or(|locations| locations.contains(&node.node));
    let mut levels = Vec::new();
    for Node { node, stock } in stock.nodes.into_iter().filter(wanted) {
        let level = |Available { sku, available }| Level { sku, location: node.clone(), available };
        levels.extend(stock.into_iter().map(level));
    }
    Ok(Levels { levels })
}

fn create_pick(input: PickOrder, call: &Call) -> Result<Pick, Failure> {
    let pick = PickRequest { node: &input.plan.node, order: &input.order, lines: &input.lines };
    let request = http::post(&url(call, "/picks")?).header("idempotency-key", &call.idempotency_key).json(&pick)?;
    let response = accepted(request.send()?, FailureKind::Uncertain)?;
    // An answer that cannot be read is as good as lost: there is a pick, and repeating tells which.
    let created: Created = response.json().map_err(|failure| Failure { kind: FailureKind::Uncertain, ..failure })?;
    let status = created.status.unwrap_or_else(|| "open".into());
    Ok(Pick { id: created.id, node: Some(input.plan.node), status })
}

fn cancel_pick(input: ById, call: &Call) -> Result<Pick, Failure> {
    let request = http::delete(&url(call, &format!("/picks/{}", http::encode(&input.id)))?);
    accepted(request.send()?, FailureKind::Uncertain)?;
    Ok(Pick { id: input.id, node: None, status: "cancelled".into() })
}

fn url(call: &Call, path: &str) -> Result<String, Failure> {
    Ok(format!("{}{path}", call.config::<Config>()?.base_url.trim_end_matches('/')))
}

/// The warehouse's refusal: `{"error": {"code": …, "message": …}}`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: Cause,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Cause {
    code: String,
    message: String,
}

/// The answer if it is good. `broken` is what a failure of the warehouse itself means.
fn accepted(response: Response, broken: FailureKind) -> Result<Response, Failure> {
    let (kind, code) = match response.status() {
        200..=299 => return Ok(response),
        401 | 403 => (FailureKind::Denied, "warehouse.denied"),
        409 => (FailureKind::Permanent, "warehouse.conflict"),
        429 | 503 => (FailureKind::Retryable, "warehouse.busy"),
        400..=499 => (FailureKind::InvalidInput, "warehouse.refused"),
        500.. => (broken, "warehouse.failed"),
        _ => (FailureKind::Permanent, "warehouse.answer"),
    };
    let cause = response.json::<Refusal>().unwrap_or_default().error;
    let shown: String = cause.message.chars().take(400).collect();
    let failure = Failure::new(kind, code, format!("the warehouse answers {}: {shown}", response.status()));
    let seconds = response.header("retry-after").and_then(|value| value.trim().parse::<u32>().ok());
    Err(match seconds {
        Some(seconds) => failure.after_ms(seconds.saturating_mul(1_000)),
        None => failure,
    }
    .detail(&cause))
}

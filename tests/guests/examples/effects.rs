//! A connector made with the SDK that does as little as one that writes can: it posts its input with the idempotency key
//! and the number of the attempt, and it finds what was written by the document's `ref`. Its manifests say how doubt is
//! resolved; the component is the same.

use crossdock_plugin::{Call, Failure, FailureKind, http};
use serde::Deserialize;
use serde_json::Value;

crossdock_plugin::connector! { "put" => put, "find" => find }

#[derive(Deserialize)]
struct Config {
    base_url: String,
}

fn put(document: Value, call: &Call) -> Result<Value, Failure> {
    let response = http::post(&format!("{}/put", call.config::<Config>()?.base_url))
        .header("idempotency-key", &call.idempotency_key)
        .header("x-attempt", call.attempt.to_string())
        .json(&document)?
        .send()?
        .success()?;
    response.json().map_err(|failure| Failure { kind: FailureKind::Uncertain, ..failure })
}

fn find(document: Value, call: &Call) -> Result<Value, Failure> {
    let reference = document.get("ref").and_then(Value::as_str).unwrap_or_default();
    http::get(&format!("{}/find", call.config::<Config>()?.base_url)).query("ref", reference).send()?.success()?.json()
}

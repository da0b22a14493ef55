//! Calls into guests, without a hub around them.

use std::path::PathBuf;

use bytes::Bytes;
use crossdock::{
    model::{id::Digest, json::Json, limits::Limits, timestamp::Timestamp},
    ports::invoker::{Answer, Authority, Completed, Component, Invocation, Invoker, StepContext, Work},
    wasm::Sandbox,
};
use serde_json::Value;

use crate::guests;

/// The document of a value.
#[must_use]
pub fn json(value: &Value) -> Json {
    Json::from(value.clone())
}

/// A step of some run.
#[must_use]
pub fn step() -> StepContext {
    StepContext {
        run: "run_1".into(),
        pipeline: "retail/orders".into(),
        pipeline_version: "1.0.0".into(),
        name: "check".into(),
        config: Json::empty_object(),
        attributes: vec![],
    }
}

/// A call with the default limits, at a fixed time, with a fixed seed, and with no authority.
#[must_use]
pub fn invocation(component: Digest, work: Work) -> Invocation {
    let now = Timestamp::from_millis(1_772_352_900_123);
    Invocation { component, work, limits: Limits::DEFAULT, now, seed: [7; 32], authority: Authority::default() }
}

/// The first attempt of a connector's operation.
#[must_use]
pub fn operation(name: &str, input: &Value, read_only: bool) -> Work {
    let (operation, idempotency_key) = (name.to_owned(), "xd_1".to_owned());
    Work::Invoke { operation, input: json(input), idempotency_key, attempt: 1, read_only, step: step() }
}

/// Loads one of the hostile guests.
///
/// # Panics
/// If it cannot be built or loaded.
pub async fn load(sandbox: &Sandbox, guest: &str, assets: Option<PathBuf>) -> Digest {
    let wasm = Bytes::from(guests::hostile(guest));
    let digest = Digest::of(&wasm);
    match sandbox.load(Component { digest, wasm, assets }).await {
        Ok(_) => digest,
        Err(error) => guests::fail(&format!("`{guest}` does not load: {error}")),
    }
}

/// The document that a call answered, or that its verdict gives.
///
/// # Panics
/// If it did not answer with one.
#[must_use]
#[track_caller]
pub fn output(done: &Completed) -> Value {
    match &done.result {
        Ok(Answer::Json(output)) => output.to_value(),
        Ok(Answer::Verdict(verdict)) => verdict.output.as_ref().map(Json::to_value).unwrap_or_default(),
        other => guests::fail(&format!("{other:?}; log: {:?}", done.log)),
    }
}

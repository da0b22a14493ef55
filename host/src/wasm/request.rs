//! From what the hub asks for to what a guest is given.

use super::bindings::{connector, envelope, webhook_source};
use crate::{
    model::timestamp::Timestamp,
    ports::invoker::{Delivery, Feed, StepContext, Work},
};

/// Bytes of the input of a call, as its limit and its fuel count them.
pub(super) fn input_bytes(work: &Work) -> usize {
    match work {
        Work::Transform { input, .. }
        | Work::Rule { input, .. }
        | Work::Score { input, .. }
        | Work::Invoke { input, .. }
        | Work::Fetch { input, .. } => input.as_bytes().len(),
        Work::Receive { delivery, .. } => delivery.body.len(),
        Work::Poll { cursor, .. } => cursor.as_ref().map_or(0, String::len),
    }
}

/// The contract's `step`.
pub(super) fn step(step: StepContext, now: Timestamp) -> envelope::Step {
    envelope::Step {
        run: step.run,
        pipeline: step.pipeline,
        pipeline_version: step.pipeline_version,
        name: step.name,
        now: now.to_string(),
        config: step.config.as_bytes().to_vec(),
        attributes: step.attributes,
    }
}

/// The contract's `feed`.
pub(super) fn feed(feed: Feed, now: Timestamp) -> envelope::Feed {
    envelope::Feed {
        name: feed.name,
        now: now.to_string(),
        config: feed.config.as_bytes().to_vec(),
        attributes: feed.attributes,
    }
}

/// The contract's `delivery`.
pub(super) fn delivery(delivery: Delivery) -> webhook_source::Delivery {
    webhook_source::Delivery {
        method: delivery.method,
        path: delivery.path,
        query: delivery.query,
        headers: delivery.headers,
        body: delivery.body.to_vec(),
    }
}

/// The contract's `call`.
pub(super) fn call(
    operation: String,
    input: &[u8],
    idempotency_key: String,
    attempt: u32,
    step: envelope::Step,
) -> connector::Call {
    connector::Call { operation, input: input.to_vec(), idempotency_key, attempt, step }
}

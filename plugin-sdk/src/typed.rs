//! From bytes to types and back, around a plugin's functions. For the macros; the same natively and in Wasm.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Assessment, Call, Delivery, Failure, Feed, Page, Portion, Receipt, Step, Verdict, hub};

/// Runs a transform on bytes.
pub fn transform<I: DeserializeOwned, O: Serialize>(
    apply: impl Fn(I, &Step) -> Result<O, Failure>,
    input: &[u8],
    step: Step,
) -> Result<Vec<u8>, Failure> {
    hub::begin();
    written(&apply(read(input)?, &step)?)
}

/// Runs a rule on bytes.
pub fn rule<I: DeserializeOwned>(
    evaluate: impl Fn(I, &Step) -> Result<Verdict, Failure>,
    input: &[u8],
    step: Step,
) -> Result<Verdict, Failure> {
    hub::begin();
    evaluate(read(input)?, &step)
}

/// Runs a scorer on bytes.
pub fn scorer<I: DeserializeOwned>(
    score: impl Fn(I, &Step) -> Result<Assessment, Failure>,
    input: &[u8],
    step: Step,
) -> Result<Assessment, Failure> {
    hub::begin();
    score(read(input)?, &step)
}

/// Runs an operation on bytes.
pub fn operation<I: DeserializeOwned, O: Serialize>(
    function: impl Fn(I, &Call) -> Result<O, Failure>,
    input: &[u8],
    call: &Call,
) -> Result<Vec<u8>, Failure> {
    hub::begin();
    written(&function(read(input)?, call)?)
}

/// Runs a webhook source.
pub fn webhook(
    receive: impl Fn(&Delivery, &Feed) -> Result<Receipt, Failure>,
    delivery: Delivery,
    feed: Feed,
) -> Result<Receipt, Failure> {
    hub::begin();
    receive(&delivery, &feed)
}

/// Polls a source.
pub fn polling(
    poll: impl Fn(Option<&str>, &Feed) -> Result<Page, Failure>,
    cursor: Option<&str>,
    feed: Feed,
) -> Result<Page, Failure> {
    hub::begin();
    poll(cursor, &feed)
}

/// Fetches a portion, from and to bytes.
pub fn paged<I: DeserializeOwned, R: Serialize>(
    function: impl Fn(I, &Call, Option<&str>) -> Result<Portion<R>, Failure>,
    input: &[u8],
    call: &Call,
    cursor: Option<&str>,
) -> Result<Portion<Vec<u8>>, Failure> {
    hub::begin();
    let Portion { rows, next } = function(read(input)?, call, cursor)?;
    Ok(Portion { rows: written(&rows)?, next })
}

/// The failure of an operation that the connector does not have.
#[must_use]
pub fn unknown_operation(call: &Call, known: &[&str]) -> Failure {
    let message = format!("there is no operation `{}`; there is {}", call.operation, known.join(", "));
    Failure::permanent("operation.unknown", message)
}

/// A call and its input, apart.
#[must_use]
pub fn taken(call: (Call, Vec<u8>)) -> (Call, Vec<u8>) {
    call
}

/// Holds a function to a transform's shape.
pub const fn is_transform<I: DeserializeOwned, O: Serialize, F: Fn(I, &Step) -> Result<O, Failure>>(_: &F) {}

/// Holds a function to a rule's shape.
pub const fn is_rule<I: DeserializeOwned, F: Fn(I, &Step) -> Result<Verdict, Failure>>(_: &F) {}

/// Holds a function to a scorer's shape.
pub const fn is_scorer<I: DeserializeOwned, F: Fn(I, &Step) -> Result<Assessment, Failure>>(_: &F) {}

fn read<T: DeserializeOwned>(input: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(input)
        .map_err(|error| Failure::invalid("input.invalid", format!("the input does not fit: {error}")))
}

pub(crate) fn written(output: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(output)
        .map_err(|error| Failure::permanent("output.invalid", format!("the output has no JSON form: {error}")))
}

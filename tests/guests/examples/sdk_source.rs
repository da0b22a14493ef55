//! A connector made with the SDK that is everything a source can be: it pages, is polled and takes deliveries. It asks
//! its remote for numbers.

use crossdock_plugin::{Call, Delivery, Event, Failure, Feed, Page, Portion, Receipt, http};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Config {
    base_url: String,
}

/// What the remote answers: some numbers, and where to go on.
#[derive(Deserialize)]
struct Numbers {
    numbers: Vec<u64>,
    #[serde(default)]
    next: Option<String>,
}

fn numbers(base_url: &str, after: Option<&str>) -> Result<Numbers, Failure> {
    http::get(&format!("{base_url}/numbers")).query("after", after.unwrap_or("0")).send()?.success()?.json()
}

fn quote(_input: Value, _call: &Call) -> Result<Value, Failure> {
    Ok(json!({ "quotes": [] }))
}

fn rows(_input: Value, call: &Call, cursor: Option<&str>) -> Result<Portion<Vec<u64>>, Failure> {
    let config: Config = call.config()?;
    let Numbers { numbers, next } = numbers(&config.base_url, cursor)?;
    Ok(Portion { rows: numbers, next })
}

fn poll(cursor: Option<&str>, feed: &Feed) -> Result<Page, Failure> {
    let config: Config = feed.config()?;
    let Numbers { numbers, next } = numbers(&config.base_url, cursor)?;
    let events =
        numbers.iter().map(|number| Event::new(format!("n-{number}"), "test.number.v1", &json!({ "number": number })));
    let events = events.collect::<Result<_, _>>()?;
    let last = numbers.last().map(u64::to_string);
    Ok(Page { events, more: next.is_some(), cursor: next.or(last) })
}

fn receive(delivery: &Delivery, _feed: &Feed) -> Result<Receipt, Failure> {
    Ok(Event::with_json("d-1", "test.number.v1", delivery.body.clone()).into())
}

crossdock_plugin::connector! {
    "quote" => quote;
    pages "rows" => rows
}
crossdock_plugin::polling!(poll);
crossdock_plugin::webhook!(receive);

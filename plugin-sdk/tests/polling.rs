//! A polled source over the mock host.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what went wrong by panicking")]

use crossdock_plugin::{
    Event, Failure, FailureKind, Feed, Page, http,
    testing::{MockHost, Reply},
};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Config {
    base_url: String,
}

#[derive(Deserialize)]
struct Sales {
    sales: Vec<u64>,
    more: bool,
}

fn poll(cursor: Option<&str>, feed: &Feed) -> Result<Page, Failure> {
    let config: Config = feed.config()?;
    let after = cursor.unwrap_or("0");
    let sales: Sales =
        http::get(&format!("{}/sales", config.base_url)).query("after", after).send()?.success()?.json()?;
    let event_type = feed.attributes.iter().find(|(name, _)| name == "event").map_or("", |(_, value)| value);
    let events =
        sales.sales.iter().map(|sale| Event::new(format!("sale-{sale}"), event_type, &json!({ "sale": sale })));
    Ok(Page {
        events: events.collect::<Result<_, _>>()?,
        cursor: sales.sales.last().map(u64::to_string),
        more: sales.more,
    })
}

crossdock_plugin::polling!(poll);

fn market() -> MockHost {
    MockHost::new()
        .config(&json!({ "base_url": "http://market.example" }))
        .reply("GET", "/sales?after=0", Reply::json(200, &json!({ "sales": [1, 2], "more": true })))
        .reply("GET", "/sales?after=2", Reply::json(200, &json!({ "sales": [], "more": false })))
}

#[test]
fn a_poll_goes_on_where_its_cursor_stands() {
    let host = market().install();
    let first = poll(None, &host.feed("sold.v1")).unwrap();
    let ids: Vec<_> = first.events.iter().map(|event| (event.id.as_str(), event.event_type.as_str())).collect();
    assert_eq!(ids, [("sale-1", "sold.v1"), ("sale-2", "sold.v1")]);
    assert!(first.more);
    let second = poll(first.cursor.as_deref(), &host.feed("sold.v1")).unwrap();
    assert_eq!(second, Page::default());
    assert_eq!(host.requests()[1].url, "http://market.example/sales?after=2");
}

#[test]
fn a_remote_that_is_down_fails_the_poll_and_can_be_asked_again() {
    let host = MockHost::new()
        .config(&json!({ "base_url": "http://market.example" }))
        .reply("GET", "/sales", Reply::status(503))
        .install();
    assert_eq!(poll(None, &host.feed("sold.v1")).unwrap_err().kind, FailureKind::Retryable);
}

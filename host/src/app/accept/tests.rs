//! What runs emit, held to the schemas of events.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::external;
use crate::{
    app::{
        installation::Installation,
        test_hub::{Ground, HandClock},
    },
    flow::view,
    model::{audit::Cause, event::Event, json::Json},
    ports::{invoker::Invoker, journal::StreamId},
    wasm::Sandbox,
};

/// Emits the data of what started it, as an event of this type; how its run went, as JSON, and the types accepted.
async fn emit(event_type: &str, data: Value) -> (String, Vec<String>) {
    let cache = tempfile::tempdir().expect("a folder");
    let sandbox: Arc<dyn Invoker> = Arc::new(Sandbox::new(cache.path()).expect("a sandbox"));
    let ground = Ground::new(HandClock::at("2026-06-01T12:00:00Z"), sandbox);
    let installer = ground.installer();
    let text = format!(
        "pipeline: test/echo\nversion: 1.0.0\nowner: test\nsummary: Says it again.\nuses: {{}}\n\
         trigger: [{{ event: test.said.v1 }}]\nkey: event.id\nsteps:\n  - emit: {event_type}\n    data: ${{ event.data }}\n"
    );
    let base = installer.load().await.expect("loads");
    let installed = installer.pipeline(&base, &Cause::hub("a test"), "echo", &text).await.expect("installs");
    let shared = ground.hub(installed.unwrap_or_else(Installation::default));
    let event = Event {
        id: "1".to_owned(),
        source: "/tests".to_owned(),
        event_type: "test.said.v1".to_owned(),
        subject: None,
        time: None,
        data_schema: None,
        data: Json::from(data),
        extensions: BTreeMap::new(),
    };
    let accepted = external(&shared, vec![event]).await.expect("accepted");
    let run = accepted[0].runs[0];
    while !shared.index.get(run).is_some_and(|summary| summary.state.is_settled()) {
        tokio::task::yield_now().await;
    }
    let (entries, _) = shared.facts.read(StreamId::Run(run)).await.expect("facts");
    let story = serde_json::to_string(&view::story(run, &entries).expect("a story")).expect("JSON");
    let types = ground.accepted().await.into_iter().map(|event| event.event_type);
    (story, types.skip(1).collect())
}

#[tokio::test]
async fn an_emit_that_does_not_follow_its_schema_fails_its_step_and_is_not_accepted() {
    let (story, types) = emit("retail.order.shipped.v1", json!({ "tracking": "T-1" })).await;
    assert!(story.contains(r#""parked""#), "{story}");
    assert!(story.contains("does not follow the schema of `retail.order.shipped.v1`"), "{story}");
    assert_eq!(types, Vec::<String>::new());
    let (story, _) = emit("retail.fulfilment.planned.v1", json!({ "order": "1001", "node": "", "pick": "P-1" })).await;
    assert!(story.contains("`data/node` does not follow the schema of `retail.fulfilment.planned.v1`"), "{story}");
}

#[tokio::test]
async fn an_emit_that_follows_its_schema_or_has_none_is_accepted() {
    for (event_type, data) in [
        ("retail.order.shipped.v1", json!({ "order": "1001", "tracking": null })),
        ("retail.order.failed.v1", json!({ "order": "1001", "cause": "stock.none" })),
        (
            "retail.fulfilment.planned.v1",
            json!({ "order": "1001", "sales_order": "7", "node": "berlin", "pick": "P-1" }),
        ),
        ("test.heard.v1", json!({ "whatever": true })),
    ] {
        let (story, types) = emit(event_type, data).await;
        assert!(story.contains(r#""completed""#), "{story}");
        assert_eq!(types, [event_type]);
    }
}

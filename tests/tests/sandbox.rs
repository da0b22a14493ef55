//! Loading components into the sandbox, and calls that are as they should be.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a helper that fails fails its test")]

use std::{fs, path::Path};

use bytes::Bytes;
use crossdock::{
    model::{id::Digest, json::Json, limits::Limits},
    ports::invoker::{
        Answer, Authority, CallError, Component, Delivery, Feed, Inspection, Invocation, Invoker, LoadError, Work,
    },
    wasm::{CALLS_LIMIT, Sandbox},
};
use crossdock_tests::{
    calls::{invocation, json, load, output, step},
    guests,
};
use serde_json::json;

async fn try_load(sandbox: &Sandbox, guest: &str) -> Result<Inspection, LoadError> {
    let wasm = Bytes::from(guests::hostile(guest));
    sandbox.load(Component { digest: Digest::of(&wasm), wasm, assets: None }).await
}

fn sandbox() -> (tempfile::TempDir, Sandbox) {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new(folder.path()).unwrap();
    (folder, sandbox)
}

#[tokio::test]
async fn a_component_that_was_announced_as_another_is_not_loaded() {
    let (_folder, sandbox) = sandbox();
    let wasm = Bytes::from(guests::hostile("well_behaved"));
    let error = sandbox.load(Component { digest: Digest::of(b"another"), wasm, assets: None }).await.unwrap_err();
    assert!(error.to_string().contains("announced was sha256:"), "{error}");
    let unknown = invocation(Digest::of(b"another"), Work::Rule { input: Json::null(), step: step() });
    assert!(matches!(sandbox.invoke(unknown).await.result, Err(CallError::Unavailable { .. })));
}

#[tokio::test]
async fn an_import_that_no_hub_gives_is_named() {
    let error = try_load(&sandbox().1, "foreign_import").await.unwrap_err();
    assert!(
        matches!(error, LoadError::Contract { .. }) && error.to_string().contains("`acme:private/door`"),
        "{error}"
    );
}

#[tokio::test]
async fn an_interface_with_other_types_is_named() {
    let error = try_load(&sandbox().1, "wrong_types").await.unwrap_err();
    let named = error.to_string().contains("`crossdock:plugin/rule` is not as the contract has it");
    assert!(matches!(error, LoadError::Contract { .. }) && named, "{error}");
}

#[tokio::test]
async fn what_is_not_a_component_is_refused_with_how_to_build_one() {
    let wasm = Bytes::from_static(b"\0asm\x01\0\0\0");
    let component = Component { digest: Digest::of(&wasm), wasm, assets: None };
    let error = sandbox().1.load(component).await.unwrap_err();
    assert!(matches!(error, LoadError::NotAComponent { .. }) && error.to_string().contains("wasm32-wasip2"), "{error}");
}

#[tokio::test]
async fn an_inspection_tells_what_a_component_imports_and_exports() {
    let inspection = sandbox().1.inspect(&guests::hostile("connector")).unwrap();
    let interfaces = ["connector", "paging", "polling-source", "webhook-source"];
    assert_eq!(inspection.exports, interfaces.map(|name| format!("crossdock:plugin/{name}@1.0.0")));
    assert!(inspection.imports.contains(&"crossdock:plugin/state@1.0.0".to_owned()), "{:?}", inspection.imports);
    assert!(inspection.imports.iter().any(|import| import.starts_with("wasi:http/outgoing-handler@")));
    assert!(inspection.imports.is_sorted());
}

#[tokio::test]
async fn compiled_code_outlives_the_sandbox_and_damaged_code_is_compiled_anew() {
    let (folder, first) = sandbox();
    let digest = load(&first, "well_behaved", None).await;
    assert!(first.load_from_cache(digest));
    let entries = |folder: &Path| {
        let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries
    };
    let before = entries(folder.path());
    assert_eq!(before.len(), 3, "key, code and tag: {before:?}");

    let second = Sandbox::new(folder.path()).unwrap();
    assert!(second.load_from_cache(digest));
    let code = before.iter().find(|path| path.extension().is_some_and(|extension| extension == "cwasm")).unwrap();
    let mut bytes = fs::read(code).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::remove_file(code).unwrap();
    fs::write(code, bytes).unwrap();
    assert!(!second.load_from_cache(digest));
    load(&second, "well_behaved", None).await;
    assert!(second.load_from_cache(digest));
    assert_eq!(entries(folder.path()), before);

    let call = invocation(digest, Work::Rule { input: json(&json!([1])), step: step() });
    assert_eq!(output(&second.invoke(call).await), json!([1]));
}

#[tokio::test]
async fn loading_twice_changes_nothing_and_an_unloaded_component_is_gone() {
    let (_folder, sandbox) = sandbox();
    let digest = load(&sandbox, "well_behaved", None).await;
    assert_eq!(load(&sandbox, "well_behaved", None).await, digest);
    sandbox.unload(digest);
    let call = invocation(digest, Work::Rule { input: Json::null(), step: step() });
    assert!(matches!(sandbox.invoke(call.clone()).await.result, Err(CallError::Unavailable { .. })));
    load(&sandbox, "well_behaved", None).await;
    assert!(sandbox.invoke(call).await.result.is_ok());
}

#[tokio::test]
async fn a_transform_answers_and_may_not_claim_effects() {
    let (_folder, sandbox) = sandbox();
    let component = load(&sandbox, "uncertain_transform", None).await;
    let call = |input| invocation(component, Work::Transform { input: json(&input), step: step() });
    let done = sandbox.invoke(call(json!({"a": "b"}))).await;
    assert_eq!(output(&done), json!({"A": "B"}));
    let again = sandbox.invoke(call(json!({"a": "b"}))).await;
    assert_eq!((again.usage.fuel, again.result), (done.usage.fuel, done.result));
    let Err(CallError::Contract { message }) = sandbox.invoke(call(json!({}))).await.result else { panic!() };
    assert!(message.contains("pure plugin"), "{message}");
}

#[tokio::test]
async fn a_delivery_becomes_events_and_a_reply() {
    let (_folder, sandbox) = sandbox();
    let component = load(&sandbox, "connector", None).await;
    let delivery = Delivery {
        method: "POST".into(),
        path: "/orders".into(),
        query: "shop=1".into(),
        headers: vec![("x-delivery".into(), "d-1".into())],
        body: Bytes::from_static(br#"{"id": 5}"#),
    };
    let attributes = vec![("lane".to_owned(), "fast".to_owned())];
    let feed = Feed { name: "shop".into(), config: Json::empty_object(), attributes };
    let call = invocation(component, Work::Receive { delivery: delivery.clone(), feed: feed.clone() });
    let now = call.now;
    let done = sandbox.invoke(call).await;
    let Ok(Answer::Receipt(events, Some(reply))) = &done.result else { panic!("{:?}", done.result) };
    let event = &events[0];
    assert_eq!((&*event.id, &*event.source, &*event.event_type), ("d-1", "/shop/orders", "order.post"));
    assert_eq!((event.subject.as_deref(), event.time), (Some("shop=1"), Some(now)));
    assert_eq!((event.data.to_value(), &*event.extensions["lane"]), (json!({"id": 5}), "fast"));
    assert_eq!((reply.status, &reply.body[..]), (200, &b"thanks"[..]));

    let nameless = Delivery { headers: vec![], ..delivery };
    let done = sandbox.invoke(invocation(component, Work::Receive { delivery: nameless, feed })).await;
    let Err(CallError::Contract { message }) = &done.result else { panic!("{:?}", done.result) };
    assert!(message.contains("`id` is missing"), "{message}");
}

#[tokio::test]
async fn a_polled_source_goes_on_where_its_cursor_stands() {
    let (_folder, sandbox) = sandbox();
    let component = load(&sandbox, "connector", None).await;
    let feed = Feed {
        name: "shop".into(),
        config: json(&json!({ "total": 3 })),
        attributes: vec![("event".to_owned(), "order.polled.v1".to_owned())],
    };
    let mut cursor = None;
    let mut found = Vec::new();
    for more in [true, false, false] {
        let done = sandbox.invoke(invocation(component, Work::Poll { cursor, feed: feed.clone() })).await;
        let Ok(Answer::Page(page)) = done.result else { panic!("{:?}", done.result) };
        assert_eq!(page.more, more);
        found.extend(page.events.into_iter().map(|event| (event.id, event.event_type)));
        cursor = page.cursor;
    }
    let expected = [0, 1, 2].map(|number| (format!("n-{number}"), "order.polled.v1".to_owned()));
    assert_eq!((found.as_slice(), cursor.as_deref()), (&expected[..], Some("3")));
}

#[tokio::test]
async fn a_paged_operation_gives_its_rows_portion_by_portion() {
    let (_folder, sandbox) = sandbox();
    let component = load(&sandbox, "connector", None).await;
    let mut cursor = None;
    let mut rows = Vec::new();
    loop {
        let work = Work::Fetch {
            operation: "rows".into(),
            input: json(&json!({ "total": 5 })),
            idempotency_key: "xd_1".into(),
            attempt: 1,
            cursor,
            step: step(),
        };
        let done = sandbox.invoke(invocation(component, work)).await;
        let Ok(Answer::Portion(portion)) = done.result else { panic!("{:?}", done.result) };
        rows.extend(portion.rows.to_value().as_array().cloned().unwrap_or_default());
        cursor = portion.next;
        if cursor.is_none() {
            break;
        }
    }
    let numbers: Vec<_> = rows.iter().map(|row| row["number"].as_u64().unwrap()).collect();
    assert_eq!((numbers, &rows[0]["of"]), (vec![0, 1, 2, 3, 4], &json!("rows")));
}

#[tokio::test]
async fn a_guest_that_is_no_source_says_so_when_polled() {
    let (_folder, sandbox) = sandbox();
    let component = load(&sandbox, "well_behaved", None).await;
    let feed = Feed { name: "shop".into(), config: Json::empty_object(), attributes: vec![] };
    let done = sandbox.invoke(invocation(component, Work::Poll { cursor: None, feed })).await;
    let Err(CallError::Contract { message }) = &done.result else { panic!("{:?}", done.result) };
    assert!(message.contains("does not export `crossdock:plugin/polling-source`"), "{message}");
}

#[tokio::test]
async fn a_bare_call_is_made_again_and_again() {
    let (_folder, sandbox) = sandbox();
    let component = load(&sandbox, "well_behaved", None).await;
    let work = Work::Rule { input: json(&json!({"order": 1})), step: step() };
    let call = Invocation { authority: Authority::default(), ..invocation(component, work) };
    let bare = sandbox.bare(call).unwrap();
    for _ in 0..3 {
        bare.call().await.unwrap();
    }
    assert!(sandbox.compile(&guests::hostile("well_behaved")).unwrap() > 0);
}

#[tokio::test]
async fn more_calls_than_there_is_room_for_are_told_so_and_the_others_go_on() {
    let (_folder, sandbox) = sandbox();
    let component = load(&sandbox, "sleeper", None).await;
    let number = usize::try_from(CALLS_LIMIT).unwrap() + 20;
    let calls = (0..number).map(|_| {
        let call = invocation(component, Work::Rule { input: json(&json!(1000)), step: step() });
        // Nothing but the room is to end them on a busy machine.
        sandbox.invoke(Invocation { limits: Limits { deadline_ms: 60_000, ..call.limits }, ..call })
    });
    let done = futures::future::join_all(calls).await;
    let told = done.iter().filter(|done| match &done.result {
        Err(CallError::Unavailable { message }) => message.contains("no room"),
        result => result.is_err(),
    });
    assert_eq!(told.count(), 20);
    let call = invocation(component, Work::Rule { input: json(&json!(0)), step: step() });
    assert!(sandbox.invoke(call).await.result.is_ok());
}

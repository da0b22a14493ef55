//! Each bad input with its status and code; none of them changes anything.

use bytes::Bytes;
use http::Response;
use serde_json::json;

use super::{BATCH, Fake, Options, STRUCTURED, json, order, start, start_with};
use crate::net::problem::MEDIA_TYPE;

/// Status, code, and a part of the detail.
#[track_caller]
fn check(response: &Response<Bytes>, status: u16, code: &str, detail: &str) {
    let problem = json(response);
    assert_eq!(response.status().as_u16(), status, "{problem:#}");
    assert_eq!(response.headers()["content-type"], MEDIA_TYPE);
    assert_eq!(problem["code"], code, "{problem:#}");
    assert_eq!(problem["status"], status);
    assert_eq!(problem["type"], format!("urn:crossdock:error:{code}"));
    assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem:#} does not say {detail}");
    assert!(!problem["advice"].as_str().unwrap().is_empty());
    assert!(problem["instance"].as_str().unwrap().starts_with('/'));
}

#[tokio::test]
async fn a_problem_says_everything_in_one_document() {
    let served = start().await;
    let response = served.post("/v1/events?wait=1s", &STRUCTURED, "{\"id\":\n  oops}").await;
    let mut problem = json(&response);
    problem.sort_all_objects();
    insta::assert_snapshot!(serde_json::to_string_pretty(&problem).unwrap(), @r#"
    {
      "advice": "correct the body at the line and column named; send it as UTF-8 without a byte order mark",
      "code": "event.malformed",
      "column": 3,
      "detail": "the body is not JSON: expected value at line 2 column 3",
      "instance": "/v1/events",
      "line": 2,
      "status": 400,
      "title": "The body is not JSON",
      "type": "urn:crossdock:error:event.malformed"
    }
    "#);
}

#[tokio::test]
async fn bodies_that_are_no_events_are_refused() {
    let served = start().await;
    let structured = [
        ("", 400, "event.malformed", "line 1 column 0"),
        ("{\"id\": ", 400, "event.malformed", "line 1 column 7"),
        ("\u{feff}{}", 400, "event.malformed", "line 1"),
        ("{} {}", 400, "event.malformed", "trailing"),
        ("[]", 400, "event.invalid", "an event as a JSON object"),
        ("{\"id\": 1, \"id\": 2}", 400, "event.invalid", "attribute `id` is there twice"),
        ("{}", 400, "event.invalid", "`specversion` is missing"),
    ];
    for (body, status, code, detail) in structured {
        check(&served.post("/v1/events", &STRUCTURED, body).await, status, code, detail);
    }
    let deep = format!("{{\"data\": {}{}}}", "[".repeat(500), "]".repeat(500));
    check(&served.post("/v1/events", &STRUCTURED, deep).await, 400, "event.malformed", "recursion limit");
    check(&served.post("/v1/events", &STRUCTURED, &b"{\"id\": \"\xff\"}"[..]).await, 400, "event.malformed", "line 1");
    assert!(served.hub.events.lock().unwrap().is_empty());
}

#[tokio::test]
async fn attributes_are_held_to_the_specification() {
    let served = start().await;
    let table = [
        ("specversion", json!("0.3"), "`1.0` is spoken here"),
        ("specversion", json!(null), "`specversion` is missing"),
        ("id", json!(null), "`id` is missing"),
        ("id", json!(""), "`id` is missing or empty"),
        ("source", json!(null), "`source` is missing"),
        ("type", json!(null), "`type` is missing"),
        ("type", json!({}), "`type` must be text"),
        ("time", json!("yesterday"), "`yesterday` is not an RFC 3339 time"),
        ("subject", json!("x".repeat(257)), "is 257 bytes"),
        ("Wrong_Name", json!("x"), "is not a CloudEvents name"),
        ("traceparent", json!(["x"]), "`traceparent` must be text"),
        ("data_base64", json!("e30="), "are both there"),
    ];
    for (name, value, detail) in table {
        let mut event = order("1");
        event[name] = value;
        check(&served.event(&event).await, 400, "event.invalid", detail);
    }
    let mut event = order("1");
    event.as_object_mut().unwrap().remove("data");
    event["data_base64"] = json!("%%%");
    check(&served.event(&event).await, 400, "event.invalid", "is not base64");
    event["data_base64"] = json!("bm90IGpzb24=");
    check(&served.event(&event).await, 400, "event.invalid", "in `data_base64`");
    let mut event = order("1");
    event["datacontenttype"] = json!("text/xml");
    check(&served.event(&event).await, 415, "event.data-type", "`text/xml`, which is not JSON");
    assert!(served.hub.events.lock().unwrap().is_empty());
}

#[tokio::test]
async fn content_types_that_are_not_taken_are_told_which_are() {
    let served = start().await;
    let names_all = "`application/cloudevents-batch+json`";
    for headers in [
        &[][..],
        &[("content-type", "text/plain")],
        &[("content-type", "application/json")],
        &[("content-type", "application/cloudevents+avro")],
        &[("content-type", "application/cloudevents+json; charset=latin1")],
    ] {
        check(&served.post("/v1/events", headers, "{}").await, 415, "event.content-type", names_all);
    }
    let binary = [("content-type", "text/xml"), ("ce-id", "1")];
    check(&served.post("/v1/events", &binary, "<x/>").await, 415, "event.data-type", "text/xml");
}

#[tokio::test]
async fn what_does_not_fit_the_hub_is_told_apart() {
    let served = start().await;
    let with = |name: &str, value: &str| {
        let mut event = order("1");
        event[name] = value.into();
        event
    };
    check(
        &served.event(&with("type", "no.such")).await,
        422,
        "event.unknown-type",
        "known types: retail.order.placed.v1",
    );
    check(&served.event(&with("subject", "bad")).await, 422, "event.data", "`/total` is missing");
    let response = served.event(&with("type", "full")).await;
    check(&response, 503, "hub.unavailable", "the disk is full");
    assert_eq!(response.headers()["retry-after"], "5");
    assert_eq!(served.event(&order("1")).await.status(), 202);
    let response = served.event(&with("subject", "other")).await;
    check(&response, 409, "event.contradiction", "accepted before with other content");
    assert!(json(&response)["first"].as_str().unwrap().starts_with("acc_"));
    assert_eq!(served.hub.events.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_defect_answers_a_problem_and_the_server_goes_on() {
    let served = start().await;
    let mut event = order("1");
    event["type"] = "panic".into();
    let response = served.event(&event).await;
    check(&response, 500, "hub.internal", "a defect");
    assert_eq!(served.event(&order("1")).await.status(), 202);
}

#[tokio::test]
async fn batches_are_bounded_and_name_the_event() {
    let served = start().await;
    let many: Vec<_> = (0..257).map(|n| order(&n.to_string())).collect();
    let body = serde_json::to_string(&many).unwrap();
    check(&served.post("/v1/events", &BATCH, body).await, 413, "event.batch-too-large", "257 events, at most 256");
    let mut wrong = many[..3].to_vec();
    wrong[2]["id"] = json!(null);
    let response = served.post("/v1/events", &BATCH, serde_json::to_string(&wrong).unwrap()).await;
    check(&response, 400, "event.invalid", "event 2 of the batch: attribute `id` is missing");
    assert_eq!(json(&response)["index"], 2);
    check(&served.post("/v1/events", &BATCH, "{}").await, 400, "event.invalid", "expected a sequence");
    check(&served.post("/v1/events", &BATCH, "[1]").await, 400, "event.invalid", "event 0 of the batch");
    assert!(served.hub.events.lock().unwrap().is_empty());
}

#[tokio::test]
async fn bodies_are_bounded() {
    let served = start().await;
    for bytes in [(1 << 20) + 1, 4 << 20] {
        let response = served.post("/v1/events", &STRUCTURED, vec![b' '; bytes]).await;
        check(&response, 413, "body.too-large", "1048576 bytes");
    }
    check(&served.post("/v1/webhooks/shop", &[], vec![b' '; 65]).await, 413, "body.too-large", "64 bytes");
    assert!(served.hub.deliveries.lock().unwrap().is_empty());
}

#[tokio::test]
async fn queries_are_held_to_what_is_known() {
    let served = start().await;
    for (path, detail) in [
        ("/v1/runs?colour=red", "no parameter `colour`; there are: pipeline, state, key, limit"),
        ("/v1/runs?state=lost", "`state=lost` is not a state; there are: running, waiting, paused"),
        ("/v1/runs?limit=0", "from 1 to 1000"),
        ("/v1/runs?limit=x", "from 1 to 1000"),
        ("/v1/runs?key=a&key=b", "`key` is there twice"),
    ] {
        check(&served.get(path).await, 400, "query.invalid", detail);
    }
    for wait in ["61s", "5", "s", "1h", "-1s", "99999999999999999999s"] {
        let path = format!("/v1/events?wait={wait}");
        let response = served.post(&path, &STRUCTURED, order("1").to_string()).await;
        check(&response, 400, "query.invalid", &format!("`wait={wait}`"));
    }
    assert!(served.hub.events.lock().unwrap().is_empty());
}

#[tokio::test]
async fn runs_that_are_not_there_and_ids_that_are_none_are_told_apart() {
    let served = start().await;
    let absent = "run_00000000000000000000000000000000";
    check(&served.get(&format!("/v1/runs/{absent}")).await, 404, "run.unknown", absent);
    check(&served.get(&format!("/v1/runs/{absent}/stream")).await, 404, "run.unknown", absent);
    check(&served.get("/v1/runs/run_00000000").await, 404, "run.unknown", "run_00000000");
    for wrong in ["run_0000000", "acc_0123456789", "x", "run_%F0%9F%98%80"] {
        check(&served.get(&format!("/v1/runs/{wrong}")).await, 400, "run.id-invalid", "is not a run's id");
    }
    check(&served.get("/v1/runs/%ff").await, 400, "request.invalid", "cannot be read");
}

#[tokio::test]
async fn deliveries_that_are_refused_say_why() {
    let served = start().await;
    for (body, status, code, detail) in [
        ("unsigned", 401, "webhook.signature", "header `x-sig` is missing"),
        ("unreadable", 400, "webhook.invalid", "`shop.shape`: no `id`"),
        ("forbidden", 403, "webhook.type-not-allowed", "`bank.booked`"),
        ("trap", 500, "webhook.plugin-failed", "it trapped"),
        ("full", 503, "hub.unavailable", "the disk is full"),
    ] {
        let response = served.post("/v1/webhooks/shop", &[], body).await;
        check(&response, status, code, detail);
        assert_eq!(response.headers().contains_key("www-authenticate"), status == 401);
    }
    check(&served.post("/v1/webhooks/nobody", &[], "x").await, 404, "webhook.unknown-source", "`nobody`");
}

#[tokio::test]
async fn paths_methods_and_names_that_are_not_ours_are_problems_too() {
    let served = start().await;
    check(&served.get("/v1/nothing").await, 404, "route.unknown", "nothing at this path");
    check(&served.get("/").await, 404, "route.unknown", "nothing at this path");
    let response = served.ask("DELETE", "/v1/events", &[], "").await;
    check(&response, 405, "route.method", "does not take this method");
    assert_eq!(response.headers()["allow"], "POST");
    for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost@evil.example"] {
        let response = served.ask("GET", "/v1/runs", &[("host", host)], "").await;
        check(&response, 421, "host.not-allowed", "the request is for");
    }
    for host in ["localhost", "LOCALHOST.:99", "[::1]:1", "127.0.0.1"] {
        assert_eq!(served.ask("GET", "/v1/runs", &[("host", host)], "").await.status(), 200, "{host}");
    }
}

#[tokio::test]
async fn a_hub_that_does_not_work_says_what_to_do() {
    let served = start_with(Fake { sick: true, ..Fake::default() }, Options::default()).await;
    let response = served.get("/health/ready").await;
    check(&response, 503, "hub.not-ready", "store: free some space on the disk");
    assert_eq!(json(&response)["checks"], json!({"store": "free some space on the disk"}));
    assert_eq!(served.get("/health/live").await.status(), 200);
    check(&served.get("/metrics").await, 404, "metrics.off", "collects no metrics");
}

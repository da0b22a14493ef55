//! What is taken in, and how it is answered.

use std::collections::{BTreeMap, BTreeSet};

use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use utoipa::OpenApi as _;

use super::{BATCH, Fake, KNOWN, Options, json, order, start, start_with, summary};
use crate::{
    model::{connection::SecretRef, json::Json, source::Replaced, timestamp::Timestamp},
    net::server::{openapi::Description, routes},
    ports::settings::SourceView,
};

#[tokio::test]
async fn all_three_modes_bring_the_same_event() {
    let served = start().await;
    let data = r#"{ "total":"1.10" }"#;
    let body = format!(
        r#"{{"specversion":"1.0","id":"1","source":"/shop é","type":"{KNOWN}","subject":"4711","time":"2026-03-01T09:15:00+01:00","dataschema":"https://s","vip":true,"rank":7,"none":null,"datacontenttype":"application/json","data":{data}}}"#
    );
    let structured =
        served.post("/v1/events", &[("content-type", "Application/CloudEvents+JSON; charset=UTF-8")], body.clone());
    assert_eq!(structured.await.status(), 202);
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("ce-specversion", "1.0"),
        ("ce-id", "%31"),
        ("ce-source", "/shop%20%C3%A9"),
        ("ce-type", KNOWN),
        ("ce-subject", "4711"),
        ("ce-time", "2026-03-01T08:15:00Z"),
        ("ce-dataschema", "https://s"),
        ("ce-vip", "true"),
        ("ce-rank", "7"),
    ];
    let binary = served.post("/v1/events", &headers, data).await;
    assert_eq!(json(&binary)["events"][0]["duplicate"], true, "{binary:?}");
    assert_eq!(binary.status(), 200);
    let batch = served.post("/v1/events", &BATCH, format!("[{body}]")).await;
    assert_eq!(json(&batch)["events"][0]["duplicate"], true);
    let encoded = body.replace(&format!("\"data\":{data}"), "\"data_base64\":\"eyAidG90YWwiOiIxLjEwIiB9\"");
    assert_eq!(json(&served.post("/v1/events", &super::STRUCTURED, encoded).await)["events"][0]["duplicate"], true);
    let events = served.hub.events.lock().unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].data.as_bytes(), data.as_bytes(), "the exact bytes");
}

#[tokio::test]
async fn an_event_without_data_is_one() {
    let served = start().await;
    let headers = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/t"), ("ce-type", KNOWN)];
    assert_eq!(served.post("/v1/events", &headers, "").await.status(), 202);
    assert!(served.hub.events.lock().unwrap()[0].data.is_null());
}

#[tokio::test]
async fn a_batch_is_answered_in_order() {
    let served = start().await;
    let body = json!([order("1"), order("2"), order("1")]).to_string();
    let response = served.post("/v1/events", &BATCH, body).await;
    assert_eq!(response.status(), 202);
    let flags: Vec<_> = json(&response)["events"].as_array().unwrap().iter().map(|e| e["duplicate"].clone()).collect();
    assert_eq!(flags, [false, false, true]);
    assert_eq!(json(&served.post("/v1/events", &BATCH, "[]").await), json!({"events": []}));
}

#[tokio::test]
async fn who_waits_is_told_how_it_ended() {
    let served = start().await;
    let response = served.post("/v1/events?wait=5s", &super::STRUCTURED, order("1").to_string()).await;
    assert_eq!(response.status(), 200);
    let run = json(&response)["events"][0]["runs"][0].clone();
    assert_eq!(run["state"], "completed");
    let id = run["id"].as_str().unwrap();
    for text in [id, &id[..12], &id[4..12], &id[4..12].to_uppercase()] {
        let response = served.get(&format!("/v1/runs/{text}")).await;
        assert_eq!(json(&response)["id"], id, "{text}");
    }
}

#[tokio::test]
async fn runs_are_filtered() {
    let served = start().await;
    for (id, subject) in [("1", "a"), ("2", "b")] {
        let mut event = order(id);
        event["subject"] = subject.into();
        served.event(&event).await;
    }
    for (query, expected) in [
        ("", 2),
        ("?key=a", 1),
        ("?state=parked", 0),
        ("?limit=1", 1),
        ("?pipeline=retail%2Forders&state=completed", 2),
    ] {
        let response = served.get(&format!("/v1/runs{query}")).await;
        assert_eq!(json(&response)["runs"].as_array().unwrap().len(), expected, "{query}");
    }
}

#[tokio::test]
async fn a_run_is_streamed_until_it_is_settled() {
    let served = start().await;
    let id = json(&served.event(&order("1")).await)["events"][0]["runs"][0]["id"].as_str().unwrap().to_owned();
    let response = served.get(&format!("/v1/runs/{id}/stream")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = String::from_utf8(response.body().to_vec()).unwrap();
    let views: Vec<Value> =
        text.lines().filter_map(|line| line.strip_prefix("data: ")).map(|data| data.parse().unwrap()).collect();
    assert_eq!(views.len(), 2);
    assert_eq!(views[1]["id"], id);
    assert_eq!(text.matches("event: run").count(), 2);
}

#[tokio::test]
async fn a_delivery_reaches_the_hub_as_it_was_sent() {
    let served = start().await;
    let headers = [("X-Sig", "abc"), ("content-type", "application/json")];
    let response = served.post("/v1/webhooks/shop/a%2Fb/c?d=%20", &headers, " {} ").await;
    assert_eq!(response.status(), 202);
    assert_eq!(json(&response)["events"][0]["duplicate"], false);
    assert_eq!(served.post("/v1/webhooks/shop", &[], "x").await.status(), 202);
    let deliveries = served.hub.deliveries.lock().unwrap();
    let delivery = &deliveries[0];
    assert_eq!(
        (delivery.method.as_str(), delivery.path.as_str(), delivery.query.as_str()),
        ("POST", "/a%2Fb/c", "d=%20")
    );
    assert_eq!(delivery.body, " {} ");
    assert!(delivery.headers.contains(&("x-sig".to_owned(), "abc".to_owned())));
    assert_eq!(deliveries[1].path, "/");
}

#[tokio::test]
async fn a_plugins_reply_is_given_if_it_may_be() {
    let served = start().await;
    let response = served.post("/v1/webhooks/shop", &[], "reply").await;
    assert_eq!((response.status().as_u16(), response.body().as_ref()), (200, &b"<ok/>"[..]));
    assert_eq!(response.headers()["content-type"], "text/xml");
    // A reply that the contract does not allow does not undo that the delivery was accepted.
    assert_eq!(served.post("/v1/webhooks/shop", &[], "redirect").await.status(), 202);
}

#[tokio::test]
async fn metrics_are_shown() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let options = Options { metrics: Some(recorder.handle()), ..Options::default() };
    metrics::with_local_recorder(&recorder, || metrics::counter!("crossdock_events_accepted_total").increment(3));
    let served = start_with(Fake::default(), options).await;
    let response = served.get("/metrics").await;
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(String::from_utf8_lossy(response.body()).contains("crossdock_events_accepted_total 3"));
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let served = start().await;
    let described: BTreeSet<(String, String)> = json(&served.get("/openapi.json").await)["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())))
        .collect();
    let served: BTreeSet<(String, String)> = routes()
        .into_iter()
        .flat_map(|(path, methods, ..)| {
            methods.iter().map(move |method| (path.replace("{*", "{"), (*method).to_owned()))
        })
        .collect();
    assert_eq!(described, served);
}

#[tokio::test]
async fn every_route_takes_the_methods_that_it_is_described_with() {
    let served = start().await;
    let mut by_path: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, methods, ..) in routes() {
        by_path.entry(path).or_default().extend(methods);
    }
    for (path, methods) in by_path {
        let path = path
            .replace("{*rest}", "x")
            .replace("{source}", "shop")
            .replace("{id}", "x")
            .replace("{run}", "x")
            .replace("{step}", "x");
        let response = served.ask("DELETE", &path, &[], "").await;
        let allowed = response.headers()["allow"].to_str().unwrap().to_lowercase();
        let allowed: BTreeSet<_> = allowed.split(',').filter(|method| *method != "head").collect();
        assert_eq!(allowed, methods, "{path}");
    }
}

#[tokio::test]
async fn descriptions_of_lower_layers_types_have_their_fields() {
    let event = serde_json::from_value(json!({"id": "1", "source": "/t", "type": KNOWN, "data": null})).unwrap();
    let run = serde_json::to_value(super::view(summary(&event))).unwrap();
    let document = serde_json::to_value(Description::openapi()).unwrap();
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let schemas = &document["components"]["schemas"];
    let short = fields(&serde_json::to_value(summary(&event)).unwrap());
    assert_eq!(fields(&schemas["RunSummary"]["properties"]), short);
    let described: BTreeSet<_> = schemas["RunView"]["allOf"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|part| fields(part.get("properties").unwrap_or(&schemas["RunSummary"]["properties"])))
        .collect();
    assert_eq!(described, fields(&run));
    assert!(schemas["Problem"]["properties"]["advice"].is_object());
}

#[tokio::test]
async fn connections_and_lanes_are_shown_as_they_are_described() {
    let served = start().await;
    let document = serde_json::to_value(Description::openapi()).unwrap();
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let described = |name: &str| fields(&document["components"]["schemas"][name]["properties"]);
    let shown = json(&served.get("/v1/connections/erp").await);
    assert_eq!(described("ConnectionView"), fields(&shown));
    assert_eq!(
        shown["limits"],
        serde_json::json!({
            "concurrency": 32,
            "breaker": { "failures": 5, "window_ms": 60_000, "open_ms": 5_000, "open_ms_max": 60_000 },
        })
    );
    let late = json(&served.get("/v1/promises?standing=late").await);
    assert_eq!(described("Promise"), fields(&late["promises"][0]));
    let open = json(&served.get("/v1/exceptions").await);
    assert_eq!(described("Exception"), fields(&open["exceptions"][0]));
    assert_eq!(described("LanesView"), fields(&json(&served.get("/v1/lanes").await)));
    let unknown = served.get("/v1/connections/wms").await;
    assert_eq!((unknown.status().as_u16(), &json(&unknown)["code"]), (404, &"connection.unknown".into()));
}

#[test]
fn sources_are_described_as_they_are_shown() {
    let shown = SourceView {
        name: "shop".into(),
        path: "/v1/webhooks/shop".into(),
        plugin: "acme/shop".parse().unwrap(),
        version: Some("1.0.0".into()),
        signed: serde_json::from_value(json!({"algorithm": "hmac-sha256", "header": "x", "encoding": "hex"})).ok(),
        source: "/shops/eu-1".into(),
        types: vec![KNOWN.into()],
        secret: SecretRef::Env("SHOP".into()),
        replaced: Some(Replaced { secret: SecretRef::Env("OLD".into()), until: Timestamp::default() }),
        config: Json::empty_object(),
        body_bytes_limit: 1,
        origin: "api",
        declared: Some("same"),
    };
    let shown = serde_json::to_value(shown).unwrap();
    let document = serde_json::to_value(Description::openapi()).unwrap();
    let described = document["components"]["schemas"]["SourceView"]["properties"].as_object().unwrap();
    let keys = |fields: &serde_json::Map<String, Value>| fields.keys().cloned().collect::<BTreeSet<_>>();
    assert!(shown["signed"].is_object());
    assert_eq!(keys(described), keys(shown.as_object().unwrap()));
}

#[tokio::test]
async fn a_hub_that_has_too_much_to_do_says_when_to_come_back() {
    let served = start().await;
    let mut event = order("1");
    event["type"] = "busy".into();
    let response = served.event(&event).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "2");
    let problem = json(&response);
    assert_eq!(problem["code"], "hub.busy");
    assert!(problem["detail"].as_str().unwrap().contains("9 runs are under way"), "{problem:#}");
}

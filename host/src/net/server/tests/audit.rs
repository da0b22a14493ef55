//! `GET /v1/audit`: filters, bounds, and what its description says.

use std::collections::BTreeSet;

use serde_json::Value;
use utoipa::OpenApi as _;

use super::{Fake, json, start, start_with};
use crate::net::server::{Options, openapi::Description};

async fn sequences(query: &str) -> Vec<u64> {
    let answer = json(&start().await.get(&format!("/v1/audit{query}")).await);
    answer["records"].as_array().unwrap().iter().map(|record| record["sequence"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn records_are_listed_newest_first_and_filtered() {
    assert_eq!(sequences("").await, [3, 2, 1]);
    assert_eq!(sequences("?limit=1").await, [3]);
    assert_eq!(sequences("?before=3&limit=1").await, [2]);
    assert_eq!(sequences("?action=connection&subject=connection/&actor=operator:config").await, [3, 2, 1]);
    assert!(sequences("?actor=nobody").await.is_empty());
    assert!(sequences("?action=plugin").await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_by_name() {
    let served = start().await;
    for (query, names) in [("limit=0", "limit=0"), ("before=x", "before=x"), ("limit=1001", "1000"), ("who=x", "who")] {
        let response = served.get(&format!("/v1/audit?{query}")).await;
        assert_eq!(response.status(), 400);
        assert!(json(&response)["detail"].as_str().unwrap().contains(names), "{query}");
    }
    let sick = start_with(Fake { sick: true, ..Fake::default() }, Options::default()).await;
    let response = sick.get("/v1/audit").await;
    assert_eq!((response.status().as_u16(), json(&response)["code"].as_str()), (503, Some("hub.unavailable")));
}

#[tokio::test]
async fn the_description_of_a_record_has_its_fields() {
    let answer = json(&start().await.get("/v1/audit?limit=1").await);
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let document = serde_json::to_value(Description::openapi()).unwrap();
    let mut described = fields(&document["components"]["schemas"]["AuditRecord"]["properties"]);
    // Absent where nothing was there.
    described.remove("before");
    assert_eq!(described, fields(&answer["records"][0]));
}

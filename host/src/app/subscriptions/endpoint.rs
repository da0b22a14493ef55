//! One delivery: an event as a CloudEvent in structured mode, signed, through the hub's one way out.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{
    app::{
        outlet::Outlet,
        posting::{self, Message},
        runner::Shared,
    },
    model::{entry::Accepted, event::Event, subscription::Subscription},
    net::egress::Gateway,
    policy::delivery::Verdict,
    ports::egress::Egress,
};

/// The way out to a subscriber's endpoint, and to nowhere else.
///
/// # Errors
/// If the URL is not one.
pub(super) fn outlet(
    gateway: &Gateway,
    shared: &Shared,
    name: &str,
    subscription: &Subscription,
) -> Result<Arc<dyn Egress>, String> {
    let place = Outlet {
        name: format!("subscription/{name}"),
        plugin: "crossdock/subscription",
        reason: "deliveries of a subscription",
        url: &subscription.url,
        method: "POST",
        allow_addresses: &subscription.allow_addresses,
        timeout_ms: subscription.timeout_ms,
        answer_bytes_limit: posting::ANSWER_BYTES_LIMIT,
    };
    posting::outlet(gateway, shared, place)
}

/// Delivers an event once; what came of it.
pub(super) async fn deliver(
    shared: &Shared,
    egress: &dyn Egress,
    subscription: &Subscription,
    accepted: &Accepted,
) -> Verdict {
    let message = Message {
        url: &subscription.url,
        id: &accepted.event.acceptance().to_string(),
        content_type: "application/cloudevents+json",
        body: cloud_event(&accepted.event),
        secrets: &subscription.secrets,
    };
    posting::post(shared, egress, message).await
}

/// The event as it is sent. What the hub itself keeps of who sent it is not part of that.
fn cloud_event(event: &Event) -> Bytes {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), Value::from(value));
        }
    };
    put("specversion", Some("1.0".to_owned()));
    put("id", Some(event.id.clone()));
    put("source", Some(event.source.clone()));
    put("type", Some(event.event_type.clone()));
    put("subject", event.subject.clone());
    put("time", event.time.map(|time| time.to_string()));
    put("dataschema", event.data_schema.clone());
    put("datacontenttype", Some("application/json".to_owned()));
    for (name, value) in event.extensions.iter().filter(|(name, _)| *name != "actor") {
        put(name, Some(value.clone()));
    }
    fields.insert("data".to_owned(), event.data.to_value());
    Bytes::from(Value::Object(fields).to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::cloud_event;
    use crate::model::{event::Event, json::Json};

    #[test]
    fn an_event_is_sent_whole_and_without_who_sent_it() {
        let event = Event {
            id: "1".into(),
            source: "/pipelines/retail/x".into(),
            event_type: "retail.order.shipped.v1".into(),
            subject: Some("17".into()),
            time: "2026-06-01T12:00:00Z".parse().ok(),
            data_schema: None,
            data: Json::parse(r#"{"b":1,"a":"1.10"}"#).unwrap(),
            extensions: BTreeMap::from([("actor".into(), "ann".into()), ("tenant".into(), "eu".into())]),
        };
        let sent = String::from_utf8(cloud_event(&event).to_vec()).unwrap();
        let expected = r#"{"specversion":"1.0","id":"1","source":"/pipelines/retail/x","type":"retail.order.shipped.v1","subject":"17","time":"2026-06-01T12:00:00.000Z","datacontenttype":"application/json","tenant":"eu","data":{"a":"1.10","b":1}}"#;
        assert_eq!(sent, expected);
    }
}

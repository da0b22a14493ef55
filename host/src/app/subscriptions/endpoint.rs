//! One delivery: an event as a CloudEvent in structured mode, signed, through the hub's one way out.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use serde_json::{Map, Value};

use crate::{
    app::runner::Shared,
    model::{
        connection::{Auth, Connection},
        entry::Accepted,
        event::Event,
        failure::{Failure, FailureKind},
        id::PluginId,
        json::Json,
        manifest::HttpCapability,
        subscription::Subscription,
        timestamp::Timestamp,
    },
    net::egress::{EgressScope, Gateway},
    policy::{
        delivery::{self, Verdict},
        egress::Origin,
    },
    ports::egress::{Egress, EgressError},
};

/// Largest answer that is read, bytes: nobody looks at it.
const ANSWER_BYTES_LIMIT: u64 = 256 << 10;

/// The way out to a subscriber's endpoint, and to nowhere else. Redirects are not followed.
///
/// # Errors
/// If the URL is not one.
pub(super) fn outlet(
    gateway: &Gateway,
    shared: &Shared,
    name: &str,
    subscription: &Subscription,
) -> Result<Arc<dyn Egress>, String> {
    let origin = Origin::parse(&subscription.url).map_err(|error| error.to_string())?.to_string();
    let plugin = "crossdock/subscription".parse::<PluginId>().map_err(|error| error.to_string())?;
    let connection = Connection {
        plugin,
        base_url: origin.clone(),
        config: Json::empty_object(),
        auth: Auth::None,
        secrets: Default::default(),
        allow_addresses: subscription.allow_addresses.clone(),
        timeout_ms: subscription.timeout_ms,
        response_bytes_limit: ANSWER_BYTES_LIMIT,
        limits: Default::default(),
    };
    let capability = HttpCapability {
        origin,
        methods: vec!["POST".to_owned()],
        reason: "deliveries of a subscription".to_owned(),
        authenticate: false,
    };
    Ok(gateway.open_direct(EgressScope {
        connection_name: format!("subscription/{name}"),
        connection,
        capabilities: vec![capability],
        read_methods: Vec::new(),
        revision: 0,
        secret_versions: Vec::new(),
        secrets: Arc::clone(&shared.secrets),
        clock: Arc::clone(&shared.clock),
    }))
}

/// Delivers an event once; what came of it.
pub(super) async fn deliver(
    shared: &Shared,
    egress: &dyn Egress,
    subscription: &Subscription,
    accepted: &Accepted,
) -> Verdict {
    shared.effects.allowed().await;
    let failed = |code: &str, message: String| Verdict::Down(Failure::new(FailureKind::Retryable, code, message));
    let mut secrets = Vec::new();
    for reference in &subscription.secrets {
        match shared.secrets.resolve(reference) {
            Ok(secret) if !secret.expose().is_empty() => secrets.push(secret),
            Ok(_) => return failed("secret.unavailable", format!("secret `{reference}` is empty")),
            Err(error) => return failed("secret.unavailable", error.to_string()),
        }
    }
    let id = accepted.event.acceptance().to_string();
    let body = cloud_event(&accepted.event);
    let now = shared.clock.now();
    let timestamp_s = now.millis().div_euclid(1_000);
    let keys: Vec<&[u8]> = secrets.iter().map(|secret| secret.expose()).collect();
    let signature = delivery::sign(&id, timestamp_s, &body, &keys);
    let request = Request::post(&subscription.url)
        .header(header::CONTENT_TYPE, "application/cloudevents+json")
        .header("webhook-id", &id)
        .header("webhook-timestamp", timestamp_s)
        .header("webhook-signature", signature)
        .body(body);
    let request = match request {
        Ok(request) => request,
        Err(error) => return failed("endpoint.url", format!("it cannot be asked: {error}")),
    };
    match egress.send(request, false).await {
        Ok(answer) => delivery::verdict(answer.status().as_u16(), retry_after_ms(answer.headers(), shared.clock.now())),
        // It answered, and at length.
        Err(error @ EgressError::TooLarge { .. }) => {
            Verdict::Refused(Failure::new(FailureKind::Retryable, "endpoint.answer", error.to_string()))
        }
        Err(error) => failed("endpoint.down", error.to_string()),
    }
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

/// `Retry-After`, as seconds or as a date (RFC 9110, 10.2.3).
fn retry_after_ms(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let due = Timestamp::from_millis(i64::try_from(date.as_millis()).ok()?);
    Some(due.since(now))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::{HeaderMap, HeaderValue};

    use super::{cloud_event, retry_after_ms};
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

    #[test]
    fn an_endpoint_says_when_in_seconds_or_as_a_date() {
        let now = "2026-06-01T12:00:00Z".parse().unwrap();
        let check = |text: &'static str, expected: Option<u64>| {
            let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(retry_after_ms(&headers, now), expected, "{text}");
        };
        check("7", Some(7_000));
        check("Mon, 01 Jun 2026 12:01:00 GMT", Some(60_000));
        check("Mon, 01 Jun 2026 11:00:00 GMT", Some(0));
        check("soon", None);
    }
}

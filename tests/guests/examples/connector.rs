//! A connector that tries what its operation is named after, with or without leave, and tells what came of it. It is a
//! webhook source as well, which makes one event of each delivery; and a polled source and a paged operation, which count
//! to the number that they are given, two at a time.

#[cfg(target_arch = "wasm32")]
mod exported {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated")]

    wit_bindgen::generate!({
        inline: "
            package test:connector;
            world plugin {
                include crossdock:plugin/connector-plugin@1.0.0;
                include crossdock:plugin/webhook-plugin@1.0.0;
                include crossdock:plugin/polling-plugin@1.0.0;
                include crossdock:plugin/paging-plugin@1.0.0;
            }
        ",
        path: "../../wit",
        world: "test:connector/plugin",
        generate_all,
    });

    use std::net::TcpStream;

    use crossdock::plugin::{context, secrets, state};
    use exports::crossdock::plugin::{
        connector::{Call, Failure, Guest},
        paging::{self, Portion},
        polling_source::{self, Page},
        webhook_source::{self, Delivery, Event, Feed, Receipt, Reply},
    };
    use serde_json::{Value, json};
    use wasip2::http::{
        outgoing_handler,
        types::{Fields, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme},
    };

    struct Connector;

    impl Guest for Connector {
        fn invoke(call: Call) -> Result<Vec<u8>, Failure> {
            let input: Value = serde_json::from_slice(&call.input).unwrap_or_default();
            let told = match call.operation.as_str() {
                "http" => http(&input),
                "many" => Value::from_iter((0..3).map(|_| http(&input))),
                "socket" => match TcpStream::connect(text(&input, "address")) {
                    Ok(_) => json!("connected"),
                    Err(error) => json!(format!("{:?}", error.kind())),
                },
                "state" => {
                    state::put(text(&input, "bucket"), "key", b"{\"n\":1}", None)?;
                    let entry = state::get(text(&input, "bucket"), "key")?;
                    entry.map_or(Value::Null, |entry| serde_json::from_slice(&entry.value).unwrap_or_default())
                }
                "sign" => {
                    let signature = secrets::sign(text(&input, "secret"), "hmac-sha256", b"data")?;
                    let good = secrets::verify(text(&input, "secret"), "hmac-sha256", b"data", &signature)?;
                    let bad = secrets::verify(text(&input, "secret"), "hmac-sha256", b"date", &signature)?;
                    json!([signature.len(), good, bad])
                }
                "remaining" => {
                    context::annotate("request-id", "r-1");
                    json!(context::remaining_ms())
                }
                "exit" => std::process::exit(3),
                other => json!(format!("no operation {other}")),
            };
            Ok(told.to_string().into_bytes())
        }
    }

    impl webhook_source::Guest for Connector {
        fn receive(delivery: Delivery, feed: Feed) -> Result<Receipt, Failure> {
            let id = delivery.headers.iter().find(|(name, _)| name == "x-delivery");
            let event = Event {
                id: id.map(|(_, value)| value.clone()).unwrap_or_default(),
                source: format!("/{}{}", feed.name, delivery.path),
                event_type: format!("order.{}", delivery.method.to_lowercase()),
                subject: Some(delivery.query),
                time: Some(feed.now),
                data_schema: None,
                data: delivery.body,
                extensions: feed.attributes,
            };
            let reply = Reply { status: 200, content_type: "text/plain".into(), body: b"thanks".to_vec() };
            Ok(Receipt { events: vec![event], reply: Some(reply) })
        }
    }

    /// Two numbers after the cursor, up to the total; where to go on, and whether there is more.
    fn two(cursor: Option<String>, total: u64) -> (std::ops::Range<u64>, String, bool) {
        let from = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0_u64);
        let to = (from + 2).min(total.max(from));
        (from..to, to.to_string(), to < total)
    }

    fn number(input: &Value, name: &str) -> u64 {
        input.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    impl paging::Guest for Connector {
        fn fetch(call: Call, cursor: Option<String>) -> Result<Portion, Failure> {
            let input: Value = serde_json::from_slice(&call.input).unwrap_or_default();
            let (numbers, next, more) = two(cursor, number(&input, "total"));
            let rows: Vec<Value> = numbers.map(|number| json!({ "number": number, "of": call.operation })).collect();
            Ok(Portion { rows: Value::from(rows).to_string().into_bytes(), next: more.then_some(next) })
        }
    }

    impl polling_source::Guest for Connector {
        fn poll(cursor: Option<String>, feed: Feed) -> Result<Page, Failure> {
            let config: Value = serde_json::from_slice(&feed.config).unwrap_or_default();
            let event_type = feed.attributes.iter().find(|(name, _)| name == "event").map(|(_, value)| value.clone());
            let (numbers, next, more) = two(cursor, number(&config, "total"));
            let event = |number: u64| Event {
                id: format!("n-{number}"),
                source: "/whoever".into(),
                event_type: event_type.clone().unwrap_or_default(),
                subject: None,
                time: Some(feed.now.clone()),
                data_schema: None,
                data: json!({ "number": number }).to_string().into_bytes(),
                extensions: vec![],
            };
            Ok(Page { events: numbers.map(event).collect(), cursor: Some(next), more })
        }
    }

    fn text<'a>(input: &'a Value, name: &str) -> &'a str {
        input.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Sends a POST with the headers and the body of the input to its `host` and `path`.
    fn http(input: &Value) -> Value {
        let headers = Fields::new();
        for (name, value) in input.get("headers").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            if let Err(error) = headers.append(name, value.as_bytes()) {
                return json!({ "header": format!("{error:?}") });
            }
        }
        match exchange(input, headers) {
            Ok((status, body)) => json!({ "status": status, "body": body }),
            Err(error) => json!({ "error": error }),
        }
    }

    fn exchange(input: &Value, headers: Fields) -> Result<(u16, String), String> {
        let request = OutgoingRequest::new(headers);
        request.set_method(&Method::Post).map_err(|()| "method")?;
        request.set_scheme(Some(&Scheme::Https)).map_err(|()| "scheme")?;
        request.set_authority(Some(text(input, "host"))).map_err(|()| "authority")?;
        request.set_path_with_query(Some(text(input, "path"))).map_err(|()| "path")?;
        let outgoing = request.body().map_err(|()| "body")?;
        let options = RequestOptions::new();
        let patience = input.get("patience_ms").and_then(Value::as_u64).map(|millis| millis * 1_000_000);
        options.set_first_byte_timeout(patience).map_err(|()| "patience")?;
        let answer = outgoing_handler::handle(request, Some(options)).map_err(|error| format!("{error:?}"))?;
        {
            let stream = outgoing.write().map_err(|()| "stream")?;
            for chunk in text(input, "body").as_bytes().chunks(4096) {
                stream.blocking_write_and_flush(chunk).map_err(|error| format!("write: {error:?}"))?;
            }
        }
        OutgoingBody::finish(outgoing, None).map_err(|error| format!("finish: {error:?}"))?;
        answer.subscribe().block();
        let response = answer.get().ok_or("not ready")?.map_err(|()| "taken")?.map_err(|error| format!("{error:?}"))?;
        let (status, incoming) = (response.status(), response.consume().map_err(|()| "consume")?);
        let stream = incoming.stream().map_err(|()| "read")?;
        let mut body = Vec::new();
        while let Ok(chunk) = stream.blocking_read(1 << 16) {
            body.extend(chunk);
        }
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    export!(Connector);
}

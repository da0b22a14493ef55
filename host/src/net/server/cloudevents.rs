//! The CloudEvents 1.0 HTTP binding: binary, structured and batch. From bytes to events, and nothing else.
//!
//! Data is JSON, kept as the exact bytes that came. <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>

use std::{collections::BTreeMap, fmt};

use axum::body::Bytes;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{BATCH_EVENTS_MAX, answer::malformed};
use crate::{
    model::{event::Event, json::Json},
    net::problem::{Code, Problem},
};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// How a request carries its events.
enum Mode {
    Binary,
    Structured,
    Batch,
}

/// Refuses what [`read`] cannot take, before the body is read.
pub(super) fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    mode(headers).map(|_| ())
}

/// The events of a request.
///
/// # Errors
/// Says what is wrong and where.
pub(super) fn read(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Event>, Problem> {
    match mode(headers)? {
        Mode::Binary => binary(headers, body).map(|event| vec![event]),
        Mode::Structured => {
            let attributes: Attributes<'_> = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
            structured(attributes, body).map(|event| vec![event])
        }
        Mode::Batch => batch(body),
    }
}

fn mode(headers: &HeaderMap) -> Result<Mode, Problem> {
    let accepted = format!(
        "taken are `{STRUCTURED}`, `{BATCH}`, and `application/json` with the attributes in `ce-` headers (at least \
         `ce-specversion`, `ce-id`, `ce-source`, `ce-type`)"
    );
    let refused = |problem: String| Err(Problem::new(Code::ContentTypeUnsupported, format!("{problem}; {accepted}")));
    let given = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
    let has_attributes = headers.keys().any(|name| name.as_str().starts_with("ce-"));
    let media = media_type(given.unwrap_or_default());
    let charset = given.and_then(|given| parameter(given, "charset"));
    if let Some(charset) = charset.filter(|charset| !charset.eq_ignore_ascii_case("utf-8")) {
        return refused(format!("the charset is `{charset}`, not UTF-8"));
    }
    match (media.as_str(), has_attributes) {
        (STRUCTURED, _) => Ok(Mode::Structured),
        (BATCH, _) => Ok(Mode::Batch),
        // Other data is refused for what it is, with the advice for data.
        (_, true) if !is_json(&media) && given.is_some() => Err(not_json(&media)),
        (_, true) => Ok(Mode::Binary),
        ("", false) => refused("there is no content type".to_owned()),
        (media, false) if is_json(media) => refused(format!("`{media}` without `ce-` headers is not an event")),
        (media, false) => refused(format!("`{media}` is not taken")),
    }
}

fn media_type(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn parameter<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split(';')
        .skip(1)
        .filter_map(|parameter| parameter.split_once('='))
        .find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"')))
}

fn is_json(media: &str) -> bool {
    media == "application/json" || media == "text/json" || media.ends_with("+json")
}

fn not_json(media: &str) -> Problem {
    Problem::new(Code::DataNotJson, format!("the data's content type is `{media}`, which is not JSON"))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::EventInvalid, detail)
}

fn unreadable(error: &serde_json::Error) -> Problem {
    if error.is_data() { invalid(error.to_string()) } else { malformed(error) }
}

fn batch(body: &Bytes) -> Result<Vec<Event>, Problem> {
    let items: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    if items.len() > BATCH_EVENTS_MAX {
        let detail = format!("the batch holds {} events, at most {BATCH_EVENTS_MAX} are taken", items.len());
        return Err(Problem::new(Code::BatchTooLarge, detail));
    }
    let one = |(index, item): (usize, &&RawValue)| {
        let named = |mut problem: Problem| {
            problem.detail = format!("event {index} of the batch: {}", problem.detail);
            problem.with("index", index)
        };
        let attributes: Attributes<'_> = serde_json::from_str(item.get()).map_err(|error| named(unreadable(&error)))?;
        structured(attributes, body).map_err(named)
    };
    items.iter().enumerate().map(one).collect()
}

/// The members of an event's JSON object, in place. A name that is there twice is refused: which one counts would be
/// up to the reader.
struct Attributes<'a>(BTreeMap<String, &'a RawValue>);

impl<'de> Deserialize<'de> for Attributes<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Attributes<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event as a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if members.contains_key(&name) {
                        return Err(de::Error::custom(format_args!("attribute `{name}` is there twice")));
                    }
                    members.insert(name, value);
                }
                Ok(Attributes(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

fn structured(attributes: Attributes<'_>, body: &Bytes) -> Result<Event, Problem> {
    let Attributes(mut members) = attributes;
    let (plain, encoded) = (members.remove("data"), members.remove("data_base64"));
    let mut texts = BTreeMap::new();
    for (name, raw) in members {
        match serde_json::from_str(raw.get()) {
            Ok(Value::String(text)) => drop(texts.insert(name, text)),
            Ok(Value::Bool(value)) => drop(texts.insert(name, value.to_string())),
            Ok(Value::Number(number)) if number.is_i64() => drop(texts.insert(name, number.to_string())),
            Ok(Value::Null) => {}
            _ => {
                return Err(invalid(format!(
                    "attribute `{name}` must be text, a whole number or a truth value; what is structured belongs \
                     into `data`"
                )));
            }
        }
    }
    check_data_type(&mut texts)?;
    let data = match (plain, encoded) {
        (Some(_), Some(_)) => return Err(invalid("`data` and `data_base64` are both there; send one")),
        (Some(raw), None) => data(body.slice_ref(raw.get().as_bytes()))?,
        (None, Some(raw)) => {
            let text: String = serde_json::from_str(raw.get()).map_err(|_| invalid("`data_base64` must be text"))?;
            let bytes = STANDARD.decode(text).map_err(|_| invalid("`data_base64` is not base64"))?;
            data(bytes.into()).map_err(|problem| invalid(format!("in `data_base64`: {}", problem.detail)))?
        }
        (None, None) => Json::null(),
    };
    event(texts, data)
}

fn binary(headers: &HeaderMap, body: &Bytes) -> Result<Event, Problem> {
    let mut texts = BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let text = decode(value.as_bytes())
            .ok_or_else(|| invalid(format!("header `ce-{name}` is not percent-encoded UTF-8")))?;
        if texts.insert(name.to_owned(), text).is_some() {
            return Err(invalid(format!("header `ce-{name}` is there twice")));
        }
    }
    check_data_type(&mut texts)?;
    let data = if body.is_empty() { Json::null() } else { data(body.clone())? };
    event(texts, data)
}

/// Percent-decodes a header's value (HTTP binding §3.1.3.2).
fn decode(value: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (pair, after) = after.split_at_checked(2)?;
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|c| c.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(pair, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

fn check_data_type(texts: &mut BTreeMap<String, String>) -> Result<(), Problem> {
    match texts.remove("datacontenttype") {
        Some(given) if !is_json(&media_type(&given)) => Err(not_json(&media_type(&given))),
        _ => Ok(()),
    }
}

/// Data as a document that can be looked into: well-formed, not nested too deeply, numbers within range.
fn data(bytes: Bytes) -> Result<Json, Problem> {
    serde_json::from_slice::<Value>(&bytes).map_err(|error| malformed(&error))?;
    Json::parse(bytes).map_err(|error| malformed(&error))
}

fn event(mut texts: BTreeMap<String, String>, data: Json) -> Result<Event, Problem> {
    match texts.remove("specversion").as_deref() {
        Some("1.0") => {}
        Some(other) => return Err(invalid(format!("attribute `specversion` is `{other}`; `1.0` is spoken here"))),
        None => return Err(invalid("attribute `specversion` is missing; it is `1.0`")),
    }
    let mut required =
        |name: &str| texts.remove(name).ok_or_else(|| invalid(format!("attribute `{name}` is missing or not text")));
    let (id, source, event_type) = (required("id")?, required("source")?, required("type")?);
    let time = match texts.remove("time") {
        None => None,
        Some(text) => Some(text.parse().map_err(|error| invalid(format!("attribute `time`: {error}")))?),
    };
    let event = Event {
        id,
        source,
        event_type,
        subject: texts.remove("subject"),
        time,
        data_schema: texts.remove("dataschema"),
        data,
        extensions: texts,
    };
    event.check().map_err(|error| invalid(error.to_string()))?;
    Ok(event)
}

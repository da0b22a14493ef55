//! What an expression came to, as JSON. A decimal becomes its text, a timestamp RFC 3339 in UTC, a duration seconds such
//! as `5400s`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use cel::{
    Value as Cel,
    common::{
        types::{CelList, CelMap, CelString},
        value::Val,
    },
};
use chrono::SecondsFormat;
use serde_json::{Map, Value};

use super::decimal::Decimal;

/// The JSON form of a value.
///
/// # Errors
/// If it has none: a number that is not finite, or a key that is not text.
pub(super) fn json(value: &(dyn Val + '_)) -> Result<Value, String> {
    if let Some(decimal) = value.downcast_ref::<Decimal>() {
        return Ok(Value::String(decimal.to_string()));
    }
    if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        return list.inner().iter().map(|item| json(item.as_ref())).collect::<Result<_, _>>().map(Value::Array);
    }
    if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        let members = map.inner().iter().map(|(key, value)| match key.inner().downcast_ref::<CelString<'_>>() {
            Some(name) => Ok((name.inner().to_owned(), json(value.as_ref())?)),
            None => Err("has a key that is not text".to_owned()),
        });
        return members.collect::<Result<Map<_, _>, _>>().map(Value::Object);
    }
    match Cel::try_from(value) {
        Ok(Cel::Null) => Ok(Value::Null),
        Ok(Cel::Bool(value)) => Ok(Value::Bool(value)),
        Ok(Cel::Int(value)) => Ok(value.into()),
        Ok(Cel::UInt(value)) => Ok(value.into()),
        Ok(Cel::Float(value)) => serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| format!("is {value}, which is no number in JSON")),
        Ok(Cel::String(text)) => Ok(Value::String(text.as_str().to_owned())),
        Ok(Cel::Bytes(bytes)) => Ok(Value::String(BASE64_STANDARD.encode(bytes.as_slice()))),
        Ok(Cel::Timestamp(time)) => Ok(Value::String(time.to_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true))),
        Ok(Cel::Duration(duration)) => Ok(Value::String(seconds(duration))),
        _ => Err(format!("is a {}, which has no JSON form", value.get_type().name())),
    }
}

/// `5400s`, with as many decimals as it needs.
fn seconds(duration: chrono::TimeDelta) -> String {
    let sign = if duration < chrono::TimeDelta::zero() { "-" } else { "" };
    let duration = duration.abs();
    match duration.subsec_nanos() {
        0 => format!("{sign}{}s", duration.num_seconds()),
        nanos => format!("{sign}{}.{}s", duration.num_seconds(), format!("{nanos:09}").trim_end_matches('0')),
    }
}

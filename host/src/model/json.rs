//! One JSON document as the exact bytes that travel: guests, digests and signatures are about bytes, so the hub parses
//! a document only where somebody looks inside.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned, ser};
use serde_json::value::RawValue;

/// One valid JSON value (RFC 8259) in UTF-8. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Bytes);

impl Json {
    /// `null`.
    #[must_use]
    pub const fn null() -> Self {
        Self(Bytes::from_static(b"null"))
    }

    /// `{}`.
    #[must_use]
    pub const fn empty_object() -> Self {
        Self(Bytes::from_static(b"{}"))
    }

    /// Takes bytes after checking that they are one JSON value that everybody can read: nested at most
    /// [`NESTING_LIMIT`] deep, and without numbers beyond a double.
    ///
    /// # Errors
    /// Where and why they are not.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, serde_json::Error> {
        let bytes = bytes.into();
        serde_json::from_slice::<&RawValue>(&bytes)?;
        if is_suspicious(&bytes) {
            // Rare, so that it may cost: it is refused exactly if it cannot be parsed.
            serde_json::from_slice::<serde_json::Value>(&bytes)?;
        }
        Ok(Self(bytes))
    }

    /// The document of a value.
    ///
    /// # Errors
    /// If the value has no JSON form, such as a map with keys that are not text.
    pub fn from_serialize(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_vec(value).map(|bytes| Self(bytes.into()))
    }

    /// Its exact bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its exact bytes, shared.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// Reads it as a type.
    ///
    /// # Errors
    /// If the document has another shape.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// The parsed value, its fields in order.
    #[must_use]
    pub fn to_value(&self) -> serde_json::Value {
        // INVARIANT: the bytes were checked when `self` was made.
        let mut value = serde_json::from_slice(&self.0).unwrap_or(serde_json::Value::Null);
        sort(&mut value);
        value
    }

    /// The document of a value whose fields are in order, as [`sort`] puts them.
    #[must_use]
    pub fn of_sorted(value: &serde_json::Value) -> Self {
        // INVARIANT: a value always has a JSON form.
        Self(serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec()).into())
    }

    /// Whether the document is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0.trim_ascii() == b"null"
    }
}

/// Deepest nesting of a document; what the parser takes.
pub const NESTING_LIMIT: usize = 127;

/// Whether valid JSON may be more than a parsed value holds: deep, or with a number that has an exponent or is long.
fn is_suspicious(bytes: &[u8]) -> bool {
    let (mut depth, mut digits, mut in_text, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in bytes {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'e' | b'E' if digits > 0 => return true,
            _ => {}
        }
        digits = if byte.is_ascii_digit() || *byte == b'.' { digits + 1 } else { 0 };
        if depth > NESTING_LIMIT || digits > 300 {
            return true;
        }
    }
    false
}

impl From<serde_json::Value> for Json {
    /// The document with its fields in order, whatever order they were put in: the same value is the same bytes, which
    /// digests, repeated steps and duplicates rest on.
    fn from(mut value: serde_json::Value) -> Self {
        sort(&mut value);
        Self::of_sorted(&value)
    }
}

/// Puts the fields of all objects in order: a crate in the tree may have maps keep the order of insertion
/// (`serde_json/preserve_order`).
pub fn sort(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(sort),
        serde_json::Value::Object(fields) => {
            // Sorting builds the map anew, and most documents are in order: the hub wrote them.
            if !fields.keys().is_sorted() {
                fields.sort_keys();
            }
            fields.values_mut().for_each(sort);
        }
        _ => {}
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serde_json::from_slice::<&RawValue>(&self.0).map_err(ser::Error::custom)?.serialize(serializer)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            // Through a value rather than `RawValue`, so that it can also be read from TOML and YAML.
            deserializer.deserialize_any(Readable)
        } else {
            let bytes = Bytes::deserialize(deserializer)?;
            Self::parse(bytes).map_err(de::Error::custom)
        }
    }
}

/// Takes a document as a value, or as the bytes that the binary form keeps: serde buffers what lies in an enum with a
/// tag inside, and forgets then that the form was a binary one.
struct Readable;

impl<'de> de::Visitor<'de> for Readable {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON document")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Json, E> {
        Json::parse(Bytes::copy_from_slice(bytes)).map_err(E::custom)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Json, E> {
        Ok(Json::null())
    }

    fn visit_none<E: de::Error>(self) -> Result<Json, E> {
        Ok(Json::null())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Json, E> {
        Ok(serde_json::Value::from(value).into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Json, E> {
        Ok(serde_json::Value::from(value).into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Json, E> {
        Ok(serde_json::Value::from(value).into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json, E> {
        Ok(serde_json::Value::from(value).into())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Json, E> {
        Ok(serde_json::Value::from(value).into())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, items: A) -> Result<Json, A::Error> {
        serde_json::Value::deserialize(de::value::SeqAccessDeserializer::new(items)).map(Json::from)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, fields: A) -> Result<Json, A::Error> {
        serde_json::Value::deserialize(de::value::MapAccessDeserializer::new(fields)).map(Json::from)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::Json;

    #[test]
    fn a_document_inside_of_a_tagged_enum_is_read_back_from_either_form() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "do")]
        enum Act {
            Resolve { output: Option<Json> },
        }
        for text in ["{\"id\":\"1\",\"n\":[1,-2,0.5,true,null]}", "\"text\"", "7", "[]", "false"] {
            let act = Act::Resolve { output: Json::parse(text).ok() };
            let stored = rmp_serde::to_vec_named(&act).unwrap_or_default();
            assert_eq!(rmp_serde::from_slice::<Act>(&stored).ok().as_ref(), Some(&act), "{text}");
            let shown = serde_json::to_string(&act).unwrap_or_default();
            assert_eq!(serde_json::from_str::<Act>(&shown).ok(), Some(act), "{text}");
        }
    }

    #[test]
    fn bytes_are_kept_exactly() {
        let json = Json::parse(&b"{\"b\": 1, \"a\":\"1.10\"}"[..]).ok();
        assert_eq!(json.as_ref().map(Json::as_bytes), Some(&b"{\"b\": 1, \"a\":\"1.10\"}"[..]));
        let stored = rmp_serde::to_vec(&json).unwrap_or_default();
        assert_eq!(rmp_serde::from_slice::<Option<Json>>(&stored).ok(), Some(json));
    }

    #[test]
    fn a_document_inside_a_tagged_enum_survives_both_forms() {
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "do")]
        enum Tagged {
            Resolve { output: Option<Json> },
        }
        for text in ["{\"a\":[1,-2,2.5,true,null,\"x\"]}", "7", "\"text\"", "[]"] {
            let tagged = Tagged::Resolve { output: Json::parse(text).ok() };
            let stored = rmp_serde::to_vec_named(&tagged).unwrap_or_default();
            assert_eq!(rmp_serde::from_slice::<Tagged>(&stored).ok().as_ref(), Some(&tagged), "{text}");
            let shown = serde_json::to_string(&tagged).unwrap_or_default();
            assert_eq!(serde_json::from_str::<Tagged>(&shown).ok().as_ref(), Some(&tagged), "{text}");
        }
    }

    #[test]
    fn the_document_of_a_value_does_not_depend_on_the_order_in_which_it_was_put_together() {
        let mut value = serde_json::Map::new();
        value.insert("b".into(), serde_json::json!([{"z": 1, "a": 2}]));
        value.insert("a".into(), 1.into());
        assert_eq!(Json::from(serde_json::Value::Object(value)).as_bytes(), br#"{"a":1,"b":[{"a":2,"z":1}]}"#);
        assert_eq!(serde_json::from_str::<Json>("{\"b\": 1, \"a\": 2}").unwrap().as_bytes(), br#"{"a":2,"b":1}"#);
    }

    #[test]
    fn what_not_everybody_can_read_is_refused() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Json::parse(deep(120)).is_ok());
        assert!(Json::parse(deep(200)).is_err());
        assert!(Json::parse("1e999").is_err());
        assert!(Json::parse("[1e9, \"1e999\", 1.5]").is_ok());
        assert!(Json::parse("9".repeat(400)).is_err());
    }

    #[test]
    fn what_is_not_one_value_is_refused() {
        for wrong in ["", "{", "{} {}", "\u{feff}{}", "nul"] {
            assert!(Json::parse(wrong.to_owned()).is_err(), "{wrong:?}");
        }
    }
}

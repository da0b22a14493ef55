//! What is recorded of webhook sources: what a source is, who has the say about it, and the secret whose place another has
//! just taken.
//!
//! A record that hub.toml alone has made has the form that it always had.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::{
    connection::{SecretRef, WebhookSource},
    setting::Origin,
    timestamp::Timestamp,
};

/// A secret whose place another has taken; its sender may go on signing with it for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replaced {
    /// Which.
    pub secret: SecretRef,
    /// From when on it proves nothing any more.
    pub until: Timestamp,
}

/// A webhook source as it is recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceRecord {
    /// What it is; absent: it was removed over the API, although hub.toml declares it.
    pub source: Option<WebhookSource>,
    /// Who has the say.
    pub origin: Origin,
    /// The secret of before, for a while.
    pub replaced: Option<Replaced>,
}

impl SourceRecord {
    /// The secret of before, as long as it still proves who sends.
    #[must_use]
    pub fn replaced_at(&self, now: Timestamp) -> Option<&Replaced> {
        self.replaced.as_ref().filter(|replaced| replaced.until > now)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    source: Option<WebhookSource>,
    origin: Origin,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced: Option<Replaced>,
}

impl Serialize for SourceRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.clone() {
            Self { source: Some(source), origin: Origin::File, replaced: None } => source.serialize(serializer),
            Self { source, origin, replaced } => Long { source, origin, replaced }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for SourceRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value.get("origin").is_some() {
            let Long { source, origin, replaced } = serde_json::from_value(value).map_err(de::Error::custom)?;
            return Ok(Self { source, origin, replaced });
        }
        let source = serde_json::from_value(value).map_err(de::Error::custom)?;
        Ok(Self { source: Some(source), ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"plugin":"acme/shop","source":"/shops/eu-1","types":["a.b.v1"],"secret":"env:SHOP","config":{},"body_bytes_limit":1048576}"#;

    #[test]
    fn a_source_that_only_the_file_made_is_recorded_as_it_always_was() {
        let record: SourceRecord = serde_json::from_str(OLD).unwrap();
        assert_eq!((record.origin, record.source.as_ref().unwrap().source.as_str()), (Origin::File, "/shops/eu-1"));
        assert_eq!(serde_json::to_string(&record).unwrap(), OLD);
    }

    #[test]
    fn a_source_that_the_api_changed_or_removed_says_so() {
        let source: WebhookSource = serde_json::from_str(OLD).unwrap();
        let replaced = Some(Replaced { secret: SecretRef::Store("old".into()), until: Timestamp::from_millis(9) });
        for (source, replaced) in [(Some(source.clone()), replaced), (Some(source), None), (None, None)] {
            let record = SourceRecord { source, origin: Origin::Api, replaced };
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<SourceRecord>(&text).unwrap(), record, "{text}");
        }
    }

    #[test]
    fn a_secret_that_was_replaced_proves_nothing_from_its_time_on() {
        let replaced = Replaced { secret: SecretRef::Env("OLD".into()), until: Timestamp::from_millis(9) };
        let record = SourceRecord { replaced: Some(replaced), ..SourceRecord::default() };
        assert!(record.replaced_at(Timestamp::from_millis(8)).is_some());
        assert!(record.replaced_at(Timestamp::from_millis(9)).is_none());
    }
}

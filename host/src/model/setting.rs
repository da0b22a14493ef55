//! What is recorded of connections, bindings and secrets, and changes to them that wait for a second person.
//!
//! A record that hub.toml alone has made has the form that it always had; one that was changed over the API says so, and
//! carries what came before.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::{
    api::Publication,
    connection::{Connection, WebhookSource},
    id::{ContractId, Digest},
    json::Json,
    registry::ProposalState,
    subscription::Subscription,
    timestamp::Timestamp,
};

/// How many earlier revisions of a connection, and earlier bindings of a pipeline, are kept.
pub const EARLIER_MAX: usize = 16;

/// Who has the say about a connection, a webhook source, a binding, a subscription or a publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// hub.toml: each start applies what it declares.
    #[default]
    File,
    /// Whoever changed it over the API: hub.toml is not applied any more.
    Api,
}

impl Origin {
    /// The word that the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Api => "api",
        }
    }
}

/// A connection as it was under an earlier revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Earlier {
    /// The revision.
    pub revision: u64,
    /// What it was.
    pub connection: Connection,
}

/// A connection as it is recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectionRecord {
    /// What it is; absent: it was removed over the API, although hub.toml declares it.
    pub connection: Option<Connection>,
    /// Who has the say.
    pub origin: Origin,
    /// What it was before, the latest last; at most [`EARLIER_MAX`].
    pub earlier: Vec<Earlier>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LongConnection {
    connection: Option<Connection>,
    origin: Origin,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<Earlier>,
}

impl Serialize for ConnectionRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self { connection: Some(connection), origin: Origin::File, earlier } if earlier.is_empty() => {
                connection.serialize(serializer)
            }
            Self { connection, origin, earlier } => {
                LongConnection { connection: connection.clone(), origin: *origin, earlier: earlier.clone() }
                    .serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for ConnectionRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value.get("origin").is_some() {
            let LongConnection { connection, origin, earlier } =
                serde_json::from_value(value).map_err(de::Error::custom)?;
            return Ok(Self { connection, origin, earlier });
        }
        let connection = serde_json::from_value(value).map_err(de::Error::custom)?;
        Ok(Self { connection: Some(connection), ..Self::default() })
    }
}

/// Which connection each name of a pipeline stands for, as it is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindingRecord {
    /// By name.
    pub names: BTreeMap<String, String>,
    /// Who has the say.
    pub origin: Origin,
    /// What it was before, the latest last; at most [`EARLIER_MAX`].
    pub earlier: Vec<BTreeMap<String, String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LongBinding {
    names: BTreeMap<String, String>,
    origin: Origin,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<BTreeMap<String, String>>,
}

impl Serialize for BindingRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.origin == Origin::File && self.earlier.is_empty() {
            return self.names.serialize(serializer);
        }
        let Self { names, origin, earlier } = self.clone();
        LongBinding { names, origin, earlier }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BindingRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value.get("names").is_some_and(Value::is_object) {
            let LongBinding { names, origin, earlier } = serde_json::from_value(value).map_err(de::Error::custom)?;
            return Ok(Self { names, origin, earlier });
        }
        let names = serde_json::from_value(value).map_err(de::Error::custom)?;
        Ok(Self { names, ..Self::default() })
    }
}

/// One version of a secret that the hub keeps: everything but its value, of which only the sealed form's digest is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretVersion {
    /// Counts up from 1 for each name, never used twice.
    pub version: u64,
    /// When it was set.
    pub set: Timestamp,
    /// By whom.
    pub by: String,
    /// Digest of the sealed value.
    pub sealed: Digest,
}

/// A secret that the hub keeps, as it is recorded. The sealed values are records of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRecord {
    /// The key that seals it.
    pub key: String,
    /// What is used.
    pub current: SecretVersion,
    /// What was used before, as long as a rotation can be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousSecret>,
    /// The highest version that was ever given.
    pub highest: u64,
}

/// A version that was rotated away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviousSecret {
    /// Which.
    pub version: SecretVersion,
    /// Until when it can be taken back; then it is destroyed.
    pub until: Timestamp,
}

/// How a connection is tested.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// A read operation of its plugin to call; absent: one GET of its base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The operation's input; absent: an empty object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Json>,
}

/// A change to a connection, a webhook source, a pipeline's binding, or to what leaves the hub for others. It never holds a secret's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum SettingChange {
    /// Sets a connection.
    Connection {
        /// Its name.
        name: String,
        /// What it is to be.
        connection: Box<Connection>,
        /// Who has the say from then on.
        origin: Origin,
        /// A test that has to show first that its credentials work.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        probe: Option<Probe>,
    },
    /// Sets a webhook source.
    Source {
        /// Its name.
        name: String,
        /// What it is to be.
        source: Box<WebhookSource>,
        /// Who has the say from then on.
        origin: Origin,
        /// For a rotation of its secret: for how long the one of before goes on proving its sender, milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keep_ms: Option<u64>,
    },
    /// Binds all names of a pipeline.
    Bind {
        /// The pipeline.
        pipeline: String,
        /// Which connection each of its names is to stand for.
        names: BTreeMap<String, String>,
        /// Who has the say from then on.
        origin: Origin,
    },
    /// Has events delivered to somebody's endpoint.
    Subscription {
        /// Its name.
        name: String,
        /// What is delivered to whom.
        subscription: Box<Subscription>,
        /// Who has the say from then on.
        #[serde(default = "api", skip_serializing_if = "is_api")]
        origin: Origin,
    },
    /// Publishes reads of a connection.
    Api {
        /// The contract that they are published under.
        contract: ContractId,
        /// Which reads, on which terms.
        publication: Box<Publication>,
        /// Who has the say from then on.
        #[serde(default = "api", skip_serializing_if = "is_api")]
        origin: Origin,
    },
}

/// Whose say it was in every change of what leaves the hub, before hub.toml could be followed again.
fn api() -> Origin {
    Origin::Api
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_api(origin: &Origin) -> bool {
    *origin == Origin::Api
}

impl SettingChange {
    /// The record that it is about.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Connection { name, .. } => format!("connection/{name}"),
            Self::Source { name, .. } => format!("source/{name}"),
            Self::Bind { pipeline, .. } => format!("binding/{pipeline}"),
            Self::Subscription { name, .. } => format!("subscription/{name}"),
            Self::Api { contract, .. } => format!("api/{contract}"),
        }
    }
}

/// A change that needs a second person, as it is recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettingProposal {
    /// Its name, `set_` and twelve hexadecimal digits.
    pub id: String,
    /// When it was asked for.
    pub time: Timestamp,
    /// Who asked.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What is to be done.
    pub act: SettingChange,
    /// The revision of what it changes when it was asked for; absent: there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<u64>,
    /// Why one person is not enough.
    pub because: Vec<String>,
    /// What became of it.
    pub state: ProposalState,
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"plugin":"acme/erp","base_url":"https://erp.example","config":{},"auth":{"scheme":"none"},"secrets":{},"allow_addresses":[],"timeout_ms":10000,"response_bytes_limit":1048576,"limits":{}}"#;

    #[test]
    fn a_connection_that_only_the_file_made_is_recorded_as_it_always_was() {
        let record: ConnectionRecord = serde_json::from_str(OLD).unwrap();
        assert_eq!(record.origin, Origin::File);
        let connection = record.connection.clone().unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), serde_json::to_string(&connection).unwrap());
        assert_eq!(serde_json::from_str::<Connection>(OLD).unwrap(), connection);
    }

    #[test]
    fn a_connection_that_the_api_changed_or_removed_says_so() {
        let connection: Connection = serde_json::from_str(OLD).unwrap();
        let earlier = vec![Earlier { revision: 7, connection: connection.clone() }];
        for connection in [Some(connection), None] {
            let record = ConnectionRecord { connection, origin: Origin::Api, earlier: earlier.clone() };
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<ConnectionRecord>(&text).unwrap(), record);
        }
    }

    #[test]
    fn a_change_of_what_leaves_the_hub_that_was_asked_for_before_is_the_apis() {
        let old =
            r#"{"do":"api","contract":"retail/warehouse@1","publication":{"connection":"a","operations":["find"]}}"#;
        let change: SettingChange = serde_json::from_str(old).unwrap();
        let SettingChange::Api { origin, .. } = &change else { panic!("{change:?}") };
        assert_eq!(*origin, Origin::Api);
        assert!(!serde_json::to_string(&change).unwrap().contains("origin"));
    }

    #[test]
    fn bindings_of_before_are_read_whatever_their_names_are() {
        let old = r#"{"names":"erp","wms":"wms-1"}"#;
        let record: BindingRecord = serde_json::from_str(old).unwrap();
        assert_eq!((record.origin, record.names["names"].as_str()), (Origin::File, "erp"));
        assert_eq!(serde_json::to_string(&record).unwrap(), old);
        let changed = BindingRecord { origin: Origin::Api, earlier: vec![record.names.clone()], ..record };
        let text = serde_json::to_string(&changed).unwrap();
        assert_eq!(serde_json::from_str::<BindingRecord>(&text).unwrap(), changed);
    }
}

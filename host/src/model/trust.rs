//! Whose signatures count: keys that an operator trusts for a namespace, each for a time, until it is revoked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::timestamp::Timestamp;

/// What an operator says about publishers: `[trust]` in `hub.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// What happens to a plugin that nobody trusted has signed. Absent: it is refused as soon as there is a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsigned: Option<Unsigned>,
    /// Keys, `[[trust.keys]]`. One key may stand for several namespaces, and a namespace may have several keys, such as
    /// while keys are being changed.
    #[serde(default)]
    pub keys: Vec<TrustedKey>,
}

impl Trust {
    /// What happens to a plugin that nobody trusted has signed: what is said, else it is refused if any key is trusted.
    #[must_use]
    pub fn unsigned(&self) -> Unsigned {
        let unsaid = if self.keys.is_empty() { Unsigned::Note } else { Unsigned::Refuse };
        self.unsigned.unwrap_or(unsaid)
    }
}

/// What happens to a plugin that nobody trusted has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unsigned {
    /// It is taken, and that is noted: for development.
    Note,
    /// It is refused.
    Refuse,
}

/// That a key was revoked at the hub itself, whatever the configuration says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedKey {
    /// From when on.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// A publisher's key. Only an operator adds one: a package that brings a key of its own proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// The namespace whose plugins it may sign: the part of their ids before the slash.
    pub namespace: String,
    /// The public key: the line of the publisher's `.pub` file.
    pub key: String,
    /// Counts for packages that are taken from here on. Absent: from ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub not_before: Option<Timestamp>,
    /// Counts for packages that are taken before. What was taken in time goes on. Absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub not_after: Option<Timestamp>,
    /// From here on nothing holds that it ever signed: whoever has a stolen key can date a signature back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub revoked: Option<Timestamp>,
    /// Whose it is, or why it was revoked; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

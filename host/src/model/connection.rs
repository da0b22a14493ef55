//! What an operator configures so that a connector's code reaches one particular system, and what a webhook sender is
//! known by.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{
    auth::{Auth, ClientCertificate, Scheme},
    id::PluginId,
    json::Json,
    pace::ConnectionLimits,
};

/// One configured use of a connector plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The plugin's line.
    pub plugin: PluginId,
    /// Where the remote is, such as `https://erp.example/sap/opu/odata`. What `${connection.base_url}` stands for.
    pub base_url: String,
    /// Settings, valid against the plugin's config schema.
    #[serde(default = "Json::empty_object")]
    pub config: Json,
    /// How the host proves who we are.
    #[serde(default)]
    pub auth: Auth,
    /// The certificate that the host shows in TLS (mutual TLS) wherever its credentials go, beside what `auth` adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// The authorities, as certificates in PEM form, of which its remotes' own certificates may be, and no others. Absent:
    /// those that Mozilla trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
    /// The plugin's named secrets, for `sign` and `verify`.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretRef>,
    /// Private addresses that this connection may reach all the same: CIDR blocks such as `127.0.0.1/32`.
    #[serde(default)]
    pub allow_addresses: Vec<String>,
    /// Longest wait for one HTTP exchange, milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// Largest response body, bytes.
    #[serde(default = "default_response_bytes")]
    pub response_bytes_limit: u64,
    /// How fast, and when not at all, its remote may be called.
    #[serde(default)]
    pub limits: ConnectionLimits,
}

fn default_timeout_ms() -> u64 {
    10_000
}

fn default_response_bytes() -> u64 {
    1 << 20
}

/// Where a secret's value is found: `env:NAME`, `file:PATH` or `store:NAME`. The value itself is never configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum SecretRef {
    /// An environment variable of the hub.
    Env(String),
    /// A file's content, without a line break at its end.
    File(String),
    /// A secret that the hub keeps itself, encrypted.
    Store(String),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Store(name) => write!(f, "store:{name}"),
        }
    }
}

impl From<SecretRef> for String {
    fn from(reference: SecretRef) -> Self {
        reference.to_string()
    }
}

/// Longest name of a secret that the hub keeps, bytes.
pub const SECRET_NAME_BYTES_MAX: usize = 64;

/// Whether a text may name a secret that the hub keeps: lower case, digits, `.`, `_` and `-`, a letter or digit first.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= SECRET_NAME_BYTES_MAX
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

impl Connection {
    /// The references to its secrets by place: `auth`, `auth.NAME`, `client_certificate.NAME`, or `secrets.NAME`.
    pub fn references(&self) -> impl Iterator<Item = (String, &SecretRef)> {
        let auth = self.auth.secrets().into_iter().map(|(place, reference)| (place.to_owned(), reference));
        let shown = self.client_certificate.iter().flat_map(ClientCertificate::secrets);
        let shown = shown.map(|(place, reference)| (place.to_owned(), reference));
        let named = self.secrets.iter().map(|(name, reference)| (format!("secrets.{name}"), reference));
        auth.chain(shown).chain(named)
    }

    /// The reference in a place, to be replaced.
    pub fn reference_mut(&mut self, place: &str) -> Option<&mut SecretRef> {
        if let Some(name) = place.strip_prefix("secrets.") {
            return self.secrets.get_mut(name);
        }
        let shown = self.client_certificate.iter_mut().flat_map(ClientCertificate::secrets_mut);
        self.auth.secrets_mut().into_iter().chain(shown).find(|(at, _)| *at == place).map(|(_, reference)| reference)
    }

    /// Whether the host proves who we are.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        self.auth != Auth::None || self.client_certificate.is_some()
    }

    /// The schemes by which it does.
    pub fn schemes(&self) -> impl Iterator<Item = Scheme> {
        self.auth.scheme().into_iter().chain(self.client_certificate.as_ref().map(|_| Scheme::MutualTls))
    }

    /// Whether two stand for the same system, spoken to in the same way: only credentials and limits may differ.
    #[must_use]
    pub fn is_same_target(&self, other: &Self) -> bool {
        self.plugin == other.plugin && self.base_url == other.base_url && self.config == other.config
    }
}

/// The text is not a secret's reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a secret is given by reference, as `env:NAME`, `file:PATH` or `store:NAME`, never by its value")]
pub struct SecretRefError;

impl FromStr for SecretRef {
    type Err = SecretRefError;

    fn from_str(text: &str) -> Result<Self, SecretRefError> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.to_owned())),
            Some(("store", name)) if is_secret_name(name) => Ok(Self::Store(name.to_owned())),
            _ => Err(SecretRefError),
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One configured webhook source: `/v1/webhooks/NAME`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSource {
    /// The plugin that reads the deliveries.
    pub plugin: PluginId,
    /// The event `source` that the host writes, whatever the delivery says.
    pub source: String,
    /// The event types that it may bring.
    pub types: Vec<String>,
    /// The secret that the sender signs with.
    pub secret: SecretRef,
    /// Settings for the plugin.
    #[serde(default = "Json::empty_object")]
    pub config: Json,
    /// Largest delivery, bytes.
    #[serde(default = "default_body_bytes")]
    pub body_bytes_limit: u64,
}

fn default_body_bytes() -> u64 {
    1 << 20
}

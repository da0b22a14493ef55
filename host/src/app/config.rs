//! `hub.toml`: what an operator declares. Applied at every start; applying it again changes nothing.

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{access::AccessConfig, inbox::People, retention::Retention};
use crate::model::{
    anchor::Anchor,
    api::Publication,
    connection::{Connection, WebhookSource},
    id::ContractId,
    subscription::Subscription,
    trust::Trust,
};

/// The file's name.
pub const CONFIG_FILE: &str = "hub.toml";
/// Largest configuration, bytes.
const CONFIG_BYTES_LIMIT: u64 = 1 << 20;

/// What an operator declares. Paths are relative to the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folders of plugin packages.
    #[serde(default)]
    pub plugins: Vec<PathBuf>,
    /// Pipelines' files.
    #[serde(default)]
    pub pipelines: Vec<PathBuf>,
    /// Connections by name.
    #[serde(default)]
    pub connections: BTreeMap<String, Connection>,
    /// Webhook sources by name.
    #[serde(default)]
    pub sources: BTreeMap<String, WebhookSource>,
    /// For each pipeline: which connection each name in its `uses` stands for.
    #[serde(default)]
    pub bindings: BTreeMap<String, BTreeMap<String, String>>,
    /// Reads that are published, by contract.
    #[serde(default)]
    pub apis: BTreeMap<ContractId, Publication>,
    /// Events that are delivered to others' endpoints, by the subscription's name.
    #[serde(default)]
    pub subscriptions: BTreeMap<String, Subscription>,
    /// Groups of people, and who stands in for whom.
    #[serde(default)]
    pub people: People,
    /// Bounds of the hub itself.
    #[serde(default)]
    pub hub: HubLimits,
    /// How long things are kept.
    #[serde(default)]
    pub retention: Retention,
    /// Who may do what, beyond the policies that come with the hub.
    #[serde(default)]
    pub access: AccessConfig,
    /// Whose signatures of plugins count.
    #[serde(default)]
    pub trust: Trust,
    /// The audit log.
    #[serde(default)]
    pub audit: AuditConfig,
}

/// What becomes of what the audit log signs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// Who is sent each checkpoint, and keeps it.
    #[serde(default)]
    pub anchor: Option<Anchor>,
}

/// Bounds of the hub itself, which an operator may narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubLimits {
    /// Runs under way at which no event is accepted any more; those of the lane `standard` are refused from 80 % of it on,
    /// those of `bulk` from 50 %. Absent, or more: 50 000.
    #[serde(default)]
    pub runs_limit: Option<NonZeroUsize>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a configuration.
    #[error("`{path}` is not a hub configuration: {problem}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where, why, and which fields there are.
        problem: String,
    },
}

impl Config {
    /// Reads a file, and makes its paths absolute.
    ///
    /// # Errors
    /// As [`ConfigError`] says.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |source| ConfigError::Read { path: path.to_owned(), source };
        let parse = |problem: String| ConfigError::Parse { path: path.to_owned(), problem };
        let actual_bytes = fs::metadata(path).map_err(wrong)?.len();
        if actual_bytes > CONFIG_BYTES_LIMIT {
            return Err(parse(format!("it is {actual_bytes} bytes, the limit is {CONFIG_BYTES_LIMIT}")));
        }
        let text = fs::read_to_string(path).map_err(wrong)?;
        let mut config: Self = toml::from_str(&text).map_err(|error| parse(error.to_string().trim_end().to_owned()))?;
        let base = path.parent().unwrap_or(Path::new("."));
        for relative in config.plugins.iter_mut().chain(&mut config.pipelines).chain(&mut config.access.policies) {
            *relative = base.join(&relative);
        }
        if let Some(provider) = config.access.openid.as_mut().filter(|provider| !provider.jwks.contains("://")) {
            provider.jwks = base.join(&provider.jwks).display().to_string();
        }
        Ok(config)
    }
}

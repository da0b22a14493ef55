//! What the registry records: the state of a plugin's version, which version of a line serves, what is on trial there,
//! and changes that wait for a second person.

use semver::Version;
use serde::{Deserialize, Serialize};

use super::{
    id::PluginId,
    replay::{Gate, Report},
    timestamp::Timestamp,
};

/// How many earlier active versions a line remembers, for rolling back.
pub const EARLIER_MAX: usize = 16;

/// Where a version of a plugin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionState {
    /// Uploaded, may still be replaced, serves nothing.
    Draft,
    /// Fixed for ever; may serve.
    Published,
    /// As published, and users are told until when and what to use instead.
    Deprecated,
    /// Goes on where it serves, and is bound nowhere else.
    Yanked,
    /// Serves nothing any more.
    Retired,
    /// Stopped at once: no call of it begins or goes on.
    Revoked,
}

impl VersionState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Draft, Self::Published, Self::Deprecated, Self::Yanked, Self::Retired, Self::Revoked];

    /// The word that the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Published => "published",
            Self::Deprecated => "deprecated",
            Self::Yanked => "yanked",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
        }
    }
}

/// The state of a version, as it is recorded. A version without a record is published: so are all that came before the
/// registry did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// Where it stands.
    pub state: VersionState,
    /// Until when a deprecated version is meant to be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sunset: Option<Timestamp>,
    /// What to use instead of a deprecated version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<Version>,
    /// Where a revoked version stood before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<VersionState>,
}

impl VersionRecord {
    /// A version in a state, with nothing more to say.
    #[must_use]
    pub fn of(state: VersionState) -> Self {
        Self { state, sunset: None, replaced_by: None, before: None }
    }
}

impl Default for VersionRecord {
    fn default() -> Self {
        Self::of(VersionState::Published)
    }
}

/// Which versions of a plugin serve: everywhere, or in one pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The version that serves; absent: none was promoted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Version>,
    /// Those that served before, the latest last; at most [`EARLIER_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Version>,
    /// The version on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
    /// What the version that serves was promoted on, if a replay was asked for: without what runs are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Box<Report>>,
}

/// A version on trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which.
    pub version: Version,
    /// How it is tried.
    #[serde(flatten)]
    pub trial: Trial,
}

/// How a version is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum Trial {
    /// Checked, loaded, and not called.
    Staged,
    /// Called with each live input beside the active version; its answers are compared, counted and thrown away.
    Shadow,
    /// Serves some business keys, always the same ones.
    Canary {
        /// Of a hundred keys, so many; 1 to 99.
        percent: u8,
        /// When it is taken back.
        #[serde(flatten)]
        thresholds: Thresholds,
    },
}

impl Trial {
    /// The word that the API uses.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Shadow => "shadow",
            Self::Canary { .. } => "canary",
        }
    }
}

/// When a canary is taken back by the hub itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// More traps than this: calls that ended by a defect or a limit other than time.
    #[serde(default)]
    pub traps_max: u32,
    /// More calls than this that ran out of time.
    #[serde(default)]
    pub deadlines_max: u32,
    /// More than so many of a hundred compared calls answered differently from the active version, once
    /// [`Thresholds::COMPARED_MIN`] were compared; absent: it may differ as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence_percent_max: Option<u8>,
}

impl Thresholds {
    /// So many calls are compared before their share says anything.
    pub const COMPARED_MIN: u64 = 20;
}

/// A change to a version of a plugin, or to which version serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Act {
    /// Makes a draft final.
    Publish {
        /// The version.
        version: Version,
    },
    /// Tells its users to use another.
    Deprecate {
        /// The version.
        version: Version,
        /// Until when it is meant to be used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sunset: Option<Timestamp>,
        /// What to use instead.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaced_by: Option<Version>,
    },
    /// Keeps it from being bound anew.
    Yank {
        /// The version.
        version: Version,
    },
    /// Puts it away.
    Retire {
        /// The version.
        version: Version,
    },
    /// Stops it at once.
    Revoke {
        /// The version.
        version: Version,
    },
    /// Takes a revocation back.
    Restore {
        /// The version.
        version: Version,
    },
    /// Checks a version and keeps it ready.
    Stage {
        /// The version.
        version: Version,
    },
    /// Evaluates a version beside the active one.
    Shadow {
        /// The version.
        version: Version,
    },
    /// Lets a version serve some keys.
    Canary {
        /// The version.
        version: Version,
        /// Of a hundred keys, so many; 1 to 99.
        percent: u8,
        /// When it is taken back.
        #[serde(flatten)]
        thresholds: Thresholds,
    },
    /// Makes a version the one that serves.
    Promote {
        /// The version.
        version: Version,
        /// Only if it answers recorded inputs as the version that serves does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replay: Option<Gate>,
    },
    /// Ends a trial.
    Withdraw,
    /// Makes the version serve again that served before.
    Rollback,
}

impl Act {
    /// Whether it is about the version itself rather than about which version serves.
    #[must_use]
    pub fn is_about_version(&self) -> bool {
        matches!(
            self,
            Self::Publish { .. }
                | Self::Deprecate { .. }
                | Self::Yank { .. }
                | Self::Retire { .. }
                | Self::Revoke { .. }
                | Self::Restore { .. }
        )
    }

    /// The word for it.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "publish",
            Self::Deprecate { .. } => "deprecate",
            Self::Yank { .. } => "yank",
            Self::Retire { .. } => "retire",
            Self::Revoke { .. } => "revoke",
            Self::Restore { .. } => "restore",
            Self::Stage { .. } => "stage",
            Self::Shadow { .. } => "shadow",
            Self::Canary { .. } => "canary",
            Self::Promote { .. } => "promote",
            Self::Withdraw => "withdraw",
            Self::Rollback => "rollback",
        }
    }

    /// The version that it names.
    #[must_use]
    pub fn version(&self) -> Option<&Version> {
        match self {
            Self::Publish { version }
            | Self::Deprecate { version, .. }
            | Self::Yank { version }
            | Self::Retire { version }
            | Self::Revoke { version }
            | Self::Restore { version }
            | Self::Stage { version }
            | Self::Shadow { version }
            | Self::Canary { version, .. }
            | Self::Promote { version, .. } => Some(version),
            Self::Withdraw | Self::Rollback => None,
        }
    }
}

/// Something that a version asks for or could ask for, and whether it gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Through which connection; absent: whatever the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// What: `http POST https://erp.example`, `secret key`, `state cursor`, `limit memory_bytes`.
    pub what: String,
    /// Whether it gets it.
    pub granted: bool,
    /// The layer that decided: `manifest`, `grant` or `ceiling`; `lifecycle`, if the version is called no more.
    pub layer: String,
    /// Why, and what to change.
    pub why: String,
}

/// A change that needs a second person, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Its name, `chg_` and twelve hexadecimal digits.
    pub id: String,
    /// When it was asked for.
    pub time: Timestamp,
    /// Who asked.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The plugin line.
    pub plugin: PluginId,
    /// The pipeline that it is about; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// What is to be done.
    pub act: Act,
    /// Whether what stands against it is overridden.
    #[serde(default)]
    pub force: bool,
    /// Why one person is not enough.
    pub because: Vec<String>,
    /// What became of it.
    pub state: ProposalState,
}

/// What became of a proposed change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum ProposalState {
    /// Nobody has decided.
    Open,
    /// A second person agreed.
    Approved {
        /// Who.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// Somebody declined, or the first person took it back.
    Rejected {
        /// Who.
        by: String,
        /// When.
        at: Timestamp,
    },
}

//! What is known of a version that one person drafts and another approves: of a pipeline, of a reference table. Which
//! version of a line serves, and what somebody asks for.

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize};

use super::{
    registry::{Line, VersionRecord, VersionState},
    timestamp::Timestamp,
};

/// The state of a version with those who answer for it, as it is recorded. Never approved: it serves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    /// Where it stands.
    #[serde(flatten)]
    pub record: VersionRecord,
    /// Who drafted it.
    pub author: String,
    /// When.
    pub drafted: Timestamp,
    /// Why.
    pub reason: String,
    /// Who else approved it; absent: nobody yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Approved>,
}

/// Who approved a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

impl Reviewed {
    /// A draft.
    #[must_use]
    pub fn draft(author: String, drafted: Timestamp, reason: String) -> Self {
        Self { record: VersionRecord::of(VersionState::Draft), author, drafted, reason, approved: None }
    }
}

/// Which version of a line serves, as it is recorded: a version alone while a configuration file decides, a line with
/// its history once somebody has promoted one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Serving {
    /// The one that was declared.
    Declared(Version),
    /// What people promoted and rolled back.
    Promoted(Line),
}

impl Serving {
    /// The version that serves.
    #[must_use]
    pub fn active(&self) -> Option<&Version> {
        match self {
            Self::Declared(version) => Some(version),
            Self::Promoted(line) => line.active.as_ref(),
        }
    }

    /// The line that a change begins from.
    #[must_use]
    pub fn line(&self) -> Line {
        match self {
            Self::Declared(version) => Line { active: Some(version.clone()), ..Line::default() },
            Self::Promoted(line) => line.clone(),
        }
    }
}

/// What somebody does with a version, or with which version serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ReviewAct {
    /// Agrees to a draft; not for its author.
    Approve {
        /// The version.
        version: Version,
    },
    /// Makes a version the one that serves.
    Promote {
        /// The version.
        version: Version,
        /// Of a pipeline: connections that names of its `uses` are bound to first.
        #[serde(default)]
        bindings: BTreeMap<String, String>,
    },
    /// Makes the version serve again that served before.
    Rollback,
    /// Tells its users to use another.
    Deprecate {
        /// The version.
        version: Version,
        /// Until when it is meant to be used.
        #[serde(default)]
        sunset: Option<Timestamp>,
        /// What to use instead.
        #[serde(default)]
        replaced_by: Option<Version>,
    },
    /// Puts a version away; a draft, so that nobody approves it.
    Retire {
        /// The version.
        version: Version,
    },
}

impl ReviewAct {
    /// The word for it.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Approve { .. } => "approve",
            Self::Promote { .. } => "promote",
            Self::Rollback => "rollback",
            Self::Deprecate { .. } => "deprecate",
            Self::Retire { .. } => "retire",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, ReviewAct, Serving};

    #[test]
    fn what_a_file_declared_and_what_people_promoted_are_told_apart() {
        let declared: Serving = serde_json::from_str("\"1.2.0\"").unwrap();
        assert_eq!(declared, Serving::Declared("1.2.0".parse().unwrap()));
        assert_eq!(declared.line().active, Some("1.2.0".parse().unwrap()));
        let line = Line { active: Some("1.2.0".parse().unwrap()), ..Line::default() };
        let text = serde_json::to_string(&Serving::Promoted(line.clone())).unwrap();
        assert_eq!(text, r#"{"active":"1.2.0"}"#);
        assert_eq!(serde_json::from_str::<Serving>(&text).unwrap(), Serving::Promoted(line));
    }

    #[test]
    fn a_change_is_read_as_it_is_written_and_nothing_else() {
        let read = |text: &str| serde_json::from_str::<ReviewAct>(text);
        assert_eq!(read(r#"{"do":"approve","version":"1.0.0"}"#).unwrap().verb(), "approve");
        assert_eq!(read(r#"{"do":"rollback"}"#).unwrap(), ReviewAct::Rollback);
        assert!(read(r#"{"do":"promote"}"#).is_err(), "no version");
        assert!(read(r#"{"do":"approve","version":"1.0.0","force":true}"#).is_err(), "nothing is overridden here");
    }
}

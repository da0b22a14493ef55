//! What is common to pipelines and reference tables whose versions one person drafts and another approves.

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::model::{review::Reviewed, timestamp::Timestamp};

/// What a version is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A pipeline.
    Pipeline,
    /// A reference table.
    Table,
}

impl Thing {
    /// The word for it, which is also the command.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Table => "table",
        }
    }
}

/// A mistake in a text, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistake {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// Stable and for programs, such as `language.unknown-step`.
    pub code: String,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub instead: String,
}

/// A version that was drafted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drafted {
    /// Of what.
    pub name: String,
    /// The version.
    pub version: Version,
    /// Digest of its content.
    pub digest: String,
    /// Where it stands, and who answers for it.
    #[serde(flatten)]
    pub reviewed: Option<Reviewed>,
    /// Whether exactly this was there before.
    pub unchanged: bool,
    /// What to do next.
    pub notes: Vec<String>,
}

/// A change that is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReviewDone {
    /// Of what.
    pub name: String,
    /// The version that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// What was done, in words.
    pub summary: String,
    /// What was looked at, and what to know.
    pub notes: Vec<String>,
}

/// A version of a pipeline or a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionLine {
    /// The version.
    pub version: Version,
    /// Digest of its content.
    pub digest: String,
    /// `draft`, `published`, `deprecated` or `retired`.
    pub state: &'static str,
    /// `active`, `superseded` (it served before) or `unbound`.
    pub part: &'static str,
    /// Who drafted it; absent: a configuration file declared it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drafted: Option<Timestamp>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who approved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<Timestamp>,
    /// Until when a deprecated version is meant to be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sunset: Option<Timestamp>,
    /// What to use instead of a deprecated version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<Version>,
    /// Of a pipeline: its runs that have not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs_open: Option<usize>,
}

/// Why something is not done with a version. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// There is no such thing, or no such version.
    #[error("there is no {what}; there are: {known}")]
    Unknown {
        /// Whether a pipeline or a table was asked for.
        thing: Thing,
        /// What was asked for.
        what: String,
        /// What there is, joined by commas.
        known: String,
    },
    /// The request says too little, or something that makes no sense.
    #[error("{problem}")]
    Invalid {
        /// What, and what to say instead.
        problem: String,
    },
    /// It cannot be done as things stand.
    #[error("{problem}")]
    Conflict {
        /// Why, and what can be done instead.
        problem: String,
    },
    /// The content does not hold.
    #[error("{problem}")]
    Refused {
        /// Of what.
        thing: Thing,
        /// The first mistake, and how many more there are.
        problem: String,
        /// Each mistake.
        mistakes: Vec<Mistake>,
    },
    /// The version exists with other content.
    #[error("{problem}")]
    Taken {
        /// Of what.
        thing: Thing,
        /// What there is.
        problem: String,
    },
    /// The author would be alone with it.
    #[error("`{author}` drafted it; somebody else has to approve it")]
    Author {
        /// Who.
        author: String,
    },
    /// The store takes nothing now.
    #[error("it cannot be changed now: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

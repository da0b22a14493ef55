//! Priority lanes: which runs go first when there is more to do than the hub can do at once. Named here and nowhere
//! else.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A lane. Greater goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// What can wait: imports, reconciliation, nightly work. Refused first at peak.
    Bulk,
    /// What says nothing else.
    #[default]
    Standard,
    /// What somebody waits for.
    Express,
}

/// The text names no lane.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a lane; there are: express, standard, bulk")]
pub struct LaneError {
    text: String,
}

impl Lane {
    /// Every lane, the first to go first.
    pub const ALL: [Self; 3] = [Self::Express, Self::Standard, Self::Bulk];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Express => "express",
            Self::Standard => "standard",
            Self::Bulk => "bulk",
        }
    }

    /// Whether it is the one that a run gets whose pipeline says nothing.
    #[must_use]
    pub fn is_standard(&self) -> bool {
        *self == Self::Standard
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Lane {
    type Err = LaneError;

    fn from_str(text: &str) -> Result<Self, LaneError> {
        let named = Self::ALL.into_iter().find(|lane| lane.as_str() == text);
        named.ok_or_else(|| LaneError { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::Lane;

    #[test]
    fn names_survive_a_round_trip_and_others_are_told_what_there_is() {
        for lane in Lane::ALL {
            assert_eq!(lane.as_str().parse(), Ok(lane));
            assert_eq!(serde_json::to_value(lane).ok(), Some(lane.as_str().into()));
        }
        assert_eq!(
            "Express".parse::<Lane>().map_err(|error| error.to_string()),
            Err("`Express` is not a lane; there are: express, standard, bulk".to_owned())
        );
        assert!(Lane::Express > Lane::Standard && Lane::Standard > Lane::Bulk);
    }
}

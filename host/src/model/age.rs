//! Lengths of time as people write them, and how far back something looks.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::timestamp::Timestamp;

/// A length of time, such as `30d`, `12h`, `90m` or `45s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    /// Milliseconds.
    pub ms: u64,
}

/// The text is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a length of time: write a whole number and `d`, `h`, `m` or `s`, such as `30d`")]
pub struct AgeError {
    text: String,
}

const UNITS: [(char, u64); 4] = [('d', 86_400_000), ('h', 3_600_000), ('m', 60_000), ('s', 1_000)];

impl FromStr for Age {
    type Err = AgeError;

    fn from_str(text: &str) -> Result<Self, AgeError> {
        let read = || {
            let (unit, ms) = UNITS.into_iter().find(|(unit, _)| text.ends_with(*unit))?;
            let ms = text.strip_suffix(unit)?.parse::<u32>().ok().map(|number| u64::from(number) * ms)?;
            Some(Self { ms })
        };
        read().ok_or_else(|| AgeError { text: text.to_owned() })
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = UNITS.into_iter().find(|(_, ms)| self.ms.is_multiple_of(*ms) && self.ms > 0);
        let (unit, ms) = found.unwrap_or(('s', 1_000));
        write!(f, "{}{unit}", self.ms / ms)
    }
}

impl Serialize for Age {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Age {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How far back something looks: from a time on, or so long before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// So long before now.
    Ago(Age),
    /// From this time on.
    Time(Timestamp),
}

/// The text says no time to look back to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no time to look back to: write a length of time such as `7d`, or a time such as `2026-03-01T08:15:00Z`"
)]
pub struct SinceError {
    text: String,
}

impl Since {
    /// The time that it means now.
    #[must_use]
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(age) => Timestamp::from_millis(now.millis().saturating_sub_unsigned(age.ms)),
            Self::Time(time) => time,
        }
    }
}

impl FromStr for Since {
    type Err = SinceError;

    fn from_str(text: &str) -> Result<Self, SinceError> {
        let ago = text.parse().map(Self::Ago);
        ago.or_else(|_| text.parse().map(Self::Time)).map_err(|_| SinceError { text: text.to_owned() })
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ago(age) => age.fmt(f),
            Self::Time(time) => time.fmt(f),
        }
    }
}

impl Serialize for Since {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Since {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Since;
    use crate::model::timestamp::Timestamp;

    #[test]
    fn one_looks_back_to_a_time_or_for_a_while() {
        let now = Timestamp::from_millis(90_000);
        for (text, millis) in [("30s", 60_000), ("1m", 30_000), ("1970-01-01T00:00:01Z", 1_000), ("7d", -604_710_000)] {
            assert_eq!(text.parse::<Since>().map(|since| since.before(now).millis()).ok(), Some(millis), "{text}");
        }
        assert_eq!("2d".parse::<Since>().map(|since| since.to_string()).ok().as_deref(), Some("2d"));
        assert!("yesterday".parse::<Since>().is_err());
    }
}

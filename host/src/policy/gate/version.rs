//! What a version number promises, and what the changes since the version before it mean.

use std::fmt;

use semver::Version;
use serde::{Deserialize, Serialize};

use super::{Finding, Severity, subject::Subject};
use crate::model::id::Digest;

/// What a change means for who relies on a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bump {
    /// Nothing that anybody could rely on is another.
    Patch,
    /// There is more than before, and whoever relied on it still can.
    Minor,
    /// Somebody who relied on it may be let down.
    Major,
}

impl fmt::Display for Bump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Patch => "patch",
            Self::Minor => "minor",
            Self::Major => "major",
        })
    }
}

/// A version that is published already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its number.
    pub version: Version,
    /// The digest of its content.
    pub content: Digest,
}

/// The version to compare with: the highest one below; a release is not compared with a pre-release.
#[must_use]
pub fn previous<'a>(published: impl IntoIterator<Item = &'a Version>, candidate: &Version) -> Option<&'a Version> {
    let counts = |version: &&Version| **version < *candidate && (version.pre.is_empty() || !candidate.pre.is_empty());
    published.into_iter().filter(counts).max()
}

/// What the step from one number to a higher one says. Below 1.0.0 a minor number is a major one, and a patch a minor
/// one, as cargo has it. `None` if the number is not higher.
#[must_use]
pub fn declared(from: &Version, to: &Version) -> Option<Bump> {
    if to <= from {
        return None;
    }
    let levels = if from.major == 0 && to.major == 0 {
        [Bump::Major, Bump::Major, Bump::Minor]
    } else {
        [Bump::Major, Bump::Minor, Bump::Patch]
    };
    let changed = [to.major != from.major, to.minor != from.minor, true];
    changed.into_iter().zip(levels).find_map(|(changed, level)| changed.then_some(level))
}

/// The lowest number that says this much.
#[must_use]
pub fn next(from: &Version, bump: Bump) -> Version {
    let (major, minor, patch) = (from.major, from.minor, from.patch);
    match (bump, major) {
        (Bump::Major, 1..) => Version::new(major.saturating_add(1), 0, 0),
        (Bump::Major, 0) | (Bump::Minor, 1..) => Version::new(major, minor.saturating_add(1), 0),
        // What is a pre-release becomes the release of the same number.
        _ if !from.pre.is_empty() => Version::new(major, minor, patch),
        _ => Version::new(major, minor, patch.saturating_add(1)),
    }
}

/// A published version never changes.
pub(super) fn check_reuse(candidate: &Subject, published: &[Published]) -> Vec<Finding> {
    let version = &candidate.manifest.version;
    let same = published.iter().find(|published| {
        let (one, other) = (&published.version, version);
        // Build metadata does not make another version.
        (one.major, one.minor, one.patch, &one.pre) == (other.major, other.minor, other.patch, &other.pre)
    });
    match same {
        None => Vec::new(),
        Some(same) if same.content == candidate.content => {
            vec![Finding::new("version.published", Severity::Note, "version", "this very package is published already")]
        }
        Some(same) => {
            let found = format!("{version} is published with other content ({})", same.content.short());
            let highest = published.iter().map(|published| &published.version).max().unwrap_or(version);
            let change = format!("a version never changes: raise `version`, such as to {}", next(highest, Bump::Patch));
            vec![Finding::new("version.reused", Severity::Refuse, "version", found).change(change)]
        }
    }
}

/// The number says at least what the changes mean.
pub(super) fn check_bump(previous: &Subject, candidate: &Subject, computed: Bump) -> Vec<Finding> {
    let (from, to) = (&previous.manifest.version, &candidate.manifest.version);
    let needed = next(from, computed);
    match declared(from, to) {
        // Told by `version.reused`, or the same package again.
        None if to == from => Vec::new(),
        None => {
            let found = format!("{to} is below {from}, which it was compared with");
            let change = format!("raise `version` to {needed} or higher");
            vec![Finding::new("version.not-higher", Severity::Refuse, "version", found).change(change)]
        }
        Some(said) if said < computed => {
            let found = format!("{from} to {to} says {said}, the changes are {computed}");
            let change = format!("raise `version` to {needed}, or take back the changes marked {computed}");
            vec![Finding::new("version.bump-too-small", Severity::Refuse, "version", found).change(change)]
        }
        Some(said) if said > computed => {
            let found = format!("{from} to {to} says {said}, the changes are only {computed}: {needed} would do");
            vec![Finding::new("version.bump-larger", Severity::Note, "version", found)]
        }
        Some(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().expect("version")
    }

    #[test]
    fn a_step_says_what_its_highest_changed_number_means() {
        for (from, to, said) in [
            ("1.2.3", "1.2.4", Some(Bump::Patch)),
            ("1.2.3", "1.3.0", Some(Bump::Minor)),
            ("1.2.3", "2.0.0", Some(Bump::Major)),
            ("0.2.3", "0.2.4", Some(Bump::Minor)),
            ("0.2.3", "0.3.0", Some(Bump::Major)),
            ("0.9.0", "1.0.0", Some(Bump::Major)),
            ("1.2.3-rc.1", "1.2.3", Some(Bump::Patch)),
            ("1.2.3", "1.2.3", None),
            ("1.2.3", "1.2.2", None),
        ] {
            assert_eq!(declared(&version(from), &version(to)), said, "{from} to {to}");
        }
    }

    #[test]
    fn the_next_number_says_exactly_as_much() {
        for from in ["0.0.0", "0.1.2", "1.0.0", "3.4.5", "1.0.0-rc.1"] {
            for bump in [Bump::Patch, Bump::Minor, Bump::Major] {
                let next = next(&version(from), bump);
                let said = declared(&version(from), &next).expect("higher");
                assert!(said >= bump, "{from} {bump} {next}");
            }
        }
    }

    #[test]
    fn the_version_before_is_the_highest_below() {
        let all = ["1.0.0", "1.4.0", "1.5.0-rc.1", "2.0.0"].map(version);
        for (candidate, before) in [
            ("1.4.1", "1.4.0"),
            ("1.5.0", "1.4.0"),
            ("1.5.0-rc.2", "1.5.0-rc.1"),
            ("2.1.0", "2.0.0"),
            ("2.0.0", "1.4.0"),
        ] {
            assert_eq!(previous(&all, &version(candidate)), Some(&version(before)), "{candidate}");
        }
        assert_eq!(previous(&all, &version("0.9.0")), None);
    }
}

//! How a line's versions take turns: trial, promotion, rollback; which keys a canary serves; when it is taken back. Pure.

use semver::Version;

use crate::model::{
    id::{PluginId, hash32},
    registry::{Candidate, EARLIER_MAX, Line, Thresholds, Trial},
};

/// Keys are told apart by so many shares of a hundred.
const SHARES: u64 = 100;

/// Why a line does not change so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// It serves already.
    #[error("{version} serves already")]
    Serves {
        /// The version.
        version: Version,
    },
    /// Nothing is on trial.
    #[error("nothing is on trial there")]
    NoTrial,
    /// No version served before.
    #[error("no earlier version can serve again: promote one")]
    NothingEarlier,
    /// A trial beside nothing.
    #[error("no version serves there, so none can be tried beside it: promote one first")]
    NothingActive,
    /// A share that is none.
    #[error("`percent` is {percent}; it must be from 1 to 99 (`promote` serves everybody)")]
    Percent {
        /// As asked.
        percent: u8,
    },
}

/// The line with another version serving. A trial of that very version ends with it; another goes on.
///
/// # Errors
/// If it serves already.
pub fn promote(line: &Line, version: &Version) -> Result<Line, BindingError> {
    if line.active.as_ref() == Some(version) {
        return Err(BindingError::Serves { version: version.clone() });
    }
    let mut earlier = line.earlier.clone();
    earlier.extend(line.active.clone());
    earlier.retain(|before| before != version);
    let surplus = earlier.len().saturating_sub(EARLIER_MAX);
    earlier.drain(..surplus);
    let candidate = line.candidate.clone().filter(|candidate| candidate.version != *version);
    Ok(Line { active: Some(version.clone()), earlier, candidate, replay: None })
}

/// The line with the version serving again that served before, the latest that suits. What is left does not come back
/// by another rollback. A trial ends.
///
/// # Errors
/// If none suits.
pub fn rollback(line: &Line, suits: impl Fn(&Version) -> bool) -> Result<Line, BindingError> {
    let mut earlier = line.earlier.clone();
    while let Some(version) = earlier.pop() {
        if suits(&version) {
            return Ok(Line { active: Some(version), earlier, candidate: None, replay: None });
        }
    }
    Err(BindingError::NothingEarlier)
}

/// The line with a version on trial, in place of any other.
///
/// # Errors
/// If it serves already, nothing serves, or the share is none.
pub fn attempt(line: &Line, version: &Version, trial: Trial) -> Result<Line, BindingError> {
    if line.active.as_ref() == Some(version) {
        return Err(BindingError::Serves { version: version.clone() });
    }
    if line.active.is_none() && trial != Trial::Staged {
        return Err(BindingError::NothingActive);
    }
    if let Trial::Canary { percent, .. } = trial
        && !(1..=99).contains(&percent)
    {
        return Err(BindingError::Percent { percent });
    }
    Ok(Line { candidate: Some(Candidate { version: version.clone(), trial }), ..line.clone() })
}

/// The line without its trial.
///
/// # Errors
/// If there is none.
pub fn withdraw(line: &Line) -> Result<Line, BindingError> {
    if line.candidate.is_none() {
        return Err(BindingError::NoTrial);
    }
    Ok(Line { candidate: None, ..line.clone() })
}

/// Whether a canary serves a business key: always the same keys, and more of them as its share grows. Other keys for
/// another version, so that it is not always the same customers.
#[must_use]
pub fn serves_key(line: &PluginId, version: &Version, percent: u8, key: &str) -> bool {
    let version = version.to_string();
    let hash = hash32("crossdock canary 1", &[line.as_str().as_bytes(), version.as_bytes(), key.as_bytes()]);
    let number = hash.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    number % SHARES < u64::from(percent)
}

/// What a trial came to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Calls that ended by a defect or a limit other than time.
    pub traps: u64,
    /// Calls that ran out of time.
    pub deadlines: u64,
    /// Answers that were held against the other version's.
    pub compared: u64,
    /// Those that differed.
    pub diverged: u64,
}

/// Why a canary is to be taken back, if it is.
#[must_use]
pub fn too_much(thresholds: &Thresholds, seen: Seen) -> Option<String> {
    if seen.traps > u64::from(thresholds.traps_max) {
        return Some(format!("{} calls trapped, {} are allowed", seen.traps, thresholds.traps_max));
    }
    if seen.deadlines > u64::from(thresholds.deadlines_max) {
        return Some(format!("{} calls ran out of time, {} are allowed", seen.deadlines, thresholds.deadlines_max));
    }
    let most = thresholds.divergence_percent_max?;
    let differs = seen.compared >= Thresholds::COMPARED_MIN && seen.diverged * 100 > seen.compared * u64::from(most);
    differs.then(|| {
        format!("{} of {} answers differ from the active version's, {most} % are allowed", seen.diverged, seen.compared)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().expect("a version")
    }

    fn line(active: &str, earlier: &[&str]) -> Line {
        Line {
            active: Some(version(active)),
            earlier: earlier.iter().map(|text| version(text)).collect(),
            candidate: None,
            replay: None,
        }
    }

    fn canary(percent: u8) -> Trial {
        Trial::Canary { percent, thresholds: Thresholds::default() }
    }

    #[test]
    fn a_promotion_is_taken_back_by_a_rollback() {
        let promoted = promote(&line("1.0.0", &[]), &version("2.0.0")).unwrap();
        assert_eq!(promoted, line("2.0.0", &["1.0.0"]));
        let back = rollback(&promoted, |_| true).unwrap();
        assert_eq!(back, line("1.0.0", &[]), "what was rolled back from does not come back by itself");
        assert_eq!(rollback(&back, |_| true), Err(BindingError::NothingEarlier));
        assert_eq!(promote(&back, &version("1.0.0")), Err(BindingError::Serves { version: version("1.0.0") }));
    }

    #[test]
    fn a_rollback_passes_over_what_cannot_serve() {
        let line = line("3.0.0", &["1.0.0", "2.0.0"]);
        assert_eq!(rollback(&line, |at| *at != version("2.0.0")).unwrap().active, Some(version("1.0.0")));
        assert_eq!(rollback(&line, |_| false), Err(BindingError::NothingEarlier));
    }

    #[test]
    fn a_line_remembers_a_bounded_number_of_versions() {
        let mut line = Line::default();
        for minor in 0..40 {
            line = promote(&line, &Version::new(1, minor, 0)).unwrap();
        }
        assert_eq!((line.earlier.len(), line.earlier.last()), (EARLIER_MAX, Some(&Version::new(1, 38, 0))));
    }

    #[test]
    fn a_trial_needs_something_beside_it_and_a_share() {
        let two = version("2.0.0");
        assert_eq!(attempt(&Line::default(), &two, Trial::Shadow), Err(BindingError::NothingActive));
        assert!(attempt(&Line::default(), &two, Trial::Staged).is_ok());
        for percent in [0, 100, 255] {
            assert_eq!(attempt(&line("1.0.0", &[]), &two, canary(percent)), Err(BindingError::Percent { percent }));
        }
        let tried = attempt(&line("1.0.0", &[]), &two, canary(5)).unwrap();
        assert_eq!(withdraw(&tried).unwrap(), line("1.0.0", &[]));
        assert_eq!(withdraw(&line("1.0.0", &[])), Err(BindingError::NoTrial));
        assert_eq!(promote(&tried, &two).unwrap().candidate, None, "its trial is over");
        assert!(promote(&tried, &version("1.1.0")).unwrap().candidate.is_some(), "another's goes on");
    }

    #[test]
    fn a_canary_keeps_its_keys_and_takes_more_as_it_grows() {
        let (id, two): (PluginId, _) = ("acme/check".parse().expect("an id"), version("2.0.0"));
        let served = |percent: u8| -> BTreeSet<u32> {
            (0..2_000).filter(|key| serves_key(&id, &two, percent, &format!("order-{key}"))).collect()
        };
        let (few, more) = (served(10), served(40));
        assert!(few.is_subset(&more) && served(10) == few);
        assert!((140..=260).contains(&few.len()) && (700..=900).contains(&more.len()), "{} {}", few.len(), more.len());
        let other = (0..2_000_u32).filter(|key| serves_key(&id, &version("2.1.0"), 10, &format!("order-{key}")));
        assert_ne!(other.collect::<BTreeSet<_>>(), few, "another version has other keys");
    }

    #[test]
    fn a_canary_is_taken_back_beyond_each_threshold_and_not_before() {
        let limits = Thresholds { traps_max: 1, deadlines_max: 2, divergence_percent_max: Some(10) };
        let seen = |traps, deadlines, compared, diverged| Seen { traps, deadlines, compared, diverged };
        for (seen, taken_back) in [
            (seen(1, 2, 100, 10), false),
            (seen(2, 0, 0, 0), true),
            (seen(0, 3, 0, 0), true),
            (seen(0, 0, 100, 11), true),
            (seen(0, 0, 19, 19), false),
            (seen(0, 0, 20, 3), true),
        ] {
            assert_eq!(too_much(&limits, seen).is_some(), taken_back, "{seen:?}");
        }
        assert_eq!(too_much(&Thresholds::default(), seen(0, 0, 1_000, 1_000)), None);
    }
}

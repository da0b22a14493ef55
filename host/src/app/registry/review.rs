//! What is common to versions that one person drafts and another approves, of pipelines and of reference tables.

use std::collections::BTreeMap;

use semver::Version;

use super::{Registry, RegistryError, cause, install_refused};
use crate::{
    app::gate::with_source,
    app::install::InstallError,
    model::{
        audit::Cause,
        registry::{Line, VersionState},
        review::{ReviewAct, Reviewed, Serving},
    },
    policy::{
        binding,
        lifecycle::{self, Move},
        review::{self, ApprovalError},
    },
    ports::{
        registry::Who,
        review::{Mistake, ReviewError, Thing, VersionLine},
    },
};

/// Most drafts of one line that nobody has decided about.
const DRAFTS_MAX: usize = 64;

/// What is said of a draft that is there already.
pub(super) const UNCHANGED: &str = "exactly this version is there already; nothing has changed";

/// Who changes something, and why, held to their bounds.
pub(super) fn signed(who: &Who) -> Result<Cause, ReviewError> {
    cause(who).map_err(|error| ReviewError::Invalid { problem: error.to_string() })
}

/// Why something does not come in, for whoever sent it.
pub(super) fn refused(thing: Thing, error: InstallError) -> ReviewError {
    let problem = with_source(&error);
    if let InstallError::Pipeline { diagnostics, .. } = error {
        let mistakes = diagnostics.into_iter().map(|found| Mistake {
            line: found.line,
            column: found.column,
            code: found.code.to_owned(),
            problem: found.problem,
            instead: found.instead,
        });
        return ReviewError::Refused { thing, problem, mistakes: mistakes.collect() };
    }
    match install_refused(error) {
        RegistryError::Unavailable { reason } => ReviewError::Unavailable { reason },
        RegistryError::Taken { problem } => ReviewError::Taken { thing, problem },
        _ => ReviewError::Refused { thing, problem, mistakes: Vec::new() },
    }
}

/// There is no such pipeline or table.
pub(super) fn unknown<'a>(thing: Thing, name: &str, known: impl Iterator<Item = &'a String>) -> ReviewError {
    let known: Vec<&str> = known.map(String::as_str).collect();
    ReviewError::Unknown { thing, what: format!("{} `{name}`", thing.as_str()), known: known.join(", ") }
}

/// The version of a pipeline or a table.
pub(super) fn find<'a, T>(
    thing: Thing,
    name: &str,
    versions: &'a BTreeMap<Version, T>,
    version: &Version,
) -> Result<&'a T, ReviewError> {
    versions.get(version).ok_or_else(|| ReviewError::Unknown {
        thing,
        what: format!("version {version} of {} `{name}`", thing.as_str()),
        known: versions.keys().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    })
}

/// Refuses another draft of a line while too many wait.
pub(super) fn require_room(name: &str, states: impl Iterator<Item = VersionState>) -> Result<(), ReviewError> {
    let drafts = states.filter(|state| *state == VersionState::Draft).count();
    if drafts < DRAFTS_MAX {
        return Ok(());
    }
    let problem = format!("{drafts} drafts of `{name}` wait for a decision already: approve or retire those");
    Err(ReviewError::Conflict { problem })
}

/// What a change to where a version stands comes to.
///
/// # Errors
/// If it cannot be done from there, or not by this person.
pub(super) fn moved(
    registry: &Registry,
    what: &str,
    reviewed: &Reviewed,
    act: &ReviewAct,
    cause: &Cause,
) -> Result<Reviewed, ReviewError> {
    let conflict = |error: String| ReviewError::Conflict { problem: format!("{what}: {error}") };
    let wanted = match act {
        ReviewAct::Approve { .. } => {
            let time = registry.shared.clock.now();
            return review::approve(reviewed, &cause.actor, time, &cause.reason).map_err(|error| match error {
                ApprovalError::Author { author } => ReviewError::Author { author },
                ApprovalError::Lifecycle(error) if error.state == VersionState::Published => {
                    conflict("it was approved before".to_owned())
                }
                ApprovalError::Lifecycle(error) => conflict(format!("it is {}", error.state.as_str())),
            });
        }
        ReviewAct::Deprecate { .. } => Move::Deprecate,
        ReviewAct::Retire { .. } => Move::Retire,
        ReviewAct::Promote { .. } | ReviewAct::Rollback => return Ok(reviewed.clone()),
    };
    let state = lifecycle::next(&reviewed.record, wanted).map_err(|error| match error.state {
        VersionState::Draft => conflict("it is a draft: have it approved, or retire it".to_owned()),
        state => conflict(format!("it is {}", state.as_str())),
    })?;
    let mut next = reviewed.clone();
    next.record.state = state;
    if let ReviewAct::Deprecate { sunset, replaced_by, .. } = act {
        next.record.sunset = *sunset;
        next.record.replaced_by.clone_from(replaced_by);
    }
    Ok(next)
}

/// Refuses to let a version serve that nobody else approved, or that is put away.
pub(super) fn require_bindable(what: &str, state: VersionState, thing: Thing) -> Result<(), ReviewError> {
    if lifecycle::is_bindable(state) {
        return Ok(());
    }
    let problem = match state {
        VersionState::Draft => {
            let word = thing.as_str();
            format!("{what} is a draft: somebody else than its author approves it first (`crossdock {word} approve`)")
        }
        state => format!("{what} is {}: promote another version", state.as_str()),
    };
    Err(ReviewError::Conflict { problem })
}

/// Refuses to put a version away while it serves.
pub(super) fn require_unused(what: &str, version: &Version, active: Option<&Version>) -> Result<(), ReviewError> {
    if active != Some(version) {
        return Ok(());
    }
    Err(ReviewError::Conflict { problem: format!("{what} serves: promote another version, or roll back, first") })
}

/// The line once a version is promoted.
pub(super) fn promoted(line: &Line, version: &Version) -> Result<Line, ReviewError> {
    binding::promote(line, version).map_err(|error| ReviewError::Conflict { problem: error.to_string() })
}

/// The line once it is rolled back to the latest earlier version that may serve, by the states of its versions.
pub(super) fn rolled_back(line: &Line, state: impl Fn(&Version) -> Option<VersionState>) -> Result<Line, ReviewError> {
    let suits = |version: &Version| state(version).is_some_and(lifecycle::may_serve);
    binding::rollback(line, suits).map_err(|error| ReviewError::Conflict { problem: error.to_string() })
}

/// A version, for people and programs.
pub(super) fn line(
    version: &Version,
    digest: String,
    reviewed: Option<&Reviewed>,
    serving: Option<&Serving>,
) -> VersionLine {
    let before = serving.map(Serving::line).unwrap_or_default();
    let approved = reviewed.and_then(|reviewed| reviewed.approved.as_ref());
    let record = reviewed.map(|reviewed| &reviewed.record);
    VersionLine {
        version: version.clone(),
        digest,
        state: record.map_or(VersionState::Published, |record| record.state).as_str(),
        part: part(&before, version),
        author: reviewed.map(|reviewed| reviewed.author.clone()),
        drafted: reviewed.map(|reviewed| reviewed.drafted),
        reason: reviewed.map(|reviewed| reviewed.reason.clone()),
        approved_by: approved.map(|approved| approved.by.clone()),
        approved: approved.map(|approved| approved.at),
        sunset: record.and_then(|record| record.sunset),
        replaced_by: record.and_then(|record| record.replaced_by.clone()),
        runs_open: None,
    }
}

fn part(line: &Line, version: &Version) -> &'static str {
    if line.active.as_ref() == Some(version) {
        "active"
    } else if line.earlier.contains(version) {
        "superseded"
    } else {
        "unbound"
    }
}

//! Places at which a debug build ends its own process, so that tests can crash a hub exactly before or after a fact of a
//! kind is durable. A release build holds nothing of this.

use std::{
    fmt, process,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use crate::model::entry::Entry;

/// The variable that names the place: `before:intent:3` is right before the third intent is appended.
pub const VARIABLE: &str = "CROSSDOCK_CRASH_AT";

/// The kinds of facts that can be named, in the order in which a run usually comes by them.
pub const KINDS: [&str; 28] = [
    "accepted",
    "run-started",
    "skipped",
    "started",
    "intent",
    "compensating",
    "result",
    "compensated",
    "attempt-failed",
    "branch-taken",
    "branch-closed",
    "entered",
    "vars-set",
    "wait-started",
    "signalled",
    "wait-over",
    "asked",
    "approved",
    "step-failed",
    "handled",
    "undo-began",
    "halted",
    "controlled",
    "parked",
    "settled",
    "exception-opened",
    "exception-closed",
    "resealed",
];

/// On which side of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Right before it is given to the journal.
    Before,
    /// When it is durable, and before anybody knows.
    After,
}

/// A place: a side of the n-th fact of a kind that this process appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashPoint {
    side: Side,
    kind: &'static str,
    left: usize,
}

impl FromStr for CrashPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is no crash point such as `before:intent:1`; kinds: {}", KINDS.join(", "));
        let mut parts = text.split(':');
        let side = match parts.next() {
            Some("before") => Side::Before,
            Some("after") => Side::After,
            _ => return Err(wrong()),
        };
        let named = parts.next().unwrap_or_default();
        let kind = KINDS.into_iter().find(|kind| *kind == named).ok_or_else(wrong)?;
        let left =
            parts.next().and_then(|number| number.parse().ok()).filter(|number| *number > 0).ok_or_else(wrong)?;
        Ok(Self { side, kind, left })
    }
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.side == Side::Before { "before" } else { "after" };
        write!(f, "{side}:{}:{}", self.kind, self.left)
    }
}

static ARMED: Mutex<Option<CrashPoint>> = Mutex::new(None);

/// From now on, the process ends at this point.
pub fn arm(point: CrashPoint) {
    tracing::warn!(%point, "this process ends itself there");
    *ARMED.lock().unwrap_or_else(PoisonError::into_inner) = Some(point);
}

/// Facts pass a place; ends the process if it is the one.
pub(super) fn pass(side: Side, entries: &[Entry]) {
    let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(point) = armed.as_mut().filter(|point| point.side == side) else { return };
    let passing = entries.iter().filter(|entry| kind(entry) == Some(point.kind)).count();
    point.pass(passing);
}

/// A step that is no fact of a run is durable; ends the process if it is the one.
pub(super) fn pass_step(kind: &'static str) {
    let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(point) = armed.as_mut().filter(|point| point.side == Side::After && point.kind == kind) {
        point.pass(1);
    }
}

impl CrashPoint {
    fn pass(&mut self, passing: usize) {
        self.left = self.left.saturating_sub(passing);
        if self.left == 0 {
            // No destructor runs and nothing is flushed, as at a kill.
            process::abort();
        }
    }
}

/// The kind of a fact; none: it is not named.
fn kind(entry: &Entry) -> Option<&'static str> {
    let undoes = |step: &str| step.ends_with("~compensate");
    Some(match entry {
        Entry::Accepted(_) => "accepted",
        Entry::RunStarted(_) => "run-started",
        Entry::StepSkipped { .. } => "skipped",
        Entry::StepStarted(_) => "started",
        Entry::Intent(intent) if undoes(&intent.step) => "compensating",
        Entry::Intent(_) => "intent",
        Entry::StepDone(done) if undoes(&done.step) => "compensated",
        Entry::StepDone(_) => "result",
        Entry::AttemptFailed(_) => "attempt-failed",
        Entry::BranchTaken { .. } => "branch-taken",
        Entry::BranchClosed { .. } => "branch-closed",
        Entry::Entered(_) => "entered",
        Entry::VarsSet { .. } => "vars-set",
        Entry::WaitStarted(_) => "wait-started",
        Entry::Signalled(_) => "signalled",
        Entry::WaitOver { .. } => "wait-over",
        Entry::ApprovalAsked(_) => "asked",
        Entry::ApprovalDecided(_) => "approved",
        Entry::StepFailed { .. } => "step-failed",
        Entry::Handled { .. } => "handled",
        Entry::UndoBegan { .. } => "undo-began",
        Entry::Halted { .. } => "halted",
        Entry::ExceptionOpened(_) => "exception-opened",
        Entry::Controlled(_) if entry.is_about_exception() => "exception-closed",
        Entry::Controlled(_) => "controlled",
        Entry::RunParked { .. } => "parked",
        Entry::RunEnded { .. } => "settled",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{CrashPoint, KINDS};

    #[test]
    fn a_place_is_read_as_it_is_written_and_others_are_refused() {
        for kind in KINDS {
            let text = format!("after:{kind}:2");
            assert_eq!(text.parse::<CrashPoint>().map(|point| point.to_string()), Ok(text));
        }
        for text in ["", "intent", "before:intent", "before:intent:0", "beside:intent:1", "after:nothing:1"] {
            assert!(text.parse::<CrashPoint>().is_err(), "{text}");
        }
    }
}

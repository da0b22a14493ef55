//! The facts of the journal and their stored form.
//!
//! An entry is stored as one format byte, then MessagePack with field names, so that a field can be added without
//! breaking what is already on disk. Every format version that was ever written stays readable.

mod exceptions;
mod people;
mod steps;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::{
    exceptions::{ExceptionOpened, UndoneWait, WaitsUndone},
    people::{ApprovalAsked, ApprovalDecided, Control, Controlled, Moved},
    steps::{AttemptFailed, Intent, Output, PluginUse, StepDone, StepStarted},
};
use super::{
    event::Event,
    failure::Failure,
    id::{AcceptanceId, Digest, RunId, SignalKey},
    json::Json,
    lane::Lane,
    personal::{NO_DIGEST, Personal},
    timestamp::Timestamp,
};

/// The format that is written today. Format 2 is format 3 without moves, exceptions and undone waits; format 1 is format
/// 2 without waiting, people, undoing and control.
pub const FORMAT: u8 = 3;
/// The oldest format that is read.
const FORMAT_MIN: u8 = 1;

/// One fact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// An event was accepted; the only entry of its acceptance stream.
    Accepted(Box<Accepted>),
    /// A run began; the first entry of its stream.
    RunStarted(Box<RunStarted>),
    /// A step's condition did not hold.
    StepSkipped {
        /// Which step.
        step: String,
    },
    /// A pure step, a read or an emit is about to run.
    StepStarted(StepStarted),
    /// A write is about to leave; durable before it does.
    Intent(Intent),
    /// A step gave a result.
    StepDone(Box<StepDone>),
    /// An attempt failed; another may be due.
    AttemptFailed(Box<AttemptFailed>),
    /// A switch or a rule chose a branch.
    BranchTaken {
        /// The step that chose.
        step: String,
        /// The branch: a route's name, a case's number or `otherwise`; absent: none matched.
        branch: Option<String>,
    },
    /// The branch that a step chose came to its end.
    BranchClosed {
        /// The step that chose.
        step: String,
        /// What leaves the branch, and is the step's output from now on; absent: its output stays.
        output: Option<Json>,
    },
    /// A `parallel`, `for` or `loop` began.
    Entered(Box<Entered>),
    /// Variables were set.
    VarsSet {
        /// The step that set them.
        step: String,
        /// When.
        time: Timestamp,
        /// The new values, by name.
        values: Json,
    },
    /// A wait began.
    WaitStarted(Box<WaitStarted>),
    /// A wait got its event.
    Signalled(Box<Signalled>),
    /// A wait's time was up, or the time that it waited for came.
    WaitOver {
        /// The wait.
        step: String,
        /// When.
        time: Timestamp,
    },
    /// People were asked.
    ApprovalAsked(Box<ApprovalAsked>),
    /// People were reminded, or others were asked too.
    ApprovalNudged {
        /// The step that asks.
        step: String,
        /// When.
        time: Timestamp,
        /// The group that is asked from now on; absent: a reminder.
        to: Option<String>,
    },
    /// A person decided.
    ApprovalDecided(Box<ApprovalDecided>),
    /// Nobody decided in time.
    ApprovalExpired {
        /// The step that asked.
        step: String,
        /// When.
        time: Timestamp,
    },
    /// A step failed for good, other than by an attempt of its own: a branch of it failed, its time was up, its loop
    /// was exhausted, or its write could not be confirmed.
    StepFailed {
        /// The step.
        step: String,
        /// When.
        time: Timestamp,
        /// Why.
        failure: Failure,
    },
    /// What the pipeline declares for a step that failed, expired or was decided was done: the step counts as done.
    Handled {
        /// The step.
        step: String,
        /// When.
        time: Timestamp,
        /// Which declaration.
        by: Handler,
        /// The step's output from now on; absent: null.
        output: Option<Json>,
    },
    /// Undoing began.
    UndoBegan {
        /// The step that undoes; absent: the run is being undone.
        step: Option<String>,
        /// When.
        time: Timestamp,
        /// The steps whose effects are undone, in this order.
        effects: Vec<String>,
    },
    /// No forward step begins any more; what is in flight is resolved, effects are undone if so declared, then the run
    /// ends.
    Halted {
        /// When.
        time: Timestamp,
        /// How it will end.
        ending: Ending,
        /// Whether its effects are undone first.
        undo: bool,
    },
    /// The run begins again at a step: what was recorded of it and of all after it counts no more.
    Restarted {
        /// The step.
        step: String,
        /// When.
        time: Timestamp,
    },
    /// A person took hold of the run.
    Controlled(Box<Controlled>),
    /// A person moved the run to another version of its pipeline.
    Moved(Box<Moved>),
    /// The run is about to end, and waits of it stood on something that was undone.
    WaitsUndone(Box<WaitsUndone>),
    /// An event came for something that was undone; after the run's end too.
    ExceptionOpened(Box<ExceptionOpened>),
    /// The run ended.
    RunEnded {
        /// When.
        time: Timestamp,
        /// How.
        ending: Ending,
    },
    /// The run cannot go on without a person.
    RunParked {
        /// When.
        time: Timestamp,
        /// At which step.
        step: String,
        /// Why.
        failure: Failure,
    },
}

/// An accepted event and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// When the hub accepted it.
    pub time: Timestamp,
    /// The event.
    pub event: Event,
    /// Digest of the event, to tell a duplicate from a contradiction.
    pub digest: Digest,
    /// The runs that it starts; none: unmatched.
    pub starts: Vec<Start>,
    /// What of the event is personal data. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<Personal>,
}

impl Accepted {
    /// Whether another delivery of the event, with this digest, is the same. Of one whose data was erased nobody can tell
    /// any more, and it is not taken for another.
    #[must_use]
    pub fn is_same(&self, digest: Digest) -> bool {
        self.digest == digest || self.is_erased()
    }

    /// Whether its personal data was erased.
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.digest == NO_DIGEST
    }
}

/// A run that an acceptance starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The run.
    pub run: RunId,
    /// The pipeline.
    pub pipeline: PipelineUse,
    /// Its priority. Absent in what earlier releases wrote: standard.
    #[serde(default, skip_serializing_if = "Lane::is_standard")]
    pub lane: Lane,
}

/// Exactly which pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PipelineUse {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Digest of its text.
    pub digest: Digest,
}

/// A run's beginning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// When.
    pub time: Timestamp,
    /// The acceptance that started it.
    pub acceptance: AcceptanceId,
    /// What it executes; pinned.
    pub pipeline: PipelineUse,
    /// What it is about.
    pub key: String,
    /// The event.
    pub event: Event,
    /// Its priority. Absent in what earlier releases wrote: standard.
    #[serde(default, skip_serializing_if = "Lane::is_standard")]
    pub lane: Lane,
    /// The run that started it, if a step did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// What of the event is personal data. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<Personal>,
}

/// The step that started a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: String,
    /// Whether nobody waits for this run.
    pub detached: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every step is done.
    Completed,
    /// A rule or a person rejected it; the step says which.
    Rejected {
        /// The rule's step.
        step: String,
    },
    /// A step failed for good, and the pipeline's `on_error` or a person ended the run.
    Failed {
        /// The step.
        step: String,
        /// Why.
        failure: Failure,
    },
    /// A person cancelled it.
    Cancelled,
}

/// The beginning of a step that has steps inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entered {
    /// Which step.
    pub step: String,
    /// When.
    pub time: Timestamp,
    /// For a `for`: the list that it goes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Json>,
    /// For a `loop`: how often at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

/// The beginning of a wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitStarted {
    /// Which step.
    pub step: String,
    /// When.
    pub time: Timestamp,
    /// When it is over.
    pub due: Timestamp,
    /// The events that it waits for; none: it waits for the time.
    pub awaits: Vec<Await>,
}

/// An event that a wait waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Await {
    /// Its name under `first_of`; for a single one, `signal`.
    pub name: String,
    /// The key under which such an event is found.
    pub key: SignalKey,
}

/// The event that ended a wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signalled {
    /// The wait.
    pub step: String,
    /// When.
    pub time: Timestamp,
    /// Its name in the wait.
    pub name: String,
    /// Its acceptance.
    pub acceptance: AcceptanceId,
    /// The event.
    pub event: Event,
    /// What of the event is personal data. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<Personal>,
}

/// Which declaration of the pipeline dealt with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handler {
    /// `fallback`.
    Fallback,
    /// `on_error` of the step.
    OnError,
    /// `on_expiry` of a wait.
    OnExpiry,
    /// `on_exhausted` of a loop.
    OnExhausted,
    /// `on_expiry` of an approval.
    ApprovalExpiry,
    /// People approved.
    Approval,
}

/// Stored bytes are not an entry.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Written by a later release.
    #[error(
        "entry has format {found}; this release reads up to {FORMAT}: start the release that wrote it, or a later one"
    )]
    Format {
        /// The format byte.
        found: u8,
    },
    /// Not what was written.
    #[error("entry cannot be decoded")]
    Decode {
        /// Why.
        #[from]
        source: rmp_serde::decode::Error,
    },
    /// Nothing was stored.
    #[error("entry is empty")]
    Empty,
}

impl Entry {
    /// When it was recorded, if it says so.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Accepted(accepted) => Some(accepted.time),
            Self::RunStarted(started) => Some(started.time),
            Self::StepStarted(started) => Some(started.time),
            Self::Intent(intent) => Some(intent.time),
            Self::StepDone(done) => Some(done.time),
            Self::AttemptFailed(failed) => Some(failed.time),
            Self::Entered(entered) => Some(entered.time),
            Self::WaitStarted(started) => Some(started.time),
            Self::Signalled(signalled) => Some(signalled.time),
            Self::ApprovalAsked(asked) => Some(asked.time),
            Self::ApprovalDecided(decided) => Some(decided.time),
            Self::Controlled(controlled) => Some(controlled.time),
            Self::Moved(moved) => Some(moved.time),
            Self::WaitsUndone(undone) => Some(undone.time),
            Self::ExceptionOpened(opened) => Some(opened.time),
            Self::RunEnded { time, .. }
            | Self::RunParked { time, .. }
            | Self::VarsSet { time, .. }
            | Self::WaitOver { time, .. }
            | Self::ApprovalNudged { time, .. }
            | Self::ApprovalExpired { time, .. }
            | Self::StepFailed { time, .. }
            | Self::Handled { time, .. }
            | Self::UndoBegan { time, .. }
            | Self::Halted { time, .. }
            | Self::Restarted { time, .. } => Some(*time),
            Self::StepSkipped { .. } | Self::BranchTaken { .. } | Self::BranchClosed { .. } => None,
        }
    }

    /// What it says of personal data in the event that it holds.
    #[must_use]
    pub fn personal(&self) -> Option<&Personal> {
        match self {
            Self::Accepted(accepted) => accepted.personal.as_ref(),
            Self::RunStarted(started) => started.personal.as_ref(),
            Self::Signalled(signalled) => signalled.personal.as_ref(),
            Self::ExceptionOpened(opened) => opened.personal.as_ref(),
            _ => None,
        }
    }

    /// The paths of the steps that it is about, to be changed.
    pub fn steps_mut(&mut self) -> Vec<&mut String> {
        match self {
            Self::Accepted(_) | Self::RunStarted(_) | Self::Moved(_) => Vec::new(),
            Self::StepSkipped { step }
            | Self::BranchTaken { step, .. }
            | Self::BranchClosed { step, .. }
            | Self::VarsSet { step, .. }
            | Self::WaitOver { step, .. }
            | Self::ApprovalNudged { step, .. }
            | Self::ApprovalExpired { step, .. }
            | Self::StepFailed { step, .. }
            | Self::Handled { step, .. }
            | Self::Restarted { step, .. }
            | Self::RunParked { step, .. } => vec![step],
            Self::StepStarted(started) => vec![&mut started.step],
            Self::Intent(intent) => vec![&mut intent.step],
            Self::StepDone(done) => vec![&mut done.step],
            Self::AttemptFailed(failed) => vec![&mut failed.step],
            Self::Entered(entered) => vec![&mut entered.step],
            Self::WaitStarted(started) => vec![&mut started.step],
            Self::Signalled(signalled) => vec![&mut signalled.step],
            Self::ApprovalAsked(asked) => vec![&mut asked.step],
            Self::ApprovalDecided(decided) => vec![&mut decided.step],
            Self::WaitsUndone(undone) => undone.waits.iter_mut().map(|wait| &mut wait.step).collect(),
            Self::ExceptionOpened(opened) => vec![&mut opened.step],
            Self::UndoBegan { step, effects, .. } => step.iter_mut().chain(effects).collect(),
            Self::Halted { ending, .. } | Self::RunEnded { ending, .. } => match ending {
                Ending::Rejected { step } | Ending::Failed { step, .. } => vec![step],
                Ending::Completed | Ending::Cancelled => Vec::new(),
            },
            Self::Controlled(controlled) => match &mut controlled.action {
                Control::Resolve { step, .. } | Control::Reassign { step, .. } | Control::Restart { step, .. } => {
                    vec![step]
                }
                Control::Pause
                | Control::Continue
                | Control::Cancel { .. }
                | Control::Resume
                | Control::Close { .. }
                | Control::Undo
                | Control::CloseException { .. } => Vec::new(),
            },
        }
    }

    /// Whether it is about an event that came for something undone: nothing of the run itself changes by it, ended or not.
    #[must_use]
    pub fn is_about_exception(&self) -> bool {
        match self {
            Self::ExceptionOpened(_) => true,
            Self::Controlled(controlled) => matches!(controlled.action, Control::CloseException { .. }),
            _ => false,
        }
    }

    /// Its stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(FORMAT);
        // INVARIANT: writing to memory does not fail, and every entry has a MessagePack form (the round trip test).
        let written = rmp_serde::encode::write_named(&mut bytes, self);
        debug_assert!(written.is_ok());
        bytes.into()
    }

    /// The entry of a stored form.
    ///
    /// # Errors
    /// If the bytes are of a later format or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        match bytes.split_first() {
            None => Err(EntryError::Empty),
            Some((&(FORMAT_MIN..=FORMAT), body)) => Ok(rmp_serde::from_slice(body)?),
            Some((&found, _)) => Err(EntryError::Format { found }),
        }
    }
}

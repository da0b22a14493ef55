//! The items of a snapshot, as they are written.

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        entry::ExceptionOpened,
        id::{AcceptanceId, Digest, RunId, SignalKey},
        json::Json,
        run::{Aside, RunState, RunSummary},
        timestamp::Timestamp,
    },
    policy::chain::Hash,
    ports::hub::Question,
};

/// What a snapshot is a sequence of.
#[derive(Serialize, Deserialize)]
pub(super) enum Item {
    Head {
        position: u64,
        /// Hash of the header of the batch that the position lies in: which journal this is of.
        chain: Hash,
        plans: Digest,
        newest: Timestamp,
    },
    Run(Box<RunItem>),
    Settled(RunId),
    Waits(RunId, Vec<SignalKey>),
    Kept(SignalKey, Timestamp, AcceptanceId),
    Question(Box<QuestionItem>),
    Pending(AcceptanceId),
    End {
        items: u64,
    },
    Undone(RunId, Timestamp, Vec<SignalKey>),
    Exception(RunId, Box<ExceptionOpened>),
}

/// [`RunSummary`] with everything in it.
#[derive(Serialize, Deserialize)]
#[serde(remote = "RunSummary")]
struct WholeSummary {
    id: RunId,
    pipeline: String,
    pipeline_version: String,
    key: String,
    state: RunState,
    step: Option<String>,
    cause: Option<String>,
    due: Option<Timestamp>,
    started: Timestamp,
    updated: Timestamp,
    acceptance: AcceptanceId,
    parent: Option<RunId>,
    out: u32,
    wide: bool,
    halted: bool,
    aside: Option<Box<Aside>>,
}

/// A run, as a snapshot has it.
#[derive(Serialize, Deserialize)]
pub(super) struct RunItem(#[serde(with = "WholeSummary")] pub(super) RunSummary);

/// [`Question`] as far as facts tell it.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Question")]
struct KnownQuestion {
    run: RunId,
    step: String,
    revision: u32,
    digest: Digest,
    group: String,
    quorum: u32,
    decided_by: Vec<String>,
    asked: Timestamp,
    due: Timestamp,
    reminders: u32,
    #[serde(skip)]
    pipeline: Option<String>,
    #[serde(skip)]
    key: Option<String>,
    #[serde(skip)]
    evidence: Option<Json>,
}

/// A question, as a snapshot has it.
#[derive(Serialize, Deserialize)]
pub(super) struct QuestionItem(#[serde(with = "KnownQuestion")] pub(super) Question);

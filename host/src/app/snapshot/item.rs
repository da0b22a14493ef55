//! The items of a snapshot, as they are written.

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        entry::ExceptionOpened,
        id::{AcceptanceId, Digest, RunId, SignalKey},
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
pub(super) struct RunItem {
    pub(super) id: RunId,
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

/// [`Question`] as far as facts tell it.
#[derive(Serialize, Deserialize)]
pub(super) struct QuestionItem {
    pub(super) run: RunId,
    step: String,
    revision: u32,
    digest: Digest,
    group: String,
    quorum: u32,
    decided_by: Vec<String>,
    asked: Timestamp,
    due: Timestamp,
    reminders: u32,
}

impl From<RunSummary> for RunItem {
    fn from(summary: RunSummary) -> Self {
        let RunSummary {
            id,
            pipeline,
            pipeline_version,
            key,
            state,
            step,
            cause,
            due,
            started,
            updated,
            acceptance,
            parent,
            out,
            wide,
            halted,
            aside,
        } = summary;
        Self {
            id,
            pipeline,
            pipeline_version,
            key,
            state,
            step,
            cause,
            due,
            started,
            updated,
            acceptance,
            parent,
            out,
            wide,
            halted,
            aside,
        }
    }
}

impl From<RunItem> for RunSummary {
    fn from(item: RunItem) -> Self {
        let RunItem {
            id,
            pipeline,
            pipeline_version,
            key,
            state,
            step,
            cause,
            due,
            started,
            updated,
            acceptance,
            parent,
            out,
            wide,
            halted,
            aside,
        } = item;
        Self {
            id,
            pipeline,
            pipeline_version,
            key,
            state,
            step,
            cause,
            due,
            started,
            updated,
            acceptance,
            parent,
            out,
            wide,
            halted,
            aside,
        }
    }
}

impl From<Question> for QuestionItem {
    fn from(question: Question) -> Self {
        let Question { run, step, revision, digest, group, quorum, decided_by, asked, due, reminders, .. } = question;
        Self { run, step, revision, digest, group, quorum, decided_by, asked, due, reminders }
    }
}

impl From<QuestionItem> for Question {
    fn from(item: QuestionItem) -> Self {
        let QuestionItem { run, step, revision, digest, group, quorum, decided_by, asked, due, reminders } = item;
        Self {
            run,
            step,
            revision,
            digest,
            group,
            quorum,
            decided_by,
            asked,
            due,
            reminders,
            pipeline: None,
            key: None,
            evidence: None,
        }
    }
}

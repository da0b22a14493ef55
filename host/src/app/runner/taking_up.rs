//! Taking up a run where its facts end.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::mpsc;

use super::{Drive, Shared, spawn};
use crate::{
    app::{
        actors::Command,
        facts::{FactsError, keys_of},
    },
    flow::{
        document::Document,
        machine::{self, ReplayError, Run},
    },
    model::{
        entry::Entry,
        id::{Digest, RunId},
        json::Json,
    },
    ports::journal::StreamId,
};

/// Why a run cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// Its facts cannot be read.
    #[error("its facts cannot be read")]
    Facts {
        /// Why.
        source: FactsError,
    },
    /// What it would go on from was erased.
    #[error("the personal data in it was erased, or the key to it is not there")]
    Erased,
    /// Its facts are not those of its pipeline.
    #[error("its facts do not fit its pipeline")]
    Replay {
        /// Why.
        #[from]
        source: ReplayError,
    },
    /// Its pipeline is not installed.
    #[error("its pipeline, digest {digest}, is not installed")]
    NoPipeline {
        /// The digest.
        digest: Digest,
    },
}

impl From<FactsError> for ResumeError {
    fn from(source: FactsError) -> Self {
        match source {
            FactsError::Erased => Self::Erased,
            source => Self::Facts { source },
        }
    }
}

/// Takes up a run where its facts end.
///
/// # Errors
/// If its facts cannot be read, or not by an installed pipeline.
pub async fn resume(shared: &Arc<Shared>, id: RunId) -> Result<(), ResumeError> {
    match shared.actors.enlist(id) {
        Some(commands) => take_up(shared, id, commands).await,
        None => Ok(()),
    }
}

/// The rows of the reference tables that a run's steps were given, by digest.
pub(in crate::app) async fn tables_of(
    shared: &Shared,
    entries: &[Entry],
) -> Result<HashMap<Digest, Document>, FactsError> {
    let mut tables = HashMap::new();
    for digest in machine::tables_of(entries) {
        // INVARIANT: what lies under the digest of rows is the JSON that was put there.
        let rows = Json::parse(shared.facts.fetch(digest).await?).unwrap_or_else(|_| Json::null());
        tables.insert(digest, Document::new(rows));
    }
    Ok(tables)
}

/// Takes up a run whose mailbox is there already.
///
/// # Errors
/// As [`resume`].
pub(super) async fn take_up(
    shared: &Arc<Shared>,
    id: RunId,
    commands: mpsc::UnboundedReceiver<Command>,
) -> Result<(), ResumeError> {
    let (entries, version) = shared.facts.read_whole(StreamId::Run(id)).await?;
    let digest = machine::executes(&entries).ok_or(ReplayError::NoStart { run: id })?.digest;
    let plan = shared.installation.load().plans.get(&digest).cloned();
    let tables = tables_of(shared, &entries).await?;
    let plan = plan.ok_or(ResumeError::NoPipeline { digest })?;
    let mut run = Run::replay_with(id, plan, Arc::clone(&shared.hub), &entries, tables)?;
    run.put_off(shared.grace);
    let mut drive = Drive::new(run, version, Vec::new(), commands);
    keys_of(&entries, &mut drive.keys);
    spawn(shared, drive);
    Ok(())
}

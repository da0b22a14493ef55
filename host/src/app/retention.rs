//! How long things are kept: runs that ended go to the archive after a time, and archives after another.
//!
//! What belongs together goes together: an acceptance with every run that it led to, sub-pipelines included, and only
//! when all of them have ended. A parked run has not ended; one that was undone stays for as long as events that come for
//! it open an exception, and longer while one is open. The plan is made from the journal alone, so it can be made
//! again at any time; the store does the rest (`store::disk`, `turnover.rs`).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    exceptions::Exceptions,
    facts::{Facts, FactsError},
    mailbox::KEPT_MS,
};
use crate::{
    model::{
        age::Age,
        entry::Entry,
        id::{AcceptanceId, RunId},
        timestamp::Timestamp,
    },
    ports::journal::{Position, ReadError, StreamId},
    store::disk::{ArchiveFile, Bundle, Store},
};

/// How many appends one look at the journal reads.
const PAGE: usize = 512;
/// How often a hub looks whether there is something to archive, milliseconds: an hour.
pub const PERIOD_MS: u64 = 3_600_000;
/// A hub archives by itself only when at least this part of the journal's acceptances can go, in hundredths: what stays
/// is copied, so that each copy is paid for by what goes.
const WORTH_PERCENT: usize = 30;

/// How long things are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// How long after its end a run goes to the archive; absent: never by itself.
    #[serde(default)]
    pub archive_after: Option<Age>,
    /// How long an archive is kept after the newest of what is in it; absent: for ever. Duplicates of events in it are
    /// known for as long.
    #[serde(default)]
    pub keep_archive: Option<Age>,
}

/// The instant that is so long before another.
#[must_use]
pub fn earlier(now: Timestamp, age: Age) -> Timestamp {
    Timestamp::from_millis(now.millis().saturating_sub_unsigned(age.ms))
}

/// What can go.
#[derive(Debug, Default)]
pub struct Plan {
    /// What goes to the archive.
    pub bundles: Vec<Bundle>,
    /// Acceptances in the journal, those that stay included.
    pub acceptances: usize,
}

/// What a run of the archiver did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Archived {
    /// Runs that went.
    pub runs: u64,
    /// Acceptances that went.
    pub acceptances: u64,
    /// Files that were written.
    pub files: Vec<ArchiveFile>,
    /// Archives that were dropped.
    pub dropped: u64,
    /// Length of the journal's database before and after, bytes.
    pub journal_bytes: (u64, u64),
}

/// Why nothing was archived.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The journal cannot be read.
    #[error("the journal cannot be read")]
    Facts {
        /// Why.
        #[from]
        source: FactsError,
    },
    /// The store cannot do it.
    #[error("the archive cannot be written")]
    Store {
        /// Why.
        #[from]
        source: ReadError,
    },
}

#[derive(Default)]
struct Seen {
    /// Runs that it starts, and sub-pipelines of those; whether each has ended.
    runs: HashMap<RunId, bool>,
    accepted: bool,
    newest: Timestamp,
    /// Until when an event that comes for one of them opens an exception.
    told_until: Timestamp,
}

/// What can go: everything that ended before a time, with all that belongs to it.
///
/// # Errors
/// If the journal cannot be read.
pub async fn plan(facts: &Facts, before: Timestamp) -> Result<Plan, FactsError> {
    let mut seen: HashMap<AcceptanceId, Seen> = HashMap::new();
    let mut led: HashMap<RunId, AcceptanceId> = HashMap::new();
    let exceptions = Exceptions::default();
    let mut after = Position::default();
    loop {
        let page = facts.tail(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        for stored in page {
            let newest = stored.entries.iter().filter_map(Entry::time).max().unwrap_or_default();
            let acceptance = match stored.stream {
                StreamId::Acceptance(id) => {
                    let about = seen.entry(id).or_default();
                    about.accepted = true;
                    for entry in &stored.entries {
                        if let Entry::Accepted(accepted) = entry {
                            for start in &accepted.starts {
                                about.runs.entry(start.run).or_insert(false);
                            }
                        }
                    }
                    id
                }
                StreamId::Run(run) => {
                    for entry in &stored.entries {
                        if let Entry::RunStarted(started) = entry {
                            led.insert(run, started.acceptance);
                        }
                    }
                    let Some(id) = led.get(&run).copied() else { continue };
                    exceptions.observe(run, &stored.entries);
                    for entry in &stored.entries {
                        if let Entry::WaitsUndone(undone) = entry {
                            let about = seen.entry(id).or_default();
                            about.told_until = about.told_until.max(undone.time.plus_millis(KEPT_MS));
                        }
                    }
                    let ended = seen.entry(id).or_default().runs.entry(run).or_insert(false);
                    for entry in &stored.entries {
                        match entry {
                            Entry::RunEnded { .. } => *ended = true,
                            // Whatever comes after an end takes it back.
                            Entry::Restarted { .. } | Entry::StepStarted(_) | Entry::Intent(_) => *ended = false,
                            _ => {}
                        }
                    }
                    id
                }
                _ => continue,
            };
            let about = seen.entry(acceptance).or_default();
            about.newest = about.newest.max(newest);
        }
    }
    let acceptances = seen.len();
    let mut gone: Vec<(Timestamp, Bundle)> = seen
        .into_iter()
        .filter(|(_, about)| {
            let over = about.runs.iter().all(|(run, ended)| *ended && !exceptions.has_any(*run));
            about.accepted && about.newest < before && about.told_until < before && over
        })
        .map(|(id, about)| {
            let runs = about.runs.into_keys().map(StreamId::Run);
            (about.newest, std::iter::once(StreamId::Acceptance(id)).chain(runs).collect())
        })
        .collect();
    // In the order of time, so that an archive holds a stretch of it.
    gone.sort_by_key(|(newest, _)| *newest);
    Ok(Plan { bundles: gone.into_iter().map(|(_, bundle)| bundle).collect(), acceptances })
}

/// Whether a plan is worth its copy.
#[must_use]
pub fn is_worth_it(plan: &Plan) -> bool {
    !plan.bundles.is_empty() && plan.bundles.len() * 100 >= plan.acceptances * WORTH_PERCENT
}

/// Archives what ended before a time, and drops archives whose newest is from before another.
///
/// # Errors
/// As [`RetentionError`] says; nothing is lost then.
pub async fn archive(store: &Store, plan: Plan, drop_before: Option<Timestamp>) -> Result<Archived, RetentionError> {
    let known = store.archives().await?;
    let old = |file: &&ArchiveFile| !file.dropped && drop_before.is_some_and(|before| file.to < before);
    let dropped: Vec<u32> = known.iter().filter(old).map(|file| file.file).collect();
    if plan.bundles.is_empty() && dropped.is_empty() {
        return Ok(Archived::default());
    }
    let count = dropped.len() as u64;
    let done = store.archive(plan.bundles, dropped).await?;
    Ok(Archived {
        runs: done.files.iter().map(|file| file.runs).sum(),
        acceptances: done.files.iter().map(|file| file.bundles).sum(),
        files: done.files,
        dropped: count,
        journal_bytes: (done.before_bytes, done.after_bytes),
    })
}

#[cfg(test)]
mod tests;

//! The runs about a key, wherever they are by now, for the audit log to explain.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::Hub;
use crate::{
    app::{audit::explain, facts},
    model::{entry::Entry, explanation::Explanation, id::RunId, timestamp::Timestamp},
    ports::{hub::RunFilter, journal::StreamId},
};

/// How many runs of one key are explained, the latest.
const RUNS_MAX: usize = 100;
/// How long archives are looked through at most.
const TIME_MAX: Duration = Duration::from_secs(20);

impl Hub {
    pub(super) async fn explained(&self, key: String) -> Result<Explanation, String> {
        let begun = Instant::now();
        let filter = RunFilter { key: Some(key.clone()), limit: RUNS_MAX, ..RunFilter::default() };
        let mut seen = HashSet::new();
        let mut runs = Vec::new();
        for summary in self.shared.index.list(&filter) {
            seen.insert(summary.id);
            runs.extend(self.told(summary.id, None).await);
        }
        let mut notes = Vec::new();
        if self.shared.index.has_forgotten(Timestamp::default()) {
            notes.push(
                "runs that ended so long ago that they are not listed, and are not archived, were not looked into",
            );
        }
        let mut archives = self.store.archives().await.map_err(|error| error.to_string())?;
        archives.sort_unstable_by_key(|file| std::cmp::Reverse(file.to));
        if archives.iter().any(|file| file.dropped) {
            notes.push("there were archives that have been dropped: of what lay in them, only the proof is left");
        }
        for file in archives.iter().filter(|file| !file.dropped) {
            if runs.len() >= RUNS_MAX || begun.elapsed() >= TIME_MAX {
                notes.push("older archives were not looked into");
                break;
            }
            let text = key.clone().into_bytes();
            let names = move |entries: &[bytes::Bytes]| entries.iter().any(|entry| facts::may_hold(entry, &text));
            let found = self.store.archived(file.file, names).await.map_err(|error| error.to_string())?;
            for (stream, _) in found {
                let StreamId::Run(run) = stream else { continue };
                if runs.len() < RUNS_MAX && seen.insert(run) {
                    runs.extend(self.told(run, Some(&key)).await);
                }
            }
        }
        let explained = explain::explain(&self.audit, key, runs).await.map_err(|error| error.to_string())?;
        Ok(Explanation { notes: notes.into_iter().map(str::to_owned).collect(), ..explained })
    }

    /// A run with everything that is recorded about it, if it is about the key.
    async fn told(&self, run: RunId, key: Option<&String>) -> Option<explain::Told> {
        let (entries, _) = self.shared.facts.read(StreamId::Run(run)).await.unwrap_or_default();
        let about = |entry: &Entry| matches!(entry, Entry::RunStarted(started) if Some(&started.key) == key);
        if key.is_some() && !entries.iter().any(about) {
            return None;
        }
        Some((Self::story(&self.shared, run).await?, entries))
    }
}

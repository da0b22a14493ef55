//! What still needs a connection: pipelines that are bound to it, and runs that have not ended and worked with it.

use std::collections::BTreeSet;

use super::{HubSettings, unavailable};
use crate::{
    app::installation::Installation,
    model::entry::{Entry, PluginUse},
    ports::{journal::StreamId, settings::SettingError},
};

/// How many runs are looked into.
const RUNS_EXAMINED_MAX: usize = 2_000;

impl HubSettings {
    /// Whether a connection may go.
    ///
    /// # Errors
    /// What needs it, and what to do first.
    pub(super) async fn may_go(&self, now: &Installation, name: &str) -> Result<(), SettingError> {
        let conflict = |problem: String| Err(SettingError::Conflict { problem });
        let bound = now.bindings.iter().filter(|(_, names)| names.values().any(|bound| bound == name));
        let bound: Vec<&str> = bound.map(|(pipeline, _)| pipeline.as_str()).collect();
        if !bound.is_empty() {
            return conflict(format!(
                "connection `{name}` is bound in {}: bind another one there first (`crossdock pipeline bind`)",
                bound.join(", ")
            ));
        }
        let mut revisions: BTreeSet<u64> = now.settings.revisions(name).collect();
        revisions.extend(now.connections.get(name).map(|open| open.revision));
        let open = self.shared.index.open();
        if open.len() > RUNS_EXAMINED_MAX {
            return conflict(format!(
                "{} runs have not ended, more than can be looked into ({RUNS_EXAMINED_MAX}): try again when fewer are open",
                open.len()
            ));
        }
        let mut holding = Vec::new();
        for run in open {
            let read = self.shared.facts.read(StreamId::Run(run.id)).await.map_err(|error| unavailable(&error))?;
            if read.0.iter().filter_map(used).any(|used| revisions.contains(&used.grant)) {
                holding.push(run.id.to_string());
            }
        }
        if holding.is_empty() {
            return Ok(());
        }
        let shown: Vec<&str> = holding.iter().take(5).map(String::as_str).collect();
        conflict(format!(
            "{} runs that have not ended have worked with connection `{name}` and may have to find out about or undo what \
             they did there, such as {}: let them end first",
            holding.len(),
            shown.join(", ")
        ))
    }
}

fn used(entry: &Entry) -> Option<&PluginUse> {
    match entry {
        Entry::StepStarted(started) => started.plugin.as_deref(),
        Entry::Intent(intent) => Some(&intent.plugin),
        _ => None,
    }
}

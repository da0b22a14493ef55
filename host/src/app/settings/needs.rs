//! What still needs a connection or a secret: what is bound to it, signed with it or published through it, and runs that
//! have not ended and worked with it.

use std::{collections::BTreeSet, sync::Arc};

use super::{HubSettings, unavailable};
use crate::{
    app::installation::{Installation, OpenConnection},
    model::{
        connection::SecretRef,
        entry::{Entry, PluginUse},
        id::ContractId,
    },
    ports::{journal::StreamId, settings::SettingError},
};

/// How many runs are looked into.
const RUNS_EXAMINED_MAX: usize = 2_000;
/// How many of them are named.
const RUNS_SHOWN_MAX: usize = 5;

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
        let published = self.apis.through(name);
        if !published.is_empty() {
            return conflict(format!(
                "`{}` is published through connection `{name}`: publish it through another one first (`crossdock api \
                 publish`), or end that (`crossdock api withdraw`)",
                published.iter().map(ContractId::as_str).collect::<Vec<_>>().join("`, `")
            ));
        }
        let mut revisions: BTreeSet<u64> = now.settings.revisions(name).collect();
        revisions.extend(now.connections.get(name).map(|open| open.revision));
        let holding = self.working_with(&revisions).await?;
        if holding.is_empty() {
            return Ok(());
        }
        conflict(format!(
            "{} have worked with connection `{name}` and may have to find out about or undo what they did there: let them \
             end first",
            said(&holding)
        ))
    }

    /// Whether a secret that the hub keeps may be removed.
    ///
    /// # Errors
    /// What uses it, and what to do first.
    pub(super) async fn may_be_forgotten(&self, name: &str) -> Result<(), SettingError> {
        let conflict = |problem: String| Err(SettingError::Conflict { problem });
        let users = self.users_of(name);
        if !users.is_empty() {
            return conflict(format!("secret `{name}` is used by {}: change that first", users.join(", ")));
        }
        // Runs go on with the system that they began with, though their connection has moved since.
        let now = self.shared.installation.load_full();
        let uses = |reference: &SecretRef| matches!(reference, SecretRef::Store(used) if used == name);
        let with = |open: &Arc<OpenConnection>| open.connection.references().any(|(_, reference)| uses(reference));
        let earlier = now.settings.earlier.iter().filter(|(_, opened)| opened.iter().any(with));
        let revisions: BTreeSet<u64> = earlier.clone().map(|(revision, _)| *revision).collect();
        let holding = self.working_with(&revisions).await?;
        if holding.is_empty() {
            return Ok(());
        }
        let connections: BTreeSet<&str> =
            earlier.flat_map(|(_, opened)| opened).map(|open| open.name.as_str()).collect();
        let connections: Vec<&str> = connections.into_iter().collect();
        conflict(format!(
            "secret `{name}` is what connection `{}` showed before it was changed, and {} go on with what it was: let them \
             end first",
            connections.join("`, `"),
            said(&holding)
        ))
    }

    /// The runs that have not ended and worked with one of these revisions.
    async fn working_with(&self, revisions: &BTreeSet<u64>) -> Result<Vec<String>, SettingError> {
        if revisions.is_empty() {
            return Ok(Vec::new());
        }
        let open = self.shared.index.open();
        if open.len() > RUNS_EXAMINED_MAX {
            let problem = format!(
                "{} runs have not ended, more than can be looked into ({RUNS_EXAMINED_MAX}): try again when fewer are open",
                open.len()
            );
            return Err(SettingError::Conflict { problem });
        }
        let mut holding = Vec::new();
        for run in open {
            let read = self.shared.facts.read(StreamId::Run(run.id)).await.map_err(|error| unavailable(&error))?;
            if read.0.iter().filter_map(used).any(|used| revisions.contains(&used.grant)) {
                holding.push(run.id.to_string());
            }
        }
        Ok(holding)
    }
}

/// How many runs, and some of them.
fn said(runs: &[String]) -> String {
    let shown: Vec<&str> = runs.iter().take(RUNS_SHOWN_MAX).map(String::as_str).collect();
    format!("{} runs that have not ended (such as {})", runs.len(), shown.join(", "))
}

fn used(entry: &Entry) -> Option<&PluginUse> {
    match entry {
        Entry::StepStarted(started) => started.plugin.as_deref(),
        Entry::Intent(intent) => Some(&intent.plugin),
        _ => None,
    }
}

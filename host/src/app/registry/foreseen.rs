//! What a change takes away from whoever depends on it, or changes under their hands: looked at before it is made, and
//! changes nothing. Whoever knows already says so, and is not kept waiting for the look.

use semver::Version;

use super::{Registry, cause, line_of, named, schemas::breaks_senders};
use crate::{
    model::{
        id::{KeyId, PluginId},
        registry::{Act, VersionState},
    },
    policy::{gate::version::Bump, lifecycle},
    ports::{
        registry::{ChangeRequest, RegistryError, Who},
        schemas::{Addition, SchemaError},
    },
};

/// Something that is taken away, or that others find changed.
pub(in crate::app) struct Taken {
    /// The version of a plugin that others depend on.
    pub(in crate::app) version: (PluginId, Version),
    /// What is in use, in words.
    pub(in crate::app) what: String,
    /// What can be done first instead.
    pub(in crate::app) next: &'static str,
}

impl Registry {
    /// The version that a change takes away from whoever depends on it, or puts another in the place of that breaks them.
    ///
    /// # Errors
    /// Why the change could not be made anyway.
    pub(in crate::app) async fn taken(&self, request: &ChangeRequest) -> Result<Option<Taken>, RegistryError> {
        cause(&request.who)?;
        let now = self.shared.installation.load_full();
        let id = &request.plugin;
        let taken = |version: &Version, what: String, next: &'static str| {
            Some(Taken { version: (id.clone(), version.clone()), what, next })
        };
        match &request.act {
            Act::Yank { version } | Act::Revoke { version } | Act::Deprecate { version, .. } => {
                self.plan(&now, request, None).await?;
                Ok(taken(version, named(id, version), "promote another version"))
            }
            Act::Promote { version, .. } | Act::Canary { version, .. } => {
                let active = line_of(&now, id, request.pipeline.as_deref()).active;
                let Some(active) = active.filter(|active| active != version) else { return Ok(None) };
                // What cannot be compared is for the change itself to refuse.
                let there = now.version(id, version).zip(now.version(id, &active));
                let Some(_) = there.filter(|_| lifecycle::is_bindable(now.state(id, version))) else { return Ok(None) };
                // A revoked version serves nobody: whatever comes in its place breaks nobody any more.
                if now.state(id, &active) == VersionState::Revoked {
                    return Ok(None);
                }
                let found = self.difference(id, &active, version).await?;
                let broken = found.findings.iter().find(|finding| finding.bump == Some(Bump::Major));
                // To go back to an earlier one is what a rollback does, which asks nothing either.
                let Some(broken) = broken.filter(|_| active < *version) else { return Ok(None) };
                let what = format!(
                    "{} breaks who relies on {active} ({} {}: {}), which",
                    named(id, version),
                    broken.rule,
                    broken.place,
                    broken.found
                );
                Ok(taken(&active, what, "`crossdock plugin diff` tells what changes for them"))
            }
            _ => Ok(None),
        }
    }

    /// The versions that stop when a key is revoked.
    ///
    /// # Errors
    /// If no such key is trusted for anything.
    pub(in crate::app) fn taken_with_key(
        &self,
        id: KeyId,
        who: &Who,
    ) -> Result<Vec<(PluginId, Version)>, RegistryError> {
        cause(who)?;
        self.known_key(id)?;
        Ok(self.lost_with(id))
    }

    /// Whether a schema that may be registered refuses what is sent today.
    ///
    /// # Errors
    /// If it may not be registered.
    pub(in crate::app) fn breaks(&self, addition: &Addition) -> Result<bool, SchemaError> {
        let added = self.check_schema(addition)?;
        Ok(!added.unchanged && breaks_senders(&self.shared.installation.load().events, addition))
    }
}

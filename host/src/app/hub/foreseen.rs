//! Who depends on what is taken away, or changed under their hands: nobody does that without having seen it. Whoever says
//! that they have (`accept_impact`) is not kept waiting: a revocation acts at once.

use semver::Version;

use super::Hub;
use crate::{
    app::registry::foreseen::Taken,
    model::id::{KeyId, PluginId},
    ports::{
        impact::{Dependants, Impact, InUse, Subject},
        registry::{ChangeRequest, RegistryError, Who},
        schemas::{Addition, Retirement, SchemaError},
    },
};

/// What can be done before events are refused.
const TELL_SENDERS: &str = "tell them what to send and expect instead";

impl Hub {
    /// What depends on something, here and outside.
    pub(super) async fn impact_of(&self, subject: &Subject) -> Result<Impact, RegistryError> {
        let mut impact = self.registry.impact(subject).await?;
        let through = impact.connections.iter().flat_map(|connection| self.apis.through(connection));
        impact.apis = through.map(|contract| contract.to_string()).collect();
        impact.subscriptions = self.subscriptions.impacted(subject);
        Ok(impact)
    }

    async fn impact_of_version(&self, (id, version): &(PluginId, Version)) -> Result<Impact, RegistryError> {
        self.impact_of(&Subject::Plugin { id: id.clone(), version: Some(version.clone()) }).await
    }

    /// Refuses a change to a plugin if somebody depends on what it takes away, or breaks, and whoever asks has not said that
    /// they know.
    pub(super) async fn foresee(&self, request: &ChangeRequest) -> Result<(), RegistryError> {
        if request.accept_impact {
            return Ok(());
        }
        let Some(Taken { version, what, next }) = self.registry.taken(request).await? else { return Ok(()) };
        let impact = self.impact_of_version(&version).await?;
        Ok(InUse::unless_free(what, next, format!("{}@{}", version.0, version.1), impact)?)
    }

    /// The same of a key, with everything that only it signed.
    pub(super) async fn foresee_key(&self, key: KeyId, who: &Who) -> Result<(), RegistryError> {
        let mut dependants = Vec::new();
        for version in self.registry.taken_with_key(key, who)? {
            let impact = self.impact_of_version(&version).await?;
            if impact.depends() {
                dependants.push(Dependants { of: format!("{}@{}", version.0, version.1), impact });
            }
        }
        if dependants.is_empty() {
            return Ok(());
        }
        let what = format!("what key {key} alone signed");
        let next = "sign it with another trusted key, or promote a version that is";
        Err(Box::new(InUse { what, next, dependants }).into())
    }

    /// The same of an event type whose events are to be refused one day.
    pub(super) async fn foresee_retirement(&self, retirement: &Retirement, who: &Who) -> Result<(), SchemaError> {
        if retirement.accept_impact || retirement.withdrawn || retirement.sunset.is_none() {
            return Ok(());
        }
        self.registry.check_retirement(retirement, who)?;
        self.events_are_free(&retirement.event_type).await
    }

    /// The same of a schema that refuses what is sent today.
    pub(super) async fn foresee_schema(&self, addition: &Addition) -> Result<(), SchemaError> {
        if addition.accept_impact || !self.registry.breaks(addition)? {
            return Ok(());
        }
        self.events_are_free(&addition.event_type).await
    }

    async fn events_are_free(&self, event_type: &str) -> Result<(), SchemaError> {
        let impact = self.impact_of(&Subject::EventType(event_type.to_owned())).await;
        let impact = impact.map_err(|error| SchemaError::Unavailable { reason: error.to_string() })?;
        let what = format!("event type `{event_type}`");
        Ok(InUse::unless_free(what, TELL_SENDERS, event_type.to_owned(), impact)?)
    }
}

//! The registry, as the surfaces see it.

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use semver::Version;
use serde_json::Value;

use super::Hub;
use crate::{
    model::{
        id::{KeyId, PluginId},
        registry::Proposal,
        replay::Report,
    },
    ports::impact::{Impact, Subject},
    ports::registry::{
        ChangeRequest, Changed, Effective, LineView, PluginDetail, Published, Registry, RegistryError, ReplayRequest,
        TrustView, Who,
    },
};

impl Registry for Hub {
    fn publish(
        &self,
        plugin: PluginId,
        upload: Bytes,
        draft: bool,
        who: Who,
    ) -> BoxFuture<'_, Result<Published, RegistryError>> {
        self.registry.publish(plugin, upload, draft, who).boxed()
    }

    fn check(&self, plugin: PluginId, upload: Bytes) -> BoxFuture<'_, Result<Value, RegistryError>> {
        let report = self.registry.check_upload(plugin, upload);
        // INVARIANT: a report has a JSON form.
        report.map(|report| Ok(serde_json::to_value(report?).unwrap_or_default())).boxed()
    }

    fn difference<'a>(
        &'a self,
        id: &'a PluginId,
        from: &'a Version,
        to: &'a Version,
    ) -> BoxFuture<'a, Result<Value, RegistryError>> {
        let found = self.registry.difference(id, from, to);
        // INVARIANT: what differs has a JSON form.
        found.map(|found| Ok(serde_json::to_value(found?).unwrap_or_default())).boxed()
    }

    fn plugin(&self, id: &PluginId) -> Result<PluginDetail, RegistryError> {
        self.registry.plugin(id)
    }

    fn bindings(&self) -> Vec<LineView> {
        self.registry.bindings()
    }

    fn change(&self, request: ChangeRequest) -> BoxFuture<'_, Result<Changed, RegistryError>> {
        async move {
            self.foresee(&request).await?;
            self.registry.change(request).await
        }
        .boxed()
    }

    fn proposals(&self) -> BoxFuture<'_, Result<Vec<Proposal>, RegistryError>> {
        self.registry.proposals().boxed()
    }

    fn decide<'a>(
        &'a self,
        id: &'a str,
        approved: bool,
        who: Who,
    ) -> BoxFuture<'a, Result<Option<Changed>, RegistryError>> {
        self.registry.decide(id, approved, who).boxed()
    }

    fn impact<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Impact, RegistryError>> {
        self.impact_of(subject).boxed()
    }

    fn replay(&self, request: ReplayRequest) -> BoxFuture<'_, Result<Report, RegistryError>> {
        async move { self.registry.replay(&request).await }.boxed()
    }

    fn trust(&self) -> TrustView {
        self.registry.trust_view()
    }

    fn namespaces_of(&self, key: KeyId) -> Vec<String> {
        self.registry.namespaces(key)
    }

    fn revoke_key(&self, key: KeyId, who: Who, accept_impact: bool) -> BoxFuture<'_, Result<TrustView, RegistryError>> {
        async move {
            if !accept_impact {
                self.foresee_key(key, &who).await?;
            }
            self.registry.revoke_key(key, &who).await
        }
        .boxed()
    }

    fn effective(&self, id: &PluginId, version: Option<&Version>) -> Result<Effective, RegistryError> {
        self.registry.effective(id, version)
    }
}

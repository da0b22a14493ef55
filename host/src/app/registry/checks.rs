//! Whether a version may serve: its component is as it was published, compiles, starts, passes its golden tests, and fits
//! what pipelines and connections ask of it.

use std::sync::Arc;

use super::{Registry, unavailable};
use crate::{
    app::{
        gate::with_source,
        golden,
        install::sources::reads,
        installation::{Installation, POLLING, Plugin},
    },
    model::pipeline::Origin,
    ports::{invoker::Component, registry::RegistryError},
};

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// What holds, in words.
    pub(super) notes: Vec<String>,
    /// What does not, and could only be forced.
    pub(super) against: Vec<String>,
}

impl Registry {
    /// Looks at a version that is to serve. What can never serve is an error.
    pub(super) async fn check(
        &self,
        now: &Installation,
        plugin: &Arc<Plugin>,
        pipeline: Option<&str>,
    ) -> Result<Found, RegistryError> {
        let mut found = Found::default();
        let digest = plugin.inspection.digest;
        self.load(plugin).await?;
        found.notes.push(format!("component {digest} is as it was published, compiles and starts"));
        if plugin.manifest.kind.is_pure() {
            self.golden(plugin, &mut found).await?;
            pipelines(now, plugin, pipeline, &mut found);
        } else {
            self.connections(now, plugin, &mut found)?;
        }
        // Deliveries are read by the version that serves everywhere.
        if pipeline.is_none() {
            found.against.extend(unread(now, plugin));
        }
        Ok(found)
    }

    /// Makes a version callable that may not be any more. Loaded when it was published, as a rule; then this changes
    /// nothing.
    pub(super) async fn load(&self, plugin: &Plugin) -> Result<(), RegistryError> {
        let digest = plugin.inspection.digest;
        let refused = |problem: String| RegistryError::Refused { problem, findings: Vec::new() };
        let wasm = self.installer.blobs.get(digest).await.map_err(|error| unavailable(&error))?;
        let wasm = wasm.ok_or_else(|| refused(format!("component {digest} is missing from the store")))?;
        let component = Component { digest, wasm, assets: self.installer.assets_of(&plugin.manifest) };
        self.installer.invoker.load(component).await.map(drop).map_err(|error| refused(with_source(&error)))
    }

    async fn golden(&self, plugin: &Plugin, found: &mut Found) -> Result<(), RegistryError> {
        let Some(kept) = plugin.golden else {
            found.notes.push("it has no golden tests".to_owned());
            return Ok(());
        };
        let tests = self.installer.blobs.get(kept).await.map_err(|error| unavailable(&error))?.unwrap_or_default();
        let ran = golden::rerun(&plugin.manifest, plugin.inspection.digest, &tests, &*self.installer.invoker).await;
        let failed = ran.iter().filter(|golden| !golden.passed);
        let failed: Vec<String> = failed
            .map(|golden| {
                let difference = golden.difference.clone().unwrap_or_default();
                format!("golden test `{}` fails: {difference}", golden.name)
            })
            .collect();
        if failed.is_empty() {
            found.notes.push(format!("{} golden tests pass", ran.len()));
        }
        found.against.extend(failed);
        Ok(())
    }

    /// Every connection of the line has to be servable by it, with all that pipelines ask of that connection.
    fn connections(&self, now: &Installation, plugin: &Arc<Plugin>, found: &mut Found) -> Result<(), RegistryError> {
        let id = &plugin.manifest.id;
        for (name, open) in now.connections.iter().filter(|(_, open)| open.connection.plugin == *id) {
            let opened = self.installer.open_as(Arc::clone(plugin), name, open.connection.clone(), open.revision);
            opened.map_err(super::install_refused)?;
            found.notes.push(format!("connection `{name}` fits its settings and secrets"));
            for (pipeline, installed) in &now.pipelines {
                let aliases = now.bindings.get(pipeline).into_iter().flatten();
                for (alias, _) in aliases.filter(|(_, bound)| *bound == name) {
                    let contract = installed.plan.uses.get(alias);
                    if let Some(contract) = contract.filter(|used| !plugin.manifest.implements.contains(*used)) {
                        found
                            .against
                            .push(format!("pipeline `{pipeline}` needs `{contract}`, which it does not implement"));
                    }
                    let polled = installed.definition.triggers.iter().any(|trigger| {
                        matches!(&trigger.origin, Origin::Poll { connection, .. } if connection.value == *alias)
                    });
                    if polled && !plugin.exports(POLLING) {
                        found
                            .against
                            .push(format!("pipeline `{pipeline}` polls `{name}`, and it exports no `{POLLING}`"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The webhook sources of its line whose deliveries it could not read.
pub(in crate::app) fn unread(now: &Installation, plugin: &Plugin) -> impl Iterator<Item = String> {
    let own = now.sources.iter().filter(|(_, source)| source.plugin == plugin.manifest.id);
    own.filter_map(|(name, source)| Some(format!("webhook source `{name}`: {}", reads(plugin, source).err()?)))
}

/// Every pipeline that would be served by it has to take that version.
fn pipelines(now: &Installation, plugin: &Plugin, only: Option<&str>, found: &mut Found) {
    let (id, version) = (&plugin.manifest.id, &plugin.manifest.version);
    for (name, pipeline) in &now.pipelines {
        let own = now.lines.get(id).is_some_and(|lines| lines.pipelines.contains_key(name));
        if only.map_or(own, |only| only != name) {
            continue;
        }
        for (step, called) in pipeline.plan.plugins().filter(|(_, called)| called.id == *id) {
            if !called.range.matches(version) {
                found.against.push(format!(
                    "step `{step}` of pipeline `{name}` takes `{}`: publish a pipeline that takes {version}, or bind that \
                     pipeline to a version of its own",
                    called.range
                ));
            }
        }
    }
}

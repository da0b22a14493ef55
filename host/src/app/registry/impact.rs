//! What depends on a plugin or on one version of it: pipelines and their owners, connections, sources, and runs that have
//! not ended. Asked before a version is taken away.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;

use super::{Registry, plan, unavailable};
use crate::{
    app::installation::{Installation, OpenConnection, Pipeline},
    model::{
        entry::{Entry, PluginUse},
        id::PluginId,
        registry::Trial,
    },
    ports::{
        journal::StreamId,
        registry::{Impact, ImpactedPipeline, RegistryError},
    },
};

/// How many runs are looked into, those that began first.
const RUNS_EXAMINED_MAX: usize = 500;
/// How many runs are named.
const RUNS_NAMED_MAX: usize = 20;

impl Registry {
    /// What depends on a line, or on one version of it.
    pub(super) async fn impact_of(
        &self,
        now: &Installation,
        id: &PluginId,
        version: Option<&Version>,
    ) -> Result<Impact, RegistryError> {
        if let Some(version) = version {
            plan::find(now, id, version)?;
        }
        let mut impact = Impact { version: version.cloned(), ..Impact::default() };
        let open = self.shared.index.open();
        let mut runs_of: BTreeMap<&str, usize> = BTreeMap::new();
        for run in &open {
            *runs_of.entry(run.pipeline.as_str()).or_default() += 1;
        }
        let mut names = BTreeSet::new();
        for (name, pipeline) in &now.pipelines {
            let (steps, serves) = calls(now, name, pipeline, id, version);
            if steps.is_empty() {
                continue;
            }
            names.insert(name.as_str());
            let used = &pipeline.plan.pipeline;
            impact.pipelines.push(ImpactedPipeline {
                pipeline: name.clone(),
                version: used.version.clone(),
                owner: pipeline.definition.owner.clone(),
                steps: steps.into_iter().collect(),
                serves,
                runs_open: runs_of.get(name.as_str()).copied().unwrap_or_default(),
            });
        }
        let served =
            now.connections.values().filter(|open| open.connection.plugin == *id && is_served(now, open, version));
        impact.connections = served.map(|open| open.name.clone()).collect();
        let bound = now.bound_version(id, None).map(|plugin| &plugin.manifest.version);
        let reads = version.is_none() || version == bound;
        let sources = now.sources.iter().filter(|(_, source)| reads && source.plugin == *id);
        impact.sources = sources.map(|(name, _)| name.clone()).collect();

        let depend = open.iter().filter(|run| names.contains(run.pipeline.as_str()));
        let depend: Vec<_> = depend.map(|run| run.id).collect();
        impact.runs_open = depend.len();
        for run in depend.into_iter().take(RUNS_EXAMINED_MAX) {
            let (entries, _) = self.shared.facts.read(StreamId::Run(run)).await.map_err(|error| unavailable(&error))?;
            impact.runs_examined += 1;
            if entries.iter().filter_map(used).any(|used| names_version(used, id, version)) {
                impact.runs_holding += 1;
                if impact.runs.len() < RUNS_NAMED_MAX {
                    impact.runs.push(run);
                }
            }
        }
        Ok(impact)
    }
}

/// The steps of a pipeline that call a plugin, and whether the version serves one of them now.
fn calls(
    now: &Installation,
    name: &str,
    pipeline: &Pipeline,
    id: &PluginId,
    version: Option<&Version>,
) -> (BTreeSet<String>, bool) {
    let pure = pipeline.plan.plugins().filter(|(_, called)| called.id == *id).map(|(step, _)| step.to_owned());
    let mut steps: BTreeSet<String> = pure.collect();
    let mut serves = !steps.is_empty() && serves_line(now, id, Some(name), version);
    for (step, alias) in pipeline.plan.connections() {
        let Ok(open) = now.connection(name, alias) else { continue };
        if open.connection.plugin == *id {
            steps.insert(step.to_owned());
            serves |= is_served(now, open, version);
        }
    }
    (steps, serves)
}

fn is_served(now: &Installation, open: &OpenConnection, version: Option<&Version>) -> bool {
    version.is_none_or(|version| open.plugin.manifest.version == *version)
        || version.is_some_and(|version| is_canary(now, &open.connection.plugin, None, version))
}

fn serves_line(now: &Installation, id: &PluginId, pipeline: Option<&str>, version: Option<&Version>) -> bool {
    let Some(version) = version else { return true };
    now.bound_version(id, pipeline).is_some_and(|plugin| plugin.manifest.version == *version)
        || is_canary(now, id, pipeline, version)
}

fn is_canary(now: &Installation, id: &PluginId, pipeline: Option<&str>, version: &Version) -> bool {
    now.line(id, pipeline)
        .and_then(|line| line.line.candidate.as_ref())
        .is_some_and(|candidate| candidate.version == *version && matches!(candidate.trial, Trial::Canary { .. }))
}

fn used(entry: &Entry) -> Option<&PluginUse> {
    match entry {
        Entry::StepStarted(started) => started.plugin.as_deref(),
        Entry::Intent(intent) => Some(&intent.plugin),
        _ => None,
    }
}

fn names_version(used: &PluginUse, id: &PluginId, version: Option<&Version>) -> bool {
    used.id == *id && version.is_none_or(|version| version.to_string() == used.version)
}

//! What depends on a plugin or one version of it, on a host, or on an event type: pipelines and their owners, connections,
//! sources, and runs that have not ended. Asked before something is taken away.
//!
//! A run that a step of another started counts until that one has ended: it may have to be undone.
//!
//! Runs go on with the pipeline version and the systems that they began with. So it is their own plans and facts that tell
//! what they depend on, and not only what serves by now.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use semver::Version;

use super::{Registry, plan, unavailable};
use crate::{
    app::installation::{Installation, OpenConnection, Pipeline},
    flow::plan::{Action, Plan},
    model::{
        entry::{Entry, PluginUse},
        id::PluginId,
        manifest::Kind,
        pipeline::Origin as TriggerOrigin,
        registry::Trial,
    },
    policy::reach::{Host, Reach},
    ports::{
        impact::{Impact, ImpactedPipeline, Subject},
        journal::StreamId,
        registry::RegistryError,
    },
};

/// How many runs are looked into, those that began first.
const RUNS_EXAMINED_MAX: usize = 2_000;
/// How many runs are named.
const RUNS_NAMED_MAX: usize = 20;

/// What a pipeline has to do with it.
#[derive(Default)]
struct Part {
    /// The steps.
    steps: BTreeSet<String>,
    /// For an event type: what it is to the pipeline.
    relations: BTreeSet<&'static str>,
    /// Whether that holds now.
    serves: bool,
}

/// What runs have to do with it.
struct Runs<'a> {
    /// Whether a run of this plan may.
    may: &'a (dyn Fn(&Plan) -> bool + Sync),
    /// Whether one has, as a record of a call says; absent: whoever may, does.
    has: Option<&'a (dyn Fn(&PluginUse) -> bool + Sync)>,
}

impl Registry {
    /// What depends on something.
    pub(in crate::app) async fn impact(&self, subject: &Subject) -> Result<Impact, RegistryError> {
        let now = self.shared.installation.load_full();
        match subject {
            Subject::Plugin { id, version } => self.impact_of(&now, id, version.as_ref()).await,
            Subject::Host(host) => self.impact_of_host(&now, host).await,
            Subject::EventType(name) => self.impact_of_event(&now, name).await,
        }
    }

    /// What depends on a line, or on one version of it.
    pub(super) async fn impact_of(
        &self,
        now: &Installation,
        id: &PluginId,
        version: Option<&Version>,
    ) -> Result<Impact, RegistryError> {
        let versions = now.plugins.get(id).ok_or_else(|| super::views::unknown(now, id))?;
        if let Some(version) = version {
            plan::find(now, id, version)?;
        }
        let mut impact = Impact { version: version.cloned(), ..Impact::default() };
        let served =
            now.connections.values().filter(|open| open.connection.plugin == *id && is_served(now, open, version));
        impact.connections = served.map(|open| open.name.clone()).collect();
        let bound = now.bound_version(id, None).map(|plugin| &plugin.manifest.version);
        let reads = version.is_none() || version == bound;
        let sources = now.sources.iter().filter(|(_, source)| reads && source.plugin == *id);
        impact.sources = sources.map(|(name, _)| name.clone()).collect();

        let connects = versions.values().any(|plugin| plugin.manifest.kind == Kind::Connector);
        let may = |plan: &Plan| match connects {
            true => plan.connections().next().is_some(),
            false => plan.plugins().any(|(_, called)| called.id == *id),
        };
        let has = |used: &PluginUse| names_version(used, id, version);
        let part = |name: &str, pipeline: &Pipeline| calls(now, name, pipeline, id, version);
        self.collect(now, &mut impact, part, Runs { may: &may, has: Some(&has) }).await?;
        Ok(impact)
    }

    /// What reaches a host.
    async fn impact_of_host(&self, now: &Installation, text: &str) -> Result<Impact, RegistryError> {
        let host = Host::parse(text).map_err(|error| RegistryError::Invalid { problem: error.to_string() })?;
        let reaches =
            |open: &OpenConnection| Reach::of(&open.connection, &open.plugin.manifest.capabilities.http).has(&host);
        let mut impact = Impact::default();
        let reaching = now.connections.values().filter(|open| reaches(open));
        impact.connections = reaching.map(|open| open.name.clone()).collect();
        let plugins = now.plugins.values().flat_map(BTreeMap::values);
        let named = plugins.filter(|plugin| {
            let origins = plugin.manifest.capabilities.http.iter().map(|capability| capability.origin.as_str());
            origins.into_iter().any(|origin| host.is_of(origin))
        });
        impact.plugins = named.map(|plugin| format!("{}@{}", plugin.manifest.id, plugin.manifest.version)).collect();

        let earlier = now.settings.earlier.values().flatten();
        let revisions: BTreeSet<u64> =
            now.connections.values().chain(earlier).filter(|open| reaches(open)).map(|open| open.revision).collect();
        let may = |plan: &Plan| plan.connections().next().is_some();
        let has = |used: &PluginUse| used.grant > 0 && revisions.contains(&used.grant);
        let connections = impact.connections.clone();
        let part = |name: &str, pipeline: &Pipeline| through(now, name, pipeline, &connections);
        self.collect(now, &mut impact, part, Runs { may: &may, has: Some(&has) }).await?;
        Ok(impact)
    }

    /// What has to do with an event type, whichever version of its schema: which one an event is held to, its sender says.
    async fn impact_of_event(&self, now: &Installation, name: &str) -> Result<Impact, RegistryError> {
        let plugins = now.plugins.values().flat_map(BTreeMap::values);
        let bring = plugins.filter(|plugin| plugin.manifest.produces.iter().any(|produced| produced == name));
        let plugins = bring.map(|plugin| format!("{}@{}", plugin.manifest.id, plugin.manifest.version)).collect();
        let sources = now.sources.iter().filter(|(_, source)| source.types.iter().any(|of| of == name));
        let sources = sources.map(|(source, _)| source.clone()).collect();
        let mut impact = Impact { plugins, sources, ..Impact::default() };
        let may =
            |plan: &Plan| plan.signals().any(|signal| signal.event_type == name) || emits(plan, name).next().is_some();
        let part = |_: &str, pipeline: &Pipeline| about(&pipeline.plan, name);
        self.collect(now, &mut impact, part, Runs { may: &may, has: None }).await?;
        Ok(impact)
    }

    /// The pipelines that serve and have to do with it, and the runs, whichever version they are of.
    async fn collect(
        &self,
        now: &Installation,
        impact: &mut Impact,
        part: impl Fn(&str, &Pipeline) -> Part,
        runs: Runs<'_>,
    ) -> Result<(), RegistryError> {
        let open = self.shared.index.open();
        let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
        for run in &open {
            *counts.entry((&run.pipeline, &run.pipeline_version)).or_default() += 1;
        }
        let mut listed = BTreeSet::new();
        for (name, pipeline) in &now.pipelines {
            let Part { steps, relations, serves } = part(name, pipeline);
            if steps.is_empty() && relations.is_empty() {
                continue;
            }
            let version = pipeline.plan.pipeline.version.clone();
            impact.pipelines.push(ImpactedPipeline {
                owner: pipeline.definition.owner.clone(),
                steps: steps.into_iter().collect(),
                relations: relations.into_iter().collect(),
                serves,
                runs_open: counts.get(&(name.as_str(), version.as_str())).copied().unwrap_or_default(),
                pipeline: name.clone(),
                version: version.clone(),
            });
            listed.insert((name.clone(), version));
        }
        // A plan that is not known any more may do anything.
        let mut may: HashMap<(&str, &str), bool> = HashMap::new();
        for plan in now.plans.values() {
            let of = (plan.pipeline.name.as_str(), plan.pipeline.version.as_str());
            *may.entry(of).or_default() |= (runs.may)(plan);
        }
        // What such a run called may be called again to undo it, with the run that waited for it.
        let undoable = if runs.has.is_some() { self.shared.index.undoable() } else { Vec::new() };
        let depend = open
            .iter()
            .chain(&undoable)
            .filter(|run| may.get(&(run.pipeline.as_str(), run.pipeline_version.as_str())).copied().unwrap_or(true));
        let mut beside: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for run in depend {
            impact.runs_open += 1;
            let steps = match runs.has {
                None => BTreeSet::new(),
                Some(_) if impact.runs_examined >= RUNS_EXAMINED_MAX => continue,
                Some(has) => {
                    let read = self.shared.facts.read(StreamId::Run(run.id)).await;
                    let (entries, _) = read.map_err(|error| unavailable(&error))?;
                    if run.state.is_ended() && is_detached(&entries) {
                        impact.runs_open -= 1;
                        continue;
                    }
                    entries.iter().filter_map(used).filter(|(_, used)| has(used)).map(|(step, _)| step).collect()
                }
            };
            impact.runs_examined += 1;
            if runs.has.is_some() && steps.is_empty() {
                continue;
            }
            impact.runs_holding += 1;
            if impact.runs.len() < RUNS_NAMED_MAX {
                impact.runs.push(run.id);
            }
            let of = (run.pipeline.clone(), run.pipeline_version.clone());
            if !listed.contains(&of) {
                beside.entry(of).or_default().extend(steps);
            }
        }
        for ((pipeline, version), steps) in beside {
            let owner = now.pipelines.get(&pipeline).map(|serving| serving.definition.owner.clone());
            impact.pipelines.push(ImpactedPipeline {
                owner: owner.unwrap_or_default(),
                steps: steps.into_iter().collect(),
                relations: Vec::new(),
                serves: false,
                runs_open: counts.get(&(pipeline.as_str(), version.as_str())).copied().unwrap_or_default(),
                pipeline,
                version,
            });
        }
        Ok(())
    }
}

/// The steps of a pipeline that call a plugin, and whether the version serves one of them now.
fn calls(now: &Installation, name: &str, pipeline: &Pipeline, id: &PluginId, version: Option<&Version>) -> Part {
    let pure = pipeline.plan.plugins().filter(|(_, called)| called.id == *id).map(|(step, _)| step.to_owned());
    let steps: BTreeSet<String> = pure.collect();
    let serves = !steps.is_empty() && serves_line(now, id, Some(name), version);
    let mut part = Part { steps, serves, ..Part::default() };
    for (step, open) in connected(now, name, pipeline) {
        if open.connection.plugin == *id {
            part.steps.insert(step.to_owned());
            part.serves |= is_served(now, open, version);
        }
    }
    part
}

/// The steps of a pipeline that go through one of these connections.
fn through(now: &Installation, name: &str, pipeline: &Pipeline, connections: &[String]) -> Part {
    let reaching = connected(now, name, pipeline).into_iter().filter(|(_, open)| connections.contains(&open.name));
    let steps: BTreeSet<String> = reaching.map(|(step, _)| step.to_owned()).collect();
    Part { serves: !steps.is_empty(), steps, ..Part::default() }
}

/// The steps of a pipeline that go through a connection as its names are bound now; a poll is a step of its own.
fn connected<'a>(now: &'a Installation, name: &str, pipeline: &'a Pipeline) -> Vec<(&'a str, &'a Arc<OpenConnection>)> {
    let polls = pipeline.definition.triggers.iter().filter_map(|trigger| match &trigger.origin {
        TriggerOrigin::Poll { connection, .. } => Some(("poll", connection.value.as_str())),
        _ => None,
    });
    let called = pipeline.plan.connections().chain(polls);
    called.filter_map(|(step, alias)| Some((step, now.connection(name, alias).ok()?))).collect()
}

/// What an event type is to a pipeline.
fn about(plan: &Plan, event_type: &str) -> Part {
    let mut part = Part { serves: true, ..Part::default() };
    if plan.triggers.iter().any(|trigger| trigger.event_type == event_type) {
        part.relations.insert("starts");
    }
    for node in plan.nodes() {
        if node.signals().iter().any(|signal| signal.event_type == event_type) {
            part.relations.insert("waits");
            part.steps.insert(node.id.clone());
        }
    }
    for step in emits(plan, event_type) {
        part.relations.insert("sends");
        part.steps.insert(step.to_owned());
    }
    part
}

/// The steps that send events of a type.
fn emits<'a>(plan: &'a Plan, wanted: &'a str) -> impl Iterator<Item = &'a str> {
    plan.nodes().filter_map(move |node| match &node.action {
        Action::Emit { event_type, .. } if event_type == wanted => Some(node.id.as_str()),
        _ => None,
    })
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

/// Whether nobody waits for a run, nor undoes it.
fn is_detached(entries: &[Entry]) -> bool {
    let parent = entries.iter().find_map(|entry| match entry {
        Entry::RunStarted(started) => Some(started.parent.as_ref()),
        _ => None,
    });
    parent.flatten().is_none_or(|parent| parent.detached)
}

/// The step that a record of a call is about, and what was called.
fn used(entry: &Entry) -> Option<(String, &PluginUse)> {
    match entry {
        Entry::StepStarted(started) => Some((started.step.clone(), started.plugin.as_deref()?)),
        Entry::Intent(intent) => Some((intent.step.clone(), &intent.plugin)),
        _ => None,
    }
}

fn names_version(used: &PluginUse, id: &PluginId, version: Option<&Version>) -> bool {
    used.id == *id && version.is_none_or(|version| version.to_string() == used.version)
}

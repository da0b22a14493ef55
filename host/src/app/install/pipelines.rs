//! Pipelines: loaded at a start, declared by an operator's configuration, bound to connections. What people do with their
//! versions is in `app::registry::pipelines`.
//!
//! A configuration decides which version serves until somebody promotes one. From then on it only brings versions in.

use std::{collections::BTreeMap, sync::Arc};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::{InstallError, Installer, copy, read};
use crate::{
    app::installation::{Installation, POLLING, Pipeline, PipelineVersion},
    flow::{
        language::{self, Environment},
        plan::compile,
    },
    model::{
        audit::Cause,
        pipeline::Origin,
        registry::VersionState,
        review::{Approved, Reviewed, Serving},
    },
};

/// A pipeline version as it is recorded.
#[derive(Serialize, Deserialize)]
pub(in crate::app) struct PipelineRecord {
    pub(in crate::app) text: String,
}

/// The key of a version's text.
pub(in crate::app) fn text_key(name: &str, version: &Version) -> String {
    format!("pipeline/{name}/{version}")
}

/// The key of where a version stands.
pub(in crate::app) fn state_key(name: &str, version: &Version) -> String {
    format!("pipeline-state/{name}/{version}")
}

/// The key of which version serves.
pub(in crate::app) fn active_key(name: &str) -> String {
    format!("active/{name}")
}

/// A version that was loaded and is to be planned.
struct Recorded {
    key: String,
    name: String,
    version: Version,
    text: Arc<str>,
}

impl Installer {
    /// Every version, and those that serve made ready.
    pub(super) async fn load_pipelines(&self, next: &mut Installation) -> Result<(), InstallError> {
        for (key, stored) in self.all("active/").await? {
            next.serving_pipelines.insert(key.trim_start_matches("active/").to_owned(), read(&key, &stored)?);
        }
        let mut states: BTreeMap<String, Reviewed> = BTreeMap::new();
        for (key, stored) in self.all("pipeline-state/").await? {
            states.insert(key.trim_start_matches("pipeline-state/").to_owned(), read(&key, &stored)?);
        }
        let mut recorded = Vec::new();
        for (key, stored) in self.all("pipeline/").await? {
            let record: PipelineRecord = read(&key, &stored)?;
            let below = key.trim_start_matches("pipeline/");
            let named = below.rsplit_once('/').and_then(|(name, version)| Some((name, version.parse().ok()?)));
            let Some((name, version)): Option<(&str, Version)> = named else {
                let problem = "it names no version of a pipeline".to_owned();
                return Err(InstallError::Damaged { key, problem });
            };
            let text: Arc<str> = record.text.into();
            let kept = PipelineVersion { text: Arc::clone(&text), reviewed: states.remove(below) };
            let accepted = kept.is_accepted();
            next.pipeline_versions.entry(name.to_owned()).or_default().insert(version.clone(), kept);
            if accepted {
                recorded.push(Recorded { name: name.to_owned(), version, text, key });
            }
        }
        // A pipeline that runs another can only be planned after it, whatever they are called.
        loop {
            let before = recorded.len();
            let mut left = Vec::new();
            let mut problems = Vec::new();
            for one in recorded {
                match self.plan(next, &one.key, &one.text) {
                    Ok(pipeline) => install(next, &one, pipeline),
                    Err(error) => {
                        problems.push(error.to_string());
                        left.push(one);
                    }
                }
            }
            if left.is_empty() || left.len() == before {
                next.unusable.extend(problems);
                return Ok(());
            }
            recorded = left;
        }
    }

    /// Takes in a pipeline version that an operator declares, and makes it the one that new runs start on, unless people
    /// decide that by now.
    ///
    /// # Errors
    /// As [`InstallError`] says; nothing has changed then.
    pub async fn pipeline(
        &self,
        now: &Installation,
        cause: &Cause,
        name: &str,
        text: &str,
    ) -> Result<Option<Installation>, InstallError> {
        let pipeline = self.plan(now, name, text)?;
        let used = pipeline.plan.pipeline.clone();
        let version = pipeline.definition.version.clone();
        if now.pipelines.get(&used.name).is_some_and(|installed| installed.plan.pipeline == used) {
            return Ok(None);
        }
        let key = text_key(&used.name, &version);
        let known = now.pipeline_versions.get(&used.name).and_then(|versions| versions.get(&version));
        if known.is_some_and(|known| *known.text != *text) {
            return Err(InstallError::PipelineTaken { name: used.name, version: used.version });
        }
        if let Some(Serving::Promoted(line)) = now.serving_pipelines.get(&used.name) {
            let serves = line.active.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::info!(
                pipeline = used.name,
                declared = used.version,
                serves,
                "the version that was promoted serves, not the one that is declared: `crossdock pipeline promote` changes that"
            );
            if known.is_some() {
                return Ok(None);
            }
        }
        let mut next = copy(now);
        let mut kept = known.cloned().unwrap_or(PipelineVersion { text: text.into(), reviewed: None });
        if let Some(reviewed) = kept.reviewed.as_mut().filter(|reviewed| reviewed.approved.is_none()) {
            // An operator's word is enough.
            let approved = Approved { by: cause.actor.clone(), at: self.clock.now(), reason: cause.reason.clone() };
            reviewed.approved = Some(approved);
            reviewed.record.state = VersionState::Published;
            self.put_as(cause, "pipeline.approve", &state_key(&used.name, &version), &*reviewed).await?;
        }
        if known.is_none() {
            self.put(cause, &key, &PipelineRecord { text: text.to_owned() }).await?;
        }
        next.plans.insert(used.digest, Arc::clone(&pipeline.plan));
        next.pipeline_versions.entry(used.name.clone()).or_default().insert(version.clone(), kept);
        if !matches!(now.serving_pipelines.get(&used.name), Some(Serving::Promoted(_))) {
            self.put(cause, &active_key(&used.name), &version).await?;
            next.serving_pipelines.insert(used.name.clone(), Serving::Declared(version));
            next.pipelines.insert(used.name, Arc::new(pipeline));
        }
        Ok(Some(next))
    }

    /// Checks a pipeline's text against an installation.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn plan(&self, now: &Installation, name: &str, text: &str) -> Result<Pipeline, InstallError> {
        let refused = |diagnostics| InstallError::Pipeline { name: name.to_owned(), diagnostics };
        let definition = language::parse(text).map_err(refused)?;
        let plugins = now.plugin_facts();
        let pipelines = now.pipeline_facts();
        let tables = now.table_facts();
        let environment = Environment {
            contracts: &self.library.contracts,
            plugins: &plugins,
            pipelines: &pipelines,
            tables: Some(&tables),
        };
        let diagnostics = language::check(&definition, &environment);
        if !diagnostics.is_empty() {
            return Err(refused(diagnostics));
        }
        let plan = compile::compile(&definition, text, &self.library.contracts)
            .map_err(|source| InstallError::Plan { name: name.to_owned(), source })?;
        Ok(Pipeline { plan: Arc::new(plan), definition, text: text.to_owned() })
    }
}

/// Whether the names of a pipeline stand for connections that can do what it asks of them.
///
/// # Errors
/// The first that does not, and what to do.
pub(in crate::app) fn check_bindings(
    now: &Installation,
    pipeline: &Pipeline,
    names: &BTreeMap<String, String>,
) -> Result<(), String> {
    for (name, contract) in &pipeline.plan.uses {
        let connection = names.get(name).ok_or_else(|| format!("nothing is bound to `{name}` ({contract})"))?;
        let open =
            now.connections.get(connection).ok_or_else(|| format!("connection `{connection}` is not configured"))?;
        if !open.plugin.manifest.implements.contains(contract) {
            return Err(format!(
                "connection `{connection}` is served by `{}`, which does not implement `{contract}`",
                open.plugin.manifest.id
            ));
        }
    }
    for trigger in &pipeline.definition.triggers {
        let Origin::Poll { connection: polled, .. } = &trigger.origin else { continue };
        let open = names.get(&polled.value).and_then(|connection| now.connections.get(connection));
        if let Some(open) = open.filter(|open| !open.plugin.exports(POLLING)) {
            return Err(format!(
                "the pipeline polls `{}`, and plugin `{}` of connection `{}` exports no `crossdock:plugin/{POLLING}`",
                polled.value, open.plugin.manifest.id, open.name
            ));
        }
    }
    Ok(())
}

fn install(next: &mut Installation, one: &Recorded, pipeline: Pipeline) {
    next.plans.insert(pipeline.plan.pipeline.digest, Arc::clone(&pipeline.plan));
    // What an earlier release declared, and a crash kept from being made the one that serves.
    let active = match next.serving_pipelines.get(&one.name) {
        Some(serving) => serving.active() == Some(&one.version),
        None => next
            .pipeline_versions
            .get(&one.name)
            .and_then(|versions| versions.get(&one.version))
            .is_some_and(|version| version.reviewed.is_none()),
    };
    if active {
        next.pipelines.insert(one.name.clone(), Arc::new(pipeline));
    }
}

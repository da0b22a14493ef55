//! Versions of pipelines: one person drafts, another approves, and a promotion is one new picture in the old one's place.
//! Runs finish on the version that began them; schedules and polls follow the version that serves.

use std::{collections::BTreeMap, sync::Arc};

use semver::Version;

use super::{
    Registry,
    review::{self, refused, signed},
};
use crate::{
    app::{
        install::{
            InstallError,
            bindings::after,
            copy,
            pipelines::{PipelineRecord, active_key, check_bindings, state_key, text_key},
        },
        installation::{Installation, Pipeline, PipelineVersion},
        settings::bindings::reached_beyond,
    },
    flow::{
        language,
        machine::effect::{Bindings as _, Pick},
        plan::Action,
    },
    model::{
        audit::Cause,
        difference::PipelineDifference,
        id::Digest,
        registry::VersionState,
        review::{ReviewAct, Reviewed, Serving},
        setting::Origin,
        timestamp::Timestamp,
    },
    ports::{
        pipelines::{PipelineDetail, PipelineText},
        registry::Who,
        review::{Drafted, ReviewDone, ReviewError, Thing},
    },
};

const THING: Thing = Thing::Pipeline;

impl Registry {
    /// Takes a text as a version that nobody has approved.
    pub(in crate::app) async fn draft_pipeline(
        &self,
        name: &str,
        text: &str,
        who: &Who,
    ) -> Result<Drafted, ReviewError> {
        let cause = signed(who)?;
        let _changing = self.changing.lock().await;
        let now = self.shared.installation.load_full();
        let pipeline = self.installer.plan(&now, name, text).map_err(|error| refused(THING, error))?;
        let used = &pipeline.plan.pipeline;
        if used.name != name {
            let problem = format!("the text is pipeline `{}`, and not `{name}`", used.name);
            return Err(ReviewError::Invalid { problem });
        }
        let version = pipeline.definition.version.clone();
        let versions = now.pipeline_versions.get(name);
        if let Some(known) = versions.and_then(|versions| versions.get(&version)) {
            if *known.text != *text {
                let taken = InstallError::PipelineTaken { name: name.to_owned(), version: used.version.clone() };
                return Err(ReviewError::Taken { thing: THING, problem: taken.to_string() });
            }
            return Ok(Drafted {
                name: name.to_owned(),
                version,
                digest: used.digest.to_string(),
                reviewed: known.reviewed.clone(),
                unchanged: true,
                notes: vec![review::UNCHANGED.to_owned()],
            });
        }
        review::require_room(name, versions.into_iter().flatten().map(|(_, kept)| kept.state()))?;
        let reviewed = Reviewed::draft(cause.actor.clone(), self.shared.clock.now(), cause.reason.clone());
        // Where it stands comes first: a text without that would count as declared.
        let taken = |error| refused(THING, error);
        let keep = &self.installer;
        keep.put_as(&cause, "pipeline.draft", &state_key(name, &version), &reviewed).await.map_err(taken)?;
        let record = PipelineRecord { text: text.to_owned() };
        keep.put_as(&cause, "pipeline.draft", &text_key(name, &version), &record).await.map_err(taken)?;
        let mut next = copy(&now);
        let kept = PipelineVersion { text: text.into(), reviewed: Some(reviewed.clone()) };
        next.pipeline_versions.entry(name.to_owned()).or_default().insert(version.clone(), kept);
        self.shared.installation.store(Arc::new(next));
        tracing::info!(pipeline = name, %version, author = cause.actor, "a pipeline was drafted");
        let mut notes =
            vec![format!("next, somebody else than {}: crossdock pipeline approve {name}@{version}", cause.actor)];
        notes.extend(
            self.unfit(&now, &pipeline, &now.bindings.get(name).cloned().unwrap_or_default())
                .err()
                .map(|problem| format!("before it is promoted: {problem}")),
        );
        let digest = used.digest.to_string();
        Ok(Drafted { name: name.to_owned(), version, digest, reviewed: Some(reviewed), unchanged: false, notes })
    }

    /// A pipeline with its versions.
    pub(in crate::app) fn pipeline_detail(&self, name: &str) -> Result<PipelineDetail, ReviewError> {
        let now = self.shared.installation.load_full();
        let versions = now.pipeline_versions.get(name).ok_or_else(|| unknown(&now, name))?;
        let serving = now.serving_pipelines.get(name);
        let runs = self.runs_of(name);
        let shown = versions.iter().rev().map(|(version, kept)| {
            let digest = Digest::of(kept.text.as_bytes()).to_string();
            let line = review::line(version, digest, kept.reviewed.as_ref(), serving);
            let runs_open = Some(runs.get(&version.to_string()).copied().unwrap_or_default());
            crate::ports::review::VersionLine { runs_open, ..line }
        });
        let line = serving.map(Serving::line).unwrap_or_default();
        Ok(PipelineDetail {
            pipeline: name.to_owned(),
            active: line.active,
            decided_by: if matches!(serving, Some(Serving::Declared(_))) { "configuration" } else { "promotion" },
            earlier: line.earlier,
            paused: now.holds.get(name).cloned(),
            versions: shown.collect(),
            bindings: Some(now.bindings.get(name).cloned().unwrap_or_default()),
        })
    }

    /// One version with its text.
    pub(in crate::app) fn pipeline_text(&self, name: &str, version: &Version) -> Result<PipelineText, ReviewError> {
        let now = self.shared.installation.load_full();
        let kept = find(&now, name, version)?;
        let digest = Digest::of(kept.text.as_bytes()).to_string();
        let line = review::line(version, digest, kept.reviewed.as_ref(), now.serving_pipelines.get(name));
        Ok(PipelineText { pipeline: name.to_owned(), line, text: kept.text.to_string() })
    }

    /// What differs between two versions.
    pub(in crate::app) fn pipeline_difference(
        &self,
        name: &str,
        from: &Version,
        to: &Version,
    ) -> Result<PipelineDifference, ReviewError> {
        let now = self.shared.installation.load_full();
        let (from, to) = (find(&now, name, from)?, find(&now, name, to)?);
        language::difference(&from.text, &to.text)
            .map_err(|diagnostics| refused(THING, InstallError::Pipeline { name: name.to_owned(), diagnostics }))
    }

    /// Approves, promotes, rolls back, deprecates or retires.
    pub(in crate::app) async fn change_pipeline(
        &self,
        name: &str,
        act: &ReviewAct,
        who: &Who,
    ) -> Result<ReviewDone, ReviewError> {
        let cause = signed(who)?;
        let _changing = self.changing.lock().await;
        let now = self.shared.installation.load_full();
        let done = match act {
            ReviewAct::Approve { version } | ReviewAct::Deprecate { version, .. } | ReviewAct::Retire { version } => {
                self.move_pipeline(&now, name, version, act, &cause).await
            }
            ReviewAct::Promote { version, bindings } => {
                let kept = find(&now, name, version)?;
                review::require_bindable(&format!("{name}@{version}"), kept.state(), THING)?;
                let serving = now.serving_pipelines.get(name).map(Serving::line).unwrap_or_default();
                let line = review::promoted(&serving, version)?;
                self.serve(&now, name, Serving::Promoted(line), bindings, "pipeline.promote", &cause).await
            }
            ReviewAct::Rollback => {
                let versions = now.pipeline_versions.get(name).ok_or_else(|| unknown(&now, name))?;
                let serving = now.serving_pipelines.get(name).map(Serving::line).unwrap_or_default();
                let state = |version: &Version| versions.get(version).map(PipelineVersion::state);
                let line = review::rolled_back(&serving, state)?;
                self.serve(&now, name, Serving::Promoted(line), &BTreeMap::new(), "pipeline.rollback", &cause).await
            }
        }?;
        tracing::info!(pipeline = name, summary = done.summary, actor = cause.actor, "a pipeline has changed");
        metrics::counter!("crossdock_registry_changes_total", "action" => act.verb()).increment(1);
        Ok(done)
    }

    /// Changes where a version stands.
    async fn move_pipeline(
        &self,
        now: &Installation,
        name: &str,
        version: &Version,
        act: &ReviewAct,
        cause: &Cause,
    ) -> Result<ReviewDone, ReviewError> {
        let kept = find(now, name, version)?;
        let what = format!("{name}@{version}");
        let declared = || {
            let mut declared =
                Reviewed::draft("operator:config".to_owned(), Timestamp::default(), "declared".to_owned());
            declared.record.state = VersionState::Published;
            declared.approved = Some(crate::model::review::Approved {
                by: "operator:config".to_owned(),
                at: Timestamp::default(),
                reason: "declared".to_owned(),
            });
            declared
        };
        let reviewed = kept.reviewed.clone().unwrap_or_else(declared);
        let moved = review::moved(self, &what, &reviewed, act, cause)?;
        let mut next = copy(now);
        let mut notes = Vec::new();
        let done = match act {
            ReviewAct::Approve { .. } => {
                // Looked at again: plugins and contracts may have changed since it was drafted.
                let plan = self.installer.plan(now, name, &kept.text).map_err(|error| refused(THING, error))?.plan;
                next.plans.insert(plan.pipeline.digest, plan);
                notes.push(format!("it serves nobody yet: crossdock pipeline promote {what}"));
                "approved"
            }
            ReviewAct::Retire { .. } => {
                let serving = now.serving_pipelines.get(name).and_then(Serving::active);
                review::require_unused(&what, version, serving)?;
                let open = self.runs_of(name).get(&version.to_string()).copied().unwrap_or_default();
                if open > 0 {
                    let problem = format!("{open} runs of {what} have not ended: let them end, or move them");
                    return Err(ReviewError::Conflict { problem });
                }
                "retired"
            }
            _ => "deprecated",
        };
        let action = format!("pipeline.{}", act.verb());
        let put = self.installer.put_as(cause, &action, &state_key(name, version), &moved).await;
        put.map_err(|error| refused(THING, error))?;
        let versions = next.pipeline_versions.entry(name.to_owned()).or_default();
        versions.insert(version.clone(), PipelineVersion { reviewed: Some(moved), ..kept.clone() });
        self.shared.installation.store(Arc::new(next));
        let summary = format!("{what} is {done}");
        Ok(ReviewDone { name: name.to_owned(), version: Some(version.clone()), summary, notes })
    }

    /// Makes a version the one that new runs start on, after a look whether it can run.
    async fn serve(
        &self,
        now: &Installation,
        name: &str,
        serving: Serving,
        bindings: &BTreeMap<String, String>,
        action: &str,
        cause: &Cause,
    ) -> Result<ReviewDone, ReviewError> {
        let Some(version) = serving.active().cloned() else {
            return Err(ReviewError::Conflict { problem: format!("no version of `{name}` can serve") });
        };
        let kept = find(now, name, &version)?;
        let pipeline = self.installer.plan(now, name, &kept.text).map_err(|error| refused(THING, error))?;
        let mut names = now.bindings.get(name).cloned().unwrap_or_default();
        if let Some(unused) = bindings.keys().find(|bound| !pipeline.plan.uses.contains_key(*bound)) {
            let problem = format!("{name}@{version} uses nothing named `{unused}`");
            return Err(ReviewError::Invalid { problem });
        }
        // What is bound stays: runs go on with it, and a rollback finds it. So what is bound before a crash keeps the version
        // from serving is bound to a name that nobody uses.
        for (alias, connection) in bindings {
            let held = names.entry(alias.clone()).or_insert_with(|| connection.clone());
            if held != connection {
                let problem = format!(
                    "`{alias}` is bound to `{held}`, and a promotion rebinds nothing: `crossdock pipeline bind {name} \
                     {alias}={connection}` first"
                );
                return Err(ReviewError::Conflict { problem });
            }
        }
        self.unfit(now, &pipeline, &names)?;
        if let Some(wider) = reached_beyond(now, name, &names).first() {
            let added: Vec<String> = bindings.iter().map(|(alias, to)| format!("{alias}={to}")).collect();
            let problem = format!(
                "{wider}, so a second person has to agree: `crossdock pipeline bind {name} {}` asks for that; promote it once \
                 they have agreed (`crossdock plugin approve`)",
                added.join(" ")
            );
            return Err(ReviewError::Conflict { problem });
        }
        let taken = |error| refused(THING, error);
        let mut bound = None;
        if !names.is_empty() && now.bindings.get(name) != Some(&names) {
            let record = after(now.settings.bindings.get(name), names.clone(), Origin::Api);
            let put = self.installer.put_as(cause, "binding.set", &format!("binding/{name}"), &record).await;
            put.map_err(taken)?;
            bound = Some(record);
        }
        self.installer.put_as(cause, action, &active_key(name), &serving).await.map_err(taken)?;
        let mut next = copy(now);
        let mut notes = Vec::new();
        let before = now.serving_pipelines.get(name).and_then(Serving::active);
        if let Some(before) = before {
            let open = self.runs_of(name).get(&before.to_string()).copied().unwrap_or_default();
            notes.push(format!("{open} runs under way finish on {before}"));
        }
        if matches!(now.serving_pipelines.get(name), Some(Serving::Declared(_))) {
            notes.push(
                "from now on people decide which version serves, and the configuration no longer does".to_owned(),
            );
        }
        if !pipeline.plan.uses.is_empty() {
            notes.push(format!("{} connections are bound and can do what it asks of them", pipeline.plan.uses.len()));
        }
        next.plans.insert(pipeline.plan.pipeline.digest, Arc::clone(&pipeline.plan));
        if let Some(record) = bound {
            next.bindings.insert(name.to_owned(), names);
            next.settings.bindings.insert(name.to_owned(), record);
        }
        next.serving_pipelines.insert(name.to_owned(), serving);
        next.pipelines.insert(name.to_owned(), Arc::new(pipeline));
        self.shared.installation.store(Arc::new(next));
        let summary = format!("new runs of `{name}` start on {version}");
        Ok(ReviewDone { name: name.to_owned(), version: Some(version), summary, notes })
    }

    /// Whether everything that a version needs is there: connections, versions of plugins that serve, and pipelines that
    /// run this one and go on taking it.
    fn unfit(
        &self,
        now: &Installation,
        pipeline: &Pipeline,
        names: &BTreeMap<String, String>,
    ) -> Result<(), ReviewError> {
        let conflict = |problem: String| Err(ReviewError::Conflict { problem });
        let name = &pipeline.plan.pipeline.name;
        if let Err(problem) = check_bindings(now, pipeline, names) {
            return conflict(format!("{problem}; bind it with `crossdock pipeline bind {name} NAME=CONNECTION`"));
        }
        let bound = now.bound(name, "");
        for (step, range) in pipeline.plan.plugins() {
            if let Err(unserved) = bound.plugin(range, Pick::Active) {
                return conflict(format!("step `{step}`: {}", unserved.problem));
            }
        }
        for (step, table) in pipeline.plan.tables() {
            if let Err(unserved) = now.table(table) {
                return conflict(format!("step `{step}`: {}", unserved.problem));
            }
        }
        let version = &pipeline.definition.version;
        for (other, installed) in now.pipelines.iter().filter(|(other, _)| *other != name) {
            let narrow = installed.plan.nodes().find_map(|node| match &node.action {
                Action::Start { pipeline, range, .. } if pipeline == name && !range.matches(version) => {
                    Some((node.id.as_str(), range))
                }
                _ => None,
            });
            if let Some((step, range)) = narrow {
                return conflict(format!("step `{step}` of pipeline `{other}` runs it at `{range}`, not {version}"));
            }
        }
        Ok(())
    }

    /// Runs of a pipeline that have not ended, by version.
    pub(super) fn runs_of(&self, name: &str) -> BTreeMap<String, usize> {
        let mut runs = BTreeMap::new();
        for run in self.shared.index.open().into_iter().filter(|run| run.pipeline == name) {
            *runs.entry(run.pipeline_version).or_default() += 1;
        }
        runs
    }
}

fn unknown(now: &Installation, name: &str) -> ReviewError {
    review::unknown(THING, name, now.pipeline_versions.keys())
}

fn find<'a>(now: &'a Installation, name: &str, version: &Version) -> Result<&'a PipelineVersion, ReviewError> {
    let versions = now.pipeline_versions.get(name).ok_or_else(|| unknown(now, name))?;
    review::find(THING, name, versions, version)
}

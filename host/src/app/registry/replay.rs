//! How a version answers what was recorded, and whether it may be promoted on that.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Registry, line_of, named,
    plan::{self, Planned},
    unavailable,
};
use crate::{
    app::{
        installation::Plugin,
        replay::{INPUTS_DEFAULT, INPUTS_MAX, Job, replay},
    },
    model::{
        registry::{Act, Line},
        replay::{Gate, Report},
    },
    ports::registry::{ChangeRequest, RegistryError, ReplayRequest},
};

/// Replays at the same time.
pub(super) const AT_ONCE: usize = 1;

impl Registry {
    /// Replays recorded inputs with a version and another.
    pub(in crate::app) async fn replay(&self, request: &ReplayRequest) -> Result<Report, RegistryError> {
        self.replay_but(request, BTreeSet::new()).await
    }

    /// The replay that a change asks for.
    pub(super) async fn replay_for(&self, request: &ChangeRequest) -> Result<Option<Report>, RegistryError> {
        let Act::Promote { version, replay: Some(gate) } = &request.act else { return Ok(None) };
        let now = self.shared.installation.load_full();
        let id = &request.plugin;
        plan::find(&now, id, version)?;
        let Some(active) = line_of(&now, id, request.pipeline.as_deref()).active else {
            let problem = format!("nothing of `{id}` serves yet that it could be held against: leave the replay out");
            return Err(RegistryError::Conflict { problem });
        };
        if active == *version {
            // That it serves already is said by whoever plans.
            return Ok(None);
        }
        // Pipelines that are bound to a version of their own are not served by it.
        let except = match (&request.pipeline, now.lines.get(id)) {
            (None, Some(lines)) => lines.pipelines.keys().cloned().collect(),
            _ => BTreeSet::new(),
        };
        let request = ReplayRequest {
            plugin: id.clone(),
            version: version.clone(),
            against: Some(active),
            since: gate.since,
            pipeline: request.pipeline.clone(),
            limit: gate.limit,
        };
        self.replay_but(&request, except).await.map(Some)
    }

    async fn replay_but(&self, request: &ReplayRequest, except: BTreeSet<String>) -> Result<Report, RegistryError> {
        let ReplayRequest { plugin: id, version, against, since, pipeline, limit } = request;
        let limit = limit.unwrap_or(INPUTS_DEFAULT);
        if !(1..=INPUTS_MAX).contains(&limit) {
            let problem = format!("`limit` is {limit}; it must be from 1 to {INPUTS_MAX}");
            return Err(RegistryError::Invalid { problem });
        }
        let now = self.shared.installation.load_full();
        let candidate = plan::find(&now, id, version)?;
        let against = match against {
            Some(against) => against.clone(),
            None => line_of(&now, id, pipeline.as_deref()).active.ok_or_else(|| {
                let problem = format!("nothing of `{id}` serves: say which version it is held against");
                RegistryError::Conflict { problem }
            })?,
        };
        let against = plan::find(&now, id, &against)?;
        if let Some(pipeline) = pipeline
            && !now.plans.values().any(|plan| plan.pipeline.name == *pipeline)
        {
            return Err(RegistryError::Invalid { problem: format!("pipeline `{pipeline}` is not installed") });
        }
        for plugin in [candidate, against] {
            self.may_be_replayed(plugin).await?;
        }
        let Ok(_room) = self.replays.try_acquire() else {
            return Err(RegistryError::Busy { problem: "another replay is under way".to_owned() });
        };
        let mut archives = self.store.archives().await.map_err(|error| unavailable(&error))?;
        archives.sort_unstable_by_key(|file| std::cmp::Reverse(file.to));
        let since = since.before(self.shared.clock.now());
        let kept = archives.iter().filter(|file| !file.dropped && file.to >= since);
        let job = Job {
            candidate: Arc::clone(candidate),
            against: Arc::clone(against),
            pipeline: pipeline.clone(),
            except,
            since,
            archives: kept.map(|file| file.file).collect(),
            limit,
        };
        let replayed = replay(&self.shared, &self.store, &job).await;
        let mut report = replayed.map_err(|reason| RegistryError::Unavailable { reason })?;
        for file in archives {
            let counted = if file.dropped { &mut report.dropped } else { &mut report.archived };
            *counted += if file.to >= report.since { file.runs } else { 0 };
        }
        tracing::info!(plugin = %id, %version, summary = report.summary(), "recorded inputs were replayed");
        metrics::counter!("crossdock_replayed_inputs_total").increment(report.replayed);
        Ok(report)
    }

    async fn may_be_replayed(&self, plugin: &Arc<Plugin>) -> Result<(), RegistryError> {
        let named = named(&plugin.manifest.id, &plugin.manifest.version);
        if !plugin.manifest.kind.is_pure() {
            let problem = format!("{named} is a connector, whose calls take effect: try a canary");
            return Err(RegistryError::Invalid { problem });
        }
        if plugin.live.is_revoked() {
            return Err(RegistryError::Conflict { problem: format!("{named} is revoked: nothing calls it any more") });
        }
        self.load(plugin).await
    }
}

/// Whether a replay allows a promotion; the report as it is kept with it.
pub(super) fn held(
    gate: &Gate,
    plugin: &Plugin,
    line: &Line,
    replayed: Option<&Report>,
    force: bool,
    planned: &mut Planned,
) -> Result<Box<Report>, RegistryError> {
    let is_of_now = |report: &&Report| {
        report.candidate.digest == plugin.inspection.digest && line.active.as_ref() == Some(&report.against.version)
    };
    let Some(report) = replayed.filter(is_of_now) else {
        let problem = "what serves has changed since the replay began: ask for it again".to_owned();
        return Err(RegistryError::Conflict { problem });
    };
    let (id, version) = (&plugin.manifest.id, &plugin.manifest.version);
    if let Some(against) = against(gate, report) {
        if !force {
            let problem = format!(
                "{} is not promoted: {against}. `crossdock plugin replay {} --since {}` shows it",
                named(id, version),
                named(id, version),
                gate.since
            );
            return Err(RegistryError::ReplayDiffers { problem, report: Box::new(report.clone()) });
        }
        // Without its numbers: by the time that somebody agrees, there are others.
        planned.because.push(format!(
            "forced: a replay since {} does not allow it (at most {} changes)",
            gate.since, gate.changes_max
        ));
        planned.notes.push(format!("forced: {against}"));
    }
    let evidence = format!("{}, {} allowed", report.summary(), gate.changes_max);
    planned.notes.push(evidence.clone());
    planned.evidence = Some(evidence);
    Ok(Box::new(report.for_record()))
}

/// What of a report stands against a promotion.
fn against(gate: &Gate, report: &Report) -> Option<String> {
    if report.replayed == 0 {
        return Some(format!("there is no recorded input since {} to replay", report.since));
    }
    if report.determinism.differed > 0 {
        let (differed, compared) = (report.determinism.differed, report.determinism.compared);
        return Some(format!(
            "{differed} of {compared} replayed answers are not the recorded ones of the same version"
        ));
    }
    (report.changes > gate.changes_max).then(|| {
        let Report { changes, replayed, decisions, outputs, failures, .. } = report;
        format!(
            "{changes} of {replayed} recorded inputs are answered otherwise ({decisions} decisions, {outputs} outputs, \
             {failures} failures), at most {} may be",
            gate.changes_max
        )
    })
}

//! What a change comes to: which records it writes, in order, and whether one person is enough. Nothing is changed here.

use std::sync::Arc;

use semver::Version;

use super::{Registry, binds, checks::unread, line_of, named, place, replay::held};
use crate::{
    app::installation::{Installation, OpenConnection, Plugin},
    model::{
        id::PluginId,
        registry::{Act, Candidate, Line, Trial, VersionRecord, VersionState},
        replay::Report,
    },
    policy::{
        binding::{self, BindingError},
        gate::capability,
        lifecycle::{self, LifecycleError, Move},
    },
    ports::registry::{ChangeRequest, RegistryError},
};

/// A record that is to be written.
pub(super) enum Put {
    /// Where a version stands.
    Version { action: String, version: Version, record: VersionRecord },
    /// Which versions serve; without a pipeline, everywhere.
    Line { action: String, pipeline: Option<String>, line: Line },
}

impl Put {
    pub(super) fn version(action: &str, version: &Version, record: VersionRecord) -> Self {
        Self::Version { action: action.to_owned(), version: version.clone(), record }
    }

    pub(super) fn line(action: &str, pipeline: Option<String>, line: Line) -> Self {
        Self::Line { action: action.to_owned(), pipeline, line }
    }
}

/// What a change comes to.
#[derive(Default)]
pub(super) struct Planned {
    pub(super) puts: Vec<Put>,
    pub(super) version: Option<Version>,
    pub(super) summary: String,
    pub(super) notes: Vec<String>,
    /// Why a second person has to agree.
    pub(super) because: Vec<String>,
    /// A version whose calls are to end at once, or may begin again.
    pub(super) revokes: Option<(Arc<Plugin>, bool)>,
    /// What the audit log says of it beside the reason.
    pub(super) evidence: Option<String>,
}

/// The record that binds a line that nobody has bound to what serves now. Before anything else is changed about a line, so
/// that the change is all that changes.
pub(super) fn pinned(now: &Installation, id: &PluginId) -> Option<Put> {
    let bound = now.lines.get(id).is_some_and(|lines| lines.everywhere.is_some());
    (!bound).then(|| Put::line("line.pin", None, line_of(now, id, None)))
}

impl From<LifecycleError> for RegistryError {
    fn from(error: LifecycleError) -> Self {
        Self::Conflict { problem: error.to_string() }
    }
}

impl From<BindingError> for RegistryError {
    fn from(error: BindingError) -> Self {
        match error {
            BindingError::Percent { .. } => Self::Invalid { problem: error.to_string() },
            _ => Self::Conflict { problem: error.to_string() },
        }
    }
}

/// A version that was asked for.
pub(super) fn find<'a>(
    now: &'a Installation,
    id: &PluginId,
    version: &Version,
) -> Result<&'a Arc<Plugin>, RegistryError> {
    let known = now.plugins.get(id).into_iter().flatten().map(|(version, _)| version.to_string());
    let known: Vec<String> = known.collect();
    now.version(id, version).ok_or_else(|| RegistryError::Unknown {
        what: named(id, version),
        known: if known.is_empty() { "nothing of that name".to_owned() } else { known.join(", ") },
    })
}

impl Registry {
    /// What a change comes to.
    pub(super) async fn plan(
        &self,
        now: &Installation,
        request: &ChangeRequest,
        replayed: Option<&Report>,
    ) -> Result<Planned, RegistryError> {
        let ChangeRequest { plugin: id, pipeline, act, .. } = request;
        if !now.plugins.contains_key(id) {
            let known: Vec<&str> = now.plugins.keys().map(PluginId::as_str).collect();
            return Err(RegistryError::Unknown { what: format!("plugin `{id}`"), known: known.join(", ") });
        }
        if let Some(version) = act.version() {
            find(now, id, version)?;
        }
        if act.is_about_version() {
            if pipeline.is_some() {
                let problem = "a version stands where it stands everywhere: leave `pipeline` out".to_owned();
                return Err(RegistryError::Invalid { problem });
            }
            return self.version_change(now, request).await;
        }
        if let Some(pipeline) = pipeline {
            let installed = now
                .pipelines
                .get(pipeline)
                .ok_or_else(|| RegistryError::Invalid { problem: format!("pipeline `{pipeline}` is not installed") })?;
            if !installed.plan.plugins().any(|(_, called)| called.id == *id) {
                let problem = format!(
                    "pipeline `{pipeline}` has no rule, scorer or transform of `{id}`; a connection's plugin is bound for all"
                );
                return Err(RegistryError::Invalid { problem });
            }
        }
        self.line_change(now, request, replayed).await
    }

    async fn version_change(&self, now: &Installation, request: &ChangeRequest) -> Result<Planned, RegistryError> {
        let ChangeRequest { plugin: id, act, force, .. } = request;
        let Some(version) = act.version() else { return Ok(Planned::default()) };
        let plugin = find(now, id, version)?;
        let record = now.version_record(id, version);
        let wanted = match act {
            Act::Publish { .. } => Move::Publish,
            Act::Deprecate { .. } => Move::Deprecate,
            Act::Yank { .. } => Move::Yank,
            Act::Retire { .. } => Move::Retire,
            Act::Revoke { .. } => Move::Revoke,
            _ => Move::Restore,
        };
        let state = lifecycle::next(&record, wanted)?;
        let mut planned = Planned { version: Some(version.clone()), ..Planned::default() };
        planned.puts.extend(pinned(now, id));
        let mut next = VersionRecord { state, ..record.clone() };
        match act {
            Act::Deprecate { sunset, replaced_by, .. } => {
                if let Some(replaced_by) = replaced_by {
                    find(now, id, replaced_by)?;
                }
                (next.sunset, next.replaced_by) = (*sunset, replaced_by.clone());
            }
            Act::Retire { .. } => self.may_retire(now, id, version, *force, &mut planned).await?,
            Act::Revoke { .. } => {
                next.before = Some(record.state);
                planned.revokes = Some((Arc::clone(plugin), true));
                planned.puts.extend(without_trials(now, id, version));
                if bound_to(now, id, version).next().is_some() {
                    let note = "it serves: runs that would call it are parked as `plugin.revoked` until another version is \
                         promoted or rolled back to, then `crossdock dead-letter replay --cause plugin.revoked`";
                    planned.notes.push(note.to_owned());
                }
            }
            Act::Publish { .. } => self.may_count(plugin)?,
            Act::Restore { .. } => {
                self.may_count(plugin)?;
                next.before = None;
                planned.because.push("a revocation is taken back".to_owned());
                planned.revokes = Some((Arc::clone(plugin), false));
            }
            _ => {}
        }
        planned.puts.push(Put::version(&format!("plugin.{}", act.verb()), version, next));
        planned.summary = format!("{} is {}", named(id, version), state.as_str());
        Ok(planned)
    }

    /// Only what nothing calls is put away.
    async fn may_retire(
        &self,
        now: &Installation,
        id: &PluginId,
        version: &Version,
        force: bool,
        planned: &mut Planned,
    ) -> Result<(), RegistryError> {
        if let Some(pipeline) = bound_to(now, id, version).next() {
            let problem = format!(
                "{} serves or is on trial{}: promote another version first",
                named(id, version),
                place(pipeline.as_deref())
            );
            return Err(RegistryError::Conflict { problem });
        }
        let held = self.impact_of(now, id, Some(version)).await?;
        let unseen = held.runs_open.saturating_sub(held.runs_examined);
        if held.runs_holding > 0 || unseen > 0 {
            let more = if unseen > 0 { format!(" (and {unseen} more were not looked into)") } else { String::new() };
            let problem = format!(
                "{} runs that have not ended have called it{more}, and may have to undo or find out about what it did",
                held.runs_holding
            );
            if !force {
                return Err(RegistryError::Conflict { problem });
            }
            planned.because.push(format!("forced: {problem}"));
        }
        Ok(())
    }

    async fn line_change(
        &self,
        now: &Installation,
        request: &ChangeRequest,
        replayed: Option<&Report>,
    ) -> Result<Planned, RegistryError> {
        let ChangeRequest { plugin: id, pipeline, act, force, .. } = request;
        let line = line_of(now, id, pipeline.as_deref());
        let trial = |version: &Version, trial: Trial| binding::attempt(&line, version, trial);
        let fits = |plugin: &Arc<Plugin>| {
            let mut served = now.connections.iter().filter(|(_, open)| open.connection.plugin == *id);
            let opened = |(name, open): (&String, &Arc<OpenConnection>)| {
                self.installer.open_as(Arc::clone(plugin), name, open.connection.clone(), open.revision).is_ok()
            };
            served.all(opened) && unread(now, plugin).next().is_none()
        };
        let suits = |version: &Version| {
            lifecycle::may_serve(now.state(id, version)) && now.version(id, version).is_some_and(fits)
        };
        let mut next = match act {
            Act::Stage { version } => trial(version, Trial::Staged)?,
            Act::Shadow { version } => trial(version, Trial::Shadow)?,
            Act::Canary { version, percent, thresholds } => {
                trial(version, Trial::Canary { percent: *percent, thresholds: *thresholds })?
            }
            Act::Promote { version, .. } => binding::promote(&line, version)?,
            Act::Withdraw => binding::withdraw(&line)?,
            _ => binding::rollback(&line, suits)?,
        };
        let mut planned =
            Planned { version: act.version().cloned().or_else(|| next.active.clone()), ..Planned::default() };
        if binds(act)
            && let Some(version) = act.version()
        {
            self.may_bind(now, id, version, request, &line, &mut planned).await?;
        }
        if let Act::Promote { version, replay: Some(gate) } = act {
            let plugin = find(now, id, version)?;
            next.replay = Some(held(gate, plugin, &line, replayed, *force, &mut planned)?);
        }
        planned.summary = summary(id, pipeline.as_deref(), act, &next, &line);
        if pipeline.is_none() {
            planned.puts.extend(pinned(now, id));
        }
        if *force && planned.because.iter().all(|because| !because.starts_with("forced")) {
            planned.notes.push("nothing had to be forced".to_owned());
        }
        planned.puts.push(Put::line(&format!("line.{}", act.verb()), pipeline.clone(), next));
        Ok(planned)
    }

    /// Whether a version may come to serve, and what that needs.
    async fn may_bind(
        &self,
        now: &Installation,
        id: &PluginId,
        version: &Version,
        request: &ChangeRequest,
        line: &Line,
        planned: &mut Planned,
    ) -> Result<(), RegistryError> {
        let plugin = find(now, id, version)?;
        let state = now.state(id, version);
        if !lifecycle::is_bindable(state) {
            let problem = format!("{} is {}", named(id, version), state.as_str());
            let can_be_forced = state == VersionState::Yanked;
            if !can_be_forced {
                return Err(RegistryError::Conflict { problem: format!("{problem}: it cannot be bound") });
            }
            if !request.force {
                let problem = format!("{problem}: it is bound nowhere anew, unless two people force it");
                return Err(RegistryError::Conflict { problem });
            }
            planned.because.push(format!("forced: {problem}"));
        }
        if matches!(request.act, Act::Shadow { .. }) && !plugin.manifest.kind.is_pure() {
            let problem = "a connector cannot be shadowed: its calls take effect; try a canary".to_owned();
            return Err(RegistryError::Invalid { problem });
        }
        let found = self.check(now, plugin, request.pipeline.as_deref()).await?;
        planned.notes.extend(found.notes);
        if !found.against.is_empty() {
            if !request.force {
                return Err(RegistryError::Refused {
                    problem: format!("{} does not hold: {}", named(id, version), found.against.join("; ")),
                    findings: found.against,
                });
            }
            planned.because.extend(found.against.into_iter().map(|against| format!("forced: {against}")));
        }
        // Whoever agreed to a version that served, or serves some, has agreed to what it asks for.
        let before = line.active.as_ref().and_then(|active| now.version(id, active));
        let tried = line.candidate.as_ref().filter(|tried| matches!(tried.trial, Trial::Canary { .. }));
        let consented = line.earlier.contains(version) || tried.is_some_and(|tried| tried.version == *version);
        if let Some(before) = before.filter(|_| !matches!(request.act, Act::Stage { .. }) && !consented) {
            let widened = capability::widened(&before.manifest, &plugin.manifest);
            planned.because.extend(widened.into_iter().map(|wanted| format!("it asks for more than before: {wanted}")));
        }
        Ok(())
    }
}

/// Where a version serves or is on trial: pipelines, or everywhere.
pub(super) fn bound_to<'a>(
    now: &'a Installation,
    id: &'a PluginId,
    version: &'a Version,
) -> impl Iterator<Item = Option<String>> + 'a {
    let lines = now.lines.get(id);
    let unbound = lines.is_none_or(|lines| lines.everywhere.is_none());
    let followed = now.bound_version(id, None).filter(move |plugin| unbound && plugin.manifest.version == *version);
    let holds = move |line: &Line| {
        let tried = line.candidate.as_ref().is_some_and(|Candidate { version: tried, .. }| tried == version);
        tried || line.active.as_ref() == Some(version)
    };
    let everywhere = lines.and_then(|lines| lines.everywhere.as_ref()).filter(move |line| holds(&line.line));
    let own = lines.into_iter().flat_map(|lines| &lines.pipelines).filter(move |(_, line)| holds(&line.line));
    followed.map(|_| None).into_iter().chain(everywhere.map(|_| None)).chain(own.map(|(name, _)| Some(name.clone())))
}

/// The records that end every trial of a version.
fn without_trials(now: &Installation, id: &PluginId, version: &Version) -> Vec<Put> {
    let Some(lines) = now.lines.get(id) else { return Vec::new() };
    let everywhere = lines.everywhere.iter().map(|line| (None, line));
    let all = everywhere.chain(lines.pipelines.iter().map(|(name, line)| (Some(name.clone()), line)));
    let tried = all.filter(|(_, line)| line.line.candidate.as_ref().is_some_and(|tried| tried.version == *version));
    tried
        .filter_map(|(pipeline, line)| Some(Put::line("line.withdraw", pipeline, binding::withdraw(&line.line).ok()?)))
        .collect()
}

fn summary(id: &PluginId, pipeline: Option<&str>, act: &Act, next: &Line, before: &Line) -> String {
    let place = place(pipeline);
    let shown = |version: Option<&Version>| version.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    match act {
        Act::Promote { .. } | Act::Rollback => {
            format!(
                "`{id}`{place} is served by {}, before by {}",
                shown(next.active.as_ref()),
                shown(before.active.as_ref())
            )
        }
        Act::Withdraw => {
            let tried = before.candidate.as_ref().map(|candidate| &candidate.version);
            format!("{} of `{id}`{place} is no longer on trial", shown(tried))
        }
        Act::Canary { version, percent, .. } => {
            format!("{percent} % of the keys of `{id}`{place} are served by {version}")
        }
        Act::Shadow { version } => {
            format!("{version} of `{id}`{place} is evaluated beside {}", shown(next.active.as_ref()))
        }
        _ => format!("{} of `{id}`{place} is checked and ready", shown(act.version())),
    }
}

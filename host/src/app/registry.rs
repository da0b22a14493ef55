//! The registry at work: versions come, serve on trial or for everybody, and go. One change at a time, each in the same
//! order: checked, recorded in the audit log, recorded, then one new picture in the old one's place. Runs finish each call
//! in the picture that it was decided in; a failure anywhere before the last step leaves what serves as it is.
//!
//! | module | does |
//! | --- | --- |
//! | [`plan`] | what a change comes to, and whether one person is enough |
//! | [`checks`] | whether a version may serve: verified, compiled, tried out, tested, granted |
//! | [`trust`] | whose signatures count, and what is stopped when one does no more |
//! | [`gate`] | whether a version may come in at all |
//! | [`schemas`] | event types and their schemas |
//! | [`events`] | who has to do with them |
//! | [`impact`] | what depends on a version |
//! | [`foreseen`] | what a change takes away from whoever depends on it |
//! | [`pipelines`] | versions of pipelines, which have the same life |
//! | [`tables`] | versions of reference tables, too |
//! | [`replay`] | how a version answers what was recorded, and whether it may be promoted on that |
//! | [`views`] | what there is, for people and programs |

pub(in crate::app) mod checks;
mod events;
pub(in crate::app) mod foreseen;
mod gate;
mod holds;
mod impact;
mod pipelines;
mod plan;
mod replay;
mod review;
mod schemas;
mod tables;
mod trust;
pub(super) mod views;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use semver::Version;
use tokio::sync::{Mutex, MutexGuard, Notify, Semaphore};

use self::plan::{Planned, Put};
use super::{
    gate::with_source,
    install::{InstallError, Installer, add_plugin, copy, read},
    installation::{Installation, lines::LineInUse},
    package::Package,
    publish::{self, UploadError},
    runner::Shared,
};
use crate::{
    model::{
        audit::Cause,
        hex::hex,
        id::{KeyId, PluginId, hash32},
        registry::{Act, Line, Proposal, ProposalState, VersionRecord, VersionState},
        trust::{RevokedKey, Trust},
    },
    policy::{binding, review::is_same_person},
    ports::registry::{
        ACTOR_BYTES_LIMIT, ChangeRequest, Changed, Done, Published, REASON_BYTES_LIMIT, RegistryError, Took, Who,
    },
    store::disk::Store,
};

/// Longest a proposed change waits for a second person, milliseconds: a week.
const PROPOSAL_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Most proposed changes that nobody has decided about.
const PROPOSALS_OPEN_MAX: usize = 100;
/// Most proposed changes that are listed.
const PROPOSALS_LISTED_MAX: usize = 200;
/// Names that only the hub itself acts under.
const ACTORS_RESERVED: [&str; 2] = ["hub", "operator:config"];

/// The registry of a hub.
pub(super) struct Registry {
    shared: Arc<Shared>,
    installer: Arc<Installer>,
    /// What lies in the archive.
    store: Arc<Store>,
    /// Whose signatures count, as it was declared.
    declared: ArcSwap<Trust>,
    /// Keys that were revoked at the hub itself.
    revoked: ArcSwap<BTreeMap<KeyId, RevokedKey>>,
    /// Told when either changes.
    trust_changed: Notify,
    /// Held over each change, so that every picture is made from the latest.
    changing: Mutex<()>,
    /// Held while a package is judged, so that one that is only asked about is not taken for one that is taken in.
    judging: Mutex<()>,
    /// Room for replays.
    replays: Semaphore,
    /// Room for comparisons of versions.
    comparisons: Semaphore,
}

impl Registry {
    pub(super) fn new(shared: Arc<Shared>, installer: Arc<Installer>, store: Arc<Store>) -> Self {
        let replays = Semaphore::new(replay::AT_ONCE);
        Self {
            shared,
            installer,
            store,
            declared: ArcSwap::default(),
            revoked: ArcSwap::default(),
            trust_changed: Notify::new(),
            changing: Mutex::default(),
            judging: Mutex::default(),
            replays,
            comparisons: Semaphore::new(gate::COMPARED_AT_ONCE),
        }
    }

    /// The turn to change what serves: whoever holds it makes the next picture.
    pub(super) async fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Takes in a version.
    pub(super) async fn publish(
        &self,
        plugin: PluginId,
        upload: Bytes,
        draft: bool,
        who: Who,
    ) -> Result<Published, RegistryError> {
        let cause = cause(&who)?;
        let upload = unpacked(&plugin, upload).await?;
        let _changing = self.changing.lock().await;
        let now = self.shared.installation.load_full();
        let (id, version, digest) =
            (upload.package.manifest.id.clone(), upload.package.manifest.version.clone(), upload.package.digest);
        let first = !now.plugins.contains_key(&id);
        let unchanged = || {
            let record = now.version_record(&id, &version);
            let notes = vec!["exactly this version was published before; nothing has changed".to_owned()];
            Published { plugin: id.clone(), version: version.clone(), digest, record, unchanged: true, notes }
        };
        if self.installer.is_there(&now, &upload.package).map_err(install_refused)? {
            return match self.installer.differs(&upload.package).await.map_err(install_refused)? {
                Some(what) => Err(RegistryError::Taken { problem: taken(&named(&id, &version), what) }),
                None => Ok(unchanged()),
            };
        }
        // Before anything of it is kept: what a draft brought is not lost to one that is refused.
        let judged = self.judge(&now, &upload.package.folder).await?;
        self.check_brought(&upload.package.manifest, &upload.package.schemas.events)
            .map_err(schemas::refused_version)?;
        let prepared = self.installer.prepare(&now, upload.package.clone()).await.map_err(install_refused)?;
        let Some(prepared) = prepared else { return Ok(unchanged()) };
        let (manifest, brought) = (&upload.package.manifest, &upload.package.schemas.events);
        if !draft {
            self.take_brought(&cause, manifest, brought).await.map_err(schemas::refused_version)?;
        }
        let now = self.shared.installation.load_full();
        // The line is bound before the version is there, so that it does not begin to serve by being the latest.
        let mut puts = Vec::new();
        puts.extend(plan::pinned(&now, &id));
        let state = if draft { VersionState::Draft } else { VersionState::Published };
        let record = VersionRecord::of(state);
        if now.version_record(&id, &version) != record {
            puts.push(Put::version("plugin.publish", &version, record.clone()));
        }
        self.record(&cause, &id, &puts).await?;
        self.installer.keep(&cause, "plugin.publish", &prepared).await.map_err(install_refused)?;
        let mut next = applied(&now, &id, &puts);
        add_plugin(&mut next, prepared.plugin);
        self.installer.reopen(&mut next);
        self.shared.installation.store(Arc::new(next));
        let next = if draft {
            format!("it is a draft: `crossdock plugin release {id} {version}` makes it final")
        } else {
            format!(
                "it serves nobody yet: `crossdock plugin promote {id} {version}`, or try it with `shadow` or `canary`"
            )
        };
        let mut notes = vec![next];
        notes.extend(judged);
        if first {
            notes.push("it is the first version of its line".to_owned());
        }
        Ok(Published { plugin: id, version, digest, record, unchanged: false, notes })
    }

    /// Takes in a version that the operator's configuration names, through the same gate; it serves at once unless the line
    /// is bound. Nothing, if it is there already.
    pub(super) async fn declare(&self, cause: &Cause, package: Package) -> Result<(), RegistryError> {
        let _changing = self.changing.lock().await;
        let now = self.shared.installation.load_full();
        let (manifest, brought, folder) =
            (package.manifest.clone(), package.schemas.events.clone(), package.folder.clone());
        // An earlier release, which knew nothing of its events, may have installed it.
        if self.installer.is_there(&now, &package).map_err(install_refused)? {
            return self.take_brought(cause, &manifest, &brought).await.map_err(schemas::refused_version);
        }
        for note in self.judge(&now, &folder).await? {
            tracing::info!(plugin = %manifest.id, version = %manifest.version, note, "the publish gate has a note");
        }
        let prepared = self.installer.prepare(&now, package).await.map_err(install_refused)?;
        let Some(prepared) = prepared else { return Ok(()) };
        self.take_brought(cause, &manifest, &brought).await.map_err(schemas::refused_version)?;
        let now = self.shared.installation.load_full();
        if now.line(&manifest.id, None).is_some() {
            let version = manifest.version.to_string();
            tracing::info!(plugin = %manifest.id, version, "it is published; the line is bound, so it serves once promoted");
        }
        self.installer.keep(cause, "plugin.install", &prepared).await.map_err(install_refused)?;
        let mut next = copy(&now);
        add_plugin(&mut next, prepared.plugin);
        self.installer.reopen(&mut next);
        self.shared.installation.store(Arc::new(next));
        Ok(())
    }

    /// Makes a change, or proposes it if one person is not enough.
    pub(super) async fn change(&self, request: ChangeRequest) -> Result<Changed, RegistryError> {
        let cause = cause(&request.who)?;
        // It takes its time, in which nobody else is kept from changing something.
        let replayed = self.replay_for(&request).await?;
        let _changing = self.changing.lock().await;
        let begun = Instant::now();
        let now = self.shared.installation.load_full();
        let planned = self.plan(&now, &request, replayed.as_ref()).await?;
        if planned.because.is_empty() {
            return self.make(&now, &cause, &request, planned, begun).await.map(Changed::Done);
        }
        let open = self.proposals().await?.iter().filter(|other| other.state == ProposalState::Open).count();
        if open >= PROPOSALS_OPEN_MAX {
            let problem = format!("{open} changes wait for a second person already: decide about those first");
            return Err(RegistryError::Conflict { problem });
        }
        let time = self.shared.clock.now();
        let act = serde_json::to_string(&request.act).unwrap_or_default();
        let parts = [request.plugin.as_str().as_bytes(), act.as_bytes(), &time.millis().to_be_bytes()];
        let digits = hex(hash32("crossdock change 1", &parts).iter().take(6));
        let ChangeRequest { who, plugin, pipeline, act, force, .. } = request;
        let proposal = Proposal {
            id: format!("chg_{digits}"),
            time,
            actor: who.actor,
            reason: who.reason,
            plugin,
            pipeline,
            act,
            force,
            because: planned.because,
            state: ProposalState::Open,
        };
        self.put(&cause, "change.propose", &format!("change/{}", proposal.id), &proposal).await?;
        Ok(Changed::Proposed(Box::new(proposal)))
    }

    /// Carries out what was planned.
    async fn make(
        &self,
        now: &Installation,
        cause: &Cause,
        request: &ChangeRequest,
        planned: Planned,
        begun: Instant,
    ) -> Result<Done, RegistryError> {
        let id = &request.plugin;
        let reason = match &planned.evidence {
            Some(evidence) => format!("{} ({evidence})", cause.reason),
            None => cause.reason.clone(),
        };
        let cause = &Cause { actor: cause.actor.clone(), reason };
        if let Act::Publish { version } = &request.act
            && let Some(plugin) = now.version(id, version)
        {
            let brought = self.take_brought(cause, &plugin.manifest, &plugin.schemas.events).await;
            brought.map_err(schemas::refused_version)?;
        }
        let now = &*self.shared.installation.load_full();
        let checked = Instant::now();
        self.record(cause, id, &planned.puts).await?;
        let recorded = Instant::now();
        if let Some((plugin, revoked)) = &planned.revokes {
            plugin.live.set_revoked(*revoked);
        }
        let mut next = applied(now, id, &planned.puts);
        self.installer.reopen(&mut next);
        let next = Arc::new(next);
        let ready = Instant::now();
        self.shared.installation.store(next);
        let swapped = Instant::now();
        let us = |from: Instant, to: Instant| u64::try_from((to - from).as_micros()).unwrap_or(u64::MAX);
        let took = Took {
            checks_us: us(begun, checked) + us(recorded, ready),
            record_us: us(checked, recorded),
            swap_us: us(ready, swapped),
        };
        let Planned { version, summary, notes, .. } = planned;
        tracing::info!(plugin = %id, summary, actor = cause.actor, swap_us = took.swap_us, "the registry has changed");
        metrics::counter!("crossdock_registry_changes_total", "action" => request.act.verb()).increment(1);
        Ok(Done { plugin: id.clone(), version, summary, notes, took })
    }

    /// Agrees to a proposed change, or declines it.
    pub(super) async fn decide(&self, id: &str, approved: bool, who: Who) -> Result<Option<Changed>, RegistryError> {
        let own = cause(&who)?;
        let key = format!("change/{id}");
        let asked = self.proposal(id).await?;
        let open = matches!(asked.state, ProposalState::Open) && !is_same_person(&asked.actor, &who.actor);
        let replayed = if approved && open { self.replay_for(&request_of(&asked)).await? } else { None };
        let _changing = self.changing.lock().await;
        let begun = Instant::now();
        let mut proposal = self.proposal(id).await?;
        let time = self.shared.clock.now();
        match &proposal.state {
            ProposalState::Open => {}
            ProposalState::Approved { by, .. } => {
                return Err(RegistryError::Conflict { problem: format!("`{by}` agreed to this change before") });
            }
            ProposalState::Rejected { by, .. } => {
                return Err(RegistryError::Conflict { problem: format!("`{by}` declined this change before") });
            }
        }
        if !approved {
            proposal.state = ProposalState::Rejected { by: who.actor, at: time };
            self.put(&own, "change.reject", &key, &proposal).await?;
            return Ok(None);
        }
        if is_same_person(&proposal.actor, &who.actor) {
            return Err(RegistryError::SamePerson { actor: proposal.actor });
        }
        if time.since(proposal.time) > PROPOSAL_MS_MAX {
            let problem = "the change was asked for more than a week ago; ask for it again".to_owned();
            return Err(RegistryError::Conflict { problem });
        }
        let request = request_of(&proposal);
        let now = self.shared.installation.load_full();
        // Looked at again: much may have changed since it was asked for.
        let planned = self.plan(&now, &request, replayed.as_ref()).await?;
        if let Some(more) = planned.because.iter().find(|because| !proposal.because.contains(because)) {
            let problem = format!("since it was asked for, this came up: {more}; ask for it again");
            return Err(RegistryError::Conflict { problem });
        }
        // Whoever agreed can do so again as long as nothing is recorded of it.
        if let Act::Publish { version } = &request.act
            && let Some(plugin) = now.version(&request.plugin, version)
        {
            self.check_brought(&plugin.manifest, &plugin.schemas.events).map_err(schemas::refused_version)?;
        }
        let reason = format!("{} (asked for by {}: {})", who.reason, proposal.actor, proposal.reason);
        let cause = Cause { actor: who.actor.clone(), reason };
        proposal.state = ProposalState::Approved { by: who.actor, at: time };
        self.put(&own, "change.approve", &key, &proposal).await?;
        self.make(&now, &cause, &request, planned, begun).await.map(|done| Some(Changed::Done(done)))
    }

    async fn proposal(&self, id: &str) -> Result<Proposal, RegistryError> {
        let unknown = || RegistryError::UnknownChange { id: id.to_owned() };
        let known = id.strip_prefix("chg_").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if !known {
            return Err(unknown());
        }
        let key = format!("change/{id}");
        let stored = self.installer.records.get(&key).await.map_err(|error| unavailable(&error))?;
        read(&key, &stored.ok_or_else(unknown)?).map_err(install_refused)
    }

    /// Changes that were proposed, the latest first.
    pub(super) async fn proposals(&self) -> Result<Vec<Proposal>, RegistryError> {
        let mut proposals = Vec::new();
        for (key, stored) in self.installer.all("change/").await.map_err(install_refused)? {
            proposals.push(read::<Proposal>(&key, &stored).map_err(install_refused)?);
        }
        proposals.sort_by_key(|proposal| std::cmp::Reverse(proposal.time));
        proposals.truncate(PROPOSALS_LISTED_MAX);
        Ok(proposals)
    }

    /// Takes back canaries that went too far, until the hub stops. They serve nobody from the moment on at which they did.
    pub(super) async fn keep_trials(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.shared.trials.over.notified() => {}
                () = self.shared.stopping.cancelled() => return,
            }
            if let Err(error) = self.stop_trials().await {
                tracing::error!(error = &error as &dyn std::error::Error, "a canary cannot be taken back");
            }
        }
    }

    async fn stop_trials(&self) -> Result<(), RegistryError> {
        let _changing = self.changing.lock().await;
        let now = self.shared.installation.load_full();
        for (id, lines) in &now.lines {
            let everywhere = lines.everywhere.iter().map(|line| (None, line));
            let all = everywhere.chain(lines.pipelines.iter().map(|(name, line)| (Some(name.clone()), line)));
            for (pipeline, line) in all {
                let Some(why) = line.counts.as_ref().and_then(|counts| counts.why()) else { continue };
                let Ok(without) = binding::withdraw(&line.line) else { continue };
                let puts = [Put::line("line.canary-stop", pipeline, without)];
                self.record(&Cause::hub(format!("the canary is taken back: {why}")), id, &puts).await?;
                // From the latest picture: several lines may be over at once.
                let mut next = applied(&self.shared.installation.load_full(), id, &puts);
                self.installer.reopen(&mut next);
                self.shared.installation.store(Arc::new(next));
                let version = line.line.candidate.as_ref().map(|candidate| candidate.version.to_string());
                tracing::warn!(plugin = %id, version, why, "a canary was taken back");
                metrics::counter!("crossdock_canaries_stopped_total").increment(1);
            }
        }
        Ok(())
    }

    async fn record(&self, cause: &Cause, id: &PluginId, puts: &[Put]) -> Result<(), RegistryError> {
        for put in puts {
            match put {
                Put::Version { action, version, record } => {
                    self.put(cause, action, &format!("version/{id}/{version}"), record).await?;
                }
                Put::Line { action, pipeline, line } => {
                    let below = pipeline.as_ref().map_or_else(String::new, |pipeline| format!("/{pipeline}"));
                    self.put(cause, action, &format!("line/{id}{below}"), line).await?;
                }
            }
        }
        Ok(())
    }

    async fn put(
        &self,
        cause: &Cause,
        action: &str,
        key: &str,
        value: &impl serde::Serialize,
    ) -> Result<(), RegistryError> {
        self.installer.put_as(cause, action, key, value).await.map_err(install_refused)
    }
}

/// What was asked for by a change that was proposed.
fn request_of(proposal: &Proposal) -> ChangeRequest {
    ChangeRequest {
        who: Who { actor: proposal.actor.clone(), reason: proposal.reason.clone() },
        plugin: proposal.plugin.clone(),
        pipeline: proposal.pipeline.clone(),
        act: proposal.act.clone(),
        force: proposal.force,
        // Who asked for it said so.
        accept_impact: true,
    }
}

/// The picture after a change.
fn applied(now: &Installation, id: &PluginId, puts: &[Put]) -> Installation {
    let mut next = copy(now);
    for put in puts {
        match put {
            Put::Version { version, record, .. } => {
                next.states.entry(id.clone()).or_default().insert(version.clone(), record.clone());
            }
            Put::Line { pipeline: None, line, .. } => {
                let lines = next.lines.entry(id.clone()).or_default();
                lines.everywhere = Some(LineInUse::new(line.clone(), lines.everywhere.as_ref()));
            }
            Put::Line { pipeline: Some(pipeline), line, .. } => {
                let lines = next.lines.entry(id.clone()).or_default();
                let line = LineInUse::new(line.clone(), lines.pipelines.get(pipeline));
                lines.pipelines.insert(pipeline.clone(), line);
            }
        }
    }
    next
}

/// Who changes something, and why, held to their bounds.
pub(super) fn cause(who: &Who) -> Result<Cause, RegistryError> {
    let invalid = |problem: String| Err(RegistryError::Invalid { problem });
    let Who { actor, reason } = who;
    if actor.trim().is_empty() || reason.trim().is_empty() {
        return invalid("say who changes this and why: `actor` and `reason` are required".to_owned());
    }
    if actor.len() > ACTOR_BYTES_LIMIT || reason.len() > REASON_BYTES_LIMIT {
        let limits = format!("`actor` is at most {ACTOR_BYTES_LIMIT} bytes, `reason` {REASON_BYTES_LIMIT}");
        return invalid(limits);
    }
    if ACTORS_RESERVED.iter().any(|reserved| is_same_person(reserved, actor)) {
        return invalid(format!("`{actor}` stands for the hub itself; name a person"));
    }
    Ok(Cause { actor: actor.trim().to_owned(), reason: reason.trim().to_owned() })
}

/// An upload, unpacked and read.
async fn unpacked(plugin: &PluginId, upload: Bytes) -> Result<publish::Upload, RegistryError> {
    let unpacked = tokio::task::spawn_blocking(move || publish::read_upload(&upload)).await;
    let upload = unpacked
        .map_err(|error| RegistryError::Unavailable { reason: error.to_string() })?
        .map_err(|error| upload_refused(&error))?;
    if upload.package.manifest.id != *plugin {
        let problem = format!("the upload is `{}`, and not `{plugin}`", upload.package.manifest.id);
        return Err(RegistryError::Invalid { problem });
    }
    Ok(upload)
}

/// That a version is there with something else.
fn taken(named: &str, what: &str) -> String {
    format!(
        "{named} is published with other {what}, and a published version never changes: raise `version` in plugin.toml"
    )
}

/// An error with everything that led to it.
fn upload_refused(error: &UploadError) -> RegistryError {
    RegistryError::Refused { problem: with_source(error), findings: Vec::new() }
}

fn install_refused(error: InstallError) -> RegistryError {
    let problem = with_source(&error);
    match error {
        InstallError::VersionTaken { .. } => RegistryError::Taken { problem },
        InstallError::Record { .. }
        | InstallError::Audit { .. }
        | InstallError::Blob { .. }
        | InstallError::Damaged { .. }
        | InstallError::MissingComponent { .. } => RegistryError::Unavailable { reason: problem },
        _ => RegistryError::Refused { problem, findings: Vec::new() },
    }
}

fn unavailable(error: &dyn std::error::Error) -> RegistryError {
    RegistryError::Unavailable { reason: with_source(error) }
}

/// The line to change: as it is recorded, or as it is without anybody having bound it.
fn line_of(now: &Installation, id: &PluginId, pipeline: Option<&str>) -> Line {
    let lines = now.lines.get(id);
    let recorded = match pipeline {
        Some(pipeline) => lines.and_then(|lines| lines.pipelines.get(pipeline)),
        None => lines.and_then(|lines| lines.everywhere.as_ref()),
    };
    recorded.map(|recorded| recorded.line.clone()).unwrap_or_else(|| {
        let active = now.bound_version(id, pipeline).map(|plugin| plugin.manifest.version.clone());
        Line { active, ..Line::default() }
    })
}

/// A version in words.
fn named(id: &PluginId, version: &Version) -> String {
    format!("{id}@{version}")
}

/// Where a change holds, in words.
fn place(pipeline: Option<&str>) -> String {
    pipeline.map_or_else(String::new, |pipeline| format!(" in pipeline `{pipeline}`"))
}

/// Whether an act brings a version to serve, or near it.
fn binds(act: &Act) -> bool {
    matches!(act, Act::Stage { .. } | Act::Shadow { .. } | Act::Canary { .. } | Act::Promote { .. })
}

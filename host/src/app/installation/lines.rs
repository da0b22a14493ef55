//! Which version of a plugin's line serves: looked up anew for each call, in the picture that the call was decided in.
//!
//! A line that nobody has bound follows its latest version, as before the registry did; the first change to it binds it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use semver::{Version, VersionReq};
use tokio::sync::watch;

use super::{Bound, Installation, OpenConnection, Plugin, TableVersion};
use crate::{
    app::trial::Counts,
    flow::{
        document::Document,
        machine::effect::{Bindings, OperationUse, Pick, Unserved},
        plan::{PluginRange, TableRange},
    },
    model::{
        entry::PluginUse,
        id::PluginId,
        manifest::Doubt,
        registry::{Line, Trial, VersionRecord, VersionState},
        table::TableUse,
    },
    policy::{binding, lifecycle},
};

/// The states of versions, by line.
pub type States = BTreeMap<PluginId, BTreeMap<Version, VersionRecord>>;
/// A connection under other versions of its plugin than the one that serves it, by its name.
pub type Alternates = HashMap<String, Vec<Arc<OpenConnection>>>;

/// A line: everywhere, and in pipelines of their own.
#[derive(Clone, Default)]
pub struct Lines {
    /// Everywhere; absent: it follows the latest version.
    pub everywhere: Option<LineInUse>,
    /// In single pipelines, by name.
    pub pipelines: BTreeMap<String, LineInUse>,
}

/// A line as it was recorded, with what its trial has come to since this start.
#[derive(Clone)]
pub struct LineInUse {
    /// What is recorded.
    pub line: Line,
    /// Of its candidate.
    pub counts: Option<Arc<Counts>>,
}

impl LineInUse {
    /// A line; what was counted goes on if the same is tried in the same way.
    #[must_use]
    pub fn new(line: Line, before: Option<&Self>) -> Self {
        let kept = before.filter(|before| before.line.candidate == line.candidate);
        let counts = match (&line.candidate, kept.and_then(|before| before.counts.clone())) {
            (None, _) => None,
            (Some(_), Some(counts)) => Some(counts),
            (Some(_), None) => Some(Arc::default()),
        };
        Self { line, counts }
    }
}

/// What goes on with a version at this moment. Shared by all pictures that the version is in.
pub struct Live {
    revoked: watch::Sender<bool>,
    calls: AtomicUsize,
}

impl Default for Live {
    fn default() -> Self {
        Self { revoked: watch::Sender::new(false), calls: AtomicUsize::new(0) }
    }
}

/// A call of a version, while it lasts.
pub struct Calling<'a>(&'a Live);

impl Live {
    /// Whether no call of it may begin or go on.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        *self.revoked.borrow()
    }

    /// Ends every call of it, in whatever picture; or lets them begin again.
    pub fn set_revoked(&self, revoked: bool) {
        self.revoked.send_replace(revoked);
    }

    /// Resolves when it is revoked.
    pub async fn revoked(&self) {
        let mut watching = self.revoked.subscribe();
        // INVARIANT: the sender is part of `self`, so it is not gone.
        let _ = watching.wait_for(|revoked| *revoked).await;
    }

    /// Counts a call for as long as it is held.
    pub fn begin(&self) -> Calling<'_> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Calling(self)
    }

    /// Makes a call, unless it is revoked; absent: it is, and the call has not begun or was ended.
    pub async fn unless_revoked<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        if self.is_revoked() {
            return None;
        }
        let _calling = self.begin();
        tokio::select! {
            biased;
            made = call => Some(made),
            () = self.revoked() => None,
        }
    }

    /// Calls that are under way.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Installation {
    /// Forgets what trials quoted of runs: examples, which need not be those that personal data was erased of.
    pub fn forget_samples(&self) {
        let lines = self.lines.values().flat_map(|lines| lines.everywhere.iter().chain(lines.pipelines.values()));
        lines.filter_map(|bound| bound.counts.as_ref()).for_each(|counts| counts.forget_samples());
    }
}

impl Plugin {
    /// Whether a record names exactly this.
    #[must_use]
    pub fn is(&self, used: &PluginUse) -> bool {
        self.inspection.digest == used.digest && self.pure.version == used.version
    }
}

impl Installation {
    /// How a version is recorded.
    #[must_use]
    pub fn version_record(&self, id: &PluginId, version: &Version) -> VersionRecord {
        self.states.get(id).and_then(|versions| versions.get(version)).cloned().unwrap_or_default()
    }

    /// Where a version stands.
    #[must_use]
    pub fn state(&self, id: &PluginId, version: &Version) -> VersionState {
        self.states
            .get(id)
            .and_then(|versions| versions.get(version))
            .map_or(VersionState::Published, |record| record.state)
    }

    /// An installed version.
    #[must_use]
    pub fn version(&self, id: &PluginId, version: &Version) -> Option<&Arc<Plugin>> {
        self.plugins.get(id)?.get(version)
    }

    /// Exactly the version that a record names.
    #[must_use]
    pub fn used(&self, used: &PluginUse) -> Option<&Arc<Plugin>> {
        let version: Version = used.version.parse().ok()?;
        let found = self.version(&used.id, &version).filter(|plugin| plugin.is(used));
        found.or_else(|| self.by_digest.get(&used.digest))
    }

    /// The line as it is recorded for a pipeline, or else for all.
    #[must_use]
    pub fn line(&self, id: &PluginId, pipeline: Option<&str>) -> Option<&LineInUse> {
        let lines = self.lines.get(id)?;
        pipeline.and_then(|pipeline| lines.pipelines.get(pipeline)).or(lines.everywhere.as_ref())
    }

    /// The version that a line is bound to, whether it may be called or not; for one that nobody has bound, the latest
    /// that may.
    #[must_use]
    pub fn bound_version(&self, id: &PluginId, pipeline: Option<&str>) -> Option<&Arc<Plugin>> {
        match self.line(id, pipeline) {
            Some(bound) => self.version(id, bound.line.active.as_ref()?),
            None => self.followed(id, None),
        }
    }

    /// The latest version that may serve and suits.
    fn followed(&self, id: &PluginId, range: Option<&VersionReq>) -> Option<&Arc<Plugin>> {
        let versions = self.plugins.get(id)?.iter().rev();
        let mut serving = versions.filter(|(version, _)| lifecycle::may_serve(self.state(id, version)));
        serving.find(|(version, _)| range.is_none_or(|range| range.matches(version))).map(|(_, plugin)| plugin)
    }

    /// The version that serves a line outside a pipeline's pure steps: a connection, a webhook source.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    pub fn serving(&self, id: &PluginId) -> Result<&Arc<Plugin>, Unserved> {
        let plugin = self.bound_version(id, None).ok_or_else(|| self.unserved(id, None))?;
        if plugin.live.is_revoked() { Err(revoked(plugin)) } else { Ok(plugin) }
    }

    fn unserved(&self, id: &PluginId, range: Option<&VersionReq>) -> Unserved {
        let wanted = range.map_or_else(String::new, |range| format!(" matches `{range}`"));
        let problem = match self.plugins.get(id) {
            None if range.is_none() => format!("plugin `{id}` is not installed"),
            None => format!("no installed version of plugin `{id}`{wanted}: install one"),
            Some(_) => format!("no version of plugin `{id}` that serves{wanted}: promote one"),
        };
        problem.into()
    }

    /// The version that serves a pure step, and whether it does so as a canary.
    fn pick(
        &self,
        wanted: &PluginRange,
        pipeline: &str,
        key: &str,
        pick: Pick<'_>,
    ) -> Result<(&Arc<Plugin>, bool), Unserved> {
        let PluginRange { id, range } = wanted;
        let none = || self.unserved(id, Some(range));
        let Some(bound) = self.line(id, Some(pipeline)) else {
            return self
                .followed(id, Some(range))
                .map(|plugin| (plugin, false))
                .ok_or_else(|| self.only_revoked(wanted));
        };
        if matches!(pick, Pick::Bound)
            && let Some(version) = bound.canary_for(id, key)
            && range.matches(version)
            && let Some(plugin) = self.version(id, version).filter(|plugin| !plugin.live.is_revoked())
        {
            return Ok((plugin, true));
        }
        let active = bound.line.active.as_ref().ok_or_else(none)?;
        if range.matches(active) {
            let plugin = self.version(id, active).ok_or_else(none)?;
            return if plugin.live.is_revoked() { Err(revoked(plugin)) } else { Ok((plugin, false)) };
        }
        // A run of an older pipeline goes on with the version that served it.
        let earlier = bound.line.earlier.iter().rev();
        let mut suiting = earlier.filter(|version| range.matches(version));
        let found = suiting.find(|version| lifecycle::may_serve(self.state(id, version)));
        found.and_then(|version| self.version(id, version)).map(|plugin| (plugin, false)).ok_or_else(|| Unserved {
            code: "binding.missing",
            problem: format!(
                "plugin `{id}` is served by {active}, and this pipeline takes `{range}`: promote a version that suits, or \
                 bind one for this pipeline alone"
            ),
        })
    }

    /// Why a line that follows its latest version has none.
    fn only_revoked(&self, wanted: &PluginRange) -> Unserved {
        let versions = self.plugins.get(&wanted.id).into_iter().flatten();
        let mut suiting = versions.filter(|(version, _)| wanted.range.matches(version)).map(|(_, plugin)| plugin);
        match suiting.rfind(|plugin| plugin.live.is_revoked()) {
            Some(plugin) => revoked(plugin),
            None => self.unserved(&wanted.id, Some(&wanted.range)),
        }
    }

    /// A connection under exactly the version that a record names, as long as that may be called.
    fn connection_with(&self, open: &Arc<OpenConnection>, used: &PluginUse) -> Option<Arc<OpenConnection>> {
        let others = self.alternates.get(&open.name).into_iter().flatten();
        let mut all = std::iter::once(open).chain(others);
        all.find(|open| open.plugin.is(used) && !open.plugin.live.is_revoked()).cloned()
    }

    /// The connection that a name of a pipeline stands for, under the version that the call was decided for.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    pub fn connection_for(
        &self,
        pipeline: &str,
        name: &str,
        used: &PluginUse,
    ) -> Result<Arc<OpenConnection>, Unserved> {
        if let Some(decided) = self.decided(used) {
            return Ok(decided);
        }
        let open = self.connection(pipeline, name)?;
        self.connection_with(open, used).ok_or_else(|| revoked(&open.plugin))
    }
}

impl LineInUse {
    /// The version on trial, if it serves a key.
    fn canary_for(&self, id: &PluginId, key: &str) -> Option<&Version> {
        let candidate = self.line.candidate.as_ref()?;
        let Trial::Canary { percent, .. } = candidate.trial else { return None };
        let stopped = self.counts.as_ref().is_some_and(|counts| counts.is_over());
        (!stopped && binding::serves_key(id, &candidate.version, percent, key)).then_some(&candidate.version)
    }
}

/// What is said where a revoked version would be called.
#[must_use]
pub fn revoked(plugin: &Plugin) -> Unserved {
    let (id, version) = (&plugin.manifest.id, &plugin.manifest.version);
    Unserved {
        code: "plugin.revoked",
        problem: format!(
            "version {version} of plugin `{id}` is revoked: promote another (`crossdock plugin promote {id} VERSION`) or \
             roll back (`crossdock plugin rollback {id}`), then resume the run"
        ),
    }
}

impl Bindings for Bound<'_> {
    fn plugin(&self, range: &PluginRange, pick: Pick<'_>) -> Result<Arc<PluginUse>, Unserved> {
        let (plugin, canary) = self.installation.pick(range, self.pipeline, self.key, pick)?;
        Ok(if canary { as_canary(&plugin.pure) } else { Arc::clone(&plugin.pure) })
    }

    fn operation(&self, connection: &str, operation: &str, pick: Pick<'_>) -> Result<OperationUse, Unserved> {
        let made = match pick {
            Pick::Same(made) | Pick::Begun { with: made, .. } => Some(made),
            Pick::Bound | Pick::Active => None,
        };
        let known = made.and_then(|made| self.installation.same_system(made.grant));
        let is_known = known.is_some();
        let systems = match known {
            Some(known) => known,
            None => {
                let bound = self.installation.connection(self.pipeline, connection)?;
                let others = self.installation.alternates.get(&bound.name).into_iter().flatten();
                std::iter::once(bound).chain(others).cloned().collect()
            }
        };
        let first = systems.first().ok_or_else(|| {
            format!(
                "the connection that the run began with under `{connection}` cannot be opened any more: see the log"
            )
        })?;
        let elsewhere = !is_known && made.is_some_and(|made| made.grant != first.revision);
        let id = &first.connection.plugin;
        let under = |used: &PluginUse| {
            systems.iter().find(|open| open.plugin.is(used) && !open.plugin.live.is_revoked()).cloned()
        };
        let (open, canary) = match pick {
            Pick::Same(made) => (under(made), made.canary),
            Pick::Active | Pick::Begun { active_only: true, .. } => (None, false),
            Pick::Bound | Pick::Begun { .. } => {
                let line = self.installation.line(id, None);
                let version = line.and_then(|line| line.canary_for(id, self.key));
                let plugin = version.and_then(|version| self.installation.version(id, version));
                (plugin.and_then(|plugin| under(&plugin.pure)), true)
            }
        };
        let (open, canary) = open.map_or_else(|| (Arc::clone(first), false), |open| (open, canary));
        if open.plugin.live.is_revoked() {
            return Err(revoked(&open.plugin));
        }
        let declared = open.plugin.manifest.operations.get(operation).ok_or_else(|| {
            format!("plugin `{}` of connection `{}` has no operation `{operation}`", open.plugin.manifest.id, open.name)
        })?;
        // A find that the manifest names but does not have would leave doubt for ever.
        let doubt = match &declared.doubt {
            Doubt::NaturalKey { find, .. } if !open.plugin.manifest.operations.contains_key(find) => Doubt::None,
            other => other.clone(),
        };
        let plugin = if canary { as_canary(&open.used) } else { Arc::clone(&open.used) };
        Ok(OperationUse { plugin, doubt, elsewhere })
    }

    fn table(&self, wanted: &TableRange) -> Result<(TableUse, Document), Unserved> {
        let unserved = match self.installation.table(wanted) {
            Ok(served) => return Ok(served),
            Err(unserved) => unserved,
        };
        // A run of a version that new runs do not start on any more: what served it goes on doing so.
        let TableRange { name, range, .. } = wanted;
        let is_this = |(_, used): (&str, &TableRange)| used.name == *name && used.range == *range;
        if self.installation.pipelines.get(self.pipeline).is_some_and(|serving| serving.plan.tables().any(is_this)) {
            return Err(unserved);
        }
        let table = self.installation.tables.get(name);
        let before = table.and_then(|table| {
            let (version, kept) = table.before(range)?;
            Some((used(wanted, version, kept), table.earlier.get(version)?.clone()))
        });
        before.ok_or(unserved)
    }
}

impl Installation {
    /// The version of a table that serves, and its rows, if they are taken.
    ///
    /// # Errors
    /// What does not serve, and what to do about it.
    pub fn table(&self, wanted: &TableRange) -> Result<(TableUse, Document), Unserved> {
        let TableRange { name, range, .. } = wanted;
        let table = self.tables.get(name).ok_or_else(|| {
            format!("there is no table `{name}`: draft it, have it approved and promote it (`crossdock table draft`)")
        })?;
        let none = || format!("no version of table `{name}` serves: promote one (`crossdock table promote`)");
        let ((version, active), rows) = table.active().zip(table.rows.clone()).ok_or_else(none)?;
        if !range.matches(version) {
            let problem = format!("table `{name}` serves {version}, and this pipeline takes `{range}`");
            return Err(format!("{problem}: promote a version that suits").into());
        }
        Ok((used(wanted, version, active), rows))
    }
}

fn used(wanted: &TableRange, version: &Version, kept: &TableVersion) -> TableUse {
    let TableRange { alias, name, .. } = wanted;
    TableUse { alias: alias.clone(), name: name.clone(), version: version.to_string(), digest: kept.record.digest }
}

fn as_canary(used: &PluginUse) -> Arc<PluginUse> {
    Arc::new(PluginUse { canary: true, ..used.clone() })
}

#[cfg(test)]
mod tests;

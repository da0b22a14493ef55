//! What there is in the registry, for people and programs.

use semver::Version;

use super::{Registry, plan};
use crate::{
    app::installation::{Installation, Plugin, lines::LineInUse},
    model::{
        id::PluginId,
        registry::{Trial, VersionState},
    },
    policy::{effective, lifecycle},
    ports::{
        hub::PluginView,
        registry::{CandidateView, Effective, LineView, PluginDetail, RegistryError, VersionView},
    },
};

impl Registry {
    /// A line with its versions.
    pub(in crate::app) fn plugin(&self, id: &PluginId) -> Result<PluginDetail, RegistryError> {
        let now = self.shared.installation.load_full();
        let versions = now.plugins.get(id).ok_or_else(|| unknown(&now, id))?;
        let mut shown: Vec<VersionView> = versions.values().map(|plugin| version_view(&now, plugin)).collect();
        shown.reverse();
        Ok(PluginDetail { plugin: id.clone(), versions: shown, bindings: lines(&now, id) })
    }

    /// Which versions serve, by line.
    pub(in crate::app) fn bindings(&self) -> Vec<LineView> {
        let now = self.shared.installation.load_full();
        now.plugins.keys().flat_map(|id| lines(&now, id)).collect()
    }

    /// What a version may touch and use.
    pub(in crate::app) fn effective(
        &self,
        id: &PluginId,
        version: Option<&Version>,
    ) -> Result<Effective, RegistryError> {
        let now = self.shared.installation.load_full();
        let versions = now.plugins.get(id).ok_or_else(|| unknown(&now, id))?;
        let plugin = match version {
            Some(version) => plan::find(&now, id, version)?,
            None => now
                .bound_version(id, None)
                .or_else(|| versions.values().next_back())
                .ok_or_else(|| unknown(&now, id))?,
        };
        let connections = now.connections.iter().filter(|(_, open)| open.connection.plugin == *id);
        let connections: Vec<_> = connections.map(|(name, open)| (name.as_str(), &open.connection)).collect();
        let mut parts = effective::parts(&plugin.manifest, &plugin.inspection.imports, &connections);
        if let Some(why) = lifecycle::called_no_more(now.state(id, &plugin.manifest.version)) {
            effective::deny_all(&mut parts, why);
        }
        let version = plugin.manifest.version.clone();
        Ok(Effective { plugin: id.clone(), version, digest: plugin.inspection.digest, parts, withheld: false })
    }
}

pub(super) fn unknown(now: &Installation, id: &PluginId) -> RegistryError {
    let known: Vec<&str> = now.plugins.keys().map(PluginId::as_str).collect();
    RegistryError::Unknown { what: format!("plugin `{id}`"), known: known.join(", ") }
}

fn version_view(now: &Installation, plugin: &Plugin) -> VersionView {
    let (id, version) = (&plugin.manifest.id, &plugin.manifest.version);
    VersionView {
        version: version.clone(),
        digest: plugin.inspection.digest,
        kind: plugin.manifest.kind,
        record: now.version_record(id, version),
        part: part(now, plugin),
        calls: plugin.live.calls(),
        golden: plugin.golden.is_some(),
    }
}

/// Every installed version, by line.
pub(in crate::app) fn installed(now: &Installation) -> Vec<PluginView> {
    let all = now.plugins.values().flat_map(|versions| versions.values());
    all.map(|plugin| {
        let part = part(now, plugin);
        PluginView {
            digest: plugin.inspection.digest,
            bytes: plugin.inspection.bytes,
            active: part == "active",
            state: now.state(&plugin.manifest.id, &plugin.manifest.version),
            part,
            imports: plugin.inspection.imports.clone(),
            exports: plugin.inspection.exports.clone(),
            manifest: plugin.manifest.clone(),
        }
    })
    .collect()
}

/// What part a version plays now, the most important one.
fn part(now: &Installation, plugin: &Plugin) -> &'static str {
    let (id, version) = (&plugin.manifest.id, &plugin.manifest.version);
    if matches!(now.state(id, version), VersionState::Draft | VersionState::Retired | VersionState::Revoked) {
        return now.state(id, version).as_str();
    }
    let lines = now.lines.get(id);
    let all = || {
        let everywhere = lines.and_then(|lines| lines.everywhere.as_ref());
        everywhere.into_iter().chain(lines.into_iter().flat_map(|lines| lines.pipelines.values()))
    };
    let follows = lines.is_none_or(|lines| lines.everywhere.is_none())
        && now.bound_version(id, None).is_some_and(|bound| bound.manifest.version == *version);
    if follows || all().any(|line| line.line.active.as_ref() == Some(version)) {
        return "active";
    }
    let mut candidates = all().filter_map(|line| line.line.candidate.as_ref());
    match candidates.find(|candidate| candidate.version == *version).map(|candidate| &candidate.trial) {
        Some(Trial::Canary { .. }) => "canary",
        Some(Trial::Shadow) => "shadow",
        Some(Trial::Staged) => "staged",
        None if plugin.live.calls() > 0 => "draining",
        None if all().any(|line| line.line.earlier.contains(version)) => "superseded",
        None => "unbound",
    }
}

fn lines(now: &Installation, id: &PluginId) -> Vec<LineView> {
    let mut views = Vec::new();
    let lines = now.lines.get(id);
    match lines.and_then(|lines| lines.everywhere.as_ref()) {
        Some(line) => views.push(line_view(id, None, line)),
        None => views.push(LineView {
            plugin: id.clone(),
            pipeline: None,
            bound: false,
            active: now.bound_version(id, None).map(|plugin| plugin.manifest.version.clone()),
            replay: None,
            earlier: Vec::new(),
            candidate: None,
        }),
    }
    let own = lines.into_iter().flat_map(|lines| &lines.pipelines);
    views.extend(own.map(|(pipeline, line)| line_view(id, Some(pipeline.clone()), line)));
    views
}

fn line_view(id: &PluginId, pipeline: Option<String>, bound: &LineInUse) -> LineView {
    let LineInUse { line, counts } = bound;
    let candidate = line.candidate.clone().map(|candidate| {
        let counts = counts.as_ref().map(|counts| counts.view()).unwrap_or_default();
        CandidateView { candidate, counts }
    });
    LineView {
        plugin: id.clone(),
        pipeline,
        bound: true,
        active: line.active.clone(),
        replay: line.replay.clone(),
        earlier: line.earlier.clone(),
        candidate,
    }
}

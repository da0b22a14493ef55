//! Which connection each name of a pipeline stands for.

use std::collections::BTreeMap;

use super::{InstallError, Installer, copy, pipelines::check_bindings};
use crate::{
    app::installation::{Installation, Pipeline},
    model::{
        audit::Cause,
        registry::VersionState,
        review::Serving,
        setting::{BindingRecord, EARLIER_MAX, Origin},
    },
};

impl Installer {
    /// Binds a pipeline's names to connections, as hub.toml declares it; nothing, once people have bound any over the API.
    ///
    /// # Errors
    /// If a connection is missing or does not implement what the pipeline uses; nothing has changed then.
    pub async fn bindings(
        &self,
        now: &Installation,
        cause: &Cause,
        pipeline: &str,
        names: BTreeMap<String, String>,
    ) -> Result<Option<Installation>, InstallError> {
        let held = now.settings.bindings.get(pipeline);
        if held.is_some_and(|held| held.origin == Origin::Api) {
            if held.is_some_and(|held| held.names != names) {
                tracing::warn!(
                    pipeline,
                    "hub.toml binds it in another way than it was bound over the API, which holds; `crossdock pipeline \
                     bind {pipeline} --declared` takes what hub.toml says"
                );
            }
            return Ok(None);
        }
        if now.bindings.get(pipeline) == Some(&names) {
            return Ok(None);
        }
        let mut names = names;
        if matches!(now.serving_pipelines.get(pipeline), Some(Serving::Promoted(_))) {
            // What hub.toml bound before and binds no more stays: the version that people promoted, and runs of earlier
            // versions, may use it.
            for (name, connection) in now.bindings.get(pipeline).into_iter().flatten() {
                names.entry(name.clone()).or_insert_with(|| connection.clone());
            }
            if now.bindings.get(pipeline) == Some(&names) {
                return Ok(None);
            }
        }
        let record = BindingRecord { names, ..BindingRecord::default() };
        self.bind(now, cause, "binding.set", pipeline, record).await.map(Some)
    }

    /// Whether a pipeline's names may stand for these connections.
    ///
    /// # Errors
    /// What does not fit, and what to change.
    pub fn check_binding(
        &self,
        now: &Installation,
        pipeline: &str,
        names: &BTreeMap<String, String>,
    ) -> Result<(), InstallError> {
        let wrong = |problem: String| InstallError::Setting { what: format!("binding of `{pipeline}`"), problem };
        if !now.pipeline_versions.contains_key(pipeline) {
            return Err(wrong("no such pipeline is installed".to_owned()));
        }
        let installed = now.pipelines.get(pipeline);
        if let Some(installed) = installed {
            check_bindings(now, installed, names).map_err(wrong)?;
        }
        let held = now.bindings.get(pipeline);
        // Names of versions that people promoted stay bound, for their runs and for a rollback.
        let stays = |name: &String, connection: &String| {
            matches!(now.serving_pipelines.get(pipeline), Some(Serving::Promoted(_)))
                && held.and_then(|held| held.get(name)) == Some(connection)
        };
        for (name, connection) in names {
            if installed.is_none_or(|installed| !installed.plan.uses.contains_key(name)) && !stays(name, connection) {
                self.check_coming(now, pipeline, name, connection).map_err(wrong)?;
            }
        }
        Ok(())
    }

    /// Whether a name that the version that serves does not use is used by another, which can work with the connection:
    /// it is bound before that one is promoted.
    fn check_coming(&self, now: &Installation, pipeline: &str, name: &str, connection: &str) -> Result<(), String> {
        let uses = || self.versions(now, pipeline).filter_map(move |version| version.plan.uses.get(name).cloned());
        let Some(contract) = uses().next() else { return Err(format!("the pipeline uses nothing named `{name}`")) };
        let open =
            now.connections.get(connection).ok_or_else(|| format!("connection `{connection}` is not configured"))?;
        let manifest = &open.plugin.manifest;
        if uses().any(|contract| manifest.implements.contains(&contract)) {
            return Ok(());
        }
        Err(format!("connection `{connection}` is served by `{}`, which does not implement `{contract}`", manifest.id))
    }

    /// The versions of a pipeline that were not put away and hold with what is installed, the latest first.
    pub fn versions(&self, now: &Installation, pipeline: &str) -> impl Iterator<Item = Pipeline> {
        let kept = now.pipeline_versions.get(pipeline).into_iter().flat_map(|versions| versions.values().rev());
        kept.filter(|kept| kept.state() != VersionState::Retired)
            .filter_map(move |kept| self.plan(now, pipeline, &kept.text).ok())
    }

    /// Records a binding; the picture with it.
    ///
    /// # Errors
    /// As for [`Self::check_binding`], or if it cannot be recorded; nothing has changed then.
    pub async fn bind(
        &self,
        now: &Installation,
        cause: &Cause,
        action: &str,
        pipeline: &str,
        record: BindingRecord,
    ) -> Result<Installation, InstallError> {
        self.check_binding(now, pipeline, &record.names)?;
        self.put_as(cause, action, &format!("binding/{pipeline}"), &record).await?;
        let mut next = copy(now);
        next.bindings.insert(pipeline.to_owned(), record.names.clone());
        next.settings.bindings.insert(pipeline.to_owned(), record);
        Ok(next)
    }
}

/// A binding after another, which it remembers.
#[must_use]
pub fn after(before: Option<&BindingRecord>, names: BTreeMap<String, String>, origin: Origin) -> BindingRecord {
    let mut earlier = before.map(|before| before.earlier.clone()).unwrap_or_default();
    earlier.extend(before.map(|before| before.names.clone()));
    let surplus = earlier.len().saturating_sub(EARLIER_MAX);
    earlier.drain(..surplus);
    BindingRecord { names, origin, earlier }
}

//! Which connection each name of a pipeline stands for.

use std::collections::BTreeMap;

use super::{InstallError, Installer, copy, pipelines::check_bindings};
use crate::{
    app::installation::Installation,
    model::{
        audit::Cause,
        review::Serving,
        setting::{BindingRecord, EARLIER_MAX, Origin},
    },
};

impl Installer {
    /// Binds a pipeline's names to connections, as hub.toml declares it. What was bound over the API stays.
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
            // The version that people promoted may use other names than the one that the configuration knows, and runs
            // of earlier versions use theirs.
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
        let installed = now.pipelines.get(pipeline).ok_or_else(|| wrong("no such pipeline is installed".to_owned()))?;
        check_bindings(now, installed, names).map_err(wrong)?;
        // Names of versions that people promoted stay bound, for their runs and for a rollback.
        if matches!(now.serving_pipelines.get(pipeline), Some(Serving::Promoted(_))) {
            return Ok(());
        }
        if let Some(name) = names.keys().find(|name| !installed.uses.contains_key(*name)) {
            return Err(wrong(format!("the pipeline uses nothing named `{name}`")));
        }
        Ok(())
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

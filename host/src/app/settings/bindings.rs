//! Which connection each name of a pipeline stands for. A change is a swap like any other: new runs work with what is bound
//! now, those that have begun with a connection end with it.

use std::{collections::BTreeMap, sync::Arc};

use super::{HubSettings, Ready, cause, refused};
use crate::{
    app::installation::Installation,
    model::{
        audit::Cause,
        setting::{BindingRecord, Origin, SettingChange},
    },
    policy::reach::Reach,
    ports::{
        registry::Who,
        settings::{BindAct, BindingView, BoundName, SettingChanged, SettingError},
    },
};

impl HubSettings {
    pub(super) fn binding_view(&self, pipeline: &str) -> Result<BindingView, SettingError> {
        let now = self.shared.installation.load();
        if !now.pipeline_versions.contains_key(pipeline) {
            return Err(SettingError::UnknownPipeline { name: pipeline.to_owned() });
        }
        let bound = now.bindings.get(pipeline);
        let uses = match now.pipelines.get(pipeline) {
            Some(installed) => installed.plan.uses.clone(),
            // No version of it has served yet.
            None => self
                .installer
                .versions(&now, pipeline)
                .next()
                .map(|latest| latest.plan.uses.clone())
                .unwrap_or_default(),
        };
        let names = uses.iter().map(|(name, contract)| {
            let connection = bound.and_then(|bound| bound.get(name).cloned());
            (name.clone(), BoundName { contract: contract.to_string(), connection })
        });
        let held = now.settings.bindings.get(pipeline);
        Ok(BindingView {
            pipeline: pipeline.to_owned(),
            names: names.collect(),
            origin: held.map_or(Origin::File, |held| held.origin).as_str(),
            earlier: held.map(|held| held.earlier.clone()).unwrap_or_default(),
        })
    }

    pub(super) async fn change_binding(
        &self,
        pipeline: &str,
        act: BindAct,
        who: Who,
    ) -> Result<SettingChanged, SettingError> {
        let cause = cause(&who)?;
        let _changing = self.registry.changing().await;
        let now = self.shared.installation.load_full();
        if !now.pipeline_versions.contains_key(pipeline) {
            return Err(SettingError::UnknownPipeline { name: pipeline.to_owned() });
        }
        let bound = now.bindings.get(pipeline).cloned().unwrap_or_default();
        let (names, origin) = match act {
            BindAct::Bind(names) if names.is_empty() => {
                let problem = "say at least one `NAME=CONNECTION`".to_owned();
                return Err(SettingError::Invalid { problem });
            }
            BindAct::Bind(names) => {
                let mut all = bound.clone();
                all.extend(names);
                (all, Origin::Api)
            }
            BindAct::Declared => {
                let declared = self.declared.load().bindings.get(pipeline).cloned();
                let none = || SettingError::Conflict { problem: format!("hub.toml does not bind `{pipeline}`") };
                (declared.ok_or_else(none)?, Origin::File)
            }
            BindAct::Rollback => return self.roll_back(&now, pipeline, &cause).await,
        };
        let held = now.settings.bindings.get(pipeline);
        if names == bound && held.is_some_and(|held| held.origin == origin) {
            let summary = format!("`{pipeline}` is bound like that already; nothing has changed");
            return Ok(SettingChanged::Done { summary, notes: Vec::new(), tested: None });
        }
        let ready = self.plan_binding(&now, pipeline, names, origin)?;
        self.settle(&now, &who, &cause, ready).await
    }

    /// What a binding comes to.
    pub(super) fn plan_binding(
        &self,
        now: &Installation,
        pipeline: &str,
        names: BTreeMap<String, String>,
        origin: Origin,
    ) -> Result<Ready, SettingError> {
        self.installer.check_binding(now, pipeline, &names).map_err(refused)?;
        let because = reached_beyond(now, pipeline, &names);
        let shown: Vec<String> = names.iter().map(|(name, connection)| format!("{name}={connection}")).collect();
        Ok(Ready {
            because,
            change: SettingChange::Bind { pipeline: pipeline.to_owned(), names, origin },
            action: "binding.change",
            summary: format!("`{pipeline}` is bound: {}", shown.join(", ")),
            notes: vec!["runs that have begun to work with a connection end with it".to_owned()],
            tested: None,
        })
    }

    /// Binds as before. Whoever agreed to it then has agreed to what it reaches, as far as its connections are the same.
    async fn roll_back(
        &self,
        now: &Arc<Installation>,
        pipeline: &str,
        cause: &Cause,
    ) -> Result<SettingChanged, SettingError> {
        let mut earlier = now.settings.bindings.get(pipeline).map(|held| held.earlier.clone()).unwrap_or_default();
        let Some(names) = earlier.pop() else {
            let problem = format!("nothing is known of what `{pipeline}` was bound to before");
            return Err(SettingError::Conflict { problem });
        };
        let record = BindingRecord { names: names.clone(), origin: Origin::Api, earlier };
        let next = self.installer.bind(now, cause, "binding.rollback", pipeline, record).await.map_err(refused)?;
        self.shared.installation.store(Arc::new(next));
        let shown: Vec<String> = names.iter().map(|(name, connection)| format!("{name}={connection}")).collect();
        let summary = format!("`{pipeline}` is bound as before: {}", shown.join(", "));
        tracing::info!(summary, actor = cause.actor, "a setting has changed");
        Ok(SettingChanged::Done { summary, notes: Vec::new(), tested: None })
    }
}

/// Why a second person has to agree to a binding.
pub(in crate::app) fn reached_beyond(
    now: &Installation,
    pipeline: &str,
    names: &BTreeMap<String, String>,
) -> Vec<String> {
    let before = reach(now, now.bindings.get(pipeline));
    let wider = before.widened(&reach(now, Some(names))).into_iter();
    wider.map(|wider| format!("`{pipeline}` reaches more than before: {wider}")).collect()
}

/// What a pipeline reaches through a binding.
fn reach(now: &Installation, names: Option<&BTreeMap<String, String>>) -> Reach {
    let connections = names.into_iter().flatten().filter_map(|(_, connection)| now.connections.get(connection));
    connections.fold(Reach::default(), |reach, open| {
        reach.and(&Reach::of(&open.connection, &open.plugin.manifest.capabilities.http))
    })
}

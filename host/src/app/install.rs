//! Changes to what is installed: checked first, then recorded, then swapped in. A refusal changes nothing.

pub mod checks;
mod error;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use semver::Version;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::checks::{check_exports, check_manifest, fits_config};
pub use self::error::InstallError;
use super::{
    audit::Audit,
    build,
    contracts::Library,
    inbox::People,
    installation::{Installation, OpenConnection, POLL, POLLING, Pipeline, Plugin},
    package::{Package, Schemas},
};
use crate::{
    flow::{
        language::{self, Environment},
        plan::compile,
    },
    model::{
        audit::Cause,
        connection::{Connection, WebhookSource},
        id::{Digest, PluginId},
        limits::Limits,
        manifest::{Kind, Manifest},
        pace::Pace,
        pipeline::Origin,
    },
    net::egress::{EgressScope, Gateway},
    ports::{
        blobs::Blobs,
        clock::Clock,
        invoker::{Component, Invoker},
        records::{Records, Stored},
        secrets::Secrets,
    },
};

/// How many records one look reads.
const PAGE: usize = 256;

/// A plugin as it is recorded.
#[derive(Serialize, Deserialize)]
struct PluginRecord {
    manifest: String,
    digest: Digest,
    schemas: Schemas,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    assets: Option<PathBuf>,
}

/// A pipeline version as it is recorded.
#[derive(Serialize, Deserialize)]
struct PipelineRecord {
    text: String,
}

/// Makes installations. Everything it changes is first recorded in the audit log, with who changes it and why, then
/// among the records, and only then used.
pub struct Installer {
    /// Where records are kept.
    pub records: Arc<dyn Records>,
    /// Where components are kept.
    pub blobs: Arc<dyn Blobs>,
    /// The sandbox.
    pub invoker: Arc<dyn Invoker>,
    /// The way out.
    pub gateway: Arc<Gateway>,
    /// Secrets.
    pub secrets: Arc<dyn Secrets>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Contracts and event schemas.
    pub library: Arc<Library>,
    /// Where plugins' assets are kept: a package's folder may be built anew or go away.
    pub assets: PathBuf,
    /// Where each change is recorded before it is made.
    pub audit: Arc<Audit>,
}

impl Installer {
    /// What is recorded, loaded and ready.
    ///
    /// # Errors
    /// If a record is damaged, or a component is gone or does not load.
    pub async fn load(&self) -> Result<Installation, InstallError> {
        let mut next = Installation {
            contracts: Arc::clone(&self.library.contracts),
            documents: Arc::clone(&self.library.documents),
            events: Arc::clone(&self.library.events),
            ..Installation::default()
        };
        for (key, stored) in self.all("plugin/").await? {
            let record: PluginRecord = read(&key, &stored)?;
            let manifest: Manifest = toml::from_str(&record.manifest)
                .map_err(|error| InstallError::Damaged { key: key.clone(), problem: error.to_string() })?;
            let plugin = title(&manifest);
            let wasm = self.blobs.get(record.digest).await?.ok_or(InstallError::MissingComponent { plugin })?;
            let plugin = self.ready(manifest, record.digest, wasm, record.schemas, record.assets).await?;
            add_plugin(&mut next, plugin);
        }
        for (key, stored) in self.all("connection/").await? {
            let name = key.trim_start_matches("connection/").to_owned();
            let connection: Connection = read(&key, &stored)?;
            match self.open_with_any(&next, &name, &connection, stored.revision.0) {
                Ok(open) => drop(next.connections.insert(name, Arc::new(open))),
                Err(error) => next.unusable.push(error.to_string()),
            }
        }
        for (key, stored) in self.all("people").await? {
            next.people = Arc::new(read(&key, &stored)?);
        }
        for (key, stored) in self.all("source/").await? {
            next.sources.insert(key.trim_start_matches("source/").to_owned(), read(&key, &stored)?);
        }
        for (key, stored) in self.all("binding/").await? {
            next.bindings.insert(key.trim_start_matches("binding/").to_owned(), read(&key, &stored)?);
        }
        for (key, stored) in self.all("pipeline/").await? {
            let record: PipelineRecord = read(&key, &stored)?;
            let pipeline = match self.plan(&next, &key, &record.text) {
                Ok(pipeline) => pipeline,
                Err(error) => {
                    next.unusable.push(error.to_string());
                    continue;
                }
            };
            next.plans.insert(pipeline.plan.pipeline.digest, Arc::clone(&pipeline.plan));
            let name = pipeline.plan.pipeline.name.clone();
            let active: Option<Version> = match self.records.get(&format!("active/{name}")).await? {
                Some(stored) => Some(read(&key, &stored)?),
                None => None,
            };
            if active.is_none_or(|active| active.to_string() == pipeline.plan.pipeline.version) {
                next.pipelines.insert(name, Arc::new(pipeline));
            }
        }
        Ok(next)
    }

    /// Installs a plugin version. Installing the same again changes nothing.
    ///
    /// # Errors
    /// As [`InstallError`] says; nothing has changed then.
    pub async fn plugin(
        &self,
        now: &Installation,
        cause: &Cause,
        package: Package,
    ) -> Result<Option<Installation>, InstallError> {
        let Package { manifest, manifest_text, wasm, digest, schemas, assets, .. } = package;
        let id = title(&manifest);
        if let Some(installed) = now.plugins.get(&manifest.id).and_then(|versions| versions.get(&manifest.version)) {
            return if installed.inspection.digest == digest && installed.manifest == manifest {
                Ok(None)
            } else {
                Err(InstallError::VersionTaken { plugin: id, installed: installed.inspection.digest })
            };
        }
        check_manifest(&manifest, &schemas)
            .map_err(|problem| InstallError::Manifest { plugin: id.clone(), problem })?;
        self.library.implements(&manifest).map_err(|problem| InstallError::Manifest { plugin: id.clone(), problem })?;
        let assets = assets.map(|folder| self.keep_assets(&folder, &id)).transpose()?;
        let key = format!("plugin/{}/{}", manifest.id, manifest.version);
        let record = PluginRecord { manifest: manifest_text, digest, schemas: schemas.clone(), assets: assets.clone() };
        let plugin = self.ready(manifest, digest, wasm.clone(), schemas, assets).await?;
        let mut next = copy(now);
        add_plugin(&mut next, plugin);
        self.reopen(&mut next);
        self.blobs.put(wasm).await?;
        self.put(cause, &key, &record).await?;
        Ok(Some(next))
    }

    /// Installs a pipeline version and makes it the one that new runs start on.
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
        if now.pipelines.get(&used.name).is_some_and(|installed| installed.plan.pipeline == used) {
            return Ok(None);
        }
        let key = format!("pipeline/{}/{}", used.name, used.version);
        match self.records.get(&key).await? {
            Some(stored) if read::<PipelineRecord>(&key, &stored)?.text != text => {
                return Err(InstallError::PipelineTaken { name: used.name, version: used.version });
            }
            Some(_) => {}
            None => self.put(cause, &key, &PipelineRecord { text: text.to_owned() }).await?,
        }
        self.put(cause, &format!("active/{}", used.name), &used.version).await?;
        let mut next = copy(now);
        next.plans.insert(used.digest, Arc::clone(&pipeline.plan));
        next.pipelines.insert(used.name, Arc::new(pipeline));
        Ok(Some(next))
    }

    /// Sets a connection.
    ///
    /// # Errors
    /// If its plugin is not installed or its settings do not fit; nothing has changed then.
    pub async fn connection(
        &self,
        now: &Installation,
        cause: &Cause,
        name: &str,
        connection: Connection,
    ) -> Result<Option<Installation>, InstallError> {
        if now.connections.get(name).is_some_and(|open| open.connection == connection) {
            return Ok(None);
        }
        // Opened once to be checked, and again under the revision that its record gets.
        self.open(now, name, connection.clone(), 0)?;
        let key = format!("connection/{name}");
        self.put(cause, &key, &connection).await?;
        let revision = self.records.get(&key).await?.map_or(0, |stored| stored.revision.0);
        let mut next = copy(now);
        next.connections.insert(name.to_owned(), Arc::new(self.open(now, name, connection, revision)?));
        Ok(Some(next))
    }

    /// Declares groups of people, and who stands in for whom.
    ///
    /// # Errors
    /// If it cannot be recorded; nothing has changed then.
    pub async fn people(
        &self,
        now: &Installation,
        cause: &Cause,
        people: &People,
    ) -> Result<Option<Installation>, InstallError> {
        if *now.people == *people {
            return Ok(None);
        }
        self.put(cause, "people", people).await?;
        Ok(Some(Installation { people: Arc::new(people.clone()), ..copy(now) }))
    }

    /// Sets a webhook source.
    ///
    /// # Errors
    /// If its plugin is not installed or reads no webhooks; nothing has changed then.
    pub async fn source(
        &self,
        now: &Installation,
        cause: &Cause,
        name: &str,
        source: WebhookSource,
    ) -> Result<Option<Installation>, InstallError> {
        if now.sources.get(name) == Some(&source) {
            return Ok(None);
        }
        let wrong = |problem: String| InstallError::Setting { what: format!("webhook source `{name}`"), problem };
        let plugin = now
            .latest(&source.plugin, None)
            .ok_or_else(|| wrong(format!("plugin `{}` is not installed", source.plugin)))?;
        if plugin.manifest.webhook.is_none() {
            return Err(wrong(format!("plugin `{}` declares no `[webhook]`", source.plugin)));
        }
        fits_config(&plugin.schemas, &source.config.to_value()).map_err(wrong)?;
        self.put(cause, &format!("source/{name}"), &source).await?;
        let mut next = copy(now);
        next.sources.insert(name.to_owned(), source);
        Ok(Some(next))
    }

    /// Binds a pipeline's names to connections.
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
        let wrong = |problem: String| InstallError::Setting { what: format!("binding of `{pipeline}`"), problem };
        if now.bindings.get(pipeline) == Some(&names) {
            return Ok(None);
        }
        let installed = now.pipelines.get(pipeline).ok_or_else(|| wrong("no such pipeline is installed".to_owned()))?;
        for (name, contract) in &installed.uses {
            let connection =
                names.get(name).ok_or_else(|| wrong(format!("nothing is bound to `{name}` ({contract})")))?;
            let open = now
                .connections
                .get(connection)
                .ok_or_else(|| wrong(format!("connection `{connection}` is not configured")))?;
            if !open.plugin.manifest.implements.contains(contract) {
                return Err(wrong(format!(
                    "connection `{connection}` is served by `{}`, which does not implement `{contract}`",
                    open.plugin.manifest.id
                )));
            }
        }
        for trigger in &installed.definition.triggers {
            let Origin::Poll { connection: polled, .. } = &trigger.origin else { continue };
            let open = names.get(&polled.value).and_then(|connection| now.connections.get(connection));
            if let Some(open) = open.filter(|open| !open.plugin.exports(POLLING)) {
                return Err(wrong(format!(
                    "the pipeline polls `{}`, and plugin `{}` of connection `{}` exports no \
                     `crossdock:plugin/{POLLING}`",
                    polled.value, open.plugin.manifest.id, open.name
                )));
            }
        }
        if let Some(name) = names.keys().find(|name| !installed.uses.contains_key(*name)) {
            return Err(wrong(format!("the pipeline uses nothing named `{name}`")));
        }
        self.put(cause, &format!("binding/{pipeline}"), &names).await?;
        let mut next = copy(now);
        next.bindings.insert(pipeline.to_owned(), names);
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
        let environment = Environment { contracts: &self.library.contracts, plugins: &plugins, pipelines: &pipelines };
        let diagnostics = language::check(&definition, &environment);
        if !diagnostics.is_empty() {
            return Err(refused(diagnostics));
        }
        let plan = compile::compile(&definition, text, &self.library.contracts)
            .map_err(|source| InstallError::Plan { name: name.to_owned(), source })?;
        Ok(Pipeline {
            plan: Arc::new(plan),
            uses: definition.uses.iter().map(|(name, contract)| (name.clone(), contract.value.clone())).collect(),
            definition,
            text: text.to_owned(),
        })
    }

    async fn ready(
        &self,
        manifest: Manifest,
        digest: Digest,
        wasm: Bytes,
        schemas: Schemas,
        assets: Option<PathBuf>,
    ) -> Result<Plugin, InstallError> {
        let id = title(&manifest);
        let wrong = |problem: String| InstallError::Manifest { plugin: id.clone(), problem };
        let inspection = self
            .invoker
            .load(Component { digest, wasm, assets })
            .await
            .map_err(|source| InstallError::Component { plugin: id.clone(), source })?;
        check_exports(&manifest, &inspection).map_err(wrong)?;
        let validator = |schema: Option<&serde_json::Value>| {
            schema.map(|schema| self.library.validator(schema)).transpose().map_err(wrong)
        };
        Ok(Plugin {
            pure: Plugin::used(&manifest, inspection.digest, 0),
            limits: manifest.limits.capped(&Limits::CEILING),
            input: validator(schemas.input.as_ref())?,
            output: validator(schemas.output.as_ref())?,
            manifest,
            inspection,
            schemas,
        })
    }

    fn open(
        &self,
        now: &Installation,
        name: &str,
        connection: Connection,
        revision: u64,
    ) -> Result<OpenConnection, InstallError> {
        let wrong = |problem: String| InstallError::Setting { what: format!("connection `{name}`"), problem };
        let plugin = now
            .latest(&connection.plugin, None)
            .cloned()
            .ok_or_else(|| wrong(format!("plugin `{}` is not installed", connection.plugin)))?;
        self.open_as(plugin, name, connection, revision)
    }

    fn open_as(
        &self,
        plugin: Arc<Plugin>,
        name: &str,
        connection: Connection,
        revision: u64,
    ) -> Result<OpenConnection, InstallError> {
        let wrong = |problem: String| InstallError::Setting { what: format!("connection `{name}`"), problem };
        if plugin.manifest.kind != Kind::Connector {
            return Err(wrong(format!("plugin `{}` is no connector", connection.plugin)));
        }
        fits_config(&plugin.schemas, &connection.config.to_value()).map_err(wrong)?;
        for needed in plugin.manifest.secrets.keys() {
            if !connection.secrets.contains_key(needed) {
                return Err(wrong(format!("the plugin needs secret `{needed}`: add `secrets.{needed} = \"file:…\"`")));
            }
        }
        // A poll is no operation. Its requests are granted like those of a read, or of an operation of this name, if the
        // manifest has one.
        let poll = plugin.exports(POLLING).then_some((POLL, [].as_slice()));
        let operations =
            plugin.manifest.operations.iter().map(|(name, declared)| (name.as_str(), declared.read_methods.as_slice()));
        let outlets = poll
            .into_iter()
            .chain(operations)
            .map(|(operation, read_methods)| {
                let scope = EgressScope {
                    connection_name: name.to_owned(),
                    connection: connection.clone(),
                    capabilities: plugin.manifest.capabilities.http.clone(),
                    read_methods: read_methods.to_vec(),
                    revision,
                    secrets: Arc::clone(&self.secrets),
                    clock: Arc::clone(&self.clock),
                };
                (operation.to_owned(), self.gateway.open(scope))
            })
            .collect();
        let used = Plugin::used(&plugin.manifest, plugin.inspection.digest, revision);
        let pace = Pace::narrowest(&plugin.manifest.vendor, &connection.limits);
        Ok(OpenConnection { name: name.to_owned(), connection, revision, plugin, used, pace, outlets })
    }

    /// The connection with the latest version of its plugin that its settings suit.
    fn open_with_any(
        &self,
        now: &Installation,
        name: &str,
        connection: &Connection,
        revision: u64,
    ) -> Result<OpenConnection, InstallError> {
        let latest = self.open(now, name, connection.clone(), revision);
        let older = now.plugins.get(&connection.plugin).into_iter().flat_map(BTreeMap::values).rev().skip(1);
        match latest {
            Ok(open) => Ok(open),
            Err(error) => older
                .filter_map(|plugin| self.open_as(Arc::clone(plugin), name, connection.clone(), revision).ok())
                .next()
                .ok_or(error),
        }
    }

    /// After a plugin has come: connections are served by the latest version of their plugin that their settings suit.
    fn reopen(&self, next: &mut Installation) {
        let names: Vec<String> = next.connections.keys().cloned().collect();
        for name in names {
            let Some(old) = next.connections.get(&name).cloned() else { continue };
            let latest = next.latest(&old.connection.plugin, None).map(|plugin| plugin.inspection.digest);
            if latest.is_none_or(|digest| digest == old.plugin.inspection.digest) {
                continue;
            }
            match self.open(next, &name, old.connection.clone(), old.revision) {
                Ok(open) => drop(next.connections.insert(name, Arc::new(open))),
                Err(error) => tracing::warn!(
                    connection = name,
                    reason = %error,
                    "the connection stays with the older version of its plugin until its settings suit the new one"
                ),
            }
        }
    }

    fn keep_assets(&self, folder: &Path, plugin: &str) -> Result<PathBuf, InstallError> {
        let kept = self.assets.join(plugin.replace('/', "-"));
        let wrong = |source| InstallError::Assets { plugin: plugin.to_owned(), source };
        if kept.exists() {
            std::fs::remove_dir_all(&kept).map_err(wrong)?;
        }
        build::copy_folder(folder, &kept).map_err(wrong)?;
        Ok(kept)
    }

    async fn all(&self, prefix: &str) -> Result<Vec<(String, Stored)>, InstallError> {
        let mut all: Vec<(String, Stored)> = Vec::new();
        loop {
            let after = all.last().map(|(key, _)| key.clone());
            let page = self.records.list(prefix, after.as_deref(), PAGE).await?;
            let full = page.len() == PAGE;
            all.extend(page);
            if !full {
                return Ok(all);
            }
        }
    }

    async fn put(&self, cause: &Cause, key: &str, value: &impl Serialize) -> Result<(), InstallError> {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| InstallError::Damaged { key: key.to_owned(), problem: error.to_string() })?;
        self.audit.put(&*self.records, cause, key, Bytes::from(bytes)).await?;
        Ok(())
    }
}

fn copy(now: &Installation) -> Installation {
    Installation {
        contracts: Arc::clone(&now.contracts),
        documents: Arc::clone(&now.documents),
        events: Arc::clone(&now.events),
        plugins: now.plugins.clone(),
        by_digest: now.by_digest.clone(),
        pipelines: now.pipelines.clone(),
        plans: now.plans.clone(),
        connections: now.connections.clone(),
        bindings: now.bindings.clone(),
        sources: now.sources.clone(),
        people: Arc::clone(&now.people),
        unusable: now.unusable.clone(),
    }
}

fn add_plugin(next: &mut Installation, plugin: Plugin) {
    let plugin = Arc::new(plugin);
    let (id, version): (PluginId, Version) = (plugin.manifest.id.clone(), plugin.manifest.version.clone());
    next.by_digest.insert(plugin.inspection.digest, Arc::clone(&plugin));
    next.plugins.entry(id).or_default().insert(version, plugin);
}

fn title(manifest: &Manifest) -> String {
    format!("{}@{}", manifest.id, manifest.version)
}

fn read<T: DeserializeOwned>(key: &str, stored: &Stored) -> Result<T, InstallError> {
    serde_json::from_slice(&stored.value)
        .map_err(|error| InstallError::Damaged { key: key.to_owned(), problem: error.to_string() })
}

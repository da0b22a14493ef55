//! Changes to what is installed: checked first, then recorded, then swapped in. A refusal changes nothing.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use bytes::Bytes;
use semver::Version;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    contracts::Library,
    installation::{Installation, OpenConnection, Pipeline, Plugin},
    package::{Package, Schemas},
};
use crate::{
    flow::{
        language::{self, Diagnostic, Environment},
        plan::compile,
    },
    model::{
        connection::{Connection, WebhookSource},
        id::{Digest, PluginId},
        limits::Limits,
        manifest::{Kind, Manifest},
    },
    net::egress::{EgressScope, Gateway},
    ports::{
        blobs::{BlobError, Blobs},
        clock::Clock,
        invoker::{Component, Inspection, Invoker, LoadError},
        records::{RecordError, Records, Stored},
        secrets::Secrets,
    },
};

/// How many records one look reads.
const PAGE: usize = 256;

/// Why something is not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The component is refused.
    #[error("plugin `{plugin}` is refused")]
    Component {
        /// Its id and version.
        plugin: String,
        /// Why.
        source: LoadError,
    },
    /// The manifest does not hold.
    #[error("plugin `{plugin}` is refused: {problem}")]
    Manifest {
        /// Its id and version.
        plugin: String,
        /// What, and what to change.
        problem: String,
    },
    /// The version is taken by other content.
    #[error("plugin `{plugin}` is installed with digest {installed}; a version never changes: raise `version`")]
    VersionTaken {
        /// Its id and version.
        plugin: String,
        /// The digest that is installed.
        installed: Digest,
    },
    /// The pipeline has mistakes.
    #[error("pipeline `{name}` is refused: {}", first(diagnostics))]
    Pipeline {
        /// Its name, or the file's.
        name: String,
        /// Every mistake.
        diagnostics: Vec<Diagnostic>,
    },
    /// The pipeline's version is taken by another text.
    #[error("pipeline `{name}` {version} is installed with another text; a version never changes: raise `version`")]
    PipelineTaken {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
    /// The pipeline cannot be made to run.
    #[error("pipeline `{name}` is refused")]
    Plan {
        /// Its name.
        name: String,
        /// Why.
        source: compile::PlanError,
    },
    /// A connection, source or binding does not hold.
    #[error("{what} is refused: {problem}")]
    Setting {
        /// Which.
        what: String,
        /// What, and what to change.
        problem: String,
    },
    /// The store does not take it.
    #[error("cannot be recorded")]
    Record {
        /// Why.
        #[from]
        source: RecordError,
    },
    /// The store does not take the component.
    #[error("the component cannot be stored")]
    Blob {
        /// Why.
        #[from]
        source: BlobError,
    },
    /// What is recorded cannot be understood.
    #[error("record `{key}` cannot be understood: {problem}")]
    Damaged {
        /// Its key.
        key: String,
        /// Why.
        problem: String,
    },
    /// The component of an installed plugin is gone.
    #[error(
        "the component of plugin `{plugin}` is missing from the store: restore it from a backup, or install it again"
    )]
    MissingComponent {
        /// Its id and version.
        plugin: String,
    },
}

fn first(diagnostics: &[Diagnostic]) -> String {
    let more = diagnostics.len().saturating_sub(1);
    let Some(first) = diagnostics.first() else { return String::new() };
    let text = format!(
        "line {}, column {}: {} [{}]; instead: {}",
        first.line, first.column, first.problem, first.code, first.instead
    );
    if more == 0 { text } else { format!("{text} (and {more} more: `crossdock pipeline check` shows all)") }
}

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

/// Makes installations. Everything it changes is recorded before it is used.
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
            let open = self.open(&next, &name, connection, stored.revision.0)?;
            next.connections.insert(name, Arc::new(open));
        }
        for (key, stored) in self.all("source/").await? {
            next.sources.insert(key.trim_start_matches("source/").to_owned(), read(&key, &stored)?);
        }
        for (key, stored) in self.all("binding/").await? {
            next.bindings.insert(key.trim_start_matches("binding/").to_owned(), read(&key, &stored)?);
        }
        for (key, stored) in self.all("pipeline/").await? {
            let record: PipelineRecord = read(&key, &stored)?;
            let pipeline = self.plan(&next, &key, &record.text)?;
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
    pub async fn plugin(&self, now: &Installation, package: Package) -> Result<Option<Installation>, InstallError> {
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
        let key = format!("plugin/{}/{}", manifest.id, manifest.version);
        let record = PluginRecord { manifest: manifest_text, digest, schemas: schemas.clone(), assets: assets.clone() };
        let plugin = self.ready(manifest, digest, wasm.clone(), schemas, assets).await?;
        self.blobs.put(wasm).await?;
        self.put(&key, &record).await?;
        let mut next = copy(now);
        add_plugin(&mut next, plugin);
        self.reopen(&mut next)?;
        Ok(Some(next))
    }

    /// Installs a pipeline version and makes it the one that new runs start on.
    ///
    /// # Errors
    /// As [`InstallError`] says; nothing has changed then.
    pub async fn pipeline(
        &self,
        now: &Installation,
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
            None => self.put(&key, &PipelineRecord { text: text.to_owned() }).await?,
        }
        self.put(&format!("active/{}", used.name), &used.version).await?;
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
        name: &str,
        connection: Connection,
    ) -> Result<Option<Installation>, InstallError> {
        if now.connections.get(name).is_some_and(|open| open.connection == connection) {
            return Ok(None);
        }
        // Opened once to be checked, and again under the revision that its record gets.
        self.open(now, name, connection.clone(), 0)?;
        let key = format!("connection/{name}");
        self.put(&key, &connection).await?;
        let revision = self.records.get(&key).await?.map_or(0, |stored| stored.revision.0);
        let mut next = copy(now);
        next.connections.insert(name.to_owned(), Arc::new(self.open(now, name, connection, revision)?));
        Ok(Some(next))
    }

    /// Sets a webhook source.
    ///
    /// # Errors
    /// If its plugin is not installed or reads no webhooks; nothing has changed then.
    pub async fn source(
        &self,
        now: &Installation,
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
        self.put(&format!("source/{name}"), &source).await?;
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
        if let Some(name) = names.keys().find(|name| !installed.uses.contains_key(*name)) {
            return Err(wrong(format!("the pipeline uses nothing named `{name}`")));
        }
        self.put(&format!("binding/{pipeline}"), &names).await?;
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
        let mut diagnostics = language::check(&definition, &environment);
        diagnostics.extend(language::unsupported(&definition));
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
        if plugin.manifest.kind != Kind::Connector {
            return Err(wrong(format!("plugin `{}` is no connector", connection.plugin)));
        }
        fits_config(&plugin.schemas, &connection.config.to_value()).map_err(wrong)?;
        for needed in plugin.manifest.secrets.keys() {
            if !connection.secrets.contains_key(needed) {
                return Err(wrong(format!("the plugin needs secret `{needed}`: add `secrets.{needed} = \"file:…\"`")));
            }
        }
        let outlets = plugin
            .manifest
            .operations
            .iter()
            .map(|(operation, declared)| {
                let scope = EgressScope {
                    connection_name: name.to_owned(),
                    connection: connection.clone(),
                    capabilities: plugin.manifest.capabilities.http.clone(),
                    read_methods: declared.read_methods.clone(),
                    revision,
                    secrets: Arc::clone(&self.secrets),
                    clock: Arc::clone(&self.clock),
                };
                (operation.clone(), self.gateway.open(scope))
            })
            .collect();
        let used = Plugin::used(&plugin.manifest, plugin.inspection.digest, revision);
        Ok(OpenConnection { name: name.to_owned(), connection, revision, plugin, used, outlets })
    }

    /// After a plugin has come: connections are served by the latest version of their plugin.
    fn reopen(&self, next: &mut Installation) -> Result<(), InstallError> {
        let names: Vec<String> = next.connections.keys().cloned().collect();
        for name in names {
            let Some(old) = next.connections.get(&name).cloned() else { continue };
            let latest = next.latest(&old.connection.plugin, None).map(|plugin| plugin.inspection.digest);
            if latest.is_some_and(|digest| digest != old.plugin.inspection.digest) {
                let open = self.open(next, &name, old.connection.clone(), old.revision)?;
                next.connections.insert(name, Arc::new(open));
            }
        }
        Ok(())
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

    async fn put(&self, key: &str, value: &impl Serialize) -> Result<(), InstallError> {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| InstallError::Damaged { key: key.to_owned(), problem: error.to_string() })?;
        let current = self.records.get(key).await?;
        self.records.put_if(key, Bytes::from(bytes), current.map(|stored| stored.revision)).await?;
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

fn fits_config(schemas: &Schemas, config: &serde_json::Value) -> Result<(), String> {
    let Some(schema) = &schemas.config else {
        return if config.as_object().is_some_and(serde_json::Map::is_empty) {
            Ok(())
        } else {
            Err("the plugin takes no `config`".to_owned())
        };
    };
    let validator =
        jsonschema::validator_for(schema).map_err(|error| format!("its config schema is not one: {error}"))?;
    match validator.iter_errors(config).next() {
        None => Ok(()),
        Some(error) => Err(format!("`config{}` does not follow the plugin's schema: {error}", error.instance_path())),
    }
}

/// What a manifest says against itself.
///
/// # Errors
/// The first contradiction, and what to change.
pub fn check_manifest(manifest: &Manifest, schemas: &Schemas) -> Result<(), String> {
    if manifest.contract.major != 1 {
        return Err(format!("it is built for contract {}; this hub serves 1.x", manifest.contract));
    }
    match manifest.kind {
        Kind::Connector if manifest.operations.is_empty() => {
            return Err("a connector lists its `operations`".to_owned());
        }
        Kind::Rule if manifest.rule.is_none() => return Err("a rule lists its outcomes under `[rule]`".to_owned()),
        Kind::Scorer if manifest.model_card.is_none() => return Err("a scorer has a `[model_card]`".to_owned()),
        _ => {}
    }
    if manifest.kind != Kind::Connector {
        if !manifest.operations.is_empty() || !manifest.implements.is_empty() {
            return Err("only a connector has `operations` and `implements`".to_owned());
        }
        if !manifest.capabilities.http.is_empty() || !manifest.capabilities.state.is_empty() {
            return Err("a pure plugin has no `capabilities`: only a connector touches anything".to_owned());
        }
    }
    for (name, operation) in &manifest.operations {
        if let crate::model::manifest::Doubt::NaturalKey { find, .. } = &operation.doubt
            && !manifest.operations.contains_key(find)
        {
            return Err(format!("operation `{name}` finds by `{find}`, which is not among `operations`"));
        }
        if let Some(undo) = &operation.compensate
            && !manifest.operations.contains_key(undo)
        {
            return Err(format!("operation `{name}` is undone by `{undo}`, which is not among `operations`"));
        }
    }
    for (name, schema) in [("config", &schemas.config), ("input", &schemas.input), ("output", &schemas.output)] {
        if let Some(schema) = schema
            && !jsonschema::meta::is_valid(schema)
        {
            return Err(format!("`{name}_schema` is not a JSON Schema (2020-12)"));
        }
    }
    Ok(())
}

/// Whether a component exports what its manifest says.
///
/// # Errors
/// What is missing, and what to do.
pub fn check_exports(manifest: &Manifest, inspection: &Inspection) -> Result<(), String> {
    let exports = |interface: &str| {
        let prefix = format!("crossdock:plugin/{interface}@1.");
        inspection.exports.iter().any(|name| name.starts_with(&prefix))
    };
    let mut needed = vec![manifest.kind.interface()];
    needed.extend(manifest.webhook.is_some().then_some("webhook-source"));
    match needed.into_iter().find(|interface| !exports(interface)) {
        None => Ok(()),
        Some(missing) => Err(format!(
            "the manifest needs an export of `crossdock:plugin/{missing}`; the component exports {}",
            if inspection.exports.is_empty() { "nothing".to_owned() } else { inspection.exports.join(", ") }
        )),
    }
}

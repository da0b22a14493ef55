//! Changes to what is installed: checked first, then recorded, then swapped in. A refusal changes nothing.

pub mod bindings;
pub mod checks;
mod connections;
mod error;
mod holds;
pub(super) mod pipelines;
mod same;
pub(in crate::app) mod schemas;
pub(in crate::app) mod sources;
pub(super) mod tables;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use semver::Version;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::checks::{check_exports, check_manifest, fits_authentication, fits_config};
pub use self::error::InstallError;
use super::{
    audit::Audit,
    build,
    contracts::Library,
    golden,
    inbox::People,
    installation::{Installation, OpenConnection, POLL, POLLING, Plugin, Signed, lines::Live},
    package::{Package, Schemas},
    schemas::digest as digest_of,
};
use crate::{
    model::{
        audit::Cause,
        connection::Connection,
        id::{Digest, PluginId},
        limits::Limits,
        manifest::{Kind, Manifest},
        pace::Pace,
        registry::VersionState,
        setting::{BindingRecord, ConnectionRecord},
        timestamp::Timestamp,
    },
    net::egress::{EgressScope, Gateway},
    policy::signing::envelope::Envelope,
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
pub(super) struct PluginRecord {
    manifest: String,
    digest: Digest,
    schemas: Schemas,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    assets: Option<PathBuf>,
    /// Golden tests, kept as a blob. Absent in what earlier releases wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    golden: Option<Digest>,
    /// The signature that came with it, kept as a blob. Absent: none did, or an earlier release took it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<Digest>,
    /// When it was taken in. Absent in what earlier releases wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taken: Option<Timestamp>,
}

/// A version that may be installed; nothing of it is recorded yet.
pub(super) struct Prepared {
    pub(super) plugin: Plugin,
    wasm: Bytes,
    golden: Option<Bytes>,
    signature: Option<Bytes>,
    key: String,
    record: PluginRecord,
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
        self.load_schemas(&mut next).await?;
        self.load_lines(&mut next).await?;
        for (key, stored) in self.all("plugin/").await? {
            let record: PluginRecord = read(&key, &stored)?;
            let manifest: Manifest = toml::from_str(&record.manifest)
                .map_err(|error| InstallError::Damaged { key: key.clone(), problem: error.to_string() })?;
            let plugin = title(&manifest);
            let wasm = self.blobs.get(record.digest).await?.ok_or(InstallError::MissingComponent { plugin })?;
            let golden = record.golden;
            let kept = match record.signature {
                Some(digest) => self.blobs.get(digest).await?,
                None => None,
            };
            let signed = signed(kept.as_deref(), record.taken);
            let plugin = self.ready(manifest, record.digest, wasm, record.schemas, record.assets).await?;
            let plugin = Plugin { golden, signed, ..plugin };
            plugin.live.set_revoked(next.state(&plugin.manifest.id, &plugin.manifest.version) == VersionState::Revoked);
            add_plugin(&mut next, plugin);
        }
        for (key, stored) in self.all("connection/").await? {
            let name = key.trim_start_matches("connection/").to_owned();
            let record: ConnectionRecord = read(&key, &stored)?;
            if let Some(connection) = &record.connection {
                match self.open_with_any(&next, &name, connection, stored.revision.0) {
                    Ok(open) => drop(next.connections.insert(name.clone(), Arc::new(open))),
                    Err(error) => next.unusable.push(error.to_string()),
                }
            }
            next.settings.connections.insert(name, record);
        }
        self.open_others(&mut next);
        for (key, stored) in self.all("people").await? {
            next.people = Arc::new(read(&key, &stored)?);
        }
        self.load_sources(&mut next).await?;
        for (key, stored) in self.all("binding/").await? {
            let pipeline = key.trim_start_matches("binding/").to_owned();
            let record: BindingRecord = read(&key, &stored)?;
            next.bindings.insert(pipeline.clone(), record.names.clone());
            next.settings.bindings.insert(pipeline, record);
        }
        self.load_tables(&mut next).await?;
        self.load_pipelines(&mut next).await?;
        self.load_holds(&mut next).await?;
        self.keep_all_earlier(&mut next).await;
        Ok(next)
    }

    /// Installs a plugin version on the caller's word, without the gate: for benches. Installing the same again changes
    /// nothing.
    ///
    /// # Errors
    /// As [`InstallError`] says; nothing has changed then.
    pub async fn plugin(
        &self,
        now: &Installation,
        cause: &Cause,
        package: Package,
    ) -> Result<Option<Installation>, InstallError> {
        let Some(prepared) = self.prepare(now, package).await? else { return Ok(None) };
        let mut next = copy(now);
        self.keep(cause, "plugin.install", &prepared).await?;
        add_plugin(&mut next, prepared.plugin);
        self.reopen(&mut next);
        Ok(Some(next))
    }

    /// Checks a package, keeps its assets, and loads its component. Absent: it is installed already.
    ///
    /// # Errors
    /// As [`InstallError`] says.
    pub(super) async fn prepare(&self, now: &Installation, package: Package) -> Result<Option<Prepared>, InstallError> {
        if self.is_there(now, &package)? {
            return Ok(None);
        }
        let golden = golden::kept(&package.folder).map(Bytes::from);
        let Package { manifest, manifest_text, wasm, digest, schemas, assets, signature, .. } = package;
        let id = title(&manifest);
        let wrong = |problem: String| InstallError::Manifest { plugin: id.clone(), problem };
        check_manifest(&manifest, &schemas).map_err(wrong)?;
        self.library.implements(&manifest).map_err(wrong)?;
        if let Some(same) = now.by_digest.get(&digest)
            && (&same.manifest.id, &same.manifest.version) != (&manifest.id, &manifest.version)
            && (assets.is_some() || same.manifest.assets.is_some())
        {
            // Records name a component by its digest, which says nothing of the files beside it.
            let problem = "it has the component of another version, whose assets would be used: build it anew";
            return Err(wrong(problem.to_owned()));
        }
        let assets = assets.map(|folder| self.keep_assets(&folder, &id)).transpose()?;
        let key = format!("plugin/{}/{}", manifest.id, manifest.version);
        let kept = golden.as_ref().map(|tests| Digest::of(tests));
        let record = PluginRecord {
            manifest: manifest_text,
            digest,
            schemas: schemas.clone(),
            assets: assets.clone(),
            golden: kept,
            signature: signature.as_ref().map(|signature| Digest::of(signature)),
            taken: Some(self.clock.now()),
        };
        let signed = signed(signature.as_deref(), record.taken);
        let plugin = self.ready(manifest, digest, wasm.clone(), schemas, assets).await?;
        Ok(Some(Prepared { plugin: Plugin { golden: kept, signed, ..plugin }, wasm, golden, signature, key, record }))
    }

    /// Records a version that was prepared.
    pub(super) async fn keep(&self, cause: &Cause, action: &str, prepared: &Prepared) -> Result<(), InstallError> {
        self.blobs.put(prepared.wasm.clone()).await?;
        if let Some(tests) = &prepared.golden {
            self.blobs.put(tests.clone()).await?;
        }
        if let Some(signature) = &prepared.signature {
            self.blobs.put(signature.clone()).await?;
        }
        self.put_as(cause, action, &prepared.key, &prepared.record).await
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
        let mut operations = BTreeMap::new();
        for (name, own) in &schemas.operations {
            operations.insert(name.clone(), (validator(own.input.as_ref())?, validator(own.output.as_ref())?));
        }
        Ok(Plugin {
            operations,
            produces: schemas.events.iter().map(|(name, schema)| (name.clone(), digest_of(schema))).collect(),
            pure: Plugin::used(&manifest, inspection.digest, 0),
            limits: manifest.limits.capped(&Limits::CEILING),
            input: validator(schemas.input.as_ref())?,
            output: validator(schemas.output.as_ref())?,
            manifest,
            inspection,
            schemas,
            signed: None,
            golden: None,
            live: Live::default(),
        })
    }

    pub(super) fn open(
        &self,
        now: &Installation,
        name: &str,
        connection: Connection,
        revision: u64,
    ) -> Result<OpenConnection, InstallError> {
        let wrong = |problem: String| InstallError::Setting { what: format!("connection `{name}`"), problem };
        let plugin = now.bound_version(&connection.plugin, None).cloned().ok_or_else(|| {
            match now.serving(&connection.plugin) {
                Err(unserved) => wrong(unserved.problem),
                Ok(_) => wrong(format!("plugin `{}` is not installed", connection.plugin)),
            }
        })?;
        self.open_as(plugin, name, connection, revision)
    }

    pub(super) fn open_as(
        &self,
        plugin: Arc<Plugin>,
        name: &str,
        connection: Connection,
        revision: u64,
    ) -> Result<OpenConnection, InstallError> {
        self.open_with(plugin, name, connection, revision, &self.secrets)
    }

    /// The same with other secrets than the hub's.
    pub(super) fn open_with(
        &self,
        plugin: Arc<Plugin>,
        name: &str,
        connection: Connection,
        revision: u64,
        secrets: &Arc<dyn Secrets>,
    ) -> Result<OpenConnection, InstallError> {
        let wrong = |problem: String| InstallError::Setting { what: format!("connection `{name}`"), problem };
        if plugin.manifest.kind != Kind::Connector {
            return Err(wrong(format!("plugin `{}` is no connector", connection.plugin)));
        }
        fits_config(&plugin.schemas, &connection.config.to_value()).map_err(wrong)?;
        fits_authentication(&plugin.manifest, &connection).map_err(wrong)?;
        for needed in plugin.manifest.secrets.keys() {
            if !connection.secrets.contains_key(needed) {
                return Err(wrong(format!("the plugin needs secret `{needed}`: add `secrets.{needed} = \"file:…\"`")));
            }
        }
        let versions: Vec<u64> = connection.references().map(|(_, reference)| secrets.version(reference)).collect();
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
                    secret_versions: versions.clone(),
                    secrets: Arc::clone(secrets),
                    clock: Arc::clone(&self.clock),
                };
                (operation.to_owned(), self.gateway.open(scope))
            })
            .collect();
        let used = Plugin::used(&plugin.manifest, plugin.inspection.digest, revision);
        let pace = Pace::narrowest(&plugin.manifest.vendor, &connection.limits);
        Ok(OpenConnection {
            name: name.to_owned(),
            connection,
            revision,
            secret_versions: versions,
            plugin,
            used,
            pace,
            outlets,
        })
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

    pub(super) async fn all(&self, prefix: &str) -> Result<Vec<(String, Stored)>, InstallError> {
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

    pub(super) async fn put_as(
        &self,
        cause: &Cause,
        action: &str,
        key: &str,
        value: &impl Serialize,
    ) -> Result<(), InstallError> {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| InstallError::Damaged { key: key.to_owned(), problem: error.to_string() })?;
        self.audit.put_as(&*self.records, cause, action, key, Bytes::from(bytes)).await?;
        Ok(())
    }

    pub(super) async fn put(&self, cause: &Cause, key: &str, value: &impl Serialize) -> Result<(), InstallError> {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| InstallError::Damaged { key: key.to_owned(), problem: error.to_string() })?;
        self.audit.put(&*self.records, cause, key, Bytes::from(bytes)).await?;
        Ok(())
    }
}

pub(super) fn copy(now: &Installation) -> Installation {
    Installation {
        contracts: Arc::clone(&now.contracts),
        documents: Arc::clone(&now.documents),
        events: Arc::clone(&now.events),
        plugins: now.plugins.clone(),
        states: now.states.clone(),
        lines: now.lines.clone(),
        alternates: now.alternates.clone(),
        by_digest: now.by_digest.clone(),
        pipelines: now.pipelines.clone(),
        pipeline_versions: now.pipeline_versions.clone(),
        serving_pipelines: now.serving_pipelines.clone(),
        holds: now.holds.clone(),
        plans: now.plans.clone(),
        tables: now.tables.clone(),
        connections: now.connections.clone(),
        bindings: now.bindings.clone(),
        sources: now.sources.clone(),
        people: Arc::clone(&now.people),
        unusable: now.unusable.clone(),
        settings: now.settings.clone(),
    }
}

pub(super) fn add_plugin(next: &mut Installation, plugin: Plugin) {
    let plugin = Arc::new(plugin);
    let (id, version): (PluginId, Version) = (plugin.manifest.id.clone(), plugin.manifest.version.clone());
    next.by_digest.insert(plugin.inspection.digest, Arc::clone(&plugin));
    next.plugins.entry(id).or_default().insert(version, plugin);
}

/// A signature as it was kept; `None` if there is none, or nothing says when it was taken.
fn signed(kept: Option<&[u8]>, taken: Option<Timestamp>) -> Option<Signed> {
    Some(Signed { envelope: Envelope::read(kept?).ok()?, taken: taken? })
}

pub(super) fn title(manifest: &Manifest) -> String {
    format!("{}@{}", manifest.id, manifest.version)
}

pub(super) fn read<T: DeserializeOwned>(key: &str, stored: &Stored) -> Result<T, InstallError> {
    serde_json::from_slice(&stored.value)
        .map_err(|error| InstallError::Damaged { key: key.to_owned(), problem: error.to_string() })
}

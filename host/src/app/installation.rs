//! What is installed: one immutable picture of plugins, pipelines, connections and bindings. A change makes a new
//! picture and swaps it in; whoever works with the old one finishes with it.

pub mod lines;
pub mod settings;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use jsonschema::Validator;
use semver::{Version, VersionReq};

use self::{
    lines::{Alternates, Lines, Live, States},
    settings::Settings,
};
use super::{inbox::People, package::Schemas, schemas::EventTypes};
use crate::{
    flow::{
        document::Document,
        language::{PipelineFacts, PluginFacts},
        machine::key_of,
        plan::Plan,
    },
    model::{
        connection::{Connection, SecretRef, WebhookSource},
        contract::OperationContract,
        entry::PluginUse,
        event::Event,
        hold::Hold,
        id::{ContractId, Digest, PluginId, SignalKey},
        limits::Limits,
        manifest::Manifest,
        pace::Pace,
        pipeline::Definition,
        registry::{Line, VersionState},
        review::{Reviewed, Serving},
        table::TableRecord,
        timestamp::Timestamp,
    },
    policy::{lifecycle, signing::envelope::Envelope},
    ports::{egress::Egress, invoker::Inspection},
};

/// Everything that is installed.
#[derive(Default)]
pub struct Installation {
    /// Operation contracts of this hub.
    pub contracts: Arc<BTreeMap<ContractId, OperationContract>>,
    /// Validators of contracts' documents, by contract and operation: input, output.
    pub documents: Arc<HashMap<(ContractId, String), (Validator, Validator)>>,
    /// Event types and their schemas.
    pub events: Arc<EventTypes>,
    /// Plugins by line and version.
    pub plugins: BTreeMap<PluginId, BTreeMap<Version, Arc<Plugin>>>,
    /// Where versions stand; one that is not here is published.
    pub states: States,
    /// Which versions serve, of lines that somebody bound.
    pub lines: BTreeMap<PluginId, Lines>,
    /// Connections under the other versions of their plugin, for what those began and for canaries.
    pub alternates: Alternates,
    /// Plugins by the digest of their component.
    pub by_digest: HashMap<Digest, Arc<Plugin>>,
    /// The pipelines that new runs start on, by name.
    pub pipelines: BTreeMap<String, Arc<Pipeline>>,
    /// Every version of every pipeline, drafts included.
    pub pipeline_versions: BTreeMap<String, BTreeMap<Version, PipelineVersion>>,
    /// Which version of a pipeline serves, as it is recorded.
    pub serving_pipelines: BTreeMap<String, Serving>,
    /// Pipelines that are paused as a whole.
    pub holds: BTreeMap<String, Hold>,
    /// Every accepted version of every pipeline by digest: a run finishes on the version that started it.
    pub plans: HashMap<Digest, Arc<Plan>>,
    /// Reference tables by name.
    pub tables: BTreeMap<String, Arc<Table>>,
    /// Connections by name.
    pub connections: BTreeMap<String, Arc<OpenConnection>>,
    /// For each pipeline, which connection each name in its `uses` stands for.
    pub bindings: BTreeMap<String, BTreeMap<String, String>>,
    /// Webhook sources by name.
    pub sources: BTreeMap<String, WebhookSource>,
    /// Groups of people.
    pub people: Arc<People>,
    /// What is recorded and cannot be used, and why.
    pub unusable: Vec<String>,
    /// Who has the say about connections, bindings and webhook sources, and what they were before.
    pub settings: Settings,
}

/// An installed plugin version.
pub struct Plugin {
    /// What it says about itself.
    pub manifest: Manifest,
    /// What it imports and exports, computed.
    pub inspection: Inspection,
    /// Its schemas.
    pub schemas: Schemas,
    /// How records name it in a pure step.
    pub pure: Arc<PluginUse>,
    /// The bounds of its calls: what it asks for, within the hub's ceiling.
    pub limits: Limits,
    /// Validators of its own documents.
    pub input: Option<Validator>,
    /// As `input`, for what it gives.
    pub output: Option<Validator>,
    /// Validators of its operations' documents, beside those of contracts: input, output.
    pub operations: BTreeMap<String, (Option<Validator>, Option<Validator>)>,
    /// Digests of the schemas of events that it brings, by event type.
    pub produces: BTreeMap<String, Digest>,
    /// The signature that it came with.
    pub signed: Option<Signed>,
    /// Its golden tests, kept: a JSON object of tests by name.
    pub golden: Option<Digest>,
    /// What goes on with it now.
    pub live: Live,
}

/// A signature as it was taken in.
pub struct Signed {
    /// Who signed what.
    pub envelope: Envelope,
    /// When it was taken in.
    pub taken: Timestamp,
}

/// An accepted pipeline.
pub struct Pipeline {
    /// What runs.
    pub plan: Arc<Plan>,
    /// What was written.
    pub definition: Definition,
    /// The text.
    pub text: String,
}

/// A version of a pipeline, whether it serves or not.
#[derive(Clone)]
pub struct PipelineVersion {
    /// Its text.
    pub text: Arc<str>,
    /// Where it stands and who answers for it; absent: it was declared in a configuration file.
    pub reviewed: Option<Reviewed>,
}

impl PipelineVersion {
    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> VersionState {
        self.reviewed.as_ref().map_or(VersionState::Published, |reviewed| reviewed.record.state)
    }

    /// Whether it may have been run: somebody approved it, or an operator declared it.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.reviewed.as_ref().is_none_or(|reviewed| reviewed.approved.is_some())
    }
}

/// A reference table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Which version serves, and which did.
    pub line: Line,
    /// Its versions, drafts included.
    pub versions: BTreeMap<Version, TableVersion>,
    /// The rows of the version that serves, by key.
    pub rows: Option<Document>,
    /// The same of versions that served before, for runs of pipelines that do not take the one that serves now.
    pub earlier: BTreeMap<Version, Document>,
}

/// A version of a reference table.
#[derive(Clone, Debug)]
pub struct TableVersion {
    /// Its key, schema and digest.
    pub record: TableRecord,
    /// Where it stands and who answers for it.
    pub reviewed: Reviewed,
}

impl Table {
    /// The version that serves.
    #[must_use]
    pub fn active(&self) -> Option<(&Version, &TableVersion)> {
        let version = self.line.active.as_ref()?;
        Some((version, self.versions.get(version)?))
    }

    /// Of the versions that served before, may serve still, and are taken at a range: the latest that did.
    #[must_use]
    pub fn before(&self, range: &VersionReq) -> Option<(&Version, &TableVersion)> {
        let taken = self.line.earlier.iter().rev().filter(|version| range.matches(version));
        let kept = taken.filter_map(|version| self.versions.get_key_value(version));
        kept.into_iter().find(|(_, kept)| lifecycle::may_serve(kept.reviewed.record.state))
    }
}

/// A connection, ready to be called through.
pub struct OpenConnection {
    /// Its name.
    pub name: String,
    /// As the operator configured it.
    pub connection: Connection,
    /// Changes with each change of the connection and its grants.
    pub revision: u64,
    /// The versions of those of its secrets that the hub keeps.
    pub secret_versions: Vec<u64>,
    /// The plugin that serves it.
    pub plugin: Arc<Plugin>,
    /// How records name the plugin under this connection's grant.
    pub used: Arc<PluginUse>,
    /// How fast its remote may be called.
    pub pace: Pace,
    /// The way out, by operation.
    pub outlets: HashMap<String, Arc<dyn Egress>>,
}

/// The name under which a poll gets its way out.
pub const POLL: &str = "poll";
/// The interface that a source exports which can be polled.
pub const POLLING: &str = "polling-source";

impl Plugin {
    /// Whether its component exports an interface of the contract, such as `polling-source`.
    #[must_use]
    pub fn exports(&self, interface: &str) -> bool {
        let prefix = format!("crossdock:plugin/{interface}@1.");
        self.inspection.exports.iter().any(|name| name.starts_with(&prefix))
    }

    /// How records name it, under a grant; 0 for pure steps.
    #[must_use]
    pub fn used(manifest: &Manifest, digest: Digest, grant: u64) -> Arc<PluginUse> {
        Arc::new(PluginUse {
            id: manifest.id.clone(),
            version: manifest.version.to_string(),
            digest,
            contract: manifest.contract.to_string(),
            grant,
            canary: false,
        })
    }
}

impl Installation {
    /// The connection that a pipeline's name stands for.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    pub fn connection(&self, pipeline: &str, name: &str) -> Result<&Arc<OpenConnection>, String> {
        let bound = self.bindings.get(pipeline).and_then(|names| names.get(name)).ok_or_else(|| {
            format!(
                "pipeline `{pipeline}` has no connection bound to `{name}`: add it under `bindings.\"{pipeline}\"`, or run \
                 `crossdock pipeline bind {pipeline} {name}=CONNECTION`"
            )
        })?;
        self.connections
            .get(bound)
            .ok_or_else(|| format!("connection `{bound}`, bound to `{name}` of `{pipeline}`, is not configured"))
    }

    /// Facts about plugins for the pipeline checker.
    #[must_use]
    pub fn plugin_facts(&self) -> BTreeMap<PluginId, Vec<PluginFacts>> {
        self.plugins
            .iter()
            .map(|(id, versions)| {
                (id.clone(), versions.values().map(|plugin| PluginFacts::of(&plugin.manifest)).collect())
            })
            .collect()
    }

    /// Facts about pipelines for the pipeline checker.
    #[must_use]
    pub fn pipeline_facts(&self) -> BTreeMap<String, PipelineFacts> {
        let mut facts: BTreeMap<String, PipelineFacts> = BTreeMap::new();
        for (name, pipeline) in &self.pipelines {
            facts.entry(name.clone()).or_default().add(&pipeline.definition);
        }
        facts
    }

    /// Versions of reference tables that somebody approved, for the pipeline checker.
    #[must_use]
    pub fn table_facts(&self) -> BTreeMap<String, Vec<Version>> {
        // Those that were put away count: what runs goes on with them.
        let approved = |table: &Table| {
            let versions = table.versions.iter().filter(|(_, kept)| kept.reviewed.approved.is_some());
            versions.map(|(version, _)| version.clone()).collect()
        };
        self.tables.iter().map(|(name, table)| (name.clone(), approved(table))).collect()
    }

    /// Every event type that starts a pipeline, is waited for, or has a schema.
    #[must_use]
    pub fn event_types(&self) -> HashSet<&str> {
        self.known_types().collect()
    }

    /// Whether an event type starts a pipeline, is waited for, or has a schema.
    #[must_use]
    pub fn knows(&self, event_type: &str) -> bool {
        self.known_types().any(|known| known == event_type)
    }

    fn known_types(&self) -> impl Iterator<Item = &str> {
        self.pipelines
            .values()
            .flat_map(|pipeline| pipeline.plan.triggers.iter().map(|trigger| trigger.event_type.as_str()))
            .chain(self.signal_types())
            .chain(self.events.iter().map(|(name, _)| name))
    }

    /// Every event type that a run of any accepted version may wait for.
    fn signal_types(&self) -> impl Iterator<Item = &str> {
        self.plans.values().flat_map(|plan| plan.signals().map(|signal| signal.event_type.as_str()))
    }

    /// The keys under which an event is found by waits.
    #[must_use]
    pub fn signal_keys(&self, event: &Event) -> HashSet<SignalKey> {
        self.plans
            .values()
            .flat_map(|plan| plan.signals())
            .filter(|signal| signal.event_type == event.event_type)
            .filter_map(|signal| key_of(signal, event))
            .collect()
    }

    /// Every secret that is referred to, with what refers to it.
    pub fn secrets(&self) -> impl Iterator<Item = (String, &SecretRef)> {
        let connections = self.connections.values().flat_map(|open| {
            open.connection.references().map(|(_, secret)| (format!("connection `{}`", open.name), secret))
        });
        let sources = self.sources.iter().map(|(name, source)| (format!("webhook source `{name}`"), &source.secret));
        connections.chain(sources)
    }

    /// The look-ups of a run of this pipeline about a key.
    #[must_use]
    pub fn bound<'a>(&'a self, pipeline: &'a str, key: &'a str) -> Bound<'a> {
        Bound { installation: self, pipeline, key }
    }
}

/// An installation as one run sees it.
pub struct Bound<'a> {
    installation: &'a Installation,
    pipeline: &'a str,
    key: &'a str,
}

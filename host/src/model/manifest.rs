//! `plugin.toml`: what a plugin says about itself. Unknown fields are refused. What can be computed (digest, imports,
//! exports) is never taken from here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::{
    auth::Scheme,
    id::{ContractId, PluginId},
    limits::Limits,
    pace::VendorLimits,
};

/// A plugin's manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `namespace/name`.
    #[schemars(with = "String")]
    pub id: PluginId,
    /// The plugin's own semantic version.
    #[schemars(with = "String")]
    pub version: Version,
    /// What it does, and so which functions it exports.
    pub kind: Kind,
    /// The version of `crossdock:plugin` that it was built against, such as `1.0.0`.
    #[schemars(with = "String")]
    pub contract: Version,
    /// An SPDX expression.
    pub license: String,
    /// One sentence for people.
    pub summary: String,
    /// Path of the JSON Schema of its settings, relative to the manifest. Absent: it takes none.
    #[serde(default)]
    pub config_schema: Option<String>,
    /// Path of the JSON Schema of its input (transform, rule, scorer). Absent: any JSON.
    #[serde(default)]
    pub input_schema: Option<String>,
    /// Path of the JSON Schema of its output (transform; a rule's `output`). Absent: any JSON.
    #[serde(default)]
    pub output_schema: Option<String>,
    /// Secrets that it names, each with the reason; an operator grants them.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// The schemes by which a connector's remote authenticates, such as `["mutual-tls", "bearer"]`; a connection with another
    /// is refused. Absent: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authentication: Vec<Scheme>,
    /// The operation contracts that a connector implements, all their operations.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub implements: Vec<ContractId>,
    /// A connector's operations, by name.
    #[serde(default)]
    pub operations: BTreeMap<String, Operation>,
    /// For a rule: what it may answer.
    #[serde(default)]
    pub rule: Option<RuleFacts>,
    /// For a scorer: its model card.
    #[serde(default)]
    pub model_card: Option<ModelCard>,
    /// How a webhook source's deliveries are signed; the host verifies them.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// Event types that it produces (a source).
    #[serde(default)]
    pub produces: Vec<String>,
    /// For event types of `produces`: the path of the JSON Schema of the event's data, relative to the manifest. A new
    /// version is compared with the one before it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub event_schemas: BTreeMap<String, String>,
    /// What it may touch, beyond computing. Absent: nothing.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// The bounds of one call. Absent ones have their default.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, u64>")]
    pub limits: Limits,
    /// What the vendor of a connector's system documents: calls at the same time, and over time.
    #[serde(default, skip_serializing_if = "VendorLimits::is_none")]
    pub vendor: VendorLimits,
    /// Folder of files that the guest may read, relative to the manifest; mounted read-only at `/assets`.
    #[serde(default)]
    pub assets: Option<String>,
}

/// What a plugin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Turns one document into another; pure.
    Transform,
    /// Decides; pure.
    Rule,
    /// Recommends; pure.
    Scorer,
    /// Talks to one external system.
    Connector,
}

impl Kind {
    /// Whether its main function runs without network and state.
    #[must_use]
    pub fn is_pure(self) -> bool {
        self != Self::Connector
    }

    /// The interface of `crossdock:plugin` that it exports.
    #[must_use]
    pub fn interface(self) -> &'static str {
        match self {
            Self::Transform => "transform",
            Self::Rule => "rule",
            Self::Scorer => "scorer",
            Self::Connector => "connector",
        }
    }
}

/// One operation of a connector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Whether it changes the remote.
    pub effect: Effect,
    /// One sentence for people.
    #[serde(default)]
    pub summary: String,
    /// The operation that undoes it.
    #[serde(default)]
    pub compensate: Option<String>,
    /// For a write: how doubt about a lost answer is resolved.
    #[serde(default)]
    pub doubt: Doubt,
    /// Whether it writes to the system of record, so that pipelines declare it.
    #[serde(default)]
    pub touchpoint: bool,
    /// For a read: methods beyond the safe ones, such as `POST` for a query language.
    #[serde(default)]
    pub read_methods: Vec<String>,
    /// Path of the JSON Schema of its input, relative to the manifest, where no contract says it. A new version is
    /// compared with the one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<String>,
    /// As `input_schema`, of its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<String>,
}

/// Whether an operation changes the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It does not; egress holds it to safe HTTP methods.
    Read,
    /// It does; its intent is durable before the request leaves.
    Write,
}

/// How the hub finds out whether a write whose answer was lost took effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Doubt {
    /// The remote drops a repetition under the same idempotency key: repeat.
    NativeKey {
        /// Wait this long before repeating, milliseconds.
        #[serde(default)]
        settle_ms: u64,
    },
    /// A read operation takes the write's input and answers its output, or `null` if nothing took effect.
    NaturalKey {
        /// The read operation.
        find: String,
        /// Wait this long before asking, milliseconds.
        #[serde(default)]
        settle_ms: u64,
    },
    /// It cannot: the run is parked with the evidence.
    #[default]
    None,
}

/// What a rule may answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleFacts {
    /// Among `proceed`, `hold`, `reject`, `route`.
    pub outcomes: Vec<String>,
    /// The branches that `route` may name.
    #[serde(default)]
    pub routes: Vec<String>,
}

/// Where a model comes from, how good it is and where it must not be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// The model's name, as its assessments say it.
    pub model: String,
    /// The model's own version.
    pub version: String,
    /// What it may recommend; empty: whatever the input offers, such as node ids.
    #[serde(default)]
    pub recommendations: Vec<String>,
    /// What it was made from, and the origin of that.
    pub training_data: String,
    /// How it was measured, and what came out.
    pub metrics: String,
    /// Where it must not be trusted.
    pub limits: String,
}

/// How a sender signs its deliveries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The algorithm over the raw body.
    pub algorithm: SignatureAlgorithm,
    /// The header that holds the signature, in lower case.
    pub header: String,
    /// How the signature is written there.
    pub encoding: SignatureEncoding,
    /// Text before the signature in the header, such as `sha256=`.
    #[serde(default)]
    pub prefix: String,
    /// The header that holds the Unix time of signing, which is then signed before the body as `TIME.BODY`.
    #[serde(default)]
    pub timestamp_header: Option<String>,
    /// How far that time may be off, seconds.
    #[serde(default = "default_tolerance_s")]
    pub tolerance_s: u32,
    /// The header that identifies one delivery.
    #[serde(default)]
    pub delivery_id_header: Option<String>,
    /// The header that identifies the event, the same over repeated deliveries.
    #[serde(default)]
    pub event_id_header: Option<String>,
}

fn default_tolerance_s() -> u32 {
    300
}

/// The algorithms that webhooks are verified with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureAlgorithm {
    /// HMAC with SHA-256 (RFC 2104).
    HmacSha256,
    /// HMAC with SHA-1, for old senders.
    HmacSha1,
    /// HMAC with SHA-512.
    HmacSha512,
}

/// How a signature is written in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureEncoding {
    /// Standard base 64 with padding.
    Base64,
    /// Hexadecimal digits.
    Hex,
}

/// What a plugin may touch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Where it may send HTTP requests.
    #[serde(default)]
    pub http: Vec<HttpCapability>,
    /// Buckets of durable state that it may use.
    #[serde(default)]
    pub state: Vec<String>,
}

/// One place that HTTP requests may go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpCapability {
    /// `scheme://host` with an optional port, or `${connection.base_url}`.
    pub origin: String,
    /// HTTP methods in upper case.
    pub methods: Vec<String>,
    /// Why; shown to the operator who grants it.
    pub reason: String,
    /// Whether the host adds the connection's authentication to requests that go there.
    #[serde(default)]
    pub authenticate: bool,
}

/// The JSON Schema (2020-12) of `plugin.toml`, as it is published for editors.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Manifest).to_value()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use serde_json::{Value, json};

    use super::{Manifest, schema};

    /// The manifests of this workspace's plugins.
    fn manifests() -> Vec<(String, Value)> {
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
        let folders = fs::read_dir(plugins).unwrap().map(|entry| entry.unwrap().path().join("plugin.toml"));
        let read = |path: std::path::PathBuf| {
            let text = fs::read_to_string(&path).unwrap();
            (path.display().to_string(), toml::from_str(&text).unwrap())
        };
        folders.filter(|path| path.is_file()).map(read).collect()
    }

    #[test]
    fn every_manifest_holds_to_the_published_schema_and_what_is_refused_does_not() {
        let schema = jsonschema::validator_for(&schema()).unwrap();
        let manifests = manifests();
        assert!(manifests.len() > 5);
        for (path, manifest) in manifests {
            let errors: Vec<String> = schema.iter_errors(&manifest).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{path}: {errors:#?}");
            serde_json::from_value::<Manifest>(manifest.clone()).unwrap();
            let wrong: [fn(&mut Value); 4] = [
                |manifest| manifest["colour"] = json!("blue"),
                |manifest| manifest["kind"] = json!("robot"),
                |manifest| drop(manifest.as_object_mut().unwrap().remove("license")),
                |manifest| manifest["capabilities"] = json!({ "files": ["/"] }),
            ];
            for (number, spoil) in (0..).zip(wrong) {
                let mut spoilt = manifest.clone();
                spoil(&mut spoilt);
                assert!(!schema.is_valid(&spoilt), "{path}: {number}");
                assert!(serde_json::from_value::<Manifest>(spoilt).is_err(), "{path}: {number}");
            }
        }
    }
}

//! Which versions decided what a key stands for, such as an order; who allowed each; what each could touch. Derived
//! from the journal's runs and audit records, never stored.

use serde::{Deserialize, Serialize};

use super::{
    audit::AuditLine,
    entry::{PipelineUse, PluginUse},
    id::{Digest, RunId},
    run::RunState,
    table::TableUse,
    timestamp::Timestamp,
};

/// What is known about a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The key.
    pub key: String,
    /// Its runs, oldest first.
    pub runs: Vec<ExplainedRun>,
    /// What was not looked into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedRun {
    /// The run.
    pub run: RunId,
    /// Where it stands.
    pub state: RunState,
    /// When it was started.
    pub started: Timestamp,
    /// Exactly which pipeline.
    pub pipeline: PipelineUse,
    /// Who accepted that version of the pipeline.
    pub accepted_by: Option<AuditLine>,
    /// Who approved it, unless a configuration declared it.
    #[serde(default)]
    pub approved_by: Option<AuditLine>,
    /// Who made it the one that new runs start on.
    pub activated_by: Option<AuditLine>,
    /// The steps that a plugin took, in the order in which they began.
    pub steps: Vec<ExplainedStep>,
    /// What people decided when it asked them, in the order in which they did. The journal alone holds it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<ExplainedDecision>,
    /// What else people did to it, and decisions that override: audit records, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acts: Vec<AuditLine>,
}

/// What a person decided when a run asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedDecision {
    /// The step that asked.
    pub step: String,
    /// When.
    pub time: Timestamp,
    /// Who.
    pub actor: String,
    /// For whom, if the actor stood in for somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    /// Yes or no.
    pub approved: bool,
    /// The reason code of a decision that overrides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_code: Option<String>,
    /// Why.
    pub reason: String,
    /// Digest of the evidence that they saw.
    pub evidence: Digest,
}

/// A reference table that a step was given, and who allowed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedTable {
    /// Exactly which.
    #[serde(flatten)]
    pub table: TableUse,
    /// Who drafted that version.
    pub drafted_by: Option<AuditLine>,
    /// Who approved it.
    pub approved_by: Option<AuditLine>,
    /// Who made it the one that steps were given.
    pub promoted_by: Option<AuditLine>,
}

/// One step that a plugin took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedStep {
    /// Its path within the pipeline.
    pub path: String,
    /// The reference tables that its input was made with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<ExplainedTable>,
    /// `transform`, `rule`, `score` or `call`.
    pub kind: String,
    /// For a call: `name#operation`.
    pub operation: Option<String>,
    /// What it decided or recommended.
    pub decision: Option<String>,
    /// What ran: plugin, version, digest, contract, grant revision.
    pub plugin: PluginUse,
    /// Who installed that version.
    pub installed_by: Option<AuditLine>,
    /// Who had that line serve as it did then; absent: nobody had bound it, and it followed its latest version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_by: Option<AuditLine>,
    /// Through which connection it ran; absent: it is pure and touches nothing.
    pub connection: Option<ExplainedConnection>,
    /// What it could touch; absent: nothing says so, because its installation was never recorded.
    pub touches: Option<Touches>,
}

/// A connection as it was under a grant revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedConnection {
    /// Its name.
    pub name: String,
    /// Who granted it as it was then.
    pub granted_by: Option<AuditLine>,
    /// Who bound it to the pipeline.
    pub bound_by: Option<AuditLine>,
    /// Where the remote was.
    pub base_url: Option<String>,
    /// Private addresses that it could reach all the same.
    pub allow_addresses: Vec<String>,
}

/// What a plugin could touch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Touches {
    /// Where it could send HTTP requests.
    pub http: Vec<HttpTouch>,
    /// Buckets of durable state.
    pub state: Vec<String>,
    /// Secrets that were used for it or by it, by name and reference; never their values.
    pub secrets: Vec<String>,
}

/// A place that requests could go to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpTouch {
    /// `scheme://host`, with the connection's base URL put in.
    pub origin: String,
    /// HTTP methods.
    pub methods: Vec<String>,
    /// Why, as the plugin says.
    pub reason: String,
    /// Whether the hub added the connection's authentication.
    pub authenticated: bool,
}

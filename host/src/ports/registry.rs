//! What the surfaces may ask of a hub's registry: versions, bindings, trials, changes that need a second person, and what
//! depends on what. Everything that it answers is durable, counts of trials apart, which begin anew with each start.

use bytes::Bytes;
use futures::future::BoxFuture;
use semver::Version;
use serde::Serialize;
use serde_json::Value;

use super::impact::{Impact, InUse, Subject};
use crate::model::{
    age::Since,
    id::{Digest, KeyId, PluginId},
    manifest::Kind,
    registry::{Act, Candidate, Part, Proposal, VersionRecord},
    replay::Report,
    trust::{TrustedKey, Unsigned},
};

/// Longest actor, bytes.
pub const ACTOR_BYTES_LIMIT: usize = 128;
/// Longest reason, bytes.
pub const REASON_BYTES_LIMIT: usize = 2_000;

/// Who changes something, and why. Both are required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// A change that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRequest {
    /// Who asks, and why.
    pub who: Who,
    /// The line.
    pub plugin: PluginId,
    /// For which pipeline alone; absent: for all that have no binding of their own.
    pub pipeline: Option<String>,
    /// What.
    pub act: Act,
    /// Overrides what stands against it, as far as that can be overridden; needs a second person.
    pub force: bool,
    /// Whether whoever asks knows what depends on what is taken away, or broken.
    pub accept_impact: bool,
}

/// A replay of recorded inputs that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRequest {
    /// The line.
    pub plugin: PluginId,
    /// The version that is looked at; a draft may be.
    pub version: Version,
    /// The version that it is held against; absent: the one that serves.
    pub against: Option<Version>,
    /// How far back inputs are looked for.
    pub since: Since,
    /// Those of this pipeline alone.
    pub pipeline: Option<String>,
    /// How many at most, the latest.
    pub limit: Option<u32>,
}

/// What came of a change that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Changed {
    /// It is made.
    Done(Done),
    /// A second person has to agree first.
    Proposed(Box<Proposal>),
}

/// A change that is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// The line.
    pub plugin: PluginId,
    /// The version that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// What was done, in words.
    pub summary: String,
    /// What was looked at, and what to know.
    pub notes: Vec<String>,
    /// How long it took.
    pub took: Took,
}

/// How long the parts of a change took, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Took {
    /// Verifying, compiling, trying out, golden tests, grants.
    pub checks_us: u64,
    /// Recording it durably.
    pub record_us: u64,
    /// Putting the new picture in the old one's place.
    pub swap_us: u64,
}

/// A version that was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    /// The line.
    pub plugin: PluginId,
    /// The version.
    pub version: Version,
    /// Digest of its component.
    pub digest: Digest,
    /// Where it stands.
    #[serde(flatten)]
    pub record: VersionRecord,
    /// Whether exactly this was there before.
    pub unchanged: bool,
    /// What serves now, and what to do next.
    pub notes: Vec<String>,
}

/// A version of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionView {
    /// The version.
    pub version: Version,
    /// Digest of its component.
    pub digest: Digest,
    /// What it does.
    pub kind: Kind,
    /// Where it stands.
    #[serde(flatten)]
    pub record: VersionRecord,
    /// Its part: `active`, `staged`, `shadow`, `canary`, `draining` (calls of it are under way though it serves no more),
    /// `superseded` or `unbound`.
    pub part: &'static str,
    /// Calls of it that are under way.
    pub calls: usize,
    /// Whether it has golden tests, which are looked at before it is promoted.
    pub golden: bool,
}

/// Whose signatures count.
#[derive(Clone, Debug, Serialize)]
pub struct TrustView {
    /// What happens to a plugin that nobody trusted has signed.
    pub unsigned: Unsigned,
    /// The keys, as they are declared.
    pub keys: Vec<KeyView>,
}

/// A key, and what it signed.
#[derive(Clone, Debug, Serialize)]
pub struct KeyView {
    /// Its id.
    pub id: KeyId,
    /// For which namespace, from when until when, and since when it is revoked.
    #[serde(flatten)]
    pub key: TrustedKey,
    /// Who revoked it at the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Versions in this hub that it signed.
    pub signed: Vec<String>,
}

/// A plugin's line with its versions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PluginDetail {
    /// The line.
    pub plugin: PluginId,
    /// Its versions, the latest first.
    pub versions: Vec<VersionView>,
    /// Where they serve.
    pub bindings: Vec<LineView>,
}

/// Which versions of a line serve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LineView {
    /// The line.
    pub plugin: PluginId,
    /// The pipeline that it is about; absent: all that have no binding of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// Whether somebody bound it; otherwise it follows the latest version.
    pub bound: bool,
    /// The version that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<Version>,
    /// What it was promoted on, if a replay was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<Box<Report>>,
    /// Those that served before, the latest last.
    pub earlier: Vec<Version>,
    /// The version on trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<CandidateView>,
}

/// A version on trial, and what it came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CandidateView {
    /// Which, and how.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// What it came to since it began, or since the hub started.
    pub counts: CountsView,
}

/// A difference between two versions' answers to the same input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The run.
    pub run: String,
    /// The step.
    pub step: String,
    /// What counted.
    pub served: String,
    /// What the other version would have answered.
    pub other: String,
}

/// What a trial came to, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CountsView {
    /// Durable answers that the candidate gave and that counted.
    pub served: u64,
    /// Calls that it answered with a failure of its own.
    pub failed: u64,
    /// Calls that ended by a defect or a limit other than time.
    pub traps: u64,
    /// Calls that ran out of time.
    pub deadlines: u64,
    /// Answers that were held against the other version's.
    pub compared: u64,
    /// Those that differed.
    pub diverged: u64,
    /// Comparisons that were not made because too many were under way.
    pub left_out: u64,
    /// Why the hub takes it back, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// The latest differences.
    pub samples: Vec<Sample>,
}

/// What a version may touch and use, and which layer denies the rest: manifest, grant, hub ceiling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// The line.
    pub plugin: PluginId,
    /// The version.
    pub version: Version,
    /// Digest of its component.
    pub digest: Digest,
    /// Each thing that it asks for, and each that its code could ask for.
    pub parts: Vec<Part>,
    /// Whether what connections grant it is left out, because whoever asks may not see connections.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub withheld: bool,
}

/// Why the registry does not do something. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No such plugin or version.
    #[error("{what} is not installed; installed: {known}")]
    Unknown {
        /// What was asked for.
        what: String,
        /// What there is, joined by commas.
        known: String,
    },
    /// No such proposed change.
    #[error("there is no change `{id}`")]
    UnknownChange {
        /// As asked.
        id: String,
    },
    /// The request says too little, or something that makes no sense.
    #[error("{problem}")]
    Invalid {
        /// What, and what to say instead.
        problem: String,
    },
    /// It cannot be done as things stand.
    #[error("{problem}")]
    Conflict {
        /// Why, and what can be done instead.
        problem: String,
    },
    /// Something depends on it, and nobody has said that they know.
    #[error(transparent)]
    InUse(#[from] Box<InUse>),
    /// The version does not hold what is asked of it.
    #[error("{problem}")]
    Refused {
        /// What, and what to change.
        problem: String,
        /// Further findings.
        findings: Vec<String>,
    },
    /// A replay says that the version answers otherwise than was allowed.
    #[error("{problem}")]
    ReplayDiffers {
        /// What, and what to do.
        problem: String,
        /// All of it.
        report: Box<Report>,
    },
    /// Too much of the same is under way.
    #[error("{problem}")]
    Busy {
        /// What.
        problem: String,
    },
    /// The version exists with other content.
    #[error("{problem}")]
    Taken {
        /// What there is.
        problem: String,
    },
    /// The same person cannot agree to an own change.
    #[error("`{actor}` asked for this change; somebody else has to agree")]
    SamePerson {
        /// Who.
        actor: String,
    },
    /// The store takes nothing now.
    #[error("the registry cannot be changed now: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// A hub's registry.
pub trait Registry: Send + Sync {
    /// Takes a packed version. It serves nobody before it is promoted.
    ///
    /// # Errors
    /// As [`RegistryError`] says.
    fn publish(
        &self,
        plugin: PluginId,
        upload: Bytes,
        draft: bool,
        who: Who,
    ) -> BoxFuture<'_, Result<Published, RegistryError>>;

    /// What the publish gate says of a packed version; nothing is taken in. The report as `plugin check --json` prints it.
    ///
    /// # Errors
    /// If the upload is no package of this plugin.
    fn check(&self, plugin: PluginId, upload: Bytes) -> BoxFuture<'_, Result<Value, RegistryError>>;

    /// What the publish gate finds that one version changes for who relies on another.
    ///
    /// # Errors
    /// If one of them is not there, or cannot be read.
    fn difference<'a>(
        &'a self,
        id: &'a PluginId,
        from: &'a Version,
        to: &'a Version,
    ) -> BoxFuture<'a, Result<Value, RegistryError>>;

    /// A line with its versions.
    ///
    /// # Errors
    /// If there is none.
    fn plugin(&self, id: &PluginId) -> Result<PluginDetail, RegistryError>;

    /// Which versions serve, by line.
    fn bindings(&self) -> Vec<LineView>;

    /// Changes a version or a binding, or proposes to; durable when it answers.
    ///
    /// # Errors
    /// As [`RegistryError`] says.
    fn change(&self, request: ChangeRequest) -> BoxFuture<'_, Result<Changed, RegistryError>>;

    /// Changes that were proposed, the latest first.
    ///
    /// # Errors
    /// If they cannot be read.
    fn proposals(&self) -> BoxFuture<'_, Result<Vec<Proposal>, RegistryError>>;

    /// Agrees to a proposed change, which is made then, or declines it.
    ///
    /// # Errors
    /// As [`RegistryError`] says.
    fn decide<'a>(
        &'a self,
        id: &'a str,
        approved: bool,
        who: Who,
    ) -> BoxFuture<'a, Result<Option<Changed>, RegistryError>>;

    /// What depends on a plugin, a host or an event type.
    ///
    /// # Errors
    /// If there is no such thing.
    fn impact<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Impact, RegistryError>>;

    /// Replays recorded inputs with two versions. Changes nothing; bounded in inputs and in time.
    ///
    /// # Errors
    /// As [`RegistryError`] says.
    fn replay(&self, request: ReplayRequest) -> BoxFuture<'_, Result<Report, RegistryError>>;

    /// What a version may touch and use; absent: the one that serves.
    ///
    /// # Errors
    /// If there is none.
    fn effective(&self, id: &PluginId, version: Option<&Version>) -> Result<Effective, RegistryError>;

    /// Whose signatures count, and what they signed.
    fn trust(&self) -> TrustView;

    /// The namespaces that a key is trusted for.
    fn namespaces_of(&self, key: KeyId) -> Vec<String>;

    /// Revokes a key; what only it signed is stopped. `accept_impact`: whoever asks knows what depends on that.
    ///
    /// # Errors
    /// If no such key is trusted for anything, something depends on what stops, or it cannot be recorded.
    fn revoke_key(&self, key: KeyId, who: Who, accept_impact: bool) -> BoxFuture<'_, Result<TrustView, RegistryError>>;
}

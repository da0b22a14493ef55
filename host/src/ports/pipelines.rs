//! What the surfaces may ask of a hub's pipelines: versions, what differs between them, which one serves. Everything that
//! it answers is durable.

use futures::future::BoxFuture;
use semver::Version;
use serde::Serialize;

use super::{
    registry::Who,
    review::{Drafted, ReviewDone, ReviewError, VersionLine},
};
use crate::model::{
    difference::PipelineDifference,
    hold::{Hold, HoldAct},
    review::ReviewAct,
};

/// Largest pipeline, bytes; what the language takes.
pub const PIPELINE_BYTES_LIMIT: u64 = 256 << 10;

/// A pipeline with its versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PipelineDetail {
    /// Its name.
    pub pipeline: String,
    /// The version that new runs start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<Version>,
    /// Who decides which one that is: `configuration`, until somebody promotes a version; `promotion` from then on.
    pub decided_by: &'static str,
    /// Those that served before, the latest last.
    pub earlier: Vec<Version>,
    /// Who paused it, when and why; absent: it is not paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Hold>,
    /// Its versions, the latest first.
    pub versions: Vec<VersionLine>,
    /// What each name in `uses` is bound to; absent for who may not see connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bindings: Option<std::collections::BTreeMap<String, String>>,
}

/// One version of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PipelineText {
    /// Its name.
    pub pipeline: String,
    /// The version.
    #[serde(flatten)]
    pub line: VersionLine,
    /// The text.
    pub text: String,
}

/// A hub's pipelines.
pub trait Pipelines: Send + Sync {
    /// Takes a text as a version that nobody has approved. It serves nobody.
    ///
    /// # Errors
    /// As [`ReviewError`] says; every mistake in the text, with its place.
    fn draft(&self, name: String, text: String, who: Who) -> BoxFuture<'_, Result<Drafted, ReviewError>>;

    /// A pipeline with its versions.
    ///
    /// # Errors
    /// If there is none.
    fn pipeline(&self, name: &str) -> Result<PipelineDetail, ReviewError>;

    /// One version.
    ///
    /// # Errors
    /// If there is none.
    fn version(&self, name: &str, version: &Version) -> Result<PipelineText, ReviewError>;

    /// What differs between two versions.
    ///
    /// # Errors
    /// If there is no such version.
    fn difference(&self, name: &str, from: &Version, to: &Version) -> Result<PipelineDifference, ReviewError>;

    /// Approves, promotes, rolls back, deprecates or retires; durable and in effect when it answers.
    ///
    /// # Errors
    /// As [`ReviewError`] says.
    fn change(&self, name: String, act: ReviewAct, who: Who) -> BoxFuture<'_, Result<ReviewDone, ReviewError>>;

    /// Pauses a pipeline as a whole, or lets it go on; durable and in effect when it answers. While it is paused no step of
    /// its runs begins; what is out is recorded, and events are accepted.
    ///
    /// # Errors
    /// As [`ReviewError`] says.
    fn hold(&self, name: String, act: HoldAct, who: Who) -> BoxFuture<'_, Result<ReviewDone, ReviewError>>;
}

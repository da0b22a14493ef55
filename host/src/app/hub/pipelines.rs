//! Versions of pipelines, as the surfaces see them.

use futures::{FutureExt as _, future::BoxFuture};
use semver::Version;

use super::Hub;
use crate::{
    model::{difference::PipelineDifference, hold::HoldAct, review::ReviewAct},
    ports::{
        pipelines::{PipelineDetail, PipelineText, Pipelines},
        registry::Who,
        review::{Drafted, ReviewDone, ReviewError},
    },
};

impl Pipelines for Hub {
    fn draft(&self, name: String, text: String, who: Who) -> BoxFuture<'_, Result<Drafted, ReviewError>> {
        async move { self.registry.draft_pipeline(&name, &text, &who).await }.boxed()
    }

    fn pipeline(&self, name: &str) -> Result<PipelineDetail, ReviewError> {
        self.registry.pipeline_detail(name)
    }

    fn version(&self, name: &str, version: &Version) -> Result<PipelineText, ReviewError> {
        self.registry.pipeline_text(name, version)
    }

    fn difference(&self, name: &str, from: &Version, to: &Version) -> Result<PipelineDifference, ReviewError> {
        self.registry.pipeline_difference(name, from, to)
    }

    fn change(&self, name: String, act: ReviewAct, who: Who) -> BoxFuture<'_, Result<ReviewDone, ReviewError>> {
        async move { self.registry.change_pipeline(&name, &act, &who).await }.boxed()
    }

    fn hold(&self, name: String, act: HoldAct, who: Who) -> BoxFuture<'_, Result<ReviewDone, ReviewError>> {
        async move { self.registry.hold_pipeline(&name, act, &who).await }.boxed()
    }
}

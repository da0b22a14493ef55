//! Event types, as the surfaces see them.

use std::collections::BTreeMap;

use futures::{FutureExt as _, future::BoxFuture};
use serde_json::Value;

use super::Hub;
use crate::{
    app::contracts::Library,
    model::event::Event,
    ports::{
        registry::Who,
        schemas::{Added, Addition, EventTypeView, Notice, Retirement, SchemaError, Schemas},
    },
};

impl Schemas for Hub {
    fn event_types(&self) -> Vec<EventTypeView> {
        self.registry.event_types()
    }

    fn documents(&self) -> BTreeMap<String, Value> {
        Library::references()
    }

    fn notice(&self, event: &Event) -> Option<Notice> {
        self.shared.installation.load().events.notice(event)
    }

    fn check(&self, addition: &Addition) -> Result<Added, SchemaError> {
        self.registry.check_schema(addition)
    }

    fn add(&self, addition: Addition, who: Who) -> BoxFuture<'_, Result<Added, SchemaError>> {
        async move {
            self.foresee_schema(&addition).await?;
            self.registry.add_schema(addition, who).await
        }
        .boxed()
    }

    fn retire(&self, retirement: Retirement, who: Who) -> BoxFuture<'_, Result<EventTypeView, SchemaError>> {
        async move {
            self.foresee_retirement(&retirement, &who).await?;
            self.registry.retire_schema(retirement, who).await
        }
        .boxed()
    }
}

//! What the surfaces ask of subscriptions.

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};

use super::{
    Subscriptions,
    record::{self, LETTERS_MAX},
    unavailable,
};
use crate::ports::subscriptions::{
    ActRequest, Letter, ReplayRequest, SubscriptionError, SubscriptionView, Subscriptions as SubscriptionsPort,
};

impl SubscriptionsPort for Subscriptions {
    fn list(&self) -> Vec<SubscriptionView> {
        let slots: Vec<_> = self.read().values().cloned().collect();
        slots.iter().map(|slot| self.view(slot)).collect()
    }

    fn act<'a>(
        &'a self,
        name: &'a str,
        request: ActRequest,
    ) -> BoxFuture<'a, Result<SubscriptionView, SubscriptionError>> {
        self.act_on(name, request).boxed()
    }

    fn replay<'a>(
        &'a self,
        name: &'a str,
        request: ReplayRequest,
    ) -> BoxFuture<'a, Result<SubscriptionView, SubscriptionError>> {
        self.ask_replay(name, request).boxed()
    }

    fn dead_letters<'a>(
        &'a self,
        name: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Letter>, SubscriptionError>> {
        async move {
            self.slot(name)?;
            let listed =
                record::list(&*self.shared.records, &record::letters_prefix(name), limit.min(LETTERS_MAX)).await;
            let read = |(key, value): (String, Bytes)| {
                serde_json::from_slice(&value)
                    .map_err(|error| unavailable(format!("record `{key}` is damaged: {error}")))
            };
            listed.map_err(unavailable)?.into_iter().map(read).collect()
        }
        .boxed()
    }
}

//! What leaves the hub for others: events that are delivered to their endpoints, and reads of connections that are published
//! for them. What an operator declares in hub.toml is done at the start; over the API, more than before waits for a second
//! person.

use super::{HubSettings, Ready, cause};
use crate::{
    model::{
        api::Publication,
        id::ContractId,
        setting::{Origin, SettingChange},
        subscription::Subscription,
    },
    policy::disclosure,
    ports::{
        apis::ApiError,
        registry::Who,
        settings::{SettingChanged, SettingError},
        subscriptions::SubscriptionError,
    },
};

impl HubSettings {
    pub(super) async fn change_subscription(
        &self,
        name: &str,
        wanted: Subscription,
        who: Who,
    ) -> Result<SettingChanged, SettingError> {
        let cause = cause(&who)?;
        let _changing = self.registry.changing().await;
        let now = self.shared.installation.load_full();
        let ready = self.plan_subscription(name, wanted)?;
        self.settle(&now, &who, &cause, ready).await
    }

    /// What setting a subscription comes to.
    pub(super) fn plan_subscription(&self, name: &str, wanted: Subscription) -> Result<Ready, SettingError> {
        self.subscriptions.may_be_set(name, &wanted)?;
        let held = self.subscriptions.held(name);
        let because = disclosure::delivered_beyond(held.as_ref().map(|(before, _)| before), &wanted);
        Ok(Ready {
            because,
            action: "subscription.set",
            summary: format!("subscription `{name}` is set, for `{}`", wanted.owner),
            notes: followed_no_more(held.map(|(_, origin)| origin)),
            change: SettingChange::Subscription { name: name.to_owned(), subscription: Box::new(wanted) },
            tested: None,
        })
    }

    pub(super) async fn change_publication(
        &self,
        contract: ContractId,
        wanted: Publication,
        who: Who,
    ) -> Result<SettingChanged, SettingError> {
        let cause = cause(&who)?;
        let _changing = self.registry.changing().await;
        let now = self.shared.installation.load_full();
        let ready = self.plan_publication(&contract, wanted)?;
        self.settle(&now, &who, &cause, ready).await
    }

    /// What publishing reads comes to.
    pub(super) fn plan_publication(&self, contract: &ContractId, wanted: Publication) -> Result<Ready, SettingError> {
        self.apis.holds(contract, &wanted)?;
        let held = self.apis.held(contract);
        let because = disclosure::published_beyond(contract, held.as_ref().map(|(before, _)| before), &wanted);
        Ok(Ready {
            because,
            action: "api.publish",
            summary: format!("`{contract}` is published"),
            notes: followed_no_more(held.map(|(_, origin)| origin)),
            change: SettingChange::Api { contract: contract.clone(), publication: Box::new(wanted) },
            tested: None,
        })
    }
}

fn followed_no_more(origin: Option<Origin>) -> Vec<String> {
    let declared = origin.filter(|origin| *origin == Origin::File);
    declared.map(|_| "what hub.toml declares of it is not followed any more".to_owned()).into_iter().collect()
}

impl From<SubscriptionError> for SettingError {
    fn from(error: SubscriptionError) -> Self {
        let problem = error.to_string();
        match error {
            SubscriptionError::Refused { .. } => Self::Refused { problem, tested: None },
            SubscriptionError::Unknown { .. } | SubscriptionError::Conflict { .. } => Self::Conflict { problem },
            SubscriptionError::Unavailable { reason } => Self::Unavailable { reason },
        }
    }
}

impl From<ApiError> for SettingError {
    fn from(error: ApiError) -> Self {
        let problem = error.to_string();
        match error {
            ApiError::Refused { .. } => Self::Refused { problem, tested: None },
            ApiError::Unrecorded { reason } => Self::Unavailable { reason },
            _ => Self::Conflict { problem },
        }
    }
}

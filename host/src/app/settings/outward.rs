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
        settings::{PublicationAct, SettingChanged, SettingError, SubscriptionAct},
        subscriptions::SubscriptionError,
    },
};

impl HubSettings {
    pub(super) async fn change_subscription(
        &self,
        name: &str,
        act: SubscriptionAct,
        who: Who,
    ) -> Result<SettingChanged, SettingError> {
        let cause = cause(&who)?;
        let _changing = self.registry.changing().await;
        let now = self.shared.installation.load_full();
        let (wanted, origin) = match act {
            SubscriptionAct::Set(wanted) => (*wanted, Origin::Api),
            SubscriptionAct::Declared => {
                let declared = self.subscriptions.configured(name);
                (declared.ok_or_else(|| undeclared(&format!("subscription `{name}`")))?, Origin::File)
            }
        };
        if origin == Origin::File && self.subscriptions.held(name) == Some((wanted.clone(), origin)) {
            return Ok(unchanged(&format!("subscription `{name}`")));
        }
        let ready = self.plan_subscription(name, wanted, origin)?;
        self.settle(&now, &who, &cause, ready).await
    }

    /// What setting a subscription comes to.
    pub(super) fn plan_subscription(
        &self,
        name: &str,
        wanted: Subscription,
        origin: Origin,
    ) -> Result<Ready, SettingError> {
        self.subscriptions.may_be_set(name, &wanted)?;
        let held = self.subscriptions.held(name);
        let because = disclosure::delivered_beyond(held.as_ref().map(|(before, _)| before), &wanted);
        Ok(Ready {
            because,
            action: "subscription.set",
            summary: format!("subscription `{name}` is set, for `{}`", wanted.owner),
            notes: followed(held.map(|(_, origin)| origin), origin),
            change: SettingChange::Subscription { name: name.to_owned(), subscription: Box::new(wanted), origin },
            tested: None,
        })
    }

    pub(super) async fn change_publication(
        &self,
        contract: ContractId,
        act: PublicationAct,
        who: Who,
    ) -> Result<SettingChanged, SettingError> {
        let cause = cause(&who)?;
        let _changing = self.registry.changing().await;
        let now = self.shared.installation.load_full();
        let (wanted, origin) = match act {
            PublicationAct::Publish(wanted) => (*wanted, Origin::Api),
            PublicationAct::Declared => {
                let declared = self.apis.configured(&contract);
                (declared.ok_or_else(|| undeclared(&format!("publication of `{contract}`")))?, Origin::File)
            }
        };
        if origin == Origin::File && self.apis.held(&contract) == Some((wanted.clone(), origin)) {
            return Ok(unchanged(&format!("`{contract}`")));
        }
        let ready = self.plan_publication(&contract, wanted, origin)?;
        self.settle(&now, &who, &cause, ready).await
    }

    /// What publishing reads comes to.
    pub(super) fn plan_publication(
        &self,
        contract: &ContractId,
        wanted: Publication,
        origin: Origin,
    ) -> Result<Ready, SettingError> {
        self.apis.holds(contract, &wanted)?;
        let held = self.apis.held(contract);
        let because = disclosure::published_beyond(contract, held.as_ref().map(|(before, _)| before), &wanted);
        Ok(Ready {
            because,
            action: "api.publish",
            summary: format!("`{contract}` is published"),
            notes: followed(held.map(|(_, origin)| origin), origin),
            change: SettingChange::Api { contract: contract.clone(), publication: Box::new(wanted), origin },
            tested: None,
        })
    }
}

/// What to know of who has the say before and after a change.
fn followed(before: Option<Origin>, after: Origin) -> Vec<String> {
    let note = match (before, after) {
        (_, Origin::File) => "what hub.toml declares of it is followed again",
        (Some(Origin::File), Origin::Api) => {
            "what hub.toml declares of it is not followed any more; `--declared` takes that back"
        }
        (_, Origin::Api) => return Vec::new(),
    };
    vec![note.to_owned()]
}

fn undeclared(what: &str) -> SettingError {
    SettingError::Conflict { problem: format!("hub.toml declares no {what}") }
}

fn unchanged(what: &str) -> SettingChanged {
    let summary = format!("{what} is like that already; nothing has changed");
    SettingChanged::Done { summary, notes: Vec::new(), tested: None }
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

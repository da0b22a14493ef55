//! What an operator sets while the hub runs: secrets, connections, webhook sources, which connection each name of a pipeline stands for, and
//! what leaves the hub for others.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use serde::Serialize;

use super::{registry::Who, secrets::Secret};
use crate::model::{
    api::Publication,
    connection::{Connection, SecretRef, WebhookSource},
    id::{ContractId, PluginId},
    json::Json,
    manifest::Webhook,
    setting::{Probe, SettingProposal},
    source::Replaced,
    subscription::Subscription,
    timestamp::Timestamp,
};

/// A secret that the hub keeps. Never its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretView {
    /// Its name; connections refer to it as `store:NAME`.
    pub name: String,
    /// Counts up with each value.
    pub version: u64,
    /// When it was set.
    pub set: Timestamp,
    /// By whom.
    pub by: String,
    /// The version before, as long as the rotation can be taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousView>,
    /// What refers to it: connections and webhook sources.
    pub used_by: Vec<String>,
}

/// What a secret was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PreviousView {
    /// Its version.
    pub version: u64,
    /// Until when it can be taken back.
    pub until: Timestamp,
}

/// What is to be done with a secret.
#[derive(Debug)]
pub enum SecretAct {
    /// Set one that is not there yet.
    Set {
        /// Its value.
        value: Secret,
    },
    /// Give one that is there another value.
    Rotate {
        /// Its value.
        value: Secret,
        /// For how long the value of before is kept, milliseconds; absent: a day.
        keep_ms: Option<u64>,
    },
    /// Use the value of before again.
    TakeBack,
    /// Destroy the value of before.
    Confirm,
    /// Remove one that nothing refers to.
    Remove,
}

/// What is to be done with a connection.
#[derive(Debug)]
pub enum ConnectionAct {
    /// Make one that is not there yet.
    Add(Box<Connection>),
    /// Change one that is there.
    Change(Box<Connection>),
    /// Take what hub.toml declares, and follow it again.
    Declared,
    /// Remove one that nothing needs.
    Remove,
    /// Put another secret in place, once a test has shown that it works.
    Rotate {
        /// Where: `auth`, or `secrets.NAME`.
        place: String,
        /// What to put there.
        to: NewSecret,
        /// What the test does.
        probe: Probe,
    },
}

/// What is to be done with a webhook source.
#[derive(Debug)]
pub enum SourceAct {
    /// Make one that is not there yet.
    Add(Box<WebhookSource>),
    /// Change one that is there.
    Change(Box<WebhookSource>),
    /// Take what hub.toml declares, and follow it again.
    Declared,
    /// Remove one.
    Remove,
    /// Have its deliveries be signed with another secret.
    Rotate {
        /// Which.
        to: SecretRef,
        /// For how long the secret of before is taken too, milliseconds; absent: a day.
        keep_ms: Option<u64>,
    },
    /// Take the secret of before no more.
    Confirm,
}

/// A webhook source. Never a secret's value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceView {
    /// Its name.
    pub name: String,
    /// Where its deliveries come in.
    pub path: String,
    /// The plugin that reads them.
    pub plugin: PluginId,
    /// The plugin's version; absent: none serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How they are signed, as the plugin says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<Webhook>,
    /// The `source` that the host writes into its events.
    pub source: String,
    /// The event types that it may bring.
    pub types: Vec<String>,
    /// Where the secret is found that they are signed with.
    pub secret: SecretRef,
    /// The secret of before, as long as it is taken too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replaced>,
    /// Settings for the plugin.
    pub config: Json,
    /// Largest delivery, bytes.
    pub body_bytes_limit: u64,
    /// Who has the say about it: `file` (hub.toml) or `api`, whose changes hub.toml does not override.
    pub origin: &'static str,
    /// What hub.toml declares of it: the `same`, or something that `differs`; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared: Option<&'static str>,
}

/// What takes a secret's place.
#[derive(Debug)]
pub enum NewSecret {
    /// Another reference.
    Reference(SecretRef),
    /// Another value of the `store:` secret that is in place.
    Value {
        /// The value.
        value: Secret,
        /// For how long the value of before is kept, milliseconds; absent: a day.
        keep_ms: Option<u64>,
    },
}

/// What a test has shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tested {
    /// The connection.
    pub connection: String,
    /// The revision that was tested; 0: one that is not in place.
    pub revision: u64,
    /// Whether everything held.
    pub passed: bool,
    /// Each thing that was looked at, in order.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What: `secrets`, `exchange`, `credentials`, `operation`.
    pub what: &'static str,
    /// Whether it held.
    pub passed: bool,
    /// What it proved, or what to do.
    pub says: String,
}

/// What is to be done with a pipeline's binding.
#[derive(Clone, Debug)]
pub enum BindAct {
    /// These names stand for these connections from now on; the others stay.
    Bind(BTreeMap<String, String>),
    /// As it was before.
    Rollback,
    /// As hub.toml declares it, which is followed again.
    Declared,
}

/// Which connection each name of a pipeline stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BindingView {
    /// The pipeline.
    pub pipeline: String,
    /// For each name: the contract that it stands for, and the connection; an empty one: none.
    pub names: BTreeMap<String, BoundName>,
    /// Who has the say: `file` or `api`.
    pub origin: &'static str,
    /// What it was before, the latest last.
    pub earlier: Vec<BTreeMap<String, String>>,
}

/// What a name of a pipeline stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BoundName {
    /// The contract.
    pub contract: String,
    /// The connection; absent: none is bound.
    pub connection: Option<String>,
}

/// What is to be done with what is delivered to somebody's endpoint.
#[derive(Debug)]
pub enum SubscriptionAct {
    /// Declare it, or change it.
    Set(Box<Subscription>),
    /// Take what hub.toml declares, and follow it again.
    Declared,
}

/// What is to be done with what is published under a contract.
#[derive(Debug)]
pub enum PublicationAct {
    /// Publish it, or change how.
    Publish(Box<Publication>),
    /// Take what hub.toml declares, and follow it again.
    Declared,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum SettingChanged {
    /// It is made.
    Done {
        /// In one sentence.
        summary: String,
        /// What to know about it.
        notes: Vec<String>,
        /// What a test has shown, if one was made.
        #[serde(skip_serializing_if = "Option::is_none")]
        tested: Option<Tested>,
    },
    /// A second person has to agree.
    Proposed(Box<SettingProposal>),
}

/// Why something is not done. Nothing was changed. Never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// No such secret.
    #[error("there is no secret `{name}`")]
    UnknownSecret {
        /// As asked.
        name: String,
    },
    /// No such connection.
    #[error("there is no connection `{name}`")]
    UnknownConnection {
        /// As asked.
        name: String,
    },
    /// No such webhook source.
    #[error("there is no webhook source `{name}`")]
    UnknownSource {
        /// As asked.
        name: String,
    },
    /// No such pipeline.
    #[error("there is no pipeline `{name}`")]
    UnknownPipeline {
        /// As asked.
        name: String,
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
    /// What was given does not hold.
    #[error("{problem}")]
    Refused {
        /// What, and what to change.
        problem: String,
        /// What a test has shown, if one was made.
        tested: Option<Tested>,
    },
    /// The same person cannot agree to an own change.
    #[error("`{actor}` asked for this change; somebody else has to agree")]
    SamePerson {
        /// Who.
        actor: String,
    },
    /// The store takes nothing now.
    #[error("nothing can be changed now: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// A hub's settings.
pub trait Settings: Send + Sync {
    /// The secrets that the hub keeps, by name.
    fn secrets(&self) -> Vec<SecretView>;

    /// Does something with a secret; absent: it is removed.
    ///
    /// # Errors
    /// As [`SettingError`] says.
    fn secret<'a>(
        &'a self,
        name: &'a str,
        act: SecretAct,
        who: Who,
    ) -> BoxFuture<'a, Result<Option<SecretView>, SettingError>>;

    /// Does something with a connection, or proposes to.
    ///
    /// # Errors
    /// As [`SettingError`] says.
    fn connection<'a>(
        &'a self,
        name: &'a str,
        act: ConnectionAct,
        who: Who,
    ) -> BoxFuture<'a, Result<SettingChanged, SettingError>>;

    /// Tests a connection; changes nothing, here or there.
    ///
    /// # Errors
    /// If there is none, or the test cannot be made.
    fn test<'a>(&'a self, name: &'a str, probe: Probe) -> BoxFuture<'a, Result<Tested, SettingError>>;

    /// The webhook sources, by name.
    fn sources(&self) -> Vec<SourceView>;

    /// Does something with a webhook source, or proposes to.
    ///
    /// # Errors
    /// As [`SettingError`] says.
    fn source<'a>(
        &'a self,
        name: &'a str,
        act: SourceAct,
        who: Who,
    ) -> BoxFuture<'a, Result<SettingChanged, SettingError>>;

    /// Which connection each name of a pipeline stands for.
    ///
    /// # Errors
    /// If there is no such pipeline.
    fn binding(&self, pipeline: &str) -> Result<BindingView, SettingError>;

    /// Does something with a pipeline's binding, or proposes to.
    ///
    /// # Errors
    /// As [`SettingError`] says.
    fn bind<'a>(
        &'a self,
        pipeline: &'a str,
        act: BindAct,
        who: Who,
    ) -> BoxFuture<'a, Result<SettingChanged, SettingError>>;

    /// Has events delivered to somebody's endpoint, or changes how; proposes to where more leaves the hub than before.
    ///
    /// # Errors
    /// As [`SettingError`] says.
    fn subscribe<'a>(
        &'a self,
        name: &'a str,
        act: SubscriptionAct,
        who: Who,
    ) -> BoxFuture<'a, Result<SettingChanged, SettingError>>;

    /// What hub.toml declares under a subscription's name.
    fn declared_subscription(&self, name: &str) -> Option<Subscription>;

    /// Publishes reads of a connection under a contract, or changes how they are; proposes to where more is given to others
    /// than before.
    ///
    /// # Errors
    /// As [`SettingError`] says.
    fn publish(
        &self,
        contract: ContractId,
        act: PublicationAct,
        who: Who,
    ) -> BoxFuture<'_, Result<SettingChanged, SettingError>>;

    /// Changes that were proposed, the latest first.
    ///
    /// # Errors
    /// If they cannot be read.
    fn proposals(&self) -> BoxFuture<'_, Result<Vec<SettingProposal>, SettingError>>;

    /// Agrees to a proposed change, which is made then, or declines it.
    ///
    /// # Errors
    /// As [`SettingError`] says.
    fn decide<'a>(
        &'a self,
        id: &'a str,
        approved: bool,
        who: Who,
    ) -> BoxFuture<'a, Result<Option<SettingChanged>, SettingError>>;
}

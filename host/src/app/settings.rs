//! What an operator sets while the hub runs: secrets, connections, bindings, what leaves the hub for others. As in the
//! registry, one change at a time, each in the same order: checked, recorded in the audit log, recorded, then one new
//! picture in the old one's place. What lets code reach more than before, or gives more to others, waits for a second
//! person.
//!
//! | module | does |
//! | --- | --- |
//! | [`secrets`] | the secrets that the hub keeps |
//! | [`connections`] | connections, and the rotation of their secrets |
//! | [`bindings`] | which connection each name of a pipeline stands for |
//! | [`outward`] | what is delivered to and published for others |
//! | [`sources`] | webhook sources, and the rotation of their secrets |
//! | [`references`] | what may be named where |
//! | [`probe`] | the test of a connection |
//! | [`needs`] | what still needs a connection or a secret |

pub(super) mod bindings;
mod connections;
mod needs;
mod outward;
mod probe;
mod references;
mod secrets;
mod sources;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use futures::{FutureExt as _, future::BoxFuture};

use super::{
    apis::Apis,
    gate::with_source,
    install::{InstallError, Installer, read},
    installation::Installation,
    registry::Registry,
    runner::Shared,
    secrets::store::{SecretStore, StoreError},
    subscriptions::Subscriptions,
};
use crate::{
    model::{
        api::Publication,
        audit::Cause,
        connection::{Connection, WebhookSource},
        hex::hex,
        id::{ContractId, hash32},
        registry::ProposalState,
        setting::{Probe, SettingChange, SettingProposal},
        subscription::Subscription,
    },
    policy::review::is_same_person,
    ports::{
        registry::{RegistryError, Who},
        settings::{
            BindAct, BindingView, ConnectionAct, PublicationAct, SecretAct, SecretView, SettingChanged, SettingError,
            Settings, SourceAct, SourceView, SubscriptionAct, Tested,
        },
        traffic::ConnectionView,
    },
};

/// Longest a proposed change waits for a second person, milliseconds: a week.
const PROPOSAL_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Most proposed changes that nobody has decided about.
const PROPOSALS_OPEN_MAX: usize = 100;
/// Most proposed changes that are listed.
const PROPOSALS_LISTED_MAX: usize = 200;
/// What the names of these changes begin with.
pub(super) const ID_PREFIX: &str = "set_";

/// What hub.toml declares.
#[derive(Default)]
pub(super) struct Declared {
    /// Connections by name.
    pub(super) connections: BTreeMap<String, Connection>,
    /// Webhook sources by name.
    pub(super) sources: BTreeMap<String, WebhookSource>,
    /// Bindings by pipeline.
    pub(super) bindings: BTreeMap<String, BTreeMap<String, String>>,
}

/// The settings of a hub.
pub(super) struct HubSettings {
    shared: Arc<Shared>,
    installer: Arc<Installer>,
    registry: Arc<Registry>,
    store: Arc<SecretStore>,
    subscriptions: Arc<Subscriptions>,
    apis: Arc<Apis>,
    data: PathBuf,
    declared: ArcSwap<Declared>,
}

/// A change that is ready to be made.
struct Ready {
    change: SettingChange,
    /// Why a second person has to agree.
    because: Vec<String>,
    /// How the audit log calls it.
    action: &'static str,
    summary: String,
    notes: Vec<String>,
    /// What its test has shown, which is made before the registry's lock is taken.
    tested: Option<Tested>,
}

/// What is changed.
pub(super) struct Parts {
    pub(super) shared: Arc<Shared>,
    pub(super) installer: Arc<Installer>,
    pub(super) registry: Arc<Registry>,
    pub(super) store: Arc<SecretStore>,
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) apis: Arc<Apis>,
}

impl HubSettings {
    pub(super) fn new(parts: Parts, data: &Path) -> Self {
        let Parts { shared, installer, registry, store, subscriptions, apis } = parts;
        let (data, declared) = (data.to_owned(), ArcSwap::default());
        Self { shared, installer, registry, store, subscriptions, apis, data, declared }
    }

    /// Remembers what hub.toml declares.
    pub(super) fn declare(&self, declared: Declared) {
        self.declared.store(Arc::new(declared));
    }

    /// Connections, with who has the say about each.
    pub(super) fn describe(&self, mut views: Vec<ConnectionView>) -> Vec<ConnectionView> {
        let now = self.shared.installation.load();
        let declared = self.declared.load();
        for view in &mut views {
            view.origin = now.settings.origin(&view.name).as_str();
            view.declared = declared.connections.get(&view.name).map(|declared| {
                let same = now.connections.get(&view.name).is_some_and(|open| open.connection == *declared);
                if same { "same" } else { "differs" }
            });
        }
        views
    }

    /// The secrets that the hub keeps.
    pub(super) fn store(&self) -> &Arc<SecretStore> {
        &self.store
    }

    /// Makes a change, or proposes it if one person is not enough. The registry's lock is held.
    async fn settle(
        &self,
        now: &Installation,
        who: &Who,
        cause: &Cause,
        ready: Ready,
    ) -> Result<SettingChanged, SettingError> {
        if ready.because.is_empty() {
            return self.make(now, cause, ready).await;
        }
        let open = self.listed().await?.iter().filter(|other| other.state == ProposalState::Open).count();
        if open >= PROPOSALS_OPEN_MAX {
            let problem = format!("{open} changes wait for a second person already: decide about those first");
            return Err(SettingError::Conflict { problem });
        }
        let time = self.shared.clock.now();
        let subject = ready.change.subject();
        let text = serde_json::to_string(&ready.change).unwrap_or_default();
        let parts = [subject.as_bytes(), text.as_bytes(), &time.millis().to_be_bytes()];
        let digits = hex(hash32("crossdock setting 1", &parts).iter().take(6));
        let proposal = SettingProposal {
            id: format!("{ID_PREFIX}{digits}"),
            time,
            actor: who.actor.clone(),
            reason: who.reason.clone(),
            on: self.revision(&subject).await?,
            act: ready.change,
            because: ready.because,
            state: ProposalState::Open,
        };
        self.put(cause, "setting.propose", &proposal).await?;
        Ok(SettingChanged::Proposed(Box::new(proposal)))
    }

    async fn make(&self, now: &Installation, cause: &Cause, ready: Ready) -> Result<SettingChanged, SettingError> {
        let Ready { change, action, summary, notes, tested, .. } = ready;
        let next = match change {
            SettingChange::Connection { probe: Some(_), .. } if tested.is_none() => {
                let problem = "it was changed by somebody else while it was tested: try again".to_owned();
                return Err(SettingError::Conflict { problem });
            }
            SettingChange::Connection { name, connection, origin, .. } => {
                Some(self.installer.set_connection(now, cause, action, &name, *connection, origin).await)
            }
            SettingChange::Source { name, source, origin, keep_ms } => {
                let record = self.source_record(now, &name, *source, origin, keep_ms);
                Some(self.installer.set_source(now, cause, action, &name, record).await)
            }
            SettingChange::Bind { pipeline, names, origin } => {
                let record = super::install::bindings::after(now.settings.bindings.get(&pipeline), names, origin);
                Some(self.installer.bind(now, cause, action, &pipeline, record).await)
            }
            SettingChange::Subscription { name, subscription, origin } => {
                self.subscriptions.set(cause, &name, *subscription, origin).await?;
                None
            }
            SettingChange::Api { contract, publication, origin } => {
                self.apis.publish(cause, contract, *publication, origin).await?;
                None
            }
        };
        if let Some(next) = next {
            self.shared.installation.store(Arc::new(next.map_err(refused)?));
        }
        tracing::info!(summary, actor = cause.actor, "a setting has changed");
        metrics::counter!("crossdock_settings_changes_total", "action" => action).increment(1);
        Ok(SettingChanged::Done { summary, notes, tested })
    }

    /// A proposed change, looked at again: much may have changed since it was asked for.
    async fn again(&self, now: &Installation, proposal: &SettingProposal) -> Result<Ready, SettingError> {
        if self.revision(&proposal.act.subject()).await? != proposal.on {
            let problem = "what it changes has changed since it was asked for; ask for it again".to_owned();
            return Err(SettingError::Conflict { problem });
        }
        let ready = match &proposal.act {
            SettingChange::Connection { name, connection, origin, probe } => {
                self.plan_connection(now, name, Connection::clone(connection), *origin, probe.clone())?
            }
            SettingChange::Source { name, source, origin, keep_ms } => {
                self.plan_source(now, name, WebhookSource::clone(source), *origin, *keep_ms)?
            }
            SettingChange::Bind { pipeline, names, origin } => {
                self.plan_binding(now, pipeline, names.clone(), *origin)?
            }
            SettingChange::Subscription { name, subscription, origin } => {
                self.plan_subscription(name, Subscription::clone(subscription), *origin)?
            }
            SettingChange::Api { contract, publication, origin } => {
                self.plan_publication(contract, Publication::clone(publication), *origin)?
            }
        };
        if let Some(more) = ready.because.iter().find(|because| !proposal.because.contains(because)) {
            let problem = format!("since it was asked for, this came up: {more}; ask for it again");
            return Err(SettingError::Conflict { problem });
        }
        Ok(ready)
    }

    async fn decided(&self, id: &str, approved: bool, who: Who) -> Result<Option<SettingChanged>, SettingError> {
        let own = cause(&who)?;
        let asked = self.proposal(id).await?;
        // It takes its time, in which nobody else is kept from changing something. And whoever agreed can do so again where
        // the remote did not answer: nothing is recorded of it then.
        let tested = match &asked.act {
            SettingChange::Connection { name, connection, probe: Some(probe), .. } if approved => {
                self.may_agree(&asked, &who)?;
                let now = self.shared.installation.load_full();
                self.again(&now, &asked).await?;
                Some(self.prove(&now, name, connection, probe).await?)
            }
            _ => None,
        };
        let _changing = self.registry.changing().await;
        let mut proposal = self.proposal(id).await?;
        if !approved {
            is_open(&proposal)?;
            proposal.state = ProposalState::Rejected { by: who.actor, at: self.shared.clock.now() };
            self.put(&own, "setting.reject", &proposal).await?;
            return Ok(None);
        }
        self.may_agree(&proposal, &who)?;
        let now = self.shared.installation.load_full();
        let ready = Ready { tested, ..self.again(&now, &proposal).await? };
        let reason = format!("{} (asked for by {}: {})", who.reason, proposal.actor, proposal.reason);
        let cause = Cause { actor: who.actor.clone(), reason };
        proposal.state = ProposalState::Approved { by: who.actor, at: self.shared.clock.now() };
        self.put(&own, "setting.approve", &proposal).await?;
        self.make(&now, &cause, ready).await.map(Some)
    }

    async fn proposal(&self, id: &str) -> Result<SettingProposal, SettingError> {
        let key = format!("setting/{id}");
        let unknown = || SettingError::UnknownChange { id: id.to_owned() };
        let digits = id.strip_prefix(ID_PREFIX).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        digits.ok_or_else(unknown)?;
        let stored =
            self.installer.records.get(&key).await.map_err(|error| unavailable(&error))?.ok_or_else(unknown)?;
        read(&key, &stored).map_err(refused)
    }

    /// Whether somebody may agree to a proposed change now.
    fn may_agree(&self, proposal: &SettingProposal, who: &Who) -> Result<(), SettingError> {
        is_open(proposal)?;
        if is_same_person(&proposal.actor, &who.actor) {
            return Err(SettingError::SamePerson { actor: proposal.actor.clone() });
        }
        if self.shared.clock.now().since(proposal.time) > PROPOSAL_MS_MAX {
            let problem = "the change was asked for more than a week ago; ask for it again".to_owned();
            return Err(SettingError::Conflict { problem });
        }
        Ok(())
    }

    async fn listed(&self) -> Result<Vec<SettingProposal>, SettingError> {
        let mut proposals = Vec::new();
        for (key, stored) in self.installer.all("setting/").await.map_err(refused)? {
            proposals.push(read::<SettingProposal>(&key, &stored).map_err(refused)?);
        }
        proposals.sort_by_key(|proposal| std::cmp::Reverse(proposal.time));
        proposals.truncate(PROPOSALS_LISTED_MAX);
        Ok(proposals)
    }

    async fn revision(&self, subject: &str) -> Result<Option<u64>, SettingError> {
        let stored = self.installer.records.get(subject).await.map_err(|error| unavailable(&error))?;
        Ok(stored.map(|stored| stored.revision.0))
    }

    async fn put(&self, cause: &Cause, action: &str, proposal: &SettingProposal) -> Result<(), SettingError> {
        self.installer.put_as(cause, action, &format!("setting/{}", proposal.id), proposal).await.map_err(refused)
    }
}

impl Settings for HubSettings {
    fn secrets(&self) -> Vec<SecretView> {
        self.secret_views()
    }

    fn secret<'a>(
        &'a self,
        name: &'a str,
        act: SecretAct,
        who: Who,
    ) -> BoxFuture<'a, Result<Option<SecretView>, SettingError>> {
        self.change_secret(name, act, who).boxed()
    }

    fn connection<'a>(
        &'a self,
        name: &'a str,
        act: ConnectionAct,
        who: Who,
    ) -> BoxFuture<'a, Result<SettingChanged, SettingError>> {
        self.change_connection(name, act, who).boxed()
    }

    fn test<'a>(&'a self, name: &'a str, probe: Probe) -> BoxFuture<'a, Result<Tested, SettingError>> {
        self.test_connection(name, probe).boxed()
    }

    fn sources(&self) -> Vec<SourceView> {
        self.source_views()
    }

    fn source<'a>(
        &'a self,
        name: &'a str,
        act: SourceAct,
        who: Who,
    ) -> BoxFuture<'a, Result<SettingChanged, SettingError>> {
        self.change_source(name, act, who).boxed()
    }

    fn binding(&self, pipeline: &str) -> Result<BindingView, SettingError> {
        self.binding_view(pipeline)
    }

    fn bind<'a>(
        &'a self,
        pipeline: &'a str,
        act: BindAct,
        who: Who,
    ) -> BoxFuture<'a, Result<SettingChanged, SettingError>> {
        self.change_binding(pipeline, act, who).boxed()
    }

    fn subscribe<'a>(
        &'a self,
        name: &'a str,
        act: SubscriptionAct,
        who: Who,
    ) -> BoxFuture<'a, Result<SettingChanged, SettingError>> {
        self.change_subscription(name, act, who).boxed()
    }

    fn declared_subscription(&self, name: &str) -> Option<Subscription> {
        self.subscriptions.configured(name)
    }

    fn publish(
        &self,
        contract: ContractId,
        act: PublicationAct,
        who: Who,
    ) -> BoxFuture<'_, Result<SettingChanged, SettingError>> {
        self.change_publication(contract, act, who).boxed()
    }

    fn proposals(&self) -> BoxFuture<'_, Result<Vec<SettingProposal>, SettingError>> {
        self.listed().boxed()
    }

    fn decide<'a>(
        &'a self,
        id: &'a str,
        approved: bool,
        who: Who,
    ) -> BoxFuture<'a, Result<Option<SettingChanged>, SettingError>> {
        self.decided(id, approved, who).boxed()
    }
}

/// Whether nobody has decided about a change yet.
fn is_open(proposal: &SettingProposal) -> Result<(), SettingError> {
    let problem = match &proposal.state {
        ProposalState::Open => return Ok(()),
        ProposalState::Approved { by, .. } => format!("`{by}` agreed to this change before"),
        ProposalState::Rejected { by, .. } => format!("`{by}` declined this change before"),
    };
    Err(SettingError::Conflict { problem })
}

/// Who changes something, and why, held to the registry's bounds.
fn cause(who: &Who) -> Result<Cause, SettingError> {
    super::registry::cause(who).map_err(|error| match error {
        RegistryError::Invalid { problem } => SettingError::Invalid { problem },
        other => SettingError::Unavailable { reason: other.to_string() },
    })
}

fn unavailable(error: &dyn std::error::Error) -> SettingError {
    SettingError::Unavailable { reason: with_source(error) }
}

fn refused(error: InstallError) -> SettingError {
    let problem = with_source(&error);
    match error {
        InstallError::Record { .. } | InstallError::Audit { .. } | InstallError::Damaged { .. } => {
            SettingError::Unavailable { reason: problem }
        }
        _ => SettingError::Refused { problem, tested: None },
    }
}

impl From<StoreError> for SettingError {
    fn from(error: StoreError) -> Self {
        let text = with_source(&error);
        match error {
            StoreError::Unknown { name } => Self::UnknownSecret { name },
            StoreError::Refused { problem, invalid: true } => Self::Invalid { problem },
            StoreError::Refused { problem, invalid: false } => Self::Conflict { problem },
            _ => Self::Unavailable { reason: text },
        }
    }
}

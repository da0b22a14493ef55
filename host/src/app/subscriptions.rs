//! Events that are delivered to others' endpoints: what pipelines emit and, where that is declared, what was accepted.
//!
//! What is to be delivered follows from the journal alone: a subscription records how far it has looked, and what of that
//! is not delivered yet. So nothing is lost when the hub dies; what was taken by the endpoint and not yet recorded is
//! delivered again, under the same id. Each subscription is worked on in a task of its own, with bounds of its own.
//!
//! | module | does |
//! | --- | --- |
//! | `asked` | what the surfaces ask |
//! | `feed` | follows the journal, once for all subscriptions |
//! | `window` | which delivery may begin, which waits, what an answer changes |
//! | `worker` | works on one subscription; replays |
//! | `endpoint` | makes one delivery |
//! | `record` | what is recorded |
//! | `replays` | has events delivered again |

mod asked;
mod endpoint;
mod feed;
mod record;
mod replays;
#[cfg(test)]
mod tests;
mod window;
mod worker;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex as Lock, MutexGuard, PoisonError, RwLock, Weak},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::{
    sync::{Mutex, Notify, mpsc},
    task::JoinHandle,
};

use self::{
    feed::Feed,
    record::{DECLARED, Declared, Progress},
    worker::Command,
};
use super::{
    audit::{Audit, AuditError},
    facts::FactsError,
    runner::Shared,
};
use crate::{
    model::{
        audit::Cause,
        connection::SecretRef,
        failure::{Failure, FailureKind},
        id::SubjectKeyId,
        setting::Origin,
        subscription::Subscription,
        timestamp::Timestamp,
    },
    net::egress::Gateway,
    policy::{delivery, reach::Host, review::is_same_person},
    ports::{
        egress::Egress,
        impact::{ImpactedSubscription, Subject},
        journal::Position,
        subscriptions::{Act, ActRequest, Failing, ReplayView, Standing, SubscriptionError, SubscriptionView},
    },
};

/// Most subscriptions.
pub const SUBSCRIPTIONS_MAX: usize = 200;

/// How long a subscription that is paused or stopped keeps what it has not read from the archive, milliseconds: 30 days.
pub const HELD_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1_000;

/// A subscription, and how it stands.
struct Slot {
    name: String,
    declared: ArcSwap<Declared>,
    outlet: ArcSwap<Result<Arc<dyn Egress>, String>>,
    live: Lock<Live>,
    /// Told when it was changed.
    changed: Notify,
    commands: mpsc::Sender<Command>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// How a subscription stands, for those who look.
#[derive(Default)]
struct Live {
    delivered: u64,
    waiting: usize,
    /// Up to where it has read.
    read: Position,
    /// The same, as far as it is recorded: after a crash it begins there. Absent: it is not taken up yet.
    recorded: Option<Position>,
    failing: Option<Failing>,
    dead_letters: usize,
    replay: Option<ReplayView>,
    /// Whether a replay is asked for and not begun yet.
    replay_begins: bool,
    /// Why it cannot be worked on at all.
    problem: Option<String>,
}

impl Slot {
    fn declared(&self) -> Arc<Declared> {
        self.declared.load_full()
    }

    fn is_removed(&self) -> bool {
        self.declared.load().removed.is_some()
    }

    fn outlet(&self) -> Result<Arc<dyn Egress>, Failure> {
        let outlet = self.outlet.load();
        match &**outlet {
            Ok(egress) => Ok(Arc::clone(egress)),
            Err(problem) => Err(Failure::new(FailureKind::Retryable, "endpoint.url", problem.clone())),
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        // Nothing panics while it is held.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_problem(&self, problem: Option<String>) {
        self.live().problem = problem;
    }

    /// As it is, while the journal ends there and hub.toml declares this of it.
    fn view(&self, end: Position, told: Option<&Subscription>) -> SubscriptionView {
        let declared = self.declared();
        let live = self.live();
        SubscriptionView {
            name: self.name.clone(),
            origin: declared.origin.as_str(),
            declared: told.map(|told| if *told == declared.subscription { "same" } else { "differs" }),
            subscription: declared.subscription.clone(),
            standing: declared.standing.clone(),
            created: declared.created,
            delivered: live.delivered,
            waiting: live.waiting,
            caught_up: live.read >= end,
            kept_until: kept_until(&declared.standing),
            failing: live.failing.clone(),
            dead_letters: live.dead_letters,
            replay: live.replay,
        }
    }
}

/// The subscriptions of a hub. Shared behind an `Arc`.
pub struct Subscriptions {
    this: Weak<Self>,
    shared: Arc<Shared>,
    audit: Arc<Audit>,
    gateway: Arc<Gateway>,
    feed: Arc<Feed>,
    slots: RwLock<BTreeMap<String, Arc<Slot>>>,
    /// What an operator's configuration declares.
    configured: ArcSwap<BTreeMap<String, Subscription>>,
    /// Held while one is declared or changed, so that two changes see each other.
    changing: Mutex<()>,
}

impl From<AuditError> for SubscriptionError {
    fn from(error: AuditError) -> Self {
        Self::Unavailable { reason: error.to_string() }
    }
}

impl Subscriptions {
    /// Of a hub. Nothing is delivered before [`Subscriptions::begin`].
    #[must_use]
    pub fn new(shared: Arc<Shared>, audit: Arc<Audit>, gateway: Arc<Gateway>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            shared,
            audit,
            gateway,
            feed: Arc::default(),
            slots: RwLock::default(),
            configured: ArcSwap::default(),
            changing: Mutex::default(),
        })
    }

    /// Forgets the events that are sealed with a key that was destroyed: none of them is delivered any more.
    pub fn forget(&self, key: SubjectKeyId) {
        self.feed.forget(key);
    }

    /// Keeps what an operator's configuration declares for [`Subscriptions::begin`].
    pub fn configure(&self, subscriptions: &BTreeMap<String, Subscription>) {
        self.configured.store(Arc::new(subscriptions.clone()));
    }

    /// What an operator's configuration declares under a name.
    pub(super) fn configured(&self, name: &str) -> Option<Subscription> {
        self.configured.load().get(name).cloned()
    }

    /// Takes up what is recorded, then what is configured, and begins to deliver. `end`: where the journal ends, as it was just read.
    ///
    /// # Errors
    /// If what is recorded cannot be read.
    pub async fn begin(&self, end: Position) -> Result<(), SubscriptionError> {
        self.feed.begin(end);
        let listed = record::list(&*self.shared.records, DECLARED, usize::MAX).await.map_err(unavailable)?;
        for (key, value) in listed {
            let name = key.trim_start_matches(DECLARED).to_owned();
            let declared: Declared = serde_json::from_slice(&value)
                .map_err(|error| unavailable(format!("record `{key}` is damaged: {error}")))?;
            if declared.removed.is_some() {
                // A crash may have come before it was cleaned up.
                self.clean(&name).await;
            } else {
                self.open(&name, declared)?;
            }
        }
        let (feed, shared) = (Arc::clone(&self.feed), Arc::clone(&self.shared));
        self.shared.tasks.spawn(feed.follow(shared));
        let cause = Cause::config("declared in the configuration that the hub was started with");
        for (name, subscription) in &*self.configured.load_full() {
            self.declare(&cause, name, subscription.clone()).await?;
        }
        Ok(())
    }

    /// Declares one as an operator's configuration does; what is as it was is left alone, and so is what was set over the
    /// API or removed there.
    ///
    /// # Errors
    /// As [`SubscriptionError`] says; nothing was changed then.
    pub async fn declare(&self, cause: &Cause, name: &str, wanted: Subscription) -> Result<(), SubscriptionError> {
        let _changing = self.changing.lock().await;
        if let Some(held) = self.recorded(name).await? {
            if held.removed.is_some() {
                tracing::warn!(
                    subscription = name,
                    "hub.toml declares it, and it was removed over the API, which holds; `crossdock subscription add NAME \
                     --declared` brings it back"
                );
                return Ok(());
            }
            if held.origin == Origin::Api {
                if held.subscription != wanted {
                    tracing::warn!(
                        subscription = name,
                        "hub.toml declares it in another way than it was set over the API, which holds; `crossdock \
                         subscription add NAME --declared` takes that back"
                    );
                }
                return Ok(());
            }
        }
        self.put_in_place(cause, name, wanted, Origin::File).await
    }

    /// Sets one, as somebody asks over the API who may, together with whoever has agreed to it.
    ///
    /// # Errors
    /// As [`SubscriptionError`] says; nothing was changed then.
    pub(super) async fn set(
        &self,
        cause: &Cause,
        name: &str,
        wanted: Subscription,
        origin: Origin,
    ) -> Result<(), SubscriptionError> {
        let _changing = self.changing.lock().await;
        self.put_in_place(cause, name, wanted, origin).await
    }

    /// Whether one may be set over the API.
    ///
    /// # Errors
    /// As [`SubscriptionError`] says.
    pub(super) fn may_be_set(&self, name: &str, wanted: &Subscription) -> Result<(), SubscriptionError> {
        delivery::check(name, wanted).map_err(|problem| SubscriptionError::Refused { problem })?;
        self.secrets_are_there(wanted)?;
        if self.slot(name).is_err() { self.there_is_room() } else { Ok(()) }
    }

    /// One as it is declared, and who has the say about it; absent: there is none.
    pub(super) fn held(&self, name: &str) -> Option<(Subscription, Origin)> {
        let declared = self.slot(name).ok()?.declared();
        Some((declared.subscription.clone(), declared.origin))
    }

    /// The secrets that deliveries are signed with, each with whose it is.
    pub(super) fn secrets(&self) -> Vec<(String, SecretRef)> {
        let slots: Vec<_> = self.read().values().cloned().collect();
        let of = |slot: &Arc<Slot>| -> Vec<(String, SecretRef)> {
            let whose = format!("subscription `{}`", slot.name);
            slot.declared().subscription.secrets.iter().map(|secret| (whose.clone(), secret.clone())).collect()
        };
        slots.iter().flat_map(of).collect()
    }

    /// One as it is now.
    fn view(&self, slot: &Slot) -> SubscriptionView {
        slot.view(self.feed.end(), self.configured.load().get(&slot.name))
    }

    /// Those that have to do with something: they deliver to a host, or events of a type.
    pub(super) fn impacted(&self, subject: &Subject) -> Vec<ImpactedSubscription> {
        let concerned = |subscription: &Subscription| match subject {
            Subject::Plugin { .. } => false,
            Subject::Host(host) => Host::parse(host).is_ok_and(|host| host.is_of(&subscription.url)),
            Subject::EventType(name) => subscription.wants(name),
        };
        let slots: Vec<_> = self.read().values().cloned().collect();
        let found = slots.iter().filter(|slot| !slot.is_removed()).filter_map(|slot| {
            let declared = slot.declared();
            let owner = declared.subscription.owner.clone();
            concerned(&declared.subscription).then(|| ImpactedSubscription { name: slot.name.clone(), owner })
        });
        found.collect()
    }

    async fn recorded(&self, name: &str) -> Result<Option<Declared>, SubscriptionError> {
        let read = record::read::<Declared>(&*self.shared.records, &format!("{DECLARED}{name}")).await;
        Ok(read.map_err(unavailable)?.map(|(declared, _)| declared))
    }

    fn there_is_room(&self) -> Result<(), SubscriptionError> {
        if self.read().len() < SUBSCRIPTIONS_MAX {
            return Ok(());
        }
        let problem = format!("there are {SUBSCRIPTIONS_MAX} subscriptions, which is the most");
        Err(SubscriptionError::Conflict { problem })
    }

    /// The lock is held.
    async fn put_in_place(
        &self,
        cause: &Cause,
        name: &str,
        wanted: Subscription,
        origin: Origin,
    ) -> Result<(), SubscriptionError> {
        delivery::check(name, &wanted).map_err(|problem| SubscriptionError::Refused { problem })?;
        if let Ok(slot) = self.slot(name) {
            let declared = slot.declared();
            if declared.subscription != wanted || declared.origin != origin {
                // Whatever its endpoint said before, it may be another one now.
                let standing = match &declared.standing {
                    Standing::Disabled { .. } if declared.subscription != wanted => Standing::Active,
                    standing => standing.clone(),
                };
                let next = Declared { subscription: wanted, standing, origin, ..(*declared).clone() };
                self.keep(cause, "subscription.set", &slot, next).await?;
            }
            return Ok(());
        }
        self.there_is_room()?;
        // It begins here, whenever it is taken up.
        let end = self.feed.catch_up(&self.shared).await.map_err(unavailable)?;
        let progress = Progress { read: end.0, ..Progress::default() };
        let records = &*self.shared.records;
        record::write(records, &record::progress_key(name), &progress).await.map_err(unavailable)?;
        let declared = Declared {
            subscription: wanted,
            standing: Standing::Active,
            created: self.shared.clock.now(),
            removed: None,
            origin,
        };
        self.put(cause, "subscription.set", name, &declared).await?;
        self.open(name, declared)
    }

    /// Whether deliveries can be signed. What a configuration declares is not held to it: a hub starts without a secret.
    fn secrets_are_there(&self, wanted: &Subscription) -> Result<(), SubscriptionError> {
        let installation = self.shared.installation.load();
        for reference in &wanted.secrets {
            let user = installation.secrets().find(|(_, used)| *used == reference).map(|(user, _)| user);
            let problem = match self.shared.secrets.resolve(reference) {
                // Else the hub would sign what a partner chooses with what proves somebody else.
                Ok(_) if user.is_some() => {
                    let user = user.unwrap_or_default();
                    format!("secret `{reference}` is {user}'s: give the subscription one of its own")
                }
                Ok(secret) if secret.expose().is_empty() => format!("secret `{reference}` is empty"),
                Ok(_) => continue,
                Err(error) => error.to_string(),
            };
            return Err(SubscriptionError::Refused { problem });
        }
        Ok(())
    }

    /// Opens one and begins to work on it.
    fn open(&self, name: &str, declared: Declared) -> Result<(), SubscriptionError> {
        let this = self.this.upgrade().ok_or_else(|| unavailable("the hub is stopping"))?;
        let (commands, received) = mpsc::channel(1);
        let outlet = endpoint::outlet(&self.gateway, &self.shared, name, &declared.subscription);
        let slot = Arc::new(Slot {
            name: name.to_owned(),
            declared: ArcSwap::from_pointee(declared),
            outlet: ArcSwap::from_pointee(outlet),
            live: Lock::default(),
            changed: Notify::new(),
            commands,
            task: Mutex::default(),
        });
        let task = self.shared.tasks.spawn(worker::run(this, Arc::clone(&slot), received));
        if let Ok(mut held) = slot.task.try_lock() {
            *held = Some(task);
        }
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.insert(name.to_owned(), slot);
        self.feed.set_readers(slots.len());
        Ok(())
    }

    async fn put(&self, cause: &Cause, action: &str, name: &str, declared: &Declared) -> Result<(), SubscriptionError> {
        let value = serde_json::to_vec(declared).map_err(unavailable)?;
        let key = format!("{DECLARED}{name}");
        self.audit.put_as(&*self.shared.records, cause, action, &key, Bytes::from(value)).await?;
        Ok(())
    }

    /// Records a change of one, and has it count.
    async fn keep(&self, cause: &Cause, action: &str, slot: &Slot, next: Declared) -> Result<(), SubscriptionError> {
        self.put(cause, action, &slot.name, &next).await?;
        let outlet = endpoint::outlet(&self.gateway, &self.shared, &slot.name, &next.subscription);
        slot.outlet.store(Arc::new(outlet));
        slot.declared.store(Arc::new(next));
        slot.changed.notify_waiters();
        Ok(())
    }

    /// Stops one, by the hub's own decision.
    async fn disable(&self, slot: &Slot, standing: Standing) {
        let Standing::Disabled { cause, .. } = &standing else { return };
        tracing::warn!(subscription = slot.name, cause, "a subscription is stopped");
        let changed = slot.changed.notified();
        if slot.is_removed() {
            return;
        }
        // Whoever removes it holds the lock, and waits for its task, which may be this one.
        let _changing = tokio::select! {
            changing = self.changing.lock() => changing,
            () = changed => return,
        };
        let declared = slot.declared();
        if declared.removed.is_some() || matches!(declared.standing, Standing::Disabled { .. }) {
            return;
        }
        let by = Cause::hub(cause.clone());
        let next = Declared { standing: standing.clone(), ..(*declared).clone() };
        if let Err(error) = self.keep(&by, "subscription.disable", slot, next.clone()).await {
            tracing::error!(subscription = slot.name, %error, "that it is stopped cannot be recorded");
            // It stands still all the same, until the next start.
            slot.declared.store(Arc::new(next));
        }
    }

    async fn act_on(&self, name: &str, request: ActRequest) -> Result<SubscriptionView, SubscriptionError> {
        let ActRequest { who, act, may_change } = request;
        let _changing = self.changing.lock().await;
        let slot = self.slot(name)?;
        let declared = slot.declared();
        let now = self.shared.clock.now();
        let cause = Cause { actor: who.actor.clone(), reason: who.reason };
        let conflict = |problem: String| Err(SubscriptionError::Conflict { problem });
        let standing = match (act, &declared.standing) {
            (Act::Pause, Standing::Active) => Standing::Paused { since: now, by: who.actor },
            // Who may declare it holds it on, whatever its owner meant.
            (Act::Pause, Standing::Paused { since, by }) if may_change && !is_same_person(by, &who.actor) => {
                Standing::Paused { since: *since, by: who.actor }
            }
            (Act::Pause, _) => {
                return conflict(format!("`{name}` is not active; `crossdock subscription show` says why"));
            }
            (Act::Resume, Standing::Paused { by, .. }) if !may_change && !is_same_person(by, &who.actor) => {
                return conflict(format!("`{by}` has paused `{name}`: they, or who may declare it, let it go on"));
            }
            (Act::Resume, _) => Standing::Active,
            (Act::Remove, _) => {
                let next = Declared { removed: Some(now), origin: Origin::Api, ..(*declared).clone() };
                self.keep(&cause, "subscription.remove", &slot, next).await?;
                let task = slot.task.lock().await.take();
                if let Some(task) = task {
                    // It ends by itself, now that it is removed.
                    let _ = task.await;
                }
                {
                    let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
                    slots.remove(name);
                    self.feed.set_readers(slots.len());
                }
                self.clean(name).await;
                return Ok(self.view(&slot));
            }
        };
        if standing != declared.standing {
            let action = if act == Act::Pause { "subscription.pause" } else { "subscription.resume" };
            self.keep(&cause, action, &slot, Declared { standing, ..(*declared).clone() }).await?;
        }
        Ok(self.view(&slot))
    }

    /// Deletes what is recorded of one that was removed.
    async fn clean(&self, name: &str) {
        let records = &*self.shared.records;
        let letters = record::list(records, &record::letters_prefix(name), usize::MAX).await.unwrap_or_default();
        let keys = letters.into_iter().map(|(key, _)| key).chain([record::progress_key(name)]);
        for key in keys {
            if let Err(error) = record::delete(records, &key).await {
                tracing::warn!(key, %error, "what a removed subscription left cannot be deleted; the next start tries again");
            }
        }
    }

    fn slot(&self, name: &str) -> Result<Arc<Slot>, SubscriptionError> {
        self.read().get(name).cloned().ok_or_else(|| SubscriptionError::Unknown { name: name.to_owned() })
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Slot>>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscriptions that do not deliver now and should, one sentence each.
    pub(super) fn problems(&self) -> Vec<String> {
        let slots: Vec<_> = self.read().values().cloned().collect();
        let problem = |slot: &Arc<Slot>| {
            let live = slot.live();
            let failing = live.failing.as_ref().map(|failing| failing.cause.clone());
            match &slot.declared().standing {
                Standing::Disabled { cause, .. } => Some(cause.clone()),
                Standing::Active => live.problem.clone().or(failing),
                standing @ Standing::Paused { .. } => {
                    let until = kept_until(standing).filter(|until| *until <= self.shared.clock.now())?;
                    Some(format!("it is paused, and what it has not read goes to the archive since {until}"))
                }
            }
        };
        slots.iter().filter_map(|slot| Some(format!("`{}`: {}", slot.name, problem(slot)?))).collect()
    }

    /// When the first event that a subscription has not read was accepted, if there is one: it and what is later is not
    /// to leave the journal yet. One that has not read for [`HELD_MS_MAX`] is not waited for.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub(super) async fn behind_since(&self) -> Result<Option<Timestamp>, FactsError> {
        let end = self.feed.catch_up(&self.shared).await?;
        let now = self.shared.clock.now();
        let slots: Vec<_> = self.read().values().cloned().collect();
        let mut behind: Option<Timestamp> = None;
        for slot in slots {
            let recorded = slot.live().recorded;
            let unread = match recorded {
                Some(read) => self.feed.unread_since(&self.shared, read, end).await?,
                None => Some(Timestamp::default()),
            };
            let Some(unread) = unread else { continue };
            if let Some(until) = kept_until(&slot.declared().standing).filter(|until| *until <= now) {
                tracing::warn!(subscription = slot.name, %until, "what it has not read is not kept from the archive any more");
                continue;
            }
            behind = Some(behind.map_or(unread, |behind| behind.min(unread)));
        }
        Ok(behind)
    }

    /// Sets the gauges.
    #[expect(clippy::cast_precision_loss, reason = "a gauge works in floating point")]
    pub(super) fn gauge(&self) {
        let slots: Vec<_> = self.read().values().cloned().collect();
        for slot in slots {
            let live = slot.live();
            let name = slot.name.clone();
            metrics::gauge!("crossdock_subscription_waiting", "subscription" => name.clone()).set(live.waiting as f64);
            metrics::gauge!("crossdock_subscription_dead_letters", "subscription" => name)
                .set(live.dead_letters as f64);
        }
    }
}

/// Until when a subscription keeps what it has not read from the archive; absent: it reads.
fn kept_until(standing: &Standing) -> Option<Timestamp> {
    match standing {
        Standing::Active => None,
        Standing::Paused { since, .. } | Standing::Disabled { since, .. } => Some(since.plus_millis(HELD_MS_MAX)),
    }
}

fn unavailable(reason: impl ToString) -> SubscriptionError {
    SubscriptionError::Unavailable { reason: reason.to_string() }
}

//! Opening a hub: what is wired together, in which order.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwap;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Hub, StartError};
use crate::{
    app::{
        access::Access,
        actors::{Actors, Timers},
        apis::Apis,
        audit::{self, anchor::Anchoring},
        clock::SystemClock,
        contracts::Library,
        effects::Effects,
        facts::Facts,
        identity,
        install::Installer,
        intake::Intake,
        permits::Permits,
        personal::{erase::recorded, keyring::Keyring},
        queues::Queues,
        registry::Registry,
        reseal,
        runner::Shared,
        secrets::{
            AllSecrets,
            store::{KeyPlace, SecretStore},
        },
        settings::{self, HubSettings},
        snapshot::{self, Loaded},
        subscriptions::Subscriptions,
        trial::Trials,
        turns::Turns,
    },
    net::egress::Gateway,
    ports::{clock::Clock, invoker::Invoker, secrets::Secrets},
    store::disk::Store,
    wasm::Sandbox,
};

/// How long after a start waits and questions that fell due before it are over, milliseconds: what came in meanwhile is
/// looked at first.
const CATCH_UP_MS: u64 = 2_000;

impl Hub {
    /// Opens a data folder and makes everything recorded in it ready. Runs that were cut short wait for
    /// [`Hub::take_up`], so that what an operator declares can be applied first.
    ///
    /// # Errors
    /// As [`StartError`] says.
    pub async fn open(data: &Path) -> Result<Self, StartError> {
        Self::open_with(data, KeyPlace::in_data(data)).await
    }

    /// The same with the key of its secrets in another place.
    ///
    /// # Errors
    /// As [`StartError`] says.
    pub async fn open_with(data: &Path, key: KeyPlace) -> Result<Self, StartError> {
        let folder = |path: PathBuf| -> Result<PathBuf, StartError> {
            std::fs::create_dir_all(&path).map_err(|source| StartError::Folder { path: path.clone(), source })?;
            Ok(path)
        };
        let system_clock = Arc::new(SystemClock::default());
        let clock: Arc<dyn Clock> = Arc::clone(&system_clock) as _;
        // Beside the opening of the store: either may take seconds.
        let own = data.to_owned();
        let reading = tokio::task::spawn_blocking(move || snapshot::read(&own));
        let path = folder(data.join("store"))?;
        let store =
            Arc::new(Store::open(&path, Arc::clone(&clock)).map_err(|source| StartError::Store { path, source })?);
        let sandbox = Sandbox::new(&folder(data.join("cache"))?).map_err(|source| StartError::Sandbox { source })?;
        let invoker: Arc<dyn Invoker> = Arc::new(sandbox);
        let gateway = Gateway::new().map_err(|error| StartError::Egress { problem: error.to_string() })?;
        let library = Library::built_in().map_err(|problem| StartError::Contracts { problem })?;
        let (audit, checkpoints) = audit::begin::begin(data, &store, &clock).await?;
        let access = Arc::new(Access::open(Arc::clone(&audit), store.records(), Arc::clone(&clock)).await?);
        let kept = SecretStore::open(store.records(), Arc::clone(&audit), Arc::clone(&clock), key).await?;
        let kept = Arc::new(kept);
        // What a crash left sealed with the key of before.
        reseal::finish(data, &kept).await?;
        let erased = recorded(&*store.records(), None).await?.into_keys();
        let keyring = Arc::new(Keyring::open(data, erased, Arc::clone(&kept), Arc::clone(&clock))?);
        let secrets: Arc<dyn Secrets> = Arc::new(AllSecrets::new(Arc::clone(&kept), data));
        let installer = Installer {
            audit: Arc::clone(&audit),
            records: store.records(),
            blobs: store.blobs(),
            invoker: Arc::clone(&invoker),
            gateway: Arc::new(gateway),
            secrets: Arc::clone(&secrets),
            clock: Arc::clone(&clock),
            library: Arc::new(library),
            assets: folder(data.join("assets"))?,
        };
        let installation = installer.load().await?;
        let Loaded { index, mailbox, inbox, exceptions, claim } = reading.await.unwrap_or_default();
        let shared = Arc::new(Shared {
            hub: identity::hub_id(&*store.records()).await?.into(),
            facts: Facts::new(store.journal(), store.blobs()).with_keys(keyring),
            audit: Arc::clone(&audit),
            invoker,
            clock,
            records: store.records(),
            secrets,
            installation: ArcSwap::from_pointee(installation),
            index,
            actors: Actors::default(),
            timers: Timers::default(),
            mailbox,
            queues: Queues::default(),
            inbox,
            exceptions,
            effects: Effects::of(data),
            grace: system_clock.now().plus_millis(CATCH_UP_MS),
            trials: Trials::default(),
            turns: Turns::default(),
            permits: Permits::default(),
            intake: Intake::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let triggers = Arc::default();
        let installer = Arc::new(installer);
        let registry = Registry::new(Arc::clone(&shared), Arc::clone(&installer), Arc::clone(&store));
        registry.load_trust().await?;
        let registry = Arc::new(registry);
        let subscriptions = Subscriptions::new(Arc::clone(&shared), Arc::clone(&audit), Arc::clone(&installer.gateway));
        let apis = Arc::new(Apis::open(Arc::clone(&shared), Arc::clone(&audit)).await?);
        let parts = settings::Parts {
            shared: Arc::clone(&shared),
            installer: Arc::clone(&installer),
            registry: Arc::clone(&registry),
            store: kept,
            subscriptions: Arc::clone(&subscriptions),
            apis: Arc::clone(&apis),
        };
        let settings = Arc::new(HubSettings::new(parts, data));
        let (gateway, log) = (Arc::clone(&installer.gateway), Arc::clone(&audit));
        let anchor =
            Anchoring::open(Arc::clone(&shared), gateway, log, data).map_err(audit::begin::BeginError::from)?;
        Ok(Self {
            registry,
            settings,
            shared,
            installer,
            store,
            clock: system_clock,
            triggers,
            audit,
            checkpoints,
            anchor: Arc::new(anchor),
            data: data.into(),
            retention: Arc::default(),
            access,
            apis,
            subscriptions,
            claim: Arc::new(Mutex::new(claim)),
        })
    }
}

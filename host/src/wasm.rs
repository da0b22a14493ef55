//! L3: the sandbox. The only place that names wasmtime.
//!
//! A component is compiled once (and kept on disk), linked once, and instantiated anew for every call, so that no call
//! sees anything of another. A guest reaches the world through this module's links and through nothing else: what the
//! call's [`Authority`] does not hold is refused here. Every way to overstep a limit
//! ends that one call with the limit's name. Code that a guest can reach does not panic.
//!
//! It decides nothing about grants: the authority comes in, made by whoever knows the manifest and the operator's word.

mod answer;
mod assets;
mod bench;
mod bindings;
mod cache;
mod call;
mod call_state;
mod clock;
mod component;
mod engine;
mod http;
mod imports;
mod inspect;
mod ledger;
mod memory;
mod random;
mod request;
mod stdio;
pub mod surface;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use wasmtime::{Engine, component::Linker};

pub use self::{
    bench::Bare,
    engine::{CALLS_LIMIT, STACK_BYTES},
};
use self::{
    cache::{CompiledCache, Miss},
    call_state::CallState,
    component::Loaded,
};
use crate::{
    model::{id::Digest, limits::Limits, timestamp::Timestamp},
    ports::invoker::{
        Authority, CallError, Completed, Component, Inspection, Invocation, Invoker, LoadError, StepContext, Work,
    },
};

/// Components that may be loaded at the same time.
pub const COMPONENTS_LIMIT: usize = 1_024;

/// How long a component may take to start when it is tried out at load.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// Why a sandbox cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The engine does not start.
    #[error("cannot start the WebAssembly engine; it reserves address space: raise `ulimit -v`")]
    Engine {
        /// What the engine says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The compiled cache cannot be used.
    #[error("cannot use the compiled cache `{folder}`; make it a folder that the hub's user owns")]
    Cache {
        /// The folder.
        folder: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
}

/// Loads and calls components, each call in a fresh instance. Calls are made within a tokio runtime with time enabled;
/// dropping a call ends its guest at once.
pub struct Sandbox {
    engine: Engine,
    linker: Linker<CallState>,
    cache: Arc<CompiledCache>,
    components: ArcSwap<HashMap<Digest, Arc<Loaded>>>,
    /// One component is compiled at a time: it takes all cores already.
    loading: tokio::sync::Mutex<()>,
}

impl Sandbox {
    /// Sets up the engine, with compiled code kept in a folder that is the hub's alone.
    ///
    /// # Errors
    /// As [`SandboxError`] says.
    pub fn new(cache: &Path) -> Result<Self, SandboxError> {
        let engine_error = |error: wasmtime::Error| SandboxError::Engine { source: error.into() };
        let engine = engine::new().map_err(engine_error)?;
        let mut linker = Linker::new(&engine);
        call_state::link(&mut linker).map_err(engine_error)?;
        let cache = CompiledCache::open(cache, &engine)
            .map_err(|source| SandboxError::Cache { folder: cache.to_owned(), source })?;
        Ok(Self {
            engine,
            linker,
            cache: Arc::new(cache),
            components: ArcSwap::default(),
            loading: tokio::sync::Mutex::new(()),
        })
    }

    /// Forgets a component. Calls that run go on; the compiled code stays on disk.
    pub fn unload(&self, digest: Digest) {
        self.components.rcu(|components| {
            let mut components = HashMap::clone(components);
            components.remove(&digest);
            components
        });
    }

    fn loaded(&self, digest: Digest) -> Option<Arc<Loaded>> {
        self.components.load().get(&digest).cloned()
    }

    async fn load_component(&self, component: Component) -> Result<Inspection, LoadError> {
        let _turn = self.loading.lock().await;
        if let Some(loaded) = self.loaded(component.digest) {
            return Ok(loaded.inspection.clone());
        }
        if self.components.load().len() >= COMPONENTS_LIMIT {
            return Err(LoadError::Compile {
                problem: format!("{COMPONENTS_LIMIT} components are loaded already; retire versions that are not used"),
            });
        }
        let (engine, cache) = (self.engine.clone(), Arc::clone(&self.cache));
        let work = move || {
            let inspection = inspect::read(&component.wasm)?;
            if inspection.digest != component.digest {
                return Err(LoadError::DigestMismatch { actual: inspection.digest, announced: component.digest });
            }
            inspect::check_contract(&inspection)?;
            let compiled = compiled(&engine, &cache, inspection.digest, &component.wasm)?;
            Ok((compiled, inspection, component.assets.map(Arc::from)))
        };
        let (compiled, inspection, assets) = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| LoadError::Compile { problem: format!("the compiler stopped: {error}") })??;
        let loaded = Loaded::new(&compiled, &self.linker, inspection, assets)?;
        self.try_out(&loaded).await?;
        let inspection = loaded.inspection.clone();
        let loaded = Arc::new(loaded);
        self.components.rcu(|components| {
            let mut components = HashMap::clone(components);
            components.insert(inspection.digest, Arc::clone(&loaded));
            components
        });
        Ok(inspection)
    }

    /// Starts an instance and looks at the types of its exports.
    async fn try_out(&self, loaded: &Loaded) -> Result<(), LoadError> {
        let limits = Limits::CEILING;
        let call = probe(loaded.inspection.digest, limits);
        let state = CallState::new(&call, Authority::default(), loaded.assets.clone(), Instant::now());
        let fuel = limits.fuel(0);
        let wrong = |problem: String| LoadError::Contract { problem };
        let mut store = call::new_store(&self.engine, state, &limits, fuel).map_err(|e| wrong(format!("{e:#}")))?;
        let started = tokio::time::timeout(START_DEADLINE, loaded.pre.instantiate_async(&mut store)).await;
        let instance = match started {
            Ok(Ok(instance)) => instance,
            Ok(Err(error)) => {
                let used = fuel.saturating_sub(store.get_fuel().unwrap_or(0));
                let reason = call::classify(&error, store.data(), &limits, (fuel, used));
                return Err(wrong(format!("it does not start: {reason:?}")));
            }
            Err(_) => return Err(wrong(format!("it does not start within {} s", START_DEADLINE.as_secs()))),
        };
        loaded.check_types(&mut store, &instance)
    }
}

/// The compiled code: from the cache, or made now and kept there.
fn compiled(
    engine: &Engine,
    cache: &CompiledCache,
    digest: Digest,
    wasm: &[u8],
) -> Result<wasmtime::component::Component, LoadError> {
    match cache.load(engine, digest) {
        Ok(component) => return Ok(component),
        Err(Miss::Absent) => {}
        Err(Miss::Damaged(problem)) => {
            tracing::warn!(%digest, problem, "compiled code is not as it was stored; compiling it again");
        }
    }
    let component = component::compile(engine, wasm)?;
    let stored = component.serialize().map_err(|error| format!("{error:#}"));
    if let Err(problem) = stored.and_then(|code| cache.store(digest, &code).map_err(|error| error.to_string())) {
        // Only the next start is slower for it.
        tracing::warn!(%digest, problem, "compiled code cannot be kept");
    }
    Ok(component)
}

/// A call that is never made; its state is what an instance is started with.
fn probe(component: Digest, limits: Limits) -> Invocation {
    let step = StepContext {
        run: String::new(),
        pipeline: String::new(),
        pipeline_version: String::new(),
        name: String::new(),
        config: crate::model::json::Json::empty_object(),
        attributes: Vec::new(),
    };
    Invocation {
        component,
        work: Work::Transform { input: crate::model::json::Json::null(), step },
        limits,
        now: Timestamp::default(),
        seed: [0; 32],
        authority: Authority::default(),
    }
}

impl Invoker for Sandbox {
    fn inspect(&self, wasm: &[u8]) -> Result<Inspection, LoadError> {
        inspect::inspect(wasm)
    }

    fn load(&self, component: Component) -> BoxFuture<'_, Result<Inspection, LoadError>> {
        Box::pin(self.load_component(component))
    }

    fn unload(&self, component: Digest) {
        Self::unload(self, component);
    }

    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Completed> {
        Box::pin(async move {
            match self.loaded(invocation.component) {
                Some(loaded) => call::run(&self.engine, &loaded, invocation).await,
                None => call::refused(CallError::Unavailable {
                    message: format!("component {} is not loaded; load it first", invocation.component),
                }),
            }
        })
    }
}

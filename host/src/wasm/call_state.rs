//! What the host keeps for one call, and the views of it that WASI asks for. A fresh one per call; nothing in it
//! survives the call or is shared with another, save what is behind the authority's handles.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{
    FsPerms, WasiCtx, WasiCtxView, WasiView,
    p2::bindings::{cli::environment, clocks, random},
};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::{
    assets::{self, AssetView},
    bindings,
    clock::CallClock,
    http::Outgoing,
    ledger::{Ledger, Stream},
    memory::MemoryBudget,
    random::SeededRandom,
    stdio::Printed,
};
use crate::ports::{
    invoker::{Authority, Invocation, Work},
    secrets::Secret,
    state::PluginState,
};

/// Handles that a guest may hold at once. What the host keeps for one is at most some 64 KiB, so this is what bounds the
/// memory that a guest can take beside its own.
const RESOURCES_LIMIT: usize = 1_024;

/// Headers of one request, bytes.
const HEADERS_BYTES_LIMIT: usize = 64 << 10;

/// Where a guest finds its own assets.
const ASSETS_PATH: &str = "/assets";

/// The state of one call.
pub(super) struct CallState {
    table: ResourceTable,
    /// Built when the guest first asks for something of WASI that is not answered without it; most never do.
    wasi: Option<Box<WasiCtx>>,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    assets: Option<Arc<Path>>,
    pub(super) asset_view: AssetView,
    pub(super) clock: CallClock,
    pub(super) random: SeededRandom,
    pub(super) memory: MemoryBudget,
    pub(super) ledger: Ledger,
    pub(super) time_left: TimeLeft,
    pub(super) state: Option<(Arc<dyn PluginState>, Vec<String>)>,
    pub(super) secrets: Vec<(String, Secret)>,
}

/// What a guest is told about its deadline.
#[derive(Clone, Copy, Debug)]
pub(super) enum TimeLeft {
    /// Always the whole: a pure call must not depend on how fast it runs.
    Whole(Duration),
    /// What is left of it.
    Until {
        /// When the call began.
        since: Instant,
        /// How long it may take.
        whole: Duration,
    },
}

impl TimeLeft {
    /// Milliseconds until the call is ended.
    pub(super) fn millis(self) -> u32 {
        let left = match self {
            Self::Whole(whole) => whole,
            Self::Until { since, whole } => whole.saturating_sub(since.elapsed()),
        };
        u32::try_from(left.as_millis()).unwrap_or(u32::MAX)
    }
}

impl CallState {
    /// The state of a call that begins at `started`.
    pub(super) fn new(call: &Invocation, authority: Authority, assets: Option<Arc<Path>>, started: Instant) -> Self {
        let ledger = Ledger::new(&call.limits);
        let whole = Duration::from_millis(call.limits.deadline_ms);
        let (clock, time_left) = if is_pure(&call.work) {
            (CallClock::Frozen(call.now), TimeLeft::Whole(whole))
        } else {
            (CallClock::Running { start: call.now, since: started }, TimeLeft::Until { since: started, whole })
        };
        // Deliveries and polls only bring events in, so their requests are held to what a read may do.
        let read_only = match call.work {
            Work::Invoke { read_only, .. } => read_only,
            Work::Receive { .. } | Work::Fetch { .. } | Work::Poll { .. } => true,
            Work::Transform { .. } | Work::Rule { .. } | Work::Score { .. } => false,
        };
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_LIMIT);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HEADERS_BYTES_LIMIT);
        Self {
            table,
            wasi: None,
            http,
            outgoing: Outgoing::new(authority.egress, read_only, call.limits.http_requests, ledger.clone()),
            assets,
            asset_view: AssetView::default(),
            clock,
            random: SeededRandom::new(call.seed),
            memory: MemoryBudget::new(call.limits.memory_bytes),
            ledger,
            time_left,
            state: authority.state,
            secrets: authority.secrets,
        }
    }
}

/// Whether a call is one of those that have no effects and see no moving clock.
pub(super) fn is_pure(work: &Work) -> bool {
    matches!(work, Work::Transform { .. } | Work::Rule { .. } | Work::Score { .. })
}

/// Builds what a guest sees of WASI: no environment, no arguments, no input, no network, its own assets to read.
fn wasi_context(ledger: &Ledger, clock: CallClock, assets: Option<&Path>) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    builder
        .stdout(Printed { ledger: ledger.clone(), stream: Stream::Out })
        .stderr(Printed { ledger: ledger.clone(), stream: Stream::Error })
        .wall_clock(clock)
        .monotonic_clock(clock)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    if let Some(assets) = assets
        && let Err(error) = builder.preopened_dir(assets, ASSETS_PATH, FsPerms::ReadOnly)
    {
        // The guest finds no `/assets`, and says so in its own way; its author finds the reason here.
        ledger.write_hub(format!("the assets of this plugin cannot be opened: {error:#}"));
    }
    builder.build()
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Self { wasi, table, ledger, clock, assets, .. } = self;
        let ctx = wasi.get_or_insert_with(|| Box::new(wasi_context(ledger, *clock, assets.as_deref())));
        WasiCtxView { ctx, table }
    }
}

impl WasiHttpView for CallState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outgoing, table: &mut self.table, ctx: &mut self.http }
    }
}

impl environment::Host for CallState {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

/// Links everything that a guest may import. What a kind of plugin may not use is linked all the same, to a refusal:
/// JavaScript and Python components import every interface of their world whether they use it or not.
///
/// # Errors
/// If two definitions clash, which no input can cause.
pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    type This = HasSelf<CallState>;
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;

    // INVARIANT: clocks, randomness, environment and what is told about files are ours, not WASI's: a guest is
    // deterministic by this.
    linker.allow_shadowing(true);
    clocks::wall_clock::add_to_linker::<_, This>(linker, |state| state)?;
    clocks::monotonic_clock::add_to_linker::<_, This>(linker, |state| state)?;
    random::random::add_to_linker::<_, This>(linker, |state| state)?;
    random::insecure::add_to_linker::<_, This>(linker, |state| state)?;
    random::insecure_seed::add_to_linker::<_, This>(linker, |state| state)?;
    environment::add_to_linker::<_, This>(linker, |state| state)?;
    assets::link(linker)?;
    linker.allow_shadowing(false);

    bindings::envelope::add_to_linker::<_, This>(linker, |state| state)?;
    bindings::log::add_to_linker::<_, This>(linker, |state| state)?;
    bindings::context::add_to_linker::<_, This>(linker, |state| state)?;
    bindings::state::add_to_linker::<_, This>(linker, |state| state)?;
    bindings::secrets::add_to_linker::<_, This>(linker, |state| state)
}

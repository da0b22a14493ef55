//! What the parts of a run cost bare: the calls of its plugins, the appends to its journal, its HTTP exchanges. No hub.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture, stream, stream::StreamExt as _};
use serde_json::Value;

use super::{
    cpu_time,
    scenario::{Scenario, Step, order},
    target::{self, Target},
};
use crate::{
    app::{clock::SystemClock, package::Package},
    cli::Failed,
    model::{
        id::{AppendId, RunId},
        json::Json,
        limits::Limits,
        timestamp::Timestamp,
    },
    net::client::Client,
    ports::{
        clock::Clock,
        egress::{Egress, EgressError},
        invoker::{Authority, Component, Invocation, Invoker as _, StepContext, Work},
        journal::{Append, Journal, StreamId, Version},
    },
    store::disk::Store,
    wasm::Sandbox,
};

/// Calls of each plugin.
const CALLS: u32 = 2_000;
/// Lone appends, and lone exchanges.
const LONE: u32 = 200;
/// Appends, and exchanges, of which several are under way at the same time.
const TOGETHER: u32 = 4_000;
/// Longest measurement of one part, so that an unoptimised build does not take minutes; then fewer are counted.
const PART_LIMIT: Duration = Duration::from_secs(1);
/// A request for the server that answers at once.
const PATH: &str = "/";

/// The floor of one run.
pub(super) struct Floor {
    /// All plugins of a run, each instantiated and called once.
    pub(super) instantiate_and_call: Duration,
    /// One lone append of the payload, durable. The median.
    pub(super) append_and_flush: Duration,
    /// One lone exchange over loopback. The median.
    pub(super) http_round_trip: Duration,
    /// Processor time of a run's parts.
    pub(super) cpu: Cpu,
}

/// Processor time of a run's parts.
pub(super) struct Cpu {
    /// All calls of plugins.
    pub(super) calls: Duration,
    /// All appends, in groups as large as the load makes them.
    pub(super) appends: Duration,
    /// The hub's half of all exchanges.
    pub(super) exchanges: Duration,
}

impl Floor {
    /// The sum over the parts.
    pub(super) fn cpu_per_run(&self) -> Duration {
        self.cpu.calls + self.cpu.appends + self.cpu.exchanges
    }
}

/// Wall time and processor time of one of many.
#[derive(Clone, Copy, Default)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

/// Measures the floor of a scenario's run. `packages` are those of the pure step and of the write.
pub(super) async fn measure(
    scenario: Scenario,
    packages: &[PathBuf],
    data: &Path,
    payload_bytes: u32,
    in_flight: u16,
) -> Result<Floor, Failed> {
    let payload = order(0, usize::try_from(payload_bytes)?);
    let (pure, writes) = (scenario.count(Step::Pure), scenario.count(Step::Write));

    let sandbox = Arc::new(Sandbox::new(&data.join("cache"))?);
    let mut calls = Cost::default();
    for (folder, step, times) in packages.iter().zip([Step::Pure, Step::Write]).zip([pure, writes]).map(flat) {
        let call = call(&sandbox, folder, step, &payload).await?;
        // On a worker, as in a hub: a thread of its own would have to wake one for each request that a guest makes.
        let sandbox = Arc::clone(&sandbox);
        let one = tokio::spawn(async move { call_bare(&sandbox, call).await }).await??;
        calls.wall += one.wall * times;
        calls.cpu += one.cpu * times;
    }
    let folder = tempfile::tempdir_in(data)?;
    let appends = appends(folder.path(), &payload, in_flight).await?;
    let exchanges = exchanges(&payload, in_flight).await?;
    Ok(Floor {
        instantiate_and_call: calls.wall,
        append_and_flush: appends.wall,
        http_round_trip: exchanges.wall,
        cpu: Cpu { calls: calls.cpu, appends: appends.cpu * (writes + 2), exchanges: exchanges.cpu * (writes + 1) / 2 },
    })
}

fn flat<A, B, C>(((a, b), c): ((A, B), C)) -> (A, B, C) {
    (a, b, c)
}

/// Loads a plugin, and makes up a call of it.
async fn call(sandbox: &Sandbox, folder: &Path, step: Step, payload: &str) -> Result<Invocation, Failed> {
    let package = Package::read(folder)?;
    sandbox.load(Component { digest: package.digest, wasm: package.wasm.clone(), assets: None }).await?;
    let input = Json::from(serde_json::from_str::<Value>(payload)?);
    let context = StepContext {
        run: "run_00000000000000000000000000000000".to_owned(),
        pipeline: "bench/floor".to_owned(),
        pipeline_version: "1.0.0".to_owned(),
        name: "step".to_owned(),
        config: Json::from(serde_json::json!({ "base_url": "http://target.invalid" })),
        attributes: Vec::new(),
    };
    let work = match step {
        Step::Pure => Work::Transform { input, step: context },
        Step::Write => Work::Invoke {
            operation: "put".to_owned(),
            input,
            idempotency_key: "0".repeat(32),
            attempt: 1,
            read_only: false,
            step: context,
        },
    };
    Ok(Invocation {
        component: package.digest,
        work,
        limits: package.manifest.limits.capped(&Limits::CEILING),
        now: Timestamp::from_millis(0),
        seed: [0; 32],
        authority: Authority { egress: Some(Arc::new(AtOnce)), ..Authority::default() },
    })
}

/// A way out that leads nowhere: what the target would answer, without a network.
struct AtOnce;

impl Egress for AtOnce {
    fn send(
        &self,
        _request: http::Request<Bytes>,
        _read_only: bool,
    ) -> BoxFuture<'_, Result<http::Response<Bytes>, EgressError>> {
        let mut response = http::Response::new(Bytes::from_static(target::ANSWER.as_bytes()));
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        futures::future::ready(Ok(response)).boxed()
    }
}

async fn call_bare(sandbox: &Sandbox, call: Invocation) -> Result<Cost, Failed> {
    let bare = sandbox.bare(call).ok_or("the plugin is not loaded")?;
    let one = || async { bare.call().await.map_err(|error| Failed::from(format!("a plugin fails bare: {error:?}"))) };
    lone(CALLS / 10, one).await?;
    lone(CALLS, one).await
}

/// Appends of the payload to a fresh store.
async fn appends(folder: &Path, payload: &str, in_flight: u16) -> Result<Cost, Failed> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let store = Store::open(folder, clock)?;
    let journal = store.journal();
    let payload = Bytes::from(payload.to_owned());
    let mut number = 0_u32;
    let mut next = || {
        number += 1;
        append(Arc::clone(&journal), number, payload.clone())
    };
    let Cost { wall, .. } = lone(LONE, &mut next).await?;
    let cpu = together(TOGETHER, in_flight, &mut next).await?;
    store.close().await?;
    Ok(Cost { wall, cpu })
}

async fn append(journal: Arc<dyn Journal>, number: u32, payload: Bytes) -> Result<(), Failed> {
    let id = [number.to_le_bytes(); 4].concat().try_into().unwrap_or([0; 16]);
    let append = Append {
        stream: StreamId::Run(RunId::from_bytes(id)),
        expected: Version::default(),
        id: AppendId::from_bytes(id),
        entries: vec![payload],
    };
    journal.append(append).await?;
    Ok(())
}

/// Exchanges with a server in this process: both halves.
async fn exchanges(payload: &str, in_flight: u16) -> Result<Cost, Failed> {
    let target = Target::start().await?;
    let client = Client::new(&target.url())?;
    let body = Bytes::from(payload.to_owned());
    let next = || {
        let (client, body) = (client.clone(), body.clone());
        async move {
            client.post::<Value>(PATH, "application/json", body).await?;
            Ok(())
        }
    };
    together(TOGETHER / 4, in_flight, next).await?;
    let Cost { wall, .. } = lone(LONE, next).await?;
    let cpu = together(TOGETHER, in_flight, next).await?;
    target.stop().await;
    Ok(Cost { wall, cpu })
}

/// One after another; the median time of one, and the mean of its processor time.
async fn lone<F: Future<Output = Result<(), Failed>>>(times: u32, mut next: impl FnMut() -> F) -> Result<Cost, Failed> {
    let (start, cpu) = (Instant::now(), cpu_time());
    let mut taken = Vec::new();
    for _ in 0..times {
        let begun = Instant::now();
        next().await?;
        taken.push(begun.elapsed());
        if start.elapsed() > PART_LIMIT {
            break;
        }
    }
    let cpu = cpu_time().saturating_sub(cpu) / u32::try_from(taken.len()).unwrap_or(u32::MAX).max(1);
    taken.sort_unstable();
    Ok(Cost { wall: taken.get(taken.len() / 2).copied().unwrap_or_default(), cpu })
}

/// So many at the same time; the processor time of one.
async fn together<F: Future<Output = Result<(), Failed>> + Send + 'static>(
    times: u32,
    in_flight: u16,
    mut next: impl FnMut() -> F,
) -> Result<Duration, Failed> {
    let (start, cpu) = (Instant::now(), cpu_time());
    let begin = (0..times).take_while(|_| start.elapsed() < PART_LIMIT).map(|_| tokio::spawn(next()));
    let mut done = stream::iter(begin).buffer_unordered(usize::from(in_flight));
    let mut count = 0;
    while let Some(one) = done.next().await {
        one??;
        count += 1;
    }
    Ok(cpu_time().saturating_sub(cpu) / count.max(1))
}

//! What the hub adds to a pure step, beside the floor: instantiate-and-call of the same component with the same input,
//! in the same run. And loading a component from the compiled cache beside compiling it.
//!
//! The step goes the whole way of the runner (decide, render, record, invoke, record) over the in-memory journal, so
//! that what is compared is the hub and not the disk: a pure step waits for no flush.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::format_push_string,
    missing_docs,
    reason = "a benchmark that cannot run says why by panicking"
)]

use std::{
    collections::BTreeMap,
    hint::black_box,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use criterion::{Criterion, criterion_group, criterion_main};
use crossdock::{
    app::{
        accept,
        actors::{Actors, Timers},
        audit::Audit,
        build,
        clock::SystemClock,
        contracts::Library,
        effects::Effects,
        exceptions::Exceptions,
        facts::Facts,
        inbox::Inbox,
        index::Index,
        install::Installer,
        installation::Installation,
        intake::Intake,
        mailbox::Mailbox,
        package::Package,
        permits::Permits,
        queues::Queues,
        runner::Shared,
        secrets::LocalSecrets,
        trial::Trials,
        turns::Turns,
    },
    model::{audit::Cause, event::Event, json::Json, limits::Limits, timestamp::Timestamp},
    net::egress::Gateway,
    ports::{
        clock::Clock,
        invoker::{Authority, Invocation, Invoker as _, StepContext, Work},
    },
    store::memory::Store,
    wasm::Sandbox,
};
use tokio::runtime::Runtime;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Steps of one run, so that its beginning and end weigh nothing.
const STEPS: usize = 200;

struct Bench {
    runtime: Runtime,
    shared: Arc<Shared>,
    sandbox: Arc<Sandbox>,
    package: Package,
    input: Json,
}

fn pipeline(steps: usize) -> String {
    let mut text = "pipeline: bench/pure\nversion: 1.0.0\nowner: bench\nsummary: Pure steps.\nuses: {}\n\
                    trigger: [{ event: bench.tick.v1 }]\nkey: event.id\nsteps:\n"
        .to_owned();
    for step in 0..steps {
        text.push_str(&format!(
            "  - {{ id: s{step}, rule: crossdock/fulfilment-policy@^1, with: \"${{ event.data }}\", outcomes: {{ hold: dead_letter }} }}\n"
        ));
    }
    text
}

/// A hub with the plugin, whose input is held against its schema or (without one) is not.
fn prepare(schema: bool) -> Bench {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace").to_owned();
    let folder = build::build(&root.join("plugins/fulfilment-policy"), &root.join("target/plugins"), &mut |_| ())
        .expect("the plugin builds");
    let mut package = Package::read(&folder).expect("a package");
    if !schema {
        package.schemas.input = None;
    }
    let golden = std::fs::read(folder.join("golden/proceeds.json")).expect("golden test `proceeds`");
    let golden: serde_json::Value = serde_json::from_slice(&golden).expect("JSON");
    let input = Json::from(golden.get("input").cloned().expect("an input"));

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let store = Store::new(Arc::clone(&clock));
    let sandbox = Arc::new(Sandbox::new(&root.join("target/bench-cache")).expect("a sandbox"));
    let audit =
        runtime.block_on(Audit::open(store.journal(), store.blobs(), Arc::clone(&clock))).expect("an audit log");
    let audit = Arc::new(audit);
    let installer = Installer {
        audit: Arc::clone(&audit),
        records: store.records(),
        blobs: store.blobs(),
        invoker: Arc::clone(&sandbox) as _,
        gateway: Arc::new(Gateway::new().expect("a gateway")),
        secrets: Arc::new(LocalSecrets),
        clock: Arc::clone(&clock),
        library: Arc::new(Library::built_in().expect("contracts")),
        assets: root.join("target/bench-assets"),
    };
    let installation = runtime.block_on(async {
        let now = Installation::default();
        let cause = Cause::hub("a benchmark");
        let now = installer.plugin(&now, &cause, package.clone()).await.expect("installs").expect("is new");
        installer.pipeline(&now, &cause, "bench", &pipeline(STEPS)).await.expect("installs").expect("is new")
    });
    let shared = Arc::new(Shared {
        hub: "bench".into(),
        facts: Facts::new(store.journal(), store.blobs()),
        invoker: Arc::clone(&sandbox) as _,
        clock,
        records: store.records(),
        secrets: Arc::new(LocalSecrets),
        installation: ArcSwap::from_pointee(installation),
        index: Index::default(),
        actors: Actors::default(),
        timers: Timers::default(),
        mailbox: Mailbox::default(),
        queues: Queues::default(),
        inbox: Inbox::default(),
        audit,
        exceptions: Exceptions::default(),
        effects: Effects::default(),
        grace: Timestamp::default(),
        trials: Trials::default(),
        turns: Turns::default(),
        permits: Permits::default(),
        intake: Intake::default(),
        stopping: tokio_util::sync::CancellationToken::new(),
        tasks: tokio_util::task::TaskTracker::new(),
    });
    Bench { runtime, shared, sandbox, package, input }
}

/// One run of [`STEPS`] steps; how long it took.
async fn run(bench: &Bench, number: u64) -> Duration {
    let event = Event {
        id: number.to_string(),
        source: "/bench".into(),
        event_type: "bench.tick.v1".into(),
        subject: None,
        time: None,
        data_schema: None,
        data: bench.input.clone(),
        extensions: BTreeMap::new(),
    };
    let begun = Instant::now();
    let accepted = accept::external(&bench.shared, vec![event]).await.expect("accepted");
    let run = *accepted.first().and_then(|acceptance| acceptance.runs.first()).expect("a run");
    loop {
        let watcher = bench.shared.index.watcher(run);
        let changed = watcher.notified();
        if bench.shared.index.get(run).is_some_and(|summary| summary.state.is_settled()) {
            return begun.elapsed();
        }
        changed.await;
    }
}

fn steps(criterion: &mut Criterion) {
    let bench = prepare(true);
    let without = prepare(false);
    let call = Invocation {
        component: bench.package.digest,
        work: Work::Rule {
            input: bench.input.clone(),
            step: StepContext {
                run: "run_bench".into(),
                pipeline: "bench/pure".into(),
                pipeline_version: "1.0.0".into(),
                name: "s0".into(),
                config: Json::empty_object(),
                attributes: Vec::new(),
            },
        },
        limits: bench.package.manifest.limits.capped(&Limits::CEILING),
        now: Timestamp::from_millis(0),
        seed: [0; 32],
        authority: Authority::default(),
    };
    let mut group = criterion.benchmark_group("pure step");
    group.bench_function("bare instantiate and call", |bencher| {
        let bare = bench.sandbox.bare(call.clone()).expect("loaded");
        bencher.to_async(&bench.runtime).iter(|| async { black_box(bare.call().await).expect("answers") });
    });
    group.bench_function("in the sandbox, with its limits and checks", |bencher| {
        bencher.to_async(&bench.runtime).iter(|| async {
            let completed = bench.sandbox.invoke(call.clone()).await;
            assert!(black_box(completed).result.is_ok());
        });
    });
    let mut number = 0_u64;
    for (name, bench) in [
        ("through the hub, without a schema of its input", &without),
        ("through the hub, its input held against its schema", &bench),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let runs = iterations.div_ceil(STEPS as u64);
                let mut total = Duration::ZERO;
                for _ in 0..runs {
                    number += 1;
                    total += bench.runtime.block_on(run(bench, number));
                }
                // Per step, times the steps that were asked for.
                total.mul_f64(iterations as f64 / (runs * STEPS as u64) as f64)
            });
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("component");
    group.sample_size(10);
    group.bench_function("compile", |bencher| {
        bencher.iter(|| black_box(bench.sandbox.compile(&bench.package.wasm)).expect("compiles"));
    });
    group.bench_function("load from the compiled cache", |bencher| {
        bencher.iter(|| assert!(black_box(bench.sandbox.load_from_cache(bench.package.digest))));
    });
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);

//! `crossdock plugin bench`: what calls of a plugin cost, on its golden inputs, beside the bare instantiate-and-call of its
//! component in the same run. On one core, one call after the other.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;

use super::local::Local;
use crate::{
    app::golden,
    cli::{Failed, out::Out, story::grouped},
    model::{replay::Spread, timestamp::Timestamp},
    ports::invoker::{CallError, Invocation, Invoker as _},
};

/// When calls take place, as their clocks show it.
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// What to measure.
#[derive(Args, Debug)]
pub(in crate::cli) struct Bench {
    /// The package: a folder with a `plugin.toml` and a `component.wasm`, or a file made by `plugin pack`.
    package: PathBuf,
    /// How many calls of each golden input at most.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls: u32,
    /// How long each golden input is measured at most, milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    time_ms: u64,
}

/// What calls with one input cost.
#[derive(Serialize)]
struct Measured {
    /// The golden test's name.
    input: String,
    calls: usize,
    per_second: u64,
    elapsed_us: Spread,
    fuel: u64,
    memory_bytes: u64,
    bare_us: Spread,
    /// The median over the bare median.
    ratio: f64,
}

impl Bench {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let local = Local::load(&self.package).await?;
        let inputs = golden::inputs(&local.package.folder);
        if inputs.is_empty() {
            return Err("it has no golden test: add `golden/NAME.json` with `input` and `expected`".into());
        }
        let mut all = Vec::with_capacity(inputs.len());
        for (name, input) in inputs {
            let call = local.call(input, NOW)?;
            let bar = super::spinner(out, &name);
            let measured = self.measure(&local, name, &call).await;
            bar.finish_and_clear();
            all.push(measured?);
        }
        if out.is_json() {
            out.value(&all);
            return Ok(ExitCode::SUCCESS);
        }
        if cfg!(debug_assertions) {
            out.say(out.yellow("this is an unoptimised build of crossdock: the times are not those of a hub"));
        }
        let rows = all.iter().map(|one| {
            vec![
                one.input.clone(),
                grouped(one.calls as u64),
                grouped(one.per_second),
                grouped(one.elapsed_us.median),
                grouped(one.elapsed_us.p99),
                grouped(one.bare_us.median),
                grouped(one.bare_us.p99),
                format!("{:.2}", one.ratio),
                grouped(one.fuel),
                grouped(one.memory_bytes >> 10),
            ]
        });
        let head = ["input", "calls", "calls/s", "µs p50", "p99", "bare µs p50", "p99", "ratio", "fuel", "KiB"];
        out.table(&head, rows.collect(), "");
        Ok(ExitCode::SUCCESS)
    }

    /// In turns with bare calls, so that whatever else the machine does falls on both.
    async fn measure(&self, local: &Local, name: String, call: &Invocation) -> Result<Measured, Failed> {
        let bare = local.sandbox.bare(call.clone()).ok_or("it cannot be called bare")?;
        let (mut whole_ns, mut bare_ns, mut usage) = (Vec::new(), Vec::new(), None);
        let limit = Duration::from_millis(self.time_ms);
        let started = Instant::now();
        while whole_ns.len() < self.calls as usize && (started.elapsed() < limit || whole_ns.is_empty()) {
            let begun = Instant::now();
            let completed = local.sandbox.invoke(call.clone()).await;
            whole_ns.push(nanos(begun.elapsed()));
            // That the plugin answers with a failure is an answer too; a defect is none.
            if let Err(error) = &completed.result
                && !matches!(error, CallError::Failure(_))
            {
                return Err(format!("`{name}` gives no answer: {error:?}").into());
            }
            usage = Some(completed.usage);
            let begun = Instant::now();
            let answered = bare.call().await;
            bare_ns.push(nanos(begun.elapsed()));
            if let Err(error) = answered
                && !matches!(error, CallError::Failure(_))
            {
                return Err(format!("`{name}` gives no answer when it is called bare: {error:?}").into());
            }
        }
        let usage = usage.unwrap_or_default();
        let (calls, total_ns) = (whole_ns.len(), whole_ns.iter().sum::<u64>().max(1));
        let per_second = (calls as u64).saturating_mul(1_000_000_000) / total_ns;
        let (whole, bare) = (Spread::of(whole_ns), Spread::of(bare_ns));
        Ok(Measured {
            input: name,
            calls,
            per_second,
            ratio: Duration::from_nanos(whole.median).as_secs_f64()
                / Duration::from_nanos(bare.median.max(1)).as_secs_f64(),
            elapsed_us: micros(whole),
            fuel: usage.fuel,
            memory_bytes: usage.memory_bytes,
            bare_us: micros(bare),
        })
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn micros(nanos: Spread) -> Spread {
    let Spread { median, p99, max } = nanos;
    Spread { median: median / 1_000, p99: p99 / 1_000, max: max / 1_000 }
}

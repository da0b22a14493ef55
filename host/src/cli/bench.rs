//! `crossdock bench`: drives a real hub over HTTP, and holds what a run costs against the floor of its parts.
//!
//! The hub is this binary again, as `serve` in a process of its own, so that its processor time is not mixed with that
//! of the load. Events go in by `POST /v1/events?wait=`, each with an id and a key of its own; the journal is durable,
//! plugins run in the sandbox, and writes leave through the egress to a server on loopback that answers at once.
//!
//! | module | does |
//! | --- | --- |
//! | `scenario` | what is run: pipelines, packages, `hub.toml`, events |
//! | `target` | the server that writes go to |
//! | `served` | the hub's process: starts it, reads its counters, ends it |
//! | `load` | sends events and times them until their runs are settled |
//! | `floor` | the parts of a run, bare |
//! | `report` | what is printed |
//! | `parked` | very many runs that only wait |

mod floor;
mod load;
mod parked;
mod report;
mod scenario;
mod served;
mod target;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use self::{
    load::{Load, Pace},
    report::Report,
    scenario::{Events, Scenario},
    served::{End, Served},
    target::Target,
};
use super::{Failed, out::Out};

/// The longest warm-up before anything is counted.
const WARM_UP_MAX: Duration = Duration::from_secs(3);

/// Measures a hub under load, and what its parts cost bare.
#[derive(Args, Debug)]
#[command(after_long_help = FIGURES)]
pub(super) struct Bench {
    /// What to run.
    #[arg(value_enum)]
    scenario: Scenario,
    /// Runs under way at the same time.
    #[arg(long, visible_alias = "concurrency", default_value_t = 128, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=500))]
    in_flight: u16,
    /// How long to send events, after a warm-up of a fifth of it, at most 3 s.
    #[arg(long, default_value = "20s", value_name = "TIME", value_parser = duration)]
    duration: Duration,
    /// Events a second, whatever the hub does (open loop): a run's latency counts from when its event was due, so that
    /// a hub that stalls cannot hide it. Absent: the next event is sent when a run is settled (closed loop).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// Size of an event's data.
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=500_000))]
    payload_bytes: u32,
    /// Runs that `parked` parks.
    #[arg(long, default_value_t = 1_000_000, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    runs: u64,
    /// Runs of `parked` that are signalled, at random.
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    signals: u64,
    /// How long the timers of `parked` are; they are to be due after the hub has started again.
    #[arg(long, default_value = "90s", value_name = "TIME", value_parser = duration)]
    timers_after: Duration,
    /// Keep the hub's data here; absent: it is thrown away.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the plugins' sources are; absent: in the workspace that this binary was built from.
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
}

/// What the figures mean, for `--help`.
const FIGURES: &str = "\
Figures (JSON):
  runs_per_second   finished runs, over the time until the last one was settled
  finished, failed  runs that completed, and those that did anything else, or whose event was refused
  latency_ms        from sending the event (with --rate: from when it was due) to the answer that its run is settled
  flushes_per_run   flushes of the journal to disk; a lone run (--in-flight 1) needs its writes + 2
  bytes_per_run     what the data folder grew by
  cpu_us_per_run    processor time of the hub's process alone, user and system
  generator_cpu_us_per_run
                    the same of this process: it sends the events and answers the writes
  cpu_of_floor      cpu_us_per_run over floor.cpu_us_per_run
  floor             what the parts of one run cost bare, in this process, without a hub:
    instantiate_and_call_us   all plugins of a run, each instantiated and called once (writes answered in memory)
    append_and_flush_us       one lone append of the payload to a fresh store, durable
    http_round_trip_us        one lone exchange over loopback
    cpu_us_per_run            processor time: the calls; writes + 2 appends and 1 + writes exchanges, both among as
                              many at the same time as runs are in flight; of an exchange half, since the other
                              half is the peer's

Figures of `parked`, which parks --runs runs in a wait, then 1,000 in a wait of --timers-after, starts the hub again and signals:
  parked_per_second     events taken in, each of which starts a run that waits
  resident_mib          memory of the hub's process: with all parked, the most until then, after the starts, at the end
  ready_s               from starting the process to readiness, after an orderly stop and after a kill
  signalled_per_second  signals, until each run that was signalled is completed
  timers_late_ms        how late the runs ended that waited for a time; what was due within 2 s of a start is put off to it
  data_mib              the data folder at the end

Everything shares one machine: compare figures of the same run, or medians of several.";

impl Bench {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let thrown_away = tempfile::tempdir()?;
        let data = self.data.clone().unwrap_or_else(|| thrown_away.path().to_owned());
        if self.scenario == Scenario::Parked {
            let signals = self.signals.min(self.runs);
            let size = parked::Size {
                runs: self.runs,
                signals,
                payload_bytes: self.payload_bytes,
                timers_after: self.timers_after,
            };
            let figures = parked::measure(out, &data, size).await?;
            report::print(out, &figures);
            return Ok(ExitCode::SUCCESS);
        }
        let sources =
            self.plugins.clone().or_else(|| super::workspace().map(|root| root.join("plugins"))).ok_or(
                "the plugins' sources are not where this binary was built: name their folder with `--plugins`",
            )?;
        let packages = self.scenario.build(out, &sources)?;
        let report = self.measure(out, &data, &packages).await?;
        report.print(out);
        Ok(if report.load.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn measure(&self, out: &Out, data: &Path, packages: &[PathBuf]) -> Result<Report, Failed> {
        let target = Target::start().await?;
        let config = self.scenario.prepare(data, &target.url(), packages)?;
        let hub = Served::start(data, &config).await?;
        let pace = match self.rate {
            Some(rate) => Pace::Rate(rate),
            None => Pace::AsSettled,
        };
        let events = Events::new(self.payload_bytes)?;
        let load = Load::new(hub.client(), events, self.in_flight, pace);

        out.say(format!("{}: {} in flight for {:?}", self.scenario, self.in_flight, self.duration));
        load.send(WARM_UP_MAX.min(self.duration / 5)).await;
        let before = hub.counters().await?;
        let loaded = load.send(self.duration).await;
        let used = hub.counters().await?.since(&before);
        hub.end(End::Stop).await?;

        out.say("the parts of a run, bare");
        let floor = floor::measure(self.scenario, packages, data, self.payload_bytes, self.in_flight).await?;
        target.stop().await;
        Ok(Report {
            scenario: self.scenario,
            in_flight: self.in_flight,
            rate: self.rate,
            payload_bytes: self.payload_bytes,
            load: loaded,
            hub: used,
            floor,
        })
    }
}

/// Reads `20s`, `500ms` or `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().map_err(|_| "a whole number with a unit is needed, such as `20s`".to_owned())?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        _ => return Err("the unit is `ms`, `s` or `m`, as in `20s`".to_owned()),
    };
    let millis = millis.filter(|millis| (100..=86_400_000).contains(millis));
    millis.map(Duration::from_millis).ok_or_else(|| "from 100 ms to a day".to_owned())
}

/// The processor time that this process has used.
fn cpu_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::duration;

    #[test]
    fn a_time_has_a_unit_and_bounds() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["20", "s", "1h", "-1s", "1ms", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}

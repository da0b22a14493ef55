//! L3: what the hub tells operators about itself: log lines on standard error, and metrics.
//!
//! Sets up the process-wide receivers of `tracing` and `metrics`; whoever has something to say uses those crates, and
//! never this module.

use std::{sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt};

/// The crate that a bare level such as `info` is about; dependencies keep to warnings.
const OURS: &str = "crossdock";

/// Bounds of the buckets of a step's time, seconds: from a bare instantiation to a slow remote.
const SECONDS_BUCKETS: [f64; 14] =
    [0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];

/// Bounds of the buckets of a step's fuel.
const FUEL_BUCKETS: [f64; 8] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

/// Starts logging to standard error, as text for people or as JSON lines. `filter` is a level, or directives such as
/// `crossdock=debug,hyper=info`; whatever it does not name is logged from warnings on. A second start changes nothing.
pub fn start(filter: &str, json: bool) {
    let (parsed, problem) = match env_filter(filter) {
        Ok(parsed) => (parsed, None),
        Err(problem) => (EnvFilter::default().add_directive(LevelFilter::WARN.into()), Some(problem)),
    };
    let builder = fmt().with_env_filter(parsed).with_writer(std::io::stderr).with_target(true);
    let started = if json { builder.json().flatten_event(true).try_init() } else { builder.compact().try_init() };
    if let (Ok(()), Some(problem)) = (started, problem) {
        tracing::warn!(filter, %problem, "the log filter cannot be read and is not used; try `info` or `crossdock=debug`");
    }
}

fn env_filter(text: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::try_new(directives(text))
}

fn directives(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return "warn".to_owned();
    }
    match text.parse::<LevelFilter>() {
        // A bare level above warnings is about us only.
        Ok(level) if level > LevelFilter::WARN => format!("warn,{OURS}={text}"),
        Ok(_) => text.to_owned(),
        Err(_) => format!("warn,{text}"),
    }
}

/// How long samples are kept one by one.
const TIDY: Duration = Duration::from_secs(5);

/// The process's metrics in Prometheus' text form. The first call begins to collect; what was counted before is lost.
pub fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let recorder = recorder();
            let handle = recorder.handle();
            if ::metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("somebody else collects this process's metrics; `/metrics` stays empty");
            }
            describe();
            tidy(&handle);
            handle
        })
        .clone()
}

/// Adds up what histograms collect, time and again: until then each sample is kept, and perhaps nobody looks. Whoever builds
/// a recorder without the exporter's own server has to see to it; a thread does, since there is no runtime yet.
fn tidy(handle: &PrometheusHandle) {
    let handle = handle.clone();
    let tidying = move || loop {
        std::thread::sleep(TIDY);
        handle.run_upkeep();
    };
    if let Err(error) = std::thread::Builder::new().name("metrics".to_owned()).spawn(tidying) {
        tracing::warn!(%error, "memory grows with each sample until somebody reads `/metrics`");
    }
}

fn recorder() -> metrics_exporter_prometheus::PrometheusRecorder {
    let buckets = [("_seconds", &SECONDS_BUCKETS[..]), ("_fuel", &FUEL_BUCKETS[..])];
    buckets
        .into_iter()
        .try_fold(PrometheusBuilder::new(), |builder, (suffix, bounds)| {
            builder.set_buckets_for_metric(Matcher::Suffix(suffix.to_owned()), bounds)
        })
        // INVARIANT: bounds are refused only where there are none.
        .unwrap_or_default()
        .build_recorder()
}

/// One metric and what it means.
struct Description(&'static str, Kind, ::metrics::Unit, &'static str);

enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Every metric of the hub. The names are part of what operators build on: they are not changed.
const DESCRIPTIONS: [Description; 21] = {
    use ::metrics::Unit::{Count, Seconds};
    use Kind::{Counter, Gauge, Histogram};
    [
        Description("crossdock_events_accepted_total", Counter, Count, "Events accepted, durable when counted"),
        Description("crossdock_events_duplicate_total", Counter, Count, "Events that had been accepted before"),
        Description("crossdock_runs_total", Counter, Count, "Runs that were settled, by pipeline and state"),
        Description("crossdock_runs_active", Gauge, Count, "Runs that are neither settled nor waiting"),
        Description("crossdock_step_seconds", Histogram, Seconds, "Time of one call of a plugin"),
        Description("crossdock_step_fuel", Histogram, Count, "Fuel burnt by one call of a plugin"),
        Description("crossdock_step_failures_total", Counter, Count, "Attempts that failed, by kind of failure"),
        Description("crossdock_journal_flushes_total", Counter, Count, "Flushes of the journal to disk"),
        Description("crossdock_journal_flush_seconds", Histogram, Seconds, "Time of one flush of the journal"),
        Description(
            "crossdock_journal_settle_seconds",
            Histogram,
            Seconds,
            "Time in which the database was made durable behind the journal's log",
        ),
        Description(
            "crossdock_egress_requests_total",
            Counter,
            Count,
            "Requests to remotes, by connection and outcome",
        ),
        Description("crossdock_egress_seconds", Histogram, Seconds, "Time of one exchange with a remote"),
        Description(
            "crossdock_http_requests_total",
            Counter,
            Count,
            "Requests to the hub's own API, by route and status",
        ),
        Description("crossdock_connection_in_flight", Gauge, Count, "Calls under way, by connection"),
        Description("crossdock_connection_waiting", Gauge, Count, "Calls that wait to leave, by connection"),
        Description(
            "crossdock_connection_breaker",
            Gauge,
            Count,
            "Whether a remote is left alone, by connection: 0 closed, 1 half open, 2 open",
        ),
        Description("crossdock_lane_waiting", Gauge, Count, "Calls that wait, by lane and for what"),
        Description("crossdock_runs_under_way", Gauge, Count, "Runs that are being worked on"),
        Description("crossdock_events_refused_total", Counter, Count, "Events refused at peak, by lane"),
        Description("crossdock_lane_unknown_total", Counter, Count, "Runs whose lane could not be told, by pipeline"),
        Description("process_cpu_seconds_total", Gauge, Seconds, "Processor time of the hub's process"),
    ]
};

fn describe() {
    for Description(name, kind, unit, text) in DESCRIPTIONS {
        match kind {
            Kind::Counter => ::metrics::describe_counter!(name, unit, text),
            Kind::Gauge => ::metrics::describe_gauge!(name, unit, text),
            Kind::Histogram => ::metrics::describe_histogram!(name, unit, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{directives, env_filter, recorder};

    #[track_caller]
    fn check(filter: &str, expected: &str) {
        assert_eq!(directives(filter), expected);
        assert!(env_filter(filter).is_ok(), "{filter}");
    }

    #[test]
    fn a_bare_level_is_about_us_and_dependencies_keep_to_warnings() {
        check("", "warn");
        check("warn", "warn");
        check("error", "error");
        check("off", "off");
        check("info", "warn,crossdock=info");
        check("hyper=debug", "warn,hyper=debug");
        assert!(env_filter("crossdock=loud").is_err());
    }

    #[test]
    fn steps_are_counted_in_buckets_of_their_unit() {
        let recorder = recorder();
        metrics::with_local_recorder(&recorder, || {
            super::describe();
            metrics::histogram!("crossdock_step_seconds").record(0.000_02);
            metrics::histogram!("crossdock_step_fuel").record(5e6);
            metrics::counter!("crossdock_events_accepted_total").increment(2);
        });
        let text = recorder.handle().render();
        for line in [
            "crossdock_step_seconds_bucket{le=\"0.00005\"} 1",
            "crossdock_step_fuel_bucket{le=\"10000000\"} 1",
            "crossdock_events_accepted_total 2",
            "# HELP crossdock_events_accepted_total Events accepted, durable when counted",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}

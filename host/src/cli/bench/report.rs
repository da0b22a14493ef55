//! What a benchmark prints.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    floor::Floor,
    load::Loaded,
    scenario::{Scenario, Step},
    served::Counters,
};
use crate::cli::out::Out;

/// A benchmark's figures.
pub(super) struct Report {
    pub(super) scenario: Scenario,
    pub(super) in_flight: u16,
    pub(super) rate: Option<u32>,
    pub(super) payload_bytes: u32,
    pub(super) load: Loaded,
    /// What the hub used for it.
    pub(super) hub: Counters,
    pub(super) floor: Floor,
}

impl Report {
    /// Prints it: one JSON object, or a table for people.
    pub(super) fn print(&self, out: &Out) {
        print(out, &self.json());
        if out.is_json() {
            return;
        }
        if let Some(failure) = &self.load.first_failure {
            out.say(out.red(format!("{} runs failed; the first: {failure}", self.load.failed).as_str()));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures are rounded to three digits after the point")]
    fn json(&self) -> Value {
        let Self { load, hub, floor, .. } = self;
        let runs = (load.finished + load.failed).max(1) as f64;
        let latency = |quantile: f64| rounded(load.latencies_us.value_at_quantile(quantile) as f64 / 1e3);
        let cpu_us = us(hub.cpu) / runs;
        let mut figures = json!({
            "scenario": self.scenario.to_string(),
            "in_flight": self.in_flight,
            "rate": self.rate,
            "payload_bytes": self.payload_bytes,
            "pure_steps": self.scenario.count(Step::Pure),
            "writes": self.scenario.count(Step::Write),
            "elapsed_s": rounded(load.elapsed.as_secs_f64()),
            "runs_per_second": rounded(load.finished as f64 / load.elapsed.as_secs_f64().max(1e-9)),
            "finished": load.finished,
            "failed": load.failed,
            "latency_ms": {
                "p50": latency(0.5),
                "p90": latency(0.9),
                "p99": latency(0.99),
                "max": rounded(load.latencies_us.max() as f64 / 1e3),
            },
            "flushes_per_run": rounded(hub.flushes as f64 / runs),
            "bytes_per_run": rounded(hub.bytes as f64 / runs),
            "cpu_us_per_run": rounded(cpu_us),
            "generator_cpu_us_per_run": rounded(us(load.cpu) / runs),
            "cpu_of_floor": rounded(cpu_us / us(floor.cpu_per_run()).max(1e-9)),
            "floor": {
                "instantiate_and_call_us": rounded(us(floor.instantiate_and_call)),
                "append_and_flush_us": rounded(us(floor.append_and_flush)),
                "http_round_trip_us": rounded(us(floor.http_round_trip)),
                "cpu_us_per_run": rounded(us(floor.cpu_per_run())),
                "cpu_us_of": {
                    "calls": rounded(us(floor.cpu.calls)),
                    "appends": rounded(us(floor.cpu.appends)),
                    "exchanges": rounded(us(floor.cpu.exchanges)),
                },
            },
        });
        if let (Some(failure), Some(fields)) = (&load.first_failure, figures.as_object_mut()) {
            fields.insert("first_failure".to_owned(), failure.as_str().into());
        }
        figures
    }
}

/// Prints figures: one JSON object, or a table for people.
pub(super) fn print(out: &Out, figures: &Value) {
    if out.is_json() {
        return out.value(figures);
    }
    let mut rows = Vec::new();
    flatten("", figures, &mut rows);
    out.table(&["figure", "value"], rows, "");
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn rounded(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

/// Nested figures as rows of a table: `latency_ms.p50`.
fn flatten(prefix: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, value, rows);
            }
        }
        Value::Null => {}
        Value::String(text) => rows.push(vec![prefix.to_owned(), text.clone()]),
        other => rows.push(vec![prefix.to_owned(), other.to_string()]),
    }
}

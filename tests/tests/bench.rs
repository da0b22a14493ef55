//! `crossdock bench` end to end, briefly: that it drives a hub, and that its figures are those of what it did.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::process::Command;

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");

fn bench(arguments: &[&str]) -> Value {
    let output = Command::new(BINARY).args(["--json", "bench"]).args(arguments).output().expect("runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("one JSON object on stdout: {error}: {out}{err}"))
}

fn number(report: &Value, pointer: &str) -> f64 {
    let found = report.pointer(pointer).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no number at {pointer} in {report:#}"))
}

#[test]
fn runs_that_write_are_driven_through_a_hub_and_their_cost_is_told() {
    let report = bench(&["five-step", "--in-flight", "8", "--duration", "1s"]);
    assert_eq!(report["failed"], 0, "{report:#}");
    for positive in [
        "/runs_per_second",
        "/finished",
        "/latency_ms/p50",
        "/latency_ms/p90",
        "/latency_ms/p99",
        "/latency_ms/max",
        "/flushes_per_run",
        "/bytes_per_run",
        "/cpu_us_per_run",
        "/generator_cpu_us_per_run",
        "/cpu_of_floor",
        "/floor/instantiate_and_call_us",
        "/floor/append_and_flush_us",
        "/floor/http_round_trip_us",
        "/floor/cpu_us_per_run",
    ] {
        assert!(number(&report, positive) > 0.0, "{positive} in {report:#}");
    }
    assert!(number(&report, "/latency_ms/p50") <= number(&report, "/latency_ms/max"));
    // Eight at a time share flushes; none needs more than its writes + 2.
    assert!(number(&report, "/flushes_per_run") <= 4.0, "{report:#}");
}

#[test]
fn a_lone_run_needs_a_flush_for_each_write_and_two_more() {
    let report = bench(&["three-step", "--concurrency", "1", "--duration", "1s", "--payload-bytes", "300"]);
    assert_eq!(report["flushes_per_run"], 3.0, "{report:#}");
    let report = bench(&["pure-five-step", "--in-flight", "1", "--duration", "1s"]);
    assert_eq!(report["flushes_per_run"], 2.0, "{report:#}");
}

#[test]
fn at_a_rate_the_events_are_those_that_were_due() {
    let report = bench(&["pure-five-step", "--rate", "20", "--in-flight", "4", "--duration", "1s"]);
    assert_eq!((&report["finished"], &report["failed"]), (&20.into(), &0.into()), "{report:#}");
    assert_eq!(report["rate"], 20);
}

#[test]
fn runs_that_wait_outlive_a_stop_and_a_kill_and_are_woken() {
    let report =
        bench(&["parked", "--runs", "300", "--signals", "40", "--payload-bytes", "200", "--timers-after", "15s"]);
    for positive in ["/parked_per_second", "/resident_mib/parked", "/ready_s/after_stop", "/ready_s/after_kill"] {
        assert!(number(&report, positive) > 0.0, "{positive} in {report:#}");
    }
    // It would not have come to an end otherwise: each signalled run is completed, and each timer came.
    assert_eq!((&report["runs"], &report["signals"], &report["timers"]), (&300.into(), &40.into(), &1000.into()));
    assert!(report["timers_late_ms"]["p50"].is_number(), "{report:#}");
}

//! Runs that only wait: how much memory a hub needs for very many, how soon it is ready again with them, and whether
//! signals and timers still find them. No floor: a run that waits costs no processor time.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    scenario::order,
    served::{End, Served},
};
use crate::{
    cli::{Failed, out::Out},
    net::client::{Client, ClientError},
};

/// What runs wait in, and for what.
const PIPELINES: &str = r"pipeline: bench/parked
version: 1.0.0
owner: bench
summary: What `crossdock bench parked` parks.
uses: {}
trigger: [{ event: bench.order.placed.v1 }]
key: event.subject
steps:
  - id: release
    wait: { event: bench.order.released.v1, match: signal.subject == event.subject, within: 30d, on_expiry: continue }
";
/// How many runs wait for a time; at most as many as one list shows.
const TIMERS: usize = 1_000;
/// Events of one request.
const BATCH: u64 = 256;
/// Requests at the same time.
const SENDERS: u64 = 8;
/// The longest wait for something to become so.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(100);

/// How many runs wait, how many are signalled, and how long those wait that wait for a time.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) runs: u64,
    pub(super) signals: u64,
    pub(super) payload_bytes: u32,
    pub(super) timers_after: Duration,
}

/// What waits for a time, which is to come after the hub has started again.
fn timed(after: Duration) -> String {
    format!(
        r"pipeline: bench/timed
version: 1.0.0
owner: bench
summary: What `crossdock bench parked` sets timers with.
uses: {{}}
trigger: [{{ event: bench.timer.set.v1 }}]
key: event.subject
steps:
  - id: later
    wait: {{ for: {}s }}
",
        after.as_secs().max(1)
    )
}

/// Parks runs, starts the hub again, and wakes some of them; the figures.
pub(super) async fn measure(out: &Out, data: &Path, size: Size) -> Result<Value, Failed> {
    fs::create_dir_all(data)?;
    fs::write(data.join("parked.yaml"), PIPELINES)?;
    fs::write(data.join("timed.yaml"), timed(size.timers_after))?;
    let config = data.join(crate::app::config::CONFIG_FILE);
    fs::write(&config, toml::to_string(&json!({ "pipelines": ["parked.yaml", "timed.yaml"] }))?)?;

    out.say(format!("parking {} runs", size.runs));
    let hub = Served::start(data, &config).await?;
    let begun = Instant::now();
    let payload = usize::try_from(size.payload_bytes)?;
    send(&hub.client(), size.runs, |number| placed(number, payload)).await?;
    let parked_in = begun.elapsed();
    until(&hub.client(), "all runs wait", |figures| figures.get("crossdock_runs_active").is_none_or(|n| *n == 0.0))
        .await?;
    let parked = hub.memory()?;
    send(&hub.client(), u64::try_from(TIMERS)?, timer).await?;
    until(&hub.client(), "all timers are set", |figures| {
        figures.get("crossdock_runs_active").is_none_or(|n| *n == 0.0)
    })
    .await?;

    out.say("starting the hub again, after a stop and after a kill");
    let token = hub.token();
    hub.end(End::Stop).await?;
    let (hub, stopped) = again(data, &config, &token).await?;
    hub.end(End::Kill).await?;
    let (hub, killed) = again(data, &config, &token).await?;
    let ready = hub.memory()?;

    out.say(format!("signalling {} of them", size.signals));
    // A stride without a factor in common with the number of runs: no run twice, and no order.
    let stride = (size.runs * 5 / 8) | 1;
    let chosen = move |number: u64| number.wrapping_mul(stride) % size.runs.max(1);
    let begun = Instant::now();
    send(&hub.client(), size.signals, |number| released(chosen(number))).await?;
    let wanted = COMPLETED.to_owned() + "bench/parked";
    #[expect(clippy::cast_precision_loss, reason = "a metric is a floating point number")]
    let enough = size.signals as f64;
    let completed = until(&hub.client(), "all signalled runs are completed", |figures| {
        figures.get(&wanted).copied().unwrap_or_default() >= enough
    })
    .await;
    let signalled_in = begun.elapsed();
    completed?;

    out.say("waiting for the timers");
    let late = lateness(&hub.client(), size.timers_after).await?;
    let signalled = hub.memory()?;
    let bytes = super::served::size(data);
    hub.end(End::Stop).await?;
    Ok(json!({
        "scenario": "parked",
        "runs": size.runs,
        "signals": size.signals,
        "timers": TIMERS,
        "payload_bytes": size.payload_bytes,
        "parked_per_second": per_second(size.runs, parked_in),
        "resident_mib": {
            "parked": mib(parked.now), "most": mib(parked.most), "after_start": mib(ready.now), "signalled": mib(signalled.now),
        },
        "ready_s": { "after_stop": seconds(stopped), "after_kill": seconds(killed) },
        "signalled_per_second": per_second(size.signals, signalled_in),
        "timers_late_ms": { "p50": late.get(late.len() / 2), "max": late.last() },
        "data_mib": mib(bytes),
    }))
}

/// Starts the hub on its data again; how long until it is ready.
async fn again(
    data: &Path,
    config: &Path,
    token: &crate::ports::secrets::Secret,
) -> Result<(Served, Duration), Failed> {
    let begun = Instant::now();
    let hub = Served::start_again(data, config, token).await?;
    let client = hub.client();
    loop {
        match client.text("/health/ready").await {
            Ok(_) => return Ok((hub, begun.elapsed())),
            Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => pause(LOOK / 10).await,
        }
    }
}

fn placed(number: u64, payload: usize) -> String {
    event("placed", "bench.order.placed.v1", number, &order(number, payload))
}

fn released(number: u64) -> String {
    event("released", "bench.order.released.v1", number, "{}")
}

fn timer(number: u64) -> String {
    event("timer", "bench.timer.set.v1", number, "{}")
}

fn event(prefix: &str, event_type: &str, number: u64, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{prefix}-{number}","source":"/bench","type":"{event_type}","subject":"order-{number}","data":{data}}}"#
    )
}

/// Sends events in batches, several at the same time, as fast as they are taken.
async fn send(client: &Client, count: u64, event: impl Fn(u64) -> String) -> Result<(), Failed> {
    let mut first = 0;
    let mut out = tokio::task::JoinSet::new();
    while first < count || !out.is_empty() {
        while first < count && (out.len() as u64) < SENDERS {
            let last = (first + BATCH).min(count);
            let batch: Vec<String> = (first..last).map(&event).collect();
            out.spawn(send_batch(client.clone(), format!("[{}]", batch.join(","))));
            first = last;
        }
        if let Some(sent) = out.join_next().await {
            sent??;
        }
    }
    Ok(())
}

/// Sends a batch, again while the hub is too busy to take it.
async fn send_batch(client: Client, batch: String) -> Result<(), Failed> {
    let begun = Instant::now();
    loop {
        match client.post::<Value>("/v1/events", "application/cloudevents-batch+json", batch.clone()).await {
            Ok(_) => return Ok(()),
            Err(ClientError::Refused { status, .. })
                if status == http::StatusCode::TOO_MANY_REQUESTS && begun.elapsed() < PATIENCE =>
            {
                pause(LOOK).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A count of completed runs; the pipeline's name follows.
const COMPLETED: &str = "completed ";

/// Waits until the hub's metrics are as wanted.
async fn until(client: &Client, what: &str, wanted: impl Fn(&HashMap<String, f64>) -> bool) -> Result<(), Failed> {
    let begun = Instant::now();
    while !wanted(&figures(&client.text("/metrics").await?)) {
        if begun.elapsed() > PATIENCE {
            return Err(format!("after {PATIENCE:?} it is not so that {what}").into());
        }
        pause(LOOK).await;
    }
    Ok(())
}

/// Gauges without labels by name, and completed runs by pipeline.
fn figures(metrics: &str) -> HashMap<String, f64> {
    let lines = metrics.lines().filter_map(|line| line.rsplit_once(' '));
    lines
        .filter_map(|(name, value)| {
            let value = value.parse().ok()?;
            if !name.starts_with("crossdock_runs_total{") {
                return Some((name.to_owned(), value));
            }
            let pipeline = name.split("pipeline=\"").nth(1)?.split('"').next()?;
            name.contains("state=\"completed\"").then(|| (format!("{COMPLETED}{pipeline}"), value))
        })
        .collect()
}

#[derive(Deserialize)]
struct Runs {
    runs: Vec<Timed>,
}

#[derive(Deserialize)]
struct Timed {
    started: crate::model::timestamp::Timestamp,
    updated: crate::model::timestamp::Timestamp,
}

/// Gives the hub some time before it is asked again.
async fn pause(time: Duration) {
    tokio::time::sleep_until((Instant::now() + time).into()).await;
}

/// How late each timer was, milliseconds, in order.
async fn lateness(client: &Client, after: Duration) -> Result<Vec<u64>, Failed> {
    let (begun, after_ms) = (Instant::now(), after.as_secs().max(1) * 1_000);
    let path = format!("/v1/runs?pipeline=bench/timed&state=completed&limit={TIMERS}");
    loop {
        let found: Runs = client.get(&path).await?;
        if found.runs.len() == TIMERS {
            let mut late: Vec<u64> =
                found.runs.iter().map(|run| run.updated.since(run.started).saturating_sub(after_ms)).collect();
            late.sort_unstable();
            return Ok(late);
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("only {} of {TIMERS} timers were due in {PATIENCE:?}", found.runs.len()).into());
        }
        pause(LOOK).await;
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a rate, rounded")]
fn per_second(count: u64, time: Duration) -> f64 {
    (count as f64 / time.as_secs_f64().max(1e-9)).round()
}

#[cfg(test)]
mod tests {
    use super::{PIPELINES, event, figures, timed};
    use crate::flow::language;

    #[test]
    fn what_is_parked_is_a_pipeline_and_an_event() {
        for text in [PIPELINES.to_owned(), timed(std::time::Duration::from_secs(90))] {
            assert!(language::parse(&text).is_ok(), "{text}");
        }
        let text = event("placed", "bench.order.placed.v1", 7, "{}");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
    }

    #[test]
    fn completed_runs_are_found_in_the_metrics() {
        let text = "# HELP x\ncrossdock_runs_active 3\ncrossdock_runs_total{pipeline=\"bench/parked\",state=\"completed\"} 12\n";
        let found = figures(text);
        assert_eq!(found.get("crossdock_runs_active"), Some(&3.0));
        assert_eq!(found.get("completed bench/parked"), Some(&12.0));
    }
}

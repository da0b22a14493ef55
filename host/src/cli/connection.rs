//! `crossdock connection`.

mod change;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

pub(super) use self::change::document;
use self::change::{Remove, Rotate, Set, Test};
use super::{
    Failed, HubAddress,
    answer::{number, set_by, text, texts},
    impact::OfHost,
    out::Out,
};

/// Connections.
#[derive(Subcommand, Debug)]
pub(super) enum Connection {
    /// List the connections of a hub: their limits, their health, and what waits for them.
    List(HubAddress),
    /// Show one connection.
    Show(Show),
    /// Make a connection from a file; a second person has to agree to what it reaches.
    Add(Set),
    /// Change a connection; a second person has to agree where it reaches more than before.
    Change(Set),
    /// Tell what reaches a host: connections, pipelines and their owners, published reads, deliveries, runs under way.
    Impact(OfHost),
    /// Remove a connection that nothing needs.
    Remove(Remove),
    /// Look whether a connection works: its secrets, its address, one exchange, its credentials. Nothing is written.
    Test(Test),
    /// Put another secret in place, once a test has shown that the remote takes it.
    Rotate(Rotate),
    /// Show the priority lanes: what waits in them, and which refuse new events.
    Lanes(HubAddress),
}

/// What to show.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// The connection's name.
    name: String,
    #[command(flatten)]
    address: HubAddress,
}

impl Connection {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::List(address) => list(&address, out).await,
            Self::Show(show) => show.run(out).await,
            Self::Add(set) => set.run(out, "add").await,
            Self::Change(set) => set.run(out, "change").await,
            Self::Impact(host) => host.run(out).await,
            Self::Remove(remove) => remove.run(out).await,
            Self::Test(test) => test.run(out).await,
            Self::Rotate(rotate) => rotate.run(out).await,
            Self::Lanes(address) => lanes(&address, out).await,
        }
    }
}

/// `10 per 1000 ms, 5 at once`.
fn rate(connection: &Value) -> String {
    if connection.pointer("/limits/rate").is_none() {
        return "any".to_owned();
    }
    let burst = number(connection, "/limits/rate/burst").max(1);
    let (calls, per_ms) = (number(connection, "/limits/rate/calls"), number(connection, "/limits/rate/per_ms"));
    format!("{calls} per {per_ms} ms, {burst} at once")
}

fn health(out: &Out, connection: &Value) -> String {
    match text(connection, "/breaker/state").as_str() {
        "closed" => out.green("closed"),
        "open" => out.red(&format!("open until {}", text(connection, "/breaker/until"))),
        other => out.yellow(other),
    }
}

async fn list(address: &HubAddress, out: &Out) -> Result<ExitCode, Failed> {
    let answer: Value = address.client()?.get("/v1/connections").await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let connections = answer.get("connections").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows = connections
        .iter()
        .map(|connection| {
            vec![
                text(connection, "/name"),
                format!("{}@{}", text(connection, "/plugin"), text(connection, "/version")),
                health(out, connection),
                format!("{} of {}", text(connection, "/in_flight"), text(connection, "/limits/concurrency")),
                text(connection, "/waiting"),
                rate(connection),
            ]
        })
        .collect();
    out.table(
        &["connection", "plugin", "breaker", "in flight", "waiting", "rate"],
        rows,
        "no connections are configured",
    );
    Ok(ExitCode::SUCCESS)
}

impl Show {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = self.address.client()?;
        // Looked up here rather than put into a path: a name may hold anything.
        let mut answer: Value = client.get("/v1/connections").await?;
        let connections = answer.get_mut("connections").and_then(Value::as_array_mut).map(std::mem::take);
        let named = |connection: &Value| text(connection, "/name") == self.name;
        let connection = connections.unwrap_or_default().into_iter().find(named).ok_or_else(|| {
            format!("there is no connection `{}`; `crossdock connection list` shows which there are", self.name)
        })?;
        if out.is_json() {
            out.value(&connection);
            return Ok(ExitCode::SUCCESS);
        }
        let limit = |name: &str| text(&connection, &format!("/limits/breaker/{name}"));
        out.say(format!("{}  {}", out.bold(&self.name), health(out, &connection)));
        let line = |name: &str, value: String| out.say(format!("  {} {value}", out.dim(&format!("{name:<12}"))));
        line("plugin", format!("{} {}", text(&connection, "/plugin"), text(&connection, "/version")));
        line("revision", text(&connection, "/revision"));
        line("set by", set_by(&connection).to_owned());
        line("hosts", texts(&connection, "/hosts"));
        let (in_flight, concurrency) = (text(&connection, "/in_flight"), text(&connection, "/limits/concurrency"));
        line("calls", format!("{in_flight} of {concurrency} in flight, {} waiting", text(&connection, "/waiting")));
        let tokens = text(&connection, "/tokens");
        let tokens = if tokens.is_empty() { tokens } else { format!("; {tokens} may leave now") };
        line("rate", format!("{}{tokens}", rate(&connection)));
        let opens = format!("after {} failures of the latest calls in {} ms", limit("failures"), limit("window_ms"));
        line("opens", format!("{opens}, for {} to {} ms", limit("open_ms"), limit("open_ms_max")));
        if connection.pointer("/breaker/last_failure").is_some_and(|failure| !failure.is_null()) {
            let of = |name: &str| text(&connection, &format!("/breaker/last_failure/{name}"));
            line("last failure", format!("{} {} `{}`: {}", of("time"), of("kind"), of("code"), of("message")));
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn lanes(address: &HubAddress, out: &Out) -> Result<ExitCode, Failed> {
    let answer: Value = address.client()?.get("/v1/lanes").await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    out.say(format!("{} runs under way, {} at most", number(&answer, "/under_way"), number(&answer, "/runs_limit")));
    let lanes = answer.get("lanes").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows = lanes
        .iter()
        .map(|lane| {
            let refusing = lane.get("refusing") == Some(&Value::Bool(true));
            let of = |name: &str| text(lane, &format!("/{name}"));
            let takes = if refusing { out.red("refuses events") } else { out.green("takes events") };
            vec![
                of("lane"),
                takes,
                of("refused_from"),
                of("waiting_pure"),
                of("waiting_outward"),
                of("waiting_connections"),
            ]
        })
        .collect();
    let head = ["lane", "now", "refuses from", "waiting: pure", "waiting: connectors", "waiting: connections"];
    out.table(&head, rows, "no lanes");
    Ok(ExitCode::SUCCESS)
}

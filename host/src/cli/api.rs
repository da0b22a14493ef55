//! `crossdock api`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failed, HubAddress,
    answer::set_by,
    control::{Who, Why},
    out::Out,
    plugin::said_or,
};
use crate::model::{api::Publication, id::ContractId, timestamp::Timestamp};

/// Reads that are published under a contract.
#[derive(Subcommand, Debug)]
pub(super) enum Api {
    /// Publish reads of a connection under a contract, change how, or follow hub.toml again; a second person has to agree
    /// where others get more.
    Publish(Publish),
    /// List the APIs that are published.
    List(HubAddress),
    /// Show an API.
    Show(Which),
    /// End a publication.
    Withdraw(Withdraw),
}

/// What to publish, and on which terms.
#[derive(Args, Debug)]
pub(super) struct Publish {
    /// The contract, such as `retail/erp-orders@1`.
    contract: ContractId,
    /// As hub.toml declares it, which is followed again.
    #[arg(
        long,
        conflicts_with_all = ["connection", "operations", "cache_s", "stale_if_error_s", "deprecated", "sunset", "successor",
            "timeout_ms"]
    )]
    declared: bool,
    /// The connection behind it; consumers do not see it.
    #[arg(long, value_name = "NAME", required_unless_present = "declared")]
    connection: Option<String>,
    /// A read of the contract; may be given several times.
    #[arg(long = "operation", required_unless_present = "declared", value_name = "NAME")]
    operations: Vec<String>,
    /// For how long an answer may be given again, seconds; without it, each request asks the remote.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "SECONDS")]
    cache_s: u32,
    /// For how long after that it may be given while the remote gives none, seconds.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "SECONDS")]
    stale_if_error_s: u32,
    /// From when on consumers are told to move away, such as `2026-06-01T00:00:00Z`.
    #[arg(long, value_name = "TIME")]
    deprecated: Option<Timestamp>,
    /// From when on it answers nothing.
    #[arg(long, value_name = "TIME")]
    sunset: Option<Timestamp>,
    /// The contract that consumers are to move to.
    #[arg(long, value_name = "CONTRACT")]
    successor: Option<ContractId>,
    /// The longest that a consumer waits for the remote, milliseconds.
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u32>,
    #[command(flatten)]
    who: Who,
}

/// Which API.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// The contract, such as `retail/erp-orders@1`.
    contract: ContractId,
    #[command(flatten)]
    address: HubAddress,
}

/// Which publication ends.
#[derive(Args, Debug)]
pub(super) struct Withdraw {
    /// The contract, such as `retail/erp-orders@1`.
    contract: ContractId,
    #[command(flatten)]
    why: Why,
}

impl Api {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::Publish(publish) => publish.run(out).await,
            Self::List(address) => list(&address, out).await,
            Self::Show(Which { contract, address }) => {
                let view: Value = address.client()?.get(&path(&contract)).await?;
                show(out, &view);
                Ok(ExitCode::SUCCESS)
            }
            Self::Withdraw(Withdraw { contract, why }) => {
                let body = serde_json::to_vec(&json!({ "do": "withdraw", "reason": why.reason }))?;
                let view: Value = why.address.client()?.post(&path(&contract), "application/json", body).await?;
                if out.is_json() {
                    out.value(&view);
                } else {
                    out.say(format!("`{contract}` is published no longer"));
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl Publish {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let (at, who, declared) = (path(&self.contract), self.who.clone(), self.declared);
        let request = match self.into_publication() {
            Some(api) if !declared => json!({ "do": "publish", "api": api }),
            _ => json!({ "do": "declared" }),
        };
        let answer: Value = who.send(&at, request).await?;
        said_or(out, &answer, show);
        Ok(ExitCode::SUCCESS)
    }

    /// What is published; absent: no connection is given, so it is what hub.toml declares.
    fn into_publication(self) -> Option<Publication> {
        Some(Publication {
            connection: self.connection?,
            operations: self.operations.into_iter().collect(),
            cache_s: self.cache_s,
            stale_if_error_s: self.stale_if_error_s,
            deprecated: self.deprecated,
            sunset: self.sunset,
            successor: self.successor,
            timeout_ms: self.timeout_ms,
        })
    }
}

async fn list(address: &HubAddress, out: &Out) -> Result<ExitCode, Failed> {
    let answer: Value = address.client()?.get("/v1/apis").await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let apis = answer.get("apis").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows = apis
        .iter()
        .map(|api| {
            vec![
                text(api, "contract").to_owned(),
                state(out, api),
                operations(api).map(|operation| text(operation, "name")).collect::<Vec<_>>().join(", "),
                seconds(api, "cache_s"),
                text(api, "connection").to_owned(),
                text(api, "sunset").to_owned(),
            ]
        })
        .collect();
    out.table(&["contract", "state", "operations", "cached", "connection", "sunset"], rows, "no APIs are published");
    Ok(ExitCode::SUCCESS)
}

fn show(out: &Out, view: &Value) {
    if out.is_json() {
        return out.value(view);
    }
    out.say(format!("{}  {}  {}", out.bold(text(view, "contract")), state(out, view), text(view, "summary")));
    let line = |name: &str, value: &str| {
        if !value.is_empty() {
            out.say(format!("  {} {value}", out.dim(&format!("{name:<12}"))));
        }
    };
    for operation in operations(view) {
        line(text(operation, "name"), &format!("{}  {}", text(operation, "path"), text(operation, "summary")));
    }
    line("described at", text(view, "description"));
    line("connection", text(view, "connection"));
    line("cached", &seconds(view, "cache_s"));
    line("stale", &seconds(view, "stale_if_error_s"));
    for name in ["deprecated", "sunset", "successor", "published"] {
        line(name, text(view, name));
    }
    line("set by", if view.get("origin").is_some() { set_by(view) } else { "" });
}

fn state(out: &Out, api: &Value) -> String {
    match text(api, "state") {
        "active" => out.green("active"),
        "gone" => out.red("gone"),
        other => out.yellow(other),
    }
}

fn operations(api: &Value) -> impl Iterator<Item = &Value> {
    api.get("operations").and_then(Value::as_array).into_iter().flatten()
}

fn seconds(api: &Value, name: &str) -> String {
    match api.get(name).and_then(Value::as_u64) {
        Some(0) | None => "no".to_owned(),
        Some(seconds) => format!("{seconds} s"),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn path(contract: &ContractId) -> String {
    format!("/v1/apis/{}", contract.as_str().replace('@', "/"))
}

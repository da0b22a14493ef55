//! What depends on something, for people; and asking before it is taken away.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{
    Failed, HubAddress,
    answer::{list, text, texts},
    out::Out,
};
use crate::net::client::{Client, encoded};

/// A host to ask about.
#[derive(Args, Debug)]
pub(super) struct OfHost {
    /// The host, such as `erp.example`, `erp.example:8443` or `https://erp.example`.
    host: String,
    #[command(flatten)]
    address: HubAddress,
}

impl OfHost {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        show(out, &self.address, &format!("/v1/hosts/{}/impact", encoded(&self.host))).await
    }
}

/// An event type to ask about.
#[derive(Args, Debug)]
pub(super) struct OfEvent {
    /// The event type.
    event_type: String,
    #[command(flatten)]
    address: HubAddress,
}

impl OfEvent {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        show(out, &self.address, &of_event(&self.event_type)).await
    }
}

/// Where the hub tells what depends on a version of a plugin, `namespace/name@version`.
pub(super) fn of_version(named: &str) -> String {
    let (plugin, version) = named.split_once('@').unwrap_or((named, ""));
    format!("/v1/plugins/{plugin}/impact?version={}", encoded(version))
}

/// Where the hub tells what depends on an event type.
pub(super) fn of_event(event_type: &str) -> String {
    format!("/v1/schemas/{}/impact", encoded(event_type))
}

async fn show(out: &Out, address: &HubAddress, path: &str) -> Result<ExitCode, Failed> {
    let impact: Value = address.client()?.get(path).await?;
    if out.is_json() {
        out.value(&impact);
    } else {
        tell(out, &impact);
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks what depends on something that is to be taken away; whether nothing does. Otherwise it says so, and what is next.
pub(super) async fn is_free(out: &Out, client: &Client, path: &str, what: &str, next: &str) -> Result<bool, Failed> {
    let impact: Value = client.get(path).await?;
    if !depends(&impact) {
        return Ok(true);
    }
    if out.is_json() {
        let error = format!("something depends on {what}; `--yes` does it all the same");
        out.value(&json!({ "error": error, "impact": impact }));
    } else {
        out.say(format!("{} {what} is in use:", out.red("refused")));
        tell(out, &impact);
        out.say(format!("next: {next}, or `--yes` to do it all the same"));
    }
    Ok(false)
}

/// Whether something does.
fn depends(impact: &Value) -> bool {
    let serves = |pipeline: &Value| pipeline.pointer("/serves") == Some(&Value::Bool(true));
    let named = ["connections", "sources", "plugins", "apis", "subscriptions"];
    list(impact, "/pipelines").any(serves)
        || named.iter().any(|what| list(impact, &format!("/{what}")).next().is_some())
        || impact.pointer("/runs_holding").and_then(Value::as_u64).unwrap_or_default() > 0
}

/// Shows it.
pub(super) fn tell(out: &Out, impact: &Value) {
    let rows = list(impact, "/pipelines").map(|pipeline| {
        let serves = pipeline.pointer("/serves") == Some(&Value::Bool(true));
        vec![
            format!("{}@{}", text(pipeline, "/pipeline"), text(pipeline, "/version")),
            text(pipeline, "/owner"),
            [texts(pipeline, "/relations"), texts(pipeline, "/steps")].join(" ").trim().to_owned(),
            if serves { out.yellow("now") } else { "-".to_owned() },
            text(pipeline, "/runs_open"),
        ]
    });
    let head = ["pipeline", "owner", "steps", "", "runs open"];
    out.table(&head, rows.collect(), "no pipeline has to do with it");
    for (what, path) in [
        ("connections", "/connections"),
        ("published reads", "/apis"),
        ("webhook sources", "/sources"),
        ("plugins", "/plugins"),
    ] {
        let names = texts(impact, path);
        if !names.is_empty() {
            out.say(format!("{what}: {names}"));
        }
    }
    let subscriptions: Vec<String> = list(impact, "/subscriptions")
        .map(|one| format!("{} (of {})", text(one, "/name"), text(one, "/owner")))
        .collect();
    if !subscriptions.is_empty() {
        out.say(format!("subscriptions: {}", subscriptions.join(", ")));
    }
    let of = |name: &str| text(impact, &format!("/{name}"));
    out.say(format!(
        "{} runs that have not ended have to do with it, of {} looked into, of {} that may",
        of("runs_holding"),
        of("runs_examined"),
        of("runs_open")
    ));
}

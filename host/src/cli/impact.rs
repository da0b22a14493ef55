//! What depends on something, for people; and what a hub says before it is taken away.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{
    Failed, HubAddress,
    answer::{list, text, texts},
    out::Out,
};
use crate::net::client::{ClientError, encoded};

/// Why a hub does not take away what is in use.
const IN_USE: &str = "change.in-use";

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

/// Where the hub tells what depends on an event type.
fn of_event(event_type: &str) -> String {
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

/// Whoever may be asked whether they know what depends on what is taken away, or broken.
#[derive(Args, Debug, Clone, Copy)]
pub(super) struct Accept {
    /// Do it although something depends on it.
    #[arg(long)]
    yes: bool,
}

impl Accept {
    /// Says in a request that what depends on it was seen, if it was.
    pub(super) fn sign(self, request: &mut Value) {
        if let (true, Some(fields)) = (self.yes, request.as_object_mut()) {
            fields.insert("accept_impact".to_owned(), true.into());
        }
    }
}

/// Shows what depends on what was to be taken away, if that is why a hub refuses; else its answer.
pub(super) fn taken<T>(out: &Out, answer: Result<T, Failed>) -> Result<Option<T>, Failed> {
    let problem = match &answer {
        Err(error) => match error.downcast_ref::<ClientError>() {
            Some(ClientError::Refused { problem, .. }) if problem.code == IN_USE => problem.clone(),
            _ => return answer.map(Some),
        },
        Ok(_) => return answer.map(Some),
    };
    if out.is_json() {
        let (error, next) = (&problem.detail, "`--yes` does it all the same");
        out.value(&json!({ "error": error, "code": IN_USE, "advice": next, "dependants": problem.dependants }));
        return Ok(None);
    }
    out.say(format!("{} {}", out.red("refused"), problem.detail));
    for dependants in &problem.dependants {
        out.say(format!("{} is in use:", out.bold(&text(dependants, "/of"))));
        tell(out, dependants.pointer("/impact").unwrap_or(&Value::Null));
    }
    out.say(format!("`--yes` does it all the same [{IN_USE}]"));
    Ok(None)
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

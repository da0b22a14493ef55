//! `crossdock event`.

use std::{io::Read as _, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Failed, HubAddress, out::Out};

/// Events.
#[derive(Subcommand, Debug)]
pub(super) enum Event {
    /// Send an event: a CloudEvent as JSON, or data with `--type` and the rest as options.
    Send(Send),
}

/// One event.
#[derive(Args, Debug)]
pub(super) struct Send {
    /// A JSON file; `-` reads standard input.
    file: PathBuf,
    /// The file is only the data; the event is of this type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// With `--type`: who says so.
    #[arg(long, default_value = "/cli", requires = "event_type")]
    source: String,
    /// With `--type`: unique within the source; absent: a digest of the data, so that sending it again is a duplicate.
    #[arg(long, requires = "event_type")]
    id: Option<String>,
    /// With `--type`: what it happened to.
    #[arg(long, requires = "event_type")]
    subject: Option<String>,
    /// Wait until its runs are settled, at most so long, such as `5s`. Exits with 1 if one ends parked or rejected.
    #[arg(long, value_name = "DURATION")]
    wait: Option<String>,
    #[command(flatten)]
    address: HubAddress,
}

impl Event {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let Self::Send(send) = self;
        let text = read(&send.file)?;
        let parsed: Value =
            serde_json::from_slice(&text).map_err(|error| format!("`{}` is not JSON: {error}", send.file.display()))?;
        let event = match &send.event_type {
            None => parsed,
            Some(event_type) => json!({
                "specversion": "1.0",
                "id": send.id.unwrap_or_else(|| crate::model::id::Digest::of(&text).to_string()),
                "source": send.source,
                "type": event_type,
                "subject": send.subject,
                "datacontenttype": "application/json",
                "data": parsed,
            }),
        };
        let query = send.wait.map(|wait| format!("?wait={wait}")).unwrap_or_default();
        let client = send.address.client()?;
        let answer: Value = client
            .post(&format!("/v1/events{query}"), "application/cloudevents+json", serde_json::to_vec(&event)?)
            .await?;
        let ended_badly = answer.to_string();
        let ended_badly =
            ["parked", "rejected"].iter().any(|state| ended_badly.contains(&format!("\"state\":\"{state}\"")));
        let code = if ended_badly { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        if out.is_json() {
            out.value(&answer);
            return Ok(code);
        }
        for event in answer.get("events").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let again = event.get("duplicate").and_then(Value::as_bool).unwrap_or(false);
            out.say(format!("{} {}", if again { "known already" } else { "accepted" }, out.bold(&text("id"))));
            let runs = event.get("runs").and_then(Value::as_array).cloned().unwrap_or_default();
            for run in &runs {
                let field = |name: &str| run.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                let cause = field("cause");
                let cause = if cause.is_empty() { cause } else { format!(": {cause}") };
                out.say(format!("  run {} {}{cause}", field("id"), field("state")));
            }
            if runs.is_empty() {
                out.say("  no pipeline listens to it; it is kept as unmatched");
            }
        }
        Ok(code)
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Failed> {
    if path.as_os_str() == "-" {
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text)?;
        return Ok(text);
    }
    std::fs::read(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()).into())
}

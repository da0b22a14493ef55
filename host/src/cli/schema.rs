//! `crossdock schema`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failed, HubAddress,
    answer::{text, texts},
    control::Who,
    impact::{self, Accept, OfEvent},
    out::Out,
};
use crate::{
    model::{event_schema::Compatibility, timestamp::Timestamp},
    net::client::encoded,
};

/// Schemas of events.
#[derive(Subcommand, Debug)]
pub(super) enum Schema {
    /// List event types: their schemas, and who has to do with them.
    List(HubAddress),
    /// Show an event type, or print one version of its schema.
    Show(Show),
    /// Ask whether a schema could be the next version of an event type; nothing is changed.
    Check(Check),
    /// Register a schema as the next version of an event type.
    Add(Add),
    /// Tell who has to do with an event type: pipelines and their owners, plugins, sources, deliveries, runs under way.
    Impact(OfEvent),
    /// Say that an event type, or a version of its schema, is not to be used any more.
    Deprecate(Deprecate),
}

/// What to show.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// The event type.
    event_type: String,
    /// The version whose schema is printed, or `latest`; absent: what there is.
    #[arg(id = "schema_version", value_name = "VERSION")]
    version: Option<String>,
    #[command(flatten)]
    address: HubAddress,
}

/// A schema.
#[derive(Args, Debug)]
pub(super) struct Given {
    /// The event type.
    event_type: String,
    /// A file with the JSON Schema of the events' data.
    file: PathBuf,
    /// How versions may differ from here on: `none`, `backward` (who sends need not change), `forward` (who receives need
    /// not change) or `full`. Absent: as before; for a new type, `backward`.
    #[arg(long, value_name = "MODE")]
    compatibility: Option<Compatibility>,
}

/// What to ask about.
#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    address: HubAddress,
}

/// What to register.
#[derive(Args, Debug)]
pub(super) struct Add {
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    accept: Accept,
    #[command(flatten)]
    who: Who,
}

/// What is not to be used any more.
#[derive(Args, Debug)]
pub(super) struct Deprecate {
    /// The event type.
    event_type: String,
    /// The version of its schema; absent: the type as a whole.
    #[arg(id = "schema_version", value_name = "VERSION")]
    version: Option<u32>,
    /// From when on, RFC 3339; absent: now.
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// From when on events of it are refused, RFC 3339.
    #[arg(long, value_name = "TIME")]
    sunset: Option<Timestamp>,
    /// What to send instead: an event type, or `TYPE/VERSION`.
    #[arg(long, value_name = "TYPE")]
    successor: Option<String>,
    /// It is to be used after all.
    #[arg(long, conflicts_with_all = ["since", "sunset", "successor"])]
    undo: bool,
    #[command(flatten)]
    accept: Accept,
    #[command(flatten)]
    who: Who,
}

impl Schema {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::List(address) => list(&address, out).await,
            Self::Show(show) => show.run(out).await,
            Self::Check(check) => check.run(out).await,
            Self::Add(add) => add.run(out).await,
            Self::Impact(event) => event.run(out).await,
            Self::Deprecate(deprecate) => deprecate.run(out).await,
        }
    }
}

fn path(event_type: &str) -> String {
    format!("/v1/schemas/{}", encoded(event_type))
}

async fn list(address: &HubAddress, out: &Out) -> Result<ExitCode, Failed> {
    let answer: Value = address.client()?.get("/v1/schemas").await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let types = answer.get("types").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows = types
        .iter()
        .map(|found| {
            let versions = found.get("versions").and_then(Value::as_array).map_or(0, Vec::len);
            let state = if found.get("deprecated").is_some() { out.yellow("deprecated") } else { String::new() };
            vec![
                text(found, "/type"),
                if versions == 0 { out.dim("none") } else { versions.to_string() },
                text(found, "/compatibility"),
                state,
                texts(found, "/starts"),
                texts(found, "/emitted_by"),
                texts(found, "/produced_by"),
            ]
        })
        .collect();
    let head = ["type", "versions", "compatibility", "", "starts", "sent by", "brought by"];
    out.table(&head, rows, "nobody knows any event");
    Ok(ExitCode::SUCCESS)
}

fn deprecation(value: &Value) -> String {
    if value.get("deprecated").is_none() {
        return String::new();
    }
    let of = |name: &str| text(value, &format!("/deprecated/{name}"));
    let until = of("sunset");
    let until = if until.is_empty() { until } else { format!(", taken until {until}") };
    let instead = of("successor");
    let instead = if instead.is_empty() { instead } else { format!(", send {instead} instead") };
    format!("deprecated since {}{until}{instead}: {}", of("since"), of("reason"))
}

fn show_type(found: &Value, out: &Out) {
    out.say(out.bold(&text(found, "/type")));
    let line = |name: &str, value: String| {
        if !value.is_empty() {
            out.say(format!("  {} {value}", out.dim(&format!("{name:<13}"))));
        }
    };
    line("compatibility", text(found, "/compatibility"));
    line("state", deprecation(found));
    for (name, path) in [
        ("starts", "/starts"),
        ("awaited by", "/awaited_by"),
        ("sent by", "/emitted_by"),
        ("brought by", "/produced_by"),
    ] {
        line(name, texts(found, path));
    }
    for version in found.get("versions").and_then(Value::as_array).into_iter().flatten() {
        let by = [text(version, "/origin"), text(version, "/by"), text(version, "/added")];
        let by: Vec<&str> = by.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        out.say(format!("  version {}  {}", text(version, "/version"), out.dim(&by.join(", "))));
        out.say(format!("    {}", text(version, "/reference")));
        let state = deprecation(version);
        if !state.is_empty() {
            out.say(format!("    {}", out.yellow(&state)));
        }
    }
}

impl Show {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = self.address.client()?;
        if let Some(version) = &self.version {
            let schema: Value = client.get(&format!("{}/{}", path(&self.event_type), encoded(version))).await?;
            out.value(&schema);
            return Ok(ExitCode::SUCCESS);
        }
        let found: Value = client.get(&path(&self.event_type)).await?;
        if out.is_json() {
            out.value(&found);
        } else {
            show_type(&found, out);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Given {
    fn body(&self) -> Result<Value, Failed> {
        let file = self.file.display();
        let bytes = std::fs::read(&self.file).map_err(|error| format!("cannot read `{file}`: {error}"))?;
        let schema: Value = serde_json::from_slice(&bytes).map_err(|error| format!("`{file}` is not JSON: {error}"))?;
        let mut body = json!({ "schema": schema });
        if let (Some(mode), Some(fields)) = (self.compatibility, body.as_object_mut()) {
            fields.insert("compatibility".to_owned(), Value::from(mode.as_str()));
        }
        Ok(body)
    }
}

impl Check {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let body = serde_json::to_vec(&self.given.body()?)?;
        let asked = format!("{}?dry_run=true", path(&self.given.event_type));
        let answer: Value = self.address.client()?.post(&asked, "application/json", body).await?;
        if out.is_json() {
            out.value(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        let (event_type, version) = (text(&answer, "/type"), text(&answer, "/version"));
        if answer.get("unchanged") == Some(&Value::Bool(true)) {
            out.say(format!("it is version {version} of `{event_type}` already"));
        } else {
            let mode = text(&answer, "/compatibility");
            out.say(format!("it could be version {version} of `{event_type}` (compatibility {mode})"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Add {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let mut body = self.given.body()?;
        self.accept.sign(&mut body);
        let answer = self.who.send::<Value>(&path(&self.given.event_type), body).await;
        let Some(answer) = impact::taken(out, answer)? else { return Ok(ExitCode::FAILURE) };
        if out.is_json() {
            out.value(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        let (event_type, version) = (text(&answer, "/type"), text(&answer, "/version"));
        if answer.get("unchanged") == Some(&Value::Bool(true)) {
            out.say(format!("it is version {version} of `{event_type}` already; nothing has changed"));
        } else {
            out.say(format!("it is version {version} of `{event_type}`; events name it by"));
            out.say(format!("  {}", text(&answer, "/reference")));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Deprecate {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let mut body = json!({ "do": if self.undo { "restore" } else { "deprecate" }, "version": self.version });
        if let (false, Some(fields)) = (self.undo, body.as_object_mut()) {
            for (name, time) in [("since", self.since), ("sunset", self.sunset)] {
                fields.extend(time.map(|time| (name.to_owned(), Value::from(time.to_string()))));
            }
            fields.extend(self.successor.map(|successor| ("successor".to_owned(), Value::from(successor))));
        }
        self.accept.sign(&mut body);
        let found = self.who.send::<Value>(&format!("{}/control", path(&self.event_type)), body).await;
        let Some(found) = impact::taken(out, found)? else { return Ok(ExitCode::FAILURE) };
        if out.is_json() {
            out.value(&found);
        } else {
            show_type(&found, out);
        }
        Ok(ExitCode::SUCCESS)
    }
}

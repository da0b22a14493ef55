//! `crossdock connection add`, `change`, `remove`, `test` and `rotate`.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{ArgGroup, Args};
use serde_json::{Map, Value, json};

use crate::{
    cli::{
        Failed,
        answer::text,
        control::Who,
        out::Out,
        plugin::said,
        secret::{ValueSource, as_text},
    },
    model::connection::SecretRef,
    net::client::encoded,
};

/// What a connection is to be.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").required(true)))]
pub(in crate::cli) struct Set {
    /// The connection's name.
    name: String,
    /// A TOML or JSON file with the fields that a connection has in hub.toml.
    #[arg(long, value_name = "FILE", group = "what")]
    file: Option<PathBuf>,
    /// As hub.toml declares it, which is followed again.
    #[arg(long, group = "what")]
    declared: bool,
    #[command(flatten)]
    who: Who,
}

/// Which connection.
#[derive(Args, Debug)]
pub(in crate::cli) struct Remove {
    /// The connection's name.
    name: String,
    #[command(flatten)]
    who: Who,
}

/// How it is tested.
#[derive(Args, Debug)]
pub(in crate::cli) struct Probing {
    /// A read operation of its plugin to call; absent: one GET of its base URL.
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// A JSON file with the operation's input.
    #[arg(long, value_name = "FILE", requires = "operation")]
    input: Option<PathBuf>,
}

/// Which connection, and how it is tested.
#[derive(Args, Debug)]
pub(in crate::cli) struct Test {
    /// The connection's name.
    name: String,
    #[command(flatten)]
    probing: Probing,
    #[command(flatten)]
    address: crate::cli::HubAddress,
}

/// Which secret, and what takes its place.
#[derive(Args, Debug)]
pub(in crate::cli) struct Rotate {
    /// The connection's name.
    name: String,
    /// Which of its secrets: `auth`, `auth.session_token`, `client_certificate.certificate`, `secrets.NAME`, …
    #[arg(long, default_value = "auth", value_name = "PLACE")]
    place: String,
    /// Another reference: `store:NAME`, `env:NAME` or `file:PATH`. Absent: another value of the `store:` secret in place.
    #[arg(long, value_name = "REFERENCE", conflicts_with = "value_file")]
    to: Option<SecretRef>,
    #[command(flatten)]
    from: ValueSource,
    /// For how long the value of before is kept, seconds; a day unless told.
    #[arg(long, value_name = "SECONDS", conflicts_with = "to")]
    keep: Option<u64>,
    #[command(flatten)]
    probing: Probing,
    #[command(flatten)]
    who: Who,
}

/// Reads a TOML or JSON file as a JSON value.
pub(in crate::cli) fn document(path: &PathBuf) -> Result<Value, Failed> {
    let content = fs::read_to_string(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    let wrong = |problem: String| format!("`{}`: {problem}", path.display());
    if content.trim_start().starts_with('{') {
        return Ok(serde_json::from_str(&content).map_err(|error| wrong(format!("not JSON at line {}", error.line())))?);
    }
    Ok(toml::from_str(&content).map_err(|error| wrong(error.message().to_owned()))?)
}

async fn send(out: &Out, name: &str, who: &Who, mut request: Map<String, Value>) -> Result<ExitCode, Failed> {
    request.retain(|_, value| !value.is_null());
    let path = format!("/v1/connections/{}", encoded(name));
    let answer: Value = who.send(&path, Value::Object(request)).await?;
    said(out, &answer);
    Ok(ExitCode::SUCCESS)
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

impl Set {
    pub(super) async fn run(self, out: &Out, verb: &str) -> Result<ExitCode, Failed> {
        let request = match &self.file {
            Some(path) => json!({ "do": verb, "connection": document(path)? }),
            None => json!({ "do": "declared" }),
        };
        send(out, &self.name, &self.who, fields(request)).await
    }
}

impl Remove {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        send(out, &self.name, &self.who, fields(json!({ "do": "remove" }))).await
    }
}

impl Probing {
    fn to_json(&self) -> Result<Map<String, Value>, Failed> {
        let input = self.input.as_ref().map(document).transpose()?;
        let mut probe = fields(json!({ "operation": self.operation, "input": input }));
        probe.retain(|_, value| !value.is_null());
        Ok(probe)
    }
}

impl Test {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let path = format!("/v1/connections/{}/test", encoded(&self.name));
        let body = serde_json::to_vec(&self.probing.to_json()?)?;
        let answer: Value = self.address.client()?.post(&path, "application/json", body).await?;
        let passed = answer.get("passed") == Some(&Value::Bool(true));
        if out.is_json() {
            out.value(&answer);
        } else {
            for check in answer.get("checks").and_then(Value::as_array).into_iter().flatten() {
                let mark =
                    if check.get("passed") == Some(&Value::Bool(true)) { out.green("✓") } else { out.red("✗") };
                out.say(format!("{mark} {:<12} {}", text(check, "/what"), text(check, "/says")));
            }
        }
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Rotate {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let mut request = self.probing.to_json()?;
        request.extend(fields(json!({ "do": "rotate", "place": self.place })));
        match &self.to {
            Some(reference) => drop(request.insert("reference".to_owned(), reference.to_string().into())),
            None => {
                let value = self.from.read()?;
                request.extend(fields(json!({ "value": as_text(&value)?, "keep_s": self.keep })));
            }
        }
        send(out, &self.name, &self.who, request).await
    }
}

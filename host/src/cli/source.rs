//! `crossdock source`.

use std::{path::PathBuf, process::ExitCode};

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failed, HubAddress,
    answer::{set_by, text, texts},
    connection::document,
    control::Who,
    out::Out,
    plugin::said,
};
use crate::{model::connection::SecretRef, net::client::encoded};

/// Webhook sources.
#[derive(Subcommand, Debug)]
pub(super) enum Source {
    /// List the webhook sources: who reads their deliveries, what they bring, as what.
    List(HubAddress),
    /// Show one webhook source: where its deliveries go to, and how they are to be signed.
    Show(Which),
    /// Make a webhook source from a file; a second person has to agree to what it lets in.
    Add(Set),
    /// Change a webhook source; a second person has to agree where it lets in more than before.
    Change(Set),
    /// Remove a webhook source: its deliveries are answered 404.
    Remove(Named),
    /// Have deliveries be signed with another secret; the one of before is taken too, for a while.
    Rotate(Rotate),
    /// Confirm a rotation: deliveries that are signed with the secret of before are refused.
    Confirm(Named),
}

/// What to show.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// The source's name.
    name: String,
    #[command(flatten)]
    address: HubAddress,
}

/// Which webhook source.
#[derive(Args, Debug)]
pub(super) struct Named {
    /// The source's name.
    name: String,
    #[command(flatten)]
    who: Who,
}

/// What a webhook source is to be.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").required(true)))]
pub(super) struct Set {
    /// The source's name: its deliveries come in at `/v1/webhooks/NAME`.
    name: String,
    /// A TOML or JSON file with the fields that a webhook source has in hub.toml.
    #[arg(long, value_name = "FILE", group = "what")]
    file: Option<PathBuf>,
    /// As hub.toml declares it, which is followed again.
    #[arg(long, group = "what")]
    declared: bool,
    #[command(flatten)]
    who: Who,
}

/// Which secret, and for how long the one of before is taken too.
#[derive(Args, Debug)]
pub(super) struct Rotate {
    /// The source's name.
    name: String,
    /// The secret that deliveries are signed with: `store:NAME`, `env:NAME` or `file:PATH`. `secret rotate` gives a
    /// `store:` secret another value, and keeps the one of before for a while too.
    #[arg(long, value_name = "REFERENCE")]
    to: SecretRef,
    /// For how long the secret of before is taken too, seconds; a day unless told, thirty days at most.
    #[arg(long, value_name = "SECONDS")]
    keep: Option<u64>,
    #[command(flatten)]
    who: Who,
}

impl Source {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::List(address) => list(&address, out).await,
            Self::Show(Which { name, address }) => {
                let source: Value = address.client()?.get(&path(&name)).await?;
                show(out, &source);
                Ok(ExitCode::SUCCESS)
            }
            Self::Add(set) => set.run(out, "add").await,
            Self::Change(set) => set.run(out, "change").await,
            Self::Remove(Named { name, who }) => send(out, &name, &who, json!({ "do": "remove" })).await,
            Self::Confirm(Named { name, who }) => send(out, &name, &who, json!({ "do": "confirm" })).await,
            Self::Rotate(Rotate { name, to, keep, who }) => {
                send(out, &name, &who, json!({ "do": "rotate", "reference": to, "keep_s": keep })).await
            }
        }
    }
}

impl Set {
    async fn run(self, out: &Out, verb: &str) -> Result<ExitCode, Failed> {
        let request = match &self.file {
            Some(path) => json!({ "do": verb, "source": document(path)? }),
            None => json!({ "do": "declared" }),
        };
        send(out, &self.name, &self.who, request).await
    }
}

fn path(name: &str) -> String {
    format!("/v1/sources/{}", encoded(name))
}

async fn send(out: &Out, name: &str, who: &Who, request: Value) -> Result<ExitCode, Failed> {
    let answer: Value = who.send(&path(name), request).await?;
    said(out, &answer);
    Ok(ExitCode::SUCCESS)
}

async fn list(address: &HubAddress, out: &Out) -> Result<ExitCode, Failed> {
    let answer: Value = address.client()?.get("/v1/sources").await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let sources = answer.get("sources").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows = sources.iter().map(|source| {
        vec![
            text(source, "/name"),
            format!("{}@{}", text(source, "/plugin"), text(source, "/version")),
            text(source, "/source"),
            texts(source, "/types"),
            text(source, "/secret"),
            text(source, "/replaced/until"),
        ]
    });
    let head = ["source", "plugin", "events come from", "types", "signed with", "secret of before until"];
    out.table(&head, rows.collect(), "no webhook sources are configured");
    Ok(ExitCode::SUCCESS)
}

fn show(out: &Out, source: &Value) {
    if out.is_json() {
        return out.value(source);
    }
    let of = |name: &str| text(source, &format!("/{name}"));
    let line = |name: &str, value: String| out.say(format!("  {} {value}", out.dim(&format!("{name:<12}"))));
    out.say(out.bold(&of("name")));
    line("deliveries", format!("POST {}", of("path")));
    line("plugin", format!("{} {}", of("plugin"), of("version")));
    let (algorithm, encoding, header) = (of("signed/algorithm"), of("signed/encoding"), of("signed/header"));
    line("signature", format!("{algorithm} as {encoding}, in header `{header}`"));
    line("signed with", of("secret"));
    if source.pointer("/replaced").is_some() {
        line("or with", format!("{}, until {}", of("replaced/secret"), of("replaced/until")));
    }
    line("events from", of("source"));
    line("types", texts(source, "/types"));
    line("at most", format!("{} bytes", of("body_bytes_limit")));
    line("set by", set_by(source).to_owned());
}

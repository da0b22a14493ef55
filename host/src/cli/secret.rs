//! `crossdock secret`. A value comes from a file or from standard input, never from the command line, where other
//! processes and the shell's history see it.

mod reseal;

use std::{
    fs,
    io::{self, IsTerminal as _, Read as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failed, HubAddress,
    answer::{text, texts},
    control::Who,
    out::Out,
};
use crate::{net::client::encoded, ports};

/// Largest value, bytes.
const VALUE_BYTES_LIMIT: u64 = 64 << 10;

/// Secrets that the hub keeps.
#[derive(Subcommand, Debug)]
pub(super) enum Secret {
    /// List the secrets that the hub keeps: when each was set, by whom, what uses it; never a value.
    List(HubAddress),
    /// Set a secret that is not set yet; connections refer to it as `store:NAME`.
    Set(Set),
    /// Give a secret another value; the next call uses it.
    Rotate(Rotate),
    /// Take a rotation back: the value of before is used again.
    TakeBack(Which),
    /// Confirm a rotation: the value of before is destroyed.
    Confirm(Which),
    /// Remove a secret that nothing refers to.
    Remove(Which),
    /// Seal every secret, and the keys of personal data, anew under another key, of a hub that is switched off.
    Reseal(reseal::Reseal),
}

/// Where a value comes from.
#[derive(Args, Debug, Default)]
pub(super) struct ValueSource {
    /// The file that holds the value, without the line break at its end; absent: standard input.
    #[arg(long, value_name = "FILE")]
    value_file: Option<PathBuf>,
}

/// Which secret, and its value.
#[derive(Args, Debug)]
pub(super) struct Set {
    /// Its name.
    name: String,
    #[command(flatten)]
    from: ValueSource,
    #[command(flatten)]
    who: Who,
}

/// Which secret, its value, and how long the one of before is kept.
#[derive(Args, Debug)]
pub(super) struct Rotate {
    #[command(flatten)]
    set: Set,
    /// For how long it can be taken back, seconds; a day unless told, thirty days at most.
    #[arg(long, value_name = "SECONDS")]
    keep: Option<u64>,
}

/// Which secret.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// Its name.
    name: String,
    #[command(flatten)]
    who: Who,
}

impl ValueSource {
    /// Reads the value.
    pub(super) fn read(&self) -> Result<ports::secrets::Secret, Failed> {
        let mut value = Vec::new();
        match &self.value_file {
            Some(path) => {
                let file =
                    fs::File::open(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
                file.take(VALUE_BYTES_LIMIT + 2).read_to_end(&mut value)?;
            }
            None => {
                if io::stdin().is_terminal() {
                    return Err(
                        "the value comes from a file (`--value-file FILE`) or from standard input (`… < FILE`), so \
                                that nobody sees it"
                            .into(),
                    );
                }
                io::stdin().lock().take(VALUE_BYTES_LIMIT + 2).read_to_end(&mut value)?;
            }
        }
        while value.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            value.pop();
        }
        if value.is_empty() {
            return Err("the value is empty".into());
        }
        Ok(ports::secrets::Secret::new(value))
    }
}

/// The value as the API takes it.
pub(super) fn as_text(value: &ports::secrets::Secret) -> Result<&str, Failed> {
    std::str::from_utf8(value.expose()).map_err(|_| "the value is not UTF-8 text: encode it first".into())
}

impl Secret {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::List(address) => list(&address, out).await,
            Self::Set(Set { name, from, who }) => {
                let value = from.read()?;
                send(out, &name, &who, json!({ "do": "set", "value": as_text(&value)? })).await
            }
            Self::Rotate(Rotate { set: Set { name, from, who }, keep }) => {
                let value = from.read()?;
                send(out, &name, &who, json!({ "do": "rotate", "value": as_text(&value)?, "keep_s": keep })).await
            }
            Self::TakeBack(Which { name, who }) => send(out, &name, &who, json!({ "do": "take-back" })).await,
            Self::Confirm(Which { name, who }) => send(out, &name, &who, json!({ "do": "confirm" })).await,
            Self::Reseal(reseal) => Box::pin(reseal.run(out)).await,
            Self::Remove(Which { name, who }) => send(out, &name, &who, json!({ "do": "remove" })).await,
        }
    }
}

async fn send(out: &Out, name: &str, who: &Who, request: Value) -> Result<ExitCode, Failed> {
    let path = format!("/v1/secrets/{}", encoded(name));
    let answer: Value = who.send(&path, request).await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    if answer.is_null() {
        out.say(format!("secret `{name}` is removed"));
        return Ok(ExitCode::SUCCESS);
    }
    out.say(format!(
        "secret `{name}` has version {}; connections refer to it as `store:{name}`",
        text(&answer, "/version")
    ));
    let until = text(&answer, "/previous/until");
    if !until.is_empty() {
        out.say(format!("  `crossdock secret take-back {name}` takes the rotation back until {until}"));
        let users = texts(&answer, "/used_by");
        if users.contains("webhook source") {
            out.say(format!(
                "  until then, or `crossdock secret confirm {name}`, what the value of before signs is taken too"
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(address: &HubAddress, out: &Out) -> Result<ExitCode, Failed> {
    let answer: Value = address.client()?.get("/v1/secrets").await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let secrets = answer.get("secrets").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows = secrets
        .iter()
        .map(|secret| {
            let users = texts(secret, "/used_by");
            vec![
                text(secret, "/name"),
                text(secret, "/version"),
                text(secret, "/set"),
                text(secret, "/by"),
                if users.is_empty() { "-".to_owned() } else { users },
                text(secret, "/previous/until"),
            ]
        })
        .collect();
    let head = ["secret", "version", "set", "by", "used by", "can be taken back until"];
    out.table(&head, rows, "the hub keeps no secrets");
    Ok(ExitCode::SUCCESS)
}

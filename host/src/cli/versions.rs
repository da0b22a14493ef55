//! What is common to `crossdock pipeline` and `crossdock table`: versions that one person drafts and another approves.

use std::{process::ExitCode, str::FromStr};

use clap::Args;
use semver::Version;
use serde_json::{Map, Value, json};

use super::{
    Failed, HubAddress,
    answer::{list, text},
    control::Who,
    out::Out,
};
use crate::{
    model::{difference::FieldChange, timestamp::Timestamp},
    net::client::encoded,
};

/// A version by its name, `namespace/name@version`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) version: Version,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` names no version: write `namespace/name@1.2.0`");
        let (name, version) = text.split_once('@').ok_or_else(wrong)?;
        let (namespace, below) = name.split_once('/').ok_or_else(wrong)?;
        if namespace.is_empty() || below.is_empty() || below.contains('/') {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), version: version.parse().map_err(|_| wrong())? })
    }
}

/// A version, and who does something with it.
#[derive(Args, Debug)]
pub(super) struct Act {
    /// The version, `namespace/name@version`.
    named: Named,
    #[command(flatten)]
    who: Who,
}

/// A line, and who rolls it back.
#[derive(Args, Debug)]
pub(super) struct Rollback {
    /// Which, `namespace/name`.
    name: String,
    #[command(flatten)]
    who: Who,
}

/// A pipeline that is paused, or goes on.
#[derive(Args, Debug)]
pub(super) struct Held {
    /// Which, `namespace/name`.
    name: String,
    #[command(flatten)]
    who: Who,
}

/// What to deprecate.
#[derive(Args, Debug)]
pub(super) struct Deprecate {
    #[command(flatten)]
    act: Act,
    /// Until when it is meant to be used, such as `2027-01-31T00:00:00Z`.
    #[arg(long, value_name = "TIME")]
    sunset: Option<Timestamp>,
    /// The version to use instead.
    #[arg(long, value_name = "VERSION")]
    replaced_by: Option<Version>,
}

/// What to compare.
#[derive(Args, Debug)]
pub(super) struct Pair {
    /// The earlier version, `namespace/name@version`.
    pub(super) from: Named,
    /// The later version of the same.
    pub(super) to: Named,
    #[command(flatten)]
    pub(super) address: HubAddress,
}

/// A line to look at.
#[derive(Args, Debug)]
pub(super) struct Line {
    /// Which, `namespace/name`.
    pub(super) name: String,
    #[command(flatten)]
    pub(super) address: HubAddress,
}

/// A line or a version to look at.
#[derive(Args, Debug)]
pub(super) struct Shown {
    /// Which, `namespace/name` or `namespace/name@version`.
    pub(super) name: String,
    #[command(flatten)]
    pub(super) address: HubAddress,
}

impl Act {
    /// Does it: `kind` is `pipelines` or `tables`.
    pub(super) async fn send(self, out: &Out, kind: &str, verb: &str, more: Value) -> Result<ExitCode, Failed> {
        let Named { name, version } = self.named;
        let mut fields = Map::from_iter([("version".to_owned(), Value::from(version.to_string()))]);
        if let Value::Object(more) = more {
            fields.extend(more);
        }
        control(out, &self.who, kind, &name, verb, fields).await
    }
}

impl Rollback {
    pub(super) async fn send(self, out: &Out, kind: &str) -> Result<ExitCode, Failed> {
        control(out, &self.who, kind, &self.name, "rollback", Map::new()).await
    }
}

impl Deprecate {
    pub(super) async fn send(self, out: &Out, kind: &str) -> Result<ExitCode, Failed> {
        let Self { act, sunset, replaced_by } = self;
        act.send(out, kind, "deprecate", json!({ "sunset": sunset, "replaced_by": replaced_by })).await
    }
}

impl Held {
    pub(super) async fn send(self, out: &Out, verb: &str) -> Result<ExitCode, Failed> {
        let path = format!("/v1/pipelines/{}/hold", path_of(&self.name)?);
        say(out, &self.who.send(&path, json!({ "do": verb })).await?)
    }
}

async fn control(
    out: &Out,
    who: &Who,
    kind: &str,
    name: &str,
    verb: &str,
    mut request: Map<String, Value>,
) -> Result<ExitCode, Failed> {
    request.insert("do".to_owned(), verb.into());
    request.retain(|_, value| !value.is_null());
    let path = format!("/v1/{kind}/{}/control", path_of(name)?);
    say(out, &who.send(&path, Value::Object(request)).await?)
}

/// Says what was done.
fn say(out: &Out, answer: &Value) -> Result<ExitCode, Failed> {
    if out.is_json() {
        out.value(answer);
    } else {
        out.say(format!("{} {}", out.green("done"), text(answer, "/summary")));
        notes(out, answer);
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what was drafted.
pub(super) fn drafted(out: &Out, answer: &Value) {
    if out.is_json() {
        return out.value(answer);
    }
    let named = format!("{}@{}", text(answer, "/name"), text(answer, "/version"));
    let state = if answer.pointer("/unchanged") == Some(&Value::Bool(true)) { "unchanged" } else { "drafted" };
    out.say(format!("{} {} {}", out.green(state), out.bold(&named), out.dim(&text(answer, "/digest"))));
    notes(out, answer);
}

fn notes(out: &Out, answer: &Value) {
    list(answer, "/notes").for_each(|note| out.say(format!("  {}", note.as_str().unwrap_or_default())));
}

/// The versions of a line, as a table.
pub(super) fn table(out: &Out, answer: &Value) {
    let rows = list(answer, "/versions").map(|version| {
        let digest: String = text(version, "/digest").chars().take(19).collect();
        let (sunset, instead) = (text(version, "/sunset"), text(version, "/replaced_by"));
        let until = if sunset.is_empty() { sunset } else { format!("until {sunset} ") };
        let instead = if instead.is_empty() { instead } else { format!("use {instead}") };
        let part = text(version, "/part");
        vec![
            text(version, "/version"),
            text(version, "/state"),
            if part == "active" { out.green(&part) } else { part },
            or_dash(text(version, "/author")),
            or_dash(text(version, "/approved_by")),
            digest,
            format!("{until}{instead}"),
        ]
    });
    out.table(&["version", "state", "part", "drafted by", "approved by", "digest", ""], rows.collect(), "no versions");
}

/// One field that differs.
pub(super) fn field(out: &Out, change: &FieldChange) -> String {
    let show = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => {
            format!("{}: {} → {}", change.path, out.red(&show(before)), out.green(&show(after)))
        }
        (Some(before), None) => format!("{}: {} is gone", change.path, out.red(&show(before))),
        (None, Some(after)) => format!("{}: {} is new", change.path, out.green(&show(after))),
        (None, None) => change.path.clone(),
    }
}

/// A name in a path.
pub(super) fn path_of(name: &str) -> Result<String, Failed> {
    let wrong = || format!("`{name}` is no name such as `retail/orders`");
    let (namespace, below) = name.split_once('/').ok_or_else(wrong)?;
    Ok(format!("{}/{}", encoded(namespace), encoded(below)))
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// Refuses to compare two different things.
pub(super) fn same_line(pair: &Pair) -> Result<(), Failed> {
    if pair.from.name == pair.to.name {
        return Ok(());
    }
    Err(format!("`{}` and `{}` are not versions of the same", pair.from.name, pair.to.name).into())
}

#[cfg(test)]
mod tests {
    use super::Named;

    #[test]
    fn a_version_is_named_by_its_line_and_number() {
        let named: Named = "retail/orders@1.2.0".parse().unwrap();
        assert_eq!((named.name.as_str(), named.version.to_string().as_str()), ("retail/orders", "1.2.0"));
        for wrong in ["retail/orders", "orders@1.0.0", "retail/orders@1", "a/b/c@1.0.0", "/b@1.0.0", ""] {
            assert!(wrong.parse::<Named>().is_err(), "{wrong}");
        }
    }
}

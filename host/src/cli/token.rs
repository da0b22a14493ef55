//! `crossdock token`.

use std::{num::NonZeroU32, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Failed, HubAddress, control::Why, out::Out};
use crate::{
    app::access::enrolment::write_secret,
    model::principal::{Action, Kind, Role},
    net::client::encoded,
};

/// Tokens.
#[derive(Subcommand, Debug)]
pub(super) enum Token {
    /// Make a token. It is shown once.
    Create(Box<Create>),
    /// List tokens: whose they are, what they may do, when they were last used.
    List(HubAddress),
    /// Revoke a token, at once and for good.
    Revoke(Revoke),
    /// Give a token another secret. It is shown once.
    Rotate(Rotate),
    /// Show how much tokens are used.
    Usage(Usage),
}

/// What the token is to be.
#[derive(Args, Debug)]
pub(super) struct Create {
    /// Whose it is: the name that decisions and audit records will carry.
    name: String,
    /// What they do here: partner, retailer, operator, auditor or admin; may be given several times.
    #[arg(long = "role", required = true, value_name = "ROLE")]
    roles: Vec<Role>,
    /// What they are: person, partner or service.
    #[arg(long, default_value = "person", value_name = "KIND")]
    kind: Kind,
    /// Only this action, such as `run.read`; may be given several times.
    #[arg(long = "action", value_name = "ACTION")]
    actions: Vec<Action>,
    /// A source that events may be sent from; with `*` at the end, all that begin so.
    #[arg(long = "source", value_name = "URI")]
    sources: Vec<String>,
    /// An event type that may be sent; with `*` at the end, all that begin so.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// A namespace that may be published in.
    #[arg(long = "namespace", value_name = "NAME")]
    namespaces: Vec<String>,
    /// A contract whose published reads may be asked, such as `retail/erp-orders@1`; without one, those that the roles
    /// allow, which for a partner is none.
    #[arg(long = "contract", value_name = "CONTRACT")]
    contracts: Vec<String>,
    /// For how long it is valid, such as `12h` or `90d`.
    #[arg(long, default_value = "90d", value_name = "TIME", value_parser = seconds)]
    valid_for: u64,
    /// At most so many requests a second.
    #[arg(long, value_name = "NUMBER")]
    per_second: Option<NonZeroU32>,
    /// At most so many requests a period, such as `10000/day`; with `minute`, `hour` or `day`.
    #[arg(long, value_name = "NUMBER/PERIOD", value_parser = quota)]
    quota: Option<Value>,
    /// Write it to a file, for its owner alone to read, instead of showing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    why: Why,
}

/// Which token.
#[derive(Args, Debug)]
pub(super) struct Revoke {
    /// The token's id.
    id: String,
    #[command(flatten)]
    why: Why,
}

/// Which token, and how.
#[derive(Args, Debug)]
pub(super) struct Rotate {
    /// The token's id.
    id: String,
    /// For how long the old secret is good after this, such as `1h`; at most a week.
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = seconds)]
    overlap: u64,
    /// Write it to a file, for its owner alone to read, instead of showing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    why: Why,
}

/// Whose use.
#[derive(Args, Debug)]
pub(super) struct Usage {
    /// Everybody's, for those who manage tokens.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    address: HubAddress,
}

impl Token {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::Create(create) => create.run(out).await,
            Self::List(address) => list(&address, out).await,
            Self::Revoke(Revoke { id, why }) => {
                let body = serde_json::to_vec(&json!({ "reason": why.reason }))?;
                let path = format!("/v1/tokens/{}/revoke", encoded(&id));
                let view: Value = why.address.client()?.post(&path, "application/json", body).await?;
                if out.is_json() {
                    out.value(&view);
                } else {
                    out.say(format!("token {} of `{}` is revoked", text(&view, "id"), text(&view, "name")));
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Rotate(Rotate { id, overlap, out: to, why }) => {
                let body = serde_json::to_vec(&json!({ "overlap_s": overlap, "reason": why.reason }))?;
                let path = format!("/v1/tokens/{}/rotate", encoded(&id));
                let issued: Value = why.address.client()?.post(&path, "application/json", body).await?;
                hand_over(out, &issued, to)
            }
            Self::Usage(usage) => usage.run(out).await,
        }
    }
}

impl Create {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let mut request = json!({
            "name": self.name, "kind": self.kind, "roles": self.roles, "valid_for_s": self.valid_for,
            "reason": self.why.reason,
            "scope": { "actions": self.actions, "sources": self.sources, "types": self.types,
                "namespaces": self.namespaces, "contracts": self.contracts },
        });
        let mut limits = serde_json::Map::new();
        limits.extend(self.per_second.map(|number| ("per_second".to_owned(), number.get().into())));
        limits.extend(self.quota.map(|quota| ("quota".to_owned(), quota)));
        if let Some(request) = request.as_object_mut() {
            request.insert("limits".to_owned(), limits.into());
        }
        let client = self.why.address.client()?;
        let issued: Value = client.post("/v1/tokens", "application/json", serde_json::to_vec(&request)?).await?;
        hand_over(out, &issued, self.out)
    }
}

/// Shows a new token, or writes it to a file.
fn hand_over(out: &Out, issued: &Value, to: Option<PathBuf>) -> Result<ExitCode, Failed> {
    let mut shown = issued.clone();
    if let Some(path) = &to {
        write_secret(path, text(issued, "token")).map_err(|error| {
            format!(
                "the token cannot be written to `{}`: {error}; revoke it with `crossdock token revoke {}` and make another",
                path.display(),
                text(issued, "id")
            )
        })?;
        if let Some(fields) = shown.as_object_mut() {
            fields.remove("token");
            fields.insert("token_file".to_owned(), path.display().to_string().into());
        }
    }
    if out.is_json() {
        out.value(&shown);
        return Ok(ExitCode::SUCCESS);
    }
    let what =
        format!("token {} of `{}`, valid until {}", text(issued, "id"), text(issued, "name"), text(issued, "expires"));
    match to {
        Some(path) => out.say(format!("{what}, is in {}", path.display())),
        None => {
            out.say(text(issued, "token"));
            out.say(out.dim(&format!("{what}; it is not shown again")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(address: &HubAddress, out: &Out) -> Result<ExitCode, Failed> {
    let answer: Value = address.client()?.get("/v1/tokens").await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let tokens = answer.get("tokens").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows = tokens.iter().map(row).collect();
    out.table(
        &["id", "name", "kind", "roles", "held to", "state", "expires", "last used"],
        rows,
        "there are no tokens",
    );
    Ok(ExitCode::SUCCESS)
}

fn row(token: &Value) -> Vec<String> {
    let words = |value: Option<&Value>| -> Vec<String> {
        let words = value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        words.map(str::to_owned).collect()
    };
    let held: Vec<String> = token
        .get("scope")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .flat_map(|(_, of)| words(Some(of)))
        .collect();
    let development = token.get("development").and_then(Value::as_bool).unwrap_or(false);
    vec![
        text(token, "id").to_owned(),
        text(token, "name").to_owned(),
        text(token, "kind").to_owned(),
        words(token.get("roles")).join(", "),
        held.join(", "),
        if development { format!("{}, development", text(token, "state")) } else { text(token, "state").to_owned() },
        text(token, "expires").to_owned(),
        token.get("last_used").and_then(Value::as_str).unwrap_or("never").to_owned(),
    ]
}

impl Usage {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let query = if self.all { vec![("all", "true".to_owned())] } else { Vec::new() };
        let answer: Value = self.address.client()?.get_with("/v1/usage", &query).await?;
        if out.is_json() {
            out.value(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        let number = |value: Option<&Value>| value.map(ToString::to_string).unwrap_or_default();
        let usage = answer.get("usage").and_then(Value::as_array).cloned().unwrap_or_default();
        let rows = usage
            .iter()
            .map(|used| {
                let limit = |pointer: &str| number(used.pointer(pointer).filter(|value| !value.is_null()));
                let per = used.pointer("/limits/quota/per").and_then(Value::as_str);
                let quota = per.map(|per| {
                    format!("{} of {} this {per}", number(used.get("in_period")), limit("/limits/quota/requests"))
                });
                vec![
                    text(used, "token").to_owned(),
                    text(used, "name").to_owned(),
                    number(used.get("requests")),
                    number(used.get("refused")),
                    quota.unwrap_or_default(),
                    limit("/limits/per_second"),
                    used.get("last_used").and_then(Value::as_str).unwrap_or("never").to_owned(),
                ]
            })
            .collect();
        out.table(
            &["token", "name", "requests", "refused", "quota", "a second", "last used"],
            rows,
            "nothing is counted",
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Reads `90d`, `12h`, `30m` or `45s`.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "must be a whole number with `s`, `m`, `h` or `d`, such as `90d`".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let number: u64 = text.strip_suffix(unit).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    let length = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(length).ok_or_else(wrong)
}

/// Reads `10000/day`.
fn quota(text: &str) -> Result<Value, String> {
    let wrong = || "must be a number of requests and a period, such as `10000/day`".to_owned();
    let (requests, per) = text.split_once('/').ok_or_else(wrong)?;
    let requests: u64 = requests.parse().ok().filter(|requests| *requests > 0).ok_or_else(wrong)?;
    if !matches!(per, "minute" | "hour" | "day") {
        return Err(wrong());
    }
    Ok(json!({ "requests": requests, "per": per }))
}

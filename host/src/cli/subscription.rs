//! `crossdock subscription`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failed, HubAddress,
    answer::{set_by, text, texts},
    control::{Who, Why},
    out::Out,
    plugin::said_or,
};
use crate::{
    model::{
        connection::SecretRef,
        subscription::{Retry, Subscription as Declared},
        timestamp::Timestamp,
    },
    net::client::encoded,
};

/// Events that are delivered to others' endpoints.
#[derive(Subcommand, Debug)]
pub(super) enum Subscription {
    /// Declare a subscription, change it, or follow hub.toml again; a second person has to agree where more leaves the hub
    /// than before.
    Add(Add),
    /// List the subscriptions that you may see.
    List(HubAddress),
    /// Show a subscription: where it stands, what fails.
    Show(Which),
    /// List the events that were given up.
    DeadLetters(DeadLetters),
    /// Hold a subscription; its events wait in the journal.
    Pause(Held),
    /// Let a subscription go on where it stood.
    Resume(Held),
    /// End a subscription; its dead letters go with it.
    Remove(Held),
    /// Have events delivered again, beside what comes in.
    Replay(Replay),
}

/// What is delivered to whom.
#[derive(Args, Debug)]
pub(super) struct Add {
    /// Its name: 1 to 64 of `a-z`, `0-9` and `-`, a letter first.
    name: String,
    /// As hub.toml declares it, which is followed again.
    #[arg(long, conflicts_with_all = ["owner", "types", "url", "secrets", "accepted", "allow_addresses"])]
    declared: bool,
    /// Whose it is: the name on the tokens of those who may see and hold it.
    #[arg(long, value_name = "NAME", required_unless_present = "declared")]
    owner: Option<String>,
    /// An event type, with `*` at the end for all that begin so; may be given several times.
    #[arg(long = "types", required_unless_present = "declared", value_name = "TYPE")]
    types: Vec<String>,
    /// Where to.
    #[arg(long, value_name = "URL", required_unless_present = "declared")]
    url: Option<String>,
    /// What deliveries are signed with, as `env:NAME` or `file:PATH`; twice while one replaces the other.
    #[arg(long = "secret", required_unless_present = "declared", value_name = "REF")]
    secrets: Vec<SecretRef>,
    /// Deliver events that were accepted from outside too, and not only what pipelines emit.
    #[arg(long)]
    accepted: bool,
    /// A private address that may be reached all the same, as a CIDR block; may be given several times.
    #[arg(long = "allow-address", value_name = "CIDR")]
    allow_addresses: Vec<String>,
    /// Longest wait for an answer, milliseconds.
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    timeout_ms: u64,
    /// Deliveries at the same time; those about one subject are always one after the other.
    #[arg(long, default_value_t = 4, value_name = "NUMBER")]
    concurrency: u32,
    /// Attempts in all.
    #[arg(long, default_value_t = Retry::default().attempts, value_name = "NUMBER")]
    attempts: u32,
    /// Wait before the second attempt, milliseconds; it doubles from then on.
    #[arg(long, default_value_t = Retry::default().first_ms, value_name = "MS")]
    first_ms: u64,
    /// Longest wait between attempts, milliseconds.
    #[arg(long, default_value_t = Retry::default().max_ms, value_name = "MS")]
    max_ms: u64,
    /// After how long there is no further attempt, seconds.
    #[arg(long, default_value_t = Retry::default().within_s, value_name = "SECONDS")]
    within_s: u64,
    #[command(flatten)]
    who: Who,
}

/// Which subscription.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// Its name.
    name: String,
    #[command(flatten)]
    address: HubAddress,
}

/// Whose dead letters.
#[derive(Args, Debug)]
pub(super) struct DeadLetters {
    /// Its name.
    name: String,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_name = "NUMBER")]
    limit: usize,
    #[command(flatten)]
    address: HubAddress,
}

/// Which subscription, and why.
#[derive(Args, Debug)]
pub(super) struct Held {
    /// Its name.
    name: String,
    #[command(flatten)]
    why: Why,
}

/// What is delivered again.
#[derive(Args, Debug)]
pub(super) struct Replay {
    /// Its name.
    name: String,
    #[command(flatten)]
    what: What,
    /// Only of this type, with `*` at the end for all that begin so; may be given several times.
    #[arg(long = "types", value_name = "TYPE")]
    types: Vec<String>,
    /// At most so many deliveries a second.
    #[arg(long, default_value_t = 10, value_name = "NUMBER")]
    per_second: u32,
    #[command(flatten)]
    why: Why,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct What {
    /// One event, by its acceptance.
    #[arg(long, value_name = "ACC")]
    event: Option<String>,
    /// Everything that was given up.
    #[arg(long)]
    dead_letters: bool,
    /// Everything that was accepted since a time, such as `2026-06-01T00:00:00Z`.
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
}

impl Subscription {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::Add(add) => add.run(out).await,
            Self::List(address) => list(&address, out).await,
            Self::Show(Which { name, address }) => {
                let view: Value = address.client()?.get(&path(&name)).await?;
                show(out, &view);
                Ok(ExitCode::SUCCESS)
            }
            Self::DeadLetters(letters) => letters.run(out).await,
            Self::Pause(held) => control(out, held, "pause").await,
            Self::Resume(held) => control(out, held, "resume").await,
            Self::Remove(held) => control(out, held, "remove").await,
            Self::Replay(replay) => replay.run(out).await,
        }
    }
}

impl Add {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let (at, who, declared) = (path(&self.name), self.who.clone(), self.declared);
        let request = match self.into_subscription() {
            Some(subscription) if !declared => json!({ "subscription": subscription }),
            _ => json!({ "do": "declared" }),
        };
        let answer: Value = who.send(&at, request).await?;
        said_or(out, &answer, show);
        Ok(ExitCode::SUCCESS)
    }

    /// What is set; absent: no owner or place is given, so it is what hub.toml declares.
    fn into_subscription(self) -> Option<Declared> {
        let retry =
            Retry { attempts: self.attempts, first_ms: self.first_ms, max_ms: self.max_ms, within_s: self.within_s };
        Some(Declared {
            owner: self.owner?,
            types: self.types,
            accepted: self.accepted,
            url: self.url?,
            secrets: self.secrets,
            allow_addresses: self.allow_addresses,
            timeout_ms: self.timeout_ms,
            concurrency: self.concurrency,
            retry,
        })
    }
}

impl Replay {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let What { event, since, .. } = self.what;
        let selection = match (event, since) {
            (Some(event), _) => json!({ "event": event }),
            (None, Some(since)) => json!({ "since": since }),
            (None, None) => json!("dead_letters"),
        };
        let replay = json!({ "selection": selection, "types": self.types, "per_second": self.per_second });
        let body = serde_json::to_vec(&json!({ "do": "replay", "replay": replay, "reason": self.why.reason }))?;
        let path = format!("{}/control", path(&self.name));
        let view: Value = self.why.address.client()?.post(&path, "application/json", body).await?;
        if out.is_json() {
            out.value(&view);
        } else {
            let name = text(&view, "/name");
            out.say(format!("its events are delivered again; `crossdock subscription show {name}` says how far"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl DeadLetters {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let path = format!("{}/dead-letters", path(&self.name));
        let query = [("limit", self.limit.to_string())];
        let answer: Value = self.address.client()?.get_with(&path, &query).await?;
        if out.is_json() {
            out.value(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        let letters = answer.get("dead_letters").and_then(Value::as_array).cloned().unwrap_or_default();
        let paths = ["/event", "/type", "/subject", "/accepted", "/given_up", "/attempts", "/cause"];
        let rows = letters.iter().map(|letter| paths.iter().map(|path| text(letter, path)).collect()).collect();
        let head = ["event", "type", "subject", "accepted", "given up", "attempts", "cause"];
        out.table(&head, rows, "nothing was given up");
        Ok(ExitCode::SUCCESS)
    }
}

async fn control(out: &Out, Held { name, why }: Held, act: &str) -> Result<ExitCode, Failed> {
    let body = serde_json::to_vec(&json!({ "do": act, "reason": why.reason }))?;
    let at = format!("{}/control", path(&name));
    let view: Value = why.address.client()?.post(&at, "application/json", body).await?;
    if act == "remove" && !out.is_json() {
        out.say(format!("`{name}` is removed"));
    } else {
        show(out, &view);
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(address: &HubAddress, out: &Out) -> Result<ExitCode, Failed> {
    let answer: Value = address.client()?.get("/v1/subscriptions").await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let subscriptions = answer.get("subscriptions").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows = subscriptions
        .iter()
        .map(|view| {
            vec![
                text(view, "/name"),
                text(view, "/owner"),
                state(out, view),
                texts(view, "/types"),
                text(view, "/url"),
                text(view, "/delivered"),
                text(view, "/waiting"),
                text(view, "/dead_letters"),
            ]
        })
        .collect();
    let head = ["name", "owner", "state", "types", "to", "delivered", "waiting", "given up"];
    out.table(&head, rows, "there are no subscriptions that you may see");
    Ok(ExitCode::SUCCESS)
}

fn show(out: &Out, view: &Value) {
    if out.is_json() {
        return out.value(view);
    }
    out.say(format!("{}  {}", out.bold(&text(view, "/name")), state(out, view)));
    let line = |name: &str, value: String| {
        if !value.is_empty() {
            out.say(format!("  {} {value}", out.dim(&format!("{name:<12}"))));
        }
    };
    line("owner", text(view, "/owner"));
    line("types", texts(view, "/types"));
    line("to", text(view, "/url"));
    line("signed with", texts(view, "/secrets"));
    line("set by", set_by(view).to_owned());
    let behind = if view.get("caught_up") == Some(&Value::Bool(true)) { "" } else { ", more in the journal" };
    line(
        "delivered",
        format!("{} since the start, {} waiting{behind}", text(view, "/delivered"), text(view, "/waiting")),
    );
    if view.get("failing").is_some_and(Value::is_object) {
        let of = |name: &str| text(view, &format!("/failing/{name}"));
        line(
            "failing",
            format!("{}, attempt {}: {}; again at {}", of("event"), of("attempts"), of("cause"), of("due")),
        );
    }
    line("given up", text(view, "/dead_letters"));
    if view.get("replay").is_some_and(Value::is_object) {
        let of = |name: &str| text(view, &format!("/replay/{name}"));
        line("replay", format!("{} delivered again, {} failed", of("sent"), of("failed")));
    }
}

fn state(out: &Out, view: &Value) -> String {
    match text(view, "/state").as_str() {
        "active" => out.green("active"),
        "disabled" => out.red(&format!("disabled since {}: {}", text(view, "/since"), text(view, "/cause"))),
        _ => out.yellow(&format!("paused since {} by {}", text(view, "/since"), text(view, "/by"))),
    }
}

fn path(name: &str) -> String {
    format!("/v1/subscriptions/{}", encoded(name))
}

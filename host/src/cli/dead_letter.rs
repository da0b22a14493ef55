//! `crossdock dead-letter`.

use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failed, HubAddress,
    answer::number,
    control::{self, Who},
    many::{self, Pace},
    next,
    out::Out,
};
use crate::{model::run::RunSummary, net::client::encoded};

/// Longest payload that is shown whole, characters.
const PAYLOAD_CHARACTERS: usize = 16_000;

/// Runs that cannot go on without a person.
#[derive(Subcommand, Debug)]
pub(super) enum DeadLetter {
    /// List parked runs, latest first.
    List(List),
    /// Show why a run is parked: its cause, every failure on the way, and what it was started with.
    Show(Show),
    /// Let parked runs try again where they stopped. Exits with 1 if one was refused, or parked again at once.
    Replay(Replay),
}

/// Which parked runs.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only of this pipeline.
    #[arg(long)]
    pipeline: Option<String>,
    /// Only about this key.
    #[arg(long)]
    key: Option<String>,
    /// Only those whose cause contains this text.
    #[arg(long, value_name = "TEXT")]
    cause: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    address: HubAddress,
}

/// Which run.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// The run's id, or at least the first 8 digits of it.
    run: String,
    #[command(flatten)]
    address: HubAddress,
}

/// Which runs try again, and how fast.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("which").required(true).multiple(true)))]
pub(super) struct Replay {
    /// Only this run.
    #[arg(long, group = "which", conflicts_with_all = ["pipeline", "cause", "canary", "rate", "limit"])]
    run: Option<String>,
    /// Those of this pipeline.
    #[arg(long, group = "which")]
    pipeline: Option<String>,
    /// Those whose cause contains this text.
    #[arg(long, group = "which", value_name = "TEXT")]
    cause: Option<String>,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    who: Who,
}

impl DeadLetter {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::List(list) => list.run(out).await,
            Self::Show(show) => show.run(out).await,
            Self::Replay(replay) => replay.run(out).await,
        }
    }
}

fn field<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl List {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = self.address.client()?;
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.pipeline.map(|pipeline| ("pipeline", pipeline)));
        query.extend(self.key.map(|key| ("key", key)));
        query.extend(self.cause.map(|cause| ("cause", cause)));
        let answer: Value = client.get_with("/v1/dead-letters", &query).await?;
        if out.is_json() {
            out.value(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        let letters = answer.get("dead_letters").and_then(Value::as_array).cloned().unwrap_or_default();
        let rows = letters
            .iter()
            .map(|letter| {
                vec![
                    field(letter, "/run").chars().take("run_".len() + 12).collect(),
                    field(letter, "/key").to_owned(),
                    field(letter, "/step").to_owned(),
                    number(letter, "/attempts").to_string(),
                    field(letter, "/parked").to_owned(),
                    field(letter, "/cause").to_owned(),
                ]
            })
            .collect();
        out.table(&["run", "about", "step", "attempts", "parked", "cause"], rows, "no run is parked");
        let total = number(&answer, "/total");
        if total > letters.len() as u64 {
            out.say(format!("{} of {total}; `--limit` shows more", letters.len()));
        }
        if total > 0 {
            out.say("look at one with `crossdock dead-letter show RUN`");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Show {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = self.address.client()?;
        let letter: Value = client.get(&format!("/v1/dead-letters/{}", encoded(&self.run))).await?;
        if out.is_json() {
            out.value(&letter);
            return Ok(ExitCode::SUCCESS);
        }
        out.say(format!(
            "{}  {} {}  about {}",
            out.bold(field(&letter, "/run")),
            field(&letter, "/pipeline"),
            field(&letter, "/pipeline_version"),
            out.bold(field(&letter, "/key"))
        ));
        out.say(format!(
            "  {} at `{}` since {}: {}",
            out.yellow("parked"),
            field(&letter, "/step"),
            field(&letter, "/parked"),
            field(&letter, "/cause")
        ));
        if let Some(key) = letter.pointer("/parked_at/idempotency_key").and_then(Value::as_str) {
            out.say(format!("  {} {key}", out.dim("idempotency key")));
        }
        for link in letter.get("chain").and_then(Value::as_array).into_iter().flatten() {
            out.say(format!(
                "  {} {} `{}` attempt {}: {} `{}`: {}",
                out.yellow("!"),
                field(link, "/time"),
                field(link, "/step"),
                number(link, "/attempt"),
                field(link, "/failure/kind"),
                field(link, "/failure/code"),
                field(link, "/failure/message")
            ));
        }
        out.say(format!(
            "  {} `{}` from {}, id {}, data {}",
            out.dim("event"),
            field(&letter, "/event/type"),
            field(&letter, "/event/source"),
            field(&letter, "/event/id"),
            field(&letter, "/payload_digest")
        ));
        let payload = letter.pointer("/event/data").map(|data| serde_json::to_string_pretty(data).unwrap_or_default());
        let payload = payload.unwrap_or_default();
        if payload.chars().count() <= PAYLOAD_CHARACTERS {
            payload.lines().for_each(|line| out.say(format!("    {line}")));
        } else {
            out.say(format!("    {} bytes: `--json` shows them", payload.len()));
        }
        let summary: RunSummary = serde_json::from_value(letter.get("summary").cloned().unwrap_or_default())?;
        next::say(out, &summary);
        Ok(ExitCode::SUCCESS)
    }
}

impl Replay {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let Who { actor, reason, address } = self.who;
        let client = address.client()?;
        let request = json!({ "actor": actor.unwrap_or_default(), "do": "resume", "reason": reason });
        if let Some(run) = &self.run {
            let path = format!("/v1/runs/{}/control", encoded(run));
            let summary: RunSummary = client.post(&path, "application/json", serde_json::to_vec(&request)?).await?;
            control::say(out, &summary);
            return Ok(ExitCode::SUCCESS);
        }
        let filter = json!({ "state": "parked", "pipeline": self.pipeline, "cause": self.cause });
        many::send(out, &client, filter, request, self.pace, "parked runs try again").await
    }
}

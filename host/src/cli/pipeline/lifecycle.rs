//! `crossdock pipeline draft`, `approve`, `promote`, `rollback`, `pause`, `continue`, `show`, `versions`, `deprecate`, `retire`.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{diff::Diff, read, tell};
use crate::{
    cli::{
        Failed,
        answer::text,
        control::Who,
        out::Out,
        versions::{Act, Deprecate, Held, Line, Named, Rollback, Shown, drafted, path_of, table},
    },
    flow::language::{self, diagnostic},
    model::pipeline::Place,
    net::client::{ClientError, encoded},
};

/// Where pipelines are asked for.
pub(super) const KIND: &str = "pipelines";

/// Versions of pipelines, and which of them new runs start on.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum Lifecycle {
    /// Send a pipeline to a hub as a draft: checked, kept, and run by nobody before somebody else approves it.
    Draft(Draft),
    /// Tell what differs between two versions, or a file and a version, step by step.
    Diff(Diff),
    /// Approve a draft of somebody else's.
    Approve(Act),
    /// Have new runs start on a version; those under way finish on theirs.
    Promote(Promote),
    /// Have new runs start on the version again that they started on before.
    Rollback(Rollback),
    /// Let no step of any of its runs begin; what is out is recorded, events are accepted, and new runs wait.
    Pause(Held),
    /// Let a paused pipeline go on.
    Continue(Held),
    /// Show a pipeline, or one version with its text.
    Show(Shown),
    /// List a pipeline's versions, who drafted and approved each, and which one serves.
    Versions(Line),
    /// Tell the users of a version to use another.
    Deprecate(Deprecate),
    /// Put a version away that serves nobody, or a draft that nobody is to approve.
    Retire(Act),
}

/// What to draft.
#[derive(Args, Debug)]
pub(in crate::cli) struct Draft {
    /// The pipeline's file.
    file: PathBuf,
    #[command(flatten)]
    who: Who,
}

/// What to promote.
#[derive(Args, Debug)]
pub(in crate::cli) struct Promote {
    #[command(flatten)]
    act: Act,
    /// Bind a name of the pipeline's `uses` to a connection first.
    #[arg(long = "bind", value_name = "NAME=CONNECTION")]
    bindings: Vec<String>,
}

impl Lifecycle {
    pub(in crate::cli) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::Draft(draft) => draft.run(out).await,
            Self::Diff(diff) => diff.run(out).await,
            Self::Approve(act) => act.send(out, KIND, "approve", json!({})).await,
            Self::Promote(promote) => promote.run(out).await,
            Self::Rollback(rollback) => rollback.send(out, KIND).await,
            Self::Pause(held) => held.send(out, "pause").await,
            Self::Continue(held) => held.send(out, "continue").await,
            Self::Show(shown) => show(&shown, out).await,
            Self::Versions(line) => versions(&line, out).await,
            Self::Deprecate(deprecate) => deprecate.send(out, KIND).await,
            Self::Retire(act) => act.send(out, KIND, "retire", json!({})).await,
        }
    }
}

impl Draft {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let source = read(&self.file)?;
        let name = match language::parse(&source) {
            Ok(definition) => definition.name.value,
            Err(diagnostics) => {
                if out.is_json() {
                    out.value(&json!({ "file": self.file, "accepted": false, "mistakes": diagnostics }));
                }
                tell(out, &self.file, &source, &diagnostics);
                return Ok(ExitCode::FAILURE);
            }
        };
        let actor = self.who.actor.as_deref().map(|actor| format!("&actor={}", encoded(actor))).unwrap_or_default();
        let path = format!("/v1/{KIND}/{}?reason={}{actor}", path_of(&name)?, encoded(&self.who.reason));
        match self.who.address.client()?.post::<Value>(&path, "application/yaml", source.clone()).await {
            Ok(answer) => {
                drafted(out, &answer);
                Ok(ExitCode::SUCCESS)
            }
            Err(ClientError::Refused { problem, .. }) if !problem.mistakes.is_empty() => {
                let file = self.file.display().to_string();
                if out.is_json() {
                    out.value(&json!({ "file": file, "accepted": false, "mistakes": problem.mistakes }));
                }
                for mistake in &problem.mistakes {
                    let at = Place { line: mistake.line, column: mistake.column };
                    let (what, instead) = (&mistake.problem, &mistake.instead);
                    out.say(diagnostic::render(&file, &source, at, &mistake.code, what, instead));
                }
                out.say(format!("{} {file}: {} to mend", out.red("✗"), problem.mistakes.len()));
                Ok(ExitCode::FAILURE)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Promote {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let mut bindings = BTreeMap::new();
        for binding in &self.bindings {
            let (name, connection) = binding
                .split_once('=')
                .ok_or_else(|| format!("`--bind {binding}` binds nothing: write `--bind NAME=CONNECTION`"))?;
            bindings.insert(name, connection);
        }
        let more = if bindings.is_empty() { json!({}) } else { json!({ "bindings": bindings }) };
        self.act.send(out, KIND, "promote", more).await
    }
}

async fn show(shown: &Shown, out: &Out) -> Result<ExitCode, Failed> {
    let Shown { name, address } = shown;
    let client = address.client()?;
    if name.contains('@') {
        let Named { name, version } = name.parse::<Named>()?;
        let path = format!("/v1/{KIND}/{}/versions/{}", path_of(&name)?, encoded(&version.to_string()));
        let answer: Value = client.get(&path).await?;
        if out.is_json() {
            out.value(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        out.say(text(&answer, "/text").trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let answer: Value = client.get(&format!("/v1/{KIND}/{}", path_of(name)?)).await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let active = text(&answer, "/active");
    let active = if active.is_empty() { "no version yet".to_owned() } else { active };
    let by = if text(&answer, "/decided_by") == "configuration" { ", as the configuration says" } else { "" };
    out.say(format!("{}: new runs start on {}{by}", out.bold(name), out.bold(&active)));
    if answer.get("paused").is_some() {
        let (by, at, why) = (text(&answer, "/paused/by"), text(&answer, "/paused/at"), text(&answer, "/paused/reason"));
        out.say(format!("  {} by {by} at {at}: {why}", out.red("paused")));
    }
    let bound = answer.pointer("/bindings").and_then(Value::as_object).into_iter().flatten();
    for (alias, connection) in bound {
        out.say(format!("  `{alias}` is connection `{}`", connection.as_str().unwrap_or_default()));
    }
    table(out, &answer);
    Ok(ExitCode::SUCCESS)
}

async fn versions(line: &Line, out: &Out) -> Result<ExitCode, Failed> {
    let answer: Value = line.address.client()?.get(&format!("/v1/{KIND}/{}", path_of(&line.name)?)).await?;
    if out.is_json() {
        out.value(&answer.get("versions"));
    } else {
        table(out, &answer);
    }
    Ok(ExitCode::SUCCESS)
}

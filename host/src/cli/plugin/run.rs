//! `crossdock plugin run`: one call on the author's own machine, under the limits that the hub would hold it to.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use serde_json::json;

use super::local::Local;
use crate::{
    cli::{Failed, out::Out, story::grouped},
    model::{json::Json, timestamp::Timestamp},
    ports::invoker::{Answer, CallError, Completed, Invoker as _},
};

/// What to call.
#[derive(Args, Debug)]
pub(in crate::cli) struct Run {
    /// The package: a folder with a `plugin.toml` and a `component.wasm`, or a file made by `plugin pack`.
    package: PathBuf,
    /// The input: a file with one JSON document.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// What its clock shows, such as `2026-03-01T08:15:00Z`.
    #[arg(long, value_name = "TIME", default_value = "2026-01-01T00:00:00Z")]
    time: Timestamp,
}

impl Run {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let text = fs::read(&self.input).map_err(|error| format!("cannot read `{}`: {error}", self.input.display()))?;
        let input = Json::parse(text).map_err(|error| format!("`{}` is not JSON: {error}", self.input.display()))?;
        let local = Local::load(&self.package).await?;
        let limits = local.limits();
        let fuel_limit = limits.fuel(input.as_bytes().len());
        let schema = local.misfit(&input);
        let call = local.call(input, self.time)?;
        let Completed { result, usage, log, .. } = local.sandbox.invoke(call).await;
        let answered = result.is_ok();
        let answer = match result {
            Ok(Answer::Json(json)) => json.to_value(),
            Ok(Answer::Verdict(verdict)) => serde_json::to_value(verdict)?,
            Ok(Answer::Assessment(assessment)) => serde_json::to_value(assessment)?,
            Ok(_) => return Err("it answered with events: this is no rule, scorer or transform".into()),
            Err(CallError::Failure(failure)) => json!({ "failure": failure }),
            Err(CallError::Limit(exceeded)) => json!({ "limit": exceeded.to_string() }),
            Err(CallError::Trap { message }) => json!({ "trap": message }),
            Err(CallError::Contract { message }) => json!({ "contract": message }),
            Err(CallError::Unavailable { message }) => json!({ "unavailable": message }),
        };
        if out.is_json() {
            out.value(&json!({
                "plugin": local.package.manifest.id,
                "version": local.package.manifest.version,
                "answer": answer,
                "input_problem": schema,
                "usage": usage,
                "fuel_limit": fuel_limit,
                "log": log,
            }));
        } else {
            out.text(&serde_json::to_string_pretty(&answer)?);
            for line in &log {
                out.say(format!("  {} {}", out.dim(&format!("{:?}", line.level).to_lowercase()), line.message));
            }
            if let Some(problem) = schema {
                out.say(
                    out.yellow(&format!("the input does not follow its schema, so a hub would not call it: {problem}")),
                );
            }
            out.say(format!(
                "fuel {} of {}, memory {} KiB of {}, {:.3} ms",
                grouped(usage.fuel),
                grouped(fuel_limit),
                grouped(usage.memory_bytes >> 10),
                grouped(limits.memory_bytes >> 10),
                Duration::from_micros(usage.elapsed_us).as_secs_f64() * 1_000.0
            ));
        }
        Ok(if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

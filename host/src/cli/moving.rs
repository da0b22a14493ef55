//! `crossdock run move`.

use std::{collections::BTreeMap, process::ExitCode};

use clap::{ArgGroup, Args};
use serde::Deserialize;

use super::{Failed, control::Who, out::Out};
use crate::{
    model::run::{RunState, RunSummary},
    net::client::{Client, encoded},
    ports::hub::MoveRequest,
};

/// Most runs that one call is about.
const RUNS_MAX: usize = 1_000;

/// Which runs go on under which version.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("which").required(true).args(["run", "pipeline"])))]
pub(super) struct Move {
    /// The run's id, or at least the first 8 digits of it.
    run: Option<String>,
    /// Every run of this pipeline that has not ended and executes another version; at most 1000.
    #[arg(long)]
    pipeline: Option<String>,
    /// Only those that execute this version.
    #[arg(long, requires = "pipeline", value_name = "VERSION")]
    from: Option<String>,
    /// The version.
    #[arg(long, value_name = "VERSION")]
    to: String,
    /// A step that is called otherwise there; may be given several times.
    #[arg(long = "step", value_name = "OLD=NEW", value_parser = renamed)]
    steps: Vec<(String, String)>,
    /// Only say whether they could be moved, and what stands in the way.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    who: Who,
}

fn renamed(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err("write it as OLD=NEW".to_owned()),
    }
}

#[derive(Deserialize)]
struct Runs {
    runs: Vec<RunSummary>,
}

impl Move {
    /// Fails if any run cannot be moved; the others are.
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = self.who.address.client()?;
        let request = MoveRequest {
            actor: self.who.actor.clone().unwrap_or_default(),
            reason: self.who.reason.clone(),
            to: self.to.clone(),
            steps: self.steps.iter().cloned().collect::<BTreeMap<_, _>>(),
            dry_run: self.dry_run,
        };
        let body = serde_json::to_vec(&request)?;
        let (mut moved, mut refused) = (0, Vec::new());
        for run in self.which(&client).await? {
            let path = format!("/v1/runs/{}/move", encoded(&run));
            match client.post::<RunSummary>(&path, "application/json", body.clone()).await {
                Ok(_) => moved += 1,
                Err(problem) if self.run.is_some() => return Err(problem.into()),
                Err(problem) => refused.push((run, problem.to_string())),
            }
        }
        if out.is_json() {
            let refused: BTreeMap<_, _> = refused.iter().map(|(run, problem)| (run, problem)).collect();
            out.value(&serde_json::json!({ "moved": moved, "dry_run": self.dry_run, "refused": refused }));
        } else {
            for (run, problem) in &refused {
                out.say(format!("{} {run}: {problem}", out.yellow("!")));
            }
            let word = if self.dry_run { "could be moved" } else { "moved" };
            out.say(format!("{moved} {word} to version {}, {} refused", self.to, refused.len()));
        }
        Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn which(&self, client: &Client) -> Result<Vec<String>, Failed> {
        if let Some(run) = &self.run {
            return Ok(vec![run.clone()]);
        }
        let mut found = Vec::new();
        for state in [RunState::Running, RunState::Waiting, RunState::Paused, RunState::Compensating, RunState::Parked]
        {
            let mut query = vec![("limit", RUNS_MAX.to_string()), ("state", state.as_str().to_owned())];
            query.extend(self.pipeline.clone().map(|pipeline| ("pipeline", pipeline)));
            let Runs { runs } = client.get_with("/v1/runs", &query).await?;
            let wanted = |run: &RunSummary| {
                run.pipeline_version != self.to && self.from.as_ref().is_none_or(|from| *from == run.pipeline_version)
            };
            found.extend(runs.into_iter().filter(wanted).map(|run| run.id.to_string()));
        }
        found.truncate(RUNS_MAX);
        Ok(found)
    }
}

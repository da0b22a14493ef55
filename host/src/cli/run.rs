//! `crossdock run`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use futures::StreamExt as _;
use serde::Deserialize;

use super::{
    Failed, HubAddress,
    approval::{self, Questions},
    control::{Act, End, Reassign, Resolve, Restart},
    many::Many,
    moving::Move,
    out::Out,
    story::{self, duration},
};
use crate::{
    model::{
        pipeline::Standing,
        run::{RunState, RunSummary, RunView},
    },
    ports::promises::Promise,
};

/// Runs.
#[derive(Subcommand, Debug)]
pub(super) enum Run {
    /// List runs, latest first.
    List(List),
    /// List the runs that are late, or at risk of it, by what their pipelines promise in `sla`; the most urgent first.
    Late(Late),
    /// Tell the whole story of a run.
    Show(Show),
    /// Follow a run until it is settled. Exits with 1 if it ends parked or rejected.
    Watch(Show),
    /// Let no step begin until the run is continued; what is in flight is recorded.
    Pause(Act),
    /// Let a paused run go on.
    Continue(Act),
    /// Let no forward step begin any more; what the run did is undone, then it ends as cancelled.
    Cancel(End),
    /// Let a parked run try again where it stopped, with all its attempts.
    Resume(Act),
    /// End a parked run as failed, through the pipeline's `on_error`; what it did is undone.
    Close(End),
    /// Say whether a write in doubt took effect.
    Resolve(Resolve),
    /// Ask another group.
    Reassign(Reassign),
    /// Let runs go on under another version of their pipeline, if they then stand exactly where they stand.
    Move(Move),
    /// Do one thing with many runs, of a pipeline say, at a bounded rate. Exits with 1 if one was refused.
    Many(Many),
    /// Begin again at a step; the run has to be paused, parked or over.
    Restart(Restart),
}

/// Which runs.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only of this pipeline.
    #[arg(long)]
    pipeline: Option<String>,
    /// Only in this state: `running`, `waiting`, `paused`, `compensating`, `parked`, `completed`, `rejected`, `failed`
    /// or `cancelled`.
    #[arg(long)]
    state: Option<String>,
    /// Only about this key, such as an order number.
    #[arg(long)]
    key: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    address: HubAddress,
}

/// Which late runs.
#[derive(Args, Debug)]
pub(super) struct Late {
    /// Only of this pipeline.
    #[arg(long)]
    pipeline: Option<String>,
    /// Leave out those that are only at risk.
    #[arg(long)]
    over: bool,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    address: HubAddress,
}

/// Which run.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// Its id, or at least the first 8 digits of it.
    id: String,
    #[command(flatten)]
    address: HubAddress,
}

#[derive(Deserialize)]
struct Promises {
    promises: Vec<Promise>,
}

#[derive(Deserialize)]
struct Runs {
    runs: Vec<RunSummary>,
}

impl Run {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::List(list) => list.run(out).await,
            Self::Late(late) => late.run(out).await,
            Self::Show(show) => {
                let client = show.address.client()?;
                let run: RunView = client.get(&format!("/v1/runs/{}", show.id)).await?;
                if out.is_json() {
                    out.value(&run);
                } else {
                    story::tell(out, &run);
                    let open = [("run", run.summary.id.to_string())];
                    let Questions { approvals } = client.get_with("/v1/approvals", &open).await?;
                    for question in &approvals {
                        out.say(format!(
                            "  step `{}` asks group `{}` until {}",
                            question.step, question.group, question.due
                        ));
                        approval::say_how(out, question);
                    }
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Watch(show) => show.watch(out).await,
            Self::Pause(act) => act.run(out, "pause").await,
            Self::Continue(act) => act.run(out, "continue").await,
            Self::Cancel(end) => end.run(out, "cancel").await,
            Self::Resume(act) => act.run(out, "resume").await,
            Self::Close(end) => end.run(out, "close").await,
            Self::Resolve(resolve) => resolve.run(out).await,
            Self::Reassign(reassign) => reassign.run(out).await,
            Self::Many(many) => many.run(out).await,
            Self::Restart(restart) => restart.run(out).await,
            Self::Move(moving) => moving.run(out).await,
        }
    }
}

impl List {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = self.address.client()?;
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.pipeline.map(|pipeline| ("pipeline", pipeline)));
        query.extend(self.state.map(|state| ("state", state)));
        query.extend(self.key.map(|key| ("key", key)));
        let Runs { runs } = client.get_with("/v1/runs", &query).await?;
        if out.is_json() {
            out.value(&serde_json::json!({ "runs": runs }));
            return Ok(ExitCode::SUCCESS);
        }
        let rows = runs
            .into_iter()
            .map(|run| {
                vec![
                    run.id.to_string(),
                    run.pipeline,
                    run.key,
                    run.state.as_str().to_owned(),
                    duration(run.updated.since(run.started) * 1_000),
                    run.cause.unwrap_or_default(),
                ]
            })
            .collect();
        out.table(&["run", "pipeline", "about", "state", "took", "cause"], rows, "no runs");
        Ok(ExitCode::SUCCESS)
    }
}

impl Late {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = self.address.client()?;
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.pipeline.map(|pipeline| ("pipeline", pipeline)));
        query.extend(self.over.then(|| ("standing", "late".to_owned())));
        let Promises { promises } = client.get_with("/v1/promises", &query).await?;
        if out.is_json() {
            out.value(&serde_json::json!({ "promises": promises }));
            return Ok(ExitCode::SUCCESS);
        }
        let rows = promises
            .into_iter()
            .map(|late| {
                let standing = match late.standing {
                    Standing::Late => out.red("late"),
                    Standing::AtRisk => out.yellow("at risk"),
                };
                let state = late.state.as_str().to_owned();
                vec![
                    late.run.to_string(),
                    late.pipeline,
                    late.key,
                    state,
                    late.step.unwrap_or_default(),
                    late.due.to_string(),
                    standing,
                ]
            })
            .collect();
        out.table(&["run", "pipeline", "about", "state", "at", "due", "stands"], rows, "every run is in time");
        Ok(ExitCode::SUCCESS)
    }
}

impl Show {
    async fn watch(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = self.address.client()?;
        let mut views = client.stream(&format!("/v1/runs/{}/stream", self.id)).await?;
        let mut telling = story::Telling::default();
        let mut last: Option<RunView> = None;
        while let Some(data) = views.next().await {
            let view: RunView = serde_json::from_str(&data?)?;
            if out.is_json() {
                out.text(&serde_json::to_string(&view)?);
            }
            telling.tell(out, &view);
            last = Some(view);
        }
        match last {
            Some(view) => {
                out.say(format!("  {}", story::ending(out, &view)));
                if matches!(view.summary.state, RunState::Parked | RunState::Rejected) {
                    return Ok(ExitCode::FAILURE);
                }
            }
            None => {
                let ended = "the hub ended the stream: it is stopping, or the token is not valid any more";
                return Err(ended.into());
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

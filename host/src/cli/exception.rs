//! `crossdock exception`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failed, HubAddress,
    answer::{list, text},
    control::Act,
    out::Out,
};

/// Events that came for something that was undone.
#[derive(Subcommand, Debug)]
pub(super) enum Exception {
    /// List open exceptions, latest first: events that came for something that was undone.
    List(List),
    /// Say that an exception was dealt with.
    Close(Close),
}

/// Which exceptions.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only of this run.
    #[arg(long)]
    run: Option<String>,
    /// Only of this pipeline.
    #[arg(long)]
    pipeline: Option<String>,
    /// At most so many, up to 1000.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    address: HubAddress,
}

/// Which exception, and who deals with it.
#[derive(Args, Debug)]
pub(super) struct Close {
    #[command(flatten)]
    act: Act,
    /// The event's acceptance, as `exception list` shows it.
    #[arg(long, value_name = "ACCEPTANCE")]
    event: String,
}

impl Exception {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::List(list) => list.run(out).await,
            Self::Close(Close { act, event }) => {
                act.send(out, json!({ "do": "close_exception", "event": event })).await
            }
        }
    }
}

impl List {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = self.address.client()?;
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.run.map(|run| ("run", run)));
        query.extend(self.pipeline.map(|pipeline| ("pipeline", pipeline)));
        let answer: Value = client.get_with("/v1/exceptions", &query).await?;
        if out.is_json() {
            out.value(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<_> = list(&answer, "/exceptions")
            .map(|one| {
                vec![
                    text(one, "/run").chars().take("run_".len() + 12).collect(),
                    text(one, "/key"),
                    text(one, "/step"),
                    text(one, "/event/type"),
                    text(one, "/event/id"),
                    text(one, "/opened"),
                    text(one, "/acceptance"),
                ]
            })
            .collect();
        let none = "no event came for something undone";
        let any = !rows.is_empty();
        out.table(&["run", "about", "step", "event", "id", "opened", "acceptance"], rows, none);
        if any {
            out.say("`--json` shows their data; `crossdock exception close RUN --event ACCEPTANCE --reason TEXT` closes one");
        }
        Ok(ExitCode::SUCCESS)
    }
}

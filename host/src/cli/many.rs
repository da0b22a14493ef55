//! `crossdock run many`, and what it has in common with `crossdock dead-letter replay`: one thing is done with many runs.

use std::process::ExitCode;

use clap::{ArgGroup, Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    Failed,
    answer::{list, number, text},
    control::Who,
    out::Out,
};
use crate::net::client::Client;

/// What is done with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// No step begins until it is continued.
    Pause,
    /// A paused one goes on.
    Continue,
    /// No forward step begins any more, and what it did is undone.
    Cancel,
    /// A parked one tries again where it stopped.
    Resume,
    /// A parked one ends as failed, and what it did is undone.
    Close,
    /// It begins again at `--step`.
    Restart,
}

/// Which runs, what is done with them, and how fast.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("which").required(true).multiple(true)))]
pub(super) struct Many {
    /// What is done with each.
    what: What,
    /// Those of this pipeline.
    #[arg(long, group = "which")]
    pipeline: Option<String>,
    /// Those in this state.
    #[arg(long, group = "which")]
    state: Option<String>,
    /// Those about this key.
    #[arg(long, group = "which")]
    key: Option<String>,
    /// Those whose cause contains this text.
    #[arg(long, group = "which", value_name = "TEXT")]
    cause: Option<String>,
    /// For `restart`: the step, one of the pipeline's outermost list.
    #[arg(long, required_if_eq("what", "restart"))]
    step: Option<String>,
    /// Leave what the runs did in place; unless this is given, `cancel` and `close` undo all of it, and `restart` what the
    /// step and later ones did.
    #[arg(long)]
    keep_effects: bool,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    who: Who,
}

/// How many, and how fast.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Pace {
    /// So many go first and are waited for; if one of them is parked again, the rest is left alone.
    #[arg(long, value_name = "N")]
    canary: Option<usize>,
    /// At most so many a second, up to 500.
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// At most so many, those that began first, up to 1000; 100 unless told.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl Many {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let undo = !self.keep_effects;
        let (mut request, said) = match self.what {
            What::Pause => (json!({ "do": "pause" }), "runs are paused"),
            What::Continue => (json!({ "do": "continue" }), "runs go on"),
            What::Resume => (json!({ "do": "resume" }), "runs try again"),
            What::Cancel => (json!({ "do": "cancel", "compensate": undo }), "runs are being cancelled"),
            What::Close => (json!({ "do": "close", "compensate": undo }), "runs are being closed"),
            What::Restart => (json!({ "do": "restart", "step": self.step, "undo": undo }), "runs begin again"),
        };
        let filter = json!({ "pipeline": self.pipeline, "state": self.state, "key": self.key, "cause": self.cause });
        self.who.sign(&mut request);
        send(out, &self.who.address.client()?, filter, request, self.pace, said).await
    }
}

/// Asks the hub to do it, and says what became of them, in these words where it went well. Exits with 1 if one was refused, or the first ones did not end.
pub(super) async fn send(
    out: &Out,
    client: &Client,
    filter: Value,
    request: Value,
    pace: Pace,
    said: &str,
) -> Result<ExitCode, Failed> {
    let many = json!({
        "filter": filter,
        "request": request,
        "canary": pace.canary.unwrap_or_default(),
        "rate_per_second": pace.rate,
        "limit": pace.limit,
    });
    let answer: Value = client.post("/v1/runs/control", "application/json", serde_json::to_vec(&many)?).await?;
    let parked_again = list(&answer, "/canary/parked").count();
    let under_way = list(&answer, "/canary/under_way").count();
    let good = number(&answer, "/refused") == 0 && parked_again == 0 && under_way == 0;
    if out.is_json() {
        out.value(&answer);
    } else {
        tell(out, &answer, said, parked_again, under_way);
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(out: &Out, answer: &Value, said: &str, parked_again: usize, under_way: usize) {
    for run in list(answer, "/runs").filter(|run| run.get("problem").is_some()) {
        out.say(format!("{} {} refused: {}", out.yellow("!"), text(run, "/run"), text(run, "/problem/detail")));
    }
    out.say(format!(
        "{} of {} {said}; {} refused, {} left as they are",
        number(answer, "/done"),
        number(answer, "/matched"),
        number(answer, "/refused"),
        number(answer, "/left")
    ));
    if answer.get("canary").is_some() {
        let runs = number(answer, "/canary/runs");
        out.say(format!("  {runs} went first, {parked_again} of them parked again"));
        if under_way > 0 {
            out.say(format!(
                "  {under_way} had not ended after 30 s: `crossdock run show RUN` says what they wait for"
            ));
        }
    }
    match text(answer, "/stopped").as_str() {
        "canary" => {
            out.say("  the rest was left alone: `crossdock dead-letter show RUN` says what stopped the first ones");
        }
        "time" => out.say("  a minute was over: say it again for the rest"),
        "limit" => out.say("  the limit was reached: say it again for the rest, or raise `--limit`"),
        _ => {}
    }
}

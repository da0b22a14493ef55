//! `crossdock plugin replay`: how a version answers what a hub has recorded.

use std::{process::ExitCode, str::FromStr};

use clap::Args;
use semver::Version;
use serde_json::{Value, json};

use crate::{
    cli::{Failed, HubAddress, out::Out, story::grouped},
    model::{
        age::Since,
        id::PluginId,
        replay::{Example, Report, Side, What},
    },
};

/// Longest answer that is shown of an example, characters; `--json` shows all of it.
const SHOWN_CHARACTERS_MAX: usize = 160;

/// What to replay.
#[derive(Args, Debug)]
pub(in crate::cli) struct Replay {
    /// The version to look at, `namespace/name@version`; a hub has it, a draft will do.
    candidate: Candidate,
    /// The version that it is held against; absent: the one that serves.
    #[arg(long, value_name = "VERSION")]
    against: Option<Version>,
    /// How far back: a length of time such as `7d`, or a time such as `2026-03-01T08:15:00Z`.
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: Since,
    /// Inputs of this pipeline alone.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// How many inputs at most, the latest; 1000 unless told.
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    #[command(flatten)]
    address: HubAddress,
}

/// A version of a plugin.
#[derive(Clone, Debug)]
struct Candidate {
    plugin: PluginId,
    version: Version,
}

impl FromStr for Candidate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no version of a plugin such as `acme/rules@1.2.0`");
        let (plugin, version) = text.split_once('@').ok_or_else(wrong)?;
        Ok(Self { plugin: plugin.parse().map_err(|_| wrong())?, version: version.parse().map_err(|_| wrong())? })
    }
}

impl Replay {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let Self { candidate: Candidate { plugin, version }, against, since, pipeline, limit, address } = self;
        let request =
            json!({ "version": version, "against": against, "since": since, "pipeline": pipeline, "limit": limit });
        let bar = super::spinner(out, &format!("{plugin}@{version}"));
        let path = format!("/v1/plugins/{plugin}/replay");
        let answer: Result<Report, _> =
            address.client()?.post(&path, "application/json", serde_json::to_vec(&request)?).await;
        bar.finish_and_clear();
        let report = answer?;
        if out.is_json() {
            out.value(&report);
        } else {
            tell(out, &report);
        }
        let holds = report.changes == 0 && report.determinism.differed == 0;
        Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn tell(out: &Out, report: &Report) {
    let Report { candidate, against, replayed, runs, proven, .. } = report;
    out.say(format!(
        "{} on {} inputs of {} runs since {}, held against {}",
        out.bold(&format!("{}@{}", report.plugin, candidate.version)),
        grouped(*replayed),
        grouped(*runs),
        report.since,
        against.version
    ));
    out.say(format!("  {} inputs are proven to be the recorded ones", grouped(*proven)));
    match report.determinism.differed {
        0 => out.say(format!(
            "  {} answers were made again by the version that had given them, and are the same",
            grouped(report.determinism.compared)
        )),
        differed => out.say(out.red(&format!(
            "  {} of {} answers are NOT those that the same version gave before: it is not deterministic, or the hub is wrong",
            grouped(differed),
            grouped(report.determinism.compared)
        ))),
    }
    if report.changes == 0 {
        out.say(out.green(if *replayed == 0 { "nothing was replayed" } else { "nothing is answered otherwise" }));
    } else {
        out.say(out.yellow(&format!(
            "{} are answered otherwise: {} decisions, {} outputs, {} failures",
            grouped(report.changes),
            grouped(report.decisions),
            grouped(report.outputs),
            grouped(report.failures)
        )));
    }
    for (change, count) in &report.transitions {
        out.say(format!("  {} x {change}", grouped(*count)));
    }
    if report.reasons > 0 {
        out.say(format!("  {} decide the same for other reasons", grouped(report.reasons)));
    }
    for example in report.determinism.examples.iter().chain(&report.examples) {
        tell_example(out, example);
    }
    for left in &report.left_out {
        let examples = left.examples.join(", ");
        out.say(format!("left out {}: {} [{}] {examples}", grouped(left.count), left.why, left.code));
    }
    if report.archived > 0 {
        out.say(format!("{} runs of that time lie in the archive", grouped(report.archived)));
    }
    if report.dropped > 0 {
        let dropped = format!("{} runs of that time lay in archives that were dropped", grouped(report.dropped));
        out.say(out.yellow(&dropped));
    }
    if let Some(why) = &report.cut_short {
        out.say(out.yellow(&format!("not all inputs of that time were replayed: the {why} was reached")));
    }
    report.notes.iter().for_each(|note| out.say(note));
    let head = ["", "failed", "traps", "limits", "fuel median", "p99", "max", "µs median", "p99", "max"];
    out.table(&head, vec![row(against), row(candidate)], "");
}

fn row(side: &Side) -> Vec<String> {
    let limits: Vec<String> = side.limits.iter().map(|(limit, count)| format!("{limit} {count}")).collect();
    let limits = if limits.is_empty() { "0".to_owned() } else { limits.join(", ") };
    let spreads = [&side.fuel, &side.elapsed_us];
    let numbers = spreads.into_iter().flat_map(|spread| [spread.median, spread.p99, spread.max]).map(grouped);
    [side.version.to_string(), grouped(side.failed), grouped(side.traps), limits].into_iter().chain(numbers).collect()
}

fn tell_example(out: &Out, example: &Example) {
    let what = match example.what {
        What::Decision => "decision",
        What::Failure => "failure",
        What::Output => "output",
        What::Reasons => "reasons",
    };
    out.say(format!(
        "{what} {} {} of {} at {}, decided then by {}",
        example.run,
        out.bold(&example.step),
        example.pipeline,
        example.time,
        example.recorded
    ));
    out.say(format!("  before {}", shown(&example.before)));
    out.say(format!("  after  {}", shown(&example.after)));
}

fn shown(answer: &Value) -> String {
    answer.to_string().chars().take(SHOWN_CHARACTERS_MAX).collect()
}

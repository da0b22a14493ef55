//! `crossdock approval`.

use std::{io::Read as _, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Failed, HubAddress,
    control::{self, Who, short},
    out::Out,
};
use crate::{
    model::{
        id::{Digest, RunId},
        run::RunSummary,
        timestamp::Timestamp,
    },
    net::client::{Client, encoded},
};

/// Fewest characters of a digest that are compared.
const DIGEST_CHARACTERS_MIN: usize = 8;

/// Questions that pipelines ask people.
#[derive(Subcommand, Debug)]
pub(super) enum Approval {
    /// List open questions, the most urgent first.
    List(List),
    /// Show a question with its evidence.
    Show(Show),
    /// Say yes.
    Approve(Decide),
    /// Say no: the run undoes what it did, and ends as rejected.
    Reject(Decide),
    /// Decide several questions from a file. Exits with 1 if one was refused.
    DecideMany(DecideMany),
}

/// Which questions.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only those that this group is asked.
    #[arg(long)]
    group: Option<String>,
    /// Only of this run.
    #[arg(long)]
    run: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    address: HubAddress,
}

/// Which question.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// The run's id, or at least the first 8 digits of it.
    run: String,
    /// The step that asks; absent: the only one of the run that does.
    step: Option<String>,
}

/// A question to look at.
#[derive(Args, Debug)]
pub(super) struct Show {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    address: HubAddress,
}

/// A decision.
#[derive(Args, Debug)]
pub(super) struct Decide {
    #[command(flatten)]
    which: Which,
    /// The digest of the evidence as `approval show` printed it, or its beginning: the decision is refused if the
    /// evidence is another by now. Absent: the evidence as it is now.
    #[arg(long)]
    digest: Option<String>,
    /// For whom, if you stand in for somebody.
    #[arg(long = "for", value_name = "NAME")]
    on_behalf_of: Option<String>,
    /// Decide alone, whatever the quorum, with this reason code; for members of group `override`.
    #[arg(long = "override", value_name = "CODE")]
    override_code: Option<String>,
    #[command(flatten)]
    who: Who,
}

/// Several decisions.
#[derive(Args, Debug)]
pub(super) struct DecideMany {
    /// A JSON list, or what `approval list --json` prints, with `approved` added to each; `-` reads standard input.
    /// Those without `approved` are left as they are.
    file: PathBuf,
    #[command(flatten)]
    who: Who,
}

/// What the hub lists.
#[derive(Deserialize, Serialize)]
pub(super) struct Questions {
    pub(super) approvals: Vec<Question>,
}

/// A question, as the hub shows it.
#[derive(Deserialize, Serialize)]
pub(super) struct Question {
    pub(super) run: RunId,
    pub(super) step: String,
    pub(super) revision: u32,
    pub(super) digest: Digest,
    pub(super) group: String,
    pub(super) quorum: u32,
    pub(super) decided_by: Vec<String>,
    pub(super) asked: Timestamp,
    pub(super) due: Timestamp,
    pub(super) reminders: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pipeline: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) evidence: Option<Value>,
}

impl Approval {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::List(list) => list.run(out).await,
            Self::Show(show) => {
                let client = show.address.client()?;
                let question = show.which.question(&client).await?;
                if out.is_json() {
                    out.value(&question)
                } else {
                    tell(out, &question)
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Approve(decide) => decide.run(out, true).await,
            Self::Reject(decide) => decide.run(out, false).await,
            Self::DecideMany(many) => many.run(out).await,
        }
    }
}

impl List {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = self.address.client()?;
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.group.map(|group| ("group", group)));
        query.extend(self.run.map(|run| ("run", run)));
        let Questions { approvals } = client.get_with("/v1/approvals", &query).await?;
        if out.is_json() {
            out.value(&json!({ "approvals": approvals }));
            return Ok(ExitCode::SUCCESS);
        }
        let any = !approvals.is_empty();
        let rows = approvals
            .into_iter()
            .map(|question| {
                vec![
                    question.due.to_string(),
                    short(question.run),
                    question.step.clone(),
                    question.key.clone().unwrap_or_default(),
                    question.group.clone(),
                    agreed(&question),
                    question.pipeline.unwrap_or_default(),
                ]
            })
            .collect();
        out.table(&["due", "run", "step", "about", "group", "agreed", "pipeline"], rows, "nobody is asked anything");
        if any {
            out.say("look at one with `crossdock approval show RUN STEP`");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn agreed(question: &Question) -> String {
    let by = question.decided_by.join(", ");
    let by = if by.is_empty() { by } else { format!(": {by}") };
    format!("{} of {}{by}", question.decided_by.len(), question.quorum)
}

/// The step of the only question of a run.
pub(super) fn the_only_step(run: &str, questions: &[Question]) -> Result<String, Failed> {
    match questions {
        [question] => Ok(question.step.clone()),
        [] => Err(format!("run `{run}` asks nobody now: `crossdock run show {run}` says how it stands").into()),
        several => {
            let steps: Vec<&str> = several.iter().map(|question| question.step.as_str()).collect();
            Err(format!("run `{run}` asks at several steps: name one of {}", steps.join(", ")).into())
        }
    }
}

impl Which {
    /// The question with its evidence.
    async fn question(&self, client: &Client) -> Result<Question, Failed> {
        let step = self.step(client).await?;
        Ok(client.get(&format!("/v1/approvals/{}/{}", encoded(&self.run), encoded(&step))).await?)
    }

    async fn step(&self, client: &Client) -> Result<String, Failed> {
        if let Some(step) = &self.step {
            return Ok(step.clone());
        }
        let asked: Questions = client.get_with("/v1/approvals", &[("run", self.run.clone())]).await?;
        the_only_step(&self.run, &asked.approvals)
    }
}

/// Tells a question: what it is about, what there is to see, and how to answer it.
fn tell(out: &Out, question: &Question) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    out.say(format!(
        "{}  {}  about {}  step {}",
        out.bold(&question.run.to_string()),
        text(&question.pipeline),
        out.bold(&text(&question.key)),
        out.bold(&question.step)
    ));
    out.say(format!(
        "  group `{}` was asked at {} and may decide until {}; {} agreed{}",
        question.group,
        question.asked,
        question.due,
        agreed(question),
        if question.reminders > 0 { format!("; {} reminders", question.reminders) } else { String::new() }
    ));
    let evidence = question.evidence.clone().unwrap_or_default();
    let part = |name: &str| evidence.get(name).filter(|value| !value.is_null() && **value != json!({}));
    if let Some(decision) = part("decision").and_then(Value::as_str) {
        out.say(format!("  the rule says {}", out.bold(decision)));
    }
    for reason in part("reasons").and_then(Value::as_array).into_iter().flatten() {
        let field = |name: &str| reason.get(name).and_then(Value::as_str).unwrap_or_default();
        out.say(format!("    because {} {}", field("message"), out.dim(&format!("[{}]", field("code")))));
    }
    if let Some(failure) = part("failure") {
        let field = |name: &str| failure.get(name).and_then(Value::as_str).unwrap_or_default();
        out.say(format!("  what failed: `{}`: {}", field("code"), field("message")));
    }
    if let Some(shown) = part("shown").or_else(|| part("output")) {
        for line in serde_json::to_string_pretty(shown).unwrap_or_default().lines() {
            out.say(format!("  {line}"));
        }
    }
    out.say(format!("  {} {}, revision {}", out.dim("evidence"), question.digest, question.revision));
    say_how(out, question);
}

/// How a question is answered.
pub(super) fn say_how(out: &Out, question: &Question) {
    let digest: String = question.digest.to_string().chars().take("sha256:".len() + 12).collect();
    let step = if question.step.contains(['[', '~']) { format!("'{}'", question.step) } else { question.step.clone() };
    out.say(format!("  answer with `crossdock approval approve {} {step} --digest {digest}`,", short(question.run)));
    out.say("  or `approval reject …`; `--reason TEXT` says why, `--for NAME` if you stand in for somebody");
}

impl Decide {
    async fn run(self, out: &Out, approved: bool) -> Result<ExitCode, Failed> {
        let client = self.who.address.client()?;
        let step = self.which.step(&client).await?;
        let path = format!("/v1/approvals/{}/{}", encoded(&self.which.run), encoded(&step));
        let question: Question = client.get(&path).await?;
        if let Some(seen) = &self.digest {
            let now = question.digest.to_string();
            let same = now.starts_with(seen.as_str()) || now.trim_start_matches("sha256:").starts_with(seen.as_str());
            if seen.trim_start_matches("sha256:").len() < DIGEST_CHARACTERS_MIN || !same {
                return Err(format!(
                    "the evidence is {now} now, not `{seen}`: look at it again with `crossdock approval show {} {step}`",
                    self.which.run
                )
                .into());
            }
        }
        let decision = json!({
            "actor": self.who.actor.clone().unwrap_or_default(),
            "on_behalf_of": self.on_behalf_of,
            "approved": approved,
            "revision": question.revision,
            "digest": question.digest,
            "override_code": self.override_code,
            "reason": self.who.reason,
        });
        let summary: RunSummary =
            client.post(&format!("{path}/decision"), "application/json", serde_json::to_vec(&decision)?).await?;
        if !out.is_json() {
            let word = if approved { out.green("approved") } else { out.yellow("rejected") };
            out.say(self.who.actor.map_or_else(|| word.clone(), |actor| format!("{word} by {actor}")));
        }
        control::say(out, &summary);
        Ok(ExitCode::SUCCESS)
    }
}

impl DecideMany {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let decisions = self.decisions()?;
        let client = self.who.address.client()?;
        let body = serde_json::to_vec(&json!({ "decisions": decisions }))?;
        let answer: Value = client.post("/v1/approvals/decisions", "application/json", body).await?;
        let answers = answer.get("decisions").and_then(Value::as_array).cloned().unwrap_or_default();
        let refused = answers.iter().filter(|answer| answer.get("problem").is_some()).count();
        if out.is_json() {
            out.value(&answer);
        } else {
            let rows = answers
                .iter()
                .map(|answer| {
                    let field = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
                    let state = format!("decided, {}", field("/summary/state"));
                    let outcome = if answer.get("problem").is_some() { "refused".to_owned() } else { state };
                    vec![
                        field("/run").to_owned(),
                        field("/step").to_owned(),
                        outcome,
                        field("/problem/detail").to_owned(),
                    ]
                })
                .collect();
            out.table(&["run", "step", "outcome", "because"], rows, "no decision in the file has `approved`");
        }
        Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The file's decisions, with what the command line says added.
    fn decisions(&self) -> Result<Vec<Value>, Failed> {
        const KNOWN: [&str; 9] =
            ["run", "step", "actor", "on_behalf_of", "approved", "revision", "digest", "override_code", "reason"];
        let name = self.file.display();
        let text = if self.file.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().lock().read_to_string(&mut text)?;
            text
        } else {
            std::fs::read_to_string(&self.file).map_err(|error| format!("cannot read `{name}`: {error}"))?
        };
        let parsed: Value = serde_json::from_str(&text).map_err(|error| format!("`{name}` is not JSON: {error}"))?;
        let list = parsed.get("approvals").or_else(|| parsed.get("decisions")).unwrap_or(&parsed);
        let list = list.as_array().ok_or_else(|| format!("`{name}` is not a list of decisions"))?;
        let mut decisions = Vec::new();
        for item in list {
            let fields =
                item.as_object().ok_or_else(|| format!("`{name}` has something that is no decision: {item}"))?;
            if fields.get("approved").is_none_or(Value::is_null) {
                continue;
            }
            let mut decision: serde_json::Map<String, Value> = fields
                .iter()
                .filter(|(name, _)| KNOWN.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            if let Some(actor) = &self.who.actor {
                decision.entry("actor").or_insert_with(|| actor.clone().into());
            }
            decision.entry("reason").or_insert_with(|| self.who.reason.clone().into());
            decisions.push(Value::Object(decision));
        }
        Ok(decisions)
    }
}

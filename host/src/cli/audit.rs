//! `crossdock audit`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::{Failed, HubAddress, out::Out};
use crate::{
    app::{
        audit::{
            export,
            key::{FOLDER, PUBLIC_KEY_FILE, read_public},
            verify::{self, Proof, Refused},
        },
        clock::SystemClock,
    },
    model::{
        anchor::{AnchorView, Reached},
        audit::{AuditLine, SignedCheckpoint},
        explanation::{ExplainedDecision, ExplainedStep, Explanation},
    },
};

/// The audit log.
#[derive(Subcommand, Debug)]
pub(super) enum Audit {
    /// List changes to what runs, newest first.
    List(List),
    /// Show one change with its digests.
    Show(Show),
    /// Tell which versions decided an order, who allowed each, and what they could touch.
    Explain(Explain),
    /// Write the whole history of a hub that is switched off into a folder that proves itself.
    Export(Export),
    /// Prove an export with nothing but the hub's public key. Exits with 1, and names the place, if anything is amiss.
    Verify(Verify),
    /// Sign how far the history of a hub that is switched off has got, as JSON. Kept elsewhere, it is an anchor.
    Checkpoint(Checkpoint),
}

/// What to explain.
#[derive(Args, Debug)]
pub(super) struct Explain {
    /// What the runs are about, such as an order number.
    #[arg(long)]
    key: String,
    #[command(flatten)]
    address: HubAddress,
}

/// Where to.
#[derive(Args, Debug)]
pub(super) struct Export {
    /// The folder to write; it must not exist yet.
    dir: PathBuf,
    /// The hub's data folder. It is copied, and not altered.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// What to prove, and with what.
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// The export's folder.
    dir: PathBuf,
    /// The hub's public key, `hub.pub`, obtained from its operator and not from the export.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A checkpoint that was kept elsewhere, as `audit checkpoint` prints it or an anchor was sent it: nothing before it may
    /// be missing.
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
}

/// Of which hub.
#[derive(Args, Debug)]
pub(super) struct Checkpoint {
    /// The hub's data folder. It is copied, and not altered.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Which records.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only by this actor, such as `operator:config`.
    #[arg(long)]
    actor: Option<String>,
    /// Only actions that begin so, such as `plugin` or `connection.set`.
    #[arg(long)]
    action: Option<String>,
    /// Only subjects that begin so, such as `connection/` or `pipeline/retail/orders`.
    #[arg(long)]
    subject: Option<String>,
    /// Only what people did to this run: its id, or at least the first digits of it.
    #[arg(long, conflicts_with = "subject")]
    run: Option<String>,
    /// Only those before this number: the last one of the page before.
    #[arg(long, value_name = "SEQUENCE")]
    before: Option<u64>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    address: HubAddress,
}

/// Which record.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// Its number, as `list` shows it.
    sequence: u64,
    #[command(flatten)]
    address: HubAddress,
}

#[derive(Deserialize)]
struct Records {
    records: Vec<AuditLine>,
    #[serde(default)]
    anchor: Option<AnchorView>,
}

impl Audit {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::List(list) => list.run(out).await,
            Self::Show(show) => show.run(out).await,
            Self::Explain(explain) => explain.run(out).await,
            Self::Export(export) => export.run(out).await,
            Self::Verify(verify) => verify.run(out),
            Self::Checkpoint(checkpoint) => {
                // For programs and files, so the same either way.
                out.value(&export::checkpoint(&checkpoint.data, Arc::new(SystemClock::default())).await?);
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl List {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = self.address.client()?;
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.actor.map(|actor| ("actor", actor)));
        query.extend(self.action.map(|action| ("action", action)));
        let of_run = |run: String| format!("run/run_{}", run.strip_prefix("run_").unwrap_or(&run));
        query.extend(self.subject.or(self.run.map(of_run)).map(|subject| ("subject", subject)));
        query.extend(self.before.map(|before| ("before", before.to_string())));
        let Records { records, anchor } = client.get_with("/v1/audit", &query).await?;
        if out.is_json() {
            let mut value = serde_json::json!({ "records": records });
            if let (Some(anchor), Some(fields)) = (anchor, value.as_object_mut()) {
                fields.insert("anchor".to_owned(), serde_json::to_value(anchor)?);
            }
            out.value(&value);
            return Ok(ExitCode::SUCCESS);
        }
        let rows = records
            .into_iter()
            .map(|AuditLine { sequence, record, .. }| {
                let after = record.after.map_or_else(|| "nothing".to_owned(), |digest| digest.short());
                vec![
                    sequence.to_string(),
                    record.time.to_string(),
                    record.actor,
                    record.action,
                    record.subject,
                    after,
                    record.reason,
                ]
            })
            .collect();
        let head = ["number", "time", "actor", "action", "subject", "now", "reason"];
        out.table(&head, rows, "no change was recorded that suits");
        anchor.iter().for_each(|anchor| say_anchor(out, anchor));
        Ok(ExitCode::SUCCESS)
    }
}

/// How far whoever keeps checkpoints can prove that nothing is missing.
fn say_anchor(out: &Out, anchor: &AnchorView) {
    let AnchorView { origin, acknowledged, signed, behind_since, attempts, cause, .. } = anchor;
    let taken = match acknowledged {
        Some(Reached { batch, time }) => format!("has taken batch {batch}, signed at {time}"),
        None => "has taken nothing yet".to_owned(),
    };
    out.say(format!("anchor {} {taken}", out.bold(origin)));
    let Some(since) = behind_since else { return };
    let batch = signed.map(|signed| format!("batch {}", signed.batch)).unwrap_or_default();
    let why = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
    out.say(out.yellow(&format!("  {batch} is not taken, since {since}, after {attempts} attempts{why}")));
}

impl Show {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = self.address.client()?;
        let before = self.sequence.saturating_add(1).to_string();
        let query = [("before", before), ("limit", "1".to_owned())];
        let Records { records, .. } = client.get_with("/v1/audit", &query).await?;
        let line = records.into_iter().find(|line| line.sequence == self.sequence);
        let line =
            line.ok_or_else(|| format!("there is no audit record {}: `audit list` shows them", self.sequence))?;
        if out.is_json() {
            out.value(&line);
            return Ok(ExitCode::SUCCESS);
        }
        let digest =
            |digest: Option<crate::model::id::Digest>| digest.map_or_else(|| "nothing".to_owned(), |it| it.to_string());
        let AuditLine { sequence, record, batch, append } = line;
        out.say(format!("{}  {} {}", out.bold(&format!("audit record {sequence}")), record.action, record.subject));
        for (name, value) in [
            ("time", record.time.to_string()),
            ("actor", record.actor),
            ("reason", record.reason),
            ("before", digest(record.before)),
            ("after", digest(record.after)),
            ("journal", format!("batch {batch}, append {append}")),
        ] {
            out.say(format!("  {} {value}", out.dim(&format!("{name:<8}"))));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Explain {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = self.address.client()?;
        let explanation: Explanation = client.get_with("/v1/audit/explain", &[("key", self.key.clone())]).await?;
        if explanation.runs.is_empty() {
            let known = "`crossdock run list` shows what runs are about";
            let beside: String = explanation.notes.iter().map(|note| format!("; {note}")).collect();
            return Err(format!("no run is about `{}`: {known}{beside}", self.key).into());
        }
        if out.is_json() {
            out.value(&explanation);
            return Ok(ExitCode::SUCCESS);
        }
        for run in &explanation.runs {
            let (id, pipeline) = (out.bold(&run.run.to_string()), &run.pipeline);
            out.say(format!("{id}  {}, started {}", run.state.as_str(), run.started));
            let digest = out.dim(&pipeline.digest.short());
            out.say(format!("  {:<10} pipeline {} {} {digest}", "", pipeline.name, pipeline.version));
            out.say(format!("  {:<10}   accepted by {}", "", allowed(run.accepted_by.as_ref())));
            if let Some(approved_by) = &run.approved_by {
                out.say(format!("  {:<10}   approved by {}", "", allowed(Some(approved_by))));
            }
            out.say(format!("  {:<10}   activated by {}", "", allowed(run.activated_by.as_ref())));
            run.steps.iter().for_each(|step| say_step(out, step));
            run.decisions.iter().for_each(|decision| say_decision(out, decision));
            for AuditLine { sequence, record, .. } in &run.acts {
                let act = record.action.strip_prefix("run.").unwrap_or(&record.action);
                let by = format!("by {} at {} (audit record {sequence}: {})", record.actor, record.time, record.reason);
                out.say(format!("  {:<10} {} {by}", "", out.bold(act)));
            }
        }
        explanation.notes.iter().for_each(|note| out.say(out.yellow(note)));
        Ok(ExitCode::SUCCESS)
    }
}

fn say_step(out: &Out, step: &ExplainedStep) {
    let ExplainedStep { plugin, .. } = step;
    let decision = step.decision.as_ref().map(|decision| format!(" → {decision}")).unwrap_or_default();
    let operation = step.operation.as_ref().map(|operation| format!(" {operation}")).unwrap_or_default();
    let name = out.bold(&format!("{:<10}", step.path));
    let digest = out.dim(&plugin.digest.short());
    let what =
        format!("{}{operation}: {} {} {digest}, contract {}", step.kind, plugin.id, plugin.version, plugin.contract);
    out.say(format!("  {name} {what}{decision}"));
    let detail = |text: String| out.say(format!("  {:<10}   {text}", ""));
    detail(format!("installed by {}", allowed(step.installed_by.as_ref())));
    if let Some(promoted_by) = &step.promoted_by {
        detail(format!("serving by {}", allowed(Some(promoted_by))));
    }
    for given in &step.tables {
        let table = &given.table;
        let named = format!("{}@{} {}", table.name, table.version, out.dim(&table.digest.short()));
        detail(format!("given `{}`: table {named}", table.alias));
        detail(format!("  drafted by {}", allowed(given.drafted_by.as_ref())));
        detail(format!("  approved by {}", allowed(given.approved_by.as_ref())));
        detail(format!("  serving by {}", allowed(given.promoted_by.as_ref())));
    }
    if let Some(connection) = &step.connection {
        let name = &connection.name;
        detail(format!("connection `{name}`, grant {}, by {}", plugin.grant, allowed(connection.granted_by.as_ref())));
        detail(format!("bound by {}", allowed(connection.bound_by.as_ref())));
    }
    match &step.touches {
        None => detail("could touch: unknown, because its installation was never recorded".to_owned()),
        Some(touches) if touches.http.is_empty() && touches.state.is_empty() => {
            detail("could touch: nothing but its input".to_owned());
        }
        Some(touches) => {
            for http in &touches.http {
                let authenticated = if http.authenticated { ", authenticated" } else { "" };
                let (methods, origin, reason) = (http.methods.join(" "), &http.origin, &http.reason);
                detail(format!("could touch: {methods} {origin}{authenticated} ({reason})"));
            }
            touches.state.iter().for_each(|bucket| detail(format!("could touch: state `{bucket}`")));
            touches.secrets.iter().for_each(|secret| detail(format!("with: {secret}, never seen by the plugin")));
        }
    }
}

fn say_decision(out: &Out, decision: &ExplainedDecision) {
    let word = if decision.approved { "approved" } else { "rejected" };
    let whom = decision.on_behalf_of.as_ref().map(|whom| format!(" for {whom}")).unwrap_or_default();
    let alone = decision.override_code.as_ref().map(|code| format!(" alone ({code})")).unwrap_or_default();
    let reason = if decision.reason.is_empty() { String::new() } else { format!(": {}", decision.reason) };
    let name = out.bold(&format!("{:<10}", decision.step));
    out.say(format!("  {name} {word} by {}{whom}{alone} at {}{reason}", decision.actor, decision.time));
    out.say(format!("  {:<10}   saw evidence {}", "", out.dim(&decision.evidence.short())));
}

/// Who allowed something, when and why.
fn allowed(line: Option<&AuditLine>) -> String {
    line.map_or_else(
        || "nobody that is recorded".to_owned(),
        |AuditLine { sequence, record, .. }| {
            format!("{} at {} (audit record {sequence}: {})", record.actor, record.time, record.reason)
        },
    )
}

impl Export {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let exported = export::export(&self.data, &self.dir, Arc::new(SystemClock::default())).await?;
        let key = self.data.join(FOLDER).join(PUBLIC_KEY_FILE);
        if out.is_json() {
            out.value(&serde_json::json!({ "dir": self.dir, "proof": exported.proof, "head": exported.head }));
            return Ok(ExitCode::SUCCESS);
        }
        let (dir, key) = (self.dir.display(), key.display());
        out.say(format!("wrote {dir}: {}", amount(&exported.proof)));
        out.say(format!("  head  batch {}, {}", exported.proof.batches, exported.proof.chain));
        out.say(format!("  next  give it away with `{key}`, and prove it: crossdock audit verify {dir} --key {key}"));
        Ok(ExitCode::SUCCESS)
    }
}

impl Verify {
    fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        if !self.dir.is_dir() {
            let dir = self.dir.display();
            let what =
                if self.dir.exists() { format!("`{dir}` is a file") } else { format!("there is no folder `{dir}`") };
            let next = "give the folder that `crossdock audit export DIR --data DATA` wrote";
            return Err(format!("{what}: {next}").into());
        }
        let key = read_public(&self.key)?;
        let anchor = self.anchor.as_deref().map(read_anchor).transpose()?;
        let key_is_from_export = verify::is_within(&self.dir, &self.key);
        let proof = match verify::verify(&self.dir, &key, anchor.as_ref()) {
            Ok(proof) => proof,
            Err(refused) => return refuse(out, refused),
        };
        let (proves, does_not) = statements(&proof, key_is_from_export);
        if out.is_json() {
            let mut value = serde_json::to_value(&proof)?;
            if let Some(fields) = value.as_object_mut() {
                fields.insert("holds".to_owned(), true.into());
                fields.insert("proves".to_owned(), proves.into());
                fields.insert("does_not_prove".to_owned(), does_not.into());
            }
            out.value(&value);
            return Ok(ExitCode::SUCCESS);
        }
        out.say(format!("{} {}", out.green("it holds:"), amount(&proof)));
        proves.iter().for_each(|line| out.say(format!("  {} {line}", out.green("proven    "))));
        does_not.iter().for_each(|line| out.say(format!("  {} {line}", out.yellow("not proven"))));
        Ok(ExitCode::SUCCESS)
    }
}

fn amount(proof: &Proof) -> String {
    let Proof { batches, appends, audit_records, checkpoints, files, .. } = proof;
    format!(
        "{batches} batches, {appends} appends, {audit_records} audit records, {checkpoints} checkpoints, {files} files"
    )
}

/// What a proof says, and what it does not.
fn statements(proof: &Proof, key_is_from_export: bool) -> (Vec<String>, Vec<String>) {
    let Proof { hub, key, batches, signed, .. } = proof;
    let mut proves = vec![
        format!("hub {hub} signed this history with key {key} at {signed}"),
        format!("since then nothing in batches 1 to {batches}, nor in any file, was changed, removed, added or moved"),
    ];
    let mut does_not = Vec::new();
    match &proof.anchor {
        Some(anchor) => {
            proves.push(format!(
                "nothing is missing up to batch {}, which the anchor of {} was signed for",
                anchor.batch, anchor.signed
            ));
            if anchor.batch < *batches {
                does_not.push(format!(
                    "that the hub itself left nothing out after batch {}: a later anchor would prove it",
                    anchor.batch
                ));
            }
        }
        None => does_not.push(
            "that the hub itself left nothing out, or did not write its history anew before it signed: give a checkpoint \
             that was kept elsewhere with `--anchor`"
                .to_owned(),
        ),
    }
    does_not.push(format!("anything that happened after batch {batches}"));
    if key_is_from_export {
        does_not.push(
            "that this is your hub's key: it was taken from the export itself, so anybody could have made both; use the \
             one that the operator gave you"
                .to_owned(),
        );
    }
    (proves, does_not)
}

fn refuse(out: &Out, refused: Refused) -> Result<ExitCode, Failed> {
    const ADVICE: &str = "keep the export for inquiry, and ask for another one and for the hub's key";
    if out.is_json() {
        let mut value = serde_json::to_value(&refused)?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("holds".to_owned(), false.into());
            fields.insert("error".to_owned(), refused.to_string().into());
            fields.insert("advice".to_owned(), ADVICE.into());
        }
        out.value(&value);
        return Ok(ExitCode::FAILURE);
    }
    Err(format!("the export proves nothing. {refused}; {ADVICE}").into())
}

fn read_anchor(path: &Path) -> Result<SignedCheckpoint, Failed> {
    let shown = path.display();
    let text = fs::read(path).map_err(|error| format!("cannot read the anchor `{shown}`: {error}"))?;
    serde_json::from_slice(&text).map_err(|error| {
        format!("`{shown}` is not a checkpoint as `crossdock audit checkpoint` prints it: {error}").into()
    })
}

//! `crossdock plugin publish`, `show`, `explain`, `impact`, what is done with versions and bindings, and `changes`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use semver::Version;
use serde_json::{Map, Value, json};

use super::opened::Opened;
use crate::{
    app::{package::read_manifest, parcel::Files},
    cli::{
        Failed, HubAddress,
        answer::{list, text, texts},
        control::Who,
        impact::{self, Accept},
        out::Out,
    },
    model::{age::Since, id::PluginId, timestamp::Timestamp},
    net::client::encoded,
};

/// Versions of plugins, and which of them serve.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum Registry {
    /// Send a package to a hub. It serves nobody before it is promoted.
    Publish(Publish),
    /// Make a draft final.
    Release(VersionAct),
    /// Show a plugin's versions, where they serve, and what is on trial.
    Show(Show),
    /// Tell what a version may touch: manifest, then grants, then the hub's ceiling; and which of them denies what.
    Explain(Look),
    /// Tell what depends on a plugin or a version: pipelines and their owners, connections, runs under way.
    Impact(Look),
    /// Tell the users of a version to use another.
    Deprecate(Deprecate),
    /// Keep a version from being bound anew; where it serves, it goes on.
    Yank(Removal),
    /// Put a version away that nothing calls any more.
    Retire(VersionAct),
    /// Stop a version at once: runs that would call it are parked.
    Revoke(Removal),
    /// Take a revocation back; a second person has to agree.
    Restore(VersionAct),
    /// Check a version and keep it ready.
    Stage(Bind),
    /// Evaluate a version on live input beside the active one, without effect, and count where it differs.
    Shadow(Bind),
    /// Let a version serve some business keys; it is taken back by itself if it does badly.
    Canary(Canary),
    /// Make a version the one that serves.
    Promote(Promote),
    /// End a trial.
    Withdraw(LineAct),
    /// Let the version serve again that served before.
    Rollback(LineAct),
    /// List the changes that need a second person.
    Changes(HubAddress),
    /// Agree to such a change, which is made then.
    Approve(Decide),
    /// Decline such a change, or take an own one back.
    Decline(Decide),
}

/// What to publish.
#[derive(Args, Debug)]
pub(in crate::cli) struct Publish {
    /// The package: a folder with a `plugin.toml` and a `component.wasm`, or a file made by `plugin pack`.
    package: PathBuf,
    /// Publish it as a draft, which may still be replaced.
    #[arg(long)]
    draft: bool,
    #[command(flatten)]
    who: Who,
}

/// What to show.
#[derive(Args, Debug)]
pub(in crate::cli) struct Show {
    /// The plugin, `namespace/name`.
    plugin: PluginId,
    #[command(flatten)]
    address: HubAddress,
}

/// What to look at.
#[derive(Args, Debug)]
pub(in crate::cli) struct Look {
    /// The plugin, `namespace/name`.
    plugin: PluginId,
    /// The version; absent: the one that serves, or all.
    #[arg(id = "plugin_version", value_name = "VERSION")]
    version: Option<Version>,
    #[command(flatten)]
    address: HubAddress,
}

/// A version, and who does something with it.
#[derive(Args, Debug)]
pub(in crate::cli) struct VersionAct {
    /// The plugin, `namespace/name`.
    plugin: PluginId,
    /// The version.
    #[arg(id = "plugin_version", value_name = "VERSION")]
    version: Version,
    /// Override what stands against it; then a second person has to agree.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    who: Who,
}

/// A version that is taken away.
#[derive(Args, Debug)]
pub(in crate::cli) struct Removal {
    #[command(flatten)]
    act: VersionAct,
    #[command(flatten)]
    accept: Accept,
}

/// A version that its users are to leave.
#[derive(Args, Debug)]
pub(in crate::cli) struct Deprecate {
    #[command(flatten)]
    removal: Removal,
    /// Until when it is meant to be used, such as `2026-12-31T00:00:00Z`.
    #[arg(long, value_name = "TIME")]
    sunset: Option<Timestamp>,
    /// The version to use instead.
    #[arg(long, value_name = "VERSION")]
    replaced_by: Option<Version>,
}

/// A version, and where it is to serve.
#[derive(Args, Debug)]
pub(in crate::cli) struct Bind {
    #[command(flatten)]
    act: VersionAct,
    /// In this pipeline alone.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
}

/// A version, where it is to serve, and on what condition.
#[derive(Args, Debug)]
pub(in crate::cli) struct Promote {
    #[command(flatten)]
    bind: Bind,
    #[command(flatten)]
    accept: Accept,
    /// Only if it answers what was recorded since then as the version that serves does, such as `7d`.
    #[arg(long, value_name = "TIME")]
    replay_since: Option<Since>,
    /// How many recorded inputs it may answer otherwise.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "replay_since")]
    replay_changes_max: u64,
    /// How many recorded inputs are replayed at most, the latest.
    #[arg(long, value_name = "N", requires = "replay_since")]
    replay_limit: Option<u32>,
}

/// A version, and which keys it is to serve.
#[derive(Args, Debug)]
pub(in crate::cli) struct Canary {
    #[command(flatten)]
    bind: Bind,
    #[command(flatten)]
    accept: Accept,
    /// Of a hundred business keys, so many; always the same ones.
    #[arg(long, value_name = "1-99", default_value_t = 10)]
    percent: u8,
    /// It is taken back beyond so many traps.
    #[arg(long, value_name = "N", default_value_t = 0)]
    traps_max: u32,
    /// It is taken back beyond so many calls that ran out of time.
    #[arg(long, value_name = "N", default_value_t = 0)]
    deadlines_max: u32,
    /// It is taken back if more of a hundred of its answers differ from the active version's.
    #[arg(long, value_name = "PERCENT")]
    divergence_max: Option<u8>,
}

/// A line, and who changes it.
#[derive(Args, Debug)]
pub(in crate::cli) struct LineAct {
    /// The plugin, `namespace/name`.
    plugin: PluginId,
    /// In this pipeline alone.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    #[command(flatten)]
    who: Who,
}

/// A change, and who decides.
#[derive(Args, Debug)]
pub(in crate::cli) struct Decide {
    /// The change, as `plugin changes` lists it.
    id: String,
    #[command(flatten)]
    who: Who,
}

impl Registry {
    pub(in crate::cli) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::Publish(publish) => publish.run(out).await,
            Self::Release(act) => act.send(out, "publish", json!({})).await,
            Self::Show(show) => show.run(out).await,
            Self::Explain(look) => look.explain(out).await,
            Self::Impact(look) => look.impact(out).await,
            Self::Deprecate(deprecate) => {
                let Deprecate { removal, sunset, replaced_by } = deprecate;
                removal.send(out, "deprecate", json!({ "sunset": sunset, "replaced_by": replaced_by })).await
            }
            Self::Yank(removal) => removal.send(out, "yank", json!({})).await,
            Self::Retire(act) => act.send(out, "retire", json!({})).await,
            Self::Revoke(removal) => removal.send(out, "revoke", json!({})).await,
            Self::Restore(act) => act.send(out, "restore", json!({})).await,
            Self::Stage(bind) => bind.send(out, "stage", json!({})).await,
            Self::Shadow(bind) => bind.send(out, "shadow", json!({})).await,
            Self::Canary(canary) => {
                let Canary { bind, accept, percent, traps_max, deadlines_max, divergence_max } = canary;
                let mut more = json!({
                    "percent": percent, "traps_max": traps_max, "deadlines_max": deadlines_max,
                    "divergence_percent_max": divergence_max,
                });
                accept.sign(&mut more);
                bind.send(out, "canary", more).await
            }
            Self::Promote(Promote { bind, accept, replay_since, replay_changes_max, replay_limit }) => {
                let gate = replay_since.map(|since| {
                    let mut gate = json!({ "since": since, "changes_max": replay_changes_max });
                    if let (Some(limit), Some(fields)) = (replay_limit, gate.as_object_mut()) {
                        fields.insert("limit".to_owned(), limit.into());
                    }
                    gate
                });
                let mut more = json!({ "replay": gate });
                accept.sign(&mut more);
                bind.send(out, "promote", more).await
            }
            Self::Withdraw(line) => line.send(out, "withdraw").await,
            Self::Rollback(line) => line.send(out, "rollback").await,
            Self::Changes(address) => changes(&address, out).await,
            Self::Approve(decide) => decide.send(out, true).await,
            Self::Decline(decide) => decide.send(out, false).await,
        }
    }
}

/// Sends a change, and says what came of it.
async fn send(out: &Out, who: &Who, path: &str, verb: &str, more: Value) -> Result<ExitCode, Failed> {
    let mut request = Map::from_iter([("do".to_owned(), verb.into())]);
    if let Value::Object(more) = more {
        request.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
    }
    let answer = who.send::<Value>(path, Value::Object(request)).await;
    let Some(answer) = impact::taken(out, answer)? else { return Ok(ExitCode::FAILURE) };
    said(out, &answer);
    Ok(ExitCode::SUCCESS)
}

/// Says that a change is proposed, or shows what was changed.
pub(in crate::cli) fn said_or(out: &Out, answer: &Value, show: impl FnOnce(&Out, &Value)) {
    if answer.get("outcome").is_some() { said(out, answer) } else { show(out, answer) }
}

/// Says what came of a change.
pub(in crate::cli) fn said(out: &Out, answer: &Value) {
    if out.is_json() {
        return out.value(answer);
    }
    match text(answer, "/outcome").as_str() {
        "done" => {
            out.say(format!("{} {}", out.green("done"), text(answer, "/summary")));
            list(answer, "/notes").for_each(|note| out.say(format!("  {}", note.as_str().unwrap_or_default())));
            if answer.pointer("/took").is_some() {
                let took = |part: &str| text(answer, &format!("/took/{part}_us"));
                let (checks, record, swap) = (took("checks"), took("record"), took("swap"));
                let times = format!("checks {checks} µs, record {record} µs, swap {swap} µs");
                out.say(format!("  {}", out.dim(&times)));
            }
        }
        "proposed" => {
            out.say(format!("{} a second person has to agree, because", out.yellow("proposed")));
            list(answer, "/because").for_each(|why| out.say(format!("  - {}", why.as_str().unwrap_or_default())));
            out.say(format!("  next, somebody else: crossdock plugin approve {} --reason …", text(answer, "/id")));
        }
        other => out.say(other),
    }
}

impl Publish {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let bar = super::spinner(out, &self.package.display().to_string());
        let opened = Opened::new(&self.package)?;
        let upload = Files::of_folder(&opened.folder)?.pack()?;
        let client = self.who.address.client()?;
        let plugin = read_manifest(&opened.folder)?.0.id;
        let (plugin, reason) = (encoded(plugin.as_str()), encoded(&self.who.reason));
        let actor = self.who.actor.as_deref().map(|actor| format!("&actor={}", encoded(actor))).unwrap_or_default();
        let path = format!("/v1/plugins?plugin={plugin}{actor}&reason={reason}&draft={}", self.draft);
        let answer: Result<Value, _> = client.post(&path, "application/octet-stream", upload).await;
        bar.finish_and_clear();
        let answer = answer?;
        if out.is_json() {
            out.value(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        let named = format!("{}@{}", text(&answer, "/plugin"), text(&answer, "/version"));
        out.say(format!("{} {} {}", out.green(&text(&answer, "/state")), out.bold(&named), text(&answer, "/digest")));
        list(&answer, "/notes").for_each(|note| out.say(format!("  {}", note.as_str().unwrap_or_default())));
        Ok(ExitCode::SUCCESS)
    }
}

impl VersionAct {
    async fn send(self, out: &Out, verb: &str, mut more: Value) -> Result<ExitCode, Failed> {
        let path = format!("/v1/plugins/{}/control", self.plugin);
        if let Some(more) = more.as_object_mut() {
            more.insert("version".to_owned(), self.version.to_string().into());
            more.insert("force".to_owned(), self.force.into());
        }
        send(out, &self.who, &path, verb, more).await
    }
}

impl Removal {
    async fn send(self, out: &Out, verb: &str, mut more: Value) -> Result<ExitCode, Failed> {
        self.accept.sign(&mut more);
        self.act.send(out, verb, more).await
    }
}

impl Bind {
    async fn send(self, out: &Out, verb: &str, mut more: Value) -> Result<ExitCode, Failed> {
        let Self { act, pipeline } = self;
        let path = format!("/v1/bindings/{}", act.plugin);
        if let Some(more) = more.as_object_mut() {
            more.insert("version".to_owned(), act.version.to_string().into());
            more.insert("force".to_owned(), act.force.into());
            more.insert("pipeline".to_owned(), pipeline.into());
        }
        send(out, &act.who, &path, verb, more).await
    }
}

impl LineAct {
    async fn send(self, out: &Out, verb: &str) -> Result<ExitCode, Failed> {
        let path = format!("/v1/bindings/{}", self.plugin);
        send(out, &self.who, &path, verb, json!({ "pipeline": self.pipeline })).await
    }
}

impl Show {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let answer: Value = self.address.client()?.get(&format!("/v1/plugins/{}", self.plugin)).await?;
        if out.is_json() {
            out.value(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        out.say(out.bold(self.plugin.as_str()));
        let rows = list(&answer, "/versions").map(|version| {
            let until = text(version, "/sunset");
            let instead = text(version, "/replaced_by");
            let note = match (until.is_empty(), instead.is_empty()) {
                (true, true) => String::new(),
                (true, false) => format!("use {instead}"),
                (false, true) => format!("until {until}"),
                (false, false) => format!("until {until}, then {instead}"),
            };
            let digest = text(version, "/digest").chars().take(19).collect();
            vec![
                text(version, "/version"),
                text(version, "/state"),
                text(version, "/part"),
                digest,
                text(version, "/calls"),
                note,
            ]
        });
        out.table(&["version", "state", "part", "digest", "calls", ""], rows.collect(), "no versions");
        for binding in list(&answer, "/bindings") {
            let pipeline = text(binding, "/pipeline");
            let place = if pipeline.is_empty() { "everywhere".to_owned() } else { format!("in `{pipeline}`") };
            let active = text(binding, "/active");
            let active = if active.is_empty() { "nothing".to_owned() } else { active };
            let bound =
                if binding.pointer("/bound") == Some(&Value::Bool(true)) { "" } else { " (follows the latest)" };
            let earlier = texts(binding, "/earlier");
            let earlier = if earlier.is_empty() { earlier } else { format!(", before by {earlier}") };
            out.say(format!("{place}: served by {}{bound}{earlier}", out.bold(&active)));
            if let Some(candidate) = binding.pointer("/candidate") {
                let of = |name: &str| text(candidate, &format!("/counts/{name}"));
                let share = text(candidate, "/percent");
                let share = if share.is_empty() { share } else { format!(" {share} %") };
                out.say(format!(
                    "  {} {}{share}: served {}, failed {}, traps {}, out of time {}; compared {}, differed {}",
                    text(candidate, "/mode"),
                    out.bold(&text(candidate, "/version")),
                    of("served"),
                    of("failed"),
                    of("traps"),
                    of("deadlines"),
                    of("compared"),
                    of("diverged"),
                ));
                for sample in list(candidate, "/counts/samples") {
                    let (run, step) = (text(sample, "/run"), text(sample, "/step"));
                    out.say(format!("    {run} {step}: {} / {}", text(sample, "/served"), text(sample, "/other")));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Look {
    async fn get(&self, what: &str) -> Result<Value, Failed> {
        let client = self.address.client()?;
        let version: Vec<_> = self.version.iter().map(|version| ("version", version.to_string())).collect();
        Ok(client.get_with(&format!("/v1/plugins/{}/{what}", self.plugin), &version).await?)
    }

    async fn explain(self, out: &Out) -> Result<ExitCode, Failed> {
        let answer = self.get("explain").await?;
        if out.is_json() {
            out.value(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        let named = format!("{}@{}", text(&answer, "/plugin"), text(&answer, "/version"));
        out.say(format!("{} {}", out.bold(&named), text(&answer, "/digest")));
        let rows = list(&answer, "/parts").map(|part| {
            let granted = part.pointer("/granted") == Some(&Value::Bool(true));
            let connection = text(part, "/connection");
            vec![
                if granted { out.green("gets") } else { out.red("denied") },
                text(part, "/what"),
                if connection.is_empty() { "-".to_owned() } else { connection },
                text(part, "/layer"),
                text(part, "/why"),
            ]
        });
        out.table(&["", "what", "connection", "by", "why"], rows.collect(), "it touches nothing");
        if answer.pointer("/withheld") == Some(&Value::Bool(true)) {
            out.say("what connections grant it is shown to who may see connections");
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn impact(self, out: &Out) -> Result<ExitCode, Failed> {
        let answer = self.get("impact").await?;
        if out.is_json() {
            out.value(&answer);
        } else {
            impact::tell(out, &answer);
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn changes(address: &HubAddress, out: &Out) -> Result<ExitCode, Failed> {
    let answer: Value = address.client()?.get("/v1/changes").await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let rows = list(&answer, "/changes").map(|change| {
        let by = text(change, "/state/by");
        let state = text(change, "/state/state");
        vec![
            text(change, "/id"),
            if by.is_empty() { out.yellow(&state) } else { format!("{state} by {by}") },
            match text(change, "/act/do").as_str() {
                verb @ ("connection" | "source" | "bind" | "subscription" | "api") => {
                    let what = ["name", "pipeline", "contract"].map(|field| text(change, &format!("/act/{field}")));
                    format!("{verb} {}", what.concat())
                }
                verb => format!("{verb} {} {}", text(change, "/plugin"), text(change, "/act/version")),
            },
            text(change, "/actor"),
            text(change, "/reason"),
            texts(change, "/because"),
        ]
    });
    let none = "no change needs a second person";
    out.table(&["change", "state", "what", "asked for by", "reason", "because"], rows.collect(), none);
    Ok(ExitCode::SUCCESS)
}

impl Decide {
    async fn send(self, out: &Out, approved: bool) -> Result<ExitCode, Failed> {
        let Who { actor, reason, address } = self.who;
        let request = json!({ "actor": actor.unwrap_or_default(), "reason": reason, "approved": approved });
        let path = format!("/v1/changes/{}/decision", encoded(&self.id));
        let client = address.client()?;
        let answer: Value = client.post(&path, "application/json", serde_json::to_vec(&request)?).await?;
        said(out, &answer);
        Ok(ExitCode::SUCCESS)
    }
}

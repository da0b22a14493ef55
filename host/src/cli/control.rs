//! `crossdock run pause`, `continue`, `cancel`, `resume`, `close`, `resolve`, `reassign` and `restart`.

use std::{path::PathBuf, process::ExitCode};

use clap::{ArgGroup, Args};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Failed, HubAddress,
    approval::{Questions, the_only_step},
    out::Out,
};
use crate::{
    model::{
        id::RunId,
        run::{RunState, RunSummary, RunView},
    },
    net::client::encoded,
};

/// Who does something, and why.
#[derive(Args, Debug, Clone)]
pub(super) struct Who {
    /// Under which name, if that is allowed; absent: the token's own.
    #[arg(long, value_name = "NAME")]
    pub(super) actor: Option<String>,
    /// Why; it is recorded with what is done.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(super) reason: String,
    #[command(flatten)]
    pub(super) address: HubAddress,
}

impl Who {
    /// Puts who and why into a request.
    pub(super) fn sign(&self, request: &mut Value) {
        if let Some(fields) = request.as_object_mut() {
            fields.insert("reason".to_owned(), self.reason.clone().into());
            fields.extend(self.actor.clone().map(|actor| ("actor".to_owned(), actor.into())));
        }
    }

    /// Sends a request that says who and why.
    pub(super) async fn send<T: DeserializeOwned>(&self, path: &str, mut request: Value) -> Result<T, Failed> {
        self.sign(&mut request);
        Ok(self.address.client()?.post(path, "application/json", serde_json::to_vec(&request)?).await?)
    }
}

/// Why, and at which hub.
#[derive(Args, Debug)]
pub(super) struct Why {
    /// Why; it is recorded.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(super) reason: String,
    #[command(flatten)]
    pub(super) address: HubAddress,
}

/// A run, and who does something with it.
#[derive(Args, Debug)]
pub(super) struct Act {
    /// The run's id, or at least the first 8 digits of it.
    run: String,
    #[command(flatten)]
    who: Who,
}

/// How a run is ended.
#[derive(Args, Debug)]
pub(super) struct End {
    #[command(flatten)]
    act: Act,
    /// Leave what the run did in place; unless this is given, it is undone.
    #[arg(long)]
    keep_effects: bool,
}

/// What became of a write.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("found").required(true)))]
pub(super) struct Resolve {
    #[command(flatten)]
    act: Act,
    /// The step; absent: the one that parked the run.
    #[arg(long)]
    step: Option<String>,
    /// The write took effect; the file holds its output as JSON.
    #[arg(long, value_name = "OUTPUT.json", group = "found")]
    took_effect: Option<PathBuf>,
    /// The write did not take effect: it is repeated.
    #[arg(long, group = "found")]
    no_effect: bool,
}

/// Who is asked from now on.
#[derive(Args, Debug)]
pub(super) struct Reassign {
    #[command(flatten)]
    act: Act,
    /// The step that asks; absent: the only one of the run that does.
    #[arg(long)]
    step: Option<String>,
    /// The group.
    #[arg(long, value_name = "GROUP")]
    to: String,
}

/// Where a run begins again.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("effects").required(true)))]
pub(super) struct Restart {
    #[command(flatten)]
    act: Act,
    /// The step, one of the pipeline's outermost list.
    #[arg(long)]
    step: String,
    /// Undo what the step and all later ones did, first.
    #[arg(long, group = "effects")]
    undo: bool,
    /// Leave it in place, and use those steps' results again.
    #[arg(long, group = "effects")]
    keep_effects: bool,
}

impl Act {
    pub(super) async fn run(self, out: &Out, action: &str) -> Result<ExitCode, Failed> {
        self.send(out, json!({ "do": action })).await
    }

    /// Asks the hub, and says how the run stands then.
    pub(super) async fn send(self, out: &Out, request: Value) -> Result<ExitCode, Failed> {
        let path = format!("/v1/runs/{}/control", encoded(&self.run));
        let summary: RunSummary = self.who.send(&path, request).await?;
        say(out, &summary);
        Ok(ExitCode::SUCCESS)
    }

    async fn view(&self) -> Result<RunView, Failed> {
        let client = self.who.address.client()?;
        Ok(client.get(&format!("/v1/runs/{}", encoded(&self.run))).await?)
    }
}

/// Says how a run stands after something was done with it.
pub(super) fn say(out: &Out, summary: &RunSummary) {
    if out.is_json() {
        return out.value(summary);
    }
    let at = summary.step.as_deref().map(|step| format!(" at `{step}`")).unwrap_or_default();
    let cause = summary.cause.as_deref().map(|cause| format!(": {cause}")).unwrap_or_default();
    out.say(format!("{} is {}{at}{cause}", out.bold(&summary.id.to_string()), summary.state.as_str()));
    if !summary.state.is_settled() && summary.state != RunState::Paused {
        out.say(format!("  follow it with `crossdock run watch {}`", short(summary.id)));
    }
}

impl End {
    pub(super) async fn run(self, out: &Out, action: &str) -> Result<ExitCode, Failed> {
        self.act.send(out, json!({ "do": action, "compensate": !self.keep_effects })).await
    }
}

impl Resolve {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let step = match self.step {
            Some(step) => step,
            None => self.act.view().await?.summary.step.unwrap_or_default(),
        };
        let mut request = json!({ "do": "resolve", "step": step });
        if let Some(path) = &self.took_effect {
            let text = std::fs::read(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
            let output: Value =
                serde_json::from_slice(&text).map_err(|error| format!("`{}` is not JSON: {error}", path.display()))?;
            if output.is_null() {
                return Err(format!("`{}` is null; give what the write answered", path.display()).into());
            }
            if let Some(request) = request.as_object_mut() {
                request.insert("output".to_owned(), output);
            }
        }
        self.act.send(out, request).await
    }
}

impl Reassign {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let step = match self.step {
            Some(step) => step,
            None => {
                let client = self.act.who.address.client()?;
                let asked: Questions = client.get_with("/v1/approvals", &[("run", self.act.run.clone())]).await?;
                the_only_step(&self.act.run, &asked.approvals)?
            }
        };
        self.act.send(out, json!({ "do": "reassign", "step": step, "to": self.to })).await
    }
}

impl Restart {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        self.act.send(out, json!({ "do": "restart", "step": self.step, "undo": self.undo })).await
    }
}

/// As much of a run's id as a person types.
pub(super) fn short(id: RunId) -> String {
    id.to_string().chars().take("run_".len() + 12).collect()
}

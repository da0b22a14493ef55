//! `crossdock pipeline`.

mod bind;
mod diff;
mod lifecycle;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::bind::{Bind, Bindings};
use super::{Failed, HubAddress, out::Out};
use crate::{
    app::{contracts::Library, package},
    flow::language::{self, Diagnostic, Environment, PluginFacts},
    model::id::PluginId,
};

/// Pipelines.
#[derive(Subcommand, Debug)]
pub(super) enum Pipeline {
    /// Find every mistake in a pipeline before the hub does.
    Check(Check),
    /// List the pipelines that a hub has accepted.
    List(HubAddress),
    /// Show which connection each name of a pipeline stands for.
    Bindings(Bindings),
    /// Bind names of a pipeline to connections; a second person has to agree where it reaches more than before.
    Bind(Bind),
    /// Draw a pipeline.
    Graph(Graph),
    /// Print the JSON Schema of the language, for editors.
    Schema,
    #[command(flatten)]
    Lifecycle(lifecycle::Lifecycle),
}

/// What to check.
#[derive(Args, Debug)]
pub(super) struct Check {
    /// Pipelines' files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Folders of plugins (sources or packages) that the pipelines may use; a folder of such folders also does.
    #[arg(long, value_name = "DIR")]
    plugins: Vec<PathBuf>,
}

/// What to draw.
#[derive(Args, Debug)]
pub(super) struct Graph {
    /// The pipeline's file.
    file: PathBuf,
    /// As Mermaid, for documents.
    #[arg(long)]
    mermaid: bool,
}

impl Pipeline {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::Check(check) => check.run(out),
            Self::Graph(graph) => graph.run(out),
            Self::List(address) => list(&address, out).await,
            Self::Bindings(bindings) => bindings.run(out).await,
            Self::Bind(bind) => bind.run(out).await,
            Self::Schema => {
                out.value(&language::schema());
                Ok(ExitCode::SUCCESS)
            }
            Self::Lifecycle(lifecycle) => Box::pin(lifecycle.run(out)).await,
        }
    }
}

impl Check {
    fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let library = Library::built_in()?;
        let mut folders = self.plugins.clone();
        if folders.is_empty() {
            folders.extend(super::workspace().map(|root| root.join("plugins")));
        }
        let plugins = facts(&folders)?;
        let pipelines = BTreeMap::new();
        let environment =
            Environment { contracts: &library.contracts, plugins: &plugins, pipelines: &pipelines, tables: None };
        let mut reports = Vec::new();
        let mut fine = true;
        for file in &self.files {
            let text = read(file)?;
            let (mut diagnostics, mut advice) = (Vec::new(), Vec::new());
            match language::parse(&text) {
                Err(found) => diagnostics = found,
                Ok(definition) => {
                    diagnostics.extend(language::check(&definition, &environment));
                    advice = language::advise(&definition, &environment);
                }
            }
            fine &= diagnostics.is_empty();
            for advice in &advice {
                out.say(advice.render(&file.display().to_string(), &text).replacen("error[", "warning[", 1));
            }
            tell(out, file, &text, &diagnostics);
            reports.push(json!({
                "file": file, "accepted": diagnostics.is_empty(), "diagnostics": diagnostics, "warnings": advice,
            }));
        }
        if out.is_json() {
            out.value(&reports);
        }
        Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn tell(out: &Out, file: &Path, text: &str, diagnostics: &[Diagnostic]) {
    if diagnostics.is_empty() {
        return out.say(format!("{} {}", out.green("✓"), file.display()));
    }
    for diagnostic in diagnostics {
        out.say(diagnostic.render(&file.display().to_string(), text));
    }
    out.say(format!("{} {}: {} to mend", out.red("✗"), file.display(), diagnostics.len()));
}

/// What the manifests below these folders say, for the checker.
fn facts(folders: &[PathBuf]) -> Result<BTreeMap<PluginId, Vec<PluginFacts>>, Failed> {
    let mut facts: BTreeMap<PluginId, Vec<PluginFacts>> = BTreeMap::new();
    for folder in folders {
        let mut found = vec![folder.clone()];
        if !folder.join(package::MANIFEST_FILE).is_file() {
            found = std::fs::read_dir(folder)
                .map_err(|error| format!("cannot read `{}`: {error}", folder.display()))?
                .filter_map(Result::ok)
                .map(|entry| entry.path())
                .filter(|path| path.join(package::MANIFEST_FILE).is_file())
                .collect();
        }
        for folder in found {
            let (manifest, _) = package::read_manifest(&folder)?;
            facts.entry(manifest.id.clone()).or_default().push(PluginFacts::of(&manifest));
        }
    }
    Ok(facts)
}

impl Graph {
    fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let text = read(&self.file)?;
        match language::parse(&text) {
            Err(diagnostics) => {
                if out.is_json() {
                    out.value(&json!({ "file": self.file, "accepted": false, "diagnostics": diagnostics }));
                }
                tell(out, &self.file, &text, &diagnostics);
                Ok(ExitCode::FAILURE)
            }
            Ok(definition) => {
                let graph = language::graph(&definition);
                let drawn = if self.mermaid { graph.mermaid() } else { graph.text() };
                if out.is_json() {
                    out.value(&json!({ "graph": drawn }));
                }
                out.say(drawn.trim_end());
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn read(file: &Path) -> Result<String, Failed> {
    std::fs::read_to_string(file).map_err(|error| format!("cannot read `{}`: {error}", file.display()).into())
}

async fn list(address: &HubAddress, out: &Out) -> Result<ExitCode, Failed> {
    let client = address.client()?;
    let answer: Value = client.get("/v1/pipelines").await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let pipelines = answer.get("pipelines").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows = pipelines
        .iter()
        .map(|pipeline| {
            let text = |name: &str| pipeline.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let list = |name: &str| {
                let items = pipeline.get(name).and_then(Value::as_array).into_iter().flatten();
                items.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
            };
            let paused = if pipeline.get("paused").is_some() { " (paused)" } else { "" };
            vec![text("name") + paused, text("version"), text("owner"), list("triggers"), list("steps")]
        })
        .collect();
    out.table(&["pipeline", "version", "owner", "starts on", "steps"], rows, "no pipelines are accepted");
    Ok(ExitCode::SUCCESS)
}

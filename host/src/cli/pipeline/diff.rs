//! `crossdock pipeline diff`: two versions of a hub, or what a file would change.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::Value;

use super::{lifecycle::KIND, read, tell};
use crate::{
    cli::{
        Failed, HubAddress,
        answer::text,
        out::Out,
        versions::{Named, field, path_of},
    },
    flow::language,
    model::difference::{Fate, PipelineDifference},
    net::client::{Client, encoded},
};

/// What to compare.
#[derive(Args, Debug)]
pub(in crate::cli) struct Diff {
    /// The earlier one: a version, `namespace/name@version`, or a pipeline's file. A file alone is the later one, compared
    /// with the version that new runs start on.
    from: String,
    /// The later one of the same.
    to: Option<String>,
    #[command(flatten)]
    address: HubAddress,
}

/// One side.
enum Side {
    Version(Named),
    File { path: PathBuf, name: String, text: String },
}

impl Side {
    /// What is meant; absent: a file with mistakes, which are told.
    fn of(out: &Out, given: &str) -> Result<Option<Self>, Failed> {
        let path = PathBuf::from(given);
        if let Ok(named) = given.parse::<Named>()
            && !path.is_file()
        {
            return Ok(Some(Self::Version(named)));
        }
        let text = read(&path)?;
        match language::parse(&text) {
            Ok(definition) => Ok(Some(Self::File { path, name: definition.name.value, text })),
            Err(diagnostics) => {
                tell(out, &path, &text, &diagnostics);
                Ok(None)
            }
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Version(named) => &named.name,
            Self::File { name, .. } => name,
        }
    }

    /// How it is called beside its name.
    fn title(&self) -> String {
        match self {
            Self::Version(named) => named.version.to_string(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }

    async fn text(&self, client: &Client) -> Result<String, Failed> {
        match self {
            Self::Version(Named { name, version }) => {
                let path = format!("/v1/{KIND}/{}/versions/{}", path_of(name)?, encoded(&version.to_string()));
                Ok(text(&client.get::<Value>(&path).await?, "/text"))
            }
            Self::File { text, .. } => Ok(text.clone()),
        }
    }
}

/// The version that new runs of a pipeline start on.
async fn serving(client: &Client, name: &str) -> Result<Side, Failed> {
    let answer: Value = client.get(&format!("/v1/{KIND}/{}", path_of(name)?)).await?;
    let version = text(&answer, "/active").parse().map_err(|_| {
        format!("new runs of `{name}` start on no version yet: say which to compare with, as `{name}@VERSION`")
    })?;
    Ok(Side::Version(Named { name: name.to_owned(), version }))
}

impl Diff {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let client = self.address.client()?;
        let Some(first) = Side::of(out, &self.from)? else { return Ok(ExitCode::FAILURE) };
        let (from, to) = match (&self.to, first) {
            (Some(to), from) => {
                let Some(to) = Side::of(out, to)? else { return Ok(ExitCode::FAILURE) };
                (from, to)
            }
            (None, to @ Side::File { .. }) => (serving(&client, to.name()).await?, to),
            (None, Side::Version(Named { name, .. })) => {
                return Err(format!("say what to compare it with: another version of `{name}`, or a file").into());
            }
        };
        if from.name() != to.name() {
            return Err(format!("`{}` and `{}` are not versions of the same", from.name(), to.name()).into());
        }
        let found = match (&from, &to) {
            (Side::Version(from), Side::Version(to)) => {
                let path = format!("/v1/{KIND}/{}/difference", path_of(&from.name)?);
                client.get_with(&path, &[("from", from.version.to_string()), ("to", to.version.to_string())]).await?
            }
            // Both have been read as pipelines before.
            _ => language::difference(&from.text(&client).await?, &to.text(&client).await?)
                .map_err(|_| "one of the two cannot be read".to_owned())?,
        };
        if out.is_json() {
            out.value(&found);
        } else {
            out.say(format!("{} {} → {}", out.bold(from.name()), from.title(), to.title()));
            say(out, &found);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn say(out: &Out, found: &PipelineDifference) {
    if found.is_empty() {
        out.say("nothing differs");
    }
    found.fields.iter().for_each(|change| out.say(format!("  {}", field(out, change))));
    for step in &found.steps {
        let word = step.change.as_str();
        let word = match step.change {
            Fate::Added => out.green(word),
            Fate::Removed => out.red(word),
            Fate::Changed | Fate::Moved => out.yellow(word),
        };
        out.say(format!("  {word} {} {}", step.kind, out.bold(&step.step)));
        step.fields.iter().for_each(|change| out.say(format!("    {}", field(out, change))));
    }
}

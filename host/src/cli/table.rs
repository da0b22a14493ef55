//! `crossdock table`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use semver::Version;
use serde_json::{Map, Value, json};

use super::{
    Failed, HubAddress,
    answer::{list, text},
    control::Who,
    out::Out,
    versions::{Act, Deprecate, Line, Named, Pair, Rollback, Shown, drafted, field, path_of, same_line, table},
};
use crate::{
    model::{difference::Fate, table::TableDifference},
    net::client::{ClientError, encoded},
};

/// Where tables are asked for.
const KIND: &str = "tables";

/// Reference tables: price lists, calendars, blocklists, thresholds.
#[derive(Subcommand, Debug)]
pub(super) enum Table {
    /// Send rows to a hub as a draft: checked, kept, and given to no step before somebody else approves it.
    Draft(Draft),
    /// Tell what differs between two versions, row by row.
    Diff(Pair),
    /// Approve a draft of somebody else's.
    Approve(Act),
    /// Give a version to the steps that begin from now on; those under way keep theirs.
    Promote(Act),
    /// Give the version to steps again that they were given before.
    Rollback(Rollback),
    /// List the tables.
    List(HubAddress),
    /// Show a table's versions, or the rows of one version.
    Show(Shown),
    /// Tell which steps of which pipelines are given a table.
    Impact(Line),
    /// Tell the users of a version to use another.
    Deprecate(Deprecate),
    /// Put a version away that serves nobody, or a draft that nobody is to approve.
    Retire(Act),
}

/// What to draft.
#[derive(Args, Debug)]
pub(super) struct Draft {
    /// The table, `namespace/name`.
    name: String,
    /// The rows: comma-separated values with the columns' names in the first line (`.csv`), or JSON: a list of objects,
    /// or an object with `rows` and perhaps `key`, `schema` and `version`.
    file: PathBuf,
    /// A column that finds a row; several times for several. As in the latest version unless told.
    #[arg(long, value_name = "COLUMN")]
    key: Vec<String>,
    /// A file with the JSON Schema of a row. As in the latest version unless told.
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// The version; the next one unless told.
    #[arg(long = "as", value_name = "VERSION")]
    version_wanted: Option<Version>,
    #[command(flatten)]
    who: Who,
}

impl Table {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::Draft(draft) => draft.run(out).await,
            Self::Diff(pair) => diff(&pair, out).await,
            Self::Approve(act) => act.send(out, KIND, "approve", json!({})).await,
            Self::Promote(act) => act.send(out, KIND, "promote", json!({})).await,
            Self::Rollback(rollback) => rollback.send(out, KIND).await,
            Self::List(address) => all(&address, out).await,
            Self::Show(shown) => show(&shown, out).await,
            Self::Impact(line) => impact(&line, out).await,
            Self::Deprecate(deprecate) => deprecate.send(out, KIND).await,
            Self::Retire(act) => act.send(out, KIND, "retire", json!({})).await,
        }
    }
}

impl Draft {
    /// What is sent.
    fn request(&self) -> Result<Value, Failed> {
        let source = read(&self.file)?;
        let wrong = |file: &Path, error: serde_json::Error| format!("`{}` is not JSON: {error}", file.display());
        let mut request = if self.file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
            Map::from_iter([("csv".to_owned(), source.into())])
        } else {
            match serde_json::from_str(&source).map_err(|error| wrong(&self.file, error))? {
                Value::Object(fields) => fields,
                rows => Map::from_iter([("rows".to_owned(), rows)]),
            }
        };
        if !self.key.is_empty() {
            request.insert("key".to_owned(), self.key.clone().into());
        }
        if let Some(file) = &self.schema {
            let schema = serde_json::from_str(&read(file)?).map_err(|error| wrong(file, error))?;
            request.insert("schema".to_owned(), schema);
        }
        if let Some(version) = &self.version_wanted {
            request.insert("version".to_owned(), version.to_string().into());
        }
        let mut request = Value::Object(request);
        self.who.sign(&mut request);
        Ok(request)
    }

    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let body = serde_json::to_vec(&self.request()?)?;
        let path = format!("/v1/{KIND}/{}", path_of(&self.name)?);
        match self.who.address.client()?.post::<Value>(&path, "application/json", body).await {
            Ok(answer) => {
                drafted(out, &answer);
                Ok(ExitCode::SUCCESS)
            }
            Err(ClientError::Refused { problem, .. }) if !problem.mistakes.is_empty() && !out.is_json() => {
                for mistake in &problem.mistakes {
                    let place = if mistake.line == 0 { String::new() } else { format!("row {}: ", mistake.line) };
                    out.say(format!("{} {place}{}; instead: {}", out.red("✗"), mistake.problem, mistake.instead));
                }
                out.say(format!("{} [{}]", problem.detail, problem.code));
                Ok(ExitCode::FAILURE)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn read(file: &Path) -> Result<String, Failed> {
    std::fs::read_to_string(file).map_err(|error| format!("cannot read `{}`: {error}", file.display()).into())
}

async fn diff(pair: &Pair, out: &Out) -> Result<ExitCode, Failed> {
    same_line(pair)?;
    let path = format!("/v1/{KIND}/{}/difference", path_of(&pair.from.name)?);
    let query = [("from", pair.from.version.to_string()), ("to", pair.to.version.to_string())];
    let found: TableDifference = pair.address.client()?.get_with(&path, &query).await?;
    if out.is_json() {
        out.value(&found);
        return Ok(ExitCode::SUCCESS);
    }
    let TableDifference { fields, added, removed, changed, rows } = found;
    out.say(format!("{} {} → {}", out.bold(&pair.from.name), pair.from.version, pair.to.version));
    fields.iter().for_each(|change| out.say(format!("  {}", field(out, change))));
    for row in &rows {
        let word = row.change.as_str();
        let word = match row.change {
            Fate::Added => out.green(word),
            Fate::Removed => out.red(word),
            Fate::Changed | Fate::Moved => out.yellow(word),
        };
        let fields: Vec<String> = row.fields.iter().map(|change| field(out, change)).collect();
        let detail = if row.change == Fate::Changed { fields.join(", ") } else { String::new() };
        out.say(format!("  {word} {} {detail}", out.bold(&row.key)).trim_end());
    }
    out.say(format!("{added} rows added, {removed} removed, {changed} changed"));
    Ok(ExitCode::SUCCESS)
}

async fn all(address: &HubAddress, out: &Out) -> Result<ExitCode, Failed> {
    let answer: Value = address.client()?.get(&format!("/v1/{KIND}")).await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let rows = list(&answer, "/tables").map(|table| {
        let active = text(table, "/active");
        let active = if active.is_empty() { "-".to_owned() } else { active };
        vec![text(table, "/table"), active, text(table, "/rows"), text(table, "/versions")]
    });
    out.table(&["table", "serves", "rows", "versions"], rows.collect(), "there are no tables");
    Ok(ExitCode::SUCCESS)
}

async fn show(shown: &Shown, out: &Out) -> Result<ExitCode, Failed> {
    let Shown { name, address } = shown;
    let client = address.client()?;
    if !name.contains('@') {
        let answer: Value = client.get(&format!("/v1/{KIND}/{}", path_of(name)?)).await?;
        if out.is_json() {
            out.value(&answer);
        } else {
            table(out, &answer);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Named { name, version } = name.parse::<Named>()?;
    let path = format!("/v1/{KIND}/{}/versions/{}", path_of(&name)?, encoded(&version.to_string()));
    let answer: Value = client.get(&path).await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<&Value> =
        answer.pointer("/rows").and_then(Value::as_object).into_iter().flatten().map(|(_, row)| row).collect();
    let mut columns: Vec<&str> = Vec::new();
    for name in rows.iter().filter_map(|row| row.as_object()).flat_map(Map::keys) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let shown = rows.iter().map(|row| columns.iter().map(|column| cell(row.get(*column))).collect());
    out.table(&columns, shown.collect(), "no rows");
    Ok(ExitCode::SUCCESS)
}

fn cell(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

async fn impact(line: &Line, out: &Out) -> Result<ExitCode, Failed> {
    let answer: Value = line.address.client()?.get(&format!("/v1/{KIND}/{}/impact", path_of(&line.name)?)).await?;
    if out.is_json() {
        out.value(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let rows = list(&answer, "/steps").map(|step| {
        let of = |name: &str| text(step, &format!("/{name}"));
        vec![format!("{}@{}", of("pipeline"), of("version")), of("owner"), of("step"), of("alias"), of("range")]
    });
    out.table(&["pipeline", "owner", "step", "as", "takes"], rows.collect(), "no step is given it");
    Ok(ExitCode::SUCCESS)
}

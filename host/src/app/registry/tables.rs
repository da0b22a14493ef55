//! Versions of reference tables: one person drafts rows, another approves them, and from its promotion on every step that
//! begins is given them. A step that has begun keeps the rows that it began with, and runs of a pipeline's earlier version
//! that does not take them go on with those of before.

use std::sync::Arc;

use semver::Version;
use serde_json::Value;

use super::{
    Registry,
    review::{self, refused, signed},
};
use crate::{
    app::{
        install::{
            copy,
            tables::{table_active_key, table_key, table_state_key},
        },
        installation::{Installation, Table, TableVersion},
    },
    flow::document::Document,
    model::{
        audit::Cause,
        id::PluginId,
        json::Json,
        registry::Line,
        review::{ReviewAct, Reviewed, Serving},
        table::{Columns, TableDifference, TableDraft, TableRecord},
    },
    policy::table::{self, Row, Wrong},
    ports::{
        registry::Who,
        review::{Drafted, Mistake, ReviewDone, ReviewError, Thing},
        tables::{TableDetail, TableRows, TableUser, TableView},
    },
};

const THING: Thing = Thing::Table;
/// Most rows that a refusal names.
const MISTAKES_MAX: usize = 50;
/// Most tables.
const TABLES_MAX: usize = 256;

impl Registry {
    /// Takes rows as a version that nobody has approved.
    pub(in crate::app) async fn draft_table(
        &self,
        name: &str,
        draft: TableDraft,
        who: &Who,
    ) -> Result<Drafted, ReviewError> {
        let cause = signed(who)?;
        if name.parse::<PluginId>().is_err() {
            let problem = format!("`{name}` is no table's name: `namespace/name`, of a-z, 0-9 and `-`");
            return Err(ReviewError::Invalid { problem });
        }
        let _changing = self.changing.lock().await;
        let now = self.shared.installation.load_full();
        let known = now.tables.get(name);
        if known.is_none() && now.tables.len() >= TABLES_MAX {
            let problem = format!("there are {TABLES_MAX} tables already, which is the limit");
            return Err(ReviewError::Conflict { problem });
        }
        let latest = known.and_then(|table| table.versions.last_key_value());
        let before = latest.map(|(_, kept)| &kept.record);
        let TableDraft { version, key, schema, rows, csv } = draft;
        let key = key.map(Columns::names).or_else(|| before.map(|before| before.key.clone()));
        let Some(key) = key else {
            let problem = "say in `key` which columns find a row".to_owned();
            return Err(ReviewError::Invalid { problem });
        };
        let schema = schema.or_else(|| before.and_then(|before| before.schema.clone()));
        let rows = match (rows, csv) {
            (Some(rows), None) => rows,
            (None, Some(csv)) => read_csv(&csv, schema.as_ref())?,
            _ => {
                let problem = "give the rows in `rows`, or in `csv`".to_owned();
                return Err(ReviewError::Invalid { problem });
            }
        };
        self.require_schema(schema.as_ref(), &rows)?;
        let count = rows.len();
        let keyed = table::keyed(&key, rows).map_err(|found| mistaken(&found))?;
        let rows = Json::from(keyed);
        let digest = self.installer.blobs.put(rows.to_bytes()).await.map_err(|error| refused(THING, error.into()))?;
        let record = TableRecord { digest, key, schema, rows: count };
        let changed = before.is_some_and(|before| (&before.key, &before.schema) != (&record.key, &record.schema));
        let version = match version {
            // The same rows again are the version that they are.
            None if before == Some(&record) => {
                latest.map(|(version, _)| version.clone()).unwrap_or(Version::new(1, 0, 0))
            }
            version => version.unwrap_or_else(|| table::next_version(latest.map(|(version, _)| version), changed)),
        };
        let drafted = |reviewed: &Reviewed, unchanged, notes| Drafted {
            name: name.to_owned(),
            version: version.clone(),
            digest: digest.to_string(),
            reviewed: Some(reviewed.clone()),
            unchanged,
            notes,
        };
        if let Some(kept) = known.and_then(|table| table.versions.get(&version)) {
            if kept.record != record {
                let problem = format!("table {name}@{version} has other rows; a version never changes");
                return Err(ReviewError::Taken { thing: THING, problem });
            }
            return Ok(drafted(&kept.reviewed, true, vec![review::UNCHANGED.to_owned()]));
        }
        let versions = known.into_iter().flat_map(|table| table.versions.values());
        review::require_room(name, versions.map(|kept| kept.reviewed.record.state))?;
        let reviewed = Reviewed::draft(cause.actor.clone(), self.shared.clock.now(), cause.reason.clone());
        let taken = |error| refused(THING, error);
        let keep = &self.installer;
        keep.put_as(&cause, "table.draft", &table_state_key(name, &version), &reviewed).await.map_err(taken)?;
        keep.put_as(&cause, "table.draft", &table_key(name, &version), &record).await.map_err(taken)?;
        let mut next = copy(&now);
        let kept = TableVersion { record, reviewed: reviewed.clone() };
        Arc::make_mut(next.tables.entry(name.to_owned()).or_default()).versions.insert(version.clone(), kept);
        self.shared.installation.store(Arc::new(next));
        let note = format!("next, somebody else than {}: crossdock table approve {name}@{version}", cause.actor);
        Ok(drafted(&reviewed, false, vec![format!("{count} rows"), note]))
    }

    fn require_schema(&self, schema: Option<&Value>, rows: &[Row]) -> Result<(), ReviewError> {
        let Some(schema) = schema else { return Ok(()) };
        let validator = self.installer.library.validator(schema).map_err(|problem| ReviewError::Invalid { problem })?;
        let mut found = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let row = Value::Object(row.clone());
            if let Some(error) = validator.iter_errors(&row).next() {
                let problem = format!("`{}`: {error}", error.instance_path());
                found.push(Wrong { row: index + 1, problem, instead: "what the schema says of a row".to_owned() });
            }
            if found.len() >= MISTAKES_MAX {
                break;
            }
        }
        if found.is_empty() { Ok(()) } else { Err(mistaken(&found)) }
    }

    /// Every table.
    pub(in crate::app) fn table_list(&self) -> Vec<TableView> {
        let now = self.shared.installation.load_full();
        let view = |(name, table): (&String, &Arc<Table>)| TableView {
            table: name.clone(),
            active: table.line.active.clone(),
            versions: table.versions.len(),
            rows: table.active().map_or(0, |(_, active)| active.record.rows),
        };
        now.tables.iter().map(view).collect()
    }

    /// A table with its versions.
    pub(in crate::app) fn table_detail(&self, name: &str) -> Result<TableDetail, ReviewError> {
        let now = self.shared.installation.load_full();
        let table = now.tables.get(name).ok_or_else(|| unknown(&now, name))?;
        let serving = Serving::Promoted(table.line.clone());
        let versions = table.versions.iter().rev().map(|(version, kept)| {
            review::line(version, kept.record.digest.to_string(), Some(&kept.reviewed), Some(&serving))
        });
        Ok(TableDetail {
            table: name.to_owned(),
            active: table.line.active.clone(),
            earlier: table.line.earlier.clone(),
            versions: versions.collect(),
        })
    }

    /// One version with its rows.
    pub(in crate::app) async fn table_rows(&self, name: &str, version: &Version) -> Result<TableRows, ReviewError> {
        let now = self.shared.installation.load_full();
        let (table, kept) = find(&now, name, version)?;
        let serving = Serving::Promoted(table.line.clone());
        let line = review::line(version, kept.record.digest.to_string(), Some(&kept.reviewed), Some(&serving));
        let TableRecord { key, schema, .. } = kept.record.clone();
        let rows = self.rows_of(name, kept).await?.value().clone();
        Ok(TableRows { table: name.to_owned(), line, key, schema, rows })
    }

    /// What differs between two versions.
    pub(in crate::app) async fn table_difference(
        &self,
        name: &str,
        from: &Version,
        to: &Version,
    ) -> Result<TableDifference, ReviewError> {
        let now = self.shared.installation.load_full();
        let ((_, from), (_, to)) = (find(&now, name, from)?, find(&now, name, to)?);
        let (before, after) = (self.rows_of(name, from).await?, self.rows_of(name, to).await?);
        Ok(table::difference((&from.record, before.value()), (&to.record, after.value())))
    }

    /// Which steps of pipelines that serve are given the table.
    pub(in crate::app) fn table_users(&self, name: &str) -> Result<Vec<TableUser>, ReviewError> {
        let now = self.shared.installation.load_full();
        if !now.tables.contains_key(name) {
            return Err(unknown(&now, name));
        }
        Ok(users(&now, name).collect())
    }

    /// Approves, promotes, rolls back, deprecates or retires.
    pub(in crate::app) async fn change_table(
        &self,
        name: &str,
        act: &ReviewAct,
        who: &Who,
    ) -> Result<ReviewDone, ReviewError> {
        let cause = signed(who)?;
        let _changing = self.changing.lock().await;
        let now = self.shared.installation.load_full();
        let table = now.tables.get(name).ok_or_else(|| unknown(&now, name))?;
        let done = match act {
            ReviewAct::Approve { version } | ReviewAct::Deprecate { version, .. } | ReviewAct::Retire { version } => {
                self.move_table(&now, name, version, act, &cause).await
            }
            ReviewAct::Promote { version, bindings } => {
                if !bindings.is_empty() {
                    return Err(ReviewError::Invalid { problem: "a table has no names to bind".to_owned() });
                }
                let (_, kept) = find(&now, name, version)?;
                review::require_bindable(&format!("{name}@{version}"), kept.reviewed.record.state, THING)?;
                let line = review::promoted(&table.line, version)?;
                self.serve_table(&now, name, line, "table.promote", &cause).await
            }
            ReviewAct::Rollback => {
                let state = |version: &Version| table.versions.get(version).map(|kept| kept.reviewed.record.state);
                let line = review::rolled_back(&table.line, state)?;
                self.serve_table(&now, name, line, "table.rollback", &cause).await
            }
        }?;
        tracing::info!(table = name, summary = done.summary, actor = cause.actor, "a table has changed");
        metrics::counter!("crossdock_registry_changes_total", "action" => act.verb()).increment(1);
        Ok(done)
    }

    async fn move_table(
        &self,
        now: &Installation,
        name: &str,
        version: &Version,
        act: &ReviewAct,
        cause: &Cause,
    ) -> Result<ReviewDone, ReviewError> {
        let (table, kept) = find(now, name, version)?;
        let what = format!("{name}@{version}");
        let moved = review::moved(self, &what, &kept.reviewed, act, cause)?;
        if matches!(act, ReviewAct::Retire { .. }) {
            review::require_unused(&what, version, table.line.active.as_ref())?;
        }
        let action = format!("table.{}", act.verb());
        let mut next = copy(now);
        let kept = TableVersion { reviewed: moved.clone(), ..kept.clone() };
        Arc::make_mut(next.tables.entry(name.to_owned()).or_default()).versions.insert(version.clone(), kept);
        self.keep_earlier(&mut next, name).await?;
        let put = self.installer.put_as(cause, &action, &table_state_key(name, version), &moved).await;
        put.map_err(|error| refused(THING, error))?;
        self.shared.installation.store(Arc::new(next));
        let (done, notes) = match act {
            ReviewAct::Approve { .. } => {
                ("approved", vec![format!("it serves nobody yet: crossdock table promote {what}")])
            }
            ReviewAct::Retire { .. } => ("retired", Vec::new()),
            _ => ("deprecated", Vec::new()),
        };
        let summary = format!("{what} is {done}");
        Ok(ReviewDone { name: name.to_owned(), version: Some(version.clone()), summary, notes })
    }

    /// Makes a version the one that steps are given from then on.
    async fn serve_table(
        &self,
        now: &Installation,
        name: &str,
        line: Line,
        action: &str,
        cause: &Cause,
    ) -> Result<ReviewDone, ReviewError> {
        let Some(version) = line.active.clone() else {
            return Err(ReviewError::Conflict { problem: format!("no version of `{name}` can serve") });
        };
        let (_, kept) = find(now, name, &version)?;
        for user in users(now, name) {
            let takes = user.range.parse::<semver::VersionReq>().is_ok_and(|range| range.matches(&version));
            if !takes {
                let TableUser { pipeline, step, range, .. } = user;
                let problem = format!(
                    "step `{step}` of pipeline `{pipeline}` takes it at `{range}`, not {version}: promote a pipeline \
                     that takes it first"
                );
                return Err(ReviewError::Conflict { problem });
            }
        }
        let rows = self.rows_of(name, kept).await?;
        let mut next = copy(now);
        let table: &mut Table = Arc::make_mut(next.tables.entry(name.to_owned()).or_default());
        (table.line, table.rows) = (line.clone(), Some(rows));
        self.keep_earlier(&mut next, name).await?;
        let put = self.installer.put_as(cause, action, &table_active_key(name), &line).await;
        put.map_err(|error| refused(THING, error))?;
        let steps = users(now, name).count();
        self.shared.installation.store(Arc::new(next));
        let summary = format!("steps that begin are given {name}@{version}");
        let note = format!("{} rows, for {steps} steps of pipelines that serve", kept.record.rows);
        Ok(ReviewDone { name: name.to_owned(), version: Some(version), summary, notes: vec![note] })
    }

    async fn keep_earlier(&self, next: &mut Installation, name: &str) -> Result<(), ReviewError> {
        let kept = self.installer.keep_earlier(next, name).await;
        kept.map_err(|error| ReviewError::Unavailable { reason: error.to_string() })
    }

    async fn rows_of(&self, name: &str, kept: &TableVersion) -> Result<Document, ReviewError> {
        let rows = self.installer.rows(name, kept.record.digest).await;
        rows.map_err(|error| ReviewError::Unavailable { reason: error.to_string() })
    }
}

/// The rows of comma-separated values.
fn read_csv(text: &str, schema: Option<&Value>) -> Result<Vec<Row>, ReviewError> {
    let unreadable = |error: csv::Error| {
        let line = error.position().map_or(0, csv::Position::line);
        let instead = "comma-separated values (RFC 4180), with the columns' names in the first line".to_owned();
        let row = usize::try_from(line).unwrap_or_default();
        mistaken(&[Wrong { row, problem: format!("it cannot be read: {error}"), instead }])
    };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let columns = reader.headers().map_err(unreadable)?.clone();
    let (mut rows, mut found) = (Vec::new(), Vec::new());
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(unreadable)?;
        let mut row = Row::new();
        for (column, text) in columns.iter().zip(record.iter()) {
            match table::typed(schema, column, text) {
                Ok(value) => drop(value.map(|value| row.insert(column.to_owned(), value))),
                Err(problem) => {
                    found.push(Wrong { row: index + 1, problem, instead: "a value of the column's type".to_owned() });
                }
            }
        }
        rows.push(row);
    }
    if found.is_empty() { Ok(rows) } else { Err(mistaken(&found)) }
}

fn mistaken(found: &[Wrong]) -> ReviewError {
    let mistakes = found.iter().take(MISTAKES_MAX).map(|wrong| Mistake {
        line: u32::try_from(wrong.row).unwrap_or(u32::MAX),
        column: 0,
        code: "table.row".to_owned(),
        problem: wrong.problem.clone(),
        instead: wrong.instead.clone(),
    });
    let first = found.first().map(|wrong| match wrong.row {
        0 => wrong.problem.clone(),
        row => format!("row {row}: {}", wrong.problem),
    });
    let more = found.len().saturating_sub(1);
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    let problem = format!("the table does not hold: {}{more}", first.unwrap_or_default());
    ReviewError::Refused { thing: THING, problem, mistakes: mistakes.collect() }
}

fn users<'a>(now: &'a Installation, name: &'a str) -> impl Iterator<Item = TableUser> + 'a {
    now.pipelines.iter().flat_map(move |(pipeline, installed)| {
        let given = installed.plan.tables().filter(move |(_, used)| used.name == name);
        given.map(move |(step, used)| TableUser {
            pipeline: pipeline.clone(),
            version: installed.plan.pipeline.version.clone(),
            owner: installed.definition.owner.clone(),
            step: step.to_owned(),
            alias: used.alias.clone(),
            range: used.range.to_string(),
        })
    })
}

fn unknown(now: &Installation, name: &str) -> ReviewError {
    review::unknown(THING, name, now.tables.keys())
}

fn find<'a>(
    now: &'a Installation,
    name: &str,
    version: &Version,
) -> Result<(&'a Table, &'a TableVersion), ReviewError> {
    let table = now.tables.get(name).ok_or_else(|| unknown(now, name))?;
    Ok((table, review::find(THING, name, &table.versions, version)?))
}

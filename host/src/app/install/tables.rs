//! Reference tables: loaded at a start. Only the rows of the version that serves, and of those that runs of older pipelines
//! take in its stead, are kept in memory; what a run was given before is read by its digest when the run is taken up.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use semver::{Version, VersionReq};

use super::{InstallError, Installer, read};
use crate::{
    app::installation::{Installation, Table, TableVersion},
    flow::document::Document,
    model::{id::Digest, json::Json, registry::Line, review::Reviewed, table::TableRecord},
};

/// The key of a version.
pub(in crate::app) fn table_key(name: &str, version: &Version) -> String {
    format!("table/{name}/{version}")
}

/// The key of where a version stands.
pub(in crate::app) fn table_state_key(name: &str, version: &Version) -> String {
    format!("table-state/{name}/{version}")
}

/// The key of which version serves.
pub(in crate::app) fn table_active_key(name: &str) -> String {
    format!("table-active/{name}")
}

impl Installer {
    /// Every version, and the rows of those that serve.
    pub(super) async fn load_tables(&self, next: &mut Installation) -> Result<(), InstallError> {
        let mut states: BTreeMap<String, Reviewed> = BTreeMap::new();
        for (key, stored) in self.all("table-state/").await? {
            states.insert(key.trim_start_matches("table-state/").to_owned(), read(&key, &stored)?);
        }
        for (key, stored) in self.all("table/").await? {
            let record: TableRecord = read(&key, &stored)?;
            let below = key.trim_start_matches("table/");
            let named = below.rsplit_once('/').and_then(|(name, version)| Some((name, version.parse().ok()?)));
            // Where it stands is recorded first, so that nothing serves which nobody approved.
            let (Some((name, version)), Some(reviewed)) = (named, states.remove(below)) else {
                let problem = "it names no version of a table that somebody drafted".to_owned();
                return Err(InstallError::Damaged { key, problem });
            };
            let table = next.tables.entry(name.to_owned()).or_default();
            Arc::make_mut(table).versions.insert(version, TableVersion { record, reviewed });
        }
        for (key, stored) in self.all("table-active/").await? {
            let line: Line = read(&key, &stored)?;
            let name = key.trim_start_matches("table-active/");
            let Some(table) = next.tables.get_mut(name) else {
                let problem = "there is no version of the table".to_owned();
                return Err(InstallError::Damaged { key, problem });
            };
            let active = line.active.as_ref().and_then(|version| table.versions.get(version));
            let Some(digest) = active.map(|active| active.record.digest) else {
                let problem = "the version that serves is not there".to_owned();
                return Err(InstallError::Damaged { key, problem });
            };
            let rows = self.rows(name, digest).await?;
            let table: &mut Table = Arc::make_mut(table);
            (table.line, table.rows) = (line, Some(rows));
        }
        Ok(())
    }

    /// Keeps the rows of versions of a table that served before and that runs may still be given: those that an accepted
    /// pipeline takes which does not take the one that serves.
    ///
    /// # Errors
    /// If rows are gone or damaged; what was kept before stays then.
    pub(in crate::app) async fn keep_earlier(&self, next: &mut Installation, name: &str) -> Result<(), InstallError> {
        let Some(table) = next.tables.get(name) else { return Ok(()) };
        let Some(active) = &table.line.active else { return Ok(()) };
        let ranges = next.plans.values().flat_map(|plan| plan.tables()).filter(|(_, used)| used.name == name);
        let others: BTreeSet<String> =
            ranges.filter(|(_, used)| !used.range.matches(active)).map(|(_, used)| used.range.to_string()).collect();
        let mut earlier = BTreeMap::new();
        for range in others.iter().filter_map(|range| VersionReq::parse(range).ok()) {
            let Some((version, kept)) = table.before(&range) else { continue };
            let rows = match table.earlier.get(version) {
                Some(rows) => rows.clone(),
                None => self.rows(name, kept.record.digest).await?,
            };
            earlier.insert(version.clone(), rows);
        }
        if let Some(table) = next.tables.get_mut(name) {
            Arc::make_mut(table).earlier = earlier;
        }
        Ok(())
    }

    /// The same of every table, at a start. What cannot be read keeps nobody from starting: the runs that need it are parked.
    pub(super) async fn keep_all_earlier(&self, next: &mut Installation) {
        let names: Vec<String> = next.tables.keys().cloned().collect();
        for name in names {
            if let Err(error) = self.keep_earlier(next, &name).await {
                next.unusable.push(error.to_string());
            }
        }
    }

    /// The rows of a version.
    ///
    /// # Errors
    /// If they are gone or damaged.
    pub(in crate::app) async fn rows(&self, name: &str, digest: Digest) -> Result<Document, InstallError> {
        let damaged =
            |problem: String| InstallError::Damaged { key: format!("rows {digest} of table {name}"), problem };
        let bytes = self.blobs.get(digest).await?.ok_or_else(|| damaged("they are not in the store".to_owned()))?;
        let rows = Json::parse(bytes).map_err(|error| damaged(error.to_string()))?;
        Ok(Document::new(rows))
    }
}

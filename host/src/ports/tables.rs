//! What the surfaces may ask of a hub's reference tables: versions, rows, what differs, which one serves, who uses it.
//! Everything that it answers is durable.

use futures::future::BoxFuture;
use semver::Version;
use serde::Serialize;
use serde_json::Value;

use super::{
    registry::Who,
    review::{Drafted, ReviewDone, ReviewError, VersionLine},
};
use crate::model::{
    review::ReviewAct,
    table::{TableDifference, TableDraft},
};

/// A table, in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableView {
    /// Its name.
    pub table: String,
    /// The version that steps are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<Version>,
    /// How many versions there are.
    pub versions: usize,
    /// How many rows the active one has.
    pub rows: usize,
}

/// A table with its versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableDetail {
    /// Its name.
    pub table: String,
    /// The version that steps are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<Version>,
    /// Those that served before, the latest last.
    pub earlier: Vec<Version>,
    /// Its versions, the latest first.
    pub versions: Vec<VersionLine>,
}

/// One version of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableRows {
    /// Its name.
    pub table: String,
    /// The version.
    #[serde(flatten)]
    pub line: VersionLine,
    /// The columns of its key.
    pub key: Vec<String>,
    /// The JSON Schema of a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Its rows by key.
    pub rows: Value,
}

/// Which steps are given a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableUser {
    /// The pipeline.
    pub pipeline: String,
    /// Its version that serves.
    pub version: String,
    /// Who answers for it.
    pub owner: String,
    /// The step.
    pub step: String,
    /// What the step calls the table.
    pub alias: String,
    /// Which versions of the table it takes.
    pub range: String,
}

/// A hub's tables.
pub trait Tables: Send + Sync {
    /// Every table.
    fn tables(&self) -> Vec<TableView>;

    /// Takes rows as a version that nobody has approved. It serves nobody.
    ///
    /// # Errors
    /// As [`ReviewError`] says; each row that does not hold, by its number.
    fn draft(&self, name: String, draft: TableDraft, who: Who) -> BoxFuture<'_, Result<Drafted, ReviewError>>;

    /// A table with its versions.
    ///
    /// # Errors
    /// If there is none.
    fn table(&self, name: &str) -> Result<TableDetail, ReviewError>;

    /// One version with its rows.
    ///
    /// # Errors
    /// If there is none.
    fn rows(&self, name: String, version: Version) -> BoxFuture<'_, Result<TableRows, ReviewError>>;

    /// What differs between two versions.
    ///
    /// # Errors
    /// If there is no such version.
    fn difference(
        &self,
        name: String,
        from: Version,
        to: Version,
    ) -> BoxFuture<'_, Result<TableDifference, ReviewError>>;

    /// Which steps of pipelines that serve are given the table.
    ///
    /// # Errors
    /// If there is none.
    fn users(&self, name: &str) -> Result<Vec<TableUser>, ReviewError>;

    /// Approves, promotes, rolls back, deprecates or retires; durable and in effect when it answers.
    ///
    /// # Errors
    /// As [`ReviewError`] says.
    fn change(&self, name: String, act: ReviewAct, who: Who) -> BoxFuture<'_, Result<ReviewDone, ReviewError>>;
}

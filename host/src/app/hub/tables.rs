//! Reference tables, as the surfaces see them.

use futures::{FutureExt as _, future::BoxFuture};
use semver::Version;

use super::Hub;
use crate::{
    model::{
        review::ReviewAct,
        table::{TableDifference, TableDraft},
    },
    ports::{
        registry::Who,
        review::{Drafted, ReviewDone, ReviewError},
        tables::{TableDetail, TableRows, TableUser, TableView, Tables},
    },
};

impl Tables for Hub {
    fn tables(&self) -> Vec<TableView> {
        self.registry.table_list()
    }

    fn draft(&self, name: String, draft: TableDraft, who: Who) -> BoxFuture<'_, Result<Drafted, ReviewError>> {
        async move { self.registry.draft_table(&name, draft, &who).await }.boxed()
    }

    fn table(&self, name: &str) -> Result<TableDetail, ReviewError> {
        self.registry.table_detail(name)
    }

    fn rows(&self, name: String, version: Version) -> BoxFuture<'_, Result<TableRows, ReviewError>> {
        async move { self.registry.table_rows(&name, &version).await }.boxed()
    }

    fn difference(
        &self,
        name: String,
        from: Version,
        to: Version,
    ) -> BoxFuture<'_, Result<TableDifference, ReviewError>> {
        async move { self.registry.table_difference(&name, &from, &to).await }.boxed()
    }

    fn users(&self, name: &str) -> Result<Vec<TableUser>, ReviewError> {
        self.registry.table_users(name)
    }

    fn change(&self, name: String, act: ReviewAct, who: Who) -> BoxFuture<'_, Result<ReviewDone, ReviewError>> {
        async move { self.registry.change_table(&name, &act, &who).await }.boxed()
    }
}

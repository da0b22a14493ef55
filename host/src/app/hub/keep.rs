//! What a running hub keeps, and for how long: archiving by itself, and backups while it works.

use std::path::Path;

use super::Hub;
use crate::{
    app::{
        access::Access,
        backup::{self, BackupError, Manifest},
        retention::{self, Archived, Retention, RetentionError, earlier},
    },
    ports::clock::Clock,
};

impl Hub {
    /// Who may come in.
    #[must_use]
    pub fn access_control(&self) -> &Access {
        &self.access
    }

    /// Backs up the data folder while the hub works; nothing is committed while the journal is copied.
    ///
    /// # Errors
    /// As [`BackupError`] says.
    pub async fn back_up(&self, target: &Path) -> Result<Manifest, BackupError> {
        let clock = std::sync::Arc::clone(&self.clock) as _;
        let made = backup::create(&self.store, &self.data, target, &clock, true).await;
        metrics::counter!("crossdock_backups_total", "outcome" => if made.is_ok() { "made" } else { "failed" })
            .increment(1);
        made
    }

    /// Archives what ended long enough ago, if it is worth it, and drops archives that were kept long enough.
    ///
    /// # Errors
    /// As [`RetentionError`] says.
    pub async fn archive(&self, retention: Retention) -> Result<Archived, RetentionError> {
        let now = self.clock.now();
        let plan = match retention.archive_after {
            // What a subscription has not looked at yet stays where it is read.
            Some(age) => {
                let before = earlier(now, age);
                let before = self.subscriptions.behind_since().await?.map_or(before, |behind| behind.min(before));
                retention::plan(&self.shared.facts, before).await?
            }
            None => retention::Plan::default(),
        };
        let plan = if retention::is_worth_it(&plan) { plan } else { retention::Plan::default() };
        let drop_before = retention.keep_archive.map(|age| earlier(now, age));
        retention::archive(&self.store, plan, drop_before).await
    }

    /// Archives every hour, for as long as the hub lives.
    pub(super) async fn keep_archiving(self) {
        let stopping = self.shared.stopping.clone();
        loop {
            let due = self.clock.now().plus_millis(retention::PERIOD_MS);
            let retention = **self.retention.load();
            if retention != Retention::default() {
                match self.archive(retention).await {
                    Ok(done) if done.runs > 0 || done.dropped > 0 => {
                        tracing::info!(runs = done.runs, dropped = done.dropped, "runs that ended were archived");
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "runs could not be archived");
                    }
                }
            }
            tokio::select! {
                () = self.clock.sleep_until(due) => {}
                () = stopping.cancelled() => return,
            }
        }
    }
}

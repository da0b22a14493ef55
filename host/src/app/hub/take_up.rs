//! A start: what is derived from the journal is there again, and every run that has not ended goes on.

use std::{
    sync::{Arc, PoisonError},
    time::Instant,
};

use super::{Hub, StartError};
use crate::{
    app::{
        accept,
        actors::Command,
        polls, promises,
        queues::Queue,
        runner, schedules,
        snapshot::{self, Derived, EVERY_APPENDS, Progress},
    },
    model::pipeline::Order,
    ports::{clock::Clock, journal::StreamId},
};

/// How often it is looked whether a new snapshot is worth its making, milliseconds.
const SNAPSHOT_LOOK_MS: u64 = 30_000;

impl Hub {
    /// Derives the list of runs from the journal, from a snapshot on if there is one, and takes up those that are not
    /// settled.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn take_up(&self) -> Result<(), StartError> {
        for problem in self.missing_secrets() {
            tracing::warn!(problem, "a secret cannot be read: what needs it will fail");
        }
        let shared = &self.shared;
        let progress = self.derive().await?;
        self.clock.witness(progress.newest);
        let unsettled = shared.index.unsettled();
        if !unsettled.is_empty() {
            tracing::info!(runs = unsettled.len(), "taking up runs that were cut short");
        }
        // Runs under way hold the turn of their key, in the order in which they began.
        let installation = shared.installation.load_full();
        let exclusive = |pipeline: &str| {
            installation.pipelines.get(pipeline).is_some_and(|found| found.plan.order == Order::Exclusive)
        };
        for (pipeline, key, run, acceptance) in shared.index.open_of(exclusive) {
            let _ = shared.queues.enter(Queue::of(&pipeline, &key), run, acceptance);
        }
        for run in unsettled {
            // A run that only waits is not read before there is something to do.
            if let Some(due) = shared.index.only_waits(run) {
                shared.timers.set(due.max(shared.grace), run);
                for (key, acceptance) in shared.mailbox.lying_for(run) {
                    runner::deliver(shared, run, Command::Signal { key, acceptance });
                }
                continue;
            }
            if let Err(error) = runner::resume(shared, run).await {
                tracing::error!(%run, error = &error as &dyn std::error::Error, "a run cannot be taken up");
                shared.index.stuck(run, format!("it cannot be taken up: {error}"));
            }
        }
        // What came for a run that was undone, and perhaps no exception was opened for before the stop.
        for run in shared.mailbox.undone() {
            for (key, acceptance) in shared.mailbox.lying_for(run) {
                runner::deliver(shared, run, Command::Signal { key, acceptance });
            }
        }
        shared.tasks.spawn(runner::keep_time(Arc::clone(shared)));
        for id in progress.pending {
            let Ok(Some(fact)) = accept::first(shared, id).await else { continue };
            for start in fact.starts.iter().filter(|start| !shared.index.contains(start.run)) {
                // Settled so long ago that the list no longer holds it?
                if shared.facts.read(StreamId::Run(start.run)).await?.0.is_empty() {
                    runner::start(shared, &fact, id, start);
                }
            }
        }
        self.subscriptions.begin(progress.position).await?;
        shared.tasks.spawn(schedules::run(Arc::clone(shared), Arc::clone(&self.triggers)));
        shared.tasks.spawn(polls::run(Arc::clone(shared), Arc::clone(&self.triggers)));
        shared.tasks.spawn(promises::watch(Arc::clone(shared)));
        shared.tasks.spawn(Arc::clone(&self.registry).keep_trials());
        shared.tasks.spawn(Arc::clone(self.settings.store()).keep(shared.stopping.clone()));
        shared.tasks.spawn(Arc::clone(&self.registry).keep_trust());
        shared.tasks.spawn(self.clone().keep_signing());
        shared.tasks.spawn(Arc::clone(&self.anchor).keep());
        shared.tasks.spawn(self.clone().keep_archiving());
        shared.tasks.spawn(self.clone().keep_snapshots());
        let (task, data) = (Arc::clone(shared), self.data.to_path_buf());
        shared.tasks.spawn(async move { task.effects.watch(data, &*task.clock, &task.stopping).await });
        Ok(())
    }

    /// Derives what the hub works with from the snapshot and the journal's tail.
    async fn derive(&self) -> Result<Progress, StartError> {
        let begun = Instant::now();
        let shared = &self.shared;
        let installation = shared.installation.load_full();
        let derived = Derived {
            index: &shared.index,
            mailbox: &shared.mailbox,
            inbox: &shared.inbox,
            exceptions: &shared.exceptions,
        };
        let claim = self.claim.lock().unwrap_or_else(PoisonError::into_inner).take();
        let loaded = snapshot::confirm(claim, &self.store, &installation, derived).await;
        let from_snapshot = loaded.is_some();
        let mut progress = loaded.unwrap_or_default();
        snapshot::fold(&shared.facts, &installation, derived, &mut progress).await?;
        if progress.folded >= EVERY_APPENDS
            && let Err(error) = snapshot::save(&self.data, &self.store, &installation, derived, &progress).await
        {
            tracing::warn!(%error, "no snapshot of the list of runs can be written; the next start takes longer");
        }
        let (folded, elapsed_ms) = (progress.folded, begun.elapsed().as_millis());
        tracing::info!(from_snapshot, folded, elapsed_ms, "the list of runs is there");
        Ok(progress)
    }

    /// Makes a new snapshot whenever enough was appended, for as long as the hub lives.
    async fn keep_snapshots(self) {
        let stopping = self.shared.stopping.clone();
        let mut made_at = self.store.statistics().appends;
        loop {
            tokio::select! {
                () = self.clock.sleep_until(self.clock.now().plus_millis(SNAPSHOT_LOOK_MS)) => {}
                () = stopping.cancelled() => return,
            }
            let appends = self.store.statistics().appends;
            if appends.saturating_sub(made_at) >= EVERY_APPENDS {
                self.renew_snapshot().await;
                made_at = appends;
            }
        }
    }

    /// Makes a new snapshot. That it cannot only makes the next start longer.
    pub(super) async fn renew_snapshot(&self) {
        let installation = self.shared.installation.load_full();
        if let Err(problem) = snapshot::renew(&self.data, &self.store, &self.shared.facts, &installation).await {
            tracing::warn!(problem, "no snapshot of the list of runs can be written; the next start takes longer");
        }
    }
}

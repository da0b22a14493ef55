//! The running hub: what is wired together at start, and what the surfaces ask of it.

mod explained;
mod foreseen;
mod keep;
mod opening;
mod pipelines;
mod privacy;
mod readiness;
mod refusal;
mod registry;
mod schemas;
mod settled;
mod tables;
mod take_up;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;
use futures::{
    FutureExt as _,
    future::{self, BoxFuture},
    stream::{self, BoxStream},
};

pub use self::refusal::StartError;
use self::settled::settled;
use super::{
    accept,
    access::Access,
    apis::Apis,
    audit::{self, Audit, anchor::Anchoring, checkpoints::Checkpoints},
    clock::SystemClock,
    config::Config,
    install::Installer,
    installation::Installation,
    package::Package,
    people, promises,
    registry::{Registry, views},
    retention::Retention,
    runner::{self, Shared},
    settings::{Declared, HubSettings},
    snapshot::Claim,
    subscriptions::Subscriptions,
    traffic,
    triggers::Board,
    webhook,
};
use crate::{
    flow::view,
    model::{
        anchor::AnchorView,
        audit::{AuditLine, Cause},
        connection::WebhookSource,
        entry::Entry,
        event::Event,
        explanation::Explanation,
        id::RunId,
        run::{RunSummary, RunView},
    },
    ports::{
        clock::Clock as _,
        exceptions::{Exception, ExceptionFilter},
        hub::{
            AcceptError, Acceptance, ActError, AuditFilter, BackupMade, ControlRequest, Decision, Delivered,
            Hub as HubPort, MoveRequest, PipelineView, PluginView, Question, QuestionFilter, Readiness, RunFilter,
            WebhookError,
        },
        invoker::Delivery,
        journal::StreamId,
        promises::{Promise, PromiseFilter},
        traffic::{ConnectionView, LanesView},
    },
    store::disk::Store,
};

/// How often the store's health is looked at, milliseconds.
const HEALTH_PERIOD_MS: u64 = 250;
/// A hub that stops after this many appends notes what it derived from them, so that the next start need not.
const SNAPSHOT_APPENDS_MIN: u64 = 1_000;
/// How long shutdown waits for runs to reach their next durable point.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

/// A running hub. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
    installer: Arc<Installer>,
    store: Arc<Store>,
    clock: Arc<SystemClock>,
    triggers: Arc<Board>,
    audit: Arc<Audit>,
    checkpoints: Arc<Checkpoints>,
    anchor: Arc<Anchoring>,
    data: Arc<Path>,
    retention: Arc<ArcSwap<Retention>>,
    registry: Arc<Registry>,
    access: Arc<Access>,
    settings: Arc<HubSettings>,
    apis: Arc<Apis>,
    subscriptions: Arc<Subscriptions>,
    /// What the snapshot that was read says that it is of, until that is looked at.
    claim: Arc<Mutex<Option<Claim>>>,
}

impl Hub {
    /// Installs what an operator declares. What is there already is left as it is.
    ///
    /// # Errors
    /// As [`StartError`] says; what came before the refused part stays installed.
    pub async fn apply(&self, config: &Config) -> Result<(), StartError> {
        self.retention.store(Arc::new(config.retention));
        let cause = Cause::config("declared in the configuration that the hub was started with");
        self.shared.intake.limit(&config.hub);
        self.access.apply(&cause, &config.access).await?;
        self.registry.set_trust(&cause, &config.trust).await?;
        self.anchor.configure(&cause, config.audit.anchor.as_ref()).await?;
        self.settings.declare(Declared {
            connections: config.connections.clone(),
            sources: config.sources.clone(),
            bindings: config.bindings.clone(),
        });
        for folder in &config.plugins {
            let package = Package::read(folder)?;
            self.registry.declare(&cause, package).await?;
        }
        for (name, connection) in &config.connections {
            let now = self.shared.installation.load_full();
            self.swap(self.installer.connection(&now, &cause, name, connection.clone()).await?);
        }
        for (name, source) in &config.sources {
            let now = self.shared.installation.load_full();
            self.swap(self.installer.source(&now, &cause, name, source.clone()).await?);
        }
        for path in &config.pipelines {
            let text =
                std::fs::read_to_string(path).map_err(|source| StartError::Pipeline { path: path.clone(), source })?;
            let now = self.shared.installation.load_full();
            self.swap(self.installer.pipeline(&now, &cause, &path.display().to_string(), &text).await?);
        }
        self.subscriptions.configure(&config.subscriptions);
        self.apis.configure(&config.apis);
        for (contract, publication) in &config.apis {
            self.apis.set(&cause, contract.clone(), publication.clone()).await?;
        }
        let now = self.shared.installation.load_full();
        self.swap(self.installer.people(&now, &cause, &config.people).await?);
        for (pipeline, names) in &config.bindings {
            let now = self.shared.installation.load_full();
            self.swap(self.installer.bindings(&now, &cause, pipeline, names.clone()).await?);
        }
        Ok(())
    }

    fn swap(&self, next: Option<Installation>) {
        if let Some(next) = next {
            self.shared.installation.store(Arc::new(next));
        }
    }

    /// Stops: no run begins another effect, and the store is closed. Runs are taken up at the next start.
    pub async fn stop(&self) {
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(SHUTDOWN_LIMIT, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!("some runs were still busy; they are taken up at the next start");
        }
        self.access.keep_usage().await;
        self.sign().await;
        self.anchor.send_last().await;
        if self.store.statistics().appends >= SNAPSHOT_APPENDS_MIN {
            self.renew_snapshot().await;
        }
        if let Err(reason) = self.store.close().await {
            tracing::error!(reason, "the store did not close cleanly");
        }
    }

    /// Signs how far the journal has got. That it cannot is no reason to stop.
    async fn sign(&self) {
        match self.checkpoints.make().await {
            Ok(signed) => signed.into_iter().for_each(|signed| self.anchor.signed(signed)),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the journal's state could not be signed");
            }
        }
    }

    /// Signs how far the journal has got, every few minutes until the hub stops.
    async fn keep_signing(self) {
        let stopping = self.shared.stopping.clone();
        loop {
            let period_ms = self.anchor.every_ms().unwrap_or(audit::checkpoints::PERIOD_MS);
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.clock.sleep_until(self.clock.now().plus_millis(period_ms)) => {}
            }
            self.sign().await;
        }
    }

    /// Whether the store takes writes.
    ///
    /// # Errors
    /// What to do if not.
    pub fn health(&self) -> Result<(), String> {
        self.shared.facts.health()
    }

    /// Why the store will never take writes again, if so. While it is being opened again after a failed commit, only its
    /// health says so.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.store.failed()
    }

    /// Resolves when the store takes no more writes, for good: the process is to end then, and to be started again.
    pub async fn failed(&self) -> String {
        loop {
            if let Some(reason) = self.failure() {
                return reason;
            }
            self.clock.sleep_until(self.clock.now().plus_millis(HEALTH_PERIOD_MS)).await;
        }
    }

    /// Secrets that cannot be read now, with what needs them.
    fn missing_secrets(&self) -> Vec<String> {
        let installation = self.shared.installation.load();
        let missing = installation.secrets().filter_map(|(whose, secret)| {
            self.shared.secrets.resolve(secret).err().map(|error| format!("{whose}: {error}"))
        });
        missing.collect()
    }

    async fn story(shared: &Shared, id: RunId) -> Option<RunView> {
        let (entries, _) = match shared.facts.read(StreamId::Run(id)).await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(run = %id, error = &error as &dyn std::error::Error, "a run cannot be read");
                return None;
            }
        };
        if !entries.is_empty() {
            let mut view = view::story(id, &entries)?;
            if !view.summary.state.is_settled() {
                view.summary.cause = shared.index.held(id).or(view.summary.cause);
            }
            return Some(view);
        }
        // Accepted, and nothing more is durable yet.
        let acceptance = shared.index.get(id)?.acceptance;
        let accepted = accept::first(shared, acceptance).await.ok()??;
        let start = accepted.starts.iter().find(|start| start.run == id)?;
        let plan = shared.installation.load().plans.get(&start.pipeline.digest).cloned()?;
        let started = runner::started(&plan, &accepted, acceptance, start);
        view::story(id, &[Entry::RunStarted(Box::new(started))])
    }

    fn name(&self, question: &mut Question) {
        if let Some(summary) = self.shared.index.get(question.run) {
            question.pipeline = Some(summary.pipeline);
            question.key = Some(summary.key);
        }
    }

    /// Figures of the store since it was opened.
    #[must_use]
    pub fn statistics(&self) -> crate::store::disk::Statistics {
        self.store.statistics()
    }
}

impl HubPort for Hub {
    fn access(&self) -> &dyn crate::ports::access::Access {
        &*self.access
    }

    fn accept(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Acceptance>, AcceptError>> {
        accept::external(&self.shared, events).boxed()
    }

    fn webhook_source(&self, name: &str) -> Option<WebhookSource> {
        self.shared.installation.load().sources.get(name).cloned()
    }

    fn deliver(&self, source: &str, delivery: Delivery) -> BoxFuture<'_, Result<Delivered, WebhookError>> {
        let source = source.to_owned();
        async move { webhook::deliver(&self.shared, &source, delivery).await }.boxed()
    }

    fn settle<'a>(&'a self, runs: &'a [RunId], wait: Duration) -> BoxFuture<'a, Vec<RunSummary>> {
        let all = future::join_all(runs.iter().map(|run| settled(&self.shared, *run)));
        async move {
            if !wait.is_zero() {
                // Time's being up is no error: the summaries say how far each run is.
                let _ = tokio::time::timeout(wait, all).await;
            }
            runs.iter().filter_map(|run| self.shared.index.get(*run)).collect()
        }
        .boxed()
    }

    fn runs(&self, filter: &RunFilter) -> Vec<RunSummary> {
        self.shared.index.list(filter)
    }

    fn run(&self, id: RunId) -> BoxFuture<'_, Option<RunView>> {
        Self::story(&self.shared, id).boxed()
    }

    fn event(&self, id: RunId) -> BoxFuture<'_, Option<Event>> {
        async move {
            let (entries, _) = self.shared.facts.read(StreamId::Run(id)).await.ok()?;
            match entries.into_iter().next()? {
                Entry::RunStarted(started) => Some(started.event),
                _ => None,
            }
        }
        .boxed()
    }

    fn watch(&self, id: RunId) -> BoxStream<'static, RunView> {
        let shared = Arc::clone(&self.shared);
        let changes = stream::unfold((shared, false), move |(shared, over)| async move {
            if over {
                return None;
            }
            let view = {
                let watcher = shared.index.watcher(id);
                let changed = watcher.notified();
                let view = Self::story(&shared, id).await?;
                if !view.summary.state.is_settled() {
                    // The bound is a safety net: a view that is a second old rather than a watcher that waits for ever.
                    let _ = tokio::time::timeout(Duration::from_secs(1), changed).await;
                }
                view
            };
            let over = view.summary.state.is_settled();
            Some((view, (shared, over)))
        });
        Box::pin(changes)
    }

    fn questions(&self, filter: &QuestionFilter) -> Vec<Question> {
        let mut questions = self.shared.inbox.list(filter);
        for question in &mut questions {
            self.name(question);
        }
        questions
    }

    fn question<'a>(&'a self, run: RunId, step: &'a str) -> BoxFuture<'a, Option<Question>> {
        async move {
            let mut question = self.shared.inbox.get(run, step)?;
            self.name(&mut question);
            let (entries, _) = self.shared.facts.read(StreamId::Run(run)).await.ok()?;
            question.evidence = entries.into_iter().rev().find_map(|entry| match entry {
                Entry::ApprovalAsked(asked) if asked.step == step => Some(asked.evidence),
                _ => None,
            });
            Some(question)
        }
        .boxed()
    }

    fn decide<'a>(&'a self, run: RunId, step: &'a str, decision: Decision) -> BoxFuture<'a, Result<(), ActError>> {
        people::decide(&self.shared, run, step, decision).boxed()
    }

    fn control(&self, run: RunId, request: ControlRequest) -> BoxFuture<'_, Result<(), ActError>> {
        people::control(&self.shared, run, request).boxed()
    }

    fn move_run(&self, run: RunId, request: MoveRequest) -> BoxFuture<'_, Result<(), ActError>> {
        people::move_to(&self.shared, run, request).boxed()
    }

    fn plugins(&self) -> Vec<PluginView> {
        views::installed(&self.shared.installation.load())
    }

    fn pipelines(&self) -> Vec<PipelineView> {
        let installation = self.shared.installation.load();
        installation
            .pipelines
            .values()
            .map(|pipeline| PipelineView {
                name: pipeline.plan.pipeline.name.clone(),
                version: pipeline.plan.pipeline.version.clone(),
                owner: pipeline.definition.owner.clone(),
                summary: pipeline.definition.summary.clone(),
                digest: pipeline.plan.pipeline.digest,
                triggers: pipeline.plan.triggers.iter().map(|trigger| trigger.event_type.clone()).collect(),
                steps: pipeline.plan.nodes().map(|node| node.id.clone()).collect(),
                text: pipeline.text.clone(),
                paused: installation.holds.get(&pipeline.plan.pipeline.name).cloned(),
            })
            .collect()
    }

    fn audit(&self, filter: AuditFilter) -> BoxFuture<'_, Result<Vec<AuditLine>, String>> {
        async move { self.audit.list(&filter).await.map_err(|error| error.to_string()) }.boxed()
    }

    fn anchor(&self) -> Option<AnchorView> {
        self.anchor.view()
    }

    fn explain(&self, key: String) -> BoxFuture<'_, Result<Explanation, String>> {
        self.explained(key).boxed()
    }

    fn back_up(&self, target: PathBuf) -> BoxFuture<'_, Result<BackupMade, String>> {
        let (hub, path) = (self.clone(), target);
        // In a task of its own: whoever asked may not wait so long.
        let task = self.shared.tasks.spawn(async move {
            let made = hub.back_up(&path).await;
            made.map_err(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "a backup failed");
                let mut text = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    text = format!("{text}: {cause}");
                    source = cause.source();
                }
                text
            })
        });
        async move {
            let made = task.await.map_err(|error| error.to_string())??;
            let bytes = made.files.iter().map(|held| held.bytes).sum();
            Ok(BackupMade { group: made.group, appends: made.appends, bytes, paused_ms: made.paused_ms })
        }
        .boxed()
    }

    fn readiness(&self) -> Readiness {
        self.look_at_parts()
    }

    fn connections(&self) -> Vec<ConnectionView> {
        self.settings.describe(traffic::connections(&self.shared))
    }

    fn lanes(&self) -> LanesView {
        traffic::lanes(&self.shared)
    }

    fn promises(&self, filter: &PromiseFilter) -> Vec<Promise> {
        promises::list(&self.shared, filter)
    }

    fn exceptions(&self, filter: &ExceptionFilter) -> Vec<Exception> {
        self.shared.exceptions.list(filter, |run| self.shared.index.get(run).map(|found| (found.pipeline, found.key)))
    }

    fn gauge(&self) {
        traffic::gauge(&self.shared);
        promises::gauge(&self.shared);
        #[expect(clippy::cast_precision_loss, reason = "a gauge works in floating point")]
        metrics::gauge!("crossdock_exceptions_open").set(self.shared.exceptions.count() as f64);
        self.subscriptions.gauge();
        self.anchor.gauge();
    }

    fn apis(&self) -> Option<&dyn crate::ports::apis::Apis> {
        Some(&*self.apis)
    }

    fn subscriptions(&self) -> Option<&dyn crate::ports::subscriptions::Subscriptions> {
        Some(&*self.subscriptions)
    }

    fn registry(&self) -> Option<&dyn crate::ports::registry::Registry> {
        Some(self)
    }

    fn pipeline_versions(&self) -> Option<&dyn crate::ports::pipelines::Pipelines> {
        Some(self)
    }

    fn tables(&self) -> Option<&dyn crate::ports::tables::Tables> {
        Some(self)
    }

    fn settings(&self) -> Option<&dyn crate::ports::settings::Settings> {
        Some(&*self.settings)
    }

    fn privacy(&self) -> Option<&dyn crate::ports::privacy::Privacy> {
        Some(self)
    }

    fn schemas(&self) -> Option<&dyn crate::ports::schemas::Schemas> {
        Some(self)
    }
}

//! What the surfaces (HTTP, command line) may ask of a running hub. Everything that it answers is durable.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use futures::{future::BoxFuture, stream::BoxStream};
use serde::{Deserialize, Serialize};

use super::{
    access::Access,
    apis::Apis,
    exceptions::{Exception, ExceptionFilter},
    invoker::{Delivery, WebhookReply},
    pipelines::Pipelines,
    privacy::Privacy,
    promises::{Promise, PromiseFilter},
    registry::Registry,
    schemas::Schemas,
    settings::Settings,
    subscriptions::Subscriptions,
    tables::Tables,
    traffic::{ConnectionView, LanesView},
};
use crate::model::{
    anchor::AnchorView,
    audit::AuditLine,
    connection::WebhookSource,
    entry::Control,
    event::{Event, EventError},
    event_schema::Misfit,
    explanation::Explanation,
    hold::Hold,
    id::{AcceptanceId, Digest, RunId},
    json::Json,
    lane::Lane,
    manifest::Manifest,
    registry::VersionState,
    run::{RunState, RunSummary, RunView},
    timestamp::Timestamp,
};

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Acceptance {
    /// Its id.
    pub id: AcceptanceId,
    /// Whether the same event had been accepted before; then the rest describes the first.
    pub duplicate: bool,
    /// The runs that it started; none: no pipeline listens to it, and it is kept as unmatched.
    pub runs: Vec<RunId>,
}

/// Why events were not accepted. None of the batch was.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// An event is out of bounds.
    #[error("event {index} of the batch is not acceptable")]
    Invalid {
        /// Its place, from 0.
        index: usize,
        /// What is wrong with it.
        source: EventError,
    },
    /// No pipeline and no declaration knows the type.
    #[error("no pipeline listens to event type `{event_type}`; known types: {known}")]
    UnknownType {
        /// The event's type.
        event_type: String,
        /// Those that are known, joined by commas.
        known: String,
    },
    /// The data does not follow the trigger's schema, or an expression over it fails.
    #[error("event `{id}` does not fit: {problem}")]
    Data {
        /// The event's id.
        id: String,
        /// Where and why, and what would fit.
        problem: String,
    },
    /// The data does not follow the registered schema of its type.
    #[error("event `{id}` does not fit: {problem}")]
    Misfit {
        /// The event's id.
        id: String,
        /// The first of `misfits`, in a sentence.
        problem: String,
        /// The version that it was held to, as `dataschema` names it.
        schema: String,
        /// Every place, as far as they are told.
        misfits: Vec<Misfit>,
    },
    /// Its type, or the version of its schema, is not taken any more.
    #[error("event `{id}` is of `{schema}`, which was taken until {sunset}{}", instead(successor.as_deref()))]
    SchemaRetired {
        /// The event's id.
        id: String,
        /// Type and version.
        schema: String,
        /// Until when it was taken.
        sunset: Timestamp,
        /// What to send instead.
        successor: Option<String>,
    },
    /// The same source and id came before with other content.
    #[error("event `{id}` of source `{source_uri}` was accepted before with other content")]
    Contradiction {
        /// The event's id.
        id: String,
        /// Its source.
        source_uri: String,
        /// The first acceptance.
        first: AcceptanceId,
    },
    /// Too much is under way for an event of this lane; those of higher lanes may still be accepted.
    #[error("{under_way} runs are under way, and from {limit} on no event of lane `{lane}` is accepted")]
    Busy {
        /// The lane.
        lane: Lane,
        /// Runs that are under way.
        under_way: usize,
        /// Above which the lane is refused.
        limit: usize,
        /// When to send it again, seconds.
        retry_after_s: u32,
    },
    /// The hub takes nothing now; try again later.
    #[error("the hub takes no events: {reason}")]
    Unavailable {
        /// What to do about it.
        reason: String,
    },
}

/// Why a webhook delivery was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// No such source is configured.
    #[error("no webhook source is named `{name}`")]
    UnknownSource {
        /// As asked.
        name: String,
    },
    /// The signature is missing or wrong. No plugin saw the delivery.
    #[error("the delivery's signature does not hold: {problem}")]
    Signature {
        /// Which header is expected and how it is computed; never the secret.
        problem: String,
    },
    /// The plugin cannot read the delivery.
    #[error("the delivery cannot be read: `{code}`: {message}")]
    Invalid {
        /// The plugin's code.
        code: String,
        /// The plugin's message.
        message: String,
    },
    /// The plugin brought an event of a type that the source may not bring.
    #[error("source `{name}` may not bring events of type `{event_type}`")]
    TypeNotAllowed {
        /// The source.
        name: String,
        /// The event's type.
        event_type: String,
    },
    /// The plugin failed.
    #[error("the source's plugin failed: {problem}")]
    Plugin {
        /// How.
        problem: String,
    },
    /// The events were not accepted.
    #[error("the delivery's events were not accepted")]
    Accept {
        /// Why.
        #[from]
        source: AcceptError,
    },
}

/// What became of a webhook delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    /// Of its events, in order.
    pub events: Vec<Acceptance>,
    /// What the sender is told; absent: 202.
    pub reply: Option<WebhookReply>,
}

/// Which runs to list.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Only of this pipeline.
    pub pipeline: Option<String>,
    /// Only in this state.
    pub state: Option<RunState>,
    /// Only about this key.
    pub key: Option<String>,
    /// At most so many, latest first.
    pub limit: usize,
}

/// A question that people have not answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Question {
    /// The run that asks.
    pub run: RunId,
    /// The step.
    pub step: String,
    /// Which question of the step, from 1; a decision names it.
    pub revision: u32,
    /// Digest of the evidence; a decision names it.
    pub digest: Digest,
    /// Who is asked now.
    pub group: String,
    /// How many have to agree.
    pub quorum: u32,
    /// Who has agreed so far.
    pub decided_by: Vec<String>,
    /// When they were asked.
    pub asked: Timestamp,
    /// When it is too late.
    pub due: Timestamp,
    /// How often they were reminded.
    pub reminders: u32,
    /// The run's pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// What the run is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What there is to see; only of a single question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Json>,
}

/// Which questions to list.
#[derive(Clone, Debug, Default)]
pub struct QuestionFilter {
    /// Only those that this group is asked.
    pub group: Option<String>,
    /// Only of this run.
    pub run: Option<RunId>,
    /// At most so many, most urgent first.
    pub limit: usize,
}

/// A person's decision about a question.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Who decides. Over HTTP: the token's own name unless it may act under another.
    #[serde(default)]
    pub actor: String,
    /// For whom, if the actor stands in for somebody.
    #[serde(default)]
    pub on_behalf_of: Option<String>,
    /// Yes or no.
    pub approved: bool,
    /// The question's revision, as it was shown.
    pub revision: u32,
    /// The digest of the evidence, as it was shown.
    pub digest: Digest,
    /// Decides alone, whatever the quorum, with this reason code.
    #[serde(default)]
    pub override_code: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What a person does with a run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ControlRequest {
    /// Who. Over HTTP: the token's own name unless it may act under another.
    #[serde(default)]
    pub actor: String,
    /// What.
    #[serde(flatten)]
    pub action: Control,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// A run that is to go on under another version of its pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveRequest {
    /// Who; empty: whoever sends it.
    #[serde(default)]
    pub actor: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// The version.
    pub to: String,
    /// Steps that are called otherwise there, by their ids of now.
    #[serde(default)]
    pub steps: BTreeMap<String, String>,
    /// Whether it is only looked at whether the run could be moved.
    #[serde(default)]
    pub dry_run: bool,
}

/// Why a person's act is refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// No such run.
    #[error("there is no run {run}")]
    UnknownRun {
        /// As asked.
        run: RunId,
    },
    /// It cannot be done now.
    #[error("{problem}")]
    Conflict {
        /// Why, and what can be done instead.
        problem: String,
    },
    /// The step asks nobody.
    #[error("the run asks nobody at step `{step}`")]
    NotAsked {
        /// As asked.
        step: String,
    },
    /// The question was decided before.
    #[error("this was decided before: {outcome}, by {by}")]
    Decided {
        /// `approved`, `rejected` or `expired`.
        outcome: String,
        /// By whom, joined by commas.
        by: String,
    },
    /// The decision is about something else than what is asked now.
    #[error("the question has changed since it was shown: it is at revision {revision} now")]
    Stale {
        /// The question's revision.
        revision: u32,
        /// Digest of its evidence.
        digest: Digest,
    },
    /// The person may not.
    #[error("{problem}")]
    Denied {
        /// Why not.
        problem: String,
    },
    /// The hub does nothing now; try again later.
    #[error("the hub cannot do it now: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// An installed plugin.
#[derive(Clone, Debug, Serialize)]
pub struct PluginView {
    /// Digest of its component.
    pub digest: Digest,
    /// Size of its component, bytes.
    pub bytes: u64,
    /// Whether pipelines are served by it.
    pub active: bool,
    /// Where it stands.
    pub state: VersionState,
    /// Its part: `active`, `staged`, `shadow`, `canary`, `draining`, `superseded`, `unbound`, or its state.
    pub part: &'static str,
    /// What it imports, computed.
    pub imports: Vec<String>,
    /// What it exports, computed.
    pub exports: Vec<String>,
    /// What it says about itself.
    pub manifest: Manifest,
}

/// An accepted pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct PipelineView {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Who answers for it.
    pub owner: String,
    /// One sentence.
    pub summary: String,
    /// Digest of its text.
    pub digest: Digest,
    /// Event types that start it.
    pub triggers: Vec<String>,
    /// Names of its steps, in order.
    pub steps: Vec<String>,
    /// The text as it was accepted.
    pub text: String,
    /// Who paused it, when and why; absent: it is not paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Hold>,
}

/// Whether the hub does its work.
#[derive(Clone, Debug, Serialize)]
pub struct Readiness {
    /// Whether it accepts events.
    pub ready: bool,
    /// Each part that was looked at, with `ok` or what to do about it.
    pub checks: Vec<(String, String)>,
}

/// Which audit records to list.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only by this actor.
    pub actor: Option<String>,
    /// Only actions that begin so: `plugin` for all that is done to plugins.
    pub action: Option<String>,
    /// Only subjects that begin so: `connection/` for all connections.
    pub subject: Option<String>,
    /// Only those before this number.
    pub before: Option<u64>,
    /// At most so many, newest first.
    pub limit: usize,
}

impl AuditFilter {
    /// Whether a record is wanted.
    #[must_use]
    pub fn suits(&self, line: &AuditLine) -> bool {
        let record = &line.record;
        self.actor.as_ref().is_none_or(|actor| record.actor == *actor)
            && self.action.as_ref().is_none_or(|action| record.action.starts_with(action.as_str()))
            && self.subject.as_ref().is_none_or(|subject| record.subject.starts_with(subject.as_str()))
            && self.before.is_none_or(|before| line.sequence < before)
    }
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupMade {
    /// The last group of its journal.
    pub group: u64,
    /// Appends in its journal, proven.
    pub appends: u64,
    /// Its size, bytes.
    pub bytes: u64,
    /// For how long nothing was committed meanwhile, milliseconds.
    pub paused_ms: Option<u64>,
}

/// A running hub.
pub trait Hub: Send + Sync {
    /// Who may come in, and what they may do.
    fn access(&self) -> &dyn Access;

    /// Accepts events, all or none; durable when it answers.
    fn accept(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Acceptance>, AcceptError>>;

    /// The configuration of a webhook source, for its limits before anything is read.
    fn webhook_source(&self, name: &str) -> Option<WebhookSource>;

    /// Verifies a delivery over its raw bytes, has the plugin read it, and accepts its events.
    fn deliver(&self, source: &str, delivery: Delivery) -> BoxFuture<'_, Result<Delivered, WebhookError>>;

    /// Waits until the runs are settled or the time is up; their summaries as they then are.
    fn settle<'a>(&'a self, runs: &'a [RunId], wait: Duration) -> BoxFuture<'a, Vec<RunSummary>>;

    /// Runs, latest first.
    fn runs(&self, filter: &RunFilter) -> Vec<RunSummary>;

    /// One run whole; absent if there is none.
    fn run(&self, id: RunId) -> BoxFuture<'_, Option<RunView>>;

    /// The event that started a run, with its data; absent if there is no such run.
    fn event(&self, id: RunId) -> BoxFuture<'_, Option<Event>>;

    /// The run as it is, and again after each durable change, until it is settled.
    fn watch(&self, id: RunId) -> BoxStream<'static, RunView>;

    /// Questions that people have not answered, the most urgent first.
    fn questions(&self, filter: &QuestionFilter) -> Vec<Question>;

    /// One open question with its evidence.
    fn question<'a>(&'a self, run: RunId, step: &'a str) -> BoxFuture<'a, Option<Question>>;

    /// Takes a person's decision; durable when it answers.
    fn decide<'a>(&'a self, run: RunId, step: &'a str, decision: Decision) -> BoxFuture<'a, Result<(), ActError>>;

    /// Lets a person take hold of a run; durable when it answers.
    fn control(&self, run: RunId, request: ControlRequest) -> BoxFuture<'_, Result<(), ActError>>;

    /// Lets a run go on under another version of its pipeline; durable when it answers.
    fn move_run(&self, run: RunId, request: MoveRequest) -> BoxFuture<'_, Result<(), ActError>>;

    /// Installed plugins, by id and version.
    fn plugins(&self) -> Vec<PluginView>;

    /// Accepted pipelines, by name and version.
    fn pipelines(&self) -> Vec<PipelineView>;

    /// Whether it does its work, and if not, why.
    fn readiness(&self) -> Readiness;

    /// Connections, by name.
    fn connections(&self) -> Vec<ConnectionView>;

    /// Events that came for something that was undone and that nobody has closed, latest first.
    fn exceptions(&self, filter: &ExceptionFilter) -> Vec<Exception>;

    /// Runs that are late or at risk, the most urgent first.
    fn promises(&self, filter: &PromiseFilter) -> Vec<Promise>;

    /// The priority lanes, the first to go first.
    fn lanes(&self) -> LanesView;

    /// Brings the gauges of [`Hub::connections`], [`Hub::lanes`] and [`Hub::promises`] up to date, before metrics are shown.
    fn gauge(&self);
    /// Audit records, newest first.
    ///
    /// # Errors
    /// Why the log cannot be read.
    fn audit(&self, filter: AuditFilter) -> BoxFuture<'_, Result<Vec<AuditLine>, String>>;

    /// How the anchor stands that is sent what the hub signs; absent: none is declared.
    fn anchor(&self) -> Option<AnchorView> {
        None
    }

    /// Which versions decided what a key stands for, who allowed each, and what they could touch; of its latest runs.
    ///
    /// # Errors
    /// Why the log cannot be read.
    fn explain(&self, key: String) -> BoxFuture<'_, Result<Explanation, String>>;

    /// Backs up the data folder to a folder of this machine that does not exist yet. Goes on when nobody waits for it.
    ///
    /// # Errors
    /// Why there is no backup.
    fn back_up(&self, target: PathBuf) -> BoxFuture<'_, Result<BackupMade, String>> {
        Box::pin(async move { Err(format!("this hub has no data folder to copy to `{}`", target.display())) })
    }

    /// Published reads; absent: this hub publishes none.
    fn apis(&self) -> Option<&dyn Apis> {
        None
    }

    /// Events that are delivered to others' endpoints; absent: this hub delivers to nobody.
    fn subscriptions(&self) -> Option<&dyn Subscriptions> {
        None
    }

    /// Personal data; absent: this hub seals none.
    fn privacy(&self) -> Option<&dyn Privacy> {
        None
    }

    /// Event types and their schemas; absent: this hub has none.
    fn schemas(&self) -> Option<&dyn Schemas> {
        None
    }

    /// The registry; absent: this hub has none.
    fn registry(&self) -> Option<&dyn Registry> {
        None
    }

    /// Versions of pipelines; absent: this hub keeps none.
    fn pipeline_versions(&self) -> Option<&dyn Pipelines> {
        None
    }

    /// Reference tables; absent: this hub keeps none.
    fn tables(&self) -> Option<&dyn Tables> {
        None
    }

    /// Secrets, connections and bindings; absent: this hub lets nobody change them.
    fn settings(&self) -> Option<&dyn Settings> {
        None
    }
}

fn instead(successor: Option<&str>) -> String {
    successor.map_or_else(String::new, |successor| format!("; send `{successor}` instead"))
}

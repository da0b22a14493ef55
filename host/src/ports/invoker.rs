//! Calls into plugins. The runner says what to call with what authority; the implementation keeps the sandbox.

use std::{path::PathBuf, sync::Arc};

use futures::future::BoxFuture;

use super::{egress::Egress, secrets::Secret, state::PluginState};
use crate::model::{
    decision::{Assessment, Verdict},
    event::Event,
    failure::Failure,
    id::Digest,
    json::Json,
    limits::{LimitExceeded, Limits, Usage},
    log::LogLine,
    timestamp::Timestamp,
};

/// A component to make callable.
#[derive(Clone, Debug)]
pub struct Component {
    /// The digest of `wasm`, as the caller knows it; checked.
    pub digest: Digest,
    /// The component's bytes.
    pub wasm: bytes::Bytes,
    /// A folder that the guest sees read-only at `/assets`.
    pub assets: Option<PathBuf>,
}

/// What a component imports and exports, computed from its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The digest of the bytes.
    pub digest: Digest,
    /// Size, bytes.
    pub bytes: u64,
    /// Imported interfaces with versions, such as `crossdock:plugin/log@1.0.0`, sorted.
    pub imports: Vec<String>,
    /// Exported interfaces with versions, sorted.
    pub exports: Vec<String>,
}

/// Why a component cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are not a component.
    #[error("not a WebAssembly component: {problem}")]
    NotAComponent {
        /// What was found instead, and how to build one.
        problem: String,
    },
    /// The bytes have another digest than announced.
    #[error("the component's digest is {actual}, announced was {announced}")]
    DigestMismatch {
        /// Of the bytes.
        actual: Digest,
        /// As the caller said.
        announced: Digest,
    },
    /// It does not fit the contract.
    #[error("the component does not fit the contract: {problem}")]
    Contract {
        /// Which import or export, and what to change.
        problem: String,
    },
    /// It cannot be compiled or kept.
    #[error("the component cannot be compiled: {problem}")]
    Compile {
        /// What the engine says.
        problem: String,
    },
}

/// Where in which run a call happens: the contract's `step`.
#[derive(Clone, Debug)]
pub struct StepContext {
    /// The run's id.
    pub run: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline's version.
    pub pipeline_version: String,
    /// The step's name.
    pub name: String,
    /// Settings.
    pub config: Json,
    /// More facts.
    pub attributes: Vec<(String, String)>,
}

/// Where events come from: the contract's `feed`.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The source's name.
    pub name: String,
    /// Settings.
    pub config: Json,
    /// More facts.
    pub attributes: Vec<(String, String)>,
}

/// An HTTP request as it arrived at a webhook source; names of headers in lower case.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// In upper case.
    pub method: String,
    /// The part of the path after the source's own, starting with `/`.
    pub path: String,
    /// The raw query string without `?`.
    pub query: String,
    /// In order of arrival.
    pub headers: Vec<(String, String)>,
    /// The exact bytes.
    pub body: bytes::Bytes,
}

/// What the sender of a delivery is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookReply {
    /// 200 to 299.
    pub status: u16,
    /// The body's type.
    pub content_type: String,
    /// At most 16 KiB.
    pub body: bytes::Bytes,
}

/// One portion of a paged operation's result: the contract's `portion`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portion {
    /// What it holds, usually a list.
    pub rows: Json,
    /// Where to go on, at most 4 KiB; absent at the end.
    pub next: Option<String>,
}

/// One portion of what is new at a polled source: the contract's `page`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In order, at most 256; `source` as the guest wrote it.
    pub events: Vec<Event>,
    /// Where the next poll goes on, at most 4 KiB; absent: as before.
    pub cursor: Option<String>,
    /// Whether there is more now.
    pub more: bool,
}

/// What a call is to do.
#[derive(Clone, Debug)]
pub enum Work {
    /// `transform.apply`.
    Transform {
        /// The document.
        input: Json,
        /// Where.
        step: StepContext,
    },
    /// `rule.evaluate`.
    Rule {
        /// The document.
        input: Json,
        /// Where.
        step: StepContext,
    },
    /// `scorer.score`.
    Score {
        /// The document.
        input: Json,
        /// Where.
        step: StepContext,
    },
    /// `connector.invoke`.
    Invoke {
        /// The operation.
        operation: String,
        /// Its input.
        input: Json,
        /// The same for every attempt.
        idempotency_key: String,
        /// From 1.
        attempt: u32,
        /// Whether the operation is a read.
        read_only: bool,
        /// Where.
        step: StepContext,
    },
    /// `webhook-source.receive`.
    Receive {
        /// The request.
        delivery: Delivery,
        /// Which source.
        feed: Feed,
    },
    /// `paging.fetch`; held to what a read may do.
    Fetch {
        /// The operation, a read.
        operation: String,
        /// Its input, the same for every portion.
        input: Json,
        /// The same for every attempt at every portion.
        idempotency_key: String,
        /// From 1.
        attempt: u32,
        /// Where to go on; absent: the first portion.
        cursor: Option<String>,
        /// Where.
        step: StepContext,
    },
    /// `polling-source.poll`; held to what a read may do.
    Poll {
        /// Where to go on; absent: the first poll.
        cursor: Option<String>,
        /// Which source.
        feed: Feed,
    },
}

/// What a call with effects may reach. A pure call has none: nothing is granted unless it is here.
#[derive(Clone, Default)]
pub struct Authority {
    /// Outbound HTTP.
    pub egress: Option<Arc<dyn Egress>>,
    /// Durable state, and the buckets that may be used.
    pub state: Option<(Arc<dyn PluginState>, Vec<String>)>,
    /// Secrets for `sign` and `verify`, by the manifest's name. Never handed to the guest.
    pub secrets: Vec<(String, Secret)>,
}

/// One call.
#[derive(Clone)]
pub struct Invocation {
    /// The loaded component.
    pub component: Digest,
    /// What to do.
    pub work: Work,
    /// The bounds.
    pub limits: Limits,
    /// The recorded time; a pure guest's clocks stand still there, a connector's start there.
    pub now: Timestamp,
    /// What all of the guest's randomness comes from.
    pub seed: [u8; 32],
    /// What it may reach.
    pub authority: Authority,
}

/// What a call answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A transform's or a connector's document.
    Json(Json),
    /// A rule's decision.
    Verdict(Verdict),
    /// A scorer's recommendation.
    Assessment(Assessment),
    /// A webhook source's events, `source` as the guest wrote it, and the reply.
    Receipt(Vec<Event>, Option<WebhookReply>),
    /// A portion of a paged operation's result.
    Portion(Portion),
    /// A portion of what is new at a polled source.
    Page(Page),
}

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum CallError {
    /// The plugin answered with a failure.
    Failure(Failure),
    /// It ran into a bound.
    Limit(LimitExceeded),
    /// It trapped: a defect of the plugin.
    Trap {
        /// The trap and the guest's backtrace, at most 4 KiB.
        message: String,
    },
    /// It answered something that the contract does not allow.
    Contract {
        /// What, and what is allowed.
        message: String,
    },
    /// No such component is loaded, or the engine has no room.
    Unavailable {
        /// What to do about it.
        message: String,
    },
}

/// A finished call.
#[derive(Clone, Debug, PartialEq)]
pub struct Completed {
    /// Its answer.
    pub result: Result<Answer, CallError>,
    /// What it used.
    pub usage: Usage,
    /// What it logged, bounded.
    pub log: Vec<LogLine>,
    /// What it annotated, bounded.
    pub annotations: Vec<(String, String)>,
}

/// Loads and calls components.
pub trait Invoker: Send + Sync {
    /// What a component imports and exports. Reads bytes only; compiles nothing.
    ///
    /// # Errors
    /// If the bytes are not a component.
    fn inspect(&self, wasm: &[u8]) -> Result<Inspection, LoadError>;

    /// Makes a component callable: from the compiled cache, or by compiling it. Loading it again changes nothing.
    ///
    /// # Errors
    /// As [`LoadError`] says.
    fn load(&self, component: Component) -> BoxFuture<'_, Result<Inspection, LoadError>>;

    /// Forgets a component, if it is kept in memory. Calls that run go on.
    fn unload(&self, component: Digest) {
        let _ = component;
    }

    /// Makes one call in a fresh instance.
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Completed>;
}

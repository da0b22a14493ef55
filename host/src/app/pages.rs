//! Paged operations: one portion of a result that is too large for one answer.

use std::sync::Arc;

use super::{calls, installation::OpenConnection, runner::Shared};
use crate::{
    model::{
        failure::{Failure, FailureKind},
        id::hash32,
        json::Json,
        limits::{Limits, Usage},
        log::LogLine,
    },
    ports::invoker::{Answer, Completed, Invocation, Portion, StepContext, Work},
};

/// A portion to fetch.
#[derive(Clone, Debug)]
pub struct PageCall {
    /// The operation, a read.
    pub operation: String,
    /// Its input, the same for every portion.
    pub input: Json,
    /// The same for every attempt at every portion.
    pub key: String,
    /// From 1.
    pub attempt: u32,
    /// Where to go on; absent: the first portion.
    pub cursor: Option<String>,
    /// The bound of this attempt; absent: the plugin's own.
    pub timeout_ms: Option<u64>,
    /// Where; its `config` is replaced by the connection's.
    pub step: StepContext,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// The portion, or why there is none.
    pub result: Result<Portion, Failure>,
    /// What the call used.
    pub usage: Usage,
    /// What it logged.
    pub log: Vec<LogLine>,
    /// What it annotated.
    pub annotations: Vec<(String, String)>,
}

/// Fetches one portion through a connection, with the authority of the connection and no more. The same cursor may be
/// given again; the guest's contract is that it then means the same rows. Whether the rows follow a schema is for the
/// caller to see.
pub async fn fetch_page(shared: &Arc<Shared>, open: &Arc<OpenConnection>, page: PageCall) -> Fetched {
    let authority = match calls::authority(shared, open, &page.operation) {
        Ok(authority) => authority,
        Err(failure) => {
            let (usage, log, annotations) = (Usage::default(), Vec::new(), Vec::new());
            return Fetched { result: Err(failure), usage, log, annotations };
        }
    };
    // A remote that hangs holds its own connection's calls and nobody else's.
    let _own = open.bulkhead.acquire().await.ok();
    let _turn = shared.turns.outward.acquire().await.ok();
    let deadline_ms = page.timeout_ms.unwrap_or(open.plugin.limits.deadline_ms).min(Limits::CEILING.deadline_ms);
    let cursor = page.cursor.as_deref().unwrap_or_default();
    let seed = hash32("crossdock page 1", &[page.key.as_bytes(), cursor.as_bytes(), &page.attempt.to_be_bytes()]);
    let completed = shared
        .invoker
        .invoke(Invocation {
            component: open.plugin.inspection.digest,
            work: Work::Fetch {
                operation: page.operation,
                input: page.input,
                idempotency_key: page.key,
                attempt: page.attempt,
                cursor: page.cursor,
                step: StepContext { config: calls::connection_config(open), ..page.step },
            },
            limits: Limits { deadline_ms, ..open.plugin.limits },
            now: shared.clock.now(),
            seed,
            authority,
        })
        .await;
    let Completed { result, usage, log, annotations } = completed;
    let result = match result {
        Ok(Answer::Portion(portion)) => Ok(portion),
        Ok(_) => Err(Failure::new(FailureKind::Permanent, "plugin.contract", "it answered with no portion")),
        Err(error) => Err(calls::effect_failure(error, true)),
    };
    Fetched { result, usage, log, annotations }
}

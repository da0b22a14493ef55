//! One read of a remote, and what its failures mean to a consumer, who knows the contract and not the remote: the hub's
//! log says what the remote said, the consumer is told what to do.
//!
//! A read waits for its place like every call of the connection, but not longer than its consumer; a remote that is left
//! alone is not waited for at all.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Read, answers::Fetched};
use crate::{
    app::{
        calls,
        permits::{self, NotAdmitted},
        runner::Shared,
    },
    flow::document::Document,
    model::{
        failure::{Failure, FailureKind},
        hex::hex,
        id::hash32,
        json::Json,
        lane::Lane,
        limits::Limits,
        timestamp::Timestamp,
    },
    ports::{
        apis::{ApiAnswer, ApiError, Origin},
        invoker::{Answer, Invocation, StepContext, Work},
    },
};

/// The longest that a consumer waits unless the publication says so, milliseconds.
pub(super) const LIMIT_MS_DEFAULT: u64 = 10_000;
/// When to ask again where nobody knows, seconds.
pub(super) const RETRY_AFTER_S: u64 = 5;
/// The longest that is said, seconds.
const RETRY_AFTER_S_MAX: u64 = 3_600;

/// Asks the remote.
pub(super) async fn ask(shared: Arc<Shared>, read: Read) -> Result<Fetched, ApiError> {
    let asked = shared.clock.now();
    let begun = tokio::time::Instant::now();
    let outcome = attempt(&shared, &read, asked).await;
    metrics::histogram!("crossdock_api_seconds", "contract" => read.contract.to_string())
        .record(begun.elapsed().as_secs_f64());
    outcome
}

async fn attempt(shared: &Arc<Shared>, read: &Read, asked: Timestamp) -> Result<Fetched, ApiError> {
    let Read { contract, operation, open, .. } = read;
    if let Some(until) = permits::left_alone(shared, open) {
        return Err(unavailable(until.since(asked).div_ceil(1_000)));
    }
    let authority = calls::authority(shared, open, operation).map_err(|failure| meaning(read, &failure))?;
    let withdrawn = CancellationToken::new();
    let admitted = tokio::select! {
        biased;
        admitted = permits::admit(shared, open, Lane::default(), 0, &withdrawn) => admitted,
        () = shared.clock.sleep_until(asked.plus_millis(read.limit_ms)) => return Err(unavailable(RETRY_AFTER_S)),
    };
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(NotAdmitted::Stopping | NotAdmitted::Withdrawn) => return Err(unavailable(RETRY_AFTER_S)),
    };
    let live = &open.plugin.live;
    let revoked = || Failure::new(FailureKind::Permanent, "plugin.revoked", "the plugin was revoked");
    if live.is_revoked() {
        // While it waited for its place. Nothing has left.
        admitted.settle(Some(&revoked()));
        tracing::error!(%contract, operation, plugin = %open.plugin.manifest.id, "a read was not begun: its plugin was revoked");
        return Err(unavailable(RETRY_AFTER_S));
    }
    let now = shared.clock.now();
    let left_ms = read.limit_ms.saturating_sub(now.since(asked)).max(1);
    let limits = Limits { deadline_ms: left_ms.min(Limits::CEILING.deadline_ms), ..open.plugin.limits };
    let seed = hash32("crossdock api seed 1", &[read.input.json().as_bytes(), &now.millis().to_be_bytes()]);
    let calling = live.begin();
    let invoked = shared.invoker.invoke(Invocation {
        component: open.plugin.inspection.digest,
        work: work(read, &seed),
        limits,
        now,
        seed,
        authority,
    });
    let completed = tokio::select! {
        biased;
        completed = invoked => completed,
        () = live.revoked() => {
            admitted.settle(Some(&revoked()));
            tracing::error!(%contract, operation, plugin = %open.plugin.manifest.id, "a read was cut off: its plugin was revoked");
            return Err(unavailable(RETRY_AFTER_S));
        }
    };
    drop(calling);
    let result = match completed.result {
        Err(error) => Err(calls::effect_failure(error, true)),
        Ok(Answer::Json(json)) => follows(read, &json).map(|()| json),
        Ok(_) => Err(Failure::new(FailureKind::Permanent, "plugin.contract", "a connector answered with no document")),
    };
    admitted.settle(result.as_ref().err());
    let json = result.map_err(|failure| meaning(read, &failure))?;
    Ok(Fetched { body: json.to_bytes(), asked })
}

fn work(read: &Read, seed: &[u8; 32]) -> Work {
    let key = format!("read_{}", hex(seed.iter().take(16)));
    let (_, major) = read.contract.as_str().split_once('@').unwrap_or_default();
    let step = StepContext {
        run: key.clone(),
        pipeline: read.contract.to_string(),
        pipeline_version: format!("{major}.0.0"),
        name: read.operation.clone(),
        config: calls::connection_config(&read.open),
        attributes: Vec::new(),
    };
    let (operation, input) = (read.operation.clone(), read.input.json().clone());
    Work::Invoke { operation, input, idempotency_key: key, attempt: 1, read_only: true, step }
}

/// Holds an answer to the contract, before anybody is given it.
fn follows(read: &Read, json: &Json) -> Result<(), Failure> {
    let key = (read.contract.clone(), read.operation.clone());
    let schema = read.installation.documents.get(&key).map(|(_, output)| output);
    calls::fits(schema, &Document::new(json.clone()), "output", "contract.output")
}

/// What a failure means to a consumer.
fn meaning(read: &Read, failure: &Failure) -> ApiError {
    let Read { contract, operation, open, .. } = read;
    tracing::warn!(%contract, operation, connection = open.name, %failure, "a read of an API failed");
    let retry_after_s = failure.retry_after_ms.map_or(RETRY_AFTER_S, |ms| u64::from(ms).div_ceil(1_000));
    let retry_after_s = retry_after_s.clamp(1, RETRY_AFTER_S_MAX);
    match (failure.kind, failure.code.as_str()) {
        (FailureKind::InvalidInput, code) if code == "not-found" || code.ends_with(".not-found") => ApiError::NotFound,
        (FailureKind::InvalidInput, _) => {
            ApiError::Input { problem: "what stands behind this API does not take the input".to_owned() }
        }
        (FailureKind::Retryable | FailureKind::Uncertain, "limit.deadline" | "http.lost") => {
            ApiError::Timeout { retry_after_s }
        }
        (FailureKind::Retryable | FailureKind::Uncertain, _) => unavailable(retry_after_s),
        (_, "contract.output") => ApiError::Failed {
            problem: "what stands behind this API answered something that does not follow the contract".to_owned(),
        },
        (FailureKind::Denied | FailureKind::Permanent, _) => {
            ApiError::Failed { problem: "what stands behind this API gives no answer to this".to_owned() }
        }
    }
}

/// That nothing answers now.
pub(super) fn unavailable(retry_after_s: u64) -> ApiError {
    ApiError::Unavailable {
        problem: "what stands behind this API gives no answers now".to_owned(),
        retry_after_s: retry_after_s.clamp(1, RETRY_AFTER_S_MAX),
    }
}

/// Whether an answer that is kept may stand in (RFC 5861, 4).
pub(super) fn is_outage(error: &ApiError) -> bool {
    matches!(error, ApiError::Unavailable { .. } | ApiError::Timeout { .. } | ApiError::Failed { .. })
}

/// How a read ended, for metrics.
pub(super) fn outcome(answer: &Result<ApiAnswer, ApiError>) -> &'static str {
    match answer {
        Ok(answer) => match answer.origin {
            Origin::Remote => "remote",
            Origin::Collapsed => "collapsed",
            Origin::Kept => "kept",
            Origin::Stale => "stale",
        },
        Err(ApiError::Unknown { .. } | ApiError::UnknownOperation { .. }) => "unknown",
        Err(ApiError::Gone { .. }) => "gone",
        Err(ApiError::Input { .. } | ApiError::Refused { .. }) => "input",
        Err(ApiError::NotFound) => "not-found",
        Err(ApiError::Unavailable { .. } | ApiError::Unrecorded { .. }) => "unavailable",
        Err(ApiError::Timeout { .. }) => "timeout",
        Err(ApiError::Failed { .. }) => "failed",
    }
}

//! Between the generated types and the SDK's own.

use super::{connector, hub::crossdock::plugin::envelope, polling, rule, scorer, webhook};
use crate::{
    Assessment, Call, Delivery, Event, Failure, FailureKind, Feed, Outcome, Page, Reason, Receipt, Reply, Step, Verdict,
};

impl From<envelope::Step> for Step {
    fn from(step: envelope::Step) -> Self {
        Self {
            run: step.run,
            pipeline: step.pipeline,
            pipeline_version: step.pipeline_version,
            name: step.name,
            now: step.now,
            config: step.config,
            attributes: step.attributes,
        }
    }
}

impl From<envelope::Feed> for Feed {
    fn from(feed: envelope::Feed) -> Self {
        Self { name: feed.name, now: feed.now, config: feed.config, attributes: feed.attributes }
    }
}

impl From<connector::exports::crossdock::plugin::connector::Call> for (Call, Vec<u8>) {
    fn from(call: connector::exports::crossdock::plugin::connector::Call) -> Self {
        let step = call.step.into();
        (
            Call { operation: call.operation, idempotency_key: call.idempotency_key, attempt: call.attempt, step },
            call.input,
        )
    }
}

impl From<Failure> for envelope::Failure {
    fn from(failure: Failure) -> Self {
        Self {
            kind: match failure.kind {
                FailureKind::Retryable => envelope::FailureKind::Retryable,
                FailureKind::Uncertain => envelope::FailureKind::Uncertain,
                FailureKind::InvalidInput => envelope::FailureKind::InvalidInput,
                FailureKind::Denied => envelope::FailureKind::Denied,
                FailureKind::Permanent => envelope::FailureKind::Permanent,
            },
            code: failure.code,
            message: failure.message,
            retry_after_ms: failure.retry_after_ms,
            detail: failure.detail.map(|detail| detail.to_string().into_bytes()),
        }
    }
}

impl From<envelope::Failure> for Failure {
    fn from(failure: envelope::Failure) -> Self {
        Self {
            kind: match failure.kind {
                envelope::FailureKind::Retryable => FailureKind::Retryable,
                envelope::FailureKind::Uncertain => FailureKind::Uncertain,
                envelope::FailureKind::InvalidInput => FailureKind::InvalidInput,
                envelope::FailureKind::Denied => FailureKind::Denied,
                envelope::FailureKind::Permanent => FailureKind::Permanent,
            },
            code: failure.code,
            message: failure.message,
            retry_after_ms: failure.retry_after_ms,
            detail: failure.detail.and_then(|detail| serde_json::from_slice(&detail).ok()),
        }
    }
}

impl From<Reason> for envelope::Reason {
    fn from(reason: Reason) -> Self {
        Self { code: reason.code, message: reason.message, path: reason.path }
    }
}

impl From<Verdict> for rule::exports::crossdock::plugin::rule::Verdict {
    fn from(verdict: Verdict) -> Self {
        use rule::exports::crossdock::plugin::rule::Outcome as Given;
        Self {
            outcome: match verdict.outcome {
                Outcome::Proceed => Given::Proceed,
                Outcome::Hold => Given::Hold,
                Outcome::Reject => Given::Reject,
                Outcome::Route => Given::Route,
            },
            target: verdict.target,
            reasons: verdict.reasons.into_iter().map(Into::into).collect(),
            output: verdict.output.map(|output| output.to_string().into_bytes()),
        }
    }
}

impl From<Assessment> for scorer::exports::crossdock::plugin::scorer::Assessment {
    fn from(assessment: Assessment) -> Self {
        use scorer::exports::crossdock::plugin::scorer::Alternative;
        let alternatives = assessment.alternatives.into_iter();
        Self {
            model: assessment.model,
            model_version: assessment.model_version,
            score: assessment.score,
            confidence: assessment.confidence,
            recommendation: assessment.recommendation,
            alternatives: alternatives
                .map(|other| Alternative { recommendation: other.recommendation, score: other.score })
                .collect(),
            reasons: assessment.reasons.into_iter().map(Into::into).collect(),
            features: assessment.features.to_string().into_bytes(),
        }
    }
}

impl From<webhook::exports::crossdock::plugin::webhook_source::Delivery> for Delivery {
    fn from(delivery: webhook::exports::crossdock::plugin::webhook_source::Delivery) -> Self {
        Self {
            method: delivery.method,
            path: delivery.path,
            query: delivery.query,
            headers: delivery.headers,
            body: delivery.body,
        }
    }
}

impl From<Event> for envelope::Event {
    fn from(event: Event) -> Self {
        Self {
            id: event.id,
            // The hub writes the source that its operator configured; the contract wants something here.
            source: "/".to_owned(),
            event_type: event.event_type,
            subject: event.subject,
            time: event.time,
            data_schema: None,
            data: event.data,
            extensions: event.extensions,
        }
    }
}

impl From<Reply> for webhook::exports::crossdock::plugin::webhook_source::Reply {
    fn from(reply: Reply) -> Self {
        Self { status: reply.status, content_type: reply.content_type, body: reply.body }
    }
}

impl From<Page> for polling::exports::crossdock::plugin::polling_source::Page {
    fn from(page: Page) -> Self {
        Self { events: page.events.into_iter().map(Into::into).collect(), cursor: page.cursor, more: page.more }
    }
}

#[cfg(feature = "paging")]
impl From<crate::Portion<Vec<u8>>> for connector::exports::crossdock::plugin::paging::Portion {
    fn from(portion: crate::Portion<Vec<u8>>) -> Self {
        Self { rows: portion.rows, next: portion.next }
    }
}

impl From<Receipt> for webhook::exports::crossdock::plugin::webhook_source::Receipt {
    fn from(receipt: Receipt) -> Self {
        Self { events: receipt.events.into_iter().map(Into::into).collect(), reply: receipt.reply.map(Into::into) }
    }
}

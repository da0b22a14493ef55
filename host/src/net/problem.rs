//! Errors as the hub says them over HTTP: problem documents (RFC 9457), each with a stable code and what to do next.
//!
//! The codes are part of the API. One is added where programs need to tell something apart; none is renamed.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request cannot be read.
    RequestInvalid,
    /// The body is not JSON.
    JsonMalformed,
    /// An event lacks something, or something in it is out of bounds.
    EventInvalid,
    /// More events at once than are taken.
    BatchTooLarge,
    /// A query parameter is unknown or has no such value.
    QueryInvalid,
    /// The text is not a run's id.
    RunIdInvalid,
    /// The beginning of an id fits several runs.
    RunIdAmbiguous,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is too large.
    BodyTooLarge,
    /// The body is of a type that is not taken.
    ContentTypeUnsupported,
    /// The event's data is not JSON.
    DataNotJson,
    /// No pipeline listens to the event's type.
    EventTypeUnknown,
    /// The event's data does not fit its schema.
    EventDataInvalid,
    /// The event's type, or the version of its schema, is not taken any more.
    EventSchemaRetired,
    /// The same source and id came before with other content.
    EventContradiction,
    /// Too much is under way for an event of its lane.
    HubBusy,
    /// The hub takes nothing now.
    HubUnavailable,
    /// No such webhook source.
    WebhookSourceUnknown,
    /// The delivery's signature does not hold.
    WebhookSignature,
    /// The source's plugin cannot read the delivery.
    WebhookInvalid,
    /// The delivery brings events that the source may not bring.
    WebhookTypeNotAllowed,
    /// The source's plugin failed.
    WebhookPluginFailed,
    /// Nothing is published under that contract.
    ApiUnknown,
    /// It publishes no such operation.
    ApiOperationUnknown,
    /// It is published no longer.
    ApiGone,
    /// The input does not follow the contract.
    ApiInput,
    /// There is nothing like that.
    ApiNotFound,
    /// What stands behind it gives no answer now.
    ApiUnavailable,
    /// What stands behind it did not answer in time.
    ApiTimeout,
    /// What stands behind it gave no good answer.
    ApiFailed,
    /// The publication does not hold.
    ApiRefused,
    /// No such subscription.
    SubscriptionUnknown,
    /// The subscription does not hold.
    SubscriptionRefused,
    /// It cannot be done with the subscription now.
    SubscriptionConflict,
    /// No such connection.
    ConnectionUnknown,
    /// No such run.
    RunUnknown,
    /// It cannot be done with the run now.
    RunConflict,
    /// Nobody is asked there.
    ApprovalUnknown,
    /// The question was decided before.
    ApprovalDecided,
    /// The question has changed since it was shown.
    ApprovalStale,
    /// The person may not decide this.
    ApprovalDenied,
    /// The run is not parked.
    DeadLetterUnknown,
    /// No such plugin, or no such version.
    PluginUnknown,
    /// The version exists with other content.
    PluginVersionTaken,
    /// The package or the version does not hold.
    PluginRefused,
    /// Recorded inputs are answered otherwise than was allowed.
    PluginReplayDiffers,
    /// It cannot be done with the version or the binding now.
    RegistryConflict,
    /// Something depends on it, and nobody has said that they know.
    ChangeInUse,
    /// No such pipeline, or no such version.
    PipelineUnknown,
    /// The version exists with another text.
    PipelineVersionTaken,
    /// The text has mistakes.
    PipelineRefused,
    /// No such table, or no such version.
    TableUnknown,
    /// The version exists with other rows.
    TableVersionTaken,
    /// The rows do not hold.
    TableRefused,
    /// No such proposed change.
    ChangeUnknown,
    /// The person asked for the change.
    ChangeSamePerson,
    /// No such event type, or no such version of its schema.
    SchemaUnknown,
    /// The schema may not become the next version.
    SchemaRefused,
    /// Runs that have not ended need the personal data that is to be erased.
    PrivacyRunsOpen,
    /// No such path.
    RouteUnknown,
    /// The path does not take the method.
    MethodNotAllowed,
    /// The `Host` header names another machine.
    HostNotAllowed,
    /// The request took too long.
    RequestTimeout,
    /// The hub does not do its work.
    NotReady,
    /// Metrics are not collected.
    MetricsOff,
    /// A defect of the hub.
    Internal,
    /// The request carries no token.
    AuthRequired,
    /// The token proves nothing.
    AuthInvalid,
    /// Whoever asks may not.
    AccessDenied,
    /// The enrolment token does not hold.
    EnrolmentInvalid,
    /// No such token.
    TokenUnknown,
    /// It cannot be done with the token now.
    TokenConflict,
    /// The token is used too often just now.
    TokenSpike,
    /// The token's quota is used up.
    TokenQuota,
    /// No such secret.
    SecretUnknown,
    /// It cannot be done with the secret, the connection or the binding now.
    SettingConflict,
    /// The connection or the binding does not hold.
    SettingRefused,
}

/// What is fixed for a code.
struct Facts {
    code: &'static str,
    status: StatusCode,
    title: &'static str,
    advice: &'static str,
}

const fn facts(code: &'static str, status: StatusCode, title: &'static str, advice: &'static str) -> Facts {
    Facts { code, status, title, advice }
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 77] = [
        Self::RequestInvalid,
        Self::JsonMalformed,
        Self::EventInvalid,
        Self::BatchTooLarge,
        Self::QueryInvalid,
        Self::RunIdInvalid,
        Self::RunIdAmbiguous,
        Self::BodyTimeout,
        Self::BodyTooLarge,
        Self::ContentTypeUnsupported,
        Self::DataNotJson,
        Self::EventTypeUnknown,
        Self::EventDataInvalid,
        Self::EventSchemaRetired,
        Self::EventContradiction,
        Self::HubBusy,
        Self::HubUnavailable,
        Self::WebhookSourceUnknown,
        Self::WebhookSignature,
        Self::WebhookInvalid,
        Self::WebhookTypeNotAllowed,
        Self::WebhookPluginFailed,
        Self::ApiUnknown,
        Self::ApiOperationUnknown,
        Self::ApiGone,
        Self::ApiInput,
        Self::ApiNotFound,
        Self::ApiUnavailable,
        Self::ApiTimeout,
        Self::ApiFailed,
        Self::ApiRefused,
        Self::SubscriptionUnknown,
        Self::SubscriptionRefused,
        Self::SubscriptionConflict,
        Self::ConnectionUnknown,
        Self::RunUnknown,
        Self::RunConflict,
        Self::ApprovalUnknown,
        Self::ApprovalDecided,
        Self::ApprovalStale,
        Self::ApprovalDenied,
        Self::DeadLetterUnknown,
        Self::PluginUnknown,
        Self::PluginVersionTaken,
        Self::PluginRefused,
        Self::PluginReplayDiffers,
        Self::RegistryConflict,
        Self::ChangeInUse,
        Self::PipelineUnknown,
        Self::PipelineVersionTaken,
        Self::PipelineRefused,
        Self::TableUnknown,
        Self::TableVersionTaken,
        Self::TableRefused,
        Self::ChangeUnknown,
        Self::ChangeSamePerson,
        Self::SchemaUnknown,
        Self::SchemaRefused,
        Self::PrivacyRunsOpen,
        Self::RouteUnknown,
        Self::MethodNotAllowed,
        Self::HostNotAllowed,
        Self::RequestTimeout,
        Self::NotReady,
        Self::MetricsOff,
        Self::Internal,
        Self::AuthRequired,
        Self::AuthInvalid,
        Self::AccessDenied,
        Self::EnrolmentInvalid,
        Self::TokenUnknown,
        Self::TokenConflict,
        Self::TokenSpike,
        Self::TokenQuota,
        Self::SecretUnknown,
        Self::SettingConflict,
        Self::SettingRefused,
    ];

    /// The table of codes: text, status, title, and what to do.
    #[rustfmt::skip]
    const fn facts(self) -> Facts {
        use StatusCode as S;
        match self {
            Self::RequestInvalid => facts("request.invalid", S::BAD_REQUEST, "The request cannot be read",
                "correct the request; /openapi.json describes what is taken"),
            Self::JsonMalformed => facts("event.malformed", S::BAD_REQUEST, "The body is not JSON",
                "correct the body at the line and column named; send it as UTF-8 without a byte order mark"),
            Self::EventInvalid => facts("event.invalid", S::BAD_REQUEST, "The event is not a valid CloudEvent",
                "correct the attribute named; specversion, id, source and type are required (CloudEvents 1.0)"),
            Self::BatchTooLarge => facts("event.batch-too-large", S::PAYLOAD_TOO_LARGE, "Too many events in one batch",
                "send the events in several batches"),
            Self::QueryInvalid => facts("query.invalid", S::BAD_REQUEST, "A query parameter cannot be used",
                "correct or leave out the parameter named"),
            Self::RunIdInvalid => facts("run.id-invalid", S::BAD_REQUEST, "The text is not a run's id",
                "use an id as GET /v1/runs lists it, or at least its first 8 hexadecimal digits"),
            Self::RunIdAmbiguous => facts("run.id-ambiguous", S::BAD_REQUEST, "The id's beginning fits several runs",
                "give more digits of the id"),
            Self::BodyTimeout => facts("body.timeout", S::REQUEST_TIMEOUT, "The body did not arrive in time",
                "send the whole body at once; sending the same event again is safe"),
            Self::BodyTooLarge => facts("body.too-large", S::PAYLOAD_TOO_LARGE, "The body is too large",
                "send less at once; keep large content elsewhere and send a reference to it"),
            Self::ContentTypeUnsupported => facts("event.content-type", S::UNSUPPORTED_MEDIA_TYPE,
                "The body's content type is not taken",
                "set Content-Type to one of the types named"),
            Self::DataNotJson => facts("event.data-type", S::UNSUPPORTED_MEDIA_TYPE, "The event's data is not JSON",
                "send the data as JSON, with datacontenttype application/json or without one"),
            Self::EventTypeUnknown => facts("event.unknown-type", S::UNPROCESSABLE_ENTITY, "The event's type is unknown",
                "correct the type, or install a pipeline that listens to it; GET /v1/pipelines lists the triggers"),
            Self::EventDataInvalid => facts("event.data", S::UNPROCESSABLE_ENTITY,
                "The event's data does not fit its schema",
                "correct the data where it is named; the schema of its type says what fits: GET /v1/schemas/{type}/latest"),
            Self::EventSchemaRetired => facts("event.schema-retired", S::UNPROCESSABLE_ENTITY,
                "The event's type or schema is not taken any more",
                "send what takes its place; GET /v1/schemas/{type} says what that is; nothing was accepted"),
            Self::EventContradiction => facts("event.contradiction", S::CONFLICT,
                "The event contradicts one that was accepted before",
                "give a new event a new id; send an old one again exactly as it was"),
            Self::HubBusy => facts("hub.busy", S::TOO_MANY_REQUESTS, "Too much is under way",
                "send it again after the time in Retry-After; nothing was accepted, and GET /v1/lanes shows the room"),
            Self::HubUnavailable => facts("hub.unavailable", S::SERVICE_UNAVAILABLE, "The hub takes nothing now",
                "send it again after the time in Retry-After; nothing was accepted"),
            Self::WebhookSourceUnknown => facts("webhook.unknown-source", S::NOT_FOUND, "No such webhook source",
                "correct the name in the URL, or configure the source at the hub"),
            Self::WebhookSignature => facts("webhook.signature", S::UNAUTHORIZED, "The delivery's signature does not hold",
                "sign the exact bytes of the body with the secret that the hub has for this source"),
            Self::WebhookInvalid => facts("webhook.invalid", S::BAD_REQUEST, "The delivery cannot be read",
                "correct the delivery as the source's plugin says"),
            Self::WebhookTypeNotAllowed => facts("webhook.type-not-allowed", S::FORBIDDEN,
                "The source may not bring such events",
                "subscribe to other topics at the sender, or add the type to the source's `types` at the hub"),
            Self::WebhookPluginFailed => facts("webhook.plugin-failed", S::INTERNAL_SERVER_ERROR,
                "The source's plugin failed",
                "deliver it again; if it fails again, the hub's log says why"),
            Self::ApiUnknown => facts("api.unknown", S::NOT_FOUND, "No such API",
                "use a contract as GET /v1/apis lists it"),
            Self::ApiOperationUnknown => facts("api.operation-unknown", S::NOT_FOUND, "The API has no such operation",
                "use an operation that is named; the API's openapi.json describes them"),
            Self::ApiGone => facts("api.gone", S::GONE, "The API answers no more",
                "move to what the detail names, or to another that GET /v1/apis lists"),
            Self::ApiInput => facts("api.input", S::UNPROCESSABLE_ENTITY, "The input does not follow the contract",
                "correct the input where it is named; the API's openapi.json says what fits"),
            Self::ApiNotFound => facts("api.not-found", S::NOT_FOUND, "There is nothing like that",
                "correct what is asked for; it may have been deleted"),
            Self::ApiUnavailable => facts("api.unavailable", S::SERVICE_UNAVAILABLE, "The API gives no answers now",
                "ask again after the time in Retry-After"),
            Self::ApiTimeout => facts("api.timeout", S::GATEWAY_TIMEOUT, "No answer came in time",
                "ask again after the time in Retry-After"),
            Self::ApiFailed => facts("api.failed", S::BAD_GATEWAY, "What stands behind the API gave no good answer",
                "asking again is unlikely to help; tell whoever runs the hub, whose log says why"),
            Self::ApiRefused => facts("api.refused", S::UNPROCESSABLE_ENTITY, "The publication does not hold",
                "change what is named; nothing was changed"),
            Self::SubscriptionUnknown => facts("subscription.unknown", S::NOT_FOUND, "No such subscription",
                "use a name as GET /v1/subscriptions lists it"),
            Self::SubscriptionRefused => facts("subscription.refused", S::UNPROCESSABLE_ENTITY, "It does not hold",
                "change what is named; nothing was changed"),
            Self::SubscriptionConflict => facts("subscription.conflict", S::CONFLICT,
                "It cannot be done with the subscription now",
                "do what the detail says; nothing was changed"),
            Self::ConnectionUnknown => facts("connection.unknown", S::NOT_FOUND, "No such connection",
                "use a name as GET /v1/connections lists it"),
            Self::RunUnknown => facts("run.unknown", S::NOT_FOUND, "No such run",
                "use an id as GET /v1/runs lists it"),
            Self::RunConflict => facts("run.conflict", S::CONFLICT, "It cannot be done with the run now",
                "look at the run with GET /v1/runs/{id} and do what its state allows; nothing was changed"),
            Self::ApprovalUnknown => facts("approval.unknown", S::NOT_FOUND, "Nobody is asked there",
                "GET /v1/approvals lists the open questions; the run's story says what became of others"),
            Self::ApprovalDecided => facts("approval.decided", S::CONFLICT, "The question was decided before",
                "the first decision stands; `outcome` and `by` say what it was"),
            Self::ApprovalStale => facts("approval.stale", S::CONFLICT, "The question has changed since it was shown",
                "look at the evidence again, and decide with the revision and digest that it has now"),
            Self::ApprovalDenied => facts("approval.denied", S::FORBIDDEN, "The person may not decide this",
                "have another member of the group decide, or a stand-in declared under `people.delegations` in hub.toml"),
            Self::DeadLetterUnknown => facts("dead-letter.unknown", S::NOT_FOUND, "The run is not parked",
                "GET /v1/dead-letters lists the parked runs; GET /v1/runs/{id} shows any run"),
            Self::PluginUnknown => facts("plugin.unknown", S::NOT_FOUND, "No such plugin or version",
                "use an id and a version as GET /v1/plugins lists them, or publish it first"),
            Self::PluginVersionTaken => facts("plugin.version-taken", S::CONFLICT, "The version exists with other content",
                "raise `version` in plugin.toml and publish that; a published version never changes"),
            Self::PluginRefused => facts("plugin.refused", S::UNPROCESSABLE_ENTITY, "The version does not hold",
                "change what is named and publish it as another version; nothing was changed"),
            Self::PluginReplayDiffers => facts("plugin.replay-differs", S::UNPROCESSABLE_ENTITY,
                "Recorded inputs are answered otherwise than was allowed",
                "look at `report`; change the version, allow so many changes, or have two people force it; nothing was changed"),
            Self::RegistryConflict => facts("registry.conflict", S::CONFLICT, "It cannot be done as things stand",
                "look at how the versions stand (GET the line itself), and do what the detail says; nothing was changed"),
            Self::ChangeInUse => facts("change.in-use", S::CONFLICT, "Something depends on it",
                "look at `dependants`; then send the same with `\"accept_impact\": true` (`--yes` on the command line) to do it all \
                 the same; nothing was changed"),
            Self::PipelineUnknown => facts("pipeline.unknown", S::NOT_FOUND, "No such pipeline or version",
                "use a name as GET /v1/pipelines lists it and a version of it, or draft it first"),
            Self::PipelineVersionTaken => facts("pipeline.version-taken", S::CONFLICT, "The version exists with another text",
                "raise `version` in the text and draft that; a version never changes"),
            Self::PipelineRefused => facts("pipeline.refused", S::UNPROCESSABLE_ENTITY, "The pipeline has mistakes",
                "mend each of the `mistakes` where it is named; `crossdock pipeline check` shows them; nothing was changed"),
            Self::TableUnknown => facts("table.unknown", S::NOT_FOUND, "No such table or version",
                "use a name and a version as GET /v1/tables lists them, or draft it first"),
            Self::TableVersionTaken => facts("table.version-taken", S::CONFLICT, "The version exists with other rows",
                "draft it as another version, or leave the version out; a version never changes"),
            Self::TableRefused => facts("table.refused", S::UNPROCESSABLE_ENTITY, "The table does not hold",
                "change what is named and draft it again; nothing was changed"),
            Self::ChangeUnknown => facts("change.unknown", S::NOT_FOUND, "No such change",
                "use an id as GET /v1/changes lists it"),
            Self::ChangeSamePerson => facts("change.same-person", S::FORBIDDEN, "A second person has to agree",
                "have somebody else decide; whoever asked for it may only take it back"),
            Self::SchemaUnknown => facts("schema.unknown", S::NOT_FOUND, "No such event type or version",
                "use a type and a version as GET /v1/schemas lists them"),
            Self::SchemaRefused => facts("schema.refused", S::UNPROCESSABLE_ENTITY,
                "The schema may not become the next version",
                "change what `obstacles` name, or register it under another event type; nothing was changed"),
            Self::PrivacyRunsOpen => facts("privacy.runs-open", S::CONFLICT, "Runs that have not ended need the data",
                "nothing was erased: let the `runs` end, or cancel them; or ask with `end_runs`, which leaves what they did in place"),
            Self::RouteUnknown => facts("route.unknown", S::NOT_FOUND, "No such path",
                "use a path that /openapi.json describes"),
            Self::MethodNotAllowed => facts("route.method", S::METHOD_NOT_ALLOWED,
                "The path does not take this method",
                "use a method of the Allow header"),
            Self::HostNotAllowed => facts("host.not-allowed", S::MISDIRECTED_REQUEST,
                "The Host header names another machine",
                "reach the hub as localhost, 127.0.0.1 or [::1], or by a name that `serve --name` gives it; it answers no other"),
            Self::RequestTimeout => facts("request.timeout", S::SERVICE_UNAVAILABLE, "The request took too long",
                "send it again; sending the same event again is safe"),
            Self::NotReady => facts("hub.not-ready", S::SERVICE_UNAVAILABLE, "The hub does not do its work",
                "do what the checks say"),
            Self::MetricsOff => facts("metrics.off", S::NOT_FOUND, "Metrics are not collected",
                "start the hub with metrics"),
            Self::Internal => facts("hub.internal", S::INTERNAL_SERVER_ERROR, "The hub failed",
                "this is a defect of the hub: report it with its log; sending the same event again is safe"),
            Self::AuthRequired => facts("auth.required", S::UNAUTHORIZED, "The request carries no token",
                "send `Authorization: Bearer TOKEN`; the command line takes CROSSDOCK_TOKEN or --token-file; an admin \
                 makes tokens with `crossdock token create`, and `crossdock enroll` makes the first"),
            Self::AuthInvalid => facts("auth.invalid", S::UNAUTHORIZED, "The token is not valid",
                "use a token that is valid; an admin makes one with `crossdock token create`"),
            Self::AccessDenied => facts("access.denied", S::FORBIDDEN, "This may not be done with the token",
                "use a token with the role and scope for it, or have an admin make one"),
            Self::EnrolmentInvalid => facts("enrolment.invalid", S::UNAUTHORIZED, "The enrolment token does not hold",
                "use the one in the data folder, `access/enrolment`; it is good once, for 15 minutes from the hub's start"),
            Self::TokenUnknown => facts("token.unknown", S::NOT_FOUND, "No such token",
                "use an id as GET /v1/tokens lists it"),
            Self::TokenConflict => facts("token.conflict", S::CONFLICT, "It cannot be done with the token now",
                "do what the detail says; nothing was changed"),
            Self::TokenSpike => facts("token.spike", S::TOO_MANY_REQUESTS, "The token is used too often just now",
                "send fewer requests a second; send this one again after the time in Retry-After"),
            Self::TokenQuota => facts("token.quota", S::TOO_MANY_REQUESTS, "The token's quota is used up",
                "send it again after the time in Retry-After; GET /v1/usage shows the use; an admin sets the quota"),
            Self::SecretUnknown => facts("secret.unknown", S::NOT_FOUND, "There is no such secret",
                "`crossdock secret list` shows which there are; `crossdock secret set NAME` sets one"),
            Self::SettingConflict => facts("setting.conflict", S::CONFLICT, "It cannot be done as things stand",
                "do first what the detail names, then ask again"),
            Self::SettingRefused => facts("setting.refused", S::UNPROCESSABLE_ENTITY, "The setting does not hold",
                "change what the detail names; `crossdock connection test NAME` shows what works"),
        }
    }

    /// The code as it is written, such as `event.invalid`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.facts().code
    }

    /// The status that it is answered with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.facts().status
    }
}

/// What went wrong with one request. It is serialized as a [`Document`].
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What went wrong, for programs.
    pub code: Code,
    /// What happened this time.
    pub detail: String,
    /// The path that was asked for.
    pub instance: Option<String>,
    /// More, for some codes.
    pub more: BTreeMap<&'static str, serde_json::Value>,
}

impl Problem {
    /// A problem of a code.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), instance: None, more: BTreeMap::new() }
    }

    /// The same with a further member.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<serde_json::Value>) -> Self {
        self.more.insert(name, value.into());
        self
    }

    /// Its document.
    #[must_use]
    pub fn document(&self) -> Document<'_> {
        let Facts { code, status, title, advice } = self.code.facts();
        Document {
            uri: format!("urn:crossdock:error:{code}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            code,
            instance: self.instance.as_deref(),
            advice,
            more: &self.more,
        }
    }
}

/// A problem document.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document<'a> {
    /// `urn:crossdock:error:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:crossdock:error:event.invalid")]
    pub uri: String,
    /// The same for every problem of this code.
    pub title: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: &'a str,
    /// Stable and for programs.
    #[schema(example = "event.invalid")]
    pub code: &'a str,
    /// The path that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<&'a str>,
    /// What to do about it.
    pub advice: &'a str,
    /// More, for some codes.
    #[serde(flatten)]
    #[schema(ignore)]
    pub more: &'a BTreeMap<&'static str, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Code, Problem};

    #[test]
    fn codes_are_told_apart_and_say_what_to_do() {
        let codes: BTreeSet<_> = Code::ALL.into_iter().map(Code::as_str).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        for code in Code::ALL {
            let problem = Problem::new(code, "x");
            let document = problem.document();
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert!(!document.advice.is_empty() && !document.title.ends_with('.'), "{code:?}");
            assert!(code.as_str().chars().all(|c| c.is_ascii_lowercase() || ".-".contains(c)), "{code:?}");
        }
    }
}

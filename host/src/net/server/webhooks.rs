//! `POST /v1/webhooks/{source}`. The hub verifies the signature over the exact bytes; here they are only bounded.

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};

use super::{
    Surface, WEBHOOK_BODY_BYTES_LIMIT_MAX,
    answer::read_body,
    events::{self, Accepted},
};
use crate::{
    net::problem::{Code, Document, Problem},
    ports::{
        hub::WebhookError,
        invoker::{Delivery, WebhookReply},
    },
};

/// Where deliveries come in.
const PREFIX: &str = "/v1/webhooks/";

/// Largest reply of a plugin, bytes.
const REPLY_BYTES_LIMIT: usize = 16 << 10;

/// Takes in a delivery: signature first, then the plugin, then all of its events or none.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{source}",
    tag = "webhooks",
    params(("source" = String, Path, description = "The source's name")),
    request_body(description = "The delivery as the sender signed it", content((Object = "*/*"))),
    responses(
        (status = 202, description = "Accepted, unless the source's plugin replies something else", body = Accepted),
        (status = 200, description = "All accepted before", body = Accepted),
        (status = 400, description = "`webhook.invalid`", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "`webhook.signature`", body = Document, content_type = "application/problem+json"),
        (status = 403, description = "`webhook.type-not-allowed`", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "`webhook.unknown-source`", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "`body.too-large`", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "`hub.busy`, with Retry-After", body = Document, content_type = "application/problem+json"),
        (status = 500, description = "`webhook.plugin-failed`", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "`hub.unavailable`", body = Document, content_type = "application/problem+json"),
    )
)]
pub(super) async fn deliver(State(surface): State<Surface>, request: Request) -> Result<Response, Problem> {
    take_in(&surface, request).await
}

/// The same for senders that add to the path; the plugin sees what they added.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{source}/{rest}",
    tag = "webhooks",
    params(
        ("source" = String, Path, description = "The source's name"),
        ("rest" = String, Path, description = "For the source's plugin; may contain `/`"),
    ),
    request_body(description = "The delivery as the sender signed it", content((Object = "*/*"))),
    responses((status = 202, description = "As without the rest of the path", body = Accepted))
)]
pub(super) async fn deliver_below(State(surface): State<Surface>, request: Request) -> Result<Response, Problem> {
    take_in(&surface, request).await
}

async fn take_in(surface: &Surface, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let below = head.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let (name, rest) = below.split_once('/').unwrap_or((below, ""));
    let unknown = || WebhookError::UnknownSource { name: name.to_owned() };
    let source = surface.hub.webhook_source(name).ok_or_else(unknown)?;
    let limit = source.body_bytes_limit.min(WEBHOOK_BODY_BYTES_LIMIT_MAX);
    let body = read_body(body, &head.headers, limit, surface.options.body_timeout).await?;
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let delivery = Delivery {
        method: head.method.as_str().to_owned(),
        path: format!("/{rest}"),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body,
    };
    let delivered = surface.hub.deliver(name, delivery).await?;
    match delivered.reply.and_then(replied) {
        Some(reply) => Ok(reply),
        None => Ok(events::answer(surface, delivered.events, None).await),
    }
}

/// The plugin's reply, if it is one that the contract allows: the delivery was accepted, whatever it says.
fn replied(reply: WebhookReply) -> Option<Response> {
    let status = StatusCode::from_u16(reply.status).ok().filter(StatusCode::is_success);
    let content_type = HeaderValue::from_str(&reply.content_type).ok();
    let (Some(status), Some(content_type)) = (status, content_type) else {
        tracing::warn!(status = reply.status, content_type = reply.content_type, "a plugin's reply cannot be sent");
        return None;
    };
    if reply.body.len() > REPLY_BYTES_LIMIT {
        tracing::warn!(bytes = reply.body.len(), "a plugin's reply is too large");
        return None;
    }
    // A browser that is led here must not take the reply for a page.
    let nosniff = HeaderValue::from_static("nosniff");
    let headers = [(header::CONTENT_TYPE, content_type), (header::X_CONTENT_TYPE_OPTIONS, nosniff)];
    Some((status, headers, reply.body).into_response())
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        let text = error.to_string();
        match error {
            WebhookError::UnknownSource { .. } => Self::new(Code::WebhookSourceUnknown, text),
            WebhookError::Signature { .. } => Self::new(Code::WebhookSignature, text),
            WebhookError::Invalid { .. } => Self::new(Code::WebhookInvalid, text),
            WebhookError::TypeNotAllowed { .. } => Self::new(Code::WebhookTypeNotAllowed, text),
            WebhookError::Plugin { .. } => Self::new(Code::WebhookPluginFailed, text),
            WebhookError::Accept { source } => source.into(),
        }
    }
}

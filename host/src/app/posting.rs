//! What the hub itself sends: deliveries to subscribers, checkpoints to an anchor. To one place each, by POST, through the
//! hub's one way out; redirects are not followed. Signed as Standard Webhooks has it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};

use super::{outlet::Outlet, runner::Shared};
use crate::{
    model::{
        connection::SecretRef,
        failure::{Failure, FailureKind},
        timestamp::Timestamp,
    },
    net::egress::Gateway,
    policy::delivery::{self, Verdict},
    ports::egress::{Egress, EgressError},
};

/// Largest answer that is read, bytes: nobody looks at it.
pub(super) const ANSWER_BYTES_LIMIT: u64 = 256 << 10;

/// What is sent.
pub(super) struct Message<'a> {
    /// Where to.
    pub(super) url: &'a str,
    /// Its id: the same for each attempt.
    pub(super) id: &'a str,
    /// Of its body.
    pub(super) content_type: &'static str,
    /// The body.
    pub(super) body: Bytes,
    /// What it is signed with.
    pub(super) secrets: &'a [SecretRef],
}

/// The way out to a place.
///
/// # Errors
/// If its URL is not one.
pub(super) fn outlet(gateway: &Gateway, shared: &Shared, place: Outlet<'_>) -> Result<Arc<dyn Egress>, String> {
    Ok(gateway.open_direct(place.scope(Arc::clone(&shared.secrets), Arc::clone(&shared.clock))?))
}

/// Sends a message once; what came of it.
pub(super) async fn post(shared: &Shared, egress: &dyn Egress, message: Message<'_>) -> Verdict {
    shared.effects.allowed().await;
    let Message { url, id, content_type, body, secrets } = message;
    let failed = |code: &str, message: String| Verdict::Down(Failure::new(FailureKind::Retryable, code, message));
    let mut keys = Vec::new();
    for reference in secrets {
        match shared.secrets.resolve(reference) {
            Ok(secret) if !secret.expose().is_empty() => keys.push(secret),
            Ok(_) => return failed("secret.unavailable", format!("secret `{reference}` is empty")),
            Err(error) => return failed("secret.unavailable", error.to_string()),
        }
    }
    let timestamp_s = shared.clock.now().millis().div_euclid(1_000);
    let mut request = Request::post(url)
        .header(header::CONTENT_TYPE, content_type)
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp_s);
    if !keys.is_empty() {
        let keys: Vec<&[u8]> = keys.iter().map(|secret| secret.expose()).collect();
        request = request.header("webhook-signature", delivery::sign(id, timestamp_s, &body, &keys));
    }
    match request.body(body) {
        Ok(request) => verdict(egress.send(request, false).await, shared),
        Err(error) => failed("endpoint.url", format!("it cannot be asked: {error}")),
    }
}

fn verdict(answer: Result<Response<Bytes>, EgressError>, shared: &Shared) -> Verdict {
    let failed = |code: &str, message: String| Failure::new(FailureKind::Retryable, code, message);
    match answer {
        Ok(answer) => delivery::verdict(answer.status().as_u16(), retry_after_ms(answer.headers(), shared.clock.now())),
        // It answered, and at length.
        Err(error @ EgressError::TooLarge { .. }) => Verdict::Refused(failed("endpoint.answer", error.to_string())),
        Err(error) => Verdict::Down(failed("endpoint.down", error.to_string())),
    }
}

/// `Retry-After`, as seconds or as a date (RFC 9110, 10.2.3).
fn retry_after_ms(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let due = Timestamp::from_millis(i64::try_from(date.as_millis()).ok()?);
    Some(due.since(now))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::retry_after_ms;

    #[test]
    fn an_endpoint_says_when_in_seconds_or_as_a_date() {
        let now = "2026-06-01T12:00:00Z".parse().unwrap();
        let check = |text: &'static str, expected: Option<u64>| {
            let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(retry_after_ms(&headers, now), expected, "{text}");
        };
        check("7", Some(7_000));
        check("Mon, 01 Jun 2026 12:01:00 GMT", Some(60_000));
        check("Mon, 01 Jun 2026 11:00:00 GMT", Some(0));
        check("soon", None);
    }
}

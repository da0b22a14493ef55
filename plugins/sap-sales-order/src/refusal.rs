//! What SAP's refusals mean for the hub: whether something happened, and whether to try again.

use crossdock_plugin::{Failure, FailureKind, http::Response};
use serde::Deserialize;
use serde_json::{Value, json};

/// SAP's words are cut after this many characters.
const WORDS_MAX: usize = 400;
/// So many of SAP's further messages go along.
const DETAILS_MAX: usize = 8;

/// What the refused request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum During {
    /// It changes nothing.
    Read,
    /// It may have changed something before it failed.
    Write,
}

/// SAP's error: `{"error": {"code": …, "message": {"lang": …, "value": …}, "innererror": …}}`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    error: SapError,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SapError {
    code: String,
    message: Message,
    innererror: Inner,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Inner {
    transactionid: String,
    errordetails: Vec<Detail>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail {
    code: String,
    message: String,
    propertyref: String,
}

impl Detail {
    fn told(&self) -> Value {
        json!({ "code": cut(&self.code), "message": cut(&self.message), "property": cut(&self.propertyref) })
    }
}

/// The header that tokens are fetched, sent and asked for by.
pub(crate) const TOKEN: &str = "x-csrf-token";

/// Whether SAP says that the token is missing or has run out.
pub(crate) fn wants_token(response: &Response) -> bool {
    response.status() == 403 && response.header(TOKEN).is_some_and(|value| value.eq_ignore_ascii_case("required"))
}

/// The failure that a refusal is.
pub(crate) fn of(response: &Response, during: During) -> Failure {
    let sap = response.json::<Envelope>().unwrap_or_default().error;
    let status = response.status();
    let words = if sap.message.value.is_empty() { format!("HTTP {status}") } else { cut(&sap.message.value) };
    let failure = match status {
        401 => {
            Failure::denied("sap.unauthorized", format!("SAP does not accept the connection's credentials: {words}"))
        }
        403 if wants_token(response) => {
            Failure::retryable("sap.csrf", format!("SAP keeps refusing CSRF tokens: {words}"))
        }
        403 => Failure::denied("sap.forbidden", format!("SAP denies it to the connection's user: {words}")),
        404 => Failure::permanent(
            "sap.no-service",
            format!("check the connection's base URL, no service is there: {words}"),
        ),
        405 | 410 | 501 => Failure::permanent("sap.unsupported", format!("this SAP system does not offer it: {words}")),
        409 => Failure::permanent("sap.conflict", format!("SAP has something that this contradicts: {words}")),
        412 | 428 => Failure::retryable("sap.stale", format!("somebody changed the sales order meanwhile: {words}")),
        423 => Failure::retryable("sap.locked", format!("the sales order is locked: {words}")),
        429 => Failure::retryable("sap.busy", format!("SAP takes no more requests now: {words}")),
        503 if during == During::Read || response.header("retry-after").is_some() => {
            Failure::retryable("sap.busy", format!("SAP takes no requests now: {words}"))
        }
        400..=499 => Failure::invalid("sap.refused", format!("SAP refuses the document: {words}")),
        500.. if during == During::Read => Failure::retryable("sap.failed", format!("SAP failed: {words}")),
        500.. => Failure::uncertain("sap.failed", format!("SAP failed, perhaps after it had acted: {words}")),
        _ => Failure::permanent("sap.answer", format!("SAP answered HTTP {status}, which the service never does")),
    };
    let failure = match response.header("retry-after").and_then(|value| value.trim().parse::<u32>().ok()) {
        Some(seconds) => failure.after_ms(seconds.saturating_mul(1_000)),
        None => failure,
    };
    let details: Vec<Value> = sap.innererror.errordetails.iter().take(DETAILS_MAX).map(Detail::told).collect();
    failure.detail(&json!({
        "status": status,
        "code": cut(&sap.code),
        "transaction": cut(&sap.innererror.transactionid),
        "details": details,
    }))
}

/// A failure on the way to a write, or of a read: whatever was lost, nothing has happened yet.
pub(crate) fn before_write(mut failure: Failure) -> Failure {
    if failure.kind == FailureKind::Uncertain {
        failure.kind = FailureKind::Retryable;
    }
    failure
}

/// A failure after SAP took a write: it happened, and what came of it is to be found out.
pub(crate) fn after_write(mut failure: Failure) -> Failure {
    failure.kind = FailureKind::Uncertain;
    failure
}

fn cut(text: &str) -> String {
    text.chars().take(WORDS_MAX).collect()
}

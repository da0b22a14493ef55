//! Reading bodies and queries, and answering problems.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{EVENTS_BODY_BYTES_LIMIT, Surface};
use crate::net::problem::{Code, MEDIA_TYPE, Problem};

/// After how long to try again, seconds.
const RETRY_AFTER_S: &str = "5";

/// How much of a body that is too large is read and thrown away, bytes: a client that is cut off while it sends does
/// not get to read the answer.
const DISCARD_BYTES_MAX: usize = 8 << 20;

/// For how long.
const DISCARD_TIME: Duration = Duration::from_secs(2);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        // INVARIANT: a problem document has a JSON form: text, numbers, and JSON values under text keys.
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        let headers = response.headers_mut();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        if let Some(seconds) = self.more.get("retry_after_s").and_then(serde_json::Value::as_u64) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge(self.code)));
        }
        response.extensions_mut().insert(Box::new(self));
        response
    }
}

/// How to prove who one is (RFC 9110, 11.6.1; RFC 6750, 3).
fn challenge(code: Code) -> &'static str {
    match code {
        Code::WebhookSignature => "Webhook-Signature",
        Code::AuthInvalid | Code::EnrolmentInvalid => "Bearer realm=\"crossdock\", error=\"invalid_token\"",
        _ => "Bearer realm=\"crossdock\"",
    }
}

/// Reads a whole body within a size and a time.
pub(super) async fn read_body(
    body: Body,
    headers: &HeaderMap,
    limit_bytes: u64,
    within: Duration,
) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::BodyTooLarge, format!("the body is larger than {limit_bytes} bytes"));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > limit_bytes) {
        if !headers.contains_key(header::EXPECT) {
            discard(body).await;
        }
        return Err(too_large());
    }
    let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
    match timeout(within, collect(body, limit)).await {
        Err(_) => {
            Err(Problem::new(Code::BodyTimeout, format!("the body did not arrive within {} ms", within.as_millis())))
        }
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Some(rest))) => {
            discard(rest).await;
            Err(too_large())
        }
        Ok(Err(None)) => Err(Problem::new(Code::RequestInvalid, "the connection broke before the body was whole")),
    }
}

/// The whole body; what is left of one that is larger than the limit; nothing of one that breaks off.
async fn collect(mut body: Body, limit: usize) -> Result<Bytes, Option<Body>> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| None)?.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(Some(body));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

async fn discard(mut body: Body) {
    let all = async {
        let mut left = DISCARD_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // What is left after this time is cut off.
    let _ = timeout(DISCARD_TIME, all).await;
}

/// The parameters of a query, each at most once and among those known.
///
/// # Errors
/// Names the parameter that is not.
pub(super) fn parameters<const N: usize>(
    query: Option<&str>,
    known: [&str; N],
) -> Result<[Option<String>; N], Problem> {
    let mut found = [const { None }; N];
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let place = known.iter().zip(found.iter_mut()).find(|(known, _)| **known == name).map(|(_, place)| place);
        let Some(place) = place else {
            let detail = format!("there is no parameter `{name}`; there are: {}", known.join(", "));
            return Err(Problem::new(Code::QueryInvalid, detail));
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(Problem::new(Code::QueryInvalid, format!("parameter `{name}` is there twice")));
        }
    }
    Ok(found)
}

/// A parameter that is true or false; absent: false.
pub(super) fn flag(name: &str, value: Option<&str>) -> Result<bool, Problem> {
    match value {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(Problem::new(Code::QueryInvalid, format!("`{name}={other}` must be true or false"))),
    }
}

/// Refuses a body of another media type, whatever its parameters are.
pub(super) fn require_type(headers: &HeaderMap, wanted: &str) -> Result<(), Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let detail = format!("the body is `{essence}`; it must be `{wanted}`");
    Err(Problem::new(Code::ContentTypeUnsupported, detail))
}

/// What is wrong with a JSON text, by line and column.
pub(super) fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(Code::JsonMalformed, format!("the body is not JSON: {error}"))
        .with("line", error.line())
        .with("column", error.column())
}

/// Reads a JSON body into a type. Only `application/json` is taken: a page in somebody's browser can send no such body
/// to another origin without asking first.
pub(super) async fn read_json<T: DeserializeOwned>(surface: &Surface, request: Request) -> Result<T, Problem> {
    let (head, body) = request.into_parts();
    require_type(&head.headers, "application/json")?;
    let bytes = read_body(body, &head.headers, EVENTS_BODY_BYTES_LIMIT, surface.options.body_timeout).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Problem::new(Code::RequestInvalid, format!("the body is not what is taken here: {error}"))
            .with("line", error.line())
            .with("column", error.column())
    })
}

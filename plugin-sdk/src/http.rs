//! HTTP requests, through the hub: it holds the allow-list, adds the connection's authentication and bounds time and
//! size. Credentials never pass through a plugin.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, FailureKind, hub};

/// How much of an answer goes into a failure's detail, characters; however it is escaped, well below the contract's
/// 16 KiB.
const DETAIL_CHARS_MAX: usize = 2_000;

/// A request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Reads without the body.
    Head,
    /// Creates, or whatever the remote makes of it.
    Post,
    /// Replaces.
    Put,
    /// Changes in part.
    Patch,
    /// Deletes.
    Delete,
}

impl Method {
    /// In upper case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether repeating it can do no harm because it changes nothing.
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// A request to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: Method,
    base: String,
    query: Vec<(String, String)>,
    /// Its headers, in order.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// A GET of an absolute URL.
#[must_use]
pub fn get(url: &str) -> Request {
    Request::new(Method::Get, url)
}

/// A POST to an absolute URL.
#[must_use]
pub fn post(url: &str) -> Request {
    Request::new(Method::Post, url)
}

/// A PUT to an absolute URL.
#[must_use]
pub fn put(url: &str) -> Request {
    Request::new(Method::Put, url)
}

/// A PATCH of an absolute URL.
#[must_use]
pub fn patch(url: &str) -> Request {
    Request::new(Method::Patch, url)
}

/// A DELETE of an absolute URL.
#[must_use]
pub fn delete(url: &str) -> Request {
    Request::new(Method::Delete, url)
}

impl Request {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: Method, url: &str) -> Self {
        Self { method, base: url.to_owned(), query: Vec::new(), headers: Vec::new(), body: Vec::new() }
    }

    /// Adds a header. Those that carry credentials are the hub's, and refused.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.headers.push((name.as_ref().to_lowercase(), value.as_ref().to_owned()));
        self
    }

    /// Adds a query parameter; both parts are percent-encoded.
    #[must_use]
    pub fn query(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.query.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Makes the body the JSON of a value.
    ///
    /// # Errors
    /// `permanent` with `request.invalid`, if the value has no JSON form.
    pub fn json(mut self, value: &impl Serialize) -> Result<Self, Failure> {
        self.body = serde_json::to_vec(value)
            .map_err(|error| Failure::permanent("request.invalid", format!("the body has no JSON form: {error}")))?;
        Ok(self.header("content-type", "application/json"))
    }

    /// Makes the body these bytes.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    /// The whole URL, query included.
    #[must_use]
    pub fn url(&self) -> String {
        let mut url = self.base.clone();
        for (number, (name, value)) in self.query.iter().enumerate() {
            url.push(if number == 0 && !self.base.contains('?') { '?' } else { '&' });
            url.push_str(&encode(name));
            url.push('=');
            url.push_str(&encode(value));
        }
        url
    }

    /// Sends it; an answer of any status is an answer.
    ///
    /// # Errors
    /// - `denied` with `http.denied`: the grant does not cover it; the run's log says what would.
    /// - `retryable` with `http.connect`: no connection came about, so nothing happened.
    /// - `http.lost`, if the answer was lost: `uncertain`, or `retryable` where the method changes nothing.
    /// - `permanent` with `http.invalid`: it is not a request.
    pub fn send(&self) -> Result<Response, Failure> {
        match hub::send(self) {
            Ok(response) => Ok(Response { method: self.method, ..response }),
            Err(lost) => Err(lost.into_failure(self.method)),
        }
    }
}

/// An answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// What it answers.
    method: Method,
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    pub(crate) fn new(status: u16, headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        Self { method: Method::Get, status, headers, body }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_lowercase(), value.to_owned()));
        self
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is 200 to 299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as a type.
    ///
    /// # Errors
    /// With `response.invalid`, and where and why: `uncertain` if the remote accepted a request that changes something,
    /// since it then has acted; otherwise `permanent`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let acted = self.is_success() && !self.method.is_safe();
            let kind = if acted { FailureKind::Uncertain } else { FailureKind::Permanent };
            Failure::new(kind, "response.invalid", format!("the answer does not fit: {error}"))
        })
    }

    /// How long the remote asks to be left alone: `Retry-After`, if it is in seconds.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u32> {
        self.header("retry-after")?.trim().parse::<u32>().ok()?.checked_mul(1000)
    }

    /// Itself if the status is 200 to 299, otherwise what the status usually means. Where the remote means something
    /// else, look at [`Response::status`] first.
    ///
    /// # Errors
    /// - 401, 403: `denied` with `remote.refused`.
    /// - 400, 404, 422: `invalid-input` with `remote.invalid`.
    /// - 408, 423, 425, 429, 503: `retryable` with `remote.busy`, after what `Retry-After` says.
    /// - any other from 500 on: `remote.failed`, `retryable` where the method changes nothing, else `uncertain`.
    /// - anything else: `permanent` with `remote.unexpected`.
    pub fn success(self) -> Result<Self, Failure> {
        let (kind, code, what) = match self.status {
            200..=299 => return Ok(self),
            401 | 403 => (FailureKind::Denied, "remote.refused", "refused us"),
            400 | 404 | 422 => (FailureKind::InvalidInput, "remote.invalid", "did not accept the request"),
            408 | 423 | 425 | 429 | 503 => (FailureKind::Retryable, "remote.busy", "cannot take it now"),
            500.. if self.method.is_safe() => (FailureKind::Retryable, "remote.failed", "failed"),
            500.. => (FailureKind::Uncertain, "remote.failed", "failed, and may have acted"),
            _ => (FailureKind::Permanent, "remote.unexpected", "gave an answer that nobody expected"),
        };
        let mut failure = Failure::new(kind, code, format!("the remote {what}: HTTP {}", self.status));
        failure.retry_after_ms = self.retry_after_ms();
        let body: String = self.text().chars().take(DETAIL_CHARS_MAX).collect();
        Err(failure.detail(&serde_json::json!({ "status": self.status, "body": body })))
    }
}

/// Text as one part of a URL: everything but unreserved characters percent-encoded.
#[must_use]
pub fn encode(text: &str) -> String {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.extend([byte >> 4, byte & 15].map(|digit| HEX.get(usize::from(digit)).copied().unwrap_or('0')));
        }
    }
    encoded
}

/// A request without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    how: How,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Denied,
    Connect,
    Broken,
    Invalid,
}

impl Lost {
    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self { how: How::Denied, message: message.into() }
    }

    pub(crate) fn connect(message: impl Into<String>) -> Self {
        Self { how: How::Connect, message: message.into() }
    }

    pub(crate) fn broken(message: impl Into<String>) -> Self {
        Self { how: How::Broken, message: message.into() }
    }

    #[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "only the real hub finds a request invalid"))]
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { how: How::Invalid, message: message.into() }
    }

    fn into_failure(self, method: Method) -> Failure {
        match self.how {
            How::Denied => Failure::denied("http.denied", self.message),
            How::Connect => Failure::retryable("http.connect", format!("no connection: {}", self.message)),
            How::Broken if method.is_safe() => {
                Failure::retryable("http.lost", format!("the answer was lost: {}", self.message))
            }
            How::Broken => Failure::uncertain(
                "http.lost",
                format!("the answer was lost, and the remote may have acted: {}", self.message),
            ),
            How::Invalid => Failure::permanent("http.invalid", self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        FailureKind,
        http::{encode, get, post},
        testing::{MockHost, Reply},
    };

    #[track_caller]
    fn check_status(status: u16, read: FailureKind, write: FailureKind) {
        let reply = || Reply::status(status).header("Retry-After", "3");
        let _host = MockHost::new().reply("GET", "/", reply()).reply("POST", "/", reply()).install();
        for (request, kind) in [(get("http://x.example/"), read), (post("http://x.example/"), write)] {
            let failure = request.send().unwrap().success().unwrap_err();
            assert_eq!((failure.kind, failure.retry_after_ms), (kind, Some(3_000)), "{failure}");
        }
    }

    #[test]
    fn a_status_means_what_it_usually_means() {
        check_status(403, FailureKind::Denied, FailureKind::Denied);
        check_status(422, FailureKind::InvalidInput, FailureKind::InvalidInput);
        check_status(423, FailureKind::Retryable, FailureKind::Retryable);
        check_status(502, FailureKind::Retryable, FailureKind::Uncertain);
        check_status(302, FailureKind::Permanent, FailureKind::Permanent);
    }

    #[test]
    fn an_accepted_write_with_an_answer_that_does_not_fit_is_in_doubt() {
        let page = || Reply::json(201, &"<html>");
        let _host = MockHost::new().reply("GET", "/", page()).reply("POST", "/", page()).install();
        let kind = |answer: Result<u32, crate::Failure>| answer.unwrap_err().kind;
        assert_eq!(kind(post("http://x.example/").send().unwrap().json()), FailureKind::Uncertain);
        assert_eq!(kind(get("http://x.example/").send().unwrap().json()), FailureKind::Permanent);
    }

    #[test]
    fn a_query_is_encoded() {
        let request = get("http://x.example/a").query("$filter", "Name eq 'O''Hara & Söhne'");
        assert_eq!(request.url(), "http://x.example/a?%24filter=Name%20eq%20%27O%27%27Hara%20%26%20S%C3%B6hne%27");
        assert_eq!(get("http://x.example/?a=1").query("b", "2").url(), "http://x.example/?a=1&b=2");
        assert_eq!(encode("a/b c"), "a%2Fb%20c");
    }
}

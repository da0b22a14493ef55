//! Where an answer points to. Pure: the next request is permitted, checked and sent like any other.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use url::Url;

use super::headers;
use crate::{policy::egress::Origin, ports::egress::EgressError};

/// One request of an exchange.
pub(super) struct Hop {
    request: Request<Bytes>,
    /// Where the redirect came from; absent for the guest's own request.
    from: Option<String>,
    /// Whether an earlier request of this exchange may have changed something at the remote.
    acted: bool,
}

/// How an exchange goes on.
pub(super) enum Next {
    /// The answer is the guest's.
    Done,
    /// The answer points to what is no URL.
    Nowhere(String),
    /// Another request follows.
    Hop(Box<Hop>),
}

impl Hop {
    /// The guest's own request, with the headers that it may set.
    pub(super) fn first(mut request: Request<Bytes>) -> Self {
        let given = std::mem::take(request.headers_mut());
        *request.headers_mut() = headers::from_guest(given);
        Self { request, from: None, acted: false }
    }

    /// The request to send.
    pub(super) fn request(&self) -> Request<Bytes> {
        self.request.clone()
    }

    /// An error of it: that nothing was sent is true only if no earlier request changed anything.
    pub(super) fn account(&self, error: EgressError) -> EgressError {
        match error {
            EgressError::Refused { reason }
            | EgressError::Connect { reason }
            | EgressError::Authentication { reason }
                if self.acted =>
            {
                EgressError::Broken { reason: self.explain(&reason) }
            }
            EgressError::Refused { reason } => EgressError::Refused { reason: self.explain(&reason) },
            other => other,
        }
    }

    /// A reason, with where the redirect came from.
    fn explain(&self, reason: &str) -> String {
        self.from.as_ref().map_or_else(|| reason.to_owned(), |from| format!("{reason} (redirected from `{from}`)"))
    }
}

/// What follows an answer (RFC 9110 §15.4).
pub(super) fn next(hop: Hop, answer: &Response<Bytes>) -> Next {
    let changes_method = match answer.status() {
        StatusCode::SEE_OTHER => *hop.request.method() != Method::HEAD,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => *hop.request.method() == Method::POST,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
        _ => return Next::Done,
    };
    let Some(location) = answer.headers().get(header::LOCATION) else { return Next::Done };
    let Some(target) = location.to_str().ok().and_then(|text| resolve(hop.request.uri(), text)) else {
        return Next::Nowhere("the remote redirects to what is not a URL".to_owned());
    };
    let Hop { mut request, acted, .. } = hop;
    let here = Origin::of(request.uri());
    if here.as_ref().ok() != Origin::of(&target).ok().as_ref() {
        *request.headers_mut() = headers::for_stranger(request.headers());
    }
    let acted = acted || changes_method && !request.method().is_safe();
    if changes_method {
        *request.method_mut() = Method::GET;
        *request.body_mut() = Bytes::new();
        headers::without_body(request.headers_mut());
    }
    *request.uri_mut() = target;
    Next::Hop(Box::new(Hop { request, from: here.ok().map(|origin| origin.to_string()), acted }))
}

fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let mut target = Url::parse(&base.to_string()).ok()?.join(location).ok()?;
    if !matches!(target.scheme(), "http" | "https") {
        return None;
    }
    target.set_fragment(None);
    target.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{Request, Response};

    use super::{Hop, Next, next};

    #[track_caller]
    fn check(request: &str, answer: &str, expected: &str) {
        let (method, uri) = request.split_once(' ').unwrap();
        let (status, location) = answer.split_once(' ').unwrap();
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", "text/plain")
            .header("x-key", "guest")
            .body(Bytes::from_static(b"body"));
        let answer = Response::builder().status(status.parse::<u16>().unwrap()).header("location", location);
        let found = match next(Hop::first(request.unwrap()), &answer.body(Bytes::new()).unwrap()) {
            Next::Done => "done".to_owned(),
            Next::Nowhere(_) => "nowhere".to_owned(),
            Next::Hop(hop) => {
                let names: Vec<_> = ["content-type", "x-key"]
                    .into_iter()
                    .filter(|name| hop.request.headers().contains_key(*name))
                    .collect();
                let body = std::str::from_utf8(hop.request.body()).unwrap();
                format!("{} {} {body:?} {names:?} {}", hop.request.method(), hop.request.uri(), hop.acted)
            }
        };
        assert_eq!(found, expected, "{method} {uri} {status} {location}");
    }

    #[test]
    fn methods_change_as_the_standard_says() {
        let a = "http://a.example/x/y?q";
        check(&format!("GET {a}"), "200 /z", "done");
        check(&format!("GET {a}"), "304 /z", "done");
        check(&format!("POST {a}"), "303 /z", r#"GET http://a.example/z "" ["x-key"] true"#);
        check(&format!("POST {a}"), "302 z", r#"GET http://a.example/x/z "" ["x-key"] true"#);
        check(&format!("PUT {a}"), "301 z", r#"PUT http://a.example/x/z "body" ["content-type", "x-key"] false"#);
        check(&format!("POST {a}"), "307 ?r", r#"POST http://a.example/x/y?r "body" ["content-type", "x-key"] false"#);
        check(&format!("HEAD {a}"), "303 /z", r#"HEAD http://a.example/z "body" ["content-type", "x-key"] false"#);
        check(&format!("GET {a}"), "302 /z#part", r#"GET http://a.example/z "body" ["content-type", "x-key"] false"#);
    }

    #[test]
    fn another_origin_gets_no_header_of_the_guests_own() {
        for target in ["http://b.example/", "https://a.example/", "http://a.example:81/", "//b.example/"] {
            let uri = if target.starts_with("//") { format!("http:{target}") } else { target.to_owned() };
            let expected = format!(r#"POST {uri} "body" ["content-type"] false"#);
            check("POST http://a.example/", &format!("308 {target}"), &expected);
        }
    }

    #[test]
    fn what_is_no_url_leads_nowhere() {
        check("GET http://a.example/", "302 http://[::1", "nowhere");
        check("GET http://a.example/", "302 mailto:x", "nowhere");
    }
}

//! What may pass between a guest and a remote, and what is the host's alone.

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};

/// How the hub introduces itself.
pub(super) const USER_AGENT: &str = concat!("crossdock/", env!("CARGO_PKG_VERSION"));

/// Headers that only the host writes: identity, framing, and what would hide a secret's echo in compressed bytes.
const HOST_ONLY: [HeaderName; 15] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::COOKIE,
    header::HOST,
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::CONTENT_LENGTH,
    header::USER_AGENT,
    header::ACCEPT_ENCODING,
    header::FORWARDED,
];

/// Headers that describe the message rather than who sends it; all that goes along to another origin.
const REPRESENTATION: [HeaderName; 6] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::CONTENT_TYPE,
    header::CONTENT_LANGUAGE,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
];

/// Headers of an answer that are no business of a guest.
const NOT_FOR_GUESTS: [HeaderName; 7] = [
    header::SET_COOKIE,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::ALT_SVC,
];

/// A guest's headers, without those that are the host's, and with the host's own.
pub(super) fn from_guest(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOST_ONLY) {
        headers.remove(name);
    }
    let hop_by_hop = |name: &HeaderName| name.as_str().starts_with("proxy-") || name.as_str() == "keep-alive";
    let others: Vec<HeaderName> = headers.keys().filter(|name| hop_by_hop(name)).cloned().collect();
    for name in others {
        headers.remove(name);
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
}

/// What of them goes along to another origin: a key in a header of the guest's own must not.
pub(super) fn for_stranger(headers: &HeaderMap) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| REPRESENTATION.contains(name));
    from_guest(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// Takes away what describes a body that is no longer there.
pub(super) fn without_body(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("content-")).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Sets the session cookies, or none.
pub(super) fn set_cookies(headers: &mut HeaderMap, cookies: Option<HeaderValue>) {
    headers.remove(header::COOKIE);
    if let Some(mut cookies) = cookies {
        cookies.set_sensitive(true);
        headers.insert(header::COOKIE, cookies);
    }
}

/// An answer without what is no business of a guest.
pub(super) fn for_guest<B>(mut answer: Response<B>) -> Response<B> {
    for name in &NOT_FOR_GUESTS {
        answer.headers_mut().remove(name);
    }
    answer.headers_mut().remove("keep-alive");
    answer
}

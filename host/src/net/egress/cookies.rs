//! Session cookies (RFC 6265), kept by the host so that guests need not handle them: a cookie goes back to the very
//! origin that set it, never to another one, whatever its `Domain` says.

use http::{HeaderMap, HeaderValue, header};
use time::{PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::{model::timestamp::Timestamp, policy::egress::Origin};

/// Most cookies of one outlet; the oldest make room.
const COOKIES_MAX: usize = 50;

/// Largest cookie, bytes of name and value.
const COOKIE_BYTES_LIMIT: usize = 4 << 10;

/// Most bytes of cookies in one request.
const HEADER_BYTES_LIMIT: usize = 16 << 10;

const EXPIRES: &[BorrowedFormatItem<'_>] =
    format_description!("[day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

struct Cookie {
    origin: Origin,
    path: String,
    name: String,
    value: String,
    expires: Option<Timestamp>,
}

/// The cookies of one outlet, oldest first.
#[derive(Default)]
pub(super) struct Jar(Vec<Cookie>);

impl Jar {
    /// Keeps what an answer sets, and drops what it takes back.
    pub(super) fn store(&mut self, origin: &Origin, path: &str, headers: &HeaderMap, now: Timestamp) {
        for line in headers.get_all(header::SET_COOKIE) {
            let Some(cookie) = line.to_str().ok().and_then(|line| parse(origin, path, line, now)) else { continue };
            self.0.retain(|known| {
                (&known.origin, &known.path, &known.name) != (&cookie.origin, &cookie.path, &cookie.name)
            });
            if cookie.expires.is_none_or(|expires| expires > now) {
                self.0.push(cookie);
            }
            if self.0.len() > COOKIES_MAX {
                self.0.remove(0);
            }
        }
    }

    /// The `Cookie` header of a request; absent if there is nothing to send.
    pub(super) fn cookies_for(&mut self, origin: &Origin, path: &str, now: Timestamp) -> Option<HeaderValue> {
        self.0.retain(|cookie| cookie.expires.is_none_or(|expires| expires > now));
        let mut text = String::new();
        for cookie in self.0.iter().filter(|cookie| cookie.origin == *origin && covers(&cookie.path, path)) {
            if text.len() + cookie.name.len() + cookie.value.len() + 3 > HEADER_BYTES_LIMIT {
                break;
            }
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.extend([cookie.name.as_str(), "=", cookie.value.as_str()]);
        }
        (!text.is_empty()).then(|| HeaderValue::from_str(&text).ok()).flatten()
    }
}

fn parse(origin: &Origin, request_path: &str, line: &str, now: Timestamp) -> Option<Cookie> {
    let mut parts = line.split(';');
    let (name, value) = parts.next()?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || name.len() + value.len() > COOKIE_BYTES_LIMIT {
        return None;
    }
    let (mut path, mut max_age, mut expires) = (None, None, None);
    for attribute in parts {
        let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        match (key.trim().to_ascii_lowercase().as_str(), value.trim()) {
            ("path", given) if given.starts_with('/') => path = Some(given.to_owned()),
            ("max-age", seconds) => max_age = seconds.parse::<i64>().ok(),
            ("expires", date) => expires = parse_date(date),
            ("secure", _) if origin.is_cleartext() => return None,
            _ => {}
        }
    }
    let lasting = |seconds: i64| now.plus_millis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
    Some(Cookie {
        origin: origin.clone(),
        path: path.unwrap_or_else(|| default_path(request_path)),
        name: name.to_owned(),
        value: value.to_owned(),
        expires: max_age.map(lasting).or(expires),
    })
}

fn parse_date(text: &str) -> Option<Timestamp> {
    // `Wed, 21 Oct 2026 07:28:00 GMT`, in old servers with dashes. The day of the week says nothing more.
    let date = text.split_once(',').map_or(text, |(_, date)| date).trim().replace('-', " ");
    let moment = PrimitiveDateTime::parse(&date, EXPIRES).ok()?.assume_utc();
    Some(Timestamp::from_millis(moment.unix_timestamp().saturating_mul(1000)))
}

/// The folder of the request's path (RFC 6265 §5.1.4).
fn default_path(path: &str) -> String {
    match path.rfind('/') {
        None | Some(0) => "/".to_owned(),
        Some(end) => path.get(..end).unwrap_or("/").to_owned(),
    }
}

/// Whether a cookie's path covers a request's (RFC 6265 §5.1.4).
fn covers(cookie: &str, request: &str) -> bool {
    request.strip_prefix(cookie).is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::{COOKIES_MAX, Jar};
    use crate::{model::timestamp::Timestamp, policy::egress::Origin};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn store(jar: &mut Jar, url: &str, line: &str) {
        let uri: http::Uri = url.parse().unwrap();
        let headers: HeaderMap = [(header::SET_COOKIE, HeaderValue::from_str(line).unwrap())].into_iter().collect();
        jar.store(&Origin::of(&uri).unwrap(), uri.path(), &headers, NOW);
    }

    #[track_caller]
    fn check(jar: &mut Jar, url: &str, expected: &str) {
        let uri: http::Uri = url.parse().unwrap();
        let found = jar.cookies_for(&Origin::of(&uri).unwrap(), uri.path(), NOW);
        assert_eq!(found.as_ref().map_or("", |value| value.to_str().unwrap()), expected, "{url}");
    }

    #[test]
    fn a_cookie_goes_back_to_its_origin_and_path_only() {
        let mut jar = Jar::default();
        store(&mut jar, "https://erp.example/sap/opu/x", "sap=1; Path=/sap; Secure; HttpOnly; Domain=example");
        store(&mut jar, "https://erp.example/sap/opu/x", "folder=2");
        check(&mut jar, "https://erp.example/sap/opu/y", "sap=1; folder=2");
        check(&mut jar, "https://erp.example/sap", "sap=1");
        check(&mut jar, "https://erp.example/sapient", "");
        check(&mut jar, "https://example/sap/opu/x", "");
        check(&mut jar, "https://erp.example:444/sap/opu/x", "");
        check(&mut jar, "http://erp.example/sap/opu/x", "");
    }

    #[test]
    fn a_cookie_is_replaced_taken_back_and_expires() {
        let mut jar = Jar::default();
        store(&mut jar, "http://a.example/", "s=1");
        store(&mut jar, "http://a.example/", "s=2");
        check(&mut jar, "http://a.example/", "s=2");
        store(&mut jar, "http://a.example/", "s=; Max-Age=0");
        check(&mut jar, "http://a.example/", "");
        store(&mut jar, "http://a.example/", "s=3; Expires=Wed, 21 Oct 2015 07:28:00 GMT");
        check(&mut jar, "http://a.example/", "");
        store(&mut jar, "http://a.example/", "s=4; Expires=Wed, 21-Oct-2199 07:28:00 GMT");
        check(&mut jar, "http://a.example/", "s=4");
        store(&mut jar, "http://a.example/", "t=5; Secure");
        check(&mut jar, "http://a.example/", "s=4");
    }

    #[test]
    fn a_flood_of_cookies_is_bounded() {
        let mut jar = Jar::default();
        (0..200).for_each(|n| store(&mut jar, "http://a.example/", &format!("c{n}=x")));
        store(&mut jar, "http://a.example/", &format!("big={}", "x".repeat(5000)));
        assert_eq!(jar.0.len(), COOKIES_MAX);
        assert_eq!(jar.0[0].name, "c150");
    }
}

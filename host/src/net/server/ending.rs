//! What is told of something that is not to be used any more.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::timestamp::Timestamp;

/// The end of year 9999, after which HTTP has no dates, since the epoch.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// Since when something is not to be used any more, until when it can be, and the paths of what takes its place.
pub(super) struct Ending {
    pub(super) since: Option<Timestamp>,
    pub(super) sunset: Option<Timestamp>,
    pub(super) successors: Vec<String>,
}

impl Ending {
    /// Says so in a response's headers: `Deprecation` (RFC 9745), `Sunset` (RFC 8594), and `Link` to what takes its place
    /// (RFC 5829).
    pub(super) fn announce(self, headers: &mut HeaderMap) {
        let Self { since, sunset, successors } = self;
        let deprecation = since.map(|since| ("deprecation", format!("@{}", since.millis().div_euclid(1_000))));
        let sunset = sunset.and_then(http_date).map(|date| ("sunset", date));
        let links = successors.into_iter().map(|path| ("link", format!("<{path}>; rel=\"successor-version\"")));
        for (name, text) in deprecation.into_iter().chain(sunset).chain(links) {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
    }
}

/// A time as HTTP writes it (RFC 9110, 5.6.7).
fn http_date(time: Timestamp) -> Option<String> {
    let since_epoch = Duration::from_millis(u64::try_from(time.millis()).ok()?);
    Some(httpdate::fmt_http_date(UNIX_EPOCH.checked_add(since_epoch.min(LAST))?))
}

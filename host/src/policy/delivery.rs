//! What a delivery to a subscriber, or to who keeps checkpoints, must be like: where it may go, how it is signed, what the
//! answer means. Pure.
//!
//! Signatures follow Standard Webhooks (<https://www.standardwebhooks.com>): HMAC-SHA-256 over `id.timestamp.body`.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::{address::AddressRules, egress::Origin};
use crate::model::{
    anchor::Anchor,
    failure::{Failure, FailureKind},
    principal::NAME_BYTES_MAX,
    subscription::{Retry, Subscription},
};

/// Most types of one subscription.
pub const TYPES_MAX: usize = 32;
/// Longest URL, bytes.
pub const URL_BYTES_MAX: usize = 2_048;
/// Most deliveries of one subscription at the same time.
pub const CONCURRENCY_MAX: u32 = 32;
/// Longest wait for an answer, milliseconds.
pub const TIMEOUT_MS_MAX: u64 = 60_000;
/// Most attempts.
pub const ATTEMPTS_MAX: u32 = 100;
/// Longest time that a delivery is tried for, seconds: two weeks.
pub const WITHIN_S_MAX: u64 = 14 * 86_400;
/// The longest that an endpoint may ask us to wait, milliseconds: a day.
pub const RETRY_AFTER_MS_MAX: u32 = 86_400_000;
/// How often an anchor may be sent what is signed, seconds: a minute, or as often as the hub signs by itself.
pub const ANCHOR_EVERY_S: std::ops::RangeInclusive<u64> = 60..=600;
/// Before a secret that is written in base64.
const SECRET_PREFIX: &[u8] = b"whsec_";

/// Whether a subscription holds.
///
/// # Errors
/// What does not, and what to change.
pub fn check(name: &str, subscription: &Subscription) -> Result<(), String> {
    let Subscription { owner, types, url, secrets, allow_addresses, timeout_ms, concurrency, retry, .. } = subscription;
    if !crate::model::id::is_name(name) {
        return Err(format!("`{name}` is not a name: write 1 to 64 of `a-z`, `0-9` and `-`, a letter first"));
    }
    if owner.trim().is_empty() || owner.len() > NAME_BYTES_MAX {
        return Err("`owner` says whose it is, as on their token; it is empty or too long".to_owned());
    }
    if types.is_empty() || types.len() > TYPES_MAX {
        return Err(format!("`types` has {} entries; write 1 to {TYPES_MAX}, such as `retail.order.*`", types.len()));
    }
    for pattern in types {
        let stars = pattern.strip_suffix('*').unwrap_or(pattern).contains('*');
        if pattern.is_empty() || stars || pattern.len() > 128 {
            return Err(format!("`{pattern}` in `types` is not 1 to 128 characters with `*` at the end only"));
        }
    }
    if !(1..=2).contains(&secrets.len()) {
        return Err(format!("`secrets` has {} entries; give one, or two while one replaces the other", secrets.len()));
    }
    check_url(name, url, allow_addresses)?;
    let Retry { attempts, first_ms, max_ms, within_s } = *retry;
    let bounded = [
        ("timeout_ms", *timeout_ms, TIMEOUT_MS_MAX),
        ("concurrency", u64::from(*concurrency), u64::from(CONCURRENCY_MAX)),
        ("retry.attempts", u64::from(attempts), u64::from(ATTEMPTS_MAX)),
        ("retry.first_ms", first_ms, WITHIN_S_MAX * 1_000),
        ("retry.max_ms", max_ms, WITHIN_S_MAX * 1_000),
        ("retry.within_s", within_s, WITHIN_S_MAX),
    ];
    for (field, value, most) in bounded {
        if !(1..=most).contains(&value) {
            return Err(format!("`{field}` is {value}; it must be from 1 to {most}"));
        }
    }
    Ok(())
}

/// Whether an anchor holds.
///
/// # Errors
/// What does not, and what to change.
pub fn check_anchor(anchor: &Anchor) -> Result<(), String> {
    let Anchor { url, secrets, allow_addresses, every_s, timeout_ms } = anchor;
    if secrets.len() > 2 {
        return Err(format!("`secrets` has {} entries; give one, or two while one replaces the other", secrets.len()));
    }
    check_url("audit.anchor", url, allow_addresses)?;
    for (field, value, range) in
        [("every_s", *every_s, ANCHOR_EVERY_S), ("timeout_ms", *timeout_ms, 1..=TIMEOUT_MS_MAX)]
    {
        if !range.contains(&value) {
            return Err(format!("`{field}` is {value}; it must be from {} to {}", range.start(), range.end()));
        }
    }
    Ok(())
}

fn check_url(name: &str, url: &str, allow_addresses: &[String]) -> Result<(), String> {
    if url.len() > URL_BYTES_MAX || url.contains('#') {
        return Err(format!("`url` is longer than {URL_BYTES_MAX} bytes, or has a fragment"));
    }
    let origin = Origin::parse(url).map_err(|error| format!("`url`: {error}"))?;
    let rules = AddressRules::new(name, allow_addresses).map_err(|error| format!("`allow_addresses`: {error}"))?;
    let host = origin.host().trim_start_matches('[').trim_end_matches(']');
    // In the clear only to an address that an operator has listed: who that is, nobody else says.
    if origin.is_cleartext() && !host.parse::<IpAddr>().is_ok_and(|address| rules.is_listed(address)) {
        return Err("`url` must be `https`; `http` is taken to an address that `allow_addresses` lists only".to_owned());
    }
    Ok(())
}

/// The value of `webhook-signature`: one signature for each secret, so that whoever verifies with either is content.
#[must_use]
pub fn sign(id: &str, timestamp_s: i64, body: &[u8], secrets: &[&[u8]]) -> String {
    let signatures = secrets.iter().filter_map(|secret| {
        let decoded = secret.strip_prefix(SECRET_PREFIX).and_then(|text| STANDARD.decode(text.trim_ascii()).ok());
        let key = decoded.as_deref().unwrap_or(secret);
        let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new_from_slice(key).ok()?;
        for part in [id.as_bytes(), b".", timestamp_s.to_string().as_bytes(), b".", body] {
            mac.update(part);
        }
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It was taken.
    Taken,
    /// Nothing is wanted there any more.
    Gone,
    /// Not this one, at least not now; others may be taken.
    Refused(Failure),
    /// The endpoint takes nothing now.
    Down(Failure),
}

/// What a status means, with `Retry-After` in milliseconds if it was there.
#[must_use]
pub fn verdict(status: u16, retry_after_ms: Option<u64>) -> Verdict {
    let wait = retry_after_ms.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX).min(RETRY_AFTER_MS_MAX));
    let failure = |code: &str, message: String| Failure {
        retry_after_ms: wait,
        ..Failure::new(FailureKind::Retryable, code, message)
    };
    match status {
        200..=299 => Verdict::Taken,
        410 => Verdict::Gone,
        300..=399 => {
            Verdict::Refused(failure("endpoint.redirect", format!("it answered {status}; redirects are not followed")))
        }
        408 | 425 | 429 | 500.. => Verdict::Down(failure("endpoint.down", format!("it answered {status}"))),
        _ => Verdict::Refused(failure("endpoint.refused", format!("it answered {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, check, sign, verdict};
    use crate::model::subscription::Subscription;

    #[test]
    fn signatures_are_those_of_the_standard() {
        // The example of the specification.
        let secret: &[u8] = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let (id, time, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(id, time, body, &[secret]), expected);
        let both = sign(id, time, body, &[b"another", secret]);
        assert!(both.ends_with(expected) && both.split(' ').count() == 2, "{both}");
        assert_ne!(sign(id, time + 1, body, &[secret]), expected, "the time is signed too");
    }

    #[test]
    fn an_answer_is_one_of_four_things() {
        let code = |status, wait| match verdict(status, wait) {
            Verdict::Taken => "taken".to_owned(),
            Verdict::Gone => "gone".to_owned(),
            Verdict::Refused(failure) => format!("refused {:?}", failure.retry_after_ms),
            Verdict::Down(failure) => format!("down {:?}", failure.retry_after_ms),
        };
        assert_eq!(code(204, None), "taken");
        assert_eq!(code(410, None), "gone");
        assert_eq!(code(302, None), "refused None");
        assert_eq!(code(422, None), "refused None");
        assert_eq!(code(429, Some(7_000)), "down Some(7000)");
        assert_eq!(code(503, Some(u64::MAX)), "down Some(86400000)");
    }

    #[test]
    fn what_does_not_hold_is_named() {
        #[track_caller]
        fn refused(change: &str, part: &str) {
            let fields = [
                "owner = \"acme\"",
                "types = [\"retail.*\"]",
                "url = \"https://acme.example/in\"",
                "secrets = [\"env:A\"]",
            ];
            let changed = change.split(" = ").next().unwrap();
            let mut text: Vec<&str> = fields.into_iter().filter(|field| !field.starts_with(changed)).collect();
            text.push(change);
            let subscription: Subscription = toml::from_str(&text.join("\n")).unwrap();
            match check("acme-orders", &subscription) {
                Ok(()) => assert_eq!(part, ""),
                Err(problem) => assert!(!part.is_empty() && problem.contains(part), "{problem}"),
            }
        }
        refused("accepted = true", "");
        refused("types = []", "`types` has 0 entries");
        refused("types = [\"a.*.b\"]", "`*` at the end only");
        refused("owner = \"\"", "`owner`");
        refused("url = \"http://acme.example/in\"", "must be `https`");
        refused("url = \"http://127.0.0.1:1/in\"", "must be `https`");
        refused("url = \"https://user@acme.example/in\"", "must not contain a user");
        refused("secrets = []", "`secrets` has 0 entries");
        refused("secrets = [\"env:A\", \"env:B\", \"env:C\"]", "`secrets` has 3 entries");
        refused("concurrency = 33", "`concurrency` is 33");
        refused("retry = { attempts = 0 }", "`retry.attempts` is 0");
        refused("allow_addresses = [\"x\"]", "`allow_addresses`");
    }
}

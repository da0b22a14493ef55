//! Whether a webhook delivery was signed by who holds the secret, by the scheme that the manifest declares.
//!
//! Works on the raw bytes, before any plugin sees them. No message contains the secret or the signature that would
//! have been right.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use crate::model::{
    manifest::{SignatureAlgorithm, SignatureEncoding, Webhook},
    timestamp::Timestamp,
};

/// Longest signature header, bytes; several times what SHA-512 in hexadecimal takes.
const HEADER_BYTES_LIMIT: usize = 1024;

/// Why a delivery's signature does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A header is not there.
    #[error("header `{header}` is missing; it must hold {expected}")]
    Missing {
        /// Which.
        header: String,
        /// What belongs there.
        expected: String,
    },
    /// A header is there more than once, so that it is open which one counts.
    #[error("header `{header}` is there {times} times; send it once")]
    Repeated {
        /// Which.
        header: String,
        /// How often.
        times: usize,
    },
    /// A header cannot be read.
    #[error("header `{header}` cannot be read; it must hold {expected}")]
    Malformed {
        /// Which.
        header: String,
        /// What belongs there.
        expected: String,
    },
    /// It was signed too long ago, or in the future.
    #[error(
        "header `{header}` is {off_s} s away from the hub's time, at most {tolerance_s} s are accepted; look at both clocks"
    )]
    Stale {
        /// Which.
        header: String,
        /// How far off.
        off_s: u64,
        /// How far it may be.
        tolerance_s: u32,
    },
    /// The signature is another one.
    #[error("header `{header}` does not match the body; it must hold {expected}, made with the secret of this source")]
    Wrong {
        /// Which.
        header: String,
        /// How it is computed.
        expected: String,
    },
    /// The source has no secret, so nothing can be verified.
    #[error("the secret of this source is empty; configure one")]
    NoSecret,
}

/// Verifies a delivery: `headers` with names in any case, the exact `body`, and the time of receipt.
///
/// # Errors
/// Names the header and the scheme; never the secret or the right value.
pub fn verify(
    scheme: &Webhook,
    headers: &[(String, String)],
    body: &[u8],
    secret: &[u8],
    now: Timestamp,
) -> Result<(), SignatureError> {
    if secret.is_empty() {
        return Err(SignatureError::NoSecret);
    }
    let expected = describe(scheme);
    let given = single(headers, &scheme.header, &expected)?;
    let malformed = || SignatureError::Malformed { header: scheme.header.clone(), expected: expected.clone() };
    let encoded = given.trim().strip_prefix(&scheme.prefix).ok_or_else(malformed)?;
    if encoded.len() > HEADER_BYTES_LIMIT {
        return Err(malformed());
    }
    let signature = decode(scheme.encoding, encoded).ok_or_else(malformed)?;
    let mut signed: Vec<&[u8]> = Vec::with_capacity(3);
    if let Some(header) = &scheme.timestamp_header {
        let time = single(headers, header, "the Unix time of signing, seconds")?;
        check_time(header, time.trim(), scheme.tolerance_s, now)?;
        signed.extend([time.trim().as_bytes(), b"."]);
    }
    signed.push(body);
    let holds = match scheme.algorithm {
        SignatureAlgorithm::HmacSha256 => matches::<Hmac<Sha256>>(secret, &signed, &signature),
        SignatureAlgorithm::HmacSha1 => matches::<Hmac<Sha1>>(secret, &signed, &signature),
        SignatureAlgorithm::HmacSha512 => matches::<Hmac<Sha512>>(secret, &signed, &signature),
    };
    if holds { Ok(()) } else { Err(SignatureError::Wrong { header: scheme.header.clone(), expected }) }
}

/// Compares in constant time, inside `verify_slice`.
fn matches<M: Mac + hmac::digest::KeyInit>(secret: &[u8], signed: &[&[u8]], signature: &[u8]) -> bool {
    let Ok(mut mac) = <M as Mac>::new_from_slice(secret) else { return false };
    signed.iter().for_each(|part| mac.update(part));
    mac.verify_slice(signature).is_ok()
}

fn single<'a>(headers: &'a [(String, String)], name: &str, expected: &str) -> Result<&'a str, SignatureError> {
    let mut found = headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
    let Some((_, value)) = found.next() else {
        return Err(SignatureError::Missing { header: name.to_owned(), expected: expected.to_owned() });
    };
    match found.count() {
        0 => Ok(value),
        more => Err(SignatureError::Repeated { header: name.to_owned(), times: more.saturating_add(1) }),
    }
}

fn check_time(header: &str, text: &str, tolerance_s: u32, now: Timestamp) -> Result<(), SignatureError> {
    let malformed = || SignatureError::Malformed {
        header: header.to_owned(),
        expected: "the Unix time of signing, seconds".to_owned(),
    };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let signed_s: i64 = text.parse().map_err(|_| malformed())?;
    let off_s = signed_s.abs_diff(now.millis().div_euclid(1000));
    if off_s > u64::from(tolerance_s) {
        return Err(SignatureError::Stale { header: header.to_owned(), off_s, tolerance_s });
    }
    Ok(())
}

fn decode(encoding: SignatureEncoding, text: &str) -> Option<Vec<u8>> {
    match encoding {
        SignatureEncoding::Base64 => STANDARD.decode(text).ok(),
        SignatureEncoding::Hex => {
            let digits: Option<Vec<u8>> =
                text.chars().map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok())).collect();
            let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
            Some(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
        }
    }
}

/// How the signature is made, for people.
fn describe(scheme: &Webhook) -> String {
    let algorithm = match scheme.algorithm {
        SignatureAlgorithm::HmacSha256 => "HMAC-SHA256",
        SignatureAlgorithm::HmacSha1 => "HMAC-SHA1",
        SignatureAlgorithm::HmacSha512 => "HMAC-SHA512",
    };
    let encoding = match scheme.encoding {
        SignatureEncoding::Base64 => "base64",
        SignatureEncoding::Hex => "hexadecimal",
    };
    let over = scheme
        .timestamp_header
        .as_ref()
        .map_or_else(|| "the raw body".to_owned(), |header| format!("`{header}`, a dot and the raw body"));
    let prefix = if scheme.prefix.is_empty() { String::new() } else { format!("`{}` and then ", scheme.prefix) };
    format!("{prefix}the {encoding} {algorithm} over {over}")
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use hmac::{Hmac, Mac};
    use sha2::Sha256;

    use super::verify;
    use crate::model::{
        hex::hex,
        manifest::{SignatureAlgorithm, SignatureEncoding, Webhook},
        timestamp::Timestamp,
    };

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn scheme() -> Webhook {
        Webhook {
            algorithm: SignatureAlgorithm::HmacSha256,
            header: "x-shopify-hmac-sha256".into(),
            encoding: SignatureEncoding::Base64,
            prefix: String::new(),
            timestamp_header: None,
            tolerance_s: 300,
            delivery_id_header: None,
            event_id_header: None,
        }
    }

    fn sign(secret: &[u8], text: &[u8]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(text);
        mac.finalize().into_bytes().to_vec()
    }

    #[track_caller]
    fn check(scheme: &Webhook, headers: &[(&str, &str)], body: &str, expected: &str) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let found = verify(scheme, &headers, body.as_bytes(), b"hush", NOW);
        let found = found.map_or_else(|error| error.to_string(), |()| "holds".to_owned());
        assert_eq!(found, expected);
        assert!(!found.contains("hush"));
    }

    #[test]
    fn a_right_signature_holds_and_any_other_does_not() {
        let right = STANDARD.encode(sign(b"hush", b"{\"a\":1}"));
        let header = "x-shopify-hmac-sha256";
        let computed = "the base64 HMAC-SHA256 over the raw body";
        check(&scheme(), &[(header, &right)], "{\"a\":1}", "holds");
        check(&scheme(), &[("X-Shopify-Hmac-SHA256", &right)], "{\"a\":1}", "holds");
        let wrong = format!(
            "header `{header}` does not match the body; it must hold {computed}, made with the secret of this source"
        );
        check(&scheme(), &[(header, &right)], "{\"a\": 1}", &wrong);
        check(&scheme(), &[(header, &STANDARD.encode(sign(b"other", b"{\"a\":1}")))], "{\"a\":1}", &wrong);
        check(&scheme(), &[(header, "")], "{\"a\":1}", &wrong);
        check(&scheme(), &[(header, &right[..20])], "{\"a\":1}", &wrong);
        let malformed = format!("header `{header}` cannot be read; it must hold {computed}");
        check(&scheme(), &[(header, "not base64!")], "{\"a\":1}", &malformed);
        let missing = format!("header `{header}` is missing; it must hold {computed}");
        check(&scheme(), &[], "{\"a\":1}", &missing);
        let twice = format!("header `{header}` is there 2 times; send it once");
        check(&scheme(), &[(header, "x"), (header, &right)], "{\"a\":1}", &twice);
    }

    #[test]
    fn prefix_hex_and_time_are_understood() {
        let scheme = Webhook {
            encoding: SignatureEncoding::Hex,
            prefix: "sha256=".into(),
            header: "x-signature".into(),
            timestamp_header: Some("x-time".into()),
            ..scheme()
        };
        let signed = |time: i64| format!("sha256={}", hex(&sign(b"hush", format!("{time}.body").as_bytes())));
        let at = |time: i64, text: &str, expected: &str| {
            check(&scheme, &[("x-signature", &signed(time)), ("x-time", text)], "body", expected);
        };
        at(1_700_000_000, "1700000000", "holds");
        at(1_699_999_700, "1699999700", "holds");
        let stale =
            "header `x-time` is 301 s away from the hub's time, at most 300 s are accepted; look at both clocks";
        at(1_699_999_699, "1699999699", stale);
        at(1_700_000_301, "1700000301", stale);
        let malformed = "header `x-time` cannot be read; it must hold the Unix time of signing, seconds";
        at(1_700_000_000, "-1", malformed);
        at(1_700_000_000, "99999999999999999999", malformed);
        let wrong = "header `x-signature` does not match the body; it must hold `sha256=` and then the hexadecimal \
                     HMAC-SHA256 over `x-time`, a dot and the raw body, made with the secret of this source";
        at(1_700_000_000, "1700000001", wrong);
        let unread = "header `x-signature` cannot be read; it must hold `sha256=` and then the hexadecimal HMAC-SHA256 \
                      over `x-time`, a dot and the raw body";
        let bare = signed(1_700_000_000).replace("sha256=", "");
        check(&scheme, &[("x-signature", &bare), ("x-time", "1700000000")], "body", unread);
        check(&scheme, &[("x-signature", "sha256=abc"), ("x-time", "1700000000")], "body", unread);
    }

    #[test]
    fn published_vectors_hold() {
        // RFC 4231 and RFC 2202, test case 2.
        let table = [
            (
                SignatureAlgorithm::HmacSha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
            (SignatureAlgorithm::HmacSha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (SignatureAlgorithm::HmacSha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        ];
        for (algorithm, digits) in table {
            let scheme = Webhook { algorithm, encoding: SignatureEncoding::Hex, header: "s".into(), ..scheme() };
            let headers = [("s".to_owned(), digits.to_owned())];
            assert_eq!(verify(&scheme, &headers, b"what do ya want for nothing?", b"Jefe", NOW), Ok(()));
        }
    }

    #[test]
    fn an_empty_secret_verifies_nothing() {
        let headers = [("x-shopify-hmac-sha256".to_owned(), STANDARD.encode(sign(b"", b"x")))];
        assert!(verify(&scheme(), &headers, b"x", b"", NOW).is_err());
    }
}

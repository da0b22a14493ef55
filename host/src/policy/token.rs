//! Tokens as text: `crossdock_ID_SECRET`. Made from randomness that is handed in; compared without a hint from how long
//! it takes.
//!
//! Of the secret only its SHA-256 is kept. That is enough because it is 256 bits of randomness: nobody can try them out,
//! so that a slow hash with a salt, which passwords need, would cost every request and add nothing.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::model::{hex::hex, principal::TokenId};

/// Randomness that a secret is made of, bytes.
pub const SECRET_BYTES: usize = 32;
/// Randomness that an id is made of, bytes.
pub const ID_BYTES: usize = 8;
/// What every token begins with, so that a scanner for leaked secrets knows one.
pub const PREFIX: &str = "crossdock_";
/// Characters of a secret.
const SECRET_CHARACTERS: usize = 43;

/// A new token as text; shown once.
#[must_use]
pub fn text(id: &TokenId, secret: &[u8; SECRET_BYTES]) -> String {
    format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret))
}

/// The id for some randomness.
#[must_use]
pub fn id(random: [u8; ID_BYTES]) -> TokenId {
    TokenId(hex(&random))
}

/// Whether a text is written as a token of this hub is; others may be of an identity provider.
#[must_use]
pub fn is_token(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The id and the secret of a text; absent if it is no token.
#[must_use]
pub fn parse(text: &str) -> Option<(TokenId, &str)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let is_id = id.len() == 2 * ID_BYTES && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_id && secret.len() == SECRET_CHARACTERS).then(|| (TokenId(id.to_owned()), secret))
}

/// A text without the secrets of tokens that somebody put into it, such as a path that a token was pasted into.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let Some(at) = text.find(PREFIX) else { return Cow::Borrowed(text) };
    let (before, token) = text.split_at(at);
    let rest = token.strip_prefix(PREFIX).unwrap_or_default();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let (token, after) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
    let shown = token.split_once('_').map_or(token, |(id, _)| id);
    let hidden = if shown.len() < token.len() { "_…" } else { "" };
    Cow::Owned(format!("{before}{PREFIX}{shown}{hidden}{}", redact(after)))
}

/// What is kept of a secret, in hexadecimal digits.
#[must_use]
pub fn digest(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// Whether a secret is the one that a digest was kept of.
#[must_use]
pub fn is_it(secret: &str, kept: &str) -> bool {
    digest(secret).as_bytes().ct_eq(kept.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_known_by_its_digest() {
        let text = text(&id([1; ID_BYTES]), &[0xff; SECRET_BYTES]);
        assert_eq!(text, "crossdock_0101010101010101___________________________________________8");
        let (id, secret) = parse(&text).unwrap();
        assert_eq!(id.0, "0101010101010101");
        assert!(is_it(secret, &digest(secret)));
        assert!(!is_it("another", &digest(secret)));
        assert!(!digest(secret).contains(secret));
    }

    #[test]
    fn a_secret_is_taken_out_of_whatever_it_was_put_into() {
        let check = |text: &str, expected: &str| assert_eq!(redact(text), expected);
        check("/v1/runs", "/v1/runs");
        check("/v1/tokens/crossdock_01_ab-c_d/revoke", "/v1/tokens/crossdock_01_…/revoke");
        check("crossdock_01_a crossdock_02_b", "crossdock_01_… crossdock_02_…");
        check("crossdock_runs_total", "crossdock_runs_…");
        check("crossdock_", "crossdock_");
    }

    #[test]
    fn what_is_no_token_is_not_taken_for_one() {
        let secret = "a".repeat(SECRET_CHARACTERS);
        for text in [
            String::new(),
            "crossdock_".into(),
            format!("crossdock_01_{secret}"),
            format!("crossdock_zz01010101010101_{secret}"),
            "crossdock_0101010101010101_short".into(),
            format!("other_0101010101010101_{secret}"),
        ] {
            assert_eq!(parse(&text), None, "{text}");
        }
    }
}

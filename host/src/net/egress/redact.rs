//! Takes echoes of secrets out of answers: some remotes repeat in an error what they were sent.
//!
//! Literal and bounded: the secret itself and the forms in which it commonly comes back. It protects against accident,
//! not against a remote that wants to tell.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use url::form_urlencoded;

use crate::ports::secrets::Secret;

/// Shorter values are left alone: they would tear holes into ordinary text.
const BYTES_MIN: usize = 4;

/// Most forms looked for in one exchange: those of its secrets, and of a signature for each of its requests.
const NEEDLES_MAX: usize = 64;

const REPLACEMENT: &[u8] = b"[redacted]";

/// What must not come back.
#[derive(Default)]
pub(super) struct Needles(Vec<Secret>);

impl Needles {
    /// Adds a secret: as it is, and as URLs, JSON and base64 show it.
    pub(super) fn add(&mut self, secret: &[u8]) {
        if secret.len() < BYTES_MIN {
            return;
        }
        let mut forms = vec![secret.to_vec(), STANDARD.encode(secret).into_bytes()];
        forms.push(form_urlencoded::byte_serialize(secret).collect::<String>().into_bytes());
        if let Ok(text) = std::str::from_utf8(secret) {
            let quoted = serde_json::Value::from(text).to_string();
            forms.push(quoted.trim_matches('"').as_bytes().to_vec());
        }
        for form in forms {
            if self.0.len() < NEEDLES_MAX && !self.0.iter().any(|known| known.expose() == form) {
                self.0.push(Secret::new(form));
            }
        }
        // The longest first, so that nothing of a longer form is left over.
        self.0.sort_by_key(|needle| std::cmp::Reverse(needle.expose().len()));
    }

    /// The answer without them, in headers and body.
    pub(super) fn redact(&self, mut answer: Response<Bytes>) -> Response<Bytes> {
        for value in answer.headers_mut().values_mut() {
            if let Some(clean) = self.clean(value.as_bytes()) {
                *value = HeaderValue::from_bytes(&clean).unwrap_or_else(|_| HeaderValue::from_static("[redacted]"));
            }
        }
        if let Some(clean) = self.clean(answer.body()) {
            *answer.body_mut() = clean.into();
            answer.headers_mut().remove(header::CONTENT_LENGTH);
        }
        answer
    }

    /// The text without any of them; nothing if there is none in it.
    fn clean(&self, text: &[u8]) -> Option<Vec<u8>> {
        let step = |clean: Option<Vec<u8>>, needle: &Secret| {
            replace(clean.as_deref().unwrap_or(text), needle.expose()).or(clean)
        };
        self.0.iter().fold(None, step)
    }
}

/// The text with every occurrence replaced; nothing if there is none.
fn replace(text: &[u8], needle: &[u8]) -> Option<Vec<u8>> {
    let first = needle.first()?;
    let (mut rest, mut kept, mut found) = (text, Vec::new(), false);
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        let (before, here) = rest.split_at(at);
        kept.extend_from_slice(before);
        if let Some(after) = here.strip_prefix(needle) {
            kept.extend_from_slice(REPLACEMENT);
            (found, rest) = (true, after);
        } else {
            let (byte, after) = here.split_first()?;
            kept.push(*byte);
            rest = after;
        }
    }
    kept.extend_from_slice(rest);
    found.then_some(kept)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Response;

    use super::{Needles, replace};

    #[test]
    fn every_common_form_is_taken_out() {
        let mut needles = Needles::default();
        needles.add(b"s3cr\"t/+value");
        for echo in ["s3cr\"t/+value", "s3cr\\\"t/+value", "s3cr%22t%2F%2Bvalue", "czNjciJ0Lyt2YWx1ZQ=="] {
            let answer = Response::builder().header("x-echo", echo).body(Bytes::from(format!("<{echo}>")));
            let answer = needles.redact(answer.unwrap());
            assert_eq!(answer.body(), "<[redacted]>", "{echo}");
            assert_eq!(answer.headers()["x-echo"], "[redacted]");
        }
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        let mut needles = Needles::default();
        needles.add(b"abc");
        needles.add(b"secret");
        let answer = needles.redact(Response::new(Bytes::from_static(b"abc sec ret secre")));
        assert_eq!(answer.body(), "abc sec ret secre");
    }

    #[test]
    fn replaces_like_the_standard_library() {
        for (text, needle) in [("aaaa", "aa"), ("xaax", "aa"), ("", "a"), ("aab aab", "ab"), ("ababab", "abab")] {
            let expected = text.replace(needle, "[redacted]");
            let found = replace(text.as_bytes(), needle.as_bytes()).unwrap_or_else(|| text.into());
            assert_eq!(String::from_utf8(found).unwrap(), expected, "{text} {needle}");
        }
    }
}

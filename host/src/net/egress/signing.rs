//! What the ways of signing a request share.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// Everything but unreserved characters (RFC 3986 §2.3).
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why a request cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotSigned(pub(super) &'static str);

/// Percent-encodes as signatures want it: upper-case digits, and a space as `%20`.
pub(super) fn encode(bytes: &[u8]) -> String {
    percent_encode(bytes, &RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode;

    use super::encode;

    #[test]
    fn what_is_encoded_is_decoded_again() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(percent_decode(encode(&all).as_bytes()).collect::<Vec<u8>>(), all);
        assert_eq!(encode("aZ9-._~ +/%ü".as_bytes()), "aZ9-._~%20%2B%2F%25%C3%BC");
        for (text, expected) in [("%2f%2F", "//"), ("%", "%"), ("%2", "%2"), ("%zz%20", "%zz "), ("a+b", "a+b")] {
            assert_eq!(percent_decode(text.as_bytes()).collect::<Vec<u8>>(), expected.as_bytes(), "{text}");
        }
    }
}

//! Percent-encoding as signatures want it: everything but unreserved characters (RFC 3986 §2.3), upper-case digits, and a
//! space as `%20`.

use std::fmt::Write as _;

/// Encodes.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Decodes; what is no `%` and two digits stays as it is.
pub(super) fn decode(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.iter().copied();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digits = (byte == b'%').then(|| Some((digit(ahead.next()?)?, digit(ahead.next()?)?))).flatten();
        if let Some((high, low)) = digits {
            decoded.push(high << 4 | low);
            bytes = ahead;
        } else {
            decoded.push(byte);
        }
    }
    decoded
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn what_is_encoded_is_decoded_again() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(encode(&all).as_bytes()), all);
        assert_eq!(encode("aZ9-._~ +/%ü".as_bytes()), "aZ9-._~%20%2B%2F%25%C3%BC");
        for (text, expected) in [("%2f%2F", "//"), ("%", "%"), ("%2", "%2"), ("%zz%20", "%zz "), ("a+b", "a+b")] {
            assert_eq!(decode(text.as_bytes()), expected.as_bytes(), "{text}");
        }
    }
}

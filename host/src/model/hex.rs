//! Bytes in hexadecimal digits.

/// Two lower-case digits for each byte.
#[must_use]
pub fn hex<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> String {
    bytes.into_iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).map(char::from).collect()
}

/// The digit of a value below 16. Ids are printed on the hot path, for each call that a run makes: through the formatter that
/// is slow.
pub(super) const fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!(hex(&[0, 10, 0xfe]), "000afe");
        assert_eq!(hex([1, 2, 3].iter().take(2)), "0102");
    }
}

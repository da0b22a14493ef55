//! Decimals with three places, as the service declares its quantities and amounts. Exact; no floats.

use std::fmt;

/// A decimal in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Amount(i64);

impl Amount {
    /// Reads `12`, `12.5` or `-12.500`; none for anything else, more places and overflow included.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, places) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(places) || places.len() > 3 {
            return None;
        }
        let thousandths = format!("{places:0<3}").parse::<i64>().ok()?;
        let size = whole.parse::<i64>().ok()?.checked_mul(1_000)?.checked_add(thousandths)?;
        Some(Self(if negative { -size } else { size }))
    }

    /// The sum, saturating.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The product, rounded half away from zero; none on overflow.
    pub(super) fn times(self, other: Self) -> Option<Self> {
        let product = i128::from(self.0) * i128::from(other.0);
        let rounded = (product + product.signum() * 500) / 1_000;
        i64::try_from(rounded).ok().map(Self)
    }

    pub(super) const fn is_positive(self) -> bool {
        self.0 > 0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:03}", size / 1_000, size % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(Amount::parse(text).map(|amount| amount.to_string()).as_deref(), expected, "{text}");
    }

    #[test]
    fn decimals_are_read_exactly_or_not_at_all() {
        check("12", Some("12.000"));
        check("0.1", Some("0.100"));
        check("-1.005", Some("-1.005"));
        check("1.0005", None);
        check("", None);
        check(".5", None);
        check("1e3", None);
        check("99999999999999999999", None);
    }

    #[test]
    fn a_product_is_rounded_half_away_from_zero() {
        let product =
            |a: &str, b: &str| Amount::parse(a).unwrap().times(Amount::parse(b).unwrap()).unwrap().to_string();
        assert_eq!(product("12.90", "2"), "25.800");
        assert_eq!(product("0.001", "0.5"), "0.001");
        assert_eq!(product("-0.001", "0.5"), "-0.001");
    }
}

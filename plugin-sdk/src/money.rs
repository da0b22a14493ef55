//! Exact decimal numbers and money: a string with its currency, never a float.

use std::{
    fmt,
    ops::{Add, Sub},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Decimal places that are kept.
const SCALE: u32 = 6;
const ONE: i128 = 1_000_000;
/// Largest whole part, so that sums and products by a quantity cannot overflow.
const WHOLE_MAX: i128 = 1_000_000_000_000_000_000;

/// An exact decimal number with at most six places, written as JSON text such as `"59.90"`.
///
/// It keeps how many places it was written with, at least; sums have the larger number of both.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decimal {
    millionths: i128,
    places: u32,
}

/// The text is not such a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecimalError {
    text: String,
}

impl fmt::Display for DecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a decimal number with at most {SCALE} places, such as `59.90`", self.text)
    }
}

impl std::error::Error for DecimalError {}

impl Decimal {
    /// Zero with two places.
    pub const ZERO: Self = Self { millionths: 0, places: 2 };

    /// A whole number.
    #[must_use]
    pub fn whole(number: i64) -> Self {
        Self { millionths: i128::from(number) * ONE, places: 0 }
    }

    /// That many times.
    #[must_use]
    pub fn times(self, quantity: u32) -> Self {
        Self { millionths: self.millionths.saturating_mul(i128::from(quantity)), places: self.places }
    }

    /// As a float, for features of a model; not for money.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a model's feature is a float by nature")]
    pub fn approximate(self) -> f64 {
        self.millionths as f64 / ONE as f64
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.millionths == other.millionths
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.millionths.cmp(&other.millionths)
    }
}

impl Add for Decimal {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { millionths: self.millionths.saturating_add(other.millionths), places: self.places.max(other.places) }
    }
}

impl Sub for Decimal {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { millionths: self.millionths.saturating_sub(other.millionths), places: self.places.max(other.places) }
    }
}

impl std::iter::Sum for Decimal {
    fn sum<I: Iterator<Item = Self>>(numbers: I) -> Self {
        numbers.fold(Self::ZERO, Add::add)
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let wrong = || DecimalError { text: text.chars().take(40).collect() };
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let places = u32::try_from(fraction.len()).map_err(|_| wrong())?;
        let dangling = digits.contains('.') && fraction.is_empty();
        if whole.is_empty() || dangling || !plain(whole) || !plain(fraction) || places > SCALE {
            return Err(wrong());
        }
        let whole: i128 = whole.parse().map_err(|_| wrong())?;
        if whole > WHOLE_MAX {
            return Err(wrong());
        }
        let fraction: i128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| wrong())? };
        let millionths = whole * ONE + fraction * 10_i128.pow(SCALE - places);
        Ok(Self { millionths: if negative { -millionths } else { millionths }, places })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.millionths < 0 { "-" } else { "" };
        let positive = self.millionths.unsigned_abs();
        let (whole, fraction) = (positive / ONE.unsigned_abs(), positive % ONE.unsigned_abs());
        let digits = format!("{fraction:06}");
        let needed = digits.trim_end_matches('0').len();
        let places = needed.max(usize::try_from(self.places).unwrap_or(0));
        if places == 0 {
            return write!(f, "{sign}{whole}");
        }
        write!(f, "{sign}{whole}.{}", digits.get(..places).unwrap_or(&digits))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// An amount in a currency (ISO 4217).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// How much.
    pub amount: Decimal,
    /// Of what.
    pub currency: String,
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    #[track_caller]
    fn number(text: &str) -> Decimal {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn text_survives_and_places_are_kept() {
        for text in ["0.00", "59.90", "-3.5", "12", "0.000001", "1000000000000000000.00"] {
            assert_eq!(number(text).to_string(), text);
        }
    }

    #[test]
    fn sums_are_exact() {
        assert_eq!((number("0.10") + number("0.20")).to_string(), "0.30");
        assert_eq!(number("59.90").times(3).to_string(), "179.70");
        assert_eq!((number("1.00") - number("1.005")).to_string(), "-0.005");
        assert!(number("9.99") < number("10.0") && number("10") == number("10.00"));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", ".", "1.", ".5", "1e3", "+1", "1,00", "0.1234567", "1.2.3", "--1", "99999999999999999999"] {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }
}

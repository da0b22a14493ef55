//! `decimal()` in expressions: amounts compared, added, subtracted and multiplied exactly, or not at all. At most 28
//! digits; what would have to be rounded is an error. There is no division: how to round one is a business decision, and
//! belongs in a transform.

use std::{any::Any, cmp::Ordering};

use cel::{
    DeclarationError, Env, ExecutionError, add_overload,
    common::{
        traits::{Adder, Comparer, Multiplier, Negator, Subtractor},
        types::{CelDouble, CelInt, CelString, CelUInt, Type},
        value::{CowVal, StaticVal, Val},
    },
};
use rust_decimal::Decimal as Number;

/// Longest text that is read as a decimal, bytes: 28 digits, a sign and a point.
const TEXT_BYTES_LIMIT: usize = 30;

static TYPE: Type = named();

const fn named() -> Type {
    Type::new_unspecified_type("decimal")
}

/// An exact decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal(Number);

impl Decimal {
    /// Reads `-12.50`: digits, at most one point, perhaps a minus. No exponent, no separators, no spaces.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let holds = text.len() <= TEXT_BYTES_LIMIT && plain(whole) && plain(fraction);
        holds.then(|| Number::from_str_exact(text).ok().map(Self)).flatten()
    }

    /// A number of CEL as a decimal; a double by the digits that it prints as.
    fn of(value: &dyn Val) -> Option<Self> {
        if let Some(decimal) = value.downcast_ref::<Self>() {
            Some(*decimal)
        } else if let Some(int) = value.downcast_ref::<CelInt>() {
            Some(Self(Number::from(*int.inner())))
        } else if let Some(uint) = value.downcast_ref::<CelUInt>() {
            Some(Self(Number::from(*uint.inner())))
        } else {
            value.downcast_ref::<CelDouble>().and_then(|double| Self::parse(&double.inner().to_string()))
        }
    }

    /// One operation, refused if its result had to be rounded: `scale` is that of the exact result.
    fn exactly(
        operator: &str,
        rhs: &dyn Val,
        operate: impl FnOnce(Number) -> (Option<Number>, u32),
    ) -> Result<CowVal<'static, 'static>, ExecutionError> {
        let wrong = |problem: &str| Err(ExecutionError::function_error(operator, problem));
        let Some(Self(rhs)) = Self::of(rhs) else {
            return wrong("a decimal goes with a decimal or a number only: wrap the other side in `decimal()`");
        };
        match operate(rhs) {
            (Some(result), scale) if result.scale() == scale => Ok(CowVal::owned(Self(result))),
            _ => wrong("the result has more than 28 digits, and would have to be rounded"),
        }
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Val for Decimal {
    fn get_type(&self) -> &Type {
        &TYPE
    }

    fn cel_type() -> &'static Type {
        &TYPE
    }

    fn as_adder<'b, 'v>(&'b self) -> Option<&'b (dyn Adder + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_subtractor<'b, 'v>(&'b self) -> Option<&'b (dyn Subtractor + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_multiplier<'b, 'v>(&'b self) -> Option<&'b (dyn Multiplier + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_negator<'b, 'v>(&'b self) -> Option<&'b (dyn Negator + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_comparer(&self) -> Option<&dyn Comparer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        Self::of(other).is_some_and(|other| other == *self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Decimal {}

impl Adder for Decimal {
    fn add<'b, 'v>(&'b self, rhs: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        Self::exactly("+", rhs, |rhs| (self.0.checked_add(rhs), self.0.scale().max(rhs.scale())))
    }
}

impl Subtractor for Decimal {
    fn sub<'b, 'v>(&'b self, rhs: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        Self::exactly("-", rhs, |rhs| (self.0.checked_sub(rhs), self.0.scale().max(rhs.scale())))
    }
}

impl Multiplier for Decimal {
    fn mul<'b, 'v>(&'b self, rhs: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        Self::exactly("*", rhs, |rhs| {
            let product = self.0.checked_mul(rhs);
            // Nothing was rounded away from a zero, however it is written.
            let is_zero = self.0.is_zero() || rhs.is_zero();
            let scale = if is_zero { product.map_or(0, |zero| zero.scale()) } else { self.0.scale() + rhs.scale() };
            (product, scale)
        })
    }
}

impl Negator for Decimal {
    fn negate<'v>(&self) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        Ok(Box::new(Self(-self.0)))
    }
}

impl Comparer for Decimal {
    fn compare(&self, rhs: &dyn Val) -> Result<Ordering, ExecutionError> {
        let Some(rhs) = Self::of(rhs) else {
            let problem = "a decimal compares with a decimal or a number only: wrap the other side in `decimal()`";
            return Err(ExecutionError::function_error("compare", problem));
        };
        Ok(self.0.cmp(&rhs.0))
    }
}

fn not_a_decimal(shown: &str) -> ExecutionError {
    let shown: String = shown.chars().take(40).collect();
    let problem = format!("`{shown}` is not a decimal of at most 28 digits, such as `-12.50`");
    ExecutionError::function_error("decimal", problem)
}

fn from_text(text: &CelString<'_>) -> Result<Decimal, ExecutionError> {
    Decimal::parse(text.inner()).ok_or_else(|| not_a_decimal(text.inner()))
}

fn from_double(double: &CelDouble) -> Result<Decimal, ExecutionError> {
    Decimal::of(double).ok_or_else(|| not_a_decimal(&double.inner().to_string()))
}

fn from_int(int: &CelInt) -> Decimal {
    Decimal(Number::from(*int.inner()))
}

fn from_uint(uint: &CelUInt) -> Decimal {
    Decimal(Number::from(*uint.inner()))
}

fn from_decimal(decimal: &Decimal) -> Decimal {
    *decimal
}

fn to_text(decimal: &Decimal) -> CelString<'static> {
    CelString::from(decimal.to_string())
}

/// Adds `decimal()` and `string(decimal)`.
pub(super) fn extend(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_type(named())?;
    add_overload!(env, fn from_text: (CelString) -> Result<Decimal>, name = "decimal", id = "string_to_decimal")?;
    add_overload!(env, fn from_double: (CelDouble) -> Result<Decimal>, name = "decimal", id = "double_to_decimal")?;
    add_overload!(env, fn from_int: (CelInt) -> Decimal, name = "decimal", id = "int64_to_decimal")?;
    add_overload!(env, fn from_uint: (CelUInt) -> Decimal, name = "decimal", id = "uint64_to_decimal")?;
    add_overload!(env, fn from_decimal: (Decimal) -> Decimal, name = "decimal", id = "decimal_to_decimal")?;
    add_overload!(env, fn to_text: (Decimal) -> CelString, name = "string", id = "decimal_to_string")?;
    Ok(())
}

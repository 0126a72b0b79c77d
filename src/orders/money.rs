//! Exact decimal numbers: amounts of money, and quantities.

use std::fmt;

use rust_decimal::Decimal;
use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An exact decimal amount, in the currency of the tenant.
///
/// Nothing is rounded: a number that 28 digits cannot represent is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = "decimal", pattern = r"^-?[0-9]+\.[0-9]{2,}$", example = "5000.00")]
pub struct Money(Decimal);

/// An exact decimal number of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = f64, example = 10)]
pub struct Quantity(Decimal);

/// A text that is not a number, or a number that cannot be represented exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a number that can be represented exactly")]
pub struct InvalidNumber(String);

impl Money {
    pub(super) const ZERO: Self = Self(Decimal::ZERO);

    /// Parses a `numeric` or `double precision` as PostgreSQL writes it: digits, perhaps with an exponent.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidNumber> {
        parse_decimal(text).map(Self)
    }

    pub(super) fn checked_mul(self, quantity: Quantity) -> Result<Self, InvalidNumber> {
        let (price, quantity) = (self.0, quantity.0);
        price
            .mantissa()
            .checked_mul(quantity.mantissa())
            .and_then(|mantissa| from_parts(mantissa, i64::from(price.scale()) + i64::from(quantity.scale())))
            .map(Self)
            .ok_or_else(|| InvalidNumber(format!("{price} × {quantity}")))
    }

    /// Returns the sum of `amounts`. Intermediate sums may have more digits than an amount.
    pub(super) fn sum(mut amounts: impl Iterator<Item = Self>) -> Result<Self, InvalidNumber> {
        // The integer parts and the fractions are added separately: together they have up to 57 digits, and an
        // i128 holds 38.
        amounts
            .try_fold((0_i128, 0_i128), |(integers, fractions), Self(amount)| {
                let one = 10_i128.pow(amount.scale());
                let fraction = shift(amount.mantissa() % one, Decimal::MAX_SCALE - amount.scale())?;
                Some((
                    integers.checked_add(amount.mantissa() / one)?,
                    fractions.checked_add(fraction)?,
                ))
            })
            .and_then(|(integers, fractions)| {
                let one = 10_i128.pow(Decimal::MAX_SCALE);
                let integers = integers.checked_add(fractions / one)?;
                let (fractions, scale) = normalize(fractions % one, Decimal::MAX_SCALE.into());
                let integers = shift(integers, u32::try_from(scale).ok()?)?;
                from_parts(integers.checked_add(fractions)?, scale)
            })
            .map(Self)
            .ok_or_else(|| InvalidNumber("the sum".to_owned()))
    }
}

impl Quantity {
    /// Parses an `integer`, `numeric` or `double precision` as PostgreSQL writes it.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidNumber> {
        parse_decimal(text).map(Self)
    }
}

fn parse_decimal(text: &str) -> Result<Decimal, InvalidNumber> {
    let invalid = || InvalidNumber(format!("{text:?}"));
    // The library accepts more than PostgreSQL writes, such as underscores.
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
    {
        return Err(invalid());
    }
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().map_err(|_| invalid())?;
    let digits = if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    };
    let decimal = Decimal::from_str_exact(digits).map_err(|_| invalid())?;
    let scale = i64::from(decimal.scale()) - i64::from(exponent);
    from_parts(decimal.mantissa(), scale).ok_or_else(invalid)
}

/// `mantissa × 10^-scale`, in as few digits as possible.
fn from_parts(mantissa: i128, scale: i64) -> Option<Decimal> {
    if mantissa == 0 {
        return Some(Decimal::ZERO);
    }
    let (mut mantissa, mut scale) = normalize(mantissa, scale);
    if scale < 0 {
        mantissa = shift(mantissa, u32::try_from(-scale).ok()?)?;
        scale = 0;
    }
    Decimal::try_from_i128_with_scale(mantissa, u32::try_from(scale).ok()?).ok()
}

/// Removes trailing zeros of the fraction.
fn normalize(mut mantissa: i128, mut scale: i64) -> (i128, i64) {
    while scale > 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        scale -= 1;
    }
    (mantissa, scale)
}

/// `mantissa × 10^digits`, if that fits.
fn shift(mantissa: i128, digits: u32) -> Option<i128> {
    mantissa.checked_mul(10_i128.checked_pow(digits)?)
}

impl fmt::Display for Money {
    /// At least two decimals, and as many as the amount has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.*}", self.0.scale().max(2) as usize, self.0)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Quantity {
    /// A JSON number with all digits.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(self.0) {
            Ok(integer) if self.0.scale() == 0 => serializer.serialize_i64(integer),
            _ => RawValue::from_string(self.0.to_string())
                .map_err(S::Error::custom)?
                .serialize(serializer),
        }
    }
}

#[cfg(test)]
#[path = "money_tests.rs"]
mod tests;

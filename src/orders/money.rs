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
    pub(super) fn sum(amounts: impl Iterator<Item = Self> + Clone) -> Result<Self, InvalidNumber> {
        sum_at_one_scale(amounts.clone())
            .or_else(|| sum_in_parts(amounts))
            .map(Self)
            .ok_or_else(|| InvalidNumber("the sum".to_owned()))
    }
}

/// Adds amounts in the scale of the most precise one. Returns `None` if an i128 cannot hold the digits.
fn sum_at_one_scale(mut amounts: impl Iterator<Item = Money> + Clone) -> Option<Decimal> {
    let scale = amounts.clone().map(|Money(amount)| amount.scale()).max()?;
    let sum = amounts.try_fold(0_i128, |sum, Money(amount)| {
        sum.checked_add(shift(amount.mantissa(), scale - amount.scale())?)
    })?;
    from_parts(sum, scale.into())
}

/// Adds the integer parts and the fractions separately: together they have up to 57 digits, and an i128 holds 38.
fn sum_in_parts(mut amounts: impl Iterator<Item = Money>) -> Option<Decimal> {
    let (integers, fractions) =
        amounts.try_fold((0_i128, 0_i128), |(integers, fractions), Money(amount)| {
            let one = 10_i128.pow(amount.scale());
            let fraction = shift(amount.mantissa() % one, Decimal::MAX_SCALE - amount.scale())?;
            Some((
                integers.checked_add(amount.mantissa() / one)?,
                fractions.checked_add(fraction)?,
            ))
        })?;
    let one = 10_i128.pow(Decimal::MAX_SCALE);
    let integers = integers.checked_add(fractions / one)?;
    let (fractions, scale) = normalize(fractions % one, Decimal::MAX_SCALE.into());
    let integers = shift(integers, u32::try_from(scale).ok()?)?;
    from_parts(integers.checked_add(fractions)?, scale)
}

impl Quantity {
    /// Parses an `integer`, `numeric` or `double precision` as PostgreSQL writes it.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidNumber> {
        parse_decimal(text).map(Self)
    }
}

fn parse_decimal(text: &str) -> Result<Decimal, InvalidNumber> {
    if let Some(decimal) = parse_short(text) {
        return Ok(decimal);
    }
    let invalid = || InvalidNumber(format!("{text:?}"));
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().map_err(|_| invalid())?;
    let (mantissa, scale) = parse_digits(digits).ok_or_else(invalid)?;
    from_parts(mantissa, scale - i64::from(exponent)).ok_or_else(invalid)
}

/// Parses up to 18 digits with at most one point, which fit into 64 bits: most amounts.
fn parse_short(text: &str) -> Option<Decimal> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let begins_with_digit = digits.starts_with(|first: char| first.is_ascii_digit());
    if !begins_with_digit || digits.len() > 18 {
        return None;
    }
    let (mut mantissa, mut scale) = (0_i64, None);
    for byte in digits.bytes() {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + i64::from(byte - b'0');
                scale = scale.map(|scale: u32| scale + 1);
            }
            b'.' if scale.is_none() => scale = Some(0),
            _ => return None,
        }
    }
    from_parts((sign * mantissa).into(), scale.unwrap_or(0).into())
}

/// Returns the mantissa and the scale of digits with at most one point.
fn parse_digits(text: &str) -> Option<(i128, i64)> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    if integer.is_empty() {
        return None;
    }
    let mut digits = integer.bytes().chain(fraction.bytes());
    let mantissa = digits.try_fold(0_i128, |mantissa, byte| {
        let digit = byte.is_ascii_digit().then(|| i128::from(byte - b'0'))?;
        mantissa.checked_mul(10)?.checked_add(digit)
    })?;
    Some((sign * mantissa, i64::try_from(fraction.len()).ok()?))
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
    // Dividing 64 bits is many times as fast.
    if let Ok(mut short) = i64::try_from(mantissa) {
        while scale > 0 && short % 10 == 0 {
            short /= 10;
            scale -= 1;
        }
        return (short.into(), scale);
    }
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
        let scale = self.0.scale().max(2);
        let mantissa = shift(self.0.mantissa(), scale - self.0.scale());
        // A response has many amounts, and rust_decimal divides 96 bits for each digit.
        let Some(mantissa) = mantissa.and_then(|mantissa| i64::try_from(mantissa).ok()) else {
            return write!(f, "{:.*}", scale as usize, self.0);
        };
        if mantissa < 0 {
            f.write_str("-")?;
        }
        f.write_str(render(mantissa.unsigned_abs(), scale, &mut [0; _]))
    }
}

/// Renders `mantissa × 10^-scale` with `scale` decimals, from its last digit to its first.
fn render(mut mantissa: u64, scale: u32, buffer: &mut [u8; 32]) -> &str {
    let mut length = 0;
    for place in buffer.iter_mut().rev() {
        if length > scale + 1 && mantissa == 0 {
            break;
        }
        *place = if length == scale {
            b'.'
        } else {
            let digit = mantissa % 10;
            mantissa /= 10;
            b'0' + u8::try_from(digit).unwrap_or_default()
        };
        length += 1;
    }
    let start = buffer.len() - length as usize;
    str::from_utf8(buffer.get(start..).unwrap_or_default()).unwrap_or_default()
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

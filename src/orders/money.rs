//! Exact amounts of money.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// An exact decimal amount, of whatever currency the tenant trades in.
///
/// Nothing is ever rounded: what 28 digits cannot hold is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = "decimal", pattern = r"^-?[0-9]+\.[0-9]{2,}$", example = "5000.00")]
pub struct Money(Decimal);

/// An amount is no number, or one that cannot be held exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no amount that can be represented exactly")]
pub struct InvalidMoney(String);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Reads what PostgreSQL writes for a `numeric` or a `double precision`: digits, perhaps with
    /// an exponent.
    ///
    /// # Errors
    ///
    /// [`InvalidMoney`] for `NaN`, an infinity, anything else, and more digits than fit.
    pub fn parse(text: &str) -> Result<Self, InvalidMoney> {
        let invalid = || InvalidMoney(text.to_owned());
        // Of which the library takes more than PostgreSQL writes, such as underscores.
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
        Self::exactly(decimal.mantissa(), scale).ok_or_else(invalid)
    }

    /// This amount, `quantity` times.
    ///
    /// # Errors
    ///
    /// [`InvalidMoney`] where the product has more digits than fit.
    pub fn times(self, quantity: i64) -> Result<Self, InvalidMoney> {
        self.0
            .mantissa()
            .checked_mul(i128::from(quantity))
            .and_then(|mantissa| Self::exactly(mantissa, self.0.scale().into()))
            .ok_or_else(|| InvalidMoney(format!("{self} × {quantity}")))
    }

    /// The sum of all `amounts`. On the way it may be larger than what an amount holds.
    ///
    /// # Errors
    ///
    /// [`InvalidMoney`] where the sum has more digits than fit.
    pub fn sum(mut amounts: impl Iterator<Item = Self>) -> Result<Self, InvalidMoney> {
        // Whole units and parts of one are added up apart: together they are up to 57 digits wide,
        // of which an integer holds 38.
        amounts
            .try_fold((0_i128, 0_i128), |(units, parts), Self(amount)| {
                let one = 10_i128.pow(amount.scale());
                let part = shifted(amount.mantissa() % one, Decimal::MAX_SCALE - amount.scale())?;
                Some((
                    units.checked_add(amount.mantissa() / one)?,
                    parts.checked_add(part)?,
                ))
            })
            .and_then(|(units, parts)| {
                let one = 10_i128.pow(Decimal::MAX_SCALE);
                let units = units.checked_add(parts / one)?;
                let (parts, scale) = shortened(parts % one, Decimal::MAX_SCALE.into());
                let units = shifted(units, u32::try_from(scale).ok()?)?;
                Self::exactly(units.checked_add(parts)?, scale)
            })
            .ok_or_else(|| InvalidMoney("the sum".to_owned()))
    }

    /// `mantissa × 10^-scale`, in as few digits as it takes.
    fn exactly(mantissa: i128, scale: i64) -> Option<Self> {
        if mantissa == 0 {
            return Some(Self::ZERO);
        }
        let (mut mantissa, mut scale) = shortened(mantissa, scale);
        if scale < 0 {
            mantissa = shifted(mantissa, u32::try_from(-scale).ok()?)?;
            scale = 0;
        }
        Decimal::try_from_i128_with_scale(mantissa, u32::try_from(scale).ok()?)
            .ok()
            .map(Self)
    }
}

/// The same number without zeros at the end of its decimals.
fn shortened(mut mantissa: i128, mut scale: i64) -> (i128, i64) {
    while scale > 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        scale -= 1;
    }
    (mantissa, scale)
}

/// `mantissa × 10^digits`, where that fits.
fn shifted(mantissa: i128, digits: u32) -> Option<i128> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        Money::parse(text).unwrap().to_string()
    }

    #[test]
    fn an_amount_shows_two_decimals_or_as_many_as_it_has() {
        for (text, expected) in [
            ("5000", "5000.00"),
            ("0.1", "0.10"),
            ("19.999", "19.999"),
            ("5.0000", "5.00"),
            ("5.1200", "5.12"),
            ("-0.5", "-0.50"),
            ("-0", "0.00"),
            ("100", "100.00"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("1e-07", "0.0000001"),
            ("1.5e+20", "150000000000000000000.00"),
            ("1.25e1", "12.50"),
            (
                "79228162514264337593543950335",
                "79228162514264337593543950335.00",
            ),
            ("5.00000000000000000000000000000000000000000", "5.00"),
            ("0e0", "0.00"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_held_exactly_is_refused() {
        for text in [
            "NaN",
            "Infinity",
            "-Infinity",
            "",
            "$5.00",
            "1_000",
            "1e",
            "e5",
            "1e300",
            "1e-300",
            "1e99999999999999999999",
            "1e9223372036854775807",
            "1e-9223372036854775808",
            "79228162514264337593543950336",
            "0.00000000000000000000000000001",
            "1.00000000000000000000000000001",
        ] {
            assert!(Money::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn products_and_sums_that_do_not_fit_are_refused() {
        let largest = Money::parse("79228162514264337593543950335").unwrap();
        let smallest = Money::parse("0.0000000000000000000000000001").unwrap();
        assert!(largest.times(2).is_err());
        assert!(largest.times(i64::MIN).is_err());
        assert!(Money::sum([largest, largest].into_iter()).is_err());
        assert!(Money::sum([largest, smallest].into_iter()).is_err());
        assert_eq!(largest.times(1), Ok(largest));
        assert_eq!(Money::sum([largest, Money::ZERO].into_iter()), Ok(largest));
        assert_eq!(Money::sum(std::iter::empty()), Ok(Money::ZERO));
        assert_eq!(
            Money::parse("0.05").unwrap().times(20).unwrap().to_string(),
            "1.00"
        );
    }

    #[test]
    fn a_sum_may_pass_through_more_digits_than_it_has() {
        for (texts, expected) in [
            (
                [
                    "123456789012340",
                    "0.00000123456789012345",
                    "-0.00000123456789012345",
                ],
                "123456789012340.00",
            ),
            (
                ["79228162514264337593543950335", "1e-28", "-1e-28"],
                "79228162514264337593543950335.00",
            ),
            (
                [
                    "-79228162514264337593543950335",
                    "79228162514264337593543950334",
                    "1e-28",
                ],
                "-0.9999999999999999999999999999",
            ),
            (["0.5", "0.5", "-2.25"], "-1.25"),
        ] {
            let amounts = texts.map(|text| Money::parse(text).unwrap());
            assert_eq!(Money::sum(amounts.into_iter()).unwrap().to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_amount_or_refused(text in "[-+0-9.eENa ]{0,40}") {
            if let Ok(money) = Money::parse(&text) {
                prop_assert_eq!(Money::parse(&money.to_string()), Ok(money));
            }
        }

        #[test]
        fn arithmetic_is_that_of_integers(a in any::<i32>(), b in any::<i32>(), n in any::<i32>(), scale in 0_i64..=9) {
            let money = |units: i64| Money::parse(&format!("{units}e-{scale}")).unwrap();
            let (a, b, n) = (i64::from(a), i64::from(b), i64::from(n));
            prop_assert_eq!(Money::sum([money(a), money(b)].into_iter()).unwrap(), money(a + b));
            prop_assert_eq!(money(a).times(n).unwrap(), money(a * n));
        }
    }
}

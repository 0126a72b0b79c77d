//! Tests of `money.rs`.

use super::*;
use proptest::prelude::*;

fn quantity(text: &str) -> Quantity {
    Quantity::parse(text).unwrap()
}

fn display(text: &str) -> String {
    Money::parse(text).unwrap().to_string()
}

#[test]
fn amounts_have_at_least_two_decimals() {
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
        assert_eq!(display(text), expected, "{text}");
    }
}

#[test]
fn inexact_numbers_are_refused() {
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
fn overflowing_products_and_sums_are_refused() {
    let largest = Money::parse("79228162514264337593543950335").unwrap();
    let smallest = Money::parse("0.0000000000000000000000000001").unwrap();
    assert!(largest.checked_mul(quantity("2")).is_err());
    assert!(largest.checked_mul(quantity("-9223372036854775808")).is_err());
    assert!(Money::sum([largest, largest].into_iter()).is_err());
    assert!(Money::sum([largest, smallest].into_iter()).is_err());
    assert_eq!(largest.checked_mul(quantity("1")), Ok(largest));
    assert_eq!(Money::sum([largest, Money::ZERO].into_iter()), Ok(largest));
    assert_eq!(Money::sum(std::iter::empty()), Ok(Money::ZERO));
    assert_eq!(
        Money::parse("0.05")
            .unwrap()
            .checked_mul(quantity("20"))
            .unwrap()
            .to_string(),
        "1.00"
    );
}

#[test]
fn intermediate_sums_may_have_more_digits() {
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

#[test]
fn quantities_are_exact_json_numbers() {
    for (text, expected) in [
        ("10", "10"),
        ("10.000", "10"),
        ("2.5", "2.5"),
        ("-0.40", "-0.4"),
        ("1e+20", "100000000000000000000"),
        ("0.30000000000000004", "0.30000000000000004"),
    ] {
        assert_eq!(
            serde_json::to_string(&quantity(text)).unwrap(),
            expected,
            "{text}"
        );
    }
    let price = Money::parse("5000").unwrap();
    assert_eq!(
        price.checked_mul(quantity("2.5")).unwrap().to_string(),
        "12500.00"
    );
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "[-+0-9.eENa ]{0,40}") {
        if let Ok(money) = Money::parse(&text) {
            prop_assert_eq!(Money::parse(&money.to_string()), Ok(money));
        }
    }

    #[test]
    fn arithmetic_matches_integers(a in any::<i32>(), b in any::<i32>(), n in any::<i32>(), scale in 0_i64..=9) {
        let money = |units: i64| Money::parse(&format!("{units}e-{scale}")).unwrap();
        let (a, b, n) = (i64::from(a), i64::from(b), i64::from(n));
        prop_assert_eq!(Money::sum([money(a), money(b)].into_iter()).unwrap(), money(a + b));
        prop_assert_eq!(money(a).checked_mul(quantity(&n.to_string())).unwrap(), money(a * n));
    }
}

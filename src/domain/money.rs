//! Money without floating point: integers of minor units, and decimal strings where a unit costs less than one.

use std::fmt;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// Active ISO 4217 codes of currencies that people pay with, sorted for the binary search.
///
/// Funds codes, precious metals and test codes are left out: no provider settles in them. `ang` and `bgn` were replaced
/// in 2025 and 2026 and stay, because prices that were sold in them must stay readable.
const CODES: [&str; 157] = [
    "aed", "afn", "all", "amd", "ang", "aoa", "ars", "aud", "awg", "azn", "bam", "bbd", "bdt",
    "bgn", "bhd", "bif", "bmd", "bnd", "bob", "brl", "bsd", "btn", "bwp", "byn", "bzd", "cad",
    "cdf", "chf", "clp", "cny", "cop", "crc", "cup", "cve", "czk", "djf", "dkk", "dop", "dzd",
    "egp", "ern", "etb", "eur", "fjd", "fkp", "gbp", "gel", "ghs", "gip", "gmd", "gnf", "gtq",
    "gyd", "hkd", "hnl", "htg", "huf", "idr", "ils", "inr", "iqd", "irr", "isk", "jmd", "jod",
    "jpy", "kes", "kgs", "khr", "kmf", "kpw", "krw", "kwd", "kyd", "kzt", "lak", "lbp", "lkr",
    "lrd", "lsl", "lyd", "mad", "mdl", "mga", "mkd", "mmk", "mnt", "mop", "mru", "mur", "mvr",
    "mwk", "mxn", "myr", "mzn", "nad", "ngn", "nio", "nok", "npr", "nzd", "omr", "pab", "pen",
    "pgk", "php", "pkr", "pln", "pyg", "qar", "ron", "rsd", "rub", "rwf", "sar", "sbd", "scr",
    "sdg", "sek", "sgd", "shp", "sle", "sos", "srd", "ssp", "stn", "svc", "syp", "szl", "thb",
    "tjs", "tmt", "tnd", "top", "try", "ttd", "twd", "tzs", "uah", "ugx", "usd", "uyu", "uzs",
    "ved", "ves", "vnd", "vuv", "wst", "xaf", "xcd", "xcg", "xof", "xpf", "yer", "zar", "zmw",
    "zwg",
];

/// An ISO 4217 currency, written as its lower-case code, as Stripe writes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, example = "usd")]
pub struct Currency(&'static str);

/// The text is no ISO 4217 code that money is paid in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an ISO 4217 currency code")]
pub struct UnknownCurrency(String);

impl Currency {
    /// Rupees, in which Razorpay's plans are paid.
    pub const INR: Self = Self("inr");

    /// Reads a code in either case; providers disagree about it.
    pub fn parse(code: &str) -> Result<Self, UnknownCurrency> {
        let lower = code.to_ascii_lowercase();
        CODES
            .binary_search(&lower.as_str())
            .ok()
            .and_then(|at| CODES.get(at))
            .map(|code| Self(code))
            .ok_or_else(|| UnknownCurrency(code.chars().take(16).collect()))
    }

    /// The lower-case code.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// How many decimals the minor unit has: 100 minor units are `10^-exponent × 100` of the currency.
    ///
    /// Follows Stripe, whose `unit_amount` is what these figures are sent as; it differs from ISO for `mga` (0, not 2) and
    /// `isk` (2, not 0). `iqd` and `lyd`, which Stripe does not take, follow ISO.
    pub fn minor_unit_exponent(self) -> u32 {
        match self.0 {
            "bif" | "clp" | "djf" | "gnf" | "jpy" | "kmf" | "krw" | "mga" | "pyg" | "rwf"
            | "ugx" | "vnd" | "vuv" | "xaf" | "xof" | "xpf" => 0,
            "bhd" | "iqd" | "jod" | "kwd" | "lyd" | "omr" | "tnd" => 3,
            _ => 2,
        }
    }

    /// A sum of minor units for people: the code, then the units with their decimals.
    pub fn shown(self, minor_units: i64) -> String {
        let exponent = self.minor_unit_exponent();
        let sign = if minor_units < 0 { "-" } else { "" };
        let unit = 10_u64.pow(exponent);
        let (whole, rest) = (
            minor_units.unsigned_abs() / unit,
            minor_units.unsigned_abs() % unit,
        );
        let code = self.0.to_ascii_uppercase();
        match usize::try_from(exponent) {
            Ok(digits) if digits > 0 => format!("{code} {sign}{whole}.{rest:0digits$}"),
            _ => format!("{code} {sign}{whole}"),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Self::parse(&code).map_err(D::Error::custom)
    }
}

/// Decimals of a unit price, at most: what Stripe's `unit_amount_decimal` takes.
const UNIT_AMOUNT_DECIMALS: usize = 12;
/// Digits before the decimal point, at most. With the decimals they fill 24 of the 28 digits that a `Decimal` holds.
const UNIT_AMOUNT_DIGITS: usize = 12;

/// The price of one unit in minor units, which may be a fraction of one: `"1"` is a cent, `"0.5"` half a cent.
///
/// Never negative. Written in its shortest form, so equal amounts are equal text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, example = "1")]
pub struct UnitAmount(Decimal);

/// The text is no unit price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a unit amount is a decimal string in minor units such as \"1\" or \"0.25\": not negative, with at most 12 digits before and 12 after the point"
)]
pub struct InvalidUnitAmount;

/// A product that is larger than what can be held exactly; it is refused rather than rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the amount is too large to be held exactly")]
pub struct AmountOverflow;

impl UnitAmount {
    /// Reads plain decimal notation: digits, and optionally a point with digits after it.
    pub fn parse(text: &str) -> Result<Self, InvalidUnitAmount> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str, most: usize| {
            (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole, UNIT_AMOUNT_DIGITS) || !digits(fraction, UNIT_AMOUNT_DECIMALS) {
            return Err(InvalidUnitAmount);
        }
        Decimal::from_str_exact(text)
            .map(|amount| Self(amount.normalize()))
            .map_err(|_| InvalidUnitAmount)
    }

    /// The price of `quantity` units, exact to the last decimal.
    pub fn times(self, quantity: i64) -> Result<AmountDecimal, AmountOverflow> {
        // `Decimal::checked_mul` rounds when digits run out; integers either fit or do not.
        let mantissa = self
            .0
            .mantissa()
            .checked_mul(i128::from(quantity))
            .ok_or(AmountOverflow)?;
        Decimal::try_from_i128_with_scale(mantissa, self.0.scale())
            .map(|amount| AmountDecimal(amount.normalize()))
            .map_err(|_| AmountOverflow)
    }
}

impl fmt::Display for UnitAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for UnitAmount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnitAmount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

/// A sum in minor units that need not be whole; rounding is left to whoever bills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, example = "12.5")]
pub struct AmountDecimal(Decimal);

impl AmountDecimal {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Both together, exact to the last decimal.
    pub fn plus(self, other: Self) -> Result<Self, AmountOverflow> {
        // `Decimal::checked_add` rounds when digits run out; integers either fit or do not.
        let scale = self.0.scale().max(other.0.scale());
        let mantissa = |amount: Decimal| {
            let missing = scale.checked_sub(amount.scale())?;
            amount.mantissa().checked_mul(10_i128.checked_pow(missing)?)
        };
        let sum = mantissa(self.0)
            .zip(mantissa(other.0))
            .and_then(|(one, two)| one.checked_add(two))
            .ok_or(AmountOverflow)?;
        Decimal::try_from_i128_with_scale(sum, scale)
            .map(|amount| Self(amount.normalize()))
            .map_err(|_| AmountOverflow)
    }

    /// The whole minor units of it: what is billed is never more than what is owed.
    pub fn floor(self) -> Result<i64, AmountOverflow> {
        self.0.floor().to_i64().ok_or(AmountOverflow)
    }
}

impl fmt::Display for AmountDecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for AmountDecimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn codes_are_sorted_so_that_the_search_finds_them() {
        assert!(CODES.is_sorted());
        for code in CODES {
            assert_eq!(Currency::parse(code).unwrap().as_str(), code);
        }
    }

    #[test]
    fn a_currency_is_known_in_either_case_and_stored_in_lower_case() {
        assert_eq!(Currency::parse("INR").unwrap().to_string(), "inr");
        for bad in ["", "us", "usdd", "zzz", "u$d", "ÜSD"] {
            assert!(Currency::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn minor_units_follow_the_provider() {
        let exponent = |code| Currency::parse(code).unwrap().minor_unit_exponent();
        assert_eq!(
            [exponent("usd"), exponent("jpy"), exponent("kwd")],
            [2, 0, 3]
        );
    }

    #[test]
    fn unit_amounts_are_exact_decimals_in_their_shortest_form() {
        for (text, canonical) in [
            ("1", "1"),
            ("0.50", "0.5"),
            ("0", "0"),
            ("0.000", "0"),
            ("007", "7"),
            ("100", "100"),
        ] {
            assert_eq!(UnitAmount::parse(text).unwrap().to_string(), canonical);
        }
        for bad in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            "1,5",
            " 1",
            "1.2.3",
            "0.1234567890123",
            "1234567890123",
            "NaN",
        ] {
            assert_eq!(UnitAmount::parse(bad), Err(InvalidUnitAmount), "{bad}");
        }
    }

    #[test]
    fn a_product_is_exact_or_refused() {
        let product = |unit: &str, quantity| {
            UnitAmount::parse(unit)
                .unwrap()
                .times(quantity)
                .map(|sum| sum.to_string())
        };
        assert_eq!(product("1", 12).unwrap(), "12");
        assert_eq!(product("0.5", 3).unwrap(), "1.5");
        assert_eq!(
            product("0.000000000001", i64::MAX).unwrap(),
            "9223372.036854775807"
        );
        assert_eq!(
            product("999999999999.999999999999", i64::MAX),
            Err(AmountOverflow)
        );
    }

    #[test]
    fn sums_are_shown_in_their_currency_with_its_decimals() {
        let shown = |code, sum| Currency::parse(code).unwrap().shown(sum);
        assert_eq!(Currency::INR.shown(120_005), "INR 1200.05");
        assert_eq!(shown("usd", 7), "USD 0.07");
        assert_eq!(shown("jpy", 500), "JPY 500");
        assert_eq!(shown("kwd", -1_250), "KWD -1.250");
        assert_eq!(shown("kwd", i64::MIN), "KWD -9223372036854775.808");
    }

    proptest! {
        #[test]
        fn sums_are_those_of_the_integers_that_they_stand_for(
            terms in proptest::collection::vec((0_i64..1_000_000_000_000, 0_u32..7, -1_000_000_i64..1_000_000), 0..12),
        ) {
            let mut sum = AmountDecimal::ZERO;
            let mut millionths = 0_i128;
            for (unit, scale, quantity) in terms {
                let price = UnitAmount(Decimal::new(unit, scale).normalize());
                sum = sum.plus(price.times(quantity).unwrap()).unwrap();
                millionths += i128::from(unit) * 10_i128.pow(6 - scale) * i128::from(quantity);
            }
            prop_assert_eq!(i128::from(sum.floor().unwrap()), millionths.div_euclid(1_000_000));
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = UnitAmount::parse(&text);
            let _ = Currency::parse(&text);
        }

        #[test]
        fn whole_units_multiply_as_integers(unit in 0_i64..1_000_000_000_000, quantity in 0_i64..1_000_000) {
            let product = UnitAmount::parse(&unit.to_string()).unwrap().times(quantity).unwrap();
            prop_assert_eq!(product.to_string(), (i128::from(unit) * i128::from(quantity)).to_string());
        }
    }
}

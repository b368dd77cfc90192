//! Amounts. One credit is one unit of the organisation's currency, counted in whole micro-credits so that no posting ever
//! rounds by accident. It refuses floats, silent overflow and divisions that do not name their rounding.
use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Micro-credits in a credit.
pub const MICROS: i64 = 1_000_000;
const SECONDS_PER_HOUR: i128 = 3600;

/// A signed amount in micro-credits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct Credits(i64);

/// Why an amount cannot be computed or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Beyond what 64 bits of micro-credits hold (about 9.2 trillion credits).
    #[error("the amount is too large")]
    TooLarge,
    /// Not a decimal number with at most six decimals.
    #[error("an amount is a number such as 12.50, with at most six decimals")]
    NotAnAmount,
}

impl Credits {
    pub const ZERO: Self = Self(0);

    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Whole credits; saturates nowhere, so `None` when too large.
    pub const fn from_whole(credits: i64) -> Option<Self> {
        match credits.checked_mul(MICROS) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    pub fn checked_add(self, other: Self) -> Result<Self, AmountError> {
        self.0.checked_add(other.0).map(Self).ok_or(AmountError::TooLarge)
    }

    pub fn checked_sub(self, other: Self) -> Result<Self, AmountError> {
        self.0.checked_sub(other.0).map(Self).ok_or(AmountError::TooLarge)
    }

    /// The opposite amount. `i64::MIN` has none; it cannot be reached through checked arithmetic on real amounts.
    pub const fn negated(self) -> Self {
        Self(self.0.saturating_neg())
    }

    /// The price of `count` units for `seconds` at this hourly rate, rounded half up to a micro-credit, symmetric in sign.
    pub fn for_duration(self, count: u32, seconds: i64) -> Result<Self, AmountError> {
        let exact = i128::from(self.0) * i128::from(count) * i128::from(seconds);
        i64::try_from(div_half_up(exact, SECONDS_PER_HOUR)).map(Self).map_err(|_| AmountError::TooLarge)
    }

    /// The share of basis points (1/10000), rounded toward zero: the rule for operator fees.
    pub fn share_floor(self, basis_points: u32) -> Self {
        let exact = i128::from(self.0) * i128::from(basis_points) / 10_000;
        // A share of at most the whole fits when the whole does; larger shares saturate.
        Self(i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Rounded half up (symmetric in sign) to `decimals` places of the currency, as document lines are.
    pub fn rounded(self, decimals: u32) -> Self {
        let step = 10_i128.pow(6_u32.saturating_sub(decimals));
        let rounded = div_half_up(i128::from(self.0), step) * step;
        Self(i64::try_from(rounded).unwrap_or(self.0))
    }

    /// A decimal with at least `decimals` places and no further trailing zeros: `12.50`, `0.000694`.
    pub fn to_decimal(self, decimals: usize) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        let (whole, fraction) = (magnitude / MICROS as u64, magnitude % MICROS as u64);
        let digits = format!("{fraction:06}");
        let needed = digits.trim_end_matches('0').len().max(decimals.min(6));
        if needed == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{}", &digits[..needed]) }
    }
}

/// `numerator / denominator` rounded half away from zero; the denominator is positive.
fn div_half_up(numerator: i128, denominator: i128) -> i128 {
    let magnitude = (numerator.abs() * 2 + denominator) / (denominator * 2);
    if numerator < 0 { -magnitude } else { magnitude }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_decimal(2))
    }
}

impl fmt::Debug for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} cr")
    }
}

impl FromStr for Credits {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let text = text.trim();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) || fraction.len() > 6 {
            return Err(AmountError::NotAnAmount);
        }
        let whole: i64 = whole.parse().map_err(|_| AmountError::TooLarge)?;
        let micros: i64 = format!("{fraction:0<6}").parse().map_err(|_| AmountError::NotAnAmount)?;
        let sum = whole.checked_mul(MICROS).and_then(|w| w.checked_add(micros)).ok_or(AmountError::TooLarge)?;
        Ok(Self(if negative { -sum } else { sum }))
    }
}

/// Panics on overflow, which amounts that were checked one by one cannot reach in any real ledger; sums of untrusted
/// amounts use [`Credits::checked_add`].
impl Sum for Credits {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, |a, b| Self(a.0.checked_add(b.0).expect("a sum of amounts within 64 bits")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_writes_decimals() {
        for (text, micros, shown) in
            [("2.5", 2_500_000, "2.50"), ("-0.000001", -1, "-0.000001"), ("7", 7_000_000, "7.00"), ("0", 0, "0.00")]
        {
            let amount: Credits = text.parse().unwrap();
            assert_eq!((amount.micros(), amount.to_string().as_str()), (micros, shown));
        }
        for bad in ["", "1,5", "1.", ".5", "1e3", "1.0000001", "--1", "99999999999999999999"] {
            assert!(bad.parse::<Credits>().is_err(), "{bad}");
        }
    }

    #[test]
    fn prices_by_the_second() {
        let rate: Credits = "2.50".parse().unwrap();
        assert_eq!(rate.for_duration(2, 4 * 3600).unwrap().to_string(), "20.00");
        assert_eq!(rate.for_duration(1, 1).unwrap().micros(), 694);
        assert_eq!(Credits::from_micros(i64::MAX).for_duration(2, 7200), Err(AmountError::TooLarge));
    }

    proptest! {
        #[test]
        fn decimal_returns(micros in -9_000_000_000_000_000i64..9_000_000_000_000_000) {
            let amount = Credits::from_micros(micros);
            prop_assert_eq!(amount.to_decimal(2).parse::<Credits>(), Ok(amount));
        }

        #[test]
        fn fee_and_rest_sum_to_the_whole(micros in 0i64..1_000_000_000_000, bps in 0u32..=10_000) {
            let whole = Credits::from_micros(micros);
            let fee = whole.share_floor(bps);
            prop_assert!(fee.micros() >= 0 && fee <= whole);
            prop_assert_eq!(fee.checked_add(whole.checked_sub(fee).unwrap()).unwrap(), whole);
        }
    }
}

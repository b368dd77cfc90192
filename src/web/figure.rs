//! Amounts on pages: rounded to the currency's minor unit, with the exact amount behind each one that was rounded. It
//! refuses sums that seem wrong: where the rounded parts of one do not make the rounded whole, all of them are exact.
use crate::base::credits::Credits;
use crate::domain::money::currency;

/// How amounts of the installation's currency are written.
#[derive(Clone, Debug)]
pub struct Money {
    currency: String,
}

/// A column of amounts, all with the same number of decimals, so that they stand beneath each other.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    places: u32,
}

/// An amount as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figure {
    pub shown: String,
    /// To the last micro-credit, where what is shown is rounded.
    pub exact: Option<String>,
}

impl Money {
    pub fn of(currency: &str) -> Self {
        Self { currency: currency.to_owned() }
    }

    /// A figure that stands alone, rounded half up to the minor unit.
    pub fn alone(&self, amount: Credits) -> String {
        signed(currency::rounded(amount, &self.currency))
    }

    /// The minor unit, such as `0.01`.
    pub fn minor_unit(&self) -> String {
        let places = currency::decimals(&self.currency);
        Credits::from_micros(10_i64.pow(6 - places.min(6))).to_decimal(places as usize)
    }

    pub fn rounded(&self) -> Column {
        Column { places: currency::decimals(&self.currency) }
    }

    /// With as many decimals as the most exact of these amounts has.
    pub fn exact(&self, amounts: impl IntoIterator<Item = Credits>) -> Column {
        Column { places: currency::exact_places(amounts, &self.currency) }
    }

    /// For a whole and its parts beneath each other.
    pub fn sum(&self, whole: Credits, parts: &[Credits]) -> Column {
        Column { places: currency::places(whole, parts, &self.currency) }
    }
}

impl Column {
    pub fn figure(self, amount: Credits) -> Figure {
        let written = |places| signed(currency::figure(amount, places));
        let exact = amount.rounded(self.places) != amount;
        Figure { shown: written(self.places), exact: exact.then(|| signed(amount.to_decimal(0))) }
    }

    /// What is shown of an amount, in micro-credits.
    pub fn micros(self, amount: Credits) -> i128 {
        amount.rounded(self.places).micros().into()
    }

    /// A change of a balance: its sign is always written, also where nothing else is left of it, and nothing stays empty.
    pub fn change(self, amount: Credits) -> Figure {
        let sign = match amount.micros() {
            0 => return Figure::default(),
            micros if micros > 0 => '+',
            _ => '−',
        };
        let Figure { shown, exact } = self.figure(if amount.is_negative() { amount.negated() } else { amount });
        Figure { shown: format!("{sign}{shown}"), exact: exact.map(|exact| format!("{sign}{exact}")) }
    }
}

/// With the typographic minus, as wide as a plus.
fn signed(decimal: String) -> String {
    match decimal.strip_prefix('-') {
        Some(amount) => format!("−{amount}"),
        None => decimal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Credits {
        text.parse().unwrap()
    }

    fn figure(shown: &str, exact: &str) -> Figure {
        Figure { shown: shown.to_owned(), exact: Some(exact.to_owned()).filter(|exact| !exact.is_empty()) }
    }

    #[test]
    fn what_is_rounded_keeps_its_exact_amount() {
        let euros = Money::of("EUR");
        assert_eq!(euros.rounded().figure(of("12.5")), figure("12.50", ""));
        assert_eq!(euros.rounded().figure(of("-0.000694")), figure("0.00", "−0.000694"));
        assert_eq!(euros.rounded().change(of("-0.000694")), figure("−0.00", "−0.000694"));
        assert_eq!(euros.rounded().change(of("1000")), figure("+1000.00", ""));
        assert_eq!(euros.rounded().change(of("0")), Figure::default());
        assert_eq!(euros.exact([of("1"), of("0.25"), of("0.000694")]).figure(of("1")), figure("1.000000", ""));
        assert_eq!((euros.alone(of("-2.505")), euros.minor_unit()), ("−2.51".to_owned(), "0.01".to_owned()));
        assert_eq!(Money::of("JPY").minor_unit(), "1");
    }

    #[test]
    fn a_sum_that_would_seem_wrong_is_exact() {
        let column = Money::of("EUR").sum(of("3"), &[of("0.005"), of("2.995")]);
        assert_eq!(column.figure(of("3")).shown, "3.000");
        let column = Money::of("EUR").sum(of("3"), &[of("0.000694"), of("2.999306")]);
        assert_eq!(column.figure(of("2.999306")), figure("3.00", "2.999306"));
    }
}

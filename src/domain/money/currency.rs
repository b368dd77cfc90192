//! How many decimals documents in a currency have. It refuses exchange rates: an installation has one currency.
use crate::base::credits::Credits;

/// Decimals of the minor unit (ISO 4217); two for currencies that are not listed.
pub fn decimals(currency: &str) -> u32 {
    match currency.to_ascii_uppercase().as_str() {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI" | "VND"
        | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        _ => 2,
    }
}

/// An amount as people read it: rounded half up to the minor unit, without the currency.
pub fn rounded(amount: Credits, currency: &str) -> String {
    figure(amount, decimals(currency))
}

/// Rounded half up to so many decimals.
pub fn figure(amount: Credits, decimals: u32) -> String {
    amount.rounded(decimals).to_decimal(decimals as usize)
}

/// The same with its currency, such as `12.50 EUR`.
pub fn spoken(amount: Credits, currency: &str) -> String {
    format!("{} {currency}", rounded(amount, currency))
}

/// A whole and the two parts that make it, spoken with as many decimals as [`places`] says.
pub fn sum(whole: Credits, parts: [Credits; 2], currency: &str) -> [String; 3] {
    let places = places(whole, &parts, currency);
    let shown = |amount: Credits| format!("{} {currency}", figure(amount, places));
    [shown(whole), shown(parts[0]), shown(parts[1])]
}

/// With how many decimals a sum is shown: those of the minor unit where the rounded parts still make the rounded whole, and
/// otherwise as many as the most exact of them has.
pub fn places(whole: Credits, parts: &[Credits], currency: &str) -> u32 {
    let rounded = |amount: &Credits| i128::from(amount.rounded(decimals(currency)).micros());
    if parts.iter().map(rounded).sum::<i128>() == rounded(&whole) {
        return decimals(currency);
    }
    exact_places(parts.iter().copied().chain([whole]), currency)
}

/// How many decimals make every one of these amounts exact; at least those of the minor unit.
pub fn exact_places(amounts: impl IntoIterator<Item = Credits>, currency: &str) -> u32 {
    let least = decimals(currency);
    let needed = |amount: &Credits| (least..6).find(|&places| amount.rounded(places) == *amount).unwrap_or(6);
    amounts.into_iter().map(|amount| needed(&amount)).max().unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_to_the_minor_unit_where_that_adds_up() {
        let of = |text: &str| text.parse::<Credits>().unwrap();
        assert_eq!(rounded(of("0.000694"), "EUR"), "0.00");
        assert_eq!(rounded(of("-0.000694"), "EUR"), "0.00");
        assert_eq!(rounded(of("1261.5"), "JPY"), "1262");
        assert_eq!(spoken(of("-2.5"), "KWD"), "-2.500 KWD");
        let fine = sum(of("20"), [of("0.000694"), of("19.999306")], "EUR");
        assert_eq!(fine, ["20.00 EUR", "0.00 EUR", "20.00 EUR"]);
        let exact = sum(of("20"), [of("0.005"), of("19.995")], "EUR");
        assert_eq!(exact, ["20.000 EUR", "0.005 EUR", "19.995 EUR"]);
        assert_eq!(exact_places([of("1"), of("0.000694")], "EUR"), 6);
        assert_eq!((exact_places([of("1")], "JPY"), exact_places([], "EUR")), (0, 2));
    }

    #[test]
    fn by_the_table() {
        for (currency, expected) in [("EUR", 2), ("usd", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)] {
            assert_eq!(decimals(currency), expected, "{currency}");
        }
    }
}

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

fn figure(amount: Credits, decimals: u32) -> String {
    let text = amount.rounded(decimals).to_decimal(decimals as usize);
    if amount.rounded(decimals).is_zero() { text.trim_start_matches('-').to_owned() } else { text }
}

/// The same with its currency, such as `12.50 EUR`.
pub fn spoken(amount: Credits, currency: &str) -> String {
    format!("{} {currency}", rounded(amount, currency))
}

/// A whole and the two parts that make it, spoken: rounded where the rounded parts still make the rounded whole, and
/// otherwise exact, all with as many decimals as the most exact of them.
pub fn sum(whole: Credits, parts: [Credits; 2], currency: &str) -> [String; 3] {
    let places = decimals(currency);
    let all = [whole, parts[0], parts[1]];
    let [sum, first, second] = all.map(|amount| amount.rounded(places).micros());
    if first.checked_add(second) == Some(sum) {
        return all.map(|amount| spoken(amount, currency));
    }
    let places = exact_places(all, currency);
    all.map(|amount| format!("{} {currency}", amount.to_decimal(places)))
}

/// How many decimals make every one of these amounts exact; at least those of the minor unit.
pub fn exact_places(amounts: impl IntoIterator<Item = Credits>, currency: &str) -> usize {
    let least = decimals(currency) as usize;
    let places = |amount: Credits| amount.to_decimal(least).split_once('.').map_or(0, |(_, fraction)| fraction.len());
    amounts.into_iter().map(places).max().unwrap_or(least).max(least)
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

//! How many decimals documents in a currency have. It refuses exchange rates: an installation has one currency.

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

#[cfg(test)]
mod tests {
    use super::decimals;

    #[test]
    fn by_the_table() {
        for (currency, expected) in [("EUR", 2), ("usd", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)] {
            assert_eq!(decimals(currency), expected, "{currency}");
        }
    }
}

//! What a GPU costs per hour. Versions are never changed, only followed by the next; a booking pins the one it was quoted.
//! It refuses to guess silently: a model without a rate of its own has a documented default.
use serde::{Deserialize, Serialize};

use crate::base::credits::Credits;
use crate::base::window::Instant;
use crate::domain::bookings::booking::RatePin;

/// A version of a model's rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    pub model: String,
    /// From 1; 0 stands for what is not stored: the built-in default, and an instance's part of its GPU's rate.
    pub version: u32,
    pub per_gpu_hour: Credits,
    pub since: Instant,
}

impl Rate {
    pub fn pin(&self) -> RatePin {
        RatePin { model: self.model.clone(), version: self.version, per_gpu_hour: self.per_gpu_hour }
    }
}

/// The highest rate that can be set, in credits: above it a slip of the keyboard is likelier than a price.
pub const HIGHEST: i64 = 10_000;

/// A team's use of its own node: free, and still counted.
pub const OWN: Credits = Credits::ZERO;

/// Credits per GPU and hour until an admin sets others, in thousandths. They are starting points of the order of what GPU
/// clouds list in 2026, not a claim about what a machine costs its owner.
const DEFAULTS: [(&str, i64); 16] = [
    ("B300", 6000),
    ("B200", 5000),
    ("GB200", 5500),
    ("H200", 3000),
    ("GH200", 2500),
    ("H100", 2500),
    ("H800", 2500),
    ("A100", 1500),
    ("A800", 1500),
    ("L40S", 1000),
    ("L40", 900),
    ("A40", 600),
    ("L4", 500),
    ("A10", 500),
    ("V100", 400),
    ("T4", 250),
];

/// For every model that is not listed.
pub const DEFAULT_PER_GPU_HOUR: Credits = Credits::from_micros(1_000_000);

/// The name a rate is found by: without the vendor, lower case, single spaces.
pub fn key(model: &str) -> String {
    let lower = model.to_lowercase();
    let words: Vec<&str> = lower.split_whitespace().filter(|word| *word != "nvidia").collect();
    words.join(" ")
}

/// The family of a model: `A100-SXM4-80GB` and `A100 80GB PCIe` are both of the `a100`.
pub fn family(model: &str) -> String {
    key(model).split([' ', '-']).next().unwrap_or_default().to_owned()
}

/// The model of the GPU that an instance's word names: `H200` for `H200 1g.18gb`. The profile is its last word.
pub fn parent(word: &str) -> &str {
    word.trim().rsplit_once(' ').map_or(word, |(model, _)| model)
}

/// What an instance costs where it has no rate of its own: its eighths of the GPU's rate, rounded half up to a micro-credit.
/// Version 0, since no version of its own is in force.
pub fn part(word: &str, whole: &RatePin, eighths: u32) -> RatePin {
    // A rate is for an hour; so many eighths of an hour at it cost as much as an hour of so many eighths.
    let per_gpu_hour = whole.per_gpu_hour.for_duration(1, i64::from(eighths) * 450).unwrap_or(whole.per_gpu_hour);
    RatePin { model: word.trim().to_owned(), version: 0, per_gpu_hour }
}

/// The built-in default of a model, as version 0.
pub fn default_pin(model: &str) -> RatePin {
    let family = family(model);
    let known = DEFAULTS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&family));
    let per_gpu_hour = known.map_or(DEFAULT_PER_GPU_HOUR, |(_, milli)| Credits::from_micros(milli * 1000));
    RatePin { model: model.trim().to_owned(), version: 0, per_gpu_hour }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_by_family() {
        for (model, rate) in [
            ("H200", "3.00"),
            ("NVIDIA H100 80GB HBM3", "2.50"),
            ("A100-SXM4-80GB", "1.50"),
            ("L40S", "1.00"),
            ("L40", "0.90"),
            ("GeForce RTX 4090", "1.00"),
            ("", "1.00"),
        ] {
            assert_eq!(default_pin(model).per_gpu_hour.to_string(), rate, "{model}");
        }
        assert_eq!(key("  NVIDIA  H200 NVL"), "h200 nvl");
    }

    #[test]
    fn an_instance_costs_its_part_of_the_gpu() {
        assert_eq!((parent("H200 1g.18gb"), parent("A100 80GB PCIe 3g.40gb")), ("H200", "A100 80GB PCIe"));
        let whole = |micros| RatePin { per_gpu_hour: Credits::from_micros(micros), ..default_pin("H200") };
        for (micros, eighths, expected) in [(3_000_000, 1, 375_000), (3_000_000, 8, 3_000_000), (3, 4, 2), (3, 1, 0)] {
            let pin = part("H200 1g.18gb", &whole(micros), eighths);
            assert_eq!((pin.model.as_str(), pin.per_gpu_hour.micros()), ("H200 1g.18gb", expected));
        }
    }
}

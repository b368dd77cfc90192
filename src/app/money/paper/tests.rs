//! What is true of every document whatever stands in it; what a reader sees is tested in `tests/it/paper.rs`.
use super::*;

#[test]
fn figures_are_grouped() {
    let figure = |micros, decimals| super::figure(Credits::from_micros(micros), decimals);
    assert_eq!(figure(1_234_567_500_000, 2), "1,234,567.50");
    assert_eq!(figure(-999_000_000, 2), "-999.00");
    assert_eq!(figure(0, 0), "0");
    assert_eq!(figure(1_000_000_000, 0), "1,000");
}

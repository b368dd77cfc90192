//! Answers to a probe: right ones, and every kind of wrong one.
use super::*;
use proptest::prelude::*;

const ASKED: Challenge = Challenge { seed: 11, nonce: 12, size: 32 };

/// Computed apart from this program, with Python's integers.
#[test]
fn golden_rows() {
    assert_eq!([ASKED.row(0), ASKED.row(31)], GOLDEN);
}
const GOLDEN: [u64; 2] = [0x3424_E1EF_6B7B_9283, 0x8136_7B47_A6A5_A756];

#[test]
fn unsound_sizes_and_answers_are_refused() {
    let answer = ASKED.answer();
    assert_eq!(ASKED.judge(&answer, &[0, 31, 32]), Ok(()));
    assert_eq!(ASKED.judge(&answer[1..], &[0]), Err(WrongAnswer::Rows { wanted: 32, got: 31 }));
    let odd = Challenge { size: 33, ..ASKED };
    assert_eq!(odd.judge(&[], &[]), Err(WrongAnswer::Size(33)));
    assert!(!Challenge { size: LARGEST * 2, ..ASKED }.sound() && !Challenge { size: 0, ..ASKED }.sound());
}

#[test]
fn samples_reach_every_row_and_stay_inside() {
    let mut seen = [false; 32];
    for chance in 0..200 {
        for row in ASKED.sample(chance, 8) {
            seen[row as usize] = true;
        }
    }
    assert!(seen.iter().all(|seen| *seen));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn an_answer_to_another_question_is_wrong_in_every_row(seed: u64, nonce: u64, change in 1u64..) {
        let asked = Challenge { seed, nonce, size: 16 };
        for other in [Challenge { seed: seed ^ change, ..asked }, Challenge { nonce: nonce ^ change, ..asked }] {
            let answer = other.answer();
            prop_assert_eq!(other.judge(&answer, &other.sample(change, 4)), Ok(()));
            for row in 0..16 {
                prop_assert!(asked.judge(&answer, &[row]).is_err());
            }
        }
    }

    #[test]
    fn a_wrong_value_shows_in_its_row(seed: u64, row in 0u32..16, bit in 0u32..64) {
        let asked = Challenge { seed, nonce: 1, size: 16 };
        let mut answer = asked.answer();
        answer[row as usize] ^= 1 << bit;
        prop_assert!(asked.judge(&answer, &[row]).is_err());
        prop_assert_eq!(asked.judge(&answer, &[(row + 1) % 16]), Ok(()));
    }
}

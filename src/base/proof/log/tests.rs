//! The log of what was wrong: counted whole, kept to its size, refused where it does not add up.
use super::super::pattern::Pattern;
use super::*;
use proptest::prelude::*;

fn verify(pattern: Pattern, memory: &[u64]) -> Mismatches {
    let mut found = Mismatches::default();
    for (place, got) in (0u64..).zip(memory) {
        found.compare(place * 8, pattern.word(place), *got, None);
    }
    found
}

proptest! {
    /// Whatever bit flips wherever: it is counted, and its place is named.
    #[test]
    fn every_flip_is_found_at_its_place(seed: u64, words in 1usize..400, at: usize, bit in 0u32..64) {
        let pattern = Pattern::hashed(seed);
        let mut memory: Vec<u64> = (0..words as u64).map(|place| pattern.word(place)).collect();
        prop_assert!(verify(pattern, &memory).is_empty());
        let at = at % words;
        memory[at] ^= 1 << bit;
        let found = verify(pattern, &memory);
        prop_assert_eq!((found.words, found.bits), (1, 1));
        let expected = pattern.word(at as u64);
        let wanted = Mismatch { address: at as u64 * 8, expected, got: expected ^ 1 << bit, sm: None };
        prop_assert_eq!(found.first, vec![wanted]);
    }

    /// A word that stands in another's place is wrong in both.
    #[test]
    fn exchanged_words_are_found(seed: u64, one in 0usize..200, other in 0usize..200) {
        let pattern = Pattern::hashed(seed);
        let mut memory: Vec<u64> = (0..200).map(|place| pattern.word(place)).collect();
        memory.swap(one, other);
        prop_assert_eq!(verify(pattern, &memory).words, if one == other { 0 } else { 2 });
    }

    #[test]
    fn blocks_read_as_they_were_written(places: Vec<(u32, u64, u64, Option<u32>)>) {
        let mut found = Mismatches::default();
        for (address, expected, got, sm) in places {
            found.compare(u64::from(address), expected, got, sm);
        }
        let mut block = vec![0; WORDS];
        found.write(&mut block);
        found.first.sort_unstable();
        prop_assert_eq!(Mismatches::read(&block), found);
    }

    #[test]
    fn any_block_can_be_read(block: Vec<u64>) {
        prop_assert!(Mismatches::read(&block).first.len() <= KEPT);
    }
}

#[test]
fn no_more_than_the_first_are_kept_and_all_are_counted() {
    let mut found = Mismatches::default();
    for place in 0..1000 {
        found.compare(place, 0, 3, Some(7));
    }
    assert_eq!((found.words, found.bits, found.first.len()), (1000, 2000, KEPT));
    let mut twice = found.clone();
    twice.absorb(&found, 5);
    assert_eq!((twice.words, twice.bits, twice.first.len()), (2000, 4000, KEPT));
}

//! A set of numbers that is mostly one run from 1: kept as runs, so that a long log takes little memory.

use std::collections::BTreeMap;
use std::fmt;

/// Most runs that are listed.
const MAX_LISTED: usize = 8;

/// Runs of numbers, by their first one.
#[derive(Debug, Default, Clone)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a number; `false` where it was there.
    pub(super) fn add(&mut self, number: u64) -> bool {
        let before = self.0.range(..=number).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| last >= number) {
            return false;
        }
        let first = match before {
            Some((first, last)) if last.checked_add(1) == Some(number) => first,
            _ => number,
        };
        let next = number.checked_add(1).and_then(|next| self.0.remove(&next));
        self.0.insert(first, next.unwrap_or(number));
        true
    }

    /// The numbers from 1 to the largest that are not there.
    pub(super) fn gaps(&self) -> Self {
        let mut gaps = BTreeMap::new();
        let mut next = 1;
        for (first, last) in &self.0 {
            if *first > next {
                gaps.insert(next, first - 1);
            }
            next = last.saturating_add(1);
        }
        Self(gaps)
    }

    /// How many numbers there are.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().take(MAX_LISTED).enumerate() {
            out.write_str(if index == 0 { "" } else { ", " })?;
            if first == last { write!(out, "{first}")? } else { write!(out, "{first} to {last}")? }
        }
        if self.0.len() > MAX_LISTED { out.write_str(", and more") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn gaps_are_listed_as_runs() {
        let mut ranges = Ranges::default();
        for number in [1, 2, 5, 9, 4] {
            assert!(ranges.add(number));
        }
        assert!(!ranges.add(4));
        assert_eq!(ranges.gaps().to_string(), "3, 6 to 8");
        assert_eq!((ranges.count(), ranges.gaps().count()), (5, 4));
    }

    proptest! {
        #[test]
        fn it_is_a_set(numbers in proptest::collection::vec(1_u64..60, 0..80)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(ranges.add(number), set.insert(number));
            }
            prop_assert_eq!(ranges.count(), set.len() as u64);
            let missing = set.last().map_or(0, |last| (1..=*last).filter(|number| !set.contains(number)).count());
            prop_assert_eq!(ranges.gaps().count(), missing as u64);
        }
    }
}

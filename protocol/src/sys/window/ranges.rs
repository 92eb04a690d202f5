//! Which parts of the reserved range are free: first fit, neighbours merged.
//!
//! Invariants: free ranges are disjoint, and no two of them touch.
//! What it does not do: map, or be fast. Windows come and go with sessions and bulk segments.

use std::collections::BTreeMap;

/// Free ranges: offset and length.
#[derive(Debug)]
pub(super) struct Ranges {
    free: BTreeMap<usize, usize>,
}

impl Ranges {
    /// One free range of `len`.
    pub(super) fn new(len: usize) -> Self {
        Self { free: BTreeMap::from([(0, len)]) }
    }

    /// Takes the first gap that is long enough.
    pub(super) fn take(&mut self, len: usize) -> Option<usize> {
        let (&offset, &found) = self.free.iter().find(|&(_, &found)| found >= len)?;
        self.free.remove(&offset);
        if found > len {
            self.free.insert(offset + len, found - len);
        }
        Some(offset)
    }

    /// Gives back what `take` gave.
    pub(super) fn give(&mut self, offset: usize, len: usize) {
        let (mut start, mut end) = (offset, offset + len);
        if let Some((&before, &before_len)) = self.free.range(..start).next_back()
            && before + before_len == start
        {
            self.free.remove(&before);
            start = before;
        }
        if let Some(after_len) = self.free.remove(&end) {
            end += after_len;
        }
        self.free.insert(start, end - start);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOTAL: usize = 64;

    /// Take so many, or else give back the one at that index.
    fn step() -> impl Strategy<Value = (usize, bool, prop::sample::Index)> {
        (1_usize..20, any::<bool>(), any::<prop::sample::Index>())
    }

    proptest! {
        #[test]
        fn nothing_overlaps_and_nothing_is_lost(steps in prop::collection::vec(step(), 1..60)) {
            let mut ranges = Ranges::new(TOTAL);
            let mut taken: Vec<(usize, usize)> = Vec::new();
            for (len, take, which) in steps {
                if take {
                    if let Some(offset) = ranges.take(len) {
                        let apart = |&(at, size): &(usize, usize)| {
                            offset + len <= at || at + size <= offset
                        };
                        prop_assert!(taken.iter().all(apart) && offset + len <= TOTAL);
                        taken.push((offset, len));
                    }
                } else if !taken.is_empty() {
                    let (offset, len) = taken.swap_remove(which.index(taken.len()));
                    ranges.give(offset, len);
                }
                let in_use: usize = taken.iter().map(|&(_, len)| len).sum();
                prop_assert_eq!(ranges.free.values().sum::<usize>() + in_use, TOTAL);
            }
            for (offset, len) in taken {
                ranges.give(offset, len);
            }
            prop_assert_eq!(ranges.free, BTreeMap::from([(0, TOTAL)]));
        }
    }
}

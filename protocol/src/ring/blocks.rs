//! A set of arena blocks in one word: which are taken. Private memory of the arena's writer.

use crate::limits::BLOCK_BYTES;

/// Taken and free blocks of an arena of at most 64.
#[derive(Clone, Debug)]
pub struct Blocks {
    taken: u64,
    count: u32,
}

impl Blocks {
    /// `count` free blocks.
    ///
    /// # Panics
    /// If `count` is above 64: geometry is validated before.
    #[must_use]
    pub fn new(count: u32) -> Self {
        assert!(count <= 64, "an arena has at most 64 blocks, not {count}");
        Self { taken: 0, count }
    }

    /// How many blocks `len` bytes need.
    #[must_use]
    pub const fn needed(len: usize) -> u32 {
        len.div_ceil(BLOCK_BYTES) as u32
    }

    /// Takes a run of `run` blocks; its first, or `None` if no such run is free.
    pub fn take(&mut self, run: u32) -> Option<u32> {
        if run == 0 || run > self.count {
            return None;
        }
        let first = (0..=self.count - run).find(|&at| self.taken & mask(at, run) == 0)?;
        self.taken |= mask(first, run);
        Some(first)
    }

    /// Takes exactly this run. `false`, and nothing taken, if it is not wholly inside and free.
    pub fn take_at(&mut self, first: u32, run: u32) -> bool {
        let fits = run != 0 && run <= self.count && first <= self.count - run;
        let free = fits && self.taken & mask(first, run) == 0;
        if free {
            self.taken |= mask(first, run);
        }
        free
    }

    /// Gives a run back.
    ///
    /// # Panics
    /// If a block of it is not taken: a bug of the arena's owner.
    pub fn give_back(&mut self, first: u32, run: u32) {
        let mask = mask(first, run);
        assert!(self.taken & mask == mask, "blocks {first}+{run} are not taken: {:#x}", self.taken);
        self.taken &= !mask;
    }

    /// Blocks that are taken.
    #[must_use]
    pub const fn taken(&self) -> u32 {
        self.taken.count_ones()
    }
}

const fn mask(first: u32, run: u32) -> u64 {
    (if run == 64 { u64::MAX } else { (1 << run) - 1 }) << first
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_exact_run_is_taken_once_and_only_inside() {
        let mut blocks = Blocks::new(8);
        assert!(blocks.take_at(5, 3) && !blocks.take_at(4, 2) && blocks.take_at(0, 5));
        for (first, run) in [(0, 0), (8, 1), (7, 2), (0, 9), (u32::MAX, 1), (1, u32::MAX)] {
            assert!(!Blocks::new(8).take_at(first, run), "{first}+{run}");
        }
        assert!(Blocks::new(64).take_at(0, 64) && Blocks::new(64).take_at(63, 1));
    }

    proptest! {
        #[test]
        fn runs_never_overlap_and_all_come_back(count in 1u32..=64, runs in prop::collection::vec((1u32..=64, any::<bool>()), 1..100)) {
            let mut blocks = Blocks::new(count);
            let mut held: Vec<(u32, u32)> = Vec::new();
            for (run, keep) in runs {
                match blocks.take(run) {
                    Some(first) => {
                        prop_assert!(first + run <= count);
                        prop_assert!(held.iter().all(|&(f, r)| first + run <= f || f + r <= first));
                        held.push((first, run));
                    }
                    None => prop_assert!(run > count || !held.is_empty()),
                }
                if !keep && !held.is_empty() {
                    let (first, run) = held.swap_remove(0);
                    blocks.give_back(first, run);
                }
                prop_assert_eq!(blocks.taken(), held.iter().map(|h| h.1).sum::<u32>());
            }
        }
    }
}

//! Numbers by chance for tests that want millions of them: xorshift, the same for the same seed.

use ringfence_protocol::memory::Memory;

/// Where counters start in every property: the edges of 32, 63 and 64 bits, or anywhere.
pub(crate) const STARTS: [u64; 4] = [0, (1 << 32) - 3, (1 << 63) - 3, u64::MAX - 3];

#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        chance.word();
        chance
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.word() >> 11) % end
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    pub(crate) fn start(&mut self) -> u64 {
        let anywhere = self.word();
        self.pick(&[STARTS[0], STARTS[1], STARTS[2], STARTS[3], anywhere])
    }

    /// A word that is likely to be nearly right: around a position, an edge, or anything.
    pub(crate) fn near(&mut self, position: u64) -> u64 {
        let around = position.wrapping_add(self.below(16)).wrapping_sub(8);
        let (anything, few_bits) = (self.word(), self.word() & self.word() & self.word());
        let edge = self.pick(&[0, 1, u64::MAX, 1 << 63, 1 << 32, 0xff, 217 << 32, 216 << 32]);
        self.pick(&[around, around, around, edge, anything, few_bits])
    }

    /// Overwrites so many words of a segment.
    pub(crate) fn scribble(&mut self, memory: &impl Memory, words: u64, position: u64) {
        for _ in 0..words {
            let at = self.below(memory.len() as u64 / 8) as usize * 8;
            memory.store(at, self.near(position));
        }
    }
}

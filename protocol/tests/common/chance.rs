//! Numbers by chance for tests that want millions of them: xorshift, the same for the same seed. Or the
//! numbers that a string of bytes says, for a fuzzer that looks for bytes; behind their end, chance.
#![allow(dead_code, reason = "not every test that includes this draws all of it")]

use ringfence_protocol::memory::Memory;

/// Where counters start in every property: the edges of 32, 63 and 64 bits, or anywhere.
pub(crate) const STARTS: [u64; 4] = [0, (1 << 32) - 3, (1 << 63) - 3, u64::MAX - 3];

#[derive(Clone, Debug)]
pub(crate) struct Chance {
    state: u64,
    /// What is said, the next byte last.
    said: Vec<u8>,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        let state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut chance = Self { state, said: Vec::new() };
        chance.word();
        chance
    }

    /// The numbers that these bytes say.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { said: bytes.iter().rev().copied().collect(), ..Self::new(0) }
    }

    /// So many bytes by chance, for a target.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.word().to_le_bytes());
        words.take(len.div_ceil(8)).flatten().take(len).collect()
    }

    /// The bytes that nobody has drawn.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.said);
        rest.reverse();
        rest
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.drawn(8)
    }

    /// A number of so many bytes, as far as they go.
    fn drawn(&mut self, bytes: usize) -> u64 {
        if self.said.is_empty() {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            return self.state;
        }
        let from = self.said.len() - bytes.min(self.said.len());
        self.said.drain(from..).fold(0, |number, byte| number << 8 | u64::from(byte))
    }

    /// A small number takes one byte of those that are said, so that one byte changed is one choice changed.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        if self.said.is_empty() {
            return (self.word() >> 11) % end;
        }
        self.drawn(if end <= 1 << 8 { 1 } else { 8 }) % end
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Pieces in any order, which is more likely to be nearly right than any bytes.
    pub(crate) fn pieced(&mut self, pieces: &[&str]) -> String {
        (0..self.below(24)).map(|_| self.pick(pieces)).collect()
    }

    /// The bytes as text where they are, else pieces.
    pub(crate) fn text(bytes: &[u8], pieces: &[&str]) -> String {
        match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => Self::of(bytes).pieced(pieces),
        }
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

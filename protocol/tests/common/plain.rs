//! Runs a fuzz target without a fuzzer: over its corpus, and over bytes by chance. Included by the crates that
//! have targets.
//!
//! A run by chance says the seed of its failure; with `FUZZ_SEED=<seed>` it is run once more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::chance::Chance;

/// A fuzz target: a panic is a finding.
pub(crate) type Run = fn(&[u8]);

/// Longer inputs than this say little that shorter ones do not.
const LENGTHS: [usize; 6] = [0, 3, 16, 64, 200, 1500];

fn input(seed: u64) -> Vec<u8> {
    let mut chance = Chance::new(seed);
    let most = chance.pick(&LENGTHS);
    let len = chance.below(most as u64 + 1) as usize;
    chance.bytes(len)
}

fn passes(run: Run, bytes: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| run(bytes))).is_ok()
}

/// So many inputs by chance.
pub(crate) fn by_chance(name: &str, run: Run, times: u64) {
    let seeds = match std::env::var("FUZZ_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("a number");
            seed..seed + 1
        }
        Err(_) => 0..times,
    };
    for seed in seeds {
        assert!(passes(run, &input(seed)), "{name}: FUZZ_SEED={seed}");
    }
}

/// All files of its corpus, each named by what it shows.
pub(crate) fn over_corpus(folder: &Path, run: Run) {
    let files = std::fs::read_dir(folder).unwrap_or_else(|_| panic!("no {}", folder.display()));
    let mut inputs = 0;
    for file in files {
        let path = file.expect("a file of the corpus").path();
        let bytes = std::fs::read(&path).expect("a file of the corpus");
        assert!(passes(run, &bytes), "{}", path.display());
        inputs += 1;
    }
    assert!(inputs > 0, "{} has no input", folder.display());
}

//! The fuzz targets without a fuzzer: over their corpus, and over bytes by chance. No harness, no nightly
//! compiler.
//!
//! Inputs that were found stand in `fuzz/corpus/<target>/`, named by what they show. A run by chance says the
//! seed of its failure; `FUZZ_SEED=<seed> cargo test --test fuzz_plain <target>` runs it once more.
//! They are a million in all, on two idle cores about 15 s of a debug build.
#![allow(clippy::unwrap_used)]

#[path = "common/targets/mod.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use targets::chance::Chance;
use targets::{TARGETS, Target};

/// Longer inputs than this say little that shorter ones do not.
const LENGTHS: [usize; 6] = [0, 3, 16, 64, 200, 1500];

fn input(seed: u64) -> Vec<u8> {
    let mut chance = Chance::new(seed);
    let most = chance.pick(&LENGTHS);
    let len = chance.below(most as u64 + 1) as usize;
    chance.bytes(len)
}

fn find(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("a target's name")
}

fn passes(target: &Target, bytes: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_ok()
}

fn by_chance(name: &str) {
    let target = find(name);
    let seeds = match std::env::var("FUZZ_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("a number");
            seed..seed + 1
        }
        Err(_) => 0..target.share,
    };
    for seed in seeds {
        assert!(passes(target, &input(seed)), "{name}: FUZZ_SEED={seed}");
    }
}

/// A test for each target, so that they run side by side.
macro_rules! by_chance {
    ($($name:ident)*) => {
        $(#[test] fn $name() { by_chance(stringify!($name)); })*

        #[test]
        fn every_target_runs_and_all_together_a_million_times() {
            let names = [$(stringify!($name)),*];
            assert_eq!(names.map(|name| find(name).name).as_slice(),
                TARGETS.iter().map(|target| target.name).collect::<Vec<_>>());
            assert_eq!(TARGETS.iter().map(|target| target.share).sum::<u64>(), 1_000_000);
        }
    };
}

by_chance! {
    control catalogue requests dynamic names contract topology
    up_image down_image sequence recovery log board
}

#[test]
fn the_corpus_of_each_target_passes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for target in TARGETS {
        let folder = corpus.join(target.name);
        let files =
            std::fs::read_dir(&folder).unwrap_or_else(|_| panic!("no {}", folder.display()));
        let mut inputs = 0;
        for file in files {
            let path = file.unwrap().path();
            assert!(passes(target, &std::fs::read(&path).unwrap()), "{}", path.display());
            inputs += 1;
        }
        assert!(inputs > 0, "{} has no input", target.name);
    }
}

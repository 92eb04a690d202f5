//! The fuzz targets without a fuzzer: over their corpus, and over bytes by chance. No harness, no nightly
//! compiler.
//!
//! Inputs that were found stand in `fuzz/corpus/<target>/`. `FUZZ_SEED=<seed> cargo test --test fuzz_plain
//! <target>` runs a failure by chance once more; a million inputs by chance take about 15 s of a debug build on two idle cores.
#![allow(clippy::unwrap_used)]

#[path = "common/plain.rs"]
mod plain;
#[path = "common/targets/mod.rs"]
mod targets;

use std::path::Path;

use targets::{TARGETS, Target, chance};

fn find(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("a target's name")
}

fn by_chance(name: &str) {
    let target = find(name);
    plain::by_chance(name, target.run, target.share);
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
        plain::over_corpus(&corpus.join(target.name), target.run);
    }
}

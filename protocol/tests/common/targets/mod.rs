//! Fuzz targets as plain functions: `fn(&[u8])`, and a panic is a finding. Stable Rust runs them over their
//! corpus and over chance (`fuzz_plain.rs`), cargo-fuzz over what it learns (`make fuzz`). None is shipped.
//!
//! What a target draws from its bytes it draws by [`chance::Chance::of`], so that a seed and a fuzzer's input
//! are the same thing.

pub(crate) mod allocation;
#[path = "../chance.rs"]
pub(crate) mod chance;
mod lanes;
mod logs;
mod messages;
mod pair;
mod recovery;
#[cfg(feature = "topology")]
#[path = "../said.rs"]
mod said;
mod texts;
mod wire;

/// A target, and how often it runs in a million.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
    #[allow(dead_code, reason = "cargo-fuzz has a clock instead")]
    pub(crate) share: u64,
}

const fn target(name: &'static str, run: fn(&[u8]), share: u64) -> Target {
    Target { name, run, share }
}

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    target("control", wire::control, 250_000),
    target("catalogue", wire::catalogue, 150_000),
    target("requests", messages::requests, 250_000),
    target("dynamic", messages::dynamic, 100_000),
    target("names", texts::names, 100_000),
    target("contract", texts::contract, 90_000),
    target("topology", texts::topology, 10_000),
    target("up_image", lanes::any_up_image, 12_000),
    target("down_image", lanes::any_down_image, 12_000),
    target("sequence", pair::any_sequence, 4_000),
    target("recovery", recovery::any_dead_down, 10_000),
    target("log", logs::any_log, 10_000),
    target("board", logs::any_board, 2_000),
];

/// Runs the target of that name, for cargo-fuzz.
#[allow(dead_code, reason = "only cargo-fuzz names one")]
pub(crate) fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target's name");
    (target.run)(bytes);
}

//! What the fuzz targets of this crate share with those of the protocol (`protocol/tests/README.md`). They stand
//! beside what they try, for that is private: `metrics/http/fuzz.rs`, `config/fuzz.rs`.

use std::path::Path;

#[path = "../../protocol/tests/common/targets/allocation.rs"]
pub(crate) mod allocation;
#[path = "../../protocol/tests/common/chance.rs"]
pub(crate) mod chance;
#[path = "../../protocol/tests/common/plain.rs"]
mod plain;
#[path = "../../protocol/tests/common/said.rs"]
pub(crate) mod said;

/// Runs a target over its corpus, `tests/corpus/<name>/`, and over so many inputs by chance.
pub(crate) fn fuzz(name: &str, run: plain::Run, times: u64) {
    plain::over_corpus(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name), run);
    plain::by_chance(name, run, times);
}

//! A test that cannot run here says so, and has failed where RINGFENCE_REQUIRE is set, as in `.ci/run`.
//! Other crates' tests include this file by its path: it is no part of any library.

use std::io::Write as _;

/// Call it and return. `make test` ends with the list of what was skipped.
pub(crate) fn skip(reason: &str) {
    let required = std::env::var_os("RINGFENCE_REQUIRE").is_some_and(|value| !value.is_empty());
    assert!(!required, "skipped, and RINGFENCE_REQUIRE allows no skip: {reason}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not by eprintln!, which the harness shows of failed tests only. On lines of its own.
    let _ = write!(std::io::stderr(), "\nSKIPPED {test}: {reason}\n");
}

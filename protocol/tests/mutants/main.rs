//! Is each memory ordering needed, and would a test notice if it were not there? `make mutants`.
//!
//! [`table`] lists every ordering, fence and store order of the shared words, a weakening of it, and the
//! test that must turn red. The runner copies the tree, puts all weakenings into the copy as branches of
//! which an environment variable takes one ([`weave`]), builds the tests there once, and runs each
//! mutant's test with that mutant live. One line a mutant; a survivor fails. The cheap part runs with all
//! other tests: no ordering may stand in the sources that the table does not know ([`scan`]).
#![allow(clippy::unwrap_used)]

mod mutant;
mod run;
mod scan;
mod table;
mod weave;
mod words;

use std::path::{Path, PathBuf};

use mutant::Verdict;
use table::{TABLE, UNMODELLED};

/// The root of the checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The sources in which orderings are looked for: whatever shares words with another process, and the
/// threads of daemon and client beside it.
const SCANNED: [&str; 4] = ["protocol/src", "daemon/core/src/bus", "daemon/src", "client-rs/src"];

#[test]
fn every_ordering_is_in_the_table() {
    let mut unknown = Vec::new();
    for file in scan::sources(&root(), &SCANNED) {
        let text = std::fs::read_to_string(root().join(&file)).unwrap();
        if UNMODELLED.iter().any(|(path, _)| *path == file) {
            continue;
        }
        let known: Vec<_> =
            TABLE.iter().filter(|m| m.file == file).map(|m| m.span(&text)).collect();
        for site in scan::orderings(&text) {
            if !known.iter().any(|span| span.contains(&site.at)) {
                unknown.push(format!("{file}:{}: {}", site.line, site.token));
            }
        }
    }
    assert!(
        unknown.is_empty(),
        "{} orderings are not in protocol/tests/mutants/table.rs:\n{}",
        unknown.len(),
        unknown.join("\n")
    );
}

#[test]
fn whatever_the_table_leaves_out_is_there_and_has_orderings() {
    for (file, reason) in UNMODELLED {
        let text = std::fs::read_to_string(root().join(file)).expect(file);
        assert!(scan::orderings(&text).next().is_some(), "{file} has no ordering");
        assert!(!reason.is_empty());
    }
}

#[test]
fn every_test_of_the_table_is_there() {
    let tests = scan::tests(&root());
    for mutant in TABLE {
        if let Verdict::Killed(test) = mutant.verdict {
            let name = test.name.rsplit("::").next().unwrap();
            assert!(tests.contains(name), "{}: no test is called {name}", mutant.file);
        }
    }
}

#[test]
#[ignore = "takes minutes: make mutants"]
fn each_mutant_is_killed() {
    let survivors = run::all();
    assert!(survivors.is_empty(), "survived: {}", survivors.join(", "));
}

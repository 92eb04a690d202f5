//! docs/faults.md: every fault has a row, every row a test, and every test is in the sources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Faults of the project's list.
const FAULTS: std::ops::RangeInclusive<u32> = 1..=68;
/// Those that belong to restart and persistence, which are not there yet.
const LATER: [u32; 8] = [35, 41, 42, 46, 50, 51, 63, 64];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Number and test cell of each row.
fn rows() -> Vec<(u32, String)> {
    let page = std::fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let number = cells[0].parse().ok()?;
        assert_eq!(cells.len(), 4, "{line}");
        assert!(cells.iter().all(|cell| !cell.trim().is_empty()), "{line}");
        Some((number, cells[3].to_owned()))
    };
    page.lines().filter_map(row).collect()
}

#[test]
fn every_fault_has_one_row() {
    let numbers: Vec<u32> = rows().into_iter().map(|(number, _)| number).collect();
    let distinct: BTreeSet<u32> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), numbers.len(), "twice: {numbers:?}");
    assert_eq!(distinct, FAULTS.collect());
}

#[test]
fn every_row_names_tests_that_are_there() {
    for (number, cell) in rows() {
        if LATER.contains(&number) {
            assert_eq!(cell, "later", "row {number}");
            continue;
        }
        for test in cell.split(", ") {
            let named = test.strip_prefix('`').and_then(|test| test.strip_suffix('`'));
            let (file, name) = named.and_then(|test| test.split_once("::")).unwrap_or_else(|| {
                panic!("row {number}: {test:?} is no `file::name`");
            });
            let source = std::fs::read_to_string(root().join(file))
                .unwrap_or_else(|error| panic!("row {number}: {file}: {error}"));
            assert!(is_test(&source, name), "row {number}: {file} has no test {name}");
        }
    }
}

/// Is this function in the source, and a test?
fn is_test(source: &str, name: &str) -> bool {
    let (rust, python) = (format!("fn {name}("), format!("def {name}("));
    let mut attributes = false;
    source.lines().map(str::trim).any(|line| {
        let found = line.starts_with(&rust) && attributes
            || line.starts_with(&python) && name.starts_with("test_");
        // Other attributes and comments may stand between.
        attributes = line == "#[test]" || attributes && line.starts_with(['#', '/']);
        found
    })
}

#[test]
fn what_is_no_test_is_not_taken_for_one() {
    assert!(is_test("#[test]\n/// words\n#[cfg(x)]\n  fn good() {", "good"));
    assert!(is_test("def test_it(tmp: Path) -> None:", "test_it"));
    for source in ["fn good() {", "#[test]\nfn other() {\nfn good() {", "// fn good(", ""] {
        assert!(!is_test(source, "good"), "{source}");
    }
}

/// Row 60: whatever decides something is of the monotonic clock.
#[test]
fn only_what_people_read_asks_the_wall_clock() {
    /// Timestamps that people read, and first numbers that no earlier run has had.
    const MAY: [&str; 4] = [
        "client-rs/src/inproc.rs",
        "daemon/core/src/serving/book.rs",
        "daemon/src/sight.rs",
        "protocol/src/sys/wall.rs",
    ];
    let mut asked = BTreeSet::new();
    for folder in
        ["protocol/src", "daemon/src", "daemon/core/src", "client-rs/src", "client-py/src"]
    {
        sources(&root().join(folder), &mut |path, text| {
            if text.contains("SystemTime::now") || text.contains("ClockId::CLOCK_REALTIME") {
                asked.insert(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
            }
        });
    }
    assert_eq!(asked, MAY.map(str::to_owned).into(), "of the wall clock");
}

pub(crate) fn sources(folder: &Path, see: &mut dyn FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, see);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            see(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}

//! Each shared word has its row in `tests/README.md`, and each test that stands there exists.

use std::collections::HashSet;
use std::path::Path;

use crate::{root, scan};

/// Where words are given their offsets, and the modules and structs that do.
const LAYOUTS: [(&str, &[&str]); 3] = [
    ("protocol/src/layout.rs", &["up", "down", "entry", "slot"]),
    ("protocol/src/log/layout.rs", &["header", "slot"]),
    ("protocol/src/geometry.rs", &["Up", "Down"]),
];

/// What has an offset and is no word: where tables begin, whose words have names of their own, and lengths.
const NO_WORDS: [&str; 9] = [
    "header::MAGIC_VALUE",
    "header::RING",
    "Up::ring",
    "Up::arena",
    "Up::len",
    "Down::entries",
    "Down::ring",
    "Down::arena",
    "Down::len",
];

/// The names that a module's constants or a struct's fields have.
fn names(text: &str, owner: &str) -> Vec<String> {
    let opens = [format!("pub mod {owner} {{\n"), format!("pub struct {owner} {{\n")];
    let start = opens.iter().find_map(|open| Some(text.find(open)? + open.len()));
    let body = &text[start.unwrap_or_else(|| panic!("no {owner}"))..];
    let body = &body[..body.find("\n}").unwrap()];
    let name = |line: &str| {
        let line = line.trim();
        let rest = line.strip_prefix("pub const ").or(line.strip_prefix("pub "))?;
        let (name, ty) = rest.split_once(':')?;
        ty.trim_start().starts_with("usize").then(|| format!("{owner}::{name}"))
    };
    body.lines().filter_map(name).collect()
}

fn rows(readme: &str) -> Vec<Vec<String>> {
    let section = readme.split("## Shared words").nth(1).expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(2);
    rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn every_shared_word_has_a_row_and_every_test_of_a_row_is_there() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/README.md");
    let rows = rows(&std::fs::read_to_string(readme).unwrap());
    let words: HashSet<&str> =
        rows.iter().map(|row| row[1].split(" (").next().unwrap().trim_matches('`')).collect();
    for (file, owners) in LAYOUTS {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        for name in owners.iter().flat_map(|owner| names(&text, owner)) {
            let known = words.contains(&*name) || NO_WORDS.contains(&&*name);
            assert!(known, "{name} of {file} has no row in tests/README.md");
        }
    }
    let tests = scan::tests(&root());
    for row in &rows {
        let [_, word, models @ .., why, _] = &row[..] else { panic!("{row:?}") };
        for model in models {
            let name = model.trim_matches('`');
            assert!(name == "-" || tests.contains(name), "{word}: no test is called {name}");
        }
        let has_gap = models.contains(&"-".to_owned());
        assert_eq!(has_gap, !why.is_empty(), "{word}: a reason where there is no test");
    }
}

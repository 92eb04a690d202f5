//! Finds orderings in source text: words of `Ordering` but Relaxed, and calls of the methods of `Memory`
//! and `Words` that order. Comments, imports, definitions and unit tests are passed over.

use std::collections::HashSet;
use std::path::Path;

/// An ordering in a source.
pub(crate) struct Site {
    pub(crate) at: usize,
    pub(crate) line: usize,
    pub(crate) token: &'static str,
}

/// What orders.
const TOKENS: [&str; 11] = [
    "Release",
    "Acquire",
    "AcqRel",
    "SeqCst",
    "store_release(",
    "load_acquire(",
    "store_u32(",
    "fence_acquire(",
    "fence_release(",
    "fence(order)",
    "before_waking(",
];

/// The Rust sources below these folders, from the root, without tests and commands.
pub(crate) fn sources(root: &Path, folders: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Vec<_> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the sources") {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                open.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "testing.rs" {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The orderings of a source, in order.
pub(crate) fn orderings(text: &str) -> impl Iterator<Item = Site> {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let (mut at, mut number, mut in_use) = (0, 0, false);
    let mut sites = Vec::new();
    for line in text[..end].split_inclusive('\n') {
        number += 1;
        let code = line.split("//").next().unwrap_or_default();
        let start = code.trim_start();
        in_use |= start.starts_with("use ") || start.starts_with("pub use ");
        if !in_use {
            let found = TOKENS.iter().flat_map(|token| {
                code.match_indices(token).filter(|(at, _)| is_call(code, *at, token))
            });
            sites.extend(found.map(|(column, token)| Site {
                at: at + column,
                line: number,
                token: TOKENS.iter().find(|known| **known == token).unwrap(),
            }));
        }
        in_use &= !code.contains(';');
        at += line.len();
    }
    sites.into_iter()
}

/// A word of its own, and no definition?
fn is_call(code: &str, at: usize, token: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let before = !code[..at].ends_with(is_part) && !code[..at].ends_with("fn ");
    before && (token.ends_with('(') || !code[at + token.len()..].starts_with(is_part))
}

/// The names of all test functions of the protocol's crate and ringfence-core's.
pub(crate) fn tests(root: &Path) -> HashSet<String> {
    let mut names = HashSet::new();
    let mut open = vec![root.join("protocol"), root.join("daemon/core/src")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                names.extend(tests_of(&text));
            }
        }
    }
    names
}

fn tests_of(text: &str) -> Vec<String> {
    let behind = text.split("#[test]").skip(1);
    let name = |rest: &str| {
        let from = rest.find("fn ")? + "fn ".len();
        let len = rest[from..].find(['(', '<'])?;
        Some(rest[from..from + len].to_owned())
    };
    behind.filter_map(name).collect()
}

#[test]
fn orderings_are_found_where_code_is() {
    let text = "use a::{\n    Release,\n};\n// Acquire\nx.load(Acquire); y.store_release(1, 2);\n\
        fn store_release(&self) {}\nlet w = Releases;\n#[cfg(test)]\nmod tests {\n SeqCst }";
    let found: Vec<_> = orderings(text).map(|site| (site.line, site.token)).collect();
    assert_eq!(found, [(5, "Acquire"), (5, "store_release(")]);
}

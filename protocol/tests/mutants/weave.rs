//! Puts all mutants into a copy of the sources: each site becomes a branch on the one that is live.

use std::fs;
use std::path::Path;

use crate::mutant::{Mutant, Verdict};
use crate::root;
use crate::table::TABLE;

/// What must not be copied: what was built, and what has nothing to do with it.
const LEFT_OUT: [&str; 5] = ["target", ".git", ".venv", "docs", "fuzz"];

/// Which mutant is live: the variable that the woven code reads once.
pub(crate) const LIVE: &str = "RINGFENCE_MUTANT";

/// Copies the tree to `to` and weaves.
pub(crate) fn tree(to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    copy(&root(), to);
    let mut files: Vec<_> = TABLE.iter().map(|mutant| mutant.file).collect();
    files.sort_unstable();
    files.dedup();
    for file in files {
        let path = to.join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, woven(file, &text)).unwrap();
    }
    let library = to.join("protocol/src/lib.rs");
    let switch = format!(
        "\n/// Which mutant is live.\npub mod mutants {{\n    /// Is it this one?\n    #[must_use]\n    \
         pub fn is(number: usize) -> bool {{\n        static LIVE: std::sync::OnceLock<usize> = \
         std::sync::OnceLock::new();\n        *LIVE.get_or_init(|| std::env::var(\"{LIVE}\").ok()\
         .and_then(|live| live.parse().ok()).unwrap_or(usize::MAX)) == number\n    }}\n}}\n"
    );
    let text = fs::read_to_string(&library).unwrap() + &switch;
    fs::write(&library, text).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        let kind = path.symlink_metadata().unwrap();
        if kind.is_dir() {
            copy(&path, &to.join(name));
        } else if kind.is_file() {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// A source in which each site of its mutants is a branch.
fn woven(file: &str, text: &str) -> String {
    let live = |mutant: &&(usize, &Mutant)| matches!(mutant.1.verdict, Verdict::Killed(_));
    let of_file: Vec<_> = TABLE.iter().enumerate().filter(|(_, m)| m.file == file).collect();
    let mut sites: Vec<_> = of_file.iter().filter(live).map(|(_, m)| m.span(text)).collect();
    sites.sort_by_key(|span| span.start);
    sites.dedup();
    let (mut out, mut done) = (String::new(), 0);
    for span in sites {
        assert!(span.start >= done, "{file}: two sites overlap at byte {}", span.start);
        out.push_str(&text[done..span.start]);
        let weakenings =
            of_file.iter().filter(live).filter(|(_, mutant)| mutant.span(text) == span);
        out.push_str(&branch(file, &text[span.clone()], weakenings.copied()));
        done = span.end;
    }
    out + &text[done..]
}

fn branch<'m>(
    file: &str,
    text: &str,
    weakenings: impl Iterator<Item = (usize, &'m Mutant)>,
) -> String {
    let path = if file.starts_with("protocol/") { "crate" } else { "ringfence_protocol" };
    let mut out = String::new();
    for (number, mutant) in weakenings {
        out += &format!("if {path}::mutants::is({number}) {{ {} }} else ", mutant.weak);
    }
    // A comment at the end of a line would swallow the brace.
    out += &format!("{{ {text}\n}}");
    if text.ends_with(';') { out } else { format!("({out})") }
}

//! The fuzz target `contracts`: a `contracts.yaml`, to the code that is made from it.

use std::fmt::Write as _;
use std::path::Path;

use ringfence_protocol::contract::{Compatibility, Contract};
use ringfence_protocol::limits::{MESSAGE_BYTES, MESSAGE_FIELDS, MESSAGES};

use super::{contract, python, rust};

#[path = "../../../../protocol/tests/common/chance.rs"]
mod chance;
#[path = "../../../../protocol/tests/common/plain.rs"]
mod plain;
#[path = "../../../../protocol/tests/common/said.rs"]
mod said;

use chance::Chance;

const FIELDS: [&str; 12] = [
    "u64",
    "bool",
    "Option<datetime>",
    "'[u8; 20]'",
    "Vec<[u16; 3]>(5)",
    "{ type: String, validation: { max_length: 9 } }",
    "{ type: String(8), validation: [not_empty, min_length: 2] }",
    "{ type: f64, validation: [min: 1, max: 2.5] }",
    "{ type: i8, validation: { min: -200 } }",
    "{ type: Decimal, optional: true, description: \"\\e]0;x\\a \\\"\\\"\\\" \\\\\" }",
    "{ type: bytes(70000) }",
    "{ typ: u8 }",
];
const DOCS: [&str; 6] = [
    "plain",
    "\"\\\"\\\"\\\"\\nimport os\"",
    "\"*/ fn main() {}\\n}\"",
    "'\\\\\\'",
    "\"\\e[31m\\x85\\u2028 /// \\r x\"",
    "|\n      lines\n\n      and more\n",
];
/// What may stand before any line, with more of its ones.
const STRAYS: [&str; 17] = [
    "- ",
    "? ",
    "*a\n",
    "&a ",
    "!t ",
    "---\n",
    "|\n",
    "\t",
    "\u{1b}[31m: 1\n",
    "\"\\e[31m\": 1\n",
    "{ ",
    "] ",
    "schema: 1\n",
    "domains: { a: { x: 1 } }\n",
    "tag_ranges: { core: 1-9, app: 10-2000, experimental: 2001-2002 }\n",
    "    domain: a\n",
    "      z: u1\n",
];

/// A file that is nearly right.
fn file(chance: &mut Chance) -> String {
    let mut text = String::from("schema: { id: 0x10, version: 2, min_compatible: 1 }\nmessages:\n");
    for message in 0..chance.below(4) {
        let type_id = 1_000 + message + chance.pick(&[0, 0, 0, 1, 50_000, 70_000]);
        let name = chance.pick(&["Sent", "Seen", "Lost", "Kept", "lost", "Self"]);
        let _ = write!(text, "  {name}{message}:\n    type_id: {type_id}\n");
        if chance.below(2) == 0 {
            let _ = writeln!(text, "    description: {}", chance.pick(&DOCS));
        }
        text.push_str("    fields:\n");
        for _ in 0..chance.below(5) {
            let name = chance.pick(&["a", "b", "c", "class", "int", "type", "bool", "B", "self"]);
            let _ = writeln!(text, "      {name}{}: {}", chance.below(64), chance.pick(&FIELDS));
        }
    }
    if chance.below(3) == 0 {
        let starts: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        let most = chance.pick(&[1, 1, 5000]);
        let stray = chance.pick(&STRAYS).replace('1', &"1".repeat(1 + chance.below(most) as usize));
        text.insert_str(chance.pick(&starts), &stray);
    }
    text
}

/// Without its docs.
fn bare(contract: &Contract) -> Contract {
    let mut bare = contract.clone();
    for message in &mut bare.messages {
        message.doc.clear();
        message.fields.iter_mut().for_each(|field| field.doc.clear());
    }
    bare
}

/// What of a Rust module is code.
fn rust_code(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect()
}

/// What of a Python module stands outside of strings, without spaces and what an empty class has.
fn python_code(text: &str) -> String {
    let (mut code, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('"') {
        code.push_str(&rest[..at]);
        let quote = if rest[at..].starts_with("\"\"\"") { "\"\"\"" } else { "\"" };
        rest = behind(&rest[at + quote.len()..], quote);
    }
    code.push_str(rest);
    code.split_whitespace().filter(|word| *word != "pass").collect()
}

/// What stands behind the end of a string.
fn behind<'t>(text: &'t str, quote: &str) -> &'t str {
    let mut at = 0;
    while !text[at..].starts_with(quote) {
        let letter = text[at..].chars().next().expect("a string that ends");
        let escaped = if letter == '\\' { text[at + 1..].chars().next() } else { None };
        at += letter.len_utf8() + escaped.map_or(0, char::len_utf8);
    }
    &text[at + quote.len()..]
}

/// Any text as contracts: an error that names its line and is fit to print, or a contract within its limits that stays
/// the same when it is checked again; what is said in words never becomes code.
fn contracts(bytes: &[u8]) {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => file(&mut Chance::of(bytes)),
    };
    let (contract, warnings) = match contract::read(&text) {
        Ok(read) => read,
        Err(wrong) => {
            said::is_fit_to_print(&wrong);
            let line = wrong.strip_prefix("line ").and_then(|rest| rest.split(':').next());
            let line: usize = line.and_then(|line| line.parse().ok()).expect(&wrong);
            assert!((1..=text.lines().count() + 1).contains(&line), "{wrong}");
            return;
        }
    };
    warnings.iter().for_each(|warning| said::is_fit_to_print(warning));
    assert!(contract.messages.len() <= MESSAGES);
    for message in &contract.messages {
        assert!(message.fields.len() <= MESSAGE_FIELDS && message.layout().size <= MESSAGE_BYTES);
    }
    let mut again = contract.clone();
    assert_eq!((again.check(), &again), (Ok(warnings), &contract));
    let since = contract.since(&contract);
    assert_eq!((since.compatibility, since.changes.len()), (Compatibility::Full, 0));
    let bare = bare(&contract);
    assert_eq!(rust_code(&rust::module(&contract)), rust_code(&rust::module(&bare)));
    assert_eq!(python_code(&python::module(&contract)), python_code(&python::module(&bare)));
    for made in [rust::module(&contract), python::module(&contract)] {
        let obeyed = made.chars().find(|letter| letter.is_control() && *letter != '\n');
        assert_eq!(obeyed, None);
    }
}

#[test]
fn whatever_a_file_says_it_is_a_contract_or_an_error_with_its_line() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/contracts");
    plain::over_corpus(&corpus, contracts);
    plain::by_chance("contracts", contracts, 10_000);
}

//! `ringfence codegen`: `contracts.yaml` to source code, the same text every time.
//!
//! It asks no daemon. It does *not* change a file that says already what it should.

mod contract;
mod python;
mod rust;
mod yaml;

use std::io::{Read as _, Write as _};
use std::path::Path;

use ringfence_protocol::contract::Contract;
use ringfence_protocol::limits::CONTRACT_BYTES;
use serde::Serialize;

use crate::args::{Codegen, CodegenLanguage, Global};
use crate::exit::{Exit, Failure};
use crate::output;

/// The shape of the JSON; keys are stable.
#[derive(Serialize)]
struct Report<'a> {
    language: &'static str,
    /// Hexadecimal: `SCHEMA_DIGEST`.
    digest: String,
    warnings: &'a [String],
    /// Where the text was written; `null` if nowhere.
    file: Option<&'a Path>,
    text: &'a str,
}

pub(crate) fn run(global: &Global, what: &Codegen) -> Result<(), Failure> {
    let text = input(&what.contracts)?;
    let wrong =
        |text: String| Failure::new(Exit::Data, format!("{}: {text}", what.contracts.display()));
    let (contract, warnings) = contract::read(&text).map_err(wrong)?;
    let (language, made) = match what.lang {
        CodegenLanguage::Python => ("python", python::module(&contract)),
        CodegenLanguage::Rust => ("rust", rust::module(&contract)),
    };
    if !global.json {
        for warning in &warnings {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "ringfence: warning: {warning}");
        }
    }
    match (&what.out, what.check) {
        (Some(file), true) => compare(file, &made, what)?,
        (Some(file), false) => write(file, &made)?,
        (None, _) if !global.json => return output::raw(made.as_bytes()),
        (None, _) => {}
    }
    if global.json {
        let (digest, warnings) = (hex(&contract), &warnings[..]);
        let file = what.out.as_deref();
        return output::json(&Report { language, digest, warnings, file, text: &made });
    }
    Ok(())
}

fn input(path: &Path) -> Result<String, Failure> {
    let unread =
        |why: String| Failure::new(Exit::NoInput, format!("cannot read {}: {why}", path.display()));
    let mut text = String::new();
    let most = CONTRACT_BYTES as u64;
    let file = std::fs::File::open(path).map_err(|error| unread(error.to_string()))?;
    let read = file.take(most + 1).read_to_string(&mut text);
    match read.map_err(|error| unread(error.to_string()))? as u64 > most {
        true => Err(unread(format!("it has more than {most} bytes"))),
        false => Ok(text),
    }
}

fn write(file: &Path, made: &str) -> Result<(), Failure> {
    if std::fs::read_to_string(file).is_ok_and(|there| there == made) {
        return Ok(()); // its time stamp says when the messages changed
    }
    let failed =
        |error| Failure::new(Exit::Output, format!("cannot write {}: {error}", file.display()));
    std::fs::write(file, made).map_err(failed)
}

/// Fails with the first line that is another one.
fn compare(file: &Path, made: &str, what: &Codegen) -> Result<(), Failure> {
    let shown = file.display();
    let there = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(Exit::NoInput, format!("cannot read {shown}: {error}")))?;
    if there == made {
        return Ok(());
    }
    let mut pairs = (1..).zip(lines(&there).zip(lines(made)));
    let first = pairs.find(|(_, (old, new))| old != new);
    let (number, (old, new)) = first.unwrap_or((1, (None, None)));
    let line = |mark, line: Option<&str>| line.map_or(String::new(), |l| format!("\n{mark}{l}"));
    let language = match what.lang {
        CodegenLanguage::Python => "python",
        CodegenLanguage::Rust => "rust",
    };
    let text = format!(
        "{shown} is stale. Make it anew:\n  ringfence codegen {} --lang {language} --out {shown}\n\
         --- {shown}\n+++ from {}\n@@ line {number} @@{}{}",
        what.contracts.display(),
        what.contracts.display(),
        line('-', old),
        line('+', new),
    );
    Err(Failure::new(Exit::Mismatch, text))
}

/// The lines with their ends, and then nothing for ever.
fn lines(text: &str) -> impl Iterator<Item = Option<&str>> {
    text.split('\n').map(Some).chain(std::iter::repeat(None))
}

/// The digest of a contract.
fn hex(contract: &Contract) -> String {
    contract.digest().iter().map(|byte| format!("{byte:02x}")).collect()
}

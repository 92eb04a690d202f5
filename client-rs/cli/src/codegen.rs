//! `ringfence codegen`: `contracts.yaml` to source code, the same text every time.
//!
//! It asks no daemon. It does *not* change a file that says already what it should.

mod contract;
#[cfg(test)]
mod fuzz;
mod python;
mod rust;
mod yaml;

use std::io::{Read as _, Write as _};
use std::path::Path;

use ringfence_protocol::contract::{Change, Compatibility, Contract};
use ringfence_protocol::limits::CONTRACT_BYTES;
use serde::Serialize;

use crate::args::{Codegen, CodegenLanguage, Global};
use crate::exit::{Exit, Failure};
use crate::output;

impl CodegenLanguage {
    const fn name(self) -> &'static str {
        match self {
            CodegenLanguage::Python => "python",
            CodegenLanguage::Rust => "rust",
        }
    }
}

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
    let (contract, warnings) = read(&what.contracts)?;
    match (what.lang, &what.since) {
        (_, Some(old)) => since(global, &contract, &read(old)?.0),
        (Some(language), None) => classes(global, what, language, &contract, &warnings),
        // The command line asks for one of them.
        (None, None) => Err(Failure::usage("--lang or --since is missing")),
    }
}

fn read(path: &Path) -> Result<(Contract, Vec<String>), Failure> {
    let wrong = |text| Failure::new(Exit::Data, format!("{}: {text}", path.display()));
    contract::read(&input(path)?).map_err(wrong)
}

/// The shape of the JSON of `--since`.
#[derive(Serialize)]
struct Since {
    compatibility: &'static str,
    changes: Vec<ChangeRow>,
}

#[derive(Serialize)]
struct ChangeRow {
    issue: String,
    path: String,
    what: String,
}

fn since(global: &Global, new: &Contract, old: &Contract) -> Result<(), Failure> {
    let report = new.since(old);
    let compatibility = report.compatibility.name();
    if global.json {
        let row =
            |Change { issue, path, what }| ChangeRow { issue: format!("{issue:?}"), path, what };
        let changes = report.changes.into_iter().map(row).collect();
        output::json(&Since { compatibility, changes })?;
    } else {
        let lines: String = report.changes.iter().map(|change| format!("{change}\n")).collect();
        output::raw(format!("{compatibility}\n{lines}").as_bytes())?;
    }
    match report.compatibility {
        Compatibility::Incompatible => {
            Err(Failure::new(Exit::Mismatch, "old and new programs do not understand each other"))
        }
        _ => Ok(()),
    }
}

fn classes(
    global: &Global,
    what: &Codegen,
    language: CodegenLanguage,
    contract: &Contract,
    warnings: &[String],
) -> Result<(), Failure> {
    let made = match language {
        CodegenLanguage::Python => python::module(contract),
        CodegenLanguage::Rust => rust::module(contract),
    };
    if !global.json {
        for warning in warnings {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "ringfence: warning: {warning}");
        }
    }
    match (&what.out, what.check) {
        (Some(file), true) => compare(file, &made, what, language)?,
        (Some(file), false) => write(file, &made)?,
        (None, _) if !global.json => return output::raw(made.as_bytes()),
        (None, _) => {}
    }
    if global.json {
        let (digest, language) = (hex(contract), language.name());
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
fn compare(
    file: &Path,
    made: &str,
    what: &Codegen,
    language: CodegenLanguage,
) -> Result<(), Failure> {
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
    let text = format!(
        "{shown} is stale. Make it anew:\n  ringfence codegen {} --lang {} --out {shown}\n\
         --- {shown}\n+++ from {}\n@@ line {number} @@{}{}",
        what.contracts.display(),
        language.name(),
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

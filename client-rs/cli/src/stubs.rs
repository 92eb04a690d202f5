//! `ringfence stubs`: types of an engine, for the language that calls it by the catalogue.

mod python;

use serde::Serialize;

use crate::args::{Global, Language, Stubs};
use crate::catalogue;
use crate::exit::Failure;
use crate::output;

/// The shape of the JSON; keys are stable.
#[derive(Serialize)]
struct Report<'a> {
    engine: &'a str,
    language: &'static str,
    text: &'a str,
}

pub(crate) fn run(global: &Global, what: &Stubs) -> Result<(), Failure> {
    let all = global.connect()?.catalogue()?;
    let engine = catalogue::engine(&all, &what.engine)?;
    let (language, text) = match what.lang {
        Language::Python => ("python", python::stub(engine)),
    };
    if global.json {
        return output::json(&Report { engine: &engine.name, language, text: &text });
    }
    output::raw(text.as_bytes())
}

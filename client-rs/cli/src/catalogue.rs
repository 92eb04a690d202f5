//! Finding what a name means in a daemon's catalogue, and saying what there is when it means nothing.

use std::fmt::Write as _;

use ringfence::schema::EngineSchema;

use crate::exit::Failure;

/// The engine of this name; if there is none, what there is.
pub(crate) fn engine<'c>(
    catalogue: &'c [EngineSchema],
    name: &str,
) -> Result<&'c EngineSchema, Failure> {
    catalogue.iter().find(|engine| engine.name == name).ok_or_else(|| no_engine(catalogue, name))
}

fn no_engine(catalogue: &[EngineSchema], name: &str) -> Failure {
    let hint = hint(name, catalogue.iter().map(|engine| engine.name.as_str()));
    let mut text = format!("the daemon has no engine `{name}`{hint}\nIts engines:");
    for engine in catalogue {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {:<20}  {}", engine.name, first_line(&engine.doc));
    }
    Failure::usage(text)
}

/// `: did you mean ..?`, if a known word is near, or is one that was not finished.
pub(crate) fn hint<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> String {
    let distance = |known: &'w str| match known.starts_with(word) && !word.is_empty() {
        true => (0, known),
        false => (strsim::damerau_levenshtein(word, known), known),
    };
    let near = known.map(distance).min().filter(|(distance, _)| *distance * 3 <= word.len() + 1);
    near.map_or(String::new(), |(_, known)| format!(": did you mean `{known}`?"))
}

/// What fits into a list.
pub(crate) fn first_line(doc: &str) -> &str {
    doc.lines().next().unwrap_or_default()
}

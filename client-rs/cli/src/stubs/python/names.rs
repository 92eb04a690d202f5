//! Names as Python has them: what may be one, and what the client makes of those that may not.
//!
//! It does *not* know the catalogue.

/// `keyword.kwlist` of Python 3.11 to 3.14.
const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

/// May it be the name of a parameter or an attribute?
pub(super) fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    let starts = chars.next().is_some_and(|c| c == '_' || c.is_alphabetic());
    starts && chars.all(|c| c == '_' || c.is_alphanumeric()) && !KEYWORDS.contains(&text)
}

/// The title that `ringfence._engine.result_type` gives: `search_batch` is `SearchBatch`.
pub(super) fn title(name: &str) -> String {
    name.split('_').map(capitalized).collect()
}

fn capitalized(part: &str) -> String {
    let mut chars = part.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    first + &chars.as_str().to_lowercase()
}

/// The fields of a named tuple as `collections.namedtuple(.., rename=True)` calls them.
pub(super) fn renamed(names: &[&str]) -> Vec<String> {
    let name = |(index, name): (usize, &&str)| {
        let taken = names[..index].contains(name);
        if !is_name(name) || name.starts_with('_') || taken {
            format!("_{index}")
        } else {
            (*name).to_owned()
        }
    };
    names.iter().enumerate().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_those_of_the_client() {
        // From Python: "".join(part.capitalize() for part in name.split("_")).
        for (name, wanted) in
            [("vectors_search_batch", "VectorsSearchBatch"), ("a__bC_2x", "ABc2x"), ("_", "")]
        {
            assert_eq!(title(name), wanted);
        }
    }

    #[test]
    fn what_python_does_not_allow_is_renamed_by_its_place() {
        // From Python: collections.namedtuple("T", [...], rename=True)._fields.
        let names = ["class", "a", "_b", "a", "r#type", "count", "ä", "2x", "match", ""];
        let wanted = ["_0", "a", "_2", "_3", "_4", "count", "ä", "_7", "match", "_9"];
        assert_eq!(renamed(&names), wanted);
    }
}

//! What an error says to people.

/// Bytes that nobody reads to the end.
const MOST: usize = 2000;

/// It says something, in a text that a terminal or a log can show whatever was read: not for ever, and nothing that
/// either obeys.
pub(crate) fn is_fit_to_print(text: &str) {
    assert!(!text.is_empty(), "an error says something");
    assert!(text.len() <= MOST, "{} bytes: {text:.200}", text.len());
    let obeyed = text.chars().find(|letter| letter.is_control() && *letter != '\n');
    assert_eq!(obeyed, None, "{}", text.escape_debug());
}

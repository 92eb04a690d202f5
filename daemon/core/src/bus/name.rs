//! What a topic may be called: words of `A-Z a-z 0-9 _ -`, joined by single points.
//!
//! So a name is safe in a file name, a configuration key and a metric's label, and `base.3` and
//! `actor.00000000000000ff` are names.

use super::error::TopicError;
use super::limits::NAME_BYTES;

/// Checks a topic's name.
pub(super) fn check_name(name: &str) -> Result<(), TopicError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(allowed);
    if name.len() <= NAME_BYTES && name.split('.').all(is_word) {
        return Ok(());
    }
    let shown = name.chars().take(NAME_BYTES).collect();
    Err(TopicError::Name { name: shown, bytes: name.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_joined_by_points() {
        let longest = "x".repeat(NAME_BYTES);
        for name in ["a", "market.ticks", "base.3", "TradeTick", "actor.00000000000000ff", &longest]
        {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let too_long = "x".repeat(NAME_BYTES + 1);
        for name in ["", ".", "a.", ".a", "a..b", "a b", "a/b", "../a", "ä", "a\n", "a*", &too_long]
        {
            let Err(TopicError::Name { bytes, .. }) = check_name(name) else { panic!("{name:?}") };
            assert_eq!(bytes, name.len());
        }
    }
}

//! Who may serve which names.
//!
//! The daemon's own user and root may serve any, a caller in this process too; others what a grant
//! names. It does *not* say who may ask: whoever the daemon lets in.

use ringfence_protocol::limits;

/// Why a grant is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{names}` is no name that can be served, nor the beginning of one with a `*` behind it: use a-z, 0-9, `_`, `.`, `-`"
)]
pub struct GrantError {
    /// What was meant to be names.
    pub names: String,
}

/// Names, and the users who may serve them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    names: String,
    uids: Vec<u32>,
}

impl Grant {
    /// A name, or with a `*` at its end all names that begin so; and users.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn new(names: &str, uids: &[u32]) -> Result<Self, GrantError> {
        let stem = names.strip_suffix('*').unwrap_or(names);
        let fits = !names.is_empty() && stem.len() <= limits::SERVING_NAME_BYTES;
        if !fits || !stem.bytes().all(is_of_a_name) {
            return Err(GrantError { names: names.into() });
        }
        Ok(Self { names: names.into(), uids: uids.to_vec() })
    }

    fn covers(&self, name: &str) -> bool {
        match self.names.strip_suffix('*') {
            Some(stem) => name.starts_with(stem),
            None => name == self.names,
        }
    }
}

/// What whoever runs the engine decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The user that the daemon runs as.
    pub owner: u32,
    /// What others may serve.
    pub grants: Vec<Grant>,
    /// Takes of one session that wait for a request: at most half the slots of a lane, or the answers
    /// find no room.
    pub takes: usize,
}

impl Default for Rules {
    /// Nobody but root serves anything to other processes.
    fn default() -> Self {
        Self { owner: 0, grants: Vec::new(), takes: limits::SERVING_TAKES }
    }
}

impl Rules {
    /// May this user serve this name? `None` calls in process.
    #[must_use]
    pub fn allow(&self, uid: Option<u32>, name: &str) -> bool {
        let Some(uid) = uid else { return true };
        let granted = |grant: &Grant| grant.uids.contains(&uid) && grant.covers(name);
        uid == self.owner || uid == 0 || self.grants.iter().any(granted)
    }
}

/// May this byte stand in a name?
pub(super) fn is_of_a_name(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_a_name_or_the_beginning_of_names() {
        let grants = vec![
            Grant::new("pricing.*", &[1000, 1001]).unwrap(),
            Grant::new("quotes", &[1002]).unwrap(),
        ];
        let rules = Rules { owner: 500, grants, ..Rules::default() };
        for (uid, name, may) in [
            (1000, "pricing.quote", true),
            (1001, "pricing.", true),
            (1000, "pricing", false),
            (1002, "pricing.quote", false),
            (1002, "quotes", true),
            (1002, "quotes.of", false),
            (500, "anything", true),
            (0, "anything", true),
        ] {
            assert_eq!(rules.allow(Some(uid), name), may, "{uid} {name}");
        }
        assert!(rules.allow(None, "anything"));
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for names in ["", "Pricing", "a b", "*.quote", "a*b", "a**"] {
            assert!(Grant::new(names, &[1]).is_err(), "{names}");
        }
        assert!(Grant::new("*", &[1]).is_ok());
    }
}

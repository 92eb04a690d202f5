//! `[serving]`, and grants of any kind: which users may do something with which names.
//!
//! In files a list of tables, `[{ names = "pricing.*", uids = [1000] }]`; in the environment
//! `pricing.*=1000+1001,quotes=1002`. It does *not* ask whether the users exist.

use ringfence_core::serving::Grant;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::error::shown;

/// What is accepted.
pub(super) const RULE: &str = "a list like [{ names = \"pricing.*\", uids = [1000] }]";

/// `[serving]`: who may serve names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Serving {
    /// What users besides the daemon's own and root may serve.
    pub grants: Vec<ServingGrant>,
}

/// Names, and the users who may serve them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServingGrant {
    /// A name, or with a `*` at its end all names that begin so.
    pub names: String,
    /// The users.
    pub uids: Vec<u32>,
}

impl Serving {
    /// What the engine is told.
    pub(crate) fn grants(&self) -> Vec<Grant> {
        grants(&self.grants)
    }
}

/// As the core takes them; all of it was checked.
pub(crate) fn grants(grants: &[ServingGrant]) -> Vec<Grant> {
    grants.iter().filter_map(|grant| Grant::new(&grant.names, &grant.uids).ok()).collect()
}

/// Is this a list of grants? The error says what would be, and what is not.
pub(super) fn check(items: &[Value], most: usize) -> Result<(), String> {
    if items.len() > most {
        return Err(format!("{RULE}; at most {most}"));
    }
    for item in items {
        let grant: ServingGrant = item
            .clone()
            .try_into()
            .map_err(|_| format!("{RULE}; look at {}", shown(&item.to_string())))?;
        let checked = Grant::new(&grant.names, &grant.uids);
        checked.map_err(|error| format!("{RULE}; {}", shown(&error.to_string())))?;
    }
    Ok(())
}

/// Reads `names=uid+uid,..`; `None` if it is not of that form.
pub(super) fn parse(text: &str) -> Option<Value> {
    let grants = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| {
        let (names, uids) = part.split_once('=')?;
        let uids: Option<Vec<Value>> =
            uids.split('+').map(|uid| uid.parse().ok().map(Value::Integer)).collect();
        let grant = [("names".to_owned(), Value::from(names)), ("uids".to_owned(), uids?.into())];
        Some(Value::Table(Table::from_iter(grant)))
    });
    grants.collect::<Option<Vec<_>>>().map(Value::Array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_the_same_as_a_file() {
        let file: Table =
            "grants = [{ names = 'pricing.*', uids = [1000, 1001] }, { names = 'q', uids = [7] }]"
                .parse()
                .unwrap();
        assert_eq!(parse("pricing.*=1000+1001, q=7").as_ref(), file.get("grants"));
        let serving: Serving = file.try_into().unwrap();
        assert_eq!(serving.grants().len(), 2);
        for text in ["pricing", "q=", "q=x", "q=1+", "=1,q"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_grant_is_told_from_what_is() {
        let check = |text: &str| {
            let table: Table = format!("grants = {text}").parse().unwrap();
            super::check(table["grants"].as_array().unwrap(), 2)
        };
        assert_eq!(check("[]"), Ok(()));
        assert_eq!(check("[{ names = '*', uids = [0, 4294967295] }]"), Ok(()));
        for (text, said) in [
            ("[1]", "look at 1"),
            ("[{ names = 'a' }]", "look at"),
            ("[{ names = 'a', uids = [-1] }]", "look at"),
            ("[{ names = 'a', uids = [1], gids = [1] }]", "look at"),
            ("[{ names = 'A', uids = [1] }]", "`A` is no name"),
            ("[{ names = 'a*b', uids = [1] }]", "`a*b` is no name"),
            ("[1, 2, 3]", "at most 2"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}

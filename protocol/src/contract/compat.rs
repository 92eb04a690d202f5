//! What a new version of a contract means for programs that were built with the old one.
//!
//! Invariants: a report follows from layouts and rules alone, as the digest does. Layouts are fixed, so
//! any change of a field breaks both ways; what can be had one way only is new messages and rules.
//! It does *not* decide who may connect.

use std::fmt;

use crate::contract::{Contract, Field, FieldType, MessageType};

/// Who still understands whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compatibility {
    /// Both take all that the other sends.
    Full,
    /// Programs with the old contract take all that those with the new one send.
    Forward,
    /// Programs with the new contract take all that those with the old one send.
    Backward,
    /// Neither.
    Incompatible,
}

impl Compatibility {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Compatibility::Full => "full",
            Compatibility::Forward => "forward",
            Compatibility::Backward => "backward",
            Compatibility::Incompatible => "incompatible",
        }
    }
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // the sentences of `Change::what` are their documentation
pub enum Issue {
    SchemaMismatch,
    VersionTooOld,
    MessageAdded,
    MessageRemoved,
    TypeIdChanged,
    FieldAdded,
    FieldMoved,
    FieldTypeChanged,
    FieldBecameOptional,
    FieldBecameRequired,
    RequiredFieldRemoved,
    OptionalFieldRemoved,
    RuleAdded,
    RuleRemoved,
}

impl Issue {
    /// Do new programs refuse something of old ones?
    #[must_use]
    pub const fn breaks_backward(self) -> bool {
        !matches!(self, Issue::MessageAdded | Issue::RuleRemoved)
    }

    /// Do old programs refuse something of new ones?
    #[must_use]
    pub const fn breaks_forward(self) -> bool {
        !matches!(self, Issue::MessageRemoved | Issue::RuleAdded)
    }
}

/// One change with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its kind.
    pub issue: Issue,
    /// `Message.field`, `Message` or `schema`.
    pub path: String,
    /// What it was and is.
    pub what: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.issue, self.path, self.what)
    }
}

/// All changes from one contract to the next, and what they come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who still understands whom.
    pub compatibility: Compatibility,
    /// The changes, by message number and then field by field.
    pub changes: Vec<Change>,
}

impl Contract {
    /// What has changed since `old`; both are checked.
    #[must_use]
    pub fn since(&self, old: &Contract) -> Report {
        let mut changes = Vec::new();
        let mut add = |issue, path: &str, what: String| {
            changes.push(Change { issue, path: path.into(), what });
        };
        if old.id != self.id {
            add(Issue::SchemaMismatch, "schema", format!("id {:#x}, was {:#x}", self.id, old.id));
        }
        if old.version < self.min_compatible {
            let text = format!("version {} is under min_compatible", old.version);
            add(Issue::VersionTooOld, "schema", format!("{text} {}", self.min_compatible));
        }
        for was in &old.messages {
            match self.message(&was.name) {
                Some(is) => messages(was, is, &mut add),
                None => add(Issue::MessageRemoved, &was.name, format!("was {}", was.type_id)),
            }
        }
        for is in self.messages.iter().filter(|is| old.message(&is.name).is_none()) {
            add(Issue::MessageAdded, &is.name, format!("is {}", is.type_id));
        }
        let backward = changes.iter().all(|change| !change.issue.breaks_backward());
        let forward = changes.iter().all(|change| !change.issue.breaks_forward());
        let compatibility = match (backward, forward) {
            (true, true) => Compatibility::Full,
            (true, false) => Compatibility::Backward,
            (false, true) => Compatibility::Forward,
            (false, false) => Compatibility::Incompatible,
        };
        Report { compatibility, changes }
    }
}

fn messages(was: &MessageType, is: &MessageType, add: &mut impl FnMut(Issue, &str, String)) {
    let name = &was.name;
    if was.type_id != is.type_id {
        add(Issue::TypeIdChanged, name, format!("is {}, was {}", is.type_id, was.type_id));
    }
    let (old_places, new_places) = (was.layout().offsets, is.layout().offsets);
    for (field, old_at) in was.fields.iter().zip(old_places) {
        let path = format!("{name}.{}", field.name);
        let mut now = is.fields.iter().zip(&new_places);
        match now.find(|(other, _)| other.name == field.name) {
            None if matches!(field.ty, FieldType::Option(_)) => {
                add(Issue::OptionalFieldRemoved, &path, format!("was {}", field.ty));
            }
            None => add(Issue::RequiredFieldRemoved, &path, format!("was {}", field.ty)),
            Some((other, at)) => {
                if let Some(issue) = type_change(&field.ty, &other.ty) {
                    add(issue, &path, format!("is {}, was {}", other.ty, field.ty));
                } else if *at != old_at {
                    add(Issue::FieldMoved, &path, format!("is at {at}, was at {old_at}"));
                }
                rules(field, other, &path, add);
            }
        }
    }
    let known = |field: &Field| was.fields.iter().any(|other| other.name == field.name);
    for field in is.fields.iter().filter(|field| !known(field)) {
        add(Issue::FieldAdded, &format!("{name}.{}", field.name), format!("is {}", field.ty));
    }
}

fn type_change(was: &FieldType, is: &FieldType) -> Option<Issue> {
    match (was, is) {
        _ if was == is => None,
        (FieldType::Option(inner), _) if **inner == *is => Some(Issue::FieldBecameRequired),
        (_, FieldType::Option(inner)) if **inner == *was => Some(Issue::FieldBecameOptional),
        _ => Some(Issue::FieldTypeChanged),
    }
}

/// A rule with another number is one removed and one added.
fn rules(was: &Field, is: &Field, path: &str, add: &mut impl FnMut(Issue, &str, String)) {
    for rule in was.rules.iter().filter(|rule| !is.rules.contains(rule)) {
        add(Issue::RuleRemoved, path, format!("was {rule}"));
    }
    for rule in is.rules.iter().filter(|rule| !was.rules.contains(rule)) {
        add(Issue::RuleAdded, path, format!("is {rule}"));
    }
}

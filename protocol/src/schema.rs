//! The catalogue: engines, their methods and the layouts of these, with a digest for each engine.
//!
//! The code in [`crate::api`] (or in a user's own engine) is the single source. A digest is the
//! SHA-256 of an engine's canonical text: names, numbers, types, offsets, idempotency, time-outs;
//! no documentation. Two builds with equal digests agree on every byte.
//!
//! It does *not* carry values: see [`mod@crate::message`].

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::message::{FieldType, Message, walk_fixed};

/// SHA-256 of an engine's canonical text.
pub type Digest = [u8; 32];

/// A field of a layout, with the place that it has there.
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct FieldSchema {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: FieldType,
    /// Bytes from the start of the message: of a scalar its value, of a variable field its u32
    /// count. The last field, if variable, has no count and stands behind all others.
    pub offset: u32,
    /// What it means; no part of the digest.
    pub doc: String,
}

/// The fields of a request or a reply, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Layout {
    /// The fields.
    pub fields: Vec<FieldSchema>,
    /// Bytes before the first variable field's elements.
    pub fixed: u32,
}

impl Layout {
    /// The layout that `M` declares.
    #[must_use]
    pub fn of<'a, M: Message<'a>>() -> Self {
        let mut fields: Vec<FieldSchema> = M::FIELDS
            .iter()
            .map(|f| FieldSchema {
                name: f.name.into(),
                ty: f.ty,
                offset: 0,
                doc: f.doc.trim().into(),
            })
            .collect();
        let fixed = walk_fixed(M::FIELDS.iter().map(|f| f.ty), |index, offset| {
            fields[index].offset = offset as u32;
        });
        Self { fields, fixed: fixed as u32 }
    }

    fn canonical(&self, label: &str, out: &mut String) {
        let _ = writeln!(out, "  {label}");
        for field in &self.fields {
            let _ = writeln!(out, "    {}", field.canonical());
        }
    }
}

impl FieldSchema {
    fn canonical(&self) -> String {
        let ty = match self.ty {
            FieldType::One(scalar) => scalar.name().to_owned(),
            FieldType::Many(scalar) => format!("[{}]", scalar.name()),
            FieldType::Text => "str".to_owned(),
        };
        format!("{} {} at {}", self.name, ty, self.offset)
    }
}

/// A method of an engine.
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct MethodSchema {
    /// Its number within its engine.
    pub op: u16,
    /// Its name within its engine.
    pub name: String,
    /// The layout of its request.
    pub request: Layout,
    /// The layout of its reply.
    pub reply: Layout,
    /// May it be run again when nobody knows whether it took effect?
    pub idempotent: bool,
    /// How long a client waits by default; `None` is for ever.
    pub timeout_ms: Option<u32>,
    /// What it does; no part of the digest.
    pub doc: String,
}

impl MethodSchema {
    /// A method that takes a `Q` and answers a `P`: not idempotent, with the default time-out of
    /// [`crate::limits::DEFAULT_TIMEOUT_MS`].
    #[must_use]
    pub fn new<'q, 'p, Q: Message<'q>, P: Message<'p>>(op: u16, name: &str, doc: &str) -> Self {
        Self {
            op,
            name: name.into(),
            request: Layout::of::<Q>(),
            reply: Layout::of::<P>(),
            idempotent: false,
            timeout_ms: Some(crate::limits::DEFAULT_TIMEOUT_MS),
            doc: doc.into(),
        }
    }

    /// It may be run again when nobody knows whether it took effect.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// How long a client waits by default; `None` is for ever.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: Option<u32>) -> Self {
        self.timeout_ms = timeout_ms;
        self
    }

    fn canonical(&self, out: &mut String) {
        let timeout = self.timeout_ms.map_or_else(|| "none".to_owned(), |ms| ms.to_string());
        let _ = writeln!(
            out,
            " {} {} idempotent={} timeout_ms={timeout}",
            self.op, self.name, self.idempotent
        );
        self.request.canonical("request", out);
        self.reply.canonical("reply", out);
    }
}

/// An engine with its methods.
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct EngineSchema {
    /// Its name, `[a-z][a-z0-9_]{0,31}`.
    pub name: String,
    /// Its methods; numbers and names are unique.
    pub methods: Vec<MethodSchema>,
    /// What it is for; no part of the digest.
    pub doc: String,
}

impl EngineSchema {
    /// An engine of this name.
    #[must_use]
    pub fn new(name: &str, doc: &str, methods: Vec<MethodSchema>) -> Self {
        Self { name: name.into(), methods, doc: doc.into() }
    }

    /// The method of this name.
    #[must_use]
    pub fn method(&self, name: &str) -> Option<&MethodSchema> {
        self.methods.iter().find(|method| method.name == name)
    }

    /// The text that the digest is taken of.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut out = format!("engine {}\n", self.name);
        for method in &self.methods {
            method.canonical(&mut out);
        }
        out
    }

    /// SHA-256 of [`canonical`](Self::canonical).
    #[must_use]
    pub fn digest(&self) -> Digest {
        Sha256::digest(self.canonical()).into()
    }

    /// Where `method` (an own one) differs from what `there` has under its name, as a sentence that
    /// names the first difference; `None` if nothing does.
    #[must_use]
    pub fn first_difference(&self, method: &str, there: &EngineSchema) -> Option<String> {
        let here = self.method(method)?;
        let path = format!("{}.{method}", self.name);
        let Some(other) = there.method(method) else {
            return Some(format!("{path}: here only, not there"));
        };
        if here.op != other.op {
            return Some(format!("{path}: number {} here, {} there", here.op, other.op));
        }
        layout_difference(&here.request, &other.request)
            .map(|text| format!("{path} request: {text}"))
            .or_else(|| {
                layout_difference(&here.reply, &other.reply)
                    .map(|text| format!("{path} reply: {text}"))
            })
    }
}

fn layout_difference(here: &Layout, there: &Layout) -> Option<String> {
    for field in &here.fields {
        let Some(other) = there.fields.iter().find(|other| other.name == field.name) else {
            return Some(format!("field `{}` here only, not there", field.name));
        };
        if field.offset != other.offset {
            return Some(format!(
                "field `{}` at {} here, at {} there",
                field.name, field.offset, other.offset
            ));
        }
        if field.ty != other.ty {
            return Some(format!(
                "field `{}` here, `{}` there",
                field.canonical(),
                other.canonical()
            ));
        }
    }
    let extra = there
        .fields
        .iter()
        .find(|other| here.fields.iter().all(|field| field.name != other.name))?;
    Some(format!("field `{}` there only, not here", extra.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::message! {
        /// As this build has it.
        struct Here<'a> { k: u32, ef: u32, query: &'a [f32] }
    }
    crate::message! {
        /// As the other build has it.
        struct There<'a> { k: u64, ef: u32, query: &'a [f32] }
    }

    fn engine(method: MethodSchema) -> EngineSchema {
        EngineSchema::new("vectors", "", vec![method])
    }

    #[test]
    fn a_difference_is_named_by_field_and_offset() {
        let here = engine(MethodSchema::new::<Here, Here>(1, "search", ""));
        let there = engine(MethodSchema::new::<There, Here>(1, "search", ""));
        assert_ne!(here.digest(), there.digest());
        let text = here.first_difference("search", &there).unwrap();
        assert_eq!(
            text,
            "vectors.search request: field `k` here, `k u64 at 0` there"
                .replace("`k` here", "`k u32 at 0` here")
        );
        assert_eq!(here.first_difference("search", &here.clone()), None);
    }

    #[test]
    fn documentation_is_no_part_of_the_digest() {
        let one = engine(MethodSchema::new::<Here, Here>(1, "search", "finds"));
        let two = engine(MethodSchema::new::<Here, Here>(1, "search", "looks up"));
        assert_eq!(one.digest(), two.digest());
        let other = engine(MethodSchema::new::<Here, Here>(1, "search", "finds").idempotent());
        assert_ne!(one.digest(), other.digest());
    }
}

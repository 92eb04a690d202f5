//! `ringfence schema`: the daemon's catalogue, for people and as JSON.
//!
//! It does *not* interpret: what is shown is what the daemon says of its engines, layouts to the byte.

use std::time::Duration;

use ringfence::dynamic::type_name;
use ringfence::schema::{EngineSchema, FieldSchema, Layout, MethodSchema};
use serde::Serialize;

use crate::args::{Global, Schema};
use crate::catalogue;
use crate::exit::Failure;
use crate::output::{self, age, bold, printable, wrapped};
use crate::table::WIDTH;

/// The shape of the JSON; keys are stable.
#[derive(Serialize)]
struct Report<'a> {
    engines: Vec<Engine<'a>>,
}

#[derive(Serialize)]
struct Engine<'a> {
    name: &'a str,
    doc: &'a str,
    /// Hexadecimal. Equal digests agree on every byte of every message.
    digest: String,
    methods: Vec<Method<'a>>,
}

#[derive(Serialize)]
struct Method<'a> {
    name: &'a str,
    number: u16,
    doc: &'a str,
    idempotent: bool,
    /// `null` is for ever.
    timeout_ms: Option<u32>,
    request: Message<'a>,
    reply: Message<'a>,
}

#[derive(Serialize)]
struct Message<'a> {
    /// Bytes before the elements of the first str or list.
    fixed_bytes: u32,
    fields: Vec<Field<'a>>,
}

#[derive(Serialize)]
struct Field<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    ty: String,
    offset: u32,
    doc: &'a str,
}

pub(crate) fn run(global: &Global, what: &Schema) -> Result<(), Failure> {
    let all = global.connect()?.catalogue()?;
    let shown = match &what.engine {
        Some(name) => std::slice::from_ref(catalogue::engine(&all, name)?),
        None => &all[..],
    };
    if global.json {
        return output::json(&Report { engines: shown.iter().map(Engine::of).collect() });
    }
    output::text(&shown.iter().map(engine).collect::<Vec<_>>().join("\n"))
}

impl<'a> Engine<'a> {
    fn of(engine: &'a EngineSchema) -> Self {
        Self {
            name: &engine.name,
            doc: &engine.doc,
            digest: engine.digest().iter().map(|byte| format!("{byte:02x}")).collect(),
            methods: engine.methods.iter().map(Method::of).collect(),
        }
    }
}

impl<'a> Method<'a> {
    fn of(method: &'a MethodSchema) -> Self {
        Self {
            name: &method.name,
            number: method.op,
            doc: &method.doc,
            idempotent: method.idempotent,
            timeout_ms: method.timeout_ms,
            request: Message::of(&method.request),
            reply: Message::of(&method.reply),
        }
    }
}

impl<'a> Message<'a> {
    fn of(layout: &'a Layout) -> Self {
        let field = |field: &'a FieldSchema| Field {
            name: &field.name,
            ty: type_name(field.ty),
            offset: field.offset,
            doc: &field.doc,
        };
        Self { fixed_bytes: layout.fixed, fields: layout.fields.iter().map(field).collect() }
    }
}

fn engine(engine: &EngineSchema) -> String {
    let mut out = format!("{}\n", bold(&printable(&engine.name)));
    out.push_str(&indented(&engine.doc, 2));
    for method in &engine.methods {
        out.push_str(&self::method(&engine.name, method));
    }
    out
}

fn method(engine: &str, method: &MethodSchema) -> String {
    let repeats = if method.idempotent { "idempotent" } else { "not idempotent" };
    let waits = match method.timeout_ms {
        Some(ms) => format!("waits {}", age(Duration::from_millis(ms.into()))),
        None => "waits for ever".to_owned(),
    };
    let name = bold(&printable(&format!("{engine}.{}", method.name)));
    let mut out = format!("\n  {name}  number {}, {repeats}, {waits}\n", method.op);
    out.push_str(&indented(&method.doc, 4));
    for (title, layout) in [("takes", &method.request), ("gives", &method.reply)] {
        let nothing = if layout.fields.is_empty() { " nothing" } else { "" };
        out.push_str(&format!("    {title}{nothing}\n{}", fields(layout)));
    }
    out
}

/// A line a field; the documentation goes on below where it started.
fn fields(layout: &Layout) -> String {
    let width = |cell: fn(&FieldSchema) -> String| {
        layout.fields.iter().map(|field| cell(field).chars().count()).max().unwrap_or(0)
    };
    let name = |field: &FieldSchema| printable(&field.name);
    let names = width(name);
    let types = width(|field| type_name(field.ty));
    let offsets = width(|field| field.offset.to_string());
    let mut out = String::new();
    for field in &layout.fields {
        let (name, ty) = (name(field), type_name(field.ty));
        let head = format!("      {name:<names$}  {ty:<types$}  at {:<offsets$}  ", field.offset);
        let indent = head.chars().count();
        let doc = wrapped(&printable(&field.doc), WIDTH.saturating_sub(indent).max(20));
        let rest = format!("\n{:indent$}", "");
        out.push_str(format!("{head}{}", doc.join(&rest)).trim_end());
        out.push('\n');
    }
    out
}

/// Documentation in lines; none if there is none.
fn indented(doc: &str, indent: usize) -> String {
    let lines = wrapped(&printable(doc), WIDTH - indent);
    let full = lines.iter().filter(|line| !line.is_empty());
    full.map(|line| format!("{:indent$}{line}\n", "")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_protocol::api;

    #[test]
    fn people_see_every_field_with_its_place_in_80_columns() {
        let shown = engine(&api::vectors::schema());
        let plain = shown.replace("\x1b[1m", "").replace("\x1b[0m", "");
        assert!(plain.lines().all(|line| line.chars().count() <= WIDTH), "{plain}");
        let search = plain.split("\n\n").find(|text| text.contains("vectors.search ")).unwrap();
        for part in ["number 6, idempotent, waits 30s", "Finds the nearest rows", "[f32]"] {
            assert!(search.contains(part), "{part}: {search}");
        }
        let create = plain.split("\n\n").find(|text| text.contains("vectors.create")).unwrap();
        assert!(create.ends_with("gives nothing"), "{create}");
    }

    #[test]
    fn what_a_daemon_says_does_not_steer_the_terminal() {
        let evil = EngineSchema::new("e", "a\x1b[2Jb", Vec::new());
        assert!(engine(&evil).contains("a\\u{1b}[2Jb"));
    }
}

//! A Rust module of message structs over `ringfence::contract`.
//!
//! Invariants: the text follows from the contract alone, and is as rustfmt leaves it where it stands
//! still; it goes by modules, so that a message may be called whatever a contract lets it; the
//! compiler compares every offset and size with what the types really take.

use std::fmt::Write as _;

use ringfence_protocol::contract::{Contract, Field, FieldType, MessageType, Number, Rule};

use super::hex;
use crate::output::{printable, wrapped};

/// Rust's keywords that a field could be called; `self`, `super` and `crate` no contract takes.
const KEYWORDS: [&str; 48] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let",
    "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return",
    "static", "struct", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield",
];

/// The text of the module.
pub(super) fn module(contract: &Contract) -> String {
    let mut out = head(contract);
    for message in &contract.messages {
        out.push('\n');
        out.push_str(&structure(message));
        out.push_str(&implementation(message));
    }
    out
}

fn head(contract: &Contract) -> String {
    let (id, version, least) = (contract.id, contract.version, contract.min_compatible);
    let bytes: String = contract
        .digest()
        .chunks(8)
        .map(|row| {
            let row: Vec<String> = row.iter().map(|byte| format!("0x{byte:02x}")).collect();
            format!("    {},\n", row.join(", "))
        })
        .collect();
    format!(
        "\
// Messages of the contract {id:#010x}, version {version}.
//
// Made by `ringfence codegen contracts.yaml --lang rust`. Change the contract and make it anew.

/// Which family of messages this is.
#[allow(dead_code, unreachable_pub)]
pub const SCHEMA_ID: u32 = {id:#010x};
/// The version of the contract.
#[allow(dead_code, unreachable_pub)]
pub const SCHEMA_VERSION: u16 = {version};
/// The oldest version whose programs may take part.
#[allow(dead_code, unreachable_pub)]
pub const SCHEMA_MIN_COMPATIBLE: u16 = {least};
/// SHA-256 of the contract's canonical text, as text.
#[allow(dead_code, unreachable_pub)]
pub const SCHEMA_DIGEST_HEX: &str =
    \"{}\";
/// SHA-256 of the contract's canonical text.
#[allow(dead_code, unreachable_pub)]
#[rustfmt::skip]
pub const SCHEMA_DIGEST: [u8; 32] = [
{bytes}];
/// The contract's canonical text.
#[allow(dead_code, unreachable_pub)]
pub const SCHEMA: &str = \"\\
{}\";
",
        hex(contract),
        contract.canonical(),
    )
}

fn structure(message: &MessageType) -> String {
    let mut out = comment(0, &message.doc, &format!("The message `{}`.", message.name));
    out.push_str("#[allow(dead_code, unreachable_pub)]\n#[derive(Clone, Debug, PartialEq)]\n");
    if message.fields.is_empty() {
        let _ = writeln!(out, "pub struct {} {{}}", message.name);
        return out;
    }
    let _ = writeln!(out, "pub struct {} {{", message.name);
    for field in &message.fields {
        out.push_str(&comment(4, &field.doc, &format!("`{}`", field.ty)));
        let _ = writeln!(out, "    pub {}: {},", identifier(&field.name), value(&field.ty));
    }
    out.push_str("}\n");
    out
}

fn implementation(message: &MessageType) -> String {
    let (name, type_id) = (&message.name, message.type_id);
    let layout = message.layout();
    let size = layout.size;
    let (mut writes, mut reads, mut asserts, mut names) =
        (String::new(), String::new(), String::new(), String::new());
    let mut end = 0;
    for (field, at) in message.fields.iter().zip(&layout.offsets) {
        let (ident, codec, rules) = (identifier(&field.name), codec(&field.ty), rules(field));
        let label = &field.name;
        let _ = writeln!(
            writes,
            "            writer.put::<{codec}>(\"{label}\", {at}, &self.{ident}, {rules})?;"
        );
        let _ = writeln!(
            reads,
            "            let {} = reader.get::<{codec}>(\"{label}\", {at}, {rules})?;",
            local(label)
        );
        let _ = writeln!(names, "                {ident}: {},", local(&field.name));
        let bytes = field.ty.size();
        let _ = writeln!(asserts, "    record::stands::<{codec}>({end}, {at}, {bytes});");
        end = at + field.ty.size();
    }
    let binding = if message.fields.is_empty() { "" } else { "mut " };
    let made =
        if names.is_empty() { "Self {}".into() } else { format!("Self {{\n{names}            }}") };
    let align = layout.align;
    let uses = if message.fields.is_empty() { "self, " } else { "self, codec, " };
    format!(
        "\
#[rustfmt::skip]
const _: () = {{
    use ::ringfence::contract::{{{uses}record}};

{asserts}    record::ends({end}, {align}, {size});

    impl contract::TypedMessage for {name} {{
        const NAME: &'static str = \"{name}\";
        const TYPE_ID: u16 = {type_id};
        const SIZE: usize = {size};

        fn write_to(&self, out: &mut [u8]) -> Result<(), contract::Invalid> {{
            let {binding}writer = record::Writer::new::<Self>(out)?;
{writes}            writer.end();
            Ok(())
        }}

        fn from_bytes(data: &[u8]) -> Result<Self, contract::Invalid> {{
            let {binding}reader = record::Reader::new::<Self>(data)?;
{reads}            reader.end()?;
            Ok({made})
        }}
    }}
}};
",
    )
}

fn identifier(name: &str) -> String {
    if KEYWORDS.contains(&name) { format!("r#{name}") } else { name.into() }
}

/// A variable that meets no other name.
fn local(name: &str) -> String {
    format!("field_{name}")
}

/// What values are in Rust.
fn value(ty: &FieldType) -> String {
    match ty {
        FieldType::U256 => "::ringfence::contract::U256".into(),
        FieldType::Uuid => "::ringfence::contract::Uuid".into(),
        FieldType::Datetime => "::ringfence::contract::Datetime".into(),
        FieldType::Decimal => "::ringfence::contract::Decimal".into(),
        FieldType::Json(_) => "::ringfence::contract::Json".into(),
        FieldType::String(_) => "String".into(),
        FieldType::Bytes(_) => "Vec<u8>".into(),
        FieldType::Array(element, n) => format!("[{}; {n}]", value(element)),
        FieldType::Vec(element, _) => format!("Vec<{}>", value(element)),
        FieldType::Option(inner) => format!("Option<{}>", value(inner)),
        plain => plain.to_string(),
    }
}

/// How they lie in a message.
fn codec(ty: &FieldType) -> String {
    let path = "codec::";
    let rest = match ty {
        FieldType::String(n) => format!("Str<{n}>"),
        FieldType::Json(n) => format!("JsonText<{n}>"),
        FieldType::Bytes(n) => format!("Bytes<{n}>"),
        FieldType::Array(element, n) => match **element {
            FieldType::U8 => format!("ByteArray<{n}>"),
            _ => format!("Array<{}, {n}>", codec(element)),
        },
        FieldType::Vec(element, n) => match **element {
            FieldType::U8 => format!("Bytes<{n}>"),
            _ => format!("List<{}, {n}>", codec(element)),
        },
        FieldType::Option(inner) => format!("Opt<{}>", codec(inner)),
        plain => format!("Plain<{}>", value(plain).replace("::ringfence::", "")),
    };
    format!("{path}{rest}")
}

fn rules(field: &Field) -> String {
    let path = "contract::";
    let number = |number: &Number| match number {
        Number::Int(value) => format!("{path}Number::Int({value})"),
        Number::Float(value) => format!("{path}Number::Float({value:?})"),
    };
    let rules = field.rules.iter().map(|rule| match rule {
        Rule::MinLength(n) => format!("{path}Rule::MinLength({n})"),
        Rule::MaxLength(n) => format!("{path}Rule::MaxLength({n})"),
        Rule::Min(n) => format!("{path}Rule::Min({})", number(n)),
        Rule::Max(n) => format!("{path}Rule::Max({})", number(n)),
        _ => format!("{path}Rule::NotEmpty"),
    });
    format!("&[{}]", rules.collect::<Vec<_>>().join(", "))
}

fn comment(indent: usize, doc: &str, otherwise: &str) -> String {
    let text = if doc.trim().is_empty() { otherwise.to_owned() } else { printable(doc) };
    let lines = wrapped(&text, 92 - indent).into_iter();
    lines.map(|line| format!("{:indent$}/// {line}\n", "").replace(" \n", "\n")).collect()
}

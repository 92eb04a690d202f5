//! A Python module of message classes over `ringfence.messages`.
//!
//! Invariants: the text follows from the contract alone; whatever fields are called, it is valid
//! Python that mypy and pyright take in their strict modes. Its own names start with `_`; a builtin
//! that a field with a default hides is spelled `_builtins.int`.

use std::fmt::Write as _;

use ringfence_protocol::contract::{Contract, Field, FieldType, MessageType, Number, Rule};

use super::hex;
use crate::output::{printable, wrapped};

/// Columns of a line where it can be broken.
const WIDTH: usize = 100;

/// Python's keywords that a field could be called.
const KEYWORDS: [&str; 32] = [
    "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif",
    "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda",
    "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// The text of the module.
pub(super) fn module(contract: &Contract) -> String {
    let mut classes = String::new();
    for message in &contract.messages {
        let _ = write!(classes, "\n\n{}", class(message));
    }
    head(contract, &classes) + &classes
}

fn head(contract: &Contract, classes: &str) -> String {
    let mut imports = String::new();
    for module in ["builtins", "decimal", "uuid"] {
        if classes.contains(&format!("_{module}.")) {
            let _ = writeln!(imports, "import {module} as _{module}");
        }
    }
    if classes.contains("_Annotated[") {
        imports.push_str("from typing import Annotated as _Annotated\n");
    }
    let blank = if imports.is_empty() { "" } else { "\n" };
    let names: String =
        contract.messages.iter().map(|message| format!("    \"{}\",\n", message.name)).collect();
    let (id, version, least) = (contract.id, contract.version, contract.min_compatible);
    format!(
        "\
\"\"\"Messages of the contract {id:#010x}, version {version}.

Made by `ringfence codegen contracts.yaml --lang python`. Change the contract and make it anew.
\"\"\"

{imports}{blank}from ringfence import messages as _messages

__all__ = [
    \"SCHEMA\",
    \"SCHEMA_DIGEST\",
    \"SCHEMA_DIGEST_HEX\",
    \"SCHEMA_ID\",
    \"SCHEMA_MIN_COMPATIBLE\",
    \"SCHEMA_VERSION\",
{names}]

SCHEMA_ID = {id:#010x}
SCHEMA_VERSION = {version}
SCHEMA_MIN_COMPATIBLE = {least}
SCHEMA_DIGEST_HEX = \"{}\"
SCHEMA_DIGEST = bytes.fromhex(SCHEMA_DIGEST_HEX)
SCHEMA = \"\"\"\\
{}\"\"\"
",
        hex(contract),
        contract.canonical(),
    )
}

fn class(message: &MessageType) -> String {
    let layout = message.layout();
    let offsets: Vec<String> = layout.offsets.iter().map(ToString::to_string).collect();
    let comma = if offsets.len() == 1 { "," } else { "" };
    let (type_id, size) = (message.type_id, layout.size);
    let mut out = call(
        "@_messages.message",
        &[
            format!("type_id={type_id}"),
            format!("size={size}"),
            format!("offsets=({}{comma})", offsets.join(", ")),
        ],
    );
    let _ = writeln!(out, "class {}(_messages.Message):", message.name);
    let doc = docstring(&message.doc);
    out.push_str(&doc);
    if message.fields.is_empty() && doc.is_empty() {
        out.push_str("    pass\n");
    }
    if !message.fields.is_empty() && !doc.is_empty() {
        out.push('\n');
    }
    let defaults = message.fields.iter().rev();
    let defaults = defaults.take_while(|field| matches!(field.ty, FieldType::Option(_))).count();
    let first = message.fields.len() - defaults;
    let hidden: Vec<&str> = message.fields[first..].iter().map(|field| &*field.name).collect();
    for (index, field) in message.fields.iter().enumerate() {
        let default = if index >= first { " = None" } else { "" };
        out.push_str(&attribute(field, &hidden, default));
    }
    out
}

fn attribute(field: &Field, hidden: &[&str], default: &str) -> String {
    let name = &field.name;
    let name = if KEYWORDS.contains(&&**name) { format!("{name}_") } else { name.clone() };
    let mut wire = vec![format!("\"{}\"", field.ty)];
    wire.extend(field.rules.iter().map(rule));
    let ty = annotation(&field.ty, hidden);
    let line =
        format!("    {name}: _Annotated[{ty}, _messages.Wire({})]{default}\n", wire.join(", "));
    let line = match line.chars().count() > WIDTH + 1 {
        false => line,
        true => {
            let parts: String = wire.iter().map(|part| format!("            {part},\n")).collect();
            format!(
                "    {name}: _Annotated[\n        {ty},\n        _messages.Wire(\n{parts}        ),\n    \
                 ]{default}\n"
            )
        }
    };
    line + &docstring(&field.doc)
}

fn rule(rule: &Rule) -> String {
    let name = rule.name();
    match rule {
        Rule::MinLength(n) | Rule::MaxLength(n) => format!("{name}={n}"),
        Rule::Min(Number::Float(n)) | Rule::Max(Number::Float(n)) => format!("{name}={n:?}"),
        Rule::Min(Number::Int(n)) | Rule::Max(Number::Int(n)) => format!("{name}={n}"),
        _ => format!("{name}=True"),
    }
}

/// What values are in Python.
fn annotation(ty: &FieldType, hidden: &[&str]) -> String {
    let builtin = |name: &str| match hidden.contains(&name) {
        true => format!("_builtins.{name}"),
        false => name.to_owned(),
    };
    match ty {
        FieldType::Bool => builtin("bool"),
        FieldType::F32 | FieldType::F64 => builtin("float"),
        FieldType::Uuid => "_uuid.UUID".into(),
        FieldType::Datetime => "_messages.Timestamp".into(),
        FieldType::Decimal => "_decimal.Decimal".into(),
        FieldType::String(_) => builtin("str"),
        FieldType::Json(_) => "_messages.Json".into(),
        FieldType::Bytes(_) => builtin("bytes"),
        FieldType::Array(element, _) | FieldType::Vec(element, _) => match **element {
            FieldType::U8 => builtin("bytes"),
            _ => format!("{}[{}]", builtin("list"), annotation(element, hidden)),
        },
        FieldType::Option(inner) => format!("{} | None", annotation(inner, hidden)),
        _ => builtin("int"),
    }
}

fn call(function: &str, arguments: &[String]) -> String {
    let line = format!("{function}({})\n", arguments.join(", "));
    if line.chars().count() <= WIDTH + 1 {
        return line;
    }
    let lines: String = arguments.iter().map(|one| format!("    {one},\n")).collect();
    format!("{function}(\n{lines})\n")
}

/// Documentation as a literal; nothing if there is none.
fn docstring(text: &str) -> String {
    let safe = printable(text).replace('\\', "\\\\").replace('"', "\\\"");
    let lines: Vec<String> = wrapped(&safe, WIDTH - 10).into_iter().collect();
    match &lines[..] {
        [] => String::new(),
        [line] if line.is_empty() => String::new(),
        [line] => format!("    \"\"\"{line}\"\"\"\n"),
        [first, rest @ ..] => {
            let rest: String = rest.iter().map(|line| format!("    {line}\n")).collect();
            format!("    \"\"\"{first}\n{rest}    \"\"\"\n")
        }
    }
}

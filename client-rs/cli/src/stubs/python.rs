//! A `.pyi` that is true of `client.engine(NAME)` of the Python client.
//!
//! Invariants: whatever an engine calls its methods and fields, the stub is valid Python, and what
//! it allows the client takes. Its own names start with `_`, so that they meet nobody's; builtins
//! that an attribute hides are spelled `_builtins.int`. Classes and fields are named as
//! `ringfence._engine.result_type` names them.
//!
//! It does *not* type `engine["method"]`: that is a `Method` for every name.

mod names;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ringfence::dynamic::type_name;
use ringfence::message::{FieldType, Scalar};
use ringfence::schema::{EngineSchema, FieldSchema, Layout, MethodSchema};

use crate::output::{printable, wrapped};
use names::{is_name, renamed, title};

/// Columns of a line of code where it can be broken.
const WIDTH: usize = 100;

/// Attributes that `ringfence.Engine` has itself, with their types; a method of this name is hidden.
const OWN: [(&str, &str, &str); 3] = [
    ("name", "str", "Its name in the catalogue."),
    ("doc", "str", "What it is for."),
    ("names", "tuple[str, ...]", "The names of its methods."),
];

/// What a stub may need: a name, and the line that makes it. Later lines may use earlier names.
const PREAMBLE: [(&str, &str); 18] = [
    ("_builtins", "import builtins as _builtins\n"),
    ("_Iterable", "from collections.abc import Iterable as _Iterable\n"),
    ("_EllipsisType", "from types import EllipsisType as _EllipsisType\n"),
    ("_Any", "from typing import Any as _Any\n"),
    ("_NamedTuple", "from typing import NamedTuple as _NamedTuple\n"),
    ("_SupportsFloat", "from typing import SupportsFloat as _SupportsFloat\n"),
    ("_SupportsIndex", "from typing import SupportsIndex as _SupportsIndex\n"),
    ("_TypeAlias", "from typing import TypeAlias as _TypeAlias\n"),
    ("_np", "\nimport numpy as _np\n"),
    ("_NDArray", "from numpy.typing import NDArray as _NDArray\n"),
    ("_Buffer", "from typing_extensions import Buffer as _Buffer\n"),
    ("_Method", "\nfrom ringfence import Method as _Method\n"),
    ("_Timeout", "\n_Timeout: _TypeAlias = float | None | _EllipsisType\n"),
    ("_Int", "_Int: _TypeAlias = _SupportsIndex\n"),
    ("_Float", "_Float: _TypeAlias = _SupportsFloat | _SupportsIndex\n"),
    ("_Bools", "_Bools: _TypeAlias = _Buffer | _Iterable[bool]\n"),
    ("_Ints", "_Ints: _TypeAlias = _Buffer | _Iterable[_Int]\n"),
    ("_Floats", "_Floats: _TypeAlias = _Buffer | _Iterable[_Float]\n"),
];

/// The text of the stub.
pub(super) fn stub(engine: &EngineSchema) -> String {
    let stub = Stub::of(engine);
    let mut classes = String::new();
    for (method, class) in engine.methods.iter().zip(&stub.results) {
        if let Some(class) = class {
            let _ = write!(classes, "\n{}", stub.result(class, &method.reply));
        }
    }
    let _ = write!(classes, "\n{}", stub.class());
    head(engine) + &preamble(&classes) + &classes
}

fn head(engine: &EngineSchema) -> String {
    let (name, class) = (&engine.name, title(&engine.name));
    let digest: String = engine.digest().iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "\
# What `client.engine(\"{name}\")` offers, for type checkers. Made by `ringfence stubs {name}`; make it
# anew when the daemon's engine changes. Kept as {name}_engine.pyi it is used like this:
#
#     if TYPE_CHECKING:  # at run time there is no such module
#         from {name}_engine import {class}
#     engine = cast(\"{class}\", client.engine(\"{name}\"))
#
# Digest of the engine: {digest}

"
    )
}

/// The lines whose names are used, in the classes or by a line that is.
fn preamble(classes: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for (name, line) in PREAMBLE.iter().rev() {
        let uses = |text: &str| words(text).any(|word| word == *name);
        if uses(classes) || lines.iter().any(|line| uses(line)) {
            lines.push(line);
        }
    }
    lines.reverse();
    lines.concat().trim_start().to_owned()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c != '_' && !c.is_alphanumeric())
}

struct Stub<'a> {
    engine: &'a EngineSchema,
    /// For each method the class of its replies, if these have fields.
    results: Vec<Option<String>>,
    /// What attributes hide inside of the classes.
    hidden: BTreeSet<String>,
}

impl<'a> Stub<'a> {
    fn of(engine: &'a EngineSchema) -> Self {
        let attributes = engine.methods.iter().flat_map(|method| {
            let fields: Vec<&str> = names_of(&method.reply);
            renamed(&fields).into_iter().chain([method.name.clone()])
        });
        Self { engine, results: results(engine), hidden: attributes.collect() }
    }

    /// A builtin by a name that no attribute hides.
    fn builtin(&self, name: &str) -> String {
        if self.hidden.contains(name) { format!("_builtins.{name}") } else { name.to_owned() }
    }

    fn taken(&self, ty: FieldType) -> String {
        match ty {
            FieldType::Text => self.builtin("str"),
            FieldType::One(Scalar::Bool) => self.builtin("bool"),
            FieldType::One(Scalar::F32 | Scalar::F64) => "_Float".into(),
            FieldType::One(_) => "_Int".into(),
            FieldType::Many(Scalar::Bool) => "_Bools".into(),
            FieldType::Many(Scalar::F32 | Scalar::F64) => "_Floats".into(),
            FieldType::Many(_) => "_Ints".into(),
        }
    }

    fn given(&self, ty: FieldType) -> String {
        match ty {
            FieldType::Text => self.builtin("str"),
            FieldType::One(Scalar::Bool) => self.builtin("bool"),
            FieldType::One(Scalar::F32 | Scalar::F64) => self.builtin("float"),
            FieldType::One(_) => self.builtin("int"),
            FieldType::Many(Scalar::U8) => self.builtin("bytes"),
            FieldType::Many(scalar) => format!("_NDArray[_np.{}]", dtype(scalar)),
        }
    }

    /// The class of a method's replies.
    fn result(&self, class: &str, reply: &Layout) -> String {
        let names = renamed(&names_of(reply));
        // A class statement takes no field with a leading `_`, which is what renamed ones have.
        if names.iter().any(|name| name.starts_with('_')) {
            return self.result_by_hand(class, reply, &names);
        }
        let mut out = format!("class {class}(_NamedTuple):\n");
        for (field, name) in reply.fields.iter().zip(&names) {
            let ty = self.given(field.ty);
            let _ = writeln!(out, "    {name}: {ty}{}", hides_tuples(name, "assignment"));
            out.push_str(&docstring(4, std::slice::from_ref(&field.doc)));
        }
        out
    }

    fn result_by_hand(&self, class: &str, reply: &Layout, names: &[String]) -> String {
        let types: Vec<String> = reply.fields.iter().map(|field| self.given(field.ty)).collect();
        let mut out = format!("class {class}(tuple[{}]):\n", types.join(", "));
        for ((field, name), ty) in reply.fields.iter().zip(names).zip(&types) {
            out.push_str("    @property\n");
            let _ =
                writeln!(out, "    def {name}(self) -> {ty}:{}", hides_tuples(name, "override"));
            let doc = match *name == field.name {
                true => field.doc.clone(),
                false => format!("`{}`, no name in Python. {}", field.name, field.doc),
            };
            out.push_str(&body(8, &[doc]));
        }
        let (tuple, str, dict) = (self.builtin("tuple"), self.builtin("str"), self.builtin("dict"));
        let _ = writeln!(out, "    _fields: {tuple}[{str}, ...]");
        let _ = writeln!(out, "    def _asdict(self) -> {dict}[{str}, _Any]: ...");
        out
    }

    /// The engine itself.
    fn class(&self) -> String {
        let mut out = format!("class {}:\n", title(&self.engine.name));
        out.push_str(&docstring(4, std::slice::from_ref(&self.engine.doc)));
        for (name, ty, doc) in OWN {
            let ty =
                ty.replace("str", &self.builtin("str")).replace("tuple", &self.builtin("tuple"));
            let _ = write!(out, "    {name}: {ty}\n    \"\"\"{doc}\"\"\"\n");
        }
        let doc = "A method by its name, untyped; also those that Python has no attribute for.";
        let str = self.builtin("str");
        let _ = write!(
            out,
            "    def __getitem__(self, name: {str}, /) -> _Method:\n{}",
            body(8, &[doc.into()])
        );
        for (method, class) in self.engine.methods.iter().zip(&self.results) {
            out.push_str(&self.method(method, class.as_deref().unwrap_or("None")));
        }
        out
    }

    fn method(&self, method: &MethodSchema, result: &str) -> String {
        let name = &method.name;
        // Field names that the call itself has: they never reach the engine.
        let lost = names_of(&method.request).into_iter().find(|n| ["self", "timeout"].contains(n));
        if let Some(field) = lost {
            return format!(
                "    # {name:?} takes a field `{field}`, which no call of Python's can pass.\n"
            );
        }
        if !is_name(name) || name.starts_with('_') || OWN.iter().any(|(own, ..)| own == name) {
            return format!(
                "    # {name:?} is no attribute: call engine[{name:?}], it gives {result}.\n"
            );
        }
        let mut parameters = vec!["self".to_owned(), "*".to_owned()];
        let fields = &method.request.fields;
        let named = fields.iter().filter(|field| is_name(&field.name));
        parameters.extend(named.map(|field| format!("{}: {}", field.name, self.taken(field.ty))));
        parameters.push("timeout: _Timeout = ...".into());
        if fields.iter().any(|field| !is_name(&field.name)) {
            parameters.push("**fields: _Any".into());
        }
        let mut lines = vec![method.doc.clone()];
        lines.extend(fields.iter().map(about));
        signature(name, &parameters, result) + &body(8, &lines)
    }
}

/// `times` (u32): how often.
fn about(field: &FieldSchema) -> String {
    let (name, ty, doc) = (&field.name, type_name(field.ty), &field.doc);
    let how = if is_name(name) { "" } else { ", to be passed as **{...}" };
    let line = format!("`{name}` ({ty}{how})");
    if doc.is_empty() { line } else { format!("{line}: {doc}") }
}

/// Classes as the client calls them; two that would be the same get numbers, which it does not need.
fn results(engine: &EngineSchema) -> Vec<Option<String>> {
    let mut taken = BTreeSet::from([title(&engine.name)]);
    let mut class = |method: &MethodSchema| {
        if method.reply.fields.is_empty() {
            return None;
        }
        let wanted = title(&format!("{}_{}", engine.name, method.name));
        let wanted = if is_name(&wanted) { wanted } else { title(&engine.name) + "Reply" };
        let mut numbered = (2..).map(|number| format!("{wanted}{number}"));
        let mut class = wanted.clone();
        while !taken.insert(class.clone()) {
            class = numbered.next()?;
        }
        Some(class)
    };
    engine.methods.iter().map(&mut class).collect()
}

fn names_of(layout: &Layout) -> Vec<&str> {
    layout.fields.iter().map(|field| field.name.as_str()).collect()
}

/// Fields of these names hide methods that every tuple has, as they do at run time. `error` is what
/// mypy calls that.
fn hides_tuples(name: &str, error: &str) -> String {
    match name {
        "count" | "index" => format!("  # type: ignore[{error}] # pyright: ignore"),
        _ => String::new(),
    }
}

fn signature(name: &str, parameters: &[String], result: &str) -> String {
    let line = format!("    def {name}({}) -> {result}:\n", parameters.join(", "));
    if line.chars().count() <= WIDTH + 1 {
        return line;
    }
    let lines: String = parameters.iter().map(|one| format!("        {one},\n")).collect();
    format!("    def {name}(\n{lines}    ) -> {result}:\n")
}

/// What stands in a function: its documentation, or that there is none.
fn body(indent: usize, paragraphs: &[String]) -> String {
    let text = docstring(indent, paragraphs);
    if text.is_empty() { format!("{:indent$}...\n", "") } else { text }
}

/// Documentation as a literal; nothing if there is none.
fn docstring(indent: usize, paragraphs: &[String]) -> String {
    let safe = |text: &String| printable(text).replace('\\', "\\\\").replace('"', "\\\"");
    let lines = paragraphs.iter().flat_map(|text| wrapped(&safe(text), WIDTH - 6 - indent));
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    match &lines[..] {
        [] => String::new(),
        [line] => format!("{:indent$}\"\"\"{line}\"\"\"\n", ""),
        [first, rest @ ..] => {
            let rest: String = rest.iter().map(|line| format!("{:indent$}{line}\n", "")).collect();
            format!("{:indent$}\"\"\"{first}\n{rest}{:indent$}\"\"\"\n", "", "")
        }
    }
}

/// numpy's name of an element type.
const fn dtype(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Bool => "bool_",
        Scalar::U8 => "uint8",
        Scalar::U16 => "uint16",
        Scalar::U32 => "uint32",
        Scalar::U64 => "uint64",
        Scalar::I8 => "int8",
        Scalar::I16 => "int16",
        Scalar::I32 => "int32",
        Scalar::I64 => "int64",
        Scalar::F32 => "float32",
        Scalar::F64 => "float64",
    }
}

#[cfg(test)]
mod tests;

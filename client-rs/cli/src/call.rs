//! `ringfence call`: a method by the daemon's catalogue. No engine is known here.
//!
//! Invariant: everything that can be wrong with the command line is found before the call is made.

use std::fmt::Write as _;

use ringfence::dynamic::{self, Value, type_name};
use ringfence::schema::{EngineSchema, FieldSchema, Layout, MethodSchema};

use crate::args::{Call, Global};
use crate::catalogue::{self, first_line, hint};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::show::{self, Fields};
use crate::values;

pub(crate) fn run(global: &Global, call: &Call) -> Result<(), Failure> {
    let client = global.connect()?;
    let catalogue = client.catalogue()?;
    if let Some(field) = &call.raw {
        check_raw(&call.method, find(&catalogue, &call.method)?.1, field)?;
    }
    let prepared = Prepared::of(&catalogue, &call.method, &call.arguments)?;
    let method = client.method(&prepared.engine.name, &prepared.schema.name)?;
    let reply = client.call(&method, &prepared.request, &global.options())?;
    let values = prepared.decode(&reply)?;
    let fields = Fields { layout: &prepared.schema.reply, values: &values };
    match &call.raw {
        Some(field) => output::raw(fields.bytes(field).unwrap_or_default()),
        None if global.json => output::json(&fields),
        None => output::text(&show::text(&fields)),
    }
}

/// A call as the command line says it.
pub(crate) struct Prepared<'c> {
    path: &'c str,
    pub(crate) engine: &'c EngineSchema,
    pub(crate) schema: &'c MethodSchema,
    /// Encoded.
    pub(crate) request: Vec<u8>,
}

impl<'c> Prepared<'c> {
    /// Of a method's name and `NAME=VALUE` for each of its fields.
    pub(crate) fn of(
        all: &'c [EngineSchema],
        path: &'c str,
        given: &[String],
    ) -> Result<Self, Failure> {
        let (engine, schema) = find(all, path)?;
        let values = arguments(path, schema, given)?;
        let request = dynamic::encode(&schema.request, &values)
            .map_err(|wrong| Failure::usage(format!("{path}: {wrong}")))?;
        Ok(Self { path, engine, schema, request })
    }

    /// The values of a reply's fields.
    pub(crate) fn decode<'r>(&self, reply: &'r [u8]) -> Result<Vec<Value<'r>>, Failure> {
        dynamic::decode(&self.schema.reply, reply).map_err(|wrong| {
            let path = self.path;
            let text = format!("{path} answered another layout than its catalogue's: {wrong}");
            Failure::new(Exit::Internal, text)
        })
    }
}

/// The method of this name; if there is none, what there is.
fn find<'c>(
    all: &'c [EngineSchema],
    path: &str,
) -> Result<(&'c EngineSchema, &'c MethodSchema), Failure> {
    let (engine_name, name) = path.split_once('.').unwrap_or((path, ""));
    let engine = catalogue::engine(all, engine_name)?;
    engine.method(name).map(|method| (engine, method)).ok_or_else(|| no_method(engine, name))
}

fn no_method(engine: &EngineSchema, name: &str) -> Failure {
    let hint = hint(name, engine.methods.iter().map(|method| method.name.as_str()));
    let mut text = match name {
        "" => format!("which method of `{}`?", engine.name),
        name => format!("the engine `{}` has no method `{name}`{hint}", engine.name),
    };
    text.push_str("\nIts methods:");
    let width = engine.methods.iter().map(|method| method.name.len()).max().unwrap_or(0);
    for method in &engine.methods {
        let (name, doc) = (&method.name, first_line(&method.doc));
        let _ = write!(text, "\n  {}.{name:<width$}  {doc}", engine.name);
    }
    Failure::usage(text)
}

/// The values of the request's fields, in their order.
fn arguments(
    path: &str,
    schema: &MethodSchema,
    given: &[String],
) -> Result<Vec<Value<'static>>, Failure> {
    let mut texts: Vec<Option<&str>> = vec![None; schema.request.fields.len()];
    let wrong = |what: String| Failure::usage(format!("{path} {what}{}", takes(&schema.request)));
    for argument in given {
        let Some((name, text)) = argument.split_once('=') else {
            return Err(wrong(format!("takes NAME=VALUE, not `{argument}`")));
        };
        let Some(at) = schema.request.fields.iter().position(|field| field.name == name) else {
            let hint = hint(name, names(&schema.request));
            return Err(wrong(format!("has no field `{name}`{hint}")));
        };
        if texts[at].replace(text).is_some() {
            return Err(wrong(format!("was given `{name}` twice")));
        }
    }
    let value = |(field, text): (&FieldSchema, Option<&str>)| match text {
        Some(text) => values::read(field, text).map_err(|failure| failure.about(path)),
        None => Err(wrong(format!("needs `{}`", field.name))),
    };
    schema.request.fields.iter().zip(texts).map(value).collect()
}

fn check_raw(path: &str, schema: &MethodSchema, name: &str) -> Result<(), Failure> {
    match schema.reply.fields.iter().find(|field| field.name == name) {
        Some(field) if field.ty.is_variable() => Ok(()),
        Some(field) => Err(Failure::usage(format!(
            "`{name}` of the reply of {path} is one {}: --raw takes a str or a list",
            type_name(field.ty)
        ))),
        None => {
            let hint = hint(name, names(&schema.reply));
            let what = format!("the reply of {path} has no field `{name}`{hint}");
            Err(Failure::usage(format!("{what}{}", listed("It has", &schema.reply))))
        }
    }
}

fn names(layout: &Layout) -> impl Iterator<Item = &str> {
    layout.fields.iter().map(|field| field.name.as_str())
}

fn takes(layout: &Layout) -> String {
    listed("It takes", layout)
}

fn listed(what: &str, layout: &Layout) -> String {
    if layout.fields.is_empty() {
        return format!("\n{what} no fields.");
    }
    let mut text = format!("\n{what}:");
    let width = names(layout).map(str::len).max().unwrap_or(0);
    for field in &layout.fields {
        let (name, ty, doc) = (&field.name, type_name(field.ty), first_line(&field.doc));
        let line = format!("  {name:<width$}  {ty:<6}  {doc}");
        let _ = write!(text, "\n{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_protocol::api;

    fn refused<T>(result: Result<T, Failure>) -> String {
        match result {
            Ok(_) => panic!("it was accepted"),
            Err(failure) => failure.to_string(),
        }
    }

    #[test]
    fn what_is_unknown_lists_what_there_is_and_what_is_near() {
        let catalogue = [api::system::schema(), api::vectors::schema()];
        assert!(find(&catalogue, "system.echo").is_ok());
        let engine = refused(find(&catalogue, "sistem.echo"));
        assert!(
            engine.contains("did you mean `system`?") && engine.contains("vectors"),
            "{engine}"
        );
        let method = refused(find(&catalogue, "system.eco"));
        assert!(method.contains("did you mean `echo`?") && method.contains("ping"), "{method}");
        let none = refused(find(&catalogue, "system"));
        assert!(none.starts_with("which method") && none.contains("system.stats"), "{none}");
        let part = refused(find(&catalogue, "system.cat"));
        assert!(part.contains("did you mean `catalogue`?"), "{part}");
        let far = refused(find(&catalogue, "system.abcdefgh"));
        assert!(!far.contains("did you mean"), "{far}");
    }

    #[test]
    fn arguments_are_all_the_fields_and_no_others() {
        let system = api::system::schema();
        let echo = system.method("echo").unwrap();
        let read = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|&text| text.into()).collect();
            arguments("system.echo", echo, &given)
        };
        assert_eq!(read(&["data=a=b"]).unwrap().len(), 1);
        for (given, say) in [
            (&[][..], "needs `data`"),
            (&["dat=x"], "did you mean `data`?"),
            (&["data=x", "data=y"], "twice"),
            (&["data"], "NAME=VALUE"),
        ] {
            let text = refused(read(given));
            assert!(text.contains(say) && text.contains("[u8]"), "{text}");
        }
    }
}

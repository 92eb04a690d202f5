//! From what was typed to the value of a field, by the field's type.

use std::io::Read as _;

use ringfence::dynamic::{Elements, Value, scalar_bytes, type_name};
use ringfence::message::{FieldType, Scalar};
use ringfence::schema::FieldSchema;
use serde_json::Value as Json;

use crate::exit::{Exit, Failure};

/// The value that `text` means for this field.
pub(crate) fn read(field: &FieldSchema, text: &str) -> Result<Value<'static>, Failure> {
    let wrong = || {
        let takes = type_name(field.ty);
        Failure::usage(format!("`{}` takes {takes}, not `{text}`", field.name))
    };
    match field.ty {
        FieldType::One(scalar) => one(scalar, text).ok_or_else(wrong),
        FieldType::Text => {
            let text = String::from_utf8(content(field, text)?);
            let text = text.map_err(|_| {
                Failure::usage(format!("`{}` takes str: the file is no UTF-8", field.name))
            })?;
            Ok(Value::Text(text.into()))
        }
        FieldType::Many(scalar) => {
            let is_list =
                if scalar == Scalar::U8 { text.starts_with('[') } else { !text.starts_with('@') };
            let bytes = if is_list { list(field, scalar, text)? } else { content(field, text)? };
            let len = bytes.len();
            let elements = Elements::from_bytes(scalar, bytes).ok_or_else(|| {
                let (name, takes, size) = (&field.name, type_name(field.ty), scalar.size());
                Failure::usage(format!(
                    "`{name}` takes {takes}: {len} bytes are no whole number of {size}"
                ))
            })?;
            Ok(Value::Many(elements))
        }
    }
}

fn one(scalar: Scalar, text: &str) -> Option<Value<'static>> {
    match scalar {
        Scalar::Bool => match text {
            "true" | "1" => Some(Value::Bool(true)),
            "false" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        Scalar::F32 | Scalar::F64 => {
            let number: f64 = text.parse().ok()?;
            // `1e999` is no infinity; `inf` is one.
            let meant = !number.is_infinite() || text.to_ascii_lowercase().contains("inf");
            if meant { float(scalar, number) } else { None }
        }
        _ => text.parse().ok().map(Value::Int),
    }
}

/// A float of this type; nothing if it is finite and would not be.
fn float(scalar: Scalar, number: f64) -> Option<Value<'static>> {
    let single = number as f32;
    match scalar {
        Scalar::F32 if single.is_infinite() && number.is_finite() => None,
        Scalar::F32 => Some(Value::Single(single)),
        _ => Some(Value::Double(number)),
    }
}

/// The elements of a JSON list, of which the brackets may be left out. Lists in it are joined:
/// rows of vectors.
fn list(field: &FieldSchema, scalar: Scalar, text: &str) -> Result<Vec<u8>, Failure> {
    let list = match text.trim_start().starts_with('[') {
        true => serde_json::from_str::<Vec<Json>>(text),
        false => serde_json::from_str(&format!("[{text}]")),
    };
    let list = list.map_err(|error| {
        let takes = type_name(field.ty);
        Failure::usage(format!("`{}` takes {takes} as a JSON list: {error}", field.name))
    })?;
    let mut bytes = Vec::with_capacity(list.len() * scalar.size());
    append(field, scalar, &list, &mut bytes)?;
    Ok(bytes)
}

fn append(
    field: &FieldSchema,
    scalar: Scalar,
    list: &[Json],
    bytes: &mut Vec<u8>,
) -> Result<(), Failure> {
    for element in list {
        if let Json::Array(inner) = element {
            append(field, scalar, inner, bytes)?;
            continue;
        }
        let value = of_json(scalar, element).ok_or_else(|| {
            let takes = type_name(field.ty);
            Failure::usage(format!("`{}` takes {takes}, not `{element}` in it", field.name))
        })?;
        let element = scalar_bytes(&field.name, scalar, &value);
        let element = element.map_err(|wrong| Failure::usage(wrong.to_string()))?;
        bytes.extend_from_slice(&element[..scalar.size()]);
    }
    Ok(())
}

fn of_json(scalar: Scalar, element: &Json) -> Option<Value<'static>> {
    match scalar {
        Scalar::Bool => element.as_bool().map(Value::Bool),
        Scalar::F32 | Scalar::F64 => element.as_f64().and_then(|number| float(scalar, number)),
        _ => {
            let signed = element.as_i64().map(i128::from);
            signed.or_else(|| element.as_u64().map(i128::from)).map(Value::Int)
        }
    }
}

/// The bytes of a text, or of the file that it names.
fn content(field: &FieldSchema, text: &str) -> Result<Vec<u8>, Failure> {
    let Some(path) = text.strip_prefix('@') else {
        return Ok(text.as_bytes().to_vec());
    };
    let read = match path {
        _ if path.starts_with('@') => return Ok(path.as_bytes().to_vec()),
        "-" => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        }
        path => std::fs::read(path),
    };
    read.map_err(|error| {
        let name = if path == "-" { "standard input" } else { path };
        Failure::new(Exit::NoInput, format!("`{}`: cannot read {name}: {error}", field.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(ty: FieldType) -> FieldSchema {
        FieldSchema { name: "x".into(), ty, offset: 0, doc: String::new() }
    }

    fn of_list(scalar: Scalar, text: &str) -> Result<Vec<Value<'static>>, Failure> {
        match read(&field(FieldType::Many(scalar)), text)? {
            Value::Many(elements) => Ok(elements.iter().collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn scalars_are_read_exactly_or_not_at_all() {
        let read = |scalar, text: &str| read(&field(FieldType::One(scalar)), text).ok();
        assert_eq!(read(Scalar::U64, "18446744073709551615"), Some(Value::Int(u64::MAX.into())));
        assert_eq!(read(Scalar::I8, "-3"), Some(Value::Int(-3)));
        assert_eq!(read(Scalar::F32, "0.1"), Some(Value::Single(0.1)));
        assert_eq!(read(Scalar::F64, "-inf"), Some(Value::Double(f64::NEG_INFINITY)));
        assert_eq!(read(Scalar::Bool, "true"), Some(Value::Bool(true)));
        for (scalar, text) in [
            (Scalar::U8, "1.0"),
            (Scalar::U8, ""),
            (Scalar::F32, "1e39"),
            (Scalar::F64, "1e999"),
            (Scalar::Bool, "yes"),
        ] {
            assert_eq!(read(scalar, text), None, "{text}");
        }
    }

    #[test]
    fn lists_are_json_with_or_without_brackets() {
        let three = [1, 2, 3].map(Value::Int).to_vec();
        for text in ["[1,2,3]", "1,2,3", "[[1,2],[3]]", " [1, 2, 3]"] {
            assert_eq!(of_list(Scalar::U32, text).unwrap(), three, "{text}");
        }
        assert_eq!(of_list(Scalar::F32, "0.5").unwrap(), [Value::Single(0.5)]);
        assert_eq!(of_list(Scalar::U32, "").unwrap(), []);
        assert_eq!(of_list(Scalar::U8, "[7]").unwrap(), [Value::Int(7)]);
        assert_eq!(of_list(Scalar::U8, "A").unwrap(), [Value::Int(65)]);
        for text in ["[1", "a", "[-1]", "[4294967296]", "[1.5]", "[null]"] {
            assert!(of_list(Scalar::U32, text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_at_sign_names_a_file_unless_it_is_doubled() {
        let read = |text: &str| read(&field(FieldType::Text), text);
        assert_eq!(read("@@x").unwrap(), Value::Text("@x".into()));
        let missing = read("@/nonexistent/file").unwrap_err().to_string();
        assert!(missing.contains("/nonexistent/file"), "{missing}");
    }
}

//! The fields of a reply: as JSON, and for people.

use std::fmt::Write as _;

use ringfence::dynamic::{Elements, Value};
use ringfence::message::Scalar;
use ringfence::schema::Layout;
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

use crate::output::printable;

/// Elements of a list that people get to see; JSON has all.
const SHOWN: usize = 16;

/// The values of a layout's fields.
pub(crate) struct Fields<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) values: &'a [Value<'a>],
}

impl Fields<'_> {
    /// The bytes of a text or a list.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        let at = self.layout.fields.iter().position(|field| field.name == name)?;
        match self.values.get(at)? {
            Value::Text(text) => Some(text.as_bytes()),
            Value::Many(elements) => Some(elements.bytes()),
            _ => None,
        }
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.values.len()))?;
        for (field, value) in self.layout.fields.iter().zip(self.values) {
            map.serialize_entry(&field.name, &Shown(value))?;
        }
        map.end()
    }
}

struct Shown<'a>(&'a Value<'a>);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(flag) => serializer.serialize_bool(*flag),
            Value::Int(number) => serializer.serialize_i128(*number),
            Value::Single(number) => serializer.serialize_f32(*number),
            Value::Double(number) => serializer.serialize_f64(*number),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Many(elements) => {
                let mut list = serializer.serialize_seq(Some(elements.len()))?;
                for element in elements.iter() {
                    list.serialize_element(&Shown(&element))?;
                }
                list.end()
            }
        }
    }
}

/// A line for each field; `ok` if there are none.
pub(crate) fn text(fields: &Fields<'_>) -> String {
    if fields.values.is_empty() {
        return "ok\n".into();
    }
    let width = fields.layout.fields.iter().map(|field| field.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (field, value) in fields.layout.fields.iter().zip(fields.values) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:<width$}  {}", field.name, readable(value));
    }
    out
}

fn readable(value: &Value<'_>) -> String {
    match value {
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Single(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Text(text) => printable(text),
        Value::Many(elements) => many(elements),
    }
}

fn many(elements: &Elements<'_>) -> String {
    let is_text = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if elements.scalar() == Scalar::U8
        && let Ok(text) = std::str::from_utf8(elements.bytes())
        && !text.is_empty()
        && text.chars().all(is_text)
    {
        return text.to_owned();
    }
    let shown: Vec<String> = elements.iter().take(SHOWN).map(|value| readable(&value)).collect();
    let rest = if elements.len() > SHOWN {
        format!(", … ({} elements)", elements.len())
    } else {
        String::new()
    };
    format!("[{}{rest}]", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence::schema::FieldSchema;

    fn list(scalar: Scalar, bytes: &[u8]) -> Value<'_> {
        Value::Many(Elements::from_bytes(scalar, bytes).unwrap())
    }

    #[test]
    fn json_keeps_order_types_and_all_elements() {
        let names = ["z", "a", "f", "n", "b"];
        let field = |name: &&str| FieldSchema {
            name: (*name).into(),
            ty: ringfence::message::FieldType::Text, // not looked at
            offset: 0,
            doc: String::new(),
        };
        let layout = Layout { fields: names.iter().map(field).collect(), fixed: 0 };
        let values = [
            Value::Int(u64::MAX.into()),
            Value::Text("x\"y".into()),
            Value::Single(0.1),
            Value::Double(f64::NAN),
            list(Scalar::U8, b"\x01\xff"),
        ];
        let fields = Fields { layout: &layout, values: &values };
        assert_eq!(
            serde_json::to_string(&fields).unwrap(),
            r#"{"z":18446744073709551615,"a":"x\"y","f":0.1,"n":null,"b":[1,255]}"#
        );
        assert_eq!(fields.bytes("a"), Some(&b"x\"y"[..]));
        assert_eq!(fields.bytes("z"), None);
    }

    #[test]
    fn people_see_text_as_text_and_the_head_of_long_lists() {
        assert_eq!(readable(&list(Scalar::U8, b"hello")), "hello");
        assert_eq!(readable(&list(Scalar::U8, b"\x1b")), "[27]");
        assert_eq!(readable(&list(Scalar::U16, &[])), "[]");
        let long = readable(&list(Scalar::U8, &[0; 40]));
        assert!(long.ends_with("0, … (40 elements)]"), "{long}");
    }
}

//! From Python values to the bytes of a request, by the layout in the catalogue.
//!
//! The rules are those of `ringfence_protocol::message`: scalars in place, counts in place,
//! elements behind. Invariant: what cannot be represented exactly enough is an exception that names
//! method and field, never another value. It does *not* send anything.

use pyo3::buffer::ElementType;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};
use ringfence::message::{FieldType, Scalar};
use ringfence::schema::{self, FieldSchema};

use crate::buffer::Input;

/// A last field from this size on is not copied behind the others, but sent where it lies or copied
/// straight to where the daemon reads it: an arena does not hold it.
const APART_BYTES: usize = 256 * 1024;

/// The bytes of a request.
pub(crate) enum Payload {
    Whole(Vec<u8>),
    /// All but the elements of the last field, and these.
    Split(Vec<u8>, Input),
}

impl Payload {
    /// In one piece.
    pub(crate) fn whole(self, py: Python<'_>) -> Vec<u8> {
        match self {
            Payload::Whole(bytes) => bytes,
            Payload::Split(mut head, input) => {
                input.append_to(py, &mut head);
                head
            }
        }
    }
}

/// The fields of a request or a reply, with the name that errors call it by.
#[pyclass(frozen, module = "ringfence._core")]
pub(crate) struct Layout {
    /// `vectors.search()`, for error texts.
    pub(crate) owner: String,
    /// The fields with their offsets.
    pub(crate) schema: schema::Layout,
}

#[pymethods]
impl Layout {
    /// A layout of fields, each a name and a type: `u32`, `[f32]`, `str`. Offsets follow from it.
    #[new]
    fn declare(owner: String, fields: Vec<(String, String)>) -> PyResult<Self> {
        let last = fields.len().saturating_sub(1);
        let mut schema = schema::Layout::default();
        for (index, (name, ty)) in fields.into_iter().enumerate() {
            let ty = parse(&ty)
                .ok_or_else(|| PyValueError::new_err(format!("`{name}` has no type `{ty}`")))?;
            let size = if ty.is_variable() { 4 } else { ty.element() as u32 };
            let counted = !(ty.is_variable() && index == last);
            let offset = if counted { schema.fixed.next_multiple_of(size) } else { schema.fixed };
            schema.fields.push(FieldSchema { name, ty, offset, doc: String::new() });
            schema.fixed = if counted { offset + size } else { offset };
        }
        Ok(Self { owner, schema })
    }

    /// The bytes of a message with these values.
    #[pyo3(name = "pack", signature = (**values))]
    fn py_pack<'py>(
        &self,
        py: Python<'py>,
        values: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.pack_named(values)?.whole(py)))
    }

    /// The values in the bytes of a message.
    #[pyo3(name = "unpack", signature = (data, /))]
    fn py_unpack<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
        crate::unpack::unpack(py, self, crate::buffer::View::copy_of(data))
    }
}

impl Layout {
    /// The bytes of a message whose values are given by name.
    pub(crate) fn pack_named(&self, values: Option<&Bound<'_, PyDict>>) -> PyResult<Payload> {
        let fields = &self.schema.fields;
        let given = values.map_or(0, |values| values.len());
        if given != fields.len() {
            return Err(self.wrong_names(values));
        }
        self.pack_by(|index| {
            let value = match values {
                Some(values) => values.get_item(&fields[index].name)?,
                None => None,
            };
            value.ok_or_else(|| self.wrong_names(values))
        })
    }

    /// The bytes of a message whose values are given in the order of the fields.
    pub(crate) fn pack_ordered(&self, values: &Bound<'_, PyTuple>) -> PyResult<Payload> {
        if values.len() != self.schema.fields.len() {
            return Err(PyTypeError::new_err(format!(
                "{} takes {} values, {} were given",
                self.owner,
                self.schema.fields.len(),
                values.len()
            )));
        }
        self.pack_by(|index| values.get_item(index))
    }

    fn pack_by<'py>(
        &self,
        mut value: impl FnMut(usize) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Payload> {
        let fields = &self.schema.fields;
        let mut out = vec![0; self.schema.fixed as usize];
        for (index, field) in fields.iter().enumerate() {
            let value = value(index)?;
            let at = field.offset as usize;
            let count = match field.ty {
                FieldType::One(scalar) => {
                    let (bytes, size) = self.scalar(field, scalar, &value)?;
                    out[at..at + size].copy_from_slice(&bytes[..size]);
                    continue;
                }
                FieldType::Text => self.text(field, &value, &mut out)?,
                FieldType::Many(scalar) => {
                    out.resize(out.len().next_multiple_of(scalar.size()), 0);
                    match self.elements(field, scalar, &value)? {
                        Some(input) if index + 1 == fields.len() && input.len() >= APART_BYTES => {
                            return Ok(Payload::Split(out, input));
                        }
                        Some(input) => {
                            input.append_to(value.py(), &mut out);
                            input.len() / scalar.size()
                        }
                        None => self.many(field, scalar, &value, &mut out)?,
                    }
                }
            };
            if index + 1 < fields.len() {
                let count = u32::try_from(count).map_err(|_| {
                    let what = format!("has {count} elements, a message takes 4294967295");
                    PyOverflowError::new_err(self.about(field, &what))
                })?;
                out[at..at + 4].copy_from_slice(&count.to_le_bytes());
            }
        }
        Ok(Payload::Whole(out))
    }

    fn text(
        &self,
        field: &FieldSchema,
        value: &Bound<'_, PyAny>,
        out: &mut Vec<u8>,
    ) -> PyResult<usize> {
        let Ok(text) = value.cast::<PyString>() else {
            return Err(self.wrong_type(field, "str", value));
        };
        let text = text.to_str()?;
        out.extend_from_slice(text.as_bytes());
        Ok(text.len())
    }

    /// The elements of a variable field, if they lie in memory as they are sent.
    fn elements(
        &self,
        field: &FieldSchema,
        scalar: Scalar,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Input>> {
        let Some(input) = Input::of(value, &field.name)? else { return Ok(None) };
        let raw = value.is_instance_of::<PyBytes>();
        if !raw && !fits(scalar, input.element()) {
            return Err(self.wrong_elements(field, scalar, &input));
        }
        let size = scalar.size();
        if !input.len().is_multiple_of(size) {
            let what = format!("has {} bytes, no whole number of {size}", input.len());
            return Err(PyValueError::new_err(self.about(field, &what)));
        }
        Ok(Some(input))
    }

    /// Appends the elements of a variable field, one by one, and gives their number.
    fn many(
        &self,
        field: &FieldSchema,
        scalar: Scalar,
        value: &Bound<'_, PyAny>,
        out: &mut Vec<u8>,
    ) -> PyResult<usize> {
        // Its elements would be strings.
        let elements =
            if value.is_instance_of::<PyString>() { None } else { value.try_iter().ok() };
        let Some(elements) = elements else {
            let bytes = if scalar == Scalar::U8 { "bytes, " } else { "" };
            let takes = format!("{} elements ({bytes}an array or a sequence)", scalar.name());
            return Err(self.wrong_type(field, &takes, value));
        };
        let start = out.len();
        for element in elements {
            let (bytes, size) = self.scalar(field, scalar, &element?)?;
            out.extend_from_slice(&bytes[..size]);
        }
        Ok((out.len() - start) / scalar.size())
    }

    /// The bytes of one element, and how many of the eight they are.
    fn scalar(
        &self,
        field: &FieldSchema,
        scalar: Scalar,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<([u8; 8], usize)> {
        let mut bytes = [0; 8];
        let word = match scalar {
            Scalar::Bool => match value.extract::<bool>() {
                Ok(flag) => u64::from(flag),
                Err(_) => return Err(self.wrong_type(field, "bool", value)),
            },
            Scalar::F32 => u64::from(self.single(field, value)?.to_bits()),
            Scalar::F64 => self.float(field, "f64", value)?.to_bits(),
            _ => self.integer(field, scalar, value)?,
        };
        bytes.copy_from_slice(&word.to_le_bytes());
        Ok((bytes, scalar.size()))
    }

    fn float(&self, field: &FieldSchema, name: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
        value
            .extract::<f64>()
            .map_err(|_| self.wrong_type(field, &format!("{name} (float)"), value))
    }

    fn single(&self, field: &FieldSchema, value: &Bound<'_, PyAny>) -> PyResult<f32> {
        let wide = self.float(field, "f32", value)?;
        let narrow = wide as f32;
        if wide.is_finite() && !narrow.is_finite() {
            let what = format!("is {wide:e}, f32 takes up to {:e}", f32::MAX);
            return Err(PyOverflowError::new_err(self.about(field, &what)));
        }
        Ok(narrow)
    }

    fn integer(
        &self,
        field: &FieldSchema,
        scalar: Scalar,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<u64> {
        let (low, high) = range(scalar);
        let number = match value.extract::<i128>() {
            Ok(number) if (low..=high).contains(&number) => return Ok(number as u64),
            Ok(number) => number.to_string(),
            Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => "too large".into(),
            Err(_) => {
                return Err(self.wrong_type(field, &format!("{} (int)", scalar.name()), value));
            }
        };
        let what = format!("is {number}, {} takes {low} to {high}", scalar.name());
        Err(PyOverflowError::new_err(self.about(field, &what)))
    }

    fn about(&self, field: &FieldSchema, what: &str) -> String {
        format!("{}: `{}` {what}", self.owner, field.name)
    }

    #[cold]
    fn wrong_type(&self, field: &FieldSchema, takes: &str, value: &Bound<'_, PyAny>) -> PyErr {
        let class = value.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
        PyTypeError::new_err(self.about(field, &format!("takes {takes}, not {class}")))
    }

    #[cold]
    fn wrong_elements(&self, field: &FieldSchema, scalar: Scalar, input: &Input) -> PyErr {
        let (name, format) = (&field.name, input.format());
        let what = format!(
            "takes {} elements, this array has elements of format '{format}'; pass \
             numpy.asarray({name}, dtype=\"{}\")",
            scalar.name(),
            dtype(scalar)
        );
        PyTypeError::new_err(self.about(field, &what))
    }

    /// Names the first missing or surplus field, and all that there are.
    #[cold]
    fn wrong_names(&self, values: Option<&Bound<'_, PyDict>>) -> PyErr {
        let fields = &self.schema.fields;
        let surplus = values.iter().flat_map(|values| values.keys()).find(|key| {
            key.extract::<String>().is_ok_and(|key| fields.iter().all(|f| f.name != key))
        });
        let missing = fields.iter().find(|field| {
            let has = |values: &&Bound<'_, PyDict>| values.contains(&field.name).unwrap_or(false);
            !values.as_ref().is_some_and(has)
        });
        let what = match (surplus, missing) {
            (Some(key), _) => format!("has no field `{key}`"),
            (None, Some(field)) => format!("needs the field `{}`", field.name),
            (None, None) => "was given other fields than it has".into(),
        };
        PyTypeError::new_err(format!("{} {what}; {}", self.owner, self.takes()))
    }

    fn takes(&self) -> String {
        let one = |field: &FieldSchema| format!("{}: {}", field.name, type_name(field.ty));
        match &self.schema.fields[..] {
            [] => "it takes none".into(),
            fields => format!("it takes {}", fields.iter().map(one).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// The name of a field's type in the catalogue's canonical text.
pub(crate) fn type_name(ty: FieldType) -> String {
    match ty {
        FieldType::One(scalar) => scalar.name().to_owned(),
        FieldType::Many(scalar) => format!("[{}]", scalar.name()),
        FieldType::Text => "str".to_owned(),
    }
}

/// numpy's name of an element type.
pub(crate) const fn dtype(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Bool => "bool",
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

fn parse(ty: &str) -> Option<FieldType> {
    let scalar = |name: &str| Scalar::ALL.into_iter().find(|scalar| scalar.name() == name);
    match ty.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(element) => scalar(element).map(FieldType::Many),
        None if ty == "str" => Some(FieldType::Text),
        None => scalar(ty).map(FieldType::One),
    }
}

fn range(scalar: Scalar) -> (i128, i128) {
    let bits = scalar.size() as u32 * 8;
    match scalar {
        Scalar::I8 | Scalar::I16 | Scalar::I32 | Scalar::I64 => {
            (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        }
        _ => (0, (1 << bits) - 1),
    }
}

fn fits(scalar: Scalar, (element, size): (ElementType, usize)) -> bool {
    size == scalar.size()
        && match element {
            ElementType::Bool => scalar == Scalar::Bool,
            ElementType::UnsignedInteger { .. } => {
                matches!(scalar, Scalar::U8 | Scalar::U16 | Scalar::U32 | Scalar::U64)
            }
            ElementType::SignedInteger { .. } => {
                matches!(scalar, Scalar::I8 | Scalar::I16 | Scalar::I32 | Scalar::I64)
            }
            ElementType::Float { .. } => matches!(scalar, Scalar::F32 | Scalar::F64),
            ElementType::Unknown => false,
        }
}
